"""The classifier."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin

from sklearn_bp._common.types import MatrixLike
from sklearn_bp._estimators.base import BaseTwoLayer
from sklearn_bp._estimators.fit_batches import fit_batches, labels_of
from sklearn_bp._fitting.parameters import OF_CLASSIFIER, store, with_names
from sklearn_bp._fitting.request import Request
from sklearn_bp._tables.class_targets import ClassTargets
from sklearn_bp._tables.piecewise_linear import PiecewiseLinear
from sklearn_bp._tables.targets import check_labels, check_y_given
from sklearn_bp._tables.weights import weights_for_metrics
from sklearn_bp._versions import available_if, with_callbacks


@with_names
class TwoLayerClassifier(ClassifierMixin, BaseTwoLayer):
    """Classifier with one hidden layer, trained by backpropagation.

    It takes raw tables, with categories, missing values and columns of any scale, and
    needs no tuning:

    >>> import pandas as pd
    >>> from sklearn_bp import TwoLayerClassifier
    >>> flats = pd.DataFrame({
    ...     "area": [31.0, 42.0, 88.0, 120.0] * 30,
    ...     "rooms": [1, None, 3, 4] * 30,
    ...     "town": ["Bonn", "Celle", "Bonn", "Celle"] * 30,
    ... })
    >>> rent = ["low", "low", "high", "high"] * 30
    >>> model = TwoLayerClassifier().fit(flats, rent)
    >>> model.score(flats, rent)
    1.0

    The loss is the log-loss or the squared error, minimized by mini-batch gradient
    descent or L-BFGS [1]_. There may be two classes, several classes, or several labels
    per row (label indicator matrices).

    The parameters, in the order in which they are described below:

    - most used: `hidden_layer_sizes`, `loss`, `alpha`, `learning_rate_init`,
      `max_iter`, `random_state`;
    - network and training: `activation`, `init`, `skip_layer`, `scaling_layer`,
      `solver`, `batch_size`, `learning_rate`, `shuffle`, `warm_start`, `verbose`;
    - regularization: `dropout`, `average`;
    - early stopping and validation: `early_stopping`, `early_stopping_metric`,
      `validation_fraction`, `n_iter_no_change`, `tol`, `loss_threshold`,
      `temperature_scaling`;
    - ensemble: `n_members`;
    - data: `standardize`, `categorical_features`, `numeric_encoding`, `class_weight`;
    - for users of MLPClassifier: `power_t`, `momentum`, `nesterovs_momentum`, `beta_1`,
      `beta_2`, `epsilon`, `max_fun`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of one int, default=(64,)
        Number of hidden units in each of the `n_members` networks.

    loss : {...} or object, default='log_loss'
        Loss to minimize. 'log_loss' is the cross-entropy of a softmax, or of a sigmoid
        for two classes and for labels. 'squared_error' is half the sum of the squared
        errors of sigmoid outputs, as in early texts, with one output per class (two
        classes share one); it is differentiated through the sigmoid, and predict_proba
        divides the outputs by their sum. Or an object of `sklearn_bp.losses`, such as
        LogLoss(label_smoothing=0.1), or one of your own that is derived from ClassLoss.

    alpha : float or 'auto', default='auto'
        Strength of the L2 regularization: the penalty alpha / 2 (||W1||^2 + ||W2||^2)
        on the weights, not on the intercepts. The penalty is divided by the number of
        rows, or by the sum of the sample weights; in a step of 'sgd' or 'adam', by the
        rows of the batch. 'auto' is 0.1 (100 / n_samples)^1.5, times 1.5 per column in
        bins for networks that see bins (see `numeric_encoding`); it is 1 for fewer than
        100 rows (0.3 for wide data, see `standardize`) and for 'lbfgs', and 0 for
        'adamw'. 'auto' is independent of `batch_size` and of the unit of the sample
        weights: it is multiplied by the rows per batch over those of
        batch_size='by_rows', and the weights count in units of their mean (or, if they
        are whole multiples of a number and stand for fewer than 100 rows of that
        weight, in units of that number).

    learning_rate_init : float or 'auto', default='auto'
        Initial learning rate. 'auto' is 0.01 for up to 10 features and 0.01 sqrt(10 /
        n_features) for more, but at least 0.002. For wide data (see `standardize`) it
        is 0.03, or 0.02 if the data is sparse, times sqrt(400 / n_samples) from 400
        rows on. For other dense data of more than 128 columns `fit` takes 0.01 with
        `standardize` and an adaptive solver, and fewer epochs (see `max_iter`). Not
        used by 'lbfgs'.

    max_iter : int or 'auto', default='auto'
        Maximum number of epochs; for 'lbfgs', of iterations. 'auto' is 400, and 200 for
        fewer than 100 rows (60 for wide data). Where `learning_rate_init` is 0.01 for
        more than 128 columns, it is 1000 / sqrt(n_features), beyond 1,024 columns
        32,000 / n_features, and at least 160 steps. For wide sparse data it is 4,200
        steps, if these are fewer. Reaching it does not warn.

    random_state : int, RandomState instance or None, default=None
        Source of all random numbers: the starting weights, the validation split, the
        order of the rows, and `dropout`. Pass an int for reproducible results.

    activation : {...} or object, default='relu'
        Activation function of the hidden layer. Instead of a name you can pass an
        object of `sklearn_bp.activations`, such as LeakyReLU(0.1), or one of your own
        with ``forward(z)`` and ``backward(a, delta)``, as described there.

    init : {...} or callable, default='he_normal'
        Distribution of the starting weights. 'glorot_uniform' is uniform in +- sqrt(6 /
        (fan_in + fan_out)) [2]_ (2 instead of 6 for 'logistic'), for intercepts too.
        'he_normal' and 'lecun_normal' are normal with variance 2 / fan_in and 1 /
        fan_in, and intercepts of zero. 'normal' is the standard normal for weights and
        intercepts. 'zeros' shows why hidden units must start differently. Or a function
        of (random_state, fan_in, fan_out, glorot_factor) that returns weights and
        intercepts.

    skip_layer : bool, default=False
        Whether to connect the features directly to the outputs as well, as R's nnet
        does: the network is then a linear model plus the sum of the hidden units.
        The direct weights start at 0, and `alpha` applies to them.

    scaling_layer : bool or 'auto', default='auto'
        Whether to learn a scale for each feature as well. 'auto' is True for the
        networks that see bins (see `numeric_encoding`), and False for all others. The
        scale multiplies the weights of the feature to all hidden units, starts at 1,
        and is absorbed into `coefs_` at the end. It moves three times as fast as a
        weight; up to nine times where more than ten columns have bins, and nine times
        where `max_iter` is lower for many columns; `alpha` penalizes the weights
        without it. Used only by the solvers whose steps do not depend on the length of
        the gradient: 'adam', 'adamw', 'rmsprop'.

    solver : {...} or object, default='adam'
        Optimizer. 'sgd' is mini-batch gradient descent with momentum, 'adam' the method
        of Kingma and Ba [3]_, 'adamw' the same with decoupled weight decay, 'rmsprop'
        the method of Tieleman and Hinton, and 'lbfgs' a quasi-Newton method that uses
        all rows in each iteration and computes in float64. Or an object of
        `sklearn_bp.optimizers` with hyperparameters of its own, such as
        AdamW(weight_decay=0.1, clip_norm=1.0).

    batch_size : int, 'by_rows', 'auto' or 'full', default='by_rows'
        Rows per mini-batch. 'by_rows' is the power of two nearest to a 67th of the
        rows, from 32 to 256, and all rows if there are fewer than 100; for dense X in a
        usual fit (see `early_stopping`) half of it, but at least 32. 'auto' is
        scikit-learn's min(200, n_samples). 'full' is all rows (batch gradient descent),
        and 1 is stochastic gradient descent. Not used by 'lbfgs'.

    learning_rate : {...}, object or callable, default='constant'
        Schedule of the learning rate. 'invscaling' and 'adaptive' are for 'sgd', as in
        scikit-learn: 'invscaling' is learning_rate_init / (t + 1) ** power_t after t
        training rows; 'adaptive' is constant, but is divided by 5 whenever the patience
        is used up, until it is below 1e-6. 'cosine' and 'one_cycle' change from step to
        step and fall to about zero within `max_iter` epochs; objects of
        `sklearn_bp.schedules` have parameters of their own. A function takes the number
        of the step, counted from 0, and returns a factor for `learning_rate_init`. Not
        used by 'lbfgs'.

    shuffle : bool or 'blocks', default=True
        Whether to shuffle the rows before each epoch. 'blocks' is for files larger than
        memory: it shuffles chunks of 4 MB, then the rows of 16 chunks together.

    warm_start : bool, default=False
        Whether fit continues from the weights of the last fit. The optimizer and the
        patience start anew, so the data may be new.

    verbose : bool or int, default=False
        Whether to print one line per epoch: the training loss without the penalty, the
        penalty, the loss and the score on the validation rows, the learning rate if it
        changes, and the seconds so far. With an int k, one line per k epochs, and one
        for the last epoch.

    dropout : float in [0, 1), default=0.0
        Fraction of the hidden units that training leaves out, drawn anew for each row
        and step [6]_. The remaining units count 1 / (1 - dropout) times; predictions
        use all units. `loss_curve_` is the loss with units left out. Not supported by
        'lbfgs'.

    average : bool, default=True
        Whether to keep the exponential moving average of the weights over two epochs
        [4]_ instead of the last weights. Not used by 'lbfgs'.

    early_stopping : bool or 'auto', default='auto'
        Whether held-out rows decide when training ends.

        'auto' holds out each row from one of the `n_members` networks. Training ends
        when the loss on the held-out rows, each scored by the network that was not
        trained on it, has not improved for `n_iter_no_change` epochs; the weights of
        the best epoch are kept. The scores are then divided by the temperature that
        minimizes this loss [5]_. A single network holds out `validation_fraction` of
        the rows. Nothing is held out with fewer than 100 rows, with 'lbfgs', and in
        partial_fit.

        True holds out `validation_fraction` of the rows from all networks, and stops
        when `early_stopping_metric` on them has not improved for as long. The split is
        stratified by class. If there are too few rows for that, one row of each class
        stays in training, at least one or two others are held out, and a warning says
        so. With fewer than 100 rows and alpha='auto', copies of a row stay on one side
        of the split, if they are few, and a weight of k counts as k copies. partial_fit
        holds nothing out.

        False stops by the training loss.

        A usual fit takes fewer steps, because other parameters then have other values
        for 'auto'. It has 'auto' here, 100 or more rows and up to 128 columns,
        `standardize`, and a solver whose steps do not depend on the length of the
        gradient: 'adam', 'adamw' or 'rmsprop'.

        Rows passed to fit as `X_val` and `y_val` take the place of held-out rows; in
        partial_fit they are the only validation rows.

    early_stopping_metric : {'loss', 'score'}, str or callable, default='loss'
        Metric that early stopping monitors: 'loss' is the loss without the penalty,
        'score' the value of the method `score`. Or the name of a scorer, or a function
        of (estimator, X, y) that returns a float, larger being better, and gets a
        fitted estimator and the rows as you passed them.

    validation_fraction : float or splitter, default=0.1
        Fraction of the rows to hold out, with early_stopping=True, and with 'auto' if
        `n_members` is 1. Or an object with ``split(X, y, groups)``, such as those of
        sklearn.model_selection, whose last split is used: GroupShuffleSplit for grouped
        rows (pass `groups` to fit), TimeSeriesSplit for ordered rows.

    n_iter_no_change : int, inf or 'auto', default='auto'
        Patience: training ends after more than this many consecutive epochs without an
        improvement of `tol`. 'auto' is 300 steps (80 for wide data, none where
        `max_iter` is lower for many columns), but at least 8 epochs. In a usual fit
        (see `early_stopping`) it is 150 steps, 100 for fewer than 300 rows, but at
        least 5 epochs.

    tol : float or 'auto', default='auto'
        Smallest improvement that counts: of the training loss or, with early stopping,
        of the validation metric. 'lbfgs' ends when the largest component of the
        gradient is this small. 'auto' is 1e-4; in a usual fit (see `early_stopping`),
        if loss='log_loss' is monitored, it is a 1000th of the lowest loss so far on
        held-out rows, but at least 1e-5 and at most 1e-3 times the loss of the best
        constant.

    loss_threshold : float, default=None
        Training stops as soon as the loss of an epoch is below this value; None for no
        threshold.

    temperature_scaling : bool or 'auto', default='auto'
        Whether to divide the scores by the temperature that minimizes the log-loss on
        the validation rows [5]_, if there are any. The predicted class stays the same.
        'auto' does so with early_stopping='auto'.

    n_members : int or 'auto', default='auto'
        Number of networks in the ensemble. They have `hidden_layer_sizes` units each,
        start from different weights, and are trained side by side. The result is one
        network of all their units, whose scores are the mean of theirs. 'auto' is 8,
        and 4 in a usual fit (see `early_stopping`) of 3,000 or more rows. It is 4 or 2
        if rows are expensive: if the number of outputs, plus for CSR data the stored
        numbers per row and the columns over an eighth of a batch of 'by_rows', is more
        than 1,024 or 1,536. partial_fit and warm_start continue with the number of the
        first fit.

    standardize : bool, default=True
        Whether to train on scaled features. A feature becomes (x - median) /
        max(interquartile range, largest deviation / 8), a feature of two values (x -
        mean) / (difference of the two); a sparse feature is divided by its largest
        absolute value. The feature scaling is absorbed into `coefs_` and `intercepts_`,
        which act on X as it is. The output intercepts start at the best constant, and
        `tol` is in units of its loss. `alpha` and `loss_curve_` refer to scaled data.
        partial_fit and warm_start scale by all rows so far: when the scaling changes,
        the weights are re-expressed so that the scores stay the same.

        A value so far out that it hardly belongs to its column counts as unknown: the
        centre of the column replaces it, or 0 if the column is sparse. So one wild
        value neither squeezes all others together nor decides a prediction. The limits
        are in `feature_limits_`. They follow from the quantiles of the column: at a
        limit, a power law through these expects a hundredth of a row. It is at least 8
        times as far from the median as the outermost 256th of the rows (five rows, if
        that is more), and at least 8 interquartile ranges. partial_fit and warm_start
        use the limits of all rows so far.

        Data is wide if it has at least five columns that vary per row, and up to 2,000
        rows; if it is CSR, twice the square of its rows must not exceed the number of
        input weights of all members. `fit` then trains 'adam' and 'adamw' on the
        principal components of the rows, times one factor, and absorbs these into the
        weights too; `alpha` and 'auto' then refer to components.

    categorical_features : 'from_dtype', array-like of bool, int or str, or None, \
            default='from_dtype'
        Columns that hold categories, as in HistGradientBoostingClassifier: a mask,
        indices or names; 'from_dtype' for the columns of a DataFrame that hold
        categories or strings; None for no column. Each level becomes a column of zeros
        and ones. If training has not seen a level, all of them are zero. Levels
        of another kind than in training, such as numbers instead of strings, raise an
        error. The columns of a table with many levels are stored sparse. With
        'from_dtype', `fit` leaves out, with a warning, a column that has more than 50
        levels and more than half as many levels as rows: it probably holds names of the
        rows.

    numeric_encoding : 'auto', PiecewiseLinear or None, default='auto'
        Whether the network also sees numeric columns encoded by bins: for each bin, a
        column that grows from 0 to 1 within it. A `PiecewiseLinear` adds the bins for
        all ensemble members; None for no bins. With 'auto' a second training follows:
        half as many networks of half the hidden units see the bins as well. Pairs of
        them become further members, and held-out rows weight the two groups. Of more
        than 32 numeric columns, those have bins that the errors of the first training
        depend on, or that have the heaviest weights. From 200 rows on, the four
        heaviest have finer bins. This is for `fit` on dense rows and tables in memory:
        for 100 rows or more, up to four million encoded numbers (fewer columns have
        bins beyond), the solvers 'adam' and 'adamw', and `n_members`, `max_iter` and
        `early_stopping` left at 'auto'. `n_iter_` counts the epochs of both trainings;
        the attributes of other 'auto' parameters are those of the first. ``coefs_[0]``
        has a row for each bin, see `encoded_feature_names_`.

    class_weight : dict, 'balanced', list of dicts or None, default=None
        Weights of the classes, {label: weight}; a class that is not named has weight 1.
        'balanced' is n_samples / (n_classes * rows of the class), counted over the
        training rows with non-zero weight. Class weights multiply `sample_weight`, also
        when held-out rows or `X_val` are scored. For label indicator matrices, a dict
        per column. partial_fit does not see all rows and does not accept 'balanced'.

    power_t : float, default=0.5
        Exponent of learning_rate='invscaling'.

    momentum : float in [0, 1], default=0.9
        Momentum of 'sgd'.

    nesterovs_momentum : bool, default=True
        Whether the momentum of 'sgd' is Nesterov's.

    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay rates of the moments in 'adam' and 'adamw'.

    epsilon : float, default=1e-8
        Constant added to the root of the second moment in 'adam', 'adamw' and
        'rmsprop'.

    max_fun : int, default=15000
        Maximum number of evaluations of the loss and its gradient by 'lbfgs'.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; the column numbers for a label indicator matrix.

    coefs_ : list of two ndarrays, (n_features, n_hidden), (n_hidden, n_outputs)
        Weights of the hidden layer and of the output layer, in the dtype of X. The
        rows of the first act on your own columns (encoded, see
        `encoded_feature_names_`), in their units, within `feature_limits_`.
        n_hidden is `hidden_layer_sizes` times `n_members_`. They are float64 for
        float32 data too if a scaled feature or target is offset by 1000 times its
        width or more.

    intercepts_ : list of two ndarrays, (n_hidden,) and (n_outputs,)
        Intercepts of the hidden layer and of the output layer.

    skip_coef_ : ndarray of shape (n_features, n_outputs) or None
        Weights from the features, encoded as for `coefs_`, to the outputs: the mean
        over the ensemble members; None without `skip_layer`.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if X has names that are all strings.

    encoded_feature_names_ : ndarray of str
        Names of the rows of ``coefs_[0]``: first the numeric columns; then
        'missingindicator_NAME' for each column with missing values in training; then
        'NAME_LEVEL' for each level of the categorical columns; then 'NAME_binK' for
        each bin of `numeric_encoding`.

    feature_limits_ : ndarray of shape (2, n_encoded) or None
        Lower and upper limit of each encoded column except for bins, in its units. A
        value beyond them counts as unknown, in training and in predictions: the centre
        of its column replaces it, see `standardize`. If you set this attribute to None,
        predictions have no limits. None without `standardize`, and for fewer than 20
        rows.

    feature_importances_ : ndarray of shape (n_features,)
        How much the scores change with each feature: the mean absolute derivative over
        64 training rows (with partial_fit, over the last 32 rows sampled), times the
        standard deviation of the feature. The importances sum to 1.

    n_outputs_ : int
        Number of output units.

    n_layers_ : int
        3, as in scikit-learn, which counts the inputs.

    n_members_ : int
        Number of networks in the ensemble.

    alpha_, batch_size_, learning_rate_init_, max_iter_, n_iter_no_change_ : \
            int or float
        The values that training used, with "auto" resolved.

    out_activation_ : str
        Name of the output activation.

    n_iter_ : int
        Number of epochs (iterations of 'lbfgs') of the last fit, or of all calls of
        partial_fit.

    first_n_iter_ : int
        Number of epochs before the second training of `numeric_encoding`; `n_iter_` if
        there was none.

    best_iter_ : int
        Epoch, counted from 1, whose weights were kept: the best one by
        `early_stopping_metric`, or the last.

    stop_reason_ : str
        Why training ended: 'tol' (the training loss no longer improved), 'patience'
        (the validation metric no longer improved), 'max_iter', 'loss_threshold',
        'callback', 'interrupted', or scipy's message with 'lbfgs'. After partial_fit it
        is 'max_iter' until the patience is used up; you may still call it again.

    engine_ : str
        The engine that ran training: 'compiled', or 'python' if the compiled step does
        not cover the parameters or was not built.

    t_ : int
        Number of training rows seen, summed over the epochs.

    loss_ : float
        Loss of the last epoch, including the penalty.

    best_loss_ : float or None
        Smallest training loss of any epoch; None if early stopping monitored
        validation rows.

    loss_curve_ : list of float
        Training loss of each epoch. With warm_start and partial_fit it also has earlier
        epochs, at most 10,000 from before the last call; so do the curves below.

    data_loss_curve_ : list of float or None
        `loss_curve_` without the penalty, to compare with `validation_loss_curve_`. It
        is shorter, or None, if earlier epochs were those of another package or version.

    validation_loss_curve_ : list of float or None
        Loss on the validation rows after each epoch, without the penalty, in the units
        of `loss_curve_`; None without validation rows.

    validation_scores_ : list of float or None
        Score on the validation rows after each epoch, or the value of the scorer
        `early_stopping_metric`.

    best_validation_score_ : float or None
        Score of the epoch whose weights were kept, with early stopping.

    temperature_ : float
        Temperature that the scores are divided by, from the last fit that held rows
        out; 1 if none did.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : The same network, and deeper ones.

    Notes
    -----
    The loss of a weighted training set is sum_i w_i loss_i / sum_i w_i. Weights are
    normalized over the whole set, so a mini-batch of b rows contributes the sum of
    w_i grad_i / (b mean(w)).

    fit keeps only the weights, so a later partial_fit starts with a fresh optimizer.
    partial_fit keeps the optimizer: with an int `random_state`, n calls of it on the
    same data equal fit with max_iter=n if fit holds no rows out, that is, with
    early_stopping=False or fewer than 100 rows. With learning_rate_init='auto', X must
    have at most 128 columns for that.

    References
    ----------
    .. [1] Rumelhart, D. E., Hinton, G. E. and Williams, R. J. (1986). Learning
       representations by back-propagating errors. Nature 323, 533-536.
    .. [2] Glorot, X. and Bengio, Y. (2010). Understanding the difficulty of training
       deep feedforward neural networks. AISTATS.
    .. [3] Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic
       optimization. ICLR.
    .. [4] Izmailov, P. et al. (2018). Averaging weights leads to wider optima and
       better generalization. UAI.
    .. [5] Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On calibration of
       modern neural networks. ICML.
    .. [6] Srivastava, N. et al. (2014). Dropout: a simple way to prevent neural
       networks from overfitting. JMLR 15, 1929-1958.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bp import TwoLayerClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TwoLayerClassifier(20, solver="lbfgs", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    __module__ = "sklearn_bp"  # the name in files of fitted estimators

    _parameters = OF_CLASSIFIER
    _targets_kind = ClassTargets

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (64,),
        *,
        loss: str | object = "log_loss",
        alpha: float | str = "auto",
        learning_rate_init: float | str = "auto",
        max_iter: int | str = "auto",
        random_state: int | np.random.RandomState | None = None,
        # Network and training
        activation: str | object = "relu",
        init: str | Callable[..., Any] = "he_normal",
        skip_layer: bool = False,
        scaling_layer: bool | str = "auto",
        solver: str | object = "adam",
        batch_size: int | str = "by_rows",
        learning_rate: str | object = "constant",
        shuffle: bool | str = True,
        warm_start: bool = False,
        verbose: bool | int = False,
        # Regularization
        dropout: float = 0.0,
        average: bool = True,
        # Early stopping and validation
        early_stopping: bool | str = "auto",
        early_stopping_metric: str | Callable[..., float] = "loss",
        validation_fraction: float | object = 0.1,
        n_iter_no_change: float | str = "auto",
        tol: float | str = "auto",
        loss_threshold: float | None = None,
        temperature_scaling: bool | str = "auto",
        # Ensemble
        n_members: int | str = "auto",
        # Data
        standardize: bool = True,
        categorical_features: str | ArrayLike | None = "from_dtype",
        numeric_encoding: str | PiecewiseLinear | None = "auto",
        class_weight: dict[Any, float] | str | list[dict[int, float]] | None = None,
        # For users of MLPClassifier
        power_t: float = 0.5,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        max_fun: int = 15000,
    ) -> None:
        store(self, locals())

    @with_callbacks
    def fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: MatrixLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        coef_init: Sequence[ArrayLike] | None = None,
        intercept_init: Sequence[ArrayLike] | None = None,
    ) -> Self:
        """Fit the network to labelled rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. float32 is kept, and any other dtype counts as float64; CSR stays
            sparse, CSC becomes CSR. Unless `standardize` is False and
            `categorical_features` is None, columns may hold categories, and NaN for
            missing numbers: a missing number is replaced by the median of its column,
            and an indicator column of zeros and ones marks where. The masked entries of
            a masked array are missing.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, all of one kind: strings, whole numbers, booleans or numpy
            dates. Or a label indicator matrix of zeros and ones, dense or sparse.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, not all zero.

        X_val, y_val : array-like, default=None
            Your own validation rows, in the form of X and y. They are never trained on:
            with early stopping they take the place of held-out rows; without it they
            are only monitored.

        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights of the validation rows.

        groups : array-like of shape (n_samples,), default=None
            Group of each row, for a splitter given as `validation_fraction`.

        coef_init, intercept_init : list of ndarrays, default=None
            Weights to start from, in the shapes of `coefs_` and `intercepts_`. They act
            on X as it is, so you can pass those of another estimator of this package,
            or of scikit-learn's MLPClassifier and MLPRegressor. With `skip_layer`,
            coef_init may have `skip_coef_` as a third array.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For parameters or data out of range; the message says which.
        DivergenceError
            If the loss is not finite; it is a ValueError. An earlier fit is kept.
        """
        return self._fit(
            Request(
                X,
                y,
                sample_weight,
                groups,
                X_val,
                y_val,
                sample_weight_val,
                coef_init,
                intercept_init,
            )
        )

    @available_if(lambda self: self._check_solver())
    @with_callbacks
    def partial_fit(
        self,
        X: MatrixLike,
        y: MatrixLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: MatrixLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, continuing from the state of the estimator.

        With early stopping and validation rows, predictions use the weights of the best
        epoch so far, while training continues from the last epoch; `stop_reason_` tells
        you when to stop.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, all in `classes`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, not all zero.

        classes : array-like of shape (n_classes,), default=None
            All classes that may occur in any call; required in the first call.

        X_val, y_val : array-like, default=None
            Your own validation rows, in the form of X and y. They are never trained on:
            with early stopping they take the place of held-out rows; without it they
            are only monitored.

        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights of the validation rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For parameters or data out of range, or labels not in `classes`.
        """
        request = Request(
            X,
            y,
            sample_weight,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
            incremental=True,
            classes=classes,
        )
        self._check_partial_fit()
        return self._fit(request)

    @available_if(lambda self: self._check_solver())
    def fit_batches(
        self,
        source: Iterable[Any] | Callable[[], Iterable[Any]],
        *,
        classes: ArrayLike | None = None,
        epochs: int = 1,
    ) -> Self:
        """Train on a source of batches, for data that need not fit into memory.

        It calls partial_fit for each batch. If the source or a batch raises an error,
        the training up to then is kept.

        Parameters
        ----------
        source : iterable, or callable that returns an iterable
            Yields (X, y) or (X, y, sample_weight) as partial_fit takes them: row groups
            of a file, or rows from a database. An iterator
            works for one epoch if you pass `classes`.

        classes : array-like of shape (n_classes,), default=None
            All labels that occur. If None before the first fit, the source is read once
            to find them.

        epochs : int, default=1
            Number of passes over the source.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For a source without batches, for an iterator that would have to be read
            more than once, and for data that partial_fit does not accept.
        """
        if classes is None and not hasattr(self, "coefs_"):
            classes = labels_of(source)
        return fit_batches(self, source, epochs, classes=classes)

    def _check_partial_fit(self) -> None:
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does "
                "not see all rows at once. Pass the weights as a dict: "
                "dict(zip(classes, sklearn.utils.compute_class_weight('balanced', "
                "classes=classes, y=y))), with y of all rows or a good sample."
            )

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """The likeliest class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels as in `classes_`; for labels an indicator matrix of ints.
        """
        z2 = self._scores(X)
        labels: NDArray[Any] = self._fitted.targets.decode(z2)
        return labels

    def score(
        self, X: MatrixLike, y: MatrixLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Accuracy: the fraction of rows whose class, or all labels, are right.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels, in any form that `fit` accepts.

        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        check_y_given(y, self)
        self._refuse_collections(X=X, y=y, sample_weight=sample_weight)
        y = check_labels(y, warn=False)
        score: float = super().score(X, y, weights_for_metrics(sample_weight, y))
        return score

    def decision_function(self, X: MatrixLike) -> NDArray[Any]:
        """Raw scores z2 of the output layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), (n_samples, n_classes) or \
                (n_samples, n_labels)
            For two classes one score, positive for ``classes_[1]``.
        """
        z2 = self._scores(X)
        return z2[:, 0] if self._fitted.targets.shares_score else z2

    def predict_proba(self, X: MatrixLike) -> NDArray[Any]:
        """Probability of each class, or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the dtype of the weights, and never 0. Rows sum to 1, except with several
            labels per row, whose probabilities are independent of each other.
        """
        z2, targets = self._scores(X), self._fitted.targets
        if targets.shares_score:
            z2 = np.hstack([-z2, z2])
        with np.errstate(under="ignore"):
            targets.loss.proba(z2)
        return z2

    def predict_log_proba(self, X: MatrixLike) -> NDArray[Any]:
        """Logarithm of the probabilities, which is finite even if they are tiny.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
        """
        log_p: NDArray[Any] = np.log(self.predict_proba(X))
        return log_p

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
