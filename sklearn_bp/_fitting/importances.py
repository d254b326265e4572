"""How much scores change with each feature, from a few training rows.

While it fits, an estimator keeps a basis, a dict: the slopes of the hidden units at
some rows, and moments of the columns, not the rows themselves.  `importances` makes
numbers of it when somebody asks.
"""

import numpy as np
from scipy import sparse

from sklearn_bp._fitting.derivatives import activations, parts

# Rows, evenly spaced, that tell the importance of features; fewer of long ones.
IMPORTANCE_ROWS = 64
IMPORTANCE_SIZE = 2**20

# In partial_fit, whose time is that of a single epoch: one row in ROWS_PER_SAMPLE, in
# one call in CALLS_PER_SAMPLE unless it has many rows, and the last rows that came.  A
# call of 200 rows then takes 1 % longer, with a sample in each call 3 to 5 %.
ROWS_PER_SAMPLE = 8
CALLS_PER_SAMPLE = 4
MANY_ROWS = 800
RUNNING_ROWS = 32

# Multiplications for the importances, at most: some 50 ms.  With many outputs each row
# then tells of some of them; there are always so many pairs of a row and an output.
IMPORTANCE_WORK = 2**29
FEWEST_PAIRS = 8

# Numbers of a block in which they are worked out.
IMPORTANCE_BLOCK = 2**18


def basis(fitted, X, sample_weight, running=False, before=None, n_iter=0):
    """What importances need of some of the encoded training rows X.

    Parameters
    ----------
    fitted : FittedNetwork
    X : ndarray or CSR of shape (n, n_encoded)
    sample_weight : ndarray of shape (n,) or None
    running : bool, default=False
        Whether it is joined with what earlier calls have kept, as in partial_fit.
    before : dict or None
        That.
    n_iter : int
        Epochs so far.

    Returns
    -------
    dict
        shape : of the input weights
        n : number of rows
        mean, squares : float64, of each column the mean and the sum of squared
            deviations
        slopes : derivatives of the hidden units by their net inputs, (n, n_hidden)
        weights : of the rows, with mean 1
        running : bool
    """
    if not running:
        some = _some_rows(X, sample_weight, lambda n: importance_step(n, X.shape[1]))
        return _sample(fitted, *some) | {"running": False}
    if before is not None and not (
        before["running"] and before["shape"] == fitted.weights.W1.shape
    ):
        before = None
    its_turn = X.shape[0] >= MANY_ROWS or n_iter % CALLS_PER_SAMPLE == 1
    if before is not None and not its_turn:
        return before
    some = _some_rows(
        X, sample_weight, lambda n: max(ROWS_PER_SAMPLE, -(-n // RUNNING_ROWS))
    )
    now = _sample(fitted, *some) | {"running": True}
    return now if before is None else _joined(before, now)


def importances(fitted, basis, n_features):
    """The importance of each of the user's columns, (n_features,); they sum to 1."""
    deviation = np.sqrt(np.maximum(basis["squares"] / basis["n"], 0))
    with np.errstate(over="ignore", invalid="ignore"):
        changes = _mean_slopes(fitted, basis["slopes"], basis["weights"]) * deviation
    d = len(changes)
    origins = np.arange(d) if fitted.columns is None else fitted.columns.sources
    total = np.bincount(origins, changes, minlength=n_features)
    if not np.isfinite(total).all():
        total = (~np.isfinite(total)).astype(np.float64)
    return total / (total.sum() or 1.0)


def to_be_pickled(basis):
    """What a file holds of a basis: nothing, unless a stream may go on."""
    if basis is None or not basis["running"]:
        return None
    slopes = basis["slopes"]
    steps = slopes != 0
    return basis | {"slopes": steps if (steps == slopes).all() else slopes}


def importance_step(n, d):
    """Every so many of n rows of d columns tell the importances."""
    return -(-n // max(2, min(IMPORTANCE_ROWS, IMPORTANCE_SIZE // d)))


def _some_rows(X, sample_weight, step_of):
    """Evenly spaced rows of those that have weight, and their weights or None."""
    if sample_weight is None:
        return X[:: step_of(X.shape[0])], None
    rows = np.flatnonzero(sample_weight)
    rows = rows[:: step_of(len(rows))]
    return X[rows], sample_weight[rows]


def _sample(fitted, X, sample_weight):
    """The basis of rows."""
    n = X.shape[0]
    weights = np.ones(n)
    if sample_weight is not None:
        weights = sample_weight * (n / sample_weight.sum())
    wide = X.astype(np.float64, copy=False)  # columns may be of any size
    mean = (weights @ wide) / n
    if sparse.issparse(wide):
        squares = weights @ wide.multiply(wide).tocsr() - n * mean**2
    else:
        deviations = wide - mean
        deviations *= deviations
        squares = weights @ deviations
    a1, backward = activations(fitted, X)
    slopes = np.ones_like(a1)
    backward(a1, slopes)
    return {
        "shape": fitted.weights.W1.shape,
        "n": n,
        "mean": mean,
        "squares": squares,
        "slopes": slopes,
        "weights": weights,
    }


def _joined(before, now):
    """The basis of two parts of a stream: all moments, the last rows' slopes."""
    n = before["n"] + now["n"]
    apart = now["mean"] - before["mean"]
    joined = now | {
        "n": n,
        "mean": before["mean"] + apart * (now["n"] / n),
        "squares": before["squares"]
        + now["squares"]
        + apart**2 * (before["n"] * now["n"] / n),
    }
    for name in ("slopes", "weights"):
        joined[name] = np.concatenate([before[name], now[name]])[-RUNNING_ROWS:]
    return joined


def _mean_slopes(fitted, slopes, weights):
    """Mean |derivative| of the scores by each encoded column, over rows and outputs.

    Block by block, over as many pairs of a row and an output as IMPORTANCE_WORK allows.
    """
    W1, _, W2, _, V = fitted.weights
    k = fitted.n_outputs
    n_pairs = max(FEWEST_PAIRS, min(len(slopes) * k, IMPORTANCE_WORK // W1.size))
    step = -(-len(slopes) // n_pairs)
    slopes, weights = slopes[::step], weights[::step]
    rows, outputs = _pairs(len(slopes), k, n_pairs)
    shares = weights[rows] / weights[rows].sum()
    d, h = W1.shape
    total = np.zeros(d)
    for pairs in parts(len(rows), max(1, IMPORTANCE_BLOCK // h)):
        delta = slopes[rows[pairs]] * W2.T[outputs[pairs]]
        for columns in parts(d, max(1, IMPORTANCE_BLOCK // len(delta))):
            gradient = delta @ W1[columns].T
            if V is not None:
                gradient += V[columns].T[outputs[pairs]]
            total[columns] += shares[pairs] @ np.abs(gradient)
    return total


def _pairs(n_rows, n_outputs, n_pairs):
    """Which output is looked at in which row: all, or each row some of them.

    These are evenly spaced, and begin in each row elsewhere.
    """
    each = min(n_outputs, max(1, n_pairs // n_rows))
    rows, places = np.divmod(np.arange(n_rows * each), each)
    shift = rows * 0.6180339887498949 % 1  # the golden ratio spreads them evenly
    return rows, ((places + shift) * (n_outputs / each)).astype(np.intp) % n_outputs
