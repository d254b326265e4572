"""Mergeable statistics of targets: their mean, variance and, if needed, quartiles.

Those of the parts give those of the whole, as in `column_statistics`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TargetStatistics:
    """Statistics of targets.

    Attributes
    ----------
    weight : float
        Weight of all rows.
    unit, mean, variance : ndarray of shape (n_targets,)
        The largest absolute value (1 if that is 0), and mean and variance of the
        targets divided by it, so that no square overflows.
    columns : ColumnStatistics or None
        Statistics that give the quartiles; None if these are not needed.
    share : ndarray of shape (n_targets,) or None
        Share of the targets that are not 0; None if unknown.
    """

    weight: float
    unit: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    columns: Any = None
    share: Any = None

    @classmethod
    def of(cls, Y, sample_weight, columns=None):
        """The statistics of targets, (n, n_targets), float64; weights (n,) or None."""
        largest = np.abs(Y).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        Y = Y / unit
        mean = np.average(Y, axis=0, weights=sample_weight)
        variance = np.average(np.square(Y - mean), axis=0, weights=sample_weight)
        weight = len(Y) if sample_weight is None else sample_weight.sum()
        share = np.average(Y != 0, axis=0, weights=sample_weight)
        return cls(float(weight), unit, mean, variance, columns, share)

    def merged(self, other):
        """The statistics of these targets and others (Chan et al. 1983)."""
        zero = [(one.mean == 0) & (one.variance == 0) for one in (self, other)]
        unit = np.maximum(self.unit, other.unit)
        unit = np.where(zero[0], other.unit, np.where(zero[1], self.unit, unit))
        weight = self.weight + other.weight
        p, q = self.weight / weight, other.weight / weight
        (a, v), (b, w) = (
            (one.mean * ratio, one.variance * ratio * ratio)
            for one in (self, other)
            for ratio in (one.unit / unit,)
        )
        columns = self.columns
        if columns is not None:
            columns = columns.merged(other.columns)
        mean, variance = p * a + q * b, p * v + q * w + p * q * (a - b) ** 2
        share = None
        if self.share is not None and other.share is not None:
            share = p * self.share + q * other.share
        return TargetStatistics(weight, unit, mean, variance, columns, share)

    def reweighted(self, exponent):
        """A copy with weights times 2 ** exponent."""
        columns = self.columns
        if columns is not None:
            columns = columns.reweighted(exponent)
        weight = float(np.ldexp(self.weight, exponent))
        return replace(self, weight=weight, columns=columns)
