"""Conversion to and from scikit-learn's MLPClassifier and MLPRegressor."""

from itertools import chain
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._fitting.defaults import TOLERANCE, rows_per_batch
from sklearn_bp._fitting.fitted_network import FittedNetwork
from sklearn_bp._fitting.parameters import MLP_DEFAULTS
from sklearn_bp._fitting.recipe import Recipe
from sklearn_bp._fitting.request import Request
from sklearn_bp._fitting.settings import Settings
from sklearn_bp._fitting.trainings import Fit
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.inputs import Inputs
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingResult, TrainingState
from sklearn_bp.activations import Identity, Logistic, ReLU, Tanh, as_activation
from sklearn_bp.losses import LogLoss, Poisson, SquaredError

# scikit-learn's names.
MLP_ACTIVATIONS = {
    Identity: "identity",
    Logistic: "logistic",
    Tanh: "tanh",
    ReLU: "relu",
}
MLP_LOSSES: dict[str, dict[str, Any]] = {
    "MLPClassifier": {"log_loss": LogLoss},
    "MLPRegressor": {"squared_error": SquaredError, "poisson": Poisson},
}
MLP_SOLVERS = ("lbfgs", "sgd", "adam")
MLP_SCHEDULES = ("constant", "invscaling", "adaptive")

# Attributes that mean the same in both.
COMMON = ("n_features_in_", "feature_names_in_", "n_outputs_", "out_activation_", "t_")


class MLPExchangeMixin:
    """The methods of the estimators that convert to and from scikit-learn's MLPs."""

    if TYPE_CHECKING:  # attributes of the estimators

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def to_mlp(self) -> Any:
        """The same network as a fitted MLPClassifier or MLPRegressor.

        It has the same weights, so it predicts the same labels, and the same
        probabilities and targets up to rounding, because scikit-learn sums products in
        another order. Scalings, averages and the temperature are already part of the
        weights, and the ensemble is one network of all its units. An MLP has no
        `feature_limits_`, so its predictions differ for values beyond them. If you
        train it further, by partial_fit or with `warm_start`, it continues from these
        weights, on unscaled columns.

        Returns
        -------
        mlp : MLPClassifier or MLPRegressor
            It has the same values of all common parameters, with 'auto' replaced by
            the values used.

        Raises
        ------
        ValueError
            For a network without an equivalent: other activations and losses, a skip
            layer, encoded columns, a single class, training rows with values beyond
            `feature_limits_`, and predictions that are limited by `target_range_` (set
            either to None to lift the limit).
        """
        check_is_fitted(self)
        self._refuse_what_mlp_lacks()
        kind = MLPClassifier if is_classifier(self) else MLPRegressor
        mlp = kind(**_mlp_parameters(self, kind))
        for name in COMMON:
            if hasattr(self, name):
                setattr(mlp, name, getattr(self, name))
        mlp.coefs_ = [w.copy() for w in self.coefs_]
        mlp.intercepts_ = [b.copy() for b in self.intercepts_]
        mlp.n_layers_ = 3
        mlp.n_iter_ = self.n_iter_
        mlp.loss_, mlp.loss_curve_ = self.loss_, list(self.loss_curve_)
        scaled = self._fitted.inputs.scaling is not None
        # Further training starts with fresh patience: a loss on scaled targets cannot
        # be compared with the next one.
        mlp._no_improvement_count = 0
        mlp.best_loss_ = np.inf if scaled else min(self.loss_curve_)
        mlp.validation_scores_ = None
        if mlp.early_stopping:
            mlp.validation_scores_, mlp.best_validation_score_ = [], -np.inf
            mlp._best_coefs, mlp._best_intercepts = mlp.coefs_, mlp.intercepts_
            mlp.best_loss_ = None
        if is_classifier(self):
            mlp.classes_ = self.classes_
            labels = self.classes_
            if self._fitted.targets.multilabel:
                labels = np.vstack([np.zeros_like(labels), np.ones_like(labels)])
            mlp._label_binarizer = LabelBinarizer().fit(labels)
        return mlp

    def _refuse_what_mlp_lacks(self):
        name = "MLPClassifier" if is_classifier(self) else "MLPRegressor"
        for what in chain(self._unknown_parts(name), self._unknown_data()):
            raise ValueError(f"{name} has no equivalent of {what}")

    def _unknown_parts(self, name):
        """Parts that scikit-learn's MLP lacks, for messages."""
        fitted = self._fitted_network()
        activation, loss = fitted.activation_given, fitted.targets.loss_given
        if type(as_activation(activation)) not in MLP_ACTIVATIONS:
            names = sorted(MLP_ACTIVATIONS.values())
            yield f"activation={activation!r}: it has {names}."
        losses = list(MLP_LOSSES[name])  # the loss may have no hash
        if _loss_name(loss) not in losses:
            yield f"loss={loss!r}: it has {', '.join(map(repr, losses))}."
        if self.skip_coef_ is not None:
            yield "skip_layer=True: it has no weights from inputs to outputs."

    def _unknown_data(self):
        """Treatment of the data that scikit-learn's MLP lacks, for messages."""
        fitted = self._fitted_network()
        if fitted.columns is not None and not fitted.columns.is_plain:
            yield (
                "columns of categories or missing values. Encode and impute them "
                "before this estimator, in a Pipeline, with categorical_features=None."
            )
        if fitted.inputs.bins is not None:
            yield (
                "columns encoded by bins, which let a hidden unit bend at several "
                "values of a column. Fit with numeric_encoding=None."
            )
        if is_classifier(self) and len(self.classes_) == 1:
            yield f"a network for a single class, {self.classes_[0]!r}."
        if getattr(fitted.targets, "prediction_scaling", None) is not None:
            yield (
                "targets near the end of the range of float64. Divide them by a unit, "
                "and fit again."
            )
        if fitted.limits is not None and fitted.inputs.scaling.cuts:
            yield (
                "limits of the features, and some training rows were beyond them. Set "
                "feature_limits_ = None, which lifts the limits from this estimator "
                "too, and convert again."
            )
        if not is_classifier(self) and fitted.targets.limits is not None:
            yield (
                "predictions that go beyond the training targets by no more than "
                "`extrapolation` times their range. Set target_range_ = None, which "
                "lifts that limit from this estimator too, and convert again; or fit "
                "with extrapolation=np.inf."
            )

    @classmethod
    def from_mlp(cls, mlp: Any) -> Self:
        """An estimator with the weights of a fitted MLPClassifier or MLPRegressor.

        Parameters
        ----------
        mlp : MLPClassifier or MLPRegressor
            Fitted, with one hidden layer.

        Returns
        -------
        model : object of this class
            It has the parameters of `mlp`, and `MLP_DEFAULTS` for all others. It
            predicts the same; partial_fit, and fit with `warm_start`, continue from the
            weights with a fresh optimizer. It has no `feature_importances_`, which need
            training rows.

        Raises
        ------
        TypeError
            For another kind of estimator.
        ValueError
            For a network of several hidden layers.
        """
        model = cls()
        kind = MLPClassifier if is_classifier(model) else MLPRegressor
        if not isinstance(mlp, kind):
            raise TypeError(
                f"{cls.__name__}.from_mlp takes a fitted {kind.__name__}. Got "
                f"{mlp!r} instead."
            )
        check_is_fitted(mlp)
        if len(mlp.coefs_) != 2:
            raise ValueError(
                f"{cls.__name__} has one hidden layer, and this {kind.__name__} has "
                f"hidden_layer_sizes={mlp.hidden_layer_sizes!r}."
            )
        if is_classifier(mlp) and len(mlp.classes_) == 1:
            raise ValueError(
                f"This {kind.__name__} has a single class, {mlp.classes_[0]!r}, with "
                f"a probability below 1. {cls.__name__} has no equivalent."
            )
        model.set_params(**MLP_DEFAULTS | mlp.get_params(deep=False))
        model.hidden_layer_sizes = mlp.coefs_[0].shape[1]
        model._take_over(mlp, _targets_of(mlp))
        return model

    def _take_over(self, mlp, y):
        """Take over the weights of an MLP, as if fitted to targets such as y."""
        recipe, dtype = Recipe.of(self), mlp.coefs_[0].dtype
        targets, _ = self._targets_kind.of_fit(y, recipe, None, Request(None, y), dtype)
        parameters = Parameters.pack(mlp.coefs_, mlp.intercepts_, dtype)
        state = TrainingState(
            parameters,
            Patience(self.tol, self.n_iter_no_change),
            None,
            n_iter=mlp.n_iter_,
            t=mlp.t_,
            loss_curve=list(getattr(mlp, "loss_curve_", [mlp.loss_])),
        )
        state.patience.best = min(state.loss_curve)
        reason = "max_iter" if mlp.n_iter_ >= mlp.max_iter else "tol"
        # An MLP records only how many rows it has seen, in epochs of all its calls.
        n_rows = mlp.t_ // len(state.loss_curve) if mlp.t_ else 200
        settings = Settings(
            recipe=recipe,
            n_rows=n_rows,
            n_seen=n_rows,
            shape=parameters.shape,
            n_members=1,
            rows_per_batch=rows_per_batch,
        )
        resolved = settings.resolved(n_rows)
        result = TrainingResult(parameters, state, mlp.n_iter_, reason)
        inputs = Inputs(None, None, None)
        fitted = FittedNetwork.of(parameters, dtype, recipe, inputs, targets)
        features = {"n_features_in_": mlp.n_features_in_}
        if hasattr(mlp, "feature_names_in_"):
            features["feature_names_in_"] = mlp.feature_names_in_
        self._take(Fit(fitted, result, resolved, features, False, None).attributes())


def _loss_name(loss):
    """scikit-learn's name of a loss, or the loss itself if scikit-learn lacks it.

    Label smoothing only affects training, so it does not matter here.
    """
    for by_name in MLP_LOSSES.values():
        for name, kind in by_name.items():
            if type(loss) is kind:
                return name
    return loss


def _mlp_parameters(model, kind):
    """The parameters that an MLP has too, with values that it accepts."""
    fitted = model._fitted
    activation, loss = fitted.activation_given, fitted.targets.loss_given
    values = model.get_params(deep=False) | {
        "hidden_layer_sizes": (len(model.intercepts_[0]),),
        "activation": MLP_ACTIVATIONS[type(as_activation(activation))],
        "alpha": model.alpha_,
        "batch_size": model.batch_size_,
        "learning_rate_init": model.learning_rate_init_,
        "max_iter": model.max_iter_,
        "n_iter_no_change": model.n_iter_no_change_,
        "tol": TOLERANCE if model.tol == "auto" else model.tol,
        "loss": _loss_name(loss),
        "shuffle": bool(model.shuffle),
        "early_stopping": model.early_stopping is True,
    }
    choices = {"solver": MLP_SOLVERS, "learning_rate": MLP_SCHEDULES}
    defaults = kind().get_params()
    for name, known in choices.items():
        if not isinstance(values[name], str) or values[name] not in known:
            values[name] = defaults[name]
    if not isinstance(values["validation_fraction"], Real):
        values["validation_fraction"] = defaults["validation_fraction"]
    return {name: values[name] for name in defaults}


def _targets_of(mlp):
    """Example targets of the kind that an MLP was fitted to."""
    if not is_classifier(mlp):
        return np.zeros((2, mlp.n_outputs_) if mlp.n_outputs_ > 1 else 2)
    if mlp._label_binarizer.y_type_.startswith("multilabel"):
        return np.eye(len(mlp.classes_), dtype=int)
    return mlp.classes_
