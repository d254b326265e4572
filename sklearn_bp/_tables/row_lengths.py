"""Lengths of scaled rows.  The gradient by a row grows with its length."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

# Number of values that are scaled at a time.
BLOCK_SIZE = 2**17


class Lengths(NamedTuple):
    """Squared lengths of rows.

    Attributes
    ----------
    longest : float
        The largest.
    usual : float
        Weighted sum of the squared lengths of rows in which no value counts as more
        than 1, so that long rows hardly change it.
    weight : float
        Sum of the weights.
    """

    longest: float
    usual: float
    weight: float

    @classmethod
    def of(cls, X, scaling=None, weights=None):
        """The lengths of the rows of X, (n, d), dense or CSR.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, d)
        scaling : callable(X) -> X or None
            It is applied to the rows block by block.
        weights : ndarray of shape (n,) or None
        """
        n_rows, longest, usual = X.shape[0], 0.0, 0.0
        weights = np.ones(n_rows) if weights is None else weights
        step = max(1, BLOCK_SIZE // max(1, X.shape[1]))
        for start in range(0, n_rows, step):
            part = slice(start, start + step)
            rows = X[part] if scaling is None else scaling(X[part])
            whole, cut = _squared_lengths(rows)
            longest = max(longest, float(whole.max()))
            usual += float(weights[part] @ cut)
        return cls(longest, usual, float(weights.sum()))

    @property
    def ratio(self):
        """The length of the longest row, relative to the usual length."""
        if not self.usual:
            return 1.0
        return float(np.sqrt(self.longest * self.weight / self.usual))


def merged(parts):
    """The `Lengths` of the rows of all parts."""
    longest, usual, weights = zip(*parts, strict=True)
    return Lengths(max(longest), sum(usual), sum(weights))


def _squared_lengths(X):
    """The squared lengths of rows, and those of rows whose values end at 1."""
    values = X.data if sparse.issparse(X) else X
    whole = np.square(values, dtype=np.float64)
    both = whole, np.minimum(whole, 1.0)
    if not sparse.issparse(X):
        return [squares.sum(axis=1) for squares in both]
    of_row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return [np.bincount(of_row, squares, X.shape[0]) for squares in both]
