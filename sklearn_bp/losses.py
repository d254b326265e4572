"""Losses, each with the output activation that belongs to it.

Arrays are (..., n_rows, n_outputs): scores z2, predictions p and targets y alike.
A loss has

- `out_activation`: its name in scikit-learn;
- `forward(z)`: predictions from scores, in place (the inverse link);
- `backward(p, y, out)`: the error of the output layer, delta2 = d value / d z2;
- `value(p, y)`: the loss of each row, (..., n_rows);
- `check_targets(y)`: a ValueError for targets outside the domain;
- `best_constant(mean, margin)`: the scores of least loss that all rows share;
- `tempered`, `scalable`: whether its scores may be divided by a temperature, and its
  targets be shifted and scaled.

A loss for classes also has `proba(z)`, in place: probabilities that are never 0,
however small, so that their logarithm is finite.

The penalty on the weights is not a loss: it belongs to the network.
"""

from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit, xlogy

from sklearn_bp._blas import blas_for

# Log-losses take smaller probabilities for this, as scikit-learn's do.
_EPSILON = {np.dtype(t): np.array(np.finfo(t).eps, t) for t in ("f4", "f8")}


def _minus_log(p):
    """-log p, in place, finite also for p = 0."""
    np.maximum(p, _EPSILON[p.dtype], out=p)
    np.log(p, p)
    return np.negative(p, p)


def _raise_zeros(p):
    """Replace probabilities that underflow by the smallest normal number."""
    np.maximum(p, np.finfo(p.dtype).tiny, out=p)


def _softmax(z):
    """Softmax over the outputs, in place, shifted by the largest score."""
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)


def _sigmoid_probability(z):
    """1 / (1 + exp(-z)), in place, strictly between 0 and 1."""
    expit(z, out=z)
    _raise_zeros(z)
    np.minimum(z, 1 - np.finfo(z.dtype).epsneg, out=z)


class _Loss:
    # Whether scores may be divided by a temperature: they are log-probabilities.
    tempered = False
    # Whether targets may be shifted and scaled: the loss only sees differences.
    scalable = False

    def forward(self, z):
        raise NotImplementedError

    def best_constant(self, mean, margin):
        """The scores, the same for all rows, of least loss for targets of this mean.

        `mean` is (n_outputs,), float64, and counts as being at least `margin` away
        from where scores are infinite.
        """
        return mean

    def bind(self, shape, dtype):
        """`forward` for arrays of this shape, C-ordered, with buffers of its own."""
        return self.forward

    def check_targets(self, y):
        pass


class CategoricalLogLoss(_Loss):
    """-log p of the true class, p = softmax(z): classes that exclude each other.

    delta2 = p - y for targets y that are 1 for the true class, else 0.
    """

    out_activation = "softmax"
    tempered = True

    def best_constant(self, mean, margin):
        return np.log(np.maximum(mean, margin))

    def forward(self, z):
        _softmax(z)

    def bind(self, shape, dtype):
        """Softmax without the shift: a third of the time, 6 to 22 % of a fit.

        Right while no score is so large that exponentials of the others, or sums of
        them, could overflow or lose digits; else shifted.
        """
        n_rows, n_outputs = shape
        gemv, amax = blas_for(dtype).gemv, blas_for(dtype).amax
        most = 600.0 if np.dtype(dtype) == np.float64 else 60.0
        ones, sums = np.ones(n_outputs, dtype), np.empty(n_rows, dtype)
        column = sums[:, np.newaxis]

        def forward(z):
            scores = z.ravel()
            if not abs(scores[amax(scores)]) < most:
                return _softmax(z)
            np.exp(z, z)
            gemv(1.0, z.T, ones, 0.0, sums, 0, 1, 0, 1, 1, 1)
            np.divide(z, column, z)
            return None

        return forward

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)

    def value(self, p, y):
        true = (p * y) @ np.ones(p.shape[-1], p.dtype)  # faster than a sum over axis -1
        return _minus_log(true)

    def proba(self, z):
        self.bind(z.shape, z.dtype)(z)
        _raise_zeros(z)


class BinaryLogLoss(_Loss):
    """-sum_k [y_k log p_k + (1 - y_k) log(1 - p_k)], p = 1 / (1 + exp(-z)).

    One score for two classes, or one for each label; delta2 = p - y.
    """

    out_activation = "logistic"
    tempered = True

    def best_constant(self, mean, margin):
        return logit(np.clip(mean, margin, 1 - margin))

    def forward(self, z):
        expit(z, out=z)

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)

    def value(self, p, y):
        return _minus_log(np.where(y > 0, p, 1 - p)).sum(axis=-1)

    def proba(self, z):
        _sigmoid_probability(z)


class BinarySquaredError(_Loss):
    """1/2 sum_k (p_k - y_k)^2, p = 1 / (1 + exp(-z)): the error of the early texts.

    One score for two classes, or one for each label;
    delta2 = (p - y) p (1 - p), which is small wherever the sigmoid saturates,
    also where it is wrong (Rumelhart, Hinton and Williams 1986).
    """

    out_activation = "logistic"

    def best_constant(self, mean, margin):
        return logit(np.clip(mean, margin, 1 - margin))

    def forward(self, z):
        expit(z, out=z)

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        out *= p
        out *= 1 - p

    def value(self, p, y):
        return 0.5 * np.square(p - y).sum(axis=-1)

    def proba(self, z):
        _sigmoid_probability(z)


class CategoricalSquaredError(BinarySquaredError):
    """`BinarySquaredError` with one sigmoid a class, for classes that exclude
    each other: class probabilities are p_k / sum_j p_j.
    """

    def proba(self, z):
        # p_k / sum_j p_j is the softmax of log p, also where every p underflows.
        log_expit(z, out=z)
        _softmax(z)
        _raise_zeros(z)


class SquaredError(_Loss):
    """1/2 mean_k (p_k - y_k)^2, p = z; delta2 = (p - y) / n_outputs."""

    out_activation = "identity"
    scalable = True

    def forward(self, z):
        pass

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        n_outputs = out.shape[-1]
        if n_outputs > 1:
            out /= n_outputs

    def value(self, p, y):
        return 0.5 * np.square(p - y).mean(axis=-1)


class Poisson(_Loss):
    """sum_k [y_k log(y_k / p_k) - y_k + p_k], p = exp(z): half the deviance.

    For counts and other targets y >= 0; delta2 = p - y.
    """

    out_activation = "exp"

    def best_constant(self, mean, margin):
        return np.log(np.maximum(mean, margin))

    def forward(self, z):
        np.exp(z, out=z)

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)

    def value(self, p, y):
        return (xlogy(y, y / p) - y + p).sum(axis=-1)

    def check_targets(self, y):
        if (y < 0).any():
            raise ValueError(
                "Some targets are negative: loss='poisson' needs y >= 0. "
                "Use loss='squared_error' for targets of either sign."
            )


# Rows that `best_constant` takes at a time, so that it needs next to no memory.
CONSTANT_ROWS = 4096


def best_constant(loss, Y, sample_weight=None):
    """The constant scores of least loss, and this loss: what any network must beat.

    Parameters
    ----------
    loss : object of the tables below
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,), default=None

    Returns
    -------
    scores : ndarray of shape (n_outputs,), float64
        Finite also where a class does not occur.
    value : float
        The mean loss.
    """
    n = len(Y)
    weights = np.ones(n) if sample_weight is None else sample_weight
    blocks = [slice(i, i + CONSTANT_ROWS) for i in range(0, n, CONSTANT_ROWS)]
    total = weights.sum()
    mean = sum(weights[rows] @ Y[rows].astype(np.float64) for rows in blocks) / total
    scores = loss.best_constant(mean, 0.5 / n)
    value = 0.0
    for rows in blocks:
        P = np.tile(scores, (len(Y[rows]), 1))
        loss.forward(P)
        value += weights[rows] @ loss.value(P, Y[rows])
    return scores, float(value / total)


# For classes that exclude each other (one score a class), and for independent
# scores (two classes, or several labels).
CLASSIFIER_LOSSES: dict[str, dict[bool, Any]] = {
    "log_loss": {True: CategoricalLogLoss(), False: BinaryLogLoss()},
    "squared_error": {True: CategoricalSquaredError(), False: BinarySquaredError()},
}
REGRESSOR_LOSSES = {"squared_error": SquaredError(), "poisson": Poisson()}
