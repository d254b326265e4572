"""Callbacks for the two networks, set by scikit-learn's `set_callbacks`.

They need scikit-learn 1.9 or newer. Set them on the network itself, also inside a
Pipeline or a search. scikit-learn's own callbacks, such as ProgressBar and
ScoringMonitor, work as well.
"""

import os
import time
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol
from weakref import WeakKeyDictionary

import sklearn
from sklearn.base import BaseEstimator

from sklearn_bp._common.option import Option, check_number
from sklearn_bp._fitting.checkpoint import Writer
from sklearn_bp._fitting.observers import run_of
from sklearn_bp._versions import HAS_CALLBACKS

__all__ = ["Checkpoint", "TimeLimit"]

# Start times of the active fits, by their contexts.
_BEGAN: "WeakKeyDictionary[_Context, float]" = WeakKeyDictionary()


class _Context(Protocol):
    """The attributes of scikit-learn's `CallbackContext` that our callbacks read."""

    task_name: str
    max_subtasks: int | None
    parent: "_Context | None"


class _Callback(Option):
    """The methods that a callback must have."""

    def check(self) -> None:
        if not HAS_CALLBACKS:
            raise ImportError(
                f"{type(self).__name__} needs scikit-learn 1.9 or newer, which has "
                f"callbacks. Found {sklearn.__version__}."
            )

    def setup(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called before a fit."""
        if run_of(estimator) is None:
            name = type(self).__name__
            raise TypeError(
                f"{name} must be set on the network itself, as in "
                f"pipeline[-1].set_callbacks({name}(...)). Got it on a "
                f"{type(estimator).__name__}."
            )

    def on_fit_task_begin(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called when a fit or an epoch begins."""

    def on_fit_task_end(
        self, estimator: BaseEstimator, context: _Context
    ) -> bool | None:
        """Called when an epoch or the fit ends; returns whether to stop."""

    def teardown(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called after a fit has ended or failed."""


@dataclass(frozen=True)
class TimeLimit(_Callback):
    """Stop training after the first epoch that ends later than a time limit.

    The weights are those of the best epoch so far if there are held-out rows, otherwise
    those of the last epoch. Stopping does not raise a ConvergenceWarning.

    Parameters
    ----------
    seconds : float > 0
        Time limit, counted from the start of the first epoch.

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

    def on_fit_task_begin(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called when a fit or an epoch begins."""
        if context.max_subtasks != 0:
            _BEGAN[context] = time.monotonic()

    def on_fit_task_end(
        self, estimator: BaseEstimator, context: _Context
    ) -> bool | None:
        """Whether an epoch has ended after the time limit."""
        began = _BEGAN.get(context.parent) if context.parent is not None else None
        return began is not None and time.monotonic() - began >= self.seconds


@dataclass(frozen=True)
class Checkpoint(_Callback):
    """Save training to a file, so that an interrupted fit can resume.

    If a fit was killed, or stopped by Ctrl-C or `TimeLimit`, call fit again with the
    same parameters and data: it resumes from the last checkpoint and ends with exactly
    the numbers of an uninterrupted fit. If training had already ended, fit returns the
    same result at once. You may increase `max_iter` to train further, and change
    `verbose`; if anything else differs, fit raises an error that names it.

    The file is replaced atomically, so it is never half written, and keeps its mode,
    its owner and symlinks to it. It holds arrays and text; unlike a pickle, it runs no
    code when it is read. Each fit needs its own path, so a search cannot use it; while
    one fit writes a file, another one that uses it raises an error.

    Parameters
    ----------
    path : str or path-like
        File to write. Its folder must exist and allow new files: each checkpoint is
        first written beside the last one, and a hidden lock file exists during the fit.
    every : int >= 1, default=1
        Number of epochs between checkpoints. The end of training is always written.

    Raises
    ------
    ImportError
        With scikit-learn before 1.9.

    Notes
    -----
    It works for fit with an int as `random_state` and any solver except 'lbfgs', whose
    state is inside scipy. A checkpoint takes about five times the size of the weights,
    plus the order of the rows.

    Data is compared by about a million numbers, those of evenly spaced rows. Functions
    among the parameters are compared by name.

    Examples
    --------
    >>> from sklearn_bp import TwoLayerClassifier
    >>> from sklearn_bp.callbacks import Checkpoint
    >>> model = TwoLayerClassifier(random_state=0)
    >>> model.set_callbacks(Checkpoint("model.ckpt", every=10))  # doctest: +SKIP
    """

    path: str | os.PathLike[str]
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

    def on_fit_task_begin(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called when a fit or an epoch begins."""
        if context.task_name != "epoch":
            run = run_of(estimator)
            run.writers[id(self)] = Writer(self.path, run)

    def on_fit_task_end(self, estimator: BaseEstimator, context: _Context) -> None:
        """Called when an epoch or the fit ends."""
        run = run_of(estimator)
        if context.task_name != "epoch":
            # If it was interrupted, the state may be from the middle of an epoch.
            if run.training.reason != "interrupted":
                run.writers[id(self)].write()
            return
        training = run.training
        if training.state.n_iter % self.every == 0 or training.reason is not None:
            run.writers[id(self)].write()
