"""The scaling layer: a trainable scale for each feature, absorbed into the weights."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import reference
from compare import assert_same_training
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse

import sklearn_bp
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import SCALE_SPEED, Parameters
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import glorot_uniform
from sklearn_bp.losses import CLASSIFIER_LOSSES
from sklearn_bp.optimizers import SGD, Adam, Bound, Optimizer, RMSprop
from sklearn_bp.schedules import Constant

N, D, H, K = 32, 4, 5, 3
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, D)) * (RNG.uniform(size=(N, D)) < 0.8)
Y = RNG.randint(K, size=(N, 1)) == np.arange(K)
LABELS = Y.argmax(axis=1)
WEIGHTS = RNG.randint(1, 4, size=N).astype(float)
ALPHA = 0.4
NETWORK = TwoLayerNetwork(ACTIVATIONS["tanh"], CLASSIFIER_LOSSES["log_loss"][True])
over_formats = pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])


def start(n_members=1, skip=False, speed=SCALE_SPEED):
    """With scales that are not 1, so that they matter."""
    rng = np.random.RandomState(1)
    layout = (D, H, K, n_members, skip, speed)
    parameters = Parameters.draw(layout, np.float64, glorot_uniform, rng, 6.0)
    assert_array_equal(parameters.scales, 1)
    parameters.r[...] = rng.uniform(-0.2, 0.2, D)
    return parameters


def train(parameters, optimizer, rows, groups=None):
    state = TrainingState(parameters, Patience(0, np.inf), np.random.RandomState(2))
    solver = MiniBatches(optimizer, Constant(0.02), 8, shuffle=False)
    data = replace(Data.weighted(rows, Y, WEIGHTS, ALPHA), groups=groups)
    plan = Plan(5, -np.inf, None, lambda state: None)
    return solver.train(NETWORK, data, state, plan)


def batch_loss_and_gradient(parameters, rows):
    """Of a batch's mean, the gradient by the chain rule from the absorbed network's."""
    value, absorbed = loss_and_gradient(
        NETWORK, parameters.absorbed(), X[rows], Y[rows], WEIGHTS[rows]
    )
    share = WEIGHTS[rows].mean() / WEIGHTS.mean()  # their mean over all rows is 1
    alpha = ALPHA / WEIGHTS.mean() / len(rows)
    G = share * absorbed.W1
    total = parameters.like(np.append(share * absorbed.flat, np.empty(D)))
    total.W1[...] = parameters.scales[:, np.newaxis] * G
    total.r[...] = parameters.scale_speed * (parameters.W1 * G).sum(axis=1)
    total.penalized[...] += alpha * parameters.penalized
    return share * value + alpha / 2 * parameters.squared_norm(), total.flat


def test_the_speed_of_scales():
    usual, fast = start(), start(speed=4.5)
    assert (usual.scale_speed, fast.scale_speed) == (SCALE_SPEED, 4.5)
    assert usual.layout != fast.layout
    for parameters in (fast, fast.copy(), pickle.loads(pickle.dumps(fast))):
        assert_allclose(parameters.scales, 1 + 4.5 * fast.r, rtol=1e-15)
    assert fast.absorbed().scale_speed == 0


@pytest.mark.parametrize("n_members", [1, 3])
def test_gradient_against_differences(n_members):
    parameters, rows, step = start(n_members), np.arange(8), 1e-6
    direction = RNG.normal(size=parameters.flat.size)
    values = [
        batch_loss_and_gradient(
            parameters.like(parameters.flat + sign * step * direction), rows
        )[0]
        for sign in (1, -1)
    ]
    slope = (values[0] - values[1]) / (2 * step)
    _, gradient = batch_loss_and_gradient(parameters, rows)
    assert_allclose(gradient @ direction, slope, rtol=1e-6)


@over_formats
def test_scales_of_a_group_move_together_in_part(convert):
    """Each by its own derivative and a third of the sum over its group."""
    groups = np.array([2, 0, 2, 1])
    parameters = start(n_members=2, speed=9.0)
    plain = parameters.copy()
    for _ in range(5):
        for first in range(0, N, 8):
            rows = np.arange(first, first + 8)
            step = plain.like(batch_loss_and_gradient(plain, rows)[1].copy())
            own = step.r.copy()
            for j, group in enumerate(groups):
                step.r[j] += own[groups == group].sum() / 3
            plain.flat[...] -= 0.02 * step.flat
    train(parameters, Descent(), convert(X), groups)
    assert_allclose(parameters.flat, plain.flat, rtol=1e-8, atol=1e-11)


class Descent(Optimizer):
    """theta <- theta - rate g: the gradient itself."""

    adaptive = True

    def bind(self, parameters, alpha=0.0, state=None):
        theta, target = parameters.flat, parameters.like(np.empty(parameters.flat.size))

        def finish(n_rows, rate):
            squared_norm = parameters.squared_norm()
            target.penalized[...] += alpha / n_rows * parameters.penalized
            theta[...] -= rate * target.flat
            return squared_norm

        return Bound(target, lambda n_rows, rate: (1 / n_rows, 0.0), finish, dict)


def descent(theta, rate):
    return reference.sgd(theta, rate, momentum=0.0)


@pytest.mark.parametrize(
    ("optimizer", "rule"), [(Descent(), descent), (Adam(), reference.adam)]
)
@pytest.mark.parametrize(
    ("n_members", "skip", "speed"),
    [(1, False, SCALE_SPEED), (3, False, 9.0), (2, True, 2.0)],
)
@over_formats
def test_optimizers_move_weights_and_scales(
    optimizer, rule, n_members, skip, speed, convert
):
    """As the plain rule of update on the gradient by the chain rule, r and all."""
    parameters = start(n_members, skip, speed)
    plain = parameters.copy()
    update = rule([plain.flat], rate=0.02)
    for _ in range(5):
        for first in range(0, N, 8):
            rows = np.arange(first, first + 8)
            update([batch_loss_and_gradient(plain, rows)[1]])
    result = train(parameters, optimizer, convert(X))
    assert_allclose(parameters.flat, plain.flat, rtol=1e-8, atol=1e-11)
    assert_allclose(
        result.parameters.flat, plain.absorbed().flat, rtol=1e-8, atol=1e-11
    )
    assert result.parameters.r is None
    before = start(speed=speed)
    assert np.abs(parameters.scales - before.scales).max() > 0.03


def test_absorbed():
    """The network on scaled features is the absorbed one on the features."""
    parameters = start(n_members=2)
    inner = Parameters(parameters.flat[:-D], (D, H, K, 2))
    scaled = NETWORK.scores(inner.mean(), X * parameters.scales)
    absorbed = parameters.absorbed()
    assert_allclose(NETWORK.scores(absorbed.mean(), X), scaled, rtol=1e-12, atol=1e-14)
    assert absorbed.absorbed() is absorbed
    assert_array_equal(absorbed.scales, 1)


@pytest.mark.parametrize("optimizer", [Adam(), RMSprop(), Descent()])
def test_features_that_are_zero_keep_their_scale(optimizer):
    silent, parameters = X.copy(), start()
    silent[:, 1] = 0
    train(parameters, optimizer, silent)
    before = start().r
    assert parameters.r[1] == before[1]
    assert (parameters.r != before).tolist() == [True, False, True, True]


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("n_members", [1, 2])
def test_switched_on_and_off(standardize, n_members):
    """The network does not change between calls of partial_fit."""
    model = TwoLayerClassifier(
        5, standardize=standardize, n_members=n_members, random_state=0
    )
    for on in (True, True, False, True, False, False):
        model.set_params(scaling_layer=on, learning_rate_init=0.01)
        model.partial_fit(X, LABELS, classes=range(K))
        assert model._training_state.scaled == on
        other = pickle.loads(pickle.dumps(model))
        other.set_params(scaling_layer=not on, learning_rate_init=1e-12)
        other.partial_fit(X, LABELS)
        before = model.decision_function(X)
        assert_allclose(other.decision_function(X), before, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scaling_layer", [False, True])
def test_warm_start_continues(scaling_layer):
    """Scales start at 1 again, because the weights have absorbed them."""
    model = TwoLayerRegressor(
        5,
        scaling_layer=True,
        warm_start=True,
        max_iter=20,
        learning_rate_init=0.02,
        random_state=0,
    )
    y = X[:, 0] * X[:, 1]
    with pytest.warns():
        model.fit(X, y)
    before = model.predict(X)
    model.set_params(scaling_layer=scaling_layer, learning_rate_init=1e-12, max_iter=1)
    with pytest.warns():
        model.fit(X, y)
    assert_allclose(model.predict(X), before, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs", SGD(0.5)])
def test_others_do_not_use_it(solver):
    fits = [
        sklearn_bp.TwoLayerRegressor(
            4, solver=solver, scaling_layer=on, random_state=0
        ).fit(X, X[:, 0])
        for on in (False, True)
    ]
    assert_same_training(*fits)
