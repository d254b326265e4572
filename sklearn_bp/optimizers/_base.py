"""The base class of optimizers, and the functions that they share.

`bind(parameters, alpha, state)` returns a `Bound`: the array that gradients are written
into, and two functions called before and after that,

    begin(n_rows, rate) -> (scale, beta): how to add the gradient to the target,
        target <- beta target + scale (sum of the gradients of n_rows rows)
    finish(n_rows, rate) -> squared norm of the weights before the step; it moves the
        parameters

The optimizer itself adds the gradient of the penalty, alpha W / n_rows, and sums the
squares of the weights (0 if alpha is 0), because it passes over the weights anyway.
`state` is a dict of arrays and numbers with everything that resuming needs; None starts
afresh.  `Bound.state()` returns it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from sklearn_bp._common.option import Option, check_number
from sklearn_bp._common.types import Array

# Vectors longer than a third-level cache are processed in pieces that stay in the cache
# from one operation to the next, which saves 10 to 25 % of the time.
LONG = 2**20
PIECE = 2**16


# The penalty makes the weights of features that are always zero decay without end.
# Denormal numbers make products and roots two to three times slower.  So at regular
# intervals of steps, values on their way there become 0: below 2e-23 in float32, below
# 3e-185 in float64.
FLUSH_EVERY = 256


def flush(x: Array, scale: float = 1.0) -> None:
    """Set tiny values of scale * x to zero, in place."""
    least = float(np.finfo(x.dtype).tiny) ** 0.6
    x[np.abs(x) < least / scale] = 0


class Bound(NamedTuple):
    """An optimizer bound to parameters."""

    target: Any
    begin: Callable[[int, float], tuple[float, float]]
    finish: Callable[[int, float], float]
    state: Callable[[], dict[str, Any]]


def pieces_of(
    parameters: Any, alpha: float, *others: Array
) -> list[tuple[int, Any, int, Any]]:
    """Views of all vectors piece by piece, and of the penalized part of each piece.

    Returns
    -------
    list of (n, views, n_penalized, penalized views): lengths, and views of the
    parameters' flat vector and of `others`, which have the same length.
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


def begin_with_mean(n_rows: int, rate: float) -> tuple[float, float]:
    """The `begin` of optimizers whose target receives only the mean gradient."""
    return 1 / n_rows, 0.0


def clipper(gradient: Any, clip_norm: float | None) -> Callable[[], None] | None:
    """A function that scales `gradient`, Parameters, down to this norm; or None."""
    if clip_norm is None:
        return None
    members = [member.arrays() for member in gradient.members()]

    def clip() -> None:
        for member in members:
            squares = sum(float(np.vdot(part, part)) for part in member)
            if squares > clip_norm**2:
                for part in member:
                    part *= clip_norm / squares**0.5

    return clip


@dataclass(frozen=True)
class Optimizer(Option):
    """A first-order update rule; derive your own from it.

    Attributes
    ----------
    scheduled : bool
        Whether the learning rates 'invscaling' and 'adaptive' apply, which scikit-learn
        has for gradient descent only. All other schedules apply to every optimizer.
    decays : bool
        Whether it has its own weight decay, so that alpha="auto" is 0.
    adaptive : bool
        Whether its steps are independent of the length of the gradient, so that it can
        train a scaling layer. Then `begin` moves nothing and returns beta = 0: the
        target holds the gradient only.
    gradient_powers : dict
        For each array in its state with one number per parameter: which power of the
        gradient it contains; 0 if it has the unit of the parameters.
    """

    gradient_powers: ClassVar[dict[str, int]] = {}
    scheduled: ClassVar[bool] = False
    decays: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False

    def check(self) -> None:
        for name, (low, high, closed) in RANGES.items():
            if hasattr(self, name):
                check_number(self, name, low, high, closed)
        if getattr(self, "clip_norm", None) is not None:
            check_number(self, "clip_norm", 0, closed="neither")

    def bind(
        self, parameters: Any, alpha: float = 0.0, state: dict[str, Any] | None = None
    ) -> Bound:
        """A `Bound` for these parameters; see the head of this module."""
        raise NotImplementedError


RANGES = {
    "momentum": (0, 1, "both"),
    "beta_1": (0, 1, "left"),
    "beta_2": (0, 1, "left"),
    "rho": (0, 1, "left"),
    "epsilon": (0, np.inf, "neither"),
    "weight_decay": (0, np.inf, "left"),
}
