"""Looking inside: hidden activations, derivatives by the inputs, importances."""

import pickle

import kinds
import numpy as np
import pandas as pd
import pytest
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from slow import slow_but

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.importances import _pairs, basis
from sklearn_bp.activations import ACTIVATIONS, as_activation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(140, 5)) * [1, 100, 0.01, 1, 1] + [0, 500, 0, 0, 3]
X[:, 4] = 3
SIGNAL = X[:, 0] + 0.5 * np.sin(X[:, 1] / 50)
TARGETS = kinds.targets(SIGNAL, X[:, 3], RNG)
over_kinds = pytest.mark.parametrize("kind", TARGETS)
PLAIN = MLP_DEFAULTS | {"hidden_layer_sizes": 6, "max_iter": 20, "random_state": 0}
BRIEF = {"hidden_layer_sizes": 5, "n_members": 3, "max_iter": 20, "random_state": 0}


def make(kind, **options):
    return kinds.make(kind, **BRIEF | options)


def scores(model, X):
    z = model._scores(X)
    return z


# transform.


@pytest.mark.parametrize("skip_layer", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over_kinds
def test_the_output_layer_on_top_gives_the_scores(kind, dtype, skip_layer):
    model = make(kind, skip_layer=skip_layer).fit(X.astype(dtype), TARGETS[kind])
    rows = X.astype(dtype)
    hidden = model.transform(rows)
    assert hidden.shape == (140, 15)
    z = hidden @ model.coefs_[1] + model.intercepts_[1]
    if skip_layer:
        z += rows.astype(z.dtype) @ model.skip_coef_
    rtol = 1e-10 if dtype == np.float64 else 1e-3
    assert_allclose(z, scores(model, rows), rtol=rtol, atol=rtol)
    if kind == "binary":
        assert_allclose(z[:, 0], model.decision_function(rows), rtol=rtol, atol=rtol)


def test_transform_works_block_by_block(monkeypatch):
    model = make("binary").fit(X, TARGETS["binary"])
    whole, gradient = model.transform(X), model.input_gradient(X)
    monkeypatch.setattr("sklearn_bp._estimators.inspection.PREDICT_ROWS", 9)
    assert_allclose(model.transform(X), whole, rtol=1e-12)
    assert_allclose(model.input_gradient(X), gradient, rtol=1e-9)
    csr = sparse.csr_matrix(X)
    assert_allclose(model.transform(csr), whole, rtol=1e-9, atol=1e-9)
    assert_allclose(model.input_gradient(csr), gradient, rtol=1e-7, atol=1e-9)


def test_names_and_frames_of_the_hidden_layer():
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = make("regression").fit(frame, TARGETS["regression"])
    names = [f"twolayerregressor{i}" for i in range(15)]
    assert_array_equal(model.get_feature_names_out(), names)
    table = model.set_output(transform="pandas").transform(frame)
    assert list(table.columns) == names
    assert table.index.equals(frame.index)


def test_a_network_is_a_step_before_another_model():
    pipe = make_pipeline(make("multiclass"), LogisticRegression(max_iter=1000))
    assert pipe.fit(X, TARGETS["multiclass"]).score(X, TARGETS["multiclass"]) > 0.7
    assert is_classifier(make("binary"))
    assert is_regressor(make("regression"))


# input_gradient.


def differences(function, X, widths):
    """Central differences by each column, in steps of its width."""
    columns = []
    for j, width in enumerate(widths):
        up, down = X.copy(), X.copy()
        up[:, j] += width
        down[:, j] -= width
        columns.append((function(up) - function(down)) / (up - down)[:, j : j + 1])
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("skip_layer", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_against_differences(activation, skip_layer):
    scaled = (X[:, :4] - X[:, :4].mean(axis=0)) / X[:, :4].std(axis=0)
    settings = PLAIN | {"activation": activation, "skip_layer": skip_layer}
    model = TwoLayerClassifier(**settings).fit(scaled, TARGETS["multiclass"])
    rows = scaled[:20]
    z1 = np.abs(rows @ model.coefs_[0] + model.intercepts_[0])
    rows = rows[(z1 > 1e-3).all(axis=1)]  # no kink within reach
    expected = differences(lambda x: scores(model, x), rows, [1e-5] * 4)
    found = model.input_gradient(rows)
    assert found.shape == (len(rows), 4, 4)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert as_activation(activation) is ACTIVATIONS[activation]


@over_kinds
def test_gradient_is_in_the_users_units(kind):
    """Raw columns of any size, several members, a temperature: all absorbed."""
    model = make(kind, activation="tanh").fit(X, TARGETS[kind])
    widths = 1e-4 * np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    expected = differences(lambda x: scores(model, x), X[:30], widths)
    found = model.input_gradient(X[:30])
    if model.n_outputs_ == 1:
        found = found[:, np.newaxis]
    for j in range(5):
        size = np.abs(expected[..., j]).max()
        assert_allclose(found[..., j], expected[..., j], rtol=1e-5, atol=1e-5 * size)
    assert not found[..., 4].any()  # a constant


# feature_importances_.


@pytest.mark.parametrize(("dtype", "unit"), [("f4", 1e-25), ("f8", 1e-200)])
def test_gradient_beyond_the_dtype_is_infinite(dtype, unit):
    """By its sign, and without a warning of numpy, which would be an error here."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    small, plain = (
        TwoLayerRegressor(5, random_state=0).fit((X * u).astype(dtype), X[:, 0] / u)
        for u in (unit, 1.0)
    )
    gradient = small.input_gradient((X * unit).astype(dtype))
    with np.errstate(over="ignore"):
        expected = plain.input_gradient(X) / unit / unit
    assert_allclose(gradient, expected, rtol=1e-3)


def test_importances_find_the_relevant_columns():
    """For any scale and any target; a constant has none, and they sum to 1."""
    rng = np.random.RandomState(1)
    rows = rng.normal(size=(600, 5)) * [1, 1e3, 1e-3, 1, 1]
    rows[:, 4] = 7
    y = 3 * rows[:, 0] + 2e-3 * rows[:, 1]
    importances = TwoLayerRegressor(random_state=0).fit(rows, y).feature_importances_
    assert importances.sum() == pytest.approx(1)
    assert_allclose(importances[:2], [0.6, 0.4], atol=0.05)
    assert importances[2:4].max() < 0.05
    assert importances[4] == 0
    model = SelectFromModel(TwoLayerRegressor(random_state=0), max_features=2)
    assert_array_equal(
        model.fit(rows, y).get_support(), [True, True, False, False, False]
    )


def test_importances_of_a_linear_network():
    """|coefficient| times standard deviation, over their sum: exactly."""
    settings = PLAIN | {"activation": "identity", "solver": "lbfgs", "alpha": 0.0}
    rows = X[:64, :4] / [1, 100, 0.01, 1]  # as many as are looked at
    model = TwoLayerRegressor(**settings).fit(rows, rows @ [1.0, -2, 0, 5])
    slopes = np.abs(model.coefs_[0] @ model.coefs_[1])[:, 0] * rows.std(axis=0)
    assert_allclose(model.feature_importances_, slopes / slopes.sum(), rtol=1e-9)


def test_importances_of_encoded_columns():
    """The importance of a feature sums over its levels and its missing values."""
    frame = pd.DataFrame({"size": X[:, 0], "kind": RNG.choice(list("abc"), 140)})
    frame.loc[::9, "size"] = np.nan
    y = (frame["kind"] == "b") * 10.0
    for encoding, n_bins in ((None, 0), ("auto", 8)):
        model = TwoLayerRegressor(random_state=0, numeric_encoding=encoding)
        model.fit(frame, y)
        joined = n_bins if model.n_members_ > 8 else 0  # members that see bins
        assert model.coefs_[0].shape[0] == 5 + joined
        assert model.feature_importances_.shape == (2,)
        assert model.feature_importances_[1] > 0.8
    selected = SelectFromModel(TwoLayerRegressor(random_state=0)).fit(frame, y)
    assert_array_equal(selected.get_feature_names_out(), ["kind"])


def test_importances_are_those_of_the_fit():
    """They are measured when asked for: not on other rows, and not put in a pickle."""
    y, rows = TARGETS["regression"], X.copy()
    model = TwoLayerRegressor(**PLAIN).fit(rows, y)
    expected = TwoLayerRegressor(**PLAIN).fit(rows, y).feature_importances_
    rows[:] = 0
    model.set_params(activation="no activation")
    twin = pickle.loads(pickle.dumps(model))
    assert_array_equal(twin.feature_importances_, expected)
    assert_array_equal(model.feature_importances_, expected)
    assert twin._importance_basis is None


def plain_importances(model, rows):
    """By the definition, from an array of all derivatives."""
    gradient = model.input_gradient(rows)
    gradient = gradient[:, np.newaxis] if gradient.ndim == 2 else gradient
    changes = np.abs(gradient).mean(axis=(0, 1)) * rows.std(axis=0)
    return changes / changes.sum()


@pytest.mark.parametrize("scales", [(1, 1), (1, 1000), (1e-200, 1e200), (7, 1e-3)])
def test_moments_of_two_parts_are_those_of_their_rows(scales):
    """Whatever the sizes of their columns, each part in a unit of its own."""
    rng = np.random.RandomState(0)
    parts = [scale * (1 + rng.normal(size=(800, 5))) for scale in scales]
    model = make("regression").fit(X, SIGNAL)
    model.feature_limits_ = None
    fitted = model._fitted_network()
    found = basis(fitted, parts[0], None, running=True)
    found = basis(fitted, parts[1], None, running=True, before=found)
    rows = np.concatenate([part[::25] for part in parts]) / found["unit"]
    assert found["n"] == len(rows)
    assert_allclose(found["mean"], rows.mean(axis=0), rtol=1e-12)
    assert_allclose(found["squares"], len(rows) * rows.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("block", [2**18, 50, 1])
@pytest.mark.parametrize("skip_layer", [False, True])
@over_kinds
def test_importances_are_those_of_the_definition(kind, skip_layer, block, monkeypatch):
    monkeypatch.setattr("sklearn_bp._fitting.importances.IMPORTANCE_BLOCK", block)
    model = make(kind, activation="tanh", skip_layer=skip_layer).fit(X, TARGETS[kind])
    expected = plain_importances(model, X[::3])
    assert_allclose(model.feature_importances_, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("n_pairs", [16, 64, 200])
def test_with_many_outputs_some_stand_for_all(n_pairs, monkeypatch):
    """Each row is measured at some outputs, and all rows together at most of them."""
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(300, 5)) * [1, 2, 0.5, 1, 1]
    y = np.abs(rows @ rng.normal(size=(5, 40))).argmax(axis=1)
    model = TwoLayerClassifier(20, n_members=1, max_iter=30, random_state=0)
    whole = model.fit(rows, y).feature_importances_
    monkeypatch.setattr(
        "sklearn_bp._fitting.importances.IMPORTANCE_WORK",
        n_pairs * model.coefs_[0].size,
    )
    some = model.fit(rows, y).feature_importances_
    assert_allclose(some, whole, atol=0.4 / np.sqrt(n_pairs))
    assert some.sum() == pytest.approx(1)


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("outputs", [1, 2, 7, 1000])
@pytest.mark.parametrize("pairs", [8, 64, 100, 10**6])
def test_pairs_of_rows_and_outputs(rows, outputs, pairs):
    """All pairs, or a given number: equally many per row, without preferred outputs."""
    i, k = _pairs(rows, outputs, pairs)
    each = np.bincount(i, minlength=rows)
    assert set(each) == {min(outputs, max(1, pairs // rows))}
    assert len({*zip(i, k, strict=True)}) == len(i) <= max(rows, pairs)
    assert k.min() >= 0
    assert k.max() < outputs
    if len(i) >= 64 and outputs > 1:
        assert (k < outputs / 2).mean() == pytest.approx(
            -(-outputs // 2) / outputs, abs=0.1
        )


def test_a_network_of_any_shape_is_pickled_in_the_memory_of_its_weights():
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(600, 1500)).astype(np.float32)
    y = np.arange(600) % 300
    model = TwoLayerClassifier(8, n_members=1, max_iter=1, random_state=0).fit(rows, y)
    with PeakMemory() as used:
        file = pickle.dumps(model)
    assert len(file) < 222_000  # with the limits, 12 KB
    assert used.peak < 64 * 300 * 1500  # a byte for each derivative would be as much
    twin = pickle.loads(file)
    assert_array_equal(twin.feature_importances_, model.feature_importances_)


def numbers_in(value, seen):
    """All arrays that a value holds, however deep."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [value, *numbers_in(value.base, seen)]
    if isinstance(value, dict):
        value = list(value.values())
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        value = list(vars(value).values())
    if isinstance(value, list | tuple | np.ndarray):
        return [array for part in value for array in numbers_in(part, seen)]
    return []


@pytest.mark.parametrize(
    ("way", "n"),
    [("fit", 3), ("fit", 40), ("fit", 500), ("partial_fit", 40), ("partial_fit", 500)],
)
def test_no_training_row_is_kept(way, n):
    """Neither in memory nor in a file."""
    rng = np.random.RandomState(0)
    rows, y = rng.normal(size=(n, 6)), np.arange(n) % 2
    model = TwoLayerClassifier(4, max_iter=2, random_state=0)
    if way == "fit":
        model.fit(rows, y)
    else:
        for _ in range(3):
            model.partial_fit(rows, y, classes=[0, 1])
    kept = np.concatenate([a.ravel() for a in numbers_in(model, set())])
    file = pickle.dumps(model)
    shared = np.isin(rows, kept).sum()
    if way == "fit":
        assert shared <= 5 * 6  # quartiles and extremes may be numbers of the data
    assert not any(row.tobytes() in file for row in rows)


@pytest.mark.parametrize("size", slow_but([7, 900], [1, 7, 200, 900]))
def test_importances_of_a_stream(size):
    """Close to those of the whole data; reading them midway changes nothing."""
    rng = np.random.RandomState(0)
    n = max(600, 8 * size)
    rows = rng.normal(size=(n, 4)) * [1, 3, 1, 1]
    y = 3 * rows[:, 0] + rows[:, 1]
    settings = PLAIN | {"standardize": False, "learning_rate_init": 0.01}
    straight, asked = (TwoLayerRegressor(**settings) for _ in range(2))
    n_calls = 0
    for _ in range(2 if size < 200 else 12):
        for start in range(0, n, size):
            part = slice(start, start + size)
            straight.partial_fit(rows[part], y[part])
            asked.partial_fit(rows[part], y[part])
            n_calls += 1
            if n_calls % 5 == 0:
                assert asked.feature_importances_.shape == (4,)
            if n_calls % 7 == 0:
                asked = pickle.loads(pickle.dumps(asked))
    importances = straight.feature_importances_
    assert_array_equal(asked.feature_importances_, importances)
    assert_allclose(importances, [0.5, 0.5, 0, 0], atol=0.12)
    assert importances.sum() == pytest.approx(1)


@pytest.mark.parametrize("way", ["fit", "partial_fit", "CSR"])
@pytest.mark.parametrize("skip_layer", [False, True])
@pytest.mark.parametrize("kind", slow_but(["regression"], TARGETS))
@pytest.mark.parametrize("seed", range(3))
def test_the_units_of_columns_and_targets_do_not_matter(way, skip_layer, kind, seed):
    """Up to the ends of float64, where squares are infinite or 0."""
    rng = np.random.RandomState(seed)
    y = TARGETS[kind]
    most = 490 if skip_layer else 980  # its weights are in targets per column
    of_columns = 2.0 ** rng.randint(-most, most, size=5)
    of_targets = 2.0 ** rng.randint(-most, most) if kind == "regression" else 1

    def importances(rows, y):
        model = make(kind, skip_layer=skip_layer)
        if way == "CSR":
            rows = sparse.csr_matrix(rows)
        if way != "partial_fit":
            return model.fit(rows, y).feature_importances_
        for start in range(0, len(X), 35):
            part = slice(start, start + 35)
            known = {"classes": np.unique(y)} if is_classifier(model) else {}
            model.partial_fit(rows[part], y[part], **known)
            model = pickle.loads(pickle.dumps(model))
        return model.feature_importances_

    expected = importances(X, y)
    found = importances(X * of_columns, y * of_targets)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("n", "n_samples"), [(799, 2), (800, 5)])
def test_a_stream_samples_rows_in_one_call_of_four_or_in_each_of_800_rows(n, n_samples):
    rng = np.random.RandomState(0)
    model = TwoLayerRegressor(2, n_members=1, random_state=0)
    for _ in range(5):
        rows = rng.normal(size=(n, 3))
        model.partial_fit(rows, rows[:, 0])
    assert model._importance_basis["n"] == n_samples * 32  # every 25th row


def test_rows_of_weight_zero_do_not_count():
    weights = np.r_[np.ones(100), np.zeros(40)]
    y = TARGETS["regression"]
    far = X.copy()
    far[100:] *= 1e6
    settings = PLAIN | {"solver": "lbfgs", "alpha": 1.0}
    models = [TwoLayerRegressor(**settings).fit(x, y, weights) for x in (X, far)]
    ours, theirs = (model.feature_importances_ for model in models)
    assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["transform", "input_gradient"])
def test_it_needs_a_fit(name):
    with pytest.raises(NotFittedError):
        getattr(TwoLayerClassifier(), name)(X)
    with pytest.raises(NotFittedError):
        _ = TwoLayerClassifier().feature_importances_


def test_sparse_rows_of_many_columns_stay_sparse():
    """Importances come from a few rows of them."""
    rows = sparse.random(300, 3000, 0.01, "csr", random_state=0)
    y = rows[:, 7].toarray()[:, 0] > 0
    model = TwoLayerClassifier(4, n_members=1, max_iter=3, random_state=0).fit(rows, y)
    assert model.feature_importances_.shape == (3000,)
    assert np.isfinite(model.feature_importances_).all()
