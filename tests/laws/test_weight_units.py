"""The unit of the weights does not matter, and the penalty not to batch lengths."""

import numpy as np
import pytest
from compare import assert_same_training, learned
from numpy.testing import assert_allclose, assert_array_equal
from partitions import fitted as fitted_to_parts
from sklearn.datasets import load_digits
from sklearn.ensemble import AdaBoostClassifier

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._tables.weights import in_rows
from sklearn_bp._training.large_batches import take_step
from sklearn_bp._training.mini_batches import penalizing
from sklearn_bp.optimizers import OPTIMIZERS

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:Got batch_size",
)

RNG = np.random.RandomState(0)
X = 5 + RNG.normal(size=(240, 4))
TARGETS = {
    TwoLayerClassifier: (X[:, 0] + X[:, 1] > 10).astype(int),
    TwoLayerRegressor: X[:, 0] + X[:, 1] ** 2,
}
BOTH = list(TARGETS)
FACTORS = [1 / 240, 1e-6, 7.0, 1e-30, 1e-300, 1e300, 1e-310, 5e-324]
SETTINGS = {
    "defaults": {},
    "as MLP": MLP_DEFAULTS | {"batch_size": 7, "alpha": 0.0},
}
QUICK = {"max_iter": 6, "n_members": 2, "hidden_layer_sizes": 8, "random_state": 0}
SOLVERS = ["sgd", "adam", "adamw", "rmsprop", "lbfgs"]


@pytest.mark.parametrize("n", [30, 240])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", SETTINGS)
def test_equal_weights_are_none(name, make, solver, n):
    """To the last bit, for any common weight."""
    rows, y = X[:n], TARGETS[make][:n]
    settings = SETTINGS[name] | QUICK | {"solver": solver}
    without = make(**settings).fit(rows, y)
    for factor in FACTORS if name == "defaults" else (1.0, 2.0):
        weighted = make(**settings).fit(rows, y, np.full(n, factor))
        assert_same_training(weighted, without)


@pytest.mark.parametrize("make", BOTH)
def test_equal_weights_are_none_where_training_continues(make):
    y = TARGETS[make]
    classes = {"classes": [0, 1]} if make is TwoLayerClassifier else {}
    models = [make(warm_start=True, **QUICK) for _ in range(2)]
    streams = [make(**QUICK) for _ in range(2)]
    for start in range(0, 240, 60):
        s = slice(start, start + 60)
        factor = FACTORS[start // 60]
        for model, w in zip(models, (None, np.full(60, factor)), strict=True):
            model.fit(X[s], y[s], w)
        for model, w in zip(streams, (None, np.full(60, factor)), strict=True):
            model.partial_fit(X[s], y[s], w, **classes)
    assert_same_training(*models)
    assert_same_training(*streams)


def test_class_weights_have_no_unit_either():
    y = TARGETS[TwoLayerClassifier]
    without = TwoLayerClassifier(**QUICK).fit(X, y)
    equal = TwoLayerClassifier(class_weight={0: 1e-9, 1: 1e-9}, **QUICK).fit(X, y)
    assert_same_training(equal, without)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.3, 1: 1.1}])
def test_equal_weights_are_none_beside_class_weights(class_weight):
    y = TARGETS[TwoLayerClassifier] * (X[:, 2] > 4.5)
    options = {"class_weight": class_weight} | QUICK
    without = TwoLayerClassifier(**options).fit(X, y)
    for factor in (0.1, 1 / 3, 1e-200, 5e-324, 1e308):
        weighted = TwoLayerClassifier(**options).fit(X, y, np.full(240, factor))
        assert_same_training(weighted, without)
    drawn = RNG.exponential(size=240)
    plain = TwoLayerClassifier(**options).fit(X, y, drawn)
    for power in (-1000, 1000):
        weighted = TwoLayerClassifier(**options).fit(X, y, drawn * 2.0**power)
        assert_same_training(weighted, plain)


@pytest.mark.parametrize("n", [30, 240])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("make", BOTH)
def test_only_ratios_of_weights_matter(make, solver, n):
    rows, y = X[:n], TARGETS[make][:n]
    for drawn in (RNG.randint(1, 4, n).astype(float), RNG.exponential(size=n)):
        model = make(solver=solver, **QUICK).fit(rows, y, drawn)
        for factor in (2.0**-300, 1 / n, 1e-290, 1e308 / drawn.max()):
            other = make(solver=solver, **QUICK).fit(rows, y, drawn * factor)
            # A power of two changes no bit, but for where weights are summed up.
            for a, b in zip(learned(model), learned(other), strict=True):
                assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_weights_of_rows():
    """Whole numbers in the smallest unit if possible, otherwise of mean 1."""
    for few in (100, np.inf):
        assert_array_equal(in_rows(np.array([0.6, 0.9, 0.0]), few), [2, 3, 0])
        assert_array_equal(in_rows(np.array([3.0, 0, 3]), few), [1, 0, 1])
        assert in_rows(np.full(3, 1e-320), few) is None
    hundredth, less = np.array([0.01, 1.0]), np.array([1 / 101, 1.0])
    assert_array_equal(in_rows(hundredth, np.inf), [1, 100])
    assert_allclose(in_rows(less, np.inf), less / less.mean(), rtol=1e-12)
    two_and_three = np.array([2.0, 3.0])  # are two and three rows of fewer than six
    assert_array_equal(in_rows(two_and_three, 6), [2, 3])
    assert_allclose(in_rows(two_and_three, 5), [0.8, 1.2], rtol=1e-12)
    nearly = np.array([1, 2 + 1e-6])  # as rounding leaves them
    assert_array_equal(in_rows(nearly, 100), [1, 2])
    far = np.array([1, 2 + 4e-6])
    assert_allclose(in_rows(far, 100), far / far.mean(), rtol=1e-12)
    uneven = RNG.exponential(size=50)
    uneven[:10] = 0
    assert_allclose(in_rows(uneven, 100).sum(), 40)
    many = np.append(np.ones(40), 61.0)
    assert_allclose(in_rows(many, 100), many * 41 / 101)
    assert_allclose(in_rows(many, np.inf), many)


def test_a_number_as_penalty_counts_in_weights():
    """Weights of 2 are rows twice: half of the penalty on each."""
    y = TARGETS[TwoLayerRegressor]
    settings = QUICK | {"solver": "lbfgs", "alpha": 3.0}
    half = TwoLayerRegressor(**settings | {"alpha": 1.5}).fit(X, y)
    twice = TwoLayerRegressor(**settings).fit(X, y, np.full(240, 2.0))
    assert_allclose(twice.predict(X), half.predict(X), rtol=1e-6)


@pytest.mark.parametrize("n", [60, 240])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", ["TwoLayerClassifier", "TwoLayerRegressor"])
def test_the_unit_does_not_matter_on_partitions(name, solver, n):
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    make, plain = getattr(dask, name), TARGETS[BOTH[name == "TwoLayerRegressor"]]
    settings, sizes = QUICK | {"solver": solver}, (n // 3, n - n // 3)
    rows, y = X[:n], plain[:n]
    without = fitted_to_parts(make(**settings), rows, y, sizes)
    drawn = RNG.exponential(size=n)
    weighted = fitted_to_parts(make(**settings), rows, y, sizes, drawn)
    for factor in (1e-6, 1e-300, 1e300, 7.0):
        equal = np.full(n, factor)
        assert_same_training(
            fitted_to_parts(make(**settings), rows, y, sizes, equal), without
        )
        other = fitted_to_parts(make(**settings), rows, y, sizes, factor * drawn)
        for a, b in zip(learned(weighted), learned(other), strict=True):
            assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weights_on_partitions_are_those_in_memory(solver, whole):
    """Full batches of few rows, and lbfgs: the same sums."""
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    rows, y = X[:40], TARGETS[TwoLayerRegressor][:40]
    drawn = RNG.randint(1, 4, 40) * 0.3 if whole else RNG.exponential(size=40)
    settings = QUICK | {"solver": solver}
    plain = TwoLayerRegressor(**settings).fit(rows, y, drawn)
    parts = fitted_to_parts(
        dask.TwoLayerRegressor(**settings), rows, y, (15, 25), drawn
    )
    ours = parts.to_local().predict(rows)
    assert_allclose(ours, plain.predict(rows), rtol=1e-5, atol=1e-6)


def test_many_different_weights_are_no_rows_on_partitions_either():
    """In memory, more than 100 different weights never count as numbers of rows."""
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    rows, y = X[:150], TARGETS[TwoLayerRegressor][:150]
    drawn = RNG.permutation(np.arange(1.0, 151))
    settings = QUICK | {"solver": "lbfgs"}
    plain = TwoLayerRegressor(**settings).fit(rows, y, drawn)
    parts = fitted_to_parts(dask.TwoLayerRegressor(**settings), rows, y, (150,), drawn)
    ours = parts.to_local().predict(rows)
    assert_allclose(ours, plain.predict(rows), rtol=1e-5, atol=1e-6)


def test_adaboost():
    """It passes weights of 1 / n, which become more and more uneven."""
    digits, y = load_digits(return_X_y=True)
    network = TwoLayerClassifier(16, n_members=2, max_iter=60, random_state=0)
    boosted = AdaBoostClassifier(network, n_estimators=3, random_state=0)
    train, test = slice(500), slice(500, None)
    alone = network.fit(digits[train], y[train]).score(digits[test], y[test])
    boosted.fit(digits[train], y[train])
    assert boosted.score(digits[test], y[test]) > alone - 0.02 > 0.85


# The length of batches.


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", "adamw"])
@pytest.mark.parametrize("n", [97, 65])
def test_a_short_batch_does_not_carry_the_penalty_of_all(solver, n):
    """Accuracy does not depend on the length of the last batch."""
    rng = np.random.RandomState(1)
    rows = 5 + rng.normal(size=(n + 1000, 5))
    y = rows[:, 0] + rows[:, 1] > 10
    rate = {"learning_rate_init": 0.01} if solver == "sgd" else {}
    scores = []
    for batch_size in ("full", 32, 8):
        model = TwoLayerClassifier(
            batch_size=batch_size,
            solver=solver,
            n_members=2,
            max_iter=100,
            random_state=0,
            **rate,
        )
        scores.append(model.fit(rows[:n], y[:n]).score(rows[n:], y[n:]))
    assert min(scores[1:]) > scores[0] - 0.05
    assert min(scores[1:]) > 0.85


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "adamw"])
def test_steps_on_any_number_of_rows_have_the_same_penalty(name):
    """That of batches of 90 rows, to which their gradients are scaled."""
    rng = np.random.RandomState(0)
    flat = rng.normal(size=Layout(2, 3, 1).size)
    mean_gradient, found = rng.normal(size=flat.size), []
    for n_rows in (90, 1, 32, 200):
        parameters = Parameters(flat.copy(), (2, 3, 1))
        bound = penalizing(OPTIMIZERS[name]().bind(parameters, 5.0), 90)
        norms = 0.0
        for _ in range(3):
            take_step_norm = take_step(bound, n_rows * mean_gradient, n_rows, rate=0.01)
            norms += take_step_norm / n_rows
        found.append([*parameters.flat, norms])
    assert_allclose(found[1:], [found[0]] * 3, rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_value_of_auto_does_the_same(solver):
    """`alpha_`, given as a number, where all batches are full."""
    y = TARGETS[TwoLayerRegressor][:64]
    settings = QUICK | {"solver": solver, "batch_size": 16}
    auto = TwoLayerRegressor(**settings).fit(X[:64], y)
    given = TwoLayerRegressor(**settings | {"alpha": auto.alpha_}).fit(X[:64], y)
    assert auto.alpha_ == 16 / 64
    assert_same_training(auto, given)
