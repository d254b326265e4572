"""Fixtures of all tests: fixed random numbers and one BLAS thread."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def _one_blas_thread():
    """The test networks are small, and parallel runs share cores."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """random_state=None uses numpy's global state, as scikit-learn's checks do."""
    np.random.seed(0)
