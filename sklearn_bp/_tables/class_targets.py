"""Classes as the network learns them: labels to scores and back.

`ClassTargets` and `RealTargets` have the same face, all that the two estimators differ
in.  Neither is ever changed: what learns something returns another.

- `loss`: the object of `losses`, for targets of this kind; `training_loss(recipe,
  dtype)`: the one to train by; `n_targets`: columns of Y;
- `of_fit(y, recipe, known, request, dtype)`: from the user's y, the targets and the
  matrix Y that the loss wants, (n, n_targets);
- `encode_validation(y)`: the same matrix for validation rows;
- `weighted(recipe, y, sample_weight)`: with the weights of the classes, if any, and
  `times_class_weights(y, sample_weight)`;
- `learned(rows, running, continuing)`: with the scaling of these rows;
- `in_training_units(Y)`: targets as training sees them;
- `score_scaling`: from scores in these units to those in the user's, folded into the
  weights; `reference`: what weights are re-expressed by when it changes;
- `strata(Y)`, `stratified_by(Y)`: how rows are spread over folds, over a split;
- `score(Y, sample_weight)`: a function of scores z2, (n, n_outputs), in the user's
  units, which it may overwrite: what the estimator's `score` gives;
- `calibrated(validate, parameters)`: with what validation rows tell;
- `attributes()`: the public attributes of a fit; `with_attributes(estimator)`: with
  those that users may change.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.targets import check_labels
from sklearn_bp._tables.weights import check_sample_weight
from sklearn_bp.losses import as_class_loss


@dataclass(frozen=True)
class ClassTargets:
    """Labels, their codes, and what their scores are divided by.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted; for a label indicator matrix the numbers of its columns.
    multilabel : bool
    loss_given : str or object
        The parameter `loss`.
    class_weights : list of ndarray or None
        The weight of each level of each column of labels, as `class_weights` gives it.
    tempers : bool
        Whether scores are divided by the temperature of least validation loss.
    temperature : float
    """

    classes: np.ndarray
    multilabel: bool = False
    loss_given: Any = "log_loss"
    class_weights: Any = None
    tempers: bool = False
    temperature: float = 1.0

    may_relax: ClassVar[bool] = False  # the penalty stays
    labelled: ClassVar[bool] = True

    @classmethod
    def of(cls, y):
        """As found in `y`, which `check_labels` has passed."""
        if y.ndim == 2:
            return cls(np.arange(y.shape[1]), multilabel=True)
        return cls(np.unique(y))

    @classmethod
    def of_fit(cls, y, recipe, known, request, dtype):
        """The targets, and the matrix Y; see the head of this file.

        Parameters
        ----------
        y : array-like
            As the user gave it.
        recipe : Recipe
        known : ClassTargets or None
            Those of the fit that goes on.
        request : Request
            Has `incremental` and `classes`.
        dtype : dtype
            Not used: Y is of bools.
        """
        y = check_labels(y)
        if request.incremental:
            targets = cls._announced(y, known, request.classes)
        elif known is None:
            targets = cls.of(y)
        else:
            targets = known
            if not known.multilabel:
                known.check_same(np.unique(y))
        targets = targets.for_fit(recipe)
        return targets, targets.encode(y)

    @classmethod
    def _announced(cls, y, known, classes):
        """The targets of partial_fit: those of the first call, or its `classes`."""
        if classes is None:
            if known is None:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit."
                )
            return known
        if known is not None and known.are(classes):
            return known
        classes = np.unique(check_labels(classes, "classes"))
        if known is None:
            return cls.of(y) if y.ndim == 2 else cls(classes)
        if not np.array_equal(known.classes, classes):
            raise ValueError(
                f"`classes={classes}` is not the same as on last call to partial_fit, "
                f"was: {known.classes}"
            )
        return known

    def are(self, classes):
        """Whether they stand in an array of these very classes, in their order.

        Checking them anew would be an eighth of a call of partial_fit with one row.
        """
        return (
            isinstance(classes, np.ndarray)
            and classes.dtype == self.classes.dtype != object
            and np.array_equal(classes, self.classes)
        )

    def for_fit(self, recipe):
        """The same, with the loss and the rules of a recipe."""
        tempers = recipe.temperature_scaling
        if tempers == "auto":
            tempers = recipe.early_stopping == "auto"
        return replace(
            self, loss_given=recipe.loss, tempers=bool(tempers), class_weights=None
        )

    def check_same(self, labels):
        """ValueError unless the sorted labels are these classes."""
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
        """Columns of Y."""
        return self.n_scores

    @property
    def n_scores(self):
        return 1 if self.shares_score else len(self.classes)

    @property
    def shares_score(self):
        """Whether two classes share one score, positive for the second."""
        return not (self.multilabel or self.exclusive)

    def encode_validation(self, y):
        """The matrix Y of validation rows; ValueError for unknown labels."""
        return self.encode(check_labels(y))

    # Weights of the classes.

    def weighted(self, recipe, y, sample_weight):
        """The same, with the weights of classes by the rows that have weight."""
        if recipe.class_weight is None:
            return self
        codes = self.codes_by_column(check_labels(y))
        return self.weighted_by(recipe, self.numbers(codes, sample_weight))

    def weighted_by(self, recipe, numbers):
        """The same, where the `numbers` of rows are known.

        Validation rows, which may be of few classes, are weighted by these too.
        """
        found = class_weights(recipe.class_weight, self, numbers)
        return replace(self, class_weights=found)

    def times_class_weights(self, y, sample_weight):
        """Sample weights times those of the classes; None if there are neither."""
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
        """The same; a fit from the start begins at temperature 1."""
        return (self if continuing else replace(self, temperature=1.0)), running

    def in_training_units(self, Y):
        """The same bools."""
        return Y

    @property
    def score_scaling(self):
        """That of the temperature, or None at 1."""
        if self.temperature == 1:
            return None
        factor = np.full(self.n_scores, self.temperature)
        return Scaling(np.zeros_like(factor), factor)

    reference = score_scaling

    def check_continuing(self, recipe):
        """Nothing to say: any loss for classes may follow another."""

    def calibrated(self, validate, parameters):
        """At the temperature at which the loss on validation rows is least."""
        if validate is None or not self.tempers:
            return self
        return replace(self, temperature=validate.temperature(parameters))

    def attributes(self):
        """The public attributes of a fit."""
        return {"classes_": self.classes, "temperature_": self.temperature}

    def with_attributes(self, estimator):
        """The same: the public attributes are for reading."""
        return self

    def strata(self, Y):
        return Y.argmax(axis=1) if self.exclusive else Y[:, 0]

    def stratified_by(self, Y):
        if self.multilabel:
            return None
        return self.classes[Y.argmax(axis=1)] if self.exclusive else Y

    def score(self, Y, sample_weight):
        """A function of scores: the accuracy."""
        return lambda z2: self.accuracy(z2, Y, sample_weight)

    # Labels and codes.

    @property
    def exclusive(self):
        """Whether each class has a score of its own and they exclude each other.

        Two classes share one score.  A single class has its own, and with it
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
        """Positions in `classes`; ValueError for labels that are not there."""
        kinds = y.dtype.kind + self.classes.dtype.kind
        if kinds in ("iu", "ui"):  # which have float64 in common
            own = y.astype(self.classes.dtype)
            y = own if (own == y).all() else y
        try:
            codes = np.searchsorted(self.classes, y)
            np.minimum(codes, len(self.classes) - 1, out=codes)
            known = (self.classes[codes] == y).all()
        except TypeError:  # labels that cannot be compared, say str and int
            known = False
        if not known:
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes}. 'y' has {np.unique(y)}."
            )
        return codes

    def codes_by_column(self, y):
        """For each column of labels, (n, ) or (n, n_labels), the positions in `levels`.

        Returns
        -------
        list of ndarray of int
        """
        return list(y.T.astype(np.intp)) if self.multilabel else [self.codes(y)]

    @property
    def levels(self):
        """What each column of labels may hold: a list of ndarrays."""
        if self.multilabel:
            return [np.arange(2)] * len(self.classes)
        return [self.classes]

    def numbers(self, codes, sample_weight):
        """Rows of each level that have weight, for each column of labels.

        Parameters
        ----------
        codes : list of ndarray of int
            As `codes_by_column` gives them.
        sample_weight : ndarray of shape (n,) or None
        """
        ones = None if sample_weight is None else (sample_weight > 0).astype(float)
        return [
            np.bincount(own, ones, len(levels)).astype(float)
            for own, levels in zip(codes, self.levels, strict=True)
        ]

    def decide(self, z2):
        """Codes (n,) or bools (n, n_outputs) of the likeliest, from scores."""
        return z2.argmax(axis=1) if self.exclusive else z2 > 0

    def decode(self, z2):
        """Labels (n,), or the indicator matrix (n, n_labels), from scores."""
        decided = self.decide(z2)
        if self.multilabel:
            return decided.astype(int)
        return self.classes[decided if self.exclusive else decided[:, 0].astype(int)]

    def accuracy(self, z2, Y, sample_weight=None):
        """Weighted share of rows that are right in every output."""
        right = (
            Y[np.arange(len(Y)), self.decide(z2)]
            if self.exclusive
            else (self.decide(z2) == Y).all(axis=1)
        )
        return float(np.average(right, weights=sample_weight))


def class_weights(class_weight, targets, numbers):
    """The weight of each level of each column of labels, a list of ndarrays.

    As scikit-learn's compute_class_weight, whatever classes the rows at hand have.

    Parameters
    ----------
    class_weight : "balanced", dict, or for a label indicator matrix list of dicts
    targets : ClassTargets
    numbers : list of ndarray
        As `ClassTargets.numbers` gives them; for "balanced".
    """
    if isinstance(class_weight, str):
        return [_balanced(own) for own in numbers]
    if not targets.multilabel:
        if isinstance(class_weight, list):
            raise ValueError(
                "class_weight is a list, which is for a label indicator matrix: pass a "
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
        _weights_of(levels, own)
        for levels, own in zip(targets.levels, class_weight, strict=True)
    ]


def _balanced(numbers):
    """Weights n / (n_classes n_k) of the classes that occur; 1 for others."""
    occur = numbers > 0
    weights = np.ones(len(numbers))
    weights[occur] = numbers.sum() / (occur.sum() * numbers[occur])
    return weights


def _weights_of(levels, class_weight):
    """Weights from a dict, 1 for levels that it lacks; ValueError for other keys."""
    weights, found, lacking = np.ones(len(levels)), set(), []
    for i, level in enumerate(levels):
        key = next((k for k in _keys_of(level) if k in class_weight), None)
        if key is None:
            lacking.append(level)
        else:
            weights[i] = class_weight[key]
            found.add(key)
    if lacking and len(found) < len(class_weight):
        strange = [key for key in class_weight if key not in found]
        raise ValueError(
            f"The classes, {np.array(lacking).tolist()}, are not in class_weight, and "
            f"its {strange} are no classes: the classes are {levels.tolist()}."
        )
    return weights


def _keys_of(level):
    """The keys that a dict may have for a label; as in scikit-learn 1 for "1" too."""
    yield level
    if isinstance(level, np.generic):
        yield level.item()
    if isinstance(level, str) and level.lstrip("-").isdecimal():
        yield int(level)
