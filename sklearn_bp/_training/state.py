"""Objects that all solvers share: state, plan, history and result of a training.

`TrainingState` holds everything needed to resume, and `Plan` the rules for stopping.
`History` records the epochs of a run in the state, and makes the `TrainingResult`.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.patience import Patience


class DivergenceError(ValueError):
    """Training produced a loss or weights that are not finite."""


class Measured(NamedTuple):
    """Loss and score of parameters on validation rows.

    Attributes
    ----------
    loss : float
        The mean loss, without the penalty.
    score : float
        Larger values are better.
    """

    loss: float
    score: float


# Metadata of fields that follow from the solver and are not written to files.
GIVEN = {"given": True}


@dataclass
class TrainingState:
    """Everything needed to resume training.

    Attributes
    ----------
    parameters : Parameters
    patience : Patience
    average : Parameters or None
        Running mean of `parameters`, if there is one.
    random_state : RandomState
        Draws the order of the rows.
    rate : float
        Learning rate of the next epoch.
    optimizer : dict or None
        The optimizer's own state; None before the first epoch.
    optimizer_type : type or None
        Class of the optimizer that this state belongs to.
    schedule : object of `schedules` or None
        Schedule that `rate` comes from.
    dropout_stream : ndarray of shape (4,) or None
        State of dropout's random numbers; None without dropout.
    order : ndarray of int or None
        Order of the rows in the last epoch.
    n_iter, t, n_steps : int
        Epochs, rows and optimizer steps so far. Steps are only counted if there is a
        running mean or the rate changes from step to step.
    loss_curve, validation_losses, validation_scores : list of float
        One value per epoch; the last two are empty without validation rows.
    data_losses : list of float
        Loss of each epoch without the penalty.
    best : ndarray or None
        Flat vector of the epoch that was best on the validation rows, if there are any.
    best_iter : int or None
        Its number, from 1.
    relaxed : bool
        Whether the penalty was dropped.
    engine : str
        Implementation that ran the last epoch: "compiled" or "python".
    first : TrainingState or None
        In the second training of a fit, how the first ended.
    """

    parameters: Parameters
    patience: Patience
    random_state: Any
    rate: float = 0.0
    optimizer: dict | None = None
    optimizer_type: type | None = field(default=None, metadata=GIVEN)
    schedule: Any = field(default=None, metadata=GIVEN)
    order: np.ndarray | None = None
    n_iter: int = 0
    t: int = 0
    n_steps: int = 0
    average: Parameters | None = None
    dropout_stream: np.ndarray | None = None
    loss_curve: list = field(default_factory=list)
    validation_losses: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    best: np.ndarray | None = None
    best_iter: int | None = None
    relaxed: bool = False
    engine: str = "python"
    first: Any = None
    data_losses: list = field(default_factory=list)

    @property
    def dtype(self):
        """The dtype of the optimizer's arrays."""
        values = (self.optimizer or {}).values()
        return next(v.dtype for v in values if isinstance(v, np.ndarray))

    @property
    def chosen(self):
        """The parameters of the last result: those of the best epoch, or `kept`."""
        return self.kept if self.best is None else self.parameters.like(self.best)

    @property
    def scaled(self):
        """Whether there are `parameters`, with a scaling layer."""
        return self.parameters is not None and self.parameters.r is not None

    def copied(self):
        """A deep copy: training from it does not change this state."""
        return replace(
            self,
            parameters=_copy(self.parameters),
            patience=copy.copy(self.patience),
            random_state=_copy_of_stream(self.random_state),
            optimizer=self.optimizer
            and {name: _copy(value) for name, value in self.optimizer.items()},
            order=_copy(self.order),
            average=_copy(self.average),
            dropout_stream=_copy(self.dropout_stream),
            loss_curve=_copy(self.loss_curve),
            validation_losses=_copy(self.validation_losses),
            validation_scores=_copy(self.validation_scores),
            best=_copy(self.best),
            data_losses=_copy(self.data_losses),
        )

    @property
    def kept(self):
        """The parameters to predict with: the running mean, if there is one."""
        return self.parameters if self.average is None else self.average


def _copy(value):
    """A copy of an array, a list or `Parameters`; anything else unchanged."""
    return value.copy() if hasattr(value, "copy") else value


def _copy_of_stream(random_state):
    """A copy of a RandomState, or of None."""
    if random_state is None:
        return None
    drawn = random_state.get_state(legacy=False)
    if drawn["bit_generator"] != "MT19937":
        return copy.deepcopy(random_state)
    other = np.random.RandomState(0)  # deepcopy would read system entropy
    other.set_state(drawn)
    return other


@dataclass(frozen=True)
class Plan:
    """The rules for stopping, the metric to monitor, and the observers.

    Attributes
    ----------
    max_iter : int
        Maximum number of epochs.
    loss_threshold : float
        Training stops after an epoch whose loss is below this.
    validate : callable(Parameters) -> Measured, or None
        Measures loss and score on validation rows.
    cost : callable(Measured) -> float, or None, default=None
        The value that the patience monitors; training then returns the weights of the
        best epoch. None: it monitors the training loss and returns the last weights.
    drops_penalty : bool, default=False
        With `cost`, drop the penalty once the patience is used up, and continue from
        the best weights, with half the patience and, without a `share`, a tenth of its
        `tol`.
    share : float, default=0
        The smallest improvement that counts, as a share of the lowest cost so far
        (`Patience.update`); 0 for none.
    relaxed_rate : float, default=1
        Factor on the learning rate once the penalty is dropped; for a rate that is
        constant.
    observers : sequence of objects
        Notified of each epoch by `epoch_begins(state)` and, once it is decided whether
        training continues, by `epoch_ends(history, reason)`. The history is a
        `History`; the reason why training ends is None if it continues. If
        `epoch_ends` returns True, training ends as well. `training_ends(state)` follows
        the last complete epoch, however training ended.
    """

    max_iter: int
    loss_threshold: float
    validate: Callable[[Parameters], Measured] | None
    cost: Callable[[Measured], float] | None = None
    drops_penalty: bool = False
    share: float = 0.0
    relaxed_rate: float = 1.0
    observers: Sequence[Any] = ()

    def epoch_begins(self, state):
        for observer in self.observers:
            observer.epoch_begins(state)

    def training_ends(self, state):
        for observer in self.observers:
            observer.training_ends(state)


@dataclass
class TrainingResult:
    """How training ended.

    Attributes
    ----------
    parameters : Parameters
        The resulting weights; they absorb the scaling layer if there was one.
    state : TrainingState
    best_iter : int
        Epoch, counted from 1, at whose end `parameters` were taken.
    reason : str
        "tol", "patience" (validation), "max_iter", "loss_threshold", "callback",
        "interrupted", or a message of the solver.
    """

    parameters: Parameters
    state: TrainingState
    best_iter: int
    reason: str


class History:
    """Records the history of a run: curves, best weights, last complete epoch.

    Parameters
    ----------
    state : TrainingState
    plan : Plan
    dtype : dtype, default=None
        Dtype of the results; None for that of the parameters.
    """

    def __init__(self, state, plan, dtype=None):
        self.state, self.plan = state, plan
        self._dtype = state.parameters.flat.dtype if dtype is None else dtype
        self._last: Any = None
        self._spare: Any = None
        if plan.cost is None:
            state.best = state.best_iter = None

    def epoch_ends(self, loss, data_loss):
        """Enter an epoch's loss; raise DivergenceError if it or a weight is not finite.

        The loss is from before the last update, and a relu may swallow a NaN. Weights
        whose squares are beyond the dtype would overflow in predictions. The second
        loss, of the data, is without the penalty.
        """
        state, parameters = self.state, self.state.kept
        flat = parameters.flat
        squares = np.einsum("i,i", flat, flat)  # without BLAS, as in `metrics`
        if not (math.isfinite(loss) and math.isfinite(squares)):
            raise divergence(state.n_iter + 1)
        cost, plan = loss, self.plan
        if plan.validate is not None:
            measured = plan.validate(parameters.absorbed())
            state.validation_losses.append(float(measured.loss))
            state.validation_scores.append(float(measured.score))
            if plan.cost is not None:
                cost = plan.cost(measured)
        improved = state.patience.update(cost, plan.share)
        last = self._copy_of(flat)
        state.loss_curve.append(float(loss))
        state.data_losses.append(float(data_loss))
        state.n_iter += 1
        if improved and plan.cost is not None:
            state.best, state.best_iter = last, state.n_iter
        lengths = [len(curve) for curve in self._curves()]
        before, self._last = self._last, (last, state.n_iter, lengths)
        free = before is not None and before[0] is not state.best
        if free and not self.plan.observers:  # which may have kept it
            self._spare = before[0]

    def _copy_of(self, flat):
        """A copy, in the memory of an earlier one that is not needed any more."""
        copied, self._spare = self._spare, None
        if copied is None:
            return flat.copy()
        copied[:] = flat
        return copied

    def _curves(self):
        state = self.state
        return (
            state.loss_curve,
            state.data_losses,
            state.validation_losses,
            state.validation_scores,
        )

    def notify(self, reason):
        """Notify the observers of the end of an epoch.

        Returns the reason why training ends, or None. Observers are told the reason
        of the stopping rules, and may stop training themselves.
        """
        stops = [o.epoch_ends(self, reason) for o in self.plan.observers]
        return "callback" if reason is None and any(stops) else reason

    def interrupted(self):
        """The result of the last complete epoch; KeyboardInterrupt if there is none."""
        state = self.state
        if self._last is None:
            raise KeyboardInterrupt
        state.kept.flat[:], state.n_iter, lengths = self._last
        for curve, length in zip(self._curves(), lengths, strict=True):
            del curve[length:]
        return self.result("interrupted")

    def result(self, reason):
        """The result: the weights of the best epoch, or without validation the last."""
        state = self.state
        flat, best_iter = state.kept.flat, state.n_iter
        if state.best is not None and self.plan.cost is not None:
            flat, best_iter = state.best, state.best_iter
        flat = flat.astype(self._dtype, copy=False)
        parameters = state.parameters.like(flat).absorbed()
        return TrainingResult(parameters, state, best_iter, reason)


def divergence(n_iter):
    """The error for a run whose loss or weights were not finite in epoch `n_iter`."""
    return DivergenceError(
        "Solver produced non-finite parameter weights. The input data may contain "
        f"large values and need to be preprocessed. (Training diverged in epoch "
        f"{n_iter}: its loss is not finite.) Scale the features, and a regressor's "
        "targets, for instance by StandardScaler; or lower learning_rate_init; or clip "
        "gradients, for instance by solver=SGD(clip_norm=5)."
    )
