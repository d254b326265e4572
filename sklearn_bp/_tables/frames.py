"""Tables: arrays, lists, sparse matrices and frames of any library, read by column.

`table_of` makes one of four kinds. `Array`, `PandasFrame` and `PolarsFrame` have

- `shape`, and `names` of the columns, None for an array;
- `label(j)`: the name of a column in messages;
- `column(j)`: the column, as a `RawColumn`;
- `suspect()`: for each column, whether numbers may be missing;
- `is_complete()`: whether it is an array of numbers without missing values.

`Sparse` holds only numbers; its columns are not read one by one.

narwhals reads frames too, in some fifty lines less, but takes 1.3 to 1.6 times as long
for a table of one row, and refuses frames in which two columns have the same name.
"""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from sklearn_bp._tables.raw_column import RawColumn, refuse_kind
from sklearn_bp._tables.values import (
    EXACT,
    NUMERIC_KINDS,
    are_large,
    as_features,
    as_numbers,
    refuse_lazy,
)


def table_of(X):
    """X as one of the kinds of table; scikit-learn's errors for anything else."""
    X = as_features(X)
    refuse_lazy(X, "X")
    if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in NUMERIC_KINDS:
        table: Any = Array(X)
    elif sparse.issparse(X) and X.ndim == 2:
        table = Sparse(X)
    elif hasattr(X, "iloc") and X.ndim == 2:
        table = _pandas_table(X)
    elif type(X).__module__.startswith("polars.dataframe"):
        table = PolarsFrame(X)
    elif hasattr(X, "__dataframe__") and hasattr(X, "to_pandas"):
        table = _pandas_table(_to_pandas(X))
    else:
        table = Array(_as_array(X))
    for n, of in zip(table.shape, ("sample", "feature"), strict=True):
        if n == 0:
            raise ValueError(
                f"Found array with 0 {of}(s) (shape={table.shape}) while a minimum of "
                "1 is required."
            )
    return table


class _Table:
    """Base class of arrays and frames."""

    shape: tuple
    names: Any

    def label(self, j):
        return f"Column {j if self.names is None else repr(self.names[j])}"


# Arrays.


class Array(_Table):
    """An array, or a DataFrame whose columns all have the same dtype."""

    def __init__(self, X, names=None):
        self.X, self.shape, self.names = X, X.shape, names
        self.is_numeric = X.dtype.kind in NUMERIC_KINDS

    def column(self, j):
        return RawColumn(self.X[:, j], self.label(j))

    def suspect(self):
        if not self.is_numeric:
            return np.ones(self.shape[1], bool)
        if self.X.dtype.kind != "f":
            return np.zeros(self.shape[1], bool)
        return ~np.isfinite(self.X.sum(axis=0))

    def is_complete(self):
        # A sum is finite only if all terms are; testing each takes longer.
        if self.X.dtype.kind != "f" or np.isfinite(self.X.sum()):
            return self.is_numeric
        return not np.isnan(self.X).any()


def _as_array(X):
    options = {"dtype": None, "ensure_all_finite": False}
    array = check_array(X, **options)
    if array.dtype.kind in "US" and not hasattr(X, "dtype"):
        # numpy has turned a list of strings and numbers into strings.
        array = check_array(X, **options | {"dtype": object})
    is_list = array.dtype.kind == "f" and not hasattr(X, "dtype")
    if is_list and (np.abs(array) >= EXACT).any():
        # Integers in a list with floats, such as NaN, may have lost digits.
        objects = check_array(X, **options | {"dtype": object})
        array = objects if as_numbers(objects).dtype == object else array
    return array


class Sparse:
    """A sparse matrix; ValueError if it contains NaN."""

    names = None

    def __init__(self, X):
        self.X, self.shape = X.tocsr(), X.shape
        data = self.X.data
        if data.dtype.kind == "f" and np.isnan(data).any():
            raise ValueError(
                "Sparse X contains NaN: missing values need a dense X, such as "
                "X.toarray(). A ColumnTransformer returns one with sparse_threshold=0."
            )


# Frames.


class Frame(_Table):
    """A frame whose columns may have different dtypes."""

    def __init__(self, frame):
        self.frame, self.shape = frame, frame.shape
        self.names = list(frame.columns)

    def suspect(self):
        return np.ones(self.shape[1], bool)

    def is_complete(self):
        return False


class PandasFrame(Frame):
    """A DataFrame of pandas, or of a library with the same interface."""

    def column(self, j):
        series, label = self.frame.iloc[:, j], self.label(j)
        dtype = series.dtype
        is_text = dtype.name == "category" or getattr(dtype, "type", None) is str
        if not isinstance(dtype, np.dtype):
            if dtype.name != "category":
                refuse_kind(dtype.kind, label)
            return RawColumn(_pandas_values(series), label, is_text)
        return RawColumn(series.to_numpy(), label, is_text)


def _pandas_values(series):
    """Values of a column with an extension dtype of pandas; integers stay exact."""
    dtype = series.dtype
    if dtype.name == "category":
        values = np.asarray(series)
        merged = values.dtype.kind == "f" and are_large(
            np.asarray(series.cat.categories)
        )
        is_numeric = values.dtype.kind in NUMERIC_KINDS
        return values if is_numeric and not merged else _levels_by_code(series.cat)
    if dtype.kind not in NUMERIC_KINDS:
        return np.asarray(series, dtype=object)
    numpy_dtype = getattr(dtype, "numpy_dtype", None) or dtype.subtype
    if not series.isna().any():
        return series.to_numpy(dtype=numpy_dtype)
    if dtype.kind == "f":
        return series.to_numpy(dtype=numpy_dtype, na_value=np.nan)
    if dtype.kind == "b" or are_large(series.dropna().to_numpy(numpy_dtype)):
        return series.to_numpy(dtype=object)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _levels_by_code(categorical):
    """Objects, NaN for missing; pandas takes integers with gaps through float64."""
    levels = np.append(np.asarray(categorical.categories, dtype=object), np.nan)
    return levels[categorical.codes.to_numpy()]


def _pandas_table(frame):
    """The simplest kind of table for a pandas DataFrame."""
    kinds = {type(dtype).__name__ for dtype in frame.dtypes}
    if kinds == {"SparseDtype"} and all(
        dtype.fill_value == 0 for dtype in frame.dtypes
    ):
        return Sparse(_sparse_matrix(frame))
    first = next(iter(frame.dtypes), None)
    if len(kinds) == 1 and isinstance(first, np.dtype) and first.kind in NUMERIC_KINDS:
        return Array(frame.to_numpy(), list(frame.columns))
    return PandasFrame(frame)


def _sparse_matrix(frame):
    """Sparse columns as a matrix; pandas' own conversion needs the newest scipy."""
    columns = [frame.iloc[:, j].array for j in range(frame.shape[1])]
    rows = [column.sp_index.to_int_index().indices for column in columns]
    data = np.concatenate([column.sp_values for column in columns])
    starts = np.cumsum([0, *map(len, rows)])
    return sparse.csc_matrix((data, np.concatenate(rows), starts), frame.shape)


def _to_pandas(table):
    """A frame of another library as one of pandas."""
    if not type(table).__module__.startswith("pyarrow"):
        return table.to_pandas()
    import pandas as pd
    from pyarrow.types import is_integer

    # Integer columns with missing values would become floats.
    gaps = any(is_integer(c.type) and c.null_count for c in table.columns)

    def nullable(kind):
        return pd.ArrowDtype(kind) if gaps and is_integer(kind) else None

    return table.to_pandas(types_mapper=nullable)


class PolarsFrame(Frame):
    """A DataFrame of polars."""

    def column(self, j):
        series, label = self.frame.to_series(j), self.label(j)
        dtype = series.dtype
        if dtype.is_temporal():
            refuse_kind("M", label)
        if dtype.is_nested():
            raise ValueError(
                f"{label} holds several values per row ({dtype}): give each a column."
            )
        is_text = str(dtype).startswith(("String", "Categorical", "Enum"))
        return RawColumn(_polars_values(series), label, is_text)


def _polars_values(series):
    """Values of a column; integers stay exact."""
    dtype, gaps = series.dtype, series.null_count()
    is_wide = str(dtype).endswith("128")  # numpy has no such integers
    if dtype.is_integer() and gaps and not is_wide:
        if not are_large(series.drop_nulls().to_numpy()):
            return series.cast(float).to_numpy()
    elif dtype.is_decimal():
        return series.cast(float).to_numpy()
    elif not is_wide and (dtype.is_numeric() or (str(dtype) == "Boolean" and not gaps)):
        return series.to_numpy()
    return np.array(series.to_list(), dtype=object)
