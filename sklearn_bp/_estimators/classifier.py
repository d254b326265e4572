"""The classifier."""

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from sklearn_bp._estimators.base import BaseTwoLayer
from sklearn_bp._estimators.fit_batches import fit_batches, labels_of
from sklearn_bp._fitting.parameters import OF_CLASSIFIER, store, with_names
from sklearn_bp._fitting.request import Request
from sklearn_bp._tables.class_targets import ClassTargets
from sklearn_bp._tables.targets import check_labels, check_y_given
from sklearn_bp._tables.values import unmasked
from sklearn_bp._versions import with_callbacks


@with_names
class TwoLayerClassifier(ClassifierMixin, BaseTwoLayer):
    """Classifier of one hidden layer, trained by backpropagation.

    Minimizes the log-loss, or the squared error, by mini-batch gradient descent
    or L-BFGS [1]_. Two classes, several classes, and several labels at once
    (label indicator matrices).

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of one int, default=(64,)
        Number of hidden units, of each of the `n_members` networks.

    activation : {...} or object, default='relu'
        Activation of the hidden layer; an object of `sklearn_bp.activations`, say
        LeakyReLU(0.1); or one of your own with ``forward(z)`` and
        ``backward(a, delta)``, as described there.

    solver : {...} or object, default='adam'
        'sgd' is mini-batch gradient descent with momentum, 'adam' the method of
        Kingma and Ba [3]_, 'adamw' the same with decoupled weight decay, 'rmsprop'
        that of Tieleman and Hinton, 'lbfgs' a quasi-Newton method that takes all rows
        in each iteration and computes in float64. Or an object of
        `sklearn_bp.optimizers` with parameters of its own, say
        AdamW(weight_decay=0.1, clip_norm=1.0).

    alpha : float or 'auto', default='auto'
        Strength of the penalty alpha / 2 (||W1||^2 + ||W2||^2) on the weights
        (not the intercepts). It is divided by the number of rows, or by the sum
        of the sample weights; in a step of 'sgd' or 'adam' by the rows of the batch.
        'auto' is 0.1 (100 / n_samples)^1.5, 1 for fewer than 100 rows (wide data: 0.3)
        and for 'lbfgs', and 0 for 'adamw'; times the rows of a batch over those of the
        default, and with weights in units of their mean (or, where they are whole
        multiples of a number and fewer than 100 such rows, of that number): neither
        the unit of the weights nor `batch_size` matters to the penalty.

    batch_size : int, 'by_rows', 'auto' or 'full', default='by_rows'
        Rows a mini-batch: 'by_rows' is the power of two nearest to a 67th of the
        rows, from 32 to 256, and all rows if they are fewer than 100; 'auto' is
        scikit-learn's min(200, n_samples), 'full' all rows (batch gradient descent),
        1 is stochastic gradient descent. Not used by 'lbfgs'.

    learning_rate : {...}, object or callable, default='constant'
        Schedule of the rate. 'invscaling' and 'adaptive' are for 'sgd', as in
        scikit-learn: learning_rate_init / (t + 1) ** power_t after t training rows; or
        constant, but divided by 5 whenever the patience is used up, until it is below
        1e-6. 'cosine' and 'one_cycle' change from step to step, down to nothing after
        `max_iter` epochs; objects of `sklearn_bp.schedules` have parameters of their
        own. A function takes the number of the step, from 0, and returns what
        `learning_rate_init` is multiplied by. Not used by 'lbfgs'.

    learning_rate_init : float or 'auto', default='auto'
        Initial learning rate of all solvers but 'lbfgs'. 'auto' is 0.01 for up to 10
        features, 0.01 sqrt(10 / n_features) for more, and 0.002 at least; 0.03
        for wide data (see `standardize`), 0.02 if it is sparse, times
        sqrt(400 / n_samples) from 400 rows on.

    power_t : float, default=0.5
        Exponent of 'invscaling'.

    max_iter : int or 'auto', default='auto'
        Epochs at most; for 'lbfgs', iterations. 'auto' is 400, and 200 for fewer than
        100 rows (wide data: 60); to reach it is no reason for a warning.

    loss : {...} or object, default='log_loss'
        'log_loss' is the cross-entropy on a softmax (two classes and labels: a
        sigmoid). 'squared_error' is half the sum of squares of the early texts on
        sigmoid outputs, one a class (two classes share one), differentiated
        through the sigmoid; predict_proba divides them by their sum. Or an object,
        say LogLoss(label_smoothing=0.1) of `sklearn_bp.losses`, or one of your own,
        derived from ClassLoss.

    loss_threshold : float, default=None
        Stop as soon as an epoch's loss is below it.

    init : {...} or callable, default='he_normal'
        Starting weights, or a function of (random_state, fan_in, fan_out,
        glorot_factor) that returns weights and intercepts. 'glorot_uniform' is uniform
        in +- sqrt(6 / (fan_in + fan_out)) [2]_ (2 instead of 6 for 'logistic'),
        intercepts too;
        'he_normal' and 'lecun_normal' have variance 2 / fan_in and 1 / fan_in and
        intercepts zero; 'normal' is the unit normal for weights and intercepts;
        'zeros' shows why hidden units must start differently.

    shuffle : bool or 'blocks', default=True
        Whether to shuffle the rows before each epoch. 'blocks' is for files larger than
        memory: stretches of 4 MB are shuffled, then the rows of 16 of these together.

    random_state : int, RandomState instance or None, default=None
        Draws the starting weights, the validation split and the order of rows.
        Pass an int for results that repeat.

    tol : float, default=1e-4
        Smallest improvement of the loss (of the validation score, with early
        stopping) that counts; for 'lbfgs', the largest component of the gradient
        at which it ends.

    verbose : bool or int, default=False
        Whether to print a table of the epochs: the loss, that of the rows held out,
        the learning rate, the seconds so far. An int prints every so many epochs.

    warm_start : bool, default=False
        Whether fit goes on from the weights of the last fit. Optimizer and
        patience start anew, so new data is welcome.

    momentum : float in [0, 1], default=0.9
        Momentum of 'sgd'.

    nesterovs_momentum : bool, default=True
        Whether the momentum of 'sgd' is Nesterov's.

    early_stopping : bool or 'auto', default='auto'
        'auto' holds rows out in turn: each row takes no part in the training of one
        of the `n_members` networks. Training ends when the loss on these rows, each
        scored by the network that has not learnt it, has not improved for
        `n_iter_no_change` epochs; the weights of the best epoch are kept. The scores
        are then divided by a temperature, the one at which that loss is least [5]_.
        A single network holds out `validation_fraction` of the rows. Nothing is held
        out of fewer than 100 rows, with 'lbfgs', and in partial_fit.
        True holds out `validation_fraction` of the rows of all networks and stops
        when `early_stopping_metric` on them has not improved for as long. The split
        is stratified by class; where rows are too few for that, one of each class
        stays in training, one or two others at least are held out, and a warning
        says so. With fewer than 100 rows and alpha='auto', copies of a row stay on
        one side of the split, and a weight of k counts as k copies. partial_fit holds
        nothing out.
        False stops by the training loss. Rows passed to fit as `X_val` and `y_val`
        take the place of those held out; partial_fit knows no others.

    early_stopping_metric : {'loss', 'score'}, str or callable, default='loss'
        What early stopping watches: the loss without the penalty; what `score` returns;
        the name of a scorer, or a function of (estimator, X, y) that returns a float,
        larger being better, which gets a fitted estimator and the rows as they were
        passed.

    validation_fraction : float or splitter, default=0.1
        Share of the rows to hold out: with early_stopping=True, and with 'auto' if
        `n_members` is 1. Or an object with ``split(X, y, groups)``, as those of
        sklearn.model_selection, whose last split is taken: GroupShuffleSplit for
        grouped rows (pass `groups` to fit), TimeSeriesSplit for ordered ones.

    beta_1, beta_2 : float in [0, 1), default=0.9, 0.999
        Decay rates of the moments of 'adam'.

    epsilon : float, default=1e-8
        Added to the root of the second moment in 'adam'.

    n_iter_no_change : int, inf or 'auto', default='auto'
        Patience: training ends after more than this many epochs in a row without
        an improvement of `tol`. 'auto' is 300 steps (wide data: 80), and 8
        epochs at least.

    max_fun : int, default=15000
        Evaluations of loss and gradient at most, for 'lbfgs'.

    standardize : bool, default=True
        Whether to train on scaled features. A feature becomes
        (x - median) / max(interquartile range, largest deviation / 8), one of two
        values (x - mean) / (difference of the two); sparse ones are divided by their
        largest absolute value. The scaling is folded into `coefs_` and
        `intercepts_`, which act on X as it is. The output intercepts start at the
        best constant, and `tol` counts in units of its loss. `alpha` and
        `loss_curve_` refer to scaled data. partial_fit and warm_start go by all rows
        so far: the scaling follows them, and the weights are re-expressed so that
        scores stay.
        With at least five columns that vary for each row, up to 2,000 rows, `fit`
        trains 'adam' and 'adamw' on the rows' principal components, times one
        factor, and folds these too; `alpha` and 'auto' are then about components.

    n_members : int or 'auto', default='auto'
        Networks trained side by side, of `hidden_layer_sizes` units each, from
        different starting weights. What they become is one network of all their
        units, whose scores are the mean of theirs. 'auto' stands for 8, but for 4 or
        2 where a row costs much: its outputs and, of a CSR, its stored numbers and the
        columns over an eighth of a batch by rows, together more than 1,024 or 1,536.
        partial_fit and warm_start go on with the number of the first fit.

    average : bool, default=True
        Whether to keep not the last weights but their exponential moving average
        over two epochs [4]_. Not used by 'lbfgs'.

    dropout : float in [0, 1), default=0.0
        Share of the hidden units left out in training, drawn anew for each row and
        step [6]_; those left count 1 / (1 - dropout) times, and predicting uses all.
        `loss_curve_` is the loss with units left out. Not for 'lbfgs'.

    skip_layer : bool, default=False
        Whether there are weights from the features straight to the outputs too, as of
        R's nnet: the network is then a linear model and what hidden units add to it.
        They start at 0, and `alpha` holds for them.

    scaling_layer : bool, default=False
        Whether to learn a scale for each feature too, which multiplies its weights to
        all hidden units, starts at 1 and ends folded into `coefs_`. It moves three
        times as fast as a weight; `alpha` is for the weights without it. Used by the
        solvers whose steps do not depend on the length of the gradient: 'adam',
        'adamw', 'rmsprop'.

    categorical_features : 'from_dtype', array-like of bool, int or str, or None, \
            default='from_dtype'
        Columns that hold categories, as of HistGradientBoostingClassifier: a mask,
        indices or names, or 'from_dtype' for the columns of a DataFrame that hold
        categories or strings. Each level gets a column of zeros and ones; of levels
        that training has not seen, all are zero. Levels of another kind are refused,
        say numbers where training had strings. The columns of a table with many levels
        are kept sparse. With 'from_dtype' `fit` leaves out, with a warning, columns of
        more than 50 levels, and of more than half as many as there are rows: names of
        the rows. None: no column.

    class_weight : dict, 'balanced', list of dicts or None, default=None
        Weights of the classes, {label: weight}, 1 for those not named; 'balanced' is
        n_samples / (n_classes * their numbers of rows), over training rows of weight.
        They multiply `sample_weight`, also where rows held out or `X_val` are scored.
        For label indicator matrices a dict per column. partial_fit, which does not see
        all rows, takes no 'balanced'.

    temperature_scaling : bool or 'auto', default='auto'
        Whether to divide the scores by the temperature at which the log-loss on the
        validation rows is least [5]_, wherever there are such rows; the likeliest class
        stays. 'auto': with early_stopping='auto'.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; for a label indicator matrix the numbers of its columns.

    coefs_ : list of two ndarrays, (n_features, n_hidden), (n_hidden, n_outputs)
        Weights of the hidden layer and of the output layer, in the dtype of X;
        n_hidden is `hidden_layer_sizes` times `n_members_`. float64 for float32 data
        too where a scaled feature or target is offset by 1000 times its width, or
        more.

    intercepts_ : list of two ndarrays, (n_hidden,) and (n_outputs,)
        Their intercepts.

    skip_coef_ : ndarray of shape (n_features, n_outputs) or None
        Weights from the features to the outputs, the mean of those of the members;
        None without `skip_layer`.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit, if X had names that are all strings.

    encoded_feature_names_ : ndarray of str
        Names of the rows of ``coefs_[0]``: the numeric columns; then
        'missingindicator_NAME' for each that missed values in training; then
        'NAME_LEVEL' for each level of the categorical columns.

    feature_importances_ : ndarray of shape (n_features,)
        How much the scores change with each feature: the mean absolute derivative over
        64 training rows, of partial_fit the last 32 that were looked at, times the
        feature's standard deviation; they sum to 1.

    n_outputs_ : int
        Number of output units.

    n_layers_ : int
        3, as in scikit-learn, which counts the inputs.

    n_members_ : int
        Networks that were trained side by side.

    alpha_, batch_size_, learning_rate_init_, max_iter_, n_iter_no_change_ : \
            int or float
        The values that training used.

    out_activation_ : str
        Name of the output activation.

    n_iter_ : int
        Epochs (iterations of 'lbfgs') of the last fit, or of all calls of
        partial_fit.

    best_iter_ : int
        The epoch, counted from 1, whose weights were kept: the one that was best by
        `early_stopping_metric`, or the last.

    stop_reason_ : str
        Why training ended: 'tol' (the training loss no longer fell), 'patience' (the
        validation rows' metric did not improve), 'max_iter', 'loss_threshold',
        'callback', 'interrupted', or what scipy says of 'lbfgs'. Of partial_fit
        'max_iter', until the patience is used up; further calls go on all the same.

    t_ : int
        Training rows seen: the sum over epochs.

    loss_ : float
        The last epoch's loss, penalty included.

    best_loss_ : float or None
        The smallest loss of an epoch; None where early stopping watched another.

    loss_curve_ : list of float
        The loss of each epoch, and of at most 10,000 epochs in all from before the last
        call, with warm_start and partial_fit; likewise the two that follow.

    validation_loss_curve_ : list of float or None
        The loss on the validation rows after each epoch, without the penalty, in the
        units of `loss_curve_`; None if there are none.

    validation_scores_ : list of float or None
        The score on them, or what the scorer `early_stopping_metric` gave.

    best_validation_score_ : float or None
        That of the epoch that was kept, with early stopping.

    temperature_ : float
        What the scores are divided by, as chosen by the last fit that held rows out;
        1 if none did.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : The same network, and deeper ones.

    Notes
    -----
    The loss of a weighted training set is sum_i w_i loss_i / sum_i w_i: weights
    are normalized over the whole set, so a mini-batch of b rows contributes the
    sum of w_i grad_i / (b mean(w)).

    After fit only the weights are kept, so a later partial_fit begins with a
    fresh optimizer. partial_fit keeps the optimizer, so with an int
    `random_state` n calls of it on the same data equal fit with max_iter=n, where fit
    holds no rows out: with early_stopping=False, or fewer than 100 rows.

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
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_bp import TwoLayerClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = TwoLayerClassifier(20, solver="lbfgs", alpha=1, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    __module__ = "sklearn_bp"  # what files of fitted estimators name

    _parameters = OF_CLASSIFIER
    _targets_kind = ClassTargets

    def __init__(
        self,
        hidden_layer_sizes=(64,),
        *,
        activation="relu",
        solver="adam",
        alpha="auto",
        batch_size="by_rows",
        learning_rate="constant",
        learning_rate_init="auto",
        power_t=0.5,
        max_iter="auto",
        loss="log_loss",
        loss_threshold=None,
        init="he_normal",
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping="auto",
        early_stopping_metric="loss",
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change="auto",
        max_fun=15000,
        standardize=True,
        n_members="auto",
        average=True,
        dropout=0.0,
        skip_layer=False,
        scaling_layer=False,
        categorical_features="from_dtype",
        class_weight=None,
        temperature_scaling="auto",
    ):
        store(self, locals())

    @with_callbacks
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        groups=None,
        coef_init=None,
        intercept_init=None,
    ):
        """Fit the network to labelled rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features. float32 is kept, all else counts as float64; CSR stays sparse,
            CSC becomes CSR. Unless `standardize` is False and `categorical_features`
            is None, columns may hold categories, and NaN for missing numbers: these
            become the column's median, and a column of zeros and ones tells where. The
            masked entries of a masked array are missing.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, all strings, numbers without a fraction, booleans or dates of
            numpy; or a label indicator matrix of zeros and ones, dense or sparse.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, not all zero.

        X_val, y_val : array-like, default=None
            Validation rows of your own, as X and y. They are never learnt from: with
            early stopping they take the place of rows held out, without it they are
            only watched.

        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, for a splitter as `validation_fraction`.

        coef_init, intercept_init : list of ndarrays, default=None
            Weights to start from, in the shapes of `coefs_` and `intercepts_`, which
            act on X as it is: those of another estimator of this package, or of
            scikit-learn's MLPClassifier and MLPRegressor. With `skip_layer` coef_init
            may have `skip_coef_` as a third.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For parameters or data out of range; the message says which.
        DivergenceError
            A ValueError: the loss is not finite. What was fitted before is kept.
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
        X,
        y,
        sample_weight=None,
        classes=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
        """Train for one epoch, going on from where the estimator stands.

        With early stopping and validation rows, the best epoch's weights so far are
        those that predict, while training goes on from the last; `stop_reason_` tells
        when it is time to stop.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, all in `classes`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0, not all zero.

        classes : array-like of shape (n_classes,), default=None
            All classes that any call will bring; needed in the first call.

        X_val, y_val : array-like, default=None
            Validation rows of your own, as X and y. They are never learnt from: with
            early stopping they take the place of rows held out, without it they are
            only watched.

        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

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
    def fit_batches(self, source, *, classes=None, epochs=1):
        """Train on a source of batches: data that need not fit into memory.

        Calls partial_fit for each batch. What was trained before an error, in the
        source or in a batch, stays.

        Parameters
        ----------
        source : iterable, or callable that returns an iterable
            Yields (X, y) or (X, y, sample_weight), as of partial_fit: row groups of a
            file, rows from a database. An iterator serves for one epoch with `classes`
            given.

        classes : array-like of shape (n_classes,), default=None
            All labels that occur. If None, and nothing is fitted yet, the source is
            read once to find them.

        epochs : int, default=1
            Passes over the source.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For a source without batches, an iterator that would have to be read more
            than once, and what partial_fit refuses.
        """
        if classes is None and not hasattr(self, "coefs_"):
            classes = labels_of(source)
        return fit_batches(self, source, epochs, classes=classes)

    def _check_partial_fit(self):
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit, which does "
                "not see all rows at once. Pass the weights as a dict: "
                "dict(zip(classes, sklearn.utils.compute_class_weight('balanced', "
                "classes=classes, y=y))), with y of all rows or a good sample."
            )

    def predict(self, X):
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
        return self._fitted.targets.decode(z2)

    def score(self, X, y, sample_weight=None):
        """Share of rows whose class, or all of whose labels, are predicted right.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels, in any of the forms that `fit` takes.

        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        check_y_given(y, self)
        self._refuse_collections(X=X, y=y, sample_weight=sample_weight)
        sample_weight = unmasked(sample_weight, "sample_weight")
        return super().score(X, check_labels(y, warn=False), sample_weight)

    def decision_function(self, X):
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

    def predict_proba(self, X):
        """Probability of each class, or of each label.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the dtype of the weights, never 0. Rows sum to 1, except for labels,
            whose probabilities are independent of each other.
        """
        z2, targets = self._scores(X), self._fitted.targets
        if targets.shares_score:
            z2 = np.hstack([-z2, z2])
        targets.loss.proba(z2)
        return z2

    def predict_log_proba(self, X):
        """Logarithm of the probabilities, finite also where these are tiny.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
        """
        return np.log(self.predict_proba(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
