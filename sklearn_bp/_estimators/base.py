"""What classifier and regressor share: fit and partial_fit from end to end.

The constructor's names become objects here (`_network`, `_solver`) and nowhere
below.  Nothing is written to the estimator before training has succeeded, but
for what scikit-learn's validation writes, and that is taken back if it fails.
"""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from sklearn_bp._common.blas import blas_threads
from sklearn_bp._estimators.inspection import InspectionMixin
from sklearn_bp._estimators.mlp_exchange import MLPExchangeMixin
from sklearn_bp._fitting.defaults import (
    AVERAGED_EPOCHS,
    FEW_ROWS,
    holds_out,
    members,
    members_to_go_on_with,
    most_members,
    penalty,
    resolve,
    rows_a_penalty,
    rows_to_repeat,
    training_dtype,
    wide_rate,
)
from sklearn_bp._fitting.early_stopping import (
    Fraction,
    Metric,
    MetricName,
    UsersData,
    is_splitter,
    split,
)
from sklearn_bp._fitting.observers import Run
from sklearn_bp._fitting.pickling import attributes_of, state_of
from sklearn_bp._fitting.reports import (
    EpochTable,
    ending,
    next_step,
    next_step_of_lbfgs,
    page_template,
)
from sklearn_bp._network.batches import (
    SCALED_BYTES,
    SMALL_BYTES,
    Data,
    row_length,
    some_rows,
)
from sklearn_bp._network.dropout import stream_of
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Parameters, Weights
from sklearn_bp._tables.columns import Columns, explained
from sklearn_bp._tables.inputs import Inputs, NewRows
from sklearn_bp._tables.reexpress import Curved, Reexpression, Scalings
from sklearn_bp._tables.rotation import Rotation, is_small, is_wide, on_columns
from sklearn_bp._tables.scaling import Scaling, fold, fold_skip, unfold, unfold_skip
from sklearn_bp._tables.targets import check_y_given
from sklearn_bp._tables.validation import (
    Boolean,
    Number,
    Part,
    bounded,
    canonical,
    check_hidden_layer_sizes,
    check_parameters,
    check_sample_weight,
    check_start,
    in_rows,
    refuse_collections,
)
from sklearn_bp._tables.values import as_features
from sklearn_bp._training.held_out import (
    HeldOut,
    ValidationSet,
    draw_folds,
    spawn,
    validation_weights,
)
from sklearn_bp._training.lbfgs import BLOCK_ROWS, LBFGS
from sklearn_bp._training.mini_batches import MiniBatches, Plan, TrainingState
from sklearn_bp._training.patience import Patience
from sklearn_bp._versions import EXTRA_FRAMES, CallbackSupportMixin
from sklearn_bp.activations import ACTIVATIONS, as_activation
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.losses._base import best_constant
from sklearn_bp.optimizers import OPTIMIZERS, adaptive, as_optimizer
from sklearn_bp.schedules import SCHEDULES, as_schedule, ends_with_max_iter

# Epochs before a call, by warm_start or partial_fit, whose losses and scores are kept.
KEPT_EPOCHS = 10_000


class BaseTwoLayer(
    InspectionMixin,
    MLPExchangeMixin,
    CallbackSupportMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """A network of one hidden layer; see the two classes made from it."""

    _constraints: ClassVar[dict[str, Any]] = {
        "activation": Part(ACTIVATIONS, ("forward", "backward")),
        "solver": Part(["lbfgs", *OPTIMIZERS], ("bind",)),
        "alpha": Number(Real, 0, also=("auto",)),
        "batch_size": Number(Integral, 1, also=("auto", "by_rows", "full")),
        "learning_rate": Part(SCHEDULES, ("factor",), function=True),
        "learning_rate_init": Number(Real, 0, closed="neither", also=("auto",)),
        "power_t": Number(Real, 0),
        "max_iter": Number(Integral, 1, also=("auto",)),
        "loss_threshold": Number(Real, -np.inf, closed="neither"),
        "init": Part(INITIALIZERS, (), function=True),
        "shuffle": Boolean(also=("blocks",)),
        "tol": Number(Real, 0),
        "verbose": Boolean(or_int=True),
        "warm_start": Boolean(),
        "momentum": Number(Real, 0, 1, closed="both"),
        "nesterovs_momentum": Boolean(),
        "early_stopping": Boolean(also=("auto",)),
        "early_stopping_metric": MetricName(),
        "validation_fraction": Fraction(Number(Real, 0, 1)),
        "beta_1": Number(Real, 0, 1),
        "beta_2": Number(Real, 0, 1),
        "epsilon": Number(Real, 0, closed="neither"),
        "n_iter_no_change": Number(Integral, 1, also=(np.inf, "auto")),
        "max_fun": Number(Integral, 1),
        "standardize": Boolean(),
        "n_members": Number(Integral, 1, also=("auto",)),
        "average": Boolean(),
        "dropout": Number(Real, 0, 1),
        "skip_layer": Boolean(),
        "scaling_layer": Boolean(),
    }

    _doc_link_module = "sklearn_bp"
    _doc_link_template = page_template()

    classes_: np.ndarray
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    skip_coef_: np.ndarray | None
    _parts: Any = None  # activation and loss of the fit
    _columns: Any = None  # a Columns, if features are encoded
    _feature_scaling: Scaling | None = None
    _running: Any = None  # statistics of all rows so far, `Running`
    _score_scaling: Scaling | None = None
    _errors: Any = None  # of validation rows, from `calibrate`
    _shifts: Any = None  # Parameters.shifts, once fitted

    @abstractmethod
    def __init__(
        self,
        hidden_layer_sizes,
        *,
        activation,
        solver,
        alpha,
        batch_size,
        learning_rate,
        learning_rate_init,
        power_t,
        max_iter,
        loss,
        loss_threshold,
        init,
        shuffle,
        random_state,
        tol,
        verbose,
        warm_start,
        momentum,
        nesterovs_momentum,
        early_stopping,
        early_stopping_metric,
        validation_fraction,
        beta_1,
        beta_2,
        epsilon,
        n_iter_no_change,
        max_fun,
        standardize,
        n_members,
        average,
        dropout,
        skip_layer,
        scaling_layer,
        categorical_features,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.loss = loss
        self.loss_threshold = loss_threshold
        self.init = init
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.early_stopping_metric = early_stopping_metric
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.standardize = standardize
        self.n_members = n_members
        self.average = average
        self.dropout = dropout
        self.skip_layer = skip_layer
        self.scaling_layer = scaling_layer
        self.categorical_features = categorical_features

    # What the two classes differ in.

    @abstractmethod
    def _encode_targets(self, y, dtype, continuing, classes, incremental):
        """Check y; return the matrix Y that the loss wants, (n, n_targets)."""

    @abstractmethod
    def _loss_object(self):
        """The object of `losses` for the parameter `loss` and the targets."""

    def _class_weighted(self, y, sample_weight, validation=False):
        """Sample weights times those of the classes; None if there are neither.

        Classes of validation rows weigh what they do in training.
        """
        return sample_weight

    @abstractmethod
    def _scale_targets(self, Y, part, dtype, continuing):
        """The targets of `NewRows` to train on, in `dtype`; learn how to scale them."""

    @abstractmethod
    def _encode_validation_targets(self, y, dtype):
        """Targets of validation rows as a matrix, after `_encode_targets`."""

    @abstractmethod
    def _calibrate(self, validate, parameters):
        """Learn from validation rows what needs no gradient."""

    def _tempers(self):
        """Whether the loss on validation rows is taken at the best temperature."""
        return False

    def _scaled_by(self):
        """The scaling of the targets, or the temperature of scores; None without."""
        return self._score_scaling

    def _in_training_units(self, Y):
        """Targets, scaled as those that are trained on."""
        return Y

    @abstractmethod
    def _stratify(self, Y):
        """What the validation split is stratified by, or None."""

    @abstractmethod
    def _validation_score(self, Y, sample_weight):
        """A function of scores z2, (n, n_outputs): what `score` would give.

        z2, which may be overwritten, are those of the fitted weights; the targets Y are
        in the user's units.
        """

    # Training.

    def _fit(self, users, sample_weight, incremental=False, classes=None):
        """Fit from the start, or from where the estimator stands, to UsersData."""
        X, y = users.X, users.y
        check_y_given(y, self)
        self._refuse_collections(X=X, y=y, sample_weight=sample_weight)
        n_hidden = self._check_parameters()
        users.check(self.validation_fraction)
        given = users, sample_weight
        continuing = hasattr(self, "coefs_") and (incremental or self.warm_start)
        continuing = continuing and not users.has_start
        # Sums and casts that overflow are seen to; they need no warning.
        overflow = np.errstate(over="ignore", invalid="ignore")
        with _all_or_nothing(self) as before, overflow:
            self._take_parts()
            if continuing:
                self._check_continuing()
            previous = self._resumed(incremental) if continuing else None
            inputs, scored_by = self._inputs(), self._scaled_by()
            X = self._check_features(
                X,
                not continuing,
                sample_weight,
                joins=continuing,
                without_ids=not incremental,
            )
            weights_dtype = X.dtype
            if X.dtype.kind != "f":  # integers, to be cast block by block
                weights_dtype = self.coefs_[0].dtype if continuing else np.dtype("f8")
            Y = self._encode_targets(y, weights_dtype, continuing, classes, incremental)
            check_consistent_length(X, Y)
            sample_weight = check_sample_weight(sample_weight, X.shape[0])
            X, Y, sample_weight, users = self._of_weight(X, Y, sample_weight, users)
            if self.alpha == "auto":
                sample_weight = in_rows(sample_weight, rows_to_repeat(self))
            network = self._network()
            network.loss.check_targets(Y)
            n_rows = X.shape[0]
            dtype = training_dtype(self, weights_dtype, n_rows)
            shares, exponent = bounded(sample_weight)
            n_before = inputs.running.n_rows if continuing and inputs.running else 0
            part = NewRows(n_rows, shares, exponent, n_before if incremental else None)
            if incremental and self._counts_rows():
                known = inputs.running if continuing else None
                part = part.known_by(X, Y, self._columns, known)
            X = self._learn_inputs(X, part, inputs if continuing else None)
            raw = X, Y
            X, scaling = self._scaled(X, dtype)
            rotation = None
            if not (continuing or incremental or users.has_start):
                n_units = n_hidden * most_members(self)
                rotation, X, scaling = self._rotated(
                    X, scaling, raw[0], shares, dtype, n_units
                )
            Y = self._scale_targets(Y, part, dtype, continuing)
            constant, tol = None, self.tol
            if self.standardize:
                constant, its_loss = best_constant(network.loss, Y, shares)
                tol *= abs(its_loss) if self._watches_a_loss() else 1
            shape = (X.shape[1], n_hidden, network.loss.n_scores(Y.shape[1]))
            if previous is None:
                n_members = members(self, n_rows, shape[0], row_length(X), shape[2])
                state = self._starting_state(shape, dtype, network, constant, n_members)
            else:
                change = self._reexpression(inputs, scored_by)
                state = self._going_on(previous, change, shape, dtype)
            if users.has_start:
                self._start_from(users, state.parameters)
            n_seen = n_rows
            if incremental and self._running is not None:
                n_seen = self._running.n_rows
            wide = 0.0
            if rotation is not None:
                wide = wide_rate(n_rows, sparse.issparse(raw[0]))
            alpha = penalty(self, n_seen, wide)
            held_out = not incremental and holds_out(self, n_rows)
            data, validate = self._training_data(
                network,
                (X, Y, sample_weight, alpha),
                scaling,
                state,
                held_out,
                (*raw, weights_dtype, users, rotation),
            )
            if self.dropout and state.dropout_stream is None:
                state.dropout_stream = stream_of(spawn(state.random_state))
            few = n_seen < FEW_ROWS
            resolved = resolve(
                self,
                data.n_rows,
                X.shape[1],
                alpha,
                few,
                n_seen=n_seen if incremental else None,
                wide=wide,
            )
            plan = Plan(
                max_iter=1 if incremental else resolved.max_iter,
                loss_threshold=self._loss_threshold(),
                validate=validate,
                cost=self._cost(validate),
                relaxes=self._relaxes(alpha) and not incremental,
                onlookers=self._tables(validate, not incremental or state.n_iter == 0),
            )
            state.patience.tol = tol
            state.patience.n_iter_no_change = resolved.n_iter_no_change
            penalty_rows = rows_a_penalty(
                self,
                n_seen if incremental else data.n_rows,
                few,
                resolved.batch_size,
            )
            solver = self._solver(data.n_rows, resolved, penalty_rows)
            n_units = n_hidden * state.parameters.n_members

            def set_fitted(estimator, result):
                estimator._set_fitted(
                    result, network.loss, resolved, validate, weights_dtype, rotation
                )
                estimator._keep_importance_basis(raw[0], shares, incremental)

            training = solver, state, plan
            with Run(self, *given, training, incremental, set_fitted, before) as run:
                with blas_threads(solver.rows_at_once * n_units * row_length(X)):
                    result = run.train(network, data)
                set_fitted(self, result)
                self._keep_state(result.state if incremental else None)
        if not incremental:
            if self.verbose:
                print(ending(result))
            self._warn(result, None if self.standardize else X)
        return self

    def _refuse_collections(self, **values):
        refuse_collections(self, **values)

    def _learns_scales(self):
        return bool(self.scaling_layer) and adaptive(self.solver)

    def _network(self):
        activation, _ = self._parts_in_use()
        return TwoLayerNetwork(as_activation(activation), self._loss_object())

    def _take_parts(self):
        """Keep activation and loss as the parameters have them: until the next fit.

        Predicting goes by these, whatever the parameters are by then.
        """
        self._parts = [copy.deepcopy(self.activation), copy.deepcopy(self.loss)]

    def _parts_in_use(self):
        """Activation and loss: those of the fit, names or objects."""
        return [self.activation, self.loss] if self._parts is None else self._parts

    def _check_continuing(self):
        """ValueError for parameters that training cannot go on with."""
        scaled = self._feature_scaling is not None
        if bool(self.standardize) != scaled:
            raise ValueError(
                f"Training goes on from weights that were fitted with standardize="
                f"{scaled}; now standardize={self.standardize} is asked for. Set it "
                "back, or set warm_start=False or use clone() to start anew."
            )

    def _check_parameters(self):
        check_parameters(self, self._constraints)
        if not isinstance(self.random_state, Integral):  # ints are checked as seeds
            check_random_state(self.random_state)
        if self.dropout and self.solver == "lbfgs":
            raise ValueError(
                f"dropout={self.dropout} changes the loss from step to step, and "
                "solver='lbfgs' needs one that stays: set dropout=0.0 or solver='adam'."
            )
        return check_hidden_layer_sizes(self)

    def _check_features(
        self,
        X,
        reset,
        sample_weight=None,
        dtype=None,
        joins=False,
        without_ids=False,
    ):
        """X as numbers, dense or CSR, in `dtype`; None: that of the fitted weights.

        Where there are none (`reset`) it is float32 or float64.

        Integers of a large array stay as they are: they are cast block by block.
        Categories are encoded and missing values filled, unless neither scaling nor
        categories are asked for.  With `joins`, levels that are new become columns, and
        so does that a column misses values.  `without_ids` is that of `Columns.fit`.
        """
        if not reset and dtype is None:
            if self._is_clean(X):
                return X
            dtype = self.coefs_[0].dtype
        self._refuse_collections(X=X)
        X = canonical(as_features(X))
        dtype = [np.float64, np.float32] if reset else [dtype]
        if _is_cast_by_blocks(X):
            dtype.append(X.dtype)
        checks = {"accept_sparse": ["csr", "csc"], "dtype": dtype}
        named = {"estimator": self, "input_name": "X"}
        if reset:
            self._columns = None
        if self._columns is None and not (reset and self._encodes()):
            with explained(X, encodes=False):
                X = validate_data(self, X, reset=reset, **checks)
        else:
            if sparse.issparse(X):
                with explained(X, encodes=True):
                    X = check_array(X, **checks, **named)
            elif not hasattr(X, "columns"):  # of a table, which is checked by column
                check_array(X, dtype=None, ensure_all_finite="allow-nan", **named)
            validate_data(self, X, skip_check_array=True, reset=reset)
            if reset:
                if sample_weight is not None:
                    sample_weight = check_sample_weight(sample_weight, _num_samples(X))
                self._columns = Columns.fit(
                    X, self.categorical_features, sample_weight, without_ids
                )
            elif joins and self._running is not None:
                if sample_weight is not None:
                    sample_weight = check_sample_weight(sample_weight, _num_samples(X))
                self._columns = self._columns.joined(
                    X, self.categorical_features, sample_weight
                )
            X = self._columns.transform(X, dtype)
            X = check_array(X, **checks, **named)
        return X.tocsr() if sparse.issparse(X) else X

    def _encodes(self):
        """Whether categories and missing values are admitted."""
        return self.standardize or self.categorical_features is not None

    @property
    def encoded_feature_names_(self):
        """Names of the rows of ``coefs_[0]``, an ndarray of str."""
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        if names is None and self._columns is not None:
            names = self._columns.input_names
        if names is None:
            names = [f"x{j}" for j in range(self.n_features_in_)]
        if self._columns is None:
            return np.array(names, dtype=object)
        return self._columns.names(names)

    def _is_clean(self, X):
        """Whether X would pass validation as it is: what predicting one row needs.

        scikit-learn's validation takes longer than the network. A sum is finite only
        if all terms are.
        """
        return (
            type(X) is np.ndarray
            and X.dtype == self.coefs_[0].dtype
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == self.n_features_in_
            and not hasattr(self, "feature_names_in_")
            and (self._columns is None or self._columns.is_plain)
            and bool(np.isfinite(X.sum()))
        )

    def _of_weight(self, X, Y, sample_weight, users, validation=False):
        """Rows that have weight, once classes have theirs: all others are absent."""
        for weigh in (False, True):
            if weigh:
                sample_weight = self._class_weighted(
                    users.own("y"), sample_weight, validation
                )
            if sample_weight is not None and not sample_weight.all():
                rows = np.flatnonzero(sample_weight)
                X, Y = some_rows(X, rows), Y[rows]
                sample_weight = sample_weight[rows]
                users = users.taken(rows)
        return X, Y, sample_weight, users

    def _counts_rows(self):
        """Whether anything depends on the rows that a stream has brought."""
        by_rows = self.alpha == "auto" or self.batch_size == "by_rows"
        return by_rows or self._encodes()

    def _inputs(self):
        """What turns the user's columns into the network's inputs."""
        return Inputs(self._columns, self._feature_scaling, self._running)

    def _learn_inputs(self, X, part, before):
        """Learn what turns columns into inputs; return X, missing values filled anew.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, n_encoded)
        part : NewRows
        before : Inputs or None
            Those of the fit that goes on.
        """
        if before is None:
            found = Inputs.of(self._columns, X, part, self.standardize)
        else:
            found, X = before.going_on(
                self._columns, before.format(X, self._columns), part
            )
        self._columns, self._feature_scaling, self._running = found
        return X

    def _scaled(self, X, dtype):
        """X to train on, and what is yet to be applied to its rows, or None.

        Large dense data is scaled block by block on its way to the network.
        """
        scaling = self._feature_scaling
        if scaling is None:
            return X, None
        if sparse.issparse(X):
            return scaling(X), None
        if isinstance(X, np.ndarray) and X.size * dtype.itemsize <= SCALED_BYTES:
            return scaling.by_blocks(X, np.empty(X.shape, dtype)), None
        return X, scaling

    def _rotated(self, X, scaling, raw, sample_weight, dtype, n_units):
        """A `Rotation`, its coordinates and None for wide data; else None, X, scaling.

        `raw` is X before it was scaled.  The coordinates of a CSR are dense, and must
        be fewer than the weights that they save.  An initializer of the user's own may
        be about the columns, and gradient descent that does not adapt its steps takes
        the same way in any coordinates.
        """
        own = self._feature_scaling
        if own is None or not (isinstance(self.init, str) and adaptive(self.solver)):
            return None, X, scaling
        n_rows = raw.shape[0]
        if sparse.issparse(raw) and not is_small(n_rows, X.shape[1] * n_units):
            return None, X, scaling
        if not is_wide(n_rows, np.count_nonzero(own.factor)):
            return None, X, scaling
        if not sparse.issparse(raw):
            raw = raw[:]  # an array, whatever it was
        rotation, Z = Rotation.of_rows(raw, own, sample_weight)
        return rotation, Z.astype(dtype), None

    def _starting_state(self, shape, dtype, network, constant, n_members):
        """A fresh state, with weights that are drawn."""
        random_state = check_random_state(self.random_state)
        parameters = Parameters.draw(
            shape,
            dtype,
            INITIALIZERS[self.init] if isinstance(self.init, str) else self.init,
            random_state,
            network.activation.glorot_factor,
            n_members,
            self.skip_layer,
            self._learns_scales(),
        )
        if constant is not None:
            parameters.b2[...] = np.tile(constant, n_members)
        patience = Patience(self.tol, self.n_iter_no_change)
        return TrainingState(parameters, patience, random_state)

    def _resumed(self, incremental):
        """The state that the estimator stands at, for the scalings that it has.

        fit with warm_start goes on from the weights, t_ and the curves, but its
        optimizer, patience and random numbers start anew.  partial_fit goes on
        with all of them.
        """
        state = getattr(self, "_training_state", None) if incremental else None
        state = copy.deepcopy(state)
        if state is None:
            return TrainingState(
                self._awake(self._unfolded(None, np.float64), drawn=False),
                Patience(self.tol, self.n_iter_no_change),
                check_random_state(self.random_state),
                n_iter=getattr(self, "n_iter_", 0) if incremental else 0,
                t=getattr(self, "t_", 0),
                loss_curve=self._curve("loss_curve_"),
                validation_losses=self._curve("validation_loss_curve_"),
                validation_scores=self._curve("validation_scores_"),
            )
        dtype = state.dtype
        if state.scaled != self._learns_scales():
            state.parameters = state.average = state.optimizer = None
            state.best = state.best_iter = None
        state.parameters = self._awake(self._unfolded(state, dtype))
        if state.average is not None:
            state.average = self._awake(state.average)
        if state.best is not None:
            best = self._awake(state.parameters.like(state.best))
            state.best = best.flat
        state.loss_curve = self._curve("loss_curve_")
        state.validation_losses = self._curve("validation_loss_curve_")
        state.validation_scores = self._curve("validation_scores_")
        if state.random_state is None:
            state.random_state = check_random_state(self.random_state)
        return state

    def _awake(self, parameters, drawn=True):
        """The parameters, ready to learn where no column has varied so far.

        All of their function is a constant then, which the output intercepts take over.
        Output weights start at 0, and input weights as they were drawn (of a fit, which
        does not keep them, as they are drawn anew): a network whose input weights are
        all 0 learns nothing.
        """
        scaling = self._feature_scaling
        if scaling is None or scaling.factor.any():
            return parameters
        network, (d, h, k) = self._network(), parameters.shape
        constant = [
            network.scores(w.astype(w.W1.dtype), np.zeros((1, d), w.W1.dtype))
            for w in parameters.members()
        ]
        if not drawn:
            parameters = Parameters.draw(
                (d, h, k),
                parameters.flat.dtype,
                INITIALIZERS[self.init] if isinstance(self.init, str) else self.init,
                check_random_state(self.random_state),
                network.activation.glorot_factor,
                *parameters.layout[3:],
            )
        parameters = parameters.copy()
        parameters.W2[...] = 0
        if parameters.V is not None:
            parameters.V[...] = 0
        parameters.b2[...] = np.concatenate(constant, axis=1).ravel()
        return parameters

    def _reexpression(self, before, scored_by):
        """What keeps the function that weights compute, with the scalings of now.

        Parameters
        ----------
        before : Inputs
        scored_by : Scaling or None
            That of the targets, before.
        """
        loss, now = self._loss_object(), self._scaled_by()
        curved = None
        if loss.n_scores(1) > 1 and scored_by is not None:
            curved = None if now is scored_by else Curved(loss, scored_by, now)
            targets = loss.targets_of_scores(len(now.factor))
            scored_by, now = (s.of_scores(targets) for s in (scored_by, now))
        d, k = self.coefs_[0].shape[0], self.n_outputs_
        origins = np.arange(d)
        if self._columns is not None:
            origins, _ = before.origins(self._columns)
        elif self._feature_scaling is not None:
            origins = np.arange(len(self._feature_scaling.factor))
        return Reexpression(
            Scalings.of(d, k, before.scaling, scored_by),
            Scalings.of(len(origins), k, self._feature_scaling, now),
            origins,
            before.fills(self._columns),
            before.running.n_rows if before.running else np.inf,
            self._network().activation.homogeneous,
            loss.degree,
            curved,
        )

    def _going_on(self, state, change, shape, dtype):
        """The state to go on from, its weights re-expressed; ValueError if they do not
        fit.
        """
        if not change.is_none:
            change.of_state(state, self._watches_a_loss())
        if state.optimizer_type is None:  # from the fitted weights, in float64
            state.parameters = state.parameters.astype(dtype)
        wanted = (*shape, members_to_go_on_with(self), bool(self.skip_layer))
        known = state.parameters.layout[:-1]
        if known != wanted:
            raise ValueError(
                "Training goes on from the fitted weights, which have (features, "
                f"hidden units, outputs, members, skip_layer) = {known}; "
                f"now {wanted} are asked for. Set warm_start=False, or use clone(), to "
                "start anew."
            )
        return state

    def _curve(self, name):
        """The last values of a curve, a new list: a call costs the same after years."""
        curve = getattr(self, name, None) or []
        return list(curve[-KEPT_EPOCHS:])

    def _start_from(self, users, parameters):
        """Overwrite drawn parameters by those that the user wants to start from."""
        coefs, intercepts, skip = check_start(
            users.coef_init,
            users.intercept_init,
            parameters.shape,
            parameters.n_members,
            self.skip_layer,
        )
        weights = Weights(coefs[0], intercepts[0], coefs[1], intercepts[1], skip)
        dtype, scaled = parameters.flat.dtype, parameters.r is not None
        start = self._packed(weights, dtype, parameters.n_members, scaled)
        parameters.flat[:] = start.flat

    def _training_data(self, network, problem, scaling, state, held_out, raw):
        """The data to learn from, and what measures parameters on the rest, or None.

        `problem` is X, Y, sample_weight and alpha; `held_out` tells whether
        early_stopping="auto" holds rows out; `raw` is X and Y before they were scaled,
        the dtype to be fitted, the user's data, and the Rotation or None.
        """
        X, Y, sample_weight, alpha = problem
        X_raw, Y_raw, dtype, users, rotation = raw
        random_state, n_members = state.random_state, state.parameters.n_members
        data = Data.weighted(X, Y, sample_weight, alpha, scaling=scaling)
        if users.has_validation:
            return data, self._users_validation(network, users, dtype, rotation)
        network = TwoLayerNetwork(network.activation, network.loss.for_validation())
        if not held_out and self.early_stopping in ("auto", False):
            return data, None

        def held_out_rows(rows, score):
            tempered = self._tempers()
            return HeldOut(network, X, Y, sample_weight, rows, scaling, score, tempered)

        one_part = is_splitter(self.validation_fraction) or self._metric().is_scorer
        if held_out and n_members > 1 and not one_part:
            folds = draw_folds(self._strata(Y), n_members, spawn(random_state))
            rows = [np.flatnonzero(folds == j) for j in range(n_members)]
            data = data.without_folds(folds, n_members)
            score = self._score_of(Y_raw, sample_weight, np.concatenate(rows))
            return data, held_out_rows(rows, score)
        train, validation = split(self, Y, random_state, users, by_strata=held_out)
        data = Data.weighted(X, Y, sample_weight, alpha, train, scaling)
        if held_out and not one_part:
            score = self._score_of(Y_raw, sample_weight, validation)
            return data, held_out_rows([validation], score)
        weights = validation_weights(sample_weight, validation)
        own = users, X_raw, validation, Y_raw[validation], weights, dtype
        return data, self._validation_set(network, rotation, *own)

    def _users_validation(self, network, users, dtype, rotation=None):
        """What measures parameters on validation data of the user's own."""
        network = TwoLayerNetwork(network.activation, network.loss.for_validation())
        rows = self._users_rows(users, dtype)
        return self._validation_set(network, rotation, *rows)

    def _users_rows(self, users, dtype):
        """What `_validation_set` wants, of validation data of the user's own."""
        try:
            X = self._check_features(users.X_val, reset=False, dtype=dtype)
            Y = self._encode_validation_targets(users.y_val, dtype)
            check_consistent_length(X, Y)
            weights = check_sample_weight(users.sample_weight_val, X.shape[0])
            own = UsersData(users.X_val, users.y_val)
            X, Y, weights, own = self._of_weight(X, Y, weights, own, validation=True)
            self._network().loss.check_targets(Y)
        except ValueError as error:
            raise ValueError(f"Of the validation data: {error}") from error
        users = replace(users, X_val=own.own("X"), y_val=own.own("y"))
        return users, X, None, Y, weights, dtype

    def _validation_set(
        self, network, rotation, users, X, rows, Y, sample_weight, dtype
    ):
        """What measures parameters on these rows of X, in the user's units."""
        target_scaling, metric = self._score_scaling, self._metric()
        score = self._score_of(Y, sample_weight)
        if metric.is_scorer:
            own = users.validation_rows(rows)

            def score(z, parameters):
                view = self._view(on_columns(parameters, rotation), dtype)
                return metric.score(view, *own, sample_weight)

        def kept(parameters):
            return self._folded(on_columns(parameters, rotation), dtype)

        return ValidationSet(
            network,
            X,
            rows,
            self._in_training_units(Y),
            sample_weight,
            kept,
            target_scaling,
            score,
            self._tempers(),
        )

    def _score_of(self, Y, sample_weight, rows=None):
        """A function of scores, in the units of training, and parameters: the score."""
        if rows is not None:
            Y, sample_weight = Y[rows], validation_weights(sample_weight, rows)
        scaling, measure = self._score_scaling, self._validation_score(Y, sample_weight)

        def score(z, parameters):
            if scaling is not None:
                z = scaling.backwards(z.astype(np.float64))
            return measure(z)

        return score

    def _view(self, parameters, dtype):
        """An estimator as it would be fitted with these parameters, to be looked at."""
        view = self._kind_in_memory().__new__(self._kind_in_memory())
        view.__dict__.update(vars(self))
        view._set_weights(self._folded(parameters, dtype))
        view.n_outputs_ = parameters.shape[2]
        return view

    def _kind_in_memory(self):
        """The class that predicts from arrays."""
        return type(self)

    def _metric(self):
        return Metric(self.early_stopping_metric)

    def _cost(self, validate):
        """What the patience watches on validation rows, or None: the training loss."""
        if validate is None or not self.early_stopping:
            return None
        return self._metric().cost

    def _relaxes(self, alpha):
        """Whether the penalty `alpha` is dropped where it helps no more."""
        return False

    def _watches_a_loss(self):
        return not self.early_stopping or self._metric().is_loss

    def _solver(self, n_rows, resolved, penalty_rows):
        """The object that trains, from the solver's name and parameters."""
        if self.solver == "lbfgs":
            return LBFGS(self.tol, self.max_fun, min(BLOCK_ROWS, n_rows))
        if isinstance(self.batch_size, Integral) and self.batch_size > n_rows:
            warnings.warn(
                f"Got batch_size={self.batch_size}, larger than the {n_rows} training "
                "rows. It is going to be clipped",
                stacklevel=4 + EXTRA_FRAMES,
            )
        optimizer = as_optimizer(
            self.solver, lambda name, default: _as_python(getattr(self, name, default))
        )
        schedule = as_schedule(
            self.learning_rate,
            resolved.learning_rate_init,
            float(self.power_t),
            resolved.max_iter,
            getattr(optimizer, "scheduled", False),
        )
        return MiniBatches(
            optimizer,
            schedule,
            resolved.batch_size,
            self.shuffle,
            AVERAGED_EPOCHS if self.average else 0,
            float(self.dropout),
            penalty_rows,
        )

    def _loss_threshold(self):
        return -np.inf if self.loss_threshold is None else self.loss_threshold

    def _tables(self, validate, header):
        """What prints the epochs, if that is asked for."""
        if not self.verbose:
            return ()
        columns = []
        if validate is not None:
            columns = [
                ("validation loss", lambda state: state.validation_losses[-1]),
                ("validation score", lambda state: state.validation_scores[-1]),
            ]
        return (EpochTable(max(1, int(self.verbose)), columns, header),)

    def _set_fitted(self, result, loss, resolved, validate, dtype, rotation=None):
        """All fitted attributes, at once."""
        state = result.state
        if validate is not None:
            self._calibrate(validate, result.parameters)
        parameters = on_columns(result.parameters, rotation)
        self._set_weights(self._folded(parameters, dtype))
        self._shifts = parameters.shifts()  # going on begins where it ended
        self.n_outputs_ = parameters.shape[2]
        self.n_layers_ = 3
        self.n_members_ = parameters.n_members
        self.out_activation_ = loss.out_activation
        for name, value in resolved._asdict().items():
            setattr(self, name + "_", value)
        self.n_iter_ = state.n_iter
        self.best_iter_ = result.best_iter
        self.stop_reason_ = result.reason
        self.engine_ = state.engine
        self.t_ = state.t
        self.loss_curve_ = state.loss_curve
        self.loss_ = state.loss_curve[-1]
        watched = validate is not None and bool(self.early_stopping)
        self.best_loss_ = None if watched else state.patience.best
        self.validation_loss_curve_ = state.validation_losses or None
        self.validation_scores_ = state.validation_scores or None
        self.best_validation_score_ = None
        if watched and state.validation_scores:
            at = len(state.validation_scores) - 1 - (state.n_iter - result.best_iter)
            self.best_validation_score_ = state.validation_scores[at]

    def _set_weights(self, weights):
        self.coefs_ = [weights.W1, weights.W2]
        self.intercepts_ = [weights.b1, weights.b2]
        self.skip_coef_ = weights.V

    def _folded(self, parameters, dtype):
        """`Weights` of one network on the user's columns, in the user's units.

        In `dtype`, that of X, or in float64.
        """
        scalings = self._feature_scaling, self._score_scaling
        if scalings == (None, None):
            (W1, W2), (b1, b2) = parameters.unpack()
            return Weights(W1, b1, W2, b2, parameters.unpack_skip())
        if not all(s is None or s.folds_in(dtype) for s in scalings):
            dtype = np.float64
        return self._fold(parameters.mean()).astype(dtype)

    def _fold(self, weights):
        """`Weights` in float64, with the scalings folded in."""
        scalings = self._feature_scaling, self._score_scaling
        W1, b1, W2, b2, V = weights
        (W1, W2), (b1, b2) = fold([W1, W2], [b1, b2], *scalings)
        if V is not None:
            V, b2 = fold_skip(V, b2, *scalings)
        return Weights(W1, b1, W2, b2, V)

    def _unfolded(self, state, dtype):
        """The parameters that the fitted weights were folded from, in `dtype`.

        Those of `state`, if it is not None, unless the weights were changed since.
        """
        if state is not None and state.parameters is not None:
            weights = self._folded(state.chosen.folded(), self.coefs_[0].dtype)
            if all(map(np.array_equal, weights, self._fitted_weights())):
                return state.parameters
            state.average = state.best = state.best_iter = None
        n_members = members_to_go_on_with(self)
        if len(self.intercepts_[0]) % n_members:
            n_members = self.n_members_  # `_going_on` tells that they do not fit
        return self._from_fitted(dtype, n_members, self._learns_scales())

    def _from_fitted(self, dtype, n_members, scaled=False):
        """The parameters of members whose mean, folded, is what was fitted."""
        weights = self._fitted_weights()
        parameters = self._packed(weights, dtype, n_members, scaled)
        if self._shifts is not None:
            pairs = zip((parameters.b2, parameters.V), self._shifts, strict=True)
            for values, shifts in pairs:
                if values is not None and np.shape(shifts) == values.shape:
                    values += shifts
        return parameters

    def _packed(self, weights, dtype, n_members, scaled=False):
        """The parameters, on scaled columns, of members whose mean the weights are."""
        W1, b1, W2, b2, V = weights
        scalings = self._feature_scaling, self._score_scaling
        if scalings != (None, None):
            if V is not None:
                V, b2 = unfold_skip(V, b2, *scalings)
            (W1, W2), (b1, b2) = unfold([W1, W2], [b1, b2], *scalings)
        return Parameters.pack([W1, W2], [b1, b2], dtype, n_members, V, scaled)

    def _fitted_weights(self):
        (W1, W2), (b1, b2) = self.coefs_, self.intercepts_
        return Weights(W1, b1, W2, b2, getattr(self, "skip_coef_", None))

    def _keep_state(self, state):
        """Keep what partial_fit needs to go on and the fitted attributes lack."""
        self._training_state = state
        if state is None:
            del self._training_state
            return
        scalings = self._feature_scaling, self._score_scaling
        one = self.n_members_ == 1 and state.average is state.best is None
        if one and scalings == (None, None) and not state.scaled:
            state.parameters = None  # they are the fitted weights
        state.loss_curve = state.validation_losses = state.validation_scores = None
        if not isinstance(self.random_state, Integral):
            state.random_state = None  # numpy's global one, or the user's own
        elif state.order is not None:
            state.order = state.order.astype(np.min_scalar_type(len(state.order)))

    def _warn(self, result, X):
        """Warn of what a user should change; X, if it was not scaled, may tell what."""
        if result.reason == "interrupted":
            text, category = "Training interrupted by user.", UserWarning
        elif self.max_iter == "auto" or ends_with_max_iter(self.learning_rate):
            return  # to reach max_iter is what is expected
        elif result.reason == "max_iter":
            text, category = (
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet. "
                f"{next_step(result, X, self.learning_rate_init_)}",
                ConvergenceWarning,
            )
        elif result.reason.startswith("status="):
            text, category = (
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) "
                f"({result.reason}). "
                f"{next_step_of_lbfgs(result.reason, X, self.max_iter, self.max_fun)}",
                ConvergenceWarning,
            )
        else:
            return
        warnings.warn(text, category, stacklevel=4 + EXTRA_FRAMES)

    # Prediction.

    def _scores(self, X):
        """Scores z2 of the rows of X, (n, n_outputs)."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        network = self._network()
        with np.errstate(over="ignore", invalid="ignore"):
            X = self._check_features(X, reset=False)
            return network.scores(self._fitted_weights(), X)

    def _member_scores(self, X):
        """The scores of each member, a list of (n, n_outputs); `_scores` is their mean.

        Their number is that of the fit, whatever `n_members` is by now.
        """
        check_is_fitted(self)
        dtype = self.coefs_[0].dtype
        network = self._network()
        with np.errstate(over="ignore", invalid="ignore"):
            X = self._check_features(X, reset=False)
            members = self._from_fitted(np.float64, self.n_members_).members()
            return [network.scores(self._fold(m).astype(dtype), X) for m in members]

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is "
                "not stochastic."
            )
        return True

    def _check_partial_fit(self, users):
        if self.early_stopping not in ("auto", False) and not users.has_validation:
            raise ValueError(
                "partial_fit does not support early_stopping=True without validation "
                "data of its own: pass X_val and y_val."
            )

    def __getstate__(self):
        self._measure_importances()
        state = state_of(super().__getstate__())
        if "_importance_basis" in state:
            state["_importance_basis"] = self._pickled_importance_basis()
        return state

    def __setstate__(self, state):
        super().__setstate__(attributes_of(state, type(self)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._encodes()
        return tags


def _is_cast_by_blocks(X):
    """Whether X is an array of integers that would be large in float64."""
    is_array = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biu"
    return is_array and 8 * X.size > SMALL_BYTES


def _as_python(value):
    """A float for any number: numpy's float32 would make all arithmetic its own."""
    return value if isinstance(value, bool | np.bool_ | None) else float(value)


@contextmanager
def _all_or_nothing(estimator):
    """Put the estimator back as it was if the block raises; yields what it was."""
    before = vars(estimator).copy()
    try:
        yield before
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
