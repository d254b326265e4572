"""Helpers of the displays. matplotlib is only imported when something is drawn."""

from types import ModuleType

from sklearn_bp._common.types import Array
from sklearn_bp._estimators.base import BaseTwoLayer
from sklearn_bp._estimators.classifier import TwoLayerClassifier
from sklearn_bp._estimators.regressor import TwoLayerRegressor

FORWARD, BACKWARD = "#1f5fa8", "#b3361e"

Estimator = TwoLayerClassifier | TwoLayerRegressor


def pyplot(display: object) -> ModuleType:
    """matplotlib.pyplot; an error that says how to install it if it is missing."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib: "
            'pip install "sklearn-bp[plots]".'
        ) from error
    return plt


def two_layer(estimator: Estimator, display: str) -> BaseTwoLayer:
    """The fitted estimator, if it is from this package; TypeError otherwise."""
    if not isinstance(estimator, BaseTwoLayer) or not hasattr(estimator, "coefs_"):
        raise TypeError(
            f"{display}.from_estimator takes a fitted TwoLayerClassifier or "
            f"TwoLayerRegressor; got {estimator!r}. For a pipeline pass its last step, "
            "and the data that this step gets."
        )
    return estimator


def hidden_activations(estimator: BaseTwoLayer, X: Array) -> Array:
    """Activations a1, (n, n_hidden), of rows as the network sees them."""
    fitted = estimator._fitted_network()
    a1: Array = X @ estimator.coefs_[0] + estimator.intercepts_[0]
    activate, _ = fitted.network.activation.bind(a1.shape, a1.dtype)
    activate(a1)
    return a1


def shortened(name: str, length: int = 18) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
