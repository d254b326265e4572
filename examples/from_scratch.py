"""
The whole method from scratch
=============================

A complete two-layer network in about forty lines of numpy.

It is mini-batch gradient descent with momentum on the log-loss of a softmax. With the
same starting weights and the same order of rows,
:class:`~sklearn_bp.TwoLayerClassifier` gives the same numbers, up to rounding. The
symbols are those of the derivation. ::

    python examples/from_scratch.py
"""

import numpy as np


def layer(rng, fan_in, fan_out):
    """Weights and intercepts to start from (Glorot and Bengio 2010)."""
    bound = np.sqrt(6 / (fan_in + fan_out))
    weights = rng.uniform(-bound, bound, (fan_in, fan_out))
    return [weights, rng.uniform(-bound, bound, fan_out)]


def forward(theta, X):
    """Hidden activations a1, (n, n_hidden), and probabilities p, (n, n_classes)."""
    W1, b1, W2, b2 = theta
    a1 = np.tanh(X @ W1 + b1)
    scores = a1 @ W2 + b2
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return a1, p / p.sum(axis=1, keepdims=True)


def loss_and_gradient(theta, X, Y, alpha):
    """The mean log-loss with its penalty, and the derivatives by W1, b1, W2, b2."""
    W1, _, W2, _ = theta
    n = len(X)
    a1, p = forward(theta, X)
    delta2 = p - Y  # output error
    delta1 = delta2 @ W2.T * (1 - a1**2)  # hidden error
    gradient = [
        (X.T @ delta1 + alpha * W1) / n,
        delta1.sum(axis=0) / n,
        (a1.T @ delta2 + alpha * W2) / n,
        delta2.sum(axis=0) / n,
    ]
    penalty = alpha / 2 * (np.sum(W1**2) + np.sum(W2**2))
    return (penalty - np.log(p[Y == 1]).sum()) / n, gradient


def train(X, Y, n_hidden, n_epochs, batch_size, rate, momentum, alpha, seed):
    """The parameters W1, b1, W2, b2 after this many epochs."""
    rng = np.random.RandomState(seed)
    theta = layer(rng, X.shape[1], n_hidden) + layer(rng, n_hidden, Y.shape[1])
    velocity = [np.zeros_like(part) for part in theta]
    order = np.arange(len(X))
    for _ in range(n_epochs):
        order = order[rng.permutation(len(X))]
        for first in range(0, len(X), batch_size):
            rows = order[first : first + batch_size]
            _, gradient = loss_and_gradient(theta, X[rows], Y[rows], alpha)
            for part, v, g in zip(theta, velocity, gradient, strict=True):
                v *= momentum
                v -= rate * g
                part += v
    return theta


# %%
# That is all. The rest compares it with the package, on handwritten digits, and its
# gradient with finite differences.

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier  # noqa: E402
from sklearn_bp.building_blocks import gradient_error, views  # noqa: E402
from sklearn_bp.display import HiddenUnitsDisplay  # noqa: E402

SETTINGS = {"batch_size": 50, "momentum": 0.9, "alpha": 0.01}


def digits():
    """Rows to train on and rows held out, with targets of zeros and ones."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, stratify=y, random_state=0
    )
    return X_train, np.eye(10)[y_train], X_test, y_test


def packaged(X, Y, n_hidden, n_epochs, rate, seed):
    """The package's result from the same start."""
    settings = {
        "hidden_layer_sizes": n_hidden,
        "activation": "tanh",
        "solver": "sgd",
        "learning_rate_init": rate,
        "nesterovs_momentum": False,
        "random_state": seed,
    }
    network = TwoLayerClassifier(**MLP_DEFAULTS | settings | SETTINGS)
    for _ in range(n_epochs):
        network.partial_fit(X, Y.argmax(axis=1), classes=np.arange(Y.shape[1]))
    (W1, W2), (b1, b2) = network.coefs_, network.intercepts_
    return [W1, b1, W2, b2]


def check_gradient(seed=0):
    """The relative error of the gradient of a small network."""
    rng = np.random.RandomState(seed)
    shapes = [(4, 5), (5,), (5, 3), (3,)]
    X, Y = rng.normal(size=(12, 4)), np.eye(3)[rng.randint(3, size=12)]

    def at(flat):
        loss, gradient = loss_and_gradient(views(flat, shapes), X, Y, alpha=0.1)
        return loss, np.concatenate([part.ravel() for part in gradient])

    return gradient_error(at, rng.normal(scale=0.5, size=43))


def main(n_epochs=30):
    """Print how the two compare; return their parameters and the accuracy."""
    print(f"Gradient against differences: {check_gradient():.0e}")
    X, Y, X_test, y_test = digits()
    common = {"n_hidden": 40, "n_epochs": n_epochs, "rate": 0.1, "seed": 0}
    ours, theirs = train(X, Y, **common, **SETTINGS), packaged(X, Y, **common)
    for name, a, b in zip(("W1", "b1", "W2", "b2"), ours, theirs, strict=True):
        print(
            f"{name}: largest difference from the package's {np.abs(a - b).max():.0e}"
        )
    accuracy = np.mean(forward(ours, X_test)[1].argmax(axis=1) == y_test)
    print(f"Accuracy on a held-out quarter of the digits: {accuracy:.1%}")
    return ours, theirs, accuracy


if __name__ == "__main__":
    (W1, _, W2, _), *_ = main()
    display = HiddenUnitsDisplay(weights=W1, contributions=abs(W2).sum(axis=1))
    display.plot(image_shape=(8, 8))
    plt.show()
