"""First-order optimizers on the flat vector of parameters.

An optimizer holds hyperparameters only; its `bind` makes the steps, as
`sklearn_bp/optimizers/_base.py` describes.  If it is given by name, its fields that are
constructor parameters of the estimators take their values from there.

All have a field `clip_norm`: a gradient (the mean over the batch, without the
penalty) with a larger Euclidean norm over all parameters is scaled down to this norm
(Pascanu, Mikolov and Bengio 2013, algorithm 1).  With several networks side by side,
each gradient is clipped separately.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from sklearn_bp.optimizers import _rules
from sklearn_bp.optimizers._base import Bound, Optimizer
from sklearn_bp.optimizers._rules import *  # noqa: F403
from sklearn_bp.optimizers._rules import OPTIMIZERS

__all__ = ["OPTIMIZERS", "Bound", "Optimizer"]
__all__ += _rules.__all__


def as_optimizer(solver: Any, settings: Callable[[str, Any], Any]) -> Any:
    """The optimizer for a name, with its settings; objects unchanged.

    Parameters
    ----------
    solver : str or object
    settings : callable(name, default) -> value
        The estimator's value, or the default.
    """
    if not isinstance(solver, str):
        return solver
    optimizer = OPTIMIZERS[solver]
    return optimizer(**{f.name: settings(f.name, f.default) for f in fields(optimizer)})


def decays(solver: Any) -> bool:
    """Whether a solver, by name or as an object, has its own weight decay."""
    return _says(solver, "decays")


def adaptive(solver: Any) -> bool:
    """Whether the steps of a solver, by name or as an object, are independent of the
    length of the gradient.
    """
    return _says(solver, "adaptive")


def _says(solver: Any, attribute: str) -> bool:
    optimizer = OPTIMIZERS.get(solver) if isinstance(solver, str) else solver
    return bool(getattr(optimizer, attribute, False))
