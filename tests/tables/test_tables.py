"""Raw tables through the estimators, with the defaults and a seed."""

import pickle
import re

import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest
from compare import outputs
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor

SETTINGS = {"hidden_layer_sizes": 8, "max_iter": 12, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table(n):
    """A table with categories, flags and missing values, and a target."""
    rng = np.random.default_rng(n)
    frame = pd.DataFrame(
        {
            "width": rng.normal(5000, 1000, n),
            "town": rng.choice(["Aachen", "Bonn", "Celle"], n),
            "count": rng.integers(0, 9, n).astype(float),
            "flag": rng.choice([True, False], n),
            "class": pd.Categorical(rng.choice(["x", "y"], n)),
        }
    )
    y = frame["width"] / 1000 + (frame["town"] == "Bonn") * 3 + frame["count"] * 0.2
    frame.loc[rng.choice(n, n // 8, replace=False), "count"] = np.nan
    return frame, y.to_numpy()


def by_hand():
    """The estimators' treatment of such a table, built from scikit-learn's parts."""
    numbers = SimpleImputer(strategy="median", add_indicator=True)
    return ColumnTransformer(
        [
            ("numbers", numbers, ["width", "count", "flag"]),
            ("town", OneHotEncoder(handle_unknown="ignore"), ["town"]),
            ("class", OneHotEncoder(handle_unknown="ignore"), ["class"]),
        ],
        sparse_threshold=0,
    )


def as_polars(frame):
    """Without pyarrow, which polars.from_pandas needs."""
    missing = {name: frame[name].isna().any() for name in frame}
    columns = {
        name: frame[name].to_numpy() if not missing[name] else frame[name].fillna(-1.0)
        for name in frame
    }
    result = polars.DataFrame({name: list(values) for name, values in columns.items()})
    return result.with_columns(
        polars.when(polars.col(name) == -1)
        .then(None)
        .otherwise(polars.col(name))
        .alias(name)
        for name in frame
        if missing[name]
    ).with_columns(polars.col("class").cast(polars.Categorical))


@pytest.mark.parametrize("n", [60, 240])
@pytest.mark.parametrize("task", ["classifier", "regressor"])
@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_table_equals_its_encoding_by_hand(n, task, kind):
    frame, y = table(n)
    estimator = TwoLayerClassifier if task == "classifier" else TwoLayerRegressor
    y = y > np.median(y) if task == "classifier" else y
    encoder = by_hand().fit(frame.astype({"flag": float}))
    encoded = encoder.transform(frame.astype({"flag": float}))
    given = frame if kind == "pandas" else as_polars(frame)
    model = estimator(**SETTINGS).fit(given, y)
    expected = estimator(**SETTINGS).fit(encoded, y)
    assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert_array_equal(outputs(model, given), outputs(expected, encoded))
    names = [name.split("__")[1] for name in encoder.get_feature_names_out()]
    assert list(model.encoded_feature_names_) == names
    assert model.coefs_[0].shape[0] == len(names)
    # Levels that training has not seen, and values missing where none were.
    new = frame.head(5).assign(town="Dresden", width=np.nan)
    new_encoded = encoder.transform(new.astype({"flag": float}))
    given = new if kind == "pandas" else as_polars(new)
    assert_array_equal(outputs(model, given), outputs(expected, new_encoded))
    assert_array_equal(
        outputs(pickle.loads(pickle.dumps(model)), given), outputs(model, given)
    )


@pytest.mark.parametrize("n", [60, 240])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_missing_values_are_medians_and_an_indicator(n, dtype):
    rng = np.random.RandomState(n)
    X = rng.normal(size=(n, 4)).astype(dtype)
    y = X[:, 0] + X[:, 1] ** 2
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    X[:, 2] = np.nan_to_num(X[:, 2])
    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(X)
    model = TwoLayerRegressor(**SETTINGS).fit(X, y)
    expected = TwoLayerRegressor(**SETTINGS).fit(imputer.transform(X), y)
    assert_allclose(
        model.predict(X), expected.predict(imputer.transform(X)), rtol=1e-10
    )
    names = ["x0", "x1", "x2", "x3"]
    names += [f"missingindicator_x{j}" for j in (0, 1, 3)]
    assert list(model.encoded_feature_names_) == names


def test_mlp_defaults_take_neither():
    frame, y = table(60)
    model = TwoLayerRegressor(**MLP_DEFAULTS)
    says = r"could not convert string to float|Cannot cast str"  # of pandas 2 and 3
    with pytest.raises(ValueError, match=says):
        model.fit(frame, y)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(frame[["width", "count"]], y)
    with pytest.raises(ValueError, match="infinity"):
        TwoLayerRegressor().fit([[np.inf], [0.0]], [0, 1])


def test_columns_named_as_categories():
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.normal(size=150), rng.randint(0, 4, 150)])
    y = X[:, 0] + np.array([3.0, -1, 2, 0])[X[:, 1].astype(int)]
    models = [
        TwoLayerRegressor(**SETTINGS, categorical_features=features).fit(X, y)
        for features in ([1], [False, True], np.array([1]))
    ]
    for model in models:
        assert_array_equal(model.predict(X), models[0].predict(X))
    levels = (X[:, 1:] == np.arange(4)).astype(float)
    encoded = np.hstack([X[:, :1], levels])
    expected = TwoLayerRegressor(**SETTINGS).fit(encoded, y)
    assert_array_equal(models[0].predict(X), expected.predict(encoded))


@pytest.mark.slow
def test_many_levels_stay_sparse():
    """5,000 levels: dense they would take 20,000 x 5,001 numbers, 800 MB."""
    n, n_levels = 20_000, 5_000
    rng = np.random.RandomState(0)
    codes = rng.randint(n_levels, size=n)
    effect = rng.normal(size=n_levels)
    frame = pd.DataFrame({"x": rng.normal(3, 2, n), "id": [f"id{c}" for c in codes]})
    y = effect[codes] + frame["x"].to_numpy()
    model = TwoLayerRegressor(8, max_iter=8, random_state=0)
    with PeakMemory() as used:
        model.fit(frame, y)
        p = model.predict(frame)
    assert used.peak < 100e6
    # It has learned levels and number: far more than the number alone explains.
    assert np.mean((p - y) ** 2) < 0.3 * np.var(effect[codes])


def test_sparse_part_of_a_table_is_scaled_as_its_dense_part():
    """Weights that absorbed the scaling act on the encoded table."""
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(
        {"x": rng.normal(1e4, 3, 400), "id": rng.permutation(np.arange(400) % 200)}
    ).astype({"id": str})
    y = frame["x"].to_numpy() - 1e4
    model = TwoLayerRegressor(8, max_iter=20, random_state=0).fit(frame, y)
    encoded = np.hstack([frame[["x"]], pd.get_dummies(frame["id"]).to_numpy(float)])
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    by_hand = np.maximum(encoded @ W1 + b1, 0) @ W2 + b2
    assert_allclose(model.predict(frame), by_hand[:, 0], rtol=1e-7, atol=1e-7)
    assert np.corrcoef(model.predict(frame), y)[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_defaults_beat_a_scaled_mlp_on_classes():
    X, y = load_wine(return_X_y=True)
    ours = cross_val_predict(
        TwoLayerClassifier(random_state=0), X, y, cv=5, method="predict_proba"
    )
    mlp = make_pipeline(StandardScaler(), MLPClassifier(random_state=0))
    with pytest.warns(ConvergenceWarning):
        theirs = cross_val_predict(mlp, X, y, cv=5, method="predict_proba")
    true = (np.arange(len(y)), y)
    assert -np.log(ours[true]).mean() < -np.log(theirs[true]).mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_defaults_beat_a_scaled_mlp_on_a_regression():
    X, y = load_diabetes(return_X_y=True)
    ours = cross_val_predict(TwoLayerRegressor(random_state=0), X, y, cv=5)
    mlp = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(random_state=0)),
        transformer=StandardScaler(),
    )
    with pytest.warns(ConvergenceWarning):
        theirs = cross_val_predict(mlp, X, y, cv=5)
    assert np.mean((ours - y) ** 2) < 0.95 * np.mean((theirs - y) ** 2)


def is_named(frame):
    """Whether this version of scikit-learn reads the names of such a frame."""
    return hasattr(FunctionTransformer().fit(frame), "feature_names_in_")


FORMATS = {"pandas": lambda frame: frame}
if is_named(as_polars(table(20)[0])):
    FORMATS["polars"] = as_polars
if is_named(pyarrow.Table.from_pandas(table(20)[0])):
    FORMATS["arrow table"] = pyarrow.Table.from_pandas
    FORMATS["arrow batch"] = pyarrow.RecordBatch.from_pandas


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("form", FORMATS)
def test_formats_with_names_keep_them(form, method):
    """The function too, which takes each of them."""
    frame, y = table(120)
    reference = getattr(TwoLayerRegressor(**SETTINGS), method)(frame, y)
    model = getattr(TwoLayerRegressor(**SETTINGS), method)(FORMATS[form](frame), y)
    assert list(model.feature_names_in_) == list(frame)
    for convert in FORMATS.values():
        given = convert(frame)
        assert_array_equal(model.predict(given), reference.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(FORMATS[form](frame[list(frame)[::-1]]))


class Stream:
    """An object that only pyarrow can read."""

    def __init__(self, frame):
        self.table = pyarrow.Table.from_pandas(frame)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    ("convert", "advice"),
    [
        (Stream, "pass pyarrow.table(X)"),
        (lambda frame: frame.to_dict("records"), "pass pandas.DataFrame(X)"),
        (lambda frame: frame.to_records(index=False), "pass pandas.DataFrame(X)"),
        (lambda frame: frame.to_dict("list"), "pass an array, a list or a data frame"),
        (lambda frame: as_polars(frame).lazy(), "pass X.collect()"),
    ],
)
def test_other_containers_are_refused_with_advice(convert, advice):
    """In training and in prediction; what it names can be called."""
    frame, y = table(120)
    model = TwoLayerRegressor(**SETTINGS).fit(frame, y)
    X, makers = convert(frame), {"pandas": pd, "pyarrow": pyarrow}
    for call in (model.fit, model.partial_fit, lambda X, y: model.predict(X)):
        with pytest.raises((TypeError, ValueError), match=re.escape(advice)):
            call(X, y)
    if "list" not in advice:
        given = eval(advice.removeprefix("pass "), makers | {"X": X})
        if is_named(given):
            assert_array_equal(model.predict(given), model.predict(frame))
