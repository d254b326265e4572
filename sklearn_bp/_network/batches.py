"""The training data, and how it reaches the kernel batch by batch.

An epoch is a sequence of blocks.  A block holds a few batches of equal length, whose
rows are copied together.  Blocks are buffers: they and the views that the kernel works
on are made once and used in every epoch.  Rows are only copied into blocks, so X may be
a read-only memmap or have another dtype.

The dense arrays of a block of s batches of b rows, all in C order, are

    X (s * b, n_features)
    Y (s * b, n_targets), P (s * b, n_outputs): targets and predictions
    weights (s * b, 1), or None

For K networks side by side, P is (s, K, b, n_outputs) and weights (s, K, b, 1): each
network has its own predictions, and a row may have another weight in each.
"""

import mmap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

# shuffle="blocks" shuffles chunks of about SHUFFLED_BYTES of neighbouring rows, then
# the rows within each group of SHUFFLED_TOGETHER chunks: 64 MB, which fit in memory.
SHUFFLED_BYTES = 2**22
SHUFFLED_TOGETHER = 16

# If the scaled copy of dense data is at most this large, rows are scaled once, not in
# every epoch.  This takes 0.8 of the time in Python, and 0.35 (100 columns) to 0.6 (20)
# in `_compiled`.
SCALED_BYTES = 2**26

# Small data is a single block; otherwise a block fits in a second-level cache.
SMALL_BYTES = 2**22
BLOCK_BYTES = 2**19


@dataclass(frozen=True)
class Data:
    """Clean training data.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_targets)
        Targets in the form that the loss needs, mostly one per output.
    weights : ndarray of shape (n,) or None
        Sample weights with mean 1 over `rows`.
    alpha : float
        Factor of the penalty, divided by the mean of the user's sample weights: this
        only multiplies the loss by a constant.
    rows : ndarray of int or None
        The rows to train on; None for all.
    scaling : callable(X, out) or None
        Applied to dense rows when they are copied into a block.
    folds : ndarray of int of shape (n,) or None
        For each row, the number of the member that it is held out from.
    fold_means : ndarray of shape (n_members,) or None
        For each member, the sum of the weights of its training rows divided by the
        number of all rows; the member's weights are divided by it.
    groups : ndarray of int of shape (n_features,) or None
        For each feature, the number of its group: the scales of a group move together
        in part (`feature_scales`).
    bins : object of `_compiled` or None
        The positions of the rows in their bins, which are the last columns of X.
    """

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    alpha: float
    rows: np.ndarray | None = None
    scaling: Any = None
    folds: Any = None
    fold_means: Any = None
    groups: Any = None
    bins: Any = None

    @property
    def n_rows(self):
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @classmethod
    def weighted(cls, X, Y, sample_weight, alpha, rows=None, scaling=None):
        """The `Data` with normalized weights, from the user's sample weights or None.

        Parameters
        ----------
        X, Y, alpha, rows, scaling
            As in the class.
        sample_weight : ndarray of shape (n,) or None
        """
        if sample_weight is None:
            return cls(X, Y, None, alpha, rows, scaling)
        largest = float(np.max(sample_weight if rows is None else sample_weight[rows]))
        weights = sample_weight / largest  # so that their sum cannot overflow
        mean = float(np.mean(weights if rows is None else weights[rows]))
        alpha = alpha / mean / largest
        return cls(X, Y, weights / mean, alpha, rows, scaling)

    def without_folds(self, folds, n_members):
        """The same data with each row held out from one member.

        Parameters
        ----------
        folds : ndarray of int of shape (n,)
            The number of that member for each row.
        n_members : int
        """
        if self.weights is None:
            left = np.bincount(folds, minlength=n_members)
            means = (len(folds) - left) / len(folds)
        else:
            means = np.array(
                [np.mean((folds != j) * self.weights) for j in range(n_members)]
            )
        if not means.all():
            raise ValueError(
                "All training rows of one ensemble member have sample weight 0: set "
                "early_stopping=False, or drop the rows of weight 0."
            )
        return replace(self, folds=folds, fold_means=means)

    @property
    def is_weighted(self):
        """Whether weights differ between rows or members."""
        return self.weights is not None or self.folds is not None


def row_length(X):
    """Mean number of stored values per row: n_features, or fewer for CSR."""
    return X.nnz / X.shape[0] if sparse.issparse(X) else X.shape[1]


class SomeRows:
    """Some rows of a large array, without a copy of them.

    Parameters
    ----------
    X : ndarray of shape (n_all, n_features)
    rows : ndarray of int
    """

    ndim = 2

    def __init__(self, X, rows):
        self._X, self._rows = X, rows
        self.shape, self.dtype = (len(rows), X.shape[1]), X.dtype
        self.nbytes = len(rows) * X.shape[1] * X.itemsize

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        return self._X[self._rows[rows]]

    def take(self, rows, axis, out, mode):
        """As `ndarray.take`."""
        return self._X.take(self._rows[rows], axis=axis, out=out, mode=mode)


def some_rows(X, rows):
    """Some rows of an array or CSR: a copy, or `SomeRows` of a large mapped file."""
    base = X
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and X.nbytes > SMALL_BYTES:
        return SomeRows(X, rows)
    return X[rows]


class Block:
    """Buffers for `n_batches` batches of `n_rows` rows each.

    `steps` lists X (transposed, or CSR), Y, P and the weights of each batch.
    """

    def __init__(self, data, n_batches, n_rows, dtype, n_members=1, n_outputs=None):
        n, n_targets = n_batches * n_rows, data.Y.shape[1]
        k = n_outputs or n_targets
        self.data = data
        self.n_batches, self.n_rows, self.n_members = n_batches, n_rows, n_members
        self._shares = None  # weights of the rows of each fold, by member
        if data.folds is not None:
            self._shares = (1 - np.eye(n_members, dtype=dtype)) / data.fold_means
        self.Y = np.empty((n, n_targets), dtype)
        # By batch, member and row, also with a single member.
        self._P = np.empty((n_batches, n_members, n_rows, k), dtype)
        self._weights = None
        if data.is_weighted:
            self._weights = np.empty((n_batches, n_members, n_rows, 1), dtype)
        self.X = None
        if not sparse.issparse(data.X):
            self.X = np.empty((n, data.X.shape[1]), dtype)
            self._bind([x.T for x in self._batches_of(self.X)])
        self._holds = None

    def _batches_of(self, rows):
        b = self.n_rows
        return [rows[i * b : (i + 1) * b] for i in range(self.n_batches)]

    def _bind(self, X):
        P, weights = list(self._P), [None] * self.n_batches
        if self._weights is not None:
            weights = list(self._weights)
        if self.n_members == 1:
            P = [p[0] for p in P]
            weights = [w if w is None else w[0] for w in weights]
        self.steps = list(zip(X, self._batches_of(self.Y), P, weights, strict=True))

    def fill(self, rows):
        """Copy `rows` of the data, a slice or an array of indices."""
        if isinstance(rows, slice) and rows == self._holds:
            return
        self._holds = rows if isinstance(rows, slice) else None
        data = self.data
        if self.X is None:
            X = data.X[rows].astype(self.Y.dtype, copy=False)
            self._bind(self._batches_of(X))
        elif data.scaling is None:
            _copy_rows(data.X, rows, self.X)
        else:
            data.scaling(data.X[rows], self.X)
        _copy_rows(data.Y, rows, self.Y)
        if self._weights is not None:
            self._weights[..., 0] = self._weights_of(rows)

    def _weights_of(self, rows):
        """By batch, member and row; a single member if weights are the same for all."""
        data, shape = self.data, (self.n_batches, self.n_rows, -1)
        weights: Any = 1.0
        if data.weights is not None:
            weights = data.weights[rows].reshape(shape)
        if self._shares is not None:
            weights = self._shares[data.folds[rows]].reshape(shape) * weights
        return weights.transpose(0, 2, 1)

    def value(self, loss):
        """The weighted loss of the predictions, summed over rows and members."""
        if self.n_members == 1:
            P, Y = self._P.reshape(len(self.Y), -1), self.Y
        else:
            P = self._P
            Y = self.Y.reshape(self.n_batches, 1, self.n_rows, -1)
        values = loss.value(P, Y)
        if self._weights is not None:
            values = values * self._weights.reshape(values.shape)
        return float(values.sum(dtype=np.float64))


def _copy_rows(source, rows, out):
    if isinstance(rows, slice) or source.dtype != out.dtype:
        out[...] = source[rows]
    else:
        # the default, mode="raise", would copy `out` first
        source.take(rows, axis=0, out=out, mode="clip")


class Batches:
    """The blocks of an epoch.

    Parameters
    ----------
    data : Data
    batch_size : int
        Rows per batch, at most `data.n_rows`; the last batch has the remaining rows.
    dtype : dtype
        Dtype of the buffers, in which the network computes.
    n_members : int, default=1
    n_outputs : int, default=None
        None for the number of targets.
    n_rows : int, default=None
        Rows per epoch; None for all of the data.
    """

    def __init__(
        self, data, batch_size, dtype, n_members=1, n_outputs=None, n_rows=None
    ):
        self.data = data
        n, b = n_rows or data.n_rows, batch_size
        row_bytes = np.dtype(dtype).itemsize * (
            row_length(data.X) + (1 + n_members) * data.Y.shape[1]
        )
        block_bytes = BLOCK_BYTES
        if n * row_bytes <= SMALL_BYTES:
            block_bytes = SMALL_BYTES
            data = replace(data, Y=data.Y.astype(dtype, copy=False))  # bools, once
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
                buffers[key] = Block(data, n_batches, rows, dtype, n_members, n_outputs)
            self._plan.append((start, stop, buffers[key]))
            start = stop

    @property
    def lengths(self):
        """The batch lengths that occur, sorted."""
        return sorted({block.n_rows for _, _, block in self._plan})

    def epoch(self, order=None):
        """Yield the filled blocks, with the rows in `order` or in that of the data."""
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
    """Shuffle the order of the previous epoch; None for the order in the data.

    An order of another length, from other data, counts as None. MLPClassifier shuffles
    its indices in place in each epoch, so an order depends on all earlier ones; this
    function makes the same draws.
    """
    permutation = np.arange(n_rows)
    random_state.shuffle(permutation)
    if order is None or len(order) != n_rows:
        return permutation
    return order[permutation]


def next_block_order(data, random_state):
    """A random order of the rows that reads a file chunk by chunk.

    Chunks of neighbouring rows are shuffled, and the rows within each group of
    chunks. So a file that is larger than the page cache is read once per epoch, not
    one page per row.
    """
    row_bytes = max(1, data.X.dtype.itemsize * row_length(data.X))  # CSR may be empty
    length = max(1, int(SHUFFLED_BYTES // row_bytes))
    starts = np.arange(0, data.n_rows, length)
    random_state.shuffle(starts)
    order = np.empty(data.n_rows, np.intp)
    end = 0
    for first in range(0, len(starts), SHUFFLED_TOGETHER):
        together = starts[first : first + SHUFFLED_TOGETHER]
        rows = np.concatenate([np.arange(s, s + length) for s in together])
        rows = rows[rows < data.n_rows]  # the last chunk may be shorter
        random_state.shuffle(rows)
        order[end : end + len(rows)] = rows
        end += len(rows)
    return order
