"""Mergeable statistics: those of the parts give those of the whole.

A fit in memory learns the scaling of its columns from one `ColumnStatistics`; a stream
merges those of its parts.  All statistics except quantiles are exact.  Quantiles are
exact for up to POINTS rows; with more rows, POINTS values represent the distribution of
each column, and its quartiles are accurate to about 1 % of the rows.

Weights are divided by a power of 2, so that their sums are finite.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_bp._tables.limits import FEWEST_ROWS, LARGEST, TAIL_LEVELS, limits_of
from sklearn_bp._tables.sorted_columns import (
    SortedColumns,
    blocks_of,
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
    weight : float
        Weight of all rows.
    missing : ndarray of shape (d,), or 0.0
        Weight of the rows in which a column is missing.
    low, high : ndarray of shape (d,), float64
        NaN if nothing was observed.  Once the limits are known, without values beyond.
    pair : ndarray of shape (d,), bool
        Whether `low` and `high` are the only values, and differ.
    of_high : ndarray of shape (d,)
        For such columns, the weight of the rows with the larger value.
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
    def of(cls, X, sample_weight=None, with_limits=False, known=None):
        """The statistics of the columns of X, (n, d), dense and finite.

        Rows of weight 0 are ignored.  Only the quartiles of the distribution are kept.
        `known` are the `SortedColumns` of X; None to sort them here.
        """
        chosen, sample_weight = _of_weight(sample_weight)
        facts = _facts(X, chosen, sample_weight)
        if known is None:
            known = SortedColumns.of(X, sample_weight, chosen)
        found = known.quantiles(LEVELS if with_limits else QUARTILES)
        own: Any = (*facts, found[:3].copy(), None, *_nothing(X.shape[1], facts[0]))
        n_rows = len(X) if chosen is None else len(chosen)
        return cls(*own)._limited(n_rows, known.columns, found)

    @classmethod
    def of_facts(cls, X, rows=None, sample_weight=None):
        """The statistics of these rows of X without quantiles; no zero weights."""
        known: Any = (*_facts(X, rows, sample_weight), None, None)
        return cls(*known, *_nothing(X.shape[1], 0.0))

    def with_quartiles(self, n_rows, columns, sample_weight):
        """A copy with quartiles and limits, from some of the `n_rows` rows, (d, n)."""
        found, weight = quantiles(columns, sample_weight, LEVELS), self.weight
        known = replace(
            self, three=found[:3].copy(), points_weight=weight - self.missing
        )
        return known._limited(n_rows, columns, found)

    @classmethod
    def of_part(cls, X, sample_weight=None, n_before=0, with_limits=False):
        """The statistics of a part of a stream, after `n_before` rows; no zero weights.

        A decreasing share of the rows of a long stream enters the quantiles.
        """
        facts = _facts(X, None, sample_weight)
        if n_before == 0 and len(X) > POINTS:
            columns, weights = some_columns(X, sample_weight)
            values = columns.T.astype(np.float64)
            of_values = _by_column(values, weights)
            points = _points_of(values, of_values)
            of_points = facts[0] - facts[1]
            known: Any = (*facts, None, points, *_nothing(X.shape[1], of_points))
            columns = _filled(columns, of_values.T)
            found = quantiles(columns, weights, LEVELS if with_limits else QUARTILES)
            known = replace(cls(*known), three=found[:3].copy())
            return known._limited(len(X), columns, found)
        step = max(1, (n_before + len(X)) // SAMPLED)
        rows = X[-n_before % step :: step].astype(np.float64)
        weights = np.full(len(rows), float(step))
        if sample_weight is not None:
            weights *= sample_weight[-n_before % step :: step]
        known = (*facts, None, None, 0.0, *_sorted(rows, _by_column(rows, weights)))
        return cls(*known)

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
        found = self._quantiles(LEVELS)
        values, _ = self._distribution()
        known = self._limited(n_rows, values.T, found)
        return known if known.three is not None else replace(known, three=found[:3])

    def _limited(self, n_rows, columns, found):
        """A copy with limits, from values (d, n) and their quantiles at LEVELS.

        Without limits if these are the quartiles only.
        """
        limits = None
        if len(found) == len(LEVELS):
            limits = limits_of(n_rows, self.low, self.high, found[0], found[3:])
        if limits is None:
            return self
        (least, most), low, high = limits, self.low.copy(), self.high.copy()
        wild = np.flatnonzero((low < least) | (high > most))
        for j in wild:
            known = columns[j][(columns[j] >= least[j]) & (columns[j] <= most[j])]
            low[j] = low[j] if low[j] >= least[j] else known.min()
            high[j] = high[j] if high[j] <= most[j] else known.max()
        any_wild = self.wild or len(wild) > 0
        return replace(self, low=low, high=high, limits=limits, wild=any_wild)

    def filled(self):
        """A copy with medians for missing values, as in the columns for training.

        Its quartiles are known; it must not be merged.
        """
        three = self.quartiles
        if not np.any(self.missing):
            return replace(self, three=three)
        gone = np.isnan(self.low)
        low, high, three = (
            np.where(gone, 0.0, values) for values in (self.low, self.high, three)
        )
        median = three[0]
        at_high = median == high
        pair = self.pair & (at_high | (median == low) | (self.missing == 0))
        of_high = (self.of_high + at_high * self.missing) * pair
        return replace(
            self, low=low, high=high, pair=pair, of_high=of_high, three=three
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
        weights = np.concatenate([self.row_weights, other.row_weights])
        others_are_rows = other.points is None and other.three is None
        if others_are_rows and len(rows) <= POINTS:
            points, of_points = self.points, self.points_weight
            if points is None and self.three is not None:
                points = self._from_quartiles()
            known: Any = (*facts, None, points, of_points, *_sorted(rows, weights))
            return replace(ColumnStatistics(*known), wild=wild)
        values, weights = (
            np.concatenate(both)
            for both in zip(self._distribution(), other._distribution(), strict=True)
        )
        points, of_points = _points_of(values, weights), weights.sum(axis=0)
        known = (*facts, None, points, *_nothing(values.shape[1], of_points))
        return replace(ColumnStatistics(*known), wild=wild)

    def _merged_facts(self, other) -> Any:
        low = np.fmin(self.low, other.low)
        high = np.fmax(self.high, other.high)
        pair, of_high = low < high, np.zeros(len(low))
        for one in (self, other):
            constant, gone = one.low == one.high, np.isnan(one.low)
            ends = (one.low == low) | (one.low == high)
            ends &= (one.high == low) | (one.high == high)
            pair &= gone | (ends & (one.pair | constant))
            of_low = np.where(constant, one.weight - one.missing, one.of_high)
            of_high += (one.high == high) * of_low
        return (
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


def _nothing(d, of_points) -> Any:
    """The fields of `ColumnStatistics` for no rows, with points of this weight."""
    return of_points, np.empty((0, d)), np.empty((0, d))


def _sorted(values, weights):
    """Values (n, d) with each column sorted, and their weights, (n, d)."""
    order = np.argsort(values, axis=0, kind="stable")
    return tuple(np.take_along_axis(a, order, axis=0) for a in (values, weights))


def _of_weight(sample_weight):
    """The rows with non-zero weight, and their weights; None for all, or no weights."""
    if sample_weight is None or sample_weight.all():
        return None, sample_weight
    chosen = np.flatnonzero(sample_weight)
    return chosen, sample_weight[chosen]


def _facts(X, rows, sample_weight) -> Any:
    """Weight, missing, low, high, pair and of_high of `ColumnStatistics`."""
    low, high, pair = extremes(X, rows)
    weight = len(X) if rows is None else len(rows)
    if sample_weight is not None:
        weight = sample_weight.sum()
    missing: Any = 0.0
    if np.isnan(low).any():  # a minimum propagates NaN
        gone = np.isnan(X)
        missing = gone.sum(axis=0).astype(np.float64)
        if sample_weight is not None:
            # All rows where all are missing, whatever the rounding of the sums.
            missing = np.where(gone.all(axis=0), weight, sample_weight @ gone)
        low, high = (f.reduce(X, axis=0).astype(np.float64) for f in (np.fmin, np.fmax))
        pair = ((low == X) | (high == X) | gone).all(axis=0) & (low < high)
    pairs, of_high = np.flatnonzero(pair), np.zeros_like(high)
    if len(pairs):
        of_high[pairs] = weight_of(high[pairs], X, rows, pairs, sample_weight)
    return float(weight), missing, low, high, pair, of_high


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


# Columns, block by block.


def extremes(X, rows=None):
    """Smallest and largest value of each column, and whether it has only these."""
    extremes = [(x.min(axis=0), x.max(axis=0)) for x in blocks_of(X, rows)]
    low = np.min([least for least, _ in extremes], axis=0)
    high = np.max([most for _, most in extremes], axis=0)
    candidates = np.flatnonzero(low < high)
    for block in blocks_of(X, rows):
        if len(candidates) == 0:
            break
        values = block[:, candidates]
        pair = (values == low[candidates]) | (values == high[candidates])
        candidates = candidates[pair.all(axis=0)]
    two_valued = np.zeros(X.shape[1], bool)
    two_valued[candidates] = True
    return low.astype(np.float64), high.astype(np.float64), two_valued


def weight_of(values, X, rows, columns, sample_weight):
    """Number or weight of the rows in which these columns have these values.

    Sums of counts and of whole weights are exact.
    """
    found, start = np.zeros(len(columns)), 0
    for block in blocks_of(X, rows):
        equal, stop = block[:, columns] == values, start + len(block)
        if sample_weight is None:
            found += equal.sum(axis=0)
        else:
            found += sample_weight[start:stop] @ equal
        start = stop
    return found
