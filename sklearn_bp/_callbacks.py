"""A fit as scikit-learn's callbacks see it: a task, and in it one for each epoch.

Callbacks get X, y and sample weights as the user gave them, and where they ask for it
an estimator fitted as if training had stopped there.
"""

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from sklearn_bp._compat import listens

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
    given : tuple
        X, y and sample_weight as the user gave them.
    training : tuple
        The solver, the TrainingState and the Plan.
    set_fitted : callable(estimator, TrainingResult)
        Writes the fitted attributes to an estimator.
    restored : dict
        The estimator's attributes if it fails; what callbacks need to be told of the
        failure is added.
    """

    def __init__(self, estimator, given, training, set_fitted, restored):
        self.estimator = estimator
        self.solver, self.state, self.plan = training
        self._X, self._y, sample_weight = given
        self._metadata = None
        if sample_weight is not None:
            self._metadata = {"sample_weight": sample_weight}
        self._set_fitted, self._restored = set_fitted, restored
        self._task: Any = None
        self._epoch: Any = None

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
            del _RUNS[estimator]
            raise
        finally:
            added = vars(estimator).keys() - known
            self._restored |= {name: vars(estimator)[name] for name in added}
        onlookers = (*self.plan.onlookers, self)
        self.plan = replace(self.plan, onlookers=onlookers)
        return self

    def train(self, network, data):
        """Train as planned; return the TrainingResult."""
        return self.solver.train(network, data, self.state, self.plan)

    def epoch_begins(self, state):
        self._epoch = self._task.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given())

    def epoch_ends(self, books, reason):
        """Whether a callback asks for the end."""
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
            del _RUNS[self.estimator]

    def _given(self):
        return {
            "estimator": self.estimator,
            "X": self._X,
            "y": self._y,
            "metadata": self._metadata,
        }

    def _fitted(self, books, reason):
        """The attributes that stopping after this epoch would write."""
        before = vars(self.estimator)
        view = object.__new__(type(self.estimator))
        vars(view).update(before)
        self._set_fitted(view, books.result(reason or "callback"))
        return {
            name: value
            for name, value in vars(view).items()
            if name not in before or before[name] is not value
        }
