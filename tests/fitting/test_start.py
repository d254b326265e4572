"""fit from given weights: `coef_init` and `intercept_init`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

import sklearn_bp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(150, 4)) * [1, 100, 0.01, 1] + [0, 30, 5, -1]
SIGNAL = X[:, 0] + np.sin(X[:, 1])
TARGETS = {
    "binary": (TwoLayerClassifier, MLPClassifier, SIGNAL > 0),
    "multiclass": (TwoLayerClassifier, MLPClassifier, np.digitize(SIGNAL, [-1, 0, 1])),
    "regression": (TwoLayerRegressor, MLPRegressor, 30 * SIGNAL + 500),
    "outputs": (TwoLayerRegressor, MLPRegressor, np.c_[SIGNAL, 9 - SIGNAL]),
}
over_kinds = pytest.mark.parametrize("kind", TARGETS)


def start_of(model):
    return {"coef_init": model.coefs_, "intercept_init": model.intercepts_}


@over_kinds
def test_two_halves_are_one_fit(kind):
    """Gradient descent without momentum has no memory but the weights."""
    make, _, y = TARGETS[kind]
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (y - np.mean(y, 0)) / np.std(y, 0) if y.dtype == float else y
    settings = {
        "hidden_layer_sizes": 6,
        "solver": "sgd",
        "momentum": 0.0,
        "batch_size": "full",
        "learning_rate_init": 0.1,
        "random_state": 0,
        "shuffle": False,
    }
    whole = make(max_iter=10, **settings).fit(scaled, y)
    half = make(max_iter=5, **settings).fit(scaled, y)
    other = make(max_iter=5, **settings | {"random_state": 7})
    other.fit(scaled, y, **start_of(half))
    for ours, theirs in zip(other.coefs_, whole.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert other.loss_curve_ == pytest.approx(whole.loss_curve_[5:], rel=1e-12)


@over_kinds
def test_scikit_learns_networks_are_continued(kind):
    """The first epoch's loss, before any update, is that of the given network."""
    make, mlp, y = TARGETS[kind]
    y = y / 100 if kind == "regression" else y
    given = mlp(
        hidden_layer_sizes=7, solver="lbfgs", alpha=0.5, max_iter=30, random_state=0
    ).fit(X, y)
    settings = {"alpha": 0.5, "batch_size": "full", "max_iter": 1, "random_state": 1}
    ours = make(7, **settings).fit(X, y, **start_of(given))
    assert_allclose(ours.loss_, given.loss_, rtol=1e-9)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("skip_layer", [False, True])
@over_kinds
def test_scaled_networks_start_in_the_users_units(kind, skip_layer, n_members):
    """With a rate near 0, the fitted weights equal the given ones."""
    _, _, y = TARGETS[kind]
    name = TARGETS[kind][0].__name__
    settings = {
        "hidden_layer_sizes": 5,
        "n_members": n_members,
        "skip_layer": skip_layer,
        "early_stopping": False,
        "average": False,
    }
    make = getattr(sklearn_bp, name)
    given = make(max_iter=20, random_state=0, **settings).fit(X, y)
    coefs = [*given.coefs_, *([given.skip_coef_] if skip_layer else [])]
    ours = make(max_iter=1, learning_rate_init=1e-12, alpha=0.0, **settings)
    ours.fit(X, y, coef_init=coefs, intercept_init=given.intercepts_)
    pairs = [*zip(ours.coefs_, given.coefs_, strict=True)]
    pairs += zip(ours.intercepts_, given.intercepts_, strict=True)
    for a, b in pairs:  # trained in float32
        assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_given_weights_are_copied_and_draws_stay():
    """The order of rows is that of a fit that draws its weights."""
    make, _, y = TARGETS["multiclass"]
    settings = {"hidden_layer_sizes": 3, "max_iter": 3, "random_state": 0}
    plain = make(**settings).fit(X, y)
    coefs = [np.zeros((4, 3)), np.zeros((3, 4))]
    for w in coefs:
        w.setflags(write=False)
    zeros = make(init="zeros", **settings)
    zeros.fit(X, y, coef_init=coefs, intercept_init=[np.zeros(3), np.zeros(4)])
    assert not coefs[0].any()
    assert_array_equal(zeros.classes_, plain.classes_)
    again = make(**settings).fit(X, y, **start_of(plain))
    assert again.n_iter_ == 3
    assert again.loss_curve_[0] < plain.loss_curve_[0]


def test_given_weights_win_over_a_warm_start():
    make, _, y = TARGETS["binary"]
    settings = {"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0}
    given = make(**settings).fit(X, y)
    warm = make(warm_start=True, **settings | {"random_state": 5}).fit(X, y)
    cold = make(**settings | {"random_state": 5})
    warm.fit(X, y, **start_of(given))
    assert_array_equal(warm.coefs_[0], cold.fit(X, y, **start_of(given)).coefs_[0])


W = [np.zeros((4, 3)), np.zeros((3, 1))]
B = [np.zeros(3), np.zeros(1)]


@pytest.mark.parametrize(
    ("coefs", "intercepts", "message"),
    [
        (W, None, "belong together"),
        (None, B, "belong together"),
        (W[::-1], B, r"shapes \[\(4, 3\), \(3, 1\)\]"),
        (W, B[:1], "intercept_init of"),
        ([*W, np.zeros((4, 1))], B, "coef_init must be arrays of shapes"),
        ([W[0] * np.nan, W[1]], B, "coef_init contains NaN"),
        ([["a"], W[1]], B, "coef_init: could not convert"),
        (3, B, "coef_init must be a list of arrays. Got int"),
        (W, np.array(1.0), "intercept_init must be a list of arrays. Got ndarray"),
        ("ab", B, "coef_init must be a list of arrays. Got str"),
        ({0: W[0], 1: W[1]}, B, "coef_init must be a list of arrays. Got dict"),
    ],
)
def test_bad_starts_are_refused(coefs, intercepts, message):
    model = TwoLayerClassifier(3)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, SIGNAL > 0, coef_init=coefs, intercept_init=intercepts)
    assert not hasattr(model, "coefs_")
