"""Ensemble members that also see the numeric columns encoded by bins.

With numeric_encoding="auto" a fit trains twice.  The members of the first training see
only the columns.  The second training has up to MOST_NETWORKS networks of half the
hidden units, which see the columns and their bins (`_tables.piecewise_linear`).  They
are better at steps, at heavy tails and if most columns are noise, and worse at smooth
functions of several columns.  Pairs of them become members of the usual size.  The
scores are

    z = w z_first + (1 - w) z_second

and the rows that both have held out choose w, as if some more rows favoured w = 1.  The
result is one network of all members on the columns and their bins; the members of the
first training have input weights of 0 for the bins.  If w = 1 is best, the result is
the network of the first training, on the columns alone.

A table with many categories is a CSR that begins with its numbers (`Columns`), and
stays one: the bins follow the indicators.  Another CSR has no bins.

Epochs are counted on from the first training to the second.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from sklearn_bp._fitting.encoded_columns import encoded_inputs, has_room
from sklearn_bp._fitting.start import fresh_state
from sklearn_bp._fitting.trainings import Fitting
from sklearn_bp._network.dropout import stream_of
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.piecewise_linear import PiecewiseLinear
from sklearn_bp._tables.rotation import on_columns
from sklearn_bp._training.held_out import Blend, HeldOut, spawn
from sklearn_bp.optimizers import adaptive

# With numeric_encoding="auto": the number of networks that see bins.
MOST_NETWORKS = 4

# Number of imaginary rows that favour the first group, besides the held-out rows.  For
# classes with fewer than FIRM_BELOW rows, of which few are misclassified, it is
# FIRM_OF_FEW.
FIRM = 50
FIRM_OF_FEW = 150
FIRM_BELOW = 200

# Candidates for the weight of the first group.
SHARES = np.linspace(0, 1, 21)

# Reasons to end the first training that end the whole fit.
FINAL = ("loss_threshold", "callback", "interrupted")


def with_requested_bins(recipe, rows, inputs):
    """The inputs, with bins if the parameter numeric_encoding asks for them."""
    encoding = recipe.numeric_encoding
    if not isinstance(encoding, PiecewiseLinear):
        return inputs
    name = f"numeric_encoding={encoding!r}"
    if rows.request.incremental:
        raise ValueError(
            f"{name} computes its bins from all training rows: call fit first, and "
            "continue with partial_fit; or set numeric_encoding=None."
        )
    if not rows.encodes_numbers:
        raise ValueError(
            f"{name} is for dense rows and tables in memory, not for sparse or "
            "partitioned rows. Set numeric_encoding=None."
        )
    return rows.with_bins(inputs, encoding.n_bins)


def second_training(fitting, training, result, constant):
    """The second training, or None.

    Parameters
    ----------
    fitting : Fitting
        Of the first training.
    training : Training
        The first.
    result : TrainingResult
    constant : ndarray or None
        The starting output intercepts.

    Returns
    -------
    Training or None
    """
    if not may_follow(fitting) or result.reason in FINAL:
        return None
    if training.state.patience.tol == 0 < fitting.recipe.tolerance:
        return None  # the best constant has no loss
    recipe, rows, targets = fitting.recipe, fitting.rows, fitting.targets
    inputs, selection, n_binned = encoded_inputs(fitting, result)
    if inputs.bins is None:
        return None
    rows = rows.prepared(inputs, targets, None, selection)
    settings = _smaller(rows.settings(inputs, fitting.settings.shape[2]))
    settings = replace(settings, n_binned=n_binned)
    state = _fresh(settings, rows, constant, result.state)
    data, validate = rows.hold_out(training.network, settings, state, inputs)
    if recipe.dropout:
        state.dropout_stream = stream_of(spawn(state.random_state))
    second = SecondFitting(
        recipe,
        settings,
        rows,
        inputs,
        targets,
        start=None,
        validate=validate,
        first=fitting,
        of_first=result,
        resolved=training.resolved,
    )
    tol = training.state.patience.tol
    if result.state.relaxed and not training.plan.share:
        tol *= 10
    return second.training(training.network, data, state, tol)


def may_follow(fitting):
    """Whether numeric_encoding="auto" adds a second training to this fit."""
    recipe, rows = fitting.recipe, fitting.rows
    left_at_auto = (
        recipe.numeric_encoding,
        recipe.n_members,
        recipe.max_iter,
        recipe.early_stopping,
    )
    return (
        left_at_auto == ("auto",) * 4
        and bool(recipe.standardize)
        and adaptive(recipe.solver)
        and fitting.start is None
        and not rows.request.has_start
        and type(fitting.validate) is HeldOut
        and len(fitting.validate.rows) > 1
        and rows.encodes_numbers
        and has_room(rows)
    )


def _smaller(settings):
    """The settings of the second training, with fewer and smaller networks."""
    d, h, k = settings.shape
    n_members, odd = min(settings.n_members, MOST_NETWORKS), h % 2
    if odd:  # pairs of halves would have another number of units
        n_members = 2
    shape = d, h if odd else h // 2, k
    return replace(settings, n_members=n_members, shape=shape)


def _fresh(settings, rows, constant, before):
    """The state of the second training, which continues the counts of the first."""
    state = fresh_state(settings, rows.training_dtype, constant)
    best = before.parameters.like(before.best)
    state.first = replace(before, parameters=best, average=None)
    state.n_iter, state.t = before.n_iter, before.t
    state.loss_curve = before.loss_curve.copy()
    state.data_losses = before.data_losses.copy()
    state.validation_losses = before.validation_losses.copy()
    state.validation_scores = before.validation_scores.copy()
    return state


@dataclass(frozen=True)
class SecondFitting(Fitting):
    """Everything known before the second training, and the result of the first.

    Attributes
    ----------
    first : Fitting
    of_first : TrainingResult
    resolved : Resolved
        The values of "auto" in the first training, which a fit reports.
    """

    title: ClassVar[str | None] = (
        "A second training begins: networks that see numeric columns in bins too."
    )

    first: Any = None
    of_first: Any = None
    resolved: Any = None

    def blend(self, result):
        """How to combine both trainings.

        Parameters
        ----------
        result : TrainingResult
            Of the second training.

        Returns
        -------
        share : float
            The weight of the first group.
        unit : float
            Of the second group's scores, in those of the first.
        targets : ClassTargets or RealTargets
            Calibrated on the held-out rows.
        """
        p, q = self.of_first.parameters, result.parameters
        targets, unit, temperature = self.targets, 1.0, 1.0
        if targets.labelled:
            targets = self.first.targets.calibrated(self.first.validate, p)
            temperature = targets.temperature
            second_targets = self.targets.calibrated(self.validate, q)
            unit = temperature / second_targets.temperature
        z_first = self.first.validate.scores_in_order(p)
        z_second = self.validate.scores_in_order(q) * unit
        blend = Blend(self.validate, z_first, z_second)
        losses = [blend.loss(share, temperature) for share in SHARES]
        n, share = len(z_first), SHARES[np.argmin(losses)]
        few = targets.labelled and n < FIRM_BELOW
        firm = FIRM_OF_FEW if few else FIRM
        blend.share = (n * share + firm) / (n + firm)
        if not targets.labelled:
            targets = targets.calibrated(blend, None)
        return blend.share, unit, targets

    def ended(self, result, resolved):
        """The `Fit` of a TrainingResult, with the settings of the first training."""
        share, unit, targets = self.blend(result)
        if share == 1:
            first = replace(self.of_first, reason=result.reason)
            return self.first.ended(first, self.resolved)
        p = self.of_first.parameters
        q = on_columns(result.parameters, self.rows.selection)
        if q.shape[1] < p.shape[1]:
            q = q.paired()
        shares = share / p.n_members, (1 - share) * unit / q.n_members
        member_weights = np.repeat(shares, [p.n_members, q.n_members])
        parameters = Parameters.side_by_side(p, q, member_weights)
        return self.fit_of(parameters, targets, result, self.resolved)
