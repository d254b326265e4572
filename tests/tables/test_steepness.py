"""Streams whose columns drift or jump far: no column becomes too steep to learn."""

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from sklearn_bp import TwoLayerRegressor
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._tables.reexpress import (
    STEEPEST,
    Rearrangement,
    Reexpression,
    Scalings,
    Symmetries,
    steepness,
)
from sklearn_bp.initializers import glorot_uniform


def drawn(rng, skip):
    """Parameters of two members, and a change of the scalings of three columns."""
    layout = Layout(3, 8, 2, 2, skip, float(rng.integers(2)))
    parameters = Parameters.draw(
        layout, np.float64, glorot_uniform, np.random.RandomState(0), 6.0
    )
    parameters.flat[:] = rng.normal(size=parameters.flat.size)
    width, of_scores = 10.0 ** rng.uniform(-1, 4, size=3), 10.0 ** rng.uniform(-2, 1, 2)
    before = Scalings(rng.normal(size=3), np.ones(3), np.zeros(2), np.ones(2))
    after = Scalings(rng.normal(size=3) * width, 1 / width, np.zeros(2), of_scores)
    symmetries = Symmetries(homogeneous=bool(rng.integers(2)))
    same = Rearrangement(np.arange(3), [])
    return parameters, before, after, Reexpression(before, after, same, 99, symmetries)


def scores(parameters, X):
    """Scores of the members, (n, n_members, k)."""
    found = []
    for W1, b1, W2, b2, V in parameters.absorbed().members():
        z = np.maximum(X @ W1 + b1, 0) @ W2 + b2
        found.append(z if V is None else z + X @ V)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_columns_do_not_become_steeper_than_a_limit(seed, skip):
    """Or than before; columns that stay below it keep the function."""
    rng = np.random.default_rng(seed)
    old, before, after, change = drawn(rng, skip)
    free = change.parameters(old)
    change.limit_steepness(old)
    new = change.parameters(old)
    most = np.maximum(steepness(old), STEEPEST)
    assert np.all(steepness(new) <= most * (1 + 1e-12))
    kept = np.all(steepness(free) <= most, axis=1)
    X = np.tile(before.centre, (9, 1))
    X[:, kept] += rng.normal(size=(9, kept.sum()))
    expected = scores(old, (X - before.centre) * before.factor) * after.score_factor
    found = scores(new, (X - after.centre) * after.factor)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def moved(kind, seed):
    """Rows of which some columns drift or jump by 1,000 deviations, and targets."""
    rng = np.random.default_rng(seed)
    X, t = rng.normal(size=(400, 4)), np.linspace(0, 1, 400)
    y = X @ rng.normal(size=4) / 2 + np.tanh(X[:, 0])
    if kind == "sorted":
        X = np.exp(2 * X)
        order = np.argsort(X[:, 0])
        return X[order], y[order]
    path = {"drift": t, "jump": t > 0.5}[kind]
    X[:, : rng.integers(1, 3)] += 1000 * path[:, np.newaxis]
    return X, y


@pytest.mark.parametrize("kind", ["drift", "jump", "sorted"])
def test_a_stream_that_moves_far_is_learned(kind):
    """Not much worse than by MLPRegressor, which knows the scales of all rows.

    Without the limit, the mean R2 of the jumps is below -5.
    """
    ours, theirs = [], []
    for seed in range(4):
        X, y = moved(kind, seed)
        Z, v = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
        model = TwoLayerRegressor(random_state=0)
        mlp = MLPRegressor(random_state=0)
        for _ in range(3):
            for start in range(0, 400, 50):
                rows = slice(start, start + 50)
                model.partial_fit(X[rows], y[rows])
                mlp.partial_fit(Z[rows], v[rows])
        ours.append(model.score(X, y))
        theirs.append(mlp.score(Z, v))
    assert np.mean(ours) > np.mean(theirs) - 0.1
