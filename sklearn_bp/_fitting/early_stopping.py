"""Which rows early stopping watches, and by what measure.

`split` draws or takes the validation rows, and `Metric` says what is watched on them.
"""

import inspect
import math
import warnings
from collections import deque
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split

from sklearn_bp._fitting.constraints import is_splitter
from sklearn_bp._tables.targets import for_metrics
from sklearn_bp._training.held_out import draw_part, spawn
from sklearn_bp._versions import EXTRA_FRAMES


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


def split(recipe, targets, Y, random_state, request, by_strata):
    """Indices of training and validation rows.

    Parameters
    ----------
    recipe : Recipe
    targets : ClassTargets or RealTargets
    Y : ndarray of shape (n, n_outputs)
    random_state : RandomState
    request : Request
    by_strata : bool
        Whether to draw from a stream of its own, by strata, as
        early_stopping="auto" does, and not as MLPClassifier.

    Returns
    -------
    train, validation : ndarray of int
    """
    fraction = recipe.validation_fraction
    if is_splitter(fraction):
        train, validation = _last_split(fraction, request)
    elif by_strata:
        part = draw_part(targets.strata(Y), fraction, spawn(random_state))
        train, validation = np.flatnonzero(~part), np.flatnonzero(part)
    else:
        train, validation = _train_test_split(fraction, targets, Y, random_state)
    drawn = is_splitter(fraction) or by_strata
    if fraction == 0 or len(validation) < (2 if drawn else 1):
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or "
            "the size of your dataset."
        )
    if recipe.shuffle == "blocks":  # read as they stand in the file
        train, validation = np.sort(train), np.sort(validation)
    return train, validation


def _train_test_split(fraction, targets, Y, random_state):
    """MLPClassifier's split; where that has too few rows, the nearest there is."""
    n, strata = len(Y), targets.stratified_by(Y)
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
        stacklevel=7 + EXTRA_FRAMES,
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


def _last_split(splitter, request):
    """The last of a splitter's splits, which of a time split has the most rows."""
    y = for_metrics(request.own("y"))
    rows = splitter.split(request.own("X"), y, request.own("groups"))
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
