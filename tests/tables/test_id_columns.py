"""Columns of names that identify rows are left out."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from compare import assert_same_weights
from partitions import fitted as fitted_to_parts

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

QUICK = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
QUIET = "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
pytestmark = pytest.mark.filterwarnings(QUIET)
LEFT_OUT = "'name'.*left out"


def table(n=120, n_levels=120, dtype=object, missing=0, seed=0):
    rng = np.random.default_rng(seed)
    names = np.array([f"row {i % n_levels}" for i in range(n)], dtype=object)
    names[:missing] = None
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    frame.insert(1, "name", pd.Series(rng.permutation(names), dtype=dtype))
    frame["sex"] = rng.choice(["f", "m"], n)
    return frame, (frame.a > 0).astype(int).to_numpy()


@pytest.mark.parametrize("dtype", [object, "category", "string"])
@pytest.mark.parametrize("missing", [0, 30])
@pytest.mark.parametrize("Estimator", [TwoLayerClassifier, TwoLayerRegressor])
def test_the_fit_is_that_without_the_column(Estimator, dtype, missing):
    X, y = table(dtype=dtype, missing=missing)
    with pytest.warns(UserWarning, match=LEFT_OUT) as record:
        model = Estimator(**QUICK).fit(X, y)
    told = next(w for w in record if "left out" in str(w.message))
    assert told.filename == __file__
    without = Estimator(**QUICK).fit(X.drop(columns="name"), y)
    np.testing.assert_array_equal(
        model.encoded_feature_names_, without.encoded_feature_names_
    )
    assert_same_weights(model, without)
    new = X.assign(name="of a row to come")
    expected = without.predict(X.drop(columns="name"))
    for fitted in (model, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(fitted.predict(new), expected)
    importances = np.delete(model.feature_importances_, 1)
    assert model.feature_importances_[1] == 0
    np.testing.assert_allclose(importances, without.feature_importances_)


def columns_kept(X, y, **parameters):
    """Names of the encoded columns of a fit without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        model = TwoLayerClassifier(**QUICK, **parameters).fit(X, y)
    return len(model.encoded_feature_names_)


def test_named_repeating_and_only_columns_stay():
    X, y = table()
    assert columns_kept(X, y, categorical_features=["name", "sex"]) == 2 + 120 + 2
    assert columns_kept(*table(n_levels=60)) == 2 + 60 + 2
    assert columns_kept(*table(n=50, n_levels=50)) == 2 + 50 + 2
    assert columns_kept(X[["name"]], y) == 120


@pytest.mark.parametrize(("n_levels", "warns"), [(60, False), (61, True)])
def test_more_than_half_as_many_levels_as_rows_of_nonzero_weight(n_levels, warns):
    """Rows without weight count neither as rows nor by their levels."""
    X, y = table(n_levels=n_levels)
    weights = np.ones(120 + 40)
    weights[120:] = 0
    more = X.iloc[:40].assign(name=[f"idle {i}" for i in range(40)])
    X, y = pd.concat([X, more], ignore_index=True), np.append(y, y[:40])
    model = TwoLayerClassifier(**QUICK)
    if warns:
        with pytest.warns(UserWarning, match=LEFT_OUT):
            model.fit(X, y, sample_weight=weights)
    else:
        model.fit(X, y, sample_weight=weights)
    assert len(model.encoded_feature_names_) == 4 + (0 if warns else n_levels)


def test_columns_of_50_levels_stay():
    """As the documentation says: more than 50, and more than half of the rows."""
    assert columns_kept(*table(n=90, n_levels=50)) == 2 + 50 + 2
    X, y = table(n=90, n_levels=51)
    with pytest.warns(UserWarning, match=LEFT_OUT):
        TwoLayerClassifier(**QUICK).fit(X, y)


IN_STREAM = "'name' has .* identifier of rows"


def test_the_first_part_of_a_stream_does_not_decide():
    X, y = table()
    model = TwoLayerClassifier(**QUICK)
    with pytest.warns(UserWarning, match=IN_STREAM) as record:
        model.partial_fit(X, y, classes=[0, 1])
    assert [w.filename for w in record] == [__file__]
    assert len(model.encoded_feature_names_) == 124


@pytest.mark.parametrize("seed", range(8))
def test_a_stream_warns_once_of_names_of_rows(seed):
    """At the part with which there are enough, and not where fit would keep them."""
    rng = np.random.default_rng(seed)
    n_levels = int(rng.choice([30, 50, 60, 90, 120]))
    X, y = table(n_levels=n_levels, seed=seed)
    named = rng.random() < 0.3
    features = ["name", "sex"] if named else "from_dtype"
    model = TwoLayerClassifier(**QUICK, categorical_features=features)
    told, seen = [], 0
    for size in cut(rng, 120):
        rows = slice(seen, seen + size)
        seen += size
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            model.partial_fit(X[rows], y[rows], classes=[0, 1])
        found = X.name[:seen].nunique()
        is_id = found > 50 and found > seen / 2 and not named
        told.append(is_id)
        is_new = is_id and told[:-1][-1:] != [True]
        says = [f"Column 'name' has {found} levels in the {seen} rows"] * is_new
        assert [str(w.message).split(" so far")[0] for w in record] == says


def cut(rng, n):
    """Sizes of drawn partitions of n rows, from one row to most of them."""
    stops = np.sort(rng.choice(np.arange(1, n), rng.integers(0, 6), replace=False))
    return np.diff([0, *stops, n]).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_partitions_leave_out_the_columns_of_a_fit_in_memory(seed):
    """However rows are cut, with missing names and rows of weight 0."""
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    rng = np.random.default_rng(seed)
    missing, n_levels = int(rng.choice([0, 30])), int(rng.integers(40, 75))
    dtype = rng.choice(["object", "category", "string"])
    X, y = table(n_levels=n_levels, missing=missing, dtype=dtype, seed=seed)
    weights = rng.integers(0, 3, len(y)) if rng.integers(2) else None
    found, told = [], []
    for Estimator in (TwoLayerClassifier, dask.TwoLayerClassifier):
        model = Estimator(**QUICK | {"solver": "lbfgs"})
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            if Estimator is TwoLayerClassifier:
                model.fit(X, y, sample_weight=weights)
            else:
                fitted_to_parts(model, X, y, cut(rng, len(y)), weights)
        told.append([str(w.message) for w in record if "left out" in str(w.message)])
        found.append(model)
    assert told[0] == told[1]
    plain, ours = found
    np.testing.assert_array_equal(
        ours.encoded_feature_names_, plain.encoded_feature_names_
    )
    local = ours.to_local()
    np.testing.assert_allclose(local.predict_proba(X), plain.predict_proba(X), 1e-6)


def test_partitions_keep_named_columns():
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    X, y = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "lbfgs|Stochastic")
        for features, rows in (["name", "sex"], X), ("from_dtype", X[["name"]]):
            options = QUICK | {"solver": "lbfgs", "categorical_features": features}
            model = fitted_to_parts(
                dask.TwoLayerClassifier(**options), rows, y, (50, 70)
            )
            assert "name_row 3" in model.encoded_feature_names_
