"""Losses, each with the output activation that belongs to it.

Arrays are (..., n_rows, n_scores) for scores z2 and predictions p, and (..., n_rows,
n_targets) for targets y: mostly as many, but a loss may have several scores a target.
A loss, one of your own too, derives from `Loss` and has

- `value(p, y)`: the loss of each row, (..., n_rows);
- `backward(p, y, out)`: the error of the output layer, delta2 = d value / d z2.

All else has a default:

- `forward(z)`: predictions from scores, in place (the inverse link); p = z;
- `out_activation`: its name in scikit-learn; "identity";
- `check_targets(y)`: a ValueError for targets outside the domain;
- `scalable`: whether targets may be shifted and scaled, that is, whether
  standardize=True standardizes them; False. Parameters of the loss then count in units
  of the standardized target. `robust`: by quartiles, and not by mean and deviation.
  `degree`: if all targets and predictions are c times as large, the loss is about c **
  degree times as large; 1;
- `n_scores(n_targets)`: n_targets. A scalable loss that has more also tells what
  scaling the targets back does to its predictions, `rescale(p, scale, shift)`, and for
  streams, whose scaling changes, `targets_of_scores(n_targets)` and
  `rescaled_scores(z, scale)`;
- `predicted(p, n_targets)`: of its predictions what `predict` returns; all.
  `spread(p, n_targets)`: the standard deviation that belongs to it; None;
- `interval_error(p, y)` and `interval(predicted, spread, width)`: how far a target is
  from what is predicted, and the interval that holds those nearer than that;
- `best_constant(mean, margin)`: the scores of least loss that all rows share, if the
  mean of the targets tells (`of_mean`); else `constant(Y, sample_weight, margin)`, by
  default found by a search;
- `tempered`: whether scores may be divided by a temperature;
- `for_validation()`: the loss that validation rows are measured by; itself;
- `bounded(largest)`: the loss to train scaled features by, if no target is above
  `largest`: the same, but for errors beyond any that a fit should see; itself.

A loss for classes derives from `ClassLoss`; it also has `proba(z)`, in place:
probabilities that are never 0, however small, so that their logarithm is finite; and
`variant(exclusive)`: the loss for classes that exclude each other, one score a class,
or for independent scores, one for two classes or one a label.

The penalty on the weights is not a loss: it belongs to the network.
"""

from typing import ClassVar

import numpy as np
from scipy.optimize import minimize

from sklearn_bp._common.option import Option


class Loss(Option):
    """A loss; one of your own derives from it.

    Attributes
    ----------
    out_activation : str
        Name of the inverse link.
    tempered : bool
        Whether scores may be divided by a temperature: they are log-probabilities.
    scalable : bool
        Whether targets may be shifted and scaled: the loss only sees differences.
    robust : bool
        Whether they are scaled by their quartiles, as few of them may be far off.
    degree : int
        The loss of targets and predictions that are c times as large is c ** degree
        times as large.
    positive_only : bool
        Whether all targets must be above 0, or are better there.
    logarithmic : bool
        Whether predictions are exp(z), and targets may be divided by a unit, which
        moves scores by its logarithm.
    relative_errors : bool
        Whether `interval_error` has no unit; else it has that of the targets.
    of_mean : bool
        Whether `best_constant` gives the scores of least loss; if not, they are where
        the search for them begins.
    """

    out_activation: ClassVar[str] = "identity"
    tempered: ClassVar[bool] = False
    scalable: ClassVar[bool] = False
    robust: ClassVar[bool] = False
    degree: ClassVar[int] = 1
    positive_only: ClassVar[bool] = False
    logarithmic: ClassVar[bool] = False
    relative_errors: ClassVar[bool] = False
    of_mean: ClassVar[bool] = False

    def n_scores(self, n_targets):
        """Output units for so many targets."""
        return n_targets

    def forward(self, z):
        """Turn scores into predictions, in place."""

    def backward(self, p, y, out):
        """Write the derivative of `value` with respect to the scores into `out`."""
        raise NotImplementedError

    def value(self, p, y):
        """The loss of each row, (..., n_rows)."""
        raise NotImplementedError

    def bind(self, shape, dtype):
        """`forward` for arrays of this shape, C-ordered, with buffers of its own."""
        return self.forward

    def check_targets(self, y):
        """Raise a ValueError for targets, (n, n_targets), outside the domain."""

    def best_constant(self, mean, margin):
        """The scores, the same for all rows, of least loss for targets of this mean.

        `mean` is (n_targets,), float64, and counts as being at least `margin` away
        from where scores are infinite.
        """
        return mean

    def constant(self, Y, sample_weight, margin):
        """The scores of least loss, (n_scores,), found by a search.

        Y is (n, n_targets), float64, sample_weight (n,).
        """
        shares = sample_weight / sample_weight.sum()
        start = self.best_constant(shares @ Y, margin)

        def loss_and_gradient(scores):
            P = np.tile(scores, (len(Y), 1))
            self.forward(P)
            error = np.empty_like(P)
            self.backward(P, Y, error)
            return shares @ self.value(P, Y), shares @ error

        with np.errstate(all="ignore"):
            found = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True)
        return found.x if np.isfinite([found.fun, *found.x]).all() else start

    def predicted(self, p, n_targets):
        """What `predict` returns: (n, n_targets), or (n, n_targets, several)."""
        return p

    def spread(self, p, n_targets):
        """The predicted standard deviation, (n, n_targets); None if there is none."""
        return None

    def rescale(self, p, scale, shift):
        """Predictions of targets y, turned in place into those of y * scale + shift.

        `scale` and `shift` are (n_targets,).
        """
        p *= scale
        p += shift

    def targets_of_scores(self, n_targets):
        """For each score, (n_scores,), its target; -1 if no linear function of this."""
        return np.arange(n_targets)

    def rescaled_scores(self, z, scale):
        """Scores, (n, n_scores), whose predictions are those of z times `scale`.

        `scale` is (n_targets,), 0 for a target that nothing is known of.
        """
        return z * scale

    def interval_error(self, p, y):
        """How far targets are from predictions, (n, n_targets), without the sign."""
        return np.abs(self.predicted(p, y.shape[-1]) - y)

    def interval(self, predicted, spread, width):
        """Lower and upper end where `interval_error` is `width`, (n_targets,)."""
        return predicted - width, predicted + width

    def for_validation(self):
        """The loss that validation rows are measured by."""
        return self

    def bounded(self, largest):
        """The loss to train by, where targets are at most `largest`, (n_targets,)."""
        return self


# Rows that `best_constant` takes at a time, so that it needs next to no memory, and
# at most, evenly spaced, where it searches.
CONSTANT_ROWS = 4096
SEARCHED_ROWS = 20_000


def best_constant(loss, Y, sample_weight=None):
    """The constant scores of least loss, and this loss: what any network must beat.

    Parameters
    ----------
    loss : object of the tables below
    Y : ndarray of shape (n, n_targets)
    sample_weight : ndarray of shape (n,), default=None

    Returns
    -------
    scores : ndarray of shape (n_scores,), float64
        Finite also where a class does not occur.
    value : float
        The mean loss.
    """
    n = len(Y)
    weights = np.ones(n) if sample_weight is None else sample_weight
    blocks = [slice(i, i + CONSTANT_ROWS) for i in range(0, n, CONSTANT_ROWS)]
    total = weights.sum()
    if loss.of_mean:
        mean = sum(weights[rows] @ Y[rows].astype(np.float64) for rows in blocks)
        scores = loss.best_constant(mean / total, 0.5 / n)
    else:
        some = np.flatnonzero(weights)
        some = some[:: -(-len(some) // SEARCHED_ROWS)]
        scores = loss.constant(Y[some].astype(np.float64), weights[some], 0.5 / n)
    value = 0.0
    for rows in blocks:
        P = np.tile(scores, (len(Y[rows]), 1))
        loss.forward(P)
        with np.errstate(all="ignore"):  # of targets beyond their dtype; training tells
            value += weights[rows] @ loss.value(P, Y[rows])
    return scores, float(value / total)
