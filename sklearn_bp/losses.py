"""Losses, each with the output activation that belongs to it.

Arrays are (..., n_rows, n_scores) for scores z2 and predictions p, and (..., n_rows,
n_targets) for targets y: mostly as many, but a loss may have several scores a target.
A loss, one of your own too, derives from `Loss` and has

- `value(p, y)`: the loss of each row, (..., n_rows);
- `backward(p, y, out)`: the error of the output layer, delta2 = d value / d z2.

All else has a default:

- `forward(z)`: predictions from scores, in place (the inverse link); p = z;
- `out_activation`: its name in scikit-learn; "identity";
- `check_targets(y)`: a ValueError for targets outside the domain;
- `scalable`: whether targets may be shifted and scaled, that is, whether
  standardize=True standardizes them; False. Parameters of the loss then count in units
  of the standardized target. `robust`: by quartiles, and not by mean and deviation.
  `degree`: if all targets and predictions are c times as large, the loss is about c **
  degree times as large; 1;
- `n_scores(n_targets)`: n_targets. A scalable loss that has more also tells what
  scaling the targets back does to its predictions, `rescale(p, scale, shift)`, and for
  streams, whose scaling changes, `targets_of_scores(n_targets)` and
  `rescaled_scores(z, scale)`;
- `predicted(p, n_targets)`: of its predictions what `predict` returns; all.
  `spread(p, n_targets)`: the standard deviation that belongs to it; None;
- `interval_error(p, y)` and `interval(predicted, spread, width)`: how far a target is
  from what is predicted, and the interval that holds those nearer than that;
- `best_constant(mean, margin)`: the scores of least loss that all rows share, if the
  mean of the targets tells (`of_mean`); else `constant(Y, sample_weight, margin)`, by
  default found by a search;
- `tempered`: whether scores may be divided by a temperature;
- `for_validation()`: the loss that validation rows are measured by; itself;
- `bounded(largest)`: the loss to train scaled features by, if no target is above
  `largest`: the same, but for errors beyond any that a fit should see; itself.

A loss for classes derives from `ClassLoss`; it also has `proba(z)`, in place:
probabilities that are never 0, however small, so that their logarithm is finite; and
`variant(exclusive)`: the loss for classes that exclude each other, one score a class,
or for independent scores, one for two classes or one a label.

The penalty on the weights is not a loss: it belongs to the network.
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, xlogy

from sklearn_bp._blas import blas_for
from sklearn_bp._option import Option, check_number

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


class Loss(Option):
    """A loss; one of your own derives from it.

    Attributes
    ----------
    out_activation : str
        Name of the inverse link.
    tempered : bool
        Whether scores may be divided by a temperature: they are log-probabilities.
    scalable : bool
        Whether targets may be shifted and scaled: the loss only sees differences.
    robust : bool
        Whether they are scaled by their quartiles, as few of them may be far off.
    degree : int
        The loss of targets and predictions that are c times as large is c ** degree
        times as large.
    positive_only : bool
        Whether all targets must be above 0, or are better there.
    logarithmic : bool
        Whether predictions are exp(z), and targets may be divided by a unit, which
        moves scores by its logarithm.
    relative_errors : bool
        Whether `interval_error` has no unit; else it has that of the targets.
    of_mean : bool
        Whether `best_constant` gives the scores of least loss; if not, they are where
        the search for them begins.
    """

    out_activation: ClassVar[str] = "identity"
    tempered: ClassVar[bool] = False
    scalable: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    degree: ClassVar[int] = 1
    positive_only: ClassVar[bool] = False
    logarithmic: ClassVar[bool] = False
    relative_errors: ClassVar[bool] = False
    of_mean: ClassVar[bool] = False

    def n_scores(self, n_targets):
        """Output units for so many targets."""
        return n_targets

    def forward(self, z):
        """Turn scores into predictions, in place."""

    def backward(self, p, y, out):
        """Write the derivative of `value` with respect to the scores into `out`."""
        raise NotImplementedError

    def value(self, p, y):
        """The loss of each row, (..., n_rows)."""
        raise NotImplementedError

    def bind(self, shape, dtype):
        """`forward` for arrays of this shape, C-ordered, with buffers of its own."""
        return self.forward

    def check_targets(self, y):
        """Raise a ValueError for targets, (n, n_targets), outside the domain."""

    def best_constant(self, mean, margin):
        """The scores, the same for all rows, of least loss for targets of this mean.

        `mean` is (n_targets,), float64, and counts as being at least `margin` away
        from where scores are infinite.
        """
        return mean

    def constant(self, Y, sample_weight, margin):
        """The scores of least loss, (n_scores,), found by a search.

        Y is (n, n_targets), float64, sample_weight (n,).
        """
        shares = sample_weight / sample_weight.sum()
        start = self.best_constant(shares @ Y, margin)

        def loss_and_gradient(scores):
            P = np.tile(scores, (len(Y), 1))
            self.forward(P)
            error = np.empty_like(P)
            self.backward(P, Y, error)
            return shares @ self.value(P, Y), shares @ error

        with np.errstate(all="ignore"):
            found = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True)
        return found.x if np.isfinite([found.fun, *found.x]).all() else start

    def predicted(self, p, n_targets):
        """What `predict` returns: (n, n_targets), or (n, n_targets, several)."""
        return p

    def spread(self, p, n_targets):
        """The predicted standard deviation, (n, n_targets); None if there is none."""
        return None

    def rescale(self, p, scale, shift):
        """Predictions of targets y, turned in place into those of y * scale + shift.

        `scale` and `shift` are (n_targets,).
        """
        p *= scale
        p += shift

    def targets_of_scores(self, n_targets):
        """For each score, (n_scores,), its target; -1 if no linear function of this."""
        return np.arange(n_targets)

    def rescaled_scores(self, z, scale):
        """Scores, (n, n_scores), whose predictions are those of z times `scale`.

        `scale` is (n_targets,), 0 for a target that nothing is known of.
        """
        return z * scale

    def interval_error(self, p, y):
        """How far targets are from predictions, (n, n_targets), without the sign."""
        return np.abs(self.predicted(p, y.shape[-1]) - y)

    def interval(self, predicted, spread, width):
        """Lower and upper end where `interval_error` is `width`, (n_targets,)."""
        return predicted - width, predicted + width

    def for_validation(self):
        """The loss that validation rows are measured by."""
        return self

    def bounded(self, largest):
        """The loss to train by, where targets are at most `largest`, (n_targets,)."""
        return self


class ClassLoss(Loss):
    """A loss for classes."""

    def proba(self, z):
        """Turn scores into probabilities, in place, never 0."""
        self.forward(z)
        _raise_zeros(z)

    def variant(self, exclusive):
        """The loss for classes that exclude each other, or for independent scores."""
        return self


@dataclass(frozen=True)
class LogLoss(ClassLoss):
    """-log p of what is true: `CategoricalLogLoss`, or `BinaryLogLoss`.

    With label smoothing of e, what is true counts as 1 - e + e / K and each of the
    others as e / K, of K classes; two classes, and a label and its absence, are K = 2
    (Szegedy et al. 2016). Validation rows are measured without.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default=0.0
    """

    label_smoothing: float = 0.0

    tempered: ClassVar[bool] = True
    of_mean: ClassVar[bool] = True

    def check(self):
        check_number(self, "label_smoothing", 0, 1)

    def variant(self, exclusive):
        plain, smooth = (
            (CategoricalLogLoss, _SmoothCategoricalLogLoss)
            if exclusive
            else (BinaryLogLoss, _SmoothBinaryLogLoss)
        )
        return smooth(self.label_smoothing) if self.label_smoothing else plain()


class CategoricalLogLoss(LogLoss):
    """-log p of the true class, p = softmax(z): classes that exclude each other.

    delta2 = p - y for targets y that are 1 for the true class, else 0.
    """

    out_activation = "softmax"

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
            if not -most < scores.item(amax(scores)) < most:
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


class BinaryLogLoss(LogLoss):
    """-sum_k [y_k log p_k + (1 - y_k) log(1 - p_k)], p = 1 / (1 + exp(-z)).

    One score for two classes, or one for each label; delta2 = p - y.
    """

    out_activation = "logistic"

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


class _SmoothCategoricalLogLoss(CategoricalLogLoss):
    """-sum_k t_k log p_k, t = (1 - e) y + e / K; delta2 = p - t."""

    def backward(self, p, y, out):
        np.subtract(p, _smoothed(y, self.label_smoothing, y.shape[-1], p.dtype), out)

    def value(self, p, y):
        t = _smoothed(y, self.label_smoothing, y.shape[-1], p.dtype)
        return (t * _minus_log(p.copy())).sum(axis=-1)

    def best_constant(self, mean, margin):
        e = self.label_smoothing
        return super().best_constant(_smoothed(mean, e, len(mean), float), margin)

    def for_validation(self):
        return CategoricalLogLoss()


class _SmoothBinaryLogLoss(BinaryLogLoss):
    """-sum_k [t_k log p_k + (1 - t_k) log(1 - p_k)], t = (1 - e) y + e / 2.

    delta2 = p - t.
    """

    def backward(self, p, y, out):
        np.subtract(p, _smoothed(y, self.label_smoothing, 2, p.dtype), out)

    def value(self, p, y):
        t = _smoothed(y, self.label_smoothing, 2, p.dtype)
        return (t * _minus_log(p.copy()) + (1 - t) * _minus_log(1 - p)).sum(axis=-1)

    def best_constant(self, mean, margin):
        e = self.label_smoothing
        return super().best_constant(_smoothed(mean, e, 2, float), margin)

    def for_validation(self):
        return BinaryLogLoss()


def _smoothed(y, smoothing, n_classes, dtype):
    """(1 - e) y + e / K, in a dtype."""
    return (1 - smoothing) * y.astype(dtype) + smoothing / n_classes


class BinarySquaredError(ClassLoss):
    """1/2 sum_k (p_k - y_k)^2, p = 1 / (1 + exp(-z)): the error of the early texts.

    One score for two classes, or one for each label;
    delta2 = (p - y) p (1 - p), which is small wherever the sigmoid saturates,
    also where it is wrong (Rumelhart, Hinton and Williams 1986).
    """

    out_activation = "logistic"
    of_mean = True

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


# Constant quantiles, and a constant spread, are taken to be so far apart at least, for
# their scores to be finite.
SMALLEST_STEP = 1e-3


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


# Rows that `best_constant` takes at a time, so that it needs next to no memory, and
# at most, evenly spaced, where it searches.
CONSTANT_ROWS = 4096
SEARCHED_ROWS = 20_000


def best_constant(loss, Y, sample_weight=None):
    """The constant scores of least loss, and this loss: what any network must beat.

    Parameters
    ----------
    loss : object of the tables below
    Y : ndarray of shape (n, n_targets)
    sample_weight : ndarray of shape (n,), default=None

    Returns
    -------
    scores : ndarray of shape (n_scores,), float64
        Finite also where a class does not occur.
    value : float
        The mean loss.
    """
    n = len(Y)
    weights = np.ones(n) if sample_weight is None else sample_weight
    blocks = [slice(i, i + CONSTANT_ROWS) for i in range(0, n, CONSTANT_ROWS)]
    total = weights.sum()
    if loss.of_mean:
        mean = sum(weights[rows] @ Y[rows].astype(np.float64) for rows in blocks)
        scores = loss.best_constant(mean / total, 0.5 / n)
    else:
        some = np.flatnonzero(weights)
        some = some[:: -(-len(some) // SEARCHED_ROWS)]
        scores = loss.constant(Y[some].astype(np.float64), weights[some], 0.5 / n)
    value = 0.0
    for rows in blocks:
        P = np.tile(scores, (len(Y[rows]), 1))
        loss.forward(P)
        with np.errstate(all="ignore"):  # of targets beyond their dtype; training tells
            value += weights[rows] @ loss.value(P, Y[rows])
    return scores, float(value / total)


class _Own(Loss):
    """A user's own object, with what it may lack."""

    def __init__(self, loss):
        for name in dir(Loss):
            if not name.startswith("__") and hasattr(loss, name):
                object.__setattr__(self, name, getattr(loss, name))


def as_loss(loss):
    """The object of a name in the regressor's table; one of one's own as it is."""
    if isinstance(loss, str):
        return REGRESSOR_LOSSES[loss]
    if isinstance(loss, ClassLoss):
        raise TypeError(
            f"loss={loss!r} is for classes: use it with TwoLayerClassifier, or another "
            f"loss, one of {sorted(REGRESSOR_LOSSES)}."
        )
    return loss if isinstance(loss, Loss) else _Own(loss)


def as_class_loss(loss, exclusive):
    """The object of a name in the classifier's table, or of a `ClassLoss`, for classes
    that exclude each other or for independent scores.
    """
    if isinstance(loss, str):
        return CLASSIFIER_LOSSES[loss][exclusive]
    return loss.variant(exclusive)


# For classes that exclude each other (one score a class), and for independent
# scores (two classes, or several labels).
CLASSIFIER_LOSSES: dict[str, dict[bool, Any]] = {
    "log_loss": {True: CategoricalLogLoss(), False: BinaryLogLoss()},
    "squared_error": {True: CategoricalSquaredError(), False: BinarySquaredError()},
}
REGRESSOR_LOSSES: dict[str, Any] = {
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
    "quantile": Quantile(),
    "gaussian_nll": GaussianNLL(),
    "poisson": Poisson(),
    "gamma": Gamma(),
}
