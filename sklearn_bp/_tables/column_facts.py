"""Exact statistics of dense columns: their range, and columns of two values.

X is (n, d).  It is read block by block, and `rows` are the positions that count, or
None for all.
"""

from typing import Any, NamedTuple

import numpy as np

from sklearn_bp._tables.sorted_columns import blocks_of


class ColumnFacts(NamedTuple):
    """Exact statistics of dense columns, whose missing values are NaN.

    Attributes
    ----------
    weight : float
        Weight of all rows.
    missing : ndarray of shape (d,), or 0.0
        Weight of the rows in which a column is missing.
    low, high : ndarray of shape (d,), float64
        NaN if nothing was observed.
    pair : ndarray of shape (d,), bool
        Whether `low` and `high` are the only values, and differ.
    of_high : ndarray of shape (d,)
        For such columns, the weight of the rows with the larger value.
    """

    weight: float
    missing: Any
    low: np.ndarray
    high: np.ndarray
    pair: np.ndarray
    of_high: np.ndarray


def rows_with_weight(sample_weight):
    """The rows with non-zero weight, and their weights; None for all, or no weights."""
    if sample_weight is None or sample_weight.all():
        return None, sample_weight
    chosen = np.flatnonzero(sample_weight)
    return chosen, sample_weight[chosen]


def facts_of(X, rows, sample_weight):
    """The `ColumnFacts` of these rows of X; None for all."""
    low, high, pair = extremes(X, rows)
    weight = len(X) if rows is None else len(rows)
    if sample_weight is not None:
        weight = sample_weight.sum()
    missing: Any = 0.0
    if np.isnan(low).any():  # a minimum propagates NaN
        gone = np.isnan(X)
        missing = gone.sum(axis=0).astype(np.float64)
        if sample_weight is not None:
            # All rows where all are missing, whatever the rounding of the sums.
            missing = np.where(gone.all(axis=0), weight, sample_weight @ gone)
        low, high = (f.reduce(X, axis=0).astype(np.float64) for f in (np.fmin, np.fmax))
        pair = ((low == X) | (high == X) | gone).all(axis=0) & (low < high)
    pairs, of_high = np.flatnonzero(pair), np.zeros_like(high)
    if len(pairs):
        of_high[pairs] = weight_of(high[pairs], X, rows, pairs, sample_weight)
    return ColumnFacts(float(weight), missing, low, high, pair, of_high)


def extremes(X, rows=None):
    """Smallest and largest value of each column, and whether it has only these."""
    extremes = [(x.min(axis=0), x.max(axis=0)) for x in blocks_of(X, rows)]
    low = np.min([least for least, _ in extremes], axis=0)
    high = np.max([most for _, most in extremes], axis=0)
    candidates = np.flatnonzero(low < high)
    for block in blocks_of(X, rows):
        if len(candidates) == 0:
            break
        values = block[:, candidates]
        pair = (values == low[candidates]) | (values == high[candidates])
        candidates = candidates[pair.all(axis=0)]
    two_valued = np.zeros(X.shape[1], bool)
    two_valued[candidates] = True
    return low.astype(np.float64), high.astype(np.float64), two_valued


def weight_of(values, X, rows, columns, sample_weight):
    """Number or weight of the rows in which these columns have these values.

    Sums of counts and of whole weights are exact.
    """
    total, start = np.zeros(len(columns)), 0
    for block in blocks_of(X, rows):
        equal, stop = block[:, columns] == values, start + len(block)
        if sample_weight is None:
            total += equal.sum(axis=0)
        else:
            total += sample_weight[start:stop] @ equal
        start = stop
    return total
