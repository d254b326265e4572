"""Rows of weight 0 are ignored: they change no bit, with any content and position."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupShuffleSplit

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.losses import REGRESSOR_LOSSES

SETTINGS = {
    "defaults": {"max_iter": 12},
    "lbfgs": {"solver": "lbfgs", "max_iter": 10},
    "sgd": {"solver": "sgd", "max_iter": 6, "batch_size": 7, "n_members": 2},
    "one network": {"n_members": 1, "max_iter": 12},
    "early stopping": {"early_stopping": True, "max_iter": 12},
    "as MLP": {**MLP_DEFAULTS, "max_iter": 6, "batch_size": 8},
    "blocks": {"shuffle": "blocks", "max_iter": 4},
    "by score": {"early_stopping_metric": "score", "max_iter": 8},
    "a split of one's own": {
        "validation_fraction": GroupShuffleSplit(1, random_state=0),
        "max_iter": 8,
    },
}
LOSSES = [name for name, loss in REGRESSOR_LOSSES.items() if loss.scalable]


def drawn(seed, n, kind):
    """X, y and weights of n rows, and as many with rows of weight 0 among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) * [1, 10, 0.1, 1] + 3
    X[:, 3] = rng.random(n) < 0.3
    signal = X[:, 0] - 20 * X[:, 2] + rng.normal(size=n) / 5
    y = signal if kind == "regression" else np.digitize(signal, [-60, -57])
    weights = rng.uniform(0.5, 2, n)
    at = np.sort(rng.integers(0, n + 1, size=rng.integers(1, 12)))
    odd = rng.choice([1e20, -1e3, 7.0, 0.0], size=(len(at), 4))
    odd_y = rng.choice([1e20, -1e6, 0.5], size=len(at))
    if kind != "regression":
        odd_y = rng.choice(np.unique(y), size=len(at))
    more = np.insert(X, at, odd, axis=0), np.insert(y, at, odd_y)
    return (X, y, weights), (*more, np.insert(weights, at, 0.0))


def as_table(X):
    """A table with a category, missing values and one of a level of its own."""
    table = pd.DataFrame(X, columns=list("abcd"))
    table["d"] = np.where(X[:, 3] == 1, "yes", np.where(X[:, 3] == 0, "no", "odd"))
    return table.mask(table == 1e20)


FORMATS = {"array": np.asarray, "csr": sparse.csr_matrix, "table": as_table}


def fitted_parts(model):
    """Everything that a fit has learned, by name."""
    parts = {k: v for k, v in vars(model).items() if k.endswith("_") and k[0] != "_"}
    parts["importances"] = model.feature_importances_
    return parts


def assert_same_bits(one, other):
    one, other = fitted_parts(one), fitted_parts(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, list) and isinstance(value[0], np.ndarray):
            for a, b in zip(value, other[name], strict=True):
                assert_array_equal(a, b, err_msg=name)
        else:
            assert_array_equal(value, other[name], err_msg=name)


def fit(model, data, convert, **options):
    X, y, weights = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(convert(X), y, weights, **options)


@pytest.mark.parametrize("kind", ["regression", "classes"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", SETTINGS)
def test_fit(name, form, kind):
    estimator = TwoLayerRegressor if kind == "regression" else TwoLayerClassifier
    if name == "as MLP" and form == "table":
        pytest.skip("MLP's settings take no tables")
    for seed, n in enumerate((23, 118, 160)):
        plain, with_absent = drawn(seed, n, kind)
        models = []
        for data in (plain, with_absent):
            options = {}
            if "split" in name:
                rows = np.flatnonzero(data[2])
                options["groups"] = np.zeros(len(data[2]), int)
                options["groups"][rows] = np.arange(len(rows)) // 3
            model = estimator(**SETTINGS[name] | {"random_state": 0})
            models.append(fit(model, data, FORMATS[form], **options))
        assert_same_bits(*models)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    plain, with_absent = drawn(5, 130, "regression")
    models = [
        fit(TwoLayerRegressor(loss=loss, random_state=0, max_iter=8), data, np.asarray)
        for data in (plain, with_absent)
    ]
    assert_same_bits(*models)
    X = plain[0]
    for a, b in zip(*(m.predict_interval(X).T for m in models), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["regression", "classes"])
@pytest.mark.parametrize("form", FORMATS)
def test_streams(form, kind):
    """In parts, and after a fit."""
    estimator = TwoLayerRegressor if kind == "regression" else TwoLayerClassifier
    convert, models = FORMATS[form], []
    for which in (0, 1):
        stream = estimator(random_state=0)
        going_on = estimator(random_state=0, warm_start=True, max_iter=5)
        for seed in range(3):
            X, y, weights = drawn(seed, 40 + 60 * seed, kind)[which]
            options = {"classes": [0, 1, 2]} if kind == "classes" else {}
            stream.partial_fit(convert(X), y, weights, **options)
            fit(going_on, (X, y, weights), convert)
        models.append((stream, going_on))
    for one, other in zip(*models, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("kind", ["regression", "classes"])
@pytest.mark.parametrize("form", FORMATS)
def test_parts_without_weight(form, kind):
    """Anywhere in a stream, by sample weights or, for classes, by class weights."""
    estimator = TwoLayerRegressor if kind == "regression" else TwoLayerClassifier
    convert = FORMATS[form]
    parts = [drawn(seed, 40, kind)[0] for seed in range(5)]
    parts = [(convert(X), y, weights) for X, y, weights in parts]
    absent = [(X, y[::-1], np.zeros_like(weights)) for X, y, weights in parts]
    mixed = [absent[0], parts[0], absent[1], absent[2], *parts[1:3], absent[3]]
    known, found = (
        estimator(random_state=0).fit_batches(batches, epochs=2)
        for batches in (parts[:3], mixed)
    )
    assert_same_bits(known, found)
    for X, y, weights in absent:
        found.partial_fit(X, y, weights)
        if kind == "classes":
            found.set_params(class_weight=dict.fromkeys([0, 1, 2], 0))
            found.partial_fit(X, y).set_params(class_weight=None)
    assert_same_bits(known, found)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        estimator().fit_batches(absent)


def test_validation_rows_and_class_weights():
    """Weights of 0 do the same for validation rows, and if classes have them."""
    plain, with_absent = drawn(3, 120, "classes")
    validation, absent_too = drawn(4, 50, "classes")
    models = []
    for data, val in ((plain, validation), (with_absent, absent_too)):
        model = TwoLayerClassifier(
            random_state=0, max_iter=10, class_weight="balanced", early_stopping=True
        )
        X_val, y_val, sample_weight_val = val
        options = {"X_val": X_val, "y_val": y_val}
        fit(model, data, np.asarray, sample_weight_val=sample_weight_val, **options)
        models.append(model)
    assert_same_bits(*models)
    X, y, weights = plain
    without = TwoLayerClassifier(
        random_state=0, max_iter=10, class_weight={0: 0.0, 1: 1.0, 2: 2.0}
    )
    fit(without, plain, np.asarray)
    by_rows = TwoLayerClassifier(random_state=0, max_iter=10)
    fit(by_rows, (X, y, weights * np.array([0.0, 1.0, 2.0])[y]), np.asarray)
    assert_same_bits(without, by_rows)


def test_rows_without_weight_may_miss_anything():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X[:, 0] ** 3
    one, other = (TwoLayerRegressor(random_state=0) for _ in "ab")
    for _ in range(3):
        one.partial_fit(X, y)
        rows = np.vstack([X, [[np.nan] * 3]])
        other.partial_fit(rows, np.r_[y, 0], np.r_[np.ones(60), 0])
    assert_array_equal(one.predict(X), other.predict(X))
