"""The results of onnxruntime for a converted network equal its predictions."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    DoubleTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_bp.onnx
from sklearn_bp import (
    MLP_DEFAULTS,
    PiecewiseLinear,
    TwoLayerClassifier,
    TwoLayerRegressor,
)
from sklearn_bp.activations import ACTIVATIONS, ELU, Activation, LeakyReLU, Tanh
from sklearn_bp.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    Huber,
    LogLoss,
    Quantile,
    SquaredError,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(140, 4)) * [1, 100, 0.01, 1] + [0, 300, 0, 0]
SCALED = (X - X.mean(axis=0)) / X.std(axis=0)
SIGNAL = SCALED[:, 0] + 0.5 * np.sin(2 * SCALED[:, 1])
CLASSES = {
    "binary": SIGNAL > 0,
    "names": np.where(SIGNAL > 0, "yes", "no"),
    "objects": np.array(["low", "mid", "high"], object)[np.digitize(SIGNAL, [-1, 1])],
    "integers": np.digitize(SIGNAL, [-1, 0, 1]) * 5 - 3,
    "floats": np.digitize(SIGNAL, [-1, 0, 1]) * 1.0,
    "one": np.full(140, 7),
    "multilabel": np.c_[SIGNAL > 0, SCALED[:, 3] > 0].astype(int),
}
TARGETS = {
    "one": 3 * np.abs(SIGNAL) + 1,
    "column": (3 * np.abs(SIGNAL) + 1)[:, np.newaxis],
    "two": np.c_[np.abs(SIGNAL), 50 + SIGNAL],
}
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}
BRIEF = {"hidden_layer_sizes": 5, "n_members": 3, "max_iter": 8, "random_state": 0}
over_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def run(model, X, sample=None, options=None):
    """The outputs of the converted model, by onnxruntime."""
    last = model[-1] if hasattr(model, "steps") else model
    if is_classifier(last):
        options = {"zipmap": False} | (options or {})
    sample = X[:1] if sample is None else sample
    if isinstance(sample, np.ndarray):
        graph = to_onnx(model, sample, options=options)
    else:
        graph = to_onnx(model, initial_types=sample, options=options)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": X})


def assert_same(model, X, tolerance=None, sample=None):
    tolerance = tolerance or TOLERANCE[X.dtype.type]
    if is_classifier(model):
        labels, p = run(model, X, sample)
        assert_array_equal(labels, model.predict(X))
        assert_allclose(p, model.predict_proba(X), rtol=0, atol=tolerance)
        assert p.dtype == X.dtype
        return
    (p,) = run(model, X, sample)
    expected = model.predict(X)
    shape = (len(X), 1) if expected.ndim == 1 else expected.shape
    assert p.shape == shape
    assert_allclose(
        p, expected.reshape(p.shape), rtol=tolerance, atol=tolerance * np.ptp(expected)
    )


@over_dtypes
def test_values_beyond_the_limits(dtype):
    """They count as unknown in the graph too, from training on or not."""
    rows = X.astype(dtype)
    far = rows.copy()
    far[0], far[1, 2], far[2, 1] = 1e6, -1e3, -1e5
    for fitted_to in (rows, far):
        for make, y in (
            (TwoLayerClassifier, CLASSES["names"]),
            (TwoLayerRegressor, TARGETS["two"]),
        ):
            assert_same(make(**BRIEF).fit(fitted_to, y), far, 1e-5)


@over_dtypes
@pytest.mark.parametrize("loss", [*CLASSIFIER_LOSSES, LogLoss(0.1)], ids=repr)
@pytest.mark.parametrize("kind", CLASSES)
def test_labels_and_probabilities(kind, loss, dtype):
    model = TwoLayerClassifier(loss=loss, **BRIEF).fit(X.astype(dtype), CLASSES[kind])
    assert_same(model, X.astype(dtype))


@over_dtypes
@pytest.mark.parametrize("offset", [0, 1e4])
def test_columns_encoded_by_bins(offset, dtype):
    wide = (np.repeat(X, 2, axis=0) + RNG.normal(size=(280, 4))).astype(dtype)
    wide[:, 0] = wide[:, 0] ** 5 + offset
    signal = np.repeat(SIGNAL, 2) > 0
    for options in ({}, {"numeric_encoding": PiecewiseLinear(3)}):
        model = TwoLayerClassifier(6, random_state=0, **options).fit(wide, signal)
        assert model.coefs_[0].shape[0] > 4
        tolerance = 1e-5 if dtype == np.float32 else None
        assert_same(model, wide, tolerance)
        assert_same(model, 3 * wide, tolerance)


@over_dtypes
def test_columns_of_a_table_of_many_levels_encoded_by_bins(dtype):
    """Training was on a CSR; the graph's rows are dense."""
    rows = np.repeat(X, 2, axis=0) + RNG.normal(size=(280, 4))
    rows[:, 2] = np.arange(280) % 130
    rows = rows.astype(dtype)
    settings = {"random_state": 0, "categorical_features": [2]}
    model = TwoLayerRegressor(6, **settings).fit(rows, np.repeat(SIGNAL, 2))
    assert model.coefs_[0].shape[0] == 3 + 130 + 24
    later = 3 * rows
    later[:, 2] = np.arange(280) % 150  # with levels that training has not seen
    for known in (rows, later):
        assert_same(model, known, 1e-5 if dtype == np.float32 else None)


@over_dtypes
@pytest.mark.parametrize(
    "loss", [*REGRESSOR_LOSSES, Huber(0.5), Quantile([0.1, 0.5, 0.7])], ids=repr
)
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_predictions_in_their_shape(kind, loss, dtype):
    model = TwoLayerRegressor(loss=loss, **BRIEF).fit(X.astype(dtype), TARGETS[kind])
    assert_same(model, X.astype(dtype), 5e-6 if dtype == np.float32 else None)


@over_dtypes
@pytest.mark.parametrize(
    "activation", [*ACTIVATIONS, LeakyReLU(0.3), ELU(0.7)], ids=repr
)
def test_activations(activation, dtype):
    """Also where net inputs are large, on either side."""
    settings = MLP_DEFAULTS | {"activation": activation, "max_iter": 8}
    settings["random_state"] = 0
    rows = SCALED.astype(dtype)
    model = TwoLayerRegressor(**settings).fit(rows, TARGETS["two"])
    far = np.concatenate([rows, 300 * rows])
    tolerance = TOLERANCE[dtype]
    (p,) = run(model, far)
    largest = np.abs(far @ model.coefs_[0]).max(axis=1, keepdims=True) + 1
    assert (np.abs(p - model.predict(far)) / largest).max() < tolerance


@over_dtypes
def test_skip_layer_and_limits_of_predictions(dtype):
    settings = BRIEF | {"skip_layer": True}
    rows = X.astype(dtype)
    model = TwoLayerRegressor(**settings).fit(rows, TARGETS["two"])
    far = np.concatenate([rows, 1000 * rows, -1000 * rows])
    limits = model.target_range_
    width = limits[1] - limits[0]
    p = model.predict(far)
    assert_allclose(p.max(axis=0), limits[1] + 0.05 * width, rtol=1e-6)  # all are met
    assert_allclose(p.min(axis=0), limits[0] - 0.05 * width, rtol=1e-5)
    assert_same(model, far, 5e-6 if dtype == np.float32 else None)
    model.target_range_ = None
    (free,) = run(model, far)
    assert free.max() > p.max() + 1
    assert_allclose(free, model.predict(far), rtol=1e-4)


@over_dtypes
def test_missing_values_are_filled(dtype):
    rows = X.astype(dtype)
    rows[::7, 1] = np.nan
    model = TwoLayerClassifier(**BRIEF).fit(rows, CLASSES["integers"])
    later = X.astype(dtype)
    later[::3, 1] = later[::4, 2] = np.nan  # the latter was complete in training
    assert_same(model, later)
    filled = later.copy()
    filled[:, 2] = np.nan
    assert_same(model, filled)


@over_dtypes
def test_categories_that_are_numbers(dtype):
    rows = X.astype(dtype)
    rows[:, 1] = RNG.choice([1, 4, 9], size=140)
    rows[:, 3] = RNG.choice([0.5, np.nan, 2], size=140)
    rows[::5, 0] = np.nan
    model = TwoLayerClassifier(**BRIEF, categorical_features=[1, 3])
    model.fit(rows, CLASSES["objects"])
    later = rows[::-1].copy()
    later[::4, 1] = 77  # unknown
    assert_same(model, later)
    model = TwoLayerRegressor(**BRIEF, categorical_features=[0, 1, 2, 3])
    codes = RNG.choice([1.0, 2.0], size=(140, 4)).astype(dtype)
    assert_same(model.fit(codes, SIGNAL), codes, 5e-6 if dtype == np.float32 else None)


def test_categories_are_compared_as_they_come_in():
    """Numbers that float32, the dtype of the weights, cannot tell apart."""
    codes = 2.0**24 + np.digitize(SIGNAL, [0])[:, np.newaxis]
    model = TwoLayerClassifier(**BRIEF, categorical_features=[0])
    model.fit(codes, CLASSES["binary"])
    model.coefs_ = [w.astype(np.float32) for w in model.coefs_]
    model.intercepts_ = [b.astype(np.float32) for b in model.intercepts_]
    assert_same(model, codes, 1e-6)
    assert len(np.unique(run(model, codes)[1], axis=0)) == 2


MIXED = pd.DataFrame(
    {
        "size": np.where(np.arange(140) % 7, X[:, 1], np.nan),
        "town": np.array(["Aachen", "Bonn", "", None], object)[np.arange(140) % 4],
        "count": np.arange(140) % 5,
        "kind": np.where(SIGNAL > 0, "u", "v"),
        "known": SIGNAL > 0.3,
    }
)


def as_inputs(frame):
    return {name: frame[[name]].to_numpy() for name in frame}


@pytest.mark.parametrize("categorical", ["from_dtype", ["town", "kind", "count"]])
@pytest.mark.parametrize("last", [TwoLayerClassifier, TwoLayerRegressor])
def test_tables_have_one_input_per_column(last, categorical):
    """Strings among them; a level that training has not seen; missing ones."""
    y = CLASSES["names"] if is_classifier(last()) else SIGNAL
    model = last(**BRIEF, categorical_features=categorical).fit(MIXED, y)
    later = MIXED[::-1].reset_index(drop=True)
    later.loc[::9, "town"] = "Celle"
    later.loc[::8, "kind"] = None  # never missed in training: unknown
    later.loc[::6, "size"] = np.nan
    options = {"zipmap": False} if is_classifier(model) else None
    graph = to_onnx(model, MIXED[:1], options=options)
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results = session.run(None, as_inputs(later))
    if is_classifier(model):
        assert_array_equal(results[0], model.predict(later))
        assert_allclose(results[1], model.predict_proba(later), rtol=0, atol=1e-12)
    else:
        assert_allclose(results[0][:, 0], model.predict(later), rtol=1e-12, atol=1e-12)
    p = model.predict(MIXED.assign(town=np.where(MIXED["town"] == "", "x", "Bonn")))
    assert len(np.unique(p)) > 1  # the columns do matter


@pytest.mark.parametrize("missing", ["", "nan", "None", "<NA>"])
def test_missing_strings_in_any_spelling(missing):
    """A tensor of strings has no missing values, only their texts."""
    frame = MIXED[["size", "town"]].replace({"town": {"": "Celle"}})
    model = TwoLayerRegressor(**BRIEF).fit(frame, SIGNAL)
    session = onnxruntime.InferenceSession(
        to_onnx(model, frame[:1]).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    spelled = as_inputs(frame.fillna({"town": missing}))
    expected = model.predict(frame)
    assert_allclose(session.run(None, spelled)[0][:, 0], expected, rtol=1e-10)
    unknown = model.predict(frame.fillna({"town": "elsewhere"}))
    assert np.abs(unknown - expected).max() > 1e-3


def test_inputs_of_several_columns():
    model = TwoLayerClassifier(**BRIEF).fit(X, CLASSES["names"])
    pieces = {"a": X[:, :1], "b": X[:, 1:3], "c": X[:, 3:]}
    types = [(k, DoubleTensorType([None, v.shape[1]])) for k, v in pieces.items()]
    graph = to_onnx(model, initial_types=types, options={"zipmap": False})
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    labels, p = session.run(None, pieces)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(p, model.predict_proba(X), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"have 3 columns together, .* fitted to 4"):
        to_onnx(model, initial_types=types[:2])


def test_inputs_of_the_wrong_kind_are_refused():
    frame = MIXED[["size", "kind"]]
    model = TwoLayerClassifier(**BRIEF).fit(frame, CLASSES["binary"])
    with pytest.raises(ValueError, match="Column 1 holds categories that are strings"):
        run(model, X[:, :2])
    strings = [(name, StringTensorType([None, 1])) for name in frame]
    with pytest.raises(ValueError, match="Column 0 was numeric in fit"):
        to_onnx(model, initial_types=strings)
    coded = TwoLayerClassifier(**BRIEF, categorical_features=[0])
    coded.fit(np.digitize(SIGNAL, [-1, 0])[:, np.newaxis], CLASSES["binary"])
    with pytest.raises(ValueError, match="Column 0 holds categories that are not str"):
        to_onnx(coded, initial_types=strings[:1])


@pytest.mark.parametrize("missing", [False, True])
def test_ids_that_a_graph_cannot_tell_apart_are_refused(missing):
    ids = (2**53 + np.digitize(SIGNAL, [-1, 0]))[:, np.newaxis].astype(object)
    ids[0] = None if missing else 7
    model = TwoLayerClassifier(**BRIEF, categorical_features=[0])
    model.fit(ids, CLASSES["binary"])
    with pytest.raises(ValueError, match=r"Column 0 holds integers beyond 2\*\*53"):
        run(model, np.zeros((2, 1)))


@over_dtypes
def test_in_a_pipeline(dtype):
    rows = X.astype(dtype)
    # The scaler's own rounding comes on top.
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for last, y in [
        (TwoLayerClassifier(**BRIEF), CLASSES["names"]),
        (TwoLayerClassifier(**BRIEF), CLASSES["multilabel"]),
        (TwoLayerRegressor(**BRIEF), TARGETS["two"]),
    ]:
        pipe = make_pipeline(StandardScaler(), last).fit(rows, y)
        got, expected = run(pipe, rows), [pipe.predict(rows)]
        if is_classifier(last):
            assert_array_equal(got[0], expected[0])
            got, expected = got[1:], [pipe.predict_proba(rows)]
        assert_allclose(got[0], expected[0], rtol=0, atol=tolerance * 50)


ENSEMBLES = {
    "calibrated": CalibratedClassifierCV(TwoLayerClassifier(**BRIEF), cv=2),
    "one_vs_rest": OneVsRestClassifier(TwoLayerClassifier(**BRIEF)),
    "stacking": StackingClassifier([("a", TwoLayerClassifier(**BRIEF))], cv=2),
}


@pytest.mark.parametrize("kind", ["names", "integers"])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_within_other_estimators(name, kind):
    """Some of them use scores instead of probabilities, and request `raw_scores`."""
    model = clone(ENSEMBLES[name]).fit(X, CLASSES[kind])
    labels, p = run(model, X)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(p, model.predict_proba(X), rtol=0, atol=1e-12)


@over_dtypes
@pytest.mark.parametrize("kind", ["names", "integers", "multilabel"])
def test_raw_scores(kind, dtype):
    rows = SCALED.astype(dtype)
    model = TwoLayerClassifier(**BRIEF).fit(rows, CLASSES[kind])
    expected = model.decision_function(rows)
    if expected.ndim == 1:
        expected = np.c_[-expected, expected]  # as of skl2onnx's own classifiers
    labels, scores = run(model, rows, options={"raw_scores": True})
    assert_array_equal(labels, model.predict(rows))
    assert_allclose(scores, expected, rtol=0, atol=10 * TOLERANCE[dtype])


def test_inputs_of_other_types():
    """Like predict, the graph computes in the dtype of the weights."""
    model = TwoLayerClassifier(**BRIEF).fit(X, CLASSES["integers"])
    single = X.astype(np.float32)
    assert_same(model, single)
    double = TwoLayerClassifier(**BRIEF).fit(single, CLASSES["integers"])
    assert double.coefs_[0].dtype == np.float32
    labels, p = run(double, X)
    assert p.dtype == np.float64
    assert_allclose(p, double.predict_proba(X), rtol=0, atol=1e-6)
    integers = np.rint(X).astype(np.int64)
    labels, p = run(model, integers, [("X", Int64TensorType([None, 4]))])
    assert_array_equal(labels, model.predict(integers))
    assert_allclose(p, model.predict_proba(integers), rtol=0, atol=1e-6)


def test_large_offsets_keep_their_digits():
    rows = (SCALED + 1e5).astype(np.float32)
    model = TwoLayerClassifier(**BRIEF).fit(rows, CLASSES["integers"])
    assert model.coefs_[0].dtype == np.float64
    assert_same(model, rows)


def test_any_number_of_rows():
    model = TwoLayerClassifier(**BRIEF).fit(X, CLASSES["names"])
    for rows in (X[:1], X[:2], X):
        labels, p = run(model, rows, [("X", DoubleTensorType([None, 4]))])
        assert_array_equal(labels, model.predict(rows))
        assert_allclose(p, model.predict_proba(rows), rtol=0, atol=1e-12)


class Cube(Activation):
    def forward(self, z):
        z **= 3

    def backward(self, a, delta):
        delta *= 3 * np.abs(a) ** (2 / 3)


class BareCube:
    """Derives from nothing."""

    forward, backward = Cube.forward, Cube.backward


class CubeWithForm(Cube):
    def onnx(self, graph, z):
        return graph.node("Mul", z, graph.node("Mul", z, z))


class BareCubeWithForm(BareCube):
    onnx = CubeWithForm.onnx


class HalvedTanh(Tanh):
    """Has the form of another function, which must not be taken for its own."""

    def forward(self, z):
        super().forward(z)
        z /= 2

    def backward(self, a, delta):
        super().backward(2 * a, delta)
        delta /= 2


def fitted_with(activation):
    settings = BRIEF | {"activation": activation, "max_iter": 2}
    return TwoLayerClassifier(**settings).fit(X, CLASSES["binary"])


@pytest.mark.parametrize("own", [CubeWithForm, BareCubeWithForm])
def test_a_users_activation_has_its_own_form(own):
    assert_same(fitted_with(own()), X)


@pytest.mark.parametrize("own", [Cube, BareCube, HalvedTanh])
def test_a_form_can_be_registered_for_a_class_without(own, monkeypatch):
    model = fitted_with(own())
    with pytest.raises(ValueError, match=rf"no ONNX form of a.*{own.__name__}"):
        run(model, X)
    cube = lambda graph, z, own: graph.node("Mul", z, graph.node("Mul", z, z))  # noqa: E731
    halved = lambda graph, z, own: graph.node("Mul", graph.node("Tanh", z), 0.5)  # noqa: E731
    form = halved if own is HalvedTanh else cube
    monkeypatch.setitem(sklearn_bp.onnx.ACTIVATIONS, own, form)
    assert_same(model, X)


class HalfScores(Huber):
    """Huber's loss of half the score."""

    scalable = False

    def forward(self, z):
        z /= 2

    def backward(self, p, y, out):
        super().backward(p, y, out)
        out /= 2


class HalfScoresWithForm(HalfScores):
    def onnx(self, graph, z):
        return graph.node("Mul", z, 0.5)


class Bare:
    """Derives from nothing, and has scores for predictions."""

    value, backward = SquaredError.value, SquaredError.backward


def test_users_losses():
    for loss in (HalfScoresWithForm(), Bare()):
        assert_same(TwoLayerRegressor(loss=loss, **BRIEF).fit(X, SIGNAL), X)
    model = TwoLayerRegressor(loss=HalfScores(), **BRIEF).fit(X, SIGNAL)
    with pytest.raises(ValueError, match=r"no ONNX form of loss=.*HalfScores.*LINKS"):
        run(model, X)


@pytest.mark.parametrize("standardize", [True, False])
def test_predictions_of_targets_that_float32_cannot_hold(standardize):
    rows = SCALED.astype(np.float32)
    loss = Quantile([0.1, 0.9])
    model = TwoLayerRegressor(loss=loss, standardize=standardize, **BRIEF)
    model.fit(rows, SIGNAL + 1e5)
    (p,) = run(model, rows)
    assert_allclose(p, model.predict(rows), rtol=1e-6)


def test_labels_that_onnx_lacks_are_refused():
    dates = np.where(
        SIGNAL > 0, np.datetime64("2020-01-01"), np.datetime64("2021-01-01")
    )
    model = TwoLayerClassifier(**BRIEF).fit(X, dates)
    with pytest.raises(ValueError, match="all integers or all strings"):
        run(model, X)
