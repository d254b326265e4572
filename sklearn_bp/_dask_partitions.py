"""What runs on the workers: functions of one partition, a block of rows.

A block becomes `Rows` (checked, encoded), then `Lessons` (who learns from which rows),
then a `Partition`, which gives sums over its rows: of losses, gradients, scores.  None
of them knows how many workers there are, and none is changed after it was made, but
for the buffers of a `Partition`.  Each part may be computed again, on another worker,
and has the same bits: what is drawn depends on the seed, the partition and the epoch.

Rows of weight 0 take no part.
"""

import copy
import threading
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import _num_samples

from sklearn_bp._batches import SMALL_BYTES, Data
from sklearn_bp._columns import Columns, witnesses
from sklearn_bp._dropout import Dropout, stream_of
from sklearn_bp._held_out import HeldOut, draw_folds, spread_rows
from sklearn_bp._lbfgs import BLOCK_ROWS
from sklearn_bp._network import Objective
from sklearn_bp._parameters import Parameters
from sklearn_bp._scaling import extremes, weight_of
from sklearn_bp._targets import check_labels, check_regression_targets
from sklearn_bp._validation import check_weights
from sklearn_bp.losses import CONSTANT_ROWS, Quantile


class Block(NamedTuple):
    """A block of rows as the user gave it."""

    X: Any
    y: Any
    sample_weight: Any


class Survey(NamedTuple):
    """What a block holds: rows, the shape of y, labels and their numbers by column."""

    n_rows: int
    y_ndim: int
    labels: list


def survey(block, labelled):
    """The `Survey` of a block; ValueError if its parts differ in length."""
    n = _num_samples(block.X)
    for name in ("y", "sample_weight"):
        values = getattr(block, name)
        if hasattr(values, "__len__") and len(values) != n:
            raise ValueError(
                f"A block of X has {n} rows, and that of {name} {len(values)}: "
                "inconsistent numbers of samples."
            )
    if n == 0 or not labelled:
        return Survey(n, np.ndim(block.y), [])
    y = check_labels(block.y)
    columns = [y] if y.ndim == 1 else y.T
    return Survey(n, y.ndim, [np.unique(c, return_counts=True) for c in columns])


# Checked rows.


class Rows(NamedTuple):
    """The rows of a partition; `rows` are those that have weight, None for all."""

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None

    @property
    def weighty(self):
        return np.arange(len(self.Y)) if self.rows is None else self.rows

    def shares(self, exponent):
        """The weights of `weighty` over 2 ** exponent, or None."""
        if self.weights is None:
            return None
        weights = self.weights if self.rows is None else self.weights[self.rows]
        return np.ldexp(weights, -exponent)


class Reading(NamedTuple):
    """How blocks are read.

    Attributes
    ----------
    name : str
        Of the estimator, for errors.
    encodes : bool
        Whether X is left as it is, to be encoded.
    targets : ClassTargets or None
    class_weights : list of (labels, weights) or None
        One for each column of y.
    """

    name: str
    encodes: bool
    targets: Any
    class_weights: Any


def read(block, reading):
    """The `Rows` of a block, None if no row has weight."""
    X, y, sample_weight = block
    n = _num_samples(X)
    if n == 0:
        return None
    if not reading.encodes:
        X = _checked(X, reading.name)
    weights = None
    if sample_weight is not None:
        weights = check_weights(sample_weight, n)
    if reading.targets is None:
        Y = check_regression_targets(y, np.float64)
    else:
        y = check_labels(y)
        Y = reading.targets.encode(y)
        if reading.class_weights is not None:
            weights = np.ones(n) if weights is None else weights.copy()
            columns = [y] if y.ndim == 1 else y.T
            for c, (labels, of_label) in zip(
                columns, reading.class_weights, strict=True
            ):
                weights *= of_label[np.searchsorted(labels, c)]
    if weights is None or weights.all():
        return Rows(X, Y, weights, None)
    rows = np.flatnonzero(weights)
    return Rows(X, Y, weights, rows) if len(rows) else None


def _checked(X, name):
    """X as finite numbers, dense or CSR; integers of an array stay what they are."""
    dtype = [np.float64, np.float32]
    if isinstance(X, np.ndarray) and X.dtype.kind in "biu":
        dtype.append(X.dtype)
    X = check_array(
        X, accept_sparse=["csr", "csc"], dtype=dtype, estimator=name, input_name="X"
    )
    return X.tocsr() if sparse.issparse(X) else X


class Facts(NamedTuple):
    """What is known of `Rows`: those of weight, the largest weight, targets' range."""

    n_weighty: int
    largest: float
    dtype: Any
    low: Any
    high: Any


def facts(rows, loss):
    """The `Facts` of a partition; ValueError for targets that the loss refuses."""
    if rows is None:
        return Facts(0, 0.0, None, None, None)
    Y = rows.Y if rows.rows is None else rows.Y[rows.rows]
    loss.check_targets(Y)
    largest = 1.0 if rows.weights is None else float(rows.weights.max())
    dtype = getattr(rows.X, "dtype", None)
    dtype = dtype if dtype is not None and dtype.kind == "f" else np.dtype("f8")
    return Facts(len(Y), largest, dtype, Y.min(axis=0), Y.max(axis=0))


def some_rows(rows, categorical_features, start, step):
    """Rows of X as it is: evenly spaced ones, their weights, and telling ones.

    Parameters
    ----------
    categorical_features
        As of the estimators.
    start, step : int
        Which of the rows that have weight are taken.
    """
    weighty = rows.weighty
    spaced = weighty[start::step]
    weights = None if rows.weights is None else rows.weights[spaced]
    telling = weighty[witnesses(_taken(rows.X, weighty), categorical_features)]
    return _taken(rows.X, spaced), weights, _taken(rows.X, telling)


def _taken(X, rows):
    if len(rows) == _num_samples(X):
        return X
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def encode(rows, columns: Columns, dtype, name):
    """The rows with X as the matrix that `columns` makes of it."""
    X = rows.X
    if isinstance(X, np.ndarray) and X.dtype.kind in "biu" and columns.is_plain:
        return rows._replace(X=_checked(X, name))
    X = columns.transform(X, dtype)
    return rows._replace(X=_checked(X, name))


def is_sparse(rows):
    return sparse.issparse(rows.X)


def encoded_rows(rows, exponent, start, step):
    """Evenly spaced rows of the matrix, and their weights."""
    shares = rows.shares(exponent)
    weights = None if shares is None else shares[start::step]
    return _taken(rows.X, rows.weighty[start::step]), weights


class Statistics(NamedTuple):
    """What the scaling of features needs of a partition.

    Attributes
    ----------
    low, high, few : ndarray of shape (n_dense,)
        Smallest and largest of each dense column, and whether there is no other.
    of_high : ndarray of shape (n_dense,)
        Weight of the rows that have the largest, where there is no other.
    weight : float
    largest : ndarray of shape (n_sparse,)
        The largest absolute value of each sparse column.
    spaced, spaced_weights : ndarray of shape (n, n_dense), ndarray of shape (n,)
        Evenly spaced rows and their weights.
    """

    low: np.ndarray
    high: np.ndarray
    few: np.ndarray
    of_high: np.ndarray
    weight: float
    largest: np.ndarray
    spaced: np.ndarray
    spaced_weights: Any


def statistics(rows, n_dense, exponent, start, step):
    """The `Statistics` of the first `n_dense` columns, and of the sparse others."""
    X, weighty, shares = rows.X, rows.weighty, rows.shares(exponent)
    largest = np.empty(0)
    if sparse.issparse(X):
        rest = X[weighty][:, n_dense:]
        largest = abs(rest).max(axis=0).toarray().ravel().astype(np.float64)
        X, weighty = X[weighty][:, :n_dense].toarray(), np.arange(len(weighty))
    chosen = None if len(weighty) == len(X) else weighty
    d = X.shape[1]
    low = high = of_high = np.empty(0)
    few = np.empty(0, bool)
    if d:
        low, high, pair = extremes(X, chosen)
        few = pair | (low == high)
        found = weight_of(high[few], X, chosen, np.flatnonzero(few), shares)
        of_high = np.zeros(d)
        of_high[few] = found
    weight = float(len(weighty) if shares is None else shares.sum())
    spaced_weights = None if shares is None else shares[start::step]
    spaced = X[weighty[start::step]]
    return Statistics(low, high, few, of_high, weight, largest, spaced, spaced_weights)


# Sums over targets.


def _in_blocks(rows, exponent):
    """Targets and weights of the rows that have weight, some thousand at a time."""
    weighty, shares = rows.weighty, rows.shares(exponent)
    if shares is None:
        shares = np.ones(len(weighty))
    for i in range(0, len(weighty), CONSTANT_ROWS):
        part = slice(i, i + CONSTANT_ROWS)
        yield rows.Y[weighty[part]].astype(np.float64), shares[part]


def sum_of_weights(rows, exponent):
    """sum_i w_i."""
    return sum(w.sum() for _, w in _in_blocks(rows, exponent))


def sum_of_targets(rows, exponent, unit):
    """sum_i w_i y_i / unit."""
    return sum(w @ (Y / unit) for Y, w in _in_blocks(rows, exponent))


def sum_of_squares(rows, exponent, unit, mean):
    """sum_i w_i (y_i / unit - mean)^2."""
    return sum(w @ np.square(Y / unit - mean) for Y, w in _in_blocks(rows, exponent))


def sum_of_losses(rows, exponent, loss, scores):
    """sum_i w_i loss_i for the same scores in all rows."""
    total = 0.0
    for Y, w in _in_blocks(rows, exponent):
        P = np.tile(scores, (len(Y), 1))
        loss.forward(P)
        total += w @ loss.value(P, Y)
    return float(total)


def spaced_targets(rows, exponent, start, step):
    """Evenly spaced targets, and their weights or None."""
    shares = rows.shares(exponent)
    Y = rows.Y[rows.weighty[start::step]].astype(np.float64)
    return Y, None if shares is None else shares[start::step]


def with_targets(rows, scaling, dtype):
    """The rows with targets scaled (unless `scaling` is None), in `dtype`."""
    Y = rows.Y if scaling is None else scaling(rows.Y)
    return rows._replace(Y=Y.astype(dtype, copy=False))


# Who learns from which rows.


class HoldingOut(NamedTuple):
    """What is held out.

    Attributes
    ----------
    n_members : int
        Of several networks each row is held out of one; or 0.
    fraction : float
        Of all networks so many rows are held out; or 0.
    exclusive : bool or None
        How rows are spread: by their class, by their first label, or, None, at random.
    seed : list of int
    """

    n_members: int
    fraction: float
    exclusive: bool | None
    seed: list


class Lessons(NamedTuple):
    """Rows, and who learns from them; `rows` are those that train at least one."""

    X: Any
    Y: np.ndarray
    weights: np.ndarray | None
    rows: np.ndarray | None
    folds: np.ndarray | None
    held_out: list


# What random numbers serve for: the second number of their seed.
_FOLDS, _ORDER, _DROPOUT = range(3)


def assign(rows, holding, number, offset):
    """The `Lessons` of partition `number`, with `offset` rows of weight before it."""
    X, Y, weights, _ = rows
    if not (holding.n_members or holding.fraction):
        return Lessons(X, Y, weights, rows.rows, None, [])
    random_state = np.random.RandomState([*holding.seed, _FOLDS, number])
    weighty = rows.weighty
    strata = np.zeros(len(weighty))
    if holding.exclusive is not None:
        of_rows = Y[weighty]
        strata = of_rows.argmax(axis=1) if holding.exclusive else of_rows[:, 0]
    if holding.n_members:
        # Small partitions begin at different members, so that all lose as many rows.
        drawn = draw_folds(strata, None, holding.n_members, random_state)
        folds = np.zeros(len(Y), drawn.dtype)
        drawn = (drawn.astype(int) + number) % holding.n_members
        folds[weighty] = drawn
        held_out = [weighty[drawn == j] for j in range(holding.n_members)]
        return Lessons(X, Y, weights, rows.rows, folds, held_out)
    places = np.arange(offset, offset + len(weighty) + 1)
    held = np.empty(len(weighty), bool)
    order = spread_rows(strata, None, random_state)
    held[order] = np.diff(np.floor(places * holding.fraction)) > 0
    return Lessons(X, Y, weights, weighty[~held], None, [weighty[held]])


class Counts(NamedTuple):
    """Of `Lessons`: rows that train, their weight, that of each member; rows held out,
    their weight.
    """

    n_rows: int
    weight: float
    by_member: np.ndarray
    n_held_out: int
    weight_held_out: float


def count(lessons, largest, n_members):
    """The `Counts` of a partition; weights are over the largest."""
    _, Y, weights, rows, folds, held_out = lessons
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
    """What all partitions are trained with.

    Attributes
    ----------
    network : TwoLayerNetwork
    layout : tuple of int
        As of `Parameters`.
    dtype : dtype
    scaling : Scaling or None
        Of the features.
    largest, mean : float
        The largest weight, and the mean over all that train of weights over it.
    fold_means : ndarray of shape (n_members,) or None
    targets : ClassTargets or None
    shuffle : bool
    dropout : float
    seed : list of int
    """

    network: Any
    layout: tuple
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
    """Rows ready for training, and buffers, which stay with them on their worker.

    Fresh buffers in each task would cost tens of milliseconds of page faults.  They are
    neither pickled nor shared: a lock keeps tasks of two threads apart.

    Parameters
    ----------
    problem : Problem
    lessons : Lessons
    number : int
    """

    def __init__(self, problem, lessons, number):
        self.problem, self.lessons, self.number = problem, lessons, number
        self._prepare()

    def __reduce__(self):
        return Partition, (self.problem, self.lessons, self.number)

    def __sizeof__(self):
        # Without it the scheduler would think that moving a partition costs nothing.
        return _nbytes(self.data.X) + sum(map(_nbytes, self.lessons[1:5]))

    def _prepare(self):
        problem, (X, Y, weights, rows, folds, held_out) = self.problem, self.lessons
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
        size = Parameters.size(*problem.layout)
        self.parameters = Parameters(np.empty(size, problem.dtype), *problem.layout)
        self._objectives: dict = {}
        self._order: Any = (-1, None)
        self._dropout = None
        if problem.dropout:
            start = stream_of(np.random.RandomState(0))
            self._dropout = Dropout(problem.dropout, start)
        self._held_out: Any = None
        if sum(map(len, held_out)):
            self._held_out = HeldOut(problem.network, X, Y, None, held_out, scaling)
            pooled = np.concatenate(held_out)
            self._targets = Y[pooled]
            self._weights = np.ones(len(pooled))
            if relative is not None:
                self._weights = relative[pooled]

    def sums(self, flat, scale, rows=None):
        """The sum of losses at these parameters, and `scale` times its gradient."""
        key = -1 if rows is None else len(rows)
        if key not in self._objectives:
            data = self.data
            if rows is not None:  # a place for them, filled below
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
        """The same, of some of the rows in the order of this epoch."""
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
        """Scores of the rows held out: by the member that lacks them, or by all."""
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


def prepare(lessons, problem, number):
    """The `Partition` of these lessons."""
    return Partition(problem, lessons, number)


def loss_and_gradient(partition, flat, scale):
    """Sum of losses, and `scale` times its gradient."""
    with partition.lock:
        return partition.sums(flat, scale)


def step_gradient(partition, flat, epoch, start, stop):
    """Sum of losses and its gradient, of some of the rows."""
    with partition.lock:
        return partition.step(flat, epoch, start, stop)


def held_out_sums(partition, flat, inverse_temperatures, mean):
    """Sums over the rows held out, of losses and for the score.

    Returns
    -------
    losses : ndarray
        Of w_i loss_i, with scores times each of `inverse_temperatures`.
    for_score : ndarray
        The weight of the rows whose class is predicted right; or, where the mean target
        is given, of w_i (y_i - p_i)^2 and w_i (y_i - mean)^2, (2, n_outputs).
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
        if P.shape != Y.shape or isinstance(loss, Quantile):  # R2 says nothing of them
            P = np.full_like(Y, np.nan)
        squares = [weights @ np.square(Y - P), weights @ np.square(Y - mean)]
        return np.array(losses, np.float64), np.array(squares)


def held_out_errors(partition, flat, step):
    """Errors, as of intervals, of every step-th of the rows held out; weights."""
    with partition.lock, np.errstate(all="ignore"):
        p = partition.held_out_scores(flat)
        partition.problem.network.loss.forward(p)
        errors = partition.problem.network.loss.interval_error(p, partition._targets)
        return errors[::step], partition._weights[::step]


def held_out_targets(partition):
    """Sum of w y by outputs, of the rows held out."""
    return partition._weights @ partition._targets.astype(np.float64)


# Continuing, and scores, block by block.


def train_block(model, block, options):
    """A copy of a plain estimator after partial_fit on a block."""
    X, y, sample_weight = block
    survey(block, labelled=False)
    model = copy.deepcopy(model)
    n = _num_samples(X)
    if n and (sample_weight is None or check_weights(sample_weight, n).any()):
        model.partial_fit(X, y, sample_weight, **options)
    return model


def hits(block, model):
    """Weight of the rows, and of those whose label is predicted right."""
    n = _num_samples(block.X)
    weights = _block_weights(block)
    if n == 0:
        return np.zeros(2)
    y = check_labels(block.y)
    right = model.predict(block.X) == y
    if right.ndim == 2:
        right = right.all(axis=1)
    return np.array([weights.sum(), weights @ right])


def moments(block, model):
    """By outputs: weight, mean y, sum w (y - mean)^2, sum w (y - p)^2."""
    n = _num_samples(block.X)
    weights = _block_weights(block)
    if n == 0 or not weights.any():
        return None
    Y = check_regression_targets(block.y, np.float64)
    P = model.predict(block.X).reshape(Y.shape)
    mean = np.average(Y, axis=0, weights=weights)
    return (
        weights.sum(),
        mean,
        weights @ np.square(Y - mean),
        weights @ np.square(Y - P),
    )


def _block_weights(block):
    n = _num_samples(block.X)
    if block.sample_weight is None or n == 0:
        return np.ones(n)
    return check_weights(block.sample_weight, n)
