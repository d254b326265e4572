"""Regression metrics, equal to scikit-learn's but without their checks."""

from typing import Any

import numpy as np

from sklearn_bp._common.types import Array
from sklearn_bp.losses._regression import weighted_quantiles


class R2:
    """Coefficient of determination, the mean over outputs, as scikit-learn's r2_score.

    Parameters
    ----------
    Y : ndarray of shape (n, n_outputs)
        Targets.
    sample_weight : ndarray of shape (n,), default=None
    """

    def __init__(self, Y, sample_weight=None):
        weights = np.ones(len(Y))
        if sample_weight is not None:
            weights = sample_weight / sample_weight.max()
        unit = np.abs(Y).max(axis=0).astype(np.float64)  # so that no square overflows
        unit[unit == 0] = 1
        Y = Y / unit
        mean = np.average(Y, axis=0, weights=weights)
        total = _sums(weights, np.square(Y - mean))
        total[np.ptp(Y, axis=0) == 0] = 0  # remove rounding errors
        self._Y, self._unit, self._weights, self._total = Y, unit, weights, total
        self._varies = total != 0

    def __call__(self, P):
        """The score of predictions, (n, n_outputs)."""
        residual = P / self._unit
        np.subtract(self._Y, residual, out=residual)
        residual = _sums(self._weights, np.square(residual, out=residual))
        if self._varies.all():
            return float((1 - residual / self._total).sum() / len(residual))
        # A constant target has no variance to explain.
        scores = np.where(residual == 0, 1.0, 0.0)
        varies = self._varies
        scores[varies] = 1 - residual[varies] / self._total[varies]
        return float(np.mean(scores))


def _sums(weights, values):
    """Weighted sums over rows, without BLAS.

    Threads of BLAS spin for a while after each call, beside those of the compiled step:
    that took a core from it in each epoch.  And its sums would depend on their number.
    """
    return np.einsum("i,ij->j", weights, values)


def d2_pinball(Y: Array, P: Array, quantile: Array, sample_weight: Any = None) -> float:
    """1 - pinball loss / pinball loss of the best constants, the mean over quantiles.

    It is the mean of scikit-learn's d2_pinball_score over targets and quantiles.

    Parameters
    ----------
    Y : ndarray of shape (n, n_targets)
    P : ndarray of shape (n, n_targets, n_quantiles)
    quantile : ndarray of shape (n_quantiles,)
    sample_weight : ndarray of shape (n,), default=None
    """
    weights = np.ones(len(Y)) if sample_weight is None else sample_weight
    # Dividing by a power of 2 is exact, and no sum overflows.
    unit = np.ldexp(1.0, -np.clip(np.frexp(np.abs(Y).max(axis=0))[1], -1020, 1020))
    Y, P = Y * unit, P * unit[:, np.newaxis]
    best = weighted_quantiles(Y, weights, quantile)
    shares = []
    for j, q in enumerate(quantile):
        ours, theirs = (
            np.average(np.maximum(q * r, (q - 1) * r), axis=0, weights=weights)
            for r in (Y - P[..., j], Y - best[:, j])
        )
        # A constant target has no variance to explain.
        share = np.divide(ours, theirs, out=np.ones_like(ours), where=theirs != 0)
        shares.append(np.where(ours == 0, 1.0, 1 - share))
    return float(np.mean(shares))
