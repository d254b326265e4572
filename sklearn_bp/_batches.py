"""The training data, and how it reaches the kernel batch by batch.

An epoch is a sequence of blocks, a block a few batches of equal length whose
rows are gathered together.  Blocks are buffers, filled anew for each stretch of
rows, and so are the views that the kernel works on: made once, used in every
epoch.  Rows are copied into a block and nowhere else, so X may be a read-only
memmap or of another dtype.

In a block of s batches of b rows, dense arrays, all in C order, are

    X (s * b, n_features)
    Y, P (s * b, n_outputs): targets and predictions
    weights (s * b, 1), or None
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

# Small data is one block; else a block is to stay in a second-level cache.
SMALL_BYTES = 2**22
BLOCK_BYTES = 2**19


@dataclass(frozen=True)
class Data:
    """Clean training data.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_outputs)
        Targets as the loss wants them.
    weights : ndarray of shape (n,) or None
        Sample weights with mean 1 over `rows`.
    alpha : float
        Penalty over the sum of squares, divided by the mean of the weights
        as the user gave them, which is the same loss up to a factor.
    rows : ndarray of int or None
        The rows that take part; None for all.
    """

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    alpha: float
    rows: np.ndarray | None = None

    @property
    def n_rows(self):
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @classmethod
    def weighted(cls, X, Y, sample_weight, alpha, rows=None):
        """With sample weights as the user gave them, or None."""
        if sample_weight is None:
            return cls(X, Y, None, alpha, rows)
        largest = float(np.max(sample_weight if rows is None else sample_weight[rows]))
        if largest == 0:
            raise ValueError("All sample weights of the training rows are zero.")
        weights = sample_weight / largest  # so that their sum cannot overflow
        mean = float(np.mean(weights if rows is None else weights[rows]))
        return cls(X, Y, weights / mean, alpha / mean / largest, rows)


def row_length(X):
    """Stored numbers a row, on average: n_features, for a CSR what is not zero."""
    return X.nnz / X.shape[0] if sparse.issparse(X) else X.shape[1]


class Block:
    """Buffers for `n_batches` batches of `n_rows` rows each.

    `steps` lists, for each batch, X (transposed, or a CSR), Y, P and the weights.
    """

    def __init__(self, data, n_batches, n_rows, dtype):
        n = n_batches * n_rows
        self.data = data
        self.n_batches, self.n_rows = n_batches, n_rows
        self.Y = np.empty((n, data.Y.shape[1]), dtype)
        self.P = np.empty_like(self.Y)
        self.weights = None if data.weights is None else np.empty((n, 1), dtype)
        self.X = None
        if not sparse.issparse(data.X):
            self.X = np.empty((n, data.X.shape[1]), dtype)
            self._bind([x.T for x in self._batches_of(self.X)])
        self._holds = None

    def _batches_of(self, rows):
        b = self.n_rows
        return [rows[i * b : (i + 1) * b] for i in range(self.n_batches)]

    def _bind(self, X):
        Y, P = self._batches_of(self.Y), self._batches_of(self.P)
        weights = [None] * self.n_batches
        if self.weights is not None:
            weights = self._batches_of(self.weights)
        self.steps = list(zip(X, Y, P, weights, strict=True))

    def fill(self, rows):
        """Copy `rows` of the data, a slice or an array of indices."""
        if isinstance(rows, slice) and rows == self._holds:
            return
        self._holds = rows if isinstance(rows, slice) else None
        data = self.data
        if self.X is None:
            X = data.X[rows].astype(self.P.dtype, copy=False)
            self._bind(self._batches_of(X))
        else:
            _copy_rows(data.X, rows, self.X)
        _copy_rows(data.Y, rows, self.Y)
        if self.weights is not None:
            self.weights[:, 0] = data.weights[rows]

    def value(self, loss):
        """Sum over the rows of weight times loss, from the predictions in P."""
        values = loss.value(self.P, self.Y)
        if self.weights is not None:
            values = values * self.weights[:, 0]
        return float(values.sum(dtype=np.float64))


def _copy_rows(source, rows, out):
    if isinstance(rows, slice) or source.dtype != out.dtype:
        out[...] = source[rows]
    else:
        # mode="raise", the default, would go through a copy of `out`
        source.take(rows, axis=0, out=out, mode="clip")


class Batches:
    """An epoch's blocks.

    Parameters
    ----------
    data : Data
    batch_size : int
        Rows a batch, at most `data.n_rows`; the last batch takes what is left.
    dtype : dtype
        Of the buffers: what the network computes in.
    """

    def __init__(self, data, batch_size, dtype):
        self.data = data
        n, b = data.n_rows, batch_size
        row_bytes = np.dtype(dtype).itemsize * (
            row_length(data.X) + 2 * data.Y.shape[1]
        )
        block_bytes = SMALL_BYTES if n * row_bytes <= SMALL_BYTES else BLOCK_BYTES
        most = max(1, int(block_bytes // (b * row_bytes)))
        stops = [*range(most * b, n - n % b, most * b), n - n % b]
        if n % b:
            stops.append(n)
        buffers = {}
        self._plan = []
        start = 0
        for stop in stops:
            rows = min(b, stop - start)
            n_batches = (stop - start) // rows
            key = (n_batches, rows)
            if key not in buffers:
                buffers[key] = Block(data, n_batches, rows, dtype)
            self._plan.append((start, stop, buffers[key]))
            start = stop

    @property
    def lengths(self):
        """The numbers of rows a batch that occur."""
        return sorted({block.n_rows for _, _, block in self._plan})

    def epoch(self, order=None):
        """Yield the filled blocks, rows in the given order or as they stand."""
        rows = self.data.rows
        for start, stop, block in self._plan:
            if order is not None:
                part = order[start:stop]
                block.fill(part if rows is None else rows[part])
            elif rows is not None:
                block.fill(rows[start:stop])
            else:
                block.fill(slice(start, stop))
            yield block


def next_order(order, n_rows, random_state):
    """Shuffle the previous epoch's order (None: rows as they stand) once more.

    An order of another number of rows, from other data, counts as none.
    MLPClassifier shuffles its indices in place from epoch to epoch, so an order
    depends on all earlier ones; this makes the same draws.
    """
    permutation = np.arange(n_rows)
    random_state.shuffle(permutation)
    if order is None or len(order) != n_rows:
        return permutation
    return order[permutation]
