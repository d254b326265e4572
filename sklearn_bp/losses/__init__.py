"""Losses, each with the output activation that belongs to it.

A loss of your own derives from `Loss`, or for classes from `ClassLoss`, and has two
methods; `sklearn_bp/losses/_base.py` lists all that it may have.
"""

from typing import Any

from sklearn_bp.losses._base import Loss
from sklearn_bp.losses._classification import (
    BinaryLogLoss,
    BinarySquaredError,
    CategoricalLogLoss,
    CategoricalSquaredError,
    ClassLoss,
    LogLoss,
)
from sklearn_bp.losses._regression import (
    AbsoluteError,
    Gamma,
    GaussianNLL,
    Huber,
    Poisson,
    Quantile,
    SquaredError,
)

__all__ = [
    "AbsoluteError",
    "BinaryLogLoss",
    "BinarySquaredError",
    "CategoricalLogLoss",
    "CategoricalSquaredError",
    "ClassLoss",
    "Gamma",
    "GaussianNLL",
    "Huber",
    "LogLoss",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
]


class _Own(Loss):
    """A user's own object, with what it may lack."""

    def __init__(self, loss):
        for name in dir(Loss):
            if not name.startswith("__") and hasattr(loss, name):
                object.__setattr__(self, name, getattr(loss, name))


def as_loss(loss):
    """The object of a name in the regressor's table; one of one's own as it is."""
    if isinstance(loss, str):
        return REGRESSOR_LOSSES[loss]
    if isinstance(loss, ClassLoss):
        raise TypeError(
            f"loss={loss!r} is for classes: use it with TwoLayerClassifier, or another "
            f"loss, one of {sorted(REGRESSOR_LOSSES)}."
        )
    return loss if isinstance(loss, Loss) else _Own(loss)


def as_class_loss(loss, exclusive):
    """The object of a name in the classifier's table, or of a `ClassLoss`, for classes
    that exclude each other or for independent scores.
    """
    if isinstance(loss, str):
        return CLASSIFIER_LOSSES[loss][exclusive]
    return loss.variant(exclusive)


# For classes that exclude each other (one score a class), and for independent
# scores (two classes, or several labels).
CLASSIFIER_LOSSES: dict[str, dict[bool, Any]] = {
    "log_loss": {True: CategoricalLogLoss(), False: BinaryLogLoss()},
    "squared_error": {True: CategoricalSquaredError(), False: BinarySquaredError()},
}
REGRESSOR_LOSSES: dict[str, Any] = {
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
    "quantile": Quantile(),
    "gaussian_nll": GaussianNLL(),
    "poisson": Poisson(),
    "gamma": Gamma(),
}
