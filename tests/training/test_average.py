"""The running mean of the weights: what is evaluated and kept."""

import numpy as np
import pytest
from compare import flat
from numpy.testing import assert_allclose

from sklearn_bp import MLP_DEFAULTS, TwoLayerRegressor


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_mean_reaches_back_two_epochs(solver):
    """An exponential moving average, whose time constant is two epochs."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    settings = {"hidden_layer_sizes": 4, "average": True, "batch_size": "full"}
    settings |= {"solver": solver, "learning_rate_init": 0.05, "random_state": 0}
    model = TwoLayerRegressor(**MLP_DEFAULTS | settings)
    for epoch in range(20):
        before = flat(model) if epoch else None
        model.partial_fit(X, X[:, 0] * X[:, 1])
        if epoch < 10:
            continue  # it is shorter at the start
        coefs, intercepts = model._training_state.parameters.unpack()
        last = np.concatenate([a.ravel() for a in [*coefs, *intercepts]])
        decay = np.exp(-1 / 2)
        expected = decay * before + (1 - decay) * last
        assert_allclose(flat(model), expected, rtol=1e-9, atol=1e-12)
