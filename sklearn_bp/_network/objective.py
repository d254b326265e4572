"""The loss that training minimizes, and its gradient, over the whole data.

`loss_and_gradient` is a plain function of network, parameters and data; `Objective`
keeps its buffers from one evaluation to the next.
"""

import numpy as np
from scipy import sparse

from sklearn_bp._network.batches import Batches, Data


class Objective:
    """Loss and gradient over the whole data, for full-batch solvers.

    A call returns the mean loss, including the penalty, and writes its gradient to
    `gradient`.  The network processes `block_rows` rows at a time.
    """

    def __init__(self, network, parameters, data, block_rows=256, dropout=None):
        self.network, self.parameters, self.data = network, parameters, data
        self.gradient = parameters.like(np.empty_like(parameters.flat))
        n_rows = min(block_rows, data.n_rows)
        self._batches = Batches(
            data,
            n_rows,
            parameters.flat.dtype,
            parameters.n_members,
            parameters.shape[2],
        )
        is_sparse = sparse.issparse(data.X)
        self._kernels = {
            b: network.bind(parameters, self.gradient, b, is_sparse, dropout)
            for b in self._batches.lengths
        }

    def __call__(self):
        n = self.data.n_rows
        total = self.sums(1 / n)
        alpha = self.data.alpha
        self.gradient.penalized[...] += (alpha / n) * self.parameters.penalized
        penalty = 0.5 * alpha * self.parameters.squared_norm()
        return (total + penalty) / n

    def sums(self, scale):
        """Sum of the loss over the rows; `gradient` gets `scale` times its gradient."""
        blocks = self._batches.epoch()
        return add_up(blocks, self._kernels, self.network.loss, scale)


def add_up(blocks, kernels, loss, scale):
    """Sum of the loss over the rows; writes `scale` times its gradient to the target.

    Parameters
    ----------
    blocks : iterable of Block
    kernels : dict of int to Kernel
        A kernel for each batch length; all have the same target.
    loss : object of `losses`
    scale : float
    """
    total, beta = 0.0, 0.0
    for block in blocks:
        forward, output_error, hidden_error, gradient = kernels[block.n_rows]
        for X, Y, P, weights in block.steps:
            forward(X, P)
            output_error(P, Y, weights)
            hidden_error()
            gradient(X, scale, beta)
            beta = 1.0
        total += block.value(loss)
    return total


def loss_and_gradient(network, parameters, X, Y, sample_weight=None, alpha=0.0):
    """The training loss, which every solver minimizes, and its gradient.

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
