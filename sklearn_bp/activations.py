"""Activations of the hidden layer: forward and backward side by side.

Arrays are (n_rows, n_hidden).  `forward` works in place on the net inputs z1;
`backward` multiplies the error by the derivative, in place.  Most derivatives can be
written in terms of the value a1 = f(z1); an activation whose derivative cannot sets
`of_input`, and its `backward` receives z1.

To add one: a subclass of `Activation` with `forward`, `backward`, `onnx` and
`formulas`, and a line in the table at the end.  The parameter check, the docstrings
and the laws in the tests read that table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import expit, ndtr

from sklearn_bp._common import onnx_forms
from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.option import Option, check_number
from sklearn_bp._common.types import Array


class Activation(Option):
    """An activation; derive your own from it.

    Attributes
    ----------
    of_input : bool
        Whether `backward` takes the net inputs instead of the values.
    glorot_factor : float
        The factor of 'glorot_uniform' (Glorot and Bengio 2010, eq. 16).
    homogeneous : bool
        Whether f(c z) = c f(z) for all c > 0.
    formulas : tuple of str
        f(z) and f'(z) for the table in `docs/backpropagation.md`, as Markdown; only
        the activations in `ACTIVATIONS` need them.
    """

    of_input: ClassVar[bool] = False
    glorot_factor: ClassVar[float] = 6.0
    homogeneous: ClassVar[bool] = False
    formulas: ClassVar[tuple[str, ...]] = ()

    def forward(self, z: Array) -> None:
        """Replace net inputs z, (n_rows, n_hidden), by f(z), in place."""
        raise NotImplementedError

    def backward(self, a: Array, delta: Array) -> None:
        """Multiply delta, (n_rows, n_hidden), by f'(z), in place.

        a is f(z), or z itself if `of_input` is true.
        """
        raise NotImplementedError

    def bind(
        self, shape: tuple[int, ...], dtype: DTypeLike
    ) -> tuple[Callable[[Array], None], Callable[[Array, Array], None]]:
        """`forward` and `backward` for arrays of this shape, with their own buffers.

        `backward` takes the array that `forward` has changed.
        """
        if not self.of_input:
            return self.forward, self.backward
        inputs = np.empty(shape, dtype)

        def forward(z: Array) -> None:
            np.copyto(inputs, z)
            self.forward(z)

        def backward(a: Array, delta: Array) -> None:
            self.backward(inputs, delta)

        return forward, backward

    def onnx(self, graph: Graph, z: str) -> str:
        """Append the nodes of f to an ONNX graph; only needed for export.

        Parameters
        ----------
        graph : sklearn_bp.onnx.Graph
        z : str
            Name of the net inputs.

        Returns
        -------
        str
            Name of the result.
        """
        raise NotImplementedError


class Identity(Activation):
    """f(z) = z, f'(z) = 1: a linear bottleneck."""

    formulas = "$z$", "$1$"
    homogeneous = True

    def forward(self, z: Array) -> None:
        pass

    def backward(self, a: Array, delta: Array) -> None:
        pass

    def onnx(self, graph: Graph, z: str) -> str:
        return z


class Logistic(Activation):
    """f(z) = 1 / (1 + exp(-z)), f'(z) = a (1 - a)."""

    formulas = "$1 / (1 + e^{-z})$", "$a (1 - a)$"

    # Glorot and Bengio 2010 derive 6 for a unit slope at zero.  MLPClassifier uses 2
    # for this activation, and so do we.
    glorot_factor = 2.0

    def forward(self, z: Array) -> None:
        # A third of the time of scipy's expit; exp(-z) = inf correctly gives 0.
        with np.errstate(over="ignore"):
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)

    def backward(self, a: Array, delta: Array) -> None:
        delta *= a
        delta *= 1 - a

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Sigmoid", z)


class Tanh(Activation):
    """f(z) = tanh(z), f'(z) = 1 - a^2."""

    formulas = r"$\tanh z$", "$1 - a^2$"

    def forward(self, z: Array) -> None:
        np.tanh(z, out=z)

    def backward(self, a: Array, delta: Array) -> None:
        delta *= 1 - a * a

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Tanh", z)


class ReLU(Activation):
    """f(z) = max(z, 0), f'(z) = 1 where a > 0, else 0 (0 at z = 0)."""

    formulas = r"$\max(0, z)$", "$1$ if $a > 0$, else $0$"
    homogeneous = True

    def forward(self, z: Array) -> None:
        np.maximum(z, 0, out=z)

    def backward(self, a: Array, delta: Array) -> None:
        delta *= a > 0

    def bind(
        self, shape: tuple[int, ...], dtype: DTypeLike
    ) -> tuple[Callable[[Array], None], Callable[[Array, Array], None]]:
        """The same two on buffers: a step takes 3 to 12 % less time.

        In numpy the maximum with a matrix of zeros takes half the time of the maximum
        with a number, and multiplying by floats half the time of multiplying by bools.
        """
        zeros, zero = np.zeros(shape, dtype), np.zeros((), dtype)
        active, slope = np.empty(shape, bool), np.empty(shape, dtype)

        def forward(z: Array) -> None:
            np.maximum(z, zeros, out=z)

        def backward(a: Array, delta: Array) -> None:
            np.greater(a, zero, active)
            slope[...] = active  # less overhead than numpy.copyto
            np.multiply(delta, slope, delta)

        return forward, backward

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Relu", z)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(z) = z where z > 0, else s z; f'(z) = 1 or s (Maas et al. 2013).

    Parameters
    ----------
    negative_slope : float in [0, 1], default=0.01
        The slope s.
    """

    formulas: ClassVar[tuple[str, ...]] = (
        r"$\max(z, s z)$, $s = 0.01$",
        "$1$ if $a > 0$, else $s$",
    )
    homogeneous: ClassVar[bool] = True
    negative_slope: float = 0.01

    def check(self) -> None:
        check_number(self, "negative_slope", 0, 1, closed="both")

    def forward(self, z: Array) -> None:
        np.maximum(z, self.negative_slope * z, out=z)

    def backward(self, a: Array, delta: Array) -> None:
        np.multiply(delta, self.negative_slope, out=delta, where=a <= 0)

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Max", z, graph.node("Mul", z, self.negative_slope))


@dataclass(frozen=True)
class ELU(Activation):
    """f(z) = z where z > 0, else c (exp(z) - 1); f'(z) = 1, or a + c.

    Clevert, Unterthiner and Hochreiter 2016.

    Parameters
    ----------
    alpha : float > 0, default=1.0
        c, where -c is the limit for large negative inputs.
    """

    formulas: ClassVar[tuple[str, ...]] = (
        "$z$ if $z > 0$, else $c (e^z - 1)$, $c = 1$",
        "$1$ if $a > 0$, else $a + c$",
    )
    alpha: float = 1.0

    def check(self) -> None:
        check_number(self, "alpha", 0, closed="neither")

    def forward(self, z: Array) -> None:
        _elu(z, self.alpha)

    def backward(self, a: Array, delta: Array) -> None:
        np.multiply(delta, a + a.dtype.type(self.alpha), out=delta, where=a <= 0)

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.elu(graph, z, self.alpha)


class SELU(Activation):
    """f(z) = s z where z > 0, else s c (exp(z) - 1); f'(z) = s, or a + s c.

    s = 1.0507, c = 1.6733: units keep mean 0 and variance 1 through a layer whose
    weights have variance 1 / fan_in, as with init="lecun_normal" (Klambauer et al.
    2017).
    """

    formulas = (
        "$s z$ if $z > 0$, else $s c (e^z - 1)$, $s = 1.0507$, $c = 1.6733$",
        "$s$ if $a > 0$, else $a + s c$",
    )
    scale: ClassVar[float] = 1.0507009873554805
    alpha: ClassVar[float] = 1.6732632423543772

    def forward(self, z: Array) -> None:
        _elu(z, self.alpha)
        z *= self.scale

    def backward(self, a: Array, delta: Array) -> None:
        limit = a.dtype.type(self.scale * self.alpha)
        delta *= np.where(a > 0, a.dtype.type(self.scale), a + limit)

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.elu(graph, z, self.alpha, self.scale)


class GELU(Activation):
    """f(z) = z Phi(z), f'(z) = Phi(z) + z phi(z): normal distribution and density.

    The exact form, not its approximation by tanh (Hendrycks and Gimpel 2016).
    """

    formulas = r"$z \Phi(z)$, of the normal distribution", r"$\Phi(z) + z \varphi(z)$"
    of_input = True

    def forward(self, z: Array) -> None:
        z *= ndtr(z)

    def backward(self, z: Array, delta: Array) -> None:
        # phi is 0 beyond 40; clipping there keeps the square of z finite.
        density = np.exp(np.square(np.clip(z, -40, 40)) * z.dtype.type(-0.5))
        density *= z.dtype.type(1 / np.sqrt(2 * np.pi))
        delta *= ndtr(z) + z * density

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.gelu(graph, z)


class SiLU(Activation):
    """f(z) = z s(z), s(z) = 1 / (1 + exp(-z)); f'(z) = s(z) + z s(z) s(-z).

    Also called swish (Ramachandran, Zoph and Le 2017).
    """

    formulas = (
        r"$z \sigma(z)$, $\sigma(z) = 1 / (1 + e^{-z})$",
        r"$\sigma(z) (1 + z \sigma(-z))$",
    )
    of_input = True

    def forward(self, z: Array) -> None:
        z *= expit(z)

    def backward(self, z: Array, delta: Array) -> None:
        s = expit(z)
        delta *= s + z * (s * expit(-z))

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Mul", z, graph.node("Sigmoid", z))


class Mish(Activation):
    """f(z) = z t, t = tanh(log(1 + exp(z))); f'(z) = t + z s(z) (1 - t^2).

    Misra 2019; s(z) = 1 / (1 + exp(-z)).
    """

    formulas = r"$z t$, $t = \tanh \log(1 + e^z)$", r"$t + z \sigma(z) (1 - t^2)$"
    of_input = True

    def forward(self, z: Array) -> None:
        z *= np.tanh(_softplus(z))

    def backward(self, z: Array, delta: Array) -> None:
        t = np.tanh(_softplus(z))
        delta *= t + z * (expit(z) * (1 - t * t))

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Mul", z, graph.node("Tanh", onnx_forms.softplus(graph, z)))


class Softplus(Activation):
    """f(z) = log(1 + exp(z)), f'(z) = 1 - exp(-a) (Dugas et al. 2000)."""

    formulas = r"$\log(1 + e^z)$", "$1 - e^{-a}$"

    def forward(self, z: Array) -> None:
        np.logaddexp(z, z.dtype.type(0), out=z)

    def backward(self, a: Array, delta: Array) -> None:
        delta *= -np.expm1(-a)

    def onnx(self, graph: Graph, z: str) -> str:
        return onnx_forms.softplus(graph, z)


def _elu(z: Array, c: float) -> None:
    """Z where z > 0, else c (exp(z) - 1), in place, without overflow."""
    below = np.expm1(np.minimum(z, 0))
    below *= c
    np.maximum(z, 0, out=z)
    z += below


def _softplus(z: Array) -> Array:
    value: Array = np.logaddexp(z, z.dtype.type(0))
    return value


class _Own(Activation):
    """A user's object that does not derive from `Activation`, with the defaults."""

    __wrapped__: Any

    def __init__(self, activation: Any) -> None:
        object.__setattr__(self, "__wrapped__", activation)
        object.__setattr__(self, "forward", activation.forward)
        object.__setattr__(self, "backward", activation.backward)
        for name in ("bind", "of_input", "glorot_factor", "homogeneous", "onnx"):
            if hasattr(activation, name):
                object.__setattr__(self, name, getattr(activation, name))


def as_activation(activation: Any) -> Activation:
    """The activation for a name in the table; objects unchanged, or wrapped."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]
    return activation if isinstance(activation, Activation) else _Own(activation)


def is_same_activation(one: Any, other: Any) -> bool:
    """Whether two names or objects stand for the same activation.

    Objects that do not derive from `Activation` are compared by their class.
    """
    one, other = (
        ACTIVATIONS.get(a, a) if isinstance(a, str) else a for a in (one, other)
    )
    if isinstance(one, Activation):
        return bool(one == other)
    return type(one) is type(other)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Identity(),
    "logistic": Logistic(),
    "tanh": Tanh(),
    "relu": ReLU(),
    "leaky_relu": LeakyReLU(),
    "elu": ELU(),
    "selu": SELU(),
    "gelu": GELU(),
    "silu": SiLU(),
    "mish": Mish(),
    "softplus": Softplus(),
}
