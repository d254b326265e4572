"""Bins of numeric columns: laws of the encoding for all kinds of columns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bp import PiecewiseLinear
from sklearn_bp._tables.piecewise_linear import Bins
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.sorted_columns import quantiles


def drawn(seed, n=60):
    """Columns of several kinds, and weights."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=n),
        1e6 + rng.normal(size=n),
        np.exp(3 * rng.normal(size=n)),
        rng.integers(0, 4, size=n).astype(float),
        rng.integers(0, 2, size=n).astype(float),
        np.full(n, 7.0),
        rng.normal(size=n) * (rng.uniform(size=n) < 0.3),
    ]
    return np.stack(columns, axis=1), rng.integers(1, 4, size=n)


over_draws = given(st.integers(0, 10_000), st.integers(2, 12))


@settings(max_examples=30)
@over_draws
def test_bins_of_a_column_add_up_to_it(seed, n_bins):
    """sum_t width_t v_t = x - e_0, also beyond the training rows."""
    X, _ = drawn(seed)
    bins = Bins.of(X, None, X.shape[1], n_bins)
    far = np.concatenate([X, 3 * X - 1, [X.min(axis=0) - 5, X.max(axis=0) + 5]])
    V = bins.encode(far)
    for j in np.unique(bins.column):
        own = bins.column == j
        total = V[:, own] @ bins.width[own] + bins.low[own][0]
        assert_allclose(total, far[:, j], rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(2, 12), min_size=7, max_size=7))
def test_each_column_may_have_its_own_number_of_bins(seed, numbers):
    X, weights = drawn(seed)
    together = Bins.of(X, weights.astype(float), len(numbers), np.array(numbers))
    for j, n_bins in enumerate(numbers):
        alone = Bins.of(X[:, [j]], weights.astype(float), 1, n_bins)
        own = together.column == j
        if alone is None:
            assert not own.any()
            continue
        for name in ("low", "width", "means"):
            assert_array_equal(getattr(together, name)[own], getattr(alone, name))


@settings(max_examples=30)
@over_draws
def test_columns_of_few_values_have_no_bins(seed, n_bins):
    X, _ = drawn(seed)
    bins = Bins.of(X, None, X.shape[1], n_bins)
    binned = set(bins.column.tolist())
    assert {0, 1, 2} <= binned
    assert not binned & {4, 5}
    counts = np.unique(bins.column, return_counts=True)[1]
    assert counts.min() >= 2
    assert counts.max() <= n_bins
    # Inside the training rows each value lies in [0, 1].
    V = bins.encode(X)
    assert V.min() >= 0
    assert V.max() <= 1


def test_without_columns_of_several_values_there_are_none():
    X = np.stack([np.arange(20) % 2, np.full(20, 3)], axis=1).astype(float)
    assert Bins.of(X, None, 2, 8) is None
    assert Bins.of(np.random.default_rng(0).normal(size=(20, 2)), None, 0, 8) is None


@settings(max_examples=30)
@over_draws
def test_whole_weights_are_repeated_rows(seed, n_bins):
    X, weights = drawn(seed)
    weighted = Bins.of(X, weights.astype(float), X.shape[1], n_bins)
    repeated = Bins.of(np.repeat(X, weights, axis=0), None, X.shape[1], n_bins)
    for name in ("column", "low", "width"):
        assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-12)
    assert_allclose(weighted.means, repeated.means, rtol=1e-6)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 24))
def test_quantiles_of_whole_weights_are_those_of_repeated_rows(seed, n, parts):
    """Also where a level is a whole number of rows, but not of its floats."""
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(1, n)), rng.integers(1, 4, size=n)
    levels = np.arange(parts + 1) / parts
    repeated = quantiles(np.repeat(x, weights, axis=1), None, levels)
    assert_array_equal(quantiles(x, weights.astype(float), levels), repeated)


@settings(max_examples=20)
@over_draws
def test_bins_hold_equal_shares_of_the_rows(seed, n_bins):
    x = np.random.default_rng(seed).normal(size=(n_bins * 10, 1)) ** 3
    bins = Bins.of(x, None, 1, n_bins)
    counts = np.histogram(x, [*bins.low, np.inf])[0]
    assert np.abs(counts - 10).max() <= 1


def with_frequent_values(seed, n=200):
    """Columns whose quantiles coincide, and weights."""
    rng = np.random.default_rng(seed)
    amounts = np.exp(rng.normal(size=n))
    shares = rng.uniform(0.2, 0.98, size=3)
    drawn = rng.uniform(size=(n, 3))
    columns = [
        np.where(drawn[:, 0] < shares[0], 0.0, amounts),
        np.minimum(amounts, np.quantile(amounts, 1 - shares[1])),
        np.where(drawn[:, 2] < shares[2], 0.25, rng.normal(size=n)),
        rng.poisson(rng.choice([0.1, 1.0, 5.0]), size=n).astype(float),
        rng.choice([0.0, 1.0, 2.0, 50.0], p=[0.7, 0.2, 0.07, 0.03], size=n),
    ]
    return np.stack(columns, axis=1), rng.integers(1, 4, size=n)


def edges_by_column(bins):
    """For each column with bins, the edges of these."""
    found = {}
    for j in np.unique(bins.column).tolist():
        own = bins.column == j
        low, width = bins.low[own], bins.width[own]
        found[j] = np.append(low, low[-1] + width[-1])
    return found


@settings(max_examples=50)
@over_draws
def test_frequent_values_are_edges_and_leave_no_fewer_bins(seed, n_bins):
    """Not where the others are so few values that quantiles of all give more bins."""
    X, _ = with_frequent_values(seed)
    bins = Bins.of(X, None, X.shape[1], n_bins)
    found = {} if bins is None else edges_by_column(bins)
    levels = np.arange(1, n_bins) / n_bins
    for j, column in enumerate(X.T):
        values, counts = np.unique(column, return_counts=True)
        inner = quantiles(column[np.newaxis].copy(), None, levels)[:, 0]
        of_all = np.unique([values[0], *inner, values[-1]])
        if j not in found:
            assert len(values) < 3
            continue
        assert len(of_all) <= len(found[j]) <= n_bins + 1
        frequent = values[counts > min(2 / n_bins, 0.5) * len(column)]
        own = np.isclose(frequent[:, np.newaxis], found[j]).any(axis=1)
        assert own.all() or np.array_equal(found[j], of_all)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(3, 12), st.booleans())
def test_the_first_bin_separates_a_frequent_lowest_value_from_the_others(
    seed, n_bins, mirrored
):
    """The others share the remaining bins equally; and so with a frequent highest."""
    rng = np.random.default_rng(seed)
    n_others = 100 * n_bins
    x = np.zeros(4 * n_others)
    x[:n_others] = np.exp(2 * rng.normal(size=n_others))
    if mirrored:
        x = -x
    bins = Bins.of(x[:, np.newaxis], None, 1, n_bins)
    V = bins.encode(x[:, np.newaxis])
    tells = 1 - V[:, -1] if mirrored else V[:, 0]
    assert_allclose(np.clip(tells, 0, 1), x != 0, rtol=0, atol=1e-12)
    edges = np.abs(edges_by_column(bins)[0])
    counts = np.histogram(np.abs(x[x != 0]), np.sort(edges[edges != 0]))[0]
    assert len(counts) == min(-(-n_bins // 2), n_bins - 1)  # the root of a quarter
    assert np.ptp(counts) <= 2


@settings(max_examples=20)
@over_draws
def test_without_frequent_values_the_edges_are_quantiles(seed, n_bins):
    x = np.random.default_rng(seed).normal(size=(77, 1))
    edges = edges_by_column(Bins.of(x, None, 1, n_bins))[0]
    inner = quantiles(x.T.copy(), None, np.arange(1, n_bins) / n_bins)[:, 0]
    assert_allclose(edges, [x.min(), *inner, x.max()], rtol=1e-12)


@settings(max_examples=30)
@over_draws
def test_bins_of_frequent_values_depend_on_the_ratios_of_weights(seed, n_bins):
    X, weights = with_frequent_values(seed)
    n = X.shape[1]
    repeated = Bins.of(np.repeat(X, weights, axis=0), None, n, n_bins)
    for unit in (1.0, 0.1, 3e7):
        weighted = Bins.of(X, unit * weights, n, n_bins)
        for name in ("column", "low", "width"):
            own = getattr(weighted, name)
            assert_allclose(own, getattr(repeated, name), rtol=1e-12)
        assert_allclose(weighted.means, repeated.means, rtol=1e-6)


@pytest.mark.parametrize(("n_bins", "most"), [(4, 100), (8, 50), (12, 33)])
def test_a_value_is_frequent_in_more_rows_than_two_bins_hold(n_bins, most):
    """Or in more than half of the rows."""
    for n_equal in (most, most + 1):
        x = np.arange(200.0)
        x[100 - n_equal // 2 :][:n_equal] = 100.0
        edges = edges_by_column(Bins.of(x[:, np.newaxis], None, 1, n_bins))[0]
        levels = np.arange(1, n_bins) / n_bins
        inner = quantiles(x[np.newaxis].copy(), None, levels)[:, 0]
        of_all = np.unique([0, *inner, 199])
        assert np.array_equal(edges, of_all) == (n_equal == most)


def test_frequent_values_closer_than_rounding_errors_keep_the_quantiles():
    x = np.where(np.arange(200) % 2, 0.0, np.arange(200.0))
    x[2] = 1e-17
    edges = edges_by_column(Bins.of(x[:, np.newaxis], None, 1, 4))[0]
    inner = quantiles(x[np.newaxis].copy(), None, np.arange(1, 4) / 4)[:, 0]
    assert_allclose(edges, np.unique([0, *inner, x.max()]), rtol=1e-12)


@settings(max_examples=20)
@over_draws
def test_slopes_are_differences(seed, n_bins):
    X, _ = drawn(seed)
    X = X[:, [0, 3, 4, 6]]
    bins = Bins.of(X, None, X.shape[1], n_bins)
    rng = np.random.default_rng(seed)
    X = X + rng.uniform(0.001, 0.002, size=X.shape)  # not on a limit
    weights = rng.normal(size=bins.n_seen)
    step = 1e-7
    found = bins.through(X, np.tile(weights, (len(X), 1, 1)))[:, 0]
    for j in range(X.shape[1]):
        moved = X.copy()
        moved[:, j] += step
        numeric = (bins(moved) @ weights - bins(X) @ weights) / step
        assert_allclose(found[:, j], numeric, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_all_columns_and_their_bins(dtype):
    X = drawn(0)[0].astype(dtype)
    bins = Bins.of(X, None, 3, 5)
    whole = bins(X)
    assert whole.dtype == (dtype if np.dtype(dtype).kind == "f" else np.float64)
    assert whole.shape == (len(X), bins.n_seen)
    assert_array_equal(whole[:, : X.shape[1]], X)
    assert_array_equal(whole[:, X.shape[1] :], bins.encode(X).astype(whole.dtype))
    scaling = bins.scaling(Scaling.of_features(X))
    scaled = scaling(whole)[:, X.shape[1] :]
    assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    # A bin runs from 0 to 1, and spans two units once it is scaled.
    inner = np.isfinite(bins.limits).all(axis=0)
    assert inner.any()
    assert_allclose(np.ptp(scaled[:, inner], axis=0), 2, rtol=1e-5)
    names = bins.names(list("abcdefg"))
    assert names[0] == "a_bin0"
    assert len(names) == len(set(names)) == bins.n_bins


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_of_a_table_stay_sparse(dtype):
    """Full numbers on the left, then levels, and full bins on the right."""
    X = drawn(0)[0].astype(dtype)
    levels = np.eye(9, dtype=dtype)[np.arange(len(X)) % 9]
    n, table = X.shape[1], np.hstack([X, levels])
    csr = sparse.csr_matrix(table)
    of_dense, of_csr = (Bins.of(rows, None, n, 5) for rows in (table, csr))
    for name in ("column", "low", "width", "means"):
        assert_array_equal(getattr(of_csr, name), getattr(of_dense, name))
    seen = of_csr(csr)
    assert (seen.format, seen.dtype) == ("csr", dtype)
    assert_array_equal(seen.toarray(), of_dense(table))
    scaling = Scaling.of_features(csr, n_dense=n)
    scaled = of_csr.scaling(scaling)(seen)
    assert (scaled.format, scaled.dtype) == ("csr", dtype)
    assert scaled.nnz <= len(X) * (n + 1 + of_csr.n_bins)
    numbers = of_dense.scaling(Scaling.of_features(table))(of_dense(table))
    found = scaled.toarray()
    assert_array_equal(found[:, :n], numbers[:, :n])
    assert_array_equal(found[:, n : n + 9], levels)
    assert_array_equal(found[:, n + 9 :], numbers[:, n + 9 :])
    # Of other sparse rows all columns may be empty: they become dense.
    assert isinstance(of_dense(csr), np.ndarray)


def test_bins_follow_rearranged_columns():
    X, _ = drawn(3)
    bins = Bins.of(X, None, X.shape[1], 6)
    order = np.array([0, -1, 1, 2, 3, 4, 5, 6])  # a new column behind the first
    wider = np.insert(X, 1, 0, axis=1)
    assert_array_equal(bins.rearranged(order).encode(wider), bins.encode(X))


@pytest.mark.parametrize(
    ("n_bins", "error"), [(1, ValueError), (2.5, TypeError), ("8", TypeError)]
)
def test_bad_numbers_of_bins_are_refused(n_bins, error):
    with pytest.raises(error, match="n_bins"):
        PiecewiseLinear(n_bins)
