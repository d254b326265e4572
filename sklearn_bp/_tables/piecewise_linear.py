"""Piecewise-linear encoding of numeric columns, beside the columns themselves.

A column x with bins between its quantiles e_0 < e_1 < ... < e_T becomes T further
columns (Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in
tabular deep learning")

    v_t = clip((x - e_t-1) / (e_t - e_t-1), 0, 1)        t = 1, ..., T

where the first bin has no lower limit and the last one no upper limit.  A hidden unit
on these columns can bend at each quantile.  So it learns steps, and targets that depend
on few of many columns, from fewer rows than a unit on x alone.

Quantiles coincide at frequent values, such as the zeros of a column that is mostly 0.
So these values are edges of their own, and the other edges are quantiles of the other
values; see `edges`.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral

import numpy as np
from scipy import sparse

from sklearn_bp._common.option import Option, check_number
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.sorted_columns import SortedColumns, quantiles

# The factor of an added column minus its mean.
FACTOR = 2.0

# A value that fills more than this number of bins gets an edge of its own.  At least
# two quantiles coincide there.
FREQUENT = 2

# Smaller differences of shares of the rows are rounding errors.
ROUNDING = 1e-9

# Numbers that are encoded at once.
BLOCK_SIZE = 2**16


@dataclass(frozen=True)
class PiecewiseLinear(Option):
    """Piecewise-linear encoding of numeric columns.

    For ``numeric_encoding=PiecewiseLinear(n_bins=8)``: beside each numeric column, the
    network sees columns that grow from 0 to 1 between two neighbouring quantiles of the
    training rows, and are constant elsewhere. A value in more rows than two bins, such
    as 0 in many columns of counts or amounts, is a limit of bins, and so are quantiles
    of the other values. A column of fewer than three values stays as it is.

    Parameters
    ----------
    n_bins : int >= 2, default=8
        The number of bins per column; fewer if few values differ or if some are
        frequent.

    Raises
    ------
    ValueError, TypeError
        If `n_bins` is not an integer of 2 or more.

    References
    ----------
    Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in
    tabular deep learning", section 3.2.

    Examples
    --------
    >>> from sklearn_bp import PiecewiseLinear, TwoLayerRegressor
    >>> model = TwoLayerRegressor(numeric_encoding=PiecewiseLinear(n_bins=4))
    """

    n_bins: int = 8

    def check(self):
        check_number(self, "n_bins", 2)
        if not isinstance(self.n_bins, Integral):
            raise TypeError(
                "The 'n_bins' parameter of PiecewiseLinear must be an int. Got "
                f"{self.n_bins!r} instead."
            )


@dataclass(frozen=True)
class Bins:
    """The bins of the numeric columns, each of which adds a column.

    Attributes
    ----------
    n_columns : int
        Number of columns before the encoding.
    column : ndarray of int, (n_bins,)
        The column that each bin belongs to.
    low, width : ndarray of float64, (n_bins,)
        The lower limit of each bin, and its width.
    means : ndarray of float64, (n_bins,)
        The mean of each added column over the training rows; a float32 can hold it.
    is_sparse : bool
        Whether sparse rows stay sparse, because they are those of a table whose first
        columns are full numbers; others become dense.
    """

    n_columns: int
    column: np.ndarray
    low: np.ndarray
    width: np.ndarray
    means: np.ndarray
    is_sparse: bool = False

    @classmethod
    def of(cls, X, sample_weight, n_numeric, n_bins, in_order=None):
        """The bins of the first `n_numeric` columns of X, or None if there are none.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, n_columns)
        sample_weight : ndarray of shape (n,) or None
            None of them 0.
        n_numeric : int
        n_bins : int or ndarray of int of shape (n_numeric,)
            The number of bins per column, 0 for none.
        in_order : SortedColumns, default=None
            The numeric columns and perhaps others, sorted before.
        """
        if n_numeric == 0:
            return None
        if in_order is None:
            in_order = SortedColumns.of(_dense(X[:, :n_numeric]), sample_weight)
        of_bins = []
        inner = _inner_edges(in_order, np.broadcast_to(n_bins, n_numeric))
        for j, of_column in inner.items():
            values, shares = in_order.distribution(j)
            e = edges(values, shares, of_column)
            # Two bins at least: one would repeat the column.
            if len(e) > 2 and len(values) > 2 and _are_apart(e):
                column = np.full(len(e) - 1, j)
                means = in_order.means_of_bins(j, e).astype(np.float32)
                of_bins.append((column, e[:-1], np.diff(e), means))
        if not of_bins:
            return None
        column, low, width, means = (
            np.concatenate(parts) for parts in zip(*of_bins, strict=True)
        )
        means = means.astype(np.float64)
        return cls(X.shape[1], column, low, width, means, sparse.issparse(X))

    def of_columns(self, columns):
        """The bins of some columns alone, or None if there are none."""
        kept = np.isin(self.column, columns)
        if not kept.any():
            return None
        parts = self.column, self.low, self.width, self.means
        column, low, width, means = (part[kept] for part in parts)
        return replace(self, column=column, low=low, width=width, means=means)

    @property
    def n_bins(self):
        """The number of columns that are added."""
        return len(self.column)

    @property
    def n_binned(self):
        """The number of columns that have bins."""
        return len(np.unique(self.column))

    @property
    def n_seen(self):
        """The number of columns that the network sees."""
        return self.n_columns + self.n_bins

    @property
    def groups(self):
        """For each column that the network sees, the column that it comes from."""
        return np.append(np.arange(self.n_columns), self.column)

    @cached_property
    def limits(self):
        """The smallest and the largest value of each added column, a pair."""
        first = np.diff(self.column, prepend=-1) != 0
        last = np.diff(self.column, append=-1) != 0
        return np.where(first, -np.inf, 0.0), np.where(last, np.inf, 1.0)

    @cached_property
    def _per_width(self):
        return 1 / self.width

    def encode(self, X, out=None):
        """The added columns for these rows, (n, n_bins), float64 or in `out`."""
        values, (low, high) = self._places(X), self.limits
        np.maximum(values, low, out=values)
        return np.minimum(values, high, out=values if out is None else out)

    def _places(self, X):
        """Where each value stands in each bin of its column: 0 at the lower limit."""
        values = X.take(self.column, axis=1).astype(np.float64, copy=False)
        values -= self.low
        values *= self._per_width
        return values

    def __call__(self, X):
        """The columns and the added ones, (n, n_columns + n_bins), in the dtype of X.

        Integers become float64, and sparse rows dense unless `is_sparse`.
        """
        dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
        n, d = X.shape
        if self.is_sparse and sparse.issparse(X):
            added = np.empty((n, self.n_bins), dtype)
            self._encode_by_blocks(_dense(X[:, : self.column.max() + 1]), added)
            parts = [X, sparse.csr_matrix(added)]
            return sparse.csr_matrix(sparse.hstack(parts, "csr", dtype))
        X = _dense(X)
        out = np.empty((n, d + self.n_bins), dtype)
        out[:, :d] = X
        self._encode_by_blocks(X, out[:, d:])
        return out

    def _encode_by_blocks(self, X, out):
        length = max(1, BLOCK_SIZE // self.n_bins)
        for start in range(0, len(X), length):
            rows = slice(start, start + length)
            self.encode(X[rows], out[rows])

    def through(self, X, gradient):
        """Derivatives by the columns, from those by all that the network sees.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, n_columns)
        gradient : ndarray of shape (n, n_outputs, n_columns + n_bins)

        Returns
        -------
        ndarray of shape (n, n_outputs, n_columns)
        """
        values, (low, high) = self._places(_dense(X)), self.limits
        slopes = ((values >= low) & (values < high)) * self._per_width
        found = gradient[..., : self.n_columns].copy()
        by_bin = gradient[..., self.n_columns :] * slopes[:, np.newaxis]
        first = np.flatnonzero(np.diff(self.column, prepend=-1))
        found[..., self.column[first]] += np.add.reduceat(by_bin, first, axis=-1)
        return found

    def scaling(self, columns):
        """The scaling of all columns: `columns`, then that of the added ones."""
        return Scaling(
            np.append(columns.centre, self.means),
            np.append(columns.factor, np.full(self.n_bins, FACTOR)),
            columns.n_dense,
            n_added=self.n_bins if columns.n_dense else 0,
        )

    def rearranged(self, origins):
        """The same for rearranged columns, each of which stood at `origins` before."""
        places = {int(j): i for i, j in enumerate(origins)}
        column = np.array([places[j] for j in self.column.tolist()])
        return replace(self, n_columns=len(origins), column=column)

    def names(self, names):
        """Names of the added columns, from those of the columns; ndarray of str."""
        first = np.flatnonzero(np.diff(self.column, prepend=-1))
        starts = np.repeat(first, np.diff(np.append(first, self.n_bins)))
        numbers = np.arange(self.n_bins) - starts
        pairs = zip(self.column, numbers, strict=True)
        return np.array([f"{names[j]}_bin{t}" for j, t in pairs], dtype=object)


def edges(values, shares, inner):
    """The edges of the bins of a column, increasing.

    Values that hold more than the share of FREQUENT bins, or more than half of the
    rows, are edges.  The others are quantiles of the other values, from the lowest to
    the highest, so that a bin leads from a frequent value at one end to the next one.
    Few rows get fewer bins: their number follows the root of their share.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The values of the column, increasing.
    shares : ndarray of shape (n,)
        The share of the rows that each holds.
    inner : ndarray of shape (n_bins - 1,)
        The quantiles between equal shares of the rows.

    Returns
    -------
    ndarray of float64
        At most n_bins + 1 edges, and no fewer than the quantiles of all rows give.
    """
    n_bins = len(inner) + 1
    of_all = np.unique([values[0], *inner, values[-1]])
    frequent = shares > min(FREQUENT / n_bins, 0.5) + ROUNDING
    if not frequent.any():
        return of_all
    own, others = values[frequent].astype(np.float64), ~frequent
    if not others.any():
        return own
    n_others = math.ceil(n_bins * math.sqrt(shares[others].sum()) - ROUNDING)
    n_others = min(max(n_others, 1), n_bins - len(own))
    levels = np.arange(n_others + 1) / n_others
    rest = quantiles(values[np.newaxis, others], shares[others], levels)
    found = np.union1d(own, rest)
    enough = len(found) >= len(of_all) and _are_apart(found)
    return found if enough else of_all


def _inner_edges(in_order, n_bins):
    """The quantiles between equal shares of the rows, {column: quantiles}, in order."""
    inner: dict = {}
    for n in np.unique(n_bins[n_bins > 0]):
        at = np.flatnonzero(n_bins == n).tolist()
        between = in_order.quantiles(np.arange(1, n) / n, at)
        inner |= dict(zip(at, between.T, strict=True))
    return dict(sorted(inner.items()))


def _are_apart(edges):
    """Whether all edges differ by more than rounding errors, as those of a constant."""
    least = 8 * np.finfo(np.float64).eps * np.abs(edges).max()
    return bool((np.diff(edges) > least).all())


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X
