"""The skip layer: weights from the inputs straight to the outputs.

If all hidden weights are 0, tanh and relu give 0 and pass nothing back, so they stay 0
for ever. The linear model is left, number for number.
"""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)

from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.scaling import (
    Scaling,
    absorb,
    absorb_skip,
    separate,
    separate_skip,
)
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES

N, D, H = 40, 4, 3
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, D)) * (RNG.uniform(size=(N, D)) < 0.8)
WEIGHTS = RNG.randint(4, size=N).astype(float)
LINEAR = X @ RNG.normal(size=D) - 2
NOISY = LINEAR + RNG.normal(size=N)
CLASSES = np.digitize(NOISY, [-3, -1.5])
LOSSES = {
    ("log_loss", True): CLASSIFIER_LOSSES["log_loss"][True],
    ("log_loss", False): CLASSIFIER_LOSSES["log_loss"][False],
    "squared_error": REGRESSOR_LOSSES["squared_error"],
    "poisson": REGRESSOR_LOSSES["poisson"],
}
over_formats = pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("n_members", [1, 3])
@over_formats
def test_gradient(loss, n_outputs, n_members, convert):
    """Of the plain network, and of differences along a direction."""
    rng = np.random.RandomState(1)
    Y = rng.randint(2, size=(N, n_outputs)).astype(float)
    if loss == ("log_loss", True):
        Y = (rng.randint(n_outputs, size=(N, 1)) == np.arange(n_outputs)).astype(float)
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], LOSSES[loss])
    layout = (D, H, n_outputs, n_members, True)
    parameters = Parameters.empty(layout, np.float64)
    parameters.flat[:] = rng.uniform(-1, 1, parameters.flat.size)
    data = convert(X), Y, WEIGHTS, 0.7
    value, gradient = loss_and_gradient(network, parameters, *data)
    total = 0.0
    for member, ours in zip(parameters.members(), gradient.members(), strict=True):
        theta = [member.W1, member.b1, member.W2, member.b2, member.V]
        its_value, plain = reference.loss_and_gradient(
            theta, X, Y, WEIGHTS, WEIGHTS.sum(), 0.7, "tanh", loss
        )
        total += its_value
        blocks = [ours.W1, ours.b1, ours.W2, ours.b2, ours.V]
        for a, b in zip(blocks, plain, strict=True):
            assert_allclose(a, b, rtol=1e-9, atol=1e-13)
    assert_allclose(value, total, rtol=1e-12)

    direction, step = rng.normal(size=parameters.flat.size), 1e-6
    values = [
        loss_and_gradient(
            network, parameters.like(parameters.flat + sign * step * direction), *data
        )[0]
        for sign in (1, -1)
    ]
    slope = (values[0] - values[1]) / (2 * step)
    assert_allclose(gradient.flat @ direction, slope, rtol=1e-6, atol=1e-9)


# The linear models.


def linear(estimator, n_members=1, **settings):
    """A network whose hidden layer has no effect."""
    return estimator(
        H,
        activation="tanh",
        init="zeros",
        skip_layer=True,
        solver="lbfgs",
        n_members=n_members,
        **{"tol": 1e-9, "max_iter": 1000} | settings,
    )


# scipy's minimizer ends when a step lowers the loss by less than 2e-9 of it: then
# weights are some 1e-4 from the minimum.
MINIMIZED = {"rtol": 3e-4, "atol": 1e-4}


def is_linear(model):
    assert not any(w.any() for w in (*model.coefs_, model.intercepts_[0]))
    return model.skip_coef_


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
@over_formats
def test_ridge(n_members, weights, convert):
    model = linear(TwoLayerRegressor, n_members, alpha=2.5)
    model.fit(convert(X), NOISY, weights)
    ridge = Ridge(alpha=2.5, tol=1e-10).fit(X, NOISY, weights)
    assert_allclose(is_linear(model)[:, 0], ridge.coef_, **MINIMIZED)
    assert_allclose(model.intercepts_[1], ridge.intercept_, **MINIMIZED)
    assert_allclose(model.predict(convert(X)), ridge.predict(X), **MINIMIZED)
    assert model.predict(convert(X[:1])).shape == (1,)


def test_ridge_of_several_outputs():
    """Their squares are averaged, so the penalty counts once per output."""
    Y = np.column_stack([NOISY, X[:, 0] - NOISY, LINEAR**2])
    model = linear(TwoLayerRegressor, alpha=0.5).fit(X, Y)
    ridge = Ridge(alpha=1.5).fit(X, Y)
    assert_allclose(is_linear(model), ridge.coef_.T, **MINIMIZED)
    assert_allclose(model.predict(X), ridge.predict(X), **MINIMIZED)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_members", [1, 3])
def test_logistic_regression(n_classes, n_members):
    y = np.minimum(CLASSES, n_classes - 1)
    model = linear(TwoLayerClassifier, n_members, alpha=0.8).fit(X, y, WEIGHTS)
    logistic = LogisticRegression(C=1 / 0.8, tol=1e-9, max_iter=1000)
    logistic.fit(X, y, WEIGHTS)
    assert_allclose(is_linear(model).T, logistic.coef_, **MINIMIZED)
    assert_allclose(model.predict_proba(X), logistic.predict_proba(X), **MINIMIZED)


def test_poisson_regression():
    y = RNG.poisson(np.exp(0.3 * LINEAR))
    model = linear(TwoLayerRegressor, loss="poisson", alpha=0.8).fit(X, y)
    poisson = PoissonRegressor(alpha=0.8 / N, tol=1e-10, max_iter=1000).fit(X, y)
    assert_allclose(is_linear(model)[:, 0], poisson.coef_, **MINIMIZED)
    assert_allclose(model.predict(X), poisson.predict(X), **MINIMIZED)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("standardize", [False, True])
@over_formats
def test_linear_data(n_members, standardize, convert):
    """From any start: no network fits it better than the line, which it finds.

    On columns of other scales, constant ones and scaled targets among them.
    """
    columns = np.hstack([X * [1, 100, 0.01, 3] + [0, 5, 0, 0], np.ones((N, 1))])
    y = 1000 * LINEAR
    model = TwoLayerRegressor(
        H,
        activation="tanh",
        solver="lbfgs",
        skip_layer=True,
        standardize=True,
        alpha=0,
        n_members=n_members,
        tol=1e-9,
        max_iter=2000,
        random_state=0,
    )
    if not standardize:  # then on columns that are of one scale already
        columns, y = X, LINEAR
        model.set_params(standardize=False)
    model.fit(convert(columns), y)
    line = LinearRegression().fit(columns, y)
    error = np.abs(model.predict(convert(columns)) - line.predict(columns)).max()
    assert error < 3e-3 * np.abs(y).max()


# Scaling, continuing, members.

FEATURES = Scaling(np.array([1.0, -2.0, 0.5, 7.0]), np.array([0.5, 3.0, 0.0, 1e-3]))
TARGETS = Scaling(np.array([4.0, -1.0]), np.array([0.1, 20.0]))


@pytest.mark.parametrize("features", [None, FEATURES])
@pytest.mark.parametrize("targets", [None, TARGETS])
def test_absorb_and_separate(features, targets):
    """The absorbed network on the columns as they are is the other on scaled ones."""
    rng = np.random.RandomState(0)
    W1, W2, V = (rng.normal(size=s) for s in ((4, 3), (3, 2), (4, 2)))
    b1, b2 = rng.normal(size=3), rng.normal(size=2)
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], REGRESSOR_LOSSES["squared_error"])

    def predict(coefs, intercepts, skip, x):
        weights = Parameters.pack(coefs, intercepts, np.float64, skip=skip).mean()
        return network.scores(weights, x)

    scaled = X if features is None else features(X)
    expected = predict([W1, W2], [b1, b2], V, scaled)
    if targets is not None:
        expected = targets.backwards(expected)
    coefs, (c1, c2) = absorb([W1, W2], [b1, b2], features, targets)
    skip, c2 = absorb_skip(V, c2, features, targets)
    assert_allclose(predict(coefs, [c1, c2], skip, X), expected, rtol=1e-10, atol=1e-10)

    again, c2 = separate_skip(skip, c2, features, targets)
    coefs, intercepts = separate(coefs, [c1, c2], features, targets)
    known = slice(None) if features is None else features.factor != 0
    assert_allclose(again[known], V[known], rtol=1e-10)
    assert_allclose(intercepts[1], b2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("standardize", [False, True])
def test_warm_start_continues_where_it_ended(solver, standardize):
    """Members too, whose skip layers are kept as their mean: nothing jumps."""
    model = TwoLayerRegressor(
        4,
        solver=solver,
        n_members=3,
        standardize=standardize,
        skip_layer=True,
        max_iter=7,
        learning_rate_init=0.01,
        random_state=0,
        warm_start=True,
    )
    with pytest.warns():
        model.fit(X, NOISY)
    before, V = model.predict(X), model._fitted_network().parameters(np.float64, 3).V
    assert np.ptp(V, axis=1).max() > 1e-3  # the members differ
    model.set_params(learning_rate_init=1e-12, max_iter=1)
    with pytest.warns():
        model.fit(X, NOISY)
    if solver == "sgd":
        assert_allclose(model.predict(X), before, rtol=1e-6)
        assert_allclose(
            model._fitted_network().parameters(np.float64, 3).V, V, rtol=1e-6, atol=1e-9
        )
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_asking_for_it_later_is_refused():
    model = TwoLayerRegressor(4, warm_start=True, solver="lbfgs", alpha=1.0)
    model.fit(X, NOISY)
    assert model.skip_coef_ is None
    with pytest.raises(ValueError, match=r"skip_layer\) = .*False\), but .*True\) is"):
        model.set_params(skip_layer=True).fit(X, NOISY)
