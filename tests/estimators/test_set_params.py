"""Parameters affect the next fit; fitted results do not change with them."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from partitions import fitted as fitted_to_parts
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

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
    "numeric_encoding": None,
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
    """Everything that a fitted estimator computes for rows, by name."""
    found = {"score": model.score(X, y), "dir": sorted(vars(model))}
    methods = ["predict", "predict_proba", "decision_function", "predict_log_proba"]
    methods += ["transform", "predict_interval"]
    for name in methods:
        if hasattr(model, name):
            found[name] = getattr(model, name)(X)
    if hasattr(model, "predict_interval"):
        found["std"] = model.predict(X, return_std=True)[1]
    if model._fitted.targets.loss.n_scores(1) == 1:
        found["gradient"] = model.input_gradient(X[:4])
    return found


def assert_tells_the_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_fitted_results_stay(case):
    """For every parameter, before and after pickling, in both directions."""
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
def test_later_changes_of_a_part_do_not_matter(make, y, loss, change):
    model = make(activation=LeakyReLU(0.01), loss=loss, **QUICK).fit(X, y)
    expected = told(model, y)
    assert_tells_the_same(told(model.set_params(**change), y), expected)


def test_conversions_are_of_the_fitted_network():
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


def test_pictures_show_the_fitted_network():
    pytest.importorskip("matplotlib", exc_type=ImportError)
    from sklearn_bp.display import BackpropDisplay

    model = TwoLayerClassifier(**QUICK).fit(X, THREE)
    before = BackpropDisplay.from_estimator(model, X[0], THREE[0])
    model.set_params(activation="tanh", loss="squared_error")
    after = BackpropDisplay.from_estimator(model, X[0], THREE[0])
    assert before.loss == after.loss
    assert_array_equal(before.activations[1], after.activations[1])


def test_graphs_are_of_the_fitted_network():
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


class Wavy:
    """An activation of the user."""

    def forward(self, z):
        np.sin(z, out=z)

    def backward(self, a, delta):
        delta *= np.sqrt(np.maximum(1 - a**2, 0))


def regression(**settings):
    return TwoLayerRegressor, np.exp(SIGNAL), settings


def classification(**settings):
    return TwoLayerClassifier, THREE, settings


# A change of a parameter between two calls is refused, matters only at the start, or
# takes effect; then the fit of the first call, and the values to change to. Some are
# read by one of the two ways only.
STARTS, EFFECTIVE, REFUSED = "starts", "takes effect", "is refused"
MONITORED = {"early_stopping": True, "X_val": True}
CONTINUING = [
    ("hidden_layer_sizes", REFUSED, regression(), 9),
    ("activation", REFUSED, regression(), "tanh"),
    ("activation", REFUSED, regression(activation=LeakyReLU(0.1)), LeakyReLU(0.2)),
    ("activation", REFUSED, classification(activation=Wavy()), "tanh"),
    ("solver", EFFECTIVE, regression(), "sgd"),
    ("alpha", EFFECTIVE, regression(), 3.0),
    ("batch_size", EFFECTIVE, regression(), 11),
    ("learning_rate", EFFECTIVE, regression(solver="sgd"), "invscaling"),
    ("learning_rate_init", EFFECTIVE, regression(), 0.02),
    ("power_t", EFFECTIVE, regression(solver="sgd", learning_rate="invscaling"), 0.9),
    ("max_iter", EFFECTIVE, regression(), 7),
    ("loss", EFFECTIVE, regression(), "absolute_error"),
    ("loss", EFFECTIVE, regression(loss="poisson"), "gamma"),
    ("loss", EFFECTIVE, classification(), LogLoss(0.2)),
    ("loss", REFUSED, regression(), "poisson"),
    ("loss", REFUSED, regression(standardize=False), "poisson"),
    ("loss", REFUSED, regression(), "gaussian_nll"),
    ("loss", REFUSED, regression(loss=Quantile([0.1, 0.9])), Quantile([0.1, 0.5, 0.9])),
    ("loss", REFUSED, classification(), "squared_error"),
    ("loss_threshold", EFFECTIVE, regression(), 1e9),
    ("init", STARTS, regression(), "glorot_uniform"),
    ("shuffle", EFFECTIVE, regression(batch_size=10), False),
    ("random_state", EFFECTIVE, regression(batch_size=10), 5),
    ("tol", EFFECTIVE, regression(n_iter_no_change=2, max_iter=9), 1e9),
    ("verbose", EFFECTIVE, regression(), True),
    ("warm_start", EFFECTIVE, regression(), False),
    ("momentum", EFFECTIVE, regression(solver="sgd"), 0.2),
    ("nesterovs_momentum", EFFECTIVE, regression(solver="sgd", batch_size=20), False),
    ("early_stopping", EFFECTIVE, regression(early_stopping=False, X_val=True), True),
    (
        "early_stopping_metric",
        EFFECTIVE,
        regression(**MONITORED),
        "neg_median_absolute_error",
    ),
    ("validation_fraction", EFFECTIVE, regression(early_stopping=True), 0.3),
    ("beta_1", EFFECTIVE, regression(), 0.5),
    ("beta_2", EFFECTIVE, regression(batch_size=20), 0.5),
    ("epsilon", EFFECTIVE, regression(), 0.1),
    ("n_iter_no_change", EFFECTIVE, regression(tol=1e9, max_iter=9), 1),
    ("max_fun", EFFECTIVE, regression(solver="lbfgs", max_iter=30), 2),
    ("standardize", REFUSED, regression(), False),
    ("standardize", REFUSED, regression(standardize=False), True),
    ("n_members", REFUSED, regression(), 3),
    ("average", EFFECTIVE, regression(), False),
    ("average", EFFECTIVE, regression(average=False), True),
    ("dropout", EFFECTIVE, regression(), 0.5),
    ("skip_layer", REFUSED, regression(), True),
    ("scaling_layer", EFFECTIVE, regression(), False),
    ("scaling_layer", EFFECTIVE, regression(scaling_layer=False), True),
    ("categorical_features", REFUSED, regression(), [0]),
    ("categorical_features", REFUSED, regression(categorical_features=[0]), [1]),
    ("categorical_features", REFUSED, classification(), None),
    ("numeric_encoding", STARTS, regression(), None),
    ("extrapolation", EFFECTIVE, regression(), 0.0),
    ("class_weight", EFFECTIVE, classification(), {0: 9}),
    ("temperature_scaling", EFFECTIVE, classification(**MONITORED), True),
]
# Read by fit only, or, the seed, by its start.
OF_FIT = {"max_iter", "validation_fraction", "max_fun", "warm_start", "random_state"}
# partial_fit never ends training; after some calls it says that it is time.
OF_FIT |= {"n_iter_no_change", "tol", "loss_threshold"}


def test_all_parameters_are_in_the_table():
    names = {name for name, *_ in CONTINUING}
    for make in (TwoLayerClassifier, TwoLayerRegressor):
        assert set(make().get_params(deep=False)) <= names


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("case", range(len(CONTINUING)))
def test_parameters_of_training_that_continues(case, incremental, capsys):
    """Each takes effect or is refused by an error that names it, and leaves the fit."""
    name, kind, (make, y, settings), value = CONTINUING[case]
    if incremental and name in OF_FIT:
        return
    settings = QUICK | {"warm_start": True, "n_iter_no_change": 99} | settings
    rows = {"X_val": X[:40], "y_val": y[:40]} if settings.pop("X_val", None) else {}
    first = {}
    if incremental and make is TwoLayerClassifier:
        first = {"classes": np.unique(y)}

    def go_on(model, **options):
        call = model.partial_fit if incremental else model.fit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            call(X, y, **rows, **options)
            return call(X, y, **rows)  # a rate falls after an epoch

    def seen(model):
        names = ["loss_curve_", "stop_reason_", "best_iter_", "best_loss_"]
        names += ["validation_scores_", "validation_loss_curve_"]
        of_rows = getattr(model, "predict_proba", model.predict)(X * 9).tolist()
        return [capsys.readouterr().out, of_rows, *(getattr(model, n) for n in names)]

    model = go_on(make(**settings), **first)
    before = model.predict(X)
    as_it_was = seen(go_on(copy.deepcopy(model)))
    changed = copy.deepcopy(model).set_params(**{name: value})
    if kind == REFUSED:
        with pytest.raises(ValueError, match=rf"continues from .*{name}"):
            go_on(changed)
        assert_array_equal(changed.predict(X), before)
        go_on(changed.set_params(**{name: getattr(model, name)}))
        assert seen(changed) == as_it_was
        go_on(clone(changed).set_params(**{name: value}), **first)
    else:
        assert (seen(go_on(changed)) == as_it_was) == (kind == STARTS)


def test_without_the_running_mean_the_last_weights_predict():
    """Averaging does not touch the weights that are trained."""
    model, never = (
        TwoLayerRegressor(**QUICK | {"average": average}) for average in (True, False)
    )
    for average in (True, True, False, False):
        model.set_params(average=average).partial_fit(X, SIGNAL)
        never.partial_fit(X, SIGNAL)
        assert np.array_equal(model.predict(X), never.predict(X)) == (not average)


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("activation", "leaky_relu", LeakyReLU()),
        ("activation", Wavy(), Wavy()),
        ("loss", "huber", Huber()),
        ("categorical_features", [0], np.array([0])),
    ],
)
def test_other_spellings_continue(name, value, same, incremental):
    """Names and objects, lists and arrays, before and after a pickle."""
    settings = QUICK | {"warm_start": True, name: value}
    model = TwoLayerRegressor(**settings).fit(X, SIGNAL)
    models = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in models:
        other.set_params(**{name: same})
        other.partial_fit(X, SIGNAL) if incremental else other.fit(X, SIGNAL)
    assert_array_equal(models[0].predict(X), models[1].predict(X))


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
def test_training_that_cannot_continue_is_refused(settings, change):
    """The earlier fit is kept, and the advice helps in the method that was called."""
    y = np.exp(SIGNAL)
    model = TwoLayerRegressor(warm_start=True, **QUICK | settings).fit(X, y)
    expected = model.predict(X)
    model.set_params(**change)
    advice = {model.fit: "set warm_start=False to", model.partial_fit: "use clone() to"}
    for going_on, way_out in advice.items():
        with pytest.raises(ValueError, match=r"continues from .*weights") as caught:
            going_on(X, y)
        assert f"{way_out} start from scratch" in str(caught.value)
    clone(model).partial_fit(X, y)
    assert_array_equal(model.predict(X), expected)
    model.set_params(warm_start=False).fit(X, y)
