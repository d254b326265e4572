"""Limits of the columns: a value beyond them counts as unknown, in training and after.

A single wild value, from a typing error or a broken sensor, could widen the scaling of
its column until all other values look equal, or move a prediction anywhere.  So each
column has two limits, in the units of the encoded columns.  The centre of the column
replaces a value beyond them, as it replaces a missing one.  Values inside the limits do
not change, so the network still acts on the user's own columns.

The limits are far out.  They follow from the quantiles on each side of the median, as
distances from it.  Let E be the distance that a share s of the rows exceeds, and Q that
of a share r, up to 8 s.  By a power law through both,

    distance that m of n rows exceed = E (E / Q)^(log(s n / m) / log(r / s)).

The limit is the distance of m = 1 / 100, so heavy tails keep their outermost values.
It is at least LARGEST times E, on the wider side, and LARGEST times the interquartile
range, so columns of few values keep rare ones.  If Q is 0, the exponent is that of a
Cauchy distribution.  A column that is constant except for a share of the rows below s
keeps all values: its limits are LARGEST times the largest distance.

The quantiles ignore one wild value among 20 rows, two among 40, up to four among 100 or
more, and from 1,280 rows on a 256th of the rows.

A stream of sparse rows keeps no quantiles.  There, a value in a later part is beyond
the limit if it exceeds LARGEST times the largest value so far, until more rows than the
quantiles would ignore have had such values.  The largest values of the first rows are
judged like this too, by the others and by the rows that follow.
"""

import numpy as np
from scipy import sparse

# The largest absolute value of scaled training values.
LARGEST = 8.0

# Shares of the rows beyond the quantiles of a side, from the quartiles on.
TAILS = 0.5 ** np.arange(2, 9)
TAIL_LEVELS = (*TAILS, *(1 - TAILS))

# A column with fewer rows has no limits.
FEWEST_ROWS = 20

# The least number of rows beyond E, if that is no more than a 16th of them.
ROWS_BEYOND = 5

# Fewer rows count as this many, so that integer weights equal repeated rows.
SMALL_ROWS = 100

# The number of rows that are expected beyond the limit.
EXPECTED = 0.01

# Numbers of sparse columns that are processed at a time.
DENSE_SIZE = 2**17


def limits_of(n_rows, low, high, median, tails):
    """The limits of dense columns, (2, d), float64; None for few rows.

    Parameters
    ----------
    n_rows : int
        Number of rows with non-zero weight.
    low, high, median : ndarray of shape (d,), float64
    tails : ndarray of shape (len(TAIL_LEVELS), d), float64
        The quantiles at TAIL_LEVELS.
    """
    if n_rows < FEWEST_ROWS:
        return None
    # All lengths are halved, so that they do not overflow.
    middle = median / 2
    below, above = middle - tails[: len(TAILS)] / 2, tails[len(TAILS) :] / 2 - middle
    reach = np.maximum(middle - low / 2, high / 2 - middle)
    half = _reaches(n_rows, np.stack([below, above], axis=1), reach)
    with np.errstate(over="ignore"):
        return np.array([median - 2 * half[0], median + 2 * half[1]])


def limits_of_sparse(n_rows, largest):
    """The limits of sparse columns with these largest absolute values, as `limits_of`.

    They are judged before, by `largest_inside`.
    """
    if n_rows < FEWEST_ROWS:
        return None
    with np.errstate(over="ignore"):
        limits = np.where(largest > 0, LARGEST * largest, np.inf)
    return np.array([-limits, limits])


def judged_columns(n_rows, largest, X, weights):
    """The sparse columns that may have wild values, some columns at a time.

    Parameters
    ----------
    n_rows : int
    largest : ndarray of shape (d,)
        The largest absolute value of each column.
    X : CSR of shape (n, d)
        Some of the rows.
    weights : ndarray of shape (n,) or None
        Weights of these rows.

    Yields
    ------
    columns : ndarray of int
    values : ndarray of shape (len(columns), n), float64
        Their absolute values.
    """
    if n_rows < FEWEST_ROWS:
        return
    values, smallest = np.abs(X.data), np.full(X.shape[1], np.inf)
    stored = np.flatnonzero(values)
    np.minimum.at(smallest, X.indices[stored], values[stored])
    weights = np.ones(X.shape[0]) if weights is None else weights
    of_values = np.repeat(weights, np.diff(X.indptr))[stored]
    shares = np.bincount(X.indices[stored], of_values, X.shape[1]) / weights.sum()
    enough = are_judged(n_rows, shares)
    columns = np.flatnonzero(enough & (largest > LARGEST * smallest))
    length = max(1, DENSE_SIZE // X.shape[0])
    for start in range(0, len(columns), length):
        some = columns[start : start + length]
        yield some, np.abs(X[:, some].toarray().T.astype(np.float64))


def share_ignored(n_rows):
    """The share of the rows that may be beyond the limits."""
    return TAILS[_outermost(n_rows)]


def are_judged(n_rows, shares):
    """Whether sparse columns may have wild values, by the share of rows they occur in.

    Otherwise the quantile is 0.
    """
    return shares > 0.99 * share_ignored(n_rows)


def largest_inside(n_rows, largest, values, tails):
    """The largest absolute values of sparse columns, without those beyond the limits.

    Parameters
    ----------
    n_rows : int
    largest : ndarray of shape (d,)
        The largest absolute values, also beyond the limits.
    values : ndarray of shape (d, n)
        Absolute values of some of the rows.
    tails : ndarray of shape (len(TAILS), d)
        Their quantiles at 1 - TAILS.
    """
    (limits,) = _reaches(n_rows, tails[:, np.newaxis], largest)
    inside = np.where(values <= limits[:, np.newaxis], values, 0.0).max(axis=1)
    return np.where(largest > limits, inside, largest)


def _outermost(n_rows):
    """The position in TAILS of the smallest share with enough rows beyond it."""
    n = max(n_rows, SMALL_ROWS)
    return max(2, np.count_nonzero(TAILS * n >= ROWS_BEYOND) - 1)


def _reaches(n_rows, tails, reach):
    """How far a column's values may be from its median, to either side.

    Parameters
    ----------
    n_rows : int
    tails : ndarray of shape (len(TAILS), n_sides, d)
        Distances of the quantiles from the median.
    reach : ndarray of shape (d,)
        The largest distance.

    Returns
    -------
    ndarray of shape (n_sides, d)
    """
    n, at = max(n_rows, SMALL_ROWS), _outermost(n_rows)
    outer, slope = tails[at], np.ones_like(tails[at])
    for i in range(at - 1, max(at - 4, -1), -1):
        inner = tails[i]
        varies = inner > 0
        ratio = np.divide(outer, inner, out=np.ones_like(outer), where=varies)
        slope = np.where(varies, np.log(ratio) / np.log(TAILS[i] / TAILS[at]), slope)
    outermost = outer.max(axis=0)
    least = LARGEST * np.maximum(tails[0].sum(axis=0), outermost)
    least = np.where(outermost > 0, least, LARGEST * reach)
    with np.errstate(over="ignore"):
        distance = outer * np.exp(slope * np.log(TAILS[at] * n / EXPECTED))
    return np.where(reach > 0, np.maximum(distance, least), np.inf)


def is_inside(X, limits):
    """Whether all numbers of X are finite and inside the limits.

    It may be False for a number on a limit.  The bytes of a small array of booleans are
    searched in a fifth of the time of ``all``.
    """
    low, high = limits
    return b"\0" not in (low < X).tobytes() and b"\0" not in (high > X).tobytes()


def inside(X, limits, centre=None):
    """X, (n, d), with the centre of its column for each value beyond the limits.

    X itself if there is none, and a copy otherwise.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
    limits : ndarray of shape (2, d)
    centre : ndarray of shape (d,), or None for zeros
    """
    if sparse.issparse(X):
        return _inside_csr(X, limits, centre)
    if is_inside(X, limits):
        return X
    low, high = limits
    far = (low > X) | (high < X)
    if not far.any():
        return X
    X = X.copy() if X.dtype.kind == "f" else X.astype(np.float64)
    np.copyto(X, 0.0 if centre is None else centre.astype(X.dtype), where=far)
    return X


def _inside_csr(X, limits, centre):
    low, high = limits
    # Zeros that are not stored are values too, of columns that were dense in training.
    of_zero = np.flatnonzero((low > 0) | (high < 0))
    if len(of_zero):
        stored = np.bincount(X.indices, minlength=X.shape[1])
        if (stored[of_zero] < X.shape[0]).any():
            d = of_zero[-1] + 1
            head, rest = X[:, :d].toarray(), X[:, d:]
            of_head, of_rest = None, None
            if centre is not None:
                of_head, of_rest = centre[:d], centre[d:]
            head = sparse.csr_matrix(inside(head, limits[:, :d], of_head))
            rest = _inside_csr(rest, limits[:, d:], of_rest)
            return sparse.csr_matrix(sparse.hstack([head, rest], format="csr"))
    far = X.data < low[X.indices]
    far |= X.data > high[X.indices]
    if not far.any():
        return X
    data = X.data.copy() if X.dtype.kind == "f" else X.data.astype(np.float64)
    data[far] = 0.0 if centre is None else centre[X.indices[far]]
    return type(X)((data, X.indices, X.indptr), shape=X.shape)
