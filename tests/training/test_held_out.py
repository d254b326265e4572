"""Rows held out in turn: folds, stopping, and the temperature."""

import pickle
from dataclasses import dataclass, field

import kinds
import numpy as np
import pytest
from compare import outputs
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss, r2_score

from sklearn_bp import MLP_DEFAULTS
from sklearn_bp._fitting import rows as rows_room
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._training import held_out as held_out_room
from sklearn_bp._training import mini_batches
from sklearn_bp._training.held_out import (
    LARGEST_TEMPERATURE,
    SMALLEST_TEMPERATURE,
    HeldOut,
    draw_folds,
    spawn,
)
from sklearn_bp._training.held_out import _ValidationRows as ValidationRows
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Measured, Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import he_normal
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.optimizers import SGD, Adam
from sklearn_bp.schedules import Constant

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

# Every parameter: no test here depends on a default.
SETTINGS = MLP_DEFAULTS | {
    "hidden_layer_sizes": 8,
    "solver": "adam",
    "batch_size": "by_rows",
    "learning_rate_init": 0.01,
    "max_iter": 10,
    "init": "he_normal",
    "random_state": 0,
    "early_stopping": "auto",
    "early_stopping_metric": "loss",
    "n_iter_no_change": np.inf,
    "standardize": True,
    "n_members": 3,
    "average": True,
    "categorical_features": "from_dtype",
}

RNG = np.random.RandomState(0)
N = 150
X = RNG.normal(size=(N, 4))
SIGNAL = X[:, 0] + X[:, 1] ** 2 + RNG.normal(size=N)
WEIGHTS = RNG.uniform(0.2, 3, size=N)
TARGETS = {
    "binary": (SIGNAL > 0.7).astype(int),
    "multiclass": np.digitize(SIGNAL, [0, 0.8, 1.5]),
    "multilabel": np.column_stack([SIGNAL > 0.7, X[:, 2] > 0, X[:, 3] > 1]).astype(int),
    "regression": np.column_stack([SIGNAL, X[:, 2] ** 2]),
}
CLASSES = ("binary", "multiclass", "multilabel")
over_kinds = pytest.mark.parametrize("kind", TARGETS)
over_classes = pytest.mark.parametrize("kind", CLASSES)


def make(kind, **options):
    return kinds.make(kind, **SETTINGS | options)


@dataclass
class Watched:
    """The inner events of a fit."""

    starts: list = field(default_factory=list)
    orders: list = field(default_factory=list)
    held_out: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    results: list = field(default_factory=list)


@pytest.fixture
def watched(monkeypatch):
    """Starting weights, orders of rows, held-out rows, their scores, results."""
    watched = Watched()
    draw, next_order = Parameters.draw, mini_batches.next_order

    def watch_draw(*args):
        parameters = draw(*args)
        watched.starts.append(parameters.flat.copy())
        return parameters

    def watch_order(*args):
        order = next_order(*args)
        watched.orders.append(order.copy())
        return order

    class WatchedHeldOut(HeldOut):
        def __init__(self, *args):
            super().__init__(*args)
            watched.held_out.append(self)

        def __call__(self, parameters):
            watched.seen.append(parameters.copy())
            return super().__call__(parameters)

    train = MiniBatches.train

    def watch_train(self, *args):
        result = train(self, *args)
        watched.results.append(result)
        return result

    monkeypatch.setattr(Parameters, "draw", watch_draw)
    monkeypatch.setattr(mini_batches, "next_order", watch_order)
    monkeypatch.setattr(rows_room, "HeldOut", WatchedHeldOut)
    monkeypatch.setattr(MiniBatches, "train", watch_train)
    return watched


# The rows held out from each member.


@pytest.mark.parametrize("n_members", [2, 3, 4, 7])
def test_folds_are_even(n_members):
    """Each row in one; over all rows, and of each class, their numbers differ by one
    at most.
    """
    strata = np.digitize(SIGNAL, [-1, 0, 0.8, 3])
    folds = draw_folds(strata, n_members, np.random.RandomState(3))
    assert folds.shape == (N,)
    for group in [np.ones(N, bool), *(strata == s for s in range(5))]:
        counts = np.bincount(folds[group], minlength=n_members)
        assert len(counts) == n_members
        assert counts.max() - counts.min() <= 1


def test_folds_are_drawn_from_the_seed():
    strata = np.zeros(N)
    draws = [draw_folds(strata, 3, np.random.RandomState(s)) for s in (0, 0, 1)]
    assert_array_equal(draws[0], draws[1])
    assert 0.2 < np.mean(draws[0] == draws[2]) < 0.47
    # Not by the rows' place: neighbours are no more often together than others.
    assert 0.2 < np.mean(draws[0][1:] == draws[0][:-1]) < 0.47


def test_spawning_draws_nothing():
    one, other = np.random.RandomState(5), np.random.RandomState(5)
    numbers = spawn(one).uniform(size=4)
    assert_array_equal(numbers, spawn(other).uniform(size=4))
    assert_array_equal(one.uniform(size=9), other.uniform(size=9))
    assert not np.isin(numbers, np.random.RandomState(5).uniform(size=1000)).any()
    assert not np.isin(numbers, spawn(one).uniform(size=1000)).any()


@pytest.mark.parametrize("n_members", [1, 3])
@over_kinds
def test_holding_out_changes_no_other_random_number(kind, n_members, watched):
    """Starting weights, and with several members the orders of rows, are the same."""
    for early_stopping in ("auto", False):
        make(kind, early_stopping=early_stopping, n_members=n_members, max_iter=3).fit(
            X, TARGETS[kind]
        )
    assert len(watched.held_out) == 1
    starts, orders = watched.starts, watched.orders
    assert_array_equal(starts[0], starts[1])
    if n_members == 3:
        for j in range(3):
            assert_array_equal(orders[j], orders[j + 3])
    else:  # of fewer rows: the first draw of the same stream
        random_state = np.random.RandomState(0)
        k = {"multiclass": 4, "multilabel": 3, "regression": 2}.get(kind, 1)
        he_normal(random_state, 4, 8, 6.0)
        he_normal(random_state, 8, k, 6.0)
        expected = np.arange(135)
        random_state.shuffle(expected)
        assert_array_equal(orders[0], expected)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@over_kinds
def test_members_learn_nothing_of_their_own_rows(
    kind, solver, average, convert, watched, monkeypatch
):
    """The same weights bit for bit for any content of these rows; others change.

    Unscaled, since of the scaling's statistics all rows have their share.
    """
    folds = np.arange(N) % 3
    monkeypatch.setattr(rows_room, "draw_folds", lambda *args: folds)
    other_X, other_Y = X.copy(), TARGETS[kind].copy()
    rows = folds == 1
    other_X[rows] = other_X[rows][::-1] * 3 - 1
    other_Y[rows] = other_Y[rows][::-1]
    options = {"solver": solver, "average": average, "standardize": False}
    for features, y in ((X, TARGETS[kind]), (other_X, other_Y)):
        make(kind, **options).fit(convert(features), y)
    assert_array_equal(watched.held_out[0].rows[1], np.flatnonzero(rows))
    before, after = (result.state.kept.members() for result in watched.results)
    for j in range(3):
        for ours, theirs in zip(before[j][:4], after[j][:4], strict=True):
            assert np.array_equal(ours, theirs) == (j == 1)


@over_classes
def test_members_do_not_learn_the_labels_of_their_held_out_rows(
    kind, watched, monkeypatch
):
    """Scaled, too: labels change places, so that the share of each class stays."""
    folds = np.arange(N) % 3
    monkeypatch.setattr(rows_room, "draw_folds", lambda *args: folds)
    other = TARGETS[kind].copy()
    other[folds == 1] = other[folds == 1][::-1]
    for y in (TARGETS[kind], other):
        make(kind).fit(X, y)
    before, after = (result.state.kept.members() for result in watched.results)
    for j in range(3):
        for ours, theirs in zip(before[j][:4], after[j][:4], strict=True):
            assert np.array_equal(ours, theirs) == (j == 1)


# What is measured on them.


def plain_scores(parameters, held_out, X):
    """Member by member, in float64."""
    rows_of = held_out.rows
    z = []
    for (W1, b1, W2, b2, _), rows in zip(parameters.members(), rows_of, strict=True):
        x = X[rows].astype(np.float64)
        a1 = np.maximum(x @ W1.astype(np.float64) + b1, 0)
        z.append(a1 @ W2.astype(np.float64) + b2)
    return np.concatenate(z)


def plain_loss(kind, z, Y):
    """Of each row, for targets as the network has them."""
    if kind == "regression":
        return ((z - Y) ** 2).mean(axis=1) / 2
    if kind == "multiclass":
        return -(log_softmax(z, axis=1) * Y).sum(axis=1)
    return (np.logaddexp(0, z) - Y * z).sum(axis=1)


def least_loss(kind, z, Y, weights=None):
    """Over the temperatures within the bounds: the mean loss, and the temperature."""

    def at(log_temperature):
        values = plain_loss(kind, z / np.exp(log_temperature), Y)
        return np.average(values, weights=weights)

    bounds = np.log([SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE])
    found = minimize_scalar(at, bounds=bounds, method="bounded")
    return found.fun, np.exp(found.x)


def encoded(kind, y):
    if kind == "binary":
        return y[:, np.newaxis]
    return np.eye(4)[y] if kind == "multiclass" else y


def decided(kind, z, targets):
    """Predictions from scores, in the form of `encoded` targets."""
    if kind == "regression":  # they stay near the range of the targets
        margin = 0.05 * np.ptp(targets, axis=0)
        return np.clip(z, targets.min(axis=0) - margin, targets.max(axis=0) + margin)
    if kind == "multiclass":
        return np.eye(4)[np.argmax(z, axis=1)]
    return (z > 0).astype(int)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@over_kinds
def test_validation_loss_and_score(kind, weighted, n_members, watched):
    """Pooled over the members, with the weights of the rows.

    The loss is at the best temperature, and in the units of training.
    """
    weights = WEIGHTS if weighted else None
    y = TARGETS[kind]
    model = make(kind, n_members=n_members).fit(X, y, weights)
    held_out = watched.held_out[0]
    scaled = model._fitted.inputs.scaling(X)
    targets = encoded(kind, y)
    if kind == "regression":
        spread = np.sqrt(np.average((y - np.average(y, 0, weights)) ** 2, 0, weights))
        targets = (y - np.average(y, 0, weights)) / spread
    pooled = np.concatenate(held_out.rows)
    assert len(pooled) == len(set(pooled)) == (N if n_members == 3 else 15)
    w = None if weights is None else weights[pooled]
    curve, scores = [], []
    for parameters in watched.seen[:10]:
        z = plain_scores(parameters, held_out, scaled)
        measure = r2_score if kind == "regression" else accuracy_score
        predicted = decided(kind, z, targets)
        scores.append(measure(targets[pooled], predicted, sample_weight=w))
        if kind == "regression":
            curve.append(np.average(plain_loss(kind, z, targets[pooled]), weights=w))
        else:
            curve.append(least_loss(kind, z, targets[pooled], w)[0])
    assert len(model.validation_loss_curve_) == 10
    # float32 has seven digits; the loss is flat where it is least, and a temperature
    # within 2 % of 1 is 1
    assert_allclose(model.validation_loss_curve_, curve, rtol=1e-4)
    assert_allclose(model.validation_scores_, scores, rtol=1e-4, atol=1e-5)
    assert model.best_loss_ is None


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("n_members", [1, 3])
@over_kinds
def test_the_best_epoch_is_kept(kind, n_members, average, watched):
    """The best epoch is far from the last one here; its weights absorb T."""
    options = {"learning_rate_init": 0.05, "max_iter": 60, "hidden_layer_sizes": 20}
    options |= {"n_members": n_members, "average": average}
    model = make(kind, **options).fit(X, TARGETS[kind])
    curve = model.validation_loss_curve_
    assert model.n_iter_ == len(curve) == 60
    assert model.best_iter_ == np.argmin(curve) + 1 < 60
    held_out, kept = watched.held_out[0], watched.results[0].parameters
    assert_array_equal(kept.flat, watched.seen[model.best_iter_ - 1].flat)
    assert_allclose(held_out(kept).loss, min(curve), rtol=1e-10)
    # The public weights are the members' mean, divided by the temperature.
    z = np.mean(
        [
            np.maximum(model._fitted.inputs.scaling(X) @ W1 + b1, 0) @ W2 + b2
            for W1, b1, W2, b2, _ in kept.astype(np.float64).members()
        ],
        axis=0,
    )
    if kind == "regression":
        assert not hasattr(model, "temperature_")
        y = TARGETS[kind]
        ours, z = model.predict(X), z * y.std(axis=0) + y.mean(axis=0)
    else:
        assert model.temperature_ == held_out.temperature(kept) != 1
        ours = model.decision_function(X).reshape(N, -1)
        z = z / model.temperature_
    assert_allclose(ours, z, rtol=1e-5, atol=1e-5)


def test_patience_counts_on_the_held_out_rows():
    """More than n_iter_no_change epochs without an improvement of tol, in units of the
    loss of the best constant.
    """
    y, tol = TARGETS["binary"], 1e-3
    options = {"learning_rate_init": 0.05, "max_iter": 100, "tol": tol}
    model = make("binary", **options, n_iter_no_change=4).fit(X, y)
    unit = log_loss(y, np.full(N, y.mean()))
    curve = np.array(model.validation_loss_curve_)
    best, count, stops = np.inf, 0, None
    for epoch, loss in enumerate(curve, 1):
        count = 0 if loss <= best - tol * unit else count + 1
        best = min(best, loss)
        if count > 4 and stops is None:
            stops = epoch
    assert stops == model.n_iter_ == len(curve) < 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [(40,), (7, 6, 5), (1, 9)])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_scores_of_few_rows_are_those_of_many(
    monkeypatch, activation, skip, lengths, dtype
):
    """Few rows are scored in one stacked product, for any lengths."""
    rng = np.random.RandomState(0)
    rows = np.split(rng.permutation(N)[: sum(lengths)], np.cumsum(lengths)[:-1])
    network = TwoLayerNetwork(
        ACTIVATIONS[activation], REGRESSOR_LOSSES["squared_error"]
    )
    features = rng.normal(size=(N, 4)).astype(dtype)
    layout = Layout(4, 5, 2, len(rows), skip)

    def scores(weights):
        parameters = Parameters(weights.astype(dtype), layout)
        return held_out.scores(parameters)

    both = rng.normal(size=(2, layout.size))
    data = Data(features, np.zeros((N, 2)), None, 0.0)
    held_out = HeldOut(network, data, rows)
    at_once = [scores(weights) for weights in both]
    monkeypatch.setattr("sklearn_bp._training.held_out.BLOCK_BYTES", 0)
    held_out = HeldOut(network, data, rows)
    one_by_one = [scores(weights) for weights in both]
    assert_allclose(at_once, one_by_one, rtol=1e-4 if dtype == np.float32 else 1e-12)


# The temperature.


def held_out_of(kind, sample_weight=None, repeats=None, factor=1.0, dtype=np.float64):
    """A HeldOut of 3 members on noisy labels, and parameters, scores times `factor`."""
    loss = (
        REGRESSOR_LOSSES["squared_error"]
        if kind == "regression"
        else CLASSIFIER_LOSSES["log_loss"][kind == "multiclass"]
    )
    Y = encoded(kind, TARGETS[kind])
    k = Y.shape[1]
    network = TwoLayerNetwork(ACTIVATIONS["relu"], loss)
    rng = np.random.RandomState(1)
    parameters = Parameters.draw((4, 30, k, 3), dtype, he_normal, rng, 6.0)
    for W1, _, W2, b2, _ in parameters.members():
        # Output weights that have learned something.
        a1 = np.maximum(X @ W1, 0)
        W2[...] = np.linalg.lstsq(a1, Y - Y.mean(axis=0), rcond=None)[0] * factor
        b2[...] = 0
    folds, features = np.arange(N) % 3, X
    if repeats is not None:
        folds, features, Y = (np.repeat(a, repeats, axis=0) for a in (folds, X, Y))
    rows = [np.flatnonzero(folds == j) for j in range(3)]
    held_out = HeldOut(
        network, Data(features.astype(dtype), Y, sample_weight, 0.0), rows
    )
    z = plain_scores(parameters, held_out, features.astype(dtype))
    return held_out, parameters, z, Y[np.concatenate(rows)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("factor", [1, 5, 60])
@over_classes
def test_temperature_has_the_least_loss(kind, factor, weighted, dtype):
    """To 1 %: there the loss is flat, so that it is right to 2e-5."""
    held_out, parameters, z, Y = held_out_of(
        kind, WEIGHTS if weighted else None, factor=factor, dtype=dtype
    )
    w = None
    if weighted:
        w = WEIGHTS[np.concatenate(held_out.rows)]
    least, temperature = least_loss(kind, z, Y, w)
    assert temperature < LARGEST_TEMPERATURE / 1.3
    ours = held_out.temperature(parameters)
    assert_allclose(ours, temperature, rtol=0.011)
    assert_allclose(held_out(parameters).loss, least, rtol=1e-4)
    at = np.average(plain_loss(kind, z / ours, Y), weights=w)
    assert_allclose(at, least, rtol=2e-5)
    if ours < 1.011 * SMALLEST_TEMPERATURE:
        return  # the least loss within the bounds is at one of them
    # The slope with respect to 1 / T changes its sign within that 1 %.
    slopes = []
    for t in (ours * 0.989, ours * 1.011):
        p = expit(z / t) if kind != "multiclass" else np.exp(log_softmax(z / t, axis=1))
        slopes.append(np.average(((p - Y) * z).sum(axis=1), weights=w))
    assert slopes[0] > 0 > slopes[1]


@over_classes
def test_temperature_is_bounded(kind):
    """It would be 0 if all predictions were right, and infinite if all were wrong.

    Bounded below so that a few rows, all of them right, do not make it too sure.
    """
    for sign, bound in ((1, 0.7), (-1, 20.0)):
        held_out, parameters, z, _ = held_out_of(kind)
        if kind == "multiclass":
            held_out._Y = np.eye(4)[(sign * z).argmax(axis=1)]
        else:
            held_out._Y = sign * z > 0
        assert_allclose(held_out.temperature(parameters), bound, rtol=1e-12)


@pytest.mark.parametrize("engine", ["auto", "python"])
@over_classes
def test_held_out_rows_can_be_pickled_once_measured(kind, engine, monkeypatch):
    """They move from worker to worker, as partitions do."""
    monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
    held_out, parameters, _, _ = held_out_of(kind)
    here = held_out(parameters)
    there = pickle.loads(pickle.dumps(held_out))(parameters)
    assert there.loss == here.loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("temperature", [0.8, 0.96, 0.995, 1.005, 1.04, 3.0])
def test_a_temperature_near_1_is_1(temperature, weighted):
    """It is found to 1 %, so a value closer to 1 than that may be worse than 1."""
    z = np.random.default_rng(0).normal(0, 3, size=(500, 1))
    weights = np.linspace(0.1, 2, 500) if weighted else None
    Y = expit(z / temperature)  # as sure as scores over this temperature are
    loss = CLASSIFIER_LOSSES["log_loss"][False]
    found = ValidationRows(loss, Y, weights, None, True)._temperature_of(z)
    if abs(temperature - 1) < 0.01:
        assert found == 1
    else:
        assert found != 1
        assert_allclose(found, temperature, rtol=0.011)


@pytest.mark.parametrize("side", [1, -1])
def test_temperatures_within_2_percent_of_1_are_1(side, monkeypatch):
    """Whatever the slope: a temperature found this close to 1 does not count."""
    for distance in (0.0, 0.0199, 0.0201, 0.1):
        root = np.exp(side * distance)
        monkeypatch.setattr(held_out_room, "_root", lambda *_, x=root: x)
        expected = 1.0 if distance < 0.02 else 1 / root
        assert held_out_room._temperature(None) == expected


def test_only_log_losses_have_a_temperature():
    held_out, parameters, z, Y = held_out_of("regression", factor=30)
    assert held_out.temperature(parameters) == 1
    assert_allclose(held_out(parameters).loss, plain_loss("regression", z, Y).mean())
    model = make("binary", loss="squared_error").fit(X, TARGETS["binary"])
    assert model.temperature_ == 1
    assert len(model.validation_loss_curve_) == 10


@over_kinds
def test_integer_weights_are_repeated_rows_of_the_same_fold(kind):
    counts = RNG.randint(0, 4, N)
    weighted, parameters, *_ = held_out_of(kind, 2.5 * counts, factor=3)
    repeated, *_ = held_out_of(kind, repeats=counts, factor=3)
    assert_allclose(weighted(parameters), repeated(parameters), rtol=1e-12)
    assert_allclose(
        weighted.temperature(parameters), repeated.temperature(parameters), rtol=1e-9
    )


# The moving average.


@dataclass(frozen=True)
class Recording:
    """An optimizer that lists the weights after each step."""

    optimizer: object
    steps: list
    scheduled = False

    def bind(self, parameters, alpha=0.0, state=None):
        bound = self.optimizer.bind(parameters, alpha, state)
        finish_step = bound.finish

        def finish(n_rows, rate):
            squared_norm = finish_step(n_rows, rate)
            self.steps.append(parameters.flat.copy())
            return squared_norm

        return bound._replace(finish=finish)


@pytest.mark.parametrize("n_calls", [1, 3])
@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 60])
def test_average(batch_size, optimizer, n_calls):
    """A plain moving average of 32 steps or fewer; it is validated, and kept."""
    n, n_epochs = 60, 6
    network = TwoLayerNetwork(ACTIVATIONS["relu"], REGRESSOR_LOSSES["squared_error"])
    rng = np.random.RandomState(0)
    parameters = Parameters.draw((4, 5, 2, 2), np.float64, he_normal, rng, 6.0)
    steps, seen = [], []

    def validate(parameters):
        seen.append(parameters.flat.copy())
        return Measured(loss=-float(len(seen)), score=0.0)

    solver = MiniBatches(
        Recording(optimizer, steps), Constant(0.05), batch_size, True, average=2
    )
    data = Data.weighted(X[:n], TARGETS["regression"][:n], None, alpha=0.1)
    state = TrainingState(parameters.copy(), Patience(0, np.inf), rng)
    for _ in range(n_calls):
        plan = Plan(
            n_epochs // n_calls,
            -np.inf,
            validate,
            cost=lambda measured: measured.loss,
        )
        result = solver.train(network, data, state, plan)
        state = result.state

    steps_per_epoch = -(-n // batch_size)
    within = 2 * steps_per_epoch  # the time constant, in steps
    every = max(1, within // 32)
    assert len(steps) == n_epochs * steps_per_epoch
    mean, expected = parameters.flat.copy(), []
    for t, weights in enumerate(steps, 1):
        if t % every == 0:
            taken = t // every
            decay = min(np.exp(-every / within), taken / (taken + 3))
            mean = decay * mean + (1 - decay) * weights
        if t % steps_per_epoch == 0:
            expected.append(mean)
    assert_allclose(seen, expected, rtol=1e-10, atol=1e-13)
    assert_allclose(result.parameters.flat, expected[-1], rtol=1e-10, atol=1e-13)
    assert_allclose(state.parameters.flat, steps[-1], rtol=0)
    # The views are those of the vector.
    assert_array_equal(
        state.kept.W2.ravel(), state.kept.penalized[-state.kept.W2.size :]
    )


@over_kinds
def test_the_average_is_fitted(kind, watched):
    """It moves no step of training; without held-out rows the last one is kept."""
    last = {}
    for average in (True, False):
        model = make(kind, average=average, early_stopping=False)
        model.fit(X, TARGETS[kind])
        last[average] = watched.results[-1]
    assert_array_equal(last[True].state.parameters.flat, last[False].parameters.flat)
    assert_array_equal(last[True].state.average.flat, last[True].parameters.flat)
    assert last[False].state.average is None
    assert last[True].state.loss_curve == last[False].state.loss_curve


# Where nothing is held out.


@pytest.mark.parametrize("n_members", [1, 3])
@over_kinds
def test_few_rows_hold_nothing_out(kind, n_members):
    y = TARGETS[kind]
    options = {"n_members": n_members, "max_iter": 2}
    for n, held_out in ((99, False), (100, True)):
        model = make(kind, **options).fit(X[:n], y[:n])
        assert (model.validation_loss_curve_ is not None) == held_out
        weights = np.zeros(N)
        weights[20 : 20 + n] = 1
        model = make(kind, **options).fit(X, y, weights)
        assert (model.validation_loss_curve_ is not None) == held_out
    model = make(kind, **options | {"solver": "lbfgs"}).fit(X, y)
    assert model.validation_loss_curve_ is model.validation_scores_ is None
    classes = {} if kind == "regression" else {"classes": np.unique(y)}
    if kind == "multilabel":
        classes = {"classes": np.arange(3)}
    model = make(kind, **options).partial_fit(X, y, **classes)
    assert model.validation_loss_curve_ is model.validation_scores_ is None
    model = make(kind, **options, early_stopping=False).fit(X, y)
    assert model.validation_loss_curve_ is model.validation_scores_ is None
    assert getattr(model, "temperature_", 1) == 1
    assert model.best_iter_ == model.n_iter_ == 2


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
@over_kinds
def test_one_network_holds_a_fraction_out(kind, fraction, watched):
    """It learns nothing from these rows."""
    y = TARGETS[kind]
    make(kind, n_members=1, validation_fraction=fraction).fit(X, y)
    (rows,) = watched.held_out[0].rows
    assert len(rows) == len(set(rows)) == round(fraction * N)
    lone = make(kind, n_members=1, early_stopping=False, standardize=False)
    assert lone.fit(X, y).validation_loss_curve_ is None
    # the order of those that are learned
    assert len(watched.orders[0]) == N - len(rows)


# Classes that are rare.


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("n_rare", [1, 2, 3])
@pytest.mark.parametrize("others", [1, 2, 5])
def test_rare_classes(others, n_rare, n_members, watched):
    """All count as classes; with several members all are learned by most of them."""
    y = np.digitize(X[:, 0], np.linspace(-1, 1, others - 1)) if others > 1 else X[:, 0]
    y = np.zeros(N, int) if others == 1 else y
    y[70 : 70 + n_rare] = 9
    model = make("multiclass", n_members=n_members).fit(X, y)
    assert_array_equal(model.classes_, np.unique(y))
    p = model.predict_proba(X)
    assert p.shape == (N, others + 1)
    assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert np.isfinite(model.validation_loss_curve_).all()
    assert 1 / LARGEST_TEMPERATURE <= model.temperature_ <= LARGEST_TEMPERATURE
    if n_members == 3:
        rows = watched.held_out[0].rows
        most = max(np.isin(part, np.arange(70, 70 + n_rare)).sum() for part in rows)
        assert most == 1


@pytest.mark.parametrize("n_members", [1, 3])
def test_half_as_many_classes_as_rows(n_members):
    model = make("multiclass", n_members=n_members).fit(X, np.arange(N) // 2)
    assert model.predict_proba(X).shape == (N, N // 2)
    assert np.isfinite(model.validation_loss_curve_).all()


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_single_class(n_members):
    model = make("multiclass", n_members=n_members).fit(X, np.full(N, "a"))
    assert_array_equal(model.predict_proba(X), np.ones((N, 1)))
    assert_array_equal(model.predict(X), np.full(N, "a"))
    assert_allclose(model.validation_loss_curve_, 0, atol=1e-7)
    indicator = np.zeros((N, 2), int)  # no label ever
    p = make("multilabel", n_members=n_members).fit(X, indicator).predict_proba(X)
    assert (p < 0.02).all()


@pytest.mark.parametrize("n_nonzero", [1, 3, 99, 100, 120])
@pytest.mark.parametrize("n_members", [1, 3])
@over_kinds
def test_most_rows_without_weight(kind, n_members, n_nonzero):
    """Their content, except for labels, changes nothing."""
    weights = np.zeros(N)
    rows = np.random.RandomState(1).permutation(N)[:n_nonzero]
    weights[rows] = WEIGHTS[rows]
    models = [
        make(kind, n_members=n_members).fit(features, TARGETS[kind], weights)
        for features in (X, np.where(weights[:, np.newaxis] > 0, X, 1e6))
    ]
    p, q = (outputs(model, X) for model in models)
    assert np.isfinite(p).all()
    assert_allclose(p, q, rtol=1e-5, atol=1e-6)
    curves = [model.validation_loss_curve_ for model in models]
    if n_nonzero < 100:
        assert curves == [None, None]
    else:
        assert_allclose(curves[0], curves[1], rtol=1e-5)


def test_more_members_than_can_be():
    """A member may hold out a single row, or none."""
    for n_members in (75, N + 1):
        model = make("binary", n_members=n_members, hidden_layer_sizes=1, max_iter=2)
        model.fit(X, TARGETS["binary"])
        assert np.isfinite(model.validation_loss_curve_).all()
        assert model.coefs_[0].shape == (4, n_members)


@pytest.mark.parametrize("weighted", [False, True])
def test_of_many_scores_some_determine_the_temperature(weighted, monkeypatch):
    rng = np.random.default_rng(0)
    n, k = 8000, 5
    Y = np.eye(k, dtype=bool)[rng.integers(0, k, n)]
    z = 3 * (rng.normal(size=(n, k)) + 1.5 * Y)
    weights = rng.uniform(0.5, 2, n) if weighted else None
    loss = CLASSIFIER_LOSSES["log_loss"][True]
    rows = ValidationRows(loss, Y, weights, None, True)
    monkeypatch.setattr(held_out_room, "TEMPERATURE_SIZE", z.size // 4)
    found = rows._temperature_of(z)
    least, best = least_loss("multiclass", z, Y, weights)
    assert_allclose(found, best, rtol=0.1)
    values = plain_loss("multiclass", z / found, Y)
    assert_allclose(np.average(values, weights=weights), least, rtol=0.005)
