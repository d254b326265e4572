"""numeric_encoding: members on encoded columns, combined with the others."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from breaking import Breaking, needs_callbacks
from compare import assert_same_weights
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from sklearn_bp import (
    MLP_DEFAULTS,
    DivergenceError,
    PiecewiseLinear,
    TwoLayerClassifier,
    TwoLayerRegressor,
)
from sklearn_bp._fitting import derivatives, encoded_columns, encoded_members
from sklearn_bp._fitting.encoded_members import SecondFitting
from sklearn_bp._fitting.rows import MemoryRows
from sklearn_bp._fitting.state_files import read
from sklearn_bp._fitting.trainings import Training
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.held_out import Blend
from sklearn_bp.callbacks import Checkpoint
from sklearn_bp.display import LossCurveDisplay
from sklearn_bp.initializers import INITIALIZERS

IGNORED = f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
pytestmark = pytest.mark.filterwarnings(IGNORED)

RNG = np.random.default_rng(0)
RNG_STATE = np.random.RandomState(0)
X = RNG.normal(size=(260, 4))
X[:, 3] = RNG.integers(0, 2, size=260)
SIGNAL = 2 * (X[:, 0] > 0.3) + np.abs(X[:, 1]) + 0.1 * RNG.normal(size=260)
LABELS = np.digitize(SIGNAL, [0.8, 1.9])
KINDS = [(TwoLayerClassifier, LABELS), (TwoLayerRegressor, SIGNAL)]
over_kinds = pytest.mark.parametrize(("kind", "y"), KINDS)
SMALL = {"hidden_layer_sizes": 6, "random_state": 0}


def scores(model, X=X):
    if isinstance(model, TwoLayerClassifier):
        return model.decision_function(X)
    return model.predict(X)


@over_kinds
def test_scores_are_the_weighted_mean_of_two_groups(kind, y):
    model = kind(**SMALL).fit(X, y)
    weights = model._fitted.member_weights
    assert model.n_members_ == len(weights) == 10
    assert len(set(weights[:8])) == len(set(weights[8:])) == 1
    members = np.array(model._member_scores(X))
    mean = np.einsum("mnk,m->nk", members, weights)
    assert_allclose(mean, model._scores(X), rtol=1e-6, atol=1e-6)
    # The first eight do not see the bins.
    n_bins = len(model.encoded_feature_names_) - 4
    assert n_bins == (24 if kind is TwoLayerRegressor else 72)
    W1 = model.coefs_[0]
    assert W1.shape == (4 + n_bins, 60)
    assert_array_equal(W1[4:, :48], 0)
    assert W1[4:, 48:].all(axis=0).any()
    # Without them, up to one factor, they are the fit that sees the columns alone.
    plain = kind(**SMALL, numeric_encoding=None).fit(X, y)
    assert_allclose(W1[:4, :48], plain.coefs_[0], rtol=1e-12)
    assert plain.n_iter_ < model.n_iter_
    assert model.loss_curve_[: plain.n_iter_] == plain.loss_curve_


@pytest.mark.parametrize("skip_layer", [False, True])
@over_kinds
def test_few_rows_are_scored_as_many_are(kind, y, skip_layer):
    """With many rows, units that do not see the bins get the columns alone."""
    model = kind(**SMALL, skip_layer=skip_layer).fit(X, y)
    wild = X.copy()
    wild[::9, 0] = 1e9
    few = [scores(model, wild[i : i + 20]) for i in range(0, 260, 20)]
    assert_allclose(np.concatenate(few), scores(model, wild), rtol=1e-9, atol=1e-9)
    model.coefs_[0][4:] += 0.1  # as users may
    few = [scores(model, wild[i : i + 20]) for i in range(0, 260, 20)]
    assert_allclose(np.concatenate(few), scores(model, wild), rtol=1e-9, atol=1e-9)


@over_kinds
def test_the_weights_are_chosen_by_held_out_rows(kind, y):
    """The group with the lower held-out loss has the larger weight."""
    steps = (X[:, 0] > 0.3) + 2.0 * (X[:, 1] > -0.5) + (X[:, 2] > 0)
    smooth = X[:, 0] * X[:, 1] + X[:, 2] ** 2
    shares = []
    for signal in (steps, smooth):
        target = signal if kind is TwoLayerRegressor else np.digitize(signal, [0.9, 2])
        weights = kind(**SMALL).fit(X, target)._fitted.member_weights
        first = weights[:8].sum()
        shares.append(first / (first + weights[8:].sum()))
    assert 0 < shares[0] < shares[1] < 1


@pytest.mark.parametrize(
    ("kind", "n", "n_rows"),
    [(TwoLayerRegressor, n, 50) for n in (150, 200, 230, 260)]
    + [(TwoLayerClassifier, n, 50 if n >= 200 else 150) for n in (150, 199, 200)],
)
def test_the_weight_of_the_first_group_is_a_twentieth_drawn_to_1(kind, n, n_rows):
    """By 50 imaginary rows, or for few rows of classes by 150."""
    steps = 1.0 * (X[:n, 0] > 0.3) + (X[:n, 1] > -0.5)
    y = SIGNAL[:n] if kind is TwoLayerRegressor else steps
    weights = kind(**SMALL).fit(X[:n], y)._fitted.member_weights
    first, second = weights[:8].sum(), weights[8:].sum()
    if kind is TwoLayerRegressor:
        assert_allclose(first + second, 1, rtol=1e-6)
    share = (first * (n + n_rows) - n_rows) / n
    assert 0 <= share < 1
    assert_allclose(20 * share, round(20 * share), atol=1e-3)


@pytest.mark.parametrize("best", [0.0, 0.04, 0.26, 0.52, 0.93])
def test_the_weight_of_the_first_group_is_the_best_twentieth(best, monkeypatch):
    """By the loss of each, of which the one nearest to `best` is made the smallest."""
    monkeypatch.setattr(Blend, "loss", lambda self, share, _: abs(share - best))
    weights = TwoLayerRegressor(**SMALL).fit(X, SIGNAL)._fitted.member_weights
    share = (weights[:8].sum() * (260 + 50) - 50) / 260
    assert_allclose(share, round(20 * best) / 20, atol=1e-6)


@pytest.mark.parametrize("n", [250, 300])
def test_both_trainings_count_the_same_improvements(n, monkeypatch):
    """The first one counts a tenth of them once it has dropped its penalty."""
    tols, training = [], SecondFitting.training

    def recorded(self, network, data, state, tol):
        tols.append((self.of_first.state.patience.tol, tol))
        return training(self, network, data, state, tol)

    monkeypatch.setattr(SecondFitting, "training", recorded)
    rows, y = np.resize(X, (n, 4)), np.resize(SIGNAL, n)
    TwoLayerRegressor(**SMALL, tol=0.02).fit(rows, y)
    ((dropped, second),) = tols
    assert_allclose(second, 0.02 * 0.5, rtol=1e-6)  # of the best constant's loss, 1/2
    assert_allclose(dropped, second / 10, rtol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_pairs_of_networks_are_members(skip):
    parameters = Parameters.draw(
        (3, 4, 2, 4, skip), np.float64, INITIALIZERS["glorot_uniform"], RNG_STATE, 6
    )
    parameters.flat[:] = RNG.normal(size=parameters.flat.shape)
    for one, other in zip(parameters.mean(), parameters.paired().mean(), strict=True):
        if one is not None:
            assert_allclose(other, one, rtol=1e-12)
    first, second = parameters.paired().members()[0], parameters.members()[:2]
    for name in ("b2", "V")[: 1 + skip]:
        expected = np.mean([getattr(w, name) for w in second], axis=0)
        assert_allclose(getattr(first, name), expected, rtol=1e-12)


def test_networks_of_an_odd_number_of_units_keep_it():
    model = TwoLayerRegressor(5, random_state=0).fit(X, SIGNAL)
    assert model.n_members_ == 10
    assert model.coefs_[0].shape == (28, 50)


def noisy(n, seed=0):
    """A few columns that count, among many that do not."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 24))
    wide = 3 * (np.abs(X[:, 2]) < 0.5)
    return X, np.sin(2 * X[:, 0]) * 2 + X[:, 1] ** 2 + wide + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"early_stopping": True},
        {"early_stopping": "auto", "n_members": 1},
        {"early_stopping": "auto", "n_members": 3},
    ],
)
@over_kinds
def test_scales_of_a_column_and_its_bins_move_together(kind, y, how, monkeypatch):
    """However rows are held out."""
    groups, hold_out = [], MemoryRows.hold_out

    def recorded(self, *given):
        data, validate = hold_out(self, *given)
        groups.append(data.groups)
        return data, validate

    monkeypatch.setattr(MemoryRows, "hold_out", recorded)
    settings = SMALL | {"scaling_layer": True, "max_iter": 2, "early_stopping": False}
    model = kind(**settings | how, numeric_encoding=PiecewiseLinear(5)).fit(X, y)
    (own,) = groups
    names = model.encoded_feature_names_
    columns = [name.rpartition("_bin")[0] or name for name in names]
    assert_array_equal(own, [columns.index(column) for column in columns])


@pytest.mark.slow
def test_columns_of_noise_cost_little():
    X, y = noisy(1400)
    settings = {"random_state": 0}
    plain = TwoLayerRegressor(**settings, numeric_encoding=None).fit(X[:800], y[:800])
    model = TwoLayerRegressor(**settings).fit(X[:800], y[:800])
    unexplained = [1 - m.score(X[800:], y[800:]) for m in (plain, model)]
    assert unexplained[1] < min(0.9 * unexplained[0], 0.07)
    labels = np.digitize(y, [1, 3])
    plain = TwoLayerClassifier(**settings, numeric_encoding=None)
    losses = [
        log_loss(labels[800:], m.fit(X[:800], labels[:800]).predict_proba(X[800:]))
        for m in (plain, TwoLayerClassifier(**settings))
    ]
    assert losses[1] < 0.5 * losses[0]


def test_where_auto_adds_no_members():
    few = {"max_iter": 5, "n_members": 2}
    cases = [
        (MLP_DEFAULTS | {"max_iter": 3}, X),
        ({"max_iter": 5}, X),
        ({"n_members": 3}, X),
        ({"early_stopping": True}, X),
        ({"solver": "sgd"}, X),
        ({"standardize": False}, X),
        ({"numeric_encoding": None}, X),
        (few, X),
        ({}, X[:99]),
        ({}, sparse.csr_array(X)),
        ({}, X[:, 3:]),
        ({"loss_threshold": 1e9}, X),
    ]
    for options, rows in cases:
        model = TwoLayerRegressor(**SMALL | options)
        model.fit(rows, SIGNAL[: rows.shape[0]])
        assert model.coefs_[0].shape[0] == rows.shape[1], options
        assert model._fitted.member_weights is None
    for model in (
        TwoLayerRegressor(**SMALL).partial_fit(X, SIGNAL),
        TwoLayerRegressor(**SMALL).fit(X, np.ones(260)),
    ):
        assert model.n_members_ == 8


@pytest.mark.parametrize("solver", ["adam", "lbfgs", "sgd"])
@over_kinds
def test_an_explicit_encoding_is_for_all_members(kind, y, solver):
    settings = SMALL | {"solver": solver, "max_iter": 30, "n_members": 2}
    model = kind(**settings, numeric_encoding=PiecewiseLinear(5)).fit(X, y)
    assert model.coefs_[0].shape == (4 + 15, 12)
    assert model.coefs_[0][4:].all()
    assert clone(model).numeric_encoding == PiecewiseLinear(5)
    model.set_params(numeric_encoding__n_bins=3).fit(X, y)
    assert model.coefs_[0].shape == (4 + 9, 12)


def test_bins_need_all_rows_and_dense_ones():
    model = TwoLayerRegressor(**SMALL, numeric_encoding=PiecewiseLinear())
    with pytest.raises(ValueError, match="call fit first, and continue with"):
        model.partial_fit(X, SIGNAL)
    with pytest.raises(ValueError, match="is for dense rows and tables in memory"):
        model.fit(sparse.csr_array(X), SIGNAL)
    model.fit(X, SIGNAL).partial_fit(X, SIGNAL)
    model.set_params(numeric_encoding=None)
    with pytest.raises(ValueError, match="fitted with numeric_encoding='auto' or a"):
        model.partial_fit(X, SIGNAL)
    plain = TwoLayerRegressor(**SMALL, numeric_encoding=None).fit(X, SIGNAL)
    plain.set_params(numeric_encoding="auto").partial_fit(X, SIGNAL)
    plain.set_params(numeric_encoding=PiecewiseLinear())
    with pytest.raises(ValueError, match="fitted with numeric_encoding=None or 'auto'"):
        plain.partial_fit(X, SIGNAL)


@over_kinds
@pytest.mark.parametrize("way", ["warm start", "partial_fit"])
def test_going_on_where_no_column_has_enough_values_for_bins(kind, y, way):
    """With the parameter unchanged, as after a fit without bins."""
    models = [
        kind(**SMALL, numeric_encoding=given, warm_start=True).fit(X > 0, y)
        for given in (PiecewiseLinear(), None)
    ]
    for model in models:
        go_on = model.fit if way == "warm start" else model.partial_fit
        go_on(X > 0, y)
    assert_array_equal(*(model.coefs_[0] for model in models))


def bins_by_column(model):
    """The number of bins of each column that has some, by its name, in order."""
    names = [name for name in model.encoded_feature_names_ if "_bin" in name]
    columns = [name.rpartition("_bin")[0] for name in names]
    return {column: columns.count(column) for column in columns}


def test_columns_that_count_most_have_finer_bins():
    """Whatever their order and their units."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(600, 9))
    rows[:, 4] = rng.integers(0, 2, size=600)  # two values: no bins, but it counts
    signal = 2 * (rows[:, 0] > 0) + 2 * (rows[:, 2] > 0.5) - 2 * (rows[:, 7] > -0.5)
    signal = signal + 2 * np.abs(rows[:, 5]) + 2 * rows[:, 4]
    labels = np.digitize(signal, np.quantile(signal, [0.3, 0.7]))
    signal = signal + 2.2 * (rows[:, 8] > 1)  # counts a little less
    fine = {"a", "c", "f", "h"}
    frame = pd.DataFrame(rows, columns=list("abcdefghi"))
    binned = [c for c in frame if c != "e"]
    in_classes = {c: 24 if c in fine else 6 for c in binned}
    in_regressions = {c: 16 if c in fine else 8 if c == "i" else 4 for c in binned}
    settings = {"hidden_layer_sizes": 16, "random_state": 0}
    other = (frame * np.geomspace(1e-6, 1e6, 9) + 7)[list("ihgfedcba")]
    for given in (frame, other):
        model = TwoLayerClassifier(**settings).fit(given, labels)
        assert bins_by_column(model) == in_classes
        model = TwoLayerRegressor(**settings).fit(given, signal)
        assert bins_by_column(model) == in_regressions
    model = TwoLayerRegressor(**settings).fit(frame[:499], signal[:499])
    assert bins_by_column(model) == dict.fromkeys(binned, 8)  # few rows: even bins


def test_bins_are_even_where_finer_ones_would_store_too_much(monkeypatch):
    fine = TwoLayerClassifier(**SMALL).fit(X, LABELS)
    assert set(bins_by_column(fine).values()) == {24}
    for n_bins, most in ((24, 72), (8, 71), (8, 24)):
        monkeypatch.setattr(encoded_columns, "MOST_NUMBERS", 260 * (4 + most))
        model = TwoLayerClassifier(**SMALL).fit(X, LABELS)
        assert set(bins_by_column(model).values()) == {n_bins}
    monkeypatch.undo()
    with monkeypatch.context() as patch:  # or if they would be no bins
        patch.setitem(encoded_columns.FINE_BINS, True, 1)
        model = TwoLayerClassifier(**SMALL).fit(X, LABELS)
        assert set(bins_by_column(model).values()) == {8}
    monkeypatch.setattr(encoded_columns, "MOST_NUMBERS", 260 * (4 + 7))
    assert TwoLayerClassifier(**SMALL).fit(X, LABELS).n_members_ == 8


def table(n_levels=3):
    """Categories, missing values, a column of two values; and the target's."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.loc[::7, "b"] = np.nan
    letters = [f"{i:03}" for i in range(n_levels)]
    frame["e"] = np.array(letters)[RNG.permutation(len(X)) % n_levels]
    return frame


# Few levels make a dense matrix, many a CSR, and more than 128 inputs.
over_levels = pytest.mark.parametrize("n_levels", [3, 130])


@over_levels
@over_kinds
def test_tables_are_encoded_too(kind, y, n_levels):
    frame = table(n_levels)
    model = kind(**SMALL).fit(frame, y)
    assert model._fitted.columns.is_sparse == (n_levels == 130)
    assert model.n_members_ == 10
    names = model.encoded_feature_names_
    levels = [f"e_{i:03}" for i in range(n_levels)]
    own = ["a", "b", "c", "d", "missingindicator_b", *levels]
    assert list(names[: len(own)]) == own
    counts = bins_by_column(model)
    assert list(counts) == ["a", "b", "c"]
    added = [f"{c}_bin{t}" for c, n in counts.items() for t in range(n)]
    assert list(names[len(own) :]) == added
    if kind is TwoLayerRegressor:
        assert set(counts.values()) == {8}
    else:
        assert counts["a"] == counts["c"] == 24
    assert model.feature_importances_.shape == (5,)
    assert model.feature_importances_[:2].sum() > 0.5
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(scores(again, frame), scores(model, frame))
    # A level that is new to partial_fit moves the columns of the bins.
    before = scores(model, frame)
    new = frame.assign(e="x")
    model.set_params(learning_rate_init=1e-12).partial_fit(new, y)
    at = len(own) - 1
    assert list(model.encoded_feature_names_[at : at + 2]) == [levels[-1], "e_x"]
    assert_allclose(scores(model, frame), before, rtol=1e-5, atol=1e-5)


@over_kinds
def test_tables_of_many_levels_are_seen_by_the_numbers_in_them(kind, y):
    """Scores and derivatives are those of the same rows stored densely."""
    frame = table(130)
    frame.loc[::9, "a"] = 1e9  # beyond the limits
    wild = kind(**SMALL).fit(table(130), y)
    rows = wild._check_features(frame)
    assert sparse.issparse(rows)
    fitted = wild._fitted_network()
    assert_allclose(fitted.scores(rows), fitted.scores(rows.toarray()), rtol=1e-9)
    found, expected = (
        derivatives.input_gradient(fitted, x) for x in (rows, rows.toarray())
    )
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    few = [scores(wild, frame[i : i + 20]) for i in range(0, 260, 20)]
    assert_allclose(np.concatenate(few), scores(wild, frame), rtol=1e-9, atol=1e-9)
    settings = SMALL | {"max_iter": 30, "n_members": 2}
    model = kind(**settings, numeric_encoding=PiecewiseLinear(5)).fit(frame, y)
    assert model.coefs_[0].shape == (5 + 130 + 15, 12)
    assert model.coefs_[0][-15:].all()


@over_kinds
def test_other_rows_of_a_table_of_many_levels(kind, y):
    """As X_val, as a CSR of numbers, and in streams that continue."""
    frame = table(130)
    settings = SMALL | {"numeric_encoding": PiecewiseLinear(), "max_iter": 20}
    model = kind(**settings).fit(frame, y, X_val=frame, y_val=y)
    model.partial_fit(frame, y, X_val=frame[:100], y_val=y[:100])
    numbers = frame.fillna(0).astype(float)
    model = kind(**SMALL, categorical_features=["e"]).fit(numbers, y)
    assert model.n_members_ == 10
    array = numbers.to_numpy()
    same = kind(**SMALL, categorical_features=[4]).fit(array, y)
    assert_same_weights(model, same)
    assert_array_equal(scores(same, sparse.csr_array(array)), scores(same, array))
    good, shape = model.score(numbers, y), model.coefs_[0].shape
    model.set_params(warm_start=True).fit(numbers, y)
    assert model.coefs_[0].shape == shape
    assert model.score(numbers, y) > good - 0.05


def test_rules_for_many_columns_count_numeric_ones():
    """As many indicators as in the table above do not limit the columns with bins."""
    wide = pd.DataFrame(RNG.normal(size=(260, 129))).rename(columns=str)
    for frame in (wide, wide.assign(e=table(130)["e"])):
        model = TwoLayerRegressor(**SMALL).fit(frame, SIGNAL)
        n_bins = len(model.encoded_feature_names_) - 129 - 130 * ("e" in frame)
        assert model.n_members_ == 10
        assert 0 < n_bins <= 16 * 8


@over_kinds
def test_continuing_keeps_the_function(kind, y):
    model = kind(**SMALL, learning_rate_init=1e-12).fit(X, y)
    model = kind(**SMALL).fit(X, y)
    before, weights = scores(model), model._fitted.member_weights
    model.set_params(learning_rate_init=1e-12).partial_fit(X, y)
    assert_allclose(scores(model), before, rtol=1e-5, atol=1e-5)
    assert_array_equal(model._fitted.member_weights, weights)
    far = X * [3, 1, 1, 1] + [5, 0, 0, 0]  # another scaling
    for _ in range(3):
        model.partial_fit(far, y)
    assert_allclose(scores(model), before, rtol=1e-4, atol=1e-4)
    # And rates that are no zero do no harm.
    model = kind(**SMALL).fit(X, y)
    good = model.score(X, y)
    for i in range(100):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    assert model.score(X, y) > good - 0.05
    model.set_params(warm_start=True).fit(X, y)
    assert model.n_members_ == 10
    assert model.score(X, y) > good - 0.05


@over_kinds
def test_derivatives_are_differences(kind, y):
    model = (
        kind(**SMALL, activation="tanh", extrapolation=np.inf)
        if (kind is TwoLayerRegressor)
        else kind(**SMALL, activation="tanh")
    )
    model.fit(X, y)
    some, step = X[:20] + 1e-4, 1e-6
    found = model.input_gradient(some).reshape(20, -1, 4)
    for j in range(4):
        ends = [some + sign * step * np.eye(4)[j] for sign in (1, -1)]
        up, down = (model._scores(rows) for rows in ends)
        assert_allclose(found[..., j], (up - down) / (2 * step), rtol=1e-4, atol=1e-6)


@over_kinds
def test_sparse_rows_are_taken_as_dense_ones(kind, y):
    sparse_X = sparse.csr_array(X)
    model = kind(**SMALL).fit(X, y)
    for n in (3, 260):
        rows, same = sparse_X[:n], X[:n]
        assert_allclose(scores(model, rows), scores(model, same), rtol=1e-12)
        for method in ("transform", "input_gradient"):
            found, expected = (getattr(model, method)(x) for x in (rows, same))
            assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    model.feature_limits_ = None
    assert_allclose(scores(model, sparse_X), scores(model, X), rtol=1e-12)
    fits = [
        kind(**SMALL, numeric_encoding=PiecewiseLinear()).fit(X, y, X_val=rows, y_val=y)
        for rows in (X, sparse_X)
    ]
    assert fits[0].validation_loss_curve_ == fits[1].validation_loss_curve_
    for rows in (sparse_X, X):
        model.partial_fit(rows, y, X_val=rows, y_val=y)


def test_spread_is_that_of_the_weighted_mixture():
    model = TwoLayerRegressor(**SMALL, extrapolation=np.inf).fit(X, SIGNAL)
    mean, std = model.predict(X, return_std=True)
    weights = model._fitted.member_weights
    members = np.array(model._member_scores(X))[..., 0]
    variance = weights @ (members - mean) ** 2
    assert_allclose(std, np.sqrt(variance), rtol=1e-6)


def test_intervals_have_their_coverage():
    X, y = noisy(900, seed=3)
    model = TwoLayerRegressor(random_state=0).fit(X[:500], y[:500])
    low, high = model.predict_interval(X[500:], coverage=0.8).T
    inside = np.mean((low <= y[500:]) & (y[500:] <= high))
    assert abs(inside - 0.8) < 0.08


def test_curves_are_broken_between_the_trainings():
    model = TwoLayerRegressor(**SMALL).fit(X, SIGNAL)
    n = model.first_n_iter_
    assert 0 < n < model.n_iter_
    plain = TwoLayerRegressor(**SMALL, numeric_encoding=None).fit(X, SIGNAL)
    assert plain.first_n_iter_ == plain.n_iter_ == n
    display = LossCurveDisplay.from_estimator(model)
    for line in (display.lines_[0], display.validation_lines_[0]):
        epochs, values = line.get_data()
        assert_array_equal(epochs[np.isnan(values)], [n + 0.5])
        assert len(epochs) == model.n_iter_ + 1


def test_an_mlp_has_no_bins():
    model = TwoLayerClassifier(**SMALL).fit(X, LABELS)
    with pytest.raises(ValueError, match="Fit with numeric_encoding=None"):
        model.to_mlp()


def test_rows_of_weight_zero_are_absent():
    wild = np.concatenate([X, np.full((5, 4), 1e20)])
    weights = np.concatenate([np.full(260, 2.0), np.zeros(5)])
    y = np.concatenate([SIGNAL, np.full(5, -1e20)])
    model = TwoLayerRegressor(**SMALL).fit(wild, y, sample_weight=weights)
    alone = TwoLayerRegressor(**SMALL).fit(X, SIGNAL, sample_weight=weights[:260])
    assert_array_equal(model.predict(X), alone.predict(X))


# Breaking off: rows that are dense, and a table that makes a CSR.

ARRAY, FRAME = X, table(130)


@pytest.fixture(scope="module")
def whole():
    """Fits without a break, and the epochs of their first training."""
    found = {}
    for kind, y in KINDS:
        for of_table, rows in enumerate((ARRAY, FRAME)):
            plain = kind(**SMALL, numeric_encoding=None).fit(rows, y)
            found[kind, bool(of_table)] = kind(**SMALL).fit(rows, y), plain.n_iter_
    return found


@needs_callbacks
@pytest.mark.parametrize("of_table", [False, True])
@over_kinds
def test_an_interrupted_fit_resumes_to_the_same_bits(
    kind, y, of_table, whole, tmp_path
):
    X, (unbroken, n_first) = FRAME if of_table else ARRAY, whole[kind, of_table]
    path = tmp_path / "fit.ckpt"
    n_second = unbroken.n_iter_ - n_first
    for after in (n_first - 2, 1, 1, 1, n_second - 3):
        model = kind(**SMALL).set_callbacks(
            Checkpoint(path), Breaking(after, RuntimeError("power cut"))
        )
        with pytest.raises(RuntimeError, match="power cut"):
            model.fit(X, y)
    state = read(path)["state"]
    assert state.first is not None
    assert n_first < state.n_iter < unbroken.n_iter_
    counter = Breaking()
    model = kind(**SMALL).set_callbacks(counter, Checkpoint(path)).fit(X, y)
    assert counter.n_epochs == unbroken.n_iter_ - state.n_iter
    again = kind(**SMALL).set_callbacks(counter, Checkpoint(path)).fit(X, y)
    assert counter.n_epochs == unbroken.n_iter_ - state.n_iter  # it was at its end
    for other in (model, again):
        assert other.loss_curve_ == unbroken.loss_curve_
        assert other.validation_loss_curve_ == unbroken.validation_loss_curve_
        assert other.best_iter_ == unbroken.best_iter_
        assert_same_weights(unbroken, other)


@needs_callbacks
@over_kinds
def test_a_stop_keeps_the_training_so_far(kind, y, whole):
    unbroken, n_first = whole[kind, False]
    # In the first training: the network on the columns alone.
    model = kind(**SMALL).set_callbacks(Breaking(3)).fit(X, y)
    assert (model.n_iter_, model.n_members_) == (3, 8)
    assert model.stop_reason_ == "callback"
    # A fit that is interrupted there has no second training.
    model = kind(**SMALL).set_callbacks(Breaking(3, KeyboardInterrupt()))
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert model.stop_reason_ == "interrupted"
    assert (model.n_iter_, model.n_members_) == (3, 8)
    # In the second: both groups, weighted.
    n_epochs = unbroken.n_iter_ - 1
    model = kind(**SMALL).set_callbacks(Breaking(n_epochs)).fit(X, y)
    assert (model.n_iter_, model.n_members_) == (n_epochs, 10)
    assert model.stop_reason_ == "callback"
    # Interrupted in the first epoch of the second: as if there were no second.
    breaking = Breaking(n_first + 1, KeyboardInterrupt())
    model = kind(**SMALL).set_callbacks(breaking)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert model.stop_reason_ == "interrupted"
    assert model.n_iter_ >= n_first
    assert np.isfinite(scores(model)).all()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "interrupted"), (DivergenceError("far"), None)],
)
@pytest.mark.parametrize("place", ["start", "training"])
def test_a_failed_second_training_leaves_the_first_result(
    place, error, reason, monkeypatch
):
    plain = TwoLayerRegressor(**SMALL, numeric_encoding=None).fit(X, SIGNAL)
    run = Training.run

    def fail(*_):
        raise error

    if place == "start":
        monkeypatch.setattr(encoded_members, "_fresh", fail)
    else:
        second = [run, fail]
        monkeypatch.setattr(Training, "run", lambda self: second.pop(0)(self))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training interrupted by user")
        model = TwoLayerRegressor(**SMALL).fit(X, SIGNAL)
    assert model.stop_reason_ == (reason or plain.stop_reason_)
    assert_array_equal(model.predict(X), plain.predict(X))
