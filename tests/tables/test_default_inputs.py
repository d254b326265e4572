"""Bad input to the default estimators raises an error, and nothing is lost."""

import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

RNG = np.random.RandomState(0)
X = RNG.normal(size=(40, 3))
TARGETS = {
    TwoLayerClassifier: np.where(X[:, 0] > 0, "b", "a"),
    TwoLayerRegressor: X[:, 0] ** 2,
}
over_tasks = pytest.mark.parametrize("estimator", list(TARGETS))


def spoiled(value, convert=np.asarray):
    wrong = X.copy()
    wrong[3, 1] = value
    return convert(wrong)


def frame(**columns):
    return pd.DataFrame(dict(zip("pqr", X.T, strict=True)) | columns)


BAD = {
    "infinite": (spoiled(np.inf), "X contains infinity"),
    "infinite, float32": (spoiled(np.inf, np.float32), "X contains infinity"),
    "infinite, a frame": (frame(q=spoiled(np.inf)[:, 1]), "X contains infinity"),
    "infinite, CSR": (spoiled(np.inf, sparse.csr_matrix), "X contains infinity"),
    "missing, CSR": (spoiled(np.nan, sparse.csr_matrix), "contains NaN"),
    "strings": (X.astype(str).astype(object), "holds strings"),
    "mixed": (frame(q=[1.0, "a"] * 20), "Column 'q' holds both strings"),
    "dates": (frame(q=pd.date_range("2020", periods=40)), "Column 'q' holds dates"),
    "complex": (X + 1j, "Complex data not supported"),
    "one-dimensional": (X[:, 0], "Expected 2D array, got 1D"),
    "no rows": (X[:0], r"0 sample\(s\)"),
    "no columns": (X[:, :0], r"0 feature\(s\)"),
}


@over_tasks
@pytest.mark.parametrize("bad", BAD)
def test_bad_features(estimator, bad):
    features, says = BAD[bad]
    y = TARGETS[estimator]
    model = estimator(4, random_state=0)
    with pytest.raises(ValueError, match=says):
        model.fit(features, y)
    assert vars(model).keys() == model.get_params().keys()
    model.fit(frame() if isinstance(features, pd.DataFrame) else X, y)
    before = copy.deepcopy(vars(model))
    calls = [lambda: model.fit(features, y), lambda: model.partial_fit(features, y)]
    # Strings where fit saw numbers, and the like, are refused in predict too.
    for call in [*calls, lambda: model.predict(features)]:
        with pytest.raises(ValueError):  # noqa: PT011  the words differ by method
            call()
    for name, value in before.items():
        if isinstance(value, list | np.ndarray):
            for a, b in zip(value, vars(model)[name], strict=True):
                assert_array_equal(a, b)
    assert vars(model).keys() == before.keys()


@over_tasks
@pytest.mark.parametrize("n", [1, 2, 3, 99, 100, 101])
def test_any_number_of_rows(estimator, n):
    rng = np.random.RandomState(n)
    features = rng.normal(size=(n, 2))
    y = rng.randint(2, size=n) if estimator is TwoLayerClassifier else features[:, 0]
    p = estimator(4, random_state=0).fit(features, y).predict(features)
    assert p.shape == (n,)
    if n == 1:
        assert p[0] == y[0]


@over_tasks
@pytest.mark.parametrize("n", [40, 140])
def test_read_only_and_other_orders(estimator, n):
    """The same results for any memory layout; the user's arrays do not change."""
    rng = np.random.RandomState(0)
    plain = rng.normal(size=(n, 3))
    y = rng.randint(3, size=n)
    expected = estimator(4, random_state=0, max_iter=20, n_iter_no_change=99)
    with pytest.warns(match="Maximum iterations"):
        expected.fit(plain, y)
    read_only = plain.copy()
    read_only.flags.writeable = False
    strided = np.repeat(plain, 2, axis=0)[::2]
    for given in (read_only, np.asfortranarray(plain), strided, plain.tolist()):
        model = estimator(4, random_state=0, max_iter=20, n_iter_no_change=99)
        with pytest.warns(match="Maximum iterations"):
            model.fit(given, y)
        assert_array_equal(model.predict(given), expected.predict(plain))
        assert_array_equal(np.asarray(given), plain)


def test_one_class():
    model = TwoLayerClassifier(4, random_state=0).fit(X, ["only"] * 40)
    assert_array_equal(model.predict(X), ["only"] * 40)
    assert_array_equal(model.predict_proba(X), np.ones((40, 1)))


@over_tasks
def test_rows_without_weight_are_as_if_absent(estimator):
    """Also if only they would make the rows enough to hold some out."""
    rng = np.random.RandomState(0)
    features = rng.normal(size=(150, 3))
    y = rng.randint(2, size=150) if estimator is TwoLayerClassifier else features[:, 0]
    weights = rng.randint(1, 4, 150).astype(float)
    weights[::2] = 0
    kept = weights > 0
    model = estimator(4, random_state=0).fit(features, y, weights)
    alone = estimator(4, random_state=0).fit(features[kept], y[kept], weights[kept])
    for ours, theirs in zip(model.coefs_, alone.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
