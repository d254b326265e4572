"""Tests of whether columns explain errors, alone or in pairs.

Both use the bins of the columns, so that units and outliers do not count.  If errors
do not depend on a column, its p-value is uniform.  `chdtrc` is the survival function of
the chi-squared distribution, without the 0.1 ms of checks of `scipy.stats`.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc

# Maximum number of rows in both tests, evenly spaced.
MOST_ROWS = 2**15

# Maximum numbers of outputs and of multiplications in the test in pairs, which uses
# fewer rows if necessary, but at least FEWEST_ROWS.
PAIR_OUTPUTS = 8
PAIR_MULTIPLICATIONS = 2**31
FEWEST_ROWS = 256


class PValues(NamedTuple):
    """For each tested column, the p-values of its two tests, (n_tested,)."""

    alone: np.ndarray
    in_pairs: np.ndarray

    @property
    def smaller(self):
        """The smaller of the two."""
        return np.minimum(self.alone, self.in_pairs)


def p_values(X, bins, errors):
    """The `PValues` of the columns that have bins, in the order of the columns.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns)
    bins : Bins
    errors : ndarray of shape (n, n_outputs)

    Notes
    -----
    Alone: whether the means of the errors in the bins differ; if not, n R2 of these
    means has a chi-squared distribution.  In pairs: whether the errors correlate with
    the product of two columns, each replaced by the number of its bin; the p-value of
    the best partner, times the number of columns (Bonferroni).
    """
    step = -(-len(X) // MOST_ROWS)
    X, errors = X[::step], errors[::step]
    n_free = _n_free(errors)
    errors = errors - errors.mean(axis=0)
    size = errors.std(axis=0)
    errors /= np.where(size > 0, size, 1)
    per_output = n_free / errors.shape[1]
    columns = np.unique(bins.column)
    alone = np.empty(len(columns))
    numbers = np.empty((len(X), len(columns)))
    for i, j in enumerate(columns):
        inner = bins.low[bins.column == j][1:]
        number = np.searchsorted(inner, X[:, j], side="right")
        counts = np.bincount(number, minlength=len(inner) + 1)
        sums = [np.bincount(number, e, minlength=len(counts)) for e in errors.T]
        statistic = (np.square(sums) / np.maximum(counts, 1)).sum() * per_output
        n_filled = np.count_nonzero(counts)
        alone[i] = chdtrc(n_free * max(n_filled - 1, 1), statistic)
        numbers[:, i] = _standardized(number)
    return PValues(alone, _in_pairs(numbers, errors, per_output))


def _n_free(errors):
    """The number of outputs whose errors determine the others.

    The errors of a softmax add up to 0 in each row.
    """
    n_outputs = errors.shape[1]
    sums, largest = np.abs(errors.sum(axis=1)), np.abs(errors).max()
    dependent = n_outputs > 1 and largest > 0 and (sums <= 1e-5 * largest).all()
    return n_outputs - bool(dependent)


def _in_pairs(numbers, errors, per_output):
    """The p-values of the test in pairs, from standardized numbers of bins."""
    d = numbers.shape[1]
    outputs = np.argsort(-np.square(errors).sum(axis=0), kind="stable")[:PAIR_OUTPUTS]
    n_rows = max(PAIR_MULTIPLICATIONS // (d * d * len(outputs)), FEWEST_ROWS)
    step = -(-len(numbers) // n_rows)
    numbers, errors = numbers[::step], errors[::step, outputs]
    statistics = sum(
        np.square(numbers.T @ (e[:, np.newaxis] * numbers)) for e in errors.T
    )
    np.fill_diagonal(statistics, 0)
    best = statistics.max(axis=1) * per_output / len(numbers)
    n_free = max(per_output * len(outputs), 1)
    return np.minimum(d * chdtrc(n_free, best), 1)


def _standardized(number):
    """Numbers of bins with mean 0 and standard deviation 1, or 0 in a single bin."""
    centred = number - number.mean()
    return centred / (centred.std() or 1)
