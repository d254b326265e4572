"""Training on the workers: functions of one partition.

`Rows` become `AssignedRows` (which member learns from which rows), then a `Partition`,
which computes sums of losses, gradients and scores over its rows.  None of them depends
on the number of workers, and none changes after it was made, except for the buffers of
a `Partition`.  Each can be computed again on another worker with the same bits: random
numbers depend on the seed, the partition and the epoch.
"""

import threading
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sklearn_bp._network.batches import SMALL_BYTES, Data
from sklearn_bp._network.dropout import Dropout, stream_of
from sklearn_bp._network.objective import Objective
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._training.held_out import HeldOut, draw_folds, spread_rows
from sklearn_bp._training.lbfgs import BLOCK_ROWS
from sklearn_bp.losses import Quantile

# Which member learns from which rows.


class HoldingOut(NamedTuple):
    """The rows to hold out.

    Attributes
    ----------
    n_members : int
        With several members, each row is held out from one of them; or 0.
    fraction : float
        The fraction of rows held out from all members; or 0.
    exclusive : bool or None
        Strata: by class, by the first label, or (None) none.
    seed : list of int
    """

    n_members: int
    fraction: float
    exclusive: bool | None
    seed: list


class AssignedRows(NamedTuple):
    """Rows, and the members that learn from them; `rows` train at least one member."""

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None
    folds: np.ndarray | None
    held_out: list


# The purpose of random numbers: the second number of their seed.
_FOLDS, _ORDER, _DROPOUT = range(3)


def assign(rows, holding, number, offset):
    """The `AssignedRows` of a partition after `offset` rows of non-zero weight."""
    X, Y, weights, _ = rows
    if not (holding.n_members or holding.fraction):
        return AssignedRows(X, Y, weights, rows.rows, None, [])
    random_state = np.random.RandomState([*holding.seed, _FOLDS, number])
    nonzero = rows.nonzero
    strata = np.zeros(len(nonzero))
    if holding.exclusive is not None:
        of_rows = Y[nonzero]
        strata = of_rows.argmax(axis=1) if holding.exclusive else of_rows[:, 0]
    if holding.n_members:
        # Small partitions start at different members, so that all lose equally many
        # rows.
        drawn = draw_folds(strata, holding.n_members, random_state)
        folds = np.zeros(len(Y), drawn.dtype)
        drawn = (drawn.astype(int) + number) % holding.n_members
        folds[nonzero] = drawn
        held_out = [nonzero[drawn == j] for j in range(holding.n_members)]
        return AssignedRows(X, Y, weights, rows.rows, folds, held_out)
    places = np.arange(offset, offset + len(nonzero) + 1)
    held = np.empty(len(nonzero), bool)
    order = spread_rows(strata, random_state)
    held[order] = np.diff(np.floor(places * holding.fraction)) > 0
    return AssignedRows(X, Y, weights, nonzero[~held], None, [nonzero[held]])


class Counts(NamedTuple):
    """Counts of `AssignedRows`: training rows, their weight, total and per member;
    held-out rows, their weight.
    """

    n_rows: int
    weight: float
    by_member: np.ndarray
    n_held_out: int
    weight_held_out: float


def count(assigned, largest, n_members):
    """The `Counts` of a partition; weights are relative to the largest."""
    _, Y, weights, rows, folds, held_out = assigned
    rows = np.arange(len(Y)) if rows is None else rows
    weights = np.ones(len(Y)) if weights is None else weights / largest
    held = np.concatenate([np.empty(0, int), *held_out])
    by_member = np.zeros(n_members)
    if folds is not None:
        learned = (folds[rows] != j for j in range(n_members))
        by_member = np.array([weights[rows] @ learns for learns in learned])
    return Counts(
        len(rows), weights[rows].sum(), by_member, len(held), weights[held].sum()
    )


# Training.


class Problem(NamedTuple):
    """The settings of training that all partitions share.

    Attributes
    ----------
    network : TwoLayerNetwork
    layout : Layout
        As in `Parameters`.
    dtype : dtype
    scaling : Scaling or None
        Feature scaling.
    largest, mean : float
        The largest weight, and the mean of the training weights relative to it.
    fold_means : ndarray of shape (n_members,) or None
    targets : ClassTargets or None
    shuffle : bool
    dropout : float
    seed : list of int
    """

    network: Any
    layout: Layout
    dtype: Any
    scaling: Any
    largest: float
    mean: float
    fold_means: Any
    targets: Any
    shuffle: bool
    dropout: float
    seed: list


class Partition:
    """Rows ready for training, with buffers that stay on their worker.

    New buffers in each task would cost tens of milliseconds of page faults.  They are
    neither pickled nor shared: a lock separates tasks of two threads.

    Parameters
    ----------
    problem : Problem
    assigned : AssignedRows
    number : int
    """

    def __init__(self, problem, assigned, number):
        self.problem, self.assigned, self.number = problem, assigned, number
        self._prepare()

    def __reduce__(self):
        return Partition, (self.problem, self.assigned, self.number)

    def __sizeof__(self):
        # Without it the scheduler would assume that moving a partition is free.
        return _nbytes(self.data.X) + sum(map(_nbytes, self.assigned[1:5]))

    def _prepare(self):
        problem, (X, Y, weights, rows, folds, held_out) = self.problem, self.assigned
        self.lock = threading.Lock()
        scaling = problem.scaling
        if scaling is not None and sparse.issparse(X):
            X, scaling = scaling(X), None
        elif scaling is not None and X.nbytes <= SMALL_BYTES:
            X, scaling = scaling(X, np.empty(X.shape, problem.dtype)), None
        relative = weights
        if weights is not None:
            relative = weights / problem.largest
            weights = relative / problem.mean
        self.data = Data(X, Y, weights, 0.0, rows, scaling, folds, problem.fold_means)
        self.parameters = Parameters.empty(problem.layout, problem.dtype)
        self._objectives: dict = {}
        self._order: Any = (-1, None)
        self._dropout = None
        if problem.dropout:
            start = stream_of(np.random.RandomState(0))
            self._dropout = Dropout(problem.dropout, start)
        self._held_out: Any = None
        if sum(map(len, held_out)):
            unweighted = replace(self.data, weights=None)
            self._held_out = HeldOut(problem.network, unweighted, held_out)
            pooled = np.concatenate(held_out)
            self._targets = Y[pooled]
            self._weights = np.ones(len(pooled))
            if relative is not None:
                self._weights = relative[pooled]

    def sums(self, flat, scale, rows=None):
        """Sum of the losses at these parameters, and `scale` times its gradient."""
        key = -1 if rows is None else len(rows)
        if key not in self._objectives:
            data = self.data
            if rows is not None:  # space for them, filled below
                data = replace(data, rows=np.empty(key, np.intp))
            self._objectives[key] = Objective(
                self.problem.network,
                self.parameters,
                data,
                BLOCK_ROWS,
                None if rows is None else self._dropout,
            )
        objective = self._objectives[key]
        if rows is not None:
            objective.data.rows[:] = rows
        self.parameters.flat[:] = flat
        with np.errstate(all="ignore"):
            total = objective.sums(scale)
        return total, objective.gradient.flat.copy()

    def step(self, flat, epoch, start, stop):
        """The same for some of the rows, in the order of this epoch."""
        if self._dropout is not None:
            seed = [*self.problem.seed, _DROPOUT, self.number, epoch, start]
            self._dropout.restart(stream_of(np.random.RandomState(seed)))
        return self.sums(flat, 1.0, self._in_order(epoch)[start:stop])

    def _in_order(self, epoch):
        """The rows in the order of an epoch."""
        if self._order[0] != epoch:
            rows = self.data.rows
            order = np.arange(self.data.n_rows) if rows is None else rows
            if self.problem.shuffle:
                seed = [*self.problem.seed, _ORDER, self.number, epoch]
                order = np.random.RandomState(seed).permutation(order)
            self._order = (epoch, order)
        return self._order[1]

    def held_out_scores(self, flat):
        """Out-of-sample scores of the held-out rows."""
        self.parameters.flat[:] = flat
        held_out, parameters = self._held_out, self.parameters
        if len(held_out.rows) == parameters.n_members:
            return held_out.scores(parameters)
        (rows,) = held_out.rows
        X, scaling = held_out.X, held_out.scaling
        return held_out.network.scores(parameters.mean(), X, rows, scaling)


def _nbytes(values):
    if sparse.issparse(values):
        return values.data.nbytes + values.indices.nbytes + values.indptr.nbytes
    return 0 if values is None else values.nbytes


def prepare(assigned, problem, number):
    """The `Partition` of these rows."""
    return Partition(problem, assigned, number)


def loss_and_gradient(partition, flat, scale):
    """Sum of losses, and `scale` times its gradient."""
    with partition.lock:
        return partition.sums(flat, scale)


def step_gradient(partition, flat, epoch, start, stop):
    """Sum of losses and its gradient for some of the rows."""
    with partition.lock:
        return partition.step(flat, epoch, start, stop)


def held_out_sums(partition, flat, inverse_temperatures, mean):
    """Sums over the held-out rows, of losses and for the score.

    Returns
    -------
    losses : ndarray
        Sums of w_i loss_i, with scores times each of `inverse_temperatures`.
    for_score : ndarray
        The weight of the rows with the right predicted class; or, if the mean target is
        given, sums of w_i (y_i - p_i)^2 and w_i (y_i - mean)^2, (2, n_outputs).
    """
    with partition.lock, np.errstate(all="ignore"):
        problem, z = partition.problem, partition.held_out_scores(flat)
        weights, Y = partition._weights, partition._targets
        loss, losses = problem.network.loss.for_validation(), []
        for inverse in inverse_temperatures:
            p = z * np.asarray(inverse, z.dtype)
            loss.forward(p)
            losses.append(weights @ loss.value(p, Y))
        if mean is None:
            share = problem.targets.accuracy(z, Y, weights)
            return np.array(losses, np.float64), np.array(share * weights.sum())
        loss.forward(z)
        Y = Y.astype(np.float64)
        P = loss.predicted(z, Y.shape[1])
        if P.shape != Y.shape or isinstance(loss, Quantile):  # R2 does not apply
            P = np.full_like(Y, np.nan)
        squares = [weights @ np.square(Y - P), weights @ np.square(Y - mean)]
        return np.array(losses, np.float64), np.array(squares)


def held_out_errors(partition, flat, step):
    """Calibration residuals of every `step`-th held-out row, and their weights."""
    with partition.lock, np.errstate(all="ignore"):
        p = partition.held_out_scores(flat)
        partition.problem.network.loss.forward(p)
        errors = partition.problem.network.loss.interval_error(p, partition._targets)
        return errors[::step], partition._weights[::step]


def held_out_targets(partition):
    """Sum of w y per output over the held-out rows."""
    return partition._weights @ partition._targets.astype(np.float64)
