"""Quantiles of columns, and columns that are sorted once for all that needs them.

Statistics, limits and the edges of bins are quantiles.  Sorting for them takes most of
the time before a training, so `SortedColumns` sorts each column at most once, in
threads, and several parts of a fit share them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp._common.threads import shared_by

# Quantiles are taken from at most this many evenly spaced rows, and from fewer if rows
# are long, so that sorting takes little memory: a quartile from 20,000 rows is accurate
# to 0.3 % of the rows, from 2,000 rows to 1 %.  A uint16 holds the number of each.
QUANTILE_ROWS = 20_000
FEWEST_QUANTILE_ROWS = 2_000
QUANTILE_SIZE = 2**22

# Numbers of X that are processed at once.
BLOCK_SIZE = 2**18

# Multiplications that take as long as sorting a number.
SORT_COST = 300


@dataclass(frozen=True)
class SortedColumns:
    """Evenly spaced rows, all with non-zero weight, as columns that are sorted.

    Attributes
    ----------
    step : int
        The step between the rows.
    columns : list of ndarrays of shape (n,)
        Sorted.
    sample_weight : ndarray of shape (n,) or None
        The weights of the rows; None if they are equal.
    orders : list of ndarrays of uint16 of shape (n,), or None
        With weights, the rows of the values of each column.
    """

    step: int
    columns: list
    sample_weight: Any = None
    orders: Any = None

    @classmethod
    def of(cls, X, sample_weight=None, rows=None):
        """Of these rows of X, (n, d), dense or CSR; weights (n,) of these or None."""
        n, d = X.shape if rows is None else (len(rows), X.shape[1])
        step = quantile_step(n, d)
        if sparse.issparse(X):
            columns = list(X[::step].toarray().T.copy())
        else:
            columns = list(_columns_of(X, rows, step))
        if sample_weight is None:
            return cls(step, columns)._sorted(range(d))
        orders = [np.arange(len(columns[0]), dtype=np.uint16)] * d
        return cls(step, columns, sample_weight[::step], orders)._sorted(range(d))

    def _sorted(self, chosen):
        """Sort these columns, in threads if it takes long; return self."""
        columns, orders = self.columns, self.orders

        def sort(first, last):
            for j in chosen[first:last]:
                if orders is None:
                    columns[j].sort()
                    continue
                order = np.argsort(columns[j])
                columns[j][:] = columns[j][order]  # in place: they share their memory
                orders[j] = orders[j][order]

        cost = SORT_COST * sum(len(columns[j]) for j in chosen)
        shared_by(len(chosen), cost, sort)
        return self

    def inside(self, limits, centre):
        """The same with the centre of its column for each value beyond the limits.

        Parameters
        ----------
        limits : ndarray of shape (2, d)
        centre : ndarray of shape (d,)
        """
        columns, far = list(self.columns), []
        for j, x in enumerate(columns):
            low, high = limits[:, j]
            if x[0] < low or x[-1] > high:
                x = x.astype(x.dtype if x.dtype.kind == "f" else np.float64)
                x[(x < low) | (x > high)] = centre[j]
                columns[j] = x
                far.append(j)
        orders = None if self.orders is None else list(self.orders)
        other = SortedColumns(self.step, columns, self.sample_weight, orders)
        return other._sorted(far)

    def quantiles(self, levels, chosen=None):
        """As `quantiles`, of these columns; None for all."""
        chosen = range(len(self.columns)) if chosen is None else chosen
        levels = np.asarray(levels)
        values = np.empty((len(levels), len(chosen)))
        for i, j in enumerate(chosen):
            x, weights = self.columns[j], self._weights_of(j)
            below = None if weights is None else np.cumsum(weights)
            lower, upper = _places(len(x), below, levels)
            values[:, i] = _middles(x[lower], x[upper])
        return values

    def distribution(self, j):
        """The values of a column, increasing, and the share of the rows of each."""
        x, weights = self.columns[j], self._weights_of(j)
        first = np.flatnonzero(np.append(True, x[1:] != x[:-1]))
        if weights is None:
            sums = np.diff(first, append=len(x))
        else:
            sums = np.add.reduceat(weights, first)
        return x[first], sums / sums.sum()

    def means_of_bins(self, j, edges):
        """The means of the columns that bins of a column add, (n_bins,).

        Each is the mean of clip((x - low) / width, 0, 1) over the rows, where the edges
        are the lowest and the highest value and others between.
        """
        x, weights = self.columns[j], self._weights_of(j)
        starts = np.append(0, np.searchsorted(x, edges[1:-1]))
        stops = np.append(starts[1:], len(x))
        counts, some = stops - starts, starts < stops
        values = x - np.repeat(edges[:-1], counts)
        values /= np.repeat(np.diff(edges), counts)
        if weights is None:
            total, above = len(x), len(x) - stops
        else:
            values *= weights
            below = np.cumsum(weights)
            total, above = below[-1], below[-1] - below[stops - 1]
        sums = np.zeros(len(starts))
        sums[some] = np.add.reduceat(values, starts[some])
        return (sums + above) / total

    def _weights_of(self, j):
        """The weights of the values of a column, or None."""
        return None if self.orders is None else self.sample_weight[self.orders[j]]


def quantile_step(n, d):
    """The step between the rows used for quartiles, of n rows with d numbers."""
    most = min(max(QUANTILE_SIZE // d, FEWEST_QUANTILE_ROWS), QUANTILE_ROWS)
    return -(-n // most)


def some_columns(X, sample_weight):
    """Evenly spaced rows for quantiles, as columns (d, n), and weights or None."""
    step = quantile_step(*X.shape)
    weights = None if sample_weight is None else sample_weight[::step]
    return _columns_of(X, None, step), weights


def _columns_of(X, rows, step):
    """Every step-th of these rows of a dense X, as columns (d, n)."""
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    rows = np.arange(0, n, step) if rows is None else rows[::step]
    columns, start = np.empty((d, len(rows)), X.dtype), 0
    for block in blocks_of(X, rows):
        columns[:, start : start + len(block)] = block.T
        start += len(block)
    return columns


def blocks_of(X, rows):
    """Iterate over X, or these rows of it, in parts of about BLOCK_SIZE numbers."""
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    length = max(1, BLOCK_SIZE // d)
    for start in range(0, n, length):
        part = slice(start, start + length)
        yield X[part] if rows is None else X[rows[part]]


def quantiles(columns, sample_weight, levels):
    """Quantiles of each of the columns, (d, n), as (n_levels, d), float64.

    The averaged inverse of the distribution function (Hyndman and Fan 1996, type 2),
    so that integer weights, (n,) or (d, n), equal repeated rows.  It sorts in place.
    Values of weight 0 do not count.
    """
    levels = np.asarray(levels)
    d, n = columns.shape
    if sample_weight is None:
        columns.sort(axis=1)
        lower, upper = _places(n, None, levels)
        return _middles(columns[:, lower], columns[:, upper]).T
    values = np.empty((len(levels), d))
    by_column = np.broadcast_to(sample_weight, columns.shape)
    for j, (column, weights) in enumerate(zip(columns, by_column, strict=True)):
        order = np.argsort(column)
        x, below = column[order], np.cumsum(weights[order])
        lower, upper = _places(n, below, levels)
        values[:, j] = _middles(x[lower], x[upper])
    return values


def _places(n, below, levels):
    """The places, among n sorted values, of the two values around each quantile.

    `below`, (n,), are the sums of the weights up to each value; None for equal weights.
    """
    if below is None:
        at = levels * n
        # As with weights: 7/12 of 12 rows are 7 rows, whatever the rounding.
        lower = np.ceil(at * (1 - 1e-12)).astype(int) - 1
        upper = np.floor(at * (1 + 1e-12)).astype(int)
        return np.maximum(lower, 0), np.minimum(upper, n - 1)
    at = levels * below[-1]
    lower = np.searchsorted(below, at * (1 - 1e-12), side="left")
    upper = np.searchsorted(below, at * (1 + 1e-12), side="right")
    return lower, np.minimum(upper, n - 1)


def _middles(x, y):
    """(x + y) / 2, float64; halved first, so that no sum overflows."""
    return x.astype(np.float64) / 2 + y.astype(np.float64) / 2
