"""Sample weights: checked, and normalized so that their unit does not matter."""

from numbers import Real

import numpy as np
from sklearn.utils.validation import _num_samples

from sklearn_bp._common.blas import one_blas_thread
from sklearn_bp._tables.values import checked_numbers


class NoWeightError(ValueError):
    """All sample weights are 0."""


def check_sample_weight(sample_weight, n_rows):
    """Finite, non-negative float64 weights that are not all zero, or None.

    Returns
    -------
    ndarray of shape (n_rows,) or None
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_rows)
    _refuse_zeros(weights)
    return weights


def _refuse_zeros(weights):
    if not weights.any():
        raise NoWeightError("Sample weights must contain at least one non-zero number.")


def check_weights(sample_weight, n_rows):
    """Finite, non-negative float64 weights, (n_rows,), which may all be zero."""
    weights = as_weights(sample_weight, n_rows)
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weights


def as_weights(sample_weight, n_rows):
    """Finite float64 weights, (n_rows,)."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, sample_weight)
    name = "sample_weight"
    shape = {"ensure_2d": False, "input_name": name}
    weights = checked_numbers(sample_weight, name, np.float64, **shape)
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array."
        )
    if weights.shape != (n_rows,):
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_rows,)}!"
        )
    return weights


def are_equal(sample_weight):
    """Whether weights are all the same, if there are any."""
    return sample_weight is not None and bool((sample_weight == sample_weight[0]).all())


def weights_for_metrics(sample_weight, y):
    """Weights in a form that scikit-learn's metrics accept: any that `fit` does.

    They are divided by a power of 2, so that no sum of them overflows.
    """
    if sample_weight is None:
        return None
    weights = as_weights(sample_weight, _num_samples(y))
    _refuse_zeros(weights)  # not all versions of scikit-learn do
    _, exponent = np.frexp(np.abs(weights).max())
    return np.ldexp(weights, -exponent)


# Weights count as whole multiples of a unit if rounding changes no weight by more than
# WHOLE units.  The unit is at least the largest weight over LARGEST_MULTIPLE.
LARGEST_MULTIPLE = 100
WHOLE = 1e-6


def in_rows(sample_weight, most_rows):
    """Weights, or None, normalized so that their unit does not matter.

    Equal weights become 1. Weights that are whole multiples of a unit become the
    smallest such multiples, which are numbers of repeated rows, if these are fewer than
    `most_rows`. Other weights get mean 1 over the rows with non-zero weight.

    Returns
    -------
    ndarray of shape (n,), or None if all are 1
    """
    if sample_weight is None:
        return None
    weights, _ = bounded(sample_weight)
    values, counts = np.unique(weights[weights > 0], return_counts=True)
    with one_blas_thread():  # the same bits for any number of threads
        unit, is_whole = row_unit(values, counts, most_rows)
    if len(values) == 1 and counts[0] == len(weights):
        return None
    return np.rint(weights / unit) if is_whole else weights / unit


def row_unit(values, counts, most_rows):
    """The weight of one row for `in_rows`, and whether all weights are multiples.

    Parameters
    ----------
    values, counts : ndarrays
        The distinct non-zero weights, and the number of rows with each.
    most_rows : int or inf
    """
    largest, shares = values.max(), values / values.max()
    if len(values) <= LARGEST_MULTIPLE:
        for k in range(1, LARGEST_MULTIPLE + 1):
            multiples = np.rint(k * shares)
            if counts @ multiples >= most_rows and k > 1:
                break
            if multiples.all() and np.abs(k * shares - multiples).max() < WHOLE:
                return largest / k, True
    return largest * (counts @ shares / counts.sum()), False


def bounded(sample_weight):
    """Weights, or None, divided by 2 ** exponent: at most 1, so that sums are finite.

    Returns
    -------
    shares : ndarray or None
    exponent : int
        0 for None.
    """
    if sample_weight is None:
        return None, 0
    _, exponent = np.frexp(sample_weight.max())
    return np.ldexp(sample_weight, -exponent), int(exponent)
