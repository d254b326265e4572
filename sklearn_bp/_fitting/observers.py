"""A fit as scikit-learn's callbacks see it: a task, and in it one for each epoch.

Callbacks get X, y and sample weights as the user gave them, and where they ask for it
an estimator fitted as if training had stopped there.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from sklearn_bp._training.mini_batches import BestWeights
from sklearn_bp._versions import listens

# The runs at work, by their estimators, for callbacks that reach further in.
_RUNS: WeakKeyDictionary = WeakKeyDictionary()


def run_of(estimator):
    """The Run of an estimator that is being fitted and has callbacks, or None."""
    return _RUNS.get(estimator)


class Run:
    """Training, and those who look on; a context in which an estimator is fitted.

    Parameters
    ----------
    estimator : BaseTwoLayer
    users, sample_weight : UsersData and array-like or None
        What the user gave.
    training : tuple
        The solver, the TrainingState and the Plan.
    incremental : bool
        Whether it is a call of partial_fit.
    set_fitted : callable(estimator, TrainingResult)
        Writes the fitted attributes to an estimator.
    restored : dict
        The estimator's attributes if it fails; what callbacks need to be told of the
        failure is added.
    """

    def __init__(
        self,
        estimator,
        users,
        sample_weight,
        training,
        incremental,
        set_fitted,
        restored,
    ):
        self.estimator, self.incremental = estimator, incremental
        self.solver, self.state, self.plan = training
        self.ended = None  # what ended it before, if it goes on from there
        self.reason = None  # what ends it now
        self._users, self._sample_weight = users, sample_weight
        self._metadata = None
        if sample_weight is not None:
            self._metadata = {"sample_weight": sample_weight}
        self._set_fitted, self._restored = set_fitted, restored
        self._task: Any = None
        self._epoch: Any = None
        self.writers: dict[int, Any] = {}  # of checkpoints, by their callbacks' ids
        self._at_end = ExitStack()

    def at_end(self, function):
        """Have a function called when the fit ends, or fails."""
        self._at_end.callback(function)

    def __enter__(self):
        estimator = self.estimator
        if not listens(estimator):
            return self
        _RUNS[estimator] = self
        known = set(vars(estimator))
        try:
            self._task = estimator._init_callback_context(
                max_subtasks=self.plan.max_iter
            )
            self._task.call_on_fit_task_begin(**self._given())
        except BaseException:
            self._end()
            raise
        finally:
            added = vars(estimator).keys() - known
            self._restored |= {name: vars(estimator)[name] for name in added}
        onlookers = (*self.plan.onlookers, self)
        self.plan = replace(self.plan, onlookers=onlookers)
        return self

    def train(self, network, data):
        """Train as planned; return the TrainingResult."""
        if self.ended is not None:
            result = BestWeights(self.state, self.plan).result(self.ended)
        else:
            result = self.solver.train(network, data, self.state, self.plan)
        self.reason = result.reason
        return result

    def data(self):
        """All that the user gave, by its names."""
        return {**vars(self._users), "sample_weight": self._sample_weight}

    def epoch_begins(self, state):
        self._epoch = self._task.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given())

    def epoch_ends(self, books, reason):
        """Whether a callback asks for the end."""
        self.reason = reason
        return self._epoch.call_on_fit_task_end(
            **self._given(),
            reconstruction_attributes=lambda: self._fitted(books, reason),
        )

    def __exit__(self, failure, *_):
        if self._task is None:
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
        self.plan = replace(self.plan, onlookers=())
        self.writers.clear()
        self._at_end.close()

    def _given(self):
        return {
            "estimator": self.estimator,
            "X": self._users.X,
            "y": self._users.y,
            "metadata": self._metadata,
        }

    def _fitted(self, books, reason):
        """The attributes that stopping after this epoch would write."""
        before = vars(self.estimator)
        view = object.__new__(type(self.estimator))
        vars(view).update(before)
        self._set_fitted(view, books.result(reason or "callback"))
        # Lists are copied: the curves grow on.
        return {
            name: value.copy() if type(value) is list else value
            for name, value in vars(view).items()
            if name not in before or before[name] is not value
        }
