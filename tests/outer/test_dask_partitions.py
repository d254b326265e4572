"""Sums over partitions in one process: the tests that need no cluster."""

import numpy as np
import pytest
from compare import assert_same_training
from numpy.testing import assert_allclose, assert_array_equal
from partitions import LocalParts, fitted
from scipy import sparse
from sklearn.metrics import r2_score

import sklearn_bp
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import Objective
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.dask._partitions import (
    AssignedRows,
    HoldingOut,
    Problem,
    assign,
    prepare,
)
from sklearn_bp.dask._rows import Rows
from sklearn_bp.dask._training import (
    TEMPERATURES,
    PartitionedData,
    PartitionedObjective,
    PartitionedValidation,
    r2,
)
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.optimizers import SGD

dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 700
RNG = np.random.RandomState(0)
X = RNG.normal(size=(N, 4)) * [1, 100, 1, 1] + [0, 50, 0, 0]
X[:, 2] = X[:, 2] > 0.3
X[:, 3] = np.round(X[:, 3], 1)
Y = np.column_stack([X[:, 0] + X[:, 2], X[:, 1] ** 2])
LABELS = np.array(["a", "b", "c"])[1 * (X[:, 0] > 0) + (X[:, 1] > 50)]
WEIGHTS = RNG.randint(0, 4, N).astype(float)
CUTS = [(N,), (100, 600), (1, 0, 350, 349), (7,) * 100]
LBFGS = {"solver": "lbfgs", "max_iter": 3, "random_state": 0, "hidden_layer_sizes": 3}


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("form", ["dense", "csr", "float32", "int"])
@pytest.mark.parametrize("sizes", CUTS[:3], ids=str)
def test_one_evaluation_is_the_plain_one(form, sizes, n_members):
    """To 1e-12, of a sum of losses and its gradient, over any partitions."""
    rows = {
        "csr": sparse.csr_matrix(X),
        "float32": X.astype("f4"),
        "int": X.astype(int),
    }
    rows = rows.get(form, X)
    scaling = Scaling.of_features(rows)
    loss = CLASSIFIER_LOSSES["log_loss"][True]
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], loss)
    targets = LABELS[:, np.newaxis] == ["a", "b", "c"]
    layout = Layout(4, 3, 3, n_members, True)
    parameters = Parameters(RNG.normal(size=layout.size), layout)
    data = Data.weighted(rows, targets, WEIGHTS, 0.5)
    if form == "csr":
        plain = Data.weighted(scaling(rows), targets, WEIGHTS, 0.5)
    else:
        plain = Data.weighted(rows, targets, WEIGHTS, 0.5, scaling=scaling)
    expected = Objective(network, parameters, plain)
    largest, mean = WEIGHTS.max(), (WEIGHTS / WEIGHTS.max()).mean()
    problem = Problem(
        network, layout, np.dtype("f8"), scaling, largest, mean, None, None, True, 0, []
    )
    stops, parts = np.cumsum(sizes), []
    for number, (size, stop) in enumerate(zip(sizes, stops, strict=True)):
        part = slice(stop - size, stop)
        if size:
            own = rows[part], targets[part], WEIGHTS[part], None, None, []
            parts.append(prepare(AssignedRows(*own), problem, number))
    counts = [size for size in sizes if size]
    ours = PartitionedObjective(
        parameters, PartitionedData(LocalParts(parts), counts, data.alpha)
    )
    for _ in range(2):  # buffers are used again
        assert_allclose(ours(), expected(), rtol=1e-12)
        scale = np.abs(expected.gradient.flat).max()
        assert_allclose(
            ours.gradient.flat, expected.gradient.flat, rtol=1e-12, atol=1e-12 * scale
        )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", CUTS, ids=str)
def test_scaling_is_the_plain_one(sizes, weighted):
    """Bit for bit for any partitions; for targets, to rounding."""
    w = WEIGHTS if weighted else None
    model = fitted(dask.TwoLayerRegressor(**LBFGS), X, Y, sizes, w)
    plain = sklearn_bp.TwoLayerRegressor(**LBFGS).fit(X, Y, w)
    ours, theirs = model._fitted.inputs.scaling, plain._fitted.inputs.scaling
    assert_array_equal(ours.centre, theirs.centre)
    assert_array_equal(ours.factor, theirs.factor)
    ours, theirs = (m._fitted.targets.score_scaling for m in (model, plain))
    assert_allclose(ours.centre, theirs.centre, rtol=1e-13)
    assert_allclose(ours.factor, theirs.factor, rtol=1e-13)
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)


def with_gaps(seed=0):
    """A table with missing values and a category, as an array of floats."""
    rng = np.random.RandomState(seed)
    table = X.copy()
    table[rng.uniform(size=N) < 0.05, 0] = np.nan
    table[:, 3] = rng.randint(0, 5, N)
    table[690:, 3] = 9  # a level that most partitions lack
    return table


@pytest.mark.parametrize("sizes", CUTS, ids=str)
def test_categories_and_missing_values_are_the_plain_ones(sizes):
    table = with_gaps()
    settings = LBFGS | {"categorical_features": [3], "n_members": 1}
    model = fitted(dask.TwoLayerClassifier(**settings), table, LABELS, sizes, WEIGHTS)
    plain = sklearn_bp.TwoLayerClassifier(**settings).fit(table, LABELS, WEIGHTS)
    assert_allclose(model.feature_importances_, plain.feature_importances_, rtol=1e-6)
    names = plain.encoded_feature_names_
    assert_array_equal(model.encoded_feature_names_, names)
    assert_array_equal(model._fitted.columns.medians, plain._fitted.columns.medians)
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)


def test_many_levels_make_a_sparse_matrix():
    table = np.column_stack([X[:, :2], np.arange(N) % 300])
    settings = LBFGS | {"categorical_features": [2]}
    model = fitted(dask.TwoLayerClassifier(**settings), table, LABELS, (300, 400))
    plain = sklearn_bp.TwoLayerClassifier(**settings).fit(table, LABELS)
    assert plain._fitted.columns.is_sparse
    assert_array_equal(
        model._fitted.inputs.scaling.factor, plain._fitted.inputs.scaling.factor
    )
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_rows_without_weight_change_no_bit(solver):
    settings = {"solver": solver, "max_iter": 3, "random_state": 0, "batch_size": 200}
    settings["hidden_layer_sizes"] = 3
    every = np.ones(N)
    alone = fitted(dask.TwoLayerClassifier(**settings), X, LABELS, (300, 400), every)
    # Two partitions without weight, wild values in them, and one that is empty.
    wild = np.full((50, 4), 1e30)
    more = np.concatenate([wild, X, wild])
    labels = np.concatenate([LABELS[:50], LABELS, LABELS[:50]])
    w = np.concatenate([np.zeros(50), every, np.zeros(50)])
    sizes = (50, 300, 0, 400, 50)
    model = fitted(dask.TwoLayerClassifier(**settings), more, labels, sizes, w)
    assert_same_training(model, alone)


def test_a_weight_of_two_is_a_row_twice():
    w = np.where(np.arange(N) < 300, 2.0, 1.0)
    once = fitted(dask.TwoLayerClassifier(**LBFGS), X, LABELS, (300, 400), w)
    twice = fitted(
        dask.TwoLayerClassifier(**LBFGS),
        np.concatenate([X[:300], X]),
        np.concatenate([LABELS[:300], LABELS]),
        (300, 300, 400),
    )
    assert_allclose(once.loss_curve_, twice.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 3.0, "c": 0.5}])
def test_class_weights_are_the_plain_ones(class_weight):
    settings = LBFGS | {"class_weight": class_weight}
    order = np.argsort(LABELS, kind="stable")  # most partitions lack a class
    model = fitted(
        dask.TwoLayerClassifier(**settings),
        X[order],
        LABELS[order],
        (7,) * 100,
        WEIGHTS[order],
    )
    plain = sklearn_bp.TwoLayerClassifier(**settings)
    plain.fit(X[order], LABELS[order], WEIGHTS[order])
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)


def test_several_labels():
    labels = np.column_stack([X[:, 0] > 0, X[:, 1] > 80, X[:, 0] > 9]).astype(int)
    settings = LBFGS | {"class_weight": [{0: 1.0, 1: 2.0}, {1: 3.0}, {0: 2.0}]}
    model = fitted(dask.TwoLayerClassifier(**settings), X, labels, (300, 400))
    plain = sklearn_bp.TwoLayerClassifier(**settings).fit(X, labels)
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)
    assert_array_equal(model.classes_, plain.classes_)


@pytest.mark.parametrize("loss", [*REGRESSOR_LOSSES])
def test_losses_start_at_their_best_constant(loss):
    settings = LBFGS | {"loss": loss, "init": "zeros", "alpha": 0.0}
    counts = 1 + np.round(np.exp(X[:, 0]))
    model = fitted(dask.TwoLayerRegressor(**settings), X, counts, (300, 400))
    plain = sklearn_bp.TwoLayerRegressor(**settings).fit(X, counts)
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)
    ours, theirs = model.intercepts_[1], plain.intercepts_[1]
    assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n_members", [1, 8])
@pytest.mark.parametrize("early_stopping", ["auto", True])
def test_held_out_rows_measure_about_the_same_as_the_plain_ones(
    early_stopping, n_members
):
    """Other rows, drawn in another way: losses agree to a few percent."""
    settings = {"early_stopping": early_stopping, "n_members": n_members}
    settings |= {"batch_size": 64, "max_iter": 25, "random_state": 0, "alpha": 0.0}
    model = fitted(dask.TwoLayerClassifier(8, **settings), X, LABELS, (35,) * 20)
    plain = sklearn_bp.TwoLayerClassifier(8, **settings).fit(X, LABELS)
    ours, theirs = model.validation_loss_curve_, plain.validation_loss_curve_
    assert len(ours) == len(theirs) == 25
    assert_allclose(ours[0], theirs[0], rtol=0.25)
    assert ours[-1] < 0.3 * ours[0]
    assert model.validation_scores_[-1] > 0.9
    accuracy = model.to_local().score(X, LABELS)
    assert abs(accuracy - plain.score(X, LABELS)) < 0.03


@pytest.mark.parametrize("n_rows", [1, 3, 6])
def test_small_partitions_hold_out_as_many_rows_from_each_member(n_rows):
    """Each partition starts with another member."""
    rows = Rows(np.zeros((n_rows, 2)), np.zeros((n_rows, 1)), None, None)
    holding, held_out = HoldingOut(4, 0.0, None, [1, 2, 3, 4]), np.zeros(4, int)
    for number in range(8):
        folds = assign(rows, holding, number, number * n_rows).folds
        held_out += np.bincount(folds, minlength=4)
    assert (held_out == 2 * n_rows).all()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_partitions_of_any_sizes_hold_out_the_fraction_of_all_rows(seed, fraction):
    """Also if each is too small to hold out a row of its own; each row counts once."""
    rng = np.random.default_rng(seed)
    holding, n, n_held_out = HoldingOut(0, fraction, None, [1, 2, 3, 4]), 0, 0
    for number, size in enumerate(rng.integers(0, 8, 60)):
        weights = rng.integers(0, 2, size).astype(float)
        nonzero = np.flatnonzero(weights)
        rows = Rows(np.zeros((size, 2)), np.zeros((size, 1)), weights, nonzero)
        assigned = assign(rows, holding, number, n)
        (held_out,) = assigned.held_out
        both = np.sort(np.concatenate([held_out, assigned.rows]))
        assert_array_equal(both, nonzero)
        n, n_held_out = n + len(nonzero), n_held_out + len(held_out)
    assert n_held_out == int(fraction * n)


@pytest.mark.parametrize("share", [0.1, 0.43, 0.77])
def test_the_minimum_of_a_parabola_is_found_between_temperatures(share):
    logs, weight = np.log(TEMPERATURES), 2.0
    best = logs[0] + share * (logs[-1] - logs[0])
    validation = PartitionedValidation(LocalParts([]), 0, weight, True, labelled=True)
    least, inverse = validation._least(weight * (0.3 + 1.7 * (logs - best) ** 2))
    assert_allclose([least, np.log(inverse)], [0.3, best], rtol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_r2_of_sums_is_that_of_scikit_learn(seed):
    """Of constant targets too, predicted exactly or not."""
    rng = np.random.default_rng(seed)
    Y, P = rng.normal(size=(2, 20, 4))
    Y[:, 1:3], P[:, 1] = [1.0, 2.0], 1.0
    some = rng.choice(4, rng.integers(1, 5), replace=False)
    sums = [((Y - of) ** 2).sum(axis=0)[some] for of in (P, Y.mean(axis=0))]
    assert_allclose(r2(*sums), r2_score(Y[:, some], P[:, some]), rtol=1e-12)


def test_each_row_is_learned_once_per_epoch():
    """The mean gradient over an epoch of plain steps is that of all rows."""
    settings = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1e-13}
    settings |= {"early_stopping": False, "average": False, "alpha": 0.0}
    settings |= {"max_iter": 1, "random_state": 0, "standardize": False}
    settings |= {"n_members": 1, "hidden_layer_sizes": 3}
    ends = []
    for batch_size in (N, 64, 700):
        settings["batch_size"] = batch_size
        model = fitted(dask.TwoLayerRegressor(**settings), X / 9, Y / 99, (300, 400))
        ends.append(model)
    full, steps, _ = ends
    assert_allclose(steps.loss_, full.loss_, rtol=1e-6)
    plain = sklearn_bp.TwoLayerRegressor(**settings | {"batch_size": "full"})
    plain.fit(X / 9, Y / 99)
    assert_allclose(full.loss_, plain.loss_, rtol=1e-12)
    assert_allclose(full.coefs_[1], plain.coefs_[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_stopping_metric": "f1_macro"}, "takes 'loss' or 'score'"),
        ({"validation_fraction": 0.001, "n_members": 1}, "validation set is too small"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "needs a fixed loss"),
    ],
)
def test_unsupported_requests_are_refused(settings, message):
    model = dask.TwoLayerClassifier(**settings)
    with pytest.raises(ValueError, match=message):
        fitted(model, X, LABELS, (300, 400))
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(
    ("last", "message"),
    [("a", "make its labels all of one kind"), (0.5, "Unknown label type")],
)
def test_labels_of_several_kinds(last, message):
    y = np.array([0, 1] * 150 + [last] * 400, dtype=object)
    with pytest.raises(ValueError, match=message):
        fitted(dask.TwoLayerClassifier(**LBFGS), X, y, (300, 400))


def test_no_rows():
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        fitted(dask.TwoLayerRegressor(), X[:0], Y[:0], (0, 0))
    with pytest.raises(ValueError, match="at least one non-zero"):
        fitted(dask.TwoLayerRegressor(), X, Y, (300, 400), np.zeros(N))


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "adam", "momentum": 0.5},
        {"solver": "sgd"},
        {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling"},
        {"solver": "rmsprop", "learning_rate": "cosine", "max_iter": 6},
    ],
    ids=str,
)
def test_full_batches_are_the_plain_ones(settings):
    """Optimizer, schedule, average, skip and scaling layers are the plain class's."""
    settings = {"batch_size": "full", "max_iter": 6, "random_state": 0} | settings
    settings |= {"early_stopping": False, "hidden_layer_sizes": 3, "skip_layer": True}
    settings |= {"alpha": 0.1, "n_members": 2}
    few = slice(0, 99)  # so few that training is in float64
    model = dask.TwoLayerClassifier(**settings)
    fitted(model, X[few], LABELS[few], (40, 59), 1 + WEIGHTS[few])
    plain = sklearn_bp.TwoLayerClassifier(**settings)
    plain.fit(X[few], LABELS[few], 1 + WEIGHTS[few])
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-10)
    assert_allclose(model.coefs_[0], plain.coefs_[0], rtol=1e-7, atol=1e-9)
    assert_allclose(model.skip_coef_, plain.skip_coef_, rtol=1e-7, atol=1e-9)


def test_intervals_hold():
    """As of the plain class, on rows drawn alike: 0.9 of them to a few percent."""
    rng = np.random.RandomState(1)
    y = X[:, 0] + rng.normal(size=N)
    settings = {"max_iter": 20, "random_state": 0, "n_members": 4, "batch_size": 64}
    model = fitted(dask.TwoLayerRegressor(4, **settings), X, y, (300, 400)).to_local()
    fresh = X[rng.randint(0, N, 4000)]
    low, high = model.predict_interval(fresh, coverage=0.9).T
    inside = np.abs(fresh[:, 0] + rng.normal(size=4000) - (low + high) / 2)
    # 4000 rows give the share to 0.005, 700 errors the quantile to 0.011.
    assert 0.86 < np.mean(inside <= (high - low) / 2) < 0.94


@pytest.mark.parametrize(
    ("n_columns", "density", "n_members"),
    [(50, 1.0, 8), (1600, 1.0, 8), (4000, 0.05, 4), (1600, 0.2, 8), (9000, 0.002, 2)],
)
def test_auto_is_the_plain_number_of_members(n_columns, density, n_members):
    """Also for CSR blocks and rows without weight; training that continues keeps it."""
    rng = np.random.RandomState(0)
    rows = sparse.random(400, n_columns, density, "csr", random_state=rng)
    rows = rows.toarray() if density == 1 else rows
    y, w = rng.normal(size=400), WEIGHTS[:400]
    settings = {"hidden_layer_sizes": 2, "max_iter": 1, "random_state": 0}
    settings |= {"standardize": False}  # on the columns, not on components
    plain = sklearn_bp.TwoLayerRegressor(**settings).fit(rows, y, w)
    model = dask.TwoLayerRegressor(**settings, warm_start=True)
    for _ in range(2):
        fitted(model, rows, y, (150, 0, 250), w)
        assert model.n_members_ == plain.n_members_ == n_members
        assert model.coefs_[0].shape == (n_columns, 2 * n_members)


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("sizes", [(120,), (50, 0, 70)], ids=str)
def test_gradients_are_clipped_if_a_row_is_long(sizes, is_long):
    """As those of the plain class: tests/laws/test_wild_rows.py."""
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(120, 5)), 3 * rng.standard_t(2, size=120)
    if is_long:
        rows[60] *= 40
    weights = rng.integers(0, 3, 120)
    options = {"random_state": 0, "max_iter": 5, "learning_rate_init": 0.1}
    by_name, clipped, free = (
        fitted(dask.TwoLayerRegressor(solver=s, **options), rows, y, sizes, weights)
        for s in ("sgd", SGD(clip_norm=5.0), SGD())
    )
    same, other = (clipped, free) if is_long else (free, clipped)
    assert_array_equal(by_name.coefs_[0], same.coefs_[0])
    assert np.abs(by_name.coefs_[0] - other.coefs_[0]).max() > 1e-6
