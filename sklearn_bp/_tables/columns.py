"""Raw columns to a numeric matrix: categories to indicators, missing values filled.

The matrix has all numeric columns in the user's order, then a missing-value indicator
for each of them that was incomplete in training, then an indicator for each level of
each categorical column.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from sklearn_bp._common.warn import warn_user
from sklearn_bp._tables.categorical_features import how_to_name, named_columns
from sklearn_bp._tables.column_findings import Findings, median_of
from sklearn_bp._tables.frames import Array, Sparse, table_of
from sklearn_bp._tables.levels import (
    encoder_of,
    extended,
    indicators,
    keys_of,
    name_rows,
    observed,
)
from sklearn_bp._tables.raw_column import refuse_kind

# The matrix is sparse if it has more than DENSE_LEVELS columns for categories, and if a
# dense matrix would hold more than DENSE_RATIO times as many numbers as a sparse one.
DENSE_LEVELS = 100
DENSE_RATIO = 4

# Maximum number of entries of a sparse matrix that are made dense at a time.
DENSE_SIZE = 2**22

NUMBERS_IN_FIT = "It held numbers in fit."


@dataclass(frozen=True)
class Columns:
    """How each column is encoded; it keeps no training rows.

    Rows of sample weight 0 are ignored, with their levels and missing values.

    Attributes
    ----------
    n_features : int
        Number of columns of the user's X.
    numeric, categorical : ndarray of int
        Positions of the numeric and the categorical columns.  Columns in neither are
        left out.
    medians : ndarray of float64
        Medians of the numeric columns; 0 if no value was observed.
    incomplete : ndarray of int
        Positions in `numeric` of the columns that had missing values in training.
    encoders : list of OneHotEncoder
        One encoder per categorical column.
    input_names : list or None
        Names of the columns of X, if it has any.
    empty : tuple of int
        The columns of X among `numeric` without any observed value.
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
        """Learn the columns of X, any two-dimensional data.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
            As for HistGradientBoostingClassifier; "from_dtype" also includes columns
            of strings.
        sample_weight : ndarray of shape (n,), default=None
            Non-negative and not all 0.
        without_ids : bool, default=False
            Whether to leave out, with a warning, categories that identify nearly every
            row (see `name_rows`), unless `categorical_features` names them or all
            columns are of this kind.
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
                    n_levels = len(found.encoders[j].categories_[0])
                    if named is None and name_rows(n_levels, observed(levels)):
                        ids[j] = column.label
                else:
                    values = column.numbers(how_to_name(table, j, categorical_features))
                    found.add_numbers(j, values[rows], weights, suspect[j])
        if without_ids:
            found.leave_out_ids(ids)
        return cls(n_features=table.shape[1], input_names=table.names, **found.fields())

    def possible_ids(self, X, categorical_features):
        """The categories whose levels are so many that they may identify rows.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
            Some of the rows.
        categorical_features : None, "from_dtype", or array-like of bool, int or str

        Returns
        -------
        dict of int to str
            Positions and labels; empty if `categorical_features` names columns.
        """
        table = table_of(X)
        if named_columns(categorical_features, table) is not None:
            return {}
        counts = self._level_counts()
        return {j: table.column(j).label for j, n in counts.items() if name_rows(n, 0)}

    def warn_of_new_ids(self, X, categorical_features, n_rows, before, n_before):
        """Warn of categories that identify the rows of a stream since its last part.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
            The last part.
        categorical_features : None, "from_dtype", or array-like of bool, int or str
        n_rows : int
            Number of rows of the stream, including the last part.
        before : Columns or None
            The columns before that part was `joined`; None if it is the first.
        n_before : int
            Number of rows before it.
        """
        counts, earlier = self._level_counts(), before._level_counts() if before else {}
        ids = {
            j: n
            for j, n in counts.items()
            if name_rows(n, n_rows) and not name_rows(earlier.get(j, 0), n_before)
        }
        if not ids or (len(ids) == len(counts) and not len(self.numeric)):
            return
        for j, label in self.possible_ids(X, categorical_features).items():
            if j in ids:
                warn_user(
                    f"{label} has {ids[j]} levels in the {n_rows} rows so far: it "
                    "looks like an identifier of rows. fit would leave it out; "
                    "here each new level enlarges the network. Drop it from X, or, if "
                    "its levels recur, name it in categorical_features."
                )

    def _level_counts(self):
        """The number of levels of each category, by its position in X."""
        pairs = zip(self.categorical.tolist(), self.encoders, strict=True)
        return {j: len(encoder.categories_[0]) for j, encoder in pairs}

    def without_ids(self, labels, n_observed):
        """A copy without categories that identify rows, with a warning, as `fit`.

        Parameters
        ----------
        labels : dict of int to str
            From `possible_ids`.
        n_observed : dict of int to int
            For each of these, the number of its observed values.
        """
        found = Findings.of(self)
        n_levels = {j: len(e.categories_[0]) for j, e in found.encoders.items()}
        ids = {j: v for j, v in labels.items() if name_rows(n_levels[j], n_observed[j])}
        found.leave_out_ids(ids)
        return replace(self, **found.fields())

    def joined(self, X, categorical_features, sample_weight=None):
        """A copy with the levels and missing values of further rows added.

        These rows determine the kind and the median of a column without any observed
        value so far.  All other medians stay.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        categorical_features : None, "from_dtype", or array-like of bool, int or str
        sample_weight : ndarray of shape (n,), default=None
            Rows of weight 0 are ignored.
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
                elif j in found.medians:  # other columns are left out
                    values = column.numbers(NUMBERS_IN_FIT)[rows]
                    found.add_numbers(j, values, weights, suspect[j])
        joined = replace(self, **found.fields())
        # A new level, or the first missing value of a column, adds an encoded column.
        known = len(joined.empty) == len(self.empty)
        return self if known and joined.n_encoded == self.n_encoded else joined

    def origins(self, before):
        """The position of each encoded column before rows were `joined` to `before`.

        Returns
        -------
        origins : ndarray of int, (n_encoded,)
            -1 for new columns.
        values : ndarray of float64, (n_encoded,)
            The value of earlier rows in new columns.
        """
        positions = {key: i for i, key in enumerate(before._keys())}
        missed = {("level", j, None) for j in before.empty}
        keys = self._keys()
        origins = [positions.get(key, -1) for key in keys]
        return np.array(origins, np.intp), np.array([float(k in missed) for k in keys])

    def _keys(self):
        """A key for each column of the matrix: kind, column of X, and level."""
        keys: list[tuple] = [("number", j) for j in self.numeric.tolist()]
        keys += [("missing", j) for j in self.numeric[self.incomplete].tolist()]
        for j, encoder in zip(self.categorical.tolist(), self.encoders, strict=True):
            keys += [("level", j, key) for key in keys_of(encoder.categories_[0])]
        return keys

    def with_holes(self, X):
        """A copy of dense rows of the matrix, with missing values as NaN again.

        X may lack the columns of categories, which are on the right.
        """
        X = X.astype(np.result_type(X.dtype, np.float32))
        for k, i in enumerate(self.incomplete.tolist()):
            X[X[:, len(self.numeric) + k] == 1, i] = np.nan
        return X

    def with_medians(self, medians):
        """A copy with other medians, (n_numeric,)."""
        return replace(self, medians=medians)

    def with_medians_of(self, X, sample_weight=None):
        """A copy with the medians of other rows, for columns observed there.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
        sample_weight : ndarray of shape (n,), default=None
            Without zeros.
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
        """Whether the matrix has exactly the columns of X, all complete in training."""
        used = len(self.numeric) == self.n_features
        return used and len(self.encoders) == len(self.incomplete) == 0

    @property
    def n_filled(self):
        """Number of columns for numbers and missing-value indicators."""
        return len(self.numeric) + len(self.incomplete)

    @property
    def n_levels(self):
        """Number of columns for levels of categories."""
        return sum(len(encoder.categories_[0]) for encoder in self.encoders)

    @property
    def n_encoded(self):
        """Number of columns of the matrix."""
        return self.n_filled + self.n_levels

    @property
    def sources(self):
        """For each column of the matrix, the column of X that it comes from."""
        return np.array([key[1] for key in self._keys()], np.intp)

    @property
    def is_sparse(self):
        """Whether the matrix of a dense X is sparse, which only its columns decide."""
        stored = self.n_filled + len(self.categorical)
        return self.n_levels > DENSE_LEVELS and self.n_encoded > DENSE_RATIO * stored

    def n_dense(self, X):
        """Number of dense columns of a sparse matrix from `transform`: its numbers."""
        return self.n_filled if self.is_sparse and sparse.issparse(X) else 0

    def transform(self, X, dtype):
        """The matrix for the rows of X.

        Parameters
        ----------
        X : array-like, DataFrame or sparse matrix of shape (n, n_features)
            An array of the right dtype without anything to encode or to fill is
            returned unchanged.
        dtype : dtype, or tuple of dtypes
            Dtype of the result.  If a tuple contains the dtype of X, that is kept;
            otherwise it is the first.

        Returns
        -------
        ndarray or csr_matrix of shape (n, n_encoded)
            CSR if X is sparse or `is_sparse` is true.
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
        """The matrix for the rows of a table with columns to encode or to fill."""
        columns = [self._numbers_of(table, j) for j in self.numeric.tolist()]
        common = np.result_type(np.bool_, *columns)
        dtype = _chosen(dtype, common if common.kind == "f" else None)
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
        """The values of a numeric column; NaN for objects if training had none."""
        column = table.column(j)
        if j in self.empty and column.values.dtype == object:
            return np.full(len(column.values), np.nan)
        return column.numbers(NUMBERS_IN_FIT)

    def _fill(self, out, table, columns):
        """Write imputed numbers and missing-value indicators to `out`, which is 0."""
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
        """Names of the columns of the matrix, from the names of the columns of X.

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
    """Index of the rows with non-zero weight; their weights over the largest one."""
    if sample_weight is None:
        return slice(None), None
    rows = np.flatnonzero(sample_weight)
    return rows, sample_weight[rows] / np.max(sample_weight)


def _chosen(dtype, own):
    """`own` if it is among the allowed dtypes; otherwise the first of them."""
    choice = dtype if isinstance(dtype, tuple | list) else [dtype]
    return own if own in choice else np.dtype(choice[0])


def observed_in(X, positions):
    """For each of these columns of X, the number of values that are not missing."""
    table = table_of(X)
    return {j: observed(table.column(j).values) for j in positions}


def witnesses(X, categorical_features):
    """Rows that contain every level, and a missing value of each incomplete column.

    They are sorted positions: the first row, and for each column its first missing
    value and, if it may be categorical, the first row with each level.
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
