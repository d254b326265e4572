"""Functions that the ONNX forms of several parts share.

`graph` is a `Graph` of `sklearn_bp.onnx`; nothing here, nor in any part, imports ONNX.
Values in a graph go by their names.  The forms use only operators that onnxruntime has
for float32 and float64, which Elu, Selu, Softplus, Mish and Erf are not.  Attributes of
ONNX's operators are float32, so parameters are constants in the dtype of the graph.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly, chebinterpolate
from scipy.special import erfcx

from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.types import Array


def elu(graph: Graph, z: str, alpha: float, scale: float = 1.0) -> str:
    """Scale z where z > 0, else scale alpha (exp(z) - 1)."""
    below = graph.node("Sub", graph.node("Exp", graph.node("Min", z, 0.0)), 1.0)
    below = graph.node("Mul", below, scale * alpha)
    above = graph.node("Mul", graph.node("Relu", z), scale)
    return graph.node("Add", above, below)


def softplus(graph: Graph, z: str) -> str:
    """log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), which does not overflow."""
    small = graph.node("Exp", graph.node("Neg", graph.node("Abs", z)))
    rest = graph.node("Log", graph.node("Add", small, 1.0))
    return graph.node("Add", graph.node("Relu", z), rest)


def bounded_exp(graph: Graph, z: str) -> str:
    """exp(z), neither 0 nor infinite."""
    digits = np.finfo(graph.dtype)
    p = graph.node("Min", graph.node("Exp", z), digits.max)
    return graph.node("Max", p, digits.tiny)


def gelu(graph: Graph, z: str) -> str:
    """Z Phi(z) = max(z, 0) - |z| erfc(x) / 2, x = |z| / sqrt(2).

    This form keeps the digits of small values.  erfc(x) = exp(-x^2) erfcx(x), and
    erfcx is a polynomial in t = (x - 3) / (x + 3), from -1 to 1, to 3e-15.
    """
    size = graph.node("Abs", z)
    x = graph.node("Mul", size, np.sqrt(0.5))
    t = graph.node("Div", graph.node("Sub", x, 3.0), graph.node("Add", x, 3.0))
    highest, *lower = _erfcx_polynomial()[::-1]
    value = graph.constant(highest)
    for coefficient in lower:  # Horner's scheme
        value = graph.node("Add", graph.node("Mul", value, t), coefficient)
    density = graph.node("Exp", graph.node("Neg", graph.node("Mul", x, x)))
    tail = graph.node("Mul", graph.node("Mul", density, value), 0.5)
    return graph.node("Sub", graph.node("Relu", z), graph.node("Mul", size, tail))


@cache
def _erfcx_polynomial() -> Array:
    """The coefficients of erfcx as a polynomial in t, the constant first."""

    def erfcx_of(t: Any) -> Any:
        """erfcx(x) for t = (x - 3) / (x + 3); 0 for an infinite x."""
        x = 3 * (1 + t) / np.maximum(1 - t, np.finfo(np.float64).tiny)
        return erfcx(x)

    return cheb2poly(chebinterpolate(erfcx_of, 20))
