"""The plain two-layer network: the oracle of the package's kernel.

Nothing of the package is used, every array is allocated where it is needed, and
rows come before units as in the data: X (n, n_features), Y (n, n_outputs).  The
parameters are a list W1, b1, W2, b2.

`ACTIVATIONS` and `LOSSES` have one row per part, which all tests of parts read.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, xlogy
from sklearn.utils import shuffle as shuffled


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softplus(z):
    return np.where(z > 0, z, 0) + np.log1p(np.exp(-np.abs(z)))


def phi(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def elu(z, c):
    return np.where(z > 0, z, c * np.expm1(np.where(z > 0, 0, z)))


def elu_prime(z, c):
    return np.where(z > 0, 1.0, c * np.exp(np.where(z > 0, 0, z)))


def mish_prime(z):
    t = np.tanh(softplus(z))
    return t + z * sigmoid(z) * (1 - t**2)


class Rows(dict):
    """Plain forms of parts, by name."""

    def __missing__(self, key):
        raise KeyError(
            f"{key!r} has no plain form: add a row to tests/helpers/reference.py."
        )


S, C = 1.0507009873554805, 1.6732632423543772
TINY = np.finfo(float).smallest_subnormal  # the smallest number above 0

# f(z) and f'(z), both from z
ACTIVATIONS = Rows(
    {
        "leaky_relu": (
            lambda z: np.where(z > 0, z, 0.01 * z),
            lambda z: np.where(z > 0, 1.0, 0.01),
        ),
        "elu": (lambda z: elu(z, 1.0), lambda z: elu_prime(z, 1.0)),
        "selu": (lambda z: S * elu(z, C), lambda z: S * elu_prime(z, C)),
        "gelu": (lambda z: z * ndtr(z), lambda z: ndtr(z) + z * phi(z)),
        "silu": (
            lambda z: z * sigmoid(z),
            lambda z: sigmoid(z) * (1 + z * sigmoid(-z)),
        ),
        "mish": (lambda z: z * np.tanh(softplus(z)), mish_prime),
        "softplus": (softplus, sigmoid),
        "identity": (lambda z: z, np.ones_like),
        "logistic": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
        "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        "relu": (lambda z: np.where(z > 0, z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    }
)


def categorical(p, y):
    return -xlogy(y, p).sum(axis=1)


def binary(p, y):
    return -(xlogy(y, p) + xlogy(1 - y, 1 - p)).sum(axis=1)


def half_squares(p, y):
    return ((p - y) ** 2).sum(axis=1) / 2


def half_mean_squares(p, y):
    return ((p - y) ** 2).mean(axis=1) / 2


def half_deviance(p, y):
    return (xlogy(y, y / p) - y + p).sum(axis=1)


def absolute(p, y):
    return np.abs(p - y).mean(axis=1)


def mean_sign(p, y):
    return np.sign(p - y) / y.shape[1]


def huber(p, y, d=1.35):
    r = np.abs(p - y)
    return np.where(r <= d, r**2 / 2, d * (r - d / 2)).mean(axis=1)


def huber_error(p, y, d=1.35):
    r = p - y
    return np.where(np.abs(r) <= d, r, d * np.sign(r)) / y.shape[1]


def quantile_columns(y, levels):
    """Of the columns of p: that of y, the first of its target's, and the level."""
    for k in range(y.shape[1]):
        for j, q in enumerate(levels):
            yield k, k * len(levels), k * len(levels) + j, q


def increasing(z, levels):
    p = z.copy()
    for column in range(z.shape[1]):
        if column % len(levels):
            p[:, column] = p[:, column - 1] + np.log(1 + np.exp(z[:, column]))
    return p


def pinball(p, y, levels):
    total = np.zeros(len(y))
    for k, _, c, q in quantile_columns(y, levels):
        r = y[:, k] - p[:, c]
        total += np.where(r > 0, q * r, (q - 1) * r)
    return total / p.shape[1]


def pinball_error(p, y, levels):
    error = np.zeros_like(p)
    for k, first, c, q in quantile_columns(y, levels):
        slope = np.where(y[:, k] > p[:, c], -q, 1 - q) / p.shape[1]
        error[:, first] += slope
        for below in range(first + 1, c + 1):  # a score moves all quantiles above it
            step = p[:, below] - p[:, below - 1]
            error[:, below] += slope * (np.exp(step) - 1) / np.exp(step)
    return error


def mean_and_spread(z):
    m, s = np.hsplit(z, 2)
    return np.hstack([m, 0.01 + np.log(1 + np.exp(s))])


def gaussian(p, y):
    m, s = np.hsplit(p, 2)
    return (np.log(s) + (y - m) ** 2 / (2 * s**2)).sum(axis=1)


def gaussian_error(p, y):
    m, s = np.hsplit(p, 2)
    slope = 1 - np.exp(-(s - 0.01))
    return np.hstack([(m - y) / s**2, slope * (1 / s - (y - m) ** 2 / s**3)])


def half_gamma_deviance(p, y):
    return (np.log(p / y) + y / p - 1).sum(axis=1)


def relative_error(p, y):
    return (p - y) / p


def smoothed(value, error, n_classes):
    """Value and error at (1 - e) y + e / K, e = 0.1; K None: the number of columns."""

    def targets(y):
        return 0.9 * y + 0.1 / (n_classes or y.shape[1])

    return lambda p, y: value(p, targets(y)), lambda p, y: error(p, targets(y))


def error(p, y):
    return p - y


def error_through_sigmoid(p, y):
    return (p - y) * p * (1 - p)


def mean_error(p, y):
    return (p - y) / y.shape[1]


class Loss(NamedTuple):
    """p(z2), the loss of each row, and its derivative with respect to z2."""

    link: Any
    value: Any
    error: Any
    smallest: float = -np.inf  # the smallest target of the domain

    def admits(self, y):
        return y >= self.smallest


# (name, exclusive) for classes, name for regression
LOSSES = Rows(
    {
        ("log_loss", True): Loss(softmax, categorical, error),
        ("log_loss", False): Loss(sigmoid, binary, error),
        ("squared_error", True): Loss(sigmoid, half_squares, error_through_sigmoid),
        ("squared_error", False): Loss(sigmoid, half_squares, error_through_sigmoid),
        "squared_error": Loss(lambda z: z, half_mean_squares, mean_error),
        "poisson": Loss(np.exp, half_deviance, error, 0),
        "gamma": Loss(np.exp, half_gamma_deviance, relative_error, TINY),
        "absolute_error": Loss(lambda z: z, absolute, mean_sign),
        "huber": Loss(lambda z: z, huber, huber_error),
        "quantile": Loss(
            lambda z: z,
            lambda p, y: pinball(p, y, [0.5]),
            lambda p, y: pinball_error(p, y, [0.5]),
        ),
        "three quantiles": Loss(
            lambda z: increasing(z, [0.1, 0.5, 0.9]),
            lambda p, y: pinball(p, y, [0.1, 0.5, 0.9]),
            lambda p, y: pinball_error(p, y, [0.1, 0.5, 0.9]),
        ),
        "gaussian_nll": Loss(mean_and_spread, gaussian, gaussian_error),
        ("smoothed", True): Loss(softmax, *smoothed(categorical, error, None)),
        ("smoothed", False): Loss(sigmoid, *smoothed(binary, error, 2)),
    }
)


def loss_and_gradient(theta, X, Y, w, total, alpha, activation, loss, mask=1.0):
    """Loss sum_i w_i loss_i / total, penalty included, and its four gradients.

    Hidden units count `mask` times, (n, n_hidden): 0 if they are left out.  A fifth
    block of theta is the skip layer V, (n_features, n_outputs), with its own gradient.
    """
    W1, b1, W2, b2, *skip = theta
    f, f_prime = ACTIVATIONS[activation]
    g, value, output_error, _ = LOSSES[loss]
    z1 = X @ W1 + b1
    a1 = f(z1) * mask
    p = g(a1 @ W2 + b2 + sum(X @ V for V in skip))
    delta2 = w[:, np.newaxis] * output_error(p, Y) / total
    delta1 = delta2 @ W2.T * mask * f_prime(z1)
    penalty = alpha / 2 * sum((weights**2).sum() for weights in (W1, W2, *skip))
    return ((w * value(p, Y)).sum() + penalty) / total, [
        X.T @ delta1 + alpha / total * W1,
        delta1.sum(axis=0),
        a1.T @ delta2 + alpha / total * W2,
        delta2.sum(axis=0),
        *(X.T @ delta2 + alpha / total * V for V in skip),
    ]


def start(random_state, n_features, n_hidden, n_outputs, factor):
    """Uniform in +- sqrt(factor / (fan_in + fan_out)), drawn in MLP's order."""
    theta = []
    for shape in ((n_features, n_hidden), (n_hidden, n_outputs)):
        bound = np.sqrt(factor / sum(shape))
        theta.append(random_state.uniform(-bound, bound, shape))
        theta.append(random_state.uniform(-bound, bound, shape[1]))
    return theta


def sgd(theta, rate=0.001, momentum=0.9, nesterov=True):
    """A function that moves theta, in place, along given gradients."""
    v = [np.zeros_like(part) for part in theta]

    def update(gradients):
        for i, g in enumerate(gradients):
            v[i] = momentum * v[i] - rate * g
            theta[i] += momentum * v[i] - rate * g if nesterov else v[i]

    return update


def rmsprop(theta, rate=0.001, rho=0.99, epsilon=1e-8):
    """A function that moves theta, in place, along given gradients."""
    v = [np.zeros_like(part) for part in theta]

    def update(gradients):
        for i, g in enumerate(gradients):
            v[i] = rho * v[i] + (1 - rho) * g**2
            theta[i] -= rate * g / (np.sqrt(v[i]) + epsilon)

    return update


def adam(theta, rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    m = [np.zeros_like(part) for part in theta]
    v = [np.zeros_like(part) for part in theta]
    t = 0

    def update(gradients):
        nonlocal t
        t += 1
        step = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        for i, g in enumerate(gradients):
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g**2
            theta[i] -= step * m[i] / (np.sqrt(v[i]) + epsilon)

    return update


def train(
    theta,
    update,
    X,
    Y,
    w,
    batch_size,
    n_epochs,
    random_state,
    alpha,
    masks=None,
    **parts,
):
    """Mini-batch descent by `update`, which moves theta; return the loss curve.

    A batch of b rows has the loss (sum of w_i loss_i + penalty) / (b mean(w)), the
    mean being over all rows: weights are normalised over the whole set.  `masks`, an
    iterator, gives that of the hidden units for each step.
    """
    n, curve, order = len(X), [], np.arange(len(X))
    for _ in range(n_epochs):
        order = shuffled(order, random_state=random_state)
        total = 0.0
        for first in range(0, n, batch_size):
            rows = order[first : first + batch_size]
            loss, gradients = loss_and_gradient(
                theta,
                X[rows],
                Y[rows],
                w[rows],
                len(rows) * w.mean(),
                alpha,
                mask=1.0 if masks is None else next(masks),
                **parts,
            )
            total += loss * len(rows)
            update(gradients)
        curve.append(total / n)
    return curve
