"""Preparing rows on the workers: functions of one `Block`.

A block becomes `Rows`, which are checked and then encoded; feature and target scaling
follow from sums over them.  Rows of weight 0 are ignored.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import _num_samples

from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.columns import Columns, observed_in, witnesses
from sklearn_bp._tables.features import canonical
from sklearn_bp._tables.row_lengths import Lengths
from sklearn_bp._tables.scaling import largest_of
from sklearn_bp._tables.targets import check_labels, check_regression_targets
from sklearn_bp._tables.values import as_features
from sklearn_bp._tables.weights import LARGEST_MULTIPLE, check_weights
from sklearn_bp.losses._base import CONSTANT_ROWS


class Block(NamedTuple):
    """A block of rows as the user passed it."""

    X: Any
    y: Any
    sample_weight: Any


class Survey(NamedTuple):
    """The contents of a block: its rows, the shape of y, and the labels by column.

    It counts the rows of each label that have non-zero weight.
    """

    n_rows: int
    y_ndim: int
    labels: list


def survey(block, labelled):
    """The `Survey` of a block; ValueError if X, y and weights differ in length."""
    n = _num_samples(block.X)
    for name in ("y", "sample_weight"):
        values = getattr(block, name)
        n_values = _num_samples(values) if hasattr(values, "__len__") else n
        if n_values != n:
            raise ValueError(
                f"A block of X has {n} rows, but that of {name} has {n_values}: "
                "inconsistent numbers of samples."
            )
    if n == 0 or not labelled:
        return Survey(n, np.ndim(block.y), [])
    y, weights = check_labels(block.y), None
    if block.sample_weight is not None:
        weights = (check_weights(block.sample_weight, n) > 0).astype(float)
    found = []
    for column in [y] if y.ndim == 1 else y.T:
        labels, codes = np.unique(column, return_inverse=True)
        found.append((labels, np.bincount(codes, weights, len(labels))))
    return Survey(n, y.ndim, found)


# Checked rows.


class Rows(NamedTuple):
    """The rows of a partition; `rows` have non-zero weight, None for all."""

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None

    @property
    def nonzero(self):
        return np.arange(len(self.Y)) if self.rows is None else self.rows

    def shares(self, exponent):
        """The non-zero weights over 2 ** exponent, or None."""
        if self.weights is None:
            return None
        weights = self.weights if self.rows is None else self.weights[self.rows]
        return np.ldexp(weights, -exponent)


class Reading(NamedTuple):
    """The settings for reading blocks.

    Attributes
    ----------
    name : str
        Name of the estimator, for errors.
    encodes : bool
        Whether X is left unchanged, to be encoded later.
    targets : ClassTargets or None
        Their class weights multiply the sample weights.
    """

    name: str
    encodes: bool
    targets: Any


def read(block, reading):
    """The `Rows` of a block; None if all weights are zero."""
    X, y, sample_weight = block
    n = _num_samples(X)
    if n == 0:
        return None
    X = canonical(as_features(X))
    if not reading.encodes:
        X = _checked(X, reading.name)
    weights = None
    if sample_weight is not None:
        weights = check_weights(sample_weight, n)
    if reading.targets is None:
        Y = check_regression_targets(y, np.float64)
    else:
        y = check_labels(y)
        Y = reading.targets.encode(y)
        class_weights = reading.targets.class_weights
        if class_weights is not None:
            weights = np.ones(n) if weights is None else weights.copy()
            codes = reading.targets.codes_by_column(y)
            for column, of_class in zip(codes, class_weights, strict=True):
                weights *= of_class[column]
    if weights is None or weights.all():
        return Rows(X, Y, weights, None)
    rows = np.flatnonzero(weights)
    return Rows(X, Y, weights, rows) if len(rows) else None


def _checked(X, name):
    """X as finite numbers, dense or CSR; integer arrays stay integers."""
    dtype = [np.float64, np.float32]
    if isinstance(X, np.ndarray) and X.dtype.kind in "biu":
        dtype.append(X.dtype)
    X = check_array(
        X, accept_sparse=["csr", "csc"], dtype=dtype, estimator=name, input_name="X"
    )
    return X.tocsr() if sparse.issparse(X) else X


class Facts(NamedTuple):
    """Facts about `Rows`: non-zero weights, range of weights and of targets."""

    n_nonzero: int
    lightest: float
    largest: float
    dtype: Any
    low: Any
    high: Any


def facts(rows, loss):
    """The `Facts` of a partition; ValueError for targets that the loss rejects."""
    if rows is None:
        return Facts(0, 0.0, 0.0, None, None, None)
    Y = rows.Y if rows.rows is None else rows.Y[rows.rows]
    loss.check_targets(Y)
    lightest = largest = 1.0
    if rows.weights is not None:
        weights = rows.weights[rows.nonzero]
        lightest, largest = float(weights.min()), float(weights.max())
    dtype = getattr(rows.X, "dtype", None)
    dtype = dtype if dtype is not None and dtype.kind == "f" else np.dtype("f8")
    ends = Y.min(axis=0), Y.max(axis=0)
    return Facts(len(Y), lightest, largest, dtype, *ends)


def unweighted(rows):
    """The rows with all non-zero weights replaced by 1."""
    return rows._replace(weights=None)


def different_weights(rows, exponent):
    """The distinct weights, over 2 ** exponent, and the number of rows with each.

    The smaller ones are left out if there are so many that it makes no difference.
    """
    values, counts = np.unique(rows.shares(exponent), return_counts=True)
    return values[-LARGEST_MULTIPLE - 1 :], counts[-LARGEST_MULTIPLE - 1 :]


def some_rows(rows, categorical_features, start, step):
    """Unchanged rows of X: evenly spaced ones with weights, and informative ones.

    Parameters
    ----------
    categorical_features
        As in the estimators.
    start, step : int
        Start and step among the rows with non-zero weight.
    """
    nonzero = rows.nonzero
    spaced = nonzero[start::step]
    weights = None if rows.weights is None else rows.weights[spaced]
    telling = nonzero[witnesses(_taken(rows.X, nonzero), categorical_features)]
    return _taken(rows.X, spaced), weights, _taken(rows.X, telling)


def numbers_observed(rows, positions):
    """Numbers of observed values of some columns; see `observed_in`."""
    return observed_in(_taken(rows.X, rows.nonzero), positions)


def _taken(X, rows):
    if len(rows) == _num_samples(X):
        return X
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def encode(rows, columns: Columns, dtype, name):
    """The rows with X encoded by `columns`."""
    X = rows.X
    if isinstance(X, np.ndarray) and X.dtype.kind in "biu" and columns.is_plain:
        return rows._replace(X=_checked(X, name))
    X = columns.transform(X, dtype)
    return rows._replace(X=_checked(X, name))


def is_sparse(rows):
    return sparse.issparse(rows.X)


def stored_numbers(rows):
    """Stored numbers in the rows with non-zero weight; those of a CSR are not zero."""
    X = rows.X if rows.rows is None else rows.X[rows.rows]
    return X.nnz if sparse.issparse(X) else X.size


def encoded_rows(rows, exponent, start, step):
    """Evenly spaced rows of the matrix, and their weights."""
    shares = rows.shares(exponent)
    weights = None if shares is None else shares[start::step]
    return _taken(rows.X, rows.nonzero[start::step]), weights


def lengths(rows, exponent, scaling):
    """The `Lengths` of the rows with non-zero weight."""
    return Lengths.of(_taken(rows.X, rows.nonzero), scaling, rows.shares(exponent))


class Statistics(NamedTuple):
    """The statistics of a partition for the feature scaling.

    Attributes
    ----------
    dense : ColumnStatistics or None
        Statistics of the dense columns, without quantiles.
    largest : ndarray of shape (n_sparse,)
        The largest absolute value of each sparse column.
    spaced, spaced_weights : ndarray of shape (n, n_dense), ndarray of shape (n,)
        Evenly spaced rows and their weights.
    spaced_rest : CSR of shape (n, n_sparse) or None
        The sparse columns of these rows.
    """

    dense: Any
    largest: np.ndarray
    spaced: np.ndarray
    spaced_rest: Any
    spaced_weights: Any


def statistics(rows, n_dense, exponent, start, step):
    """The `Statistics` of the first `n_dense` columns, and of the sparse others."""
    X, nonzero, shares = rows.X, rows.nonzero, rows.shares(exponent)
    largest, spaced_rest = np.empty(0), None
    if sparse.issparse(X):
        rest = X[nonzero][:, n_dense:]
        largest, spaced_rest = largest_of(rest), rest[start::step]
        X, nonzero = X[nonzero][:, :n_dense].toarray(), np.arange(len(nonzero))
    chosen, dense = None if len(nonzero) == len(X) else nonzero, None
    if X.shape[1]:
        dense = ColumnStatistics.of_facts(X, chosen, shares)
    spaced_weights = None if shares is None else shares[start::step]
    spaced = X[nonzero[start::step]]
    return Statistics(dense, largest, spaced, spaced_rest, spaced_weights)


def formatted(rows, dense):
    """The rows with X as an array or as a CSR."""
    if dense and sparse.issparse(rows.X):
        return rows._replace(X=rows.X.toarray())
    if not dense and not sparse.issparse(rows.X):
        return rows._replace(X=sparse.csr_matrix(rows.X))
    return rows


# Sums over targets.


def _in_blocks(rows, exponent):
    """Iterate over targets and non-zero weights, some thousand rows at a time."""
    nonzero, shares = rows.nonzero, rows.shares(exponent)
    if shares is None:
        shares = np.ones(len(nonzero))
    for i in range(0, len(nonzero), CONSTANT_ROWS):
        part = slice(i, i + CONSTANT_ROWS)
        yield rows.Y[nonzero[part]].astype(np.float64), shares[part]


def sum_of_weights(rows, exponent):
    """sum_i w_i."""
    return sum(w.sum() for _, w in _in_blocks(rows, exponent))


def sum_of_targets(rows, exponent, unit):
    """sum_i w_i y_i / unit."""
    return sum(w @ (Y / unit) for Y, w in _in_blocks(rows, exponent))


def sum_of_squares(rows, exponent, unit, mean):
    """sum_i w_i (y_i / unit - mean)^2."""
    return sum(w @ np.square(Y / unit - mean) for Y, w in _in_blocks(rows, exponent))


def weight_of_nonzero(rows, exponent):
    """sum_i w_i over the targets that are not 0."""
    return sum(w @ (Y != 0) for Y, w in _in_blocks(rows, exponent))


def sum_of_losses(rows, exponent, loss, scores):
    """sum_i w_i loss_i with the same scores in all rows."""
    total = 0.0
    for Y, w in _in_blocks(rows, exponent):
        P = np.tile(scores, (len(Y), 1))
        loss.forward(P)
        total += w @ loss.value(P, Y)
    return float(total)


def spaced_targets(rows, exponent, start, step):
    """Evenly spaced targets, and their weights or None."""
    shares = rows.shares(exponent)
    Y = rows.Y[rows.nonzero[start::step]].astype(np.float64)
    return Y, None if shares is None else shares[start::step]


def with_targets(rows, scaling, dtype):
    """The rows with targets in `dtype`, scaled unless `scaling` is None."""
    Y = rows.Y if scaling is None else scaling(rows.Y)
    return rows._replace(Y=Y.astype(dtype, copy=False))


# Continuing, and scores, block by block.


def train_block(model, block, options):
    """A copy of a plain estimator after partial_fit on a block."""
    X, y, sample_weight = block
    survey(block, labelled=False)
    model = copy.deepcopy(model)
    n = _num_samples(X)
    if n and (sample_weight is None or check_weights(sample_weight, n).any()):
        model.partial_fit(X, y, sample_weight, **options)
    return model


def hits(block, model):
    """Weight of the rows, and of those with the right predicted label."""
    n = _num_samples(block.X)
    weights = _block_weights(block)
    if n == 0:
        return np.zeros(2)
    y = check_labels(block.y)
    right = model.predict(block.X) == y
    if right.ndim == 2:
        right = right.all(axis=1)
    return np.array([weights.sum(), weights @ right])


def moments(block, model):
    """Per output: weight, mean y, sum w (y - mean)^2, sum w (y - p)^2."""
    n = _num_samples(block.X)
    weights = _block_weights(block)
    if n == 0 or not weights.any():
        return None
    Y = check_regression_targets(block.y, np.float64)
    P = model.predict(block.X).reshape(Y.shape)
    mean = np.average(Y, axis=0, weights=weights)
    return (
        weights.sum(),
        mean,
        weights @ np.square(Y - mean),
        weights @ np.square(Y - P),
    )


def _block_weights(block):
    n = _num_samples(block.X)
    if block.sample_weight is None or n == 0:
        return np.ones(n)
    return check_weights(block.sample_weight, n)
