"""Which columns the second training sees in bins."""

import numpy as np
import pytest
from breaking import Breaking, needs_callbacks
from compare import assert_same_weights
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting import encoded_columns
from sklearn_bp._fitting.state_files import read
from sklearn_bp._tables.column_tests import PValues
from sklearn_bp.callbacks import Checkpoint

IGNORED = f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
pytestmark = pytest.mark.filterwarnings(IGNORED)

SMALL = {"hidden_layer_sizes": 6, "random_state": 0}
over_kinds = pytest.mark.parametrize("kind", [TwoLayerClassifier, TwoLayerRegressor])


def drawn(n, d, seed=0):
    """Columns of noise, and steps of the first three."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = 2.0 * (X[:, 0] > 0) + 2.0 * (X[:, 1] > 0.5) - 2.0 * (X[:, 2] < -0.5)
    return X, y + 0.3 * rng.normal(size=n)


def target(kind, y):
    return y if kind is TwoLayerRegressor else (y > np.median(y)).astype(int)


def binned(model):
    """The columns that have bins."""
    bins = model._fitted.inputs.bins
    return np.array([], int) if bins is None else np.unique(bins.column)


@pytest.mark.parametrize("n", [400, 700])
@over_kinds
def test_of_many_columns_those_that_count_have_bins(kind, n):
    """And the heaviest, of which there are fewer if rows are few."""
    d = 60
    heaviest, lengths = 16 if n < 8 * d else 32, []
    for seed in range(5):
        X, y = drawn(n, d, seed)
        chosen = binned(kind(**SMALL).fit(X, target(kind, y)))
        assert {0, 1, 2} <= set(chosen)
        lengths.append(len(chosen))
    # By either test, a tenth of the columns of noise or fewer.
    assert heaviest <= np.median(lengths) < heaviest + 15


@pytest.mark.parametrize("skip_layer", [False, True])
@over_kinds
def test_members_of_the_second_training_see_no_other_columns(kind, skip_layer):
    """But columns of two values, which can have no bins, and those of categories."""
    X, y = drawn(300, 60)
    X[:, 50:] = X[:, 50:] > 0
    model = kind(**SMALL, skip_layer=skip_layer).fit(X, target(kind, y))
    seen = np.union1d(binned(model), np.arange(50, 60))
    others = np.setdiff1d(np.arange(60), seen)
    n_first = 8 * 6
    assert len(others) > 15
    assert_array_equal(model.coefs_[0][others, n_first:], 0)
    assert (model.coefs_[0][seen, n_first:] != 0).any(axis=1).all()
    assert (model.coefs_[0][:, :n_first][:60] != 0).any(axis=1).all()


@over_kinds
def test_a_column_that_counts_in_a_pair_has_bins(kind):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(900, 80))
    y = 2.0 * ((X[:, 70] > 0) ^ (X[:, 75] > 0)) + 0.5 * rng.normal(size=900)
    chosen = binned(kind(**SMALL).fit(X, target(kind, y)))
    assert {70, 75} <= set(chosen)


@over_kinds
def test_all_columns_have_bins_if_they_are_few_or_all_count(kind):
    X, y = drawn(300, 32)
    assert len(binned(kind(**SMALL).fit(X, target(kind, y)))) == X.shape[1]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 40))
    y = np.sin(2 * X).sum(axis=1)
    assert len(binned(kind(**SMALL).fit(X, target(kind, y)))) == 40


def test_the_order_of_columns_does_not_count_for_the_tests():
    """The three steps are found wherever they stand."""
    X, y = drawn(500, 60)
    rng = np.random.default_rng(5)
    for _ in range(3):
        order = rng.permutation(60)
        chosen = binned(TwoLayerRegressor(**SMALL).fit(X[:, order], y))
        assert {0, 1, 2} <= set(order[chosen])


def test_of_very_many_columns_few_have_bins():
    X, y = drawn(800, 400)
    chosen = binned(TwoLayerRegressor(**SMALL).fit(X, y))
    assert {0, 1, 2} <= set(chosen)
    assert len(chosen) == 16


@pytest.mark.parametrize("d", [5, 30])
def test_the_encoded_rows_never_store_more_numbers_than_the_limit(d, monkeypatch):
    """As the limit falls, fewer columns have bins, and the best of them stay."""
    X, y = drawn(400, d)
    lengths = []
    whole = 400 * 9 * d
    for most in (whole, whole - 1, 400 * (d + 25), 400 * (d + 8)):
        monkeypatch.setattr(encoded_columns, "MOST_NUMBERS", most)
        model = TwoLayerRegressor(**SMALL).fit(X, y)
        chosen = binned(model)
        lengths.append(len(chosen))
        assert 400 * len(model.encoded_feature_names_) <= most
        assert chosen[0] in (0, 1, 2)
    assert lengths == [d, d - 1, 3, 1]
    monkeypatch.setattr(encoded_columns, "MOST_NUMBERS", 400 * (d + 7))
    model = TwoLayerRegressor(**SMALL).fit(X, y)
    plain = TwoLayerRegressor(**SMALL, numeric_encoding=None).fit(X, y)
    assert_array_equal(model.predict(X), plain.predict(X))


@pytest.mark.slow
@over_kinds
def test_steps_among_columns_of_noise_are_learned_however_many(kind):
    """Without bins, the step functions stay unlearned."""
    for d in (40, 100, 200):
        X, y = drawn(2000, d)
        y, new, of_new = target(kind, y), X[1000:], target(kind, y)[1000:]
        with_bins, without = (
            kind(random_state=0, numeric_encoding=encoding).fit(X[:1000], y[:1000])
            for encoding in ("auto", None)
        )
        unexplained = [1 - m.score(new, of_new) for m in (with_bins, without)]
        assert unexplained[0] < 0.7 * unexplained[1], d


@needs_callbacks
@over_kinds
def test_an_interrupted_fit_chooses_the_same_columns(kind, tmp_path):
    X, y = drawn(300, 30)
    y = target(kind, y)
    unbroken = kind(**SMALL).fit(X, y)
    path = tmp_path / "fit.ckpt"
    breaking = Breaking(unbroken.first_n_iter_ + 3, RuntimeError("power cut"))
    with pytest.raises(RuntimeError, match="power cut"):
        kind(**SMALL).set_callbacks(Checkpoint(path), breaking).fit(X, y)
    assert read(path)["state"].first is not None
    model = kind(**SMALL).set_callbacks(Checkpoint(path)).fit(X, y)
    assert_array_equal(binned(model), binned(unbroken))
    assert_same_weights(unbroken, model)


@pytest.mark.parametrize(("n_found", "all_have_bins"), [(12, False), (13, True)])
def test_all_have_bins_if_errors_depend_on_more_than_a_fifth(
    n_found, all_have_bins, monkeypatch
):
    """Of 60 columns alone: chance allows a tenth."""
    X, y = drawn(600, 60)
    alone = np.where(np.arange(60) < n_found, 0.05, 0.5)
    found = PValues(alone, np.ones(60))
    monkeypatch.setattr(encoded_columns, "p_values", lambda *_: found)
    chosen = binned(TwoLayerRegressor(**SMALL).fit(X, y))
    assert (len(chosen) == 60) == all_have_bins


@pytest.mark.parametrize(("n", "n_heaviest"), [(400, 16), (600, 32)])
def test_significant_columns_and_the_heaviest_have_bins(n, n_heaviest, monkeypatch):
    """With a p-value below 0.1 in either test."""
    X, y = drawn(n, 60)

    def chosen_with(alone, in_pairs):
        found = PValues(alone, in_pairs)
        monkeypatch.setattr(encoded_columns, "p_values", lambda *_: found)
        return set(binned(TwoLayerRegressor(**SMALL).fit(X, y)))

    heaviest = chosen_with(np.ones(60), np.ones(60))
    assert len(heaviest) == n_heaviest
    alone = np.where(np.arange(60) % 7 == 0, 0.099, 0.101)
    in_pairs = np.where(np.arange(60) % 5 == 0, 0.099, 0.101)
    significant = np.flatnonzero(np.minimum(alone, in_pairs) < 0.1)
    assert chosen_with(alone, in_pairs) == heaviest | set(significant)


@pytest.mark.parametrize(
    ("labelled", "fine", "heavy", "light"), [(True, 24, 6, 6), (False, 16, 8, 4)]
)
def test_bins_follow_the_weights(labelled, fine, heavy, light):
    """The four heaviest have fine bins; others are heavy from half the fourth on."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = rng.uniform(size=rng.integers(1, 30))
        last = np.sort(weights)[-4:][0]
        expected = np.where(weights >= last / 2, heavy, light)
        expected[weights >= last] = fine
        n_bins = encoded_columns._bins_by_weight(weights, labelled)
        assert_array_equal(n_bins, expected)


@pytest.mark.parametrize(
    ("kind", "least", "fine"),
    [(TwoLayerClassifier, 200, 24), (TwoLayerRegressor, 500, 16)],
)
def test_bins_are_fine_from_a_number_of_rows_on(kind, least, fine):
    X, y = drawn(least, 3)
    for n, n_bins in ((least - 1, 8), (least, fine)):
        model = kind(**SMALL).fit(X[:n], target(kind, y[:n]))
        assert model._fitted.inputs.bins.n_bins == 3 * n_bins


def test_room_goes_to_the_best_by_either_measure_in_turn():
    """The smallest p-value first, then the largest weight, and so on."""
    p, weights = np.array([0.3, 0.1, 0.2, 0.9]), np.array([1.0, 2.0, 3.0, 4.0])
    assert_array_equal(encoded_columns._in_order(p, weights), [1, 3, 2, 0])
