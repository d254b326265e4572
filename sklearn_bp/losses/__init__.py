"""Losses, each with the output activation that belongs to it.

Derive a loss of your own from `Loss`, or from `ClassLoss` for classes. Two methods are
required; `sklearn_bp/losses/_base.py` lists them all.
"""

from sklearn_bp.losses import _classification, _regression
from sklearn_bp.losses._base import Loss
from sklearn_bp.losses._classification import *  # noqa: F403
from sklearn_bp.losses._classification import CLASSIFIER_LOSSES, ClassLoss
from sklearn_bp.losses._regression import *  # noqa: F403
from sklearn_bp.losses._regression import REGRESSOR_LOSSES, SquaredError

__all__ = ["Loss"]
__all__ += _classification.__all__
__all__ += _regression.__all__


class _Own(Loss):
    """A user's object that does not derive from `Loss`, with the defaults."""

    __wrapped__: object

    def __init__(self, loss: object) -> None:
        object.__setattr__(self, "__wrapped__", loss)
        for name in dir(Loss):
            if not name.startswith("__") and hasattr(loss, name):
                object.__setattr__(self, name, getattr(loss, name))


def as_loss(loss: object) -> Loss:
    """The loss for a name in the regressor's table; objects unchanged, or wrapped."""
    if isinstance(loss, str):
        return REGRESSOR_LOSSES[loss]
    if isinstance(loss, ClassLoss):
        raise TypeError(
            f"loss={loss!r} is for classes. Use it with TwoLayerClassifier, or choose "
            f"another loss, one of {sorted(REGRESSOR_LOSSES)}."
        )
    return loss if isinstance(loss, Loss) else _Own(loss)


def as_class_loss(loss: str | ClassLoss | SquaredError, exclusive: bool) -> ClassLoss:
    """The variant of a loss, given by name or as a `ClassLoss`, for classes that
    exclude each other or for independent scores.
    """
    if isinstance(loss, str):
        return CLASSIFIER_LOSSES[loss][exclusive]
    return loss.variant(exclusive)
