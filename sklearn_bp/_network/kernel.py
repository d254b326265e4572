"""The network's arithmetic: forward, the two errors, the gradients.

For a batch of b samples, one per row as in scikit-learn, in the usual notation:

    z1 = x W1 + b1              a1 = f(z1)          (b, n_hidden)
    z2 = a1 W2 + b2             p  = g(z2)          (b, n_outputs)
    delta2 = dL / dz2                               (b, n_outputs)   output error
    delta1 = (delta2 W2^T) * f'(z1)                 (b, n_hidden)    hidden error
    dL/dW2 = a1^T delta2        dL/db2 = 1^T delta2
    dL/dW1 = x^T  delta1        dL/db1 = 1^T delta1

(Rumelhart, Hinton and Williams 1986; `docs/backpropagation.md` derives them.)  A skip
layer adds x V to z2, and with it

    dL/dV = x^T delta2                              (n_features, n_outputs)

`TwoLayerNetwork.bind` prepares buffers and views and returns the steps as
functions over them; nothing else is allocated while training runs.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sklearn_bp._common.blas import DIRECT_PRODUCT, blas_for, row_parts
from sklearn_bp._common.threads import shared_by

# Maximum number of rows that `scores` takes at a time, so that their hidden layer stays
# in the cache.
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

    def bind(self, parameters, target, n_rows, is_sparse=False, dropout=None):
        """The four steps for batches of `n_rows` rows.

        All of K members predict, and learn from, the same rows.

        Parameters
        ----------
        parameters : Parameters
        target : Parameters
            The gradient is written to it.
        n_rows : int
        is_sparse : bool
            Whether batches are CSR of shape (n_rows, n_features); otherwise they are
            the transposes of C-ordered arrays of that shape.
        dropout : Dropout, default=None
            Draws the hidden units that are dropped.

        Returns
        -------
        Kernel of

        forward(X, P) : writes predictions to P, ([K,] n_rows, n_outputs)
        output_error(P, Y, weights) : delta2, multiplied by the weights, ([K,] n_rows,
            1), unless they are None; Y is (n_rows, n_targets)
        hidden_error() : delta1
        gradient(X, scale, beta) : target = beta target + scale (gradient of
            the sum over the batch)
        """
        _, _, k = parameters.shape
        n_members, n_hidden = parameters.n_members, len(parameters.b1)
        dtype = parameters.flat.dtype
        gemv = blas_for(dtype).gemv
        predict = self.loss.bind((n_members * n_rows, k), dtype)
        differentiate = self.loss.backward
        b1, target_b1 = parameters.b1, target.b1

        a1, delta1 = (np.empty((n_rows, n_hidden), dtype) for _ in range(2))
        activate, multiply_derivative, hidden = self._activation(a1, dropout)
        delta2 = np.empty(predictions_shape(n_members, n_rows, k), dtype)
        ones = np.ones(n_rows, dtype)
        delta1_T = delta1.T  # BLAS wants Fortran order: the transpose, which is a view

        arrays = a1, hidden, delta1, delta2
        input_layer, output_layer = _layers(parameters, target, arrays, is_sparse)
        add_product, input_gradient = input_layer
        output_scores, propagate, output_gradient = output_layer

        def forward(X, P):
            a1[...] = b1
            add_product(X)  # z1
            activate(a1)
            predict(output_scores(P))  # z2

        def output_error(P, Y, row_weights):
            differentiate(P, Y, delta2)
            if row_weights is not None:
                np.multiply(delta2, row_weights, out=delta2)

        def hidden_error():
            propagate()
            multiply_derivative(a1, delta1)

        def gradient(X, scale, beta):
            output_gradient(scale, beta)
            input_gradient(X, scale, beta)
            gemv(scale, delta1_T, ones, beta, target_b1, 0, 1, 0, 1, 0, 1)

        return Kernel(forward, output_error, hidden_error, gradient)

    def _activation(self, a1, dropout):
        """The activation of a1, its derivative, and the array that the outputs see.

        That array is a1 itself, or another one with dropout.
        """
        activate, multiply_derivative = self.activation.bind(a1.shape, a1.dtype)
        if dropout is None:
            return activate, multiply_derivative, a1
        hidden = np.empty_like(a1)
        next_mask = dropout.bind(a1.shape, a1.dtype)
        return *_dropping(activate, multiply_derivative, next_mask, hidden), hidden

    def scores(self, weights, X, rows=None, scaling=None, out=None):
        """Scores z2, (n, n_outputs), of the rows of X, or of `rows` among them.

        Rows are processed block by block, and cast to the dtype of the weights.

        Parameters
        ----------
        weights : Weights
        X : ndarray or CSR of shape (n_all, n_features)
        rows : ndarray of int, default=None
        scaling : callable(X), default=None
            Applied to the rows first.
        out : ndarray of shape (n, n_outputs), default=None
            Array for the scores, of the dtype of the weights.
        """
        p, dtype = weights, weights.W1.dtype
        n = X.shape[0] if rows is None else len(rows)
        z2 = np.empty((n, len(p.b2)), dtype) if out is None else out
        direct = DIRECT_PRODUCT // p.W1.size
        n_rows = direct if 64 <= direct < PREDICT_ROWS else PREDICT_ROWS
        n_blocks = -(-n // n_rows)

        def score(first, last):
            """The blocks from first to last."""
            buffer = np.empty((min(n, n_rows), len(p.b1)), dtype)
            activate = None
            for start in range(first * n_rows, min(last * n_rows, n), n_rows):
                part = slice(start, start + n_rows)
                x = X[part] if rows is None else X[rows[part]]
                if scaling is not None:
                    x = scaling(x)
                a1 = buffer[: x.shape[0]]
                if activate is None or len(a1) < len(buffer):
                    activate, _ = self.activation.bind(a1.shape, dtype)
                if sparse.issparse(x):
                    a1[...] = x @ p.W1
                else:
                    np.dot(x.astype(dtype, copy=False), p.W1, out=a1)
                a1 += p.b1
                activate(a1)
                np.dot(a1, p.W2, out=z2[part])
                if p.V is not None:
                    z2[part] += x.astype(dtype, copy=False) @ p.V

        if n_blocks == 1:
            score(0, 1)
        else:
            shared_by(n_blocks, n * p.W1.size, score)
        z2 += p.b2
        return z2


def predictions_shape(n_members, n_rows, n_outputs):
    """The shape of P and delta2 of a batch: the axis of several members comes first."""
    shape = (n_rows, n_outputs)
    return shape if n_members == 1 else (n_members, *shape)


def _layers(parameters, target, buffers, is_sparse):
    """The functions of the input layer and of the output layer.

    Parameters
    ----------
    parameters, target : Parameters
    buffers : a1, hidden, delta1, delta2
    is_sparse : bool

    Returns
    -------
    add_product, input_gradient : see `_dense_layer`
    output_scores, propagate, output_gradient : see `_output_layer`
    """
    a1, hidden, delta1, delta2 = buffers
    input_layer = _sparse_layer if is_sparse else _dense_layer
    add_product, input_gradient = input_layer(parameters.W1, target.W1, a1, delta1)
    output_layer = _output_layer if parameters.n_members == 1 else _member_outputs
    scores, propagate, output_gradient = output_layer(
        parameters, target, hidden, delta1, delta2
    )
    if parameters.V is not None:
        add_product, scores, input_gradient = _skipping(
            (add_product, scores, input_gradient),
            (input_layer, parameters, target, delta2),
        )
    return (add_product, input_gradient), (scores, propagate, output_gradient)


def _dropping(activate, multiply_derivative, next_mask, hidden):
    """The two functions of an activation, with dropout.

    hidden = a1 * mask,    delta1 = (delta2 W2^T) * mask * f'(z1)
    """
    mask = np.empty(0)

    def activate_some(a1):
        nonlocal mask
        activate(a1)
        mask = next_mask()
        np.multiply(a1, mask, hidden)

    def multiply_derivative_of_some(a1, delta1):
        np.multiply(delta1, mask, delta1)
        multiply_derivative(a1, delta1)

    return activate_some, multiply_derivative_of_some


def _skipping(steps, layer):
    """Three steps of a network, extended by a skip layer.

    Parameters
    ----------
    steps : add_product, output_scores, input_gradient
        Steps of the network without a skip layer.
    layer : input_layer, parameters, target, delta2

    Returns
    -------
    add_product(X) : also xV = X V
    output_scores(P) : P = a1 W2 + b2 + xV
    input_gradient(X, scale, beta) : also target_V = beta target_V + scale X^T delta2
    """
    add_product, output_scores, input_gradient = steps
    input_layer, parameters, target, delta2 = layer
    # Twice: as one layer for the outputs of all members, (n_rows, n_members *
    # n_outputs), and in the layout of predictions, where members come first.
    n_rows, k = delta2.shape[-2:]
    xV = np.empty((n_rows, parameters.V.shape[1]), delta2.dtype)
    errors = delta2 if parameters.n_members == 1 else np.empty_like(xV)
    shape = (n_rows, parameters.n_members, k)
    xV_of_members = xV.reshape(shape).transpose(1, 0, 2).reshape(delta2.shape)
    errors_of_members = errors.reshape(shape).transpose(1, 0, 2)
    add_linear, linear_gradient = input_layer(parameters.V, target.V, xV, errors)

    def add_products(X):
        add_product(X)
        xV[...] = 0
        add_linear(X)

    def scores(P):
        z2 = output_scores(P)
        np.add(P, xV_of_members, P)
        return z2

    def gradients(X, scale, beta):
        input_gradient(X, scale, beta)
        if errors is not delta2:
            errors_of_members[...] = delta2
        linear_gradient(X, scale, beta)

    return add_products, scores, gradients


def _output_layer(parameters, target, a1, delta1, delta2):
    """The products with the output weights.

    Returns
    -------
    scores(P) : P = a1 W2 + b2; returns P as a matrix of n_outputs columns
    propagate() : delta1 = delta2 W2^T
    gradient(scale, beta) : target_W2 = beta target_W2 + scale a1^T delta2, and the same
        for b2
    """
    blas = blas_for(a1.dtype)
    gemm, gemv = blas.gemm, blas.gemv
    b2, target_b2 = parameters.b2, target.b2
    W2_T, target_W2_T = parameters.W2.T, target.W2.T
    a1_T, delta1_T, delta2_T = a1.T, delta1.T, delta2.T
    ones = np.ones(len(a1), a1.dtype)

    def scores(P):
        P[...] = b2
        gemm(1.0, W2_T, a1_T, 1.0, P.T, 0, 0, 1)
        return P

    def propagate():
        gemm(1.0, W2_T, delta2_T, 0.0, delta1_T, 1, 0, 1)

    def gradient(scale, beta):
        gemm(scale, delta2_T, a1_T, beta, target_W2_T, 0, 1, 1)
        gemv(scale, delta2_T, ones, beta, target_b2, 0, 1, 0, 1, 0, 1)

    return scores, propagate, gradient


def _by_member(hidden, n_members):
    """An array of all hidden units as a view, (n_members, n_rows, n_hidden)."""
    return hidden.reshape(len(hidden), n_members, -1).transpose(1, 0, 2)


def _member_outputs(parameters, target, a1, delta1, delta2):
    """As `_output_layer`, from each member's hidden units to its own outputs.

    The products are stacked, on views: A and D1 are a1 and delta1 in the shape
    (n_members, n_rows, n_hidden).
    """
    (_, h, k), n_members = parameters.shape, parameters.n_members
    blas = blas_for(a1.dtype)
    gemm, axpy, scal = blas.gemm, blas.axpy, blas.scal
    A, D1 = _by_member(a1, n_members), _by_member(delta1, n_members)
    A_T = A.transpose(0, 2, 1)
    W2 = parameters.W2.reshape(n_members, h, k)
    W2_T = W2.transpose(0, 2, 1)
    b2 = parameters.b2.reshape(n_members, 1, k)
    target_W2 = target.W2.reshape(W2.shape)
    target_W2_flat = target.W2.reshape(-1)
    product = np.empty_like(W2)
    product_flat = product.reshape(-1)
    # A product with ones sums up the rows of each member, in a fifth of the time of a
    # sum over the middle axis.
    delta2_T = delta2.reshape(-1, k).T
    rows_of_T = np.repeat(np.eye(n_members, dtype=a1.dtype), len(a1), axis=0).T
    target_b2_T = target.b2.reshape(n_members, k).T

    def scores(P):
        np.matmul(A, W2, P)
        np.add(P, b2, P)
        return P.reshape(-1, k)

    def propagate():
        np.matmul(delta2, W2_T, D1)

    if k == 1:
        propagate = _outer_products(W2_T[:, 0], delta1, delta2[..., 0])

    def gradient(scale, beta):
        gemm(scale, delta2_T, rows_of_T, beta, target_b2_T, 0, 1, 1)
        np.matmul(A_T, delta2, product)
        if beta == 0:  # the target may hold anything, NaN too
            np.multiply(product, scale, target_W2)
            return
        if beta != 1:
            scal(beta, target_W2_flat)
        axpy(product_flat, target_W2_flat, product.size, scale)

    return scores, propagate, gradient


def _outer_products(W2, delta1, delta2):
    """delta1 = delta2 W2^T with one output per member, where matmul is slow.

    It is one product with a block-diagonal matrix of the members' rows.  This takes
    half the time of elementwise products, and saves 12 % of a step of 256 rows and
    eight members of 64 units.  With many members it would be too much work.

    Parameters
    ----------
    W2 : ndarray of shape (n_members, n_hidden)
    delta1 : ndarray of shape (n_rows, n_members * n_hidden)
    delta2 : ndarray of shape (n_members, n_rows)

    Returns
    -------
    propagate() : writes delta1
    """
    (n_members, h), n_rows = W2.shape, len(delta1)
    if n_members > 16:
        D1 = _by_member(delta1, n_members)
        return lambda: np.multiply(delta2[..., np.newaxis], W2[:, np.newaxis], D1)
    gemm = blas_for(W2.dtype).gemm
    blocks = np.zeros((n_members, n_members * h), W2.dtype)
    diagonal = np.einsum("kkh->kh", blocks.reshape(n_members, n_members, h))  # a view
    blocks_T, delta2_T = blocks.T, delta2.T
    parts = [(delta2_T[s], delta1[s].T) for s in row_parts(n_rows, blocks.size, 8)]

    def propagate():
        diagonal[...] = W2
        for rows, out_T in parts:
            gemm(1.0, blocks_T, rows, 0.0, out_T, 0, 1, 1)

    return propagate


def _dense_layer(W1, target_W1, a1, delta1):
    """The two products with a batch X, given as its transpose.

    Returns
    -------
    add_product(X) : a1 += X W1
    gradient(X, scale, beta) : target_W1 = beta target_W1 + scale X^T delta1
    """
    gemm = blas_for(W1.dtype).gemm
    n_rows, n_multiplications = len(a1), W1.size
    W1_T, target_W1_T, a1_T, delta1_T = W1.T, target_W1.T, a1.T, delta1.T

    def add_product(X_T):
        gemm(1.0, W1_T, X_T, 1.0, a1_T, 0, 0, 1)

    def gradient(X_T, scale, beta):
        gemm(scale, delta1_T, X_T, beta, target_W1_T, 0, 1, 1)

    # In parts if that is faster: it saves 10 to 13 % of a step of 200 rows, 64 features
    # and 100 hidden units.  Each part of the gradient passes over W1 once more, so its
    # parts must be larger.
    product_parts = [(s, a1[s].T) for s in row_parts(n_rows, n_multiplications, 8)]
    gradient_parts = [
        (s, delta1[s].T) for s in row_parts(n_rows, n_multiplications, 48)
    ]

    def add_product_in_parts(X_T):
        for part, z1_T in product_parts:
            gemm(1.0, W1_T, X_T[:, part], 1.0, z1_T, 0, 0, 1)

    def gradient_in_parts(X_T, scale, beta):
        for part, delta_T in gradient_parts:
            gemm(scale, delta_T, X_T[:, part], beta, target_W1_T, 0, 1, 1)
            beta = 1.0

    return (
        add_product_in_parts if len(product_parts) > 1 else add_product,
        gradient_in_parts if len(gradient_parts) > 1 else gradient,
    )


def _sparse_layer(W1, target_W1, a1, delta1):
    """As `_dense_layer`, for a CSR batch X."""

    def add_product(X):
        np.add(a1, X @ W1, out=a1)

    def gradient(X, scale, beta):
        if beta == 0:  # the target may hold anything, NaN too
            target_W1[...] = 0
        elif beta != 1:
            target_W1[...] *= beta
        # Only update the rows of W1 whose features occur in the batch.
        features, columns = np.unique(X.indices, return_inverse=True)
        shape = (X.shape[0], len(features))
        present = sparse.csr_matrix((X.data, columns, X.indptr), shape=shape)
        target_W1[features] += present.T @ (scale * delta1)

    return add_product, gradient
