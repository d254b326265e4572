"""Fixtures of all tests: fixed random numbers, one BLAS thread, no figures left."""

import sys

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from sklearn_bp._common import threads

# The same draws in every run.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread():
    """The test networks are small, and parallel runs share cores."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """random_state=None uses numpy's global state, as scikit-learn's checks do."""
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _no_figures_left():
    """Close the figures that a test has drawn."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def shared(monkeypatch):
    """Even the shortest work is shared among threads, for any number of cores."""

    def use(n_threads):
        monkeypatch.setattr(threads, "allowed_threads", lambda: n_threads)
        monkeypatch.setattr(threads, "cpu_count", lambda: n_threads)

    monkeypatch.setattr(threads, "SHORT", 0)
    monkeypatch.setattr("sklearn_bp._compiled.epochs.SHORT", 0)
    monkeypatch.setattr("sklearn_bp._compiled.held_out.SHORT", 0)
    monkeypatch.setattr("sklearn_bp._compiled.held_out.MANY_SCORES", 0)
    return use
