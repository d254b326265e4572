"""Tests of columns against errors: what their p-values must be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import binomtest, chi2, f_oneway

from sklearn_bp._tables import column_tests
from sklearn_bp._tables.column_tests import _in_pairs, _standardized, p_values
from sklearn_bp._tables.piecewise_linear import Bins


def drawn(seed, n=600, d=12):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X[:, 1::3] = np.exp(2 * X[:, 1::3])
    X[:, 2::3] = rng.integers(0, 5, size=X[:, 2::3].shape)
    return rng, X


def found_for(X, errors):
    errors = errors.reshape(len(X), -1)
    bins = Bins.of(X, None, X.shape[1], 8)
    return p_values(X, bins, errors)


@pytest.mark.parametrize("kind", ["one", "heavy", "several", "softmax"])
def test_p_values_of_noise_are_uniform(kind):
    """A tenth of them is below 0.1; in pairs no more than that."""
    below, n_tested = [0, 0], 0
    for seed in range(60):
        rng, X = drawn(seed)
        if kind == "one":
            errors = rng.normal(size=600)
        elif kind == "heavy":
            errors = rng.standard_t(4, size=600)
        elif kind == "several":
            errors = rng.normal(size=(600, 3)) * [1, 10, 0.1]
        else:
            p = rng.dirichlet([1, 2, 3, 4], size=600)
            errors = p - np.eye(4)[[rng.choice(4, p=row) for row in p]]
        found = found_for(X, errors)
        below[0] += np.count_nonzero(found.alone < 0.1)
        below[1] += np.count_nonzero(found.in_pairs < 0.1)
        n_tested += X.shape[1]
    assert binomtest(below[0], n_tested, 0.1).pvalue > 1e-3
    assert binomtest(below[1], n_tested, 0.1, alternative="greater").pvalue > 1e-3


def test_one_output_is_an_analysis_of_variance():
    """n R2 of the bins' means, which follows from the F statistic."""
    rng, X = drawn(0)
    errors = rng.normal(size=600) + 0.3 * (X[:, 0] > 1)
    bins = Bins.of(X, None, 12, 8)
    inner = bins.low[bins.column == 0][1:]
    number = np.searchsorted(inner, X[:, 0], side="right")
    groups = [errors[number == t] for t in range(8)]
    F = f_oneway(*groups).statistic
    R2 = 7 * F / (7 * F + 592)
    expected = chi2.sf(600 * R2, 7)
    assert_allclose(found_for(X, errors).alone[0], expected, rtol=1e-9)


def test_columns_that_errors_depend_on_are_found():
    for seed in range(10):
        rng, X = drawn(seed)
        noise = rng.normal(size=600)
        steps = 1.0 * (X[:, 0] > 0.5) + 1.0 * (X[:, 4] > 3)
        found = found_for(X, steps + noise)
        assert (found.alone[[0, 4]] < 1e-3).all()
        either = 1.0 * ((X[:, 3] > 0) ^ (X[:, 6] > 0))
        found = found_for(X, either + noise)
        assert (found.in_pairs[[3, 6]] < 1e-3).all()
        assert (found.smaller <= found.in_pairs).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_units_signs_and_order_do_not_count(seed):
    rng, X = drawn(seed, 300)
    errors = rng.normal(size=(300, 2)) + 0.3 * (X[:, :1] > 0.2)
    known = found_for(X, errors)
    columns, rows = rng.permutation(12), rng.permutation(300)
    scaled = X * 2.0 ** rng.integers(-20, 20, size=12)
    changed = -(2.0**30) * errors[:, ::-1]
    found = found_for(scaled[rows][:, columns], changed[rows])
    for own, other in zip(known, found, strict=True):
        assert_allclose(other, own[columns], rtol=1e-6, atol=1e-12)


def test_constant_errors_depend_on_no_column():
    _, X = drawn(0)
    for errors in (np.zeros(600), np.full(600, 3.0)):
        found = found_for(X, errors)
        assert (found.smaller > 0.9).all()


def test_large_tables_are_tested_on_fewer_rows(monkeypatch):
    rng, X = drawn(3, 2000)
    errors = rng.normal(size=(2000, 12)) + 1.0 * (X[:, :1] > 0.5)
    monkeypatch.setattr(column_tests, "MOST_ROWS", 1000)
    few = found_for(X, errors)
    bins = Bins.of(X, None, 12, 8)
    assert_allclose(few.alone, p_values(X[::2], bins, errors[::2]).alone)
    monkeypatch.setattr(column_tests, "PAIR_MULTIPLICATIONS", 1)
    fewer = found_for(X, errors)
    assert_allclose(fewer.alone, few.alone)
    assert not np.allclose(fewer.in_pairs, few.in_pairs)
    assert fewer.alone[0] < 1e-6


def test_pairs_are_tested_by_the_eight_outputs_with_the_largest_errors():
    rng = np.random.default_rng(0)
    numbers = np.apply_along_axis(_standardized, 0, rng.integers(0, 8, (300, 5)))
    sizes = rng.permutation(np.linspace(1, 2, 12))
    errors = 0.2 * numbers[:, :1] * numbers[:, 1:2] + rng.normal(size=(300, 12))
    errors *= sizes
    largest = np.argsort(-np.square(errors).sum(axis=0))
    p = _in_pairs(numbers, errors, 1.0)
    assert (p < 1).any()
    assert_allclose(_in_pairs(numbers, errors[:, largest[:8]], 1.0), p, rtol=1e-9)
    assert np.abs(_in_pairs(numbers, errors[:, largest[:7]], 1.0) / p - 1).max() > 0.1
