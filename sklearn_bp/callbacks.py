"""Callbacks for the two networks, set by scikit-learn's `set_callbacks`.

They need scikit-learn 1.9 or newer, which calls them, and are set on the network
itself, within a Pipeline or a search too.  scikit-learn's own, ProgressBar and
ScoringMonitor for instance, work as well.
"""

import os
import time
from dataclasses import dataclass
from numbers import Integral
from typing import Any
from weakref import WeakKeyDictionary

import sklearn

from sklearn_bp._common.option import Option, check_number
from sklearn_bp._fitting.checkpoint import Writer
from sklearn_bp._fitting.observers import run_of
from sklearn_bp._versions import HAS_CALLBACKS

__all__ = ["Checkpoint", "TimeLimit"]

# When the fits at work began, by their contexts.
_BEGAN: WeakKeyDictionary = WeakKeyDictionary()


class _Callback(Option):
    """What a callback has to have."""

    def check(self) -> None:
        if not HAS_CALLBACKS:
            raise ImportError(
                f"{type(self).__name__} needs scikit-learn 1.9 or newer, which has "
                f"callbacks. Found {sklearn.__version__}."
            )

    def setup(self, estimator: Any, context: Any) -> Any:
        """Called before a fit."""
        if run_of(estimator) is None:
            name = type(self).__name__
            raise TypeError(
                f"{name} must be set on the network itself, as in "
                f"pipeline[-1].set_callbacks({name}(...)). Got it on a "
                f"{type(estimator).__name__}."
            )

    def on_fit_task_begin(self, estimator: Any, context: Any) -> Any:
        """Called where a fit, or one of its epochs, begins."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> Any:
        """Called where an epoch ends, or the fit; returns whether to stop."""

    def teardown(self, estimator: Any, context: Any) -> Any:
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

    def check(self) -> None:
        super().check()
        check_number(self, "seconds", 0, closed="neither")

    def on_fit_task_begin(self, estimator: Any, context: Any) -> Any:
        """Called where a fit, or one of its epochs, begins."""
        if context.max_subtasks != 0:
            _BEGAN[context] = time.monotonic()

    def on_fit_task_end(self, estimator: Any, context: Any) -> Any:
        """Whether an epoch has ended after the time is over."""
        began = _BEGAN.get(context.parent) if context.parent is not None else None
        return began is not None and time.monotonic() - began >= self.seconds


@dataclass(frozen=True)
class Checkpoint(_Callback):
    """Write training to a file, from which the next fit goes on.

    A fit that was killed, or stopped by Ctrl-C or `TimeLimit`, goes on from its last
    checkpoint when fit is called again with the same parameters and data, and ends with
    the very numbers of one that was not. Where it had come to its end, fit returns the
    same result at once. `max_iter` may be increased, to train further, and `verbose`
    changed; of anything else that differs, fit tells and does nothing.

    The file is replaced as a whole: it is never half written. Its mode and owner stay,
    and so does a symlink that leads to it. It holds arrays and text; reading it runs no
    code, as a pickle might. Each fit needs a path of its own, so within a search there
    is no place for one; while one fit writes a file, another is refused.

    Parameters
    ----------
    path : str or path-like
        The folder must exist and allow new files: the next checkpoint is written beside
        the last one, and a hidden lock file is there during the fit.
    every : int >= 1, default=1
        Epochs from one checkpoint to the next. The end is always written.

    Raises
    ------
    ImportError
        With scikit-learn before 1.9.

    Notes
    -----
    For fit with an int for `random_state` and any solver but 'lbfgs', whose state is
    within scipy. A checkpoint has the size of some five times the weights, and of the
    order of the rows.

    Of data some million numbers are compared, those of evenly spaced rows. Functions
    among the parameters are compared by their names.

    Examples
    --------
    >>> from sklearn_bp import TwoLayerClassifier
    >>> from sklearn_bp.callbacks import Checkpoint
    >>> model = TwoLayerClassifier(random_state=0)
    >>> model.set_callbacks(Checkpoint("model.ckpt", every=10))  # doctest: +SKIP
    """

    path: Any
    every: int = 1

    def check(self) -> None:
        super().check()
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(
                "The 'path' parameter of Checkpoint must be a str or a path. Got "
                f"{self.path!r} instead."
            )
        check_number(self, "every", 1)
        if not isinstance(self.every, Integral):
            raise TypeError(
                "The 'every' parameter of Checkpoint must be an int. Got "
                f"{self.every!r} instead."
            )

    def on_fit_task_begin(self, estimator: Any, context: Any) -> Any:
        """Called where a fit, or one of its epochs, begins."""
        if context.task_name != "epoch":
            run = run_of(estimator)
            run.writers[id(self)] = Writer(self.path, run)

    def on_fit_task_end(self, estimator: Any, context: Any) -> Any:
        """Called where an epoch ends, or the fit."""
        run = run_of(estimator)
        if context.task_name != "epoch":
            # Interrupted, it may be in the middle of an epoch.
            if run.training.reason != "interrupted":
                run.writers[id(self)].write()
            return
        training = run.training
        if training.state.n_iter % self.every == 0 or training.reason is not None:
            run.writers[id(self)].write()
