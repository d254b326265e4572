"""Tools for networks of your own, beside activations, losses and optimizers.

All parameters are in one flat vector, and a network holds views into it, as the
two-layer network does (`_network/parameters.py`). Any optimizer of `optimizers` can
move the vector along a gradient, and finite differences show whether that gradient is
right. The examples use these tools for deep, convolutional and acyclic networks.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sklearn_bp._common.types import Array


def n_parameters(shapes: Sequence[tuple[int, ...]]) -> int:
    """The length of a flat vector for arrays of these shapes.

    Parameters
    ----------
    shapes : list of tuples of int

    Returns
    -------
    int

    Examples
    --------
    >>> from sklearn_bp.building_blocks import n_parameters
    >>> n_parameters([(64, 30), (30,), (30, 10), (10,)])
    2260
    """
    return sum(math.prod(shape) for shape in shapes)


def views(theta: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Arrays of these shapes, one after the other in a flat vector.

    Parameters
    ----------
    theta : ndarray of shape (n_parameters(shapes),)
    shapes : list of tuples of int

    Returns
    -------
    list of ndarrays
        Views: changing them changes `theta`.

    Raises
    ------
    ValueError
        If `theta` has another length than the shapes need.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_bp.building_blocks import views
    >>> theta = np.arange(5.0)
    >>> W, b = views(theta, [(2, 2), (1,)])
    >>> W[...] = 0
    >>> theta
    array([0., 0., 0., 0., 4.])
    """
    if theta.shape != (n_parameters(shapes),):
        raise ValueError(
            f"theta has shape {theta.shape}; arrays of the shapes {shapes} need "
            f"({n_parameters(shapes)},)."
        )
    arrays, first = [], 0
    for shape in shapes:
        last = first + math.prod(shape)
        arrays.append(theta[first:last].reshape(shape))
        first = last
    return arrays


class _Vector:
    """A flat vector with the interface that optimizers expect of `Parameters`."""

    n_members = 1

    def __init__(self, flat: Array) -> None:
        self.flat = flat
        self.penalized = flat
        self.unpenalized = flat[:0], flat[:0]

    def like(self, flat: Array) -> "_Vector":
        return _Vector(flat)


def stepper(optimizer: Any, theta: Array, rate: float) -> Callable[..., None]:
    """Make a function that moves a vector along gradients.

    Parameters
    ----------
    optimizer : object of `optimizers`
        For example `SGD()` or `Adam()`.

    theta : ndarray of shape (n_parameters,), float32 or float64
        Moved in place.

    rate : float
        The learning rate.

    Returns
    -------
    step : callable(gradient, rate=rate)
        Takes one step of the optimizer; `gradient` is (n_parameters,).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_bp.building_blocks import stepper
    >>> from sklearn_bp.optimizers import SGD
    >>> theta = np.array([1.0, -1.0])
    >>> step = stepper(SGD(momentum=0), theta, rate=0.25)
    >>> step(2 * theta)  # the gradient of the sum of squares
    >>> theta
    array([ 0.5, -0.5])
    """
    bound: Any = optimizer.bind(_Vector(theta))
    target, initial_rate = bound.target.flat, rate

    def step(gradient: Array, rate: float = initial_rate) -> None:
        scale, beta = bound.begin(1, rate)
        if beta == 0:  # the target may hold anything, NaN too
            np.multiply(gradient, scale, out=target)
        else:
            target[...] = beta * target + scale * gradient
        bound.finish(1, rate)

    return step


def numerical_gradient(
    function: Callable[[Array], float], theta: Array, step: float = 1e-5
) -> Array:
    """The gradient of a function by central differences.

    (f(theta + step e_i) - f(theta - step e_i)) / (2 step) for each i

    The error is about step^2 + 1e-16 / step, so the best step is near the cube root of
    the machine epsilon.

    Parameters
    ----------
    function : callable(theta) -> float

    theta : ndarray of shape (n_parameters,), float64
        Each number is changed in place and restored, so `function` may use views of it.

    step : float, default=1e-5

    Returns
    -------
    ndarray of shape (n_parameters,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_bp.building_blocks import numerical_gradient
    >>> numerical_gradient(lambda x: x[0] * x[1], np.array([2.0, 5.0])).round(6)
    array([5., 2.])
    """
    gradient = np.empty_like(theta)
    for i, value in enumerate(theta.copy()):
        try:
            theta[i] = value + step
            above = function(theta)
            theta[i] = value - step
            below = function(theta)
        finally:
            theta[i] = value
        gradient[i] = (above - below) / (2 * step)
    return gradient


def gradient_error(
    loss_and_gradient: Callable[[Array], tuple[float, Array]],
    theta: Array,
    step: float = 1e-5,
) -> float:
    """The relative error of a gradient against central differences.

    ||analytic - numeric|| / max(||analytic||, ||numeric||)

    About 1e-10 if the derivation is right and above 1e-3 if any part of it is wrong,
    in float64, if the function is smooth near theta: no kink of a relu within the step.

    Parameters
    ----------
    loss_and_gradient : callable(theta) -> (float, ndarray of shape (n_parameters,))

    theta : ndarray of shape (n_parameters,), float64
        Changed in place and restored.

    step : float, default=1e-5

    Returns
    -------
    float
        0 where both gradients are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_bp.building_blocks import gradient_error
    >>> theta = np.array([0.5, 2.0])
    >>> gradient_error(lambda x: (np.sum(x**3), 3 * x**2), theta) < 1e-9
    True
    >>> gradient_error(lambda x: (np.sum(x**3), 2 * x**2), theta) > 1e-3
    True
    """
    analytic = loss_and_gradient(theta)[1].copy()
    numeric = numerical_gradient(lambda x: loss_and_gradient(x)[0], theta, step)
    length = max(np.linalg.norm(analytic), np.linalg.norm(numeric))
    if length == 0:
        return 0.0
    return float(np.linalg.norm(analytic - numeric) / length)
