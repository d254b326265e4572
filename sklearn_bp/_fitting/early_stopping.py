"""Which rows early stopping watches, and by what measure.

`split` draws or takes the validation rows, `Given` holds those of the user, and
`Metric` says what is watched on them.
"""

import inspect
import math
import warnings
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_consistent_length

from sklearn_bp._tables.targets import for_metrics
from sklearn_bp._training.held_out import draw_part, spawn
from sklearn_bp._versions import EXTRA_FRAMES


@dataclass(frozen=True)
class UsersData:
    """What fit was given: what splitters and scorers get to see.

    Attributes
    ----------
    X, y : array-like
    groups : array-like or None
    X_val, y_val, sample_weight_val : array-like or None
    coef_init, intercept_init : list of arrays or None
    kept : ndarray of int or None
        The rows of X and y that have weight; None for all.
    """

    X: Any
    y: Any
    groups: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    coef_init: Any = None
    intercept_init: Any = None
    kept: Any = None

    def check(self, splitter):
        """ValueError for arguments that do not go together."""
        if (self.X_val is None) != (self.y_val is None):
            given, missing = (
                ("X_val", "y_val") if self.y_val is None else ("y_val", "X_val")
            )
            raise ValueError(f"{given} is given without {missing}: pass both.")
        if self.X_val is None and self.sample_weight_val is not None:
            raise ValueError("sample_weight_val is given without X_val and y_val.")
        if self.groups is not None:
            if not is_splitter(splitter):
                raise ValueError(
                    "groups are for a splitter: set validation_fraction to "
                    "sklearn.model_selection.GroupShuffleSplit(n_splits=1), say, or do "
                    "not pass groups."
                )
            check_consistent_length(self.X, self.groups)

    def taken(self, rows):
        """The same, with some of the rows to learn from."""
        return replace(self, kept=rows if self.kept is None else self.kept[rows])

    def own(self, name):
        """X, y or groups of the rows to learn from."""
        data = getattr(self, name)
        if data is None or self.kept is None:
            return data
        return rows_of(data, self.kept)

    @property
    def has_start(self):
        return self.coef_init is not None or self.intercept_init is not None

    @property
    def has_validation(self):
        return self.X_val is not None

    def validation_rows(self, rows):
        """X and y of the validation rows, as the user gave them, `for_metrics`."""
        if self.has_validation:
            return self.X_val, for_metrics(self.y_val)
        rows = rows if self.kept is None else self.kept[rows]
        return rows_of(self.X, rows), rows_of(for_metrics(self.y), rows)


def rows_of(data, rows):
    """Some rows of what a user passed."""
    if issparse(data):
        return data.tocsr()[rows]
    return _safe_indexing(data, rows)


def is_splitter(validation_fraction):
    return hasattr(validation_fraction, "split")


class Metric:
    """The measure that early stopping watches.

    Parameters
    ----------
    name : "loss", "score", the name of a scorer, or callable(estimator, X, y) -> float
    """

    def __init__(self, name):
        self.is_loss = isinstance(name, str) and name == "loss"
        self.is_scorer = not (isinstance(name, str) and name in ("loss", "score"))
        self._scorer: Any = get_scorer(name) if self.is_scorer else None

    def cost(self, measured):
        """What is to become small: the loss, or minus the score."""
        return measured.loss if self.is_loss else -measured.score

    def score(self, estimator, X, y, sample_weight):
        """The scorer's value; weights go to those that take them."""
        weights = {}
        if sample_weight is not None and self._takes_weights:
            weights["sample_weight"] = sample_weight
        return float(self._scorer(estimator, X, y, **weights))

    @property
    def _takes_weights(self):
        function = getattr(self._scorer, "_score_func", self._scorer)
        return "sample_weight" in inspect.signature(function).parameters


class MetricName:
    """The constraint of the parameter `early_stopping_metric`."""

    def admits(self, value):
        if isinstance(value, str):
            return value in ("loss", "score") or value in get_scorer_names()
        return callable(value) and not isinstance(value, type)

    def has_type(self, value):
        return isinstance(value, str)

    def __str__(self):
        return (
            "'loss', 'score', one of sklearn.metrics.get_scorer_names(), or a function "
            "of (estimator, X, y)"
        )


class Fraction:
    """The constraint of the parameter `validation_fraction`.

    Parameters
    ----------
    number : constraint
        Of a number.
    """

    def __init__(self, number):
        self.number = number

    def admits(self, value):
        splits = is_splitter(value) and not isinstance(value, type | str)
        return splits or self.number.admits(value)

    def has_type(self, value):
        return self.number.has_type(value)

    def __str__(self):
        return f"{self.number}, or an object with split(X, y, groups)"


def split(estimator, Y, random_state, users, by_strata):
    """Indices of training and validation rows.

    Parameters
    ----------
    estimator : BaseTwoLayer
    Y : ndarray of shape (n, n_outputs)
    random_state : RandomState
    users : UsersData
    by_strata : bool
        Whether to draw from a stream of its own, by strata, as
        early_stopping="auto" does, and not as MLPClassifier.

    Returns
    -------
    train, validation : ndarray of int
    """
    fraction = estimator.validation_fraction
    if is_splitter(fraction):
        train, validation = _last_split(fraction, users)
    elif by_strata:
        part = draw_part(estimator._strata(Y), fraction, spawn(random_state))
        train, validation = np.flatnonzero(~part), np.flatnonzero(part)
    else:
        train, validation = _train_test_split(estimator, Y, random_state)
    drawn = is_splitter(fraction) or by_strata
    if fraction == 0 or len(validation) < (2 if drawn else 1):
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or "
            "the size of your dataset."
        )
    if estimator.shuffle == "blocks":  # read as they stand in the file
        train, validation = np.sort(train), np.sort(validation)
    return train, validation


def _train_test_split(estimator, Y, random_state):
    """MLPClassifier's split; where that has too few rows, the nearest there is."""
    n, fraction, strata = len(Y), estimator.validation_fraction, estimator._stratify(Y)
    try:
        train, validation = train_test_split(
            np.arange(n),
            test_size=fraction or None,
            stratify=strata,
            random_state=random_state,
        )
        if fraction == 0 or len(validation) > 1:
            return train, validation
    except ValueError as error:  # too few rows, of all or of some class
        if n > 1 and math.ceil(fraction * n) >= n:
            raise ValueError(
                f"early_stopping=True cannot hold out validation_fraction={fraction} "
                f"of {n} rows: {error} Lower 'validation_fraction'."
            ) from error
    train, validation = split_few(n, strata, fraction, random_state)
    of_classes = ""
    if strata is not None:
        of_classes = ", and at least one row of each class stays in training"
    warnings.warn(
        f"early_stopping=True: validation_fraction={fraction} of {n} rows is too few "
        f"for a stratified split. {len(validation)} are held out{of_classes}; they "
        "tell little. Pass X_val and y_val, or set early_stopping=False.",
        UserWarning,
        stacklevel=6 + EXTRA_FRAMES,
    )
    return train, validation


def split_few(n, strata, fraction, random_state):
    """Training and validation rows, where some class has hardly any.

    One row of each class, drawn at random, stays in training.  Of the others a fraction
    of all rows is held out, spread over the classes: two or more if there are four.

    Parameters
    ----------
    n : int
    strata : ndarray of shape (n,) or (n, 1), or None
    fraction : float
    random_state : RandomState

    Returns
    -------
    train, validation : ndarray of int
    """
    order = random_state.permutation(n)
    strata = np.zeros(n) if strata is None else strata.reshape(n)
    _, first, classes = np.unique(strata[order], return_index=True, return_inverse=True)
    others = np.delete(np.arange(n), first)
    if len(others) == 0:
        raise ValueError(
            f"early_stopping=True cannot hold out a row: n_samples={n}, and no class "
            "has a second row to learn from. Set early_stopping=False, or pass X_val "
            "and y_val."
        )
    others = order[others[np.argsort(classes[others], kind="stable")]]
    wanted = max(math.ceil(fraction * n), 2 if n >= 4 else 1)
    held = min(wanted, len(others))
    validation = others[np.arange(held) * len(others) // held]
    return np.setdiff1d(order, validation), validation


def _last_split(splitter, users):
    """The last of a splitter's splits, which of a time split has the most rows."""
    y = for_metrics(users.own("y"))
    rows = splitter.split(users.own("X"), y, users.own("groups"))
    splits = deque(rows, maxlen=1)
    if not splits:
        raise ValueError(f"validation_fraction={splitter!r} yields no split.")
    train, validation = splits.pop()
    if np.intersect1d(train, validation).size or len(train) == 0:
        raise ValueError(
            f"validation_fraction={splitter!r} yields a split whose validation rows "
            "are training rows too, or that leaves none to train on."
        )
    return np.asarray(train), np.asarray(validation)
