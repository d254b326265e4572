"""Labels and targets to the matrix that the loss wants, and back."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_bp._tables.values import (
    BOOLEANS,
    EXACT,
    MISSING,
    NUMBERS,
    NUMERIC_KINDS,
    STRINGS,
    are_large,
    as_numbers,
    example,
    is_missing,
    kind_of,
    refuse_lazy,
    unmasked,
)
from sklearn_bp.losses._regression import weighted_quantiles

_ANY_SHAPE = {"ensure_2d": False, "ensure_min_samples": 0, "input_name": "y"}


def check_y_given(y, estimator):
    """Refuse y=None in scikit-learn's words."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )


def check_labels(y, name="y", warn=True):
    """Labels as an array of their natural dtype, or a label indicator matrix.

    Pandas' nullable and categorical columns, and arrays of objects, come out as what
    they hold: ints, bools, strings.

    Returns
    -------
    y : ndarray of shape (n,), or of 0 and 1, of shape (n, n_labels)
    """
    y = _natural_dtype(y, name)
    y = check_array(y, **_ANY_SHAPE, dtype=None)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=warn)
    if y.ndim == 2:
        _check_indicators(y, name)
    elif not _are_few_ints(y):
        check_classification_targets(y)
    return y


def _check_indicators(y, name):
    """ValueError unless all entries of a matrix are 0 or 1."""
    if y.dtype.kind in NUMERIC_KINDS:
        strange = y[(y != 0) & (y != 1)]
        if not strange.size:
            return
        if (strange % 1).any():
            check_classification_targets(y)  # which are continuous
        found = strange[0].item()
    else:
        found = np.asarray(y, dtype=object).flat[0]
    raise ValueError(
        f"{name} has several columns that are not all 0 or 1 (it holds {found!r}): "
        "multiclass-multioutput targets are not supported. Pass one column of labels, "
        "or a label indicator matrix of zeros and ones; or wrap the estimator in "
        "MultiOutputClassifier."
    )


def _are_few_ints(y):
    """Whether there is nothing to say against labels, which takes scikit-learn long."""
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        return False
    return 2 * (int(y.max()) - int(y.min()) + 1) <= len(y)


def _natural_dtype(y, name):
    """Labels in an array of their own dtype; ValueError if they are mixed."""
    refuse_lazy(y, name)
    if issparse(y):
        if y.shape[-1] == 1:
            raise TypeError(
                f"Sparse {name} must be a label indicator matrix of several columns. "
                f"Got one column: pass {name}.toarray().ravel()."
            )
        return y.toarray()
    y = unmasked(y, name)
    array = _array_of(y, name)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.dtype != object or not array.size:
        return array
    return _of_one_kind(array, name)


def _array_of(y, name):
    """Labels in an array; ValueError for a list in which numpy would change some."""
    try:
        array = np.asarray(y)
    except ValueError as error:  # inhomogeneous
        raise ValueError(
            f"{name} holds sequences of several lengths: {_OF_SEQUENCES}"
        ) from error
    if array.ndim == 0:
        raise ValueError(
            f"{name} must be an array or a list with the label of each row, or a label "
            f"indicator matrix. Got {type(y).__name__} instead."
        )
    # A list of strings and others, or of integers and floats, has become all the one.
    if isinstance(y, list | tuple) and array.size:
        if array.dtype.kind in "US":
            _of_one_kind(np.array(y, dtype=object), name)
        elif array.dtype.kind == "f" and (np.abs(array) >= EXACT).any():
            return np.array(y, dtype=object)
    return array


def _of_one_kind(array, name):
    """An array of objects as ints, bools or strings; ValueError for other and mixed."""
    values = array.ravel().tolist()
    types = set(map(type, values))
    may_miss = {t for t in types if t.__name__ in MISSING or issubclass(t, _MAY_BE_NAN)}
    if may_miss and any(is_missing(v) for v in values if type(v) in may_miss):
        raise ValueError(f"Input {name} contains missing values (None, NaN or NA).")
    kinds = sorted(set(map(kind_of, types)))
    if kinds == [STRINGS]:
        return array
    if kinds == [BOOLEANS]:
        return array.astype(bool)
    if set(kinds) <= {BOOLEANS, NUMBERS}:
        numbers = as_numbers(array)
        if numbers.dtype != object:
            return numbers
        large = next(v for v in values if not isinstance(v, bool | np.bool_))
        raise ValueError(
            f"{name} holds numbers that fit no dtype of numpy without loss (such as "
            f"{large!r}): turn them into strings, which may be labels too."
        )
    if any(issubclass(t, list | tuple | set | frozenset | np.ndarray) for t in types):
        raise ValueError(f"{name} holds sequences: {_OF_SEQUENCES}")
    if len(kinds) > 1:
        found = (f"{k} (such as {example(values, k)})" for k in reversed(kinds))
        raise ValueError(
            f"{name} holds both {' and '.join(found)}: make its labels all of one kind."
        )
    raise ValueError(
        f"{name} holds {kinds[0]} (such as {example(values, kinds[0])}), which cannot "
        "be labels: turn them into strings, ints or bools. Unknown label type: unknown."
    )


_MAY_BE_NAN = float | np.floating | np.datetime64 | np.timedelta64
_OF_SEQUENCES = (
    "for several labels per row pass a label indicator matrix of zeros and ones, which "
    "sklearn.preprocessing.MultiLabelBinarizer makes."
)


def for_metrics(y):
    """Targets in a form that scikit-learn's metrics and splitters take.

    Arrays of objects that are numbers or bools get their dtype, indicators are made
    dense; all else stays what it is, with its index.
    """
    if issparse(y):
        return y.toarray()
    array = y if isinstance(y, np.ndarray) or not hasattr(y, "shape") else np.asarray(y)
    if getattr(array, "dtype", None) != np.dtype(object):
        return y
    kinds = set(map(kind_of, set(map(type, array.ravel().tolist()))))
    if not kinds or not kinds <= {BOOLEANS, NUMBERS}:
        return y
    array = array.astype(bool) if kinds == {BOOLEANS} else as_numbers(array)
    return y.astype(array.dtype) if hasattr(y, "iloc") else array


def joined_labels(found):
    """The sorted labels of several arrays, each left what it is.

    Parameters
    ----------
    found : list of ndarray
        As `check_labels` gives them.
    """
    kinds = {labels.dtype.kind in NUMERIC_KINDS for labels in found}
    if len(kinds) > 1:
        raise ValueError(
            "y has numbers in some blocks and strings or other objects in others: "
            "make its labels all of one kind."
        )
    labels = np.concatenate(found)
    if labels.dtype.kind == "f" and any(map(are_large, found)):
        # As of int64 and uint64.
        exact = np.concatenate([labels.astype(object) for labels in found])
        labels = _of_one_kind(exact, "y")
    return np.unique(labels)


@dataclass(frozen=True)
class ClassTargets:
    """Labels and their codes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted; for a label indicator matrix the numbers of its columns.
    multilabel : bool
    """

    classes: np.ndarray
    multilabel: bool = False

    @classmethod
    def of(cls, y):
        """As found in `y`, which `check_labels` has passed."""
        if y.ndim == 2:
            return cls(np.arange(y.shape[1]), multilabel=True)
        return cls(np.unique(y))

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


def check_regression_targets(y, dtype):
    """Targets as a finite matrix of `dtype`, (n, n_outputs), and y's own ndim."""
    refuse_lazy(y, "y")
    y = check_array(unmasked(y, "y"), **_ANY_SHAPE, dtype=dtype)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return y.reshape(len(y), -1)


class R2:
    """Coefficient of determination, the mean over outputs, as scikit-learn's r2_score.

    Parameters
    ----------
    Y : ndarray of shape (n, n_outputs)
        Targets.
    sample_weight : ndarray of shape (n,), default=None
    """

    def __init__(self, Y, sample_weight=None):
        weights = np.ones(len(Y))
        if sample_weight is not None:
            weights = sample_weight / sample_weight.max()
        unit = np.abs(Y).max(axis=0).astype(np.float64)  # so that no square overflows
        unit[unit == 0] = 1
        Y = Y / unit
        mean = np.average(Y, axis=0, weights=weights)
        total = weights @ np.square(Y - mean)
        total[np.ptp(Y, axis=0) == 0] = 0  # whatever rounding has left of it
        self._Y, self._unit, self._weights, self._total = Y, unit, weights, total
        self._varies = total != 0

    def __call__(self, P):
        """Of predictions, (n, n_outputs)."""
        residual = self._weights @ np.square(self._Y - P / self._unit)
        if self._varies.all():
            return float(np.mean(1 - residual / self._total))
        # A constant target leaves nothing to explain.
        scores = np.where(residual == 0, 1.0, 0.0)
        varies = self._varies
        scores[varies] = 1 - residual[varies] / self._total[varies]
        return float(np.mean(scores))


def d2_pinball(Y, P, quantile, sample_weight=None):
    """1 - pinball loss / that of the best constants, the mean over all quantiles.

    The mean of scikit-learn's d2_pinball_score over targets and quantiles.

    Parameters
    ----------
    Y : ndarray of shape (n, n_targets)
    P : ndarray of shape (n, n_targets, n_quantiles)
    quantile : ndarray of shape (n_quantiles,)
    sample_weight : ndarray of shape (n,), default=None
    """
    weights = np.ones(len(Y)) if sample_weight is None else sample_weight
    # To divide by a power of 2 changes no bit, and no sum overflows.
    unit = np.ldexp(1.0, -np.clip(np.frexp(np.abs(Y).max(axis=0))[1], -1020, 1020))
    Y, P = Y * unit, P * unit[:, np.newaxis]
    best = weighted_quantiles(Y, weights, quantile)
    shares = []
    for j, q in enumerate(quantile):
        ours, theirs = (
            np.average(np.maximum(q * r, (q - 1) * r), axis=0, weights=weights)
            for r in (Y - P[..., j], Y - best[:, j])
        )
        # A constant target leaves nothing to explain.
        share = np.divide(ours, theirs, out=np.ones_like(ours), where=theirs != 0)
        shares.append(np.where(ours == 0, 1.0, 1 - share))
    return float(np.mean(shares))
