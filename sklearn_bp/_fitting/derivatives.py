"""Hidden units and derivatives of a fitted network, for encoded rows."""

import numpy as np
from scipy import sparse


def parts(n, length):
    """Slices of `length` rows that cover n rows."""
    return [slice(start, start + length) for start in range(0, n, length)]


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def activations(fitted, X):
    """The hidden layer of rows: activations, (n, n_hidden), and backward pass.

    Parameters
    ----------
    fitted : FittedNetwork
    X : ndarray or CSR of shape (n, n_encoded)
    """
    W1, b1 = fitted.weights.W1, fitted.weights.b1
    X = fitted.seen(X)
    a1 = np.asarray(X @ W1.astype(np.result_type(X.dtype, W1.dtype), copy=False)) + b1
    forward, backward = fitted.network.activation.bind(a1.shape, a1.dtype)
    forward(a1)
    return a1, backward


@np.errstate(over="ignore", invalid="ignore", under="ignore")  # beyond the dtype
def input_gradient(fitted, X):
    """Derivatives of the scores of encoded rows: (n, n_outputs, n_encoded)."""
    W1, _, W2, _, V = fitted.weights
    bins = fitted.inputs.bins
    a1, backward = activations(fitted, X)
    gradient = np.empty((X.shape[0], W2.shape[1], len(W1)), a1.dtype)
    for k in range(W2.shape[1]):
        delta = np.tile(W2[:, k].astype(a1.dtype, copy=False), (len(a1), 1))
        backward(a1, delta)
        gradient[:, k] = delta @ W1.T
        if not np.isfinite(gradient[:, k]).all():  # say, infinity minus infinity
            c, by_feature = np.abs(W2[:, k]).max(), np.abs(W1).max(axis=1)
            by_feature[by_feature == 0] = 1
            gradient[:, k] = (delta / c) @ (W1.T / by_feature) * by_feature * c
    if V is not None:
        gradient += V.T
    inside = fitted.inside(X)
    if bins is not None:
        gradient = bins.through(inside, gradient)
    if inside is not X:  # scores do not depend on values beyond the limits
        changed = _changed(inside, X)[:, np.newaxis]
        gradient[np.broadcast_to(changed, gradient.shape)] = 0
    return gradient


def _changed(inside, X):
    """Where two matrices differ, (n, d)."""
    inside, X = (x.toarray() if sparse.issparse(x) else x for x in (inside, X))
    return inside != X
