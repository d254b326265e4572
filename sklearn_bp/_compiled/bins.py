"""Rows whose last columns are bins of numeric columns: products as sums (bins.h)."""

from dataclasses import dataclass, replace

import numpy as np

from sklearn_bp._compiled.library import (
    DTYPES,
    Job,
    as_c,
    engine,
    fields,
    has_vector,
    is_asked_for,
)

# The number of bins per column from which sums are faster than products.
FEWEST_BINS = 4

# Hidden layers are whole numbers of vectors if they have a multiple of LINE units.
LINE = 8

# Running sums have numbers of two bytes.
MOST_SUMS = 2**16

# The positions of the rows in their bins: fields of a job.
BINS = fields("codes shares bin_starts low span", "m plain")


class Splitting(Job):
    """Rows whose bins are needed; its fields are those of engine.h."""

    _fields_ = BINS + fields("X high", "n d is_double vector")


@dataclass(frozen=True)
class BinnedRows:
    """The positions of the rows of X in the bins of their numeric columns.

    Attributes
    ----------
    codes : ndarray of uint16 of shape (n, n_columns)
        The bin of a row in each column, counted with one place more per column.
    shares : ndarray of shape (n, n_columns)
        The position of the row in that bin: 0 at its lower limit, 1 at the upper one.
    starts : ndarray of int64 of shape (n_columns + 1,)
        The first bin of each column, and the number of bins.
    low, span : ndarrays of shape (n_bins,)
        In X, the values after the bin of a row, and those before it minus `low`.
    n_plain : int
        The number of columns of X that are no bins.
    """

    codes: np.ndarray
    shares: np.ndarray
    starts: np.ndarray
    low: np.ndarray
    span: np.ndarray
    n_plain: int

    def of_rows(self, rows):
        """The same of some rows."""
        return replace(self, codes=self.codes[rows], shares=self.shares[rows])

    def bind(self, job, n, d, h, dtype):
        """Let a job on rows (n, d) take sums, if h hidden units are vectors."""
        m, n_bins = len(self.starts) - 1, len(self.low)
        if h % LINE:
            job.set("codes", None)
            return
        if self.n_plain + n_bins != d:
            raise ValueError("The bins belong to other columns.")
        job.set("codes", as_c(self.codes, np.uint16, (n, m)))
        job.set("shares", as_c(self.shares, dtype, (n, m)))
        job.set("bin_starts", self.starts)
        job.set("low", as_c(self.low, dtype, (n_bins,)))
        job.set("span", as_c(self.span, dtype, (n_bins,)))
        job.m, job.plain = m, self.n_plain


def binned(X, starts, low, high):
    """The `BinnedRows` of X, or None if products with its columns are faster.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    starts : ndarray of int of shape (n_columns + 1,)
        The first bin of each column among the bins, which are the last columns of X,
        and the number of bins.
    low, high : ndarrays of shape (n_bins,)
        In the bins of a column, a row has `high` before one of them, `low` after it.
    """
    (n, d), n_bins, m = X.shape, len(low), len(starts) - 1
    few = not FEWEST_BINS * m <= n_bins < d or n_bins + m > MOST_SUMS
    if few or X.dtype not in DTYPES or not (is_asked_for() and has_vector()):
        return None
    low, high = (as_c(ends, X.dtype, (n_bins,)) for ends in (low, high))
    starts, span = as_c(starts, np.int64, (m + 1,)), high - low
    if starts[0] != 0 or starts[-1] != n_bins or (np.diff(starts) < 1).any():
        raise ValueError("The bins of the columns do not follow one another.")
    codes, shares = np.empty((n, m), np.uint16), np.empty((n, m), X.dtype)
    rows = BinnedRows(codes, shares, starts, low, span, d - n_bins)
    job = Splitting(
        X=as_c(X, X.dtype, (n, d)),
        high=high,
        n=n,
        d=d,
        is_double=X.dtype == np.float64,
        vector=has_vector(),
    )
    rows.bind(job, n, d, LINE, X.dtype)
    return rows if engine.split(job) else None
