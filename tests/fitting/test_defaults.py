"""The values of "auto", as the docstrings and docs/defaults.md describe them."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from compare import assert_same_weights
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import PiecewiseLinear, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.defaults import (
    members,
    rows_per_batch,
    rows_per_round,
    rows_per_short_batch,
    share_that_counts,
    stream_clip_norm,
)
from sklearn_bp._fitting.recipe import Recipe
from sklearn_bp._fitting.start import fresh_state
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES


@pytest.mark.parametrize(
    ("rule", "per", "least", "most"),
    [
        (rows_per_batch, 67, 32, 256),
        (rows_per_short_batch, 134, 32, 128),
        (rows_per_round, 67, 256, 8192),
    ],
)
def test_batches_are_the_power_of_two_nearest_to_a_share(rule, per, least, most):
    powers = 2.0 ** np.arange(20)
    powers = powers[(least <= powers) & (powers <= most)]
    rng = np.random.default_rng(0)
    for n in np.exp(rng.uniform(np.log(100), np.log(1e7), 500)).astype(int):
        nearest = powers[np.argmin(np.abs(np.log(powers * per / n)))]
        assert rule(int(n)) == nearest
    for power in powers[:-1]:  # where one power of two gives way to the next
        middle = int(per * power * np.sqrt(2))
        assert (rule(middle), rule(middle + 1)) == (power, 2 * power)


def many(n):
    return 0.1 * (100 / n) ** 1.5


def of_regressions(n):
    """The factor on the rate of a regression that holds rows out."""
    return 3.0 if n < 300 else 2.0 if n < 3000 else 1.5


# (rows, columns): penalty, rows per batch, rate of a classifier, epochs, its patience
RECIPE = {
    (99, 40): (1, 99, 0.01 * np.sqrt(10 / 40), 200, 300),
    (100, 5): (0.1, 32, 0.01, 400, 25),
    (299, 40): (many(299), 32, 0.005, 400, 10),
    (300, 40): (many(300), 32, 0.005, 400, 15),
    (500, 128): (many(500), 32, 0.01 * np.sqrt(10 / 128), 400, 10),
    (1500, 40): (many(1500), 32, 0.005, 400, 5),
    (3031, 40): (many(3031), 32, 0.005, 400, 5),
    (6064, 10): (many(6064), 32, 0.01, 400, 5),
    (6065, 11): (many(6065), 64, 0.01 * np.sqrt(10 / 11), 400, 5),
    # wide data
    (50, 300): (0.3, 50, 0.03, 60, 80),
    (110, 600): (many(110), 32, 0.03, 400, 20),
    (450, 2300): (many(450), 32, 0.03 * np.sqrt(400 / 450), 400, 8),
}
PATIENCE_OF_REGRESSIONS = {(300, 40): 30, (500, 128): 19, (1500, 40): 7}


@pytest.mark.parametrize("shape", RECIPE, ids=str)
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_the_recipe_of_a_fit(make, shape):
    X = np.random.default_rng(0).normal(size=shape)
    # One epoch is enough: it leaves the loss below this.
    model = make(2, n_members=2, loss_threshold=1e9, random_state=0)
    model.fit(X, X[:, 0] > 0)
    assert (model.n_iter_, model.n_members_) == (1, 2)
    found = (
        model.alpha_,
        model.batch_size_,
        model.learning_rate_init_,
        model.max_iter_,
        model.n_iter_no_change_,
    )
    n_rows, n_columns = shape
    factor = 1.0
    if make is TwoLayerRegressor and n_rows >= 100 and n_columns < 300:
        factor = of_regressions(n_rows)
    expected = np.array(RECIPE[shape]) * [1, 1, factor, 1, 1]
    if make is TwoLayerRegressor:
        expected[-1] = PATIENCE_OF_REGRESSIONS.get(shape, expected[-1])
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize(
    ("n_rows", "options", "n_members"),
    [
        (2999, {}, 8),
        (3000, {}, 4),
        (3000, {"solver": "sgd"}, 8),
        (3000, {"n_members": 5}, 5),
        (3000, {"early_stopping": False}, 8),
    ],
)
def test_four_members_are_enough_for_many_rows(make, n_rows, options, n_members):
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    model = make(2, loss_threshold=1e9, **options).fit(X, X[:, 0] > 0)
    assert model.n_members_ == n_members


def test_members_follow_the_cost_of_a_row():
    """Up to 1,024 there are eight, up to 1,536 four, and beyond that two."""
    recipe = Recipe.of(TwoLayerClassifier())
    of_outputs = {1: 8, 1024: 8, 1025: 4, 1536: 4, 1537: 2, 10**5: 2}
    for n_outputs, n_members in of_outputs.items():
        assert members(recipe, 1000, 10, 10, n_outputs) == n_members
    # A sparse row costs its stored numbers, and eight times the columns per batch row.
    assert members(recipe, 1000, 3200, 1024 - 1 - 8 * 3200 // 32, 1) == 8
    assert members(recipe, 1000, 3200, 1025 - 1 - 8 * 3200 // 32, 1) == 4


# (rows, columns): epochs of a classifier and of a regressor
EPOCHS_OF_MANY = {
    (500, 129): (round(1000 / np.sqrt(129)), round(500 / np.sqrt(129))),
    (500, 1024): (31, 16),
    (500, 2048): (16, 10),  # 10 epochs of 16 steps
    (101, 200): (71, 40),  # 40 epochs of 4 steps
    (120, 599): (41, 40),
}


@pytest.mark.parametrize("shape", EPOCHS_OF_MANY, ids=str)
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_the_recipe_of_many_columns(make, shape):
    X = np.random.default_rng(0).normal(size=shape)
    model = make(2, n_members=2, loss_threshold=1e9, random_state=0)
    model.fit(X, X[:, 0] > 0)
    found = (model.learning_rate_init_, model.max_iter_, model.n_iter_no_change_)
    epochs = EPOCHS_OF_MANY[shape][make is TwoLayerRegressor]
    assert_allclose(found, (0.01, epochs, 8), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate_init": 0.003},
        {"standardize": False},
        {"solver": "sgd"},
        {"solver": "lbfgs"},
    ],
    ids=str,
)
def test_the_recipe_of_many_columns_goes_as_a_whole(options):
    """Few epochs need its rate, scaled columns, and steps of one length."""
    X = np.random.default_rng(0).normal(size=(150, 300))
    model = TwoLayerRegressor(2, n_members=2, loss_threshold=1e9, **options)
    model.fit(X, X[:, 0])
    assert model.max_iter_ == 400
    assert model.learning_rate_init_ == options.get("learning_rate_init", 0.002)


@pytest.mark.parametrize("n_columns", [1, 4])
def test_the_penalty_grows_with_the_columns_in_bins(n_columns):
    X = np.random.default_rng(0).normal(size=(150, n_columns))
    X = np.column_stack([X, X[:, 0] > 0])  # two values have no bins
    model = TwoLayerRegressor(2, n_members=2, loss_threshold=1e9)
    model.set_params(numeric_encoding=PiecewiseLinear()).fit(X, X[:, 0])
    assert_allclose(model.alpha_, many(150) * 1.5 * n_columns)
    model.partial_fit(X, X[:, 0])
    assert_allclose(model.alpha_, many(300))


def test_scales_move_faster_among_many_columns_or_bins(monkeypatch):
    speeds = []

    def recorded(*arguments):
        state = fresh_state(*arguments)
        speeds.append(state.parameters.scale_speed)
        return state

    monkeypatch.setattr("sklearn_bp._fitting.fit.fresh_state", recorded)
    X = np.random.default_rng(0).integers(3, size=(150, 300)).astype(float)
    make = partial(TwoLayerRegressor, 2, n_members=2, loss_threshold=1e9)
    make().fit(X, X[:, 0])
    make().fit(X[:, :20], X[:, 0])
    make().partial_fit(X, X[:, 0])
    make(scaling_layer=False).fit(X, X[:, 0])
    make(numeric_encoding=PiecewiseLinear()).fit(X[:, :9], X[:, 0])
    make(numeric_encoding=PiecewiseLinear()).fit(X[:, :20], X[:, 0])
    make = partial(TwoLayerClassifier, 2, n_members=2, loss_threshold=1e9)
    make().fit(X, X[:, 0])
    make(numeric_encoding=PiecewiseLinear()).fit(X[:, :9], X[:, 0])
    make(scaling_layer=True).fit(X[:, :9], X[:, 0])
    assert speeds == [9, 3, 3, 0, 3, 6, 0, 3, 3]


@pytest.mark.parametrize("seed", range(12))
def test_regressions_of_few_rows_follow_them_from_fewer_columns_on(seed):
    """Of fewer than 1,000 rows, but eight for each column."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(18, 24))
    n = [150, 8 * d - 1, 8 * d, 999, 1000][seed % 5]
    if seed in (1, 2, 6, 7):  # two draws on each side of eight rows per column
        d = 21 + seed % 3
        n = 8 * d - (seed % 5 == 1)
    X = rng.normal(size=(n, d))
    model = TwoLayerRegressor(2, n_members=2, loss_threshold=1e9).fit(X, X[:, 0])
    follows = d > 20 and 8 * d <= n < 1000
    epochs = round(500 / np.sqrt(d)) if follows else 400
    rate = 0.02 if follows else 0.01 * np.sqrt(10 / d) * of_regressions(n)
    found = model.max_iter_, model.learning_rate_init_
    assert_allclose(found, (epochs, rate), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_calls_of_partial_fit_equal_a_fit_without_held_out_rows(make, seed):
    """As the FAQ says, up to 128 columns."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.choice([60, 300, 999, 1100])), int(rng.choice([5, 30, 110, 128]))
    n = max(n, d)  # not wide
    X = rng.normal(size=(n, d))
    y = X[:, 0] > 0 if make is TwoLayerClassifier else X[:, 0]
    n_calls, options = 3, {"n_members": 2, "early_stopping": False, "tol": 0.0}
    whole = make(4, max_iter=n_calls, random_state=seed, **options).fit(X, y)
    parts = make(4, random_state=seed, **options)
    classes = {"classes": [False, True]} if make is TwoLayerClassifier else {}
    for _ in range(n_calls):
        parts.partial_fit(X, y, **classes)
    assert_same_weights(whole, parts)


@pytest.mark.parametrize("case", ["few", "classes", "20 columns", "a rate"])
def test_the_second_training_of_few_rows_and_many_columns_is_brief(case, monkeypatch):
    """At three times the rate, and for 80 epochs."""
    found = []

    def recorded(*arguments):
        own = arguments[0].resolved(arguments[0].n_rows)
        found.append((own.max_iter, own.learning_rate_init))
        return fresh_state(*arguments)

    monkeypatch.setattr("sklearn_bp._fitting.encoded_members.fresh_state", recorded)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(220, 20 if case == "20 columns" else 21))
    y, options = X[:, 0] + X[:, 1] ** 2, {"random_state": 0}
    if case == "a rate":
        options["learning_rate_init"] = 0.005
    make = TwoLayerClassifier if case == "classes" else TwoLayerRegressor
    make(8, **options).fit(X, (y > 1) if case == "classes" else y)
    rate = options.get("learning_rate_init", 0.01)
    assert found == [(80, 0.03) if case == "few" else (400, rate)]


def test_many_sparse_columns_keep_the_usual_recipe():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 300)) * (rng.random((150, 300)) < 0.1)
    model = TwoLayerRegressor(2, n_members=2, loss_threshold=1e9)
    model.fit(sparse.csr_array(X), X[:, 0])
    assert (model.learning_rate_init_, model.max_iter_) == (0.002, 400)


@pytest.mark.parametrize(("n", "rate"), [(110, 0.02), (450, 0.02 * np.sqrt(400 / 450))])
def test_the_rate_of_sparse_wide_data(n, rate):
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.random((n, 4000)) * (rng.random((n, 4000)) < 0.02))
    y = X[:, :9].sum(axis=1) > 0
    model = TwoLayerClassifier(128, n_members=2, loss_threshold=1e9).fit(X, y)
    assert_allclose(model.learning_rate_init_, rate, rtol=1e-12)
    assert model.max_iter_ == min(400, np.ceil(4200 / np.ceil(n / 32)))
    model = TwoLayerClassifier(128, n_members=2, loss_threshold=1e9, max_iter=399)
    assert model.fit(X, y).max_iter_ == 399
    dense = TwoLayerClassifier(4, n_members=2, loss_threshold=1e9)
    assert dense.fit(X.toarray(), y).max_iter_ == 400


@pytest.mark.parametrize("batch_size", [10, 50, 200])
def test_the_penalty_is_that_of_batches_by_rows_whatever_their_length(batch_size):
    """As `alpha_` says: given as a number, it leads to the same weights."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    settings = {"batch_size": batch_size, "n_members": 1, "early_stopping": False}
    settings |= {"max_iter": 20, "random_state": 0, "learning_rate_init": 0.01}
    fits = [TwoLayerRegressor(5, **settings)]
    with pytest.warns(ConvergenceWarning):
        fits[0].fit(X, X[:, 0])
    assert_allclose(fits[0].alpha_, many(200) * batch_size / 32, rtol=1e-12)
    for alpha in (fits[0].alpha_, 0.0):
        fits.append(TwoLayerRegressor(5, alpha=alpha, **settings))
        with pytest.warns(ConvergenceWarning):
            fits[-1].fit(X, X[:, 0])
    auto, given, without = (fit.predict(X) for fit in fits)
    assert_allclose(auto, given, rtol=1e-4, atol=1e-5)
    assert np.abs(auto - without).max() > 20 * np.abs(auto - given).max()


def test_other_solvers_have_penalties_of_their_own():
    X = np.random.default_rng(0).normal(size=(150, 3))
    for solver, alpha in (("lbfgs", 1), ("adamw", 0), ("sgd", many(150))):
        model = TwoLayerClassifier(2, solver=solver, loss_threshold=1e9, n_members=2)
        assert_allclose(model.fit(X, X[:, 0] > 0).alpha_, alpha, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (64, 0.015, 5)),
        ({"solver": "rmsprop"}, (64, 0.015, 5)),
        ({"solver": "sgd"}, (128, 0.01, 8)),
        ({"standardize": False}, (128, 0.01, 8)),
        ({"batch_size": 128}, (128, 0.015, 7)),
        ({"learning_rate_init": 0.003}, (64, 0.003, 5)),
        ({"n_iter_no_change": 9}, (64, 0.015, 9)),
    ],
    ids=str,
)
def test_the_usual_recipe_is_for_scaled_columns_and_steps_of_one_length(
    options, expected
):
    X = np.random.default_rng(0).normal(size=(6100, 3))
    model = TwoLayerRegressor(2, n_members=2, loss_threshold=1e9, **options)
    model.fit(X, X[:, 0])
    found = model.batch_size_, model.learning_rate_init_, model.n_iter_no_change_
    assert_allclose(found, expected, rtol=1e-12)


def test_sparse_rows_keep_their_batches_and_streams_their_recipe():
    X = np.random.default_rng(0).normal(size=(6100, 3))
    make = partial(TwoLayerRegressor, 2, n_members=2, loss_threshold=1e9)
    for model, expected in (
        (make().fit(sparse.csr_array(X), X[:, 0]), (128, 0.015, 7)),
        (make().partial_fit(X, X[:, 0]), (128, 0.01, 8)),
        (make().fit(X, X[:, 0]).partial_fit(X, X[:, 0]), (256, 0.01, 13)),
        (make(warm_start=True).fit(X, X[:, 0]).fit(X, X[:, 0]), (64, 0.015, 5)),
    ):
        found = model.batch_size_, model.learning_rate_init_, model.n_iter_no_change_
        assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "options", "share"),
    [
        (TwoLayerRegressor, {}, 0.002),
        (TwoLayerClassifier, {}, 0.001),
        (TwoLayerRegressor, {"tol": 1e-4}, 0),
        (TwoLayerClassifier, {"early_stopping_metric": "score"}, 0),
        (TwoLayerRegressor, {"loss": "huber"}, 0),
    ],
)
def test_the_share_of_the_loss_that_counts(make, options, share):
    model = make(**options)
    losses = CLASSIFIER_LOSSES if make is TwoLayerClassifier else REGRESSOR_LOSSES
    loss = losses[model.loss]
    loss = loss[0] if make is TwoLayerClassifier else loss
    assert share_that_counts(Recipe.of(model), loss) == share


def test_bins_count_as_the_columns_that_they_come_from():
    X = np.random.default_rng(0).normal(size=(6100, 130))
    make = partial(TwoLayerRegressor, 2, n_members=2, loss_threshold=1e9)
    encoding = PiecewiseLinear(n_bins=3)
    for n_columns, expected in ((100, (64, 5)), (130, (128, 8))):
        model = make(numeric_encoding=encoding).fit(X[:, :n_columns], X[:, 0])
        assert (model.batch_size_, model.n_iter_no_change_) == expected


@pytest.mark.parametrize("n_rows", [1, 8, 17, 30, 100])
@pytest.mark.parametrize("solver", ["adam", "adamw", "rmsprop"])
def test_parts_with_far_targets_are_clipped(solver, n_rows):
    """Beyond four widths, and beyond a quarter of the rows of a batch."""
    recipe = Recipe.of(TwoLayerRegressor(solver=solver))
    far = max(4.0, min(n_rows, 32) / 4)
    targets = SimpleNamespace(labelled=False)
    for size, clip_norm in ((far, None), (1.001 * far, 5.0)):
        Y = np.zeros((n_rows, 1))
        Y[-1] = -size
        assert stream_clip_norm(recipe, targets, Y, 32) == clip_norm
