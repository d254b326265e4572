"""Features and targets are scaled in training, which is invisible from outside."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from compare import assert_same_weights, outputs
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import sklearn_bp
from sklearn_bp import MLP_DEFAULTS
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Parameters, Weights
from sklearn_bp._tables.scaling import LARGEST, Scaling, absorb, separate
from sklearn_bp._tables.sorted_columns import QUANTILE_ROWS
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import REGRESSOR_LOSSES

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

# Every parameter: no test here depends on a default.
SETTINGS = MLP_DEFAULTS | {
    "hidden_layer_sizes": 8,
    "solver": "adam",
    "batch_size": "by_rows",
    "learning_rate_init": 0.01,
    "max_iter": 12,
    "init": "he_normal",
    "random_state": 0,
    "early_stopping": "auto",
    "early_stopping_metric": "loss",
    "n_iter_no_change": 5,
    "standardize": True,
    "n_members": 3,
    "average": True,
    "categorical_features": "from_dtype",
}
FEW, MANY = 60, 150  # computed in float64; in float32, with rows held out
SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "adam": {"solver": "adam"},
    "lbfgs": {"solver": "lbfgs"},
}
over_solvers = pytest.mark.parametrize("solver", SOLVERS)
over_sizes = pytest.mark.parametrize("n", [FEW, MANY])

RNG = np.random.RandomState(0)
X = RNG.normal(size=(MANY, 5))
X[:, 3] = X[:, 3] > 0.4  # an indicator
X[:, 4] = np.exp(2 * X[:, 4])  # a heavy tail
Y = np.column_stack([np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 3], X[:, 1] ** 2 - X[:, 2]])
Y += 0.1 * RNG.normal(size=Y.shape)
LABELS = np.array(["a", "b", "c"])[np.digitize(Y[:, 0], [-0.5, 0.7])]
INTEGERS = RNG.randint(0, 4, MANY)


def classifier(**options):
    return sklearn_bp.TwoLayerClassifier(**SETTINGS | {"loss": "log_loss"} | options)


def regressor(**options):
    settings = SETTINGS | {"loss": "squared_error"}
    return sklearn_bp.TwoLayerRegressor(**settings | options)


def assert_same_run(a, b):
    assert (a.n_iter_, a.best_iter_) == (b.n_iter_, b.best_iter_)


@pytest.fixture
def start_from(monkeypatch):
    """Have starting weights replaced by a function of those that are drawn.

    `start_from(change, added)` draws for `added` features more than there are.
    """
    draw = Parameters.draw

    def start_from(change, added=0):
        def drawn(layout, dtype, *args):
            d, *others = layout
            return change(draw((d + added, *others), dtype, *args))

        monkeypatch.setattr(Parameters, "draw", drawn)

    return start_from


# Units do not matter.


# Five columns each: factor and offset. The last is of mixed units, and makes of the
# indicator a column of 5 and 9.
MAPS = {
    "1e3 x + 5e3": (np.full(5, 1e3), np.full(5, 5e3)),
    "1e-6 x": (np.full(5, 1e-6), np.zeros(5)),
    "x + 1e6": (np.ones(5), np.full(5, 1e6)),
    "mixed": (np.array([1e3, 1e-6, 1e6, 4, 1e200]), np.array([5e3, 0, -1e9, 5, 1])),
}


@pytest.mark.parametrize("early_stopping", ["auto", True, False])
@over_solvers
@over_sizes
def test_units_do_not_matter(n, solver, early_stopping):
    """Up to the rounding of the mapped columns and of the numbers in training. Training
    multiplies it: by some 5000 in the line searches of lbfgs, otherwise by 20.
    """
    options = SOLVERS[solver] | {"early_stopping": early_stopping}
    narrow = n == MANY and solver != "lbfgs"
    rounding = np.finfo(np.float32 if narrow else np.float64).eps
    rows, y, labels = X[:n], Y[:n, 0], LABELS[:n]
    plain = regressor(**options).fit(rows, y)
    both = regressor(**options).fit(rows, Y[:n])
    classes = classifier(**options).fit(rows, labels)
    for factor, offset in MAPS.values():
        mapped = factor * rows + offset
        lost = np.finfo(np.float64).eps * np.max(np.abs(offset / factor))
        tolerance = 2e4 * (rounding + lost)
        ours = regressor(**options).fit(mapped, 1e4 * y - 7)
        assert_same_run(ours, plain)
        expected = 1e4 * plain.predict(rows) - 7
        assert_allclose(
            ours.predict(mapped), expected, rtol=0, atol=tolerance * 1e4 * y.std()
        )
        # each target with units of its own
        ours = regressor(**options).fit(mapped, Y[:n] * [1e4, 1e-6] + [-7, 1e-3])
        assert_same_run(ours, both)
        ours = (ours.predict(mapped) - [-7, 1e-3]) / [1e4, 1e-6]
        assert_allclose(ours, both.predict(rows), rtol=0, atol=tolerance * Y.std())
        ours = classifier(**options).fit(mapped, labels)
        assert_same_run(ours, classes)
        assert_allclose(
            outputs(ours, mapped), outputs(classes, rows), rtol=0, atol=tolerance
        )


@over_sizes
def test_powers_of_two_change_no_bit(n):
    """Neither do offsets that cost no digit; the mean of the indicator has no last
    digit."""
    rows = np.round(X[:n] * 2**20) / 2**20
    mapped = rows * [2.0**10, 2.0**-30, 2.0**70, 4, 1] + [2.0**15, 0, 0, 0, -(2.0**9)]
    plain = regressor().fit(rows, Y[:n])
    ours = regressor().fit(mapped, Y[:n] * [2.0**40, 2.0**-40])
    assert ours.loss_curve_ == plain.loss_curve_
    assert ours.validation_loss_curve_ == plain.validation_loss_curve_
    assert_allclose(
        ours.predict(mapped) / [2.0**40, 2.0**-40], plain.predict(rows), rtol=1e-9
    )


@over_solvers
@over_sizes
def test_signs_do_not_matter(n, solver, start_from):
    """-X and -y from mirrored starting weights."""
    rows, mirror = X[:n].copy(), np.array([1, -1, -1, -1, -1])
    options = SOLVERS[solver]
    plain = regressor(**options).fit(rows, Y[:n])
    classes = classifier(**options).fit(rows, LABELS[:n])

    def mirrored(parameters, outputs_too):
        parameters.W1[...] *= mirror[:, np.newaxis]
        if outputs_too:
            parameters.W2[...] *= -1
        return parameters

    start_from(lambda parameters: mirrored(parameters, True))
    ours = regressor(**options).fit(rows * mirror, -Y[:n])
    assert_same_run(ours, plain)
    assert_allclose(ours.predict(rows * mirror), -plain.predict(rows), rtol=1e-12)
    start_from(lambda parameters: mirrored(parameters, False))
    ours = classifier(**options).fit(rows * mirror, LABELS[:n])
    assert_same_run(ours, classes)
    assert_allclose(outputs(ours, rows * mirror), outputs(classes, rows), rtol=1e-12)


# Beyond the range of float32, in which many rows are computed.
@pytest.mark.parametrize("scale", [1e300, 1e45, 1e-45, 1e-300, 1e-310])
@over_sizes
def test_columns_of_any_size(n, scale):
    options = {"early_stopping": False}
    for convert in (np.asarray, sparse.csr_matrix):
        expected = regressor(**options).fit(convert(X[:n]), Y[:n]).predict(X[:n])
        column = X[:n] * [scale, 1, 1, 1, 1]
        ours = regressor(**options).fit(convert(column), Y[:n]).predict(column)
        if scale < np.finfo(np.float64).tiny:  # has too few digits to be of use
            assert np.isfinite(ours).all()
            continue
        assert_allclose(ours, expected, atol=1e-4 if n == MANY else 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_subnormal_columns_give_finite_weights(seed):
    """At their best as other columns, otherwise as constants; new rows of any size."""
    rng = np.random.default_rng(seed)
    n, skip = int(rng.choice([40, 150, 260])), bool(rng.integers(2))
    rows = rng.normal(size=(n, 3)) + rng.choice([0.0, 3.0])
    y = 3 * rows[:, 0] + rows[:, 1]
    unit = 10.0 ** rng.uniform(-320, -306)
    column = rows * [unit, 1, 1]
    column = [np.asarray, sparse.csr_matrix][rng.integers(2)](column)
    solver = str(rng.choice(["adam", "sgd", "lbfgs"]))
    options = {"solver": solver, "alpha": 0.0, "skip_layer": skip, "max_iter": 40}
    model = sklearn_bp.TwoLayerRegressor(8, random_state=0, **options).fit(column, y)
    for weights in (*model.coefs_, *model.intercepts_):
        assert np.isfinite(weights).all()
    plain = sklearn_bp.TwoLayerRegressor(8, random_state=0, **options).fit(rows, y)
    without = sklearn_bp.TwoLayerRegressor(8, random_state=0, **options)
    without.fit(rows * [0, 1, 1], y)
    worst = min(plain.score(rows, y), without.score(rows * [0, 1, 1], y))
    assert model.score(column, y) > worst - 0.1
    if solver != "lbfgs":
        model.partial_fit(column, y)
        assert np.isfinite(model.predict(column)).all()


# Columns in any order.


def statistics(scaling):
    return np.array([scaling.centre, scaling.factor])


PERMUTATION = np.array([3, 0, 4, 2, 1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_statistics_of_permuted_columns(dtype, weighted):
    weights = RNG.uniform(size=MANY) if weighted else None
    rows = X.astype(dtype) * 3.3
    ours = Scaling.of_features(rows[:, PERMUTATION], weights)
    expected = statistics(Scaling.of_features(rows, weights))[:, PERMUTATION]
    assert_array_equal(statistics(ours), expected)
    for j in range(5):
        alone = statistics(Scaling.of_features(rows[:, [j]], weights))
        assert_array_equal(
            alone, statistics(Scaling.of_features(rows, weights))[:, [j]]
        )
    fortran = Scaling.of_features(np.asfortranarray(rows), weights)
    assert_array_equal(
        statistics(fortran), statistics(Scaling.of_features(rows, weights))
    )


@over_solvers
@over_sizes
def test_permuted_columns(n, solver, start_from):
    """Predictions are the same if the starting weights are permuted too."""
    options = SOLVERS[solver]
    rows = X[:n, PERMUTATION]
    plain = regressor(**options).fit(X[:n], Y[:n])

    def permuted(parameters):
        parameters.W1[...] = parameters.W1[PERMUTATION]
        return parameters

    start_from(permuted)
    ours = regressor(**options).fit(rows, Y[:n])
    assert_same_run(ours, plain)
    assert_array_equal(
        statistics(ours._fitted.inputs.scaling),
        statistics(plain._fitted.inputs.scaling)[:, PERMUTATION],
    )
    # Sums over columns are rounded in another order.
    narrow = n == MANY and solver != "lbfgs"
    assert_allclose(
        ours.predict(rows), plain.predict(X[:n]), rtol=0, atol=1e-4 if narrow else 1e-9
    )


# Constant columns.


CONSTANTS = {
    "0": np.zeros(MANY),
    "0.1": np.full(MANY, 0.1),
    "1e9": np.full(MANY, 1e9),
    "-1e200": np.full(MANY, -1e200),
    "rounding noise": np.where(np.arange(MANY) % 3, 0.3, 0.1 + 0.2),
}


@pytest.mark.parametrize("constant", CONSTANTS)
@over_solvers
@over_sizes
def test_constant_columns(n, solver, constant, start_from):
    """The fit is as if they were absent, for equal starting weights of the others."""
    options = SOLVERS[solver] | {"alpha": 0.0}  # which counts all weights
    where = 2
    rows = np.insert(X[:n], where, CONSTANTS[constant][:n], axis=1)
    ours = regressor(**options).fit(rows, Y[:n])
    classes = classifier(**options).fit(rows, LABELS[:n])

    def without(parameters):
        coefs, intercepts = parameters.unpack()
        coefs[0] = np.delete(coefs[0], where, axis=0)
        dtype, n_members = parameters.flat.dtype, parameters.n_members
        return Parameters.pack(coefs, intercepts, dtype, n_members)

    start_from(without, added=1)
    narrow = n == MANY and solver != "lbfgs"
    tolerance = {"rtol": 0, "atol": 1e-5 if narrow else 1e-9}
    for model, make, y in ((ours, regressor, Y), (classes, classifier, LABELS)):
        plain = make(**options).fit(X[:n], y[:n])
        assert_same_run(model, plain)
        assert_array_equal(model.coefs_[0][where], 0)
        assert_allclose(outputs(model, rows), outputs(plain, X[:n]), **tolerance)
        other = rows.copy()
        other[:, where] = 1e3
        assert_array_equal(outputs(model, other), outputs(model, rows))


def test_nothing_but_constant_columns():
    """Training starts at the best constant, and stays near it here."""
    rows = np.full((MANY, 3), [1e9, 0, 0.1])
    options = {"learning_rate_init": 1e-9, "max_iter": 1}
    p = regressor(**options).fit(rows, Y).predict(rows)
    assert_allclose(p, np.tile(Y.mean(axis=0), (MANY, 1)), rtol=1e-6)
    p = classifier(**options | {"early_stopping": False}).fit(rows, LABELS)
    shares = np.unique(LABELS, return_counts=True)[1] / MANY
    assert_allclose(p.predict_proba(rows), np.tile(shares, (MANY, 1)), rtol=1e-6)


# The statistics.


ODD_COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy-tailed": lambda rng, n: rng.standard_cauchy(n) ** 3,
    "an outlier": lambda rng, n: np.append(1e12, rng.normal(size=n - 1)),
    "counts": lambda rng, n: rng.poisson(0.2, n),
    "two values": lambda rng, n: np.where(rng.uniform(size=n) < 0.3, 5.1, 9.7),
    "one of them once": lambda rng, n: np.append(3.3, np.full(n - 1, 0.2)),
    "mostly zero": lambda rng, n: rng.normal(size=n) * (rng.uniform(size=n) < 0.2),
    "constant": lambda rng, n: np.full(n, 7.7),
    "integers": lambda rng, n: rng.randint(-5, 5, n),
}


def odd_columns(n, dtype=np.float64):
    rng = np.random.RandomState(n)
    return np.column_stack([make(rng, n) for make in ODD_COLUMNS.values()]).astype(
        dtype
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 30, 61, 128, 1000])
def test_quartiles_are_numpys(n):
    rows = odd_columns(n)
    scaling = Scaling.of_features(rows)
    first, median, third = np.quantile(
        rows, [0.25, 0.5, 0.75], axis=0, method="averaged_inverted_cdf"
    )
    for j in range(rows.shape[1]):
        values = np.unique(rows[:, j])
        width = max(third[j] - first[j], np.max(np.abs(values - median[j])) / LARGEST)
        if third[j] == first[j]:
            width = (values[-1] - values[0]) / 2
        centre = median[j]
        if len(values) == 2:
            centre, width = rows[:, j].mean(), values[1] - values[0]
        if len(values) == 1:
            assert scaling.factor[j] == 0
            continue
        assert_allclose(scaling.factor[j], 1 / width, rtol=1e-14)
        assert_allclose(scaling.centre[j], centre, rtol=1e-14)
        if len(values) > 2:
            assert abs(scaling.centre[j] - centre) <= np.spacing(abs(centre))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 30, 1000])
def test_nothing_ends_far_away(n, dtype):
    rows = odd_columns(n, dtype)
    scaled = Scaling.of_features(rows)(rows)
    assert scaled.dtype == dtype
    assert np.max(np.abs(scaled)) <= LARGEST * (1 + 1e-6)
    # and columns without outliers have a width of about one
    assert_allclose(scaled.max(axis=0) - scaled.min(axis=0) > 0.9, scaled.any(axis=0))


@pytest.mark.parametrize("n", [5, 40, 300])
@pytest.mark.parametrize("seed", range(3))
def test_integer_weights_are_repeated_rows(seed, n):
    """Bit for bit, and rows without weight as if they were not there."""
    rng = np.random.RandomState(seed)
    rows, weights = odd_columns(n), rng.randint(0, 4, n)
    weights[:2] = 1
    repeated = np.repeat(rows, weights, axis=0)
    ours = Scaling.of_features(rows, weights.astype(float))
    assert_array_equal(statistics(ours), statistics(Scaling.of_features(repeated)))
    zero = rng.randint(0, 2, n).astype(float)
    zero[:2] = 1
    ours, theirs = (
        Scaling.of_features(rows, zero),
        Scaling.of_features(rows[zero > 0], np.ones(int(zero.sum()))),
    )
    assert_array_equal(statistics(ours), statistics(theirs))
    theirs = Scaling.of_features(rows[zero > 0])
    assert_array_equal(statistics(ours), statistics(theirs))


@pytest.mark.parametrize("scale", [3.0, 0.1, 1e300, 1e-300])
def test_statistics_do_not_depend_on_the_unit_of_weights(scale):
    rows, weights = odd_columns(200), RNG.uniform(0.1, 2, 200)
    ours = Scaling.of_features(rows, weights * scale)
    theirs = Scaling.of_features(rows, weights)
    assert_allclose(statistics(ours), statistics(theirs), rtol=1e-14)
    ours, theirs = (
        Scaling.of_targets(rows[:, :5], weights * scale),
        Scaling.of_targets(rows[:, :5], weights),
    )
    assert_allclose(statistics(ours), statistics(theirs), rtol=1e-13)


def test_scores_of_no_target_are_known_if_all_targets_vary():
    """They have the scale 1 then, and otherwise 0, as constant targets have."""
    of_scores = np.array([0, -1, 1, -1])
    scaling = Scaling(np.array([3.0, 4.0]), np.array([0.5, 2.0]))
    assert_array_equal(scaling.of_scores(of_scores).factor, [0.5, 1, 2, 1])
    assert_array_equal(scaling.of_scores(of_scores).centre, [3, 0, 4, 0])
    scaling = Scaling(np.array([3.0, 4.0]), np.array([0.5, 0.0]))
    assert_array_equal(scaling.of_scores(of_scores).factor, [0.5, 0, 0, 0])


def test_robust_statistics_of_targets():
    """Median 0, and the quartiles of the standard normal distribution, -+0.6745."""
    y = np.exp(np.random.default_rng(0).normal(size=(4001, 2)) * [1, 0.1]) * [1, 1e9]
    scaled = Scaling.of_targets(y, robust=True)(y)
    quartiles = np.quantile(scaled, [0.25, 0.5, 0.75], axis=0)
    assert_allclose(quartiles[1], 0, atol=2e-3)
    assert_allclose(quartiles[2] - quartiles[0], 2 * 0.6744897501960817, rtol=2e-3)


def test_statistics_of_targets():
    """Mean and standard deviation; weights are repeated rows, up to rounding."""
    ours = statistics(Scaling.of_targets(Y))
    assert_allclose(ours, [Y.mean(axis=0), 1 / Y.std(axis=0)], rtol=1e-14)
    ours = Scaling.of_targets(Y, INTEGERS.astype(float))
    repeated = Scaling.of_targets(np.repeat(Y, INTEGERS, axis=0))
    assert_allclose(statistics(ours), statistics(repeated), rtol=1e-13)


def test_many_rows_are_sampled():
    """Medians and quartiles to a third of a percent of the rows, extremes exactly."""
    rng = np.random.RandomState(0)
    rows = rng.permutation(7 * QUANTILE_ROWS + 3)[:, np.newaxis].astype(float)
    n = len(rows)
    scaling = Scaling.of_features(rows)
    assert_allclose(scaling.centre, n / 2, rtol=0.02)
    assert_allclose(1 / scaling.factor, n / 2, rtol=0.02)
    rows[n // 2 + 1] = -1e9
    assert_allclose(1 / Scaling.of_features(rows).factor, 1e9 / LARGEST, rtol=1e-3)
    rows[:] = 4.0
    rows[n // 2 + 1] = 6.0
    scaling = Scaling.of_features(rows)
    assert_allclose(statistics(scaling).ravel(), [4 + 2 / n, 0.5], rtol=1e-12)


# Weights that absorb the scaling.


def random_network(rng, d=4, h=7, k=3):
    coefs = [rng.normal(size=(d, h)), rng.normal(size=(h, k))]
    return coefs, [rng.normal(size=h), rng.normal(size=k)]


def relu_network(coefs, intercepts, X):
    (W1, W2), (b1, b2) = coefs, intercepts
    return np.maximum(X @ W1 + b1, 0) @ W2 + b2


def test_float32_absorbs_offsets_below_a_thousand_widths():
    for offset, fits in ((999.0, True), (-1000.0, False)):
        scaling = Scaling(np.array([0.0, 10 * offset]), np.array([1.0, 0.1]))
        assert scaling.absorbable_in(np.dtype("f4")) is fits
        assert scaling.absorbable_in(np.dtype("f8"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("features", [None, "dense", "sparse"])
@pytest.mark.parametrize("targets", [False, True])
def test_absorbed_weights(features, targets, seed):
    """Act on raw rows as the others do on scaled ones; separating gives these back."""
    rng = np.random.RandomState(seed)
    coefs, intercepts = random_network(rng)
    rows = rng.normal(size=(50, 4)) * [1, 1e3, 1e-6, 5] + [0, 5e4, 1, 0]
    y = rng.normal(size=(50, 3)) * [1, 1e5, 1e-3] + [0, 7, -1e3]
    scaling = None
    if features == "dense":
        scaling = Scaling.of_features(rows)
    elif features == "sparse":
        scaling = Scaling.of_features(sparse.csr_matrix(rows))
        assert scaling.centre is None
    scaled = rows if scaling is None else rows.copy()
    if scaling is not None:
        scaled = (rows - (0 if scaling.centre is None else scaling.centre)) * (
            scaling.factor
        )
    of_targets = Scaling.of_targets(y) if targets else None
    absorbed = absorb(coefs, intercepts, scaling, of_targets)
    expected = relu_network(coefs, intercepts, scaled)
    if targets:
        expected = expected * y.std(axis=0) + y.mean(axis=0)
    spread = expected.std(axis=0)
    assert_allclose(
        relu_network(*absorbed, rows) / spread, expected / spread, rtol=1e-9, atol=1e-9
    )
    again = separate(*absorbed, scaling, of_targets)
    for ours, theirs in zip(again, (coefs, intercepts), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_absorbing_changes_nothing_in_place():
    coefs, intercepts = random_network(RNG)
    before = copy.deepcopy((coefs, intercepts))
    rows, y = RNG.normal(size=(50, 4)) + 3, RNG.normal(size=(50, 3)) + 3
    scalings = Scaling.of_features(rows), Scaling.of_targets(y)
    absorbed = absorb(coefs, intercepts, *scalings)
    kept = copy.deepcopy(absorbed)
    separate(*absorbed, *scalings)
    for after, earlier in ((coefs, before[0]), (intercepts, before[1])):
        for a, b in zip(after, earlier, strict=True):
            assert_array_equal(a, b)
    for after, earlier in zip(absorbed, kept, strict=True):
        for a, b in zip(after, earlier, strict=True):
            assert_array_equal(a, b)


@over_sizes
def test_scaling_of_dense_and_sparse_rows_agree(n):
    """The first columns of a CSR that are full are scaled as those of a dense array."""
    mixed = np.column_stack([X[:n] + 5, X[:n, 3:4] * 3])
    ours = Scaling.of_features(sparse.csr_matrix(mixed), n_dense=5)
    dense = Scaling.of_features(mixed[:, :5])
    scaled = ours(sparse.csr_matrix(mixed))
    assert sparse.issparse(scaled)
    assert_allclose(scaled.toarray()[:, :5], dense(mixed[:, :5]), rtol=1e-14)
    assert_allclose(scaled.toarray()[:, 5], X[:n, 3], rtol=1e-14)
    assert_allclose(ours.centre, np.append(dense.centre, 0), rtol=1e-14)


@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
@over_solvers
@over_sizes
def test_large_offsets_in_float32(n, solver, offset):
    """float64 weights where float32 has no digits left; the same predictions."""
    options = SOLVERS[solver] | {"activation": "tanh"}
    rows = (X[:n] + offset).astype(np.float32)
    for make, y in ((regressor, Y), (classifier, LABELS)):
        narrow = make(**options).fit(rows, y[:n])
        expected = np.float32 if offset == 0 else np.float64
        assert {a.dtype for a in narrow.coefs_} == {np.dtype(expected)}
        assert {a.dtype for a in narrow.intercepts_} == {np.dtype(expected)}
        # The network on scaled rows, in float64 throughout.
        scaling, of_scores = (
            narrow._fitted.inputs.scaling,
            narrow._fitted.targets.score_scaling,
        )
        weights = separate(narrow.coefs_, narrow.intercepts_, scaling, of_scores)
        scaled = (rows.astype(np.float64) - scaling.centre) * scaling.factor
        (W1, W2), (b1, b2) = weights
        z = np.tanh(scaled @ W1 + b1) @ W2 + b2
        if of_scores is not None:
            z = z / of_scores.factor + of_scores.centre
        z_ours = (narrow.predict if make is regressor else narrow.decision_function)(
            rows
        )
        assert_allclose(z_ours, z, rtol=0, atol=1e-4 * z.std())
        # As for the same numbers in float64, where the medians are among them, too.
        odd, columns = slice(n - 1), [0, 1, 2, 4]
        narrow, wide = (
            make(**options).fit(rows[odd, columns].astype(dtype), y[odd])
            for dtype in (np.float32, np.float64)
        )
        p, q = outputs(narrow, rows[:, columns]), outputs(wide, rows[:, columns])
        # The line searches of lbfgs multiply rounding.
        tolerance = 1e-2 if solver == "lbfgs" else 1e-4
        assert_allclose(p, q, rtol=0, atol=tolerance)


# Targets.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0.0, 0.1, -1 / 3, 1e8 + 1, 1e200, -1e-200])
@over_sizes
def test_constant_targets(n, constant, dtype):
    y = np.full(n, constant)
    # as near as the dtype of X has it, unless that lacks the range or the digits
    for weights in (None, RNG.uniform(size=n)):
        model = regressor(max_iter=5).fit(X[:n].astype(dtype), y, weights)
        p = model.predict(X[:n].astype(dtype))
        assert_array_equal(p, np.full(n, constant).astype(p.dtype))
        if abs(constant) == 1e200:
            assert p.dtype == np.float64


def test_a_constant_output_beside_others():
    ours = regressor().fit(X, np.column_stack([Y, np.full(MANY, 0.1)]))
    assert_array_equal(ours.predict(X)[:, 2], 0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e200, 1e-200, 2.0**100])
@over_solvers
@over_sizes
def test_targets_of_any_size(n, solver, scale, dtype):
    rows = X[:n].astype(dtype)
    plain = regressor(**SOLVERS[solver]).fit(rows, Y[:n])
    ours = regressor(**SOLVERS[solver]).fit(rows, Y[:n] * scale)
    assert_same_run(ours, plain)
    expected = plain.predict(rows).astype(np.float64)
    # Scaled targets differ by their rounding in float64.
    tolerance = 1e-5 if dtype == np.float32 or n == MANY else 1e-9
    p = ours.predict(rows).astype(np.float64) / scale
    assert_allclose(p, expected, rtol=0, atol=tolerance)


@over_sizes
def test_offset_of_targets_in_float32(n):
    rows = X[:n].astype(np.float32)
    plain = regressor().fit(rows, Y[:n])
    ours = regressor().fit(rows, Y[:n] + 1e8)
    assert ours.coefs_[1].dtype == np.float64
    assert_same_run(ours, plain)
    # Of y + 1e8, 8 digits are left after the point.
    assert_allclose(ours.predict(rows) - 1e8, plain.predict(rows), rtol=0, atol=1e-4)


# Large data, and sparse data.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", ["auto", True, False])
@over_solvers
@over_sizes
def test_blocks_are_scaled_alike(n, solver, early_stopping, dtype, monkeypatch):
    """Large X is scaled on its way to the network: with the same result."""
    options = SOLVERS[solver] | {"early_stopping": early_stopping}
    rows = X[:n].astype(dtype) + dtype(100)
    whole = regressor(**options).fit(rows, Y[:n])
    classes = classifier(**options).fit(rows, LABELS[:n])
    monkeypatch.setattr("sklearn_bp._tables.inputs.SCALED_BYTES", 0)
    for model, again in (
        (whole, regressor(**options).fit(rows, Y[:n])),
        (classes, classifier(**options).fit(rows, LABELS[:n])),
    ):
        if solver == "lbfgs" and dtype == np.float32:
            # Blocks are computed and scaled in float64.
            assert_allclose(outputs(again, rows), outputs(model, rows), atol=1e-2)
            continue
        assert again.loss_curve_ == model.loss_curve_
        assert again.validation_loss_curve_ == model.validation_loss_curve_
        assert again.validation_scores_ == model.validation_scores_
        assert_array_equal(outputs(again, rows), outputs(model, rows))


@pytest.mark.parametrize("early_stopping", ["auto", False])
def test_large_data_is_not_copied(early_stopping, tmp_path, monkeypatch):
    """Read-only, from a file, of more than is scaled at once: 4 MB here."""
    monkeypatch.setattr("sklearn_bp._tables.inputs.SCALED_BYTES", 2**22)
    n, d = 400_000, 20
    path = tmp_path / "X"
    rows = np.memmap(path, np.float64, "w+", shape=(n, d))
    rows[:] = np.random.RandomState(0).normal(size=n)[:, np.newaxis]
    rows[:, 1] += np.arange(n) % 3
    y = rows[:, 0] > 0
    rows.flush()
    rows = np.memmap(path, np.float64, "r", shape=(n, d))
    model = classifier(
        hidden_layer_sizes=4, max_iter=1, batch_size=4096, early_stopping=early_stopping
    )
    with PeakMemory() as used:
        model.fit(rows, y)
    assert used.peak < rows.nbytes / 2
    assert model.score(rows[:1000], y[:1000]) > 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over_solvers
def test_sparse_rows_are_divided_by_their_largest(solver, dtype):
    """As if divided by the user, and then not scaled, but for the units of weights.

    Half the rows are of either class, so that the best constant is 0, and few, so
    that both are computed in the dtype of X.
    """
    rows = (X[:FEW] * (RNG.uniform(size=(FEW, 5)) < 0.5) * [1, 1e3, 1e-4, 1, 7]).astype(
        dtype
    )
    rows[:, 3] = 0
    largest = np.abs(rows).max(axis=0)
    largest[3] = 1
    order = np.argsort(Y[:FEW, 0])
    y = np.zeros(FEW, int)
    y[order[FEW // 2 :]] = 1
    targets = (Y[:FEW] - Y[:FEW].mean(axis=0)) / Y[:FEW].std(axis=0)
    options = SOLVERS[solver] | {"tol": 0.0 if solver != "lbfgs" else 1e-4}
    # lbfgs ends where the gradient is small: not within these iterations
    for make, y_ in ((classifier, y), (regressor, targets)):
        ours = make(**options).fit(sparse.csr_matrix(rows), y_)
        plain = make(**options | {"standardize": False}).fit(rows / largest, y_)
        tolerance = 1e-8 if dtype == np.float64 else 1e-4
        assert ours._fitted.inputs.scaling.centre is None
        W1 = plain.coefs_[0] / largest[:, np.newaxis]
        W1[3] = 0  # never seen; scaled by 0
        assert_allclose(
            ours.coefs_[0] * largest[:, np.newaxis],
            W1 * largest[:, np.newaxis],
            atol=tolerance,
        )
        assert_allclose(ours.coefs_[1], plain.coefs_[1], atol=tolerance)
        assert_allclose(ours.intercepts_[0], plain.intercepts_[0], atol=tolerance)
        assert_allclose(ours.intercepts_[1], plain.intercepts_[1], atol=tolerance)
        assert_allclose(
            outputs(ours, sparse.csr_matrix(rows)),
            outputs(plain, rows / largest),
            atol=tolerance,
        )


@pytest.mark.parametrize("make", [classifier, regressor])
def test_sparse_rows_stay_sparse(make):
    """A dense copy would have 320 MB."""
    n, d = 2000, 20_000
    rng = np.random.RandomState(0)
    places = rng.randint(n, size=40_000), rng.randint(d, size=40_000)
    rows = sparse.csr_matrix((rng.normal(size=40_000), places), shape=(n, d))
    y = (rows @ rng.normal(size=d)) > 0
    model = make(hidden_layer_sizes=2, max_iter=1, batch_size=500)
    with PeakMemory() as used:
        model.fit(rows, y)
        model.predict(rows)
    # Weights of 3 networks, gradients, moments, averages, copies: 1 MB each
    assert used.peak < 20e6


# Going on.


def incremental(model, n_epochs, X, y, between=lambda model: model):
    options = {}
    if hasattr(model, "predict_proba"):
        options = {"classes": np.unique(y)}
    for _ in range(n_epochs):
        model = between(model.partial_fit(X, y, **options))
    return model


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@over_sizes
def test_partial_fits_are_fit(n, solver, n_members, average):
    options = SOLVERS[solver] | {
        "n_members": n_members,
        "average": average,
        "early_stopping": False,
        "max_iter": 7,
        "n_iter_no_change": np.inf,
    }
    for make, y in ((regressor, Y), (classifier, LABELS)):
        whole = make(**options).fit(X[:n], y[:n])
        for between in (
            lambda model: model,
            lambda model: pickle.loads(pickle.dumps(model)),
            copy.deepcopy,
        ):
            options["early_stopping"] = "auto"  # which holds nothing out here
            model = incremental(make(**options), 7, X[:n], y[:n], between)
            assert model.validation_loss_curve_ is None
            assert model.loss_curve_ == whole.loss_curve_
            assert_same_run(model, whole)
            assert_same_weights(model, whole)
        options["early_stopping"] = False


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@over_sizes
def test_weights_set_by_hand_are_taken(n, solver, n_members, average):
    """Between two calls, the second of which hardly moves the weights."""
    options = SOLVERS[solver] | {
        "n_members": n_members,
        "average": average,
        "momentum": 0.0,
        "beta_1": 0.0,
        "alpha": 0.0,
    }
    for make, y in ((regressor, Y), (classifier, LABELS)):
        model = incremental(make(**options), 3, X[:n], y[:n])
        model.coefs_ = [w * 1.5 for w in model.coefs_]
        model.intercepts_ = [b * 0.5 for b in model.intercepts_]
        expected = outputs(model, X)
        model.set_params(learning_rate_init=1e-300)
        model.partial_fit(X[:n], y[:n])
        assert_allclose(outputs(model, X), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(("first", "second"), [(FEW, MANY), (MANY, FEW)])
def test_calls_of_few_and_of_many_rows(first, second, solver):
    """Alone, the first would be computed in float64, and the second in float32. Tiny
    changes of the weights by hand hardly matter.
    """
    options = SOLVERS[solver] | {"n_members": 1, "average": False}
    runs = []
    for change in (1, 1 + 1e-9):
        model = regressor(**options)
        for _ in range(3):
            model.partial_fit(X[:first], Y[:first])
        model.coefs_ = [w * change for w in model.coefs_]
        for _ in range(3):
            model.partial_fit(X[:second], Y[:second])
        runs.append(model)
    assert_allclose(runs[0].loss_curve_, runs[1].loss_curve_, rtol=1e-4)
    assert_allclose(runs[0].predict(X), runs[1].predict(X), atol=1e-4)


@pytest.mark.parametrize("average", [True, False])
@over_solvers
@over_sizes
def test_warm_start_continues(n, solver, average):
    """The loss starts where the first fit would have continued."""
    options = SOLVERS[solver] | {
        "n_members": 1,
        "early_stopping": False,
        "average": average,
        "batch_size": "full",
        "n_iter_no_change": np.inf,
        "warm_start": True,
    }
    for make, y in ((regressor, Y), (classifier, LABELS)):
        model = make(**options).fit(X[:n], y[:n])
        before = outputs(model, X)
        model.set_params(max_iter=1, learning_rate_init=1e-9)
        z = objective(model, X[:n], y[:n])
        model.fit(X[:n], y[:n])
        if solver != "lbfgs":  # whose iteration ends elsewhere
            assert_allclose(model.loss_curve_[-1], z, rtol=1e-4)
            assert_allclose(outputs(model, X), before, rtol=1e-4, atol=1e-4)
        else:
            assert model.loss_curve_[-1] <= z * (1 + 1e-6)


def objective(model, X, y):
    """The loss at a fitted model's weights, on scaled data, penalty included."""
    scaling, of_scores = (
        model._fitted.inputs.scaling,
        model._fitted.targets.score_scaling,
    )
    coefs, intercepts = separate(model.coefs_, model.intercepts_, scaling, of_scores)
    scaled = scaling(X.astype(np.float64))
    scores = relu_network(coefs, intercepts, scaled)
    if of_scores is not None:
        values = ((scores - of_scores(y)) ** 2).mean(axis=1) / 2
    else:
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        values = -np.log(p[np.arange(len(y)), np.searchsorted(model.classes_, y)])
    penalty = model.alpha / 2 * sum((w**2).sum() for w in coefs)
    return values.mean() + penalty / len(y)


@over_solvers
@over_sizes
def test_members_continue_too(n, solver):
    options = SOLVERS[solver] | {
        "early_stopping": False,
        "average": False,
        "max_iter": 30,
        "warm_start": True,
        "batch_size": "full",
    }
    model = regressor(**options).fit(X[:n], Y[:n])
    before, last = model.predict(X), model.loss_curve_[-1]
    model.set_params(max_iter=1, learning_rate_init=1e-9).fit(X[:n], Y[:n])
    assert_allclose(model.loss_curve_[-1], last, rtol=0.05)
    if solver != "lbfgs":
        assert_allclose(model.predict(X), before, atol=1e-4)


@over_sizes
def test_losses_of_members_are_means(n):
    """For every solver; before anything is learned, the loss of the best constant."""
    options = {"early_stopping": False, "average": False, "batch_size": "full"}
    options |= {"alpha": 0.0, "max_iter": 1, "tol": 1e9, "init": "zeros"}
    for solver in SOLVERS:
        model = regressor(**options | {"solver": solver}).fit(X[:n], Y[:n])
        assert_allclose(model.loss_, 0.5, rtol=1e-5)


def test_the_network_on_scaled_rows_is_the_estimator():
    """The view of training: scores of the separated weights, in training units."""
    model = regressor().fit(X, Y)
    coefs, intercepts = separate(
        model.coefs_,
        model.intercepts_,
        model._fitted.inputs.scaling,
        model._fitted.targets.score_scaling,
    )
    network = TwoLayerNetwork(ACTIVATIONS["relu"], REGRESSOR_LOSSES["squared_error"])
    weights = Weights(coefs[0], intercepts[0], coefs[1], intercepts[1])
    z = network.scores(weights, X, scaling=model._fitted.inputs.scaling)
    assert_allclose(
        model._fitted.targets.score_scaling.backwards(z),
        model.predict(X),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize("form", ["dense", "csr"])
@pytest.mark.parametrize("unit", [2.0**-126, 2.0**-132, 2.0**100])
def test_columns_near_the_ends_of_float32(unit, form):
    """Fitted as the same columns in another unit, but for digits of subnormals."""
    rng = np.random.RandomState(0)
    rows = np.round(rng.normal(size=(150, 3)) * 64, 0) / 64
    y = (rows[:, 0] + rows[:, 1] > 0).astype(int)
    rows = rows.astype(np.float32)
    settings = {"hidden_layer_sizes": 8, "n_members": 2, "max_iter": 20}
    settings |= {"random_state": 0, "n_iter_no_change": 20}

    def probability(x):
        x = sparse.csr_matrix(x) if form == "csr" else x
        model = sklearn_bp.TwoLayerClassifier(**settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(x, y).predict_proba(x)

    assert_allclose(
        probability(rows * np.float32(unit)), probability(rows), rtol=1e-3, atol=1e-4
    )
