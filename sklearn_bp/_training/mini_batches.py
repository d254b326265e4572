"""Training by mini-batches: one epoch, and epochs until a stopping rule applies.

This module depends on no estimator and no names of options: it takes objects, changes a
`TrainingState`, which holds everything needed to resume, and returns a
`TrainingResult`.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from sklearn_bp import _compiled
from sklearn_bp._common.blas import blas_for
from sklearn_bp._network.batches import Batches, Data, next_block_order, next_order
from sklearn_bp._network.dropout import Dropout
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._training.feature_scales import scaling_inputs
from sklearn_bp._training.large_batches import LARGE_BATCH, PART_ROWS, LargeBatches
from sklearn_bp._training.state import History, divergence


@dataclass(frozen=True)
class MiniBatches:
    """Mini-batch gradient descent.

    Parameters
    ----------
    optimizer : object of `optimizers`
    schedule : object of `schedules`
    batch_size : int
    shuffle : bool or "blocks"
    average : float, default=0
        Time constant, in epochs, of a running mean of the weights; 0 for none.
    dropout : float, default=0
        Fraction of hidden units dropped; if not 0, the state has a `dropout_stream`.
    penalty_rows : int or None, default=None
        Divisor of the penalty in a step; None for the number of rows of its batch.
    """

    optimizer: Any
    schedule: Any
    batch_size: int
    shuffle: bool | str
    average: float = 0
    dropout: float = 0
    penalty_rows: int | None = None
    resumes: ClassVar[bool] = True  # a state read from a file leads to the same bits

    @property
    def rows_at_once(self):
        """Number of rows that pass through the network at a time."""
        return PART_ROWS if self.batch_size > LARGE_BATCH else self.batch_size

    def begin(self, state):
        """Set optimizer and schedule of a state that has none, or other ones."""
        if state.optimizer_type is not type(self.optimizer):
            state.optimizer, state.optimizer_type = None, type(self.optimizer)
        if state.schedule != self.schedule:
            state.rate, state.schedule = self.schedule.learning_rate_init, self.schedule

    def train(self, network, data, state, plan):
        """Train until `plan` says to stop; changes `state`."""
        self.begin(state)
        optimizer, pass_over_rows = self._bind(network, data, state, plan)

        def epoch():
            losses = pass_over_rows()
            state.t += data.n_rows
            state.rate = self.schedule.after_epoch(state.rate, state.t)
            if plan.observers:  # they may look at it, or store it
                state.optimizer = optimizer.state()
            return losses

        def on_plateau():
            nonlocal optimizer, pass_over_rows
            lower = self.schedule.on_plateau(state.rate)
            if lower is not None:
                state.rate, state.patience.count = lower, 0
                return True
            if state.relaxed or not plan.drops_penalty or plan.cost is None:
                return False
            state.optimizer = optimizer.state()
            drop_penalty(state, plan)
            optimizer, pass_over_rows = self._bind(network, data, state, plan)
            return True

        try:
            result = run_epochs(epoch, on_plateau, state, plan)
        finally:
            state.optimizer = optimizer.state()
        if not all(np.isfinite(np.sum(value)) for value in state.optimizer.values()):
            raise divergence(state.n_iter)  # an infinite v makes Adam's steps 0
        return result

    def _bind(self, network, data, state, plan):
        """An optimizer that continues from `state`, and a function for one epoch."""
        parameters, factor = state.parameters, 1.0
        if state.relaxed:
            data, factor = replace(data, alpha=0.0), plan.relaxed_rate
        is_compiled = self._is_compiled(network, data, parameters)
        state.engine = "compiled" if is_compiled else "python"
        if is_compiled:
            return self._compiled_epochs(network, data, state, factor)
        alpha, resumed = data.alpha, state.optimizer
        if _compiled.covers_steps(data, parameters, self.optimizer):
            optimizer = _compiled.bound(self.optimizer, parameters, alpha, resumed)
        else:
            optimizer = self.optimizer.bind(parameters, alpha, resumed)
        if self.penalty_rows is not None:
            optimizer = penalizing(optimizer, self.penalty_rows)
        steps_per_epoch = -(-data.n_rows // self.batch_size)
        by_step = getattr(self.schedule, "by_step", None)
        if self.average or by_step:
            optimizer = counting(optimizer, state)
        if by_step:
            optimizer = scheduled(optimizer, state, by_step(steps_per_epoch))
        if self.average:
            optimizer = averaging(optimizer, state, self.average * steps_per_epoch)
        return optimizer, self._passes(network, data, state, optimizer, factor)

    def _is_compiled(self, network, data, parameters):
        """Whether the extension runs the epochs."""
        optimizer, size = self.optimizer, self.batch_size
        return size <= LARGE_BATCH and _compiled.covered(
            network, data, parameters, optimizer, size, self.dropout
        )

    def _compiled_epochs(self, network, data, state, factor):
        """As `_bind`, with the extension."""
        n_steps = -(-data.n_rows // self.batch_size)
        rates_of_epoch = self._rates_of_epoch(state, n_steps, factor)
        counts = self.average or getattr(self.schedule, "by_step", None)
        epochs = _compiled.Epochs(
            network,
            data,
            state,
            self.optimizer,
            self.batch_size,
            self.penalty_rows,
            averages(state, self.average * n_steps) if self.average else None,
        )

        def pass_over_rows():
            order = self._draw_order(data, state)
            total, squared_norms = epochs.epoch(order, rates_of_epoch())
            if counts:
                state.n_steps += n_steps
            return self._mean_losses(data, state, total, squared_norms)

        return epochs, pass_over_rows

    def _rates_of_epoch(self, state, n_steps, factor):
        """A function that returns the rates of the next epoch's steps.

        It is the same array as long as a constant rate stays the same.
        """
        by_step = getattr(self.schedule, "by_step", None)
        rate_of: Any = by_step(n_steps) if by_step else None
        rates = np.full(n_steps, np.nan)

        def constant():
            nonlocal rates
            if rates[0] != state.rate * factor:
                rates = np.full(n_steps, state.rate * factor)
            return rates

        def changing():
            first = state.n_steps
            of_steps = np.array([rate_of(first + i) for i in range(n_steps)])
            state.rate = float(of_steps[-1])
            return of_steps

        return constant if rate_of is None else changing

    def _draw_order(self, data, state):
        """The order of the rows in the next epoch, or None to keep theirs.

        With a single batch the order only affects rounding. It is drawn anyway, so
        that later random numbers are those of MLPClassifier.
        """
        if self.shuffle == "blocks":
            state.order = next_block_order(data, state.random_state)
        elif self.shuffle:
            state.order = next_order(state.order, data.n_rows, state.random_state)
        in_order = not self.shuffle or self.batch_size == data.n_rows
        return None if in_order else state.order

    def _mean_losses(self, data, state, total, squared_norms):
        """An epoch's loss, with the penalty and without: from sums over its steps."""
        n = data.n_rows * state.parameters.n_members
        penalty = 0.5 * data.alpha * squared_norms if data.alpha else 0.0
        return (total + penalty) / n, total / n

    def _passes(self, network, data, state, optimizer, factor):
        """A function that trains for one pass over the rows.

        It returns the mean loss over the rows, and over several members, with the
        penalty and without it.  `factor` multiplies a constant rate.
        """
        parameters = state.parameters
        if parameters.r is not None:
            optimizer, parameters = scaling_inputs(optimizer, parameters, data.groups)
        dropout = Dropout(self.dropout, state.dropout_stream) if self.dropout else None
        large, b = None, self.batch_size
        if b > LARGE_BATCH:
            large = LargeBatches(network, data, parameters, b, dropout)
        else:
            n_members, n_outputs = parameters.n_members, parameters.shape[2]
            dtype = parameters.flat.dtype
            batches = Batches(data, b, dtype, n_members, n_outputs)
            kernels = bind_kernels(
                network, data, parameters, optimizer, batches, dropout
            )

        def pass_over_rows():
            order = self._draw_order(data, state)
            if large is not None:
                sums = large.epoch(order, state.rate * factor, optimizer)
            else:
                blocks = batches.epoch(order)
                rate = state.rate * factor
                sums = run_epoch(network, rate, blocks, kernels, optimizer)
            total, squared_norms = sums
            if dropout is not None:
                state.dropout_stream = dropout.epoch_ends()
            return self._mean_losses(data, state, total, squared_norms)

        return pass_over_rows


def bind_kernels(
    network: TwoLayerNetwork, data: Data, parameters, optimizer, batches, dropout
):
    """A kernel for each batch length."""
    is_sparse = sparse.issparse(data.X)
    return {
        b: network.bind(parameters, optimizer.target, b, is_sparse, dropout)
        for b in batches.lengths
    }


def drop_penalty(state, plan):
    """Return to the best weights, to continue without penalty."""
    state.relaxed = True
    for parameters in (state.parameters, state.average):
        if parameters is not None:
            parameters.flat[:] = state.best
    patience = state.patience
    patience.count = 0
    if not plan.share:
        patience.tol /= 10
    patience.n_iter_no_change /= 2


def penalizing(optimizer, penalty_rows):
    """A bound optimizer that divides the penalty by `penalty_rows` in all batches.

    It treats each batch as one of that length, and gradients are scaled accordingly.
    """
    begin_step, finish_step = optimizer.begin, optimizer.finish

    def begin(n_rows, rate):
        scale, beta = begin_step(penalty_rows, rate)
        return (
            scale if n_rows == penalty_rows else scale * penalty_rows / n_rows
        ), beta

    def finish(n_rows, rate):
        # The loss counts the penalty once per row.
        return finish_step(penalty_rows, rate) * n_rows / penalty_rows

    return optimizer._replace(begin=begin, finish=finish)


def counting(optimizer, state):
    """A bound optimizer that counts its steps in `state.n_steps`."""
    finish_step = optimizer.finish

    def finish(n_rows, rate):
        state.n_steps += 1
        return finish_step(n_rows, rate)

    return optimizer._replace(finish=finish)


def scheduled(optimizer, state, rate_of):
    """A counting optimizer whose rate, also `state.rate`, changes at each step."""
    begin_step, finish_step = optimizer.begin, optimizer.finish

    def begin(n_rows, _):
        state.rate = rate_of(state.n_steps)
        return begin_step(n_rows, state.rate)

    def finish(n_rows, _):
        return finish_step(n_rows, state.rate)

    return optimizer._replace(begin=begin, finish=finish)


def averaging(optimizer, state, n_steps):
    """A counting optimizer that updates `state.average` too.

    It is an exponential moving average of the weights (Polyak and Juditsky 1992;
    Izmailov et al. 2018) with a time constant of `n_steps`, shorter at the start of
    training.  It is updated 32 times within that time, not at each step.
    """
    flat = state.parameters.flat
    axpy, scal = blas_for(flat.dtype).axpy, blas_for(flat.dtype).scal
    every, longest = averages(state, n_steps)
    mean = state.average.flat
    finish_step = optimizer.finish

    def finish(n_rows, rate):
        squared_norm = finish_step(n_rows, rate)
        if state.n_steps % every == 0:
            n_taken = state.n_steps // every
            decay = min(longest, n_taken / (n_taken + 3))
            scal(decay, mean)
            axpy(flat, mean, flat.size, 1 - decay)
        return squared_norm

    return optimizer._replace(finish=finish)


def averages(state, n_steps):
    """Start `state.average` if it is None; return steps per update, largest decay."""
    if state.average is None:
        state.average = state.parameters.copy()
    every = max(1, int(n_steps // 32))
    return every, float(np.exp(-every / n_steps))


def run_epoch(network, rate, blocks, kernels, optimizer):
    """One pass over the blocks.

    Returns
    -------
    total, squared_norms : float
        Sums over the rows of the loss before the update that they take part in, and
        over the updates of the squared norm of the weights before it.
    """
    total = squared_norms = 0.0
    begin, finish = optimizer.begin, optimizer.finish
    for block in blocks:
        n_rows = block.n_rows
        forward, output_error, hidden_error, gradient = kernels[n_rows]
        for X, Y, P, weights in block.steps:
            forward(X, P)
            output_error(P, Y, weights)
            hidden_error()
            gradient(X, *begin(n_rows, rate))
            squared_norms += finish(n_rows, rate)
        total += block.value(network.loss)
    return total, squared_norms


def run_epochs(epoch, on_plateau, state, plan):
    """Train epoch by epoch until the plan says to stop.

    If interrupted, return the result of the last complete epoch.

    Parameters
    ----------
    epoch : callable() -> (float, float)
        Trains for an epoch and returns its loss, with the penalty and without.
    on_plateau : callable() -> bool
        Called when the patience is used up; True to continue nevertheless.
    """
    history = History(state, plan)
    try:
        with np.errstate(all="ignore"):  # epoch_ends checks the loss
            for _ in range(plan.max_iter):
                if plan.observers:
                    plan.epoch_begins(state)
                history.epoch_ends(*epoch())
                reason = None
                if state.loss_curve[-1] < plan.loss_threshold:
                    reason = "loss_threshold"
                elif state.patience.exhausted and not on_plateau():
                    reason = "patience" if plan.cost else "tol"
                if plan.observers:
                    reason = history.notify(reason)
                if reason is not None:
                    return history.result(reason)
    except KeyboardInterrupt:
        return history.interrupted()
    return history.result("max_iter")
