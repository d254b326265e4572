"""Looking inside a fitted network: its hidden layer, and what its scores depend on."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._network import PREDICT_ROWS

# Rows, evenly spaced, that tell the importance of features; fewer of long ones.
IMPORTANCE_ROWS = 64
IMPORTANCE_SIZE = 2**18


class InspectionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What a fitted network tells of itself; a part of the estimators."""

    # Importances, and until they are measured what they are to be measured from.
    _importances: Any = None
    _importance_rows: Any = None

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
        if self._importances is None and self._importance_rows is None:
            raise AttributeError(
                "feature_importances_ come from training rows, and this estimator took "
                "its weights from elsewhere: fit it to have them."
            )
        self._measure_importances()
        return self._importances

    def _keep_importance_rows(self, X, sample_weight):
        """Keep some of the encoded training rows X, until importances are asked for."""
        n, d = X.shape
        rows = np.arange(n) if sample_weight is None else np.flatnonzero(sample_weight)
        rows = rows[:: importance_step(len(rows), d)]
        weights = None if sample_weight is None else sample_weight[rows]
        activation = self._network().activation
        self._importance_rows, self._importances = (X[rows], weights, activation), None

    def _measure_importances(self):
        """Importances from the rows that were kept, if any, on the fitted network."""
        if self._importance_rows is None:
            return
        X, weights, activation = self._importance_rows
        weights = np.ones(X.shape[0]) if weights is None else weights
        weights = weights / weights.sum()
        some = X.astype(np.float64)  # columns may be of any size
        d = some.shape[1]
        mean = weights @ some
        if sparse.issparse(some):
            variance = weights @ some.multiply(some).tocsr() - mean**2
        else:
            variance = weights @ (some - mean) ** 2
        deviation = np.sqrt(np.maximum(variance, 0))
        slopes = np.abs(_gradient(self, some, activation)).mean(axis=1)
        changes = weights @ slopes * deviation
        origins = np.arange(d) if self._columns is None else self._columns.sources
        total = np.bincount(origins, changes, minlength=self.n_features_in_)
        if not np.isfinite(total).all():
            total = (~np.isfinite(total)).astype(np.float64)
        self._importances = total / (total.sum() or 1.0)
        self._importance_rows = None


def importance_step(n, d):
    """Every so many of n rows of d columns tell the importances."""
    return -(-n // max(2, min(IMPORTANCE_ROWS, IMPORTANCE_SIZE // d)))


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
