"""Losses of real targets, and the table of a regressor's losses.

See `losses._base` for the conventions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np

from sklearn_bp._common import onnx_forms
from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.option import check_number
from sklearn_bp._common.types import Array
from sklearn_bp.losses._base import Loss, row_mean, row_sum
from sklearn_bp.losses._classification import (
    BinarySquaredError,
    CategoricalSquaredError,
    ClassLoss,
)
from sklearn_bp.losses._positive import Gamma, Poisson

__all__ = [
    "REGRESSOR_LOSSES",
    "AbsoluteError",
    "Gamma",
    "GaussianNLL",
    "Huber",
    "Poisson",
    "Quantile",
    "SquaredError",
]

# The least distance between constant quantiles, and the least constant spread, so that
# their scores are finite.
SMALLEST_STEP = 1e-3


class SquaredError(Loss):
    """1/2 mean_k (p_k - y_k)^2, p = z; delta2 = (p - y) / n_targets: the mean.

    For classes, `variant` gives the sum of squares on sigmoids.
    """

    formulas = "$z$", r"$\frac{1}{2k} \sum_m (p_m - y_m)^2$", "$(p - y) / k$"

    scalable = True
    degree = 2
    of_mean = True

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)
        n_outputs = out.shape[-1]
        if n_outputs > 1:
            out /= n_outputs

    def value(self, p: Array, y: Array) -> Array:
        return 0.5 * row_mean(np.square(p - y))

    def variant(self, exclusive: bool) -> ClassLoss:
        """`CategoricalSquaredError` or `BinarySquaredError`."""
        return CategoricalSquaredError() if exclusive else BinarySquaredError()


class AbsoluteError(Loss):
    """mean_k abs(p_k - y_k), p = z; delta2 = sign(p - y) / n_targets: the median."""

    formulas = (
        "$z$",
        r"$\frac{1}{k} \sum_m \lvert p_m - y_m \rvert$",
        r"$\operatorname{sign}(p - y) / k$",
    )

    scalable = True
    robust = True

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)
        np.sign(out, out=out)
        out /= out.shape[-1]

    def value(self, p: Array, y: Array) -> Array:
        return row_mean(np.abs(p - y))

    def constant(self, Y: Array, sample_weight: Array, margin: float) -> Array:
        return weighted_quantiles(Y, sample_weight, [0.5])[:, 0]


@dataclass(frozen=True)
class Huber(Loss):
    """mean_k r_k^2 / 2 where -d <= r_k <= d, else d (abs(r_k) - d / 2); r = p - y.

    p = z; delta2 = min(max(r, -d), d) / n_targets: between the mean and the median
    (Huber 1964).

    Parameters
    ----------
    delta : float > 0, default=1.35
        Residuals beyond d pull no harder than those at d. In units of the targets;
        standardized targets have the interquartile range of a standard normal, 1.349,
        and with 1.35 the loss is 95 % as efficient as the squared error on normal
        residuals of that width.
    """

    formulas: ClassVar[tuple[str, ...]] = (
        "$z$",
        r"$\frac{1}{k} \sum_m c_m (r_m - c_m / 2)$, "
        r"where $r = \lvert p - y \rvert$ and $c = \min(r, d)$",
        r"$\operatorname{sign}(p - y) \, c / k$",
    )

    delta: float = 1.35

    scalable: ClassVar[bool] = True
    robust: ClassVar[bool] = True

    def check(self) -> None:
        check_number(self, "delta", 0, closed="neither")

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)
        np.clip(out, -self.delta, self.delta, out=out)
        out /= out.shape[-1]

    def value(self, p: Array, y: Array) -> Array:
        r = np.abs(p - y)
        # r^2 / 2 up to d, from there d (r - d / 2): with c = min(r, d), c (r - c / 2).
        c = np.minimum(r, self.delta)
        return row_mean(c * (r - 0.5 * c))


@dataclass(frozen=True)
class Quantile(Loss):
    """mean_kj max(q_j r, (q_j - 1) r), r = y_k - p_kj: quantiles q_j of each target.

    Several quantiles never cross, whatever the features: p_k0 = z_k0 and
    p_kj = p_k(j-1) + log(1 + exp(z_kj)).  With m predictions per row, e_kj = d value /
    d p_kj is (1 - q_j) / m where p_kj > y_k and -q_j / m where p_kj < y_k, and

    delta2_k0 = sum_i e_ki,   delta2_kj = (1 - exp(p_k(j-1) - p_kj)) sum_i>=j e_ki

    (Koenker and Bassett 1978.)

    Parameters
    ----------
    quantile : float or sequence of floats in (0, 1), increasing, default=0.5
    """

    formulas: ClassVar[tuple[str, ...]] = (
        "$z$, of one quantile $q$",
        r"$\frac{1}{k} \sum_m \max(q r_m, (q - 1) r_m)$, where $r = y - p$",
        "$(1 - q) / k$ where $p > y$, $-q / k$ where $p < y$",
    )

    quantile: float | Sequence[float] | Array = 0.5

    scalable: ClassVar[bool] = True
    robust: ClassVar[bool] = True

    def check(self) -> None:
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
    def levels(self) -> Array:
        """The quantiles, (n_quantiles,), float64."""
        return np.atleast_1d(np.asarray(self.quantile, np.float64))

    @property
    def out_activation(self) -> str:  # type: ignore[override]
        """Name of the inverse link: "cumulative_softplus" for several quantiles."""
        return "identity" if len(self.levels) == 1 else "cumulative_softplus"

    def n_scores(self, n_targets: int) -> int:
        return n_targets * len(self.levels)

    def _by_quantile(self, p: Array) -> Array:
        """A view, (..., n_targets, n_quantiles)."""
        return p.reshape(*p.shape[:-1], -1, len(self.levels))

    def forward(self, z: Array) -> None:
        p = self._by_quantile(z)
        if p.shape[-1] > 1:
            steps = p[..., 1:]
            np.logaddexp(steps, 0, out=steps)
            np.cumsum(p, axis=-1, out=p)

    def backward(self, p: Array, y: Array, out: Array) -> None:
        p, error, y = self._by_quantile(p), self._by_quantile(out), y[..., np.newaxis]
        q = self.levels.astype(p.dtype)
        error[...] = (p > y) * (1 - q) - (p < y) * q
        if p.shape[-1] > 1:
            backwards = error[..., ::-1]
            np.cumsum(backwards, axis=-1, out=backwards)
            error[..., 1:] *= -np.expm1(-np.diff(p, axis=-1))
        out /= out.shape[-1]

    def value(self, p: Array, y: Array) -> Array:
        r = y[..., np.newaxis] - self._by_quantile(p)
        q = self.levels.astype(p.dtype)
        return row_mean(np.maximum(q * r, (q - 1) * r), axis=(-2, -1))

    def best_constant(self, mean: Array, margin: float) -> Array:
        p = mean[:, np.newaxis] + np.arange(len(self.levels))
        return self._scores_of(p)

    def constant(self, Y: Array, sample_weight: Array, margin: float) -> Array:
        return self._scores_of(weighted_quantiles(Y, sample_weight, self.levels))

    def targets_of_scores(self, n_targets: int) -> Array:
        targets = np.full((n_targets, len(self.levels)), -1)
        targets[:, 0] = np.arange(n_targets)
        return targets.ravel()

    def rescaled_scores(self, z: Array, scale: Array) -> Array:
        p = z.copy()
        self.forward(p)
        p = self._by_quantile(p) * scale[:, np.newaxis]
        return np.array([self._scores_of(row) for row in p])

    def _scores_of(self, p: Array) -> Array:
        """The scores of quantiles, (n_targets, n_quantiles); equal ones move apart."""
        steps = np.diff(p, axis=1)
        p = p.copy()
        p[:, 1:] = _softplus_inverse(np.maximum(steps, SMALLEST_STEP))
        return p.ravel()

    def predicted(self, p: Array, n_targets: int) -> Array:
        return p if np.ndim(self.quantile) == 0 else self._by_quantile(p)

    def rescale(self, p: Array, scale: Array, shift: Array) -> None:
        p = self._by_quantile(p)
        p *= scale[:, np.newaxis]
        p += shift[:, np.newaxis]

    def interval_error(self, p: Array, y: Array) -> Array:
        """Distance beyond the outer quantiles (Romano, Patterson and Candes 2019)."""
        p = self._by_quantile(p)
        distance: Array = np.maximum(p[..., 0] - y, y - p[..., -1])
        return distance

    def interval(
        self, predicted: Array, spread: Array | None, width: Array
    ) -> tuple[Array, Array]:
        if predicted.ndim == 2:
            return predicted - width, predicted + width
        most = np.finfo(np.float64).max
        lower = np.maximum(predicted[..., 0] - width, -most)
        upper = np.minimum(predicted[..., -1] + width, most)
        middle = lower / 2 + upper / 2  # a negative width could make the ends cross
        return np.minimum(lower, middle), np.maximum(upper, middle)

    def onnx(self, graph: Graph, z: str) -> str:
        n_levels = len(self.levels)
        if n_levels == 1:
            return z
        # A row per target: the first score, and the steps from each quantile to the
        # next, are summed up by a product with ones on and above the diagonal.
        rows = graph.node("Reshape", z, graph.constant([-1, n_levels], np.int64))
        first = graph.constant([np.arange(n_levels) == 0], np.bool_)
        steps = graph.node("Where", first, rows, onnx_forms.softplus(graph, rows))
        sums = graph.node("MatMul", steps, np.triu(np.ones((n_levels, n_levels))))
        return graph.node("Reshape", sums, graph.node("Shape", z))


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """sum_k log s_k + (y_k - m_k)^2 / (2 s_k^2): learns mean and spread together.

    The negative log-likelihood of a normal distribution, up to a constant, with means
    m = z and standard deviations s = e + log(1 + exp(z)). The scores of all means come
    before those of all spreads, and likewise the predictions (m, s).

    delta2 of the means = (m - y) / s^2
    delta2 of the spreads = (1 / s - (m - y)^2 / s^3) (1 - exp(e - s))

    (Nix and Weigend 1994.)

    Parameters
    ----------
    min_std : float > 0, default=0.01
        The smallest spread e. Without it the loss of targets that are fitted exactly
        would have no minimum, and small data would be overfitted in ever larger steps.
        In units of the targets; standardized targets have a standard deviation of 1.
    """

    formulas: ClassVar[tuple[str, ...]] = (
        r"mean $\mu = z$, spread $\sigma = \log(1 + e^{z'})$, plus a little",
        r"$\sum_m [\log \sigma_m$ $+ (y_m - \mu_m)^2 / (2 \sigma_m^2)]$",
        r"$(\mu - y) / \sigma^2$; and for $z'$ "
        r"$[1 / \sigma - (y - \mu)^2 / \sigma^3]$ $\cdot (1 - e^{-\sigma})$",
    )

    min_std: float = 0.01

    out_activation: ClassVar[str] = "identity, softplus"
    scalable: ClassVar[bool] = True
    degree: ClassVar[int] = 0
    relative_errors: ClassVar[bool] = True

    def check(self) -> None:
        check_number(self, "min_std", 0, closed="neither")

    def n_scores(self, n_targets: int) -> int:
        return 2 * n_targets

    def forward(self, z: Array) -> None:
        s = z[..., z.shape[-1] // 2 :]
        with np.errstate(under="ignore"):
            np.logaddexp(s, 0, out=s)
        s += self.min_std

    def backward(self, p: Array, y: Array, out: Array) -> None:
        k = y.shape[-1]
        m, s = p[..., :k], p[..., k:]
        of_mean, of_spread = out[..., :k], out[..., k:]
        np.subtract(m, y, out=of_mean)
        of_mean /= s
        of_spread[...] = (1 - np.square(of_mean)) / s
        of_spread *= -np.expm1(self.min_std - s)
        of_mean /= s

    def value(self, p: Array, y: Array) -> Array:
        k = y.shape[-1]
        m, s = p[..., :k], p[..., k:]
        return row_sum(np.log(s) + 0.5 * np.square((m - y) / s))

    def best_constant(self, mean: Array, margin: float) -> Array:
        return np.append(mean, np.full(len(mean), _softplus_inverse(1.0)))

    def constant(self, Y: Array, sample_weight: Array, margin: float) -> Array:
        mean = np.average(Y, axis=0, weights=sample_weight)
        variance = np.average(np.square(Y - mean), axis=0, weights=sample_weight)
        s = np.sqrt(variance) - self.min_std
        return np.append(mean, _softplus_inverse(np.maximum(s, SMALLEST_STEP)))

    def targets_of_scores(self, n_targets: int) -> Array:
        return np.append(np.arange(n_targets), np.full(n_targets, -1))

    def rescaled_scores(self, z: Array, scale: Array) -> Array:
        """Spreads do not shrink: too small a spread makes steps of any length."""
        p = z.copy()
        self.forward(p)
        k = len(scale)
        s = np.where(scale > 0, p[..., k:] * np.maximum(scale, 1), 1.0) - self.min_std
        spreads = _softplus_inverse(np.maximum(s, SMALLEST_STEP))
        return np.concatenate([z[..., :k] * scale, spreads], axis=-1)

    def predicted(self, p: Array, n_targets: int) -> Array:
        return p[..., :n_targets]

    def spread(self, p: Array, n_targets: int) -> Array | None:
        return p[..., n_targets:]

    def rescale(self, p: Array, scale: Array, shift: Array) -> None:
        k = len(scale)
        p[..., :k] *= scale
        p[..., :k] += shift
        p[..., k:] *= scale

    def interval_error(self, p: Array, y: Array) -> Array:
        """In standard deviations (Lei et al. 2018, section 5.2)."""
        k = y.shape[-1]
        distance: Array = np.abs(p[..., :k] - y) / p[..., k:]
        return distance

    def interval(
        self, predicted: Array, spread: Array | None, width: Array
    ) -> tuple[Array, Array]:
        assert spread is not None  # from the method of this name
        return predicted - width * spread, predicted + width * spread

    def onnx(self, graph: Graph, z: str) -> str:
        return z  # the mean; the graph does not give the spread


def _softplus_inverse(s: Array | float) -> Array:
    """The z of log(1 + exp(z)) = s > 0."""
    return s + np.log(-np.expm1(-s))


def weighted_quantiles(
    Y: Array, sample_weight: Array, levels: Sequence[float] | Array
) -> Array:
    """Weighted quantiles of each column, (n_columns, n_levels): least pinball loss.

    The smallest value with at least this share of the weight at or below it; where the
    share is met exactly, the middle of that value and the next.
    """
    values = np.empty((Y.shape[1], len(levels)))
    for k, y in enumerate(Y.T):
        order = np.argsort(y, kind="stable")
        order = order[sample_weight[order] > 0]
        y, below = y[order], np.cumsum(sample_weight[order])
        at = np.asarray(levels) * below[-1]
        lower = np.searchsorted(below, at * (1 - 1e-12), side="left")
        upper = np.searchsorted(below, at * (1 + 1e-12), side="right")
        last = len(y) - 1
        values[k] = y[np.minimum(lower, last)] / 2 + y[np.minimum(upper, last)] / 2
    return values


REGRESSOR_LOSSES: dict[str, Loss] = {
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
    "quantile": Quantile(),
    "gaussian_nll": GaussianNLL(),
    "poisson": Poisson(),
    "gamma": Gamma(),
}
