"""Dropout: the masked network's gradient, the law of the masks, and unchanged draws."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse

from sklearn_bp._network.batches import Data
from sklearn_bp._network.dropout import Dropout, stream_of
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import glorot_uniform
from sklearn_bp.losses import CLASSIFIER_LOSSES
from sklearn_bp.optimizers import SGD, Adam
from sklearn_bp.schedules import Constant

N, D, H, K = 30, 4, 6, 3
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, D)) * (RNG.uniform(size=(N, D)) < 0.8)
Y = RNG.randint(K, size=(N, 1)) == np.arange(K)
WEIGHTS = RNG.randint(3, size=N).astype(float)
LOSS = CLASSIFIER_LOSSES["log_loss"][True]
PLAIN_LOSS = {"loss": ("log_loss", True)}


class Known:
    """Stands for a Dropout whose masks are known."""

    def __init__(self, mask):
        self.mask = mask

    def bind(self, shape, dtype):
        assert shape == self.mask.shape
        return lambda: self.mask


def start(n_members=1):
    rng = np.random.RandomState(1)
    return Parameters.draw((D, H, K, n_members), np.float64, glorot_uniform, rng, 6.0)


def blocks(member):
    return [member.W1, member.b1, member.W2, member.b2]


def masked_loss_and_gradient(network, parameters, x, mask):
    """Sum over the rows of the loss, and its gradient, of a network with units out."""
    members = () if parameters.n_members == 1 else (parameters.n_members,)
    gradient = parameters.like(np.full_like(parameters.flat, np.nan))
    is_sparse = sparse.issparse(x)
    kernel = network.bind(parameters, gradient, N, is_sparse, Known(mask))
    batch, P = x if is_sparse else x.T, np.empty((*members, N, K))
    kernel.forward(batch, P)
    loss = network.loss.value(P, Y).sum()
    kernel.output_error(P, Y, None)
    kernel.hidden_error()
    kernel.gradient(batch, 1.0, 0.0)
    return loss, gradient


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_members", [1, 3])
def test_gradient_of_the_masked_network(activation, convert, n_members):
    network = TwoLayerNetwork(ACTIVATIONS[activation], LOSS)
    parameters = start(n_members)
    mask = (RNG.uniform(size=(N, n_members * H)) < 0.6) / 0.6
    loss, gradient = masked_loss_and_gradient(network, parameters, convert(X), mask)

    total = 0.0
    for j, member in enumerate(parameters.members()):
        value, plain = reference.loss_and_gradient(
            blocks(member),
            X,
            Y.astype(float),
            np.ones(N),
            1.0,
            0.0,
            activation,
            mask=mask[:, j * H : (j + 1) * H],
            **PLAIN_LOSS,
        )
        total += value
        for ours, theirs in zip(blocks(gradient.members()[j]), plain, strict=True):
            assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)
    assert_allclose(loss, total, rtol=1e-12)

    direction, step = RNG.normal(size=parameters.flat.size), 1e-6
    losses = []
    for sign in (1, -1):
        moved = parameters.like(parameters.flat + sign * step * direction)
        losses.append(masked_loss_and_gradient(network, moved, X, mask)[0])
    slope = (losses[0] - losses[1]) / (2 * step)
    assert_allclose(gradient.flat @ direction, slope, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.37, 0.5, 0.9, 0.999])
def test_masks(rate):
    """0 with probability `rate`, else 1 / (1 - rate): of mean 1, and independent."""
    n_masks, shape = 4000, (5, 7)
    next_mask = Dropout(rate, stream_of(np.random.RandomState(0))).bind(shape, float)
    masks = np.array([next_mask().copy() for _ in range(n_masks)])
    assert masks.min() == 0
    drawn = min(round(rate * 2**16), 2**16 - 1) / 2**16  # by 16 bits
    assert_allclose(masks[masks > 0], 1 / (1 - drawn), rtol=1e-12)
    assert_allclose(1 / (1 - drawn), 1 / (1 - rate), rtol=1e-4 if rate < 0.99 else 1e-2)
    deviation = np.sqrt(rate / (1 - rate))
    assert abs(masks.mean() - 1) < 5 * deviation / np.sqrt(masks.size)
    assert np.abs(masks.mean(axis=0) - 1).max() < 5 * deviation / np.sqrt(n_masks)
    if not 0.05 < rate < 0.95:
        return  # events too few for the normal bounds below
    units = masks.reshape(n_masks, -1)
    correlations = np.corrcoef(units.T) - np.eye(units.shape[1])
    assert np.abs(correlations).max() < 6 / np.sqrt(n_masks)
    later = np.mean((units[1:] - 1) * (units[:-1] - 1)) / deviation**2
    assert abs(later) < 6 / np.sqrt(units.size)


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=["sgd", "adam"])
def test_training_is_the_plain_networks_with_these_masks(optimizer, monkeypatch):
    """Batches of two lengths; weights and penalty."""
    used = []
    bind = Dropout.bind

    def recorded(self, shape, dtype):
        next_mask = bind(self, shape, dtype)

        def next_recorded():
            used.append(next_mask().copy())
            return used[-1]

        return next_recorded

    monkeypatch.setattr(Dropout, "bind", recorded)
    parameters = start()
    theta = [block.copy() for block in blocks(parameters)]
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], LOSS)
    state = TrainingState(
        parameters,
        Patience(0, np.inf),
        np.random.RandomState(2),
        dropout_stream=stream_of(np.random.RandomState(3)),
    )
    solver = MiniBatches(optimizer, Constant(0.05), 8, shuffle=True, dropout=0.3)
    data = Data.weighted(X, Y, WEIGHTS, 0.2)
    plan = Plan(5, -np.inf, None)
    solver.train(network, data, state, plan)
    rule = reference.sgd if isinstance(optimizer, SGD) else reference.adam
    curve = reference.train(
        theta,
        rule(theta, rate=0.05),
        X,
        Y.astype(float),
        WEIGHTS,
        8,
        5,
        np.random.RandomState(2),
        0.2 / 1,
        masks=iter(used),
        activation="tanh",
        **PLAIN_LOSS,
    )
    assert len(used) == 5 * 4
    assert_allclose(state.loss_curve, curve, rtol=1e-9)
    for ours, theirs in zip(blocks(parameters), theta, strict=True):
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-11)


LABELS = Y.argmax(axis=1)


def test_seeds_and_streams():
    """The same seed gives the same masks; they move no other draw."""

    def fitted(**settings):
        model = TwoLayerClassifier(5, batch_size=8, **{"random_state": 0} | settings)
        for _ in range(3):
            model.partial_fit(X, LABELS, classes=range(K))
        return model

    one, same, other = (fitted(dropout=0.3, random_state=s) for s in (0, 0, 1))
    assert one.loss_curve_ == same.loss_curve_
    assert one.loss_curve_ != other.loss_curve_
    plain = fitted()
    assert plain.loss_curve_ != one.loss_curve_
    assert_array_equal(one._training_state.order, plain._training_state.order)
    drawn, others = (m._training_state.random_state.get_state() for m in (one, plain))
    assert_array_equal(drawn[1], others[1])
    assert drawn[2:] == others[2:]
    assert plain._training_state.dropout_stream is None


def test_float32_has_the_same_masks():
    """A fit in float32 stays near the one in float64 while its masks are the same."""
    fits = []
    for dtype in (np.float32, np.float64):
        model = TwoLayerRegressor(40, dropout=0.3, batch_size=8, random_state=0)
        for _ in range(3):
            model.partial_fit(X.astype(dtype), X[:, 0].astype(dtype))
        fits.append(model)
    assert_allclose(fits[0].loss_curve_, fits[1].loss_curve_, rtol=1e-4)


def test_lbfgs_is_refused():
    model = TwoLayerClassifier(5, solver="lbfgs", dropout=0.2)
    with pytest.raises(
        ValueError, match=r"dropout=0.2 changes the loss .* solver='adam'"
    ):
        model.fit(X, LABELS)
