"""Looking inside a fitted network: its hidden layer, and what its scores depend on."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._network.kernel import PREDICT_ROWS

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


class InspectionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What a fitted network tells of itself; a part of the estimators."""

    # Importances, and what they are measured from: a dict, see `_sample`.
    _importances: Any = None
    _importance_basis: Any = None

    def transform(self, X):
        """Activations of the hidden layer.

        ``f(X @ coefs_[0] + intercepts_[0])``, for encoded X; the output layer on top of
        them, with the skip layer where there is one, gives the scores.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        activations : ndarray of shape (n_samples, n_hidden)
            Of all members' units, in the dtype of the weights.
        """
        check_is_fitted(self)
        X = self._check_features(X, reset=False)
        (W1, _), (b1, _) = self.coefs_, self.intercepts_
        activation = self._network().activation
        activations = np.empty((X.shape[0], len(b1)), W1.dtype)
        for part in _parts(X.shape[0], PREDICT_ROWS):
            activations[part], _ = _activations(self, X[part], activation)
        return activations

    @property
    def _n_features_out(self):
        return len(self.intercepts_[0])

    def input_gradient(self, X):
        """Derivative of each score with respect to each input.

        Backpropagation taken one step further, from the hidden layer to the inputs:
        dz2 / dx = (W2^T * f'(z1)) W1^T, of `decision_function`, or of `predict` where
        the output activation is the identity (of the logarithm of `predict` where it
        is exp), not cut off at the range of the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        gradient : ndarray of shape (n_samples, n_outputs, n_encoded) or \
                (n_samples, n_encoded)
            The latter where there is one output. n_encoded is the number of rows of
            ``coefs_[0]``, whose names are `encoded_feature_names_`; in units of
            scores over those of the user's columns.
        """
        check_is_fitted(self)
        X = self._check_features(X, reset=False)
        k, d = self.n_outputs_, self.coefs_[0].shape[0]
        gradient = np.empty((X.shape[0], k, d), self.coefs_[0].dtype)
        activation = self._network().activation
        for part in _parts(X.shape[0], PREDICT_ROWS):
            gradient[part] = _gradient(self, X[part], activation)
        return gradient[:, 0] if k == 1 else gradient

    @property
    def feature_importances_(self):
        """How much the scores change with each feature, ndarray of shape (n_features,).

        The mean absolute derivative of the scores, over some training rows and over
        the outputs, times the feature's standard deviation; of an encoded feature the
        sum over its columns; all together they sum to 1.
        """
        check_is_fitted(self)
        if self._importances is None and self._importance_basis is None:
            raise AttributeError(
                "feature_importances_ come from training rows, and this estimator took "
                "its weights from elsewhere: fit it to have them."
            )
        self._measure_importances()
        return self._importances

    def _keep_importance_basis(self, X, sample_weight, running=False):
        """Keep of some of the encoded training rows X all that importances need.

        That is, until they are asked for, the slopes of the hidden units and moments of
        the columns, not the rows themselves.  If `running`, as in partial_fit, they are
        joined with those of earlier calls.
        """
        self._importances = None
        if not running:
            some = _some_rows(
                X, sample_weight, lambda n: importance_step(n, X.shape[1])
            )
            self._importance_basis = _sample(self, *some) | {"running": False}
            return
        before = self._importance_basis
        if before is not None and not (
            before["running"] and before["shape"] == self.coefs_[0].shape
        ):
            before = None
        its_turn = X.shape[0] >= MANY_ROWS or self.n_iter_ % CALLS_PER_SAMPLE == 1
        if before is not None and not its_turn:
            return
        some = _some_rows(
            X, sample_weight, lambda n: max(ROWS_PER_SAMPLE, -(-n // RUNNING_ROWS))
        )
        basis = _sample(self, *some) | {"running": True}
        self._importance_basis = basis if before is None else _joined(before, basis)

    def _measure_importances(self):
        """Importances from what was kept, unless there are some."""
        basis = self._importance_basis
        if basis is None or self._importances is not None:
            return
        deviation = np.sqrt(np.maximum(basis["squares"] / basis["n"], 0))
        with np.errstate(over="ignore", invalid="ignore"):
            changes = _mean_slopes(self, basis["slopes"], basis["weights"]) * deviation
        d = len(changes)
        origins = np.arange(d) if self._columns is None else self._columns.sources
        total = np.bincount(origins, changes, minlength=self.n_features_in_)
        if not np.isfinite(total).all():
            total = (~np.isfinite(total)).astype(np.float64)
        self._importances = total / (total.sum() or 1.0)
        if not basis["running"]:
            self._importance_basis = None

    def _pickled_importance_basis(self):
        """What a file holds of the basis: nothing, unless a stream may go on."""
        basis = self._importance_basis
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


def _sample(estimator, X, sample_weight):
    """What rows tell, a dict.

    shape : of coefs_[0]
    n : number of rows
    mean, squares : float64, of each column the mean and the sum of squared deviations
    slopes : derivatives of the hidden units by their net inputs, (n, n_hidden)
    weights : of the rows, with mean 1
    """
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
    a1, backward = _activations(estimator, X, estimator._network().activation)
    slopes = np.ones_like(a1)
    backward(a1, slopes)
    return {
        "shape": estimator.coefs_[0].shape,
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


def _mean_slopes(estimator, slopes, weights):
    """Mean |derivative| of the scores by each encoded column, over rows and outputs.

    Block by block, over as many pairs of a row and an output as IMPORTANCE_WORK allows.
    """
    W1, W2 = estimator.coefs_
    V, k = estimator.skip_coef_, W2.shape[1]
    n_pairs = max(FEWEST_PAIRS, min(len(slopes) * k, IMPORTANCE_WORK // W1.size))
    step = -(-len(slopes) // n_pairs)
    slopes, weights = slopes[::step], weights[::step]
    rows, outputs = _pairs(len(slopes), k, n_pairs)
    shares = weights[rows] / weights[rows].sum()
    d, h = W1.shape
    total = np.zeros(d)
    for pairs in _parts(len(rows), max(1, IMPORTANCE_BLOCK // h)):
        delta = slopes[rows[pairs]] * W2.T[outputs[pairs]]
        for columns in _parts(d, max(1, IMPORTANCE_BLOCK // len(delta))):
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


def _parts(n, length):
    return [slice(start, start + length) for start in range(0, n, length)]


def _activations(estimator, X, activation):
    """The hidden layer for encoded rows: values, and its backward pass."""
    (W1, _), (b1, _) = estimator.coefs_, estimator.intercepts_
    a1 = np.asarray(X @ W1.astype(np.result_type(X.dtype, W1.dtype), copy=False)) + b1
    forward, backward = activation.bind(a1.shape, a1.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        forward(a1)
    return a1, backward


def _gradient(estimator, X, activation):
    """Of the scores of encoded rows: (n, n_outputs, n_encoded)."""
    W1, W2 = estimator.coefs_
    a1, backward = _activations(estimator, X, activation)
    gradient = np.empty((X.shape[0], W2.shape[1], len(W1)), a1.dtype)
    for k in range(W2.shape[1]):
        delta = np.tile(W2[:, k].astype(a1.dtype, copy=False), (len(a1), 1))
        backward(a1, delta)
        gradient[:, k] = delta @ W1.T
    if estimator.skip_coef_ is not None:
        gradient += estimator.skip_coef_.T
    return gradient
