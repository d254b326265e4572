"""Looking inside a fitted network: its hidden layer, and what its scores depend on."""

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._fitting.derivatives import activations, input_gradient, parts
from sklearn_bp._fitting.importances import importances
from sklearn_bp._network.kernel import PREDICT_ROWS


class InspectionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What a fitted network tells of itself; a part of the estimators."""

    # Importances, and what they are measured from, as `importances.basis` gives it.
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
        X = self._check_features(X)
        fitted = self._fitted_network()
        found = np.empty((X.shape[0], len(fitted.weights.b1)), fitted.dtype)
        for part in parts(X.shape[0], PREDICT_ROWS):
            found[part], _ = activations(fitted, X[part])
        return found

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
        X = self._check_features(X)
        k, d = self.n_outputs_, self.coefs_[0].shape[0]
        gradient = np.empty((X.shape[0], k, d), self.coefs_[0].dtype)
        fitted = self._fitted_network()
        for part in parts(X.shape[0], PREDICT_ROWS):
            gradient[part] = input_gradient(fitted, X[part])
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

    def _measure_importances(self):
        """Importances from what was kept, unless there are some."""
        basis = self._importance_basis
        if basis is None or self._importances is not None:
            return
        self._importances = importances(
            self._fitted_network(), basis, self.n_features_in_
        )
        if not basis["running"]:
            self._importance_basis = None
