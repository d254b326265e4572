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
        velocity = np.zeros_like(theta) if state is None else state["velocity"].copy()

        def begin(n_rows):
            return 1 / n_rows, 0.0

        def finish(rate):
            scal(momentum, velocity)
            axpy(gradient, velocity, n, -rate)
            if nesterov:
                axpy(velocity, theta, n, momentum)
                axpy(gradient, theta, n, -rate)
            else:
                axpy(velocity, theta)

        return Bound(
            parameters.like(gradient), begin, finish, lambda: {"velocity": velocity}
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
            m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
        else:
            m, v, t = state["m"].copy(), state["v"].copy(), state["t"]

        def begin(n_rows):
            return 1 / n_rows, 0.0

        def finish(rate):
            nonlocal t
            t += 1
            scal(beta_1, m)
            axpy(gradient, m, n, 1 - beta_1)
            np.multiply(gradient, gradient, out=gradient)
            scal(beta_2, v)
            axpy(gradient, v, n, 1 - beta_2)
            step = np.sqrt(v, out=gradient)
            step += epsilon
            np.divide(m, step, out=step)
            rate *= (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
            axpy(step, theta, n, -rate)

        return Bound(
            parameters.like(gradient), begin, finish, lambda: {"m": m, "v": v, "t": t}
        )


OPTIMIZERS = {"sgd": SGD, "adam": Adam}
