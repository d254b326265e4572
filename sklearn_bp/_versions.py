"""Differences between the supported versions of scikit-learn.

Callbacks are new in 1.9.  With older versions the mixin is empty and the decorator does
nothing, so that the estimators need no case distinction.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin

    HAS_CALLBACKS = True
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: callbacks need scikit-learn 1.9."""

    HAS_CALLBACKS = False

if TYPE_CHECKING:  # scikit-learn's decorators, with the types that they leave alone

    def with_callbacks(method: Method) -> Method: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...

else:
    from sklearn.utils.metaestimators import available_if

    if HAS_CALLBACKS:
        from sklearn.callback import with_callbacks
    else:

        def with_callbacks(method):
            """The method as it is: callbacks need scikit-learn 1.9."""
            return method


__all__ = [
    "HAS_CALLBACKS",
    "CallbackSupportMixin",
    "available_if",
    "listens",
    "with_callbacks",
]


class _Nobody:
    """A callback that does nothing."""

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = on_fit_task_end = setup


@functools.cache
def _is_where_expected():
    probe: Any = CallbackSupportMixin()
    return bool(vars(probe.set_callbacks(_Nobody())).get("_skl_callbacks"))


def listens(estimator):
    """Whether a callback is set on the estimator.

    Notifying callbacks that do not exist costs 3 microseconds per epoch, a tenth of an
    epoch over thirty rows.  scikit-learn has no public way to ask.  If a later version
    keeps its callbacks elsewhere, the answer is yes.
    """
    if not HAS_CALLBACKS:
        return False
    if not _is_where_expected():
        return True
    return bool(getattr(estimator, "_skl_callbacks", None))
