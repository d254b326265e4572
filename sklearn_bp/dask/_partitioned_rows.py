"""Rows on a cluster, from dask's blocks to the data that a solver trains on.

`PartitionedRows` has the interface of `_fitting.rows.MemoryRows`, for the same story of
fit.  Each stage is a round over the partitions and a sum of the results.
"""

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_bp._fitting.base_rows import BaseRows
from sklearn_bp._fitting.constraints import is_splitter
from sklearn_bp._fitting.defaults import (
    members,
    most_members,
    rows_per_round,
    rows_to_repeat,
)
from sklearn_bp._fitting.importances import importance_step
from sklearn_bp._fitting.settings import Settings
from sklearn_bp._fitting.validation import Interim, users_validation
from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.columns import Columns
from sklearn_bp._tables.inputs import Inputs
from sklearn_bp._tables.row_lengths import merged
from sklearn_bp._tables.running import Running
from sklearn_bp._tables.sorted_columns import quantile_step
from sklearn_bp._tables.target_statistics import TargetStatistics
from sklearn_bp._training.held_out import spawn
from sklearn_bp.dask._merged import (
    Summary,
    in_rows,
    joined_labels_of,
    joined_statistics,
    largest_targets,
    numbers_of,
    stacked,
    targets_of,
)
from sklearn_bp.dask._partitions import (
    Counts,
    HoldingOut,
    Problem,
    assign,
    count,
    prepare,
)
from sklearn_bp.dask._rows import (
    Reading,
    encode,
    encoded_rows,
    facts,
    formatted,
    is_sparse,
    lengths,
    numbers_observed,
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
    weight_of_nonzero,
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


@dataclass(frozen=True)
class PartitionedRows(BaseRows):
    """Blocks of rows on a cluster.

    Attributes
    ----------
    blocks : Parts of `Block`
        The blocks as dask has them.
    empty_rows : ndarray or DataFrame
        X without rows.
    parts : Parts of `Rows`
    summary : Summary
        Facts about all rows with non-zero weight.
    unit : float
        The weight of one row, relative to the largest weight.
    importance_sample : tuple
        Encoded rows and their weights.
    """

    blocks: Any = None
    empty_rows: Any = None
    parts: Any = None
    summary: Any = None
    unit: float = 1.0
    importance_sample: Any = None

    repeat = False  # no stream
    rotation = None
    unscaled = None
    encodes_numbers = False

    def checked(self, recipe, start):
        """The rows as valid numbers; errors for invalid data."""
        if not self.request.has_validation:
            _check_validation(recipe)
        reset = start is None
        validate_data(
            self.feature_record, self.empty_rows, skip_check_array=True, reset=reset
        )
        parts, targets = self._read(recipe, start)
        of_parts = parts.each(facts, targets.loss)
        chosen = [i for i, f in enumerate(of_parts) if f.n_nonzero]
        if not chosen:
            raise ValueError(
                "Sample weights must contain at least one non-zero number."
            )
        parts, summary = parts.only(chosen), Summary([of_parts[i] for i in chosen])
        if not targets.labelled:
            before = None if start is None else start.targets
            targets = targets.of_number(len(summary.low), recipe, before)
        unit = 1 / summary.largest
        if recipe.alpha == "auto":
            parts, unit = in_rows(parts, summary, rows_to_repeat(recipe))
        rows = replace(
            self,
            recipe=recipe,
            targets=targets,
            parts=parts,
            summary=summary,
            unit=unit,
        )
        return rows._encoded(start)

    def _read(self, recipe, start):
        """Parts of `Rows` with encoded targets, and the targets."""
        kind = self.feature_record._targets_kind
        surveys = [s for s in self.blocks.each(survey, kind.labelled) if s.n_rows]
        if not surveys:
            raise ValueError(
                "Found array with 0 sample(s) while a minimum of 1 is required by "
                f"{recipe.name}."
            )
        if not kind.labelled:
            reading = Reading(recipe.name, recipe.encodes, None)
            return self.blocks.then(read, reading), kind(0).for_fit(recipe)
        labels = joined_labels_of(surveys)
        targets = targets_of(labels, surveys[0].y_ndim)
        if start is not None:
            start.targets.check_same(targets.classes)
            targets = start.targets
        targets = targets.for_fit(recipe)
        if recipe.class_weight is not None:
            targets = targets.weighted_by(recipe, numbers_of(targets, labels))
        reading = Reading(recipe.name, recipe.encodes, targets)
        return self.blocks.then(read, reading), targets

    def _encoded(self, start):
        """A copy with X encoded as the matrix for the network."""
        dtype, columns = self.summary.dtype, None
        if start is not None:
            dtype, columns = start.fitted.dtype, start.fitted.columns
            if columns is None:
                return replace(self, dtype=dtype)
            if start.inputs.running is not None:
                table, _, _ = self._sampled()
                columns = columns.joined(table, self.recipe.categorical_features)
        elif not self.recipe.encodes:
            return replace(self, dtype=dtype)
        else:
            columns, dtype = self._found_columns()
        parts = self.parts.then(encode, columns, dtype, self.recipe.name)
        return replace(self, parts=parts, columns=columns, dtype=dtype)

    def _sampled(self):
        """A table of rows from which columns are learned; evenly spaced rows; weights.

        Returns
        -------
        table, spaced : ndarray, DataFrame or CSR
        shares : ndarray or None
        """
        summary, n_features = self.summary, self.feature_record.n_features_in_
        starts = summary.starts(quantile_step(summary.n_rows, n_features))
        features = self.recipe.categorical_features
        samples = self.parts.each(some_rows, features, per=starts)
        spaced, weights, telling = zip(*samples, strict=True)
        spaced = stacked([x for x in spaced if x.shape[0]])
        shares = None
        if weights[0] is not None:
            shares = np.concatenate(weights) / summary.largest
        return stacked([spaced, *telling]), spaced, shares

    def _found_columns(self):
        """The `Columns` that encode X, and the dtype of the matrix."""
        table, spaced, shares = self._sampled()
        features = self.recipe.categorical_features
        columns = Columns.fit(table, features)
        labels = columns.possible_ids(table, features)
        if labels:
            numbers = self.parts.each(numbers_observed, list(labels))
            n_observed = {j: sum(part[j] for part in numbers) for j in labels}
            columns = columns.without_ids(labels, n_observed)
        columns = columns.with_medians_of(spaced, shares)
        return columns, columns.transform(table[:1], (np.float64, np.float32)).dtype

    @property
    def n_rows(self):
        return self.summary.n_rows

    @property
    def n_inputs(self):
        columns = self.columns
        return (
            self.feature_record.n_features_in_ if columns is None else columns.n_encoded
        )

    @property
    def n_targets(self):
        return self.targets.n_targets

    # Statistics of all rows before training.

    def learn_inputs(self, start):
        """The `Inputs`, and the rows in the format that the scaling expects."""
        columns, summary, parts = self.columns, self.summary, self.parts
        running = Running.of_rows(summary.n_rows, summary.exponent)
        made_sparse = columns is not None and columns.is_sparse
        if start is not None:
            before = start.inputs
            if before.running is None or before.scaling is None:
                running = before.running and before.running.merged(running)
                return before._replace(columns=columns, running=running), self
            if not made_sparse:
                parts = parts.then(formatted, before.scaling.centre is not None)
        elif not self.recipe.standardize:
            return Inputs(columns, None, running), self
        n_dense = self.n_inputs
        if made_sparse:
            n_dense = len(columns.numeric) + len(columns.incomplete)
        elif any(parts.each(is_sparse)):
            n_dense = 0
        starts = summary.starts(quantile_step(summary.n_rows, max(n_dense, 1)))
        of_parts = parts.each(statistics, n_dense, summary.exponent, per=starts)
        has_sparse = n_dense < self.n_inputs
        running, dtype = joined_statistics(running, of_parts, has_sparse, self.dtype)
        rows = replace(self, parts=parts)
        if start is None:
            running, scaling = running.settled(dtype)
            return Inputs(columns, scaling, running), rows
        head = n_dense if made_sparse else None
        return start.inputs.merged(columns, running, head, dtype), rows

    def target_statistics(self, robust):
        """`Running` statistics of the targets, like `_tables.running.of_targets`."""
        summary, unit = self.summary, largest_targets(self.summary)
        weight = self._sum(sum_of_weights)
        mean = self._sum(sum_of_targets, unit) / weight
        squares = self._sum(sum_of_squares, unit, mean)
        columns = None
        if robust:
            step = quantile_step(summary.n_rows, len(unit))
            columns = ColumnStatistics.of(*self._some_targets(step))
            columns = replace(columns, low=summary.low, high=summary.high)
        share = self._sum(weight_of_nonzero) / weight
        targets = TargetStatistics(
            float(weight), unit, mean, squares / weight, columns, share
        )
        return Running(0, 0, summary.exponent, targets=targets)

    def target_range(self):
        return np.array([self.summary.low, self.summary.high])

    def _sum(self, function, *shared):
        """Sum of a function over partitions, with weights relative to the largest."""
        return added(self.parts.each(function, self.summary.exponent, *shared))

    def _some_targets(self, step):
        """Evenly spaced targets, and their weights or None."""
        summary = self.summary
        starts = [(summary.exponent, *start) for start in summary.starts(step)]
        Y, shares = zip(*self.parts.each(spaced_targets, per=starts), strict=True)
        return np.concatenate(Y), None if shares[0] is None else np.concatenate(shares)

    def prepared(self, inputs, targets, start):
        """The rows with scaled targets; the workers scale the features later."""
        dtype, scaling = self.training_dtype, None
        if targets.labelled:
            dtype = np.dtype(bool)
        else:
            scaling = targets.scaling
        parts = self.parts.then(with_targets, scaling, dtype)
        rows = replace(self, parts=parts, targets=targets)
        return replace(rows, importance_sample=rows._importance_sample())

    def longest(self, inputs):
        """The length of the longest scaled row, relative to most."""
        exponent, scaling = self.summary.exponent, inputs.scaling
        return merged(self.parts.each(lengths, exponent, scaling)).ratio

    def _importance_sample(self):
        """The encoded rows and weights that the plain class would use."""
        summary = self.summary
        step = importance_step(summary.n_rows, self.n_inputs)
        starts = [(summary.exponent, *start) for start in summary.starts(step)]
        spaced, shares = zip(*self.parts.each(encoded_rows, per=starts), strict=True)
        X = stacked([x for x in spaced if x.shape[0]])
        return X, None if shares[0] is None else np.concatenate(shares)

    def importance_rows(self):
        """Encoded rows for the importances, and their weights or None."""
        return self.importance_sample

    def best_constant(self, loss):
        """The best constant scores and their loss; see `losses._base.best_constant`."""
        n_rows = self.n_rows
        weight = self._sum(sum_of_weights)
        if loss.of_mean:
            mean = self._sum(sum_of_targets, 1.0) / weight
            scores = loss.best_constant(mean, 0.5 / n_rows)
        else:
            Y, shares = self._some_targets(-(-n_rows // SEARCHED_ROWS))
            shares = np.ones(len(Y)) if shares is None else shares
            scores = loss.constant(Y, shares, 0.5 / n_rows)
        total = self._sum(sum_of_losses, loss, scores)
        return scores, float(total / weight)

    def settings(self, inputs, n_outputs):
        """The `Settings`, which depend on the size of the data."""
        recipe, n_rows, d = self.recipe, self.n_rows, self.n_inputs
        at_least, length = members(recipe, n_rows, d + 1, d, n_outputs), d
        if at_least < most_members(recipe):  # sparse rows matter
            length = sum(self.parts.each(stored_numbers)) / n_rows
        return Settings(
            recipe=recipe,
            n_rows=n_rows,
            n_seen=n_rows,
            shape=(d, recipe.n_hidden, n_outputs),
            n_members=members(recipe, n_rows, d, length, n_outputs),
            rows_per_batch=rows_per_round,
        )

    # Training.

    def hold_out(self, network, settings, state, inputs):
        """The training data, and the validation on held-out rows, or None.

        Returns
        -------
        data : PartitionedData
        validate : callable(Parameters) -> Measured, or None
        """
        users, targets = self.request.has_validation, self.targets
        largest, offsets = self.summary.largest, list(enumerate(self.summary.offsets))
        holding = self._holding_out(settings, state)
        assigned = self.parts.then(assign, holding, per=offsets)
        counts = assigned.each(count, largest, state.parameters.n_members)
        total = Counts(*added(counts))
        _check_enough(holding, total)
        problem = self._problem(network, state, inputs, holding, total)
        numbers = [(i,) for i in range(len(counts))]
        partitions = assigned.then(prepare, problem, per=numbers)
        trains = [i for i, c in enumerate(counts) if c.n_rows]
        data = PartitionedData(
            partitions.only(trains),
            [counts[i].n_rows for i in trains],
            settings.alpha / problem.mean * self.unit,
        )
        if users:
            return data, users_validation(Interim(self, inputs), network)
        if not total.n_held_out:
            return data, None
        return data, PartitionedValidation(
            partitions.only([i for i, c in enumerate(counts) if c.n_held_out]),
            total.n_held_out,
            total.weight_held_out,
            network.loss.tempered and targets.tempers,
            targets.labelled,
        )

    def _holding_out(self, settings, state):
        """The `HoldingOut` of this fit: how rows are held out, if any are."""
        recipe, targets = self.recipe, self.targets
        seed = spawn(state.random_state).randint(2**31, size=4).tolist()
        exclusive = targets.exclusive if targets.labelled else None
        holding = HoldingOut(0, 0.0, exclusive, seed)
        if self.request.has_validation:
            return holding
        in_turn, n_members = settings.holds_out, state.parameters.n_members
        if in_turn and n_members > 1:
            return holding._replace(n_members=n_members)
        if not in_turn and recipe.early_stopping in ("auto", False):
            return holding
        if int(recipe.validation_fraction * settings.n_rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or "
                "the size of your dataset."
            )
        return holding._replace(fraction=recipe.validation_fraction)

    def _problem(self, network, state, inputs, holding, total):
        """The `Problem` that all partitions share, from the sum of their `Counts`."""
        recipe, targets, parameters = self.recipe, self.targets, state.parameters
        in_float64 = recipe.solver == "lbfgs"
        return Problem(
            network,
            parameters.absorbed().layout,
            np.dtype("f8") if in_float64 else parameters.flat.dtype,
            inputs.scaling,
            self.summary.largest,
            total.weight / total.n_rows,
            total.by_member / total.weight if holding.n_members else None,
            targets if targets.labelled else None,
            bool(recipe.shuffle),
            float(recipe.dropout),
            holding.seed,
        )

    def adapted(self, solver):
        """The counterpart of the solver for partitions."""
        settings = {field.name: getattr(solver, field.name) for field in fields(solver)}
        if hasattr(solver, "max_fun"):
            return PartitionedLBFGS(**settings)
        return PartitionedMiniBatches(**settings)

    def threads(self, solver, n_units):
        """An empty context: the products are computed on the cluster."""
        return nullcontext()


# Rows held out.


def _check_validation(recipe):
    """Raise a ValueError for scorers and splitters, which need rows in memory."""
    name = f"sklearn_bp.dask.{recipe.name}"
    if recipe.metric.is_scorer:
        raise ValueError(
            f"early_stopping_metric={recipe.early_stopping_metric!r}: {name} takes "
            "'loss' or 'score', which are sums over partitions."
        )
    if is_splitter(recipe.validation_fraction):
        raise ValueError(
            f"validation_fraction={recipe.validation_fraction!r}: {name} takes a "
            "number, since no process holds all rows to split them."
        )


def _check_enough(holding, total):
    """Raise a ValueError if too few rows are left for training."""
    if total.n_rows == 0 or (holding.n_members and not total.by_member.all()):
        raise ValueError(
            "No rows with non-zero weight are left for training: set "
            "early_stopping=False or lower 'validation_fraction'."
        )
