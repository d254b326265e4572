"""Real targets: scaled for training, and predictions back in the user's units.

`class_targets` describes the interface that `RealTargets` and `ClassTargets` share.

Predictions of a standardized regression go beyond the range of the training targets by
at most a fraction of it, so that rows far from the training data are not extrapolated
along a straight line.
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

# The exponents of units by which float64 can divide.
UNIT_EXPONENTS = -1022, 1022

# If the inverse spread of the targets is beyond this, or its inverse, predictions are
# scaled back after the network: if weights absorbed the scaling, sums would overflow.
LARGEST_ABSORBED = 1e290


@dataclass(frozen=True)
class RealTargets:
    """The scaling of real targets, their range, and the calibration residuals.

    Attributes
    ----------
    n_targets : int
    loss_given : str or object
        The parameter `loss`.
    standardize : bool
    extrapolation : float
        How far predictions may go beyond the range, as a fraction of it.
    score_scaling : Scaling or None
        Scaling of the scores, which may be logarithms; absorbed into the weights.
    prediction_scaling : Scaling or None
        Target scaling, if the weights cannot absorb it.
    unit : Scaling or None
        Unit of the targets, if scores are logarithms.
    range : ndarray of shape (2, n_targets) or None
        Range of the training targets, if predictions must stay near it.
    errors : (quantiles, n) or None
        Calibration residuals, see `intervals.calibrate`.
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

    may_drop_penalty: ClassVar[bool] = True  # once it no longer helps
    tempers: ClassVar[bool] = False
    labelled: ClassVar[bool] = False

    @classmethod
    def of_fit(cls, y, recipe, earlier, request, dtype):
        """The targets, and the matrix Y in `dtype`, or in float64 for scaling."""
        # In float64, scaled targets lose no digits to an offset.
        Y = check_regression_targets(y, np.float64 if recipe.standardize else dtype)
        return cls.of_number(Y.shape[1], recipe, earlier), Y

    @classmethod
    def of_number(cls, n_targets, recipe, earlier):
        """This number of targets; ValueError if `earlier` has another number."""
        if earlier is None:
            return cls(n_targets).for_fit(recipe)
        if earlier.n_targets != n_targets:
            raise ValueError(
                f"y has {n_targets} columns, but the fitted network was trained on "
                f"{earlier.n_targets}. Use clone() to start from scratch."
            )
        return earlier.for_fit(recipe)

    def for_fit(self, recipe):
        """A copy with the loss and the settings of a recipe."""
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
        """The loss to train with, in which extreme scores are bounded.

        Line searches evaluate extreme scores, but return from them by themselves.
        """
        loss = self.loss
        if not (self.standardize and loss.logarithmic and recipe.solver != "lbfgs"):
            return loss
        return loss.bounded(self.in_training_units(self.range)[1].astype(dtype))

    def encode_validation(self, y):
        """The matrix Y for validation rows; ValueError if its columns do not fit."""
        Y = check_regression_targets(y, np.float64)
        if Y.shape[1] != self.n_targets:
            raise ValueError(
                f"y_val has {Y.shape[1]} columns, but y has {self.n_targets}."
            )
        return Y

    def weighted(self, recipe, y, sample_weight):
        """These targets: there are no class weights."""
        return self

    def times_class_weights(self, y, sample_weight):
        """The sample weights, unchanged."""
        return sample_weight

    # Scaling.

    def learned(self, rows, running, continuing):
        """The targets with the scaling of these rows, and the `Running` statistics.

        Parameters
        ----------
        rows : MemoryRows or PartitionedRows
        running : Running or None
            Statistics of all rows so far, with the features of these rows.
        continuing : bool
            Whether there were earlier rows.
        """
        loss, targets = self.loss, self
        if not continuing:
            targets = replace(
                self, score_scaling=None, prediction_scaling=None, unit=None, range=None
            )
            if self.standardize and (loss.scalable or loss.logarithmic):
                running = running.merged(rows.target_statistics(loss.robust))
                targets = targets._scaled_by(running.targets)
        elif running is not None and running.targets is not None:
            robust = running.targets.columns is not None
            if self.n_targets == len(running.targets.mean) and not rows.repeat:
                running = running.merged(rows.target_statistics(robust))
                targets = self._scaled_by(running.targets)
        if targets.cuts_predictions:
            joined = joined_range(targets.range, rows.target_range())
            targets = replace(targets, range=joined)
        return targets, running

    def _scaled_by(self, found):
        """A copy with the scaling or the unit of targets with these statistics."""
        if self.loss.logarithmic:
            return self._in_unit(unit_of_targets(found, self.unit))
        scaling = Scaling.of_target_statistics(found)
        before = self.scaling
        return self._using(scaling if before is None else settled(before, scaling))

    def _in_unit(self, unit):
        """A copy with targets divided by a unit; scores are logarithms."""
        of_scores = None
        if unit is not None:
            of_scores = Scaling(-np.log(unit.factor), np.ones_like(unit.factor))
        return replace(self, unit=unit, score_scaling=of_scores)

    def _using(self, scaling):
        """A copy with a target scaling, which the weights absorb if they can."""
        sizes = np.append(scaling.factor, abs(scaling.centre))
        usual = (sizes == 0) | (sizes >= 1 / LARGEST_ABSORBED)
        usual &= sizes <= LARGEST_ABSORBED
        if self.loss.n_scores(1) == 1 and usual.all():
            return replace(self, score_scaling=scaling, prediction_scaling=None)
        return replace(self, score_scaling=None, prediction_scaling=scaling)

    @property
    def scaling(self):
        """The target scaling or None, whether the weights absorb it or not."""
        for scaling in (self.unit, self.score_scaling):
            if scaling is not None:
                return scaling
        return self.prediction_scaling

    @property
    def reference(self):
        return self.score_scaling if self.unit is not None else self.scaling

    def of_units(self, before):
        """The ratio of the factors of `unit` to those of earlier targets, or None."""
        now, earlier = self.unit, before.unit
        if now is None or earlier is None:
            return None
        return now.factor / earlier.factor

    @property
    def cuts_predictions(self):
        """Whether predictions are limited near the range of the training targets."""
        return self.scaling is not None or bool(
            self.standardize and self.loss.logarithmic
        )

    def in_training_units(self, Y):
        scaling = self.scaling
        return Y if scaling is None else scaling(Y)

    def check_continuing(self, recipe, way_out):
        """Raise a ValueError for a loss with which training cannot continue.

        `way_out` says what to do to start from scratch.
        """
        scaled = self.unit is None and self.scaling is not None
        if scaled != bool(recipe.standardize and as_loss(recipe.loss).scalable):
            raise ValueError(
                "Training continues from weights that were fitted to targets "
                f"{'in units of their spread' if scaled else 'without scaling'}, but "
                f"loss={recipe.loss!r} needs them "
                f"{'without scaling' if scaled else 'scaled'}"
                f". Set the loss back, or {way_out}."
            )

    # After training.

    def calibrated(self, validate, parameters):
        """A copy with calibration residuals, if there are validation rows."""
        if validate is None:
            return self
        errors, weights = validate.errors(parameters)
        errors = errors.astype(np.float64)  # it can hold them in the user's units
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
        """A copy with the current `target_range_`, which users may change."""
        current = getattr(estimator, "target_range_", None)
        return self if current is self.range else replace(self, range=current)

    def strata(self, Y):
        return np.zeros(len(Y))

    def stratified_by(self, Y):
        return None

    def score(self, Y, sample_weight):
        """R2, or D2 for quantiles, as a function of scores."""
        loss, of, limits = self.loss, None, self.limits
        if not isinstance(loss, Quantile):
            of = R2(Y, sample_weight)

        def score(z2):
            P = self._mean(z2.astype(np.float64, copy=False), limits)
            if not np.isfinite(P).all():
                return np.nan
            if of is not None:
                return of(P.reshape(Y.shape))
            P = P.reshape(*Y.shape, -1)
            return d2_pinball(Y, P, loss.levels, sample_weight)

        return score

    # From scores to predictions.

    def predictions(self, z):
        """Predictions in the user's units from scores, which are overwritten."""
        loss, scaling = self.loss, self.prediction_scaling
        unit = self.unit if scaling is None else scaling
        if unit is not None and not unit.absorbable_in(z.dtype):
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
        """The number of targets of a matrix of predictions, (n, n_outputs)."""
        return p.shape[-1] // self.loss.n_scores(1)

    def mean(self, z):
        """The return value of `predict`, from scores, which are overwritten."""
        return self._mean(z, self.limits)

    def _mean(self, z, limits):
        """`mean` with limits from before."""
        p = self.predictions(z)
        p = _cut(self.loss.predicted(p, self.n_targets_of(p)), limits)
        return p[:, 0] if p.shape[1] == 1 else p

    def cut(self, p):
        """Limit predictions, in place, near the range of the training targets."""
        return _cut(p, self.limits)

    @property
    def limits(self):
        """Smallest and largest allowed prediction of each target, (2, n), or None."""
        if self.range is None or self.extrapolation == np.inf:
            return None
        low, high = self.range
        with np.errstate(over="ignore"):  # near the limits of float64
            if self.prediction_scaling is self.unit is None:
                margin = self.extrapolation * (high - low)
                return np.stack([low - margin, high + margin])
            margin = self.extrapolation * finite(high - low)
            return finite(np.stack([low - margin, high + margin]))

    def spread(self, scores, weights=None):
        """Standard deviation of the targets; None if a single network predicts none.

        It is that of a mixture of the members' predictions: the root of the variance
        of their means plus, if the loss has a variance, the mean of their variances.
        Predictions are not limited by the range of the targets here, because beyond it
        all members would agree.

        Parameters
        ----------
        scores : ndarray of shape (n_members, n, n_outputs)
        weights : ndarray of shape (n_members,), default=None
            The members' shares of the mixture; None for equal ones.
        """
        p = self.predictions(scores)
        loss, n_targets = self.loss, self.n_targets_of(p)
        unit = powers_of_two(p)  # so that no square overflows
        p = p / unit
        if weights is None:
            weights = np.ones(len(p))
        means = loss.predicted(p, n_targets)
        shares = (weights / weights.sum()).astype(p.dtype)
        shares = shares.reshape(-1, *[1] * (means.ndim - 1))
        std = np.hypot.reduce(
            np.sqrt(shares) * (means - (shares * means).sum(axis=0)), axis=0
        )
        spreads = loss.spread(p, n_targets)
        if spreads is not None:
            std = np.hypot(std, np.hypot.reduce(np.sqrt(shares) * spreads, axis=0))
        elif len(p) == 1:
            return None
        with np.errstate(over="ignore"):
            std = finite(std * unit)
        return std[:, 0] if std.shape[1] == 1 else std

    def interval(self, z, width):
        """Intervals with this half width, (n, [n_targets,] 2), from scores."""
        p, loss = self.predictions(z), self.loss
        n_targets = self.n_targets_of(p)
        predicted = self.cut(loss.predicted(p, n_targets))
        with np.errstate(over="ignore"):
            ends = loss.interval(predicted, loss.spread(p, n_targets), width)
        interval = finite(np.stack(ends, axis=-1))
        if loss.out_activation == "exp":
            np.maximum(interval, 0, out=interval)
        return interval[:, 0] if n_targets == 1 else interval


def joined_range(first, second):
    """The union of two ranges, (2, n_targets); the first may be None."""
    if first is None:
        return second
    return np.array([np.minimum(first[0], second[0]), np.maximum(first[1], second[1])])


def range_of(Y):
    """The smallest and largest value of each target, (2, n_targets)."""
    return np.array([Y.min(axis=0), Y.max(axis=0)])


def unit_of_targets(found, known=None):
    """A `Scaling` by powers of 2 for targets of predictions exp(z); None if all are 0.

    The unit is about the mean of the targets that are not 0: the size of an amount, and
    1 for rare events.  Errors p - y then suit the rates of all solvers.

    Parameters
    ----------
    found : TargetStatistics
    known : Scaling or None
        The unit of earlier rows.  It stays within a factor of 2.
    """
    some = found.mean > 0
    if not some.any():
        return None
    mean = np.divide(found.mean, found.share, out=np.ones(len(some)), where=some)
    size = mean * found.unit
    exponent = np.where(some, np.clip(np.frexp(size)[1] - 1, *UNIT_EXPONENTS), 0)
    if known is not None:
        before = 1 - np.frexp(known.factor)[1]
        exponent = np.where(np.abs(exponent - before) <= 1, before, exponent)
    return Scaling(np.zeros_like(mean), np.ldexp(1.0, -exponent))


def _cut(p, limits):
    """Limit predictions, (n, n_targets, ...), in place; limits (2, n) or None."""
    if limits is not None:
        low, high = limits.reshape(2, -1, *[1] * (p.ndim - 2))
        # Faster than np.clip for few numbers.
        np.maximum(p, low, out=p)
        np.minimum(p, high, out=p)
    return p


def finite(values):
    """Replace infinite values by the largest finite ones, in place."""
    most = np.finfo(values.dtype).max
    return np.clip(values, -most, most, out=values)


def overflows_in_squares(y):
    """Whether a column of y has squares that are beyond the range of its dtype."""
    if not (isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.size):
        y = np.asarray(y)
        if y.dtype.kind not in "iuf" or not y.size:
            return False
    # A third of the exponents: the squares of small deviations are numbers as well.
    most = 2.0 ** (np.finfo(y.dtype if y.dtype.kind == "f" else np.float64).maxexp // 3)
    largest = np.abs(y).max(axis=0).astype(np.float64)
    return bool(((largest > most) | ((largest < 1 / most) & (largest > 0))).any())


def powers_of_two(values, axis=None):
    """The powers of 2 just below the largest sizes; division by them is exact."""
    digits = np.finfo(values.dtype)
    _, exponent = np.frexp(np.abs(values).max(axis=axis, initial=0.0))
    exponent = np.clip(exponent - 1, digits.minexp + 2, digits.maxexp - 2)
    return np.ldexp(values.dtype.type(1), exponent)
