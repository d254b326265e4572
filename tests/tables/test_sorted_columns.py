"""Columns sorted once, and rows encoded in parts: as if it was done in one go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bp._tables.inputs import Inputs, NewRows
from sklearn_bp._tables.piecewise_linear import Bins
from sklearn_bp._tables.selection import Selection
from sklearn_bp._tables.sorted_columns import SortedColumns, quantiles

LEVELS = np.arange(9) / 8


def drawn(seed, dtype, n=70):
    """Columns of several kinds, and weights or None."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=n),
        np.exp(2 * rng.normal(size=n)),
        rng.poisson(1.0, size=n),
        np.full(n, 3.0),
        rng.choice([0.0, 1e6], size=n),
    ]
    X = np.stack(columns, axis=1)
    X = (1e3 * X).astype(dtype) if np.dtype(dtype).kind == "i" else X.astype(dtype)
    return X, None if seed % 2 else rng.uniform(0.1, 2, size=n)


dtypes = st.sampled_from(["f8", "f4", "i8"])


@settings(max_examples=40)
@given(st.integers(0, 10_000), dtypes, st.booleans())
def test_quantiles_and_shares_are_those_of_the_columns(seed, dtype, is_sparse):
    X, weights = drawn(seed, dtype)
    known = SortedColumns.of(sparse.csr_matrix(X) if is_sparse else X, weights)
    expected = quantiles(X.T.copy(), weights, LEVELS)
    assert_array_equal(known.quantiles(LEVELS), expected)
    assert_array_equal(known.quantiles(LEVELS, [2, 0]), expected[:, [2, 0]])
    total = len(X) if weights is None else weights.sum()
    for j, column in enumerate(X.T):
        values, shares = known.distribution(j)
        assert_array_equal(values, np.unique(column))
        for value, share in zip(values, shares, strict=True):
            own = column == value
            weight = own.sum() if weights is None else weights[own].sum()
            assert_allclose(share, weight / total)


@settings(max_examples=40)
@given(st.integers(0, 10_000), dtypes)
def test_values_beyond_the_limits_become_the_centre(seed, dtype):
    """Neither the columns that were sorted nor those inside the limits change."""
    X, weights = drawn(seed, dtype)
    known = SortedColumns.of(X, weights)
    before = known.quantiles(LEVELS)
    limits, centre = np.quantile(X, [0.1, 0.9], axis=0), np.median(X, axis=0)
    limits[:, 0] = -np.inf, np.inf
    inside = np.where((limits[0] > X) | (limits[1] < X), centre, X)
    inside = inside if dtype == "i8" else inside.astype(dtype)
    expected = quantiles(inside.T.copy(), weights, LEVELS)
    found = known.inside(limits, centre)
    assert_array_equal(found.quantiles(LEVELS), expected)
    assert_array_equal(known.quantiles(LEVELS), before)
    assert found.columns[0] is known.columns[0]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 24))
def test_means_of_bins_are_those_of_the_added_columns(seed, n_bins):
    X, weights = drawn(seed, "f8")
    bins = Bins.of(X, weights, X.shape[1], n_bins)
    expected = np.average(bins.encode(X), axis=0, weights=weights)
    assert_allclose(bins.means, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_threads_do_not_change_a_bit_of_quantiles(shared, weighted):
    X, weights = drawn(1 - weighted, "f8", 500)
    found = []
    for n_threads in (1, 2, 3):
        shared(n_threads)
        found.append(SortedColumns.of(X, weights).quantiles(LEVELS))
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
@pytest.mark.parametrize("n_bins", [0, 6])
@pytest.mark.parametrize("selected", [None, [0, 2, 3]])
def test_rows_for_training_are_those_of_one_thread_and_one_part(
    monkeypatch, shared, dtype, n_bins, selected
):
    monkeypatch.setattr("sklearn_bp._tables.inputs.SCALED_AT_ONCE", 64)
    X, _ = drawn(0, dtype, 500)
    X[3, 0] = 10_000  # beyond the limits
    rows = NewRows(len(X), None, 0, n_before=None)
    inputs = Inputs.of(None, X, rows, standardize=True)
    if n_bins:
        inputs = inputs.with_bins(X, None, n_bins)
    scaling, selection = inputs.network_scaling, None
    whole = inputs.for_network(X)
    if selected is not None:
        selection = Selection(np.isin(np.arange(whole.shape[1]), selected))
        whole, scaling = selection.of_rows(whole, scaling)
    expected = scaling(whole, np.empty(whole.shape, np.float32))
    for n_threads in (1, 2, 3):
        shared(n_threads)
        found, rest = inputs.for_training(X, np.dtype(np.float32), selection)
        assert rest is None
        assert_array_equal(found, expected)
