"""How far predictions go beyond the range of the training targets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from sklearn_bp import TwoLayerRegressor
from sklearn_bp.losses import Quantile

X = np.linspace(0, 10, 300)[:, np.newaxis]
FAR = np.linspace(-30, 40, 50)[:, np.newaxis]
BRIEF = {"random_state": 0, "hidden_layer_sizes": 8, "n_members": 4}


@pytest.mark.parametrize(
    "loss", ["squared_error", "gaussian_nll", Quantile([0.1, 0.9])]
)
@pytest.mark.parametrize("share", [0, None, 0.7])
def test_predictions_end_at_a_share_of_the_range(share, loss):
    """By default, at 5 % of it."""
    y = 7 * X[:, 0] - 20
    given = {} if share is None else {"extrapolation": share}
    model = TwoLayerRegressor(loss=loss, **given, **BRIEF).fit(X, y)
    share = 0.05 if share is None else share
    predicted, margin = model.predict(FAR), share * np.ptp(y)
    assert predicted.min() >= y.min() - margin - 1e-9
    assert predicted.max() <= y.max() + margin + 1e-9
    free = TwoLayerRegressor(loss=loss, extrapolation=np.inf, **BRIEF).fit(X, y)
    cut = np.clip(free.predict(FAR), y.min() - margin, y.max() + margin)
    assert_allclose(predicted, cut, rtol=1e-12, atol=1e-9)


def test_without_a_limit_predictions_are_the_networks():
    y = 7 * X[:, 0] - 20
    model = TwoLayerRegressor(extrapolation=np.inf, **BRIEF).fit(X, y)
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    hidden = np.maximum(FAR @ W1 + b1, 0)
    assert_allclose(model.predict(FAR), (hidden @ W2 + b2)[:, 0])
    assert_allclose(model.to_mlp().predict(FAR), model.predict(FAR))


def test_the_value_of_the_fit_counts():
    """Parameters that are set later affect the next fit."""
    y = 7 * X[:, 0]
    model = TwoLayerRegressor(**BRIEF).fit(X, y)
    before = model.predict(FAR)
    model.set_params(extrapolation=5.0)
    assert_array_equal(model.predict(FAR), before)
    model.fit(X, y)
    assert model.predict(FAR).max() > before.max() + 50


def test_cross_validation_can_choose():
    """A trend that continues, split by time."""
    y = 3 * X[:, 0]
    search = GridSearchCV(
        TwoLayerRegressor(**BRIEF),
        {"extrapolation": [0.0, np.inf]},
        cv=TimeSeriesSplit(3),
    ).fit(X, y)
    assert search.best_params_ == {"extrapolation": np.inf}


@pytest.mark.parametrize("value", [-0.1, np.nan, "none", None])
def test_other_values_are_refused(value):
    with pytest.raises((ValueError, TypeError), match="'extrapolation' parameter"):
        TwoLayerRegressor(extrapolation=value).fit(X, X[:, 0])
