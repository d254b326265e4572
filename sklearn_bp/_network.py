"""The network's arithmetic: forward, the two errors, the gradients.

For a batch of b rows, with units before rows and the letters of the texts:

    z1 = W1^T x + b1            a1 = f(z1)          (n_hidden, b)
    z2 = W2^T a1 + b2           p  = g(z2)          (n_outputs, b)
    delta2 = dL / dz2                               (n_outputs, b)   output error
    delta1 = (W2 delta2) * f'(z1)                   (n_hidden, b)    hidden error
    dL/dW2 = a1 delta2^T        dL/db2 = delta2 1
    dL/dW1 = x  delta1^T        dL/db1 = delta1 1

(Rumelhart, Hinton and Williams 1986; `docs/backpropagation.md` derives them.)
A unit that is always 1, first in x and last in a1, makes the intercepts rows
of the weight matrices, so each line is one matrix product.

`TwoLayerNetwork.bind` prepares buffers and views and returns the steps as
functions over them; nothing else is allocated while training runs.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sklearn_bp._batches import Batches, Data
from sklearn_bp._blas import blas_for

# Rows that `scores` takes at a time: their hidden layer stays in the cache.
PREDICT_ROWS = 512


class Kernel(NamedTuple):
    """The steps of one batch; see `TwoLayerNetwork.bind`."""

    forward: Any
    output_error: Any
    hidden_error: Any
    gradient: Any


class TwoLayerNetwork:
    """A hidden layer and an output layer.

    Parameters
    ----------
    activation : object of `activations`
    loss : object of `losses`
    """

    def __init__(self, activation, loss):
        self.activation = activation
        self.loss = loss

    def bind(self, parameters, target, n_rows, alpha=0.0, is_sparse=False):
        """The four steps for batches of `n_rows` rows.

        Parameters
        ----------
        parameters : Parameters
        target : Parameters
            Where gradients go.
        n_rows : int
        alpha : float
            Factor of the penalty alpha / 2 (||W1||^2 + ||W2||^2).
        is_sparse : bool
            Whether batches are CSR of shape (n_rows, n_features), or else the
            transposes of C-ordered (n_rows, 1 + n_features) with leading ones.

        Returns
        -------
        Kernel of

        forward(X, P) : writes predictions to P, (n_outputs, n_rows)
        output_error(P, Y, weights) : delta2, times the weights if not None
        hidden_error() : delta1
        gradient(X, scale, beta) : target = beta target + scale (gradient of
            the sum over the batch, and of the penalty)
        """
        _, h, k = parameters.shape
        dtype = parameters.flat.dtype
        gemm, axpy, _, _ = blas_for(dtype)
        activation, loss = self.activation, self.loss
        activate, multiply_derivative = activation.forward, activation.backward
        predict, differentiate = loss.forward, loss.backward
        first_product, first_gradient = (
            self._sparse_layer(parameters, target)
            if is_sparse
            else self._dense_layer(parameters, target)
        )

        a1_and_one = np.ones((h + 1, n_rows), dtype)  # the unit that is always 1 last
        a1 = a1_and_one[:h]
        delta1 = np.empty((h, n_rows), dtype)
        delta2 = np.empty((k, n_rows), dtype)
        # BLAS wants Fortran order: transposed views of the above.
        a1_and_one_T, delta1_T, delta2_T = a1_and_one.T, delta1.T, delta2.T
        layer2_T, W2_T = parameters.layer2.T, parameters.W2.T
        target2_T = target.layer2.T
        weights, target_weights = parameters.penalized, target.penalized
        n_weights = weights.size

        def forward(X, P):
            first_product(X, a1)  # z1
            activate(a1)
            gemm(1.0, a1_and_one_T, layer2_T, 0.0, P.T, 0, 1, 1)  # z2
            predict(P)

        def output_error(P, Y, row_weights):
            differentiate(P, Y, delta2)
            if row_weights is not None:
                np.multiply(delta2, row_weights, out=delta2)

        def hidden_error():
            gemm(1.0, delta2_T, W2_T, 0.0, delta1_T, 0, 0, 1)
            multiply_derivative(a1, delta1)

        def gradient(X, scale, beta):
            gemm(scale, delta2_T, a1_and_one_T, beta, target2_T, 1, 0, 1)
            first_gradient(X, delta1, scale, beta)
            if alpha:
                axpy(weights, target_weights, n_weights, scale * alpha)

        return Kernel(forward, output_error, hidden_error, gradient)

    @staticmethod
    def _dense_layer(parameters, target):
        gemm = blas_for(parameters.flat.dtype).gemm
        layer1_T, target1_T = parameters.layer1.T, target.layer1.T

        def product(X_T, z1):
            gemm(1.0, X_T, layer1_T, 0.0, z1.T, 1, 1, 1)

        def gradient(X_T, delta1, scale, beta):
            gemm(scale, delta1.T, X_T, beta, target1_T, 1, 1, 1)

        return product, gradient

    @staticmethod
    def _sparse_layer(parameters, target):
        W1, b1 = parameters.W1, parameters.b1[:, np.newaxis]

        def product(X, z1):
            np.add((X @ W1).T, b1, out=z1)

        def gradient(X, delta1, scale, beta):
            if beta == 0:  # the target may hold anything, NaN too
                target.layer1[...] = 0
            else:
                target.layer1[...] *= beta
            target.W1[...] += X.T @ (scale * delta1.T)
            target.b1[...] += scale * delta1.sum(axis=1)

        return product, gradient

    def scores(self, parameters, X, rows=None):
        """Scores z2, (n_outputs, n), of the rows of X (of `rows`, if given).

        Works through the rows block by block; X is cast to the parameters' dtype.
        """
        p = parameters
        n = X.shape[0] if rows is None else len(rows)
        z2 = np.empty((p.shape[2], n), p.flat.dtype)
        for start in range(0, n, PREDICT_ROWS):
            part = slice(start, start + PREDICT_ROWS)
            x = X[part] if rows is None else X[rows[part]]
            a1 = x.astype(p.flat.dtype, copy=False) @ p.W1
            a1 += p.b1
            self.activation.forward(a1)
            z2[:, part] = (a1 @ p.W2 + p.b2).T
        return z2


class Objective:
    """Loss and gradient over the whole data, for solvers that take it whole.

    Calling it gives the mean loss, penalty included, and leaves its gradient in
    `gradient`.  The data passes through in blocks of at most `block_rows` rows.
    """

    def __init__(self, network, parameters, data, block_rows=2048):
        self.network, self.parameters, self.data = network, parameters, data
        self.gradient = parameters.like(np.empty_like(parameters.flat))
        n_rows = min(block_rows, data.n_rows)
        self._batches = Batches(data, n_rows, parameters.flat.dtype)
        is_sparse = sparse.issparse(data.X)
        self._kernels = {
            b: network.bind(parameters, self.gradient, b, is_sparse=is_sparse)
            for b in self._batches.lengths
        }

    def __call__(self):
        n = self.data.n_rows
        total, beta = 0.0, 0.0
        for block in self._batches.epoch():
            forward, output_error, hidden_error, gradient = self._kernels[block.n_rows]
            for X, Y, P, weights in block.steps:
                forward(X, P)
                output_error(P, Y, weights)
                hidden_error()
                gradient(X, 1 / n, beta)
                beta = 1.0
            total += block.value(self.network.loss)
        alpha = self.data.alpha
        self.gradient.penalized[...] += (alpha / n) * self.parameters.penalized
        return (total + 0.5 * alpha * self.parameters.squared_norm()) / n


def loss_and_gradient(network, parameters, X, Y, sample_weight=None, alpha=0.0):
    """The training loss and its gradient, a pair: what every solver minimizes.

    loss = sum_i w_i loss_i / sum_i w_i + alpha / (2 sum_i w_i) (||W1||^2 + ||W2||^2)

    Parameters
    ----------
    network : TwoLayerNetwork
    parameters : Parameters
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_outputs)
    sample_weight : ndarray of shape (n,), default=None
    alpha : float, default=0.0

    Returns
    -------
    loss : float
    gradient : Parameters
    """
    data = Data.weighted(X, Y, sample_weight, alpha)
    objective = Objective(network, parameters, data)
    return objective(), objective.gradient
