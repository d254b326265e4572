"""The common base of classifier and regressor: fit, partial_fit and scores.

Fitting itself is in `_fitting`; only `_take` writes its result to the estimator.
"""

from abc import ABCMeta
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._common.types import Array, MatrixLike
from sklearn_bp._estimators.inspection import InspectionMixin
from sklearn_bp._estimators.mlp_exchange import MLPExchangeMixin
from sklearn_bp._fitting.codec import attributes_of, state_of
from sklearn_bp._fitting.fit import fit
from sklearn_bp._fitting.fitted_network import FittedNetwork
from sklearn_bp._fitting.importances import to_be_pickled
from sklearn_bp._fitting.observers import Run
from sklearn_bp._fitting.parameters import Parameter
from sklearn_bp._fitting.recipe import Recipe
from sklearn_bp._fitting.reports import ending, page_template, warn_of
from sklearn_bp._fitting.request import Request
from sklearn_bp._fitting.rows import MemoryRows
from sklearn_bp._fitting.start import Start
from sklearn_bp._network.parameters import Weights
from sklearn_bp._tables.features import check_features, is_clean, refuse_collections
from sklearn_bp._tables.piecewise_linear import PiecewiseLinear
from sklearn_bp._tables.targets import check_y_given
from sklearn_bp._tables.weights import NoWeightError
from sklearn_bp._versions import CallbackSupportMixin


class BaseTwoLayer(
    InspectionMixin,
    MLPExchangeMixin,
    CallbackSupportMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """A network of one hidden layer; see the two classes made from it."""

    # The two classes differ in these.
    _parameters: ClassVar[dict[str, Parameter]]  # of the constructor
    _targets_kind: ClassVar[Any]  # ClassTargets or RealTargets

    _doc_link_module = "sklearn_bp"
    _doc_link_template = page_template()

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    skip_coef_: np.ndarray | None
    feature_limits_: np.ndarray | None
    _fitted: FittedNetwork  # except for its weights, which are public
    _training_state: Any = None  # from which partial_fit resumes

    # Training.

    def _fit(self, request: Request) -> Self:
        """Fit to a Request, from scratch or continuing from the earlier fit."""
        check_y_given(request.y, self)
        self._refuse_collections(
            X=request.X, y=request.y, sample_weight=request.sample_weight
        )
        return self._fit_rows(request, MemoryRows)

    def _fit_rows(self, request, rows_of):
        """Fit to `rows_of(request, feature_record)`, in memory or on a cluster."""
        recipe = Recipe.of(self)
        request.check(recipe.validation_fraction)
        start = self._start(recipe, request)
        rows = rows_of(request, self._feature_record(recipe, start))
        # What is beyond a dtype is handled; it needs no warning, and must not raise.
        beyond = np.errstate(over="ignore", invalid="ignore", under="ignore")
        try:
            with Run(self, request) as run, beyond:
                done = fit(recipe, rows, start, run.begin)
                state = done.kept_state(recipe) if request.incremental else None
                self._take(done.attributes() | {"_training_state": state})
        except NoWeightError:
            if start is None or not request.incremental:
                raise
            return self  # the rows of such a part are absent
        if not request.incremental:
            if self.verbose:
                print(ending(done.result))
            warn_of(done, recipe)
        return self

    def _start(self, recipe, request):
        """The `Start` that training continues from, or None to start from scratch."""
        continues = hasattr(self, "coefs_") and (request.incremental or self.warm_start)
        if not continues or request.has_start:
            return None
        curves = (
            "loss_curve_",
            "validation_loss_curve_",
            "validation_scores_",
            "data_loss_curve_",
        )
        start = Start(
            self._fitted_network(),
            self._training_state,
            getattr(self, "n_iter_", 0),
            getattr(self, "t_", 0),
            tuple(getattr(self, name, None) for name in curves),
            self._importance_basis,
            request.incremental,
        )
        start.check(recipe)
        return start

    def _feature_record(self, recipe, start):
        """A new estimator on which scikit-learn's validation records the features."""
        record = type(self)(**recipe.parameters)
        if start is not None:
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(self, name):
                    setattr(record, name, getattr(self, name))
        return record

    def _take(self, attributes):
        """Store the fitted attributes: the only place where an estimator is written.

        All are stored at once, so that Ctrl-C comes before or after them.
        """
        kept = vars(self).copy()
        kept.pop("feature_names_in_", None)
        self.__dict__ = kept | attributes

    def _kind_in_memory(self):
        """The class that predicts from arrays."""
        return type(self)

    def _refuse_collections(self, **values):
        refuse_collections(self, **values)

    # Prediction.

    def _fitted_network(self):
        """The `FittedNetwork`, with the current values of the public attributes."""
        return self._fitted.with_attributes(self._weights(), self)

    def _weights(self):
        (W1, W2), (b1, b2) = self.coefs_, self.intercepts_
        return Weights(W1, b1, W2, b2, self.skip_coef_)

    def _check_features(self, X):
        """X as encoded numbers in the dtype of the weights, dense or CSR."""
        dtype, columns = self.coefs_[0].dtype, self._fitted.columns
        if is_clean(X, dtype, self, columns):
            return X
        self._refuse_collections(X=X)
        X, _ = check_features(self, X, [dtype], columns)
        return X

    def _scores(self, X: MatrixLike) -> Array:
        """Scores z2 of the rows of X, (n, n_outputs)."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            fitted, weights = self._fitted, self._weights()
            dtype, columns = weights.W1.dtype, fitted.columns
            limits = getattr(self, "feature_limits_", None)
            if (
                limits is not None
                and fitted.inputs.bins is None
                and is_clean(X, dtype, self, columns, limits)
            ):  # a few rows that need no conversion, encoding or replacement
                return fitted.network.scores(weights, X)
            return fitted.scores_by(weights, self._check_features(X), limits)

    def _member_scores(self, X):
        """Scores of each ensemble member, a list of (n, n_outputs).

        Their mean is `_scores`. There are as many as were fitted, even if `n_members`
        has been set since.
        """
        check_is_fitted(self)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return self._fitted_network().member_scores(self._check_features(X))

    @property
    def encoded_feature_names_(self) -> NDArray[Any]:
        """Names of the rows of ``coefs_[0]``, an ndarray of str."""
        check_is_fitted(self)
        names, columns = getattr(self, "feature_names_in_", None), self._fitted.columns
        if names is None and columns is not None:
            names = columns.input_names
        if names is None:
            names = [f"x{j}" for j in range(self.n_features_in_)]
        if columns is None:
            names = np.array(names, dtype=object)
        else:
            names = columns.names(names)
        bins = self._fitted.inputs.bins
        return names if bins is None else np.append(names, bins.names(names))

    def _check_solver(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is "
                "not stochastic."
            )
        return True

    def __getstate__(self):
        self._measure_importances()
        state = state_of(super().__getstate__())
        if "_importance_basis" in state:
            state["_importance_basis"] = to_be_pickled(self._importance_basis)
        return state

    def __setstate__(self, state):
        super().__setstate__(attributes_of(state, type(self)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        named = self.categorical_features is not None and not isinstance(
            self.categorical_features, str
        )
        in_bins = isinstance(self.numeric_encoding, PiecewiseLinear)
        tags.input_tags.sparse = not (named or in_bins)
        tags.input_tags.allow_nan = bool(
            self.standardize or self.categorical_features is not None
        )
        return tags
