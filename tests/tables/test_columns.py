"""Raw columns become numbers as with scikit-learn's imputer and encoder."""

import datetime
import gc
import pickle
import re
import weakref
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from memory import PeakMemory
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._tables.columns import Columns

FLOATS = (np.float64, np.float32)
N = 40
RNG = np.random.RandomState(0)
SIZE = RNG.normal(size=N)
SIZE[RNG.permutation(N)[:9]] = np.nan
COUNT = RNG.randint(5, size=N)
FLAG = RNG.randint(2, size=N).astype(bool)
AGE = RNG.uniform(20, 60, size=N)
AGE[[3, 4]] = np.nan
COLOR = RNG.choice(["red", "green", "blue"], size=N).astype(object)
SHAPE = RNG.choice(["round", "square"], size=N).astype(object)
SHAPE[[1, 5]] = None
NAMES = ["color", "size", "count", "shape", "flag", "age"]
NUMERIC, CATEGORICAL = ["size", "count", "flag", "age"], ["color", "shape"]
VALUES = dict(zip(NAMES, [COLOR, SIZE, COUNT, SHAPE, FLAG, AGE], strict=True))


def pandas_frame(text="category"):
    frame = pd.DataFrame({k: pd.Series(v) for k, v in VALUES.items()})
    typed = frame.astype(dict.fromkeys(CATEGORICAL, text))
    return typed.where(frame.notna()) if text == "str" else typed


def polars_frame(text=pl.String):
    frame = pl.DataFrame({k: v.tolist() for k, v in VALUES.items()})
    return frame.with_columns(
        pl.col(CATEGORICAL).cast(text), pl.col("size", "age").fill_nan(None)
    )


def hand_encoded():
    """The numbers of VALUES by their definition."""
    columns = []
    for values in (SIZE, COUNT, FLAG, AGE):
        values = values.astype(float)
        columns.append(np.where(np.isnan(values), np.nanmedian(values), values))
    columns += [np.isnan(SIZE), np.isnan(AGE)]
    columns += [level == COLOR for level in ("blue", "green", "red")]
    columns += [SHAPE == "round", SHAPE == "square", [s is None for s in SHAPE]]
    return np.column_stack(columns).astype(float)


def encoded(X, categorical_features="from_dtype", new=None, dtype=FLOATS, **options):
    columns = Columns.fit(X, categorical_features, **options)
    result = columns.transform(X if new is None else new, dtype)
    assert result.shape[1] == columns.n_encoded
    return result


# What scikit-learn's transformers say.


@pytest.mark.parametrize("text", ["category", object, "str"])
def test_imputer_and_encoder(text):
    frame = pandas_frame(text)
    frame["shape"] = frame["shape"].where(frame["shape"].notna(), np.nan)
    reference = ColumnTransformer(
        [
            ("fill", SimpleImputer(strategy="median", add_indicator=True), NUMERIC),
            ("encode", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL),
        ],
        sparse_threshold=0,
        verbose_feature_names_out=False,
    )
    rows = np.arange(N) % 3 > 0
    expected = reference.fit(frame[rows]).transform(frame)
    columns = Columns.fit(frame[rows], "from_dtype")
    result = columns.transform(frame, FLOATS)
    assert result.dtype == np.float64
    assert result.flags.c_contiguous
    assert_array_equal(result, expected)
    assert_array_equal(columns.names(NAMES), reference.get_feature_names_out())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_imputer(dtype, order):
    rng = np.random.RandomState(0)
    X = np.asarray(rng.normal(size=(31, 6)) * 10.0 ** np.arange(-3, 3), dtype, order)
    X[rng.uniform(size=X.shape) < [0, 0.1, 0.5, 0, 0.9, 0]] = np.nan
    imputer = SimpleImputer(strategy="median", add_indicator=True)
    before = X.copy()
    result = encoded(X)
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    assert_array_equal(result, imputer.fit_transform(X))
    assert_array_equal(X, before)


def test_columns_with_no_value():
    X = np.array([[1.0, np.nan], [3.0, np.nan]])
    imputer = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    assert_array_equal(encoded(X), imputer.fit_transform(X))
    assert_array_equal(encoded(X, new=np.array([[1.0, 5.0]])), [[1, 5, 0]])


# Each kind of table, and each dtype.

NULLABLE = {"size": "Float64", "count": "Int8", "flag": "boolean", "age": "Float64"}
TABLES = {
    "category": lambda: pandas_frame(),
    "object": lambda: pandas_frame(object),
    "str": lambda: pandas_frame("str"),
    "string": lambda: pandas_frame("string"),
    "all object": lambda: pandas_frame().astype(object),
    "nullable": lambda: pandas_frame("string").astype(NULLABLE),
    "converted": lambda: pandas_frame("string").convert_dtypes(),
    "sparse columns": lambda: pandas_frame().astype({"count": "Sparse[int]"}),
    "unused categories": lambda: pandas_frame().assign(
        color=pd.Categorical(COLOR, ["red", "teal", "green", "blue"])
    ),
    "odd index": lambda: pandas_frame().set_index(np.arange(N)[::-1] // 2),
    "columns of one name": lambda: pandas_frame().set_axis(list("aabbcc"), axis=1),
    "columns without names": lambda: pandas_frame().set_axis(range(6), axis=1),
    "polars": lambda: polars_frame(),
    "polars Categorical": lambda: polars_frame(pl.Categorical),
    "polars Enum": lambda: polars_frame(
        pl.Enum(["red", "round", "green", "blue", "square", "teal"])
    ),
    "polars NaN": lambda: polars_frame().with_columns(
        pl.col("size", "age").fill_null(np.nan)
    ),
    "polars small": lambda: polars_frame().with_columns(pl.col("count").cast(pl.UInt8)),
    "polars Decimal": lambda: polars_frame().with_columns(
        pl.col("count").cast(pl.Decimal(10, 2))
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_frame_is_its_hand_encoded_array(kind):
    assert_array_equal(encoded(TABLES[kind]()), hand_encoded())


class OtherFrame:
    """A data frame of another library, with the usual interface."""

    def __init__(self, frame):
        self.frame, self.shape, self.columns = frame, frame.shape, list(frame)

    def __dataframe__(self):
        raise NotImplementedError

    def to_pandas(self):
        return self.frame


def test_other_frames():
    assert_array_equal(encoded(OtherFrame(pandas_frame())), hand_encoded())


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, np.float32("nan")])
def test_missing_objects(missing):
    frame = pandas_frame().astype(object)
    frame = frame.where(frame.notna(), None)
    array = frame.to_numpy(dtype=object)
    array[pd.isna(array)] = missing
    assert_array_equal(encoded(array, [0, 3]), hand_encoded())
    assert_array_equal(encoded(array.tolist(), [0, 3]), hand_encoded())
    frame = pd.DataFrame(array, columns=NAMES).astype(object)
    assert_array_equal(encoded(frame), hand_encoded())


def test_a_list_of_strings_and_numbers():
    X = [["b", 1.5, 2], ["a", 2.5, 3]]
    assert_array_equal(encoded(X, [0]), [[1.5, 2, 0, 1], [2.5, 3, 1, 0]])
    X = np.array(X)  # strings
    assert_array_equal(encoded(X[:, :1], [0]), [[0, 1], [1, 0]])


def test_numbers_as_objects():
    numbers = {
        "bools": [True, None, False],
        "ints": [1, 2, None],
        "floats": [0.5, np.nan, 1],
        "decimals": [Decimal("0.5"), Decimal(2), None],
        "nothing": [None, None, None],
    }
    frame = pd.DataFrame(numbers, dtype=object)
    expected = np.array(list(numbers.values()), float).T
    assert_array_equal(encoded(frame), encoded(expected))
    assert Columns.fit(frame, "from_dtype").encoders == []
    of_polars = pl.DataFrame(frame.to_dict("list"), strict=False)
    assert_array_equal(encoded(of_polars), encoded(expected))
    ints = expected[:, :1].astype(bool)
    assert_array_equal(encoded(ints, None), encoded(ints.astype(object), None))


FRAMES_OF_FLOAT32 = {
    "pandas": lambda X: pd.DataFrame(X).assign(flag=X[:, 0] > 0),
    "nullable": lambda X: (
        pd.DataFrame(X).astype("Float32").assign(flag=pd.array(X[:, 0] > 0))
    ),
    "polars": lambda X: pl.DataFrame(X).with_columns(flag=pl.Series(X[:, 0] > 0)),
}


@pytest.mark.parametrize("kind", FRAMES_OF_FLOAT32)
def test_float32_frames_stay_float32(kind):
    X = np.random.RandomState(0).normal(size=(20, 3)).astype("f4")
    X[2, 1] = np.nan
    result = encoded(FRAMES_OF_FLOAT32[kind](X))
    assert result.dtype == np.float32
    assert_array_equal(result, encoded(np.column_stack([X, X[:, 0] > 0]).astype("f4")))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?", ">f8", "O"])
def test_dtype_of_the_result(dtype):
    X = np.random.RandomState(0).randint(2, size=(8, 3)).astype(dtype)
    results = {
        choice: encoded(X, dtype=choice)
        for choice in (FLOATS, np.float64, np.float32, FLOATS[::-1])
    }
    kept = {"f4": "f4", "f8": "f8", "O": "f8"}.get(dtype)
    assert results[FLOATS].dtype == (kept or "f8")
    assert results[FLOATS[::-1]].dtype == (kept or "f4")
    assert results[np.float64].dtype == "f8"
    assert results[np.float32].dtype == "f4"
    for result in results.values():
        assert result.dtype.isnative
        assert_array_equal(result, X.astype(float))


FRAMES_OF = {
    "pandas": lambda X: pd.DataFrame(X),
    "arrow": lambda X: pd.DataFrame(X).astype(
        pd.ArrowDtype(pa.from_numpy_dtype(X.dtype))
    ),
    "polars": lambda X: pl.DataFrame(X),
}


@pytest.mark.parametrize("kind", FRAMES_OF)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "u2", "i4", "i8", "?"])
def test_frames_have_the_dtype_of_arrays(kind, dtype):
    """Whether they hold text beside their numbers or not."""
    X = np.random.RandomState(0).randint(2, size=(8, 3)).astype(dtype)
    frame = FRAMES_OF[kind](X)
    of_text = {"text": list("abababab")}
    texts = pl.DataFrame(of_text) if kind == "polars" else pd.DataFrame(of_text)
    both = pl.concat([frame, texts], how="horizontal") if kind == "polars" else None
    both = pd.concat([frame, texts], axis=1) if both is None else both
    for choice in (FLOATS, FLOATS[::-1], np.float64, np.float32):
        expected = encoded(X, dtype=choice).dtype
        assert encoded(frame, dtype=choice).dtype == expected
        assert encoded(both, dtype=choice).dtype == expected


# Nothing to do.


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_numbers_is_returned_as_it_is(dtype, order):
    X = np.asarray(np.random.RandomState(0).normal(size=(9, 3)), dtype, order)
    columns = Columns.fit(X, "from_dtype")
    assert columns.is_plain
    assert columns.transform(X, FLOATS) is X
    assert columns.transform(X, dtype) is X
    X[1, 1] = np.inf
    assert columns.transform(X, dtype) is X
    X[2, 1] = -np.inf  # now their sum is NaN
    assert columns.transform(X, dtype) is X


def test_a_frame_of_numbers_is_not_copied():
    X = np.random.RandomState(0).normal(size=(9, 3))
    frame = pd.DataFrame(X, copy=False)
    assert Columns.fit(frame, "from_dtype").is_plain
    assert np.shares_memory(encoded(frame), frame.to_numpy())


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_a_frame_of_numbers_of_several_kinds(make):
    values = {"a": [1, 2], "b": [0.5, -1], "c": [True, False]}
    frame = make(values)
    assert Columns.fit(frame, "from_dtype").is_plain
    assert_array_equal(encoded(frame), np.array(list(values.values())).T)


def test_plain():
    X = np.arange(6.0).reshape(3, 2)
    assert Columns.fit(X, None).is_plain
    assert not Columns.fit(X, [0]).is_plain
    X[0, 0] = np.nan
    assert not Columns.fit(X, None).is_plain
    assert Columns.fit(X, None, sample_weight=np.array([0.0, 1, 1])).is_plain


def test_infinite_values_remain():
    X = np.array([[1, np.inf], [np.nan, -np.inf], [np.inf, 3], [2, 4]])
    expected = [[1, np.inf, 0], [2, -np.inf, 1], [np.inf, 3, 0], [2, 4, 0]]
    assert_array_equal(encoded(X), expected)


def test_missing_where_training_had_none():
    X = np.array([[1.0, 2], [3, 5], [4, np.nan]])
    columns = Columns.fit(X, None)
    new = np.array([[np.nan, np.nan]])
    assert_array_equal(columns.transform(new, FLOATS), [[3, 3.5, 1]])
    columns = Columns.fit(X[:2], None)
    assert columns.is_plain
    assert_array_equal(columns.transform(new, FLOATS), [[2, 3.5]])
    frame = pd.DataFrame(X[:2])
    columns = Columns.fit(frame, None)
    assert_array_equal(columns.transform(pd.DataFrame(new), FLOATS), [[2, 3.5]])


# Levels.


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_unknown_levels_are_zeros(make):
    columns = Columns.fit(make({"a": ["x", "y", "x"]}), "from_dtype")
    new = make({"a": ["y", "z", None, "x", ""]})
    expected = [[0, 1], [0, 0], [0, 0], [1, 0], [0, 0]]
    assert_array_equal(columns.transform(new, FLOATS), expected)
    nothing = make({"a": [None, None]})  # which has the dtype of objects or numbers
    assert_array_equal(columns.transform(nothing, FLOATS), np.zeros((2, 2)))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_missing_is_a_level_if_training_had_it(make):
    columns = Columns.fit(make({"a": ["x", None, "y"]}), "from_dtype")
    nothing = make({"a": [None, None]})
    assert_array_equal(columns.transform(nothing, FLOATS), [[0, 0, 1]] * 2)
    assert_array_equal(columns.names(["a"]), ["a_x", "a_y", "a_nan"])


def test_nothing_but_missing():
    frame = pd.DataFrame({"a": pd.Series([None, None], dtype="string")})
    columns = Columns.fit(frame, "from_dtype")
    new = pd.DataFrame({"a": ["x", None]})
    assert_array_equal(columns.transform(new, FLOATS), [[0], [1]])


LEVELS = {
    "ints": [3, 1, 2, 1],
    "floats": [0.5, -1.5, np.nan, 0.5],
    "bools": [True, False, True, True],
    "strings": ["b", "a", "b", "c"],
    "dates": pd.to_datetime(["2020-01-02", "2020-01-01", "2020-01-02", "2020-01-03"]),
    "intervals": pd.cut([0.1, 0.7, 0.4, 0.2], [0, 0.3, 0.6, 1]),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_categories_of_any_kind(kind):
    values = pd.Series(LEVELS[kind]).astype("category")
    # Objects, which the encoder does not sort as it does numbers.
    given = values if kind in ("ints", "floats", "strings") else values.astype(object)
    reference = OneHotEncoder(sparse_output=False).fit(given.to_frame("a"))
    columns = Columns.fit(values.to_frame("a"), "from_dtype")
    result = columns.transform(values.to_frame("a"), FLOATS)
    assert_array_equal(result, reference.transform(given.to_frame("a")))
    assert_array_equal(columns.names(["a"]), reference.get_feature_names_out())
    missing = values.where(np.arange(4) % 2 == 0, np.nan).to_frame("a")
    expected = np.where(np.arange(4)[:, np.newaxis] % 2 == 0, result, 0)
    if kind == "floats":
        expected[[1, 3], -1] = 1
    assert_array_equal(columns.transform(missing, FLOATS), expected)


NUMBERS_NAMED = {
    "array": lambda: np.array([[2.0], [1], [np.nan], [2]]),
    "objects": lambda: np.array([[2], [1], [None], [2]], dtype=object),
    "frame": lambda: pd.DataFrame({"a": [2, 1, None, 2]}),
    "frame of objects": lambda: pd.DataFrame({"a": [2, 1, None, 2]}, dtype=object),
    "nullable": lambda: pd.DataFrame({"a": [2, 1, None, 2]}, dtype="Int64"),
    "polars": lambda: pl.DataFrame({"a": [2, 1, None, 2]}),
}


@pytest.mark.parametrize("kind", NUMBERS_NAMED)
def test_numbers_named_as_categories(kind):
    X = NUMBERS_NAMED[kind]()
    assert_array_equal(encoded(X, [0]), [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]])
    columns = Columns.fit(X[:2], [0])  # none is missing
    assert_array_equal(columns.transform(X, FLOATS), [[0, 1], [1, 0], [0, 0], [0, 1]])


FLAGS = {
    "array": lambda: np.array([[True], [False]]),
    "objects": lambda: np.array([[True], [False], [None]], dtype=object),
    "nullable": lambda: pd.DataFrame({"a": [True, False, None]}, dtype="boolean"),
    "polars": lambda: pl.DataFrame({"a": [True, False, None]}),
}


@pytest.mark.parametrize("kind", FLAGS)
def test_booleans_named_as_categories(kind):
    X = FLAGS[kind]()
    names = ["a_False", "a_True", "a_nan"]
    columns = Columns.fit(X[:2], [0])
    assert_array_equal(columns.names(["a"]), names[:2])
    assert_array_equal(columns.transform(X, FLOATS), [[0, 1], [1, 0], [0, 0]][: len(X)])
    if len(X) == 3:
        columns = Columns.fit(X, [0])
        assert_array_equal(columns.names(["a"]), names)
        assert_array_equal(columns.transform(X, FLOATS), np.eye(3)[[1, 0, 2]])


def test_large_numbers_named_as_categories():
    ids = 2**60 + np.arange(4)
    assert_array_equal(encoded(ids[:, np.newaxis], [0]), np.eye(4))
    assert_array_equal(encoded(ids[:, np.newaxis].astype(object), [0]), np.eye(4))


def objects(values):
    return np.array([[v] for v in values], dtype=object)


def masked(values):
    filled = [[0 if v is None else v] for v in values]
    return np.ma.array(filled, mask=[[v is None] for v in values])


IDS = {
    "objects": objects,
    "list": lambda ids: [[i] for i in ids],
    "list with NaN": lambda ids: [[np.nan if i is None else i] for i in ids],
    "masked": masked,
    "frame of objects": lambda ids: pd.DataFrame({"a": pd.Series(ids, dtype=object)}),
    "Int64": lambda ids: pd.DataFrame({"a": pd.Series(ids, dtype="Int64")}),
    "UInt64": lambda ids: pd.DataFrame({"a": pd.Series(ids, dtype="UInt64")}),
    "arrow in pandas": lambda ids: pd.DataFrame(
        {"a": pd.Series(ids, dtype="int64[pyarrow]")}
    ),
    "category": lambda ids: pd.DataFrame(
        {"a": pd.Series(ids, dtype="Int64").astype("category")}
    ),
    "category of objects": lambda ids: pd.DataFrame(
        {"a": pd.Series(ids, dtype=object).astype("category")}
    ),
    "arrow": lambda ids: pa.table({"a": ids}),
    "arrow dictionary": lambda ids: pa.table({"a": pa.array(ids).dictionary_encode()}),
    "arrow batch": lambda ids: pa.record_batch({"a": ids}),
    "polars": lambda ids: pl.DataFrame({"a": ids}),
    "polars UInt64": lambda ids: pl.DataFrame({"a": pl.Series(ids, dtype=pl.UInt64)}),
}
if hasattr(pl, "Int128"):
    IDS["polars Int128"] = lambda ids: pl.DataFrame(
        {"a": pl.Series(ids, dtype=pl.Int128)}
    )


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("form", IDS)
def test_large_ids_do_not_merge(form, missing):
    """In any form in fit and in transform, with and without missing values."""
    rng = np.random.default_rng(0)
    ids = (int(rng.integers(2**53, 2**62)) + np.arange(4)).tolist()
    columns = Columns.fit(IDS[form](ids + [None] * missing), [0])
    eye = np.eye(5)[:, : 4 + missing]
    for make in IDS.values():
        new = rng.permutation(4)
        given = make([ids[i] for i in new])
        assert_array_equal(columns.transform(given, FLOATS), eye[new])
        new[rng.integers(4)] = 4
        given = make([None if i == 4 else ids[i] for i in new])
        assert_array_equal(columns.transform(given, FLOATS), eye[new])
        unknown = make([ids[0], ids[0] - 1, ids[3] + 1])
        expected = eye[[0]] * [[1], [0], [0]]
        assert_array_equal(columns.transform(unknown, FLOATS), expected)


def test_spans_of_time_of_numpy_as_categories():
    """They are integers to Python's `numbers`, but levels of their own kind."""
    spans = objects(np.array([3, 1, 2], "m8[s]"))
    assert_array_equal(encoded(spans, [0]), np.eye(3)[[2, 0, 1]])
    columns = Columns.fit(spans, [0])
    says = r"holds numbers .* were dates or times in fit"
    with pytest.raises(ValueError, match=says):
        columns.transform(objects([1, 2]), FLOATS)


@pytest.mark.parametrize("seed", range(5))
def test_floats_of_another_width_are_the_same_levels(seed):
    values = np.random.default_rng(seed).normal(size=6).round(2)
    values[5] = np.nan
    wide, narrow = values[:, np.newaxis], values[:, np.newaxis].astype("f4")
    expected = encoded(wide, [0])
    assert_array_equal(Columns.fit(wide, [0]).transform(narrow, FLOATS), expected)
    assert_array_equal(Columns.fit(narrow, [0]).transform(wide, FLOATS), expected)


# Values of kinds none of which is a level among the others, and how they may come.
OTHER_KINDS = {
    "strings": ["10115", "7"],
    "bytes": [b"10115", b"7"],
    "numbers": [10115, 7],
    "dates or times": [datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)],
    "values of type Interval": list(pd.interval_range(0, 2)),
    "booleans": [True, False],
}
FORMS = {
    "array": objects,
    "list": lambda values: [[v] for v in values],
    "objects": lambda values: pd.DataFrame({"a": pd.Series(values, dtype=object)}),
    "missing": lambda values: pd.DataFrame({"a": [*values, None]}, dtype=object),
    "category": lambda values: pd.DataFrame({"a": pd.Categorical(values)}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("known", OTHER_KINDS)
def test_levels_of_another_kind_are_refused(known, form):
    columns = Columns.fit(FORMS[form](OTHER_KINDS[known]), [0])
    for kind, values in OTHER_KINDS.items():
        for make in FORMS.values():
            new = make(values)
            if kind == known or {kind, known} == {"booleans", "numbers"}:
                columns.transform(new, FLOATS)
                continue
            with pytest.raises(
                ValueError, match=f"holds {kind} .* were {known} in fit"
            ):
                columns.transform(new, FLOATS)


@pytest.mark.parametrize(
    "new",
    [
        pd.Series([10115, 7]),
        pd.Series([10115.0, np.nan]),
        pd.Series([10115, None], dtype="Int64"),
        pd.Series([10115, 7], dtype="int32[pyarrow]"),
        pd.Series([10115, 7]).astype("category"),
        pd.Series([10115, None], dtype=object),
        pd.Series([True, False]),
        pd.Series([True, None], dtype="boolean"),
    ],
    ids=lambda new: str(new.dtype),
)
def test_numbers_where_fit_saw_strings(new):
    texts = pd.DataFrame({"a": ["10115", "True", "7"]})
    says = (
        r"'a' holds (numbers \(such as 10115|booleans \(such as True).*strings in fit"
    )
    for named in ("from_dtype", ["a"]):
        columns = Columns.fit(texts, named)
        with pytest.raises(ValueError, match=says):
            columns.transform(new.to_frame("a"), FLOATS)
    # Other strings are unknown levels, and missing values are missing.
    unknown = pd.DataFrame({"a": ["10115.0", "true", None]})
    assert_array_equal(columns.transform(unknown, FLOATS), np.zeros((3, 3)))
    nothing = pd.DataFrame({"a": [np.nan, np.nan]})
    assert_array_equal(columns.transform(nothing, FLOATS), np.zeros((2, 3)))


def test_levels_of_another_kind_are_refused_everywhere():
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 3, 60), rng.integers(0, 2, 60)
    texts, numbers = (
        pd.DataFrame({"a": values, "b": rng.normal(size=60)})
        for values in (codes.astype(str), codes)
    )
    for make in (TwoLayerClassifier, TwoLayerRegressor):
        model = make(3, n_members=1, warm_start=True, random_state=0).fit(texts, y)
        calls = [
            lambda m=model: m.predict(numbers),
            lambda m=model: m.score(numbers, y),
            lambda m=model: m.transform(numbers),
            lambda m=model: m.partial_fit(numbers, y),
            lambda m=model: m.fit_batches([(numbers, y)]),
            lambda m=model: m.fit(numbers, y),
            lambda m=model: clone(m).fit(texts, y, X_val=numbers, y_val=y),
        ]
        for call in calls:
            with pytest.raises(
                ValueError, match=r"'a' holds numbers .* strings in fit"
            ):
                call()


def test_scikit_learns_output_setting_changes_nothing():
    for output in ("pandas", "polars"):
        with config_context(transform_output=output):
            assert_array_equal(encoded(pandas_frame()), hand_encoded())


# Which columns are categories.

NAMED = [
    None,
    "from_dtype",
    [],
    [3],
    [0, 3],
    (3, 0, 3),
    np.array([0, 4]),
    [True, False, False, True, False, False],
    np.arange(6) < 2,
    ["shape"],
    ("count", "color"),
    np.array(["color", "count"], dtype=object),
    pd.Index(["color"]),
]
REFUSED = [
    "auto",
    ["hue"],
    [6],
    [0, -1],
    [True, False],
    [1.0],
    ["color", None],
    np.array([True, "color"], dtype=object),
]


def trees_take(categorical_features):
    """The mask that HistGradientBoosting makes."""
    frame = pandas_frame()
    if categorical_features is None or np.size(categorical_features) == 0:
        frame[CATEGORICAL] = 0.0
    else:  # codes of categories, as all columns that are not named must be numbers
        dtype = "category" if isinstance(categorical_features, str) else float
        for name in CATEGORICAL:
            frame[name] = frame[name].cat.codes.astype(dtype)
    model = HistGradientBoostingRegressor(
        max_iter=1, categorical_features=categorical_features
    )
    mask = model.fit(frame, AGE > 40).is_categorical_
    return np.zeros(6, bool) if mask is None else mask


@pytest.mark.parametrize("named", NAMED, ids=repr)
def test_named_as_the_trees_take_them(named):
    frame = pandas_frame()
    mask = trees_take(named)
    for j, name in enumerate(NAMES):
        if name in CATEGORICAL and not mask[j]:  # it is text
            frame[name] = 0.0
    columns = Columns.fit(frame, named)
    assert_array_equal(columns.categorical, np.flatnonzero(mask))
    if named is None or not isinstance(next(iter(named), ""), str):
        array = frame.to_numpy(dtype=object)
        assert_array_equal(Columns.fit(array, named).categorical, columns.categorical)


@pytest.mark.parametrize("named", REFUSED, ids=repr)
def test_refused_as_the_trees_refuse_them(named):
    with pytest.raises(ValueError, match="categorical_features"):
        trees_take(named)
    with pytest.raises(ValueError, match="categorical_features"):
        Columns.fit(pandas_frame(), named)


@pytest.mark.parametrize("named", [0, 1.5, {"color"}, [[0], [3]], [[0], [3, 0]]])
def test_values_that_name_no_columns(named):
    with pytest.raises(TypeError, match="categorical_features must be"):
        Columns.fit(pandas_frame(), named)


def test_names_need_a_frame():
    with pytest.raises(ValueError, match=r"categorical_features should be .* integers"):
        Columns.fit(np.zeros((2, 2)), ["a"])


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_from_dtype_or_by_name(make):
    frame = make()
    assert_array_equal(encoded(frame, CATEGORICAL), encoded(frame))
    assert_array_equal(encoded(frame, [0, 3]), encoded(frame))


# Weights.


def repeat(frame, counts):
    return frame.iloc[np.repeat(np.arange(N), counts)]


@pytest.mark.parametrize("seed", range(5))
def test_integer_weights_are_repeated_rows(seed):
    rng = np.random.RandomState(seed)
    counts = rng.randint(4, size=N)
    frame = pandas_frame()
    frame["rare"] = rng.permutation(N).astype(str)  # some in rows of weight 0 only
    frame["tied"] = rng.choice([0.1, 0.2, np.nan], size=N)
    frame["once"] = np.where(counts == 0, np.nan, COUNT)
    weighted = Columns.fit(frame, "from_dtype", sample_weight=counts.astype(float))
    repeated = Columns.fit(repeat(frame, counts), "from_dtype")
    assert_array_equal(weighted.medians, repeated.medians)
    names = list(frame)
    assert_array_equal(weighted.names(names), repeated.names(names))
    assert_array_equal(
        weighted.transform(frame, FLOATS), repeated.transform(frame, FLOATS)
    )
    assert "missingindicator_once" not in weighted.names(names)
    scaled = Columns.fit(frame, "from_dtype", sample_weight=counts * 0.1)
    assert_array_equal(scaled.medians, repeated.medians)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e307])
def test_equal_weights_are_none(scale):
    rng = np.random.RandomState(0)
    for n in range(1, 30):
        X = rng.randint(6, size=(n, 4)).astype(float)
        X[rng.uniform(size=X.shape) < 0.2] = np.nan
        X[0] = 1
        columns = Columns.fit(X, None, sample_weight=np.full(n, scale))
        assert_array_equal(columns.medians, np.nanmedian(X, axis=0))
        assert_array_equal(columns.medians, Columns.fit(X, None).medians)


def test_medians_of_large_numbers():
    largest = np.finfo(float).max
    X = np.array([[largest, -largest], [largest, np.nan], [np.nan, -largest]])
    expected = [[largest, -largest, 0, 0], [largest, -largest, 0, 1]]
    assert_array_equal(encoded(X)[:2], expected)


def test_medians_of_many_rows():
    """All rows count in a column that misses values; of complete ones 20,000."""
    n = 3 * 20_000
    X = np.random.RandomState(0).permutation(n)[:, np.newaxis] / n
    X = np.column_stack([X, X])
    X[0, 0] = np.nan
    medians = Columns.fit(X, None).medians
    assert medians[0] == np.nanmedian(X[:, 0])
    assert medians[1] == np.median(X[::3, 1])


def test_further_rows_leave_medians_that_are_known():
    X = np.array([[1, np.nan], [3, np.nan], [2, np.nan]])
    columns = Columns.fit(X, None).joined(np.array([[9, 5], [np.nan, 7]]), None)
    assert_array_equal(columns.medians, [2, 6])
    assert_array_equal(columns.transform(X[:1], FLOATS), [[1, 6, 0, 1]])


# Sparse matrices.


def many_levels(n=600, n_levels=200):
    rng = np.random.RandomState(0)
    frame = pd.DataFrame({"x": rng.normal(size=n), "zero": np.arange(n) % 3 - 1})
    frame["many"] = [f"level {j}" for j in rng.permutation(n) % n_levels]
    frame["few"] = rng.choice([*"abc"], size=n)
    frame.loc[5, "x"] = np.nan
    frame.loc[7, "many"] = None
    return frame


@pytest.mark.parametrize(
    ("n_levels", "n_numbers", "is_sparse"),
    [(100, 0, False), (101, 0, True), (120, 38, True), (120, 39, False)],
)
def test_more_than_100_levels_are_sparse_if_a_quarter_is_stored(
    n_levels, n_numbers, is_sparse
):
    """Less than a quarter: 4 x (38 + 1) are fewer than 120 + 38 numbers."""
    frame = pd.DataFrame({"c": [f"level {j}" for j in range(n_levels)] * 2})
    numbers = np.random.RandomState(0).normal(size=(2 * n_levels, n_numbers))
    frame = pd.concat([frame, pd.DataFrame(numbers).add_prefix("x")], axis=1)
    assert sparse.issparse(encoded(frame)) is is_sparse


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_levels_make_the_matrix_sparse(dtype):
    frame = many_levels()
    columns = Columns.fit(frame, "from_dtype")
    assert columns.is_sparse
    fill = SimpleImputer(strategy="median", add_indicator=True)
    few = OneHotEncoder(sparse_output=False)
    expected = np.column_stack(
        [
            fill.fit_transform(frame[["x", "zero"]]),
            few.fit_transform(frame[["many"]].fillna("zzz")),
            few.fit_transform(frame[["few"]]),
        ]
    )
    result = columns.transform(frame, dtype)
    assert isinstance(result, sparse.csr_matrix)
    assert result.dtype == dtype
    assert result.indices.dtype == result.indptr.dtype == np.int32
    assert result.has_canonical_format
    assert_array_equal(result.toarray(), expected.astype(dtype))
    # No zeros are stored.
    assert result.nnz == np.count_nonzero(expected)
    objects = frame.astype(object).where(frame.notna(), None)
    of_polars = pl.DataFrame(objects.to_dict("list"))
    assert_array_equal(encoded(of_polars).toarray(), expected)


def test_sparse_or_dense_is_decided_in_fit():
    frame = many_levels()
    columns = Columns.fit(frame, "from_dtype")
    part = columns.transform(frame[:3], FLOATS)
    assert isinstance(part, sparse.csr_matrix)
    assert_array_equal(part.toarray(), columns.transform(frame, FLOATS)[:3].toarray())
    columns = Columns.fit(frame[:50], "from_dtype")
    assert type(columns.transform(frame, FLOATS)) is np.ndarray


def test_few_levels_for_each_number_make_it_dense():
    frame = many_levels()
    numbers = pd.DataFrame(np.eye(len(frame))[:, :100])
    assert type(encoded(pd.concat([frame, numbers], axis=1))) is np.ndarray


def test_nothing_but_many_levels():
    frame = many_levels()[["many"]].dropna()
    result = encoded(frame)
    assert isinstance(result, sparse.csr_matrix)
    assert result.dtype == np.float64
    expected = OneHotEncoder().fit_transform(frame)
    assert_array_equal(result.toarray(), expected.toarray())


@pytest.mark.parametrize("dtype", ["category", "str"])
def test_thousands_of_levels_are_never_dense(dtype):
    n, n_levels = 20_000, 5_000
    frame = many_levels(n, n_levels).astype({"many": dtype})
    encoded(frame[:9])  # imports
    with PeakMemory() as used:
        result = encoded(frame)
    assert result.shape[1] > n_levels
    assert used.peak < 400 * n  # a dense matrix takes 8 * n_levels * n


@pytest.mark.parametrize(
    "make", ["csr_matrix", "csc_matrix", "coo_array", "lil_matrix"]
)
@pytest.mark.parametrize("named", [None, "from_dtype", [False, False]])
def test_sparse_features_pass(make, named):
    X = np.array([[0, 1.0], [2, 0], [0, 0]])
    result = encoded(getattr(sparse, make)(X), named)
    assert result.format == "csr"
    assert_array_equal(result.toarray(), X)
    assert Columns.fit(sparse.csr_matrix(X), named).is_plain


def test_sparse_features_are_not_copied():
    X = sparse.csr_matrix(np.eye(3))
    columns = Columns.fit(X, None)
    assert np.shares_memory(columns.transform(X, FLOATS).data, X.data)
    assert columns.transform(X, np.float32).dtype == np.float32


@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_frame_of_sparse_columns(dtype):
    X = np.array([[0, 1, 3], [2, 0, 0], [0, 0, 4]])
    result = encoded(pd.DataFrame(X).astype(pd.SparseDtype(dtype, 0)))
    assert isinstance(result, sparse.csr_matrix)
    assert result.dtype == (np.float32 if dtype is np.float32 else float)
    assert_array_equal(result.toarray(), X)


def test_frame_of_columns_that_miss_most_values():
    X = np.array([[0, np.nan], [np.nan, 1], [2, np.nan]])
    frame = pd.DataFrame(X).astype(pd.SparseDtype(float, np.nan))
    assert_array_equal(encoded(frame), encoded(X))


def test_sparse_features_that_are_refused():
    X = sparse.csr_matrix([[0, np.nan], [1, 0]])
    with pytest.raises(ValueError, match="missing values need a dense X"):
        Columns.fit(X, None)
    with pytest.raises(ValueError, match="missing values need a dense X"):
        Columns.fit(sparse.csr_matrix(np.eye(2)), None).transform(X, FLOATS)
    with pytest.raises(ValueError, match=r"categorical_features .* dense"):
        Columns.fit(sparse.csr_matrix(np.eye(2)), [0])


# Errors name the column.

WHEN = [datetime.datetime(2020, 1, day) for day in (1, 2)]
BAD_FRAMES = {
    "datetime": (pd.DataFrame({"a": WHEN}), "Column 'a' holds dates or times"),
    "time zone": (
        pd.DataFrame({"a": pd.to_datetime(WHEN).tz_localize("UTC")}),
        "Column 'a' holds dates or times",
    ),
    "timedelta": (
        pd.DataFrame({"a": pd.to_timedelta([1, 2], "D")}),
        "Column 'a' holds dates or times",
    ),
    "objects of dates": (
        pd.DataFrame({"a": WHEN}, dtype=object),
        "Column 'a' holds dates or times",
    ),
    "polars datetime": (pl.DataFrame({"a": WHEN}), "Column 'a' holds dates or times"),
    "polars date": (
        pl.DataFrame({"a": [when.date() for when in WHEN]}),
        "Column 'a' holds dates or times",
    ),
    "mixed": (
        pd.DataFrame({"a": ["x", 2]}, dtype=object),
        "Column 'a' holds both strings (such as 'x') and numbers (such as 2)",
    ),
    "bools among strings": (
        pd.DataFrame({"a": ["x", np.True_]}, dtype=object),
        "Column 'a' holds both strings (such as 'x') and booleans (such as True)",
    ),
    "bytes among numbers": (
        pd.DataFrame({"a": [0.5, b"x"]}, dtype=object),
        "Column 'a' holds both bytes (such as b'x') and numbers (such as 0.5)",
    ),
    "lists": (pd.DataFrame({"a": [[1], [2]]}), "Column 'a': "),
    "polars lists": (pl.DataFrame({"a": [[1], [2]]}), "Column 'a' holds several"),
    "dicts": (
        pd.DataFrame({"a": [{"x": 1}, {}]}),
        "Column 'a': float() argument must be a string or a real number, not 'dict'",
    ),
    "complex": (pd.DataFrame({"a": [1j, 2]}), "Complex data not supported. Column 'a'"),
    "complex objects": (
        pd.DataFrame({"a": [np.complex64(1j), 2.0]}, dtype=object),
        "Complex data not supported. Column 'a'",
    ),
    "huge": (pd.DataFrame({"a": [10**400, 1]}, dtype=object), "Column 'a': int too"),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_errors_name_the_column(kind):
    frame, message = BAD_FRAMES[kind]
    with pytest.raises((TypeError, ValueError)) as info:
        Columns.fit(frame, "from_dtype")
    assert message in str(info.value)


@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_strings_that_are_not_named(make):
    message = "'color' holds strings .*'(red|green|blue)'.* 'from_dtype'.*'color'"
    with pytest.raises(ValueError, match=message):
        Columns.fit(make(), None)
    message = r"'shape' holds strings .* categorical_features to a list .*\['shape'\]"
    with pytest.raises(ValueError, match=message):
        Columns.fit(make(), ["color"])


@pytest.mark.parametrize("dtype", [object, str])
def test_strings_in_an_array(dtype):
    message = r"Column 0 holds strings .* categorical_features to a list .*\[0\]"
    with pytest.raises(ValueError, match=message):
        Columns.fit(np.array([["a"], ["b"]], dtype=dtype), "from_dtype")


@pytest.mark.parametrize("encodes", [True, False])
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_dates_are_refused_whether_columns_are_encoded_or_not(make, encodes):
    model = make(3)
    if not encodes:
        model.set_params(standardize=False, categorical_features=None)
    y = np.arange(4) % 2
    days = [datetime.date(2020, 1, 1 + i) for i in range(4)]
    tables = [
        pd.DataFrame({"when": days, "x": 1.0}),
        pd.DataFrame({"when": pd.to_datetime(days), "x": 1.0}),
        pl.DataFrame({"when": days}),
        [[day, 1.0] for day in days],
    ]
    for table in tables:
        with pytest.raises(ValueError, match=r"Column ('when'|0) holds dates or times"):
            model.fit(table, y)


def test_sparse_features_of_a_column_transformer_that_miss_values():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": (np.arange(60) % 30).astype(str), "b": 1.0})
    frame["b"] = rng.normal(size=60)
    gaps = frame.assign(b=np.where(np.arange(60) % 7, frame.b, np.nan))
    y = np.arange(60) % 2
    for threshold in (0.3, 0):
        columns = ColumnTransformer(
            [("a", OneHotEncoder(), ["a"])],
            remainder="passthrough",
            sparse_threshold=threshold,
        )
        model = make_pipeline(columns, TwoLayerClassifier(3, n_members=1))
        if threshold == 0:
            model.fit(gaps, y).predict(gaps)
            continue
        for call in (model.fit, model.fit(frame, y).score):
            with pytest.raises(ValueError, match=r"Sparse X .* sparse_threshold=0"):
                call(gaps, y)


@pytest.mark.parametrize("labels", [[10, 20], [("a", "b"), ("a", "c")], [0.5, 1.5]])
def test_names_that_are_not_strings(labels):
    """Names are strings, and integers are positions; errors say so."""
    frame = pd.DataFrame({"p": ["x", "y"], "q": [1.0, 2.0]})
    frame.columns = pd.Index(labels, tupleize_cols=False)
    says = re.escape("a list with its position, [0].")
    with pytest.raises(ValueError, match=says):
        Columns.fit(frame, [])
    assert_array_equal(encoded(frame, [0])[:, 1:], np.eye(2))
    for named in ([10], ["10"], ["q"]):
        says = "Only strings name columns, and integers are positions: pass positions"
        if labels[0] == 10 and named != ["q"]:
            says += r", here \[0\],"
        with pytest.raises(ValueError, match=says):
            Columns.fit(frame, named)


def test_mixed_columns_that_are_named():
    X = np.array([["x", 1], [2, 1]], dtype=object)
    with pytest.raises(ValueError, match="Column 0 holds both strings"):
        Columns.fit(X, [0])


def test_strings_where_fit_saw_numbers():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    columns = Columns.fit(frame, ["a"])
    with pytest.raises(ValueError, match=r"Column 'b' holds strings .*'x'"):
        columns.transform(frame.assign(b="x"), FLOATS)
    with pytest.raises(ValueError, match=r"Column 'a' holds strings .*'x'"):
        columns.transform(frame.assign(a="x"), FLOATS)


def test_levels_without_an_order():
    frame = pd.DataFrame({"a": [{"x": 1}, {}]})
    with pytest.raises(TypeError, match="Column 'a': "):
        Columns.fit(frame, ["a"])


# scikit-learn's checks look for these words.
SHAPELESS = {
    "one dimension": (np.arange(3.0), "Expected 2D array, got 1D array instead"),
    "series": (pd.Series([1.0, 2.0]), "Expected a 2-dimensional container"),
    "three dimensions": (np.zeros((2, 2, 2)), r"Found array with dim 3|expected <= 2"),
    "no rows": (np.empty((0, 2)), r"0 sample\(s\) \(shape=\(0, 2\)\)"),
    "no columns": (np.empty((2, 0)), r"0 feature\(s\) \(shape=\(2, 0\)\)"),
    "frame, no rows": (pandas_frame()[:0], r"0 sample\(s\) \(shape=\(0, 6\)\)"),
    "polars, no rows": (polars_frame()[:0], r"0 sample\(s\) \(shape=\(0, 6\)\)"),
    "sparse, no rows": (sparse.csr_matrix((0, 2)), r"0 sample\(s\)"),
    "complex": (np.zeros((2, 2), complex), "Complex data not supported"),
    "sparse, complex": (
        sparse.csr_matrix(np.eye(2) * 1j),
        "Complex data not supported",
    ),
    "dates": (np.zeros((2, 2), "M8[D]"), "Column 0 holds dates"),
    "lists of dates": ([[1, WHEN[0]], [2, None]], "Column 1 holds dates"),
    "arrow dates": (
        pa.table({"a": [when.date() for when in WHEN]}),
        "Column 'a' holds dates",
    ),
    "periods": (
        pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="D")}),
        "Column 'a' holds dates",
    ),
    "objects of numpy": (
        objects(np.zeros(2, "m8[s]")),
        "Column 0 holds dates",
    ),
    "ragged": ([[1, 2], [3]], "inhomogeneous"),
}


@pytest.mark.parametrize("kind", SHAPELESS)
def test_values_that_are_not_tables_are_refused(kind):
    X, message = SHAPELESS[kind]
    with pytest.raises(ValueError, match=message):
        encoded(X)


def test_an_object_that_is_not_a_number():
    X = np.arange(6.0).reshape(3, 2).astype(object)
    X[0, 1] = {"foo": "bar"}
    with pytest.raises(
        TypeError, match=r"Column 1: .*argument must be .* string.* number"
    ):
        Columns.fit(X, "from_dtype")


def test_another_number_of_columns():
    with pytest.raises(ValueError, match="X has 3 features, but 2 are expected"):
        Columns.fit(np.zeros((2, 2)), None).transform(np.zeros((2, 3)), FLOATS)


# What is kept.


@pytest.mark.parametrize("kind", ["category", "str", "polars Enum", "nullable"])
def test_pickled(kind):
    frame = TABLES[kind]()
    columns = pickle.loads(pickle.dumps(Columns.fit(frame, "from_dtype")))
    assert_array_equal(columns.transform(frame, FLOATS), hand_encoded())
    assert_array_equal(
        columns.names(NAMES)[4:],
        [
            *("missingindicator_size", "missingindicator_age"),
            *("color_blue", "color_green", "color_red"),
            *("shape_round", "shape_square", "shape_nan"),
        ],
    )


def test_the_training_data_is_not_kept():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(2000, 20))
    X[3, 4] = np.nan
    X[:, 0] = rng.randint(3, size=2000)
    alive = weakref.ref(X)
    columns = Columns.fit(X, [0])
    del X
    gc.collect()
    assert alive() is None
    assert len(pickle.dumps(columns)) < 5000


def test_weights_and_frames_are_left_alone():
    frame, weights = pandas_frame(object), np.arange(N) % 3.0
    before = frame.copy(), weights.copy()
    encoded(frame, sample_weight=weights)
    pd.testing.assert_frame_equal(frame, before[0])
    assert_array_equal(weights, before[1])
