"""What a run keeps while it goes on: its best and its last weights."""

from itertools import count

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import History, Measured, Plan, TrainingState

LAYOUT = (3, 2, 1, 2)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("speed", [0.0, 3.0])
@pytest.mark.parametrize("seed", range(8))
def test_best_and_last_weights_are_those_of_their_epochs(seed, speed, averaged):
    """Each epoch overwrites the weights in place, as training does."""
    rng = np.random.default_rng(seed)
    layout, n = Layout(*LAYOUT, False, speed), int(rng.integers(1, 30))
    weights = rng.normal(size=(n, layout.size))
    costs, epoch = rng.permutation(n).astype(float), count()
    parameters = Parameters(np.zeros(layout.size), layout)
    state = TrainingState(parameters, Patience(0.0, np.inf), np.random.RandomState(0))
    if averaged:
        state.average = parameters.copy()
    history = History(
        state,
        Plan(n, -np.inf, lambda p: Measured(costs[next(epoch)], 0.0), lambda m: m.loss),
    )
    for i, own in enumerate(weights):
        state.kept.flat[:] = own
        history.epoch_ends(1.0, 1.0)
        assert_array_equal(state.best, weights[np.argmin(costs[: i + 1])])
    state.kept.flat[:] = np.nan  # an epoch that has begun
    result = history.interrupted()
    assert_array_equal(state.kept.flat, weights[-1])
    best = Parameters(weights[np.argmin(costs)].copy(), layout).absorbed()
    assert_array_equal(result.parameters.flat, best.flat)
    assert result.best_iter == np.argmin(costs) + 1


@pytest.mark.parametrize("seed", range(5))
def test_absorbed_scales_multiply_the_rows_of_w1_alone(seed):
    rng = np.random.default_rng(seed)
    layout = Layout(*rng.integers(1, 6, size=4).tolist(), bool(seed % 2), 3.0)
    scaled = Parameters(rng.normal(size=layout.size), layout)
    before, absorbed = scaled.flat.copy(), scaled.absorbed()
    assert absorbed.r is None
    assert_array_equal(absorbed.W1, scaled.scales[:, np.newaxis] * scaled.W1)
    for name in ("b1", "W2", "V", "b2"):
        own, kept = getattr(absorbed, name), getattr(scaled, name)
        assert (own is None) == (kept is None)
        if own is not None:
            assert_array_equal(own, kept)
    assert_array_equal(scaled.flat, before)
    assert not np.shares_memory(absorbed.flat, scaled.flat)
