"""Feature importances: how much scores change with each feature, on a few rows.

A fit keeps a basis, a dict of the slopes of the hidden units at some rows and of
moments of the columns, but not the rows themselves.  `importances` computes the
importances from it on demand.
"""

import numpy as np
from scipy import sparse

from sklearn_bp._fitting.derivatives import activations, parts
from sklearn_bp._tables.real_targets import powers_of_two
from sklearn_bp._tables.scaling import largest_of

# Evenly spaced rows that the importances are computed from; fewer if rows are long.
IMPORTANCE_ROWS = 64
IMPORTANCE_SIZE = 2**20

# partial_fit takes only one epoch, so it samples one row in ROWS_PER_SAMPLE, in one
# call in CALLS_PER_SAMPLE unless a call has many rows, and keeps the last rows.  A call
# of 200 rows then takes 1 % longer; with a sample in each call, 3 to 5 %.
ROWS_PER_SAMPLE = 8
CALLS_PER_SAMPLE = 4
MANY_ROWS = 800
RUNNING_ROWS = 32

# Maximum number of multiplications for the importances, some 50 ms.  With many outputs
# each row is used for some of them, and at least FEWEST_PAIRS pairs of a row and an
# output.
IMPORTANCE_WORK = 2**29
FEWEST_PAIRS = 8

# Numbers per block of the computation.
IMPORTANCE_BLOCK = 2**18


def basis(fitted, X, sample_weight, running=False, before=None, n_iter=0):
    """The basis of the importances, from some of the encoded training rows X.

    Parameters
    ----------
    fitted : FittedNetwork
    X : ndarray or CSR of shape (n, n_encoded)
    sample_weight : ndarray of shape (n,) or None
    running : bool, default=False
        Whether to merge it with the basis of earlier calls, as in partial_fit.
    before : dict or None
        The basis of earlier calls.
    n_iter : int
        Number of epochs so far.

    Returns
    -------
    dict
        shape : shape of the input weights
        n : number of rows
        unit : float64, a power of 2 near the largest size of each column, so that no
            square overflows or becomes 0
        mean, squares : float64, mean and sum of squared deviations of each column, in
            its unit
        slopes : derivatives of the hidden units by their net inputs, (n, n_hidden)
        weights : weights of the rows, with mean 1
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


@np.errstate(over="ignore", invalid="ignore", under="ignore")
def importances(fitted, basis, n_features):
    """Importance of each of the user's columns, (n_features,); they sum to 1."""
    deviation = np.sqrt(np.maximum(basis["squares"] / basis["n"], 0))
    changes = _mean_slopes(fitted, basis) * deviation
    d = len(changes)
    origins = fitted.inputs.sources(d)
    total = np.bincount(origins, changes, minlength=n_features)
    if not np.isfinite(total).all():
        total = (~np.isfinite(total)).astype(np.float64)
    return total / (total.sum() or 1.0)


def to_be_pickled(basis):
    """The basis as it is pickled: None, unless a stream may continue."""
    if basis is None or not basis["running"]:
        return None
    slopes = basis["slopes"]
    steps = slopes != 0
    return basis | {"slopes": steps if (steps == slopes).all() else slopes}


def importance_step(n, d):
    """The step between the rows that are used, of n rows with d columns."""
    return -(-n // max(2, min(IMPORTANCE_ROWS, IMPORTANCE_SIZE // d)))


def _some_rows(X, sample_weight, step_of):
    """Evenly spaced rows with non-zero weight, and their weights or None."""
    if sample_weight is None:
        return X[:: step_of(X.shape[0])], None
    rows = np.flatnonzero(sample_weight)
    rows = rows[:: step_of(len(rows))]
    return X[rows], sample_weight[rows]


def _sample(fitted, X, sample_weight):
    """The basis of these rows."""
    n, encoded, X = X.shape[0], X, fitted.seen(X)
    weights = np.ones(n)
    if sample_weight is not None:
        weights = sample_weight * (n / sample_weight.sum())
    wide = X.astype(np.float64, copy=False)  # columns may have any scale
    if sparse.issparse(wide):
        unit = powers_of_two(largest_of(wide)[np.newaxis], axis=0)
        wide = wide @ sparse.diags(1 / unit)
    else:
        unit = powers_of_two(wide, axis=0)
        wide = wide / unit
    mean = (weights @ wide) / n
    if sparse.issparse(wide):
        squares = weights @ wide.multiply(wide).tocsr() - n * mean**2
    else:
        deviations = wide - mean
        deviations *= deviations
        squares = weights @ deviations
    a1, backward = activations(fitted, encoded)
    slopes = np.ones_like(a1)
    backward(a1, slopes)
    return {
        "shape": fitted.weights.W1.shape,
        "n": n,
        "unit": unit,
        "mean": mean,
        "squares": squares,
        "slopes": slopes,
        "weights": weights,
    }


def _joined(before, now):
    """The basis of two parts of a stream: all moments, slopes of the last rows."""
    n, unit = before["n"] + now["n"], np.maximum(_unit(before), _unit(now))
    (mean, squares), (mean_now, squares_now) = (
        (b["mean"] * share, b["squares"] * share**2)
        for b, share in ((b, _unit(b) / unit) for b in (before, now))
    )
    apart = mean_now - mean
    joined = now | {
        "n": n,
        "unit": unit,
        "mean": mean + apart * (now["n"] / n),
        "squares": squares + squares_now + apart**2 * (before["n"] * now["n"] / n),
    }
    for name in ("slopes", "weights"):
        joined[name] = np.concatenate([before[name], now[name]])[-RUNNING_ROWS:]
    return joined


def _unit(basis):
    """The units of the columns; files of earlier versions have none."""
    return basis.get("unit", np.ones_like(basis["mean"]))


def _mean_slopes(fitted, basis):
    """Mean |derivative| of the scores by each encoded column, over rows and outputs.

    Columns are in their units and scores in a common unit, all powers of 2.  It is
    computed in blocks, over as many pairs of a row and an output as IMPORTANCE_WORK
    allows.
    """
    W1, _, W2, _, V = fitted.weights
    slopes, weights = basis["slopes"], basis["weights"]
    unit = _unit(basis).astype(W1.dtype)[:, np.newaxis]
    W1, V = W1 * unit, None if V is None else V * unit
    of_scores = max(powers_of_two(W) for W in (W2, V) if W is not None)
    W2, V = W2 / of_scores, None if V is None else V / of_scores
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
    """The outputs used in each row: all, or some of them.

    These are evenly spaced and start at a different output in each row.
    """
    each = min(n_outputs, max(1, n_pairs // n_rows))
    rows, places = np.divmod(np.arange(n_rows * each), each)
    shift = rows * 0.6180339887498949 % 1  # the golden ratio spreads them evenly
    return rows, ((places + shift) * (n_outputs / each)).astype(np.intp) % n_outputs
