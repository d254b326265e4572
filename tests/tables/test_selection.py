"""Training on some of the inputs: rows there, and weights back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.selection import Selection
from sklearn_bp.initializers import INITIALIZERS

SELECTED = np.array([True, False, True, True, False])


@pytest.mark.parametrize("scaled", [0.0, 3.0])
@pytest.mark.parametrize("skip", [False, True])
def test_weights_on_all_inputs_compute_the_same_scores(skip, scaled):
    rng = np.random.default_rng(0)
    p = Parameters.draw(
        (3, 4, 2, 2, skip, scaled),
        np.float64,
        INITIALIZERS["glorot_uniform"],
        np.random.RandomState(0),
        4,
    )
    p.flat[:] = rng.normal(size=p.flat.shape)
    found = Selection(SELECTED).back(p)
    own = p.absorbed()
    X = rng.normal(size=(20, 5))
    assert_allclose(X @ found.W1, X[:, SELECTED] @ own.W1, rtol=1e-12)
    assert_array_equal(found.W1[~SELECTED], 0)
    if skip:
        assert_allclose(X @ found.V, X[:, SELECTED] @ own.V, rtol=1e-12)
    for name in ("b1", "W2", "b2"):
        assert_array_equal(getattr(found, name), getattr(own, name))


def test_selected_columns_are_scaled_as_before():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 5))
    scaling = Scaling(rng.normal(size=5), rng.uniform(1, 2, size=5))
    rows, own = Selection(SELECTED).of_rows(X, scaling)
    assert_array_equal(own(rows), scaling(X)[:, SELECTED])
