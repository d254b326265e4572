"""The running mean of the weights, which is evaluated and kept."""

import numpy as np
import pytest
from compare import flat
from numpy.testing import assert_allclose

from sklearn_bp import MLP_DEFAULTS, TwoLayerRegressor
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.mini_batches import averaging, counting
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingState
from sklearn_bp.optimizers import Bound


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


def averaged(n_steps):
    """Weights that move by 1 per step, their running mean, and a step."""
    parameters = Parameters.empty((1, 1, 1), np.float64)
    parameters.flat[:] = 0
    state = TrainingState(parameters, Patience(0, np.inf), np.random.RandomState(0))

    def finish(n_rows, rate):
        parameters.flat[:] += 1
        return 0.0

    optimizer = counting(Bound(None, None, finish, None), state)
    return state, averaging(optimizer, state, n_steps)


@pytest.mark.parametrize("n_steps", [2, 10, 64, 80, 1000])
def test_the_time_constant_is_that_of_the_steps(n_steps):
    """If weights move by 1 per step, the mean lags by this number of steps.

    It is taken of every so many steps only, and to within these.
    """
    state, optimizer = averaged(n_steps)
    for _ in range(20 * n_steps):
        optimizer.finish(1, 0.1)
    lag = state.parameters.flat - state.average.flat
    assert_allclose(lag, n_steps, atol=max(1, n_steps // 32), rtol=1e-3)
    state.average = None
    averaging(optimizer, state, n_steps)
    assert (state.average.flat == state.parameters.flat).all()


@pytest.mark.parametrize("n_updates", [1, 2, 10, 50])
def test_at_the_start_the_mean_lags_by_a_quarter_of_the_steps(n_updates):
    """Not by the time constant, before which the weights have not moved so far."""
    n_steps, every = 1000, 1000 // 32
    state, optimizer = averaged(n_steps)
    for _ in range(n_updates * every):
        optimizer.finish(1, 0.1)
    assert_allclose(state.average.flat, 0.75 * state.parameters.flat, rtol=1e-12)
