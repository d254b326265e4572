"""A training: everything known before it, and the `Fit` that results."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from sklearn_bp._fitting import importances
from sklearn_bp._fitting.defaults import (
    LONG_ROW,
    STREAM_CLIP_NORM,
    clips_long_rows,
    relaxed_rate,
    share_that_counts,
    stream_clip_norm,
)
from sklearn_bp._fitting.fitted_network import FittedNetwork
from sklearn_bp._fitting.reports import epoch_tables
from sklearn_bp._tables.rotation import on_columns
from sklearn_bp._training.state import History, Plan


@dataclass
class Training:
    """A solver ready to train; `run` trains.

    Attributes
    ----------
    solver : MiniBatches, LBFGS or their counterparts on partitions
    network : TwoLayerNetwork
    data : Data or PartitionedData
    state : TrainingState
    plan : Plan
    threads : context manager
        The context in which it trains, which limits the threads.
    finished : callable(TrainingResult) -> Fit
        Makes the `Fit` of a result.
    resolved : Resolved
        The values of "auto".
    ended : str or None
        Why training had already ended, if it resumes from the file of a finished fit.
    reason : str or None
        Why training ended, once that is known.
    n_trainings : int
        2 if another training may follow.
    """

    solver: Any
    network: Any
    data: Any
    state: Any
    plan: Any
    threads: Any
    finished: Any
    resolved: Any
    ended: str | None = None
    reason: str | None = None
    n_trainings: int = 1

    def run(self):
        """Train as planned; return the TrainingResult."""
        state, plan = self.state, self.plan
        if self.ended is not None:
            result = History(state, plan).result(self.ended)
        else:
            with self.threads:
                result = self.solver.train(self.network, self.data, state, plan)
            plan.training_ends(result.state)
        self.reason = result.reason
        return result


@dataclass(frozen=True)
class Fitting:
    """Everything known before training that a `Fit` needs.

    Attributes
    ----------
    recipe : Recipe
    settings : Settings
    rows : MemoryRows or PartitionedRows
    inputs : Inputs
    targets : ClassTargets or RealTargets
    start : Start or None
    validate : callable(Parameters) -> Measured, or None
    """

    recipe: Any
    settings: Any
    rows: Any
    inputs: Any
    targets: Any
    start: Any
    validate: Any

    title: ClassVar[str | None] = None  # of the table of epochs

    def training(self, network, data, state, tol):
        """The `Training` of a network on data, starting from a state."""
        recipe, settings, rows = self.recipe, self.settings, self.rows
        resolved = settings.resolved(data.n_rows)
        state.patience.tol = tol
        state.patience.n_iter_no_change = resolved.n_iter_no_change
        penalty_rows = settings.penalty_rows(data.n_rows, resolved.batch_size)
        clip_norm = self._clip_norm(data, resolved.batch_size)
        solver = recipe.solver_for(data.n_rows, resolved, penalty_rows, clip_norm)
        n_units = recipe.n_hidden * state.parameters.n_members

        def finished(result):
            return self.ended(result, resolved)

        return Training(
            solver=rows.adapted(solver),
            network=network,
            data=data,
            state=state,
            plan=self._plan(network, data, resolved),
            threads=rows.threads(solver, n_units),
            finished=finished,
            resolved=resolved,
        )

    def _clip_norm(self, data, batch_size):
        """`clip_norm` of an optimizer given by its name; None for no limit."""
        recipe, settings, targets = self.recipe, self.settings, self.targets
        may_be_long = clips_long_rows(recipe, targets)
        if may_be_long and self.rows.longest(self.inputs) > LONG_ROW:
            return STREAM_CLIP_NORM
        of_parts = settings.incremental and settings.n_seen > settings.n_rows
        Y = data.Y if of_parts else None
        return stream_clip_norm(recipe, targets, Y, batch_size)

    def _plan(self, network, data, resolved):
        """When to stop, what to monitor, and the table of epochs."""
        recipe, settings, validate = self.recipe, self.settings, self.validate
        incremental = settings.incremental
        monitored = validate is not None and recipe.early_stopping
        drops_penalty = recipe.drops_penalty(self.targets, settings.alpha)
        usual = settings.usual
        return Plan(
            max_iter=1 if incremental else resolved.max_iter,
            loss_threshold=recipe.threshold,
            validate=validate,
            cost=recipe.metric.cost if monitored else None,
            drops_penalty=drops_penalty and not incremental,
            share=share_that_counts(recipe, network.loss) if usual else 0.0,
            relaxed_rate=relaxed_rate(recipe) if usual else 1.0,
            observers=epoch_tables(
                recipe.verbose,
                penalized=bool(data.alpha),
                validates=validate is not None,
                incremental=incremental,
                title=self.title,
            ),
        )

    def ended(self, result, resolved):
        """The `Fit` of a TrainingResult."""
        targets = self.targets.calibrated(self.validate, result.parameters)
        parameters = on_columns(result.parameters, self.rows.rotation)
        return self.fit_of(parameters, targets, result, resolved)

    def fit_of(self, parameters, targets, result, resolved):
        """The `Fit` of parameters on encoded columns, and of calibrated targets."""
        rows, recipe, start = self.rows, self.recipe, self.start
        fitted = FittedNetwork.of(parameters, rows.dtype, recipe, self.inputs, targets)
        X, sample_weight = rows.importance_rows()
        basis = importances.basis(
            fitted,
            X,
            sample_weight,
            self.settings.incremental,
            None if start is None else start.importance_basis,
            result.state.n_iter,
        )
        return Fit(
            fitted=fitted,
            result=result,
            resolved=resolved,
            features=rows.features,
            monitored=self.validate is not None and bool(recipe.early_stopping),
            importance_basis=basis,
            unscaled=rows.unscaled,
        )


@dataclass(frozen=True)
class Fit:
    """The outcome of a fit, and the attributes that an estimator keeps.

    Attributes
    ----------
    fitted : FittedNetwork
    result : TrainingResult
    resolved : Resolved
    features : dict
        The attributes that describe the user's columns.
    monitored : bool
        Whether validation rows decide when to stop.
    importance_basis : dict or None
    unscaled : ndarray, CSR or None
        The encoded features, if they are in memory and were not scaled.
    """

    fitted: FittedNetwork
    result: Any
    resolved: Any
    features: dict
    monitored: bool
    importance_basis: Any
    unscaled: Any = None

    def attributes(self):
        """All fitted attributes except for the training state, a dict."""
        result, state = self.result, self.result.state
        fitted = self.features | self.fitted.attributes()
        fitted |= {f"{name}_": value for name, value in self.resolved._asdict().items()}
        best_score = None
        if self.monitored and state.validation_scores:
            at = len(state.validation_scores) - 1 - (state.n_iter - result.best_iter)
            best_score = state.validation_scores[at]
        return fitted | {
            "n_layers_": 3,
            "n_members_": self.fitted.n_members,
            "out_activation_": self.fitted.targets.loss.out_activation,
            "n_iter_": state.n_iter,
            "first_n_iter_": (state if state.first is None else state.first).n_iter,
            "best_iter_": result.best_iter,
            "stop_reason_": result.reason,
            "engine_": state.engine,
            "t_": state.t,
            "loss_curve_": state.loss_curve,
            "data_loss_curve_": state.data_losses or None,
            "loss_": state.loss_curve[-1],
            "best_loss_": None if self.monitored else state.patience.best,
            "validation_loss_curve_": state.validation_losses or None,
            "validation_scores_": state.validation_scores or None,
            "best_validation_score_": best_score,
            "_importances": None,
            "_importance_basis": self.importance_basis,
        }

    def kept_state(self, recipe):
        """The training state that partial_fit keeps for its next call."""
        state = self.result.state
        if not isinstance(recipe.random_state, Integral):
            state.random_state = None  # numpy's global one, or the user's own
        elif state.order is not None:
            state.order = state.order.astype(np.min_scalar_type(len(state.order)))
        return state
