"""Optional layers and masks: training continues, and the result is one network.

The laws without them are in `fitting/test_continuing.py`.
"""

import pickle
import warnings

import numpy as np
import pytest
from compare import assert_same_training
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import sklearn_bp

RNG = np.random.RandomState(0)
X = np.round(RNG.normal(5, 3, size=(130, 3)), 1) * (RNG.rand(130, 3) < 0.8)
CODES = (X[:, 0] * X[:, 1] > 20).astype(int) + (X[:, 2] > 6)
FEW, LABELS = (X[:30] - 5) / 3, CODES[:30]
over_formats = pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])

# What is switched on, and the solvers that use it.
EXTRAS = {
    "dropout": ({"dropout": 0.4}, ["sgd", "adam"]),
    "skip layer": ({"skip_layer": True}, ["sgd", "adam"]),
    "scaling layer": (
        {"scaling_layer": True, "learning_rate_init": 0.01},
        ["adam", "adamw", "rmsprop"],
    ),
}
OFF = {"dropout": 0.0, "skip_layer": False, "scaling_layer": False}
CASES = [(name, solver) for name, (_, solvers) in EXTRAS.items() for solver in solvers]


def drawn(model):
    return model._training_state.random_state.get_state()[1]


@pytest.mark.parametrize(("extra", "solver"), CASES)
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("standardize", [False, True])
@over_formats
def test_calls_of_partial_fit_equal_fit(extra, solver, n_members, standardize, convert):
    """Bit by bit, through pickles; no other random number changes."""
    shared = {
        "hidden_layer_sizes": 5,
        "solver": solver,
        "n_members": n_members,
        "standardize": standardize,
        "batch_size": 8,
        "average": n_members > 1,
        "random_state": 0,
    }
    settings, rows = shared | EXTRAS[extra][0], convert(FEW)
    with pytest.warns():
        whole = TwoLayerClassifier(max_iter=4, **settings).fit(rows, LABELS)
    model, plain = TwoLayerClassifier(**settings), TwoLayerClassifier(**shared)
    for _ in range(4):
        model.partial_fit(rows, LABELS, classes=range(3))
        plain.partial_fit(rows, LABELS, classes=range(3))
        model = pickle.loads(pickle.dumps(model))
    assert_same_training(model, whole)
    assert model.loss_curve_ != plain.loss_curve_
    assert_array_equal(drawn(model), drawn(plain))


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
@over_formats
def test_a_fitted_estimator_is_one_plain_network(extra, early_stopping, convert):
    """With each option switched on: only its arrays remain."""
    settings = {
        "hidden_layer_sizes": 6,
        "early_stopping": early_stopping,
        "n_members": 3,
        "max_iter": 40,
        "random_state": 0,
    } | OFF
    rows = convert(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [
            make(**settings | EXTRAS[extra][0]).fit(rows, y)
            for make, y in (
                (sklearn_bp.TwoLayerClassifier, CODES),
                (sklearn_bp.TwoLayerRegressor, X[:, 0]),
            )
        ]
        plain = sklearn_bp.TwoLayerRegressor(**settings).fit(rows, X[:, 0])
    for model in models:
        (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
        scores = np.maximum(X @ W1 + b1, 0) @ W2 + b2
        if extra == "skip layer":
            scores += X @ model.skip_coef_
        ours = model._scores(rows)
        assert_allclose(ours, scores, rtol=1e-7, atol=1e-7)
        assert_array_equal(model._scores(rows), ours)  # nothing is drawn
    regressor = models[1]
    mean, std = regressor.predict(rows, return_std=True)
    low, high = regressor.target_range_[:, 0]
    margin = (high - low) / 20
    expected = np.clip(scores[:, 0], low - margin, high + margin)
    assert_allclose(mean, expected, rtol=1e-7, atol=1e-7)
    members = np.array(regressor._member_scores(rows))
    assert_allclose(members.mean(axis=0), ours, rtol=1e-6, atol=1e-6)
    assert_allclose(std, members.std(axis=0)[:, 0])
    assert np.abs(mean - plain.predict(rows)).max() > 1e-4
