"""
Any number of hidden layers
===========================

A deep network is a loop over the step that a two-layer network takes once.

The error of layer l comes from that of layer l + 1 through the weights, times the slope
of the activation. With sigmoids, whose slope is at most 1/4, the error fades from layer
to layer; with relus it does not. The example shows this on digits: it measures the norm
of each layer's gradient at the start. ::

    python examples/deep_network.py
"""

from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.building_blocks import gradient_error, n_parameters, stepper, views
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.losses import CategoricalLogLoss
from sklearn_bp.optimizers import Adam


class DeepNetwork:
    """Layers of the given sizes, inputs and outputs among them."""

    def __init__(self, sizes, activation="relu", init="he_normal", loss=None, seed=0):
        self.activation = ACTIVATIONS[activation]
        self.loss = CategoricalLogLoss() if loss is None else loss
        self.shapes = [s for d, h in pairwise(sizes) for s in ((d, h), (h,))]
        self.theta = np.empty(n_parameters(self.shapes))
        rng = np.random.RandomState(seed)
        for W, b in self.layers(self.theta):
            factor = self.activation.glorot_factor
            W[...], b[...] = INITIALIZERS[init](rng, *W.shape, factor)

    def layers(self, theta):
        """Weights and intercepts, layer by layer, as views."""
        parts = views(theta, self.shapes)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def forward(self, X):
        """The activations of all layers, a[0] = X, the last the predictions; and for
        each layer the function that multiplies an error by the activation's slope.
        """
        a, slopes = [X], [None]
        for W, b in self.layers(self.theta):
            z = a[-1] @ W + b
            if len(a) < len(self.shapes) // 2:  # hidden
                activate, slope = self.activation.bind(z.shape, z.dtype)
                activate(z)  # in place
                slopes.append(slope)
            a.append(z)
        self.loss.forward(a[-1])
        return a, slopes

    def loss_and_gradient(self, X, Y):
        """The mean loss, and its gradient as one flat vector."""
        (a, slopes), n = self.forward(X), len(X)
        gradient = np.empty_like(self.theta)
        layers, targets = self.layers(self.theta), self.layers(gradient)
        delta = np.empty_like(a[-1])
        self.loss.backward(a[-1], Y, delta)
        for layer in reversed(range(len(layers))):
            to_W, to_b = targets[layer]
            to_W[...] = a[layer].T @ delta / n
            to_b[...] = delta.mean(axis=0)
            if layer:
                delta = delta @ layers[layer][0].T
                slopes[layer](a[layer], delta)  # in place
        return self.loss.value(a[-1], Y).mean(), gradient

    def fit(self, X, Y, n_epochs=30, batch_size=32, rate=0.001, seed=0):
        """Train by Adam; return the loss of each epoch."""
        step = stepper(Adam(), self.theta, rate)
        rng, curve = np.random.RandomState(seed), []
        for _ in range(n_epochs):
            order, losses = rng.permutation(len(X)), []
            for first in range(0, len(X), batch_size):
                rows = order[first : first + batch_size]
                loss, gradient = self.loss_and_gradient(X[rows], Y[rows])
                step(gradient)
                losses.append(loss)
            curve.append(np.mean(losses))
        return curve


def check_gradient(activation, seed=0):
    """The relative error of the gradient, through three hidden layers."""
    rng = np.random.RandomState(seed)
    network = DeepNetwork([4, 6, 5, 6, 3], activation, seed=seed)
    network.theta += rng.normal(scale=0.1, size=network.theta.size)
    X, Y = rng.normal(size=(12, 4)), np.eye(3)[rng.randint(3, size=12)]
    return gradient_error(lambda _: network.loss_and_gradient(X, Y), network.theta)


def digits():
    X, y = load_digits(return_X_y=True)
    split = train_test_split(X / 16, y, stratify=y, random_state=0)
    return (*split[:2], np.eye(10)[split[2]], split[3])


def gradient_norms(activation, init, n_layers=8):
    """The norm of the gradient of each layer's weights, at the start."""
    X, _, Y, _ = digits()
    network = DeepNetwork([64] + [30] * n_layers + [10], activation, init)
    _, gradient = network.loss_and_gradient(X, Y)
    return [np.linalg.norm(W) for W, _ in network.layers(gradient)]


def main(n_epochs=30):
    """Print errors, norms and accuracies; return the norms."""
    starts = {
        "logistic": "glorot_uniform",
        "tanh": "glorot_uniform",
        "relu": "he_normal",
    }
    X_train, X_test, Y_train, y_test = digits()
    norms = {}
    print("activation  gradient error  norm, first / last layer  accuracy, %")
    for activation, init in starts.items():
        error = check_gradient(activation)
        norms[activation] = first, *_, last = gradient_norms(activation, init)
        network = DeepNetwork([64, 50, 50, 50, 10], activation, init)
        network.fit(X_train, Y_train, n_epochs)
        accuracy = np.mean(network.forward(X_test)[0][-1].argmax(axis=1) == y_test)
        share = f"{first:.0e} / {last:.0e}"
        print(f"{activation:12}{error:14.0e}{share:>26}{100 * accuracy:13.1f}")
    return norms


def draw(norms):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained")
    for activation, values in norms.items():
        ax.semilogy(range(1, len(values) + 1), values, "o-", label=activation)
    ax.set(
        xlabel="layer, from the inputs on", ylabel="norm of the gradient at the start"
    )
    ax.legend()
    plt.show()


if __name__ == "__main__":
    draw(main())
