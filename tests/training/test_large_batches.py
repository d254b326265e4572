"""Large batches, processed in parts: the same steps, in little memory."""

import numpy as np
import pytest
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._training import mini_batches
from sklearn_bp._training.large_batches import LARGE_BATCH, PART_ROWS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
N = 2 * LARGE_BATCH + PART_ROWS // 2
X = RNG.normal(size=(N, 6))
SIGNAL = X[:, 0] * X[:, 1] + np.sin(X[:, 2])
LABELS = np.digitize(SIGNAL, [-0.5, 0.5])
WEIGHTS = RNG.uniform(0, 2, N)
WEIGHTS[::7] = 0

CASES = {
    "sgd": {"solver": "sgd", "alpha": 1.0},
    "plain sgd": {"solver": "sgd", "momentum": 0.0},
    "adam": {"alpha": 1.0},
    "not shuffled": {"shuffle": False},
    "members": {"n_members": 3, "early_stopping": "auto", "average": True},
    "scaled": {"standardize": True, "skip_layer": True},
    "scaling layer": {"scaling_layer": True},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.1},
}


def fitted(estimator, rows=X, weights=None, **settings):
    defaults = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": 9}
    model = estimator(**MLP_DEFAULTS | defaults | settings)
    y = LABELS if estimator is TwoLayerClassifier else SIGNAL
    return model.fit(rows, y, weights)


def assert_equal_fits(ours, theirs, rtol=1e-9):
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    weights = zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    )
    for one, other in weights:
        assert_allclose(one, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("estimator", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("batch_size", ["full", LARGE_BATCH + 1])
@pytest.mark.parametrize("name", CASES)
def test_parts_make_the_step_of_the_whole(name, batch_size, estimator, monkeypatch):
    def fit():
        return fitted(estimator, batch_size=batch_size, **CASES[name])

    ours = fit()
    monkeypatch.setattr(mini_batches, "LARGE_BATCH", N)
    rtol = 1e-5 if name in ("members", "scaled") else 1e-9  # trained in float32
    assert_equal_fits(ours, fit(), rtol)


@pytest.mark.parametrize("kind", ["weights", "csr", "float32", "integers"])
def test_whatever_the_rows_are(kind, monkeypatch):
    rows = {
        "csr": sparse.csr_matrix(X * (X > 0)),
        "float32": X.astype(np.float32),
        "integers": np.rint(X).astype(np.int8),
    }.get(kind, X)
    weights = WEIGHTS if kind == "weights" else None

    def fit():
        return fitted(TwoLayerClassifier, rows, weights, batch_size=2500)

    ours = fit()
    monkeypatch.setattr(mini_batches, "LARGE_BATCH", N)
    assert_equal_fits(ours, fit(), 1e-5 if kind == "float32" else 1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("ours", [TwoLayerClassifier, TwoLayerRegressor])
def test_numbers_of_scikit_learn(ours, solver):
    theirs, y = (
        (MLPClassifier, LABELS)
        if ours is TwoLayerClassifier
        else (MLPRegressor, SIGNAL)
    )
    settings = {
        "hidden_layer_sizes": (9,),
        "batch_size": 2500,
        "solver": solver,
        "max_iter": 5,
        "random_state": 0,
    }
    ours = ours(**MLP_DEFAULTS | settings).fit(X, y)
    assert_equal_fits(ours, theirs(**settings).fit(X, y), 1e-9)


def test_masks_are_those_of_the_seed():
    one, other = (
        fitted(TwoLayerClassifier, dropout=0.5, batch_size="full") for _ in range(2)
    )
    assert_array_equal(one.coefs_[0], other.coefs_[0])
    without = fitted(TwoLayerClassifier, batch_size="full")
    assert abs(one.loss_ / without.loss_ - 1) > 1e-3


def test_memory_does_not_grow_with_the_batch():
    """The memory of a fit beyond the data; the hidden layer alone would be 26 MB."""
    rows = np.tile(X, (8, 1))
    y = np.tile(SIGNAL > 0, 8)
    model = TwoLayerClassifier(
        **MLP_DEFAULTS | {"batch_size": "full", "max_iter": 2, "random_state": 0}
    )
    model.fit(rows[:3000], y[:3000])
    with PeakMemory() as used:
        model.fit(rows, y)
    assert used.peak < 6e6
