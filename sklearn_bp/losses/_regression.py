"""Losses of real targets.

The conventions stand in `losses._base`.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import xlogy

from sklearn_bp._common.option import check_number
from sklearn_bp.losses._base import Loss
from sklearn_bp.losses._classification import (
    BinarySquaredError,
    CategoricalSquaredError,
)

# Constant quantiles, and a constant spread, are taken to be so far apart at least, for
# their scores to be finite.
SMALLEST_STEP = 1e-3


class SquaredError(Loss):
    """1/2 mean_k (p_k - y_k)^2, p = z; delta2 = (p - y) / n_targets: the mean.

    For classes, `variant` gives the sum of squares on sigmoids.
    """

    scalable = True
    degree = 2
    of_mean = True

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        n_outputs = out.shape[-1]
        if n_outputs > 1:
            out /= n_outputs

    def value(self, p, y):
        return 0.5 * np.square(p - y).mean(axis=-1)

    def variant(self, exclusive):
        """`CategoricalSquaredError` or `BinarySquaredError`."""
        return CategoricalSquaredError() if exclusive else BinarySquaredError()


class AbsoluteError(Loss):
    """mean_k abs(p_k - y_k), p = z; delta2 = sign(p - y) / n_targets: the median."""

    scalable = True
    robust = True

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        np.sign(out, out=out)
        out /= out.shape[-1]

    def value(self, p, y):
        return np.abs(p - y).mean(axis=-1)

    def constant(self, Y, sample_weight, margin):
        return weighted_quantiles(Y, sample_weight, [0.5])[:, 0]


@dataclass(frozen=True)
class Huber(Loss):
    """mean_k r_k^2 / 2 where -d <= r_k <= d, else d (abs(r_k) - d / 2); r = p - y.

    p = z; delta2 = min(max(r, -d), d) / n_targets: between the mean and the median
    (Huber 1964).

    Parameters
    ----------
    delta : float > 0, default=1.35
        Residuals beyond d pull no harder than those at d. It counts in units of the
        targets; standardized ones have an interquartile range of 1.349, the standard
        normal's, and 1.35 is where the loss is 95 % as efficient as the squared error
        on normal residuals of that width.
    """

    delta: float = 1.35

    scalable: ClassVar[bool] = True
    robust: ClassVar[bool] = True

    def check(self):
        check_number(self, "delta", 0, closed="neither")

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        np.clip(out, -self.delta, self.delta, out=out)
        out /= out.shape[-1]

    def value(self, p, y):
        r = np.abs(p - y)
        # r^2 / 2 up to d, from there d (r - d / 2): with c = min(r, d), c (r - c / 2).
        c = np.minimum(r, self.delta)
        return (c * (r - 0.5 * c)).mean(axis=-1)


@dataclass(frozen=True)
class Quantile(Loss):
    """mean_kj max(q_j r, (q_j - 1) r), r = y_k - p_kj: quantiles q_j of each target.

    Of several, p_k0 = z_k0 and p_kj = p_k(j-1) + log(1 + exp(z_kj)), so that they never
    cross, whatever the features.  With e_kj = d value / d p_kj, which is (1 - q_j) / m
    where p_kj > y_k and -q_j / m where it is below, of m predictions a row,

    delta2_k0 = sum_i e_ki,   delta2_kj = (1 - exp(p_k(j-1) - p_kj)) sum_i>=j e_ki

    (Koenker and Bassett 1978.)

    Parameters
    ----------
    quantile : float or sequence of floats in (0, 1), increasing, default=0.5
    """

    quantile: Any = 0.5

    scalable: ClassVar[bool] = True
    robust: ClassVar[bool] = True

    def check(self):
        levels = np.atleast_1d(np.asarray(self.quantile, dtype=object))
        numbers = all(
            isinstance(level, Real) and not isinstance(level, bool) for level in levels
        )
        if levels.ndim != 1 or len(levels) == 0 or not numbers:
            raise TypeError(
                "The 'quantile' parameter of Quantile must be a number, or a sequence "
                f"of numbers. Got {self.quantile!r} instead."
            )
        levels = self.levels
        if not ((levels > 0) & (levels < 1)).all() or (np.diff(levels) <= 0).any():
            raise ValueError(
                "The 'quantile' parameter of Quantile must be in (0, 1), several in "
                f"increasing order. Got {self.quantile!r} instead."
            )

    @property
    def levels(self):
        """The quantiles, (n_quantiles,), float64."""
        return np.atleast_1d(np.asarray(self.quantile, np.float64))

    @property
    def out_activation(self):  # type: ignore[override]
        """Name of the inverse link: "cumulative_softplus" of several quantiles."""
        return "identity" if len(self.levels) == 1 else "cumulative_softplus"

    def n_scores(self, n_targets):
        return n_targets * len(self.levels)

    def _by_quantile(self, p):
        """A view, (..., n_targets, n_quantiles)."""
        return p.reshape(*p.shape[:-1], -1, len(self.levels))

    def forward(self, z):
        p = self._by_quantile(z)
        if p.shape[-1] > 1:
            steps = p[..., 1:]
            np.logaddexp(steps, 0, out=steps)
            np.cumsum(p, axis=-1, out=p)

    def backward(self, p, y, out):
        p, error, y = self._by_quantile(p), self._by_quantile(out), y[..., np.newaxis]
        q = self.levels.astype(p.dtype)
        error[...] = (p > y) * (1 - q) - (p < y) * q
        if p.shape[-1] > 1:
            backwards = error[..., ::-1]
            np.cumsum(backwards, axis=-1, out=backwards)
            error[..., 1:] *= -np.expm1(-np.diff(p, axis=-1))
        out /= out.shape[-1]

    def value(self, p, y):
        r = y[..., np.newaxis] - self._by_quantile(p)
        q = self.levels.astype(p.dtype)
        return np.maximum(q * r, (q - 1) * r).mean(axis=(-2, -1))

    def best_constant(self, mean, margin):
        p = mean[:, np.newaxis] + np.arange(len(self.levels))
        return self._scores_of(p)

    def constant(self, Y, sample_weight, margin):
        return self._scores_of(weighted_quantiles(Y, sample_weight, self.levels))

    def targets_of_scores(self, n_targets):
        targets = np.full((n_targets, len(self.levels)), -1)
        targets[:, 0] = np.arange(n_targets)
        return targets.ravel()

    def rescaled_scores(self, z, scale):
        p = z.copy()
        self.forward(p)
        p = self._by_quantile(p) * scale[:, np.newaxis]
        return np.array([self._scores_of(row) for row in p])

    def _scores_of(self, p):
        """The scores of quantiles, (n_targets, n_quantiles), moved apart if equal."""
        steps = np.diff(p, axis=1)
        p = p.copy()
        p[:, 1:] = _softplus_inverse(np.maximum(steps, SMALLEST_STEP))
        return p.ravel()

    def predicted(self, p, n_targets):
        return p if np.ndim(self.quantile) == 0 else self._by_quantile(p)

    def rescale(self, p, scale, shift):
        p = self._by_quantile(p)
        p *= scale[:, np.newaxis]
        p += shift[:, np.newaxis]

    def interval_error(self, p, y):
        """How far beyond the outer quantiles (Romano, Patterson and Candes 2019)."""
        p = self._by_quantile(p)
        return np.maximum(p[..., 0] - y, y - p[..., -1])

    def interval(self, predicted, spread, width):
        if predicted.ndim == 2:
            return predicted - width, predicted + width
        most = np.finfo(np.float64).max
        lower = np.maximum(predicted[..., 0] - width, -most)
        upper = np.minimum(predicted[..., -1] + width, most)
        middle = lower / 2 + upper / 2  # a negative width may be too much
        return np.minimum(lower, middle), np.maximum(upper, middle)


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """sum_k log s_k + (y_k - m_k)^2 / (2 s_k^2): mean and spread, learnt together.

    The negative log-likelihood of a normal distribution, up to a constant, of means
    m = z and standard deviations s = e + log(1 + exp(z)); the scores of all means stand
    before those of all spreads, and so do the predictions (m, s).

    delta2 of the means = (m - y) / s^2
    delta2 of the spreads = (1 / s - (m - y)^2 / s^3) (1 - exp(e - s))

    (Nix and Weigend 1994.)

    Parameters
    ----------
    min_std : float > 0, default=0.01
        The smallest spread e, without which targets that are met exactly would have no
        least loss, and few rows would be learnt by heart in ever larger steps. It
        counts in units of the targets, standardized ones having a standard deviation
        of 1.
    """

    min_std: float = 0.01

    out_activation: ClassVar[str] = "identity, softplus"
    scalable: ClassVar[bool] = True
    degree: ClassVar[int] = 0
    relative_errors: ClassVar[bool] = True

    def check(self):
        check_number(self, "min_std", 0, closed="neither")

    def n_scores(self, n_targets):
        return 2 * n_targets

    def forward(self, z):
        s = z[..., z.shape[-1] // 2 :]
        np.logaddexp(s, 0, out=s)
        s += self.min_std

    def backward(self, p, y, out):
        k = y.shape[-1]
        m, s = p[..., :k], p[..., k:]
        of_mean, of_spread = out[..., :k], out[..., k:]
        np.subtract(m, y, out=of_mean)
        of_mean /= s
        of_spread[...] = (1 - np.square(of_mean)) / s
        of_spread *= -np.expm1(self.min_std - s)
        of_mean /= s

    def value(self, p, y):
        k = y.shape[-1]
        m, s = p[..., :k], p[..., k:]
        return (np.log(s) + 0.5 * np.square((m - y) / s)).sum(axis=-1)

    def best_constant(self, mean, margin):
        return np.append(mean, np.full(len(mean), _softplus_inverse(1.0)))

    def constant(self, Y, sample_weight, margin):
        mean = np.average(Y, axis=0, weights=sample_weight)
        variance = np.average(np.square(Y - mean), axis=0, weights=sample_weight)
        s = np.sqrt(variance) - self.min_std
        return np.append(mean, _softplus_inverse(np.maximum(s, SMALLEST_STEP)))

    def targets_of_scores(self, n_targets):
        return np.append(np.arange(n_targets), np.full(n_targets, -1))

    def rescaled_scores(self, z, scale):
        """Spreads do not shrink: too small ones make steps of any length."""
        p = z.copy()
        self.forward(p)
        k = len(scale)
        s = np.where(scale > 0, p[..., k:] * np.maximum(scale, 1), 1.0) - self.min_std
        spreads = _softplus_inverse(np.maximum(s, SMALLEST_STEP))
        return np.concatenate([z[..., :k] * scale, spreads], axis=-1)

    def predicted(self, p, n_targets):
        return p[..., :n_targets]

    def spread(self, p, n_targets):
        return p[..., n_targets:]

    def rescale(self, p, scale, shift):
        k = len(scale)
        p[..., :k] *= scale
        p[..., :k] += shift
        p[..., k:] *= scale

    def interval_error(self, p, y):
        """In standard deviations (Lei et al. 2018, section 5.2)."""
        k = y.shape[-1]
        return np.abs(p[..., :k] - y) / p[..., k:]

    def interval(self, predicted, spread, width):
        return predicted - width * spread, predicted + width * spread


class Poisson(Loss):
    """sum_k [y_k log(y_k / p_k) - y_k + p_k], p = exp(z): half the deviance.

    For counts and other targets y >= 0; delta2 = p - y.
    """

    out_activation = "exp"
    positive_only = True
    logarithmic = True
    of_mean = True

    def best_constant(self, mean, margin):
        return np.log(np.maximum(mean, margin))

    def forward(self, z):
        np.exp(z, out=z)

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)

    def value(self, p, y):
        return (xlogy(y, y / p) - y + p).sum(axis=-1)

    def bounded(self, largest):
        return _BoundedPoisson(largest) if type(self) is Poisson else self

    def check_targets(self, y):
        if (y < 0).any():
            raise ValueError(
                "Some targets are negative: loss='poisson' needs y >= 0. "
                "Use loss='squared_error' for targets of either sign."
            )


class Gamma(Loss):
    """sum_k [y_k / p_k - log(y_k / p_k) - 1], p = exp(z): half the deviance.

    For amounts y > 0 whose spread grows with their mean; delta2 = 1 - y / p.
    """

    out_activation = "exp"
    positive_only = True
    logarithmic = True
    of_mean = True

    def best_constant(self, mean, margin):
        return np.log(np.maximum(mean, np.finfo(float).tiny))

    def forward(self, z):
        np.exp(z, out=z)

    def backward(self, p, y, out):
        np.divide(y, p, out=out)
        np.subtract(1, out, out=out)

    def value(self, p, y):
        ratio = y / p
        return (ratio - np.log(ratio) - 1).sum(axis=-1)

    def bounded(self, largest):
        return _BoundedGamma() if type(self) is Gamma else self

    def check_targets(self, y):
        if (y <= 0).any():
            raise ValueError(
                "Some targets are not positive: loss='gamma' needs y > 0. "
                "Use loss='poisson' for targets y >= 0, or loss='squared_error' for "
                "targets of either sign."
            )


# A feature far out, in one row, makes scores of any size, and of these exp(z) an error
# that ends all training.  Predictions may be so many times the largest Poisson target,
# and Gamma targets so many times what is predicted, before errors grow no more.
LARGEST_POISSON = 30.0
LARGEST_GAMMA = 1000.0


def _bounded_exp(z):
    """exp(z), in place, neither 0 nor infinite."""
    most = 700.0 if z.dtype == np.float64 else 80.0
    np.minimum(z, most, out=z)
    np.maximum(z, -most, out=z)
    np.exp(z, out=z)


class _BoundedPoisson(Poisson):
    """`Poisson`, but linear in z where p > m: m log p grows there.

    delta2 = min(p, m) - y, m the largest target LARGEST_POISSON times.
    """

    most: Any

    def __init__(self, largest):
        most = np.where(largest > 0, LARGEST_POISSON * largest, np.inf)
        object.__setattr__(self, "most", most.astype(largest.dtype))

    def forward(self, z):
        _bounded_exp(z)

    def backward(self, p, y, out):
        np.minimum(p, self.most, out=out)
        np.subtract(out, y, out=out)

    def value(self, p, y):
        most = self.most
        linear = np.where(p > most, most * (1 + np.log(np.maximum(p / most, 1))), p)
        return (xlogy(y, y / p) - y + linear).sum(axis=-1)


class _BoundedGamma(Gamma):
    """`Gamma`, but linear in z where y / p > m: m log(y / p) grows there.

    delta2 = 1 - min(y / p, m), m = LARGEST_GAMMA.
    """

    def forward(self, z):
        _bounded_exp(z)

    def backward(self, p, y, out):
        np.divide(y, p, out=out)
        np.minimum(out, LARGEST_GAMMA, out=out)
        np.subtract(1, out, out=out)

    def value(self, p, y):
        ratio, most = y / p, LARGEST_GAMMA
        log = np.log(ratio)
        linear = np.where(ratio > most, most * (1 + log - math.log(most)), ratio)
        return (linear - log - 1).sum(axis=-1)


def _softplus_inverse(s):
    """The z of log(1 + exp(z)) = s > 0."""
    return s + np.log(-np.expm1(-s))


def weighted_quantiles(Y, sample_weight, levels):
    """Weighted quantiles of each column, (n_columns, n_levels), of least pinball loss.

    The smallest values that so much of the weight is at or below; between two, where
    it is just so much, their middle.
    """
    found = np.empty((Y.shape[1], len(levels)))
    for k, y in enumerate(Y.T):
        order = np.argsort(y, kind="stable")
        order = order[sample_weight[order] > 0]
        y, below = y[order], np.cumsum(sample_weight[order])
        at = np.asarray(levels) * below[-1]
        lower = np.searchsorted(below, at * (1 - 1e-12), side="left")
        upper = np.searchsorted(below, at * (1 + 1e-12), side="right")
        last = len(y) - 1
        found[k] = y[np.minimum(lower, last)] / 2 + y[np.minimum(upper, last)] / 2
    return found
