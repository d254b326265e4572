"""Fixtures of all tests: fixed random numbers and one BLAS thread."""

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

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
