"""The rules behind "auto", as the parameters' descriptions and the docs state them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.defaults import rows_a_batch, rows_a_round


@pytest.mark.parametrize(
    ("rule", "least", "most"), [(rows_a_batch, 32, 256), (rows_a_round, 256, 8192)]
)
def test_batches_are_the_power_of_two_nearest_to_a_67th(rule, least, most):
    powers = 2.0 ** np.arange(20)
    powers = powers[(least <= powers) & (powers <= most)]
    rng = np.random.default_rng(0)
    for n in np.exp(rng.uniform(np.log(100), np.log(1e7), 500)).astype(int):
        nearest = powers[np.argmin(np.abs(np.log(powers * 67 / n)))]
        assert rule(int(n)) == nearest
    for power in powers[:-1]:  # where one power of two gives way to the next
        middle = int(67 * power * np.sqrt(2))
        assert (rule(middle), rule(middle + 1)) == (power, 2 * power)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("n", "rows"),
    [(99, 99), (100, 32), (3031, 32), (3033, 64), (6064, 64), (6065, 128)],
)
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_a_fit_tells_its_recipe(make, n, rows):
    """Full batches and a penalty of 1 below 100 rows; 300 steps are the least patience.

    The rate is that of 10 features over the root of their number.
    """
    X = np.random.default_rng(0).normal(size=(n, 40))
    model = make(2, n_members=2, max_iter=1, random_state=0).fit(X, X[:, 0] > 0)
    assert model.batch_size_ == rows
    assert_allclose(model.learning_rate_init_, 0.01 * np.sqrt(10 / 40))
    assert_allclose(model.alpha_, 1 if n < 100 else 0.1 * (100 / n) ** 1.5)
