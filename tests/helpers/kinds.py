"""All kinds of targets, and an estimator for each.

``TARGETS = targets(...)`` of a file and `make` go together: every kind of the one is a
kind of the other.
"""

import numpy as np

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

REGRESSION = ("regression", "outputs", "poisson")


def targets(signal, other, rng):
    """Targets of every kind that follow a signal; `other` decides a second label."""
    return {
        "binary": signal > 0,
        "multiclass": np.digitize(signal, [-1, 0, 1]),
        "multilabel": np.c_[signal > 0, other > 0].astype(int),
        "regression": 30 * signal + 500,
        "outputs": np.c_[signal, 9 - 30 * signal],
        "poisson": rng.poisson(np.exp(signal / 2)),
    }


def make(kind, **settings):
    """An estimator for targets of this kind."""
    if kind not in REGRESSION:
        return TwoLayerClassifier(**settings)
    loss = "poisson" if kind == "poisson" else "squared_error"
    return TwoLayerRegressor(**{"loss": loss} | settings)
