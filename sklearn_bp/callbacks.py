"""Callbacks for the two networks, set by scikit-learn's `set_callbacks`.

They need scikit-learn 1.9 or newer, which calls them, and are set on the network
itself, within a Pipeline or a search too.  scikit-learn's own, ProgressBar and
ScoringMonitor for instance, work as well.
"""

import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import sklearn

from sklearn_bp._compat import HAS_CALLBACKS
from sklearn_bp._option import Option, check_number

__all__ = ["TimeLimit"]

# When the fits at work began, by their contexts.
_BEGAN: WeakKeyDictionary = WeakKeyDictionary()


class _Callback(Option):
    """What a callback has to have."""

    def check(self):
        if not HAS_CALLBACKS:
            raise ImportError(
                f"{type(self).__name__} needs scikit-learn 1.9 or newer, which has "
                f"callbacks. Found {sklearn.__version__}."
            )

    def setup(self, estimator, context):
        """Called before a fit."""

    def on_fit_task_begin(self, estimator, context):
        """Called where a fit, or one of its epochs, begins."""

    def on_fit_task_end(self, estimator, context):
        """Called where an epoch ends, or the fit; returns whether to stop."""

    def teardown(self, estimator, context):
        """Called after a fit, or after it failed."""


@dataclass(frozen=True)
class TimeLimit(_Callback):
    """Stop training at the end of the first epoch that ends after so many seconds.

    The weights are those of the best epoch so far, where rows held out tell which that
    is, or the last.  It is no reason for a ConvergenceWarning.

    Parameters
    ----------
    seconds : float > 0
        Counted from the start of the first epoch.

    Raises
    ------
    ImportError
        With scikit-learn before 1.9.

    Examples
    --------
    >>> from sklearn_bp.callbacks import TimeLimit
    >>> TimeLimit(seconds=60)  # doctest: +SKIP
    TimeLimit(seconds=60)
    """

    seconds: float

    def check(self):
        super().check()
        check_number(self, "seconds", 0, closed="neither")

    def on_fit_task_begin(self, estimator, context):
        """Called where a fit, or one of its epochs, begins."""
        if context.max_subtasks != 0:
            _BEGAN[context] = time.monotonic()

    def on_fit_task_end(self, estimator, context):
        """Whether an epoch has ended after the time is over."""
        began = _BEGAN.get(context.parent) if context.parent is not None else None
        return began is not None and time.monotonic() - began >= self.seconds
