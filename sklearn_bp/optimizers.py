"""First-order optimizers on the flat vector of parameters.

An optimizer holds hyperparameters only.  `bind(parameters, alpha, state)` gives a
`Bound`: where gradients are to be written and two functions around that,

    begin(n_rows, rate) -> (scale, beta): what the gradient is to do with its target,
        target <- beta target + scale (sum of the gradients of n_rows rows)
    finish(n_rows, rate) -> squared norm of the weights before: moves the parameters

The optimizer adds the gradient of the penalty, alpha W / n_rows, itself, and sums up
the squares of the weights (0 if alpha is 0): it passes over the weights anyway.
`state` is a dict of arrays and numbers, all that continuing needs; None for a fresh
start.  `Bound.state()` gives it back.

To add one: a frozen dataclass with `bind`, and a line in the table at the foot.
Fields that are constructor parameters of the estimators are filled from these.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sklearn_bp._blas import blas_for

# A decaying average x <- beta x + g is kept as scale * u with scale <- beta scale and
# u <- u + g / scale: one pass over the vector less.  Below this scale the product is
# written out.
SMALLEST_SCALE = 1e-10

# Vectors longer than a third-level cache are worked through in pieces, which stay in
# the cache from one operation to the next: 10 to 25 % faster.
LONG = 2**20
PIECE = 2**16


# Weights of features that are always zero decay without end under the penalty.
# Denormal numbers make products and roots two to three times slower, so every so many
# steps what is on its way there becomes 0: below 2e-23 in float32, 1e-185 in float64.
FLUSH_EVERY = 256


def _flush(x, scale=1.0):
    """Zero for those of scale x that are next to nothing, in place."""
    least = float(np.finfo(x.dtype).tiny) ** 0.6
    x[np.abs(x) < least / scale] = 0


class Bound(NamedTuple):
    """An optimizer at work on given parameters."""

    target: Any
    begin: Any
    finish: Any
    state: Any


def _pieces(parameters, alpha, *others):
    """Views of all vectors piece by piece, each with those of the penalized part.

    Returns
    -------
    list of (n, views, n_penalized, penalized views): lengths, and views of the
    parameters' flat vector first, then of `others`, which are as long.
    """
    vectors = (parameters.flat, *others)
    piece = PIECE if parameters.flat.size > LONG else parameters.flat.size
    first = len(parameters.b1)
    last = parameters.flat.size - len(parameters.b2)
    pieces = []
    for start in range(0, parameters.flat.size, piece):
        stop = start + piece
        weights = slice(max(start, first), max(first, min(stop, last)))
        views = tuple(v[start:stop] for v in vectors)
        penalized = tuple(v[weights] for v in vectors)
        n_penalized = penalized[0].size if alpha else 0
        pieces.append((views[0].size, views, n_penalized, penalized))
    return pieces


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum.

    v <- momentum v - rate g,    theta <- theta + v

    and with Nesterov's momentum theta <- theta + momentum v - rate g, the form in
    which theta is the point that looks ahead (Bengio, Boulanger-Lewandowski and
    Pascanu 2013, eq. 7).  g is the mean gradient of the batch plus alpha W / n_rows.

    Parameters
    ----------
    momentum : float in [0, 1]
    nesterovs_momentum : bool
    """

    scheduled: ClassVar[bool] = True
    momentum: float = 0.9
    nesterovs_momentum: bool = True

    def bind(self, parameters, alpha=0.0, state=None):
        """The gradient goes straight into the velocity v = scale u.

        With v' the new velocity, Nesterov's step is theta - momentum v +
        (1 + momentum) v': its first half before the gradient product has
        overwritten v, its second half after.  Where the penalty is on the weights,
        with d = 1 - rate alpha / n_rows and theta' = theta - momentum v,

            momentum v - rate alpha / n_rows theta
                = d momentum v - rate alpha / n_rows theta'

        so d goes into the scale, and the intercepts, which have no penalty, are
        divided by it.  This is two passes over the weights less than the
        definition: 3 to 7 % of a step, more for sparse rows.
        """
        theta = parameters.flat
        blas = blas_for(theta.dtype)
        axpy, scal, dot = blas.axpy, blas.scal, blas.dot
        momentum, nesterov = self.momentum, self.nesterovs_momentum
        u = np.zeros_like(theta) if state is None else state["velocity"].copy()
        scale = 1.0 if state is None else state["scale"]
        target = parameters.like(u)
        u_b1, u_b2 = target.b1, target.b2
        pieces = _pieces(parameters, alpha, u)
        n_parameters = theta.size
        squared_norm = 0.0
        t = 0 if state is None else state["t"]

        def begin(n_rows, rate):
            nonlocal scale, squared_norm
            squared_norm = 0.0
            scale *= momentum
            shrink = rate * alpha / n_rows
            decay = fold = 1 - shrink if nesterov else 1.0
            if scale * decay < SMALLEST_SCALE or decay < 0.5:  # written out
                scal(scale, u)
                scale = fold = 1.0
            for n, (w, v), n_pen, (w_pen, v_pen) in pieces:
                if n_pen:
                    squared_norm += dot(w_pen, w_pen)
                if nesterov:
                    axpy(v, w, n, -scale)
                if n_pen:
                    if fold != decay:
                        scal(decay, v_pen)
                    axpy(w_pen, v_pen, n_pen, -shrink / (scale * fold))
            if fold != 1:
                scal(1 / fold, u_b1)
                scal(1 / fold, u_b2)
                scale *= fold
            return -rate / (n_rows * scale), 1.0

        def finish(n_rows, rate):
            nonlocal t
            step = (1 + momentum) * scale if nesterov else scale
            axpy(u, theta, n_parameters, step)
            t += 1
            if t % FLUSH_EVERY == 0:
                _flush(theta)
                _flush(u, scale)
            return squared_norm

        def as_dict():
            return {"velocity": u, "scale": scale, "t": t}

        return Bound(target, begin, finish, as_dict)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1, in the order of its section 2).

    m <- beta_1 m + (1 - beta_1) g,    v <- beta_2 v + (1 - beta_2) g^2
    theta <- theta - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    g is the mean gradient of the batch plus alpha W / n_rows.

    Parameters
    ----------
    beta_1, beta_2 : float in [0, 1)
    epsilon : float > 0
    """

    scheduled: ClassVar[bool] = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def bind(self, parameters, alpha=0.0, state=None):
        """The moments are kept as m_scale m and v_scale v: see SMALLEST_SCALE."""
        theta = parameters.flat
        blas = blas_for(theta.dtype)
        axpy, scal, dot = blas.axpy, blas.scal, blas.dot
        beta_1, beta_2, epsilon = self.beta_1, self.beta_2, self.epsilon
        gradient = np.empty_like(theta)
        if state is None:
            m, v = np.zeros_like(theta), np.zeros_like(theta)
            t, m_scale, v_scale = 0, 1.0, 1.0
        else:
            m, v = state["m"].copy(), state["v"].copy()
            t, m_scale, v_scale = state["t"], state["m_scale"], state["v_scale"]
        offset = np.zeros((), theta.dtype)  # numpy takes an array faster than a float
        pieces = _pieces(parameters, alpha, gradient, m, v)

        def begin(n_rows, rate):
            return 1 / n_rows, 0.0

        def finish(n_rows, rate):
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
            if t % FLUSH_EVERY == 0:
                _flush(theta)
                _flush(m, m_scale)
            root = v_scale**0.5
            offset[()] = epsilon / root
            m_factor, v_factor = (1 - beta_1) / m_scale, (1 - beta_2) / v_scale
            rate *= (1 - beta_2**t) ** 0.5 / (1 - beta_1**t)
            step, shrink = -rate * m_scale / root, alpha / n_rows
            squared_norm = 0.0
            for n, (theta_, g, m_, v_), n_pen, (weights, g_weights, _, _) in pieces:
                if n_pen:
                    squared_norm += dot(weights, weights)
                    axpy(weights, g_weights, n_pen, shrink)
                axpy(g, m_, n, m_factor)
                np.multiply(g, g, g)
                axpy(g, v_, n, v_factor)
                np.sqrt(v_, g)
                np.add(g, offset, g)
                np.divide(m_, g, g)
                axpy(g, theta_, n, step)
            return squared_norm

        def as_dict():
            return {"m": m, "v": v, "t": t, "m_scale": m_scale, "v_scale": v_scale}

        return Bound(parameters.like(gradient), begin, finish, as_dict)


OPTIMIZERS: dict[str, Any] = {"sgd": SGD, "adam": Adam}
