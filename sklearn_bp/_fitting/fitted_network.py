"""The fitted network: everything that predictions need.

Training uses scaled columns, scaled targets and an ensemble of several members.  The
fitted network is a single one on the user's columns and in the user's units: `absorbed`
makes it from the members, and `packed` is the inverse.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Parameters, Weights
from sklearn_bp._tables.inputs import Inputs
from sklearn_bp._tables.limits import inside
from sklearn_bp._tables.scaling import absorb, absorb_skip, separate, separate_skip
from sklearn_bp.activations import as_activation

# From this number of rows on, it is faster to compute the units without bins apart.
MANY_ROWS = 64


@dataclass(frozen=True)
class FittedNetwork:
    """A network with the transformations of its inputs and of its scores.

    Attributes
    ----------
    weights : Weights or None
        They act on the user's encoded columns and give scores in the user's units.
        None if an estimator keeps them as public attributes.
    n_members : int
        Number of ensemble members that it was made from.
    shifts : tuple or None
        Differences between the members' intercepts, see `Parameters.shifts`.
    activation_given : str or object
        The parameter `activation`.
    categorical_given : str, array-like or None
        The parameter `categorical_features`.
    inputs : Inputs
    targets : ClassTargets or RealTargets
    member_weights : ndarray of shape (n_members,) or None
        The weights of the members' scores; None if `scores` are their plain mean.
    limits : ndarray of shape (2, n_encoded) or None
        The limits of the columns, see `_tables.limits`.  None, as for the weights, if
        an estimator keeps them.
    encoding_given : str, PiecewiseLinear or None
        The parameter `numeric_encoding`; no column may have had enough values for bins.
    """

    weights: Any
    n_members: int
    shifts: Any
    activation_given: Any
    categorical_given: Any
    inputs: Inputs
    targets: Any
    member_weights: Any = None
    limits: Any = None
    encoding_given: Any = "auto"

    @classmethod
    def of(cls, parameters, dtype, recipe, inputs, targets):
        """The network of trained parameters on scaled columns; weights in `dtype`."""
        weights = absorbed(
            parameters, dtype, inputs.network_scaling, targets.score_scaling
        )
        limits = inputs.limits
        if limits is not None:
            limits = limits.astype(weights.W1.dtype, copy=False)
        return cls(
            weights,
            parameters.n_members,
            parameters.shifts(),
            recipe.activation,
            recipe.categorical_features,
            inputs,
            targets,
            parameters.member_weights,
            limits,
            recipe.numeric_encoding,
        )

    @property
    def columns(self):
        """The `Columns` that encode the user's columns, or None."""
        return self.inputs.columns

    @property
    def dtype(self):
        return self.weights.W1.dtype

    @property
    def n_outputs(self):
        return self.weights.W2.shape[1]

    @cached_property  # a twentieth of the time of predicting a row
    def network(self):
        return TwoLayerNetwork(as_activation(self.activation_given), self.targets.loss)

    def scores(self, X):
        """Scores of encoded rows, (n, n_outputs)."""
        return self.scores_by(self.weights, X, self.limits)

    def scores_by(self, weights, X, limits):
        """Scores of encoded rows by these `Weights`, (n, n_outputs).

        Units that do not see bins, the first ones, need only the columns before them.
        """
        network, (n, d), bins = self.network, X.shape, self.inputs.bins
        n_blind = 0
        if bins is not None and n >= MANY_ROWS:
            sees_bins = weights.W1[d:].any(axis=0)
            n_blind = int(sees_bins.argmax()) if sees_bins.any() else 0
        if n_blind == 0:
            return network.scores(weights, X, scaling=self.within(limits))
        blind, seeing = weights.split(n_blind, d)
        z = network.scores(seeing, X, scaling=self.within(limits))
        z += network.scores(blind, X, scaling=self._replacing(limits))
        return z

    def within(self, limits):
        """From encoded rows to the inputs of the network: callable(X), or None.

        Values beyond the limits are replaced, and the columns of bins added.
        """
        bins, replaced = self.inputs.bins, self._replacing(limits)
        if bins is None or replaced is None:
            return replaced or bins
        return lambda X: bins(replaced(X))

    def _replacing(self, limits):
        """Replaces values beyond the limits: callable(X), or None without limits."""
        if limits is None:
            return None
        return partial(inside, limits=limits, centre=self.centre)

    @property
    def centre(self):
        """Replacements of values beyond the limits, (n_encoded,); None for zeros."""
        return self.inputs.scaling.centre

    def inside(self, X):
        """Encoded rows without values beyond the limits; X itself if there are none."""
        if self.limits is None:
            return X
        return inside(X, self.limits, self.centre)

    def seen(self, X):
        """Encoded rows as the network sees them; X itself if nothing changes."""
        replacing = self.within(self.limits)
        return X if replacing is None else replacing(X)

    def member_scores(self, X):
        """Scores of each ensemble member, (n, n_outputs); their mean is `scores`."""
        members = self.parameters(np.float64, self.n_members).members()
        absorbed = (absorb_scalings(member, *self._scalings) for member in members)
        dtype, limits = self.dtype, self.limits
        return [self.scores_by(w.astype(dtype), X, limits) for w in absorbed]

    def parameters(self, dtype, n_members, scale_speed=0.0):
        """`Parameters` of members whose mean absorbed the scalings into the weights."""
        features, scores = self._scalings
        parameters = packed(
            self.weights,
            dtype,
            n_members,
            features,
            scores,
            scale_speed,
            self.member_weights if n_members == self.n_members else None,
        )
        if self.shifts is not None:
            pairs = zip((parameters.b2, parameters.V), self.shifts, strict=True)
            for values, shifts in pairs:
                if values is not None and np.shape(shifts) == values.shape:
                    values += shifts
        return parameters

    def comes_from(self, parameters):
        """Whether the weights were made from these parameters."""
        expected = absorbed(parameters, self.dtype, *self._scalings)
        return all(map(np.array_equal, expected, self.weights))

    @property
    def _scalings(self):
        return self.inputs.network_scaling, self.targets.score_scaling

    def with_attributes(self, weights, estimator):
        """A copy with weights and public attributes that users may have changed."""
        targets = self.targets.with_attributes(estimator)
        limits = getattr(estimator, "feature_limits_", None)
        return replace(self, weights=weights, targets=targets, limits=limits)

    def attributes(self):
        """The attributes of an estimator: the weights, and `_fitted` for the rest."""
        W1, b1, W2, b2, V = self.weights
        return {
            "coefs_": [W1, W2],
            "intercepts_": [b1, b2],
            "skip_coef_": V,
            "n_outputs_": self.n_outputs,
            "feature_limits_": self.limits,
            "_fitted": replace(self, weights=None, limits=None),
        } | self.targets.attributes()


def absorbed(parameters, dtype, features, scores):
    """`Weights` of one network on the user's columns, in the user's units.

    They are in `dtype`, the one of X, or in float64 if `dtype` cannot hold them.

    Parameters
    ----------
    parameters : Parameters
    dtype : dtype
    features, scores : Scaling or None
    """
    if features is None and scores is None:
        (W1, W2), (b1, b2) = parameters.unpack()
        return Weights(W1, b1, W2, b2, parameters.unpack_skip())
    if not all(s is None or s.absorbable_in(dtype) for s in (features, scores)):
        dtype = np.float64
    return absorb_scalings(parameters.mean(), features, scores).astype(dtype)


def absorb_scalings(weights, features, scores):
    """`Weights` in float64 that have absorbed feature and score scaling."""
    W1, b1, W2, b2, V = weights
    (W1, W2), (b1, b2) = absorb([W1, W2], [b1, b2], features, scores)
    if V is not None:
        V, b2 = absorb_skip(V, b2, features, scores)
    return Weights(W1, b1, W2, b2, V)


def packed(
    weights, dtype, n_members, features, scores, scale_speed=0.0, member_weights=None
):
    """`Parameters` on scaled columns of members whose mean are the weights."""
    W1, b1, W2, b2, V = weights
    if features is not None or scores is not None:
        if V is not None:
            V, b2 = separate_skip(V, b2, features, scores)
        (W1, W2), (b1, b2) = separate([W1, W2], [b1, b2], features, scores)
    return Parameters.pack(
        [W1, W2], [b1, b2], dtype, n_members, V, scale_speed, member_weights
    )
