"""What the displays share. matplotlib is imported where something is drawn."""

from sklearn_bp._estimators.base import BaseTwoLayer

FORWARD, BACKWARD = "#1f5fa8", "#b3361e"


def pyplot(display):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib: "
            'pip install "sklearn-bp[plots]".'
        ) from error
    return plt


def two_layer(estimator, display):
    """The fitted estimator, if it is one of ours."""
    if not isinstance(estimator, BaseTwoLayer) or not hasattr(estimator, "coefs_"):
        raise TypeError(
            f"{display}.from_estimator takes a fitted TwoLayerClassifier or "
            f"TwoLayerRegressor; got {estimator!r}. Of a pipeline pass the last step, "
            "and the data as that step sees it."
        )
    return estimator


def hidden_activations(estimator, X):
    """Activations a1, (n, n_hidden), of encoded rows."""
    a1 = X @ estimator.coefs_[0] + estimator.intercepts_[0]
    network = estimator._fitted_network().network
    activate, _ = network.activation.bind(a1.shape, a1.dtype)
    activate(a1)
    return a1


def shortened(name, length=18):
    return name if len(name) <= length else name[: length - 1] + "…"
