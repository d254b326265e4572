"""With equal settings the numbers are those of MLPClassifier and MLPRegressor."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_digits(solver):
    X, y = load_digits(return_X_y=True)
    settings = {"solver": solver, "max_iter": 10, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = MLPClassifier(**settings).fit(X / 16, y)
        ours = TwoLayerClassifier(**MLP_DEFAULTS | settings).fit(X / 16, y)
    for a, b in zip(
        theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_, strict=True
    ):
        assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(a).max())
