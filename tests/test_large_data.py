"""Data larger than memory: what is read, cast and kept of it."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor

# More than the 4 MB, in float64, that are scaled and cast at once.
N, D = 60_000, 10
RNG = np.random.RandomState(0)
INTEGERS = RNG.randint(-100, 100, size=(N, D)).astype(np.int8)
INTEGERS[:, 1] = INTEGERS[:, 0] > 30
LABELS = INTEGERS[:, 0].astype(float) + INTEGERS[:, 2] > 20
TARGETS = INTEGERS[:, 0] * 0.1 + INTEGERS[:, 1]

BRIEF = {
    "max_iter": 2,
    "random_state": 0,
    "hidden_layer_sizes": 4,
    "batch_size": 2000,
    "tol": 0.0,
}
PLAIN = MLP_DEFAULTS | BRIEF
SETTINGS = {
    "defaults": BRIEF,
    "half": BRIEF | {"early_stopping": True},
    "lbfgs": BRIEF | {"solver": "lbfgs", "max_fun": 3, "max_iter": "auto"},
    "plain": PLAIN | {"n_iter_no_change": np.inf, "max_iter": 1, "loss_threshold": 1e9},
    "plain early": PLAIN | {"early_stopping": True, "loss_threshold": 1e9},
}
over_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
ignore_the_limit = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fitted(make, settings, X, y):
    return make(**settings).fit(X, y)


def weights(model):
    return [*model.coefs_, *model.intercepts_, model.loss_curve_]


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
@over_settings
@ignore_the_limit
def test_integers_equal_their_float64(settings, dtype):
    """Bit for bit, though they are cast a block at a time."""
    integers = (INTEGERS.astype(np.int64) + 100).astype(dtype)
    for make, y in ((TwoLayerClassifier, LABELS), (TwoLayerRegressor, TARGETS)):
        ours = fitted(make, settings, integers, y)
        plain = fitted(make, settings, integers.astype(np.float64), y)
        for one, other in zip(weights(ours), weights(plain), strict=True):
            assert_array_equal(one, other)
        assert ours.coefs_[0].dtype == np.float64
        assert_array_equal(ours.predict(integers), plain.predict(integers * 1.0))


@ignore_the_limit
def test_bools_equal_their_float64():
    bools = INTEGERS > 0
    for settings in (BRIEF, PLAIN):
        ours = fitted(TwoLayerClassifier, settings, bools, LABELS)
        plain = fitted(TwoLayerClassifier, settings, bools * 1.0, LABELS)
        for one, other in zip(weights(ours), weights(plain), strict=True):
            assert_array_equal(one, other)


@ignore_the_limit
def test_integers_after_floats():
    """partial_fit and predict take either, in the dtype that was fitted."""
    settings = BRIEF | {"random_state": 1}
    X = INTEGERS.astype(np.float32)
    ours = TwoLayerClassifier(**settings).partial_fit(X, LABELS, classes=[False, True])
    plain = TwoLayerClassifier(**settings).partial_fit(X, LABELS, classes=[False, True])
    ours.partial_fit(INTEGERS, LABELS)
    plain.partial_fit(X, LABELS)
    assert ours.coefs_[0].dtype == np.float32
    for one, other in zip(weights(ours), weights(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert_array_equal(plain.predict_proba(INTEGERS), plain.predict_proba(X))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.float64])
@over_settings
@ignore_the_limit
def test_a_file_is_not_copied(settings, dtype, weighted, tmp_path):
    """A fit needs a few dozen megabytes, predictions two, and some 100 bytes a row.

    In float64 the file would be 64 MB.
    """
    n, d = 20_000, 400
    rows = np.memmap(tmp_path / "X", dtype, "w+", shape=(n, d))
    rows[:] = (np.arange(n) % 91)[:, np.newaxis]
    rows[:, 1] = np.arange(n) % 3
    rows.flush()
    rows = np.memmap(tmp_path / "X", dtype, "r", shape=(n, d))
    y = np.arange(n) % 91 > 40
    weight = np.ones(n) * (np.arange(n) % 7 > 0) if weighted else None
    model = TwoLayerClassifier(**settings | {"max_iter": 1})
    tracemalloc.start()
    try:
        model.fit(rows, y, sample_weight=weight)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        model.predict(rows)
        _, peak_of_predict = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * n + 48e6
    assert peak_of_predict < 100 * n + 2e6
