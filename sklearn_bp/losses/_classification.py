"""Losses of class scores: log-loss and squared error, each in two variants.

See `losses._base` for the conventions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import expit, log_expit, logit

from sklearn_bp._common import onnx_forms
from sklearn_bp._common.blas import blas_for
from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.option import check_number
from sklearn_bp._common.types import Array
from sklearn_bp.losses._base import Loss, row_sum

__all__ = [
    "CLASSIFIER_LOSSES",
    "BinaryLogLoss",
    "BinarySquaredError",
    "CategoricalLogLoss",
    "CategoricalSquaredError",
    "ClassLoss",
    "LogLoss",
]

# Log-losses raise smaller probabilities to this value, as scikit-learn's do.
_EPSILON = {np.dtype(t): np.array(np.finfo(t).eps, t) for t in ("f4", "f8")}


def _minus_log(p: Array) -> Array:
    """-log p, in place, finite even for p = 0."""
    np.maximum(p, _EPSILON[p.dtype], out=p)
    np.log(p, p)
    return np.negative(p, p)


def _raise_zeros(p: Array) -> None:
    """Replace probabilities that underflow by the smallest normal number."""
    np.maximum(p, np.finfo(p.dtype).tiny, out=p)


def _softmax(z: Array) -> None:
    """Softmax over the outputs, in place, shifted by the largest score."""
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)


class ClassLoss(Loss):
    """A loss for classes."""

    def proba(self, z: Array) -> None:
        """Turn scores into probabilities, in place, never 0."""
        self.forward(z)
        _raise_zeros(z)

    def variant(self, exclusive: bool) -> "ClassLoss":
        """The loss for classes that exclude each other, or for independent scores."""
        return self


class _SigmoidOutputs(ClassLoss):
    """One sigmoid per score, p = 1 / (1 + exp(-z)): for two classes, or per label."""

    out_activation: ClassVar[str] = "logistic"
    of_mean: ClassVar[bool] = True

    def best_constant(self, mean: Array, margin: float) -> Array:
        scores: Array = logit(np.clip(mean, margin, 1 - margin))
        return scores

    def forward(self, z: Array) -> None:
        expit(z, out=z)

    def proba(self, z: Array) -> None:
        """Strictly between 0 and 1."""
        expit(z, out=z)
        _raise_zeros(z)
        np.minimum(z, 1 - np.finfo(z.dtype).epsneg, out=z)

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Sigmoid", z)


@dataclass(frozen=True)
class LogLoss(ClassLoss):
    """-log p of the true class: `CategoricalLogLoss`, or `BinaryLogLoss`.

    Label smoothing e replaces the targets 1 and 0 by 1 - e + e / K and e / K, where K
    is the number of classes, and 2 for each label (Szegedy et al. 2016). The loss on
    validation rows is not smoothed.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default=0.0
    """

    label_smoothing: float = 0.0

    tempered: ClassVar[bool] = True
    of_mean: ClassVar[bool] = True

    def check(self) -> None:
        check_number(self, "label_smoothing", 0, 1)

    def variant(self, exclusive: bool) -> "ClassLoss":
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

    formulas = (
        r"softmax: $e^{z_m} / \sum_l e^{z_l}$",
        r"$-\sum_m y_m \log p_m$",
        "$p - y$",
    )

    out_activation = "softmax"

    def best_constant(self, mean: Array, margin: float) -> Array:
        return np.log(np.maximum(mean, margin))

    def forward(self, z: Array) -> None:
        _softmax(z)

    def bind(self, shape: tuple[int, ...], dtype: DTypeLike) -> Callable[[Array], None]:
        """Softmax without the shift: a third of the time, 6 to 22 % of a fit less.

        Used while no score is so large that exponentials, or their sums, could
        overflow or lose digits; otherwise the scores are shifted.
        """
        dtype, (n_rows, n_outputs) = np.dtype(dtype), shape
        gemv, amax = blas_for(dtype).gemv, blas_for(dtype).amax
        most = 600.0 if dtype == np.float64 else 60.0
        ones, sums = np.ones(n_outputs, dtype), np.empty(n_rows, dtype)
        column = sums[:, np.newaxis]

        def forward(z: Array) -> None:
            scores = z.ravel()
            if not -most < scores.item(amax(scores)) < most:
                return _softmax(z)
            np.exp(z, z)
            gemv(1.0, z.T, ones, 0.0, sums, 0, 1, 0, 1, 1, 1)
            np.divide(z, column, z)
            return None

        return forward

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)

    def value(self, p: Array, y: Array) -> Array:
        true = (p * y) @ np.ones(p.shape[-1], p.dtype)  # faster than a sum over axis -1
        return _minus_log(true)

    def proba(self, z: Array) -> None:
        self.bind(z.shape, z.dtype)(z)
        _raise_zeros(z)

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Softmax", z, axis=1)


class BinaryLogLoss(_SigmoidOutputs, LogLoss):
    """-sum_k [y_k log p_k + (1 - y_k) log(1 - p_k)], p = 1 / (1 + exp(-z)).

    One score for two classes, or one per label; delta2 = p - y.
    """

    formulas = (
        "$1 / (1 + e^{-z})$",
        r"$-\sum_m [y_m \log p_m$ $+ (1 - y_m) \log (1 - p_m)]$",
        "$p - y$",
    )

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)

    def value(self, p: Array, y: Array) -> Array:
        return row_sum(_minus_log(np.where(y > 0, p, 1 - p)))


class _SmoothCategoricalLogLoss(CategoricalLogLoss):
    """-sum_k t_k log p_k, t = (1 - e) y + e / K; delta2 = p - t."""

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, _smoothed(y, self.label_smoothing, y.shape[-1], p.dtype), out)

    def value(self, p: Array, y: Array) -> Array:
        t = _smoothed(y, self.label_smoothing, y.shape[-1], p.dtype)
        return row_sum(t * _minus_log(p.copy()))

    def best_constant(self, mean: Array, margin: float) -> Array:
        e = self.label_smoothing
        return super().best_constant(_smoothed(mean, e, len(mean), float), margin)

    def for_validation(self) -> Loss:
        return CategoricalLogLoss()


class _SmoothBinaryLogLoss(BinaryLogLoss):
    """-sum_k [t_k log p_k + (1 - t_k) log(1 - p_k)], t = (1 - e) y + e / 2.

    delta2 = p - t.
    """

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, _smoothed(y, self.label_smoothing, 2, p.dtype), out)

    def value(self, p: Array, y: Array) -> Array:
        t = _smoothed(y, self.label_smoothing, 2, p.dtype)
        return row_sum(t * _minus_log(p.copy()) + (1 - t) * _minus_log(1 - p))

    def best_constant(self, mean: Array, margin: float) -> Array:
        e = self.label_smoothing
        return super().best_constant(_smoothed(mean, e, 2, float), margin)

    def for_validation(self) -> Loss:
        return BinaryLogLoss()


def _smoothed(y: Array, smoothing: float, n_classes: int, dtype: DTypeLike) -> Array:
    """(1 - e) y + e / K, in a dtype."""
    return (1 - smoothing) * y.astype(dtype) + smoothing / n_classes


class BinarySquaredError(_SigmoidOutputs):
    """1/2 sum_k (p_k - y_k)^2, p = 1 / (1 + exp(-z)): the error of the early texts.

    One score for two classes, or one per label; delta2 = (p - y) p (1 - p), which is
    small wherever the sigmoid saturates, even where the prediction is wrong (Rumelhart,
    Hinton and Williams 1986).
    """

    formulas = (
        "$1 / (1 + e^{-z})$",
        r"$\frac12 \sum_m (p_m - y_m)^2$",
        r"$(p - y) \odot p \odot (1 - p)$",
    )

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)
        out *= p
        out *= 1 - p

    def value(self, p: Array, y: Array) -> Array:
        return 0.5 * row_sum(np.square(p - y))


class CategoricalSquaredError(BinarySquaredError):
    """`BinarySquaredError` with one sigmoid per class, for classes that exclude each
    other: class probabilities are p_k / sum_j p_j.
    """

    def proba(self, z: Array) -> None:
        # p_k / sum_j p_j is the softmax of log p, even where every p underflows.
        log_expit(z, out=z)
        _softmax(z)
        _raise_zeros(z)

    def onnx(self, graph: Graph, z: str) -> str:
        # log p = -log(1 + exp(-z))
        minus_log = onnx_forms.softplus(graph, graph.node("Neg", z))
        return graph.node("Softmax", graph.node("Neg", minus_log), axis=1)


# True: classes that exclude each other, one score per class.  False: independent
# scores, for two classes (one score) or several labels (one score per label).
CLASSIFIER_LOSSES: dict[str, dict[bool, ClassLoss]] = {
    "log_loss": {True: CategoricalLogLoss(), False: BinaryLogLoss()},
    "squared_error": {True: CategoricalSquaredError(), False: BinarySquaredError()},
}
