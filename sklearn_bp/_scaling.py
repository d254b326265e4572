"""Scaling of features, targets and scores, and its folding into the weights.

Networks are trained on scaled features and targets.  Both scalings are affine, so a
network on the user's own columns and in the user's own units gives the very same
predictions: `fold` makes it, `unfold` goes back.

A feature becomes (x - centre) * factor.  For a feature of two values, an indicator
say, the centre is the mean and 1 / factor the difference of the two; else the centre
is the median, and 1 / factor the interquartile range or an eighth of the largest
deviation from the median, whichever is larger: few outliers move neither, and none
ends beyond 8.  A feature whose interquartile range is 0 is divided by half its range,
a constant one is multiplied by 0.  Sparse features are not centred, which would fill
them, but divided by their largest absolute value.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

# Training values end at most this far from 0.
LARGEST = 8.0

# Folded weights are float64, also for float32 data, if a column's offset is so many
# times its width, or more, or if its size or its inverse exceeds the other: float32
# has some seven digits, and ends at 1e38.
LARGE_OFFSET = 1000
LARGE_SIZE = 1e30

# Columns with a smaller factor are multiplied first: subtracting could overflow.
SMALLEST_FACTOR = 1e-300

# Medians and quartiles are taken from at most so many rows, evenly spaced, and fewer
# of long ones, so that sorting them takes little memory: a quartile of 20,000 rows is
# right to 0.3 % of the rows, of 2,000 to 1 %.
QUANTILE_ROWS = 20_000
FEWEST_QUANTILE_ROWS = 2_000
QUANTILE_SIZE = 2**22

# The interquartile range of the standard normal distribution.
NORMAL_QUARTILES = 1.3489795003921634

# Numbers of X that are looked at in one go.
BLOCK_SIZE = 2**20


@dataclass(frozen=True)
class Scaling:
    """(x - centre) * factor, column by column.

    Attributes
    ----------
    centre : ndarray of shape (n_columns,), float64, or None
        Each a number of the dtype of the columns, so that subtracting it loses
        nothing; None for sparse columns.
    factor : ndarray of shape (n_columns,), float64
        0 for a constant column.
    n_dense : int, default=0
        Of a CSR, columns from the left that are centred all the same.
    """

    centre: Any
    factor: np.ndarray
    n_dense: int = 0

    @classmethod
    def of_features(cls, X, sample_weight=None, n_dense=0):
        """For the columns of X, (n, n_features), dense or CSR, finite.

        The first `n_dense` of a CSR are full, and scaled as dense ones are.
        """
        rows = None
        if sample_weight is not None and not sample_weight.all():
            rows = np.flatnonzero(sample_weight)
            sample_weight = sample_weight[rows]
        if sparse.issparse(X):
            X = X if rows is None else X[rows]
            return cls._of_csr(X, sample_weight, n_dense)
        low, high, two_valued = extremes(X, rows)
        pairs = np.flatnonzero(two_valued)
        share = np.zeros_like(high)
        if len(pairs):
            weight = len(X) if rows is None else len(rows)
            if sample_weight is not None:
                weight = sample_weight.sum()
            found = weight_of(high[pairs], X, rows, pairs, sample_weight)
            share[pairs] = found / weight
        three = quartiles(*_some_rows(X, rows, sample_weight))
        return cls.of_statistics(X.dtype, low, high, two_valued, share, three)

    @classmethod
    def of_statistics(cls, dtype, low, high, two_valued, share, three_quartiles):
        """For dense columns of a dtype, of which these facts are known, (n_columns,).

        Parameters
        ----------
        dtype : dtype
        low, high, two_valued : ndarrays
            As `extremes` gives them.
        share : ndarray
            Of columns of two values, the share of the rows that have the larger.
        three_quartiles : ndarray of shape (3, n_columns)
            As `quartiles` gives them.
        """
        # What rounding leaves of a constant is no range.
        digits = np.finfo(dtype).eps if dtype.kind == "f" else 0
        constant = high - low <= 4 * digits * np.maximum(abs(low), abs(high))
        median, first, third = three_quartiles
        spread = third - first
        deviation = np.maximum(high - median, median - low)
        spread = np.where(spread == 0, (high - low) / 2, spread)
        width = np.maximum(spread, deviation / LARGEST)
        width = np.where(two_valued, high - low, width)
        median = np.where(two_valued, low + width * share, median)
        width[constant] = 0
        if dtype.kind == "f":
            median = median.astype(dtype).astype(np.float64)
        return cls(median, _inverse(width))

    @classmethod
    def _of_csr(cls, X, sample_weight, n_dense):
        if n_dense:
            dense = cls.of_features(X[:, :n_dense].toarray(), sample_weight)
            rest = cls.of_features(X[:, n_dense:])
            centre = np.append(dense.centre, np.zeros_like(rest.factor))
            return cls(centre, np.append(dense.factor, rest.factor), n_dense)
        largest = abs(X).max(axis=0).toarray().ravel().astype(np.float64)
        return cls.of_largest(largest)

    @classmethod
    def of_largest(cls, largest):
        """For sparse columns whose largest absolute values are known."""
        return cls(None, _inverse(largest))

    @classmethod
    def of_targets(cls, Y, sample_weight=None, robust=False):
        """Mean 0 and standard deviation 1 for the columns of Y, (n, n_targets).

        If `robust`, median 0 and the interquartile range of the standard normal.
        """
        largest = np.abs(Y).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)  # so that no square overflows
        Y = Y / unit
        mean = np.average(Y, axis=0, weights=sample_weight)
        variance = np.average(np.square(Y - mean), axis=0, weights=sample_weight)
        three = None
        if robust:
            rows = None
            if sample_weight is not None:
                rows = np.flatnonzero(sample_weight)
                sample_weight = sample_weight[rows]
            three = quartiles(*_some_rows(Y, rows, sample_weight))
        return cls.of_moments(mean, variance, unit, three)

    @classmethod
    def of_moments(cls, mean, variance, unit, three_quartiles=None):
        """For targets whose mean, variance and, if `robust`, quartiles are known.

        These are of the targets over `unit`.
        """
        deviation = np.sqrt(variance)
        # What rounding leaves of a constant is no deviation.
        deviation[deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 0
        if three_quartiles is not None:
            median, first, third = three_quartiles
            spread = (third - first) / NORMAL_QUARTILES
            # Where half of the targets are equal, the deviation still tells of width.
            known = (spread > 0) & (deviation > 0)
            mean = np.where(known, median, mean)
            deviation = np.where(known, spread, deviation)
        width = deviation * unit
        width[width < np.finfo(np.float64).tiny] = 0  # subnormal: without digits
        return cls(mean * unit, _inverse(width))

    def __call__(self, X, out=None):
        """Scaled rows of X, (n, n_columns); new, or in `out`, in its dtype."""
        if sparse.issparse(X):
            return self._scaled_csr(X)
        if out is None:
            dtype = X.dtype if X.dtype.kind == "f" else np.float64
            out = np.empty(X.shape, dtype)
        # Constants, and columns of X, are exact in the wider of the two dtypes, and
        # only what is scaled is sure to be in the range of the other.
        # Integers become float64 first, whatever their size: they equal that array.
        own = X.dtype if X.dtype.kind == "f" else np.float64
        wide = np.result_type(own, out.dtype)
        if wide == np.float32 and self._exceeds_float32():
            wide = np.dtype(np.float64)
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
            dense = Scaling(self.centre[: self.n_dense], self.factor[: self.n_dense])
            rest = Scaling(None, self.factor[self.n_dense :])
            head = sparse.csr_matrix(dense(X[:, : self.n_dense].toarray()))
            return sparse.hstack([head, rest(X[:, self.n_dense :])], format="csr")
        if X.dtype == np.float32 and self._exceeds_float32():
            return (X @ sparse.diags(self.factor)).astype(np.float32)
        return X @ sparse.diags(self.factor.astype(X.dtype))

    def _nears_overflow(self):
        """Whether a column is so wide that differences of its values may overflow."""
        return bool(((self.factor > 0) & (self.factor < SMALLEST_FACTOR)).any())

    def _exceeds_float32(self):
        """Whether a factor is out of its range, for columns at the other end of it."""
        return bool(self.factor.max(initial=0.0) > LARGE_SIZE)

    def backwards(self, Y):
        """Y / factor + centre, in place; a constant column is its centre."""
        scale, shift = self.inverse(Y.dtype)
        Y *= scale
        Y += shift
        return Y

    def inverse(self, dtype):
        """1 / factor and the centre, (n_columns,) each, in a dtype."""
        centre = np.zeros_like(self.factor) if self.centre is None else self.centre
        return _inverse(self.factor).astype(dtype), centre.astype(dtype)

    def folds_in(self, dtype):
        """Whether weights folded with it keep their digits and range in a dtype."""
        if dtype == np.float64:
            return True
        sizes = self.factor
        if self.centre is not None:
            # The first digits go to the offset; where few are left, more are needed.
            if np.any(np.abs(self.centre) * self.factor >= LARGE_OFFSET):
                return False
            sizes = np.append(sizes, np.abs(self.centre))
        extreme = (sizes > LARGE_SIZE) | ((sizes < 1 / LARGE_SIZE) & (sizes > 0))
        return not extreme.any()


def fold(coefs, intercepts, features=None, targets=None):
    """Weights that act on unscaled features and give unscaled targets.

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
        W1 *= features.factor[:, np.newaxis]
        if features.centre is not None:
            b1 -= features.centre @ W1
    if targets is not None:
        W2 *= _inverse(targets.factor)
        b2 = targets.backwards(b2)
    return [W1, W2], [b1, b2]


def unfold(coefs, intercepts, features=None, targets=None):
    """The inverse of `fold`; weights of a constant column become 0."""
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


def fold_skip(skip, intercept, features=None, targets=None):
    """The skip layer that acts on unscaled features, and the intercept beside it.

    Parameters
    ----------
    skip : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,), float64
        As `fold` gives it.
    features, targets : Scaling, default=None

    Returns
    -------
    skip, intercept : ndarrays of float64
    """
    V = skip.astype(np.float64)
    if targets is not None:
        V *= _inverse(targets.factor)
    if features is not None:
        V *= features.factor[:, np.newaxis]
        if features.centre is not None:
            intercept = intercept - features.centre @ V
    return V, intercept


def unfold_skip(skip, intercept, features=None, targets=None):
    """The inverse of `fold_skip`; the intercept is then for `unfold`."""
    V = skip.astype(np.float64)
    if features is not None:
        if features.centre is not None:
            intercept = intercept + features.centre @ V
        V *= _inverse(features.factor)[:, np.newaxis]
    if targets is not None:
        V *= targets.factor
    return V, intercept


def _inverse(x):
    """1 / x, and 0 for 0, of numbers >= 0; between `tiny` and its inverse.

    So it is its own inverse, but for what is out of that range.
    """
    tiny = np.finfo(x.dtype).tiny
    x = np.where(x > 0, np.clip(x, tiny, 1 / tiny), 0)
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)


def _blocks(X, rows):
    """X, or these rows of it, in parts of about BLOCK_SIZE numbers."""
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    length = max(1, BLOCK_SIZE // d)
    for start in range(0, n, length):
        part = slice(start, start + length)
        yield X[part] if rows is None else X[rows[part]]


def extremes(X, rows=None):
    """Smallest and largest of each column, and whether it has just these values."""
    extremes = [(x.min(axis=0), x.max(axis=0)) for x in _blocks(X, rows)]
    low = np.min([least for least, _ in extremes], axis=0)
    high = np.max([most for _, most in extremes], axis=0)
    candidates = np.flatnonzero(low < high)
    for block in _blocks(X, rows):
        if len(candidates) == 0:
            break
        values = block[:, candidates]
        pair = (values == low[candidates]) | (values == high[candidates])
        candidates = candidates[pair.all(axis=0)]
    two_valued = np.zeros(X.shape[1], bool)
    two_valued[candidates] = True
    return low.astype(np.float64), high.astype(np.float64), two_valued


def weight_of(values, X, rows, columns, sample_weight):
    """Rows, or their weight, in which these columns have these values.

    Sums of counts and of whole weights are exact.
    """
    found, start = np.zeros(len(columns)), 0
    for block in _blocks(X, rows):
        equal, stop = block[:, columns] == values, start + len(block)
        if sample_weight is None:
            found += equal.sum(axis=0)
        else:
            found += sample_weight[start:stop] @ equal
        start = stop
    return found


def quantile_step(n, d):
    """Every so many of n rows of d numbers serve for quartiles."""
    most = min(max(QUANTILE_SIZE // d, FEWEST_QUANTILE_ROWS), QUANTILE_ROWS)
    return -(-n // most)


def _some_rows(X, rows, sample_weight):
    """Evenly spaced rows for quartiles, as columns (d, n), and weights or None."""
    n, d = X.shape if rows is None else (len(rows), X.shape[1])
    step = quantile_step(n, d)
    rows = np.arange(0, n, step) if rows is None else rows[::step]
    columns, start = np.empty((d, len(rows)), X.dtype), 0
    for block in _blocks(X, rows):
        columns[:, start : start + len(block)] = block.T
        start += len(block)
    return columns, None if sample_weight is None else sample_weight[::step]


def quartiles(columns, sample_weight):
    """Median, first and third quartile of each of the columns, (d, n), float64.

    The averaged inverse of the distribution function (Hyndman and Fan 1996, type 2),
    so that integer weights are as good as repeated rows.  Sorts in place.
    """
    levels = np.array([0.5, 0.25, 0.75])
    d, n = columns.shape
    if sample_weight is None:
        columns.sort(axis=1)
        at = levels * n
        upper = np.minimum(np.floor(at).astype(int), n - 1)
        lower = np.where(at == np.floor(at), upper - 1, upper)
        return (columns[:, lower].astype(np.float64) + columns[:, upper]).T / 2
    three = np.empty((3, d))
    for j, column in enumerate(columns):
        order = np.argsort(column)
        x, weights = column[order], np.cumsum(sample_weight[order])
        at = levels * weights[-1]
        lower = np.searchsorted(weights, at * (1 - 1e-12), side="left")
        upper = np.searchsorted(weights, at * (1 + 1e-12), side="right")
        upper = np.minimum(upper, n - 1)
        three[:, j] = (x[lower].astype(np.float64) + x[upper]) / 2
    return three
