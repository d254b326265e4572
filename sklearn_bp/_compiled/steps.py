"""Steps of an optimizer by the extension, for gradients that Python computes."""

import numpy as np

from sklearn_bp._compiled.epochs import opened, settings
from sklearn_bp._compiled.library import Job, as_c, engine, fields, has_vector
from sklearn_bp.optimizers import Bound


class Moving(Job):
    """The vectors, and the optimizer."""

    _fields_ = fields(
        "theta g first second",
        "n low high is_double vector optimizer",
        "beta_1 beta_2 epsilon decay alpha",
    )


def bound(optimizer, parameters, alpha, state):
    """Like `optimizer.bind`, but a step is one compiled pass over all weights.

    Parameters
    ----------
    optimizer : object of `optimizers`
        `covers_steps` is true for it.
    parameters : Parameters
    alpha : float
    state : dict or None
    """
    theta = parameters.flat
    kept = opened(optimizer, state, theta)
    second = kept["velocity" if "velocity" in kept else "v"]
    target = parameters.like(np.empty_like(theta))
    before, behind = parameters.unpenalized
    if as_c(theta, theta.dtype, theta.shape) is not theta or not theta.flags.writeable:
        raise ValueError("The vector of theta cannot be updated in place.")
    job = Moving(
        theta=theta,
        g=target.flat,
        second=as_c(second, theta.dtype, theta.shape),
        n=len(theta),
        low=len(before),
        high=len(theta) - len(behind),
        is_double=theta.dtype == np.float64,
        vector=has_vector(),
        alpha=alpha,
        **settings(optimizer),
    )
    if "m" in kept:
        job.set("first", as_c(kept["m"], theta.dtype, theta.shape))

    def begin(n_rows, rate):
        return 1 / n_rows, 0.0

    def finish(n_rows, rate):
        kept["t"] += 1
        return engine.move(job, kept["t"], n_rows, rate)

    return Bound(target, begin, finish, lambda: dict(kept))
