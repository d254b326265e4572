"""Prediction intervals by split-conformal calibration.

The calibration residuals, the absolute errors on out-of-sample rows, determine the
width of an interval: with n of them, exchangeable with the new row, the interval y_hat
+- the ceil((n + 1) coverage)-th smallest residual contains the target with at least
that probability, however good the network is (Vovk, Gammerman and Shafer 2005; Lei et
al.  2018, "Distribution-free predictive inference for regression", algorithm 2).
"""

import math

import numpy as np

# Calibration residuals that are kept, over all outputs: 8 kB.  With more rows only
# their quantiles are kept.
MOST_ERRORS = 1000


def calibrate(errors, sample_weight=None):
    """The quantiles of the calibration residuals, for `half_width`.

    Parameters
    ----------
    errors : ndarray of shape (n, n_outputs)
        Absolute errors on the validation rows.
    sample_weight : ndarray of shape (n,), default=None

    Returns
    -------
    quantiles : ndarray of shape (m, n_outputs), float64
        At the levels 1 / m, 2 / m, ... 1; the sorted residuals if m = n.
    n : int
        The number of rows; with weights, Kish's effective sample size.
    """
    errors = errors.astype(np.float64)
    n, k = errors.shape
    most = max(MOST_ERRORS // k, 100)
    if sample_weight is None and n <= most:
        return np.sort(errors, axis=0), n
    weights = (
        np.ones(n) if sample_weight is None else sample_weight / sample_weight.max()
    )
    m = min(n, most)
    levels = np.arange(1, m + 1) / m
    quantiles = np.empty((m, k))
    for j in range(k):
        order = np.argsort(errors[:, j])
        below = np.cumsum(weights[order])
        at = np.searchsorted(below, levels * below[-1] * (1 - 1e-12))
        quantiles[:, j] = errors[order, j][np.minimum(at, n - 1)]
    return quantiles, math.floor(weights.sum() ** 2 / (weights**2).sum() + 1e-9)


def half_width(quantiles, n, coverage):
    """Half the width of the intervals of each output, (n_outputs,)."""
    rank = math.ceil((n + 1) * coverage - 1e-9)
    if rank > n:
        least = math.ceil(coverage / (1 - coverage))
        raise ValueError(
            f"coverage={coverage} needs at least {least} validation rows, and there "
            f"were {n}: lower the coverage, or fit with more rows."
        )
    at = math.ceil(rank / n * len(quantiles) - 1e-9) - 1
    return quantiles[at]
