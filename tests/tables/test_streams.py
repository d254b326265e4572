"""Streams: statistics that merge, and weights that follow them.

However a data set is cut into parts, the statistics of its columns are those of the
whole, and training continues from the function that the network computes.
"""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from compare import outputs
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from slow import slow_but

from sklearn_bp import DivergenceError, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.column_statistics import POINTS, ColumnStatistics
from sklearn_bp._tables.inputs import NewRows
from sklearn_bp._tables.reexpress import (
    Rearrangement,
    Reexpression,
    Scalings,
    Symmetries,
)
from sklearn_bp._tables.running import of_features, settled
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.target_statistics import TargetStatistics
from sklearn_bp.initializers import he_normal
from sklearn_bp.losses import REGRESSOR_LOSSES, GaussianNLL, Quantile
from sklearn_bp.optimizers import SGD, Adam

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)


def cuts(rng, n):
    """The bounds of some parts, down to single rows."""
    kind = rng.integers(4)
    if kind == 0:
        return np.arange(n + 1)
    inner = rng.integers(1, n, size=[1, 5, 40][kind - 1])
    return np.unique([0, *inner, n])


def drawn_columns(rng, n, holes=False):
    """Columns of all kinds: smooth, skewed, few values, constant, constant at first."""
    X = np.column_stack(
        [
            rng.normal(size=n) * 3 + 1e4,
            rng.exponential(size=n),
            rng.integers(0, 5, size=n),
            rng.random(n) < 0.1,
            np.full(n, 7.0),
            np.where(rng.random(n) < 0.6, 0, rng.normal(size=n)),
            np.where(np.arange(n) < n // 2, 2.0, rng.normal(size=n)),
        ]
    )
    if holes:
        X[rng.random(X.shape) < 0.2] = np.nan
        X[: n // 3, 1] = np.nan
        return X
    return np.sort(X, axis=0) if rng.random() < 0.3 else X


def rank_errors(X, weights, found):
    """How far quartiles are from their levels, as shares of the rows."""
    weights = weights / weights.sum()
    errors = []
    for level, values in zip((0.5, 0.25, 0.75), found, strict=True):
        slack = 1e-6 * np.ptp(X, axis=0)
        below = weights @ (values - slack > X)
        up_to = weights @ (values + slack >= X)
        errors.append(np.maximum(0, np.maximum(below - level, level - up_to)))
    return np.array(errors)


def statistics_of(X, n_dense=None):
    """`Running` statistics of the features of rows that are all there are."""
    rows = NewRows(X.shape[0], None, 0, n_before=None)
    return of_features(X, rows, n_dense)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_parts_merge_to_those_of_the_whole(seed, weighted):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 40, POINTS, 700, 3000]))
    X = drawn_columns(rng, n)
    weights = rng.integers(1, 4, size=n).astype(float) if weighted else None
    whole, merged = ColumnStatistics.of(X, weights), None
    for start, stop in itertools.pairwise(cuts(rng, n)):
        of_rows = None if weights is None else weights[start:stop]
        part = ColumnStatistics.of_part(X[start:stop], of_rows, start)
        merged = part if merged is None else merged.merged(part)
    for name in ("weight", "low", "high", "pair", "of_high"):
        assert_array_equal(getattr(merged, name), getattr(whole, name), err_msg=name)
    if n <= POINTS:
        assert_array_equal(merged.quartiles, whole.quartiles)
    weights = np.ones(n) if weights is None else weights
    # Some thousand rows enter, and each merge moves a quartile by up to 1 / POINTS.
    assert rank_errors(X, weights, merged.quartiles).max() < 0.03


@pytest.mark.parametrize("seed", range(16))
def test_missing_values_count_as_medians_of_all(seed):
    """Independently of the median that was known when they arrived."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([3, 40, POINTS, 700]))
    X, merged = drawn_columns(rng, n, holes=True), None
    weights = rng.integers(1, 4, size=n).astype(float) if seed % 2 else np.ones(n)
    for start, stop in itertools.pairwise(cuts(rng, n)):
        part = ColumnStatistics.of_part(X[start:stop], weights[start:stop], start)
        merged = part if merged is None else merged.merged(part)
    filled = X.copy()
    for column in filled.T:
        missing = np.isnan(column)
        median = 0.0
        if not missing.all():
            values = np.repeat(column[~missing], weights[~missing].astype(int))
            median = np.median(values)
        column[missing] = median
    assert_allclose(merged.missing, weights @ np.isnan(X))
    found, whole = merged.filled(), ColumnStatistics.of(filled, weights)
    if n > POINTS:
        # Of the values observed; the median of all is among those that fill holes.
        for j, column in enumerate(X.T):
            seen = ~np.isnan(column)
            if not seen.any():
                continue
            median = [found.three[:1, j : j + 1]] * 3
            error = rank_errors(column[seen, np.newaxis], weights[seen], median)[0]
            assert error.max() < 0.03
        few = np.isnan(X).mean(axis=0) < 0.3  # quartiles are no medians there
        assert rank_errors(filled, weights, found.three)[1:, few].max() < 0.03
        return
    for name in ("low", "high", "pair", "of_high", "three"):
        assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_a_column_without_a_value_has_no_weight(seed):
    """Whatever the rounding of weights; other columns are not affected."""
    rng = np.random.default_rng(seed)
    X, weights = rng.normal(size=(400, 2)), rng.exponential(size=400)
    with_it, without = None, None
    X = np.insert(X, 1, np.nan, axis=1)
    for start, stop in itertools.pairwise(cuts(rng, 400)):
        rows = slice(start, stop)
        for columns in ([0, 1, 2], [0, 2]):
            part = ColumnStatistics.of_part(X[rows][:, columns], weights[rows], start)
            if len(columns) == 3:
                with_it = part if with_it is None else with_it.merged(part)
            else:
                without = part if without is None else without.merged(part)
    assert with_it.missing[1] == with_it.weight
    assert_allclose(with_it.filled().quartiles[:, 1], 0)
    error = rank_errors(X[:, [0, 2]], weights, with_it.quartiles[:, [0, 2]]).max()
    assert error < 0.03
    assert_allclose(with_it.low[[0, 2]], without.low)


@pytest.mark.parametrize("seed", range(12))
def test_moments_of_targets_merge_to_those_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([2, 50, 400]))
    Y = rng.normal(size=(n, 2)) * 10.0 ** rng.integers(-200, 150, size=2)
    Y[: n // 3] = 0
    weights = rng.uniform(0.1, 2, size=n)
    merged = None
    for start, stop in itertools.pairwise(cuts(rng, n)):
        part = TargetStatistics.of(Y[start:stop], weights[start:stop])
        merged = part if merged is None else merged.merged(part)
    whole = TargetStatistics.of(Y, weights)
    assert_allclose(merged.unit, whole.unit)
    assert_allclose(merged.weight, whole.weight)
    assert_allclose(merged.mean, whole.mean, rtol=1e-9, atol=1e-12)
    assert_allclose(merged.variance, whole.variance, rtol=1e-9, atol=1e-15)
    assert_allclose(merged.share, whole.share, rtol=1e-12)


def drawn_table(rng, n):
    """A table whose parts differ in their levels and missing values."""
    rest = np.arange(n)
    table = pd.DataFrame(
        {
            "size": rng.normal(50, 10, n),
            "late": np.where(rest < n // 3, np.nan, rng.normal(size=n)),
            "holes": np.where(
                (rest > n // 2) & (rng.random(n) < 0.3), np.nan, rng.normal(size=n)
            ),
            "town": rng.choice(["Aachen", "Bonn"], n),
            "word": pd.Series([None] * n, dtype=object),
        }
    )
    table.loc[n // 2 :, "town"] = rng.choice(["Bonn", "Celle", None], n - n // 2)
    table.loc[2 * n // 3 :, "word"] = rng.choice(["x", "y"], n - 2 * n // 3)
    return table


@pytest.mark.parametrize("seed", slow_but(range(2), range(8)))
def test_columns_and_scaling_are_those_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    n = 240
    table = drawn_table(rng, n)
    y = table["size"].to_numpy() / 10 + rng.normal(size=n)
    whole = TwoLayerRegressor(2, random_state=0, max_iter=1).fit(table, y)
    model = TwoLayerRegressor(2, random_state=0)
    for start, stop in itertools.pairwise(cuts(rng, n)):
        model.partial_fit(table[start:stop], y[start:stop])
    assert_array_equal(model.encoded_feature_names_, whole.encoded_feature_names_)
    ours, theirs = model._fitted.inputs.scaling, whole._fitted.inputs.scaling
    # Settled after each twentieth more rows, and no nearer than a twentieth.
    assert_allclose(ours.factor, theirs.factor, rtol=0.25)
    assert_allclose(
        ours.centre * theirs.factor, theirs.centre * theirs.factor, atol=0.2
    )
    ours, theirs = (
        model._fitted.targets.score_scaling,
        whole._fitted.targets.score_scaling,
    )
    assert_allclose(ours.factor, theirs.factor, rtol=0.1)
    assert_allclose(model.target_range_, whole.target_range_)


@pytest.mark.parametrize("seed", range(12))
def test_a_first_part_has_the_scaling_of_a_fit(seed):
    """With or without missing and wild values, weights, and entries of zero."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([POINTS - 1, POINTS + 1, 300, 2500]))
    X = drawn_columns(rng, n)
    X[rng.integers(n), 0] = 1e12
    if seed < 3:
        X = sparse.csr_matrix(X)
    else:
        X[rng.random(X.shape) < rng.choice([0, 0.3, 0.6])] = np.nan
        X[:, rng.integers(7)] = rng.choice([np.nan, 1.0])
    y = rng.normal(size=n)
    weights = rng.integers(1, 4, size=n) if seed % 2 else None
    options = {"hidden_layer_sizes": 2, "n_members": 1, "random_state": 0}
    whole = TwoLayerRegressor(max_iter=1, **options).fit(X, y, weights)
    part = TwoLayerRegressor(**options).partial_fit(X, y, weights)
    theirs, ours = (m._fitted.inputs.scaling for m in (whole, part))
    assert_allclose(ours.factor, theirs.factor, rtol=1e-12)
    assert_allclose(ours.limits, theirs.limits, rtol=1e-12)
    if seed >= 3:
        assert_allclose(ours.centre, theirs.centre, rtol=1e-12)


def still(model):
    """The model, set to continue training with steps of length 0."""
    return model.set_params(learning_rate_init=1e-12, alpha=0.0)


# Without momentum and the average, which move weights by themselves.
STREAMS = {
    "defaults": {"average": False},
    "sgd": {
        "solver": "sgd",
        "learning_rate_init": 0.01,
        "average": False,
        "momentum": 0.0,
    },
    "rmsprop": {"solver": "rmsprop", "average": False},
    "one network, all layers": {
        "n_members": 1,
        "skip_layer": True,
        "scaling_layer": True,
        "average": False,
    },
    "skip layer": {"average": False, "skip_layer": True},
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("loss", ["squared_error", GaussianNLL(), "poisson", "gamma"])
@pytest.mark.parametrize("warm", slow_but([False], [False, True]))
def test_function_does_not_jump(warm, loss, name):
    """For any next rows: other scales, new levels, missing values."""
    rng = np.random.default_rng(0)
    table = drawn_table(rng, 300)
    y = table["size"].to_numpy() + 5 * (table["town"] == "Bonn") - 40
    if loss in ("poisson", "gamma"):
        y = np.abs(y) + 1
    options = STREAMS[name] | {"loss": loss, "warm_start": warm, "max_iter": 5}
    model = TwoLayerRegressor(8, random_state=0, **options)
    first = table[:100]
    for _ in range(15):
        model.partial_fit(first, y[:100])
    if warm:
        model.partial_fit(first, y[:100])
    before, old = model.predict(table), len(model.encoded_feature_names_)
    low, high = model.target_range_
    later = table[100:].copy()
    later["size"] *= 3
    later["late"] = later["late"] * 1000 + 5
    still(model)
    if warm:
        model.set_params(max_iter=1, early_stopping=False)
        model.fit(later, 100 * y[100:] + 7)
    else:
        model.partial_fit(later, 100 * y[100:] + 7)
    assert len(model.encoded_feature_names_) > old
    inside = (before > low) & (before < high)
    assert inside.mean() > 0.7
    after = model.predict(table)
    spread = np.std(before)
    # Weights are float32.
    assert_allclose(after[inside], before[inside], rtol=1e-4, atol=1e-4 * spread)


def stream(model, X, y, size, passes, **options):
    for _ in range(passes):
        for start in range(0, len(y), size):
            rows = slice(start, start + size)
            model.partial_fit(X[rows], y[rows], **options)
            options = {}
    return model


RNG = np.random.default_rng(0)
Z = RNG.normal(size=(1000, 2))


def waking(n):
    X = Z.copy()
    X[:n, 1] = 0
    return X


def missing(n):
    X = Z.copy()
    X[:n, 1] = np.nan
    return X


def sexes(n):
    sex = np.where(Z[:, 1] > 0, "f", "m")
    sex[:n] = "f"
    return pd.DataFrame({"x": Z[:, 0], "sex": sex})


def y_of(X):
    if isinstance(X, pd.DataFrame):
        return X["x"].to_numpy() + 3 * (X["sex"] == "f").to_numpy()
    return X[:, 0] + 3 * np.nan_to_num(X[:, 1])


def constant(n):
    return np.where(np.arange(1000) < n, 2.0, Z[:, 0] + 3 * Z[:, 1])


CASES = {
    "constant column": (waking(300), y_of(waking(300))),
    "missing column": (missing(300), y_of(missing(300))),
    "one level": (sexes(300), y_of(sexes(300))),
    "constant target": (Z, constant(300)),
    "nothing at all": (waking(100) * [0, 1], 3 * waking(100)[:, 1]),
    "offset": (1e6 + waking(300), y_of(waking(300))),
    "another scale": (
        np.where(np.arange(1000) < 300, 0.03, 1)[:, None] * Z,
        Z[:, 0] * np.where(np.arange(1000) < 300, 0.03, 1),
    ),
}


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("constant column", "squared_error"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *((case, "squared_error") for case in list(CASES)[1:]),
                ("another scale", "absolute_error"),
                ("one level", "gaussian_nll"),
                ("constant column", Quantile([0.2, 0.5])),
            ]
        ),
    ],
)
def test_a_stream_ends_near_the_fit(case, loss):
    X, y = CASES[case]
    whole = TwoLayerRegressor(random_state=0, loss=loss, max_iter=60).fit(X, y)
    model = stream(TwoLayerRegressor(random_state=0, loss=loss), X, y, 100, 12)
    assert model.score(X, y) > whole.score(X, y) - 0.05


@pytest.mark.parametrize(
    "case", slow_but(["one level"], ["constant column", "one level", "missing column"])
)
def test_classes_of_a_stream(case):
    X, y = CASES[case]
    y = np.where(y > np.median(y), "high", "low")
    whole = TwoLayerClassifier(random_state=0).fit(X, y)
    model = TwoLayerClassifier(random_state=0)
    stream(model, X, y, 100, 12, classes=["high", "low"])
    assert model.score(X, y) > whole.score(X, y) - 0.03


def test_a_scaling_is_settled_again_after_a_twentieth_more_rows():
    X = np.random.default_rng(0).uniform(-1, 1, size=(105, 2))
    first = statistics_of(X[:100])
    _, scaling = first.settled(X.dtype)
    for n, due in ((104, False), (105, True)):
        assert first.merged(statistics_of(X[100:n])).is_due(scaling) is due


# name: the number of first rows, and those of them that are wild; a single first row
# makes all columns constant.
FIRST_ROWS = {"a wild row": (1, [0]), "a constant": (5, range(5)), "wild": (19, [3])}


@pytest.mark.parametrize("size", slow_but([1e6], [1e4, 1e6, 1e30, 1e300]))
@pytest.mark.parametrize("first", FIRST_ROWS)
@pytest.mark.parametrize("n_columns", [1, 4])
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_wild_first_rows_do_not_spoil_a_stream(task, n_columns, first, size):
    """They make columns wide or constant, so that nothing is known of the others."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, n_columns))
    y = np.abs(X[:, 0]) + 0.5 * X[:, -1]
    n_first, rows = FIRST_ROWS[first]
    spoilt = X.copy()
    spoilt[list(rows)] = size
    kind, options = TwoLayerRegressor, {}
    if task == "classes":
        kind, y, options = TwoLayerClassifier, y > 0.7, {"classes": [False, True]}
    model = kind(random_state=0).partial_fit(spoilt[:n_first], y[:n_first], **options)
    model.partial_fit(spoilt[n_first:60], y[n_first:60])
    stream(model, spoilt, y, 60, 8)
    assert model.score(X[20:], y[20:]) > 0.9


@pytest.mark.parametrize("size", slow_but([1e6], [100, 1e3, 1e6]))
@pytest.mark.parametrize("n_first", [1, 5, 19, 40])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_a_wild_row_among_the_first_does_not_slow_a_stream(task, form, n_first, size):
    """Sparse columns keep no quantiles, and gradients by wild values say nothing."""
    rng = np.random.default_rng(0)
    X = np.where(rng.random((360, 6)) < 0.5, np.abs(rng.normal(size=(360, 6))), 0)
    y = X[:, 0] + X[:, 1] - X[:, 2]
    kind, options = TwoLayerRegressor, {}
    if task == "classes":
        kind, y, options = TwoLayerClassifier, y > 0.4, {"classes": [False, True]}
    spoilt = X.copy()
    spoilt[n_first // 2] *= size
    model = kind(random_state=0)
    for _ in range(6):
        for start, stop in itertools.pairwise([0, n_first, *range(60, 361, 60)]):
            model.partial_fit(form(spoilt[start:stop]), y[start:stop], **options)
    assert model.score(form(X[40:]), y[40:]) > 0.9


def drawn_stream(rng, form):
    """Parts of 1 to 120 rows in any units, with wild and missing values and levels."""
    d, parts = rng.integers(1, 5), []
    for _ in range(rng.integers(1, 7)):
        n = rng.choice([1, 2, 5, 19, 20, 40, 120])
        X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, size=d)
        if rng.random() < 0.3:
            size = rng.choice([1e30, -1e150, 1e300, 1e-310, 5e-324])
            X[rng.integers(n), rng.integers(d)] = size
        if form == "CSR":
            X[rng.random(X.shape) < 0.6] = 0
            X = sparse.csr_matrix(X)
        elif rng.random() < 0.3:
            X[rng.random(X.shape) < 0.3] = np.nan
        if form == "table":
            levels = rng.choice(["a", "b", "c", None], size=n)
            X = pd.DataFrame(X).set_axis([f"c{j}" for j in range(d)], axis=1)
            X["level"] = pd.Categorical(levels)
        weights = rng.integers(0, 3, size=n) * 10.0 ** rng.integers(-20, 20)
        weights[0] = weights[0] or 1.0
        parts.append((X, weights if rng.random() < 0.3 else None))
    return parts


@pytest.mark.parametrize("form", ["array", "CSR", "table"])
@pytest.mark.parametrize("seed", slow_but(range(8), range(40)))
def test_any_stream_has_finite_predictions(seed, form):
    """And continues by fit with warm_start, whatever its last rows are."""
    rng = np.random.default_rng(seed)
    parts, n_hidden = drawn_stream(rng, form), int(rng.integers(1, 6))
    kind, options = TwoLayerRegressor, {}
    if seed % 2:
        kind, options = TwoLayerClassifier, {"classes": [0, 1, 2]}
    model = kind(n_hidden, random_state=0, max_iter=2)
    for X, weights in parts:
        y = rng.normal(size=X.shape[0])
        if options:
            y = (np.arange(len(y)) + rng.integers(3)) % 3
        model.partial_fit(X, y, sample_weight=weights, **options)
        assert np.isfinite(outputs(model, X)).all()
        assert np.isfinite(model.feature_importances_).all()
    if not options or len(y) >= 3:
        model.set_params(warm_start=True).fit(X, y)
        assert np.isfinite(outputs(model, X)).all()


@pytest.mark.parametrize("n_dense", [None, 0])
def test_a_scaling_is_settled_again_for_values_half_as_far_out_again(n_dense):
    """Dense ones beyond 1.5 times eight widths, sparse ones beyond 1.5 times."""
    X = np.random.default_rng(0).uniform(-1, 1, size=(100, 2))
    X[0] = 1.0
    convert = np.asarray if n_dense is None else sparse.csr_matrix
    first = statistics_of(convert(X), n_dense)
    _, scaling = first.settled(X.dtype)
    centre = np.zeros(2) if scaling.centre is None else scaling.centre
    limit = 1.5 if n_dense == 0 else 12.0
    scaling = replace(scaling, limits=None)
    for far, due in ((0.99 * limit, False), (1.01 * limit, True)):
        row = convert((centre + far / scaling.factor)[np.newaxis])
        assert first.merged(statistics_of(row, n_dense)).is_due(scaling) is due


def widened(parameters, width, n_rows):
    """The input weights after two columns turned out to be `width` times as wide."""
    of_scores = np.zeros(1), np.ones(1)
    narrow = Scalings(np.zeros(2), np.ones(2), *of_scores)
    wide = Scalings(np.zeros(2), np.full(2, 1 / width), *of_scores)
    same = Rearrangement(np.arange(2), [])
    change = Reexpression(narrow, wide, same, n_rows, Symmetries())
    return change.parameters(parameters).W1


@pytest.mark.parametrize(
    ("width", "n_rows", "growth"),
    [(2.0, 9, 1.0), (2.0, 10, 2.0), (2.0**24, 10, 2.0**24), (2.0**25, 10, 1.0)],
)
def test_weights_grow_with_the_width_of_their_column(width, n_rows, growth):
    """Not before there are ten rows, and not where float32 cannot tell rows apart."""
    rng = np.random.RandomState(0)
    parameters = Parameters.draw((2, 3, 1), np.float64, he_normal, rng, 6.0)
    assert_allclose(widened(parameters, width, n_rows), growth * parameters.W1)


@pytest.mark.parametrize("seed", range(5))
def test_columns_keep_a_scaling_that_differs_by_less_than_a_twentieth(seed):
    """In its width, and in its centre by widths."""
    rng = np.random.default_rng(seed)
    before = Scaling(rng.normal(size=60), rng.uniform(0.5, 2, 60))
    ratio, moved = rng.uniform(0.9, 1.1, 60), rng.uniform(-0.1, 0.1, 60)
    factor = ratio * before.factor
    after = Scaling(before.centre + moved / factor, factor)
    kept = (np.abs(ratio - 1) < 0.05) & (np.abs(moved) < 0.05)
    new = settled(before, after)
    assert_array_equal(new.factor, np.where(kept, before.factor, after.factor))
    assert_array_equal(new.centre, np.where(kept, before.centre, after.centre))


@pytest.mark.parametrize(("narrower", "kept"), [(2.0, True), (7.9, True), (8.1, False)])
@pytest.mark.parametrize("power", [1, 2])
def test_moments_of_gradients_follow_a_column_that_becomes_narrower(
    narrower, kept, power
):
    """By its width, to their power; beyond 8, they came from wild values and are 0."""
    rng = np.random.RandomState(0)
    parameters = Parameters.draw((2, 3, 1), np.float64, he_normal, rng, 6.0)
    of_scores = np.zeros(1), np.ones(1)
    before = Scalings(np.zeros(2), np.ones(2), *of_scores)
    after = Scalings(np.zeros(2), np.array([1.0, narrower]), *of_scores)
    same = Rearrangement(np.arange(2), [])
    change = Reexpression(before, after, same, 100, Symmetries())
    moments = parameters.like(rng.normal(size=parameters.flat.size))
    moved = parameters.like(change.vector(parameters, moments.flat, power))
    factors = np.array([[1.0], [narrower**power if kept else 0.0]])
    assert_allclose(moved.W1, factors * moments.W1, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_hidden_units_are_rescaled_so_that_input_weights_keep_their_size(seed):
    """If f(c z) = c f(z): their root mean square over the columns, and the scores."""
    rng = np.random.RandomState(seed)
    parameters = Parameters.draw((4, 3, 2), np.float64, he_normal, rng, 6.0)
    of_scores = np.zeros(2), np.ones(2)
    before = Scalings(rng.normal(size=4), rng.uniform(0.5, 2, 4), *of_scores)
    after = Scalings(rng.normal(size=4), rng.uniform(0.5, 2, 4), *of_scores)
    same, symmetries = Rearrangement(np.arange(4), []), Symmetries(homogeneous=True)
    change = Reexpression(before, after, same, 100, symmetries)
    moved, X = change.parameters(parameters), rng.normal(size=(20, 4))
    ratios = moved.W1 / parameters.W1
    assert_allclose(np.sqrt(np.mean(ratios**2, axis=0)), 1, rtol=1e-12)
    scores = [
        np.maximum((X - s.centre) * s.factor @ p.W1 + p.b1, 0) @ p.W2 + p.b2
        for s, p in ((before, parameters), (after, moved))
    ]
    assert_allclose(scores[1], scores[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "quantile"])
@pytest.mark.parametrize("unit", [0.2, 3.0])
def test_the_loss_to_beat_grows_with_the_unit_of_the_targets(name, unit):
    """As the losses of predictions do."""
    columns, loss = (np.zeros(2), np.ones(2)), REGRESSOR_LOSSES[name]
    before, after = (
        Scalings(*columns, np.zeros(1), np.array([factor])) for factor in (1.0, unit)
    )
    same, symmetries = Rearrangement(np.arange(2), []), Symmetries(degree=loss.degree)
    change = Reexpression(before, after, same, 100, symmetries)
    p, y = np.random.default_rng(0).normal(size=(2, 30, 1))
    grown = loss.value(unit * p, unit * y)
    assert_allclose(change.growth * loss.value(p, y), grown, rtol=1e-12)


def ordered(seed):
    """Rows in the order of the target or of a column, and the length of parts."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(80, 3))
    X[:, 1] = np.exp(2 * X[:, 1])
    y = X[:, 0] + 3 * np.abs(X[:, 2]) + 100
    by = [y, X[:, 0], -X[:, 1], -y][seed % 4]
    X, y = X[np.argsort(by)], y[np.argsort(by)]
    if seed % 3 == 0:
        y[:20] = y[0]
    return X, y, [3, 10, 25, 60][int(rng.integers(4))]


def test_gradient_descent_on_rows_in_an_order_does_not_diverge():
    """It is also no worse than MLPRegressor, which knows the scales of all rows."""
    ours, theirs = [], []
    for seed in (0, 1, 5, 8):
        X, y, size = ordered(seed)
        options = {"solver": "sgd", "random_state": 0, "learning_rate_init": 0.01}
        model = stream(TwoLayerRegressor(**options), X, y, size, 2 if size < 10 else 6)
        ours.append(model.score(X, y))
        Z, v = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
        mlp = stream(MLPRegressor(**options), Z, v, size, 2 if size < 10 else 6)
        theirs.append(mlp.score(Z, v))
    assert min(ours) > -0.5
    assert np.mean(ours) > np.mean(theirs) - 0.1


def test_gradients_of_later_parts_are_clipped_at_a_norm_of_5():
    """As by an object that says so; those of the first part here are short."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(80, 20))
    y = np.r_[X[:40, 0], 30 + X[40:, 0]]  # the second part is far off
    options = {"hidden_layer_sizes": 50, "n_members": 1, "random_state": 0}
    options["learning_rate_init"] = 0.01
    predicted = []
    for solver in ("sgd", SGD(clip_norm=5.0), SGD(clip_norm=6.0)):
        model = TwoLayerRegressor(solver=solver, **options)
        model.partial_fit(X[:40], y[:40]).partial_fit(X[40:], y[40:])
        predicted.append(model.predict(X))
    by_name, at_5, at_6 = predicted
    assert_allclose(by_name, at_5, rtol=1e-9)
    assert np.abs(by_name - at_6).max() > 0.1


@pytest.mark.parametrize("seed", range(2))
def test_clipped_gradients_do_not_diverge_where_the_error_advises_them(seed):
    """With a few rows that are far out in all columns; by its name, sgd clips them."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, 8))
    rows[:2] *= 30
    y = np.tanh(rows[:, 0]) + 0.3 * rows[:, 1] + 0.1 * rng.normal(size=200)
    with pytest.raises(DivergenceError, match=r"by solver=SGD\(clip_norm=5\)"):
        TwoLayerRegressor(solver=SGD(), random_state=0).fit(rows, y)
    clipped, by_name = (
        TwoLayerRegressor(solver=solver, random_state=0).fit(rows, y)
        for solver in (SGD(clip_norm=5), "sgd")
    )
    assert clipped.score(rows, y) > 0.7
    assert np.array_equal(clipped.predict(rows), by_name.predict(rows))


@pytest.mark.parametrize("solver", ["adam", "rmsprop", "adamw"])
def test_a_wild_target_does_not_spoil_the_steps_that_follow(solver):
    """In the last part of a stream, a short one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(301, 4))
    y = X @ [1.0, 2.0, -1.0, 0.5]
    y[-1] = 20
    model = stream(TwoLayerRegressor(random_state=0, solver=solver), X, y, 50, 6)
    assert model.score(X[:-1], y[:-1]) > 0.7


def test_single_rows_with_heavy_tailed_targets():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    y = np.exp(X @ [1.2, 0.6, -1.2, 0.4])
    model = stream(TwoLayerRegressor(random_state=0), X, y, 1, 1)
    assert model.score(X, y) > 0.2


@pytest.mark.parametrize("n_rows", [1, 8])
def test_gradients_of_adam_are_clipped_in_parts_with_wild_targets(n_rows):
    """Only there is a step another one."""
    X = np.random.RandomState(0).normal(size=(300 + n_rows, 20))
    for size, clips in ((3.6, False), (80, True)):
        y = np.sign(X[:, 0])
        y[-1] = y[:300].mean() + size * y[:300].std()
        steps = []
        for solver in ("adam", Adam(), Adam(clip_norm=1e-9)):
            model = TwoLayerRegressor(random_state=0, n_members=1, solver="adam")
            model.partial_fit(X[:300], y[:300])
            if solver != "adam":
                model.set_params(solver=solver)
            model.partial_fit(X[300:], y[300:])
            steps.append(model.predict(X))
        by_name, plain, clipped = steps
        assert np.abs(plain - clipped).max() > 1e-3
        assert np.array_equal(by_name, plain) is not clips


def test_one_row_at_a_time():
    X, y = waking(300), y_of(waking(300))
    ours = stream(TwoLayerRegressor(random_state=0), X, y, 1, 1)
    theirs = stream(MLPRegressor(random_state=0), X, y, 1, 1)
    assert ours.score(X, y) > theirs.score(X, y) - 0.1


@pytest.mark.parametrize(
    "solver", slow_but(["adam"], ["adam", "sgd", "rmsprop", "adamw"])
)
def test_single_rows_after_a_good_fit(solver):
    """The penalty and the length of a batch go by all rows so far."""
    X = 5 + np.random.default_rng(1).normal(size=(400, 5))
    y = X[:, 0]
    model = TwoLayerRegressor(random_state=0, solver=solver)
    model.fit(X, y)
    before = model.score(X, y)
    stream(model, X[:200], y[:200], 1, 1)
    # Without adaptive steps a rate for batches is a high one for single rows.
    assert model.score(X, y) > before - (0.1 if solver == "sgd" else 0.03)
    if solver != "adamw":
        # The penalty per row of batches of 32 rows.
        assert model.alpha_ == pytest.approx(0.1 * (100 / 600) ** 1.5 / 32)


FORMATS = [np.asarray, sparse.csr_matrix]


@pytest.mark.parametrize("estimator", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(FORMATS)))
def test_dense_and_sparse_rows_continue_each_other(first, then, estimator):
    rng = np.random.default_rng(0)
    X = 5 + rng.normal(size=(400, 5))
    X[rng.random(X.shape) < 0.2] = 0
    y = (X[:, 0] + X[:, 1] > 9).astype(int)
    options = {"random_state": 0, "warm_start": True, "max_iter": 15}
    kept = [estimator(**options).fit(first(X), y) for _ in "ab"]
    # The same numbers as in the same format, since the same columns are trained on.
    kept[0].fit(first(X), y)
    kept[1].fit(then(X), y)
    assert_allclose(kept[0].coefs_[0], kept[1].coefs_[0], rtol=1e-4, atol=1e-4)
    for model in kept:
        model.partial_fit(first(X), y)
    kept[0].partial_fit(first(X[:50]), y[:50])
    kept[1].partial_fit(then(X[:50]), y[:50])
    assert_allclose(kept[0].coefs_[0], kept[1].coefs_[0], rtol=1e-4, atol=1e-4)


def test_sparse_rows_after_a_table():
    """CSR rows are encoded as dense ones are: categories and all."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, size=(200, 3)).astype(float)
    y = X[:, 0] + (X[:, 1] == 2)
    options = {"categorical_features": [1], "random_state": 0, "max_iter": 20}
    model = TwoLayerRegressor(**options).fit(X, y)
    for convert in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        assert_allclose(model.predict(convert(X)), model.predict(X), rtol=1e-5)
    holes = X.copy()
    holes[::7, 2] = np.nan
    model = TwoLayerRegressor(random_state=0, max_iter=20).fit(holes, y)
    assert_allclose(model.predict(sparse.csr_matrix(X)), model.predict(X), rtol=1e-5)
    model.partial_fit(sparse.csr_matrix(X), y)


def test_a_column_that_is_all_missing_is_fitted():
    """Its later values are learned."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = X[:, 0] + 2 * X[:, 1]
    first = X.copy()
    first[:, 1] = np.nan
    for estimator, target in ((TwoLayerRegressor, y), (TwoLayerClassifier, y > 0)):
        model = estimator(random_state=0, warm_start=True).fit(first, target)
        assert model.score(first, target) > 0.1
        model.fit(X, target)
        assert model.score(X, target) > 0.95


def test_a_second_pass_over_a_table_is_known_as_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    X[::7, 2] = np.nan
    y = X[:, 0]
    table = pd.DataFrame(X).assign(town=rng.choice(["a", "b"], 60))
    table.columns = table.columns.astype(str)
    for data in (X, table):
        model = TwoLayerRegressor(random_state=0)
        for _ in range(5):
            model.partial_fit(data, y)
        assert model.alpha_ == 1.0  # of 60 rows


@pytest.mark.parametrize(("n", "n_known"), [(9, 18), (10, 10)])
def test_parts_of_fewer_than_ten_rows_are_new_rows_each_time(n, n_known):
    """They may be equal by chance."""
    X = np.random.default_rng(0).normal(size=(n, 3))
    model = TwoLayerRegressor(random_state=0)
    for _ in range(2):
        model.partial_fit(X, X[:, 0])
    assert model._fitted.inputs.running.n_rows == n_known


@pytest.mark.parametrize("seed", range(6))
def test_a_short_part_is_known_by_the_part_before(seed):
    """If the first part is short, no part came before it in the first pass."""
    rng = np.random.default_rng(seed)
    short = np.arange(8) % 2 == seed % 2
    sizes = np.where(short, rng.integers(1, 10, size=8), rng.integers(10, 40, size=8))
    bounds = np.cumsum([0, *sizes])
    X = rng.normal(size=(bounds[-1], 2))
    X = sparse.csr_matrix(X) if seed > 3 else X
    model, found = TwoLayerRegressor(random_state=0, hidden_layer_sizes=2), []
    for _ in range(4):
        for start, stop in itertools.pairwise(bounds):
            model.partial_fit(X[start:stop], np.arange(start, stop))
        found.append(model._fitted.inputs.running.n_rows)
    again = sizes[0] if short[0] else 0
    assert found == [bounds[-1]] + 3 * [bounds[-1] + again]


def test_dense_rows_with_holes_after_sparse_ones():
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(100, 3)), 0)
    y, holes = X.sum(axis=1), X.copy()
    holes[::9, 0] = np.nan
    model = TwoLayerRegressor(random_state=0).fit(sparse.csr_matrix(X), y)
    before = model.predict(X)
    still(model).partial_fit(holes, y)
    assert_allclose(model.predict(X), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("start", ["fit", "partial_fit"])
def test_a_constant_that_was_learned_stays(start):
    """At first no column varies, and then all do."""
    rng = np.random.default_rng(0)
    model = TwoLayerRegressor(random_state=0, average=False)
    getattr(model, start)(np.zeros((200, 2)), 100 + rng.normal(size=200))
    before = model.predict(np.zeros((1, 2)))
    X = rng.normal(size=(50, 2))
    still(model).partial_fit(X, 100 + X[:, 0])
    assert_allclose(model.predict(X), np.full(50, before), rtol=1e-3)
    model.set_params(learning_rate_init="auto", alpha="auto")
    for _ in range(100):
        model.partial_fit(X, 100 + X[:, 0])
    assert model.score(X, 100 + X[:, 0]) > 0.9
