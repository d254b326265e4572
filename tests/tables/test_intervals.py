"""Intervals by split-conformal calibration, and the temperature as an option."""

import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._tables.intervals import calibrate, half_width

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LINEAR = MLP_DEFAULTS | {
    "hidden_layer_sizes": 2,
    "activation": "identity",
    "solver": "lbfgs",
    "max_iter": 60,
    "random_state": 0,
}


def draw(seed, n):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    return X, X @ [1.0, -1.0, 0.5] + rng.standard_t(3, size=n)


def within(model, X, y, coverage):
    interval = model.predict_interval(X, coverage)
    assert interval.shape == (*y.shape, 2)
    return np.mean((interval[..., 0] <= y) & (y <= interval[..., 1]), axis=0)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_coverage_with_the_users_rows(coverage):
    """Over twenty draws, within 0.02 of the nominal: heavy tails, a poor model."""
    shares = []
    for seed in range(20):
        X, y = draw(seed, 1600)
        model = TwoLayerRegressor(**LINEAR)
        model.fit(X[:100], y[:100], X_val=X[100:600], y_val=y[100:600])
        shares.append(within(model, X[600:], y[600:], coverage))
    assert abs(np.mean(shares) - coverage) < 0.02


def test_coverage_by_default():
    """Rows held out in turn, on real data."""
    X, y = load_diabetes(return_X_y=True)
    shares = []
    for seed in range(20):
        order = np.random.RandomState(seed).permutation(len(y))
        train, test = order[:300], order[300:]
        model = TwoLayerRegressor(16, n_members=4, max_iter=40, random_state=seed)
        shares.append(within(model.fit(X[train], y[train]), X[test], y[test], 0.9))
    assert abs(np.mean(shares) - 0.9) < 0.02


@pytest.mark.parametrize("n", [9, 10, 19, 100, 137])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_the_rank_of_the_error(n, coverage):
    """The ceil((n + 1) coverage)-th smallest of n."""
    errors = np.random.RandomState(0).permutation(n)[:, np.newaxis] + 1.0
    rank = math.ceil((n + 1) * coverage - 1e-9)
    assert half_width(*calibrate(errors), coverage) == rank
    weights = np.full(n, 0.3)
    assert half_width(*calibrate(errors, weights), coverage) == rank


def test_weights_are_repeated_rows_but_for_the_number():
    rng = np.random.RandomState(0)
    errors, repeats = rng.exponential(size=(200, 2)), rng.randint(0, 4, 200)
    weighted, n = calibrate(errors, repeats.astype(float))
    repeated = np.repeat(errors, repeats, axis=0)
    assert n == math.floor(repeats.sum() ** 2 / (repeats**2).sum())
    for level in (0.3, 0.7, 0.95):
        found = half_width(weighted, 10**6, level)
        low, high = (
            np.quantile(repeated, at, axis=0, method="inverted_cdf")
            for at in (level, level + 2 / 200)
        )
        assert (low <= found).all()
        assert (found <= high).all()


def test_many_errors_are_kept_by_their_quantiles():
    errors = np.random.RandomState(0).permutation(50_000)[:, np.newaxis] / 50_000
    quantiles, n = calibrate(errors)
    assert (len(quantiles), n) == (1000, 50_000)
    for coverage in (0.5, 0.9, 0.999):
        assert coverage <= half_width(quantiles, n, coverage) < coverage + 0.0011


def test_outputs_have_intervals_of_their_own():
    X, y = draw(0, 400)
    both = np.column_stack([y, 1000 * y + 5])
    own = {"X_val": X[200:], "y_val": both[200:]}
    model = TwoLayerRegressor(8, n_members=2, max_iter=20, random_state=0)
    interval = model.fit(X[:200], both[:200], **own).predict_interval(X)
    assert interval.shape == (400, 2, 2)
    width = (interval[..., 1] - interval[..., 0])[0]
    errors = np.abs(model.predict(X[200:]) - both[200:])
    assert_allclose(width / 2, np.sort(errors, axis=0)[181 - 1], rtol=1e-4)
    assert_allclose(interval.mean(axis=-1), model.predict(X))


def test_counts_are_not_negative():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(300, 2))
    y = rng.poisson(np.exp(X[:, 0]))
    model = TwoLayerRegressor(8, loss="poisson", random_state=0, max_iter=30).fit(X, y)
    assert model.predict_interval(X).min() == 0


def test_calibration_is_part_of_the_model():
    """In its pickle, in few bytes; and it is gone after a fit without such rows."""
    X, y = draw(0, 5000)
    settings = LINEAR | {"early_stopping": False}
    plain = TwoLayerRegressor(**settings).fit(X, y)
    model = TwoLayerRegressor(**settings).fit(X, y, X_val=X, y_val=y)
    assert len(pickle.dumps(model)) < len(pickle.dumps(plain)) + 100_000 * 2 + 9000
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    model.fit(X, y)
    with pytest.raises(ValueError, match="needs the errors on validation rows"):
        model.predict_interval(X)


@pytest.mark.parametrize(
    ("coverage", "error", "message"),
    [
        (0.0, ValueError, r"in \(0, 1\)"),
        (1.0, ValueError, r"in \(0, 1\)"),
        (1.5, ValueError, r"in \(0, 1\)"),
        (None, TypeError, "must be a number"),
        (True, TypeError, "must be a number"),
        (0.99, ValueError, "needs at least 99 validation rows, and there were 40"),
    ],
)
def test_coverages_that_cannot_be(coverage, error, message):
    X, y = draw(0, 80)
    model = TwoLayerRegressor(**LINEAR).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    with pytest.raises(error, match=message):
        model.predict_interval(X, coverage)


def test_it_needs_a_fit():
    with pytest.raises(NotFittedError):
        TwoLayerRegressor().predict_interval([[0.0]])


# The temperature.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_a_temperature_never_makes_it_worse(kind, early_stopping, seed):
    """The same classes, the same training; no larger loss on the validation rows."""
    X, signal = draw(seed, 300)
    y = {
        "binary": signal > 0,
        "multiclass": np.digitize(signal, [-1, 1]),
        "multilabel": np.column_stack([signal > 0, X[:, 0] > 1]).astype(int),
    }[kind]
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 30,
        "max_iter": 5 + 40 * seed,
        "learning_rate_init": 0.02,
        "random_state": seed,
        "early_stopping": early_stopping,
    }
    own = {"X_val": X[200:], "y_val": y[200:]}
    cold = TwoLayerClassifier(temperature_scaling=False, **settings)
    warm = TwoLayerClassifier(temperature_scaling=True, **settings)
    cold, warm = (model.fit(X[:200], y[:200], **own) for model in (cold, warm))
    assert cold.temperature_ == 1
    assert_array_equal(warm.predict(X), cold.predict(X))
    assert_allclose(warm.coefs_[0], cold.coefs_[0])
    scores = cold.decision_function(X) / warm.temperature_
    assert_allclose(warm.decision_function(X), scores, rtol=1e-9)
    if kind == "multilabel":
        losses = [
            np.mean(
                [
                    log_loss(y[200:, j], model.predict_proba(X[200:])[:, j])
                    for j in (0, 1)
                ]
            )
            for model in (cold, warm)
        ]
    else:
        losses = [
            log_loss(y[200:], model.predict_proba(X[200:])) for model in (cold, warm)
        ]
    assert losses[1] <= losses[0] + 1e-12


@pytest.mark.parametrize("bad", ["yes", 1, None])
def test_temperature_scaling_is_checked(bad):
    X, y = draw(0, 30)
    with pytest.raises((ValueError, TypeError), match="'temperature_scaling'"):
        TwoLayerClassifier(temperature_scaling=bad).fit(X, y > 0)
