"""Statistics that a stream carries on: those of all rows so far.

The scaling of features and targets follows them.  It is settled anew where it could
change: when there are a twentieth more rows, when a column that was constant is so no
longer, when a value lies far outside, when the columns are others.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp._tables.scaling import LARGEST, Scaling, largest_of
from sklearn_bp._tables.statistics import ColumnStatistics, TargetStatistics

# A column keeps its scaling where the new one differs by less than so much of its
# width: quartiles of some thousand rows are not known better.
TOLERANCE = 0.05

# A scaling is settled anew after so many times the rows.
GROWTH = 1.05

# Parts of a stream that are remembered, so that a second pass is known to be one.
MOST_DIGESTS = 4096
NO_DIGESTS = np.empty(0, np.uint64)

# A value so many times as far out as the farthest of training is no value of the same
# kind.
FAR = 1.5


@dataclass(frozen=True)
class Running:
    """What is known of all rows so far.

    Attributes
    ----------
    n_rows : int
        Those that have weight.
    settled_at : int
        Their number when the features' scaling was settled.
    exponent : int
        Weights count over 2 ** exponent.
    features : ColumnStatistics, ndarray or None
        Of the columns that are scaled as dense ones.
    largest : ndarray or None
        The largest absolute value of each column that is scaled as a sparse one.
    targets : TargetStatistics or None
    digests : ndarray of uint64
        Of the parts of a stream; of the last MOST_DIGESTS.
    """

    n_rows: int
    settled_at: int
    exponent: int
    features: Any = None
    largest: Any = None
    targets: Any = None
    digests: Any = field(default_factory=lambda: NO_DIGESTS)

    @classmethod
    def of_rows(cls, n_rows, exponent, digest=None):
        """Of rows of which nothing but their number is known."""
        digests = NO_DIGESTS if digest is None else np.array([digest], np.uint64)
        return cls(n_rows, n_rows, exponent, digests=digests)

    def knows(self, digest):
        """Whether there has been a part of this digest."""
        return bool((self.digests == np.uint64(digest)).any())

    def merged(self, other):
        """The statistics of these rows and of others, of the same columns."""
        exponent = max(self.exponent, other.exponent)
        one, other = self._over(exponent), other._over(exponent)
        largest = one.largest if other.largest is None else other.largest
        if one.largest is not None and other.largest is not None:
            largest = np.maximum(one.largest, other.largest)
        return Running(
            one.n_rows + other.n_rows,
            one.settled_at,
            exponent,
            _merged(one.features, other.features),
            largest,
            _merged(one.targets, other.targets),
            np.append(one.digests, other.digests)[-MOST_DIGESTS:],
        )

    def settled(self):
        """The same, with the scaling settled now."""
        return replace(self, settled_at=self.n_rows)

    def rearranged(self, origins, values, n_dense):
        """The statistics of other columns, those of categories among them.

        Parameters
        ----------
        origins, values : ndarrays
            As `Columns.origins` gives them.
        n_dense : int or None
            Columns from the left that are scaled as dense ones; None for all.
        """
        if self.features is None:
            largest = np.where(origins < 0, values, self.largest[origins])
            return replace(self, largest=largest)
        head = slice(n_dense)
        features = self.features.rearranged(origins[head], values[head])
        n_sparse = len(origins) - len(origins[head])
        largest = np.ones(n_sparse) if n_sparse else None
        return replace(self, features=features, largest=largest)

    def _over(self, exponent):
        """The same, with weights over another power of 2."""
        if exponent == self.exponent:
            return self
        features, targets = (
            s if s is None else s.reweighted(self.exponent - exponent)
            for s in (self.features, self.targets)
        )
        return replace(self, exponent=exponent, features=features, targets=targets)

    def scaling(self, dtype):
        """The scaling of the features, or None if there are none to be scaled."""
        dense, rest = None, None
        if self.features is not None:
            dense = Scaling.of_columns(dtype, self.features.filled())
        if self.largest is not None:
            rest = Scaling.of_largest(self.largest)
        if dense is None or rest is None:
            return rest if dense is None else dense
        return dense.beside(rest)

    def is_due(self, scaling):
        """Whether the scaling in use should be settled anew."""
        if self.n_rows >= GROWTH * self.settled_at:
            return True
        found = self.features
        if found is None:
            return bool(np.any(self.largest * scaling.factor > FAR))
        d = len(found.low)
        centre, factor = scaling.centre[:d], scaling.factor[:d]
        far = np.maximum(found.high - centre, centre - found.low) * factor
        return bool(
            np.any((far > FAR * LARGEST) | ((far == 0) & (found.low < found.high)))
        )


def _merged(one, other):
    if one is None or other is None:
        return other if one is None else one
    return one.merged(other)


def of_part(X, shares, exponent, n_dense=None, n_before=None, columns=None):
    """`Running` of the features of rows that all have weight.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
    shares : ndarray of shape (n,) or None
        Weights over 2 ** exponent.
    exponent : int
    n_dense : int, default=None
        Of a CSR, columns from the left that are scaled as dense ones.
    n_before : int, default=None
        Rows of the stream before these; None for rows that are all there are.
    columns : Columns, default=None
        Tell where the values of a stream were missing.
    """
    n, features, largest = X.shape[0], None, None
    if sparse.issparse(X):
        largest = largest_of(X[:, n_dense:] if n_dense else X)
        X = X[:, :n_dense].toarray() if n_dense else None
    if X is not None and n_before is None:
        features = ColumnStatistics.of(X, shares)
    elif X is not None:
        if columns is not None and len(columns.incomplete):
            X = columns.with_holes(X)
        features = ColumnStatistics.of_part(X, shares, n_before)
    return Running(n, n, exponent, features, largest)


def settled(before, after):
    """The scaling `after`, but where it is nearly that of `before`, that.

    Parameters
    ----------
    before, after : Scaling
        Of the same columns.
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
        if near.all():
            return before
        centre = np.where(near, before.centre, centre)
    elif near.all():
        return before
    factor = np.where(near, before.factor, after.factor)
    return Scaling(centre, factor, after.n_dense)


def of_targets(Y, part, robust):
    """`Running` of the targets of `NewRows`, which adds no rows."""
    columns = None
    if robust:  # points too, after a fit: tails say nothing of quartiles
        columns = ColumnStatistics.of_part(Y, part.shares, part.n_before or 0)
    targets = TargetStatistics.of(Y, part.shares, columns)
    return Running(0, 0, part.exponent, targets=targets)
