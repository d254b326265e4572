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

    def __call__(self, z, found):
        """Intercepts z, (n_members, k), for the new scaling; `found` for the others."""
        before, after = self.before.factor, self.after.factor
        known = (before > 0) & (after > 0)
        scale = np.divide(after, before, out=np.zeros_like(after), where=known)
        curved = self.loss.targets_of_scores(len(scale)) < 0
        return np.where(curved, self.loss.rescaled_scores(z, scale), found)


class Reexpression:
    """From weights for some scalings to weights for others.

    Parameters
    ----------
    before, after : Scalings
        The scalings of the old columns, and of the new ones.
    origins : ndarray of int, (d_new,)
        The old column of each new one, or -1.
    fills : list of (indicator, column, change)
        For new columns: the missing-value indicator of a column, and the change of the
        value that fills it.
    n_rows : int
        Number of rows so far.
    homogeneous : bool, default=False
        Whether hidden units may be rescaled.
    degree : float, default=0
        The loss of targets that are c times as large is c ** degree times as large.
    curved : callable(z, found) -> z, or None
        If predictions are a nonlinear function of some scores, which have centre 0 and
        factor 1 here: maps intercepts z, (n_members, k), to those with the same
        predictions; `found` has the intercepts of all other scores.
    of_units : ndarray of shape (n_targets,), default=None
        Factors of the targets for which scores are logarithms; None for the factors of
        the scores.
    """

    def __init__(
        self,
        before,
        after,
        origins,
        fills,
        n_rows,
        homogeneous=False,
        degree=0,
        curved=None,
        of_units=None,
    ):
        self.curved = curved
        self.before, self.after, self.origins = before, after, origins
        self.fills = fills
        few = n_rows < VERY_FEW_ROWS
        known = origins >= 0
        old = np.where(known, before.factor[origins], 0.0)
        self._centre = np.where(known & (old > 0), before.centre[origins], after.centre)
        new = after.factor
        self._ratio = np.divide(old, new, out=np.zeros_like(new), where=new > 0)
        grows = self._ratio <= (1.0 if few else WIDER)
        self._ratio = np.where(grows, self._ratio, np.minimum(self._ratio, 1.0))
        constant = known & (old == 0)
        unknown = constant | (known & (self._ratio < 1 / NARROWER))
        drawn = constant if few else np.zeros_like(constant)
        if not np.any(~unknown & (new > 0)):
            drawn = unknown
        self._ratio[drawn] = 1.0
        former = before.centre[origins]
        near = np.abs(after.centre - former) * new <= NEAR
        self._centre = np.where(drawn & near, former, self._centre)
        self._centre = np.where(drawn & ~near, after.centre, self._centre)
        self._of_units = 1.0
        grown = self._ratio[(self._ratio > 0) & known]
        if homogeneous and len(grown):
            self._of_units = float(np.sqrt(np.mean(grown**2)))
        self._of_scores = _ratios(before.score_factor, after.score_factor, few)
        known = self._of_scores[before.score_factor > 0]
        known = known[known > 0] if of_units is None else of_units
        # Factor by which losses, and gradients with respect to the same weights, grow.
        self.growth = (
            float(np.exp(degree * np.log(known).mean())) if len(known) else 1.0
        )

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
        after, n_members = self.after, old.n_members
        scales = new.scales[:, np.newaxis]
        shift = ((after.centre - self._centre) * after.factor)[:, np.newaxis]
        of_scores = self._of_scores
        b2 = wide.b2.reshape(n_members, -1)
        inverse = np.divide(
            1.0,
            self.before.score_factor,
            where=self.before.score_factor > 0,
            out=np.zeros_like(of_scores),
        )
        b2 = (b2 * inverse + self.before.score_centre - after.score_centre) * (
            after.score_factor
        )
        if self.curved is not None:
            b2 = self.curved(wide.b2.reshape(n_members, -1), b2)
        new.b2[...] = b2.ravel()
        for W, b in ((new.W1 * scales, new.b1), (new.V, new.b2)):
            if W is None:
                continue
            b += (shift * W).sum(axis=0)
            own = new.W1 if b is new.b1 else new.V
            for indicator, column, change in self.fills:
                # The filled value moves by `change`; the indicator compensates it.
                moved = -change * after.factor[column] * W[column]
                s = new.scales[indicator] if b is new.b1 else 1.0
                factor = after.factor[indicator] * s
                if factor > 0:
                    own[indicator] += moved / factor
                    b += moved * after.centre[indicator]
        return new.astype(old.flat.dtype)

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
        _, h, k, *rest = old.layout
        new = Parameters.empty(len(self.origins), h, k, dtype, *rest)
        new.member_weights = old.member_weights
        return new

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


def _ratios(before, after, few):
    """The factor of the scores of each target."""
    ratios = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    if few:
        ratios[(before == 0) & (after > 0)] = 1.0
    return ratios
