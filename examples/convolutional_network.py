"""
Convolution and pooling
=======================

A convolution is a layer whose weights are shared by all positions in an image.

The gradient of a shared weight is the sum over positions. The error of the inputs is
that of the outputs, convolved with the kernels rotated by 180 degrees. Mean pooling
sends the error back by upsampling, max pooling to the maximum. Data: small digits. ::

    python examples/convolutional_network.py
"""

from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.building_blocks import gradient_error, n_parameters, stepper, views
from sklearn_bp.display import HiddenUnitsDisplay
from sklearn_bp.losses import CategoricalLogLoss
from sklearn_bp.optimizers import Adam

# Images are (n_rows, height, width, n_channels). A layer returns its outputs, and a
# function from their error to that of its inputs and the gradients of its parameters.
SQUARE = np.ones((1, 2, 2, 1))  # np.kron with it is up-sampling


def windows(X, size):
    """What a kernel sees at each place, zeros beyond the edges: (n, r, s, c, i, j)."""
    w = size // 2
    X = np.pad(X, ((0, 0), (w, w), (w, w), (0, 0)))
    return sliding_window_view(X, (size, size), axis=(1, 2))


def convolution(X, kernels, b):
    """z[r, s, k] = sum_{i,j,c} X[r + i, s + j, c] kernels[i, j, c, k] + b[k]."""
    seen, over = windows(X, len(kernels)), ([4, 5, 3], [0, 1, 2])

    def backward(delta):
        by_kernels = np.tensordot(seen, delta, ([0, 1, 2], [0, 1, 2]))  # (c, i, j, k)
        rotated = kernels[::-1, ::-1].swapaxes(2, 3)
        back = np.tensordot(windows(delta, len(kernels)), rotated, over)
        return back, by_kernels.transpose(1, 2, 0, 3), delta.sum(axis=(0, 1, 2))

    return np.tensordot(seen, kernels, over) + b, backward


def dense(X, W, b):
    def backward(delta):
        back = (delta @ W.T).reshape(X.shape)
        return back, X.reshape(len(X), -1).T @ delta, delta.sum(axis=0)

    return X.reshape(len(X), -1) @ W + b, backward


def squares(X):
    """The four numbers of each square of 2 by 2 side by side: (n, r, s, c, 4)."""
    n, height, width, c = X.shape
    parts = X.reshape(n, height // 2, 2, width // 2, 2, c)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // 2, width // 2, c, 4)


def mean_pooling(X):
    return squares(X).mean(axis=-1), lambda delta: (np.kron(delta, SQUARE) / 4,)


def max_pooling(X):
    parts = squares(X)
    at = parts.argmax(axis=-1)  # of equal numbers the first
    place = np.tile([[0, 1], [2, 3]], at.shape[1:3])[..., np.newaxis]
    chosen = np.kron(at, SQUARE) == place
    return parts.max(axis=-1), lambda delta: (np.kron(delta, SQUARE) * chosen,)


class ConvolutionalNetwork:
    """Two convolutions, each with a pooling, and a dense layer, for digits."""

    def __init__(self, first=16, second=32, activation="relu", seed=0):
        self.function, self.loss = ACTIVATIONS[activation], CategoricalLogLoss()
        first_layers = [convolution, self.activate, max_pooling]
        self.layers = [*first_layers, convolution, self.activate, mean_pooling, dense]
        weights = [(3, 3, 1, first), (3, 3, first, second), (4 * second, 10)]
        self.shapes = [shape for w in weights for shape in (w, w[-1:])]
        self.theta = np.zeros(n_parameters(self.shapes))  # intercepts start at 0
        rng = np.random.RandomState(seed)
        for W in views(self.theta, self.shapes)[::2]:
            W[...] = rng.normal(scale=np.sqrt(2 / W[..., 0].size), size=W.shape)

    def activate(self, z):
        def backward(delta):
            self.function.backward(z, delta)  # in place
            return (delta,)

        self.function.forward(z)  # in place
        return z, backward

    def forward(self, X):
        parts, ways_back = iter(views(self.theta, self.shapes)), []
        for layer in self.layers:
            X, backward = layer(X, *islice(parts, 2 * (layer in (convolution, dense))))
            ways_back.append(backward)
        self.loss.forward(X)
        return X, ways_back

    def loss_and_gradient(self, X, Y):  # the latter as one flat vector
        p, ways_back = self.forward(X)
        delta, gradient = (p - Y) / len(X), []
        for backward in reversed(ways_back):
            delta, *of_layer = backward(delta)
            gradient = [g.ravel() for g in of_layer] + gradient
        return self.loss.value(p, Y).mean(), np.concatenate(gradient)

    def fit(self, X, Y, n_epochs, n_batches=42, rate=0.01, seed=0):
        step, rng = stepper(Adam(), self.theta, rate), np.random.RandomState(seed)
        for epoch in range(n_epochs):
            for rows in np.array_split(rng.permutation(len(X)), n_batches):
                _, gradient = self.loss_and_gradient(X[rows], Y[rows])
                step(gradient, rate * (1 - epoch / n_epochs))
        return self


def check_gradient(activation="tanh", seed=0):
    rng = np.random.RandomState(seed)
    network = ConvolutionalNetwork(2, 3, activation, seed)
    X, Y = rng.normal(size=(4, 8, 8, 1)), np.eye(10)[rng.randint(10, size=4)]
    return gradient_error(lambda _: network.loss_and_gradient(X, Y), network.theta)


def main(n_epochs=40, first=16, second=32):
    """Print the gradient's error and the accuracy; return this and the kernels."""
    print(f"Gradient against differences: {check_gradient():.0e}")
    X, y = load_digits(return_X_y=True)
    X, Y = X.reshape(-1, 8, 8, 1) / 16, np.eye(10)[y]
    train, test = train_test_split(np.arange(len(X)), stratify=y, random_state=0)
    network = ConvolutionalNetwork(first, second).fit(X[train], Y[train], n_epochs)
    accuracy = np.mean(network.forward(X[test])[0].argmax(axis=1) == y[test])
    print(f"Accuracy on a held-out quarter of the digits: {accuracy:.1%}")
    return accuracy, views(network.theta, network.shapes)[0]


if __name__ == "__main__":
    W = main()[1].reshape(9, -1)
    display = HiddenUnitsDisplay(weights=W, contributions=abs(W).sum(axis=0))
    display.plot(image_shape=(3, 3))
    plt.show()
