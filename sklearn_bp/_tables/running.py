"""Statistics of all rows of a stream so far.

Feature and target scaling follow them.  A scaling is settled again when it could
change: when there are a twentieth more rows, when a constant column varies, when a
value lies far outside, or when the columns change.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.limits import (
    FEWEST_ROWS,
    LARGEST,
    SMALL_ROWS,
    TAILS,
    are_judged,
    judged_columns,
    largest_inside,
    share_ignored,
)
from sklearn_bp._tables.scaling import Scaling, largest_of
from sklearn_bp._tables.sorted_columns import quantile_step, quantiles
from sklearn_bp._tables.target_statistics import TargetStatistics

# A column keeps its scaling if the new one differs by less than this fraction of its
# width: quartiles of some thousand rows are not more precise.
TOLERANCE = 0.05

# A scaling is settled again when the number of rows has grown by this factor.
GROWTH = 1.05

# Number of parts of a stream that are remembered, to recognize a second pass.
MOST_DIGESTS = 4096
NO_DIGESTS = np.empty(0, np.uint64)

# A value this many times as far out as the farthest training value counts as being of
# another kind.
FAR = 1.5

# Sparse columns keep no quantiles.  To recognize wild values among the first rows of a
# stream, the N_TOPS largest values of each column are kept during the first
# MOST_ROWS_OF_TOPS rows.  After SMALL_ROWS rows, a part adds only its largest value.
N_TOPS = 5
MOST_ROWS_OF_TOPS = 1000


@dataclass(frozen=True)
class Running:
    """The statistics of all rows so far.

    Attributes
    ----------
    n_rows : int
        Number of rows with non-zero weight.
    settled_at : int
        Number of rows when the feature scaling was settled.
    exponent : int
        Weights are divided by 2 ** exponent.
    features : ColumnStatistics, ndarray or None
        Statistics of the columns that are scaled as dense ones.
    largest : ndarray or None
        The largest absolute value, without wild ones, of each column that is scaled as
        a sparse one.
    wild : bool, default=False
        Whether such a column had values beyond the limits.
    stored : ndarray or None
        The number of rows in which each such column is not 0; None if they are not
        judged.
    beyond, nearest : ndarray or None
        The number of rows in later parts with values beyond the limits that have not
        been let in yet, and the smallest of these values.
    targets : TargetStatistics or None
    digests : ndarray of uint64
        Digests of the last MOST_DIGESTS parts of a stream.
    last : int or None
        The digest of the last part; None if it had few rows.
    tops : ndarray of shape (N_TOPS, d) or None
        In the first rows of a stream, the largest absolute values of each such column,
        without those beyond the limits, in descending order; later, None.
    """

    n_rows: int
    settled_at: int
    exponent: int
    features: Any = None
    largest: Any = None
    targets: Any = None
    digests: Any = field(default_factory=lambda: NO_DIGESTS)
    wild: bool = False
    stored: Any = None
    beyond: Any = None
    nearest: Any = None
    last: Any = None
    tops: Any = None

    @classmethod
    def of_rows(cls, n_rows, exponent, digest=None):
        """The statistics of rows if only their number is known."""
        digests = NO_DIGESTS if digest is None else np.array([digest], np.uint64)
        return cls(n_rows, n_rows, exponent, digests=digests)

    def knows(self, digest):
        """Whether a part with this digest has occurred."""
        return bool((self.digests == np.uint64(digest)).any())

    def merged(self, other):
        """The statistics of these rows and others, with the same columns."""
        exponent = max(self.exponent, other.exponent)
        one, other = self._over(exponent), other._over(exponent)
        merged = Running(
            one.n_rows + other.n_rows,
            one.settled_at,
            exponent,
            _merged(one.features, other.features),
            _of_both(np.maximum, one.largest, other.largest),
            _merged(one.targets, other.targets),
            np.append(one.digests, other.digests)[-MOST_DIGESTS:],
            one.wild or other.wild,
            last=other.last if other.n_rows else one.last,
        )
        if one.largest is None or other.largest is None:
            of = one if other.largest is None else other
            known = {"stored": of.stored, "beyond": of.beyond, "nearest": of.nearest}
            return replace(merged, tops=of.tops, **known)
        if one.stored is None or other.stored is None:
            return merged
        return replace(
            merged,
            stored=one.stored + other.stored,
            beyond=_of_both(np.add, one.beyond, other.beyond),
            nearest=_of_both(np.minimum, one.nearest, other.nearest),
            tops=_merged_tops(one.tops, other.tops, merged.n_rows),
        )._with_many()

    def _with_many(self):
        """A copy that lets values beyond the limits in where there are many."""
        if self.beyond is None:
            return self
        n = self.n_rows
        many = self.beyond > share_ignored(n) * n
        many |= (self.beyond > 0) & ~are_judged(n, self.stored / n)
        if not many.any():
            return self
        tops = None if self.tops is None else np.where(many, 0, self.tops)
        return replace(
            self,
            tops=tops,
            largest=np.where(many, self.nearest, self.largest),
            beyond=np.where(many, 0, self.beyond),
            nearest=np.where(many, np.inf, self.nearest),
        )

    def _judged_again(self):
        """A copy without wild values among the first rows, which rows since show."""
        n, tops = self.n_rows, self.tops
        if tops is None or n < FEWEST_ROWS:
            return self
        n_wild = np.zeros(tops.shape[1], np.intp)
        for i in range(min(int(share_ignored(n) * n), N_TOPS - 1)):
            far = (tops[i] > LARGEST * tops[i + 1]) & (tops[i + 1] > 0)
            n_wild[far] = i + 1
        let_in = self.largest > tops[0]
        n_wild[let_in | ~are_judged(n, self.stored / n)] = 0
        columns = np.flatnonzero(n_wild)
        if not len(columns):
            return self
        nearest = np.full(len(n_wild), np.inf)
        nearest[columns] = tops[n_wild[columns] - 1, columns]
        rest = np.vstack([tops, np.zeros_like(tops)])
        at = np.arange(N_TOPS)[:, np.newaxis] + n_wild
        tops = np.take_along_axis(rest, at, axis=0)
        return replace(
            self,
            largest=np.where(n_wild > 0, tops[0], self.largest),
            wild=True,
            beyond=_of_both(np.add, self.beyond, n_wild),
            nearest=_of_both(np.minimum, self.nearest, nearest),
            tops=tops,
        )

    def settled(self, dtype):
        """A copy without wild values, and the feature scaling with limits, or None.

        Parameters
        ----------
        dtype : dtype
            The dtype of the columns.

        Returns
        -------
        running : Running
        scaling : Scaling or None
        """
        known = self._judged_again()
        features, dense, rest = known.features, None, None
        if features is not None:
            features = features.limited(known.n_rows)
            dense = Scaling.of_columns(dtype, features.filled())
            # The scaling has the limits, and merged statistics have no quartiles.
            three = self.features.three
            features = replace(features, limits=None, three=three)
        if known.largest is not None:
            rest = Scaling.of_largest(known.largest, known.n_rows, known.wild)
        scaling = rest if dense is None else dense
        if dense is not None and rest is not None:
            scaling = dense.beside(rest)
        return replace(known, settled_at=known.n_rows, features=features), scaling

    def rearranged(self, origins, values, n_dense):
        """The statistics of rearranged columns, including those of categories.

        Parameters
        ----------
        origins, values : ndarrays
            From `Columns.origins`.
        n_dense : int or None
            Number of columns from the left that are scaled as dense ones; None for all.
        """
        if self.features is None:
            largest = np.where(origins < 0, values, self.largest[origins])
            unknown: dict[str, Any] = dict.fromkeys(
                ("stored", "beyond", "nearest", "tops")
            )
            return replace(self, largest=largest, **unknown)
        head = slice(n_dense)
        features = self.features.rearranged(origins[head], values[head])
        n_sparse = len(origins) - len(origins[head])
        largest = np.ones(n_sparse) if n_sparse else None
        return replace(self, features=features, largest=largest)

    def _over(self, exponent):
        """A copy with weights divided by another power of 2."""
        if exponent == self.exponent:
            return self
        features, targets = (
            s if s is None else s.reweighted(self.exponent - exponent)
            for s in (self.features, self.targets)
        )
        return replace(self, exponent=exponent, features=features, targets=targets)

    def is_due(self, scaling):
        """Whether the current scaling must be settled again."""
        if self.n_rows >= GROWTH * self.settled_at:
            return True
        found = self.features
        if found is None:
            if self.wild and not scaling.cuts:
                return True
            return bool(np.any(self.largest * scaling.factor > FAR))
        d = len(found.low)
        centre, factor = scaling.centre[:d], scaling.factor[:d]
        far = np.maximum(found.high - centre, centre - found.low) * factor
        due = (far > FAR * LARGEST) | ((far == 0) & (found.low < found.high))
        if scaling.limits is not None:
            low, high = scaling.limits[:, :d]
            due |= (found.low < low) | (found.high > high)
        return bool(due.any())


def _of_both(join, one, other):
    """Two arrays joined, or the one of them that is known."""
    if one is None or other is None:
        return other if one is None else one
    return join(one, other)


def _merged(one, other):
    if one is None or other is None:
        return other if one is None else one
    return one.merged(other)


def of_features(X, part, n_dense=None, columns=None, earlier=None, in_order=None):
    """`Running` statistics of the features of `NewRows`.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
    part : NewRows
        Their number, their weights, and whether they belong to a stream.
    n_dense : int, default=None
        For a CSR, the number of columns from the left that are scaled as dense ones.
    columns : Columns, default=None
        They record where values of a stream were missing.
    earlier : Running, default=None
        The statistics of earlier rows with the same columns.
    in_order : SortedColumns, default=None
        The columns that are scaled as dense ones, if these are all rows; None to sort
        them here.
    """
    n, features, largest, wild = X.shape[0], None, None, False
    shares, n_before = part.shares, part.n_before
    of_stream: dict[str, Any] = {}
    if sparse.issparse(X):
        rest = X[:, n_dense:] if n_dense else X
        if n_dense:  # the rest are indicators
            largest = largest_of(rest)
        else:
            largest, beyond = _within(earlier, rest)
            wild, of_stream = bool(beyond), {"stored": _stored(rest)} | beyond
        if not n_before:  # later parts are judged by those before
            step = quantile_step(n, n_dense or 1)
            some = None if shares is None else shares[::step]
            largest, wild = without_wild(n, largest, rest[::step], some)
        if not n_dense and n_before is not None:
            of_stream["tops"] = _tops_of(rest, largest, n_before)
        X = X[:, :n_dense].toarray() if n_dense else None
    if X is not None and n_before is None:
        features = ColumnStatistics.of(X, shares, True, in_order)
    elif X is not None:
        if columns is not None and len(columns.incomplete):
            X = columns.with_holes(X)
        features = ColumnStatistics.of_part(X, shares, n_before, with_limits=True)
    return Running(n, n, part.exponent, features, largest, wild=wild, **of_stream)


def _stored(X):
    """The number of rows in which each column of a CSR is not 0."""
    return np.bincount(X.indices[X.data != 0], minlength=X.shape[1])


def _tops_of(X, largest, n_before):
    """The `tops` of a part; None after MOST_ROWS_OF_TOPS rows.

    Parameters
    ----------
    X : CSR of shape (n, d)
    largest : ndarray of shape (d,)
        The largest absolute values, without those beyond the limits.
    n_before : int
    """
    if n_before >= MOST_ROWS_OF_TOPS:
        return None
    tops = np.zeros((N_TOPS, len(largest)))
    if n_before >= SMALL_ROWS:
        tops[0] = largest
        return tops
    values = np.abs(X.data).astype(np.float64)
    inside = (values > 0) & (values <= largest[X.indices])
    values, columns = values[inside], X.indices[inside]
    order = np.lexsort((-values, columns))
    values, columns = values[order], columns[order]
    rank = np.arange(len(columns)) - np.searchsorted(columns, columns)
    top = rank < N_TOPS
    tops[rank[top], columns[top]] = values[top]
    return tops


def _merged_tops(one, other, n_rows):
    """The `tops` of the rows of both; None after the first rows."""
    if one is None or other is None or n_rows > MOST_ROWS_OF_TOPS:
        return None
    return -np.sort(-np.concatenate([one, other]), axis=0)[:N_TOPS]


def _within(earlier, X):
    """The largest absolute values of a part, up to the limits of earlier rows.

    Parameters
    ----------
    earlier : Running or None
        The statistics of the earlier rows, if there are any.
    X : CSR of shape (n, d)

    Returns
    -------
    largest : ndarray of shape (d,)
    beyond : dict
        `beyond` and `nearest` of `Running`; empty if all values are inside.
    """
    if earlier is None or earlier.stored is None or earlier.n_rows < FEWEST_ROWS:
        return largest_of(X), {}
    values, of_column = np.abs(X.data), earlier.largest[X.indices]
    far = (values > LARGEST * of_column) & (of_column > 0)
    if not far.any():
        return largest_of(X), {}
    inside = X.copy()
    inside.data[far] = 0
    columns, nearest = X.indices[far], np.full(X.shape[1], np.inf)
    np.minimum.at(nearest, columns, values[far])
    beyond = np.bincount(columns, minlength=X.shape[1])
    return largest_of(inside), {"beyond": beyond, "nearest": nearest}


def without_wild(n_rows, largest, X, shares):
    """The largest absolute values of sparse columns, and whether wild ones are out.

    Parameters
    ----------
    n_rows : int
    largest : ndarray of shape (d,)
        The largest absolute values, including wild ones.
    X : CSR of shape (n, d)
        Evenly spaced rows of the columns.
    shares : ndarray of shape (n,) or None
        Their weights.
    """
    inside = largest.copy()
    for columns, values in judged_columns(n_rows, largest, X, shares):
        tails = quantiles(values.copy(), shares, 1 - TAILS)
        inside[columns] = largest_inside(n_rows, largest[columns], values, tails)
    return inside, bool((largest > LARGEST * inside).any())


def settled(before, after):
    """The scaling `after`, but `before` for columns where it has hardly changed.

    Parameters
    ----------
    before, after : Scaling
        Two scalings of the same columns.
    """
    if (before.centre is None) != (after.centre is None):
        return after
    known = (before.factor > 0) & (after.factor > 0)
    ratio = np.divide(
        after.factor, before.factor, out=np.zeros_like(after.factor), where=known
    )
    near = known & (np.abs(ratio - 1) <= TOLERANCE)
    centre = after.centre
    if centre is not None:
        near &= np.abs(centre - before.centre) * after.factor <= TOLERANCE
        near |= (before.factor == 0) & (after.factor == 0) & (centre == before.centre)
        centre = np.where(near, before.centre, centre)
    factor = np.where(near, before.factor, after.factor)
    cuts = before.cuts or after.cuts  # rows may come again
    return Scaling(centre, factor, after.n_dense, after.limits, cuts)


def of_targets(Y, part, robust):
    """`Running` statistics of the targets of `NewRows`, without counting rows again."""
    columns = None
    if robust:  # points too after a fit: extremes do not determine quartiles
        columns = ColumnStatistics.of_part(Y, part.shares, part.n_before or 0)
    targets = TargetStatistics.of(Y, part.shares, columns)
    return Running(0, 0, part.exponent, targets=targets)
