"""Looking inside a fitted network: hidden layer, derivatives, feature importances."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._common.types import MatrixLike
from sklearn_bp._fitting.derivatives import activations, input_gradient, parts
from sklearn_bp._fitting.importances import importances
from sklearn_bp._network.kernel import PREDICT_ROWS


class InspectionMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The methods of the estimators that look inside a fitted network."""

    # The importances, and the values that they are computed from; see `importances`.
    _importances: Any = None
    _importance_basis: Any = None

    def transform(self, X: MatrixLike) -> NDArray[Any]:
        """Activations of the hidden layer.

        ``f(X @ coefs_[0] + intercepts_[0])``, for encoded X within `feature_limits_`.
        The output layer, plus the skip layer if there is one, turns them into scores.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        activations : ndarray of shape (n_samples, n_hidden)
            For the units of all ensemble members, in the dtype of the weights.
        """
        check_is_fitted(self)
        X = self._check_features(X)
        fitted = self._fitted_network()
        values = np.empty((X.shape[0], len(fitted.weights.b1)), fitted.dtype)
        for part in parts(X.shape[0], PREDICT_ROWS):
            values[part], _ = activations(fitted, X[part])
        return values

    @property
    def _n_features_out(self):
        return len(self.intercepts_[0])

    def input_gradient(self, X: MatrixLike) -> NDArray[Any]:
        """Derivative of each score with respect to each input.

        Backpropagation taken one step further, from the hidden layer to the inputs:
        dz2 / dx = (W2^T * f'(z1)) W1^T. It is the derivative of `decision_function`, or
        of `predict` if the output activation is the identity (of the logarithm of
        `predict` if it is exp), without the limit at the range of the targets. It is 0
        for a value beyond `feature_limits_`, which counts as unknown.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        gradient : ndarray of shape (n_samples, n_outputs, n_encoded) or \
                (n_samples, n_encoded)
            The latter if there is one output. n_encoded is the number of columns
            after categories and missing values are encoded: the first
            `encoded_feature_names_`, and all of them without `numeric_encoding`. The
            unit is that of the scores over that of your column.
        """
        check_is_fitted(self)
        X = self._check_features(X)
        k, d = self.n_outputs_, X.shape[1]
        gradient = np.empty((X.shape[0], k, d), self.coefs_[0].dtype)
        fitted = self._fitted_network()
        for part in parts(X.shape[0], PREDICT_ROWS):
            gradient[part] = input_gradient(fitted, X[part])
        return gradient[:, 0] if k == 1 else gradient

    @property
    def feature_importances_(self) -> NDArray[Any]:
        """How much the scores change with each feature, ndarray of shape (n_features,).

        The mean absolute derivative of the scores, over some training rows and over
        the outputs, times the standard deviation of the feature. The importance of an
        encoded feature is the sum over its columns. All importances sum to 1.
        """
        check_is_fitted(self)
        if self._importances is None and self._importance_basis is None:
            raise AttributeError(
                "feature_importances_ are computed from training rows, and this "
                "estimator got its weights without any: call fit first."
            )
        self._measure_importances()
        return self._importances

    def _measure_importances(self):
        """Compute the importances from their basis, unless they are known."""
        basis = self._importance_basis
        if basis is None or self._importances is not None:
            return
        self._importances = importances(
            self._fitted_network(), basis, self.n_features_in_
        )
        if not basis["running"]:
            self._importance_basis = None
