"""Partitions in one process: the plain loop that training on a cluster must equal."""

import numpy as np

from sklearn_bp._fitting.request import Request
from sklearn_bp.dask._rows import Block


class LocalParts:
    """As `dask._collections.Parts`, a list."""

    def __init__(self, parts):
        self.parts = list(parts)

    def __len__(self):
        return len(self.parts)

    def each(self, function, *shared, per=None):
        if per is None:
            per = [()] * len(self)
        return [
            function(part, *shared, *own)
            for part, own in zip(self.parts, per, strict=True)
            if own is not None
        ]

    def then(self, function, *shared, per=None):
        return LocalParts(self.each(function, *shared, per=per))

    def only(self, positions):
        return LocalParts([self.parts[i] for i in positions])


def blocks(X, y, sample_weight, sizes):
    """Rows cut into blocks of these sizes: `Block`s."""
    stops = np.cumsum(sizes)
    assert stops[-1] == len(y)
    cut = [slice(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]
    return [
        Block(X[s], y[s], None if sample_weight is None else sample_weight[s])
        for s in cut
    ]


def fitted(estimator, X, y, sizes, sample_weight=None):
    """An estimator of `sklearn_bp.dask`, fitted in a plain loop over blocks."""
    X_empty = X.iloc[:0] if hasattr(X, "iloc") else np.empty((0, X.shape[1]))
    parts = LocalParts(blocks(X, y, sample_weight, sizes))
    return estimator._fit_parts(Request(X, y, sample_weight), parts, X_empty)
