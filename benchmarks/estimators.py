"""The two estimators that are compared most closely, ours and scikit-learn's."""

import os
from contextlib import contextmanager

from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.problems import Contender
from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor

CLASSES = {
    ("ours", "classifier"): TwoLayerClassifier,
    ("ours", "regressor"): TwoLayerRegressor,
    ("mlp", "classifier"): MLPClassifier,
    ("mlp", "regressor"): MLPRegressor,
}


def estimator(rival, kind="classifier", **parameters):
    """Ours with MLPClassifier's defaults, or MLPClassifier; likewise a regressor."""
    defaults = MLP_DEFAULTS if rival == "ours" else {}
    return CLASSES[rival, kind](**defaults | parameters)


def fitting(rival, kind, X, y, **parameters):
    """The contender that fits to (X, y); it tells the last loss."""
    return Contender(
        lambda: estimator(rival, kind, **parameters).fit(X, y),
        lambda fitted: {"loss": float(fitted.loss_)},
    )


@contextmanager
def engine(name):
    """Sets the engine of our fits: "auto", "python" or "compiled"."""
    before = os.environ.get("SKLEARN_BP_ENGINE")
    os.environ["SKLEARN_BP_ENGINE"] = name
    try:
        yield
    finally:
        del os.environ["SKLEARN_BP_ENGINE"]
        if before is not None:
            os.environ["SKLEARN_BP_ENGINE"] = before


def on_engine(name, contender):
    """The contender, its fits on that engine."""

    def work():
        with engine(name):
            return contender.work()

    return contender._replace(work=work)


def of_both(rivals, contender):
    """The contenders of the two that are among the rivals."""
    return {rival: contender(rival) for rival in ("ours", "mlp") if rival in rivals}
