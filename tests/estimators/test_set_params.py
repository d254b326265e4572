"""Parameters speak of the next fit: what is fitted does not change with them."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from partitions import fitted as fitted_to_parts

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.activations import LeakyReLU
from sklearn_bp.losses import GaussianNLL, Huber, LogLoss, Quantile
from sklearn_bp.optimizers import SGD

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal([0, 5, 0], size=(160, 3))
SIGNAL = X[:, 0] + np.cos(X[:, 2])
THREE = np.digitize(SIGNAL, [-0.2, 0.8])
QUICK = {"hidden_layer_sizes": 5, "n_members": 2, "max_iter": 5, "random_state": 0}
SHARED = {
    "activation": "tanh",
    "hidden_layer_sizes": 7,
    "solver": SGD(),
    "alpha": 5.0,
    "batch_size": 3,
    "standardize": False,
    "early_stopping": False,
    "early_stopping_metric": "score",
    "n_members": 3,
    "average": False,
    "dropout": 0.5,
    "skip_layer": True,
    "scaling_layer": True,
    "categorical_features": [0],
    "init": "glorot_uniform",
    "random_state": 5,
}
CASES = [
    (TwoLayerClassifier(**QUICK), THREE, "squared_error"),
    (TwoLayerClassifier(loss="squared_error", **QUICK), THREE > 0, "log_loss"),
    (TwoLayerClassifier(activation=LeakyReLU(), **QUICK), THREE > 0, "squared_error"),
    (TwoLayerRegressor(**QUICK), SIGNAL, "gaussian_nll"),
    (TwoLayerRegressor(**QUICK), SIGNAL, "poisson"),
    (TwoLayerRegressor(loss="poisson", **QUICK), np.exp(SIGNAL), "squared_error"),
    (TwoLayerRegressor(loss="gaussian_nll", **QUICK), SIGNAL, Quantile([0.1, 0.9])),
    (TwoLayerRegressor(loss=Quantile([0.1, 0.9]), **QUICK), SIGNAL, "huber"),
]


def told(model, y):
    """All that a fitted estimator tells of rows, by name."""
    found = {"score": model.score(X, y), "dir": sorted(vars(model))}
    methods = ["predict", "predict_proba", "decision_function", "predict_log_proba"]
    methods += ["transform", "predict_interval"]
    for name in methods:
        if hasattr(model, name):
            found[name] = getattr(model, name)(X)
    if hasattr(model, "predict_interval"):
        found["std"] = model.predict(X, return_std=True)[1]
    if model._loss_object().n_scores(1) == 1:
        found["gradient"] = model.input_gradient(X[:4])
    return found


def assert_tells_the_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_what_is_fitted_stays(case):
    """Whatever parameter is set, in the estimator and after pickling, both ways."""
    model, y, other_loss = CASES[case]
    model.fit(X, y)
    expected = told(model, y)
    changes = [{name: value} for name, value in (SHARED | {"loss": other_loss}).items()]
    for change in [*changes, SHARED | {"loss": other_loss}]:
        changed = copy.deepcopy(model).set_params(**change)
        assert_tells_the_same(told(changed, y), expected)
    changed = pickle.loads(pickle.dumps(changed))
    assert changed.get_params()["activation"] == "tanh"
    assert_tells_the_same(told(changed, y), expected)


@pytest.mark.parametrize(
    ("make", "y", "loss", "change"),
    [
        (TwoLayerRegressor, SIGNAL, Huber(1.0), {"loss__delta": 0.1}),
        (TwoLayerRegressor, SIGNAL, GaussianNLL(0.01), {"loss__min_std": 9.0}),
        (TwoLayerRegressor, SIGNAL, Quantile([0.1, 0.9]), {"loss__quantile": 0.5}),
        (TwoLayerClassifier, THREE, LogLoss(0.1), {"loss__label_smoothing": 0.0}),
        (
            TwoLayerClassifier,
            THREE,
            "log_loss",
            {"activation__negative_slope": 0.9},
        ),
    ],
)
def test_what_is_set_within_a_part_stays_out_of_it(make, y, loss, change):
    model = make(activation=LeakyReLU(0.01), loss=loss, **QUICK).fit(X, y)
    expected = told(model, y)
    assert_tells_the_same(told(model.set_params(**change), y), expected)


def test_what_leaves_the_package_is_what_was_fitted():
    """to_mlp and pictures."""
    plain = MLP_DEFAULTS | {"hidden_layer_sizes": 4, "max_iter": 5, "random_state": 0}
    model = TwoLayerClassifier(**plain).fit(X, THREE)
    expected = model.predict_proba(X)
    model.set_params(activation="tanh", loss="squared_error")
    mlp = model.to_mlp()
    assert mlp.activation == "relu"
    assert_allclose(mlp.predict_proba(X), expected, rtol=1e-9)
    back = TwoLayerClassifier.from_mlp(mlp).set_params(activation="tanh")
    assert_allclose(back.predict_proba(X), expected, rtol=1e-9)
    assert_array_equal(model.transform(X), np.maximum(model.transform(X), 0))


def test_pictures_show_what_was_fitted():
    pytest.importorskip("matplotlib", exc_type=ImportError)
    from sklearn_bp.display import BackpropDisplay

    model = TwoLayerClassifier(**QUICK).fit(X, THREE)
    before = BackpropDisplay.from_estimator(model, X[0], THREE[0])
    model.set_params(activation="tanh", loss="squared_error")
    after = BackpropDisplay.from_estimator(model, X[0], THREE[0])
    assert before.loss == after.loss
    assert_array_equal(before.activations[1], after.activations[1])


def test_graphs_are_of_what_was_fitted():
    onnx = pytest.importorskip("skl2onnx", exc_type=ImportError)
    pytest.importorskip("sklearn_bp.onnx", exc_type=ImportError)
    model = TwoLayerClassifier(**QUICK).fit(X, THREE)
    before = onnx.to_onnx(model, X[:1])
    after = onnx.to_onnx(model.set_params(activation="tanh", loss="squared_error"), X)
    kinds = [[node.op_type for node in graph.graph.node] for graph in (before, after)]
    assert kinds[0] == kinds[1]


def test_on_partitions_too():
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    model = dask.TwoLayerClassifier(activation="relu", **QUICK)
    fitted_to_parts(model, X, THREE, (80, 80))
    expected = model.to_local().predict_proba(X)
    model.set_params(activation="tanh", loss="squared_error")
    assert_array_equal(model.to_local().predict_proba(X), expected)


@pytest.mark.parametrize("incremental", [False, True])
def test_training_goes_on_by_the_new_parameters(incremental):
    """From the fitted weights: as an estimator that had these from the start."""
    plain = MLP_DEFAULTS | {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
    first = TwoLayerRegressor(**plain | {"warm_start": True}).fit(X, SIGNAL)
    other = TwoLayerRegressor(**plain | {"warm_start": True, "activation": "tanh"})
    other.fit(X, SIGNAL)
    other.coefs_ = [w.copy() for w in first.coefs_]
    other.intercepts_ = [b.copy() for b in first.intercepts_]
    first.set_params(activation="tanh")
    for model in (first, other):
        model.partial_fit(X, SIGNAL) if incremental else model.fit(X, SIGNAL)
    assert_array_equal(first.predict(X), other.predict(X))


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"loss": "poisson"}),
        ({"loss": "poisson"}, {"loss": "squared_error"}),
        ({}, {"loss": "gaussian_nll"}),
        ({}, {"standardize": False}),
        ({"standardize": False}, {"standardize": True}),
        ({}, {"hidden_layer_sizes": 9}),
    ],
)
def test_training_that_cannot_go_on_says_so(settings, change):
    """And leaves what was fitted."""
    y = np.exp(SIGNAL)
    model = TwoLayerRegressor(warm_start=True, **QUICK | settings).fit(X, y)
    expected = model.predict(X)
    model.set_params(**change)
    for going_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"goes on from .*weights"):
            going_on(X, y)
    assert_array_equal(model.predict(X), expected)
    model.set_params(warm_start=False).fit(X, y)
