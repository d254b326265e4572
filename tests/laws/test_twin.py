"""With equal settings the numbers are those of MLPClassifier and MLPRegressor.

Where scikit-learn departs from what it documents (weights in mini-batches, several
regression outputs) or has no such network, the twin is the plain network of
reference.py.
"""

import inspect
import warnings

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import sklearn_bp
from sklearn_bp import MLP_DEFAULTS

FORMATS = {
    "dense": np.asarray,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "fortran": np.asfortranarray,
}
REGRESSION = ("regression", "poisson")


def make_data(kind, n=90, n_features=5, seed=0):
    """X with some zeros, and y of the kind."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, n_features))
    X[rng.uniform(size=X.shape) < 0.3] = 0
    signal = np.sin(X[:, 0]) + X[:, -1] ** 2 / 2 + 0.3 * rng.normal(size=n)
    y = {
        "binary": np.where(signal > np.median(signal), 7, -1),
        "multiclass": np.array(["b", "d", "a", "c"])[
            np.digitize(signal, np.quantile(signal, [0.2, 0.5, 0.8]))
        ],
        "multilabel": np.column_stack(
            [signal > np.median(signal), X[:, 0] > 0, rng.uniform(size=n) < 0.3]
        ).astype(int),
        "regression": 3 * signal,
        "poisson": rng.poisson(np.exp(signal / 2)).astype(float),
    }[kind]
    return X, y


def fitted(estimator, X, y, sample_weight, n_fits):
    """The fitted estimator, and the kinds of warnings that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(n_fits):
            estimator.fit(X, y, sample_weight)
    # RuntimeWarnings are left out: MLP lets numpy tell of each overflow that a line
    # search runs into and recovers from.
    kinds = (w.category for w in caught if w.category is not RuntimeWarning)
    return estimator, sorted(kind.__name__ for kind in kinds)


def assert_close(ours, theirs, name):
    # Elements near zero are sums of larger ones: they share the array's scale.
    theirs = np.asarray(theirs)
    atol = 1e-6 * np.abs(theirs).max() if theirs.size else 0
    assert_allclose(ours, theirs, rtol=1e-6, atol=atol, err_msg=name)


def assert_twins(kind, X, y, options, sample_weight=None, n_fits=1):
    """Fit both, compare all that MLP has; return ours."""
    options = {"random_state": 0} | options
    mlp, two_layer = MLPClassifier, TwoLayerClassifier
    if kind in REGRESSION:
        mlp, two_layer = MLPRegressor, TwoLayerRegressor
        if kind == "poisson":
            options["loss"] = "poisson"
    ours, our_warnings = fitted(
        two_layer(**MLP_DEFAULTS | options), X, y, sample_weight, n_fits
    )
    if options.get("batch_size") == "full":
        options["batch_size"] = len(y)
    theirs, their_warnings = fitted(mlp(**options), X, y, sample_weight, n_fits)

    assert our_warnings == their_warnings
    names = ["loss_", "n_iter_", "n_layers_", "n_outputs_", "out_activation_"]
    if ours.solver != "lbfgs":  # MLP has neither curves nor t_ there
        names += ["t_", "loss_curve_", "best_loss_"]
        names += ["validation_scores_", "best_validation_score_"]
    for name in names:
        a, b = getattr(ours, name), getattr(theirs, name)
        if isinstance(b, str | int) or b is None:
            assert a == b, name
        else:
            assert_close(a, b, name)
    for name in ("coefs_", "intercepts_"):
        for i in range(2):
            a, b = getattr(ours, name)[i], getattr(theirs, name)[i]
            assert a.dtype == b.dtype
            assert_close(a, b, f"{name}[{i}]")
    if kind in REGRESSION:
        assert_close(ours.predict(X), theirs.predict(X), "predict")
    else:
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        # Theirs is 1 - p for the first of two classes, off by 1e-16 near zero.
        assert_allclose(
            ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-12
        )
    return ours


SGD = {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 20}
ADAM = {"solver": "adam", "learning_rate_init": 0.01, "batch_size": 20}
LBFGS = {"solver": "lbfgs"}
STOPPING = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 5}
PATIENT = {"tol": 0.02, "n_iter_no_change": 3}  # uses its patience up quickly

# name: (kind of data, settings)
CASES = {
    "sgd momentum": ("multiclass", SGD | {"nesterovs_momentum": False}),
    "sgd nesterov": ("multiclass", SGD),
    "sgd momentum 0": ("multiclass", SGD | {"momentum": 0}),
    "sgd momentum 0 plain": (
        "multiclass",
        SGD | {"momentum": 0.0, "nesterovs_momentum": False},
    ),
    "sgd invscaling": ("binary", SGD | {"learning_rate": "invscaling"}),
    "sgd invscaling power": (
        "binary",
        SGD | {"learning_rate": "invscaling", "power_t": 0.2},
    ),
    "sgd adaptive": ("binary", SGD | {"learning_rate": "adaptive"} | PATIENT),
    "sgd adaptive to its end": (
        "binary",
        SGD
        | PATIENT
        | {"learning_rate": "adaptive", "max_iter": 100, "n_iter_no_change": 1},
    ),
    "adam": ("multiclass", ADAM),
    "adam betas": (
        "multiclass",
        ADAM | {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4},
    ),
    "adam beta 0": ("binary", ADAM | {"beta_1": 0.0, "beta_2": 0.0}),
    "adam ignores learning_rate": ("binary", ADAM | {"learning_rate": "adaptive"}),
    "adam defaults": ("multiclass", {}),
    "lbfgs": ("multiclass", LBFGS),
    "lbfgs binary": ("binary", LBFGS | {"activation": "tanh"}),
    "lbfgs converges": (
        "binary",
        LBFGS | {"alpha": 1.0, "max_iter": 500, "activation": "tanh"},
    ),
    "lbfgs max_fun": ("multiclass", LBFGS | {"max_fun": 7}),
    "lbfgs alpha 0": ("multilabel", LBFGS | {"alpha": 0.0}),
    **{
        f"{name} {activation}": ("multiclass", base | {"activation": activation})
        for activation in ("identity", "logistic", "tanh", "relu")
        for name, base in (("sgd", SGD), ("adam", ADAM), ("lbfgs", LBFGS))
    },
    "unshuffled": ("multiclass", SGD | {"shuffle": False}),
    "unshuffled adam": ("binary", ADAM | {"shuffle": False, "batch_size": 17}),
    "batch 1": ("multiclass", SGD | {"batch_size": 1, "max_iter": 5}),
    "batch odd": ("multiclass", SGD | {"batch_size": 7}),
    "batch of all rows but one": ("binary", SGD | {"batch_size": 89}),
    "batch larger than the data": ("binary", SGD | {"batch_size": 1000}),
    "batch full": ("binary", ADAM | {"batch_size": "full"}),
    "batch auto": ("binary", SGD | {"batch_size": "auto"}),
    "alpha 0": ("multiclass", SGD | {"alpha": 0.0}),
    "alpha 0.5": ("multiclass", SGD | {"alpha": 0.5}),
    "alpha 0.5 adam": ("binary", ADAM | {"alpha": 0.5}),
    "alpha 0.5 lbfgs": ("multiclass", LBFGS | {"alpha": 0.5}),
    "multilabel sgd": ("multilabel", SGD),
    "multilabel adam": ("multilabel", ADAM),
    "regression sgd": ("regression", SGD | {"learning_rate_init": 0.005}),
    "regression adam": ("regression", ADAM),
    "regression lbfgs": ("regression", LBFGS | {"activation": "logistic"}),
    "poisson sgd": ("poisson", SGD | {"learning_rate_init": 0.005}),
    "poisson adam": ("poisson", ADAM),
    "poisson lbfgs": ("poisson", LBFGS | {"activation": "tanh"}),
    "stopping": ("binary", ADAM | STOPPING | {"max_iter": 60}),
    "stopping sgd": ("binary", SGD | STOPPING | {"max_iter": 60}),
    "stopping adaptive": (
        "binary",
        SGD | STOPPING | PATIENT | {"learning_rate": "adaptive", "max_iter": 60},
    ),
    "stopping labels": ("multilabel", ADAM | STOPPING),
    "stopping regression": (
        "regression",
        ADAM | STOPPING | {"learning_rate_init": 0.05, "max_iter": 80},
    ),
    "stopping poisson": ("poisson", ADAM | STOPPING | {"max_iter": 60}),
    "tol": (
        "regression",
        ADAM | PATIENT | {"learning_rate_init": 0.1, "max_iter": 200},
    ),
    "patience without end": (
        "binary",
        ADAM | {"tol": 1.0, "n_iter_no_change": np.inf, "max_iter": 30},
    ),
}
# Those that end before max_iter, without a ConvergenceWarning.
CONVERGING = {
    "sgd adaptive to its end",
    "lbfgs converges",
    "stopping",
    "stopping sgd",
    "stopping adaptive",
    "stopping labels",
    "stopping regression",
    "stopping poisson",
    "tol",
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_agree(case):
    kind, options = CASES[case]
    options = {"hidden_layer_sizes": (12,), "max_iter": 20} | options
    X, y = make_data(kind)
    ours = assert_twins(kind, X, y, options)
    if options.get("solver") != "lbfgs" or case in CONVERGING:
        assert (ours.n_iter_ < options["max_iter"]) == (case in CONVERGING)


@pytest.mark.parametrize("x_format", FORMATS)
@pytest.mark.parametrize("base", [SGD, ADAM, LBFGS], ids=["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_formats_of_x(kind, base, x_format):
    X, y = make_data(kind)
    options = {"hidden_layer_sizes": 12, "max_iter": 15, **base}
    options["learning_rate_init"] = 0.005
    assert_twins(kind, FORMATS[x_format](X), y, options)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_sparse_early_stopping(kind):
    X, y = make_data(kind)
    options = {"hidden_layer_sizes": 12, "max_iter": 30, **ADAM, **STOPPING}
    assert_twins(kind, sparse.csr_matrix(X), y, options)


FULL_BATCHES = {
    "sgd": SGD | {"batch_size": "auto"},
    "sgd unshuffled": SGD | {"batch_size": "full", "shuffle": False},
    "adam": ADAM | {"batch_size": "auto"},
    "adam stopping": ADAM | STOPPING | {"batch_size": "auto"},
    "lbfgs": LBFGS,
}


@pytest.mark.parametrize("name", FULL_BATCHES)
@pytest.mark.parametrize("kind", ["binary", "multilabel", "regression", "poisson"])
def test_weighted_full_batches(kind, name):
    X, y = make_data(kind)
    weights = np.random.RandomState(3).uniform(0, 4, len(y))
    options = {"hidden_layer_sizes": 12, "max_iter": 20, "alpha": 0.1}
    options |= FULL_BATCHES[name]
    options["learning_rate_init"] = 0.005
    assert_twins(kind, X, y, options, weights)


@pytest.mark.parametrize("base", [SGD, ADAM, LBFGS], ids=["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_warm_start_twice(kind, base):
    X, y = make_data(kind)
    options = {"hidden_layer_sizes": 12, "max_iter": 8, **base, "warm_start": True}
    options["learning_rate_init"] = 0.005
    assert_twins(kind, X, y, options, n_fits=2)


@st.composite
def problems(draw):
    """Kind, X, y, weights and settings, over the space of the table above."""
    kind = draw(
        st.sampled_from(["binary", "multiclass", "multilabel", "regression", "poisson"])
    )
    n = draw(st.integers(30, 70))
    X, y = make_data(kind, n, draw(st.integers(1, 6)), draw(st.integers(0, 99)))
    X = FORMATS[draw(st.sampled_from(sorted(FORMATS)))](X)
    solver = draw(st.sampled_from(["sgd", "adam", "lbfgs"]))
    weighted = draw(st.booleans())
    options = {
        "solver": solver,
        "hidden_layer_sizes": draw(st.integers(1, 15)),
        "activation": draw(st.sampled_from(["identity", "logistic", "tanh", "relu"])),
        "alpha": draw(st.sampled_from([0.0, 1e-4, 0.1, 2.0])),
        "max_iter": draw(st.integers(1, 12 if solver == "lbfgs" else 25)),
        "random_state": draw(st.integers(0, 2**31)),
        "tol": draw(st.sampled_from([0.0, 1e-4, 1e-2])),
    }
    if solver != "lbfgs":
        # MLP weights rows correctly only in full batches, and its split is
        # stratified for two classes only.
        size = "auto" if weighted else draw(st.integers(1, 40))
        options |= {
            "batch_size": min(size, n // 2) if size != "auto" else size,
            "shuffle": draw(st.booleans()),
            "n_iter_no_change": draw(st.integers(1, 10)),
            "early_stopping": kind != "multiclass" and draw(st.booleans()),
            "validation_fraction": draw(st.sampled_from([0.1, 0.25, 0.5])),
        }
    if solver == "sgd":
        options |= {
            "learning_rate": draw(
                st.sampled_from(["constant", "invscaling", "adaptive"])
            ),
            "learning_rate_init": draw(st.floats(1e-4, 2e-3)),
            "power_t": draw(st.floats(0, 1)),
            "momentum": draw(st.sampled_from([0, 0.5, 0.9])),
            "nesterovs_momentum": draw(st.booleans()),
        }
    if solver == "adam":
        # Not beta_2 much below 0.9, large rates and batches of one row together:
        # steps g / |g| of gradients near zero make rounding grow beyond 1e-6.
        options |= {
            "learning_rate_init": draw(st.floats(1e-4, 0.01)),
            "beta_1": draw(st.floats(0.5, 0.95)),
            "beta_2": draw(st.floats(0.9, 0.999)),
            "epsilon": draw(st.sampled_from([1e-8, 1e-3])),
        }
    weights = None
    if weighted:
        weights = np.random.RandomState(n).uniform(0.1, 3, n)
    return kind, X, y, options, weights


@settings(max_examples=50)
@given(problems())
def test_random_settings_agree(problem):
    assert_twins(*problem)


def test_mlp_defaults_are_those_of_mlp():
    for mlp in (MLPClassifier, MLPRegressor):
        theirs = mlp().get_params()
        theirs.pop("loss", None)
        assert theirs.items() <= MLP_DEFAULTS.items()
    ours = set(inspect.signature(sklearn_bp.TwoLayerClassifier).parameters)
    assert set(MLP_DEFAULTS) | {"loss", "class_weight", "temperature_scaling"} == ours


# The plain network of reference.py, for what MLPClassifier lacks.

OPTIMIZERS = {
    "sgd": (SGD, lambda theta: reference.sgd(theta, 0.05)),
    "adam": (ADAM, lambda theta: reference.adam(theta, 0.01)),
}


def plain_fit(X, Y, weights, optimizer, alpha, loss, n_epochs):
    """Weights and curve of the plain network, for the settings of plain_twin."""
    random_state = np.random.RandomState(0)
    theta = reference.start(random_state, X.shape[1], 6, Y.shape[1], factor=6)
    curve = reference.train(
        theta,
        OPTIMIZERS[optimizer][1](theta),
        X,
        Y.astype(float),
        np.ones(len(X)) if weights is None else weights,
        20,
        n_epochs,
        random_state,
        alpha,
        activation="tanh",
        loss=loss,
    )
    return theta, curve


def our_fit(estimator, X, y, weights, optimizer, n_epochs, **options):
    options = OPTIMIZERS[optimizer][0] | options
    model = estimator(
        6, activation="tanh", random_state=0, max_iter=n_epochs, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, weights)


def in_order(model):
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    return [W1, b1, W2, b2]


def one_hot(y):
    classes = np.unique(y)
    Y = y[:, np.newaxis] == classes
    return Y[:, 1:] if len(classes) == 2 else Y


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("binary", "log_loss"),
        ("multiclass", "log_loss"),
        ("multilabel", "log_loss"),
        ("binary", "squared_error"),
        ("multiclass", "squared_error"),
        ("multilabel", "squared_error"),
    ],
)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_plain_classifier(kind, loss, weighted, alpha, optimizer, convert):
    X, y = make_data(kind)
    Y = y if kind == "multilabel" else one_hot(y)
    weights = None
    if weighted:
        weights = np.random.RandomState(3).exponential(5, len(y))
    key = (loss, kind == "multiclass")
    theta, curve = plain_fit(X, Y, weights, optimizer, alpha, key, 10)
    ours = our_fit(
        TwoLayerClassifier,
        convert(X),
        y,
        weights,
        optimizer,
        10,
        alpha=alpha,
        loss=loss,
    )
    assert_allclose(ours.loss_curve_, curve, rtol=1e-9)
    for a, b in zip(in_order(ours), theta, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("n_outputs", [1, 2, 3])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_plain_regressor_of_several_outputs(loss, n_outputs, optimizer):
    X, y = make_data("poisson")
    Y = np.column_stack([y, y[::-1], np.abs(X[:, 0])])[:, :n_outputs] / 3
    weights = np.random.RandomState(3).exponential(5, len(y))
    theta, curve = plain_fit(X, Y, weights, optimizer, 0.1, loss, 10)
    ours = our_fit(
        TwoLayerRegressor,
        X,
        Y if n_outputs > 1 else Y[:, 0],
        weights,
        optimizer,
        10,
        alpha=0.1,
        loss=loss,
    )
    assert_allclose(ours.loss_curve_, curve, rtol=1e-9)
    for a, b in zip(in_order(ours), theta, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_float32_stays_near_float64(optimizer, convert):
    X, y = make_data("multiclass")
    X = X.astype(np.float32)
    theta, curve = plain_fit(
        X.astype(float), one_hot(y), None, optimizer, 0.1, ("log_loss", True), 10
    )
    ours = our_fit(TwoLayerClassifier, convert(X), y, None, optimizer, 10, alpha=0.1)
    # 50 updates, each rounded to 6e-8 of the weights, with errors that training
    # carries on: some hundred roundings at the very most.
    for a, b in zip(in_order(ours), theta, strict=True):
        assert a.dtype == np.float32
        assert_allclose(a, b, rtol=0, atol=100 * 6e-8 * np.abs(b).max())
    assert_allclose(ours.loss_curve_, curve, rtol=1e-5)
