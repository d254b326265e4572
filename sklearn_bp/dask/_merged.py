"""Labels, weights, ranges and statistics of the partitions, merged over all of them."""

import functools
import itertools
from dataclasses import replace

import numpy as np
from scipy import sparse

from sklearn_bp._tables.class_targets import ClassTargets
from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.running import without_wild
from sklearn_bp._tables.targets import joined_labels
from sklearn_bp._tables.weights import row_unit
from sklearn_bp.dask._rows import different_weights, sum_of_weights, unweighted
from sklearn_bp.dask._training import added


def joined_labels_of(surveys):
    """Labels and their numbers over all blocks, for each column of y."""
    if len({(s.y_ndim, len(s.labels)) for s in surveys}) > 1:
        raise ValueError("Blocks of y differ in their number of columns.")
    joined = []
    for of_column in zip(*(s.labels for s in surveys), strict=True):
        values = joined_labels([values for values, _ in of_column])
        numbers = np.zeros(len(values))
        targets = ClassTargets(values)
        for of_block, n in of_column:
            numbers[targets.codes(of_block)] += n
        joined.append((values, numbers))
    return joined


def targets_of(labels, y_ndim):
    """The `ClassTargets` for labels by columns of y."""
    if y_ndim == 2 and len(labels) > 1:
        return ClassTargets(np.arange(len(labels)), multilabel=True)
    return ClassTargets(labels[0][0])


def numbers_of(targets, labels):
    """Numbers of rows per level, like `ClassTargets.numbers`."""
    numbers = []
    for levels, (values, n) in zip(targets.levels, labels, strict=True):
        numbers.append(np.zeros(len(levels)))
        numbers[-1][np.searchsorted(levels, values)] = n
    return numbers


class Summary:
    """The `Facts` of all partitions together, about rows with non-zero weight.

    Parameters
    ----------
    facts : list of Facts

    Attributes
    ----------
    n_rows : int
    offsets : list of int
        Number of rows before each partition.
    largest : float
        The largest weight.
    exponent : int
        `largest` is at most 2 ** exponent.
    are_equal : bool
        Whether all weights are equal.
    dtype : dtype
    low, high : ndarray of shape (n_outputs,)
        Range of the targets.
    """

    def __init__(self, facts):
        counts = [f.n_nonzero for f in facts]
        self.n_rows = sum(counts)
        self.offsets = [0, *itertools.accumulate(counts)][: len(counts)]
        self.set_largest(max(f.largest for f in facts))
        self.are_equal = self.largest == min(f.lightest for f in facts)
        self.dtype = np.result_type(*(f.dtype for f in facts))
        self.low = np.min([f.low for f in facts], axis=0)
        self.high = np.max([f.high for f in facts], axis=0)

    def set_largest(self, largest):
        self.largest, self.exponent = largest, int(np.frexp(largest)[1])

    def starts(self, step):
        """First of every `step`-th row in each partition, and the step."""
        return [(-offset % step, step) for offset in self.offsets]


def in_rows(rows, summary, most_rows):
    """Like `in_rows`: the parts, without weights if all are equal, and the unit.

    The unit of the weights is relative to the largest.
    """
    if summary.are_equal:
        summary.set_largest(1.0)
        return rows.then(unweighted), 1.0
    weights = rows.each(different_weights, summary.exponent)
    values, of_values = np.unique(
        np.concatenate([values for values, _ in weights]), return_inverse=True
    )
    counts = np.concatenate([counts for _, counts in weights])
    counts = np.bincount(of_values, weights=counts)
    unit, is_whole = row_unit(values, counts, most_rows)
    if not is_whole:
        unit = added(rows.each(sum_of_weights, summary.exponent)) / summary.n_rows
    return rows, unit / np.ldexp(summary.largest, -summary.exponent)


# Features and targets.


def stacked(tables):
    """Tables stacked vertically, with the union of their categories."""
    first = tables[0]
    if sparse.issparse(first):
        return sparse.vstack(tables, format="csr")
    if isinstance(first, np.ndarray):
        return np.concatenate(tables)
    from dask.dataframe.dispatch import concat

    return concat(tables)


def joined_statistics(running, parts, has_sparse, dtype):
    """`Running` statistics from those of all partitions, and the columns' dtype."""
    features, largest, weights, wild = None, None, None, False
    if parts[0].spaced_weights is not None:
        weights = np.concatenate([s.spaced_weights for s in parts])
    if parts[0].dense is not None:
        features = functools.reduce(ColumnStatistics.merged, [s.dense for s in parts])
        columns = np.ascontiguousarray(np.concatenate([s.spaced for s in parts]).T)
        features = features.with_quartiles(running.n_rows, columns, weights)
        dtype = columns.dtype if columns.dtype.kind != "f" else np.dtype(dtype)
    if has_sparse:
        largest = np.max([s.largest for s in parts], axis=0)
        rest = sparse.vstack([s.spaced_rest for s in parts], format="csr")
        largest, wild = without_wild(running.n_rows, largest, rest, weights)
    return replace(running, features=features, largest=largest, wild=wild), dtype


def largest_targets(summary):
    """The largest size of each target, or 1 if all are 0, so that no sum overflows."""
    largest = np.maximum(abs(summary.low), abs(summary.high))
    return np.where(largest > 0, largest, 1.0)
