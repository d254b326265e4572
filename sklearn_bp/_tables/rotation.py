"""Wide data, with many more columns than rows, in coordinates of the rows' space.

The gradient of the input weights, X^T delta1, is a sum of rows: nothing is learned
outside the space that the rows span.  With an orthonormal basis V of that space, as the
columns of a matrix (n_features, rank), a network on the coordinates

    Z = factor X V                                  (n, rank)

has rank <= n inputs instead of n_features, and

    W1 = factor V W1'

turns its input weights W1' into those of the same network on the columns of X.  The
basis consists of the principal components of the rows times the roots of their weights,
without centring.  The single factor gives the coordinates a mean square of
COORDINATE_SQUARE.  (Individual factors that give all coordinates the same width would
amplify noise to the level of the signal.)

V is never formed: V = X^T A, with A (n, rank) from the eigenvectors of X X^T, the
products of the rows with each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.limits import inside

# Data is wide if it has at least this many non-constant columns per row with non-zero
# weight.  With fewer columns too much is lost: a target may depend on few columns, but
# not on few components.
WIDE = 5

# The time for the eigenvectors grows with the cube of the number of rows.
MOST_ROWS = 2000

COORDINATE_SQUARE = 4.0

# Components whose share of the squares is smaller than this, relative to the first, are
# rounding errors.
SMALLEST = 1e-10

# Numbers of X that are scaled at once.
BLOCK_SIZE = 2**20


def is_wide(n_rows, n_columns):
    """Whether to train in the space of these rows, which have non-zero weight.

    Parameters
    ----------
    n_rows : int
    n_columns : int
        Number of columns that are not constant.
    """
    return WIDE * n_rows <= n_columns and n_rows <= MOST_ROWS


def is_small(n_rows, n_weights):
    """Whether the matrices of rows by rows take less memory than the weights W1.

    About four of the former are needed at a time, in float64, and five of the latter.
    """
    return 2 * n_rows**2 <= n_weights


@dataclass(frozen=True)
class Rotation:
    """From columns to coordinates, and from weights on coordinates back to columns.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, n_features)
        The unscaled rows.
    scaling : Scaling
    A : ndarray of shape (n, rank), float64
        The basis is X^T A, with scaled rows; 0 for rows of weight 0.
    factor : float
    """

    X: Any
    scaling: Any
    A: np.ndarray
    factor: float

    @classmethod
    def of_rows(cls, X, scaling, sample_weight=None):
        """The rotation, and the coordinates of the rows, (n, rank), float64.

        Parameters
        ----------
        X, scaling
            As in the class.
        sample_weight : ndarray of shape (n,) or None
            Not negative, and not all 0.
        """
        K = products(X, scaling)
        root = np.ones(len(K))
        if sample_weight is not None:
            root = np.sqrt(sample_weight / np.max(sample_weight))
        squares, U = np.linalg.eigh(K * root * root[:, np.newaxis])
        kept = squares > SMALLEST * squares[-1]
        squares, U = squares[kept][::-1], U[:, kept][:, ::-1]
        # The sign of an eigenvector is arbitrary: make its largest number positive.
        U = U * np.sign(U[np.argmax(np.abs(U), axis=0), np.arange(len(squares))])
        A = root[:, np.newaxis] * U / np.sqrt(squares)
        Z = K @ A
        # As if each row occurred as often as its weight.
        mean_square = np.sum(squares) / np.sum(np.square(root)) / len(squares)
        factor = float(np.sqrt(COORDINATE_SQUARE / mean_square))
        return cls(X, scaling, A, factor), factor * Z

    def back(self, parameters):
        """`Parameters` on the scaled columns, in float64, from those on coordinates."""
        p = parameters
        layout = p.layout._replace(n_features=self.X.shape[1], scale_speed=0.0)
        whole = Parameters.empty(layout, np.float64)
        whole.b1[...], whole.W2[...], whole.b2[...] = p.b1, p.W2, p.b2
        pairs = [(p.W1, whole.W1)]
        if p.V is not None:
            pairs.append((p.V, whole.V))
        for of_coordinates, of_columns in pairs:
            weights = self.A @ (self.factor * of_coordinates.astype(np.float64))
            for columns, block in scaled_columns(self.X, self.scaling):
                of_columns[columns] = block.T @ weights
        return whole


def on_columns(parameters, rotation):
    """Parameters on the scaled columns; unchanged if there is no rotation."""
    return parameters if rotation is None else rotation.back(parameters)


def products(X, scaling):
    """The products of the scaled rows with each other, (n, n), float64."""
    K = np.zeros((X.shape[0], X.shape[0]))
    for _, block in scaled_columns(X, scaling):
        product = block @ block.T
        K += product.toarray() if sparse.issparse(product) else product
    return K


def scaled_columns(X, scaling):
    """Yield slices of columns, and these columns, scaled, in float64; a CSR at once."""
    n, d = X.shape
    if sparse.issparse(X):
        yield slice(None), scaling(X.astype(np.float64))
        return
    length = max(1, BLOCK_SIZE // n)
    for start in range(0, d, length):
        columns = slice(start, start + length)
        block = X[:, columns].astype(np.float64)
        if scaling.cuts:
            block = inside(block, scaling.limits[:, columns], scaling.centre[columns])
        block -= scaling.centre[columns]
        block *= scaling.factor[columns]
        yield columns, block
