"""Whatever ends a fit, and whenever: the estimator has the old fit or the new one."""

import copy
import sys

import numpy as np
import pytest
from compare import flat
from numpy.testing import assert_array_equal

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._estimators.base import BaseTwoLayer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
TARGETS = {TwoLayerClassifier: X[:, 0] > 0, TwoLayerRegressor: X[:, 0]}
STORING = BaseTwoLayer._take.__code__


def interrupted(call, error, k, code=STORING):
    """Call, and raise the error at the k-th event of the function with that code.

    Returns
    -------
    happened : bool
        Whether there were as many events.
    """
    events = 0

    def at_event(frame, event, arg):
        nonlocal events
        if frame.f_code is not code:
            return None
        events += 1
        if events == k:
            sys.settrace(None)
            raise error
        return at_event

    outer = sys.gettrace()
    sys.settrace(at_event)
    try:
        call()
    except type(error):
        return True
    finally:
        sys.settrace(outer)
    return events >= k


def told(model):
    """All that the estimator stores, by name."""
    return {name: repr(value) for name, value in vars(model).items()}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("make", TARGETS)
def test_all_attributes_are_stored_at_once(make, error, method):
    """Also if the error comes while they are stored."""
    y = TARGETS[make]
    earlier = make(4, n_members=2, max_iter=3, random_state=0).fit(X[:, :2], y)
    if method == "partial_fit":
        earlier.fit(X, y).partial_fit(X, y)
    new = getattr(copy.deepcopy(earlier), method)(X, y)
    assert not np.array_equal(flat(new), flat(earlier))
    stored, k = False, 1
    while True:
        model = copy.deepcopy(earlier)
        if not interrupted(lambda model=model: getattr(model, method)(X, y), error, k):
            break
        expected = (
            new if told(model)["loss_curve_"] == told(new)["loss_curve_"] else earlier
        )
        stored |= expected is new
        assert vars(model).keys() == vars(expected).keys()
        for name in ("loss_curve_", "n_iter_", "t_", "n_features_in_"):
            assert told(model)[name] == told(expected)[name], name
        assert_array_equal(flat(model), flat(expected))
        assert_array_equal(
            model.predict(X[:, : expected.n_features_in_]),
            expected.predict(X[:, : expected.n_features_in_]),
        )
        k += 1
    assert k > 4
    assert stored
