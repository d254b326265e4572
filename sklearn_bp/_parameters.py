"""The parameters of the network in one flat vector, and their names in it.

The order is b1, W1, W2, b2:

    b1 (n_hidden,)   W1 (n_features, n_hidden)   W2 (n_hidden, n_outputs)   b2

so that `penalized`, both weight matrices, is one piece.  Optimizers work on the
whole vector, whose parts they need not know.  Gradients and moments have the same
layout.
"""

from typing import NamedTuple

import numpy as np

from sklearn_bp._blas import blas_for


class Weights(NamedTuple):
    """The four arrays apart, in scikit-learn's shapes: what predicting needs."""

    W1: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray


class Parameters:
    """Views into one flat vector.

    Parameters
    ----------
    flat : ndarray of shape (size(...),), float32 or float64
        Kept, not copied.
    n_features, n_hidden, n_outputs : int
    """

    def __init__(self, flat, n_features, n_hidden, n_outputs):
        d, h, k = n_features, n_hidden, n_outputs
        self.shape = (d, h, k)
        self.flat = flat
        self.b1 = flat[:h]
        self.W1 = flat[h : h + d * h].reshape(d, h)
        self.W2 = flat[h + d * h : h + d * h + h * k].reshape(h, k)
        self.b2 = flat[h + d * h + h * k :]
        self.penalized = flat[h : h + d * h + h * k]

    @staticmethod
    def size(n_features, n_hidden, n_outputs):
        """Number of parameters of such a network."""
        return (1 + n_features) * n_hidden + (n_hidden + 1) * n_outputs

    @classmethod
    def empty(cls, n_features, n_hidden, n_outputs, dtype):
        """Uninitialized parameters."""
        size = cls.size(n_features, n_hidden, n_outputs)
        return cls(np.empty(size, dtype=dtype), n_features, n_hidden, n_outputs)

    @classmethod
    def draw(cls, shape, dtype, initializer, random_state, glorot_factor):
        """Starting values, drawn layer by layer in MLPClassifier's order."""
        d, h, k = shape
        self = cls.empty(d, h, k, dtype)
        self.W1[...], self.b1[...] = initializer(random_state, d, h, glorot_factor)
        self.W2[...], self.b2[...] = initializer(random_state, h, k, glorot_factor)
        return self

    @classmethod
    def pack(cls, coefs, intercepts, dtype):
        """Copied from arrays of scikit-learn's shapes."""
        (d, h), (_, k) = np.shape(coefs[0]), np.shape(coefs[1])
        self = cls.empty(d, h, k, dtype)
        self.W1[...], self.W2[...] = coefs
        self.b1[...], self.b2[...] = intercepts
        return self

    def unpack(self):
        """Copies in scikit-learn's shapes: coefs, intercepts."""
        return [self.W1.copy(), self.W2.copy()], [self.b1.copy(), self.b2.copy()]

    def like(self, flat):
        """The same layout over another vector."""
        return Parameters(flat, *self.shape)

    def astype(self, dtype):
        """A copy of another dtype."""
        return self.like(self.flat.astype(dtype))

    def squared_norm(self):
        """sum(W1 ** 2) + sum(W2 ** 2)."""
        weights = self.penalized
        return float(blas_for(weights.dtype).dot(weights, weights))
