"""Scaling of features, targets and scores, and weights that absorb it.

Networks are trained on scaled features and targets.  Both scalings are affine, so there
is a network on the user's columns and in the user's units with the same predictions:
`absorb` makes it, and `separate` is the inverse.

A feature becomes (x - centre) * factor.  For a feature of two values, such as an
indicator, the centre is the mean and 1 / factor the difference of the two.  Otherwise
the centre is the median, and 1 / factor the interquartile range or an eighth of the
largest deviation from the median, whichever is larger.  So a few outliers hardly move
the centre, and no scaled value exceeds 8.  Values beyond the limits of their column
(`limits`) count as unknown: they affect neither number, and become 0.  A feature whose
interquartile range is 0 is divided by half its range, a constant one is multiplied by
0, and so is one whose width is a subnormal number of float64, too small to be inverted.
Sparse features are not centred, which would fill them, but divided by their largest
absolute value.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.limits import LARGEST, inside, limits_of_sparse
from sklearn_bp._tables.target_statistics import TargetStatistics

# Weights that absorb a scaling are float64, also for float32 data, if the offset of a
# column is at least LARGE_OFFSET times its width, or if its size or the inverse exceeds
# LARGE_SIZE: float32 has about seven digits, and ends at 1e38.
LARGE_OFFSET = 1000
LARGE_SIZE = 1e30

# Twice this value does not overflow.
WIDE = 1e307

# With a larger factor the product of factor and weight could overflow.
LARGE_FACTOR = 1e300

# With a smaller factor columns are multiplied first: subtraction could overflow.
SMALLEST_FACTOR = 1e-300

# Narrower targets count as constant, and so do columns of a quarter of this width: they
# have too few digits, and `_inverse` of their width is too small.
SMALLEST_WIDTH = np.finfo(np.float64).tiny

# The interquartile range of the standard normal distribution.
NORMAL_QUARTILES = 1.3489795003921634


@dataclass(frozen=True)
class Scaling:
    """(x - centre) * factor, column by column.

    Attributes
    ----------
    centre : ndarray of shape (n_columns,), float64, or None
        Each can be represented in the dtype of the columns, so that subtracting it is
        exact; None for sparse columns.
    factor : ndarray of shape (n_columns,), float64
        0 for a constant column.
    n_dense : int, default=0
        For a CSR, the number of columns from the left that are centred anyway.
    limits : ndarray of shape (2, n_columns) or None
        The centre takes the place of values beyond.
    cuts : bool, default=False
        Whether rows for training may have values beyond the limits.
    n_added : int, default=0
        For a CSR with dense columns on the left, their number on the right.
    """

    centre: Any
    factor: np.ndarray
    n_dense: int = 0
    limits: Any = None
    cuts: bool = False
    n_added: int = 0

    @classmethod
    def of_features(cls, X, sample_weight=None, n_dense=0):
        """The scaling of the columns of X, (n, n_features), dense or CSR, finite.

        The first `n_dense` columns of a CSR are full, and are scaled like dense ones.
        """
        if sparse.issparse(X):
            if sample_weight is not None:
                rows = np.flatnonzero(sample_weight)
                X, sample_weight = X[rows], sample_weight[rows]
            return cls._of_csr(X, sample_weight, n_dense)
        return cls.of_columns(X.dtype, ColumnStatistics.of(X, sample_weight))

    @classmethod
    def of_columns(cls, dtype, statistics):
        """The scaling of dense columns of a dtype with these `ColumnStatistics`."""
        low, high, pair = statistics.low, statistics.high, statistics.pair
        share, quartiles = statistics.share, statistics.quartiles
        scaling = cls.of_statistics(dtype, low, high, pair, share, quartiles)
        limits = statistics.limits
        if limits is not None and dtype.kind == "f":
            limits = limits.astype(dtype)
        return replace(scaling, limits=limits, cuts=statistics.wild)

    @classmethod
    def of_statistics(cls, dtype, low, high, two_valued, share, quartiles):
        """The scaling of dense columns of a dtype with these statistics, (n_columns,).

        Parameters
        ----------
        dtype : dtype
        low, high, two_valued : ndarrays
            From `extremes`.
        share : ndarray
            For columns of two values, the share of rows with the larger one.
        quartiles : ndarray of shape (3, n_columns)
            From `quartiles`.
        """
        # Rounding errors of a constant do not count as a range.
        digits = np.finfo(dtype).eps if dtype.kind == "f" else 0
        largest = np.maximum(abs(low), abs(high))
        constant = high / 2 - low / 2 <= 2 * digits * largest
        # All lengths are halved, so that they do not overflow.
        median, first, third = quartiles
        extent, spread = high / 2 - low / 2, third / 2 - first / 2
        deviation = np.maximum(high / 2 - median / 2, median / 2 - low / 2)
        spread = np.where(spread == 0, extent / 2, spread)
        width = np.maximum(spread, deviation / LARGEST)
        width = np.where(two_valued, extent, width)
        half = width * share
        mean = np.where(half < WIDE, low + 2 * half, low + half + half)
        median = np.where(two_valued, mean, median)
        width[constant | (2 * width < SMALLEST_WIDTH / 4)] = 0
        if dtype.kind == "f":
            median = median.astype(dtype).astype(np.float64)
        return cls(median, _inverse(width) / 2)

    @classmethod
    def _of_csr(cls, X, sample_weight, n_dense):
        if not n_dense:
            return cls.of_largest(largest_of(X))
        dense = cls.of_features(X[:, :n_dense].toarray(), sample_weight)
        return dense.beside(cls.of_largest(largest_of(X[:, n_dense:])))

    def of_scores(self, targets):
        """The scaling of the scores of these targets; -1 is a score without scaling.

        The factor of such a score is 0 if that of any target is.
        """
        of_target = targets >= 0
        factor = np.where(of_target, self.factor[targets], float(self.factor.all()))
        return Scaling(np.where(of_target, self.centre[targets], 0.0), factor)

    def beside(self, rest):
        """The scaling of these columns, followed by sparse ones with scaling `rest`."""
        centre = np.append(self.centre, np.zeros_like(rest.factor))
        factor, limits = np.append(self.factor, rest.factor), None
        if self.limits is not None:
            limits = np.hstack([self.limits, rest.limits])
        return Scaling(centre, factor, len(self.factor), limits, self.cuts or rest.cuts)

    @classmethod
    def of_largest(cls, largest, n_rows=0, wild=False):
        """The scaling of sparse columns with these largest absolute values."""
        limits = limits_of_sparse(n_rows, largest)
        width = np.where(largest < SMALLEST_WIDTH / 4, 0.0, largest)
        return cls(None, _inverse(width), 0, limits, wild)

    def inside(self, X):
        """X with the centre of its column for each value beyond the limits."""
        return inside(X, self.limits, self.centre)

    @classmethod
    def of_targets(cls, Y, sample_weight=None, robust=False):
        """The scaling of the columns of Y, (n, n_targets), to mean 0 and variance 1.

        If `robust`, to median 0 and the interquartile range of the standard normal.
        """
        columns = ColumnStatistics.of(Y, sample_weight) if robust else None
        return cls.of_target_statistics(TargetStatistics.of(Y, sample_weight, columns))

    @classmethod
    def of_target_statistics(cls, statistics):
        """The scaling of targets with these `TargetStatistics`."""
        quartiles = None
        if statistics.columns is not None:
            quartiles = statistics.columns.quartiles / statistics.unit
        mean, variance = statistics.mean, statistics.variance
        return cls.of_moments(mean, variance, statistics.unit, quartiles)

    @classmethod
    def of_moments(cls, mean, variance, unit, quartiles=None):
        """The scaling of targets with this mean, variance and, if robust, quartiles.

        These are statistics of the targets divided by `unit`.
        """
        deviation = np.sqrt(variance)
        # Rounding errors of a constant do not count as a deviation.
        deviation[deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 0
        if quartiles is not None:
            median, first, third = quartiles
            spread = (third - first) / NORMAL_QUARTILES
            # If half of the targets are equal, use the standard deviation.
            usable = (spread > 0) & (deviation > 0)
            mean = np.where(usable, median, mean)
            deviation = np.where(usable, spread, deviation)
        width = deviation * unit
        width[width < SMALLEST_WIDTH] = 0
        return cls(mean * unit, _inverse(width))

    def __call__(self, X, out=None):
        """Scaled rows of X, (n, n_columns); new, or in `out`, in its dtype."""
        if self.cuts:
            X = self.inside(X)
        if sparse.issparse(X):
            if self.centre is None or self.n_dense:
                return self._scaled_csr(X)
            X = X.toarray()
        if out is None:
            dtype = X.dtype if X.dtype.kind == "f" else np.float64
            out = np.empty(X.shape, dtype)
        # Constants and columns of X are exact in the wider of the two dtypes, and only
        # scaled values are sure to be in the range of the other.
        # Integers of any size become float64 first, so that they equal a float64 array.
        of_X = X.dtype if X.dtype.kind == "f" else np.float64
        wide = np.result_type(of_X, out.dtype)
        if wide == np.float32 and self._exceeds_float32():
            wide = np.dtype(np.float64)
        scaled = X
        if self.centre is not None:
            if wide == np.float64 and self._nears_overflow():
                scaled = X * self.factor - self.centre * self.factor
                return np.add(scaled, 0, out=out, casting="same_kind")
            scaled = np.subtract(
                X, self.centre.astype(wide), out=out if out.dtype == wide else None
            )
        np.multiply(scaled, self.factor.astype(wide), out=out, casting="same_kind")
        return out

    def _scaled_csr(self, X):
        if self.n_dense:
            first, last = self.n_dense, len(self.factor) - self.n_added
            rest = Scaling(None, self.factor[first:last])
            parts = [
                self._scaled_as_dense(X, slice(first)),
                rest(X[:, first:last]),
                self._scaled_as_dense(X, slice(last, None)),
            ]
            return sparse.hstack(parts[: 2 + bool(self.n_added)], format="csr")
        if X.dtype == np.float32 and self._exceeds_float32():
            return (X @ sparse.diags(self.factor)).astype(np.float32)
        return X @ sparse.diags(self.factor.astype(X.dtype))

    def _scaled_as_dense(self, X, columns):
        """Some columns of a CSR, scaled as those of a dense array."""
        scaling = Scaling(self.centre[columns], self.factor[columns])
        return sparse.csr_matrix(scaling(X[:, columns].toarray()))

    def _nears_overflow(self):
        """Whether differences of values may overflow, because a column is very wide."""
        return bool(((self.factor > 0) & (self.factor < SMALLEST_FACTOR)).any())

    def _exceeds_float32(self):
        """Whether a factor is out of the range of float32."""
        return bool(self.factor.max(initial=0.0) > LARGE_SIZE)

    def backwards(self, Y):
        """Y / factor + centre, in place; a constant column becomes its centre."""
        return self.inversion(Y.dtype)(Y)

    def inversion(self, dtype):
        """`backwards` as a function of arrays of a dtype, for many calls."""
        scale, shift = self.inverse(dtype)

        def unscaled(Y):
            Y *= scale
            Y += shift
            return Y

        return unscaled

    def inverse(self, dtype):
        """1 / factor and the centre, (n_columns,) each, in a dtype."""
        centre = np.zeros_like(self.factor) if self.centre is None else self.centre
        return _inverse(self.factor).astype(dtype), centre.astype(dtype)

    def absorbable_in(self, dtype):
        """Whether weights that absorb it keep their precision and range in a dtype."""
        if dtype == np.float64:
            return True
        sizes = self.factor
        if self.centre is not None:
            # The offset takes the first digits; if few are left, more are needed.
            if np.any(np.abs(self.centre) * self.factor >= LARGE_OFFSET):
                return False
            sizes = np.append(sizes, np.abs(self.centre))
        extreme = (sizes > LARGE_SIZE) | ((sizes < 1 / LARGE_SIZE) & (sizes > 0))
        return not extreme.any()


def largest_of(X):
    """Largest absolute value of each column of a CSR without duplicates, float64.

    scipy's ``abs(X).max(axis=0)`` would sort the entries of X in place.
    """
    largest = np.zeros(X.shape[1], X.dtype)
    np.maximum.at(largest, X.indices, np.abs(X.data))
    return largest.astype(np.float64)


def absorb(coefs, intercepts, features=None, targets=None):
    """Weights that act on unscaled features and predict unscaled targets.

    Parameters
    ----------
    coefs, intercepts : list of two ndarrays
        In scikit-learn's shapes.
    features, targets : Scaling, default=None

    Returns
    -------
    coefs, intercepts : list of two ndarrays of float64
    """
    W1, W2 = (w.astype(np.float64) for w in coefs)
    b1, b2 = (b.astype(np.float64) for b in intercepts)
    if features is not None:
        _multiply(W1, features)
        if features.centre is not None:
            b1 -= features.centre @ W1
    if targets is not None:
        W2 *= _inverse(targets.factor)
        b2 = targets.backwards(b2)
    return [W1, W2], [b1, b2]


def separate(coefs, intercepts, features=None, targets=None):
    """The inverse of `absorb`; weights of a constant column become 0."""
    W1, W2 = (w.astype(np.float64) for w in coefs)
    b1, b2 = (b.astype(np.float64) for b in intercepts)
    if features is not None:
        if features.centre is not None:
            b1 += features.centre @ W1
        W1 *= _inverse(features.factor)[:, np.newaxis]
    if targets is not None:
        W2 *= targets.factor
        b2 = targets(b2)
    return [W1, W2], [b1, b2]


def absorb_skip(skip, intercept, features=None, targets=None):
    """The skip layer that acts on unscaled features, and the output intercept.

    Parameters
    ----------
    skip : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,), float64
        From `absorb`.
    features, targets : Scaling, default=None

    Returns
    -------
    skip, intercept : ndarrays of float64
    """
    V = skip.astype(np.float64)
    if targets is not None:
        V *= _inverse(targets.factor)
    if features is not None:
        _multiply(V, features)
        if features.centre is not None:
            intercept = intercept - features.centre @ V
    return V, intercept


def _multiply(weights, features):
    """Multiply the weights of each column by its factor, in place.

    Products end at the largest number.
    """
    with np.errstate(over="ignore"):
        weights *= features.factor[:, np.newaxis]
    if features.factor.max(initial=0.0) > LARGE_FACTOR:
        np.nan_to_num(weights, copy=False, nan=np.nan)


def separate_skip(skip, intercept, features=None, targets=None):
    """The inverse of `absorb_skip`; pass the intercept on to `separate`."""
    V = skip.astype(np.float64)
    if features is not None:
        if features.centre is not None:
            intercept = intercept + features.centre @ V
        V *= _inverse(features.factor)[:, np.newaxis]
    if targets is not None:
        V *= targets.factor
    return V, intercept


def _inverse(x):
    """1 / x for numbers >= 0, with 0 for 0; between `tiny` and its inverse.

    It is its own inverse, except for numbers out of that range.
    """
    tiny = np.finfo(x.dtype).tiny
    x = np.where(x > 0, np.clip(x, tiny, 1 / tiny), 0)
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)
