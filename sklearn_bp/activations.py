"""Activations of the hidden layer: forward and backward side by side.

Arrays are (n_rows, n_hidden).  `forward` works in place on the net inputs z1;
`backward` multiplies the error, in place, by the derivative, which each of
these functions lets one write in terms of its value a1 = f(z1).

To add one: a subclass of `_Activation` with `forward`, `backward` and
`glorot_factor`, and a line in the table at the foot, which the parameter check and
the laws in the tests read.
"""

import numpy as np


class _Activation:
    def forward(self, z):
        raise NotImplementedError

    def backward(self, a, delta):
        raise NotImplementedError

    def bind(self, shape, dtype):
        """`forward` and `backward` for arrays of this shape, with own buffers."""
        return self.forward, self.backward


class Identity(_Activation):
    """f(z) = z, f'(z) = 1: a linear bottleneck."""

    glorot_factor = 6.0

    def forward(self, z):
        pass

    def backward(self, a, delta):
        pass


class Logistic(_Activation):
    """f(z) = 1 / (1 + exp(-z)), f'(z) = a (1 - a)."""

    # Glorot and Bengio 2010 derive 6 for a unit slope at zero.  MLPClassifier
    # takes 2 for this one, and so do we.
    glorot_factor = 2.0

    def forward(self, z):
        # A third of scipy's expit's time; exp(-z) = inf gives the 0 it should.
        with np.errstate(over="ignore"):
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)

    def backward(self, a, delta):
        delta *= a
        delta *= 1 - a


class Tanh(_Activation):
    """f(z) = tanh(z), f'(z) = 1 - a^2."""

    glorot_factor = 6.0

    def forward(self, z):
        np.tanh(z, out=z)

    def backward(self, a, delta):
        delta *= 1 - a * a


class Relu(_Activation):
    """f(z) = max(z, 0), f'(z) = 1 where a > 0, else 0 (0 at z = 0)."""

    glorot_factor = 6.0

    def forward(self, z):
        np.maximum(z, 0, out=z)

    def backward(self, a, delta):
        delta *= a > 0

    def bind(self, shape, dtype):
        """The same two on buffers, 3 to 12 % of a step faster.

        numpy takes the maximum with a matrix of zeros in half the time of that with
        a number, and multiplies by floats in half the time that it takes by bools.
        """
        zeros, zero = np.zeros(shape, dtype), np.zeros((), dtype)
        active, slope = np.empty(shape, bool), np.empty(shape, dtype)

        def forward(z):
            np.maximum(z, zeros, out=z)

        def backward(a, delta):
            np.greater(a, zero, active)
            np.copyto(slope, active)
            np.multiply(delta, slope, delta)

        return forward, backward


ACTIVATIONS = {
    "identity": Identity(),
    "logistic": Logistic(),
    "tanh": Tanh(),
    "relu": Relu(),
}
