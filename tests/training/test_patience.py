"""When to stop: which improvements count, also with tol="auto"."""

from functools import partial

import numpy as np
import pytest
from compare import assert_same_weights
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._training import mini_batches
from sklearn_bp._training.patience import Patience
from sklearn_bp.losses import SquaredError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 4))
SIGNAL = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * RNG.normal(size=400)
QUICK = {"hidden_layer_sizes": 8, "random_state": 0}
ONE = {"numeric_encoding": None, "alpha": 0.05, "learning_rate_init": 0.03}


def fitted(make=TwoLayerRegressor, n=400, **options):
    y = SIGNAL if make is TwoLayerRegressor else SIGNAL > 0
    return make(**QUICK | options).fit(X[:n], y[:n])


def counted(costs, tol, share):
    """The epochs of which the patience takes no notice."""
    patience = Patience(tol, 10)
    found = []
    for i, cost in enumerate(costs):
        patience.update(cost, share)
        if patience.count == 0:
            found.append(i)
    return found


def test_without_a_share_tol_counts():
    assert counted([8.0, 7.0, 6.5, 5.4, np.nan, 4.0], 1.0, 0.0) == [0, 1, 3, 5]


def test_a_share_of_the_best_cost_counts():
    # A fall from 8 must be by 0.8, from 7.3 by 0.73, from 6.4 by 0.64, from 6 by 0.6.
    assert counted([8.0, 7.3, 6.4, 6.0, 5.3], 1.0, 0.1) == [0, 2, 4]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_share_is_bounded_by_tol(unit):
    falls = np.array([0.09, 0.11, 9.0, 11.0])  # in units of tol
    for best, least in [(1e-3, 0.1), (1e3, 10.0)]:
        for fall in falls:
            costs = [best * unit, best * unit - fall * unit]
            is_counted = counted(costs, unit, 0.5) == [0, 1]
            assert is_counted == (fall > least)


def test_no_share_makes_up_for_a_tol_of_zero():
    """Any improvement counts, however small."""
    costs = [1.0, np.nextafter(1.0, 0), 1.0]
    assert counted(costs, 0.0, 0.1) == counted(costs, 0.0, 0.0) == [0, 1]


def test_the_best_is_the_lowest_whatever_counts():
    patience = Patience(1.0, 10)
    assert [patience.update(c, 0.5) for c in (5.0, 4.9, 4.95)] == [True, True, False]
    assert patience.best == 4.9
    assert patience.count == 2


def same(one, other):
    assert one.validation_loss_curve_ == other.validation_loss_curve_
    assert one.loss_curve_ == other.loss_curve_
    assert_same_weights(one, other)


@pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"
)
@pytest.mark.parametrize(
    "options",
    [
        {"n": 299},
        {"n": 90, "max_iter": 20},
        {"early_stopping": True},
        {"early_stopping": False, "max_iter": 30},
        {"standardize": False, "max_iter": 30},
        {"solver": "sgd", "max_iter": 30},
        {"solver": "lbfgs", "max_iter": 30},
        {"early_stopping_metric": "score"},
        {"early_stopping_metric": "r2"},
        {"loss": "absolute_error"},
        {"loss": "gaussian_nll"},
    ],
    ids=str,
)
def test_where_no_share_counts_auto_is_a_ten_thousandth(options):
    same(fitted(**options), fitted(**options, tol=1e-4))


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_auto_ends_where_a_share_of_the_held_out_loss_is_not_gained(make):
    """The curve decides when, unless the penalty is dropped; a given one never is."""
    model, number = fitted(make, **ONE), fitted(make, **ONE, tol=1e-2)
    curve, other = model.validation_loss_curve_, number.validation_loss_curve_
    n = min(len(curve), len(other))
    assert curve[:n] == other[:n]
    assert len(curve) != len(other)
    share = 0.002 if make is TwoLayerRegressor else 0.001
    assert first_exhausted(make, model, 1e-4, share) == model.n_iter_


def first_exhausted(make, model, tol, share=0.0):
    """The first epoch after which the patience is used up."""
    patience = Patience(constant_loss(make) * tol, model.n_iter_no_change_)
    exhausted = []
    for cost in model.validation_loss_curve_:
        patience.update(cost, share)
        exhausted.append(patience.exhausted)
    return exhausted.index(True) + 1


def constant_loss(make):
    if make is TwoLayerRegressor:
        return 0.5  # of a target of mean 0 and variance 1
    p = np.mean(SIGNAL > 0)
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_a_given_tol_keeps_its_meaning(make):
    for tol in (1e-3, 1e-5):
        model = fitted(make, **ONE, tol=tol)
        assert first_exhausted(make, model, tol) == model.n_iter_


def test_a_loss_as_object_is_the_loss_of_its_name():
    same(fitted(), fitted(loss=SquaredError()))


@pytest.mark.parametrize("learning_rate_init", ["auto", 0.01])
def test_without_the_penalty_an_automatic_rate_is_lower(
    learning_rate_init, monkeypatch
):
    """So are the steps; after the fit, partial_fit continues at the rate of streams."""
    rates = []
    run_epoch = mini_batches.run_epoch

    def recorded(network, rate, *arguments):
        rates.append(rate)
        return run_epoch(network, rate, *arguments)

    monkeypatch.setattr(mini_batches, "run_epoch", recorded)
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "python")
    make = partial(fitted, numeric_encoding=None, max_iter=400)
    model = make(learning_rate_init=learning_rate_init)
    first, slow = (0.02, 0.01) if learning_rate_init == "auto" else (0.01, 0.01)
    assert model.learning_rate_init_ == first
    assert 0 < len(rates) == model.n_iter_
    if first == slow:
        assert set(rates) == {slow}
    else:
        dropped = rates.index(slow)
        assert 0 < dropped < len(rates)
        assert set(rates[:dropped]) == {first}
        assert set(rates[dropped:]) == {slow}
    rates.clear()
    model.partial_fit(X, SIGNAL)
    assert rates == [0.01]
