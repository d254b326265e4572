"""fit over partitions, from end to end, as in `BaseTwoLayer._fit`.

Each step is a round over the partitions and a sum of what comes back.  Everything
that is not such a sum is done by the estimator's own methods.
"""

import functools
import itertools
from dataclasses import fields, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from sklearn_bp._estimators.base import _all_or_nothing
from sklearn_bp._estimators.inspection import importance_step
from sklearn_bp._fitting.defaults import (
    FEW_ROWS,
    holds_out,
    members,
    most_members,
    penalty,
    resolve,
    rows_a_penalty,
    rows_a_round,
    rows_to_repeat,
    training_dtype,
)
from sklearn_bp._fitting.early_stopping import is_splitter
from sklearn_bp._fitting.observers import Run
from sklearn_bp._fitting.reports import ending
from sklearn_bp._tables.columns import Columns
from sklearn_bp._tables.running import Running
from sklearn_bp._tables.statistics import (
    ColumnStatistics,
    TargetStatistics,
    quantile_step,
)
from sklearn_bp._tables.targets import ClassTargets, joined_labels
from sklearn_bp._tables.validation import row_unit
from sklearn_bp._training.held_out import spawn
from sklearn_bp._training.mini_batches import Plan
from sklearn_bp.dask._partitions import HoldingOut, Problem, assign, count, prepare
from sklearn_bp.dask._rows import (
    Reading,
    different_weights,
    encode,
    encoded_rows,
    facts,
    formatted,
    is_sparse,
    read,
    some_rows,
    spaced_targets,
    statistics,
    stored_numbers,
    sum_of_losses,
    sum_of_squares,
    sum_of_targets,
    sum_of_weights,
    survey,
    unweighted,
    with_targets,
)
from sklearn_bp.dask._training import (
    PartitionedData,
    PartitionedLBFGS,
    PartitionedMiniBatches,
    PartitionedValidation,
    added,
)
from sklearn_bp.losses._base import SEARCHED_ROWS


def fit(estimator, parts, empty_rows, users, sample_weight=None):
    """Fit a plain estimator's subclass to parts.

    Parameters
    ----------
    estimator : estimator of `sklearn_bp.dask`
    parts : Parts of `Block`
    empty_rows : ndarray or DataFrame
        X without any row.
    users : UsersData
    sample_weight : dask array or None
        What callbacks see of what the user gave.
    """
    n_hidden = estimator._check_parameters()
    users.check(estimator.validation_fraction)
    if not users.has_validation:
        _check_validation(estimator)
    overflow = np.errstate(over="ignore", invalid="ignore")
    with _all_or_nothing(estimator) as before, overflow:
        given = users, sample_weight
        result = _trained(estimator, parts, empty_rows, n_hidden, given, before)
    if estimator.verbose:
        print(ending(result))
    estimator._warn(result, None)


def _trained(estimator, parts, empty_rows, n_hidden, given, before):
    users, weights = given
    continuing = hasattr(estimator, "coefs_") and estimator.warm_start
    continuing = continuing and not users.has_start
    estimator._take_parts()
    if continuing:
        estimator._check_continuing()
    validate_data(estimator, empty_rows, skip_check_array=True, reset=not continuing)
    previous, known_inputs, scored_by = None, None, estimator._scaled_by()
    if continuing:
        previous, known_inputs = estimator._resumed(False), estimator._inputs()
    rows = _read(estimator, parts, continuing)
    network = estimator._network()
    rows, known = _weighty(rows, network.loss)
    n_weighty = known.n_rows
    unit = 1 / known.largest  # the weight of a row, over the largest
    if estimator.alpha == "auto":
        rows, unit = _in_rows(rows, known, rows_to_repeat(estimator))
    rows, dtype = _encoded(estimator, rows, known, known_inputs)
    trains_in = training_dtype(estimator, dtype, n_weighty)
    rows, n_inputs = _learn_inputs(estimator, rows, known, dtype, known_inputs)
    scaling = estimator._feature_scaling
    estimator._scale_partitioned_targets(rows, known, continuing)
    targets_in = np.dtype(bool) if estimator._labelled else trains_in
    rows = rows.then(with_targets, estimator._target_scaling(), targets_in)
    constant, tol = None, estimator.tol
    n_outputs = network.loss.n_scores(estimator._n_columns(known))
    if estimator.standardize:
        constant, its_loss = _best_constant(network.loss, rows, known)
        tol *= abs(its_loss) if estimator._watches_a_loss() else 1
    shape = n_inputs, n_hidden, n_outputs
    if previous is None:
        n_members = _n_members(estimator, rows, n_weighty, n_inputs, n_outputs)
        state = estimator._starting_state(
            shape, trains_in, network, constant, n_members
        )
    else:
        change = estimator._reexpression(known_inputs, scored_by)
        state = estimator._going_on(previous, change, shape, trains_in)
    if users.has_start:
        estimator._start_from(users, state.parameters)
    alpha = penalty(estimator, n_weighty)
    seed = spawn(state.random_state).randint(2**31, size=4).tolist()
    n_members = state.parameters.n_members
    holding = HoldingOut(0, 0.0, estimator._exclusive(), seed)
    if not users.has_validation:
        holding = _held_out(estimator, n_weighty, n_members, seed)
    offsets = [(i, offset) for i, offset in enumerate(known.offsets)]
    lessons = rows.then(assign, holding, per=offsets)
    counts = lessons.each(count, known.largest, n_members)
    counted = added([tuple(c) for c in counts])
    n_rows, weight, by_member, n_held, weight_held = counted
    _check_enough(holding, n_rows, by_member)
    in_float64 = estimator.solver == "lbfgs"
    problem = Problem(
        network,
        state.parameters.folded().layout,
        np.dtype("f8") if in_float64 else state.parameters.flat.dtype,
        scaling,
        known.largest,
        weight / n_rows,
        by_member / weight if holding.n_members else None,
        getattr(estimator, "_targets", None),
        bool(estimator.shuffle),
        float(estimator.dropout),
        seed,
    )
    trains = [i for i, c in enumerate(counts) if c.n_rows]
    numbers = [(i,) for i in range(len(counts))]
    partitions = lessons.then(prepare, problem, per=numbers)
    validate: Any = None
    if users.has_validation:
        validate = estimator._users_validation(network, users, dtype)
    elif n_held:
        scored = partitions.only([i for i, c in enumerate(counts) if c.n_held_out])
        validate = PartitionedValidation(
            scored,
            n_held,
            weight_held,
            network.loss.tempered and estimator._tempers(),
            estimator._labelled,
        )
    data = PartitionedData(
        partitions.only(trains),
        [counts[i].n_rows for i in trains],
        alpha / (weight / n_rows) * unit,
    )
    few = n_weighty < FEW_ROWS
    resolved = resolve(estimator, n_rows, n_inputs, alpha, few, rows_a_round)
    plan = Plan(
        max_iter=resolved.max_iter,
        loss_threshold=estimator._loss_threshold(),
        validate=validate,
        cost=estimator._cost(validate),
        relaxes=estimator._relaxes(alpha),
        onlookers=estimator._tables(validate, header=True),
    )
    state.patience.tol = tol
    state.patience.n_iter_no_change = resolved.n_iter_no_change
    penalty_rows = rows_a_penalty(
        estimator, n_rows, few, resolved.batch_size, rows_a_round
    )
    solver = _partitioned(estimator._solver(n_rows, resolved, penalty_rows))
    important = _importance_rows(rows, known, n_inputs)

    def set_fitted(estimator, result):
        estimator._set_fitted(result, network.loss, resolved, validate, dtype)
        estimator._keep_importance_basis(*important)

    training = solver, state, plan
    with Run(estimator, users, weights, training, False, set_fitted, before) as run:
        result = run.train(network, data)
        set_fitted(estimator, result)
        estimator._keep_state(None)
    return result


def _partitioned(solver):
    """The same solver for partitions."""
    settings = {field.name: getattr(solver, field.name) for field in fields(solver)}
    if hasattr(solver, "max_fun"):
        return PartitionedLBFGS(**settings)
    return PartitionedMiniBatches(**settings)


# Reading.


def _read(estimator, parts, continuing):
    """Parts of `Rows`, targets encoded; the labels found go to the estimator."""
    surveys = [s for s in parts.each(survey, estimator._labelled) if s.n_rows]
    if not surveys:
        raise ValueError(
            "Found array with 0 sample(s) while a minimum of 1 is required by "
            f"{type(estimator).__name__}."
        )
    targets, class_weights = None, None
    if estimator._labelled:
        labels = _joined_labels(surveys)
        estimator._set_targets(labels, surveys[0].y_ndim, continuing)
        targets = estimator._targets
        if estimator.class_weight is not None:
            estimator._set_class_weights(_numbers(targets, labels))
            class_weights = estimator._class_weights
    reading = Reading(
        type(estimator).__name__, estimator._encodes(), targets, class_weights
    )
    return parts.then(read, reading)


def _joined_labels(surveys):
    """Labels and their numbers over all blocks, for each column of y."""
    if len({(s.y_ndim, len(s.labels)) for s in surveys}) > 1:
        raise ValueError("Blocks of y differ in their number of columns.")
    joined = []
    for found in zip(*(s.labels for s in surveys), strict=True):
        values = joined_labels([values for values, _ in found])
        numbers = np.zeros(len(values))
        targets = ClassTargets(values)
        for own, n in found:
            numbers[targets.codes(own)] += n
        joined.append((values, numbers))
    return joined


def targets_of(labels, y_ndim):
    """The `ClassTargets` for labels by columns of y."""
    if y_ndim == 2 and len(labels) > 1:
        return ClassTargets(np.arange(len(labels)), multilabel=True)
    return ClassTargets(labels[0][0])


def _numbers(targets, labels):
    """The numbers of rows as `ClassTargets.numbers` gives them."""
    numbers = []
    for levels, (values, n) in zip(targets.levels, labels, strict=True):
        numbers.append(np.zeros(len(levels)))
        numbers[-1][np.searchsorted(levels, values)] = n
    return numbers


class Known:
    """What is known of all rows of weight.

    Attributes
    ----------
    n_rows : int
    offsets : list of int
        Rows before each partition.
    largest : float
        The largest weight.
    exponent : int
        `largest` is at most 2 ** exponent.
    are_equal : bool
        Whether all weights are.
    dtype : dtype
    low, high : ndarray of shape (n_outputs,)
        Range of the targets.
    """

    def __init__(self, found):
        counts = [f.n_weighty for f in found]
        self.n_rows = sum(counts)
        self.offsets = [0, *itertools.accumulate(counts)][: len(counts)]
        self.set_largest(max(f.largest for f in found))
        self.are_equal = self.largest == min(f.lightest for f in found)
        self.dtype = np.result_type(*(f.dtype for f in found))
        self.low = np.min([f.low for f in found], axis=0)
        self.high = np.max([f.high for f in found], axis=0)

    def set_largest(self, largest):
        self.largest, self.exponent = largest, int(np.frexp(largest)[1])

    def starts(self, step):
        """Where every step-th row of all begins in each partition, and the step."""
        return [(-offset % step, step) for offset in self.offsets]


def _weighty(rows, loss):
    """The parts that have rows of weight, and what is `Known` of them."""
    found = rows.each(facts, loss)
    chosen = [i for i, f in enumerate(found) if f.n_weighty]
    if not chosen:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return rows.only(chosen), Known([found[i] for i in chosen])


def _in_rows(rows, known, most_rows):
    """As of `in_rows`: the parts, without weights if all are equal, and the unit.

    The unit of the weights is over the largest of them.
    """
    if known.are_equal:
        known.set_largest(1.0)
        return rows.then(unweighted), 1.0
    found = rows.each(different_weights, known.exponent)
    values, of_values = np.unique(
        np.concatenate([values for values, _ in found]), return_inverse=True
    )
    counts = np.concatenate([counts for _, counts in found])
    counts = np.bincount(of_values, weights=counts)
    unit, is_whole = row_unit(values, counts, most_rows)
    if not is_whole:
        unit = added(rows.each(sum_of_weights, known.exponent)) / known.n_rows
    return rows, unit / np.ldexp(known.largest, -known.exponent)


# Features.


def _encoded(estimator, rows, known, before):
    """Parts whose X is the matrix that the network sees, and its dtype."""
    dtype = known.dtype
    if before is not None:
        dtype = estimator.coefs_[0].dtype
        if before.columns is None:
            return rows, dtype
        if before.running is not None:
            table, _, _ = _sampled(estimator, rows, known)
            features = estimator.categorical_features
            estimator._columns = before.columns.joined(table, features)
    elif not estimator._encodes():
        estimator._columns = None
        return rows, dtype
    else:
        estimator._columns, dtype = _columns(estimator, rows, known)
    name = type(estimator).__name__
    return rows.then(encode, estimator._columns, dtype, name), dtype


def _sampled(estimator, rows, known):
    """A table of rows that tell all of the columns; evenly spaced ones, their weights.

    Returns
    -------
    table, spaced : ndarray, DataFrame or CSR
    shares : ndarray or None
    """
    starts = known.starts(quantile_step(known.n_rows, estimator.n_features_in_))
    samples = rows.each(some_rows, estimator.categorical_features, per=starts)
    spaced, weights, telling = zip(*samples, strict=True)
    spaced = _stacked([x for x in spaced if x.shape[0]])
    shares = None
    if weights[0] is not None:
        shares = np.concatenate(weights) / known.largest
    return _stacked([spaced, *telling]), spaced, shares


def _columns(estimator, rows, known):
    """What becomes of the columns, and the dtype of the matrix."""
    table, spaced, shares = _sampled(estimator, rows, known)
    columns = Columns.fit(table, estimator.categorical_features)
    columns = columns.with_medians_of(spaced, shares)
    return columns, columns.transform(table[:1], (np.float64, np.float32)).dtype


def _stacked(tables):
    """Tables one below the other, categories joined."""
    first = tables[0]
    if sparse.issparse(first):
        return sparse.vstack(tables, format="csr")
    if isinstance(first, np.ndarray):
        return np.concatenate(tables)
    from dask.dataframe.dispatch import concat

    return concat(tables)


def _learn_inputs(estimator, rows, known, dtype, before):
    """Learn the features' scaling, if any, as `BaseTwoLayer._learn_inputs`.

    Returns
    -------
    rows : Parts of `Rows`
        In the format that the scaling is for.
    n_inputs : int
        Of the network.
    """
    columns = estimator._columns
    n_inputs = estimator.n_features_in_ if columns is None else columns.n_encoded
    running = Running.of_rows(known.n_rows, known.exponent)
    made_sparse = columns is not None and columns.is_sparse
    scaling = None
    if before is not None:
        scaling = before.scaling
        if before.running is None or scaling is None:
            if before.running is not None:
                estimator._running = before.running.merged(running)
            return rows, n_inputs
        if not made_sparse:
            rows = rows.then(formatted, scaling.centre is not None)
    elif not estimator.standardize:
        estimator._feature_scaling, estimator._running = None, running
        return rows, n_inputs
    n_dense = n_inputs
    if made_sparse:
        n_dense = len(columns.numeric) + len(columns.incomplete)
    elif any(rows.each(is_sparse)):
        n_dense = 0
    starts = known.starts(quantile_step(known.n_rows, max(n_dense, 1)))
    found = rows.each(statistics, n_dense, known.exponent, per=starts)
    running, dtype = _joined(running, found, n_dense < n_inputs, dtype)
    if before is None:
        estimator._feature_scaling, estimator._running = running.scaling(dtype), running
    else:
        head = n_dense if made_sparse else None
        after = before.merged(columns, running, head, dtype)
        _, estimator._feature_scaling, estimator._running = after
    return rows, n_inputs


def _joined(running, found, has_sparse, dtype):
    """`Running` statistics from those of all partitions, and the columns' dtype."""
    features, largest = None, None
    if found[0].dense is not None:
        features = functools.reduce(ColumnStatistics.merged, [s.dense for s in found])
        columns = np.ascontiguousarray(np.concatenate([s.spaced for s in found]).T)
        weights = None
        if found[0].spaced_weights is not None:
            weights = np.concatenate([s.spaced_weights for s in found])
        features = features.with_quartiles(columns, weights)
        dtype = columns.dtype if columns.dtype.kind != "f" else np.dtype(dtype)
    if has_sparse:
        largest = np.max([s.largest for s in found], axis=0)
    return replace(running, features=features, largest=largest), dtype


def _importance_rows(rows, known, n_inputs):
    """The encoded rows, and their weights, that the plain class would take."""
    step = importance_step(known.n_rows, n_inputs)
    starts = [(known.exponent, *start) for start in known.starts(step)]
    spaced, shares = zip(*rows.each(encoded_rows, per=starts), strict=True)
    X = _stacked([x for x in spaced if x.shape[0]])
    weights = None if shares[0] is None else np.concatenate(shares)
    return X, weights


# Targets.


def target_statistics(rows, known, robust):
    """`Running` of the targets, by sums; as `_tables.running.of_targets`."""
    unit, weight = _largest(known), added(rows.each(sum_of_weights, known.exponent))
    mean = added(rows.each(sum_of_targets, known.exponent, unit)) / weight
    squares = added(rows.each(sum_of_squares, known.exponent, unit, mean))
    columns = None
    if robust:
        step = quantile_step(known.n_rows, len(unit))
        Y, shares = _some_targets(rows, known, step)
        columns = ColumnStatistics.of(Y, shares)
        columns = replace(columns, low=known.low, high=known.high)
    found = TargetStatistics(float(weight), unit, mean, squares / weight, columns)
    return Running(0, 0, known.exponent, targets=found)


def mean_target(rows, known):
    """The weighted mean of each target, by sums."""
    unit, weight = _largest(known), added(rows.each(sum_of_weights, known.exponent))
    return added(rows.each(sum_of_targets, known.exponent, unit)) / weight * unit


def _largest(known):
    """The largest size of each target, 1 where all are 0: no sum over it overflows."""
    largest = np.maximum(abs(known.low), abs(known.high))
    return np.where(largest > 0, largest, 1.0)


def _some_targets(rows, known, step):
    """Evenly spaced targets, and their weights or None."""
    starts = [(known.exponent, *start) for start in known.starts(step)]
    Y, shares = zip(*rows.each(spaced_targets, per=starts), strict=True)
    return np.concatenate(Y), None if shares[0] is None else np.concatenate(shares)


def _best_constant(loss, rows, known):
    """As `losses.best_constant`."""
    weight = added(rows.each(sum_of_weights, known.exponent))
    if loss.of_mean:
        mean = added(rows.each(sum_of_targets, known.exponent, 1.0)) / weight
        scores = loss.best_constant(mean, 0.5 / known.n_rows)
    else:
        Y, shares = _some_targets(rows, known, -(-known.n_rows // SEARCHED_ROWS))
        shares = np.ones(len(Y)) if shares is None else shares
        scores = loss.constant(Y, shares, 0.5 / known.n_rows)
    total = added(rows.each(sum_of_losses, known.exponent, loss, scores))
    return scores, float(total / weight)


def _n_members(estimator, rows, n_rows, n_inputs, n_outputs):
    """As `members`; rows are read only where it matters whether they are sparse."""
    at_least = members(estimator, n_rows, n_inputs + 1, n_inputs, n_outputs)
    if at_least == most_members(estimator):
        return at_least
    row_length = sum(rows.each(stored_numbers)) / n_rows
    return members(estimator, n_rows, n_inputs, row_length, n_outputs)


# Rows held out.


def _check_validation(estimator):
    """ValueError for what needs rows in memory: scorers and splitters."""
    name = f"sklearn_bp.dask.{type(estimator).__name__}"
    if estimator._metric().is_scorer:
        raise ValueError(
            f"early_stopping_metric={estimator.early_stopping_metric!r}: {name} takes "
            "'loss' or 'score', which are sums over partitions."
        )
    if is_splitter(estimator.validation_fraction):
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction!r}: {name} takes a "
            "number, since no process holds all rows to split them."
        )


def _held_out(estimator, n_weighty, n_members, seed):
    """Whether, and of whom, rows are held out: `HoldingOut`."""
    in_turn, fraction = holds_out(estimator, n_weighty), 0.0
    if not in_turn or n_members == 1:
        n_members = 0
    if not n_members and (in_turn or estimator.early_stopping not in ("auto", False)):
        fraction = estimator.validation_fraction
        if int(fraction * n_weighty) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or "
                "the size of your dataset."
            )
    return HoldingOut(n_members, fraction, estimator._exclusive(), seed)


def _check_enough(holding, n_rows, by_member):
    """ValueError if too little is left to learn from."""
    if n_rows == 0 or (holding.n_members and not by_member.all()):
        raise ValueError(
            "No rows of weight are left to learn from: set early_stopping=False or "
            "lower 'validation_fraction'."
        )
