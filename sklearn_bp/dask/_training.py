"""Training on partitions: one process adds up the sums over each, in their order.

A step of a solver is one round: parameters go to the partitions, and sums of losses and
gradients come back.  The solvers are those for rows in memory; only the source of
losses and gradients differs.

`parts` is an object with `each` and `then`, like `dask._collections.Parts`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_bp._training.feature_scales import scaling_inputs
from sklearn_bp._training.held_out import LARGEST_TEMPERATURE, SMALLEST_TEMPERATURE
from sklearn_bp._training.large_batches import take_step
from sklearn_bp._training.lbfgs import LBFGS
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.state import Measured
from sklearn_bp.dask._partitions import (
    held_out_errors,
    held_out_sums,
    held_out_targets,
    loss_and_gradient,
    step_gradient,
)

# Maximum number of calibration residuals for prediction intervals.
MOST_ERRORS = 20_000

# Inverse temperatures at which one round evaluates the loss on held-out rows.
TEMPERATURES = 1 / np.geomspace(LARGEST_TEMPERATURE, SMALLEST_TEMPERATURE, 24)


@dataclass(frozen=True)
class PartitionedData:
    """The data as solvers need it.

    Parameters
    ----------
    parts : Parts of `Partition`
    counts : list of int
        Number of training rows of each partition.
    alpha : float
        As in `_network.batches.Data`.
    """

    parts: Any
    counts: list
    alpha: float

    @property
    def n_rows(self):
        return sum(self.counts)


def added(sums):
    """The sum of arrays, numbers or tuples of these, in order."""
    first, *others = sums
    if isinstance(first, tuple):
        return tuple(added(column) for column in zip(first, *others, strict=True))
    total = first.copy() if isinstance(first, np.ndarray) else first
    for term in others:
        total += term
    return total


class PartitionedObjective:
    """Like `_network.objective.Objective`: returns the loss, and sets `gradient`."""

    def __init__(self, parameters, data):
        self.parameters, self.data = parameters, data
        self.gradient = parameters.like(np.empty_like(parameters.flat))

    def __call__(self):
        n, alpha, parameters = self.data.n_rows, self.data.alpha, self.parameters
        sums = self.data.parts.each(loss_and_gradient, parameters.flat, 1 / n)
        total, self.gradient.flat[:] = added(sums)
        self.gradient.penalized[...] += (alpha / n) * parameters.penalized
        return (total + 0.5 * alpha * parameters.squared_norm()) / n


@dataclass(frozen=True)
class PartitionedLBFGS(LBFGS):
    """L-BFGS with one round per evaluation of loss and gradient."""

    def _objective(self, network, parameters, data):
        return PartitionedObjective(parameters, data)


@dataclass(frozen=True)
class PartitionedMiniBatches(MiniBatches):
    """Mini-batch gradient descent with one round per step.

    With n_steps steps per epoch, step s takes the rows from n s / n_steps to
    n (s + 1) / n_steps of a partition of n rows, in an order that depends on the seed,
    the partition and the epoch.
    """

    resumes = False
    why_not = "of sklearn_bp.dask, its data is on a cluster and cannot be compared"

    def _passes(self, network, data, state, optimizer, factor):
        n_steps = -(-data.n_rows // self.batch_size)
        parameters = state.parameters
        if parameters.r is not None:
            optimizer, _ = scaling_inputs(optimizer, parameters)

        def shares(step):
            """Epoch, start and stop for each partition, and the number of rows."""
            per, n_rows = [], 0
            for n in data.counts:
                start, stop = n * step // n_steps, n * (step + 1) // n_steps
                per.append((state.n_iter, start, stop) if start < stop else None)
                n_rows += stop - start
            return per, n_rows

        def pass_over_rows():
            total = squared_norms = 0.0
            rate = state.rate * factor
            for step in range(n_steps):
                per, n_rows = shares(step)
                if n_rows == 0:
                    continue
                # `scaling_inputs` handles the scaling layer, which partitions do not
                # have.
                seen = parameters.absorbed().flat
                sums = data.parts.each(step_gradient, seen, per=per)
                loss, gradient = added(sums)
                squared_norms += take_step(optimizer, gradient, n_rows, rate)
                total += loss
            return self._mean_losses(data, state, total, squared_norms)

        return pass_over_rows


class PartitionedValidation:
    """Loss and score on the held-out rows, like `_training.held_out.HeldOut`.

    To minimize the loss over the temperature, it is evaluated at `TEMPERATURES` and
    interpolated by a parabola.

    Parameters
    ----------
    parts : Parts of `Partition`
    n_rows, weight : int, float
        Number and weight of all held-out rows.
    tempered : bool
    labelled : bool
        Whether the score is the accuracy; otherwise it is R2.
    """

    def __init__(self, parts, n_rows, weight, tempered, labelled):
        self.parts, self.labelled = parts, labelled
        self.n_rows, self.weight = n_rows, weight
        self._inverses = TEMPERATURES if tempered else np.ones(1)
        self._mean = None
        if not labelled:
            self._mean = added(parts.each(held_out_targets)) / weight

    def __call__(self, parameters):
        """Loss and score, as `Measured`."""
        losses, sums = self._sums(parameters)
        least, _ = self._least(losses)
        score = float(sums / self.weight) if self.labelled else r2(*sums)
        return Measured(least, score)

    def temperature(self, parameters):
        """The temperature with the smallest loss; 1 unless it is the log-loss."""
        losses, _ = self._sums(parameters)
        temperature = 1 / self._least(losses)[1]
        return 1.0 if abs(np.log(temperature)) < 0.02 else temperature

    def errors(self, parameters):
        """Calibration residuals of some rows, in training units, and their weights."""
        step = -(-self.n_rows // MOST_ERRORS)
        parts = self.parts.each(held_out_errors, parameters.flat, step)
        errors, weights = zip(*parts, strict=True)
        return np.concatenate(errors), np.concatenate(weights)

    def _sums(self, parameters):
        shared = parameters.flat, self._inverses, self._mean
        return added(self.parts.each(held_out_sums, *shared))

    def _least(self, losses):
        """The smallest mean loss, and its inverse temperature."""
        losses = losses / self.weight
        if not np.isfinite(losses).any():
            return np.nan, 1.0
        i = int(np.nanargmin(losses))
        least, inverse = float(losses[i]), float(self._inverses[i])
        if not 0 < i < len(losses) - 1:
            return least, inverse
        left, middle, right = losses[i - 1 : i + 2]
        curvature = left - 2 * middle + right
        if not (np.isfinite(curvature) and curvature > 0):
            return least, inverse
        shift = 0.5 * (left - right) / curvature  # in steps of the logarithm
        ratio = self._inverses[1] / self._inverses[0]
        return float(middle - 0.25 * (left - right) * shift), inverse * ratio**shift


def r2(residual, total):
    """The mean over the outputs of 1 - residual / total, as scikit-learn's r2_score."""
    if not np.isfinite(residual).all():
        return np.nan
    constant = np.where(residual == 0, 1.0, 0.0)
    share = np.divide(residual, total, out=np.zeros_like(total), where=total > 0)
    return float(np.mean(np.where(total > 0, 1 - share, constant)))
