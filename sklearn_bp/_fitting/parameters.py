"""The constructors' parameters: their constraints, and MLPClassifier's values.

The two classes spell out their signatures, as scikit-learn requires.  Storing, checking
and `MLP_DEFAULTS` use the tables below.
"""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from sklearn_bp._fitting.constraints import (
    Boolean,
    ClassWeight,
    Fraction,
    MetricName,
    Number,
    NumericEncoding,
    Part,
    Seed,
)
from sklearn_bp.activations import ACTIVATIONS, Activation
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, Loss
from sklearn_bp.optimizers import OPTIMIZERS, Optimizer
from sklearn_bp.schedules import SCHEDULES

NOT_OF_MLP: Any = object()


class Parameter(NamedTuple):
    """A parameter of the constructors.

    Attributes
    ----------
    constraint : object of `constraints`, or None
        The allowed values; None if the code that uses the parameter checks it.
    mlp : object
        The value that makes the network MLPClassifier's; NOT_OF_MLP if the default does
        so already.
    or_none : bool
        Whether None is allowed too.
    """

    constraint: Any
    mlp: Any = NOT_OF_MLP
    or_none: bool = False


SHARED = {
    "hidden_layer_sizes": Parameter(None, (100,)),
    "activation": Parameter(
        Part(ACTIVATIONS, ("forward", "backward"), family=Activation), "relu"
    ),
    "solver": Parameter(
        Part(["lbfgs", *OPTIMIZERS], ("bind",), family=Optimizer), "adam"
    ),
    "alpha": Parameter(Number(Real, 0, also=("auto",)), 0.0001),
    "batch_size": Parameter(
        Number(Integral, 1, also=("auto", "by_rows", "full")), "auto"
    ),
    "learning_rate": Parameter(Part(SCHEDULES, ("factor",), function=True), "constant"),
    "learning_rate_init": Parameter(
        Number(Real, 0, closed="neither", also=("auto",)), 0.001
    ),
    "power_t": Parameter(Number(Real, 0), 0.5),
    "max_iter": Parameter(Number(Integral, 1, also=("auto",)), 200),
    "loss_threshold": Parameter(Number(Real, -np.inf, closed="neither"), None, True),
    "init": Parameter(Part(INITIALIZERS, (), function=True), "glorot_uniform"),
    "shuffle": Parameter(Boolean(also=("blocks",)), True),
    "random_state": Parameter(Seed(), None),
    "tol": Parameter(Number(Real, 0, also=("auto",)), 1e-4),
    "verbose": Parameter(Boolean(or_int=True), False),
    "warm_start": Parameter(Boolean(), False),
    "momentum": Parameter(Number(Real, 0, 1, closed="both"), 0.9),
    "nesterovs_momentum": Parameter(Boolean(), True),
    "early_stopping": Parameter(Boolean(also=("auto",)), False),
    "early_stopping_metric": Parameter(MetricName(), "score"),
    "validation_fraction": Parameter(Fraction(Number(Real, 0, 1)), 0.1),
    "beta_1": Parameter(Number(Real, 0, 1), 0.9),
    "beta_2": Parameter(Number(Real, 0, 1), 0.999),
    "epsilon": Parameter(Number(Real, 0, closed="neither"), 1e-8),
    "n_iter_no_change": Parameter(Number(Integral, 1, also=(np.inf, "auto")), 10),
    "max_fun": Parameter(Number(Integral, 1), 15000),
    "standardize": Parameter(Boolean(), False),
    "n_members": Parameter(Number(Integral, 1, also=("auto",)), 1),
    "average": Parameter(Boolean(), False),
    "dropout": Parameter(Number(Real, 0, 1), 0.0),
    "skip_layer": Parameter(Boolean(), False),
    "scaling_layer": Parameter(Boolean(also=("auto",)), False),
    "categorical_features": Parameter(None, None),
    "numeric_encoding": Parameter(NumericEncoding(), None, True),
}

OF_CLASSIFIER = SHARED | {
    "loss": Parameter(Part(CLASSIFIER_LOSSES, ("variant",), family=Loss)),
    "class_weight": Parameter(ClassWeight()),
    "temperature_scaling": Parameter(Boolean(also=("auto",))),
}

OF_REGRESSOR = SHARED | {
    "loss": Parameter(Part(REGRESSOR_LOSSES, ("backward", "value"), family=Loss)),
    "extrapolation": Parameter(Number(Real, 0, also=(np.inf,))),
}

MLP_DEFAULTS = {
    name: parameter.mlp
    for name, parameter in SHARED.items()
    if parameter.mlp is not NOT_OF_MLP
}
"""MLPClassifier's parameter values in our constructor's names (scikit-learn 1.7 to
1.9), and with them MLPRegressor's: ``TwoLayerClassifier(**MLP_DEFAULTS)`` is
MLPClassifier's network, whatever our own defaults are.
"""


def with_names(estimator):
    """A class decorator: fill in the names that parameters admit.

    In the class docstring ``activation : {...}`` stands for the names in the table of
    activations, and likewise for the other parameters that take a `Part`.
    """
    for name, parameter in estimator._parameters.items():
        if isinstance(parameter.constraint, Part) and estimator.__doc__:
            names = ", ".join(map(repr, parameter.constraint.names))
            estimator.__doc__ = estimator.__doc__.replace(
                f"\n    {name} : {{...}}", f"\n    {name} : {{{names}}}"
            )
    return estimator


def store(estimator, given):
    """Store the parameters of a constructor unchanged, from its `locals()`."""
    for name in estimator._parameters:
        setattr(estimator, name, given[name])


def values_of(estimator):
    """The current parameters of an estimator, a dict; integers as those of Python.

    Sums of numpy's may be beyond their dtype, as 100 + 100 is for an int8.
    """
    attributes = vars(estimator)
    values = {name: attributes[name] for name in estimator._parameters}
    return {
        name: int(value) if isinstance(value, np.integer) else value
        for name, value in values.items()
    }


def check_parameters(kind, table, values):
    """Raise a TypeError or ValueError with parameter, range and value.

    Parameters
    ----------
    kind : str
        The estimator's name.
    table : dict of Parameter
    values : dict
    """
    for name, (constraint, _, or_none) in table.items():
        value = values[name]
        if constraint is None or (or_none and value is None):
            continue
        if not constraint.admits(value):
            error = ValueError if constraint.has_type(value) else TypeError
            raise error(
                f"The {name!r} parameter of {kind} must be {constraint}. Got "
                f"{value!r} instead."
            )


def hidden_units(kind, value):
    """The number of hidden units, from an int or a sequence of one."""
    is_sequence = hasattr(value, "__iter__") and not isinstance(value, str)
    is_sequence = is_sequence and getattr(value, "ndim", 1) > 0
    sizes = list(value) if is_sequence else [value]
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in sizes):
        raise TypeError(
            f"The 'hidden_layer_sizes' parameter of {kind} must be an int or a "
            f"sequence of one int. Got {value!r} instead."
        )
    if len(sizes) != 1:
        raise ValueError(
            f"{kind} has one hidden layer: hidden_layer_sizes must be an int or a "
            f"sequence of one int. Got {value!r} instead; for more layers see "
            "scikit-learn's MLPClassifier and MLPRegressor."
        )
    if sizes[0] < 1:
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return int(sizes[0])
