"""A fit as scikit-learn's callbacks see it: a task with one subtask per epoch.

Callbacks get X, y and sample weights as the user passed them and, on request, an
estimator fitted as if training had stopped there.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from sklearn_bp._versions import listens

# Active runs by their estimators, for callbacks that need more than scikit-learn
# offers.
_RUNS: WeakKeyDictionary = WeakKeyDictionary()

# The fields of a Request that identify a fit.
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
    """The Run of an estimator during a fit with callbacks, or None."""
    return _RUNS.get(estimator)


class Run:
    """The context of a fit, which notifies the callbacks of the estimator.

    Parameters
    ----------
    estimator : BaseTwoLayer
        It is only read.
    request : Request
        The arguments of the user.

    Attributes
    ----------
    training : Training
        Set when training begins.  Callbacks may replace its state and its plan.
    """

    def __init__(self, estimator, request):
        self.estimator, self.request = estimator, request
        self.training: Any = None
        self._metadata = None
        if request.sample_weight is not None:
            self._metadata = {"sample_weight": request.sample_weight}
        self._task: Any = None
        self._epoch: Any = None
        self.writers: dict[int, Any] = {}  # of checkpoints, by callback ids
        self._at_end = ExitStack()

    def at_end(self, function):
        """Register a function to be called when the fit ends or fails."""
        self._at_end.callback(function)

    def __enter__(self):
        return self

    def begin(self, training):
        """Notify callbacks of the training; return it with their changes.

        For callbacks, a second training of the same fit continues the first.
        """
        estimator = self.estimator
        if not listens(estimator):
            return training
        self.training = training
        if self._task is not None:
            for writer in self.writers.values():
                writer.resume_second()
        else:
            _RUNS[estimator] = self
            self._task = estimator._init_callback_context(
                max_subtasks=training.plan.max_iter * training.n_trainings
            )
            self._task.call_on_fit_task_begin(**self._given())
        plan = self.training.plan
        self.training.plan = replace(plan, observers=(*plan.observers, self))
        return self.training

    def data(self):
        """The data that the user passed, by name."""
        return {name: getattr(self.request, name) for name in DATA}

    def epoch_begins(self, state):
        self._epoch = self._task.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given())

    def epoch_ends(self, history, reason):
        """Whether a callback requests to stop."""
        self.training.reason = reason
        return self._epoch.call_on_fit_task_end(
            **self._given(),
            reconstruction_attributes=lambda: self._fitted(history, reason),
        )

    def training_ends(self, state):
        """Callbacks are notified in `__exit__`, because another training may follow."""

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
        """Release the data: objects that refer to the run may outlive the fit."""
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
        """The fitted attributes if training stopped after this epoch."""
        done = self.training.finished(history.result(reason or "callback"))
        # Lists are copied, because the curves grow.
        return {
            name: value.copy() if type(value) is list else value
            for name, value in done.attributes().items()
        }
