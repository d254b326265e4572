"""numpy's error state, which users may set for all of a program, changes nothing."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import DivergenceError, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}",
    "ignore:early_stopping=True. validation_fraction=:UserWarning",
)

METHODS = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "predict_interval",
    "transform",
    "input_gradient",
]
LOSSES = {TwoLayerClassifier: CLASSIFIER_LOSSES, TwoLayerRegressor: REGRESSOR_LOSSES}


def drawn(seed):
    """An estimator, X of columns of any scale, and y."""
    rng = np.random.default_rng(seed)
    make = [TwoLayerClassifier, TwoLayerRegressor][seed % 2]
    n, dtype = rng.choice([20, 120]), rng.choice(["f4", "f8"])
    X = (rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-20, 20, 3)).astype(dtype)
    y = np.exp(rng.normal(size=n)) * 10.0 ** rng.integers(-20, 20)
    if make is TwoLayerClassifier:
        y = rng.integers(3, size=n)
    model = make(
        hidden_layer_sizes=4,
        max_iter=5,
        n_members=2,
        random_state=0,
        activation=str(rng.choice(list(ACTIVATIONS))),
        loss=str(rng.choice(list(LOSSES[make]))),
        solver=str(rng.choice(["adam", "sgd", "lbfgs"])),
        standardize=bool(rng.random() < 0.7),
        early_stopping=["auto", True, False][rng.integers(3)],
    )
    return model, X, y


def results(model, X, y):
    """Everything that a fit and its methods compute, by name."""
    model.fit(X, y)
    told = {"coefs_": model.coefs_[0], "importances": model.feature_importances_}
    told["score"] = model.score(X, y)
    for name in METHODS:
        try:
            told[name] = getattr(model, name)(X)
        except (AttributeError, ValueError) as error:  # of a class, or without rows
            told[name] = str(error)
    told["loaded"] = pickle.loads(pickle.dumps(model)).predict(X)
    if model.solver != "lbfgs":
        told["stream"] = model.partial_fit(X, y).coefs_[0]
    return told


@pytest.mark.parametrize("engine", ["auto", "python"])
@pytest.mark.parametrize("seed", range(60))
def test_under_an_error_state_that_raises(seed, engine, monkeypatch):
    monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
    try:
        expected = results(*drawn(seed))
    except DivergenceError:
        with np.errstate(all="raise"), pytest.raises(DivergenceError):
            results(*drawn(seed))
        return
    with np.errstate(all="raise"):
        told = results(*drawn(seed))
    assert told.keys() == expected.keys()
    for name, value in expected.items():
        assert_array_equal(told[name], value, err_msg=name)
