"""The start of training that continues: a state with weights for the current scalings.

fit with warm_start continues from the weights, the count of rows and the curves, but
with a new optimizer, patience and random numbers.  partial_fit continues with all of
them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_random_state

from sklearn_bp._fitting.defaults import members_to_continue_with
from sklearn_bp._fitting.fitted_network import packed
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import SCALE_SPEED, Parameters, Weights
from sklearn_bp._tables.reexpress import (
    Curved,
    Rearrangement,
    Reexpression,
    Scalings,
    Symmetries,
)
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.values import named_errors, unmasked
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingState
from sklearn_bp.activations import is_same_activation

# Earlier epochs whose losses and scores warm_start and partial_fit keep.
KEPT_EPOCHS = 10_000


@dataclass(frozen=True)
class Start:
    """The earlier fit of an estimator, to continue from.

    Attributes
    ----------
    fitted : FittedNetwork
    state : TrainingState or None
        The state that partial_fit kept for the next call.
    n_iter, t : int
        Numbers of epochs and rows so far.
    curves : tuple of lists
        Losses, validation losses, validation scores and losses without the penalty of
        the epochs so far.
    importance_basis : dict or None
    incremental : bool
        Whether partial_fit continues, not fit with warm_start.
    """

    fitted: Any
    state: Any
    n_iter: int
    t: int
    curves: tuple
    importance_basis: Any
    incremental: bool

    @property
    def inputs(self):
        return self.fitted.inputs

    @property
    def is_encoded(self):
        """Whether columns are encoded by bins too."""
        return self.inputs.bins is not None

    @property
    def targets(self):
        return self.fitted.targets

    @property
    def n_rows(self):
        """Number of rows of the stream so far."""
        running = self.inputs.running
        return running.n_rows if running else 0

    def check(self, recipe):
        """Raise a ValueError for parameters with which training cannot continue."""
        fitted, targets = self.fitted, self.targets
        scaled = self.inputs.scaling is not None
        if bool(recipe.standardize) != scaled:
            raise self._cannot_continue("standardize", scaled, recipe.standardize)
        old, new = fitted.activation_given, recipe.activation
        if not is_same_activation(old, new):
            raise self._cannot_continue("activation", old, new)
        old, new = fitted.categorical_given, recipe.categorical_features
        if not np.array_equal(np.asarray(old, object), np.asarray(new, object)):
            raise self._cannot_continue("categorical_features", old, new)
        old, new = self.is_encoded, recipe.numeric_encoding
        same = new in ("auto", fitted.encoding_given)
        if not same and old == (new is None):
            choices = "'auto' or a PiecewiseLinear" if old else "None or 'auto'"
            raise self._cannot_continue("numeric_encoding", _Words(choices), new)
        loss = targets.for_fit(recipe).loss
        output = loss.out_activation, loss.n_scores(targets.n_targets)
        if output != (targets.loss.out_activation, fitted.n_outputs):
            raise self._cannot_continue("loss", targets.loss_given, recipe.loss)
        targets.check_continuing(recipe, self._way_out)

    @property
    def _way_out(self):
        """What to do to start from scratch, in words."""
        ways = "use clone()" if self.incremental else "set warm_start=False"
        return f"{ways} to start from scratch"

    def _cannot_continue(self, name, fitted, asked):
        """The error for a parameter that differs from that of the earlier fit."""
        return ValueError(
            f"Training continues from weights that were fitted with {name}={fitted!r}, "
            f"but {name}={asked!r} is requested. Set it back, or {self._way_out}."
        )

    def resumed(self, recipe, incremental):
        """The `TrainingState` to continue from, for the earlier scalings."""
        if incremental and self.state is not None:
            state = self._kept_state(recipe)
        else:
            state = self._state_of_weights(recipe)
            state.n_iter, state.t = self.n_iter if incremental else 0, self.t
        curves = [_last(curve) for curve in self.curves]
        state.loss_curve, state.validation_losses = curves[:2]
        state.validation_scores, state.data_losses = curves[2:]
        return state

    def _state_of_weights(self, recipe):
        """A new state with the fitted weights."""
        parameters = self._parameters(None, np.float64, recipe)
        return TrainingState(
            self._reinitialized(parameters, recipe, drawn=False),
            Patience(recipe.tolerance, recipe.n_iter_no_change),
            check_random_state(recipe.random_state),
        )

    def _kept_state(self, recipe):
        """A copy of the state that the last partial_fit kept."""
        state = self.state.copied()
        dtype = state.dtype
        if state.scaled != recipe.learns_scales(self.is_encoded):
            state.parameters = state.average = state.optimizer = None
            state.best = state.best_iter = None
        parameters = self._parameters(state, dtype, recipe)
        state.parameters = self._reinitialized(parameters, recipe)
        if not recipe.average:
            state.average = None  # an old average would predict, and never change
        if state.average is not None:
            state.average = self._reinitialized(state.average, recipe)
        if state.best is not None:
            best = self._reinitialized(state.parameters.like(state.best), recipe)
            state.best = best.flat
        if state.random_state is None:
            state.random_state = check_random_state(recipe.random_state)
        return state

    def _parameters(self, state, dtype, recipe):
        """The parameters on scaled columns that gave the weights, in `dtype`.

        They are those of `state`, unless it is None or the weights were changed since.
        """
        if state is not None and state.parameters is not None:
            if self.fitted.comes_from(state.chosen.absorbed()):
                return state.parameters
            state.average = state.best = state.best_iter = None
        n_members = members_to_continue_with(recipe, self.fitted.n_members)
        if len(self.fitted.weights.b1) % n_members:
            n_members = self.fitted.n_members  # `continued` raises if they do not fit
        speed = SCALE_SPEED if recipe.learns_scales(self.is_encoded) else 0.0
        return self.fitted.parameters(dtype, n_members, speed)

    def _reinitialized(self, parameters, recipe, drawn=True):
        """The parameters, re-initialized if no column has varied so far.

        The network is a constant then, which the output intercepts take over.  The
        output weights start at 0, and the input weights at the values that were drawn
        (after fit, which does not keep them, at new ones): a network whose input
        weights are all 0 cannot learn.
        """
        scaling = self.inputs.scaling
        if scaling is None or scaling.factor.any():
            return parameters
        network = TwoLayerNetwork(recipe.activation_object, self.targets.loss)
        d = parameters.shape[0]
        constant = [
            network.scores(w.astype(w.W1.dtype), np.zeros((1, d), w.W1.dtype))
            for w in parameters.members()
        ]
        if not drawn:
            parameters = Parameters.draw(
                parameters.layout,
                parameters.flat.dtype,
                recipe.initializer,
                check_random_state(recipe.random_state),
                network.activation.glorot_factor,
            )
        parameters = parameters.copy()
        parameters.W2[...] = 0
        if parameters.V is not None:
            parameters.V[...] = 0
        parameters.b2[...] = np.concatenate(constant, axis=1).ravel()
        return parameters

    def continued(self, state, settings, inputs, targets, dtype):
        """The state for the current inputs and targets; ValueError if they do not fit.

        Parameters
        ----------
        state : TrainingState
            From `resumed`; it is changed.
        settings : Settings
            The requested settings.
        inputs : Inputs
        targets : ClassTargets or RealTargets
        dtype : dtype
            The dtype of training.
        """
        recipe = settings.recipe
        change = self._reexpression(recipe, inputs, targets)
        if not change.is_none:
            change.of_state(state, recipe.monitors_a_loss)
        if state.optimizer_type is None:  # from the fitted weights, in float64
            state.parameters = state.parameters.astype(dtype)
        n_members = members_to_continue_with(recipe, self.fitted.n_members)
        new = (*settings.shape, n_members, bool(recipe.skip_layer))
        old = state.parameters.layout[:-1]
        if old != new:
            raise ValueError(
                "Training continues from the fitted weights, which have (features, "
                f"hidden_layer_sizes, outputs, n_members, skip_layer) = {old}, but "
                f"{new} is requested. Set the parameters back, or {self._way_out}."
            )
        return state

    def _reexpression(self, recipe, inputs, targets):
        """The `Reexpression` that keeps the network's function in new scalings."""
        loss, before = targets.loss, self.inputs
        scored_by, now = self._scored_by(loss, inputs), targets.reference
        curved = None
        if loss.n_scores(1) > 1 and scored_by is not None:
            curved = None if now is scored_by else Curved(loss, scored_by, now)
            of_scores = loss.targets_of_scores(len(now.factor))
            scored_by, now = (s.of_scores(of_scores) for s in (scored_by, now))
        d, k = self.fitted.weights.W1.shape[0], self.fitted.n_outputs
        origins = np.arange(d)
        if inputs.columns is not None:
            origins, _ = before.origins(inputs.columns)
            origins = before.network_origins(origins)
        elif inputs.scaling is not None:
            origins = np.arange(len(inputs.network_scaling.factor))
        return Reexpression(
            Scalings.of(d, k, before.network_scaling, scored_by),
            Scalings.of(len(origins), k, inputs.network_scaling, now),
            Rearrangement(origins, before.fills(inputs.columns)),
            before.running.n_rows if before.running else np.inf,
            Symmetries(
                recipe.activation_object.homogeneous,
                loss.degree,
                curved,
                targets.of_units(self.targets) if loss.logarithmic else None,
            ),
        )

    def _scored_by(self, loss, inputs):
        """The scaling of the scores so far, with factor 0 for those that start anew.

        These are logarithms of targets that were all 0 so far, where the best score is
        minus infinity.  They start at the mean of the targets.
        """
        reference, earlier = self.targets.reference, self.inputs.running
        before = None if earlier is None else earlier.targets
        if not loss.logarithmic or before is None or before.mean.all():
            return reference
        now = inputs.running.targets
        anew = (before.mean == 0) & (now.mean > 0)
        centre = np.zeros(len(anew)) if reference is None else reference.centre
        level = np.log(now.mean * now.unit, out=np.zeros(len(anew)), where=anew)
        return Scaling(np.where(anew, level, centre), np.where(anew, 0.0, 1.0))


class _Words(str):
    """Words for a value in an error."""

    __repr__ = str.__str__


def _last(curve):
    """A new list of the last values of a curve, so that calls do not become slower."""
    return list((curve or [])[-KEPT_EPOCHS:])


def fresh_state(settings, dtype, constant):
    """A state with random weights; `constant` are output intercepts, or None."""
    recipe, n_members = settings.recipe, settings.n_members
    random_state = check_random_state(recipe.random_state)
    skip = bool(recipe.skip_layer)
    parameters = Parameters.draw(
        (*settings.shape, n_members, skip, settings.scale_speed),
        dtype,
        recipe.initializer,
        random_state,
        recipe.activation_object.glorot_factor,
    )
    if constant is not None:
        parameters.b2[...] = np.tile(constant, n_members)
    patience = Patience(recipe.tolerance, recipe.n_iter_no_change)
    return TrainingState(parameters, patience, random_state)


def start_from(request, recipe, parameters, inputs, targets):
    """Overwrite random parameters by the starting weights of the user."""
    coefs, intercepts, skip = check_start(
        request.coef_init,
        request.intercept_init,
        parameters.shape,
        parameters.n_members,
        recipe.skip_layer,
    )
    weights = Weights(coefs[0], intercepts[0], coefs[1], intercepts[1], skip)
    parameters.flat[:] = packed(
        weights,
        parameters.flat.dtype,
        parameters.n_members,
        inputs.scaling,
        targets.score_scaling,
        parameters.scale_speed,
    ).flat


def check_start(coef_init, intercept_init, shape, n_members, skip_layer):
    """Check the user's starting weights, and return them in float64.

    Parameters
    ----------
    coef_init : list of two arrays, or three with a skip layer
    intercept_init : list of two arrays
    shape : (n_features, n_hidden, n_outputs)
    n_members : int
    skip_layer : bool

    Returns
    -------
    coefs, intercepts : list of two ndarrays
    skip : ndarray of shape (n_features, n_outputs), or None
    """
    if coef_init is None or intercept_init is None:
        raise ValueError("coef_init and intercept_init belong together: pass both.")
    (d, h, k), h_all = shape, shape[1] * n_members
    wanted = [(d, h_all), (h_all, k)] + ([(d, k)] if skip_layer else [])
    coefs = _finite_arrays(coef_init, "coef_init")
    intercepts = _finite_arrays(intercept_init, "intercept_init")
    found = [w.shape for w in coefs]
    # Without a third array the skip layer starts at zero.
    if found not in (wanted, wanted[:2]) or [b.shape for b in intercepts] != [
        (h_all,),
        (k,),
    ]:
        raise ValueError(
            f"coef_init must be arrays of shapes {wanted} and intercept_init of "
            f"{[(h_all,), (k,)]}: n_members={n_members} times {h} hidden units. Got "
            f"{found} and {[b.shape for b in intercepts]}."
        )
    skip = np.zeros((d, k)) if skip_layer else None
    return coefs[:2], intercepts, coefs[2] if len(coefs) == 3 else skip


def _finite_arrays(arrays, name):
    """The finite arrays of a list, in float64."""
    if isinstance(arrays, str | dict) or not np.iterable(arrays):
        raise TypeError(
            f"{name} must be a list of arrays. Got {type(arrays).__name__} instead."
        )
    checked = []
    for values in arrays:
        values = unmasked(values, name)
        with named_errors(name):
            checked.append(
                check_array(
                    values,
                    ensure_2d=False,
                    dtype=np.float64,
                    input_name=name,
                    copy=True,
                )
            )
    return checked
