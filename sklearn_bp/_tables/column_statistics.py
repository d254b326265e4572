"""Mergeable statistics of columns: those of the parts give those of the whole.

A fit in memory learns the scaling of its columns from one `ColumnStatistics`; a stream
merges those of its parts.  `ColumnFacts` are exact.  Quantiles are exact for up to
POINTS rows; with more rows, POINTS values represent the distribution of each column,
and its quartiles are accurate to about 1 % of the rows.

Weights are divided by a power of 2, so that their sums are finite.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_bp._tables.column_facts import ColumnFacts, facts_of, rows_with_weight
from sklearn_bp._tables.limits import FEWEST_ROWS, LARGEST, TAIL_LEVELS, limits_of
from sklearn_bp._tables.sorted_columns import (
    SortedColumns,
    quantiles,
    some_columns,
)

# Number of values of equal weight that represent the distribution of a column, and of
# rows that are kept before they are merged into these.
POINTS = 128

# Number of points per side that may be wild.
WILD_POINTS = 4

# About this many evenly spaced rows of a long stream enter the quantiles.
SAMPLED = 2048

QUARTILES = (0.5, 0.25, 0.75)
LEVELS = (*QUARTILES, *TAIL_LEVELS)


@dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of dense columns, whose missing values are NaN.

    Attributes
    ----------
    weight, missing, low, high, pair, of_high
        As in `ColumnFacts`; but once the limits are known, `low` and `high` are without
        values beyond.
    three : ndarray of shape (3, d) or None
        Median, first and third quartile, if they are known exactly; missing values
        count as medians.
    points : ndarray of shape (POINTS, d) or None
        Values of equal weight that represent all observed values, except for the rows
        below.
    points_weight : ndarray of shape (d,), or float
        The weight that the points represent.
    rows : ndarray of shape (n_rows, d)
        Rows that are not among the points yet, each column sorted.
    row_weights : ndarray of shape (n_rows, d)
        Their weights, 0 for missing values.
    limits : ndarray of shape (2, d) or None
        Values beyond count as unknown, see `limits`; None if they are not known, or for
        few rows.
    wild : bool, default=False
        Whether any row had values beyond the limits.
    """

    weight: float
    missing: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pair: np.ndarray
    of_high: np.ndarray
    three: Any
    points: Any
    points_weight: Any
    rows: Any
    row_weights: Any
    limits: Any = None
    wild: bool = False

    @classmethod
    def of(cls, X, sample_weight=None, with_limits=False, in_order=None):
        """The statistics of the columns of X, (n, d), dense and finite.

        Rows of weight 0 are ignored.  Only the quartiles of the distribution are kept.
        `in_order` are the `SortedColumns` of X; None to sort them here.
        """
        chosen, sample_weight = rows_with_weight(sample_weight)
        facts = facts_of(X, chosen, sample_weight)
        if in_order is None:
            in_order = SortedColumns.of(X, sample_weight, chosen)
        values = in_order.quantiles(LEVELS if with_limits else QUARTILES)
        statistics = cls._with(
            facts, three=values[:3].copy(), points_weight=facts.weight
        )
        n_rows = len(X) if chosen is None else len(chosen)
        return statistics._limited(n_rows, in_order.columns, values)

    @classmethod
    def of_facts(cls, X, rows=None, sample_weight=None):
        """The statistics of these rows of X without quantiles; no zero weights."""
        return cls._with(facts_of(X, rows, sample_weight))

    @classmethod
    def _with(
        cls,
        facts,
        *,
        three=None,
        points=None,
        points_weight=0.0,
        rows=None,
        row_weights=None,
    ):
        """The statistics of `ColumnFacts`, and of what is known of the distribution."""
        if rows is None:
            rows, row_weights = np.empty((2, 0, len(facts.low)))
        return cls(
            **facts._asdict(),
            three=three,
            points=points,
            points_weight=points_weight,
            rows=rows,
            row_weights=row_weights,
        )

    def with_quartiles(self, n_rows, columns, sample_weight):
        """A copy with quartiles and limits, from some of the `n_rows` rows, (d, n)."""
        values = quantiles(columns, sample_weight, LEVELS)
        points_weight = self.weight - self.missing
        statistics = replace(self, three=values[:3].copy(), points_weight=points_weight)
        return statistics._limited(n_rows, columns, values)

    @classmethod
    def of_part(cls, X, sample_weight=None, n_before=0, with_limits=False):
        """The statistics of a part of a stream, after `n_before` rows; no zero weights.

        A decreasing share of the rows of a long stream enters the quantiles.
        """
        facts = facts_of(X, None, sample_weight)
        if n_before == 0 and len(X) > POINTS:
            return cls._of_first_part(X, sample_weight, facts, with_limits)
        step = max(1, (n_before + len(X)) // SAMPLED)
        rows = X[-n_before % step :: step].astype(np.float64)
        weights = np.full(len(rows), float(step))
        if sample_weight is not None:
            weights *= sample_weight[-n_before % step :: step]
        rows, row_weights = _sorted(rows, _by_column(rows, weights))
        return cls._with(facts, rows=rows, row_weights=row_weights)

    @classmethod
    def _of_first_part(cls, X, sample_weight, facts, with_limits):
        """The statistics of many first rows, whose quartiles are known exactly."""
        columns, weights = some_columns(X, sample_weight)
        rows = columns.T.astype(np.float64)
        row_weights = _by_column(rows, weights)
        points = _points_of(rows, row_weights)
        columns = _filled(columns, row_weights.T)
        values = quantiles(columns, weights, LEVELS if with_limits else QUARTILES)
        statistics = cls._with(
            facts,
            three=values[:3].copy(),
            points=points,
            points_weight=facts.weight - facts.missing,
        )
        return statistics._limited(len(X), columns, values)

    @property
    def share(self):
        """For columns of two values, the share of rows with the larger one."""
        return self.of_high / self.weight

    @property
    def quartiles(self):
        """Median, first and third quartile of each column, (3, d), float64.

        Missing values count as medians; 0 if nothing was observed.
        """
        return self._quantiles(QUARTILES) if self.three is None else self.three

    def _quantiles(self, levels):
        """Quantiles of the distribution; for missing values see `quartiles`."""
        values, weights = self._distribution()
        if not np.any(self.missing):
            return quantiles(values.T.copy(), weights.T, levels)
        medians = quantiles(values.T.copy(), weights.T, QUARTILES[:1])
        observed = self.weight - self.missing
        ratio = np.divide(
            self.missing, observed, out=np.ones_like(observed), where=observed > 0
        )
        # The weight of the medians, in units of the rows in the distribution.
        of_medians = ratio * weights.sum(axis=0) + (observed <= 0)
        values = np.concatenate([np.nan_to_num(values), np.nan_to_num(medians)])
        weights = np.concatenate([weights, of_medians[np.newaxis]])
        return quantiles(values.T.copy(), weights.T, levels)

    def limited(self, n_rows):
        """A copy with the limits of these `n_rows` rows, and with known quartiles."""
        if self.limits is not None or n_rows < FEWEST_ROWS:
            return self
        values = self._quantiles(LEVELS)
        columns, _ = self._distribution()
        limited = self._limited(n_rows, columns.T, values)
        if limited.three is None:
            return replace(limited, three=values[:3])
        return limited

    def _limited(self, n_rows, columns, values):
        """A copy with limits, from columns (d, n) and their quantiles at LEVELS.

        Without limits if these are the quartiles only.
        """
        limits = None
        if len(values) == len(LEVELS):
            limits = limits_of(n_rows, self.low, self.high, values[0], values[3:])
        if limits is None:
            return self
        (least, most), low, high = limits, self.low.copy(), self.high.copy()
        wild = np.flatnonzero((low < least) | (high > most))
        for j in wild:
            inside = columns[j][(columns[j] >= least[j]) & (columns[j] <= most[j])]
            low[j] = low[j] if low[j] >= least[j] else inside.min()
            high[j] = high[j] if high[j] <= most[j] else inside.max()
        any_wild = self.wild or len(wild) > 0
        return replace(self, low=low, high=high, limits=limits, wild=any_wild)

    def filled(self):
        """A copy with medians for missing values, as in the columns for training.

        Its quartiles are known; it must not be merged.
        """
        quartiles = self.quartiles
        if not np.any(self.missing):
            return replace(self, three=quartiles)
        gone = np.isnan(self.low)
        low, high, quartiles = (
            np.where(gone, 0.0, values) for values in (self.low, self.high, quartiles)
        )
        median = quartiles[0]
        at_high = median == high
        pair = self.pair & (at_high | (median == low) | (self.missing == 0))
        of_high = (self.of_high + at_high * self.missing) * pair
        return replace(
            self, low=low, high=high, pair=pair, of_high=of_high, three=quartiles
        )

    def without(self, columns):
        """A copy in which nothing was observed of some columns, given by a mask."""
        if not columns.any():
            return self
        return replace(
            self,
            missing=np.where(columns, self.weight, self.missing),
            low=np.where(columns, np.nan, self.low),
            high=np.where(columns, np.nan, self.high),
            three=np.where(columns, np.nan, self.three),
        )

    def _distribution(self):
        """Values (n, d) and their weights (n, d), 0 for missing ones."""
        points = self.points
        if points is None and self.three is not None:
            points = self._from_quartiles()
        if points is None:
            return self.rows, self.row_weights
        of_points = np.broadcast_to(self.points_weight / len(points), points.shape)
        return (
            np.concatenate([points, self.rows]),
            np.concatenate([of_points, self.row_weights]),
        )

    def _from_quartiles(self):
        """Points that have the known quartiles."""
        median, first, third = self.three
        knots = np.stack([self.low, first, median, third, self.high])
        at = (np.arange(POINTS) + 0.5) / POINTS * 4
        below = at.astype(int)
        part = (at - below)[:, np.newaxis]
        return knots[below] * (1 - part) + knots[below + 1] * part

    def merged(self, other):
        """The statistics of these rows and others."""
        facts, wild = self._merged_facts(other), self.wild or other.wild
        rows = np.concatenate([self.rows, other.rows])
        others_are_rows = other.points is None and other.three is None
        if others_are_rows and len(rows) <= POINTS:
            weights = np.concatenate([self.row_weights, other.row_weights])
            rows, row_weights = _sorted(rows, weights)
            points = self.points
            if points is None and self.three is not None:
                points = self._from_quartiles()
            merged = ColumnStatistics._with(
                facts,
                points=points,
                points_weight=self.points_weight,
                rows=rows,
                row_weights=row_weights,
            )
            return replace(merged, wild=wild)
        values, weights = (
            np.concatenate(both)
            for both in zip(self._distribution(), other._distribution(), strict=True)
        )
        merged = ColumnStatistics._with(
            facts,
            points=_points_of(values, weights),
            points_weight=weights.sum(axis=0),
        )
        return replace(merged, wild=wild)

    def _merged_facts(self, other):
        low = np.fmin(self.low, other.low)
        high = np.fmax(self.high, other.high)
        pair, of_high = low < high, np.zeros(len(low))
        for one in (self, other):
            constant, gone = one.low == one.high, np.isnan(one.low)
            ends = (one.low == low) | (one.low == high)
            ends &= (one.high == low) | (one.high == high)
            pair &= gone | (ends & (one.pair | constant))
            weight = np.where(constant, one.weight - one.missing, one.of_high)
            of_high += (one.high == high) * weight
        return ColumnFacts(
            self.weight + other.weight,
            self.missing + other.missing,
            low,
            high,
            pair,
            of_high * pair,
        )

    def rearranged(self, origins, values):
        """The statistics of rearranged columns.

        Parameters
        ----------
        origins : ndarray of int, (d_new,)
            The old column of each new one; -1 for an added column.
        values : ndarray of shape (d_new,)
            The value of all rows so far in an added column.
        """
        new = origins < 0

        def taken(array, of_new):
            if array is None:
                return None
            if np.ndim(array) == 0:
                return np.where(new, of_new, array)
            return np.where(new, of_new, array[..., origins])

        return replace(
            self,
            missing=taken(self.missing, 0.0),
            low=taken(self.low, values),
            high=taken(self.high, values),
            pair=taken(self.pair, False),
            of_high=taken(self.of_high, 0.0),
            three=taken(self.three, values),
            limits=None,
            points=taken(self.points, values),
            points_weight=taken(self.points_weight, self.weight),
            rows=taken(self.rows, values),
            row_weights=taken(
                self.row_weights, self.row_weights.max(axis=1, keepdims=True)
            ),
        )

    def reweighted(self, exponent):
        """A copy with weights times 2 ** exponent."""
        return replace(
            self,
            weight=float(np.ldexp(self.weight, exponent)),
            missing=np.ldexp(self.missing, exponent),
            of_high=np.ldexp(self.of_high, exponent),
            points_weight=np.ldexp(self.points_weight, exponent),
            row_weights=np.ldexp(self.row_weights, exponent),
        )


def _sorted(values, weights):
    """Values (n, d) with each column sorted, and their weights, (n, d)."""
    order = np.argsort(values, axis=0, kind="stable")
    return tuple(np.take_along_axis(a, order, axis=0) for a in (values, weights))


def _by_column(values, weights):
    """Weights (n,), or None, as (n, d), with 0 for missing values, (n, d)."""
    weights = np.ones(len(values)) if weights is None else weights
    return np.where(np.isnan(values), 0.0, weights[:, np.newaxis])


def _filled(columns, weights):
    """Columns, (d, n), with medians for missing values, of weight 0 here; or 0."""
    holes = np.isnan(columns)
    if not holes.any():
        return columns
    medians = quantiles(columns.copy(), weights, QUARTILES[:1])[0]
    return np.where(holes, np.nan_to_num(medians)[:, np.newaxis], columns)


def _points_of(values, weights):
    """Values of equal weight that represent weighted ones: (n, d) to (POINTS, d).

    The total weight is divided into POINTS equal parts, and each is represented by the
    value at its middle.
    """
    order = np.argsort(values, axis=0, kind="stable")
    values = np.take_along_axis(values, order, axis=0)
    below = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    middles = (np.arange(POINTS) + 0.5) / POINTS * (1 - 1e-12)
    points = np.empty((POINTS, values.shape[1]))
    for j, sums in enumerate(below.T):
        at = np.searchsorted(sums, middles * sums[-1])
        points[:, j] = values[np.minimum(at, len(values) - 1), j]
    return _without_wild(points)


def _without_wild(points):
    """Points, (POINTS, d), the outermost of which belong to the others.

    A wild value among the points would weigh more with each merge: some points per side
    are moved to the next one, if they are LARGEST times as far from the median.
    """
    median = points[POINTS // 2]
    for i in reversed(range(WILD_POINTS)):
        for outer, inner in ((i, i + 1), (-1 - i, -2 - i)):
            distance = np.abs(points[inner] - median)
            far = (np.abs(points[outer] - median) > LARGEST * distance) & (distance > 0)
            points[outer] = np.where(far, points[inner], points[outer])
    return points
