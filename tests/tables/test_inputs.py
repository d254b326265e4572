"""Results have the kind of the input: labels, dtypes, formats, frames, pickles."""

import io
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import flat
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedShuffleSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_bp
from sklearn_bp import MLP_DEFAULTS
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import INITIALIZERS

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 4))
X[RNG.uniform(size=X.shape) < 0.4] = 0
SIGNAL = X[:, 0] + X[:, 1] ** 2
CODES = np.digitize(SIGNAL, [0.2, 1.0])
BINARY = (SIGNAL > 0.5).astype(int)
INDICATOR = np.column_stack([SIGNAL > 0.5, X[:, 2] > 0, X[:, 3] > 0]).astype(int)
OUTPUTS = np.column_stack([SIGNAL, X[:, 2] * X[:, 3]])
SOLVERS = ("sgd", "adam", "lbfgs")
over_solvers = pytest.mark.parametrize("solver", SOLVERS)
LOSSES = ("log_loss", "squared_error")


def options_of(**options):
    defaults = {
        "hidden_layer_sizes": 6,
        "activation": "tanh",
        "learning_rate_init": 0.01,
        "max_iter": 5,
        "batch_size": 10,
        "random_state": 0,
    }
    return defaults | options


def classifier(**options):
    return TwoLayerClassifier(**options_of(**options))


def regressor(**options):
    return TwoLayerRegressor(**options_of(**options))


# kind of target: (estimator, y)
TARGETS = {
    "binary": (classifier, BINARY),
    "multiclass": (classifier, CODES),
    "multilabel": (classifier, INDICATOR),
    "regression": (regressor, SIGNAL),
    "outputs": (regressor, OUTPUTS),
}
over_targets = pytest.mark.parametrize("kind", TARGETS)


def assert_equal_models(a, b):
    assert_array_equal(flat(a), flat(b))
    assert a.loss_curve_ == b.loss_curve_
    assert a.n_iter_ == b.n_iter_


# Labels.

NAMES = np.array(["low", "high", "mid"])[CODES]
LABELS = {
    "ints": CODES,
    "negative ints": CODES * 3 - 4,
    "int8": CODES.astype("i1") - 1,
    "uint8": CODES.astype("u1"),
    "floats": CODES / 1.0,
    "float32": CODES.astype("f4"),
    "far floats": CODES * 1e15,
    "str": NAMES,
    "object str": NAMES.astype(object),
    "list of str": NAMES.tolist(),
    "list of ints": CODES.tolist(),
    "tuple": tuple(CODES.tolist()),
    "bool": BINARY.astype(bool),
    "object bool": BINARY.astype(bool).astype(object),
    "object ints": CODES.astype(object),
    "list of bools": BINARY.astype(bool).tolist(),
    "two str": np.where(BINARY, "yes", "no"),
    "object floats": CODES.astype(float).astype(object),
    "objects of numpy": np.array([*CODES.astype("i2"), None], dtype=object)[:-1],
    "large ints": (CODES + 2**60).tolist(),
    "large object ints": (CODES + 2**60).astype(object),
    "mask of nothing": np.ma.array(CODES),
    "bytes order": CODES.astype(">i4"),
    "series": pd.Series(CODES),
    "series of str": pd.Series(NAMES),
    "series of objects": pd.Series(NAMES, dtype=object),
    "series, index odd": pd.Series(NAMES, index=np.arange(60)[::-1]),
    "category": pd.Series(NAMES, dtype="category"),
    "ordered category": pd.Series(
        pd.Categorical(NAMES, categories=["low", "mid", "high"], ordered=True)
    ),
    "category of ints": pd.Series(CODES - 1, dtype="category"),
    "unused category": pd.Series(pd.Categorical(NAMES, [*"xyz", "low", "mid", "high"])),
    "Int64": pd.Series(CODES - 1, dtype="Int64"),
    "UInt8": pd.Series(CODES, dtype="UInt8"),
    "boolean": pd.Series(BINARY, dtype="boolean"),
    "string": pd.Series(NAMES, dtype="string"),
    "pandas array": pd.array(CODES, dtype="Int64"),
    "index": pd.Index(NAMES),
    "polars ints": pl.Series(CODES),
    "polars str": pl.Series(NAMES.tolist()),
    "polars category": pl.Series(NAMES.tolist(), dtype=pl.Categorical),
    "polars enum": pl.Series(NAMES.tolist(), dtype=pl.Enum(["low", "mid", "high"])),
    "polars bool": pl.Series(BINARY.astype(bool)),
}
# What the labels are in numpy: the entries alone decide.
KINDS = {bool: "b", int: "iu", float: "f", str: "OUT"}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", LABELS)
def test_labels_come_back_in_kind(name, early_stopping):
    y = LABELS[name]
    entries = list(y) if not isinstance(y, np.ndarray) else y.tolist()
    kind = type(np.asarray(entries[:1]).tolist()[0])
    y_before = list(entries)
    model = classifier(
        early_stopping=early_stopping, validation_fraction=0.4, max_iter=30
    ).fit(X, y)
    predicted = model.predict(X)
    assert model.classes_.dtype.kind in KINDS[kind]
    assert predicted.dtype == model.classes_.dtype
    assert predicted.dtype != object or {type(label) for label in predicted} == {kind}
    if isinstance(y, np.ndarray) and y.dtype != object:
        assert predicted.dtype == y.dtype
    assert model.classes_.tolist() == sorted(set(entries))
    # The network is that of the codes 0, 1, ... of the sorted classes.
    codes = np.searchsorted(np.array(sorted(set(entries))), np.array(entries))
    twin = classifier(
        early_stopping=early_stopping, validation_fraction=0.4, max_iter=30
    ).fit(X, codes)
    assert_equal_models(model, twin)
    assert_array_equal(predicted, model.classes_[twin.predict(X)])
    assert twin.score(X, codes) > 0.5
    assert model.score(X, y) == twin.score(X, codes)
    assert list(y) == y_before if not isinstance(y, np.ndarray) else True
    # And again, in calls of partial_fit.
    if not early_stopping:
        classes = model.classes_
        model.partial_fit(X, y)
        twin.partial_fit(X, codes)
        assert_array_equal(model.classes_, classes)
        assert_equal_models(model, twin)


@pytest.mark.parametrize(
    "classes",
    [["low", "mid", "high", "none"], pd.Series(["none", "mid", "low", "high"])],
)
def test_classes_of_partial_fit(classes):
    model = classifier().partial_fit(X, NAMES, classes=classes)
    assert_array_equal(model.classes_, ["high", "low", "mid", "none"])
    assert model.predict_proba(X).shape == (60, 4)


MULTILABEL = {
    "ints": INDICATOR,
    "bools": INDICATOR.astype(bool),
    "floats": INDICATOR.astype(float),
    "lists": INDICATOR.tolist(),
    "frame": pd.DataFrame(INDICATOR),
    "polars": pl.DataFrame(INDICATOR),
    "fortran": np.asfortranarray(INDICATOR),
    "objects": INDICATOR.astype(object),
    "objects of bools": INDICATOR.astype(bool).astype(object),
    "Int64": pd.DataFrame(INDICATOR).astype("Int64"),
    "boolean": pd.DataFrame(INDICATOR).astype("boolean"),
    "category": pd.DataFrame(INDICATOR).astype("category"),
    "several dtypes": pd.DataFrame(INDICATOR).astype({0: bool, 1: "Int8", 2: float}),
    "mask of nothing": np.ma.array(INDICATOR),
    **{
        kind: getattr(sparse, kind)(INDICATOR)
        for kind in ("csr_matrix", "csc_array", "coo_matrix", "coo_array", "lil_array")
    },
}


@pytest.mark.parametrize("name", MULTILABEL)
@over_solvers
def test_multilabel(name, solver):
    model = classifier(solver=solver, max_iter=40).fit(X, MULTILABEL[name])
    assert_array_equal(model.classes_, [0, 1, 2])
    predicted, p = model.predict(X), model.predict_proba(X)
    assert predicted.dtype.kind == "i"
    assert p.shape == model.decision_function(X).shape == predicted.shape == (60, 3)
    assert_array_equal(predicted, p > 0.5)
    assert_array_equal(predicted, model.decision_function(X) > 0)
    twin = classifier(solver=solver, max_iter=40).fit(X, INDICATOR)
    assert_equal_models(model, twin)
    assert model.score(X, MULTILABEL[name]) == twin.score(X, INDICATOR)


@pytest.mark.parametrize("metric", ["loss", "score", "accuracy"])
@pytest.mark.parametrize("given", ["split", "X_val"])
def test_rows_for_early_stopping_take_labels_in_any_form(metric, given):
    forms = [
        (CODES, CODES.astype(object)),
        (BINARY.astype(bool), BINARY.astype(bool).astype(object)),
        (BINARY.astype(bool), pd.Series(BINARY.astype(bool), dtype=object)),
        (INDICATOR, sparse.coo_array(INDICATOR)),
        (INDICATOR, pd.DataFrame(INDICATOR).astype("Int64")),
        (INDICATOR, pd.DataFrame(INDICATOR).astype(bool).astype(object)),
    ]
    for plain, other in forms:
        curves = []
        for y in (plain, other):
            model = classifier(early_stopping=True, early_stopping_metric=metric)
            rows = {"X_val": X, "y_val": y} if given == "X_val" else {}
            split = ShuffleSplit if plain is INDICATOR else StratifiedShuffleSplit
            model.set_params(validation_fraction=split(n_splits=1, random_state=0))
            curves.append(model.fit(X, y, **rows).validation_scores_)
        assert curves[0] == curves[1]


@pytest.mark.parametrize(
    "labels", [CODES, BINARY.astype(bool), CODES.astype(float)], ids=["i", "b", "f"]
)
def test_objects_are_validated_by_their_values(labels):
    """But in other folds: scikit-learn does not stratify by such objects."""
    folds = KFold(3)
    plain = cross_val_score(classifier(max_iter=20), X, labels, cv=folds)
    other = cross_val_score(classifier(max_iter=20), X, labels.astype(object), cv=folds)
    assert_array_equal(plain, other)
    cross_val_score(classifier(max_iter=2), X, labels.astype(object), cv=3)


@pytest.mark.parametrize("seed", range(5))
def test_batches_of_several_dtypes_have_the_labels_of_all(seed):
    rng = np.random.default_rng(seed)
    dtypes = rng.choice(["i8", "u8", "i2", "O"], 4)
    wide = [
        2**62 + rng.integers(0, 4, 15)
        if d in ("i8", "u8", "O")
        else rng.integers(0, 4, 15)
        for d in dtypes
    ]
    batches = [(X[:15], y.astype(d)) for y, d in zip(wide, dtypes, strict=True)]
    model = classifier().fit_batches(batches)
    expected = sorted(set(np.concatenate(wide).tolist()))
    assert model.classes_.tolist() == expected


def test_batches_of_labels_of_several_kinds_are_refused():
    batches = [(X, CODES), (X, NAMES)]
    with pytest.raises(ValueError, match="numbers in some blocks and strings"):
        classifier().fit_batches(batches)


# Masked arrays.


def masked(rng, values, share=0.2):
    """Values of which some are masked, with junk under the mask."""
    mask = rng.random(values.shape) < share
    junk = np.array(rng.integers(1, 100, values.shape) * 10**6).astype(values.dtype)
    return np.ma.array(np.where(mask, junk, values), mask=mask)


MASKED = {
    "float64": (lambda v: v, lambda v: v.filled(np.nan)),
    "float32": (
        lambda v: v.astype("f4"),
        lambda v: v.astype("f4").filled(np.nan),
    ),
    "ints": (
        lambda v: (v * 10).astype(int),
        lambda v: (v * 10).astype(int).astype(float).filled(np.nan),
    ),
    "bools": (
        lambda v: v > 0,
        lambda v: (v > 0).astype(float).filled(np.nan),
    ),
    "list of rows": (list, lambda v: v.filled(np.nan)),
    "fortran": (
        lambda v: np.ma.array(np.asfortranarray(v.data), mask=v.mask),
        lambda v: v.filled(np.nan),
    ),
}


@pytest.mark.parametrize("form", MASKED)
@pytest.mark.parametrize("kind", TARGETS)
def test_masked_features_are_missing(kind, form):
    rng = np.random.default_rng(0)
    make, y = TARGETS[kind]
    as_given, as_nan = MASKED[form]
    values = masked(rng, X)
    given, filled = as_given(values), as_nan(values)
    options = {"max_iter": 5, "standardize": True}
    model = make(**options).fit(given, y, X_val=given, y_val=y)
    twin = make(**options).fit(filled, y, X_val=filled, y_val=y)
    assert_equal_models(model, twin)
    assert model.validation_loss_curve_ == twin.validation_loss_curve_
    assert_array_equal(model.predict(given), twin.predict(filled))
    assert model.score(given, y) == twin.score(filled, y)
    first = {"classes": model.classes_} if hasattr(model, "classes_") else {}
    model, twin = make(**options), make(**options)
    for _ in range(2):
        model.partial_fit(given, y, **first)
        twin.partial_fit(filled, y, **first)
    assert_equal_models(model, twin)


def test_masked_categories_are_missing():
    rng = np.random.default_rng(1)
    names = np.stack([NAMES, NAMES[::-1]], axis=1)
    mask = rng.random(names.shape) < 0.3
    options = {"standardize": True, "categorical_features": [0, 1]}
    given = np.ma.array(names, mask=mask)
    model = classifier(**options).fit(given, BINARY)
    filled = np.where(mask, None, names.astype(object))
    twin = classifier(**options).fit(filled, BINARY)
    assert_equal_models(model, twin)
    assert_array_equal(model.predict(given), twin.predict(filled))


@pytest.mark.parametrize("kind", TARGETS)
def test_where_nothing_may_be_missing_masks_are_refused(kind):
    make, y = TARGETS[kind]
    gap = np.ma.array(y, mask=np.zeros(np.shape(y)))
    gap[3] = np.ma.masked
    weights = np.ma.array(np.ones(60), mask=np.arange(60) == 7)
    model, rows = make(), {"X_val": X, "y_val": y}
    first = {"classes": np.unique(y)} if make is classifier else {}
    calls = {
        "y": lambda: model.fit(X, gap),
        "y of partial_fit": lambda: model.partial_fit(X, gap, **first),
        "y in a batch": lambda: model.fit_batches([(X, gap)]),
        "a list": lambda: model.fit(X, list(gap)),
        "y_val": lambda: model.fit(X, y, X_val=X, y_val=gap),
        "weights": lambda: model.fit(X, y, weights),
        "weights of partial_fit": lambda: model.partial_fit(X, y, weights, **first),
        "weights_val": lambda: model.fit(X, y, **rows, sample_weight_val=weights),
        "score": lambda: make(max_iter=2).fit(X, y).score(X, gap),
        "score, weights": lambda: make(max_iter=2).fit(X, y).score(X, y, weights),
        "X": lambda: make(standardize=False).fit(np.ma.array(X, mask=X > 1), y),
    }
    for name, call in calls.items():
        says = "contains NaN" if name == "X" else "is a masked array"
        with pytest.raises(ValueError, match=says):
            call()
    # A mask of nothing changes nothing.
    whole = make(max_iter=3).fit(np.ma.array(X), np.ma.array(y), np.ma.ones(60))
    assert_equal_models(whole, make(max_iter=3).fit(X, y, np.ones(60)))


@over_solvers
def test_columns_of_labels_are_independent_but_for_the_hidden_layer(solver):
    """Inverting a column inverts its scores, if its starting weights are inverted."""
    options = {"solver": solver, "init": "zeros", "alpha": 0.0, "batch_size": "full"}
    turned = INDICATOR.copy()
    turned[:, 1] = 1 - turned[:, 1]
    p, q = (
        classifier(**options).fit(X, y).predict_proba(X) for y in (INDICATOR, turned)
    )
    q[:, 1] = 1 - q[:, 1]
    assert_allclose(p, q, rtol=1e-9)


# Scores and probabilities.


@over_solvers
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_scores_probabilities_and_labels_agree(kind, loss, solver):
    y = TARGETS[kind][1]
    model = classifier(loss=loss, solver=solver).fit(X, y)
    z, p = model.decision_function(X), model.predict_proba(X)
    n_columns = {"binary": 2, "multiclass": 3, "multilabel": 3}[kind]
    assert p.shape == (60, n_columns)
    assert z.shape == ((60,) if kind == "binary" else (60, 3))
    assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-12)
    # z is the network written out.
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    z2 = np.tanh(X @ W1 + b1) @ W2 + b2
    assert_allclose(z.reshape(60, -1), z2, rtol=1e-10, atol=1e-14)
    sigmoid = 1 / (1 + np.exp(-z2))
    if kind == "multilabel":
        assert_allclose(p, sigmoid, rtol=1e-12)
        assert_array_equal(model.predict(X), z > 0)
        return
    assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    if kind == "binary":
        assert_allclose(p[:, 1], sigmoid[:, 0], rtol=1e-12)
        assert_array_equal(model.predict(X), z > 0)
    elif loss == "log_loss":
        e = np.exp(z2)
        assert_allclose(p, e / e.sum(axis=1, keepdims=True), rtol=1e-12)
    else:
        assert_allclose(p, sigmoid / sigmoid.sum(axis=1, keepdims=True), rtol=1e-12)
    assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_squared_error_is_half_the_sum_of_squares(kind):
    y = TARGETS[kind][1]
    options = {"loss": "squared_error", "solver": "sgd", "batch_size": "full"}
    # The rate is so small that the weights after the epoch are those before it.
    model = classifier(**options, learning_rate_init=1e-300, max_iter=1, alpha=0.0)
    z2 = model.fit(X, y).decision_function(X).reshape(60, -1)
    p = 1 / (1 + np.exp(-z2))
    targets = {"binary": y[:, np.newaxis], "multilabel": y}.get(kind)
    if targets is None:
        targets = np.eye(3)[y]
    half_squares = ((p - targets) ** 2).sum(axis=1) / 2
    assert_allclose(model.loss_, half_squares.mean(), rtol=1e-12)
    weights = np.arange(60.0)
    model.fit(X, y, weights)
    assert_allclose(model.loss_, np.average(half_squares, weights=weights), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_loss_is_the_log_loss_of_the_probabilities(kind, weighted):
    weights = np.arange(60.0) if weighted else None
    model = classifier(solver="lbfgs", alpha=0.0, max_iter=30)
    model.fit(X, TARGETS[kind][1], weights)
    p = model.predict_proba(X)
    expected = log_loss(TARGETS[kind][1], p, sample_weight=weights)
    assert_allclose(model.loss_, expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_logarithms_are_finite_far_away(kind, activation, loss, dtype):
    model = classifier(loss=loss, activation=activation)
    model.fit(X.astype(dtype), TARGETS[kind][1])
    for factor in (1e6, -1e6, 1e30):
        far = (X * factor).astype(dtype)
        p, log_p = model.predict_proba(far), model.predict_log_proba(far)
        assert p.dtype == log_p.dtype == dtype
        assert np.isfinite(log_p).all()
        assert (log_p <= 0).all()
        assert (p > 0).all()
        if kind != "multilabel":
            assert_allclose(p.sum(axis=1), 1, rtol=1e-6)


# Features.

FEATURE_DTYPES = {
    "f4": "f4",
    "f8": "f8",
    "f2": "f8",
    "i1": "f8",
    "i8": "f8",
    "u2": "f8",
    "?": "f8",
    np.longdouble: "f8",
    object: "f8",
    ">f8": "f8",
}


@over_solvers
@pytest.mark.parametrize("given", FEATURE_DTYPES)
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_dtypes_of_features(kind, given, solver):
    make, y = TARGETS[kind]
    features = np.round(X).astype(np.int64).clip(0, 3).astype(given)
    model = make(solver=solver).fit(features, y)
    dtype = np.dtype(FEATURE_DTYPES[given])
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {dtype}
    method = model.predict if kind == "regression" else model.predict_proba
    assert method(features).dtype == dtype
    plain = make(solver=solver).fit(features.astype(dtype), y)
    assert_equal_models(model, plain)
    # Predicting is in the dtype of the weights, whatever comes.
    assert method(features.astype(float)).dtype == dtype


SPARSE = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
}


def refuse(*args, **kwargs):
    raise AssertionError("a sparse matrix was made dense")


@pytest.fixture
def _no_dense(monkeypatch):
    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix):
        for cls in kind.__mro__:
            for name in ("toarray", "todense", "__array__"):
                if name in vars(cls):
                    monkeypatch.setattr(cls, name, refuse)


@over_solvers
@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("early_stopping", [False, True])
@over_targets
@pytest.mark.usefixtures("_no_dense")
def test_sparse_features(kind, early_stopping, name, solver):
    make, y = TARGETS[kind]
    options = {"solver": solver, "early_stopping": early_stopping}
    if early_stopping:
        options["validation_fraction"] = 0.4
    features = SPARSE[name](X)
    weights = np.arange(60.0)
    model = make(**options).fit(features, y, weights)
    dense = make(**options).fit(X, y, weights)
    # Sums in another order: lbfgs makes more of the difference than the others.
    rtol = 1e-10 if solver != "lbfgs" else 1e-8
    assert_allclose(flat(model), flat(dense), rtol=rtol, atol=rtol)
    assert_allclose(model.loss_curve_, dense.loss_curve_, rtol=1e-10)
    method = "predict" if make is regressor else "predict_proba"
    ours, theirs = getattr(dense, method)(features), getattr(dense, method)(X)
    assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)
    if solver != "lbfgs" and not early_stopping:
        for part in (slice(0, 40), slice(40, 60)):
            model.partial_fit(features[part], y[part], weights[part])
            dense.partial_fit(X[part], y[part], weights[part])
        assert_allclose(flat(model), flat(dense), rtol=1e-10, atol=1e-10)
    # What was given is as it was.
    again = SPARSE[name](X)
    for part in ("data", "indices", "indptr"):
        assert_array_equal(getattr(features, part), getattr(again, part))


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_sparse_float32_with_unsorted_indices(index_dtype):
    features = sparse.csr_matrix(X.astype(np.float32))
    features.indptr = features.indptr.astype(index_dtype)
    features.indices = features.indices.astype(index_dtype)
    for start, stop in zip(features.indptr[:-1], features.indptr[1:], strict=True):
        features.indices[start:stop] = features.indices[start:stop][::-1]
        features.data[start:stop] = features.data[start:stop][::-1]
    features.has_sorted_indices = False
    model = classifier().fit(features, CODES)
    assert model.coefs_[0].dtype == np.float32
    dense = classifier().fit(X.astype(np.float32), CODES)
    assert_allclose(flat(model), flat(dense), rtol=1e-4, atol=1e-5)


FRAMES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}


def frame_of(name, columns="pqrs"):
    return FRAMES[name](dict(zip(columns, X.T, strict=True)))


@pytest.mark.parametrize("name", FRAMES)
@over_targets
def test_frames(kind, name):
    make, y = TARGETS[kind]
    frame = frame_of(name)
    model = make().fit(frame, y)
    plain = make().fit(X, y)
    assert not hasattr(plain, "feature_names_in_")
    assert_array_equal(flat(model), flat(plain))
    assert_array_equal(model.predict(frame), plain.predict(X))
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        assert name == "polars"  # scikit-learn 1.7 is blind to new polars' names
        return
    assert_array_equal(model.feature_names_in_, list("pqrs"))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert_array_equal(model.predict(X), plain.predict(X))
    with pytest.warns(UserWarning, match="X has feature names, but"):
        assert_array_equal(plain.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(frame[list("qprs")])
    with pytest.raises(ValueError, match="eature names unseen at fit time"):
        model.predict(frame_of(name, "pqrz"))
    with pytest.raises(ValueError, match="must be in the same order"):
        model.partial_fit(frame[list("qprs")], y)
    before = flat(model)
    model.partial_fit(frame, y)
    assert np.abs(flat(model) - before).max() > 0
    # A new fit forgets the names.
    assert not hasattr(model.fit(X, y), "feature_names_in_")


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_internal_predictions_do_not_warn(solver, early_stopping):
    """Of names that the validation rows lack: warnings are errors here."""
    options = {"solver": solver, "early_stopping": early_stopping}
    frame = frame_of("pandas")
    model = classifier(validation_fraction=0.4, **options).fit(frame, CODES)
    assert model.score(frame, CODES) == model.score(frame, CODES)


@over_solvers
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
@over_targets
def test_read_only_memmap(kind, early_stopping, dtype, solver, tmp_path):
    make, y = TARGETS[kind]
    X.astype(dtype).tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", dtype=dtype, mode="r", shape=X.shape)
    y_fixed = y.copy()
    y_fixed.setflags(write=False)
    options = {"solver": solver, "early_stopping": early_stopping}
    model = make(validation_fraction=0.4, **options).fit(mapped, y_fixed)
    plain = make(validation_fraction=0.4, **options).fit(X.astype(dtype), y)
    assert_equal_models(model, plain)
    assert_array_equal(model.predict(mapped), plain.predict(X.astype(dtype)))


# Regression targets.


@over_solvers
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_shapes_of_regression_outputs(loss, solver):
    y = np.abs(SIGNAL)
    model = regressor(loss=loss, solver=solver).fit(X, y)
    assert model.predict(X).shape == (60,)
    assert model.n_outputs_ == 1
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        column = regressor(loss=loss, solver=solver).fit(X, y[:, np.newaxis])
    assert_equal_models(column, model)
    for n_outputs in (2, 3):
        several = np.column_stack([y] * n_outputs)
        model = regressor(loss=loss, solver=solver).fit(X, several)
        assert model.predict(X).shape == (60, n_outputs)
        assert model.n_outputs_ == n_outputs
        assert model.coefs_[1].shape == (6, n_outputs)
    assert (model.predict(X) > 0).all() or loss != "poisson"


def test_column_of_labels():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        column = classifier().fit(X, CODES[:, np.newaxis])
    assert_equal_models(column, classifier().fit(X, CODES))


REGRESSION_TARGETS = {
    "list": SIGNAL.tolist(),
    "series": pd.Series(SIGNAL),
    "Float64": pd.Series(SIGNAL, dtype="Float64"),
    "polars": pl.Series(SIGNAL),
    "float16 values": SIGNAL.astype("f2"),
    "ints": CODES,
    "bools": BINARY.astype(bool),
    "strided": np.repeat(SIGNAL, 2)[::2],
}


@pytest.mark.parametrize("name", REGRESSION_TARGETS)
def test_kinds_of_regression_targets(name):
    y = REGRESSION_TARGETS[name]
    plain = np.asarray(y, dtype=float).copy()
    assert_equal_models(regressor().fit(X, y), regressor().fit(X, plain))
    assert_array_equal(np.asarray(y, dtype=float), plain)


# Sample weights.

WEIGHTS = RNG.randint(4, size=60)


@over_targets
@over_solvers
def test_kinds_of_sample_weights(kind, solver):
    make, y = TARGETS[kind]
    plain = make(solver=solver).fit(X, y, WEIGHTS.astype(float))
    for weights in (
        WEIGHTS,
        WEIGHTS.tolist(),
        WEIGHTS.astype(np.float32),
        pd.Series(WEIGHTS, index=np.arange(60)[::-1]),
        pd.Series(WEIGHTS, dtype="Int64"),
        pl.Series(WEIGHTS),
        np.repeat(WEIGHTS, 2)[::2],
    ):
        assert_equal_models(make(solver=solver).fit(X, y, sample_weight=weights), plain)
    # A single number weights all rows alike: only the penalty could change.
    for number in (3, 3.0, np.float32(3)):
        alike = make(solver=solver, alpha=0.3).fit(X, y, number)
        without = make(solver=solver, alpha=0.1).fit(X, y)
        # lbfgs makes more of rounding than the others.
        assert_allclose(flat(alike), flat(without), rtol=1e-7, atol=1e-9)


# Life in scikit-learn.


@over_targets
@over_solvers
def test_fit_twice_is_fit_once(kind, solver):
    make, y = TARGETS[kind]
    for early_stopping in (False, True):
        model = make(
            solver=solver, early_stopping=early_stopping, validation_fraction=0.4
        )
        once = clone(model).fit(X, y)
        # In between it sees other data, of another shape.
        model.fit(frame_of("pandas").iloc[:30, :2], np.arange(30) % 2)
        assert_equal_models(model.fit(X, y), once)
        assert vars(model).keys() == vars(once).keys()


@over_targets
@over_solvers
def test_seeds(kind, solver):
    make, y = TARGETS[kind]
    one, other, seeded, differs = (
        make(solver=solver, random_state=seed).fit(X, y)
        for seed in (5, 5, np.random.RandomState(5), 6)
    )
    assert_equal_models(one, other)
    assert_equal_models(one, seeded)
    assert np.abs(flat(one) - flat(differs)).max() > 1e-3
    # An int leaves numpy's global generator alone.
    before = np.random.get_state()[1].tolist()
    make(solver=solver, random_state=5).fit(X, y)
    assert np.random.get_state()[1].tolist() == before


@over_targets
@over_solvers
def test_pickles(kind, solver):
    make, y = TARGETS[kind]
    model = make(solver=solver).fit(X, y)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    copies = [pickle.loads(pickle.dumps(model, n)) for n in (2, 4, 5)]
    for copied in [*copies, joblib.load(stream)]:
        assert copied.get_params() == model.get_params()
        assert vars(copied).keys() == vars(model).keys()
        assert_array_equal(copied.predict(X), model.predict(X))
        if solver != "lbfgs":
            original = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
            assert_equal_models(copied.partial_fit(X, y), original)


def test_pickle_of_an_unknown_version():
    model = classifier().fit(X, CODES)
    state = model.__getstate__()
    for version in (None, 999):
        with pytest.raises(ValueError, match=f"pickled with state version {version}"):
            classifier().__setstate__(state | {"_state_version": version})


@pytest.mark.parametrize(
    "make", [sklearn_bp.TwoLayerClassifier, sklearn_bp.TwoLayerRegressor]
)
def test_clone_and_parameters(make):
    values = make().get_params() | {
        "hidden_layer_sizes": [7],
        "random_state": np.random.RandomState(0),
        "loss_threshold": 0.1,
    }
    model = make(**values)
    assert all(getattr(model, name) is value for name, value in values.items())
    copied = clone(make(**values | {"random_state": 3}))
    assert copied.get_params() == make(**values | {"random_state": 3}).get_params()
    assert clone(make()).get_params() == make().get_params()
    assert repr(make(7)) == f"{make.__name__}(hidden_layer_sizes=7)"
    # Invalid values are met in fit, not before.
    assert make(alpha="nonsense").get_params()["alpha"] == "nonsense"


@over_solvers
def test_grid_search_in_a_pipeline(solver):
    model = make_pipeline(StandardScaler(), classifier(solver=solver, max_iter=30))
    grid = {
        "twolayerclassifier__hidden_layer_sizes": [1, (8,)],
        "twolayerclassifier__alpha": np.logspace(-3, 0, 2),
        "twolayerclassifier__activation": ["tanh"],
    }
    search = GridSearchCV(model, grid, cv=3).fit(X, NAMES)
    best = clone(model).set_params(**search.best_params_)
    assert_allclose(
        cross_val_score(best, X, NAMES, cv=3).mean(), search.best_score_, rtol=1e-12
    )
    assert_equal_models(best.fit(X, NAMES)[-1], search.best_estimator_[-1])
    assert_array_equal(search.predict(X), best.predict(X))


# Options that are ours.


@over_solvers
@pytest.mark.parametrize("make", [classifier, regressor])
def test_loss_threshold(make, solver):
    y = CODES if make is classifier else SIGNAL
    options = {"solver": solver, "max_iter": 40, "tol": 0.0}
    whole = make(**options).fit(X, y)
    for threshold in np.quantile(whole.loss_curve_, [0.2, 0.5, 0.9]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it has converged: no warning
            model = make(**options, loss_threshold=threshold).fit(X, y)
        first = int(np.argmax(np.array(whole.loss_curve_) < threshold))
        assert model.loss_curve_ == whole.loss_curve_[: first + 1]
        assert model.n_iter_ == first + 1
        assert model.loss_ < threshold
    never = make(**options, loss_threshold=-1.0).fit(X, y)
    assert_equal_models(never, whole)


def start_of(init, sizes, activation="tanh"):
    """The starting weights, taken after a step that is too small to matter."""
    n_features, n_hidden, n_outputs = sizes
    model = classifier(
        init=init,
        activation=activation,
        hidden_layer_sizes=n_hidden,
        solver="sgd",
        learning_rate_init=1e-300,
        max_iter=1,
        batch_size="full",
        random_state=0,
    ).fit(np.ones((n_outputs, n_features)), np.arange(n_outputs))
    parts = (*model.coefs_, *model.intercepts_)
    return [np.where(np.abs(a) > 1e-290, a, 0) for a in parts]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("init", INITIALIZERS)
def test_starts_are_drawn_layer_by_layer(init, activation):
    """By the initializer, whose own laws are in `network/test_parts.py`."""
    factor = 2 if activation == "logistic" else 6
    random_state = np.random.RandomState(0)
    draw = INITIALIZERS[init]
    layers = [draw(random_state, *fans, factor) for fans in ((5, 7), (7, 3))]
    (W1, b1), (W2, b2) = layers
    found = start_of(init, (5, 7, 3), activation)
    for weights, drawn in zip(found, (W1, W2, b1, b2), strict=True):
        assert_array_equal(weights, drawn)


@over_solvers
def test_units_that_start_at_zero_stay_equal(solver):
    """Hidden units that start equal always have equal gradients."""
    assert not any(a.any() for a in start_of("zeros", (50, 5, 3)))
    model = classifier(
        init="zeros", solver=solver, activation="logistic", max_iter=50
    ).fit(X, CODES)
    W1, W2 = model.coefs_
    assert np.abs(W1).max() > 1e-3
    assert_allclose(W1, W1[:, :1] @ np.ones((1, 6)), rtol=1e-9)
    assert_allclose(W2, np.ones((6, 1)) @ W2[:1], rtol=1e-9)
    different = classifier(solver=solver, activation="logistic").fit(X, CODES)
    assert np.ptp(different.coefs_[0], axis=1).min() > 0.1


def test_textbook_network():
    """A plain loop of numpy with these settings has a median of 97.1 %.

    Now and then a start leaves an output unit dead, so it is a median.
    """
    digits, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        digits / 16, labels, test_size=0.25, stratify=labels, random_state=0
    )
    X_train, X_test, y_train, y_test = parts
    options = MLP_DEFAULTS | {
        "hidden_layer_sizes": 30,
        "activation": "logistic",
        "loss": "squared_error",
        "solver": "sgd",
        "learning_rate_init": 3.0,
        "batch_size": 10,
        "init": "normal",
        "momentum": 0.0,
        "nesterovs_momentum": False,
        "alpha": 0.0,
        "max_iter": 30,
        "n_iter_no_change": 30,
    }
    scores = [
        TwoLayerClassifier(**options)
        .set_params(random_state=seed)
        .fit(X_train, y_train)
        .score(X_test, y_test)
        for seed in range(10)
    ]
    assert np.median(scores) >= 0.96
