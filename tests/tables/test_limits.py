"""Limits of the columns: a wild value costs almost nothing."""

import pickle

import numpy as np
import pandas as pd
import partitions
import pytest
from compare import assert_same_training, outputs
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import KFold, StratifiedKFold
from slow import slow_but

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp import dask as of_dask
from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.limits import FEWEST_ROWS, inside, limits_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TABLES = {
    "wine": (TwoLayerClassifier, load_wine),
    "breast cancer": (TwoLayerClassifier, load_breast_cancer),
    "diabetes": (TwoLayerRegressor, load_diabetes),
}


def wild(X, rng, size, n_each=1):
    """X with `n_each` wild values per column, of this many deviations, in any rows."""
    X = X.copy()
    for column in X.T:
        rows = rng.choice(len(X), n_each, replace=False)
        signs = rng.choice([-1, 1], n_each)
        column[rows] = column.mean() + signs * size * column.std()
    return X


def mean_score(make, X, y, where, size, n_each):
    folds, scores = (StratifiedKFold if make is TwoLayerClassifier else KFold), []
    for seed, (train, test) in enumerate(
        folds(5, shuffle=True, random_state=0).split(X, y)
    ):
        rng = np.random.default_rng(seed)
        A, B = X[train], X[test]
        if where == "training":
            A = wild(A, rng, size, n_each)
        elif where == "predict":
            B = wild(B, rng, size, n_each)
        model = make(random_state=0).fit(A, y[train])
        scores.append(model.score(B, y[test]))
    return np.mean(scores)


CASES = [
    ("training", 1e4, 1),
    ("predict", 1e4, 1),
    ("training", 1e3, 1),
    ("training", 1e6, 1),
    ("training", 1e4, 2),
    ("training", 1e4, 3),
    ("predict", 1e3, 1),
    ("predict", 1e6, 1),
]


@pytest.mark.parametrize("case", slow_but(CASES[:2], CASES), ids=str)
@pytest.mark.parametrize("name", slow_but(["wine"], TABLES))
def test_a_wild_value_per_column_costs_two_points_at_most(name, case):
    make, load = TABLES[name]
    X, y = load(return_X_y=True)
    clean = mean_score(make, X, y, None, 0, 0)
    assert mean_score(make, X, y, *case) > clean - 0.02


RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) * [1, 10, 0.1, 1] + [0, 50, 0, 0]
X[:, 3] = np.exp(X[:, 3])
Y = X[:, 0] - 5 * X[:, 2] + 0.1 * X[:, 1]
BRIEF = {"hidden_layer_sizes": 4, "max_iter": 5, "random_state": 0}
KINDS = {
    "classes": (TwoLayerClassifier, np.greater(Y, Y.mean())),
    "numbers": (TwoLayerRegressor, Y),
}
over_kinds = pytest.mark.parametrize("kind", KINDS)


def fitted(kind, X=X, rows=slice(None), **options):
    make, y = KINDS[kind]
    return make(**BRIEF | options).fit(X, y[rows])


@over_kinds
@pytest.mark.parametrize("n", [20, 60, 300])
@pytest.mark.parametrize("size", [1e3, -1e6])
def test_a_wild_value_counts_as_the_centre_of_its_column(kind, n, size):
    """In training and in prediction, for any size."""
    spoilt, rows = X[:n].copy(), slice(n)
    spoilt[3, 0], spoilt[7, 1] = size, size * 10
    model = fitted(kind, spoilt, rows)
    known = spoilt.copy()
    known[3, 0], known[7, 1] = model._fitted.centre[:2]
    assert_allclose(outputs(model, spoilt), outputs(model, known), rtol=1e-9)
    other = fitted(kind, np.sign(spoilt) * np.minimum(np.abs(spoilt), 1e5), rows)
    if size == 1e3:
        assert_same_training(model, other)
    low, high = model.feature_limits_
    assert ((low <= X[:n]) & (X[:n] <= high)).all()
    assert spoilt[3, 0] > high[0] or spoilt[3, 0] < low[0]


@over_kinds
@pytest.mark.parametrize("n_each", [1, 2, 4])
def test_scaling_is_that_of_the_others(kind, n_each):
    spoilt = wild(X, np.random.default_rng(n_each), 1e4, n_each)
    ours = fitted(kind, spoilt)._fitted.inputs.scaling
    theirs = fitted(kind)._fitted.inputs.scaling
    assert ours.cuts
    assert not theirs.cuts
    # Quantiles move by a row or two of 300 for each wild value.
    assert_allclose(ours.factor, theirs.factor, rtol=0.05 * n_each)
    assert np.abs((ours.centre - theirs.centre) * theirs.factor).max() < 0.05 * n_each


@pytest.mark.parametrize("n", [20, 100, 159, 160, 639, 640, 1279, 1280, 5000])
@pytest.mark.parametrize("heavy", [0.02, 0.3, 2.0])
def test_limits_follow_two_quantiles_of_a_side(n, heavy):
    """A hundredth row lies beyond, by a power law; or eight times the quantiles."""
    rng = np.random.default_rng(n)
    shares = 0.5 ** np.arange(2, 9)
    steps = np.exp(heavy * rng.uniform(size=(2, 7)))
    below, above = np.cumprod(steps, axis=1)
    median = 3.0
    tails = np.r_[median - below, median + above][:, np.newaxis]
    ends = np.array([median - 2 * below[-1]]), np.array([median + 2 * above[-1]])
    found = limits_of(n, *ends, np.array([median]), tails)
    rows = max(n, 100)
    outer = min(*(s for s in shares if s * rows >= 5), 1 / 16)
    inner = min(8 * outer, 1 / 4)
    at, before = shares == outer, shares == inner
    least = 8 * max(below[at], above[at], below[0] + above[0])
    for side, sign, limit in ((below, -1, found[0]), (above, 1, found[1])):
        power = np.log(100 * outer * rows) / np.log(inner / outer)
        far = side[at] * (side[at] / side[before]) ** power
        assert_allclose(limit, median + sign * max(far, least), rtol=1e-9)


@over_kinds
def test_without_values_beyond_no_bit_changes(kind):
    """Limits matter only to values beyond: without them predictions are the same."""
    model = fitted(kind)
    before = outputs(model, X)
    assert not model._fitted.inputs.scaling.cuts
    far = X.copy()
    far[0, 0] = 1e5
    assert not np.array_equal(outputs(model, far)[0], before[0])
    limits, model.feature_limits_ = model.feature_limits_, None
    assert_array_equal(outputs(model, X), before)
    assert limits.shape == (2, 4)


@over_kinds
def test_setting_the_attribute_to_none_lifts_the_limits(kind):
    model, far = fitted(kind), X.copy()
    far[0] = 1e5
    z = far @ model.coefs_[0] + model.intercepts_[0]
    assert (np.abs(model.transform(far)) < 1e3).all()
    model.feature_limits_ = None
    assert_allclose(model.transform(far), np.maximum(z, 0), rtol=1e-9)


@over_kinds
@pytest.mark.parametrize("options", [MLP_DEFAULTS, {"standardize": False}])
def test_unscaled_columns_have_no_limits(kind, options):
    settings = options | {"max_iter": 5, "hidden_layer_sizes": 4}
    settings["categorical_features"] = None
    assert fitted(kind, **settings).feature_limits_ is None


def test_few_rows_have_no_limits():
    for n in (FEWEST_ROWS - 1, FEWEST_ROWS):
        model = fitted("numbers", X[:n], slice(n))
        assert (model.feature_limits_ is None) == (n < FEWEST_ROWS)


@pytest.mark.parametrize("seed", range(20))
def test_thinning_tails_are_not_wild(seed):
    """Light and heavy tails, few values, rare values, and columns of nearly zeros."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([20, 90, 300, 2000]))
    columns = np.column_stack(
        [
            rng.normal(size=n),
            rng.uniform(size=n),
            rng.exponential(size=n),
            np.exp(rng.normal(size=n)),
            rng.poisson(0.3, size=n),
            rng.geometric(0.3, size=n),
            rng.random(n) < 1 / n,
            np.where(rng.random(n) < 0.05, rng.exponential(size=n), 0),
            np.full(n, 3.0),
        ]
    )
    found = ColumnStatistics.of(columns, with_limits=True)
    assert not found.wild
    low, high = found.limits
    assert ((low <= columns) & (columns <= high)).all()


def test_tails_of_two_moments_stay():
    """Student's t with two degrees of freedom: a hundredth of a value per side."""
    columns = np.random.default_rng(0).standard_t(2, size=(1000, 300))
    low, high = ColumnStatistics.of(columns, with_limits=True).limits
    assert ((columns < low) | (columns > high)).sum() <= 12  # of 6 expected


@pytest.mark.parametrize("seed", range(6))
@over_kinds
def test_rows_of_weight_zero_do_not_matter(kind, seed):
    rng = np.random.default_rng(seed)
    make, y = KINDS[kind]
    weights = rng.integers(0, 3, size=len(X)).astype(float)
    spoilt = wild(X, rng, 1e4)
    spoilt[weights == 0] = 10.0 ** rng.integers(0, 9)
    ours = make(**BRIEF).fit(spoilt, y, weights)
    rows = weights > 0
    theirs = make(**BRIEF).fit(spoilt[rows], y[rows], weights[rows])
    assert_same_training(ours, theirs)
    assert_array_equal(ours.feature_limits_, theirs.feature_limits_)


@pytest.mark.parametrize("n", [25, 45, 300])
def test_weights_are_repeated_rows(n):
    rng = np.random.default_rng(n)
    spoilt = wild(X[:n], rng, 1e4)
    weights = rng.integers(1, 3, size=n)
    if n > 60:
        weights[:] = 2  # from 100 rows on, rows count
    of_weights = ColumnStatistics.of(spoilt, weights * 1.0, with_limits=True)
    repeated = np.repeat(spoilt, weights, axis=0)
    of_rows = ColumnStatistics.of(repeated, with_limits=True)
    if n < 100:
        assert_allclose(of_weights.limits, of_rows.limits, rtol=1e-12)
    assert_array_equal(of_weights.low, of_rows.low)
    assert_array_equal(of_weights.high, of_rows.high)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    spoilt = wild(X, rng, 1e4, int(rng.integers(1, 4)))
    whole = ColumnStatistics.of(spoilt, with_limits=True)
    moved = ColumnStatistics.of(rng.permutation(spoilt), with_limits=True)
    for name in ("low", "high", "limits"):
        assert_array_equal(getattr(moved, name), getattr(whole, name))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("sizes", [[300], [100, 150, 50], [1] * 20 + [280]])
@over_kinds
def test_partitions_have_the_limits_of_the_whole(kind, sizes, convert):
    make, y = KINDS[kind]
    spoilt = wild(np.where(X > 0, X, 0), np.random.default_rng(0), 1e4, 2)
    whole = make(**BRIEF).fit(convert(spoilt), y)
    on_parts = getattr(of_dask, make.__name__)(**BRIEF)
    partitions.fitted(on_parts, convert(spoilt), y, sizes)
    assert_allclose(on_parts.feature_limits_, whole.feature_limits_, rtol=1e-12)
    assert on_parts._fitted.inputs.scaling.cuts
    ours, theirs = on_parts._fitted.inputs.scaling, whole._fitted.inputs.scaling
    assert_allclose(ours.factor, theirs.factor, rtol=1e-12)


# Sparse columns.


def sparse_rows(rng, n=400, d=6):
    values = rng.uniform(1, 3, size=(n, d))
    return np.where(rng.random((n, d)) < 0.3, values, 0)


@pytest.mark.parametrize("seed", range(4))
def test_sparse_columns_stay_sparse_and_robust(seed):
    rng = np.random.default_rng(seed)
    rows = sparse_rows(rng)
    y = rows @ [1, -1, 2, 0, 0, 1]
    clean = sparse.csr_matrix(rows)
    for column in rows.T:
        column[rng.integers(len(rows))] = 1e5 * rng.choice([-1, 1])
    spoilt = sparse.csr_matrix(rows)
    kept = spoilt.copy()
    model = TwoLayerRegressor(random_state=0).fit(spoilt, y)
    assert model._fitted.inputs.scaling.factor.min() > 1 / 3.1
    low, high = model.feature_limits_
    assert (low < 0).all()
    assert (high > 0).all()
    assert model.score(clean, y) > 0.9
    for name in ("data", "indices", "indptr"):
        assert_array_equal(getattr(spoilt, name), getattr(kept, name))
    found = inside(spoilt, model.feature_limits_)
    assert sparse.issparse(found)
    assert found.nnz == spoilt.nnz
    assert_allclose(model.predict(spoilt), model.predict(rows), rtol=1e-5)


def test_zeros_are_values_of_columns_that_were_dense():
    """A zero beyond the limits counts as unknown, whether or not it is stored."""
    rows = 1000 + X
    model = TwoLayerRegressor(**BRIEF).fit(rows, Y)
    rows[5] = 0
    assert model.feature_limits_[0].min() > 0
    expected = model.predict(rows)
    assert_allclose(model.predict(sparse.csr_matrix(rows)), expected, rtol=1e-9)
    rows[5] = model._fitted.centre
    assert_allclose(model.predict(rows), expected, rtol=1e-9)


# Streams.


@pytest.mark.parametrize("size", [30, 100, 500])
@pytest.mark.parametrize("kind", KINDS)
def test_streams_with_wild_values(kind, size):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 4))
    y = rows[:, 0] + rows[:, 1]
    make = KINDS[kind][0]
    y = y > 0 if make is TwoLayerClassifier else y
    spoilt = wild(rows, rng, 1e4)
    spoilt[0] = 1e7, -1e7, 1e7, -1e7  # in the first part
    model = make(random_state=0)
    first = {"classes": [False, True]} if make is TwoLayerClassifier else {}
    for _ in range(3):
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            model.partial_fit(spoilt[part], y[part], **first)
    assert model.score(rows, y) > 0.95
    assert np.abs(model.feature_limits_).max() < 100


@pytest.mark.parametrize("unit", [1e2, 1e6, 1e30])
@pytest.mark.parametrize("size", slow_but([10, 100], [1, 10, 30, 100, 500]))
def test_sparse_streams_with_wild_values(size, unit):
    """In later parts too; they change neither the scaling nor the user's rows."""
    rng = np.random.default_rng(size)
    rows = sparse_rows(rng, n=2000)
    y = rows @ [1, -1, 2, 0, 0, 1]
    clean = sparse.csr_matrix(rows)
    for column in rows.T:
        column[rng.integers(500, 2000, size=2)] = unit * rng.choice([-1, 1])
    spoilt = sparse.csr_matrix(rows)
    kept = spoilt.copy()
    model, alone = (TwoLayerRegressor(random_state=0) for _ in range(2))
    for _ in range(3 if size > 1 else 1):
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            model.partial_fit(spoilt[part], y[part])
            alone.partial_fit(clean[part], y[part])
    assert model.score(clean, y) > min(0.95, alone.score(clean, y) - 0.02)
    factors = (m._fitted.inputs.scaling.factor for m in (model, alone))
    assert_allclose(*factors, rtol=0.02)
    assert (spoilt != kept).nnz == 0


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize("factor", [20, 1e6])
def test_limits_follow_a_sparse_stream_to_another_scale(size, factor):
    """As soon as more rows have such values than limits ignore."""
    rng = np.random.default_rng(0)
    rows = sparse_rows(rng, n=400, d=3)
    rows[100:] *= factor
    X, model = sparse.csr_matrix(rows), TwoLayerRegressor(4, random_state=0)
    for start in range(0, 400, size):
        part = slice(start, start + size)
        model.partial_fit(X[part], rows[part, 0])
        model = pickle.loads(pickle.dumps(model)) if start % 50 == 0 else model
    low, high = model.feature_limits_
    assert (high >= np.abs(rows).max(axis=0)).all()
    assert (low <= -np.abs(rows).max(axis=0)).all()


def test_rare_words_are_not_wild():
    """A sparse column that few rows have is never judged, in streams as in fit."""
    rows = np.zeros((3000, 2))
    rows[::300, 0] = 1
    rows[2500:2503, 0] = 40
    rows[:, 1] = np.arange(3000) % 3
    X, y = sparse.csr_matrix(rows), rows[:, 1]
    stream = TwoLayerRegressor(4, random_state=0)
    for start in range(0, 3000, 100):
        stream.partial_fit(X[start : start + 100], y[start : start + 100])
    whole = TwoLayerRegressor(4, random_state=0).fit(X, y)
    assert_allclose(stream.feature_limits_, whole.feature_limits_)


def test_limits_follow_a_stream_to_another_scale():
    rng = np.random.default_rng(0)
    model = TwoLayerRegressor(random_state=0)
    for scale in [1] * 5 + [1000] * 20:
        rows = scale * rng.normal(size=(100, 2))
        model.partial_fit(rows, rows[:, 0] / scale)
    low, high = model.feature_limits_
    assert ((low < -3000) & (high > 3000)).all()


@pytest.mark.parametrize("warm", [False, True])
def test_continuing_after_fit_keeps_wild_values_out(warm):
    spoilt = wild(X, np.random.default_rng(0), 1e5)
    model = TwoLayerRegressor(random_state=0, warm_start=warm).fit(spoilt, Y)
    for _ in range(3):
        model.fit(spoilt, Y) if warm else model.partial_fit(spoilt, Y)
    assert model.score(X, Y) > 0.97


# What else goes by the limits.


def test_memory_and_the_rows_of_the_user(monkeypatch):
    """Values are replaced block by block, and never in place."""
    monkeypatch.setattr("sklearn_bp._tables.inputs.SCALED_BYTES", 2**20)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 100))
    rows[::1000, :] = 1e6
    y, kept = rows[:, 0] > 0, rows.copy()
    model = TwoLayerClassifier(**BRIEF | {"max_iter": 1})
    with PeakMemory() as of_fit:
        model.fit(rows, y)
    with PeakMemory() as of_predict:
        model.predict(rows)
    assert_array_equal(rows, kept)
    # Quantiles come from a copy of the rows, 16 MB; the rest is small.
    assert of_fit.peak < 16e6 + 100 * len(rows) + 20e6
    assert of_predict.peak < 100 * len(rows) + 2e6


@over_kinds
def test_derivatives_are_zero_beyond(kind):
    model = fitted(kind)
    far = X[:5].copy()
    far[2, 1] = 1e7
    slopes = model.input_gradient(far)
    assert (slopes[2, 1] == 0).all()
    assert (slopes[2, [0, 2, 3]] != 0).any()
    far[2, 1] = model._fitted.centre[1]
    rest = [0, 2, 3]
    assert_allclose(slopes[2, rest], model.input_gradient(far)[2, rest], rtol=1e-9)


@over_kinds
def test_importances_are_those_of_the_others(kind):
    spoilt = X.copy()
    spoilt[0] = 1e7  # among the rows that importances come from
    # As a wild value of any other size.
    model, other = fitted(kind, spoilt), fitted(kind, np.minimum(spoilt, 1e6))
    ours, theirs = model.feature_importances_, other.feature_importances_
    assert_allclose(ours, theirs, rtol=1e-6)


@over_kinds
def test_pickles_keep_the_limits(kind):
    model = fitted(kind, wild(X, np.random.default_rng(0), 1e4))
    far = wild(X, np.random.default_rng(1), 1e4)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.feature_limits_, model.feature_limits_)
    assert_array_equal(outputs(again, far), outputs(model, far))


def test_to_mlp_is_refused_where_training_rows_were_beyond():
    model = fitted("classes")
    rows = X[:50]
    assert_allclose(
        model.to_mlp().predict_proba(rows), model.predict_proba(rows), rtol=1e-6
    )
    model = fitted("classes", wild(X, np.random.default_rng(0), 1e4))
    with pytest.raises(ValueError, match="feature_limits_ = None"):
        model.to_mlp()
    model.feature_limits_ = None
    assert_allclose(
        model.to_mlp().predict_proba(rows), model.predict_proba(rows), rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_rows_of_the_user_and_tables(kind):
    """X_val with wild values, and a frame with categories and missing values."""
    make, y = KINDS[kind]
    table = pd.DataFrame(wild(X, np.random.default_rng(0), 1e4), columns=list("abcd"))
    table["town"] = np.where(X[:, 0] > 0, "Bonn", "Celle")
    table.loc[::7, "b"] = np.nan
    far = table.copy()
    far["a"] = 1e9
    known = far.copy()
    model = make(**BRIEF).fit(table, y, X_val=far, y_val=y)
    known["a"] = model._fitted.centre[0]
    other = make(**BRIEF).fit(table, y, X_val=known, y_val=y)
    assert_allclose(
        model.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-5
    )
    assert_allclose(outputs(model, far), outputs(model, known), rtol=1e-5)
    assert model.feature_limits_.shape == (2, len(model.encoded_feature_names_))
