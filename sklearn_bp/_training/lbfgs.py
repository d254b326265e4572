"""Training on the whole data by L-BFGS, on scipy's minimizer.

It has the signature and the result of the mini-batch solver; an iteration counts as
an epoch.  It computes in float64 for any dtype of the data, because line searches
suffer from rounding; the resulting weights have the dtype of the data.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from sklearn_bp._network.objective import Objective
from sklearn_bp._training.state import History, divergence

# The hidden layer of this many rows stays in a second-level cache, which takes 10 %
# less time than all rows at once.
BLOCK_ROWS = 256


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS (Liu and Nocedal 1989), as scipy's L-BFGS-B.

    Parameters
    ----------
    tol : float
        Training ends when no component of the gradient is larger.
    max_fun : int
        Maximum number of evaluations of loss and gradient.
    rows_at_once : int
        Number of rows evaluated at a time; the result does not depend on it.
    """

    tol: float
    max_fun: int
    rows_at_once: int

    def train(self, network, data, state, plan):
        """Train until `plan` says to stop; changes `state`."""
        dtype = state.parameters.flat.dtype
        parameters = state.parameters.astype(np.float64)
        state.parameters = parameters.astype(np.float64)  # of the last iterate
        objective = self._objective(network, parameters, data)
        run = _Run(objective, data, state, plan, History(state, plan, dtype))
        options = {"maxiter": plan.max_iter, "maxfun": self.max_fun, "gtol": self.tol}
        try:
            with np.errstate(all="ignore"):
                optimum = minimize(
                    run.loss_and_gradient,
                    parameters.flat.copy(),
                    method="L-BFGS-B",
                    jac=True,
                    callback=run.iteration_ends,
                    options=options,
                )
        except KeyboardInterrupt:
            return run.history.interrupted()
        return run.result(optimum)

    def _objective(self, network, parameters, data):
        """The loss and its gradient: an object like `_network.objective.Objective`."""
        return Objective(network, parameters, data, self.rows_at_once)


class _Run:
    """The functions that scipy's minimizer calls, and their state."""

    def __init__(self, objective, data, state, plan, history):
        self.objective, self.data, self.state = objective, data, state
        self.plan, self.history = plan, history
        self.stopped_by, self.within = None, False

    def loss_and_gradient(self, x):
        if not self.within:  # the last iteration has no evaluation after it
            self.within = True
            self.plan.epoch_begins(self.state)
        objective = self.objective
        objective.parameters.flat[:] = x
        return objective(), objective.gradient.flat.copy()

    def iteration_ends(self, intermediate_result):
        state, plan, stopped_by = self.state, self.plan, None
        self.within = False
        state.parameters.flat[:] = intermediate_result.x
        state.t += self.data.n_rows
        losses = _mean_losses(intermediate_result.fun, state, self.data)
        self.history.epoch_ends(*losses)
        if state.loss_curve[-1] < plan.loss_threshold:
            stopped_by = "loss_threshold"
        elif plan.cost is not None and state.patience.exhausted:
            stopped_by = "patience"
        self.stopped_by = self.history.notify(stopped_by)
        if self.stopped_by is not None:
            raise StopIteration

    def result(self, optimum):
        """The result of training, from scipy's."""
        state = self.state
        if not (np.isfinite(optimum.fun) and np.isfinite(optimum.x).all()):
            raise divergence(state.n_iter)
        state.parameters.flat[:] = optimum.x
        if not state.loss_curve:  # the start was a minimum
            loss, data_loss = _mean_losses(optimum.fun, state, self.data)
            state.loss_curve.append(loss)
            state.data_losses.append(data_loss)
        return self.history.result(self.stopped_by or _reason(optimum))


def _mean_losses(total, state, data):
    """The mean loss over members at the last iterate, with and without the penalty."""
    n_members, penalty = state.parameters.n_members, 0.0
    if data.alpha:
        penalty = 0.5 * data.alpha * state.parameters.squared_norm() / data.n_rows
    return float(total) / n_members, (float(total) - penalty) / n_members


def _reason(optimum):
    """Why scipy's minimizer ended: "tol", or why it did not converge."""
    if optimum.status == 0:
        return "tol"
    return f"status={optimum.status}: {optimum.message}"
