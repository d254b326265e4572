"""Re-expressing weights for another scaling, so that the network's function stays.

On the inputs (x - c) f the hidden layer is z1 = (x - c) f W1 + b1.  With another centre
c' and factor f' it is the same function of x where

    W1' = W1 f / f'        b1' = b1 + ((c' - c) f') W1'

and likewise with the skip layer's V and b2.  Scores, of targets (y - c) f, are the same
in the user's units where

    W2' = W2 f' / f        b2' = (b2 / f + c - c') f'

If f(c z) = c f(z) for the activation and any c > 0, as for relu, hidden units are
rescaled, W1 / c, b1 / c, c W2, so that input weights keep their size.

A new column, or one that had been constant, starts with weights of 0.

With few rows hardly anything has been learned and widths are poorly known: two rows
that happen to be close to each other could produce weights of any size.  Weights do not
grow then, and columns that had been constant keep their random weights.

A column that becomes narrower by more than NARROWER had its width from wild values, and
so little has been learned about the others.  If all columns had been constant or so
wide, they keep their weights too: a network whose input weights are all 0 cannot learn,
and neither can one whose hidden units bend far from all rows.  For the same reason the
intercepts do not follow a centre that moves by more than NEAR widths there: the former
value of such a column is no guide.
"""

from typing import Any, NamedTuple

import numpy as np

from sklearn_bp._network.parameters import Parameters

# The number of rows that counts as few, see above.
VERY_FEW_ROWS = 10

# Limits for columns about which little has been learned, see above.
NARROWER = 8.0
NEAR = 2.0

# If a column becomes wider by more than this, float32 cannot tell the former rows
# apart, and weights do not grow.
WIDER = 2.0**24


class Scalings(NamedTuple):
    """Centres and factors of the columns, ndarrays (d,), and of the scores, (k,)."""

    centre: np.ndarray
    factor: np.ndarray
    score_centre: np.ndarray
    score_factor: np.ndarray

    @classmethod
    def of(cls, d, k, features, scores):
        """From a `Scaling` or None for d columns and one for k scores."""
        return cls(*_centre_and_factor(d, features), *_centre_and_factor(k, scores))


def _centre_and_factor(n, scaling):
    if scaling is None:
        return np.zeros(n), np.ones(n)
    centre = np.zeros(n) if scaling.centre is None else scaling.centre
    return centre, scaling.factor


class Curved(NamedTuple):
    """Intercepts of scores on which predictions depend in a nonlinear way.

    Attributes
    ----------
    loss : object of `losses`
    before, after : Scaling
        Target scalings.
    """

    loss: Any
    before: Any
    after: Any

    def __call__(self, z, others):
        """Intercepts z, (n_members, k), for the new scaling; `others` elsewhere."""
        before, after = self.before.factor, self.after.factor
        known = (before > 0) & (after > 0)
        scale = np.divide(after, before, out=np.zeros_like(after), where=known)
        curved = self.loss.targets_of_scores(len(scale)) < 0
        return np.where(curved, self.loss.rescaled_scores(z, scale), others)


class Rearrangement(NamedTuple):
    """New columns in terms of the old ones.

    Attributes
    ----------
    origins : ndarray of int, (d_new,)
        The old column of each new one, or -1.
    fills : list of (indicator, column, change)
        For new columns: the missing-value indicator of a column, and the change of the
        value that fills it.
    """

    origins: np.ndarray
    fills: list[tuple[int, int, float]]


class Symmetries(NamedTuple):
    """How activation and loss respond to other units.

    Attributes
    ----------
    homogeneous : bool
        Whether hidden units may be rescaled.
    degree : float
        The loss of targets that are c times as large is c ** degree times as large.
    curved : callable(z, others) -> z, or None
        If predictions are a nonlinear function of some scores, which have centre 0 and
        factor 1 here: maps intercepts z, (n_members, k), to those with the same
        predictions; `others` has the intercepts of all other scores.
    of_units : ndarray of shape (n_targets,), or None
        Factors of the targets for which scores are logarithms; None for the factors of
        the scores.
    """

    homogeneous: bool = False
    degree: float = 0
    curved: Any = None
    of_units: Any = None


class Reexpression:
    """From weights for some scalings to weights for others.

    Parameters
    ----------
    before, after : Scalings
        The scalings of the old columns, and of the new ones.
    rearrangement : Rearrangement
    n_rows : int
        Number of rows so far.
    symmetries : Symmetries
    """

    def __init__(self, before, after, rearrangement, n_rows, symmetries):
        self.before, self.after = before, after
        self.origins, self.fills = rearrangement
        self.curved = symmetries.curved
        few = n_rows < VERY_FEW_ROWS
        self._ratio, self._centre = _of_columns(before, after, self.origins, few)
        self._of_units = 1.0
        grown = self._ratio[(self._ratio > 0) & (self.origins >= 0)]
        if symmetries.homogeneous and len(grown):
            self._of_units = float(np.sqrt(np.mean(grown**2)))
        self._of_scores = _ratios(before.score_factor, after.score_factor, few)
        ratios = self._of_scores[(before.score_factor > 0) & (self._of_scores > 0)]
        if symmetries.of_units is not None:
            ratios = symmetries.of_units
        # Factor by which losses, and gradients with respect to the same weights, grow.
        self.growth = 1.0
        if len(ratios):
            self.growth = float(np.exp(symmetries.degree * np.log(ratios).mean()))

    @property
    def is_none(self):
        """Whether nothing changes."""
        same = np.array_equal(self.origins, np.arange(len(self.before.factor)))
        return (
            same
            and not self.fills
            and all(map(np.array_equal, self.before, self.after))
        )

    def parameters(self, old):
        """A copy of parameters for the old scalings, converted to the new ones."""
        ratios = self._ratios(old)
        wide = old.astype(np.float64)
        new = self._taken(wide)
        new.flat *= ratios.flat
        b2 = wide.b2.reshape(old.n_members, -1)
        new.b2[...] = self._output_intercepts(b2).ravel()
        self._follow(new.W1, new.b1, new.scales)
        if new.V is not None:
            self._follow(new.V, new.b2, np.ones(len(new.V)))
        return new.astype(old.flat.dtype)

    def _output_intercepts(self, b2):
        """b2' of the members, (n_members, k), if the centres of the columns stay."""
        before, after = self.before, self.after
        inverse = np.divide(
            1.0,
            before.score_factor,
            where=before.score_factor > 0,
            out=np.zeros_like(self._of_scores),
        )
        new = (b2 * inverse + before.score_centre - after.score_centre) * (
            after.score_factor
        )
        return new if self.curved is None else self.curved(b2, new)

    def _follow(self, weights, intercepts, scales):
        """Let intercepts follow centres, and indicators follow filled values, in place.

        Parameters
        ----------
        weights : ndarray of shape (d_new, n)
            From the columns, W1 or V, for the new scalings.
        intercepts : ndarray of shape (n,)
        scales : ndarray of shape (d_new,)
            The scaling layer's factors of the weights, or ones.
        """
        after, W = self.after, weights * scales[:, np.newaxis]
        shift = (after.centre - self._centre) * after.factor
        intercepts += (shift[:, np.newaxis] * W).sum(axis=0)
        for indicator, column, change in self.fills:
            # The filled value moves by `change`; the indicator compensates it.
            moved = -change * after.factor[column] * W[column]
            factor = after.factor[indicator] * scales[indicator]
            if factor > 0:
                weights[indicator] += moved / factor
                intercepts += moved * after.centre[indicator]

    def of_state(self, state, loss_is_monitored):
        """Re-express all vectors of a `TrainingState`, in place."""
        old = state.parameters
        state.parameters = self.parameters(old)
        if state.average is not None:
            state.average = self.parameters(state.average)
        if state.best is not None:
            state.best = self.parameters(old.like(state.best)).flat
        if loss_is_monitored:
            state.patience.best *= self.growth
        powers = getattr(state.optimizer_type, "gradient_powers", None)
        if powers is None:
            state.optimizer = None
        elif state.optimizer is not None:
            state.optimizer = {
                name: self.vector(old, value, powers.get(name, 0))
                if isinstance(value, np.ndarray) and value.shape == old.flat.shape
                else value
                for name, value in state.optimizer.items()
            }

    def vector(self, old, values, power):
        """An optimizer's vector in the layout of `old`, converted to the new layout.

        `power` is the power of the gradient in it; 0 if it scales like the parameters.
        """
        ratios = self._ratios(old).flat
        moved = self._taken(old.like(values.astype(np.float64))).flat
        if power:
            # Gradients by columns that were so much wider came from the wild values.
            # In the new units they would be so long that hardly a step follows.
            known = ratios > 1 / NARROWER
            inverse = np.divide(1.0, ratios, out=np.zeros_like(ratios), where=known)
            ratios = (self.growth * inverse) ** power
        limit = float(np.finfo(values.dtype).max) / 4
        return np.clip(moved * ratios, -limit, limit).astype(values.dtype)

    def _empty(self, old, dtype):
        """Parameters of the new layout."""
        layout = old.layout._replace(n_features=len(self.origins))
        return Parameters.empty(layout, dtype, old.member_weights)

    def _taken(self, old):
        """The parameters arranged by the new columns; 0 for added columns."""
        new = self._empty(old, old.flat.dtype)
        known = (self.origins >= 0)[:, np.newaxis]
        new.W1[...] = np.where(known, old.W1[self.origins], 0)
        new.b1[...], new.W2[...], new.b2[...] = old.b1, old.W2, old.b2
        if old.V is not None:
            new.V[...] = np.where(known, old.V[self.origins], 0)
        if old.r is not None:
            new.r[...] = np.where(known[:, 0], old.r[self.origins], 0)
        return new

    def _ratios(self, old):
        """The factor of each parameter, in the new layout."""
        ratios = self._empty(old, np.float64)
        ratios.flat[...] = 1
        of_scores = self._of_scores
        ratios.W1 *= self._ratio[:, np.newaxis] / self._of_units
        ratios.b1 /= self._of_units
        ratios.W2 *= of_scores * self._of_units
        tiled = np.tile(of_scores, old.n_members)
        ratios.b2 *= tiled
        if ratios.V is not None:
            ratios.V *= self._ratio[:, np.newaxis] * tiled
        return ratios


def _of_columns(before, after, origins, few):
    """The factor of the input weights of each new column, and its former centre.

    Parameters
    ----------
    before, after : Scalings
    origins : ndarray of int, (d_new,)
    few : bool
        Whether there have been few rows, see the top of this file.

    Returns
    -------
    ratio : ndarray of shape (d_new,)
        0 for a new column, or one that had been constant.
    centre : ndarray of shape (d_new,)
        That of the new scaling if the intercepts do not follow a change.
    """
    known = origins >= 0
    old, new = np.where(known, before.factor[origins], 0.0), after.factor
    former = before.centre[origins]
    centre = np.where(known & (old > 0), former, after.centre)
    ratio = np.divide(old, new, out=np.zeros_like(new), where=new > 0)
    grows = ratio <= (1.0 if few else WIDER)
    ratio = np.where(grows, ratio, np.minimum(ratio, 1.0))
    # Columns about which so little has been learned that they keep their weights.
    constant = known & (old == 0)
    unknown = constant | (known & (ratio < 1 / NARROWER))
    drawn = constant if few else np.zeros_like(constant)
    if not np.any(~unknown & (new > 0)):
        drawn = unknown
    ratio[drawn] = 1.0
    near = np.abs(after.centre - former) * new <= NEAR
    centre = np.where(drawn & near, former, centre)
    return ratio, np.where(drawn & ~near, after.centre, centre)


def _ratios(before, after, few):
    """The factor of the scores of each target."""
    ratios = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    if few:
        ratios[(before == 0) & (after > 0)] = 1.0
    return ratios
