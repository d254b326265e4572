"""Rows in memory, from the user's arguments to the data that a solver trains on."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _num_samples

from sklearn_bp import _compiled
from sklearn_bp._common.blas import blas_threads, one_blas_thread
from sklearn_bp._fitting.base_rows import BaseRows
from sklearn_bp._fitting.constraints import is_splitter
from sklearn_bp._fitting.defaults import (
    SPARSE_WIDE_STEPS,
    epochs_of_encoded,
    epochs_of_many,
    is_usual,
    members,
    most_members,
    rate_factor,
    rows_per_batch,
    rows_per_short_batch,
    rows_to_repeat,
    usual_patience,
    wide_rate,
)
from sklearn_bp._fitting.early_stopping import split
from sklearn_bp._fitting.request import with_weight
from sklearn_bp._fitting.settings import Settings
from sklearn_bp._fitting.validation import Interim, users_validation
from sklearn_bp._network.batches import Data, row_length
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._tables import row_lengths
from sklearn_bp._tables.columns import Columns
from sklearn_bp._tables.features import check_features, is_clean
from sklearn_bp._tables.inputs import Inputs, NewRows
from sklearn_bp._tables.real_targets import range_of
from sklearn_bp._tables.rotation import Rotation, is_small, is_wide
from sklearn_bp._tables.running import of_targets
from sklearn_bp._tables.sorted_columns import QUANTILE_SIZE, SortedColumns
from sklearn_bp._tables.weights import (
    are_equal,
    bounded,
    check_sample_weight,
    in_rows,
)
from sklearn_bp._training.held_out import (
    HeldOut,
    draw_folds,
    spawn,
    validation_weights,
)
from sklearn_bp.losses._base import best_constant
from sklearn_bp.optimizers import adaptive


@dataclass(frozen=True)
class MemoryRows(BaseRows):
    """Arrays, tables and sparse matrices in memory.

    Attributes
    ----------
    X : ndarray or CSR of shape (n, n_encoded)
        Encoded, not scaled.
    Y : ndarray of shape (n, n_targets)
        In the user's units.
    sample_weight : ndarray of shape (n,) or None
    part : NewRows
    scaled : (X, Y, Scaling or None)
        As the solver gets them; the feature scaling is still to be applied, block by
        block.
    rotation : Rotation or None
    selection : Selection or None
        The inputs that are trained on; None for all.
    in_order : SortedColumns or None
        The columns that are scaled as dense ones, to make bins.
    """

    X: Any = None
    Y: Any = None
    sample_weight: Any = None
    part: Any = None
    scaled: Any = None
    rotation: Any = None
    selection: Any = None
    in_order: Any = None

    def checked(self, recipe, start):
        """The rows as valid numbers with non-zero weight; errors for invalid data.

        Parameters
        ----------
        recipe : Recipe
        start : Start or None
        """
        request = self.request
        X, columns = self._features(recipe, start)
        dtype = X.dtype
        if dtype.kind != "f":  # integers, to be cast block by block
            dtype = np.dtype("f8") if start is None else start.fitted.dtype
        earlier = None if start is None else start.targets
        kind = self.feature_record._targets_kind
        targets, Y = kind.of_fit(request.y, recipe, earlier, request, dtype)
        check_consistent_length(X, Y)
        weights = check_sample_weight(request.sample_weight, X.shape[0])
        X, Y, weights, request = with_weight(X, Y, weights, request)
        if recipe.alpha == "auto":  # before class weights multiply them
            weights = None if are_equal(weights) else bounded(weights)[0]
        targets = targets.weighted(recipe, request.kept_rows("y"), weights)
        weights = targets.times_class_weights(request.kept_rows("y"), weights)
        X, Y, weights, request = with_weight(X, Y, weights, request)
        if recipe.alpha == "auto":
            weights = in_rows(weights, rows_to_repeat(recipe))
        targets.loss.check_targets(Y)
        rows = replace(
            self,
            request=request,
            recipe=recipe,
            targets=targets,
            columns=columns,
            X=X,
            Y=Y,
            sample_weight=weights,
            dtype=dtype,
        )
        return replace(rows, part=rows._new_rows(start))

    def _new_rows(self, start):
        """The checked rows as `NewRows`; in a stream, columns of identifiers warn."""
        shares, exponent = bounded(self.sample_weight)
        if not self.request.incremental:
            return NewRows(self.n_rows, shares, exponent, n_before=None)
        n_before = 0 if start is None else start.n_rows
        part = NewRows(self.n_rows, shares, exponent, n_before)
        columns, before = self.columns, None if start is None else start.fitted.columns
        if columns is not None and columns is not before:
            named, n_rows = self.recipe.categorical_features, n_before + self.n_rows
            columns.warn_of_new_ids(self.request.X, named, n_rows, before, n_before)
        if self.recipe.counts_rows:
            running = None if start is None else start.inputs.running
            part = part.known_by(self.X, self.Y, columns, running)
        return part

    def _features(self, recipe, start):
        """X encoded, and the `Columns` that encoded it."""
        request, feature_record = self.request, self.feature_record
        features, weights = recipe.categorical_features, request.sample_weight

        def some_weights(X):
            if weights is None:
                return None
            return check_sample_weight(weights, _num_samples(X))

        learn = None
        if start is None:
            if recipe.encodes:

                def learn(X):
                    without_ids = not request.incremental
                    return Columns.fit(X, features, some_weights(X), without_ids)

            dtypes = [np.float64, np.float32]
            return check_features(
                feature_record, request.X, dtypes, None, learn, reset=True
            )
        columns, dtype = start.fitted.columns, start.fitted.dtype
        if is_clean(request.X, dtype, feature_record, columns):
            return request.X, columns
        if columns is not None and start.inputs.running is not None:

            def learn(X):
                return columns.joined(X, features, some_weights(X))

        return check_features(feature_record, request.X, [dtype], columns, learn)

    @property
    def n_rows(self):
        return self.X.shape[0]

    @property
    def repeat(self):
        return self.part.repeats

    @property
    def n_inputs(self):
        return self.scaled[0].shape[1]

    @property
    def n_targets(self):
        return self.Y.shape[1]

    # Statistics of all rows before training.

    def learn_inputs(self, start):
        """The `Inputs`, and the rows with missing values filled."""
        if start is None:
            in_order = self._in_order()
            inputs = Inputs.of(
                self.columns, self.X, self.part, self.recipe.standardize, in_order
            )
            small = math.prod(self.X.shape) <= QUANTILE_SIZE
            kept = small and self.recipe.numeric_encoding is not None
            return inputs, replace(self, in_order=in_order if kept else None)
        X = start.inputs.format(self.X, self.columns)
        inputs, X = start.inputs.continued(self.columns, X, self.part)
        return inputs, replace(self, X=X, columns=inputs.columns)

    def _in_order(self):
        """The `SortedColumns` that are scaled as dense ones, of a fit; or None."""
        if self.request.incremental or not self.recipe.standardize:
            return None
        X = self.X
        if sparse.issparse(X):
            n_dense = 0 if self.columns is None else self.columns.n_dense(X)
            if not n_dense:
                return None
            X = X[:, :n_dense]
        return SortedColumns.of(X, self.part.shares)

    @property
    def encodes_numbers(self):
        """Whether rows of this kind and format can be encoded by bins.

        Of a CSR, where `Columns` made it, so that its first columns are full numbers.
        """
        full = self.columns is not None and self.columns.n_dense(self.X)
        return (full or not sparse.issparse(self.X)) and self.rotation is None

    @property
    def n_full(self):
        """Number of columns that all rows store."""
        full = 0 if self.columns is None else self.columns.n_dense(self.X)
        return full or self.n_inputs

    @property
    def full_columns(self):
        """The encoded columns that all rows store, a dense array of (n, n_full)."""
        X = self.X[:, : self.n_full]
        return X.toarray() if sparse.issparse(X) else X

    @property
    def n_stored(self):
        """Number of values that the rows store as the solver gets them."""
        return self.n_rows * row_length(self.scaled[0])

    def with_bins(self, inputs, n_bins):
        """The inputs with bins of the numeric columns, between the rows' quantiles."""
        return inputs.with_bins(self.X, self.part.shares, n_bins, self.in_order)

    def target_statistics(self, robust):
        """The `Running` statistics of the targets."""
        return of_targets(self.Y, self.part, robust)

    def target_range(self):
        return range_of(self.Y)

    def longest(self, inputs):
        """The length of the longest row as the solver gets it, relative to most."""
        X, _, scaling = self.scaled
        return row_lengths.Lengths.of(X, scaling, self.part.shares).ratio

    def prepared(self, inputs, targets, start, selection=None):
        """The rows as the solver gets them: scaled and, if they are wide, rotated."""
        recipe, dtype = self.recipe, self.training_dtype
        X, scaling = inputs.for_training(self.X, dtype, selection)
        rotation = None
        request = self.request
        again = request.incremental or request.has_start or start is not None
        if not again and inputs.bins is None:
            n_units = recipe.n_hidden * most_members(recipe)
            if self._is_rotated(inputs.scaling, X.shape[1] * n_units):
                whole = self.X if sparse.issparse(self.X) else self.X[:]  # an array
                rotation, Z = Rotation.of_rows(whole, inputs.scaling, self.part.shares)
                X, scaling = Z.astype(dtype), None
        Y = targets.in_training_units(self.Y)
        if not targets.labelled:
            Y = Y.astype(dtype, copy=False)
        scaled = X, Y, scaling
        return replace(
            self,
            scaled=scaled,
            rotation=rotation,
            selection=selection,
            targets=targets,
        )

    def _is_rotated(self, scaling, n_weights):
        """Whether to train in the space of the rows.

        The coordinates of a CSR are dense, and must be fewer than the weights that they
        save.  An initializer of the user may depend on the columns, and gradient
        descent without adaptive steps takes the same path in any coordinates.
        """
        recipe = self.recipe
        if scaling is None or not (
            isinstance(recipe.init, str) and adaptive(recipe.solver)
        ):
            return False
        if sparse.issparse(self.X) and not is_small(self.n_rows, n_weights):
            return False
        return is_wide(self.n_rows, np.count_nonzero(scaling.factor))

    def best_constant(self, loss):
        """The constant scores with the smallest loss, and that loss."""
        with one_blas_thread():  # the same bits for any number of threads
            return best_constant(loss, self.scaled[1], self.part.shares)

    def settings(self, inputs, n_outputs):
        """The `Settings`, which depend on the size of the data."""
        recipe, incremental = self.recipe, self.request.incremental
        n_rows, n_inputs = self.n_rows, self.n_inputs
        length, n_seen = row_length(self.scaled[0]), n_rows
        if incremental and inputs.running is not None:
            n_seen = inputs.running.n_rows
        rules: dict[str, Any] = {"rows_per_batch": rows_per_batch}
        if not incremental:
            rules |= self._wide_rules() or self._rules_of_columns(inputs.bins)
        usual = rules.get("usual", False)
        return Settings(
            recipe=recipe,
            incremental=incremental,
            n_rows=n_rows,
            n_seen=n_seen,
            shape=(n_inputs, recipe.n_hidden, n_outputs),
            n_members=members(recipe, n_rows, n_inputs, length, n_outputs, usual),
            **rules,
        )

    def _wide_rules(self):
        """The settings by which wide data differs; none for other data."""
        if self.rotation is None:
            return {}
        is_sparse = sparse.issparse(self.X)
        limit = SPARSE_WIDE_STEPS if is_sparse else math.inf
        return {"wide_rate": wide_rate(self.n_rows, is_sparse), "step_limit": limit}

    def _rules_of_columns(self, bins):
        """The settings by which a fit on columns differs from partial_fit."""
        recipe, n_rows = self.recipe, self.n_rows
        is_sparse = sparse.issparse(self.scaled[0])
        n_binned = 0 if bins is None else bins.n_binned
        n_columns = self.n_inputs - (bins.n_bins if n_binned else 0)
        rules: dict[str, Any] = {"n_binned": n_binned}
        limit = 0
        if not is_sparse:
            rule = epochs_of_encoded if n_binned else epochs_of_many
            limit = rule(recipe, n_rows, n_columns, self.targets.labelled)
        usual = not limit and is_usual(recipe, n_rows, n_columns)
        if usual and not is_sparse:
            rules["rows_per_batch"] = rows_per_short_batch
        if usual:
            rules["rate_factor"] = rate_factor(n_rows, self.targets.labelled)
        of_classes = is_sparse and self.targets.labelled
        if usual or (of_classes and is_usual(recipe, n_rows, 1)):
            rules["patience"] = usual_patience(n_rows, self.targets.labelled)
        return rules | {"epoch_limit": limit, "usual": usual}

    # Training.

    def hold_out(self, network, settings, state, inputs):
        """The training data, and the validation on held-out rows, or None.

        Returns
        -------
        data : Data
        validate : callable(Parameters) -> Measured, or None
        """
        recipe, request = self.recipe, self.request
        n_members, random_state = state.parameters.n_members, state.random_state
        interim = Interim(self, inputs)
        if request.has_validation:
            return self._data(settings, inputs), users_validation(interim, network)
        network = TwoLayerNetwork(network.activation, network.loss.for_validation())
        in_turn = settings.holds_out
        splits = recipe.early_stopping not in ("auto", False)
        if not in_turn and (request.incremental or not splits):
            return self._data(settings, inputs), None
        one_part = is_splitter(recipe.validation_fraction) or recipe.metric.is_scorer
        if in_turn and n_members > 1 and not one_part:
            _, Y, _ = self.scaled
            strata = self.targets.strata(Y)
            folds = draw_folds(strata, n_members, spawn(random_state))
            rows = [np.flatnonzero(folds == j) for j in range(n_members)]
            data = self._data(settings, inputs).without_folds(folds, n_members)
            return data, self._held_out(network, interim, rows, data)
        train, validation = self._split(random_state, by_strata=in_turn)
        data = self._data(settings, inputs, train)
        if in_turn and not one_part:
            return data, self._held_out(network, interim, [validation], data)
        weights = validation_weights(self.sample_weight, validation)
        return data, interim.validation_set(
            network, request, self.X, validation, self.Y[validation], weights
        )

    def _data(self, settings, inputs, rows=None):
        """The `Data` of these rows; None for all."""
        (X, Y, scaling), weights = self.scaled, self.sample_weight
        data = Data.weighted(X, Y, weights, settings.alpha, rows, scaling)
        if inputs.bins is None:
            return data
        groups, bins = self._groups(inputs.bins), self._binned(inputs)
        return replace(data, groups=groups, bins=bins)

    def _split(self, random_state, by_strata):
        """The rows to train on, and one part that is held out from all members."""
        _, Y, _ = self.scaled
        return split(
            self.recipe,
            self.targets,
            (self.X, Y, self.sample_weight),
            random_state,
            self.request,
            by_strata=by_strata,
        )

    def _groups(self, bins):
        """For each input that is trained on, the column that it comes from."""
        selection = self.selection
        return bins.groups if selection is None else bins.groups[selection.selected]

    def _binned(self, inputs):
        """The positions of scaled rows in their bins, or None."""
        X, _, scaling = self.scaled
        if scaling is not None or sparse.issparse(X):
            return None
        return _compiled.binned(X, *inputs.ends_of_bins(self.X.dtype, X.dtype))

    def _held_out(self, network, interim, rows, data):
        """The validation on rows held out from each member, a list of positions."""
        data = replace(data, weights=self.sample_weight)
        pooled = np.concatenate(rows)
        weights = validation_weights(data.weights, pooled)
        score = interim.score_of(self.Y[pooled], weights)
        return HeldOut(network, data, rows, score, self.targets.tempers)

    def adapted(self, solver):
        """The solver for rows in memory: itself."""
        return solver

    def threads(self, solver, n_units):
        """A context with as many BLAS threads as the products can use."""
        n_columns = row_length(self.scaled[0])
        return blas_threads(solver.rows_at_once * n_units * n_columns)

    @property
    def unscaled(self):
        """The features, if they are not scaled for training."""
        return None if self.recipe.standardize else self.X

    def importance_rows(self):
        """Encoded rows for the importances, and their weights or None."""
        return self.X, self.part.shares
