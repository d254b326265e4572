"""A few rows that are far out in many columns do not break a fit."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor

from sklearn_bp import TwoLayerRegressor
from sklearn_bp._tables.row_lengths import Lengths, merged
from sklearn_bp.optimizers import SGD


def drawn(seed):
    """Rows of which up to one in 50 is far out, their targets, and new rows."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.choice([150, 400])), int(rng.choice([1, 3, 8]))
    X, weights = rng.normal(size=(n, d)), rng.normal(size=d) / d**0.5
    new = rng.normal(size=(200, d))

    def f(rows):
        return rows @ weights + np.tanh(rows[:, 0])

    y = f(X)
    far = rng.choice(n, int(rng.integers(2, n // 50 + 1)), replace=False)
    size = float(rng.choice([12, 20, 30])) * rng.choice([-1, 1], size=(len(far), 1))
    X[far] += size
    return X, y, new, f(new)


def far_out(rng, X):
    """X with a row that is far out in all columns."""
    X = X.copy()
    X[rng.integers(len(X))] *= 40
    return X


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_gradient_descent_survives_rows_far_out(loss):
    """Without clipping, four of these twelve fits diverge, and three are at R2 < .3."""
    for seed in range(6):
        X, y, new, truth = drawn(seed)
        if loss == "poisson":
            y, truth = np.exp(y), np.exp(truth)
        model = TwoLayerRegressor(loss=loss, solver="sgd", random_state=0).fit(X, y)
        assert model.score(new, truth) > 0.5, seed


@pytest.mark.parametrize("seed", range(3))
def test_the_first_part_of_a_stream_too(seed):
    X, y, new, truth = drawn(seed)
    model = TwoLayerRegressor(solver="sgd", random_state=0)
    for _ in range(100):
        model.partial_fit(X, y)
    assert model.score(new, truth) > 0.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_gradients_are_clipped_if_a_row_is_long(form, seed):
    """The fit is then that of an optimizer that clips, and otherwise of one without.

    Rates are high, and targets have heavy tails, so that clipping matters.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(120, 5))
    if form == "csr":
        X *= rng.random(X.shape) < 0.5
    y = X[:, 0] + rng.standard_t(2, size=120)
    options = {"random_state": 0, "max_iter": 10, "learning_rate_init": 0.05}
    for rows, long in ((X, False), (far_out(rng, X), form != "csr")):
        same = SGD(clip_norm=5.0 if long else None)
        given = sparse.csr_matrix(rows) if form == "csr" else rows
        by_name, by_object = (
            TwoLayerRegressor(solver=solver, **options).fit(given, y)
            for solver in ("sgd", same)
        )
        for ours, expected in zip(by_name.coefs_, by_object.coefs_, strict=True):
            assert np.array_equal(ours, expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
def test_scikit_learns_settings_never_clip(seed):
    """Columns that are not scaled have no known unit."""
    X, y, *_ = drawn(seed)
    X /= 30
    mlp = MLPRegressor(solver="sgd", max_iter=5, random_state=0, tol=0).fit(X, y)
    ours = clone(TwoLayerRegressor.from_mlp(mlp)).fit(X, y)
    assert Lengths.of(X).ratio > 6
    assert np.allclose(ours.predict(X), mlp.predict(X))


def test_lengths():
    """Against the definition, of any parts, dense or CSR, weighted or not."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, d = rng.integers(1, 60, 2)
        X = 3 * rng.standard_t(2, size=(n, d)) * (rng.random((n, d)) < 0.7)
        weights = rng.integers(1, 4, n).astype(float)
        repeated = X.repeat(weights.astype(int), axis=0)
        usual = np.mean(np.sum(np.minimum(repeated**2, 1), axis=1)) ** 0.5
        expected = np.linalg.norm(X, axis=1).max() / usual if usual else 1.0
        cuts = [0, *sorted(rng.choice(n + 1, 2)), n]
        parts = [slice(a, b) for a, b in pairwise(cuts)]
        for rows in (X, sparse.csr_matrix(X)):
            of_parts = [Lengths.of(rows[part], None, weights[part]) for part in parts]
            assert np.isclose(merged(of_parts).ratio, expected)
            assert np.isclose(Lengths.of(rows, None, weights).ratio, expected)
            doubled = Lengths.of(rows / 2, lambda X: 2 * X, None).ratio
            assert np.isclose(doubled, Lengths.of(rows).ratio)
