"""Real targets as the network learns them: scaled, and predictions back in their units.

The face that `RealTargets` shares with `ClassTargets` stands in `class_targets`.

Predictions of a standardized regression go beyond the range of the training targets by
a share of it at most: a row far from all that was learnt is not carried away along a
straight line.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from sklearn_bp._tables.intervals import calibrate
from sklearn_bp._tables.metrics import R2, d2_pinball
from sklearn_bp._tables.running import settled
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.targets import check_regression_targets
from sklearn_bp.losses import Quantile, as_loss

# Targets of a loss with predictions exp(z), and standardize=True, are divided by a unit
# if their mean is not between these: such losses do not train there, nor does float32.
SMALLEST_MEAN, LARGEST_MEAN = 0.01, 1e6

# Targets whose inverse spread is beyond this, or above its inverse, are scaled back
# after the network: folded into the weights they would overflow in a sum.
LARGEST_FOLDED = 1e290


@dataclass(frozen=True)
class RealTargets:
    """The scaling of real targets, their range, and what intervals are made of.

    Attributes
    ----------
    n_targets : int
    loss_given : str or object
        The parameter `loss`.
    standardize : bool
    extrapolation : float
        How far predictions go beyond the range, as a share of it.
    score_scaling : Scaling or None
        Of the targets, or of scores that are logarithms; folded into the weights.
    prediction_scaling : Scaling or None
        Of targets, where it cannot be folded.
    unit : Scaling or None
        What targets are divided by where scores are logarithms.
    range : ndarray of shape (2, n_targets) or None
        Of the training targets, where predictions are to stay near it.
    errors : (quantiles, n) or None
        Those on validation rows, as `calibrate` gives them.
    """

    n_targets: int
    loss_given: Any = "squared_error"
    standardize: bool = True
    extrapolation: float = 0.05
    score_scaling: Scaling | None = None
    prediction_scaling: Scaling | None = None
    unit: Scaling | None = None
    range: Any = None
    errors: Any = None

    may_relax: ClassVar[bool] = True  # the penalty, where it helps no more
    tempers: ClassVar[bool] = False
    labelled: ClassVar[bool] = False

    @classmethod
    def of_fit(cls, y, recipe, known, request, dtype):
        """The targets, and the matrix Y; in `dtype`, unless they are standardized."""
        # Scaled targets lose no digits to an offset in float64.
        Y = check_regression_targets(y, np.float64 if recipe.standardize else dtype)
        return cls.of_number(Y.shape[1], recipe, known), Y

    @classmethod
    def of_number(cls, n_targets, recipe, known):
        """So many targets; ValueError if another network than `known` is for them."""
        if known is None:
            return cls(n_targets).for_fit(recipe)
        if known.n_targets != n_targets:
            raise ValueError(
                f"y has {n_targets} columns, and the fitted network has been trained "
                f"on {known.n_targets}. Use clone() to start anew."
            )
        return known.for_fit(recipe)

    def for_fit(self, recipe):
        """The same, with the loss and the rules of a recipe."""
        return replace(
            self,
            loss_given=recipe.loss,
            standardize=recipe.standardize,
            extrapolation=float(recipe.extrapolation),
            errors=None,
        )

    @property
    def loss(self):
        return as_loss(self.loss_given)

    def training_loss(self, recipe, dtype):
        """The loss to train by: scores as no fit should see them are bounded.

        Line searches look far ahead, and come back from there by themselves.
        """
        loss = self.loss
        if not (self.standardize and loss.logarithmic and recipe.solver != "lbfgs"):
            return loss
        return loss.bounded(self.in_training_units(self.range)[1].astype(dtype))

    def encode_validation(self, y):
        """The matrix Y of validation rows; ValueError for another number of columns."""
        Y = check_regression_targets(y, np.float64)
        if Y.shape[1] != self.n_targets:
            raise ValueError(
                f"y_val has {Y.shape[1]} columns, and y has {self.n_targets}."
            )
        return Y

    def weighted(self, recipe, y, sample_weight):
        """The same: there are no classes to be weighted."""
        return self

    def times_class_weights(self, y, sample_weight):
        """The sample weights."""
        return sample_weight

    # Scaling.

    def learned(self, rows, running, continuing):
        """The targets with the scaling of these rows, and `Running` with theirs.

        Parameters
        ----------
        rows : MemoryRows or PartitionedRows
        running : Running or None
            Statistics of all rows so far, these rows' features among them.
        continuing : bool
            Whether there have been other rows before.
        """
        loss, targets = self.loss, self
        if not continuing:
            scaling, mean = None, None
            if self.standardize and loss.scalable:
                running = running.merged(rows.target_statistics(loss.robust))
                scaling = Scaling.of_target_statistics(running.targets)
            elif self.standardize and loss.logarithmic:
                mean = rows.mean_target()
            targets = self._scaled_by(scaling, mean)
        elif running is not None and running.targets is not None:
            robust = running.targets.columns is not None
            if self.n_targets == len(running.targets.mean) and not rows.repeat:
                running = running.merged(rows.target_statistics(robust))
                scaling = Scaling.of_target_statistics(running.targets)
                targets = self._using(settled(self.scaling, scaling))
        if targets.cuts_predictions:
            known = joined_range(targets.range, rows.target_range())
            targets = replace(targets, range=known)
        return targets, running

    def _scaled_by(self, scaling, mean):
        """With the scaling of the targets, or of positive ones their mean; or None."""
        free = replace(
            self, score_scaling=None, prediction_scaling=None, unit=None, range=None
        )
        if scaling is not None:
            return free._using(scaling)
        unit = None if mean is None else unit_of_mean(mean)
        if unit is None:
            return free
        of_scores = Scaling(-np.log(unit.factor), np.ones_like(unit.factor))
        return replace(free, unit=unit, score_scaling=of_scores)

    def _using(self, scaling):
        """With targets scaled; folded into the weights where that can be done."""
        sizes = np.append(scaling.factor, abs(scaling.centre))
        usual = (sizes == 0) | (sizes >= 1 / LARGEST_FOLDED)
        usual &= sizes <= LARGEST_FOLDED
        if self.loss.n_scores(1) == 1 and usual.all():
            return replace(self, score_scaling=scaling, prediction_scaling=None)
        return replace(self, score_scaling=None, prediction_scaling=scaling)

    @property
    def scaling(self):
        """That of targets, or None, whether it is folded into the weights or not."""
        for scaling in (self.unit, self.score_scaling):
            if scaling is not None:
                return scaling
        return self.prediction_scaling

    @property
    def reference(self):
        return self.score_scaling if self.unit is not None else self.scaling

    @property
    def cuts_predictions(self):
        """Whether predictions end near the range of the training targets."""
        return self.scaling is not None or bool(
            self.standardize and self.loss.logarithmic
        )

    def in_training_units(self, Y):
        scaling = self.scaling
        return Y if scaling is None else scaling(Y)

    def check_continuing(self, recipe):
        """ValueError for a loss that training cannot go on with."""
        scaled = self.unit is None and self.scaling is not None
        if scaled != bool(recipe.standardize and as_loss(recipe.loss).scalable):
            raise ValueError(
                "Training goes on from weights that were fitted to targets "
                f"{'in units of their spread' if scaled else 'as they are'}, and "
                f"loss={recipe.loss!r} needs them "
                f"{'as they are' if scaled else 'scaled'}"
                ". Set the loss back, or set warm_start=False or use clone() to start "
                "anew."
            )

    # After training.

    def calibrated(self, validate, parameters):
        """With the errors on validation rows, if there are any."""
        if validate is None:
            return self
        errors, weights = validate.errors(parameters)
        errors = errors.astype(np.float64)  # which holds them in the user's units
        scaling = self.scaling
        if scaling is not None and not self.loss.relative_errors:
            width = scaling.factor  # 0 for a constant target
            with np.errstate(over="ignore"):
                errors = np.divide(
                    errors, width, out=np.zeros_like(errors), where=width > 0
                )
            errors = finite(errors)
        equal = weights.min() == weights.max()
        return replace(self, errors=calibrate(errors, None if equal else weights))

    def attributes(self):
        """The public attributes of a fit."""
        return {"target_range_": self.range}

    def with_attributes(self, estimator):
        """The same, with `target_range_`, which users may change."""
        known = getattr(estimator, "target_range_", None)
        return self if known is self.range else replace(self, range=known)

    def strata(self, Y):
        return np.zeros(len(Y))

    def stratified_by(self, Y):
        return None

    def score(self, Y, sample_weight):
        """A function of scores: R2, or of quantiles D2."""
        loss, of = self.loss, None
        if not isinstance(loss, Quantile):
            of = R2(Y, sample_weight)

        def score(z2):
            P = self.mean(z2.astype(np.float64, copy=False))
            if not np.isfinite(P).all():
                return np.nan
            if of is not None:
                return of(P.reshape(Y.shape))
            P = P.reshape(*Y.shape, -1)
            return d2_pinball(Y, P, loss.levels, sample_weight)

        return score

    # From scores to predictions.

    def predictions(self, z):
        """Predictions of the loss, in the user's units, from scores (overwritten)."""
        loss, scaling = self.loss, self.prediction_scaling
        known = self.unit if scaling is None else scaling
        if known is not None and not known.folds_in(z.dtype):
            z = z.astype(np.float64)
        if loss.logarithmic:
            with np.errstate(over="ignore"):
                loss.forward(z)
            digits = np.finfo(z.dtype)  # neither 0 nor infinite
            return np.clip(z, digits.smallest_subnormal, digits.max, out=z)
        loss.forward(z)
        if scaling is not None:
            with np.errstate(over="ignore"):
                loss.rescale(z, *scaling.inverse(z.dtype))
            finite(z)
        return z

    def n_targets_of(self, p):
        """The targets of a matrix of predictions, (n, n_outputs)."""
        return p.shape[-1] // self.loss.n_scores(1)

    def mean(self, z):
        """What `predict` returns, from scores, which are overwritten."""
        p = self.predictions(z)
        p = self.cut(self.loss.predicted(p, self.n_targets_of(p)))
        return p[:, 0] if p.shape[1] == 1 else p

    def cut(self, p):
        """Predictions, in place, not far beyond the range of the training targets."""
        limits = self.limits
        if limits is not None:
            low, high = limits.reshape(2, -1, *[1] * (p.ndim - 2))
            np.clip(p, low, high, out=p)
        return p

    @property
    def limits(self):
        """The smallest and the largest prediction of each target, (2, n), or None."""
        known = self.range
        if known is None or self.extrapolation == np.inf:
            return None
        if self.prediction_scaling is self.unit is None:
            margin = self.extrapolation * (known[1] - known[0])
            return np.stack([known[0] - margin, known[1] + margin])
        with np.errstate(over="ignore"):  # of targets near the ends of float64
            margin = self.extrapolation * finite(known[1] - known[0])
            return finite(np.stack([known[0] - margin, known[1] + margin]))

    def spread(self, scores):
        """Standard deviation of the targets, or None for one network without any.

        That of an equal mixture of what the members predict: the root of the variance
        of their means, and of the mean of the variances that they predict if the loss
        has one. They are not cut at the range of the targets, beyond which all would
        agree.

        Parameters
        ----------
        scores : ndarray of shape (n_members, n, n_outputs)
        """
        p = self.predictions(scores)
        loss, n_targets = self.loss, self.n_targets_of(p)
        unit = powers_of_two(p)  # so that no square overflows
        p = p / unit
        std = loss.predicted(p, n_targets).std(axis=0)
        own = loss.spread(p, n_targets)
        if own is not None:
            std = np.hypot(std, np.hypot.reduce(own, axis=0) / np.sqrt(len(p)))
        elif len(p) == 1:
            return None
        with np.errstate(over="ignore"):
            std = finite(std * unit)
        return std[:, 0] if std.shape[1] == 1 else std

    def interval(self, z, width):
        """Both ends of intervals of half a width, (n, [n_targets,] 2), from scores."""
        p, loss = self.predictions(z), self.loss
        n_targets = self.n_targets_of(p)
        predicted = self.cut(loss.predicted(p, n_targets))
        with np.errstate(over="ignore"):
            ends = loss.interval(predicted, loss.spread(p, n_targets), width)
        interval = finite(np.stack(ends, axis=-1))
        if loss.out_activation == "exp":
            np.maximum(interval, 0, out=interval)
        return interval[:, 0] if n_targets == 1 else interval


def joined_range(known, other):
    """The range, (2, n_targets), of two; the former may be None."""
    if known is None:
        return other
    return np.array([np.minimum(known[0], other[0]), np.maximum(known[1], other[1])])


def range_of(Y):
    """The smallest and the largest of each target, (2, n_targets)."""
    return np.array([Y.min(axis=0), Y.max(axis=0)])


def unit_of_mean(mean):
    """A `Scaling` for targets of this mean, (n_targets,): a power of 2, or None.

    A mean is 0 for targets of nothing but zeros.
    """
    usual = (mean == 0) | ((mean >= SMALLEST_MEAN) & (mean <= LARGEST_MEAN))
    if usual.all():
        return None
    exponent = np.where(usual, 0, np.clip(np.frexp(mean)[1], -1023, 1022))
    return Scaling(np.zeros_like(mean), np.ldexp(1.0, -exponent))


def finite(values):
    """Infinite values as the largest finite ones, in place."""
    most = np.finfo(values.dtype).max
    return np.clip(values, -most, most, out=values)


def overflows_in_squares(y):
    """Whether y are numbers whose squares are out of the range of float64."""
    if not (isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.size):
        y = np.asarray(y)
        if y.dtype.kind not in "iuf" or not y.size:
            return False
    largest = np.abs(y).max()
    return bool(largest > 1e100 or 0 < largest < 1e-100)


def powers_of_two(values, axis=None):
    """The powers of 2 next below the largest sizes: to divide by them is exact."""
    digits = np.finfo(values.dtype)
    _, exponent = np.frexp(np.abs(values).max(axis=axis, initial=0.0))
    exponent = np.clip(exponent - 1, digits.minexp + 2, digits.maxexp - 2)
    return np.ldexp(values.dtype.type(1), exponent)
