"""The training data, and how it reaches the kernel batch by batch.

An epoch is a sequence of blocks, a block a few batches of equal length whose
rows are gathered together.  Blocks are buffers, filled anew for each stretch of
rows, and so are the views that the kernel works on: made once, used in every
epoch.  Rows are copied into a block and nowhere else, so X may be a read-only
memmap or of another dtype.

In a block of s batches of b rows, dense arrays, all in C order, are

    X (s * b, n_features)
    Y (s * b, n_targets), P (s * b, n_outputs): targets and predictions
    weights (s * b, 1), or None

and for K networks side by side P is (s, K, b, n_outputs), weights (s, K, b, 1): each
has predictions of its own, and may give a row a weight of its own.
"""

import mmap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

# "blocks" shuffles stretches of some SHUFFLED_BYTES of neighbouring rows, and then the
# rows of SHUFFLED_TOGETHER stretches with each other: 64 MB, which stay in memory.
SHUFFLED_BYTES = 2**22
SHUFFLED_TOGETHER = 16

# Dense data whose scaled copy is no larger is scaled once, not in every epoch: 0.8 of
# the time of the loop in Python, 0.35 (100 columns) to 0.6 (20) of that of `_compiled`.
SCALED_BYTES = 2**26

# Small data is one block; else a block is to stay in a second-level cache.
SMALL_BYTES = 2**22
BLOCK_BYTES = 2**19


@dataclass(frozen=True)
class Data:
    """Clean training data.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_targets)
        Targets as the loss wants them, mostly one an output.
    weights : ndarray of shape (n,) or None
        Sample weights with mean 1 over `rows`.
    alpha : float
        Penalty over the sum of squares, divided by the mean of the weights
        as the user gave them, which is the same loss up to a factor.
    rows : ndarray of int or None
        The rows that take part; None for all.
    scaling : callable(X, out) or None
        Applied to dense rows on their way into a block.
    folds : ndarray of int of shape (n,) or None
        The number of the one member that does not learn from a row.
    fold_means : ndarray of shape (n_members,) or None
        The mean weight, over all rows, of those that a member learns from: its weights
        are divided by it.
    """

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    alpha: float
    rows: np.ndarray | None = None
    scaling: Any = None
    folds: Any = None
    fold_means: Any = None

    @property
    def n_rows(self):
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @classmethod
    def weighted(cls, X, Y, sample_weight, alpha, rows=None, scaling=None):
        """With sample weights as the user gave them, or None.

        Parameters
        ----------
        X, Y, alpha, rows, scaling
            As of the class.
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
        """The same, but each row is left out by one of the members.

        Parameters
        ----------
        folds : ndarray of int of shape (n,)
            The number of that member.
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
                "All sample weights of the rows that one of the networks learns from "
                "are zero: set early_stopping=False, or leave rows without weight out."
            )
        return replace(self, folds=folds, fold_means=means)

    @property
    def is_weighted(self):
        """Whether rows, or members, differ in what a row weighs."""
        return self.weights is not None or self.folds is not None


def row_length(X):
    """Stored numbers a row, on average: n_features, for a CSR what is not zero."""
    return X.nnz / X.shape[0] if sparse.issparse(X) else X.shape[1]


class SomeRows:
    """Some rows of a large array, read where they stand: the array is not copied.

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
        """As of an array."""
        return self._X.take(self._rows[rows], axis=axis, out=out, mode=mode)


def some_rows(X, rows):
    """Rows of an array or a CSR: a copy, but of a file that is mapped into memory."""
    base = X
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and X.nbytes > SMALL_BYTES:
        return SomeRows(X, rows)
    return X[rows]


class Block:
    """Buffers for `n_batches` batches of `n_rows` rows each.

    `steps` lists, for each batch, X (transposed, or a CSR), Y, P and the weights.
    """

    def __init__(self, data, n_batches, n_rows, dtype, n_members=1, n_outputs=None):
        n, n_targets = n_batches * n_rows, data.Y.shape[1]
        k = n_outputs or n_targets
        self.data = data
        self.n_batches, self.n_rows, self.n_members = n_batches, n_rows, n_members
        self._shares = None  # what a row of each fold weighs for each member
        if data.folds is not None:
            self._shares = (1 - np.eye(n_members, dtype=dtype)) / data.fold_means
        self.Y = np.empty((n, n_targets), dtype)
        # By batches, members and rows, whether or not there are several members.
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
        """By batches, members (one, if all give the same) and rows."""
        data, shape = self.data, (self.n_batches, self.n_rows, -1)
        weights: Any = 1.0
        if data.weights is not None:
            weights = data.weights[rows].reshape(shape)
        if self._shares is not None:
            weights = self._shares[data.folds[rows]].reshape(shape) * weights
        return weights.transpose(0, 2, 1)

    def value(self, loss):
        """Sum over rows and members of weight times loss, from the predictions."""
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
    n_members : int, default=1
    n_outputs : int, default=None
        None: as many as there are targets.
    n_rows : int, default=None
        Rows an epoch; None for all of the data.
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


def next_block_order(data, random_state):
    """An order of the rows that reads them from a file stretch by stretch.

    Stretches of neighbouring rows come in a random order, and some of them together,
    the rows of these in a random order: what is larger than the page cache is read
    once an epoch, not a page a row.
    """
    row_bytes = data.X.dtype.itemsize * row_length(data.X)
    length = max(1, int(SHUFFLED_BYTES // row_bytes))
    starts = np.arange(0, data.n_rows, length)
    random_state.shuffle(starts)
    order = np.empty(data.n_rows, np.intp)
    end = 0
    for first in range(0, len(starts), SHUFFLED_TOGETHER):
        together = starts[first : first + SHUFFLED_TOGETHER]
        rows = np.concatenate([np.arange(s, s + length) for s in together])
        rows = rows[rows < data.n_rows]  # the last stretch may be shorter
        random_state.shuffle(rows)
        order[end : end + len(rows)] = rows
        end += len(rows)
    return order
