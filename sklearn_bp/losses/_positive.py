"""Losses of counts and amounts, whose predictions are exp(z): Poisson and gamma.

See `losses._base` for the conventions.
"""

import math

import numpy as np
from scipy.special import xlogy

from sklearn_bp._common import onnx_forms
from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.types import Array
from sklearn_bp.losses._base import Loss, row_sum


class Poisson(Loss):
    """sum_k [y_k log(y_k / p_k) - y_k + p_k], p = exp(z): half the deviance.

    For counts and other targets y >= 0; delta2 = p - y.
    """

    formulas = "$e^z$", r"$\sum_m [y_m \log (y_m / p_m)$ $- y_m + p_m]$", "$p - y$"

    out_activation = "exp"
    positive_only = True
    logarithmic = True
    of_mean = True

    def best_constant(self, mean: Array, margin: float) -> Array:
        return np.log(np.maximum(mean, margin))

    def forward(self, z: Array) -> None:
        np.exp(z, out=z)

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.subtract(p, y, out=out)

    def value(self, p: Array, y: Array) -> Array:
        return row_sum(xlogy(y, y / p) - y + p)

    def bounded(self, largest: Array) -> Loss:
        return _BoundedPoisson(largest) if type(self) is Poisson else self

    def check_targets(self, y: Array) -> None:
        if (y < 0).any():
            raise ValueError(
                "Some targets are negative: loss='poisson' needs y >= 0. "
                "Use loss='squared_error' for targets of either sign."
            )

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.bounded_exp(graph, z)


class Gamma(Loss):
    """sum_k [y_k / p_k - log(y_k / p_k) - 1], p = exp(z): half the deviance.

    For amounts y > 0 whose spread grows with their mean; delta2 = 1 - y / p.
    """

    formulas = (
        "$e^z$",
        r"$\sum_m [y_m / p_m$ $- \log(y_m / p_m) - 1]$",
        "$1 - y / p$",
    )

    out_activation = "exp"
    positive_only = True
    logarithmic = True
    degree = 0
    of_mean = True

    def best_constant(self, mean: Array, margin: float) -> Array:
        return np.log(np.maximum(mean, np.finfo(float).tiny))

    def forward(self, z: Array) -> None:
        np.exp(z, out=z)

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.divide(y, p, out=out)
        np.subtract(1, out, out=out)

    def value(self, p: Array, y: Array) -> Array:
        ratio = y / p
        return row_sum(ratio - np.log(ratio) - 1)

    def bounded(self, largest: Array) -> Loss:
        return _BoundedGamma() if type(self) is Gamma else self

    def check_targets(self, y: Array) -> None:
        if (y <= 0).any():
            raise ValueError(
                "Some targets are not positive: loss='gamma' needs y > 0. "
                "Use loss='poisson' for targets y >= 0, or loss='squared_error' for "
                "targets of either sign."
            )

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.bounded_exp(graph, z)


# An outlier in one feature can make a score of any size, and exp(z) an error that ruins
# the training.  So errors stop growing once a prediction is this many times the largest
# Poisson target, or a Gamma target this many times its prediction.
LARGEST_POISSON = 30.0
LARGEST_GAMMA = 1000.0


def _bounded_exp(z: Array) -> None:
    """exp(z), in place, neither 0 nor infinite."""
    most = 700.0 if z.dtype == np.float64 else 80.0
    np.minimum(z, most, out=z)
    np.maximum(z, -most, out=z)
    np.exp(z, out=z)


class _BoundedPoisson(Poisson):
    """`Poisson`, but with m log p in place of p where p > m: linear in z.

    delta2 = min(p, m) - y, where m is LARGEST_POISSON times the largest target.
    """

    most: Array

    def __init__(self, largest: Array) -> None:
        most = np.where(largest > 0, LARGEST_POISSON * largest, np.inf)
        object.__setattr__(self, "most", most.astype(largest.dtype))

    def forward(self, z: Array) -> None:
        _bounded_exp(z)

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.minimum(p, self.most, out=out)
        np.subtract(out, y, out=out)

    def value(self, p: Array, y: Array) -> Array:
        most = self.most
        linear = np.where(p > most, most * (1 + np.log(np.maximum(p / most, 1))), p)
        return row_sum(xlogy(y, y / p) - y + linear)


class _BoundedGamma(Gamma):
    """`Gamma`, but with m log(y / p) in place of y / p where y / p > m: linear in z.

    delta2 = 1 - min(y / p, m), where m = LARGEST_GAMMA.
    """

    def forward(self, z: Array) -> None:
        _bounded_exp(z)

    def backward(self, p: Array, y: Array, out: Array) -> None:
        np.divide(y, p, out=out)
        np.minimum(out, LARGEST_GAMMA, out=out)
        np.subtract(1, out, out=out)

    def value(self, p: Array, y: Array) -> Array:
        ratio, most = y / p, LARGEST_GAMMA
        log = np.log(ratio)
        linear = np.where(ratio > most, most * (1 + log - math.log(most)), ratio)
        return row_sum(linear - log - 1)
