"""Splitting products changes only their rounding."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_bp._common import blas
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import REGRESSOR_LOSSES


@pytest.mark.parametrize("n_rows", [1, 7, 8, 200, 201, 1000])
@pytest.mark.parametrize("n_multiplications", [1, 6400, 10**5, 10**6, 10**7])
@pytest.mark.parametrize("least", [1, 8, 48])
def test_row_parts_cover_all_rows(n_rows, n_multiplications, least):
    parts = blas.row_parts(n_rows, n_multiplications, least)
    rows = np.concatenate([np.arange(n_rows)[part] for part in parts])
    assert np.array_equal(rows, np.arange(n_rows))
    if len(parts) > 1:
        lengths = [part.stop - part.start for part in parts]
        assert max(lengths) * n_multiplications <= blas.DIRECT_PRODUCT
        assert n_rows * n_multiplications > blas.DIRECT_PRODUCT


@pytest.mark.parametrize("limit", [1000, 6000, 10**6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_split_products_equal_whole_ones(limit, dtype, monkeypatch):
    rng = np.random.RandomState(0)
    X, Y = rng.normal(size=(203, 5)).astype(dtype), rng.normal(size=(203, 2))
    parameters = Parameters.empty((5, 20, 2), dtype)
    parameters.flat[:] = rng.normal(size=parameters.flat.size)
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], REGRESSOR_LOSSES["squared_error"])
    loss, gradient = loss_and_gradient(network, parameters, X, Y)
    monkeypatch.setattr(blas, "DIRECT_PRODUCT", limit)
    loss_in_parts, gradient_in_parts = loss_and_gradient(network, parameters, X, Y)
    rtol = 100 * np.finfo(dtype).eps  # sums of 200 terms in another order
    assert_allclose(loss_in_parts, loss, rtol=rtol)
    largest = np.abs(gradient.flat).max()
    assert_allclose(
        gradient_in_parts.flat, gradient.flat, rtol=rtol, atol=rtol * largest
    )


def test_one_thread_where_products_are_small():
    before = [info["num_threads"] for info in blas._controller().info()]
    with blas.blas_threads(1000):
        inside = [
            info["num_threads"]
            for info in blas._controller().info()
            if info["user_api"] == "blas"
        ]
        assert inside
        assert set(inside) == {1}
    assert [info["num_threads"] for info in blas._controller().info()] == before
