"""A row of weight 3 equals the row three times, for every estimator and solver."""

import numpy as np
import pytest
from compare import outputs
from kinds import make, targets
from numpy.testing import assert_allclose

from sklearn_bp import MLP_DEFAULTS
from sklearn_bp.losses import REGRESSOR_LOSSES, Huber, Quantile

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got batch_size"
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(240, 4))
TARGETS = targets(X[:, 0] + X[:, 1] ** 2 - 1, X[:, 2], RNG)
SOLVERS = {"sgd": 0.05, "adam": 0.005, "lbfgs": 0.001}
SETTINGS = {
    "as MLP": MLP_DEFAULTS
    | {"activation": "tanh", "alpha": 0.3, "batch_size": "full"}
    | {"max_iter": 12, "shuffle": False},
    "defaults": {"n_members": 4},
    "cut short": {"n_members": 2, "max_iter": 6, "shuffle": False},
}
over_kinds = pytest.mark.parametrize("kind", TARGETS)
over_solvers = pytest.mark.parametrize("solver", SOLVERS)


def assert_repeated(kind, settings, n, counts, factors=(1.0,), rtol=1e-6, atol=1e-7):
    y, rows = TARGETS[kind][:n], np.repeat(np.arange(n), counts)
    settings = settings | {"hidden_layer_sizes": 20, "random_state": 0}
    repeated = make(kind, **settings).fit(X[rows], y[rows])
    for factor in factors:
        weighted = make(kind, **settings).fit(X[:n], y, factor * counts)
        assert weighted.n_iter_ == repeated.n_iter_
        assert_allclose(outputs(weighted, X), outputs(repeated, X), rtol, atol)
        # A penalty of MLP's kind is divided by the sum of weights, like the loss.
        assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-6)


@over_solvers
@over_kinds
@pytest.mark.parametrize("name", SETTINGS)
def test_of_few_rows(name, kind, solver):
    """With all that the defaults switch on; rows of weight 0 among them."""
    counts = np.random.RandomState(0).randint(4, size=60)
    assert counts.sum() < 100
    settings = {"solver": solver, "learning_rate_init": SOLVERS[solver]}
    if solver == "lbfgs":  # which multiplies the rounding of sums in another order
        settings["max_iter"] = 10
    assert_repeated(kind, SETTINGS[name] | settings, 60, counts)


@over_solvers
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_whatever_the_unit_of_the_weights(kind, solver):
    """By lbfgs of many rows, too."""
    n = 240 if solver == "lbfgs" else 30
    counts = np.random.RandomState(3).randint(1, 4, n)
    settings = {"solver": solver} | SETTINGS["cut short"]
    assert_repeated(kind, settings, n, counts, (1.0, 0.3, 1e-200))


LOSSES = REGRESSOR_LOSSES | {
    "deciles": Quantile([0.1, 0.5, 0.9]),
    "small delta": Huber(0.2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_by_any_loss(name):
    counts = np.random.RandomState(4).randint(1, 4, 45)
    # Signs make a step of the rounding of sums in another order.
    rtol = 1e-6 if LOSSES[name].of_mean else 1e-3
    y = np.exp(X[:45] @ [0.5, -0.3, 0.2, 0.1])
    rows = np.repeat(np.arange(45), counts)
    settings = {"loss": LOSSES[name], "max_iter": 25, "random_state": 0}
    weighted = make("regression", **settings).fit(X[:45], y, counts)
    repeated = make("regression", **settings).fit(X[rows], y[rows])
    assert_allclose(weighted.predict(X[:45]), repeated.predict(X[:45]), rtol=rtol)
