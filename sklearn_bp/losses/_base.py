"""The base class of losses, and the constant scores of least loss.

Arrays are (..., n_rows, n_scores) for scores z2 and predictions p, and (..., n_rows,
n_targets) for targets y. Mostly n_scores = n_targets, but a loss may have several
scores per target. A loss, including your own, derives from `Loss` and must have

- `value(p, y)`: the loss of each row, (..., n_rows);
- `backward(p, y, out)`: the error of the output layer, delta2 = d value / d z2.

Everything else has a default:

- `forward(z)`: predictions from scores, in place (the inverse link); p = z;
- `out_activation`: its name in scikit-learn; "identity";
- `onnx(graph, z)`: the inverse link in an ONNX graph, needed for export if there is a
  `forward`; z;
- `formulas`: for the table in `docs/backpropagation.md`, needed by losses that have a
  name;
- `check_targets(y)`: raises a ValueError for targets outside the domain;
- `scalable`: whether targets may be shifted and scaled, so that standardize=True
  standardizes them; False. Parameters of the loss are then in units of the
  standardized target. `robust`: scale by quartiles instead of mean and deviation.
  `degree`: with targets and predictions c times as large, the loss is about
  c ** degree times as large; 1;
- `n_scores(n_targets)`: n_targets. A scalable loss with more scores also needs
  `rescale(p, scale, shift)`, which scales its predictions back, and for streams, whose
  scaling changes, `targets_of_scores(n_targets)` and `rescaled_scores(z, scale)`;
- `predicted(p, n_targets)`: the part of its predictions that `predict` returns; all.
  `spread(p, n_targets)`: the standard deviation that belongs to it; None;
- `interval_error(p, y)` and `interval(predicted, spread, width)`: the distance between
  target and prediction, and the interval of targets that are nearer than `width`;
- `best_constant(mean, margin)`: the constant scores of least loss, if the mean of the
  targets determines them (`of_mean`); else `constant(Y, sample_weight, margin)`, by
  default a numerical search;
- `tempered`: whether scores may be divided by a temperature;
- `for_validation()`: the loss used on validation rows; itself;
- `bounded(largest)`: the loss used to train on scaled features if no target is above
  `largest`. It equals this loss but for errors larger than any in a sensible fit;
  itself.

A loss for classes derives from `ClassLoss`. It also has `proba(z)`, which turns scores
into probabilities in place, never 0, so that their logarithms are finite; and
`variant(exclusive)`, the loss for classes that exclude each other (one score per class)
or for independent scores (one for two classes, or one per label).

The penalty on the weights is not part of the loss: it belongs to the network.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from scipy.optimize import minimize

from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._common.option import Option
from sklearn_bp._common.types import Array


class Loss(Option):
    """A loss; derive your own from it.

    Attributes
    ----------
    out_activation : str
        Name of the inverse link.
    tempered : bool
        Whether scores may be divided by a temperature: they are log-probabilities.
    scalable : bool
        Whether targets may be shifted and scaled: the loss depends on differences only.
    robust : bool
        Whether they are scaled by their quartiles, because a few may be far off.
    degree : int
        With targets and predictions c times as large, the loss is c ** degree times as
        large.
    positive_only : bool
        Whether all targets must, or should, be above 0.
    logarithmic : bool
        Whether predictions are exp(z), so that dividing the targets by a unit shifts
        the scores by its logarithm.
    relative_errors : bool
        Whether `interval_error` is dimensionless instead of in units of the targets.
    of_mean : bool
        Whether `best_constant` gives the scores of least loss; if not, the search for
        them starts there.
    formulas : tuple of str
        The inverse link g(z), the loss and delta2 for the table in
        `docs/backpropagation.md`, as Markdown; only losses that have a name need them.
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
    formulas: ClassVar[tuple[str, ...]] = ()

    def n_scores(self, n_targets: int) -> int:
        """Number of output units for this number of targets."""
        return n_targets

    def forward(self, z: Array) -> None:
        """Turn scores into predictions, in place."""

    def backward(self, p: Array, y: Array, out: Array) -> None:
        """Write the derivative of `value` with respect to the scores into `out`."""
        raise NotImplementedError

    def value(self, p: Array, y: Array) -> Array:
        """The loss of each row, (..., n_rows)."""
        raise NotImplementedError

    def bind(self, shape: tuple[int, ...], dtype: DTypeLike) -> Callable[[Array], None]:
        """`forward` for C-ordered arrays of this shape, with its own buffers."""
        return self.forward

    def onnx(self, graph: Graph, z: str) -> str:
        """Append the nodes of the inverse link to an ONNX graph.

        For classes: of `proba`. Only needed for export, by losses with a `forward`.

        Parameters
        ----------
        graph : sklearn_bp.onnx.Graph
        z : str
            Name of the scores.

        Returns
        -------
        str
            Name of the predictions.
        """
        return z

    def check_targets(self, y: Array) -> None:
        """Raise a ValueError for targets, (n, n_targets), outside the domain."""

    def best_constant(self, mean: Array, margin: float) -> Array:
        """The constant scores of least loss for targets of this mean.

        `mean` is (n_targets,), float64. It is kept at least `margin` away from values
        whose scores are infinite.
        """
        return mean

    def constant(self, Y: Array, sample_weight: Array, margin: float) -> Array:
        """The constant scores of least loss, (n_scores,), found by a numerical search.

        Y is (n, n_targets), float64, sample_weight (n,).
        """
        shares = sample_weight / sample_weight.sum()
        start = self.best_constant(shares @ Y, margin)

        def loss_and_gradient(scores: Array) -> tuple[float, Array]:
            P = np.tile(scores, (len(Y), 1))
            self.forward(P)
            error = np.empty_like(P)
            self.backward(P, Y, error)
            return shares @ self.value(P, Y), shares @ error

        with np.errstate(all="ignore"):
            minimum = minimize(loss_and_gradient, start, method="L-BFGS-B", jac=True)
        is_finite = np.isfinite([minimum.fun, *minimum.x]).all()
        return minimum.x if is_finite else start

    def predicted(self, p: Array, n_targets: int) -> Array:
        """The value of `predict`, (n, n_targets) or (n, n_targets, several)."""
        return p

    def spread(self, p: Array, n_targets: int) -> Array | None:
        """The predicted standard deviation, (n, n_targets), or None."""
        return None

    def rescale(self, p: Array, scale: Array, shift: Array) -> None:
        """Turn predictions of y into predictions of y * scale + shift, in place.

        `scale` and `shift` are (n_targets,).
        """
        p *= scale
        p += shift

    def targets_of_scores(self, n_targets: int) -> Array:
        """The target of each score, (n_scores,); -1 where it is not linear in one."""
        return np.arange(n_targets)

    def rescaled_scores(self, z: Array, scale: Array) -> Array:
        """Scores, (n, n_scores), whose predictions are those of z times `scale`.

        `scale` is (n_targets,), 0 for a target of unknown scale.
        """
        return z * scale

    def interval_error(self, p: Array, y: Array) -> Array:
        """Absolute distance of targets from predictions, (n, n_targets)."""
        distance: Array = np.abs(self.predicted(p, y.shape[-1]) - y)
        return distance

    def interval(
        self, predicted: Array, spread: Array | None, width: Array
    ) -> tuple[Array, Array]:
        """Lower and upper target whose `interval_error` is `width`, (n_targets,).

        `predicted` and `spread` come from the methods of these names.
        """
        return predicted - width, predicted + width

    def for_validation(self) -> "Loss":
        """The loss used on validation rows."""
        return self

    def bounded(self, largest: Array) -> "Loss":
        """The loss to train with if targets are at most `largest`, (n_targets,)."""
        return self


def row_sum(values: Array) -> Array:
    """The sum over the outputs of each row, (..., n_rows)."""
    total: Array = values.sum(axis=-1)
    return total


def row_mean(values: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """The mean over the outputs of each row, (..., n_rows)."""
    mean: Array = values.mean(axis=axis)
    return mean


# `best_constant` works on blocks of rows to save memory, and searches on a limited
# number of evenly spaced rows.
CONSTANT_ROWS = 4096
SEARCHED_ROWS = 20_000


def best_constant(
    loss: Loss, Y: Array, sample_weight: Array | None = None
) -> tuple[Array, float]:
    """The constant scores of least loss, and that loss: the baseline for any network.

    Parameters
    ----------
    loss : Loss
    Y : ndarray of shape (n, n_targets)
    sample_weight : ndarray of shape (n,), default=None

    Returns
    -------
    scores : ndarray of shape (n_scores,), float64
        Finite even if a class does not occur.
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
    value: Any = 0.0  # a scalar of numpy's, of which mypy knows only an array
    for rows in blocks:
        P = np.tile(scores, (len(Y[rows]), 1))
        loss.forward(P)
        with np.errstate(all="ignore"):  # targets may overflow; training reports that
            value += weights[rows] @ loss.value(P, Y[rows])
    return scores, float(value / total)
