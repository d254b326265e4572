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

To add one: a frozen dataclass with `bind`, derived from `Optimizer`, and a line in the
table at the foot.  Of an optimizer that is given by its name, fields that are
constructor parameters of the estimators are filled from these.

`clip_norm`, a field of all of them: a gradient (the mean over the batch, without the
penalty) whose Euclidean norm over all parameters is larger is scaled down to it
(Pascanu, Mikolov and Bengio 2013, algorithm 1); of several networks side by side, each
one's by itself.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sklearn_bp._common.blas import blas_for
from sklearn_bp._common.option import Option, check_number

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
    before, behind = parameters.unpenalized
    first, last = len(before), parameters.flat.size - len(behind)
    pieces = []
    for start in range(0, parameters.flat.size, piece):
        stop = start + piece
        weights = slice(max(start, first), max(first, min(stop, last)))
        views = tuple(v[start:stop] for v in vectors)
        penalized = tuple(v[weights] for v in vectors)
        n_penalized = penalized[0].size if alpha else 0
        pieces.append((views[0].size, views, n_penalized, penalized))
    return pieces


def _clipper(gradient, clip_norm):
    """A function that scales `gradient`, Parameters, to at most this norm, or None."""
    if clip_norm is None:
        return None
    members = [member.arrays() for member in gradient.members()]

    def clip():
        for member in members:
            squares = sum(float(np.vdot(part, part)) for part in member)
            if squares > clip_norm**2:
                for part in member:
                    part *= clip_norm / squares**0.5

    return clip


@dataclass(frozen=True)
class Optimizer(Option):
    """A first-order rule of update; a class of one's own derives from it.

    Attributes
    ----------
    scheduled : bool
        Whether the learning rates 'invscaling' and 'adaptive' apply, which are those
        of gradient descent in scikit-learn. All others do.
    decays : bool
        Whether it has a decay of the weights of its own, so that alpha="auto" is 0.
    adaptive : bool
        Whether its steps do not depend on the length of the gradient, so that a
        scaling layer may be trained by it. Then `begin` moves nothing, and returns
        beta = 0: the gradient is all that its target holds.
    gradient_powers : dict
        Of the arrays in its state that have a number for each parameter, the power of
        the gradient that they are made of; 0 for those that move as parameters do.
    """

    gradient_powers: ClassVar[dict[str, int]] = {}
    scheduled: ClassVar[bool] = False
    decays: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False

    def check(self):
        for name, (low, high, closed) in _RANGES.items():
            if hasattr(self, name):
                check_number(self, name, low, high, closed)
        if getattr(self, "clip_norm", None) is not None:
            check_number(self, "clip_norm", 0, closed="neither")

    def bind(self, parameters, alpha=0.0, state=None):
        """A `Bound` for these parameters; see the head of this module."""
        raise NotImplementedError


_RANGES = {
    "momentum": (0, 1, "both"),
    "beta_1": (0, 1, "left"),
    "beta_2": (0, 1, "left"),
    "rho": (0, 1, "left"),
    "epsilon": (0, np.inf, "neither"),
    "weight_decay": (0, np.inf, "left"),
}


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    v <- momentum v - rate g,    theta <- theta + v

    and with Nesterov's momentum theta <- theta + momentum v - rate g, the form in
    which theta is the point that looks ahead (Bengio, Boulanger-Lewandowski and
    Pascanu 2013, eq. 7).  g is the mean gradient of the batch plus alpha W / n_rows.

    Parameters
    ----------
    momentum : float in [0, 1], default=0.9
    nesterovs_momentum : bool, default=True
    clip_norm : float > 0 or None, default=None
    """

    gradient_powers: ClassVar[dict[str, int]] = {"velocity": 0}
    scheduled: ClassVar[bool] = True
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    clip_norm: float | None = None

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
        if self.clip_norm is not None:
            return self._bind_plainly(parameters, alpha, state)
        theta = parameters.flat
        blas = blas_for(theta.dtype)
        axpy, scal, dot = blas.axpy, blas.scal, blas.dot
        momentum, nesterov = self.momentum, self.nesterovs_momentum
        u = np.zeros_like(theta) if state is None else state["velocity"].copy()
        scale = 1.0 if state is None else state["scale"]
        target = parameters.like(u)
        u_before, u_behind = target.unpenalized
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
                scal(1 / fold, u_before)
                scal(1 / fold, u_behind)
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

    def _bind_plainly(self, parameters, alpha, state):
        """As defined: the gradient has a place of its own, to be clipped there."""
        theta, momentum = parameters.flat, self.momentum
        gradient = parameters.like(np.empty_like(theta))
        clip = _clipper(gradient, self.clip_norm)
        v = np.zeros_like(theta)
        if state is not None:
            v += state["scale"] * state["velocity"]
        t = 0 if state is None else state["t"]

        def begin(n_rows, rate):
            return 1 / n_rows, 0.0

        def finish(n_rows, rate):
            nonlocal t
            squared_norm = 0.0
            clip()
            if alpha:
                squared_norm = parameters.squared_norm()
                gradient.penalized[...] += (alpha / n_rows) * parameters.penalized
            v[...] = momentum * v - rate * gradient.flat
            if self.nesterovs_momentum:
                theta[...] += momentum * v - rate * gradient.flat
            else:
                theta[...] += v
            t += 1
            if t % FLUSH_EVERY == 0:
                _flush(theta)
                _flush(v)
            return squared_norm

        def as_dict():
            return {"velocity": v, "scale": 1.0, "t": t}

        return Bound(gradient, begin, finish, as_dict)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1, in the order of its section 2).

    m <- beta_1 m + (1 - beta_1) g,    v <- beta_2 v + (1 - beta_2) g^2
    theta <- theta - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    g is the mean gradient of the batch plus alpha W / n_rows.

    Parameters
    ----------
    beta_1, beta_2 : float in [0, 1), default=0.9 and 0.999
    epsilon : float > 0, default=1e-8
    clip_norm : float > 0 or None, default=None
    """

    gradient_powers: ClassVar[dict[str, int]] = {"m": 1, "v": 2}
    adaptive: ClassVar[bool] = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float | None = None

    def bind(self, parameters, alpha=0.0, state=None):
        """The moments are kept as m_scale m and v_scale v: see SMALLEST_SCALE."""
        theta = parameters.flat
        blas = blas_for(theta.dtype)
        axpy, scal, dot = blas.axpy, blas.scal, blas.dot
        beta_1, beta_2, epsilon = self.beta_1, self.beta_2, self.epsilon
        gradient = np.empty_like(theta)
        target = parameters.like(gradient)
        clip = _clipper(target, self.clip_norm)
        weights_too, weight_decay = parameters.penalized, self._weight_decay
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
            if weight_decay:
                scal(1 - rate * weight_decay, weights_too)
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
            if clip is not None:
                clip()
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

        return Bound(target, begin, finish, as_dict)

    @property
    def _weight_decay(self):
        return 0.0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

    W <- (1 - rate weight_decay) W before each step of Adam's, for the weights, not the
    intercepts.  The decay does not pass through Adam's moments, as the penalty `alpha`
    does; alpha="auto" is 0 with this optimizer.

    Parameters
    ----------
    beta_1, beta_2 : float in [0, 1), default=0.9 and 0.999
    epsilon : float > 0, default=1e-8
    clip_norm : float > 0 or None, default=None
    weight_decay : float >= 0, default=0.01
    """

    decays: ClassVar[bool] = True
    weight_decay: float = 0.01

    @property
    def _weight_decay(self):
        return self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """The gradient over a running root mean square (Tieleman and Hinton 2012).

    v <- rho v + (1 - rho) g^2,    theta <- theta - rate g / (sqrt(v) + epsilon)

    g is the mean gradient of the batch plus alpha W / n_rows.

    Parameters
    ----------
    rho : float in [0, 1), default=0.99
    epsilon : float > 0, default=1e-8
    clip_norm : float > 0 or None, default=None
    """

    gradient_powers: ClassVar[dict[str, int]] = {"v": 2}
    adaptive: ClassVar[bool] = True
    rho: float = 0.99
    epsilon: float = 1e-8
    clip_norm: float | None = None

    def bind(self, parameters, alpha=0.0, state=None):
        theta = parameters.flat
        target = parameters.like(np.empty_like(theta))
        clip = _clipper(target, self.clip_norm)
        v = np.zeros_like(theta) if state is None else state["v"].copy()
        t = 0 if state is None else state["t"]
        rho, epsilon = self.rho, theta.dtype.type(self.epsilon)
        g, buffer = target.flat, np.empty_like(theta)
        blas = blas_for(theta.dtype)
        axpy, scal = blas.axpy, blas.scal

        def begin(n_rows, rate):
            return 1 / n_rows, 0.0

        def finish(n_rows, rate):
            nonlocal t
            t += 1
            squared_norm = 0.0
            if clip is not None:
                clip()
            if alpha:
                squared_norm = parameters.squared_norm()
                axpy(parameters.penalized, target.penalized, a=alpha / n_rows)
            scal(rho, v)
            np.multiply(g, g, buffer)
            axpy(buffer, v, a=1 - rho)
            np.sqrt(v, buffer)
            np.add(buffer, epsilon, buffer)
            np.divide(g, buffer, buffer)
            axpy(buffer, theta, a=-rate)
            if t % FLUSH_EVERY == 0:
                _flush(theta)
            return squared_norm

        def as_dict():
            return {"v": v, "t": t}

        return Bound(target, begin, finish, as_dict)


OPTIMIZERS: dict[str, Any] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
}


def as_optimizer(solver, settings):
    """The optimizer of a name, with those of the settings that it has; or the object.

    Parameters
    ----------
    solver : str or object
    settings : callable(name, default) -> value
        The estimator's, or the default.
    """
    if not isinstance(solver, str):
        return solver
    optimizer = OPTIMIZERS[solver]
    return optimizer(**{f.name: settings(f.name, f.default) for f in fields(optimizer)})


def decays(solver):
    """Whether a solver, a name or an object, has a weight decay of its own."""
    return _says(solver, "decays")


def adaptive(solver):
    """Whether the steps of a solver, a name or an object, do not depend on the length
    of the gradient.
    """
    return _says(solver, "adaptive")


def _says(solver, attribute):
    optimizer = OPTIMIZERS.get(solver) if isinstance(solver, str) else solver
    return bool(getattr(optimizer, attribute, False))
