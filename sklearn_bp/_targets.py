"""Labels and targets to the matrix that the loss wants, and back."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from sklearn_bp.losses import weighted_quantiles

_ANY_SHAPE = {"ensure_2d": False, "ensure_min_samples": 0, "input_name": "y"}


def check_y_given(y, estimator):
    """Refuse y=None in scikit-learn's words."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )


def check_labels(y):
    """Labels as an array of their natural dtype, or a label indicator matrix.

    Pandas' nullable and categorical columns come out as what they hold: ints,
    bools, strings.

    Returns
    -------
    y : ndarray of shape (n,) or (n, n_labels)
    """
    y = _natural_dtype(y)
    y = check_array(y, **_ANY_SHAPE, dtype=None)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if _are_few_ints(y):
        return y
    check_classification_targets(y)
    if y.ndim > 1 and type_of_target(y) == "multiclass-multioutput":
        raise ValueError(
            "y has several columns that are not all 0 or 1: multiclass-multioutput "
            "targets are not supported. Pass one column of labels, or a label "
            "indicator matrix of zeros and ones; or wrap the estimator in "
            "MultiOutputClassifier."
        )
    return y


def _are_few_ints(y):
    """Whether there is nothing to say against labels, which takes scikit-learn long."""
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        return False
    return 2 * (int(y.max()) - int(y.min()) + 1) <= len(y)


def _natural_dtype(y):
    """Turn an object array whose entries are all bools or all ints into these."""
    if issparse(y) or isinstance(y, list | tuple):
        return y
    array = np.asarray(y)
    if array.dtype != object or array.ndim != 1:
        return array
    if any(is_missing(label) for label in array):
        raise ValueError("Input y contains missing values (None, NaN or NA).")
    for kinds, dtype in (((bool, np.bool_), bool), ((int, np.integer), None)):
        if len(array) and all(isinstance(label, kinds) for label in array):
            return np.array(array.tolist(), dtype=dtype)
    return array


def is_missing(label):
    is_nan = isinstance(label, float | np.floating) and label != label
    return label is None or is_nan or type(label).__name__ in ("NAType", "NaTType")


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


def check_regression_targets(y, dtype):
    """Targets as a finite matrix of `dtype`, (n, n_outputs), and y's own ndim."""
    y = check_array(y, **_ANY_SHAPE, dtype=dtype)
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
