"""Raw columns to a numeric matrix: categories to indicators, missing values filled.

The matrix has all numeric columns in the user's order, then an indicator for each of
them that missed values in training, then an indicator for each level of each
categorical column.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from sklearn_bp._tables.categorical_features import how_to_name, named_columns
from sklearn_bp._tables.column_findings import Findings, median_of
from sklearn_bp._tables.frames import Array, Sparse, table_of
from sklearn_bp._tables.levels import (
    encoder_of,
    extended,
    indicators,
    keys_of,
    name_rows,
)
from sklearn_bp._tables.raw_column import refuse_kind

# The matrix is sparse if it has more than so many columns for categories, and if a
# dense one would have more than DENSE_RATIO numbers for each that a sparse one stores.
DENSE_LEVELS = 100
DENSE_RATIO = 4

# Numbers of a sparse matrix that are made dense in one go, to be encoded.
DENSE_SIZE = 2**22

NUMBERS_IN_FIT = "It held numbers in fit."


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
        """The columns of X, which may be anything two-dimensional.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
            As HistGradientBoostingClassifier takes them; "from_dtype" also takes
            columns of strings.
        sample_weight : ndarray of shape (n,), default=None
            Not negative, not all 0.
        without_ids : bool, default=False
            Whether categories that name nearly each row, see `name_rows`, are left
            out with a warning; unless they are named in `categorical_features`, or
            there is nothing else.
        """
        table = table_of(X)
        named = named_columns(categorical_features, table)
        if isinstance(table, Sparse):
            d = table.shape[1]
            nothing = np.empty(0, int)
            return cls(d, np.arange(d), np.zeros(d), nothing, nothing, [])
        rows, weights = _rows_of_weight(sample_weight)
        found, ids = Findings(), {}
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = table.suspect()
            for j in range(table.shape[1]):
                column = table.column(j)
                is_category = column.is_category if named is None else named[j]
                if is_category:
                    levels = column.levels()[rows]
                    found.encoders[j] = encoder_of(levels, column.label)
                    if named is None and name_rows(found.encoders[j], levels):
                        ids[j] = column.label
                else:
                    values = column.numbers(how_to_name(table, j, categorical_features))
                    found.add_numbers(j, values[rows], weights, suspect[j])
        if without_ids:
            found.leave_out_ids(ids)
        return cls(n_features=table.shape[1], input_names=table.names, **found.fields())

    def joined(self, X, categorical_features, sample_weight=None):
        """The same with what further rows add: levels, and columns that miss values.

        A column without any value so far becomes numeric or categorical by these rows,
        and gets their median.  All other medians stay.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
        sample_weight : ndarray of shape (n,), default=None
            Rows of weight 0 take no part.
        """
        table = table_of(X)
        self._check_width(table)
        if isinstance(table, Sparse):
            if self.is_plain:
                return self
            table = Array(table.X.toarray())
        if self.is_plain and table.is_complete():
            return self
        rows, weights = _rows_of_weight(sample_weight)
        by_dtype = named_columns(categorical_features, table) is None
        found = Findings.of(self)
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = table.suspect()
            for j in range(table.shape[1]):
                column = table.column(j)
                if j in found.empty and by_dtype and column.is_category:
                    found.turn_to_category(j, column, rows)
                elif j in found.encoders:
                    found.encoders[j] = extended(found.encoders[j], column, rows)
                elif j in found.medians:  # all others were left out
                    values = column.numbers(NUMBERS_IN_FIT)[rows]
                    found.add_numbers(j, values, weights, suspect[j])
        joined = replace(self, **found.fields())
        # Whatever is new, a level or a missing value, adds a column of the matrix.
        known = len(joined.empty) == len(self.empty)
        return self if known and joined.n_encoded == self.n_encoded else joined

    def origins(self, before):
        """Where each column of the matrix stood before rows were `joined` to `before`.

        Returns
        -------
        origins : ndarray of int, (n_encoded,)
            -1 for a column that is new.
        values : ndarray of float64, (n_encoded,)
            The value of earlier rows in a new column.
        """
        known = {key: i for i, key in enumerate(before._keys())}
        missed = {("level", j, None) for j in before.empty}
        keys = self._keys()
        origins = [known.get(key, -1) for key in keys]
        return np.array(origins, np.intp), np.array([float(k in missed) for k in keys])

    def _keys(self):
        """A name for each column of the matrix: kind, column of X, and level."""
        keys: list[tuple] = [("number", j) for j in self.numeric.tolist()]
        keys += [("missing", j) for j in self.numeric[self.incomplete].tolist()]
        for j, encoder in zip(self.categorical.tolist(), self.encoders, strict=True):
            keys += [("level", j, key) for key in keys_of(encoder.categories_[0])]
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
        table = table_of(X)
        if isinstance(table, Sparse):
            return self
        medians = self.medians.copy()
        for i, j in enumerate(self.numeric.tolist()):
            values = table.column(j).numbers()
            median, _ = median_of(values, sample_weight, True)
            if median is not None:
                medians[i] = median
        return self.with_medians(medians)

    @property
    def is_plain(self):
        """Whether the matrix has just the columns of X, none of which missed values."""
        used = len(self.numeric) == self.n_features
        return used and len(self.encoders) == len(self.incomplete) == 0

    @property
    def n_filled(self):
        """Columns of the matrix for numbers, and for indicators that one is missing."""
        return len(self.numeric) + len(self.incomplete)

    @property
    def n_levels(self):
        """Columns of the matrix that stand for categories."""
        return sum(len(encoder.categories_[0]) for encoder in self.encoders)

    @property
    def n_encoded(self):
        """Columns of the matrix."""
        return self.n_filled + self.n_levels

    @property
    def sources(self):
        """For each column of the matrix the column of X that it comes from."""
        return np.array([key[1] for key in self._keys()], np.intp)

    @property
    def is_sparse(self):
        """Whether the matrix of a dense X is sparse, by its columns alone."""
        stored = self.n_filled + len(self.categorical)
        return self.n_levels > DENSE_LEVELS and self.n_encoded > DENSE_RATIO * stored

    def n_dense(self, X):
        """Of a sparse matrix that `transform` made, columns that are full: numbers."""
        return self.n_filled if self.is_sparse and sparse.issparse(X) else 0

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
        table = table_of(X)
        self._check_width(table)
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(table, Sparse):
                return self._transform_sparse(table.X, dtype)
            if self.is_plain and table.is_complete():
                order = "K" if table.X is X else "C"
                dtype = _chosen(dtype, table.X.dtype)
                return table.X.astype(dtype, order=order, copy=False)
            return self._encoded(table, dtype)

    def _check_width(self, table):
        if table.shape[1] != self.n_features:
            raise ValueError(
                f"X has {table.shape[1]} features, but {self.n_features} are expected."
            )

    def _transform_sparse(self, X, dtype):
        """The matrix for the rows of a CSR."""
        if self.is_plain:
            refuse_kind(X.dtype.kind, "X")
            return X.astype(_chosen(dtype, X.dtype), copy=False)
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

    def _encoded(self, table, dtype):
        """The matrix for the rows of a table that has columns to encode or to fill."""
        columns = [self._numbers_of(table, j) for j in self.numeric.tolist()]
        own = np.result_type(np.float16, *columns)  # no integer
        dtype = _chosen(dtype, own)
        n, k = table.shape[0], self.n_filled
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
        column = table.column(j)
        if j in self.empty and column.values.dtype == object:
            return np.full(len(column.values), np.nan)
        return column.numbers(NUMBERS_IN_FIT)

    def _fill(self, out, table, columns):
        """Write the numeric columns, imputed, and what they miss to `out`, zeros."""
        d = len(columns)
        if isinstance(table, Array) and d == table.shape[1] and table.is_numeric:
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
        """The indicators of each categorical column, CSR."""
        for j, encoder in zip(self.categorical.tolist(), self.encoders, strict=True):
            yield indicators(encoder, table.column(j))

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


def _rows_of_weight(sample_weight):
    """Rows of non-zero weight, as an index, and their weights over the largest."""
    if sample_weight is None:
        return slice(None), None
    rows = np.flatnonzero(sample_weight)
    return rows, sample_weight[rows] / np.max(sample_weight)


def _chosen(dtype, own):
    """The dtype of the result, from the one or ones that it may have."""
    choice = dtype if isinstance(dtype, tuple | list) else [dtype]
    return own if own in choice else np.dtype(choice[0])


def witnesses(X, categorical_features):
    """Rows that have every level and, in each column, a missing value if there is one.

    Sorted positions: the first row, and of each column the first that misses its value,
    and, where it may hold categories, the first of each level.
    """
    table = table_of(X)
    if isinstance(table, Sparse):
        return np.zeros(1, int)
    named = named_columns(categorical_features, table)
    found = {0}
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = table.suspect()
        for j in range(table.shape[1]):
            column = table.column(j)
            values = column.values
            if named is not None and not named[j] and not suspect[j]:
                continue
            if values.dtype == object:
                first: dict = {}
                for i, value in enumerate(values.tolist()):
                    first.setdefault(value, i)
                found.update(first.values())
            elif column.is_category if named is None else named[j]:
                found.update(np.unique(values, return_index=True)[1].tolist())
            elif values.dtype.kind == "f":
                found.update(np.flatnonzero(np.isnan(values))[:1].tolist())
    return np.array(sorted(found))
