"""Raw columns to a numeric matrix: categories to indicators, missing values filled.

The matrix has all numeric columns in the user's order, then an indicator for each of
them that missed values in training, then an indicator for each level of each
categorical column.
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import check_array

from sklearn_bp._common.warn import warn_user
from sklearn_bp._tables.values import (
    BOOLEANS,
    EXACT,
    MISSING,
    NUMBERS,
    NUMERIC_KINDS,
    TIMES,
    are_large,
    as_features,
    as_numbers,
    example,
    kind_of,
    refuse_lazy,
)

# The median of a column that is complete in training is taken from at most so many
# rows, evenly spaced: it only serves later rows that lack the value.
MEDIAN_ROWS = 20_000

# The matrix is sparse if it has more than so many columns for categories, and if a
# dense one would have more than DENSE_RATIO numbers for each that a sparse one stores.
DENSE_LEVELS = 100
DENSE_RATIO = 4

# Numbers of a sparse matrix that are made dense in one go, to be encoded.
DENSE_SIZE = 2**22

# A column that is a category by its dtype alone is taken for names of the rows if it
# has more levels than this, and more than half as many as there are rows that have one.
MOST_ID_LEVELS = 50

STRINGS = str | bytes


@dataclass(frozen=True)
class Columns:
    """What becomes of each column; it holds nothing of the training data but this.

    Rows of sample weight 0 take no part: neither their levels nor what they miss.

    Attributes
    ----------
    n_features : int
        Columns of the user's X.
    numeric, categorical : ndarray of int
        Which of them are numbers, and which are categories.  Columns in neither were
        left out.
    medians : ndarray of float64
        Of the numeric columns; 0 where none was observed.
    incomplete : ndarray of int
        Positions in `numeric` of those that missed values in training.
    encoders : list of OneHotEncoder
        One for each categorical column.
    input_names : list or None
        Names of the columns of X, if it had some.
    empty : tuple of int
        Columns of X among `numeric` of which no value was observed.
    """

    n_features: int
    numeric: np.ndarray
    medians: np.ndarray
    incomplete: np.ndarray
    categorical: np.ndarray
    encoders: list
    input_names: list | None = None
    empty: tuple = ()

    @classmethod
    def fit(cls, X, categorical_features, sample_weight=None, without_ids=False):
        """As found in X, which may be anything two-dimensional.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
            As HistGradientBoostingClassifier takes them; "from_dtype" also takes
            columns of strings.
        sample_weight : ndarray of shape (n,), default=None
            Not negative, not all 0.
        without_ids : bool, default=False
            Whether categories that name nearly each row, see `_names_rows`, are left
            out with a warning; unless they are named in `categorical_features`, or
            there is nothing else.
        """
        table = _table_of(X)
        named = _named(categorical_features, table)
        by_dtype = named is None
        if isinstance(table, _Sparse):
            d = table.shape[1]
            nothing = np.empty(0, int)
            return cls(d, np.arange(d), np.zeros(d), nothing, nothing, [])
        rows: Any = slice(None)
        weights = None
        if sample_weight is not None:
            rows = np.flatnonzero(sample_weight)
            weights = sample_weight[rows] / np.max(sample_weight)

        numeric: list[int] = []
        medians: list[float] = []
        incomplete: list[int] = []
        categorical: list[int] = []
        encoders: list[OneHotEncoder] = []
        empty: list[int] = []
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = table.suspect()
            for j in range(table.shape[1]):
                values, label = table.column(j), table.label(j)
                if table.is_category(j, values) if by_dtype else named[j]:
                    levels = _levels(values, label)[rows]
                    categorical.append(j)
                    encoders.append(_fitted_encoder(levels, label))
                    continue
                if values.dtype == object:
                    hint = _hint(table, j, categorical_features)
                    values = _numbers(values, label, hint)
                median, missed = _median_of(values[rows], weights, suspect[j])
                if missed:
                    incomplete.append(len(numeric))
                    if np.isnan(values[rows]).all():
                        empty.append(j)
                numeric.append(j)
                medians.append(median)
        if by_dtype and without_ids:
            categorical, encoders = _without_ids(
                table, rows, categorical, encoders, bool(numeric)
            )
        return cls(
            table.shape[1],
            np.array(numeric, int),
            np.array(medians, np.float64),
            np.array(incomplete, int),
            np.array(categorical, int),
            encoders,
            table.names,
            tuple(empty),
        )

    def joined(self, X, categorical_features, sample_weight=None):
        """The same, and what further rows bring: levels, columns that miss values.

        A column of which nothing was observed so far is whatever these rows show it to
        be.  It gets the median of these rows, all others keep theirs.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
        sample_weight : ndarray of shape (n,), default=None
            Rows of weight 0 take no part.
        """
        table = _table_of(X)
        self._check_width(table)
        if isinstance(table, _Sparse):
            if self.is_plain:
                return self
            table = _Array(table.X.toarray())
        if self.is_plain and table.is_complete():
            return self
        rows: Any = slice(None)
        if sample_weight is not None:
            rows = np.flatnonzero(sample_weight)
            sample_weight = sample_weight[rows]
        by_dtype = _named(categorical_features, table) is None
        medians = dict(zip(self.numeric.tolist(), self.medians.tolist(), strict=True))
        encoders = dict(zip(self.categorical.tolist(), self.encoders, strict=True))
        incomplete = set(self.numeric[self.incomplete].tolist())
        empty = set(self.empty)
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = table.suspect()
            for j in range(table.shape[1]):
                values, label = table.column(j), table.label(j)
                if j in empty and by_dtype and table.is_category(j, values):
                    levels = _levels(values, label)[rows].astype(object)
                    encoders[j] = _fitted_encoder(np.append(levels, np.nan), label)
                    del medians[j]
                    empty.discard(j)
                    incomplete.discard(j)
                elif j in encoders:
                    encoders[j] = _with_levels(encoders[j], values, rows, label)
                elif j in medians:  # all others were left out
                    values = _numbers(values, label, "It held numbers in fit.")[rows]
                    median, missed = _median_of(values, sample_weight, suspect[j])
                    if missed:
                        incomplete.add(j)
                    if j in empty and not np.isnan(values).all():
                        medians[j] = median
                        empty.discard(j)
        numeric = np.array(sorted(medians), int)
        joined = replace(
            self,
            numeric=numeric,
            medians=np.array([medians[j] for j in numeric.tolist()], np.float64),
            incomplete=np.flatnonzero(np.isin(numeric, list(incomplete))),
            categorical=np.array(sorted(encoders), int),
            encoders=[encoders[j] for j in sorted(encoders)],
            empty=tuple(sorted(empty)),
        )
        # Whatever is new, a level or a missing value, adds a column of the matrix.
        known = len(joined.empty) == len(self.empty)
        return self if known and joined.n_encoded == self.n_encoded else joined

    def origins(self, before):
        """Where each column of the matrix stood in that of `before`, as `joined` to it.

        Returns
        -------
        origins : ndarray of int, (n_encoded,)
            -1 for a column that is new.
        values : ndarray of float64, (n_encoded,)
            What rows so far hold in a column that is new.
        """
        known = {key: i for i, key in enumerate(before._keys())}
        keys = self._keys()
        origins = [known.get(key, -1) for key in keys]
        values = [float(k[0] == "level" and k[2] is None) for k in keys]
        values = [
            value if key[1] in before.empty else 0.0
            for key, value in zip(keys, values, strict=True)
        ]
        return np.array(origins, np.intp), np.array(values)

    def _keys(self):
        """A name for each column of the matrix: kind, column of X, and level."""
        keys: list[tuple] = [("number", j) for j in self.numeric.tolist()]
        keys += [("missing", j) for j in self.numeric[self.incomplete].tolist()]
        for j, encoder in zip(self.categorical.tolist(), self.encoders, strict=True):
            levels = encoder.categories_[0].tolist()
            # NaN, which equals nothing, stands for what is missing.
            keys += [("level", j, None if v != v else v) for v in levels]
        return keys

    def with_holes(self, X):
        """Rows of the matrix, dense, with NaN again where values were missing: a copy.

        X may lack columns of categories, which stand on the right.
        """
        X = X.astype(np.result_type(X.dtype, np.float32))
        for k, i in enumerate(self.incomplete.tolist()):
            X[X[:, len(self.numeric) + k] == 1, i] = np.nan
        return X

    def with_medians(self, medians):
        """The same, but with these medians, (n_numeric,)."""
        return replace(self, medians=medians)

    def with_medians_of(self, X, sample_weight=None):
        """The same, but with the medians of other rows, where these have numbers.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        sample_weight : ndarray of shape (n,), default=None
            None of them 0.
        """
        table = _table_of(X)
        if isinstance(table, _Sparse):
            return self
        medians = self.medians.copy()
        for i, j in enumerate(self.numeric.tolist()):
            values = _numbers(table.column(j), table.label(j), "")
            missing = np.isnan(values) if values.dtype.kind == "f" else np.False_
            if not np.all(missing):
                medians[i], _ = _median_of(values, sample_weight, True)
        return self.with_medians(medians)

    @property
    def is_plain(self):
        """Whether the matrix has just the columns of X, none of which missed values."""
        used = len(self.numeric) == self.n_features
        return used and len(self.encoders) == len(self.incomplete) == 0

    @property
    def n_levels(self):
        """Columns of the matrix that stand for categories."""
        return sum(len(encoder.categories_[0]) for encoder in self.encoders)

    @property
    def n_encoded(self):
        """Columns of the matrix."""
        return len(self.numeric) + len(self.incomplete) + self.n_levels

    @property
    def sources(self):
        """For each column of the matrix the column of X that it comes from."""
        origins = [self.numeric, self.numeric[self.incomplete]]
        for j, encoder in zip(self.categorical, self.encoders, strict=True):
            origins.append(np.full(len(encoder.categories_[0]), j))
        return np.concatenate(origins).astype(np.intp)

    @property
    def is_sparse(self):
        """Whether the matrix of a dense X is sparse, by its columns alone."""
        filled = len(self.numeric) + len(self.incomplete) + len(self.categorical)
        return self.n_levels > DENSE_LEVELS and self.n_encoded > DENSE_RATIO * filled

    def n_dense(self, X):
        """Of a sparse matrix that `transform` made, columns that are full: numbers."""
        made = self.is_sparse and sparse.issparse(X)
        return len(self.numeric) + len(self.incomplete) if made else 0

    def transform(self, X, dtype):
        """The matrix for the rows of X.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
            An array that has nothing to encode or to fill, in the right dtype, is
            returned as it is.
        dtype : dtype, or tuple of dtypes
            Of the result.  With a tuple the dtype of X is kept if it is in there;
            else it is the first.

        Returns
        -------
        ndarray or csr_matrix of shape (n, n_encoded)
            The latter if X or `is_sparse`.
        """
        table = _table_of(X)
        self._check_width(table)
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(table, _Sparse):
                if self.is_plain:
                    return table.matrix(dtype)
                return self._transform_sparse(table.X, dtype)
            if self.is_plain and table.is_complete():
                order = "K" if table.X is X else "C"
                dtype = _chosen(dtype, table.X.dtype)
                return table.X.astype(dtype, order=order, copy=False)
            columns = [self._numbers_of(table, j) for j in self.numeric.tolist()]
            own = np.result_type(np.float16, *columns)  # no integer
            dtype = _chosen(dtype, own)
            n, k = table.shape[0], len(columns) + len(self.incomplete)
            if self.is_sparse:
                numbers = np.zeros((n, k), dtype)
                self._fill(numbers, table, columns)
                parts = [sparse.csr_matrix(numbers), *self._indicators(table)]
                return sparse.csr_matrix(sparse.hstack(parts, "csr", dtype))
            out = np.zeros((n, self.n_encoded), dtype)
            self._fill(out[:, :k], table, columns)
            for indicator in self._indicators(table):
                rows = np.repeat(np.arange(n), np.diff(indicator.indptr))
                out[rows, k + indicator.indices] = 1
                k += indicator.shape[1]
            return out

    def _numbers_of(self, table, j):
        """The values of a numeric column; NaN where training has observed none."""
        values = table.column(j)
        if j in self.empty and values.dtype == object:
            return np.full(len(values), np.nan)
        return _numbers(values, table.label(j), "It held numbers in fit.")

    def _check_width(self, table):
        if table.shape[1] != self.n_features:
            raise ValueError(
                f"X has {table.shape[1]} features, but {self.n_features} are expected."
            )

    def _transform_sparse(self, X, dtype):
        """The matrix for the rows of a CSR whose columns are to be encoded."""
        length = max(1, DENSE_SIZE // X.shape[1])
        parts = [
            self.transform(X[i : i + length].toarray(), dtype)
            for i in range(0, X.shape[0], length)
        ]
        if len(parts) == 1:
            return parts[0]
        if self.is_sparse:
            return sparse.vstack(parts, format="csr")
        return np.concatenate(parts)

    def _fill(self, out, table, columns):
        """Write the numeric columns, imputed, and what they miss to `out`, zeros."""
        d = len(columns)
        if isinstance(table, _Array) and d == table.shape[1] and table.is_numeric:
            out[:, :d] = table.X
        else:
            for i, values in enumerate(columns):
                out[:, i] = values
        indicator = {i: d + k for k, i in enumerate(self.incomplete.tolist())}
        suspect = ~np.isfinite(out[:, :d].sum(axis=0))
        for i in np.flatnonzero(suspect).tolist():
            missing = np.isnan(out[:, i])
            out[missing, i] = self.medians[i]
            if i in indicator:
                out[missing, indicator[i]] = 1

    def _indicators(self, table):
        """The indicators of each categorical column, CSR; unknown levels are zeros."""
        for j, encoder in zip(self.categorical, self.encoders, strict=True):
            label = table.label(j)
            categories = encoder.categories_[0]
            values = _levels_like(table.column(j), categories, label)
            if values.dtype == object != categories.dtype:
                encoder = encoder_of(categories.astype(object))
            with _named_errors(label):
                yield encoder.transform(values[:, np.newaxis])

    def names(self, input_names):
        """Names of the columns of the matrix, from those of the columns of X.

        Returns
        -------
        ndarray of str, of shape (n_encoded,), object
        """
        names = [str(input_names[j]) for j in self.numeric]
        names += ["missingindicator_" + names[i] for i in self.incomplete]
        for j, encoder in zip(self.categorical, self.encoders, strict=True):
            names.extend(encoder.get_feature_names_out([str(input_names[j])]))
        return np.array(names, dtype=object)


# What X may be.  Each kind of table has
#   shape, and names (or None, for an array);
#   label(j): the name of a column in messages;
#   column(j): its values: an array of numbers, or of objects whose missing values are
#     all NaN;
#   is_category(j, values): of a frame, whether its dtype or what it holds says so;
#   suspect(): for each column, whether it may miss numbers;
#   is_complete(): whether it is an array of numbers that are all there.


def _table_of(X):
    """X as one of the kinds of table; scikit-learn's errors for what is none."""
    X = as_features(X)
    refuse_lazy(X, "X")
    if type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in NUMERIC_KINDS:
        table: Any = _Array(X)
    elif sparse.issparse(X) and X.ndim == 2:
        table = _Sparse(X)
    elif hasattr(X, "iloc") and X.ndim == 2:
        table = _pandas_table(X)
    elif type(X).__module__.startswith("polars.dataframe"):
        table = _Polars(X)
    elif hasattr(X, "__dataframe__") and hasattr(X, "to_pandas"):
        table = _pandas_table(_to_pandas(X))
    else:
        table = _Array(_as_array(X))
    for n, of in zip(table.shape, ("sample", "feature"), strict=True):
        if n == 0:
            raise ValueError(
                f"Found array with 0 {of}(s) (shape={table.shape}) while a minimum of "
                "1 is required."
            )
    return table


def _as_array(X):
    options = {"dtype": None, "ensure_all_finite": False}
    array = check_array(X, **options)
    if array.dtype.kind in "US" and not hasattr(X, "dtype"):
        # A list of strings and numbers, which numpy has turned into strings.
        array = check_array(X, **options | {"dtype": object})
    is_list = array.dtype.kind == "f" and not hasattr(X, "dtype")
    if is_list and (np.abs(array) >= EXACT).any():
        # Integers beside floats, NaN for instance, may have merged.
        objects = check_array(X, **options | {"dtype": object})
        array = objects if as_numbers(objects).dtype == object else array
    return array


def _to_pandas(table):
    """A frame of another library as one of pandas."""
    if not type(table).__module__.startswith("pyarrow"):
        return table.to_pandas()
    import pandas as pd
    from pyarrow.types import is_integer

    # Integers, some of which are missing, would become floats.
    gaps = any(is_integer(c.type) and c.null_count for c in table.columns)

    def nullable(kind):
        return pd.ArrowDtype(kind) if gaps and is_integer(kind) else None

    return table.to_pandas(types_mapper=nullable)


class _Array:
    """An array, which has one dtype for all columns; or a DataFrame of such."""

    def __init__(self, X, names=None):
        self.X, self.shape, self.names = X, X.shape, names
        self.is_numeric = X.dtype.kind in NUMERIC_KINDS

    def label(self, j):
        return f"Column {j if self.names is None else repr(self.names[j])}"

    def column(self, j):
        return _normal(self.X[:, j], self.label(j))

    def suspect(self):
        if not self.is_numeric:
            return np.ones(self.shape[1], bool)
        if self.X.dtype.kind != "f":
            return np.zeros(self.shape[1], bool)
        return ~np.isfinite(self.X.sum(axis=0))

    def is_complete(self):
        # A sum is finite only if all terms are; to look at each takes longer.
        kind = self.X.dtype.kind
        if kind != "f" or np.isfinite(self.X.sum()):
            return kind in NUMERIC_KINDS
        return not np.isnan(self.X).any()


class _Frame:
    """What data frames share."""

    def __init__(self, frame):
        self.frame, self.shape = frame, frame.shape
        self.names = list(frame.columns)

    def label(self, j):
        return f"Column {self.names[j]!r}"

    def suspect(self):
        return np.ones(self.shape[1], bool)

    def is_complete(self):
        return False


def _pandas_table(frame):
    """A table for a pandas DataFrame, the simplest that it fits in."""
    kinds = {type(dtype).__name__ for dtype in frame.dtypes}
    if kinds == {"SparseDtype"} and all(
        dtype.fill_value == 0 for dtype in frame.dtypes
    ):
        return _Sparse(_sparse_matrix(frame))
    first = next(iter(frame.dtypes), None)
    if len(kinds) == 1 and isinstance(first, np.dtype) and first.kind in NUMERIC_KINDS:
        return _Array(frame.to_numpy(), list(frame.columns))
    return _Pandas(frame)


def _sparse_matrix(frame):
    """Sparse columns as a matrix; pandas' own conversion needs the newest scipy."""
    columns = [frame.iloc[:, j].array for j in range(frame.shape[1])]
    rows = [column.sp_index.to_int_index().indices for column in columns]
    data = np.concatenate([column.sp_values for column in columns])
    starts = np.cumsum([0, *map(len, rows)])
    return sparse.csc_matrix((data, np.concatenate(rows), starts), frame.shape)


class _Pandas(_Frame):
    def column(self, j):
        series, label = self.frame.iloc[:, j], self.label(j)
        dtype = series.dtype
        if isinstance(dtype, np.dtype):
            return _normal(series.to_numpy(), label)
        if dtype.name == "category":
            values = np.asarray(series)
            merged = values.dtype.kind == "f" and are_large(
                np.asarray(series.cat.categories)
            )
            if values.dtype.kind in NUMERIC_KINDS and not merged:
                return values
            return _normal(np.asarray(series, dtype=object), label)
        if dtype.kind not in NUMERIC_KINDS:
            _check_kind(dtype.kind, label)
            return _normal(np.asarray(series, dtype=object), label)
        numpy_dtype = getattr(dtype, "numpy_dtype", None) or dtype.subtype
        if not series.isna().any():
            return series.to_numpy(dtype=numpy_dtype)
        if dtype.kind == "b":
            return _normal(series.to_numpy(dtype=object), label)
        if dtype.kind in "iu" and are_large(series.dropna().to_numpy(numpy_dtype)):
            return _normal(series.to_numpy(dtype=object), label)
        numpy_dtype = numpy_dtype if dtype.kind == "f" else np.float64
        return series.to_numpy(dtype=numpy_dtype, na_value=np.nan)

    def is_category(self, j, values):
        dtype = self.frame.dtypes.iloc[j]
        if dtype.name == "category" or getattr(dtype, "type", None) is str:
            return True
        return _holds_strings(values)


class _Polars(_Frame):
    def column(self, j):
        series, label = self.frame.to_series(j), self.label(j)
        dtype = series.dtype
        if dtype.is_temporal():
            _check_kind("M", label)
        if dtype.is_nested():
            raise ValueError(f"{label} holds several values a row: {dtype}.")
        if str(dtype) == "Boolean" and not series.null_count():
            return series.to_numpy()
        if not dtype.is_numeric():
            return _normal(np.array(series.to_list(), dtype=object), label)
        gaps = dtype.is_integer() and series.null_count()
        if str(dtype).endswith("128"):  # of which numpy has none
            return _normal(np.array(series.to_list(), dtype=object), label)
        if gaps and are_large(series.drop_nulls().to_numpy()):
            return _normal(np.array(series.to_list(), dtype=object), label)
        if dtype.is_decimal() or gaps:
            series = series.cast(float)
        return series.to_numpy()

    def is_category(self, j, values):
        if str(self.frame.dtypes[j]).startswith(("String", "Categorical", "Enum")):
            return True
        return _holds_strings(values)


class _Sparse:
    """A sparse matrix, of numbers that are all there."""

    names = None

    def __init__(self, X):
        self.X, self.shape = X.tocsr(), X.shape
        data = self.X.data
        if data.dtype.kind == "f" and np.isnan(data).any():
            raise ValueError(
                "Sparse X contains NaN: missing values need a dense X, say "
                "X.toarray(). A ColumnTransformer returns one with sparse_threshold=0."
            )

    def matrix(self, dtype):
        _check_kind(self.X.dtype.kind, "X")
        return self.X.astype(_chosen(dtype, self.X.dtype), copy=False)


def _chosen(dtype, own):
    """The dtype of the result, from the one or ones that it may have."""
    choice = dtype if isinstance(dtype, tuple | list) else [dtype]
    return own if own in choice else np.dtype(choice[0])


@contextmanager
def explained(X, encodes):
    """Where scikit-learn refuses X, say what is to be done, as far as that is known.

    And refuse dates where it takes them for numbers.

    Parameters
    ----------
    X : object
    encodes : bool
        Whether a dense X may miss values and hold categories.
    """
    if not encodes and not _kinds(X) <= set(NUMERIC_KINDS):
        _refuse_dates(X)
    try:
        yield
    except (TypeError, ValueError):
        if not encodes:
            _refuse_dates(X)
        elif sparse.issparse(X):
            _Sparse(X)
        raise


def _kinds(X):
    """Kinds of the dtypes of an array or a frame; none for anything else."""
    if hasattr(X, "dtype"):
        return {X.dtype.kind}
    if not hasattr(X, "columns"):
        return set()
    return {getattr(dtype, "kind", "O") for dtype in getattr(X, "dtypes", [None])}


def _refuse_dates(X):
    """ValueError that names a column of dates, if there is one."""
    try:
        table = _table_of(X)
    except (TypeError, ValueError):
        return
    if isinstance(table, _Sparse):
        return
    for j in range(table.shape[1]):
        values = table.column(j)
        if values.dtype == object and TIMES in map(kind_of, _types(values)):
            _check_kind("M", table.label(j))


def witnesses(X, categorical_features):
    """Rows that tell all that other rows do of levels and of what is missing.

    Sorted positions: the first row, and of each column the first that misses its value,
    and, where it may hold categories, the first of each level.
    """
    table = _table_of(X)
    if isinstance(table, _Sparse):
        return np.zeros(1, int)
    named = _named(categorical_features, table)
    found = {0}
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = table.suspect()
        for j in range(table.shape[1]):
            values = table.column(j)
            if named is not None and not named[j] and not suspect[j]:
                continue
            if values.dtype == object:
                first: dict = {}
                for i, value in enumerate(values.tolist()):
                    first.setdefault(value, i)
                found.update(first.values())
            elif table.is_category(j, values) if named is None else named[j]:
                found.update(np.unique(values, return_index=True)[1].tolist())
            elif values.dtype.kind == "f":
                found.update(np.flatnonzero(np.isnan(values))[:1].tolist())
    return np.array(sorted(found))


# Which columns are categories.


def _named(categorical_features, table):
    """Bool mask of the columns that are named as categorical; None: by their dtypes."""
    d = table.shape[1]
    mask = np.zeros(d, bool)
    if categorical_features is None:
        return mask
    if isinstance(categorical_features, str):
        if categorical_features != "from_dtype":
            raise ValueError(
                "categorical_features must be None, 'from_dtype', or an array-like of "
                f"bool, int or str. Got {categorical_features!r} instead."
            )
        return None if isinstance(table, _Frame) else mask
    try:
        features = np.asarray(categorical_features)
    except ValueError:  # of lists of various lengths
        features = np.empty((0, 0))
    if features.ndim != 1:
        raise TypeError(
            "categorical_features must be None, 'from_dtype', or a one-dimensional "
            f"array-like of bool, int or str. Got {categorical_features!r} instead."
        )
    if features.size == 0:
        return mask
    kinds = {type(feature).__name__ for feature in features}
    if features.dtype.kind not in "biuUTO" or (
        features.dtype.kind == "O" and not kinds <= {"str", "str_"}
    ):
        raise ValueError(
            "categorical_features must be an array-like of bool, int or str, got: "
            f"{', '.join(sorted(kinds))}."
        )
    if features.dtype.kind == "b":
        if len(features) != d:
            raise ValueError(
                "categorical_features set as a boolean mask must have shape "
                f"(n_features,) = {(d,)}, got: {features.shape}."
            )
        mask = features
    elif features.dtype.kind in "iu":
        if features.max() >= d or features.min() < 0:
            raise ValueError(
                "categorical_features set as integer indices must be in "
                f"[0, n_features - 1] = [0, {d - 1}]. Got {features.tolist()}."
                f"{_about_names(features.tolist(), table.names)}"
            )
        mask[features] = True
    else:
        mask[_positions(features, table.names)] = True
    if mask.any() and isinstance(table, _Sparse):
        raise ValueError(
            "categorical_features names columns of a sparse X: categories need a dense "
            "X, an array or a DataFrame."
        )
    return mask


def _positions(features, names):
    """Indices of columns from their names."""
    if names is None:
        raise ValueError(
            "categorical_features should be passed as an array of integers or as a "
            "boolean mask when the model is fitted on data without feature names."
        )
    for feature in features:
        if feature not in names:
            raise ValueError(
                f"categorical_features has an item value {str(feature)!r} which is not "
                f"a valid feature name of the training data. Observed feature names: "
                f"{names}.{_about_names(features.tolist(), names)}"
            )
    return [names.index(feature) for feature in features]


def _about_names(features, names):
    """What to do about columns whose names are no strings, as part of a message."""
    if names is None or all(isinstance(name, str) for name in names):
        return ""
    at = [j for f in features for j, name in enumerate(names) if str(name) == str(f)]
    positions = f", here {at}" if len(at) == len(features) else ""
    return (
        " Only strings name columns, and integers are positions: pass positions"
        f"{positions}, or turn the names into strings, say "
        "X.columns = X.columns.astype(str)."
    )


def _hint(table, j, categorical_features):
    """How to say that a column is categorical."""
    if isinstance(table, _Frame):
        if not isinstance(table.names[j], str):
            also = "" if categorical_features is not None else "'from_dtype', or to "
            return (
                f"If it is categorical, set categorical_features to {also}a list with "
                f"its position, [{j}]."
            )
        also = "" if categorical_features is not None else "'from_dtype', or to "
        return (
            f"If it is categorical, set categorical_features to {also}a list with its "
            f"name, [{table.names[j]!r}]."
        )
    return (
        "If it is categorical, set categorical_features to a list with its index, "
        f"[{j}]; an array, unlike a DataFrame, does not tell by its dtype."
    )


# Values of a column.


def _check_kind(kind, label):
    if kind in "mM":
        raise ValueError(
            f"{label} holds dates or times: turn them into numbers (say days since the "
            "first) or into categories (say names of weekdays) beforehand."
        )
    if kind == "c":
        raise ValueError(f"Complex data not supported. {label} holds complex numbers.")


def _normal(values, label):
    """Numbers as they are; else objects, with NaN for all that is missing."""
    _check_kind(values.dtype.kind, label)
    if values.dtype.kind in NUMERIC_KINDS:
        return values
    values = values.astype(object, copy=False)
    types = set(map(type, values))
    nothing = {kind for kind in types if kind.__name__ in MISSING}
    floats = {kind for kind in types if issubclass(kind, float | np.floating)}
    if nothing or floats:
        missing = np.array(
            [type(v) in nothing or (type(v) in floats and v != v) for v in values]
        )
        values = values.copy()
        values[missing] = np.nan  # the one object, which `_types` knows by identity
    return values


def _types(values):
    """Types of what an array of objects holds, apart from what is missing."""
    types = set(map(type, values))
    if float in types:
        types = {type(value) for value in values if value is not np.nan}
    return types


def _any_of(types, kinds):
    return any(issubclass(kind, kinds) for kind in types)


def _holds_strings(values):
    return values.dtype == object and _any_of(_types(values), STRINGS)


def _example(values, kinds):
    """The first of some kinds, as it is written."""
    found = (value for value in values if isinstance(value, kinds))
    return repr(next(value for value in found if value is not np.nan))


def _unmixed_types(values, label):
    """What `_types` says; ValueError if these are strings and numbers."""
    types = _types(values)
    if _any_of(types, STRINGS) and _any_of(types, Number):
        raise ValueError(
            f"{label} holds both strings (such as {_example(values, STRINGS)}) and "
            f"numbers (such as {_example(values, Number)}): make them all the one or "
            "the other."
        )
    return types


def _numbers(values, label, hint):
    """Numbers, NaN for missing; ValueError for strings, with a hint, and for dates."""
    if values.dtype != object:
        return values
    types = _unmixed_types(values, label)
    if TIMES in map(kind_of, types):
        _check_kind("M", label)
    if _any_of(types, STRINGS):
        raise ValueError(
            f"{label} holds strings (such as {_example(values, STRINGS)}). {hint}"
        )
    with _named_errors(label):
        return values.astype(np.float64)


def _levels(values, label):
    """Levels of a category: numbers if all are, else objects, with NaN for missing."""
    if values.dtype == bool:
        return values.astype(object)  # so that NaN may join them later
    if values.dtype != object:
        return values
    types = _unmixed_types(values, label) or {object}
    are_numbers = all(issubclass(kind, Number) and kind is not bool for kind in types)
    return as_numbers(values) if are_numbers else values


def _levels_like(values, categories, label):
    """Levels in the form that they had in training, or as objects.

    The latter where float64 would be all that they have in common, and would merge
    large integers.
    """
    values = _levels(values, label)
    _check_kinds(values, categories, label)
    if object in (values.dtype, categories.dtype):
        return values.astype(object, copy=False)
    if values.dtype.kind == categories.dtype.kind == "f":
        return _rounded_like(values, categories)
    common = np.result_type(values, categories)
    if common.kind == "f" and (are_large(values) or are_large(categories)):
        common = np.dtype(object)
    return values.astype(common, copy=False)


def _check_kinds(values, categories, label):
    """ValueError for levels that cannot be those of training: numbers for strings."""
    first = categories[0]  # of sorted ones, so that all others are of its kind
    if first is None or first != first:  # nothing but missing
        return
    known = kind_of(type(first))
    kinds = set(map(kind_of, _types(values)))
    if values.dtype != object:
        kinds = {NUMBERS}
        if values.dtype.kind == "f" and known != NUMBERS and np.isnan(values).all():
            return
    strange = kinds - {known}
    if {known, *kinds} <= {BOOLEANS, NUMBERS} or not strange:
        return
    kind = min(strange)
    raise ValueError(
        f"{label} holds {kind} (such as {example(values, kind)}). Its categories were "
        f"{known} in fit (such as {example(categories, known)}): pass them in the type "
        "and the spelling that they had there."
    )


def _rounded_like(values, categories):
    """Levels in the dtype of categories, equal to these where the shorter dtype is."""
    if values.itemsize >= categories.itemsize:
        return values.astype(categories.dtype, copy=False)
    short = categories.astype(values.dtype)
    if len(np.unique(short)) < len(short):
        return values.astype(categories.dtype)
    at = np.minimum(np.searchsorted(short, values), len(short) - 1)
    return np.where(short[at] == values, categories[at], values)


def _with_levels(encoder, values, rows, label):
    """The encoder, or one with the further levels of these rows."""
    known = encoder.categories_[0]
    if all(level != level for level in known.tolist()):
        levels = _levels(values, label)[rows]
        known = known.astype(levels.dtype if levels.dtype.kind == "f" else object)
    else:
        levels = _levels_like(values, known, label)[rows]
    old = {None if level != level else level for level in known.tolist()}
    found = {None if level != level else level for level in levels.tolist()}
    if found <= old:
        return encoder
    return _fitted_encoder(np.concatenate([known, levels]), label)


def _names_rows(encoder, n_rows):
    """Whether levels are names of the rows: they tell nothing of rows to come."""
    n_levels = len(encoder.categories_[0])
    return n_levels > max(MOST_ID_LEVELS, n_rows / 2)


def _without_ids(table, rows, categorical, encoders, others):
    """Categories and their encoders, without those that name the rows, with a warning.

    `others` tells whether there are other columns.  If there are none at all, all stay.
    """
    kept = []
    for j, encoder in zip(categorical, encoders, strict=True):
        values = _levels(table.column(j), table.label(j))[rows]
        missing = values != values  # NaN alone is another than itself
        n_missing = int(np.count_nonzero(missing))
        kept.append(not _names_rows(encoder, len(values) - n_missing))
    if all(kept) or not (others or any(kept)):
        return categorical, encoders
    for j, encoder, is_kept in zip(categorical, encoders, kept, strict=True):
        if not is_kept:
            warn_user(
                f"{table.label(j)} has {len(encoder.categories_[0])} levels, more than "
                "half as many as there are rows: it is taken for their names and left "
                "out. To encode it all the same, name it in categorical_features; else "
                "drop it from X.",
            )
    return (
        [j for j, is_kept in zip(categorical, kept, strict=True) if is_kept],
        [e for e, is_kept in zip(encoders, kept, strict=True) if is_kept],
    )


def encoder_of(categories):
    """The encoder that has these categories, as it has sorted them."""
    return _fitted_encoder(categories, "A column")


def _fitted_encoder(values, label):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=True)
    encoder.set_output(transform="default")
    with _named_errors(label):
        return encoder.fit(values[:, np.newaxis])


@contextmanager
def _named_errors(label):
    """Begin errors about values with the name of their column."""
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{label}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{label}: {error}") from error


# Medians.


def _median_of(values, weights, suspect):
    """Median of what is observed, 0 if nothing is, and whether something is missing."""
    missing = np.isnan(values) if suspect and values.dtype.kind == "f" else np.False_
    if not missing.any():
        step = -(-len(values) // MEDIAN_ROWS)
        some = None if weights is None else weights[::step]
        return _median(values[::step], some), False
    if missing.all():
        return 0.0, True
    observed = None if weights is None else weights[~missing]
    return _median(values[~missing], observed), True


def _median(values, weights):
    """Median; integer weights are as good as repeated rows."""
    n = len(values)
    lower, upper = (n - 1) // 2, n // 2
    if weights is None:
        values = np.partition(values, (lower, upper))
    else:
        order = np.argsort(values)
        values, cumulative = values[order], np.cumsum(weights[order])
        half = cumulative[-1] / 2
        lower = int(np.searchsorted(cumulative, half * (1 - 1e-12), side="left"))
        upper = int(np.searchsorted(cumulative, half * (1 + 1e-12), side="right"))
    # Halved first, so that the sum of large ones does not overflow.
    return float(values[lower]) / 2 + float(values[upper]) / 2
