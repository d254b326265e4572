"""Counts and amounts of any size, by any solver, in one fit and in streams.

Errors of the Poisson loss are as large as the targets. Its steps have a sensible length
because the targets are divided by a unit, which follows the rows of a stream.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from slow import slow_but

from sklearn_bp import TwoLayerRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"hidden_layer_sizes": 16, "random_state": 0}
SIZES = [1, 30, 1000, 30_000]


def drawn(seed, size, n=1000):
    """Rows, the means of their counts, and the counts."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    mean = size * np.exp(0.7 * np.sin(2 * X[:, 0]) + 0.4 * X[:, 1] * X[:, 2])
    return X, mean, rng.poisson(mean).astype(float)


def trained(model, X, y, size, passes):
    """A model after some passes over parts of this size; None for one fit."""
    if size is None:
        return model.set_params(max_iter=passes).fit(X, y)
    for _ in range(passes):
        for start in range(0, len(y), size):
            rows = slice(start, start + size)
            model.partial_fit(X[rows], y[rows])
    return model


@pytest.mark.parametrize("size", slow_but([None, 60], [None, 60, 7]))
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_powers_of_two_as_units_do_not_matter(loss, solver, size):
    """To the rounding of a logarithm. With two targets, each has its own unit."""
    if solver == "lbfgs" and size is not None:
        pytest.skip("lbfgs has no partial_fit")
    rng = np.random.default_rng(7)
    X, _, y = drawn(1, 3, n=150)
    y = np.column_stack([y + (loss == "gamma"), 1 + X[:, 0] ** 2])
    settings = QUICK | {"loss": loss, "solver": solver}
    known = trained(TwoLayerRegressor(**settings), X, y, size, 6)
    for _ in range(3):
        unit = 2.0 ** rng.integers(-40, 40, size=2)
        model = trained(TwoLayerRegressor(**settings), X, y * unit, size, 6)
        assert_allclose(model.predict(X) / unit, known.predict(X), rtol=1e-6)


@pytest.mark.parametrize("n", slow_but([300], [300, 1000]))
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_counts_of_any_size_are_fitted(solver, n):
    """The larger the counts, the smaller is their relative noise."""
    for seed, size in enumerate(SIZES[1:]):
        X, mean, y = drawn(seed, size, n)
        model = TwoLayerRegressor(loss="poisson", solver=solver, random_state=0)
        assert model.fit(X, y).score(X, mean) > 0.85


@pytest.mark.parametrize("size", slow_but([1000], SIZES))
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_counts_of_any_size_are_learned_from_a_stream(solver, size):
    X, mean, y = drawn(3, size)
    model = TwoLayerRegressor(loss="poisson", solver=solver, random_state=0)
    enough = {"adam": 0.75, "sgd": 0.4}[solver]
    assert trained(model, X, y, 100, 10).score(X, mean) > enough


@pytest.mark.parametrize("size", slow_but([1000], SIZES[1:]))
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_first_part_without_events_does_not_matter(solver, size):
    """Its best score is minus infinity, from which no step would return."""
    X, mean, y = drawn(4, size)
    y[:100] = 0
    model = TwoLayerRegressor(loss="poisson", solver=solver, random_state=0)
    assert trained(model, X, y, 100, 10).score(X[100:], mean[100:]) > 0.4
