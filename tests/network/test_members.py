"""Networks side by side: each learns as if alone, and their mean is one network."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.defaults import members
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork, _outer_products
from sklearn_bp._network.objective import Objective, loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.lbfgs import LBFGS
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import he_normal
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.optimizers import SGD, Adam
from sklearn_bp.schedules import Constant

N, D, H, MEMBERS = 43, 5, 6, 3
LOSSES = {
    ("softmax", 3): CLASSIFIER_LOSSES["log_loss"][True],
    ("sigmoid", 1): CLASSIFIER_LOSSES["log_loss"][False],
    ("sigmoids", 2): CLASSIFIER_LOSSES["log_loss"][False],
    ("sigmoid, squared", 1): CLASSIFIER_LOSSES["squared_error"][False],
    ("sigmoids, squared", 3): CLASSIFIER_LOSSES["squared_error"][True],
    ("squared", 1): REGRESSOR_LOSSES["squared_error"],
    ("squared", 2): REGRESSOR_LOSSES["squared_error"],
    ("poisson", 1): REGRESSOR_LOSSES["poisson"],
}
cases = pytest.mark.parametrize("loss", LOSSES, ids=lambda key: f"{key[0]}-{key[1]}")


def problem(loss, dtype=np.float64, skip=False):
    """Network, X, Y, sample weights, and parameters of all members."""
    k = loss[1]
    rng = np.random.RandomState(0)
    X = rng.normal(size=(N, D)) * (rng.uniform(size=(N, D)) < 0.7)
    Y = (np.arange(N)[:, np.newaxis] + rng.randint(2, size=(N, 1))) % (k + 1) == (
        np.arange(k)
    )
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], LOSSES[loss])
    weights = rng.randint(0, 3, N).astype(float)
    parameters = Parameters.draw((D, H, k, MEMBERS, skip), dtype, he_normal, rng, 6.0)
    if skip:
        parameters.V[...] = 0.3 * rng.normal(size=parameters.V.shape)
    return network, X.astype(dtype), Y, weights, parameters


def alone(member):
    """A network's own parameters, from the weights of a member."""
    W1, b1, W2, b2, V = member
    return Parameters.pack([W1, W2], [b1, b2], W1.dtype, skip=V)


def train(network, data, parameters, optimizer):
    state = TrainingState(
        parameters.copy(), Patience(0, np.inf), np.random.RandomState(3)
    )
    solver = MiniBatches(optimizer, Constant(0.05), batch_size=8, shuffle=True)
    plan = Plan(4, -np.inf, None)
    return solver.train(network, data, state, plan)


@cases
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_each_member_learns_as_if_alone(loss, optimizer, convert, skip):
    network, X, Y, weights, parameters = problem(loss, skip=skip)
    data = Data.weighted(convert(X), Y, weights, alpha=0.3)
    together = train(network, data, parameters, optimizer)
    single = [
        train(network, data, alone(member), optimizer)
        for member in parameters.members()
    ]
    for member, lone in zip(together.parameters.members(), single, strict=True):
        for ours, theirs in zip(
            member.arrays(), lone.parameters.mean().arrays(), strict=True
        ):
            assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    curves = [result.state.loss_curve for result in single]
    assert_allclose(together.state.loss_curve, np.mean(curves, axis=0), rtol=1e-12)


@cases
def test_the_loss_of_lbfgs_is_the_mean_of_the_members(loss):
    network, X, Y, weights, parameters = problem(loss)
    data = Data.weighted(X, Y, weights, alpha=0.3)
    state = TrainingState(parameters, Patience(0, np.inf), np.random.RandomState(3))
    plan = Plan(5, -np.inf, None)
    result = LBFGS(1e-9, 1000, 256).train(network, data, state, plan)
    assert result.state.n_iter == 5
    losses = [
        loss_and_gradient(network, alone(member), X, Y, weights, 0.3)[0]
        for member in result.parameters.members()
    ]
    assert_allclose(result.state.loss_curve[-1], np.mean(losses), rtol=1e-12)


@cases
@pytest.mark.parametrize("skip", [False, True])
def test_held_out_rows_are_rows_of_weight_zero(loss, skip):
    """A member learns nothing from its own held-out rows, as if their weight were 0."""
    network, X, Y, weights, parameters = problem(loss, skip=skip)
    folds = np.arange(N) % MEMBERS
    data = Data.weighted(X, Y, weights, 0.0).without_folds(folds, MEMBERS)
    together = train(network, data, parameters, Adam()).parameters
    for j, (member, start) in enumerate(
        zip(together.members(), parameters.members(), strict=True)
    ):
        rows = folds == j
        lone = train(
            network, Data.weighted(X, Y, weights * ~rows, 0.0), alone(start), Adam()
        )
        for ours, theirs in zip(
            member.arrays(), lone.parameters.mean().arrays(), strict=True
        ):
            assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@cases
@pytest.mark.parametrize("skip", [False, True])
def test_each_member_has_its_own_gradient(loss, skip):
    network, X, Y, weights, parameters = problem(loss, skip=skip)
    data = Data.weighted(X, Y, weights, 0.3)
    together = Objective(network, parameters, data)
    total = together()
    singles = [Objective(network, alone(m), data) for m in parameters.members()]
    assert_allclose(total, sum(single() for single in singles), rtol=1e-12)
    for ours, single in zip(together.gradient.members(), singles, strict=True):
        for a, b in zip(ours.arrays(), single.gradient.mean().arrays(), strict=True):
            assert_allclose(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("n_members", "n_rows", "h"), [(2, 1, 3), (8, 300, 64), (16, 7, 5), (17, 7, 5)]
)
def test_one_output_per_member_is_an_outer_product(n_members, n_rows, h, dtype):
    """To the last bit, because only zeros are added to each number."""
    rng = np.random.RandomState(0)
    delta1 = np.full((n_rows, n_members * h), np.nan, dtype)
    delta2 = rng.normal(size=(n_members, n_rows)).astype(dtype)
    W2 = np.empty((n_members, h), dtype)
    propagate = _outer_products(W2, delta1, delta2)
    for _ in range(2):
        W2[...] = rng.normal(size=W2.shape)
        propagate()
        expected = delta2.T[:, :, np.newaxis] * W2
        assert_array_equal(delta1, expected.reshape(delta1.shape))


@cases
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_network_has_the_mean_of_the_scores(loss, dtype, skip):
    network, X, _, _, parameters = problem(loss, dtype, skip)
    scores = [network.scores(alone(m).mean(), X) for m in parameters.members()]
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    mean = network.scores(parameters.mean(), X)
    assert_allclose(mean, np.mean(scores, axis=0), rtol=tolerance, atol=tolerance)


def test_pack_and_unpack():
    """Continuing from one network: its members have it as their mean."""
    parameters = problem(("softmax", 3))[-1]
    coefs, intercepts = parameters.unpack()
    again = Parameters.pack(coefs, intercepts, np.float64, MEMBERS)
    assert_allclose(again.W1, parameters.W1)
    assert_allclose(again.W2, parameters.W2)
    for ours, theirs in zip(again.unpack(), (coefs, intercepts), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_allclose(a, b)


X = np.random.RandomState(1).normal(size=(120, 4))
LABELS = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3)]
TARGETS = np.sin(X[:, 0]) + X[:, 1] ** 2


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
def test_fitted_estimator_is_one_plain_network(solver, early_stopping):
    """All that is left is coefs_ and intercepts_, from which the scores follow."""
    settings = {
        "hidden_layer_sizes": 7,
        "solver": solver,
        "n_members": 3,
        "max_iter": "auto" if solver == "lbfgs" else 5,
        "n_iter_no_change": 3,
        "early_stopping": early_stopping,
        "random_state": 0,
    }
    with pytest.warns() if solver != "lbfgs" else np.errstate():
        models = [
            TwoLayerClassifier(**settings).fit(X, LABELS),
            TwoLayerRegressor(**settings).fit(X, TARGETS),
        ]
    for model, outputs in zip(models, (3, 1), strict=True):
        assert model.coefs_[0].shape == (4, 21)
        assert model.coefs_[1].shape == (21, outputs)
        (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
        scores = np.maximum(X @ W1 + b1, 0) @ W2 + b2
        ours = model.decision_function(X) if outputs == 3 else model.predict(X)[:, None]
        assert_allclose(ours, scores, rtol=1e-10, atol=1e-12)


# predict(X, return_std=True): the spread of the members.


def members_alone(model, X):
    """Predictions of each member, from the state that partial_fit keeps of it."""
    network = TwoLayerNetwork(ACTIVATIONS[model.activation], model._fitted.targets.loss)
    parameters = model._training_state.kept.absorbed()
    if model._fitted.inputs.scaling is not None:
        X = model._fitted.inputs.scaling(X)
    predictions = [network.scores(alone(m).mean(), X) for m in parameters.members()]
    for p in predictions:
        if model._fitted.targets.score_scaling is not None:
            model._fitted.targets.score_scaling.backwards(p)
        network.loss.forward(p)
    return np.array(predictions)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_std_is_that_of_the_members(loss, n_outputs, standardize, convert):
    """After calls of partial_fit, whose members are known; in the user's units."""
    rows = convert(np.round(3 + 40 * X[:60], 1))
    Y = np.column_stack([TARGETS, LABELS == "a"])[:60, :n_outputs]
    Y = 1e3 * np.abs(Y) if loss == "squared_error" else np.abs(Y)
    Y = Y[:, 0] if n_outputs == 1 else Y
    model = TwoLayerRegressor(
        5, loss=loss, standardize=standardize, n_members=3, random_state=0, alpha=0.1
    )
    rates = 1e-5 if not standardize else 0.01
    model.set_params(learning_rate_init=rates)
    for _ in range(3):
        model.partial_fit(rows, Y)
    expected = members_alone(model, rows).std(axis=0).reshape(60, -1)
    model.set_params(n_members=1)  # of the next fit: no matter here
    y, std = model.predict(rows, return_std=True)
    assert_allclose(y, model.predict(rows))
    assert std.shape == y.shape
    scale = np.abs(y).max()
    assert_allclose(std.reshape(60, -1), expected, rtol=1e-8, atol=1e-10 * scale)
    assert std.max() > 1e-3 * scale


def test_std_around_the_prediction():
    """Targets in other units change it likewise; a fit in float32 gives it in float32.

    The prediction is the mean of the values whose std it is.
    """
    model = TwoLayerRegressor(6, n_members=4, random_state=0, early_stopping=False)
    model.partial_fit(X, TARGETS)
    mean, std = model.predict(X, return_std=True)
    assert_allclose(mean, members_alone(model, X).mean(axis=0)[:, 0], rtol=1e-6)

    mean, std = model.fit(X, TARGETS).predict(X, return_std=True)
    _, stretched = model.fit(X, 1e4 * TARGETS - 7).predict(X, return_std=True)
    small = model.fit(X.astype(np.float32), TARGETS)
    assert_allclose(stretched, 1e4 * std, rtol=1e-2, atol=1)
    single, its_std = small.predict(X.astype(np.float32), return_std=True)
    assert single.dtype == its_std.dtype == np.float32
    assert_allclose(its_std, std, rtol=1e-2, atol=1e-4)


def test_members_that_are_alike_have_no_spread():
    model = TwoLayerRegressor(
        4, init="zeros", shuffle=False, early_stopping=False, random_state=0
    )
    _, std = model.fit(X, TARGETS).predict(X, return_std=True)
    assert_allclose(std, 0, atol=1e-5)


def test_one_network_has_no_spread():
    model = TwoLayerRegressor(4, n_members=1, random_state=0).fit(X, TARGETS)
    with pytest.raises(ValueError, match="fitted with n_members=1: fit again"):
        model.predict(X, return_std=True)


# "auto".

BRIEF = {"hidden_layer_sizes": 2, "random_state": 0}
cut_short = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def shaped(n_rows, n_columns, density=1.0, seed=0):
    """Rows with this number of non-zero values; CSR if some are zero."""
    rng = np.random.RandomState(seed)
    if density == 1:
        return rng.normal(size=(n_rows, n_columns))
    return sparse.random(n_rows, n_columns, density, "csr", random_state=rng)


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "row_length", "n_outputs"),
    [
        (150, 4, 4, 3),
        (1797, 64, 64, 10),
        (2000, 784, 784, 10),
        (60_000, 784, 784, 10),
        (500, 600, 600, 1),
        (1, 700, 700, 1),
        (10**6, 100, 100, 900),
        (20_000, 20_000, 80, 20),
    ],
)
def test_ordinary_shapes_have_eight_members(n_rows, n_columns, row_length, n_outputs):
    for model in (TwoLayerClassifier(), TwoLayerRegressor()):
        assert members(model, n_rows, n_columns, row_length, n_outputs) == 8
        model.set_params(n_members=3)
        assert members(model, n_rows, n_columns, row_length, n_outputs) == 3


@pytest.mark.parametrize("seed", range(30))
def test_longer_rows_never_have_more_members(seed):
    rng = np.random.RandomState(seed)
    shape = np.exp(rng.uniform(0, 10, 4)).astype(int) + 1
    shape[2] = min(shape[2], shape[1] // 2)
    model = TwoLayerClassifier()
    found = members(model, *shape)
    assert found in (2, 4, 8)
    for i in (1, 3):
        longer = shape.copy()
        longer[i] *= 2
        assert found // 4 <= members(model, *longer) <= found
    assert members(model, shape[0], 10**6, 3000, 1) == 2


@cut_short
@pytest.mark.parametrize(
    ("shape", "n_outputs", "n_members"),
    [
        ((120, 5), 1, 8),
        ((60, 700), 1, 8),
        ((120, 3000), 1, 8),  # wide: trained in the space of 120 components
        ((200, 950), 1, 8),
        ((300, 1400), 1, 8),
        ((400, 3000, 0.01), 1, 8),
        ((400, 3000, 0.1), 1, 4),
        ((2000, 7000, 0.002), 1, 2),
        ((120, 5), 1100, 4),
        ((120, 5), 2100, 2),
    ],
)
def test_auto_is_the_number_that_it_stands_for(shape, n_outputs, n_members):
    X, rng = shaped(*shape), np.random.RandomState(1)
    y = rng.normal(size=(X.shape[0], n_outputs))
    y = y[:, 0] if n_outputs == 1 else y
    auto = TwoLayerRegressor(**BRIEF, max_iter=1).fit(X, y)
    told = TwoLayerRegressor(**BRIEF, max_iter=1, n_members=n_members).fit(X, y)
    assert auto.n_members_ == told.n_members_ == n_members
    assert auto.coefs_[0].shape == (shape[1], 2 * n_members)
    if sparse.issparse(X) and n_members < 8:
        return  # whether it is trained in the space of its rows goes by eight
    for ours, theirs in zip(
        [*auto.coefs_, *auto.intercepts_],
        [*told.coefs_, *told.intercepts_],
        strict=True,
    ):
        assert_array_equal(ours, theirs)


@cut_short
def test_many_classes_have_fewer_members():
    y = np.arange(3300) % 1100
    model = TwoLayerClassifier(**BRIEF, max_iter=1).fit(shaped(3300, 4), y)
    assert model.n_members_ == 4


def long_and_short():
    """Sparse rows that call for four members and, in larger batches, for eight."""
    return shaped(200, 900, 0.9), shaped(3500, 900, 0.9)


@cut_short
@pytest.mark.parametrize("fewer_first", [False, True])
def test_training_continues_with_the_number_of_the_fit(fewer_first):
    X, more = long_and_short()
    y, more_y = (part[:, [0]].toarray().ravel() for part in (X, more))
    first, then = ((X, y), (more, more_y))[:: 1 if fewer_first else -1]
    n_members = 4 if fewer_first else 8
    stream = TwoLayerRegressor(**BRIEF).partial_fit(*first)
    assert stream.n_members_ == n_members
    assert stream.partial_fit(*then).n_members_ == n_members
    assert len(stream.intercepts_[0]) == 2 * n_members
    again = pickle.loads(pickle.dumps(stream)).partial_fit(*first)
    assert again.n_members_ == n_members
    model = TwoLayerRegressor(**BRIEF, max_iter=1, warm_start=True).fit(*first)
    assert model.fit(*then).n_members_ == n_members
    assert model.set_params(warm_start=False).fit(*then).n_members_ == 12 - n_members


@cut_short
@pytest.mark.parametrize("method", ["partial_fit", "warm_start"])
def test_auto_takes_over_the_given_number(method):
    model = TwoLayerRegressor(**BRIEF, max_iter=1, n_members=3).fit(X, TARGETS)
    model.set_params(n_members="auto", warm_start=True)
    train = model.partial_fit if method == "partial_fit" else model.fit
    assert train(X, TARGETS).n_members_ == 3
    model.set_params(n_members=8)
    with pytest.raises(ValueError, match="Training continues from the fitted weights"):
        train(X, TARGETS)
    assert model.n_members_ == 3


def test_n_members_is_an_int_or_auto():
    for wrong in ("eight", 0, 2.5, None):
        with pytest.raises((TypeError, ValueError), match="'n_members' parameter"):
            TwoLayerRegressor(n_members=wrong).fit(X, TARGETS)
