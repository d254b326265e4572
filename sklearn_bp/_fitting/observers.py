"""A fit as scikit-learn's callbacks see it: a task, and in it one for each epoch.

Callbacks get X, y and sample weights as the user gave them, and where they ask for it
an estimator fitted as if training had stopped there.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from sklearn_bp._versions import listens

# The runs at work, by their estimators, for callbacks that reach further in.
_RUNS: WeakKeyDictionary = WeakKeyDictionary()

# Of a Request, what tells one fit from another.
DATA = (
    "X",
    "y",
    "sample_weight",
    "groups",
    "X_val",
    "y_val",
    "sample_weight_val",
    "coef_init",
    "intercept_init",
)


def run_of(estimator):
    """The Run of an estimator that is being fitted and has callbacks, or None."""
    return _RUNS.get(estimator)


class Run:
    """A context in which an estimator is fitted, and its callbacks are told.

    Parameters
    ----------
    estimator : BaseTwoLayer
        Only read.
    request : Request
        What the user gave.

    Attributes
    ----------
    training : Training
        Known once it begins.  Callbacks may replace its state and its plan.
    """

    def __init__(self, estimator, request):
        self.estimator, self.request = estimator, request
        self.training: Any = None
        self._metadata = None
        if request.sample_weight is not None:
            self._metadata = {"sample_weight": request.sample_weight}
        self._task: Any = None
        self._epoch: Any = None
        self.writers: dict[int, Any] = {}  # of checkpoints, by their callbacks' ids
        self._at_end = ExitStack()

    def at_end(self, function):
        """Have a function called when the fit ends, or fails."""
        self._at_end.callback(function)

    def __enter__(self):
        return self

    def begin(self, training):
        """Tell callbacks of the training; return it, as they have left it."""
        estimator = self.estimator
        if not listens(estimator):
            return training
        self.training = training
        _RUNS[estimator] = self
        self._task = estimator._init_callback_context(
            max_subtasks=training.plan.max_iter
        )
        self._task.call_on_fit_task_begin(**self._given())
        plan = self.training.plan
        self.training.plan = replace(plan, observers=(*plan.observers, self))
        return self.training

    def data(self):
        """All that the user gave, by its names."""
        return {name: getattr(self.request, name) for name in DATA}

    def epoch_begins(self, state):
        self._epoch = self._task.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given())

    def epoch_ends(self, history, reason):
        """Whether a callback asks for the end."""
        self.training.reason = reason
        return self._epoch.call_on_fit_task_end(
            **self._given(),
            reconstruction_attributes=lambda: self._fitted(history, reason),
        )

    def __exit__(self, failure, *_):
        if self._task is None:
            self._end()
            return
        try:
            if failure is None:
                self._task.call_on_fit_task_end(
                    **self._given(), reconstruction_attributes={}
                )
        finally:
            self._end()

    def _end(self):
        """Let go of the data: what refers to the run may outlive the fit."""
        _RUNS.pop(self.estimator, None)
        self.training = None
        self.writers.clear()
        self._at_end.close()

    def _given(self):
        return {
            "estimator": self.estimator,
            "X": self.request.X,
            "y": self.request.y,
            "metadata": self._metadata,
        }

    def _fitted(self, history, reason):
        """The attributes that stopping after this epoch would write."""
        done = self.training.finished(history.result(reason or "callback"))
        # Lists are copied: the curves grow on.
        return {
            name: value.copy() if type(value) is list else value
            for name, value in done.attributes().items()
        }
