"""Class targets: from labels to scores and back.

`ClassTargets` and `RealTargets` have the same interface, which contains all differences
between the two estimators.  Both are immutable: methods that learn return a new object.

- `loss`: the object of `losses` for these targets; `training_loss(recipe, dtype)`: the
  loss to train with; `n_targets`: the number of columns of Y;
- `of_fit(y, recipe, earlier, request, dtype)`: the targets, and the matrix Y for the
  loss, (n, n_targets), from the user's y;
- `encode_validation(y)`: the same matrix for validation rows;
- `weighted(recipe, y, sample_weight)`: with class weights, if any, and
  `times_class_weights(y, sample_weight)`;
- `learned(rows, running, continuing)`: with the target scaling of these rows;
- `in_training_units(Y)`: the targets as the solver gets them;
- `score_scaling`: from scores in training units to the user's units; the weights absorb
  it.  `reference`: the scaling for re-expressing weights when it changes;
- `strata(Y)`, `stratified_by(Y)`: the strata for drawing folds, and for a split;
- `score(Y, sample_weight)`: the estimator's `score`, as a function of scores z2,
  (n, n_outputs), in the user's units, which it may overwrite;
- `calibrated(validate, parameters)`: with the temperature or the calibration residuals
  of the validation rows;
- `attributes()`: the public attributes of a fit; `with_attributes(estimator)`: with
  the current values of those that users may change.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.targets import check_labels
from sklearn_bp._tables.weights import check_sample_weight
from sklearn_bp.losses import as_class_loss


@dataclass(frozen=True)
class ClassTargets:
    """Labels, their codes, and the temperature of their scores.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels; the column numbers for a label indicator matrix.
    multilabel : bool
    loss_given : str or object
        The parameter `loss`.
    class_weights : list of ndarray or None
        The weight of each level of each column of labels, see `class_weights`.
    tempers : bool
        Whether scores are divided by the temperature that minimizes the validation
        loss.
    temperature : float
    """

    classes: np.ndarray
    multilabel: bool = False
    loss_given: Any = "log_loss"
    class_weights: Any = None
    tempers: bool = False
    temperature: float = 1.0

    may_drop_penalty: ClassVar[bool] = False  # the penalty stays
    labelled: ClassVar[bool] = True

    @classmethod
    def of(cls, y):
        """The targets found in `y`, an array from `check_labels`."""
        if y.ndim == 2:
            return cls(np.arange(y.shape[1]), multilabel=True)
        return cls(np.unique(y))

    @classmethod
    def of_fit(cls, y, recipe, earlier, request, dtype):
        """The targets, and the matrix Y; see the top of this file.

        Parameters
        ----------
        y : array-like
            As the user passed it.
        recipe : Recipe
        earlier : ClassTargets or None
            The targets of the earlier fit, if training continues.
        request : Request
            Has `incremental` and `classes`.
        dtype : dtype
            Not used: Y holds bools.
        """
        y = check_labels(y)
        if request.incremental:
            targets = cls._announced(y, earlier, request.classes)
        elif earlier is None:
            targets = cls.of(y)
        else:
            targets = earlier
            if not earlier.multilabel:
                earlier.check_same(np.unique(y))
        targets = targets.for_fit(recipe)
        return targets, targets.encode(y)

    @classmethod
    def _announced(cls, y, earlier, classes):
        """The targets of partial_fit, from the first call or its `classes`."""
        if classes is None:
            if earlier is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit."
                )
            return earlier
        if earlier is not None and earlier.are(classes):
            return earlier
        if isinstance(classes, Set):
            classes = list(classes)
        classes = np.unique(check_labels(classes, "classes"))
        if not len(classes):
            raise ValueError("classes is empty: it must hold all labels of the stream.")
        if earlier is None:
            return cls.of(y) if y.ndim == 2 else cls(classes)
        if not np.array_equal(earlier.classes, classes):
            raise ValueError(
                f"`classes={classes}` is not the same as on last call to partial_fit, "
                f"was: {earlier.classes}"
            )
        return earlier

    def are(self, classes):
        """Whether an array contains exactly these classes, in the same order.

        Checking them again would take an eighth of a call of partial_fit with one row.
        """
        return (
            isinstance(classes, np.ndarray)
            and classes.dtype == self.classes.dtype != object
            and np.array_equal(classes, self.classes)
        )

    def for_fit(self, recipe):
        """A copy with the loss and the settings of a recipe."""
        tempers = recipe.temperature_scaling
        if tempers == "auto":
            tempers = recipe.early_stopping == "auto"
        return replace(
            self, loss_given=recipe.loss, tempers=bool(tempers), class_weights=None
        )

    def check_same(self, labels):
        """Raise a ValueError unless the sorted labels are these classes."""
        if set(labels) != set(self.classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {self.classes}, `y` has "
                f"{labels}"
            )

    @property
    def loss(self):
        return as_class_loss(self.loss_given, self.exclusive)

    def training_loss(self, recipe, dtype):
        """The loss."""
        return self.loss

    @property
    def n_targets(self):
        """The number of columns of Y."""
        return self.n_scores

    @property
    def n_scores(self):
        return 1 if self.shares_score else len(self.classes)

    @property
    def shares_score(self):
        """Whether two classes share one score, positive for the second."""
        return not (self.multilabel or self.exclusive)

    def encode_validation(self, y):
        """The matrix Y for validation rows; ValueError for unknown labels."""
        return self.encode(check_labels(y))

    # Weights of the classes.

    def weighted(self, recipe, y, sample_weight):
        """A copy with the class weights, counted over rows with non-zero weight."""
        if recipe.class_weight is None:
            return self
        codes = self.codes_by_column(check_labels(y))
        return self.weighted_by(recipe, self.numbers(codes, sample_weight))

    def weighted_by(self, recipe, numbers):
        """A copy with the class weights for these `numbers` of rows.

        They also weight validation rows, which may lack some classes.
        """
        weights = class_weights(recipe.class_weight, self, numbers)
        return replace(self, class_weights=weights)

    def times_class_weights(self, y, sample_weight):
        """Sample weights times class weights; None if there are neither."""
        if self.class_weights is None:
            return sample_weight
        codes = self.codes_by_column(check_labels(y))
        of_class = np.prod(
            [w[c] for w, c in zip(self.class_weights, codes, strict=True)],
            axis=0,
            dtype=np.float64,
        )
        if sample_weight is not None:
            of_class = of_class * sample_weight
        return check_sample_weight(of_class, len(of_class))

    # Scores and their scaling.

    def learned(self, rows, running, continuing):
        """A copy; a new fit starts with temperature 1."""
        return (self if continuing else replace(self, temperature=1.0)), running

    def in_training_units(self, Y):
        """The bools, unchanged."""
        return Y

    @property
    def score_scaling(self):
        """The score scaling of the temperature, or None if that is 1."""
        if self.temperature == 1:
            return None
        factor = np.full(self.n_scores, self.temperature)
        return Scaling(np.zeros_like(factor), factor)

    reference = score_scaling

    def check_continuing(self, recipe, way_out):
        """Do nothing: training can continue with any loss for classes."""

    def calibrated(self, validate, parameters):
        """A copy with the temperature that minimizes the loss on validation rows."""
        if validate is None or not self.tempers:
            return self
        return replace(self, temperature=validate.temperature(parameters))

    def attributes(self):
        """The public attributes of a fit."""
        return {"classes_": self.classes, "temperature_": self.temperature}

    def with_attributes(self, estimator):
        """These targets: changes of the public attributes have no effect."""
        return self

    def strata(self, Y):
        return Y.argmax(axis=1) if self.exclusive else Y[:, 0]

    def stratified_by(self, Y):
        if self.multilabel:
            return None
        return self.classes[Y.argmax(axis=1)] if self.exclusive else Y

    def score(self, Y, sample_weight):
        """The accuracy, as a function of scores."""
        if self.exclusive:
            codes = Y.argmax(axis=1)
            return lambda z2: _share(z2.argmax(axis=1) == codes, sample_weight)
        return lambda z2: self.accuracy(z2, Y, sample_weight)

    # Labels and codes.

    @property
    def exclusive(self):
        """Whether classes exclude each other and have one score each.

        Two classes share one score.  A single class has its own score, and so
        probability 1.
        """
        return not self.multilabel and len(self.classes) != 2

    def encode(self, y):
        """Bool matrix of shape (n, n_outputs); ValueError for unknown labels."""
        fits = y.ndim == 1 or y.shape[1] == len(self.classes)
        if self.multilabel != (y.ndim == 2) or not fits:
            raise ValueError(
                f"y has shape {y.shape}, which does not fit the "
                f"{len(self.classes)} {'labels' if self.multilabel else 'classes'} "
                "seen before."
            )
        if self.multilabel:
            return y.astype(bool)
        codes = self.codes(y)
        if not self.exclusive:
            return (codes == 1)[:, np.newaxis]
        return codes[:, np.newaxis] == np.arange(len(self.classes))

    def codes(self, y):
        """Positions in `classes`; ValueError for unknown labels."""
        kinds = y.dtype.kind + self.classes.dtype.kind
        if kinds in ("iu", "ui"):  # their common dtype would be float64
            converted = y.astype(self.classes.dtype)
            y = converted if (converted == y).all() else y
        try:
            codes = np.searchsorted(self.classes, y)
            np.minimum(codes, len(self.classes) - 1, out=codes)
            are_known = (self.classes[codes] == y).all()
        except TypeError:  # labels that cannot be compared, such as str and int
            are_known = False
        if not are_known:
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes}. 'y' has {np.unique(y)}."
            )
        return codes

    def codes_by_column(self, y):
        """Positions in `levels` for each column of labels, (n,) or (n, n_labels).

        Returns
        -------
        list of ndarray of int
        """
        return list(y.T.astype(np.intp)) if self.multilabel else [self.codes(y)]

    @property
    def levels(self):
        """The possible labels of each column of labels: a list of ndarrays."""
        if self.multilabel:
            return [np.arange(2)] * len(self.classes)
        return [self.classes]

    def numbers(self, codes, sample_weight):
        """Numbers of rows with non-zero weight per level, for each column of labels.

        Parameters
        ----------
        codes : list of ndarray of int
            From `codes_by_column`.
        sample_weight : ndarray of shape (n,) or None
        """
        ones = None if sample_weight is None else (sample_weight > 0).astype(float)
        return [
            np.bincount(of_column, ones, len(levels)).astype(float)
            for of_column, levels in zip(codes, self.levels, strict=True)
        ]

    def decide(self, z2):
        """Most likely codes (n,) or labels, bools (n, n_outputs), from scores."""
        return z2.argmax(axis=1) if self.exclusive else z2 > 0

    def decode(self, z2):
        """Labels (n,), or the indicator matrix (n, n_labels), from scores."""
        decided = self.decide(z2)
        if self.multilabel:
            return decided.astype(int)
        return self.classes[decided if self.exclusive else decided[:, 0].astype(int)]

    def accuracy(self, z2, Y, sample_weight=None):
        """Weighted fraction of rows that are right in all outputs."""
        if self.exclusive:
            right = Y[np.arange(len(Y)), self.decide(z2)]
        else:
            right = self.decide(z2) == Y
            right = right.all(axis=1) if right.shape[1] > 1 else right[:, 0]
        return _share(right, sample_weight)


def _share(right, sample_weight):
    """The weighted fraction of rows that are right; bools, (n,)."""
    if sample_weight is None:  # faster than the mean, which it equals
        return np.count_nonzero(right) / len(right)
    return float(np.average(right, weights=sample_weight))


def class_weights(class_weight, targets, numbers):
    """The weight of each level of each column of labels, a list of ndarrays.

    They equal scikit-learn's compute_class_weight, also if the rows lack some classes.

    Parameters
    ----------
    class_weight : "balanced", dict, or for a label indicator matrix list of dicts
    targets : ClassTargets
    numbers : list of ndarray
        From `ClassTargets.numbers`; for "balanced".
    """
    if isinstance(class_weight, str):
        return [_balanced(of_column) for of_column in numbers]
    if not targets.multilabel:
        if isinstance(class_weight, list):
            raise ValueError(
                "class_weight is a list, which needs a label indicator matrix: pass a "
                "dict {label: weight}."
            )
        return [_weights_of(targets.classes, class_weight)]
    if isinstance(class_weight, dict):
        raise ValueError(
            "For multi-output, class_weight should be a list of dicts, or the string "
            "'balanced'."
        )
    if len(class_weight) != len(targets.classes):
        raise ValueError(
            "For multi-output, number of elements in class_weight should match number "
            f"of outputs. Got {len(class_weight)} element(s) while having "
            f"{len(targets.classes)} outputs."
        )
    return [
        _weights_of(levels, of_label)
        for levels, of_label in zip(targets.levels, class_weight, strict=True)
    ]


def _balanced(numbers):
    """Weights n / (n_classes n_k) of the classes that occur, and 1 for others."""
    occur = numbers > 0
    weights = np.ones(len(numbers))
    weights[occur] = numbers.sum() / (occur.sum() * numbers[occur])
    return weights


def _weights_of(levels, class_weight):
    """Weights from a dict; 1 for missing levels, ValueError for unknown keys."""
    weights, used, lacking = np.ones(len(levels)), set(), []
    for i, level in enumerate(levels):
        key = next((k for k in _keys_of(level) if k in class_weight), None)
        if key is None:
            lacking.append(level)
        else:
            weights[i] = _checked_weight(class_weight[key], key)
            used.add(key)
    if lacking and len(used) < len(class_weight):
        unused = [key for key in class_weight if key not in used]
        raise ValueError(
            "class_weight has no weights for the classes "
            f"{np.array(lacking).tolist()}, and its keys {unused} are not classes: "
            f"the classes are {levels.tolist()}."
        )
    return weights


def _checked_weight(weight, key):
    """The weight of a class; ValueError unless it is a finite number of 0 or more."""
    is_number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not (is_number and 0 <= weight < np.inf):
        key = key.item() if isinstance(key, np.generic) else key
        raise ValueError(
            f"The class_weight of {key!r} is {weight!r}: it must be a finite number "
            ">= 0."
        )
    return weight


def _keys_of(level):
    """The keys that a dict may use for a label; as in scikit-learn, 1 also for "1"."""
    yield level
    if isinstance(level, np.generic):
        yield level.item()
    if isinstance(level, str) and level.lstrip("-").isdecimal():
        yield int(level)
