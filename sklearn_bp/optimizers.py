"""First-order optimizers on the flat vector of parameters.

An optimizer holds hyperparameters only.  `bind(parameters, state)` gives a
`Bound`: the vector that gradients are to be written to and two functions,

    begin(n_rows) -> (scale, beta): what `gradient` is to do with its target
    finish(rate): moves the parameters

around them.  `state` is a dict of arrays and numbers: all that continuing needs;
None for a fresh start.  `Bound.state()` gives it back.

To add one: a class with `bind`, and a line in the table at the foot.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sklearn_bp._blas import blas_for

# A decaying average x <- beta x + g is kept as scale * u with scale <- beta scale and
# u <- u + g / scale: one pass over the vector less (10 to 20 % of a step where
# batches are small).  Below this scale the product is written out.
SMALLEST_SCALE = 1e-10


class Bound(NamedTuple):
    """An optimizer at work on given parameters."""

    target: Any
    begin: Any
    finish: Any
    state: Any


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum.

    v <- momentum v - rate g,    theta <- theta + v

    and with Nesterov's momentum theta <- theta + momentum v - rate g, the form in
    which theta is the point that looks ahead (Bengio, Boulanger-Lewandowski and
    Pascanu 2013, eq. 7).

    Parameters
    ----------
    momentum : float in [0, 1]
    nesterovs_momentum : bool
    """

    momentum: float = 0.9
    nesterovs_momentum: bool = True

    def bind(self, parameters, state=None):
        theta = parameters.flat
        n, blas = theta.size, blas_for(theta.dtype)
        axpy, scal = blas.axpy, blas.scal
        momentum, nesterov = self.momentum, self.nesterovs_momentum
        gradient = np.empty_like(theta)
        u = np.zeros_like(theta) if state is None else state["velocity"].copy()
        scale = 1.0 if state is None else state["scale"]  # v = scale u

        def begin(n_rows):
            return 1 / n_rows, 0.0

        def finish(rate):
            nonlocal scale
            scale *= momentum
            if scale < SMALLEST_SCALE:
                scal(scale, u)
                scale = 1.0
            axpy(gradient, u, n, -rate / scale)
            if nesterov:
                axpy(u, theta, n, momentum * scale)
                axpy(gradient, theta, n, -rate)
            else:
                axpy(u, theta, n, scale)

        return Bound(
            parameters.like(gradient),
            begin,
            finish,
            lambda: {"velocity": u, "scale": scale},
        )


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1, in the order of its section 2).

    m <- beta_1 m + (1 - beta_1) g,    v <- beta_2 v + (1 - beta_2) g^2
    theta <- theta - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    Parameters
    ----------
    beta_1, beta_2 : float in [0, 1)
    epsilon : float > 0
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def bind(self, parameters, state=None):
        theta = parameters.flat
        n, blas = theta.size, blas_for(theta.dtype)
        axpy, scal = blas.axpy, blas.scal
        beta_1, beta_2, epsilon = self.beta_1, self.beta_2, self.epsilon
        gradient = np.empty_like(theta)
        if state is None:
            m, v = np.zeros_like(theta), np.zeros_like(theta)
            t, m_scale, v_scale = 0, 1.0, 1.0
        else:
            m, v = state["m"].copy(), state["v"].copy()
            t, m_scale, v_scale = state["t"], state["m_scale"], state["v_scale"]
        # The moments are m_scale m and v_scale v: see SMALLEST_SCALE.
        offset = np.zeros((), theta.dtype)  # numpy takes an array faster than a float

        def begin(n_rows):
            return 1 / n_rows, 0.0

        def finish(rate):
            nonlocal t, m_scale, v_scale
            t += 1
            m_scale *= beta_1
            v_scale *= beta_2
            if m_scale < SMALLEST_SCALE:
                scal(m_scale, m)
                m_scale = 1.0
            if v_scale < SMALLEST_SCALE:
                scal(v_scale, v)
                v_scale = 1.0
            axpy(gradient, m, n, (1 - beta_1) / m_scale)
            np.multiply(gradient, gradient, gradient)
            axpy(gradient, v, n, (1 - beta_2) / v_scale)
            root = v_scale**0.5
            offset[()] = epsilon / root
            np.sqrt(v, gradient)
            np.add(gradient, offset, gradient)
            np.divide(m, gradient, gradient)
            rate *= (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
            axpy(gradient, theta, n, -rate * m_scale / root)

        return Bound(
            parameters.like(gradient),
            begin,
            finish,
            lambda: {"m": m, "v": v, "t": t, "m_scale": m_scale, "v_scale": v_scale},
        )


OPTIMIZERS = {"sgd": SGD, "adam": Adam}
