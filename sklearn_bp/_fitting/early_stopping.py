"""Early stopping: the validation rows, and the metric that is monitored on them.

`split` draws the validation rows or takes them from a splitter; `Metric` is the metric.
"""

import inspect
import math
from collections import deque
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split

from sklearn_bp._common.option import returned_number
from sklearn_bp._common.warn import warn_user
from sklearn_bp._fitting.constraints import is_splitter
from sklearn_bp._fitting.defaults import FEW_ROWS
from sklearn_bp._tables.targets import for_metrics
from sklearn_bp._training.held_out import draw_part, spawn

# With more rows than this for each distinct one, copies of a row are held out one by
# one.
MOST_COPIES = 3


class Metric:
    """The metric that early stopping monitors.

    Parameters
    ----------
    name : "loss", "score", the name of a scorer, or callable(estimator, X, y) -> float
    """

    def __init__(self, name):
        self.is_loss = isinstance(name, str) and name == "loss"
        self.is_scorer = not (isinstance(name, str) and name in ("loss", "score"))
        self._scorer: Any = get_scorer(name) if self.is_scorer else None
        self._name = name

    def cost(self, measured):
        """The value to minimize: the loss, or minus the score."""
        return measured.loss if self.is_loss else -measured.score

    def score(self, estimator, X, y, sample_weight):
        """The value of the scorer, with sample weights if it accepts them."""
        weights = {}
        if sample_weight is not None and self._takes_weights:
            weights["sample_weight"] = sample_weight
        score = self._scorer(estimator, X, y, **weights)
        return returned_number(score, "early_stopping_metric", self._name)

    @property
    def _takes_weights(self):
        function = getattr(self._scorer, "_score_func", self._scorer)
        return "sample_weight" in inspect.signature(function).parameters


def split(recipe, targets, rows, random_state, request, by_strata):
    """Indices of training and validation rows.

    Parameters
    ----------
    recipe : Recipe
    targets : ClassTargets or RealTargets
    rows : tuple
        X, an array or CSR of shape (n, n_encoded), Y of shape (n, n_outputs), and
        their weights, of shape (n,) or None.
    random_state : RandomState
    request : Request
    by_strata : bool
        Whether to draw by strata from a separate random stream, as
        early_stopping="auto" does, instead of like MLPClassifier.

    Returns
    -------
    train, validation : ndarray of int
    """
    fraction, Y = recipe.validation_fraction, rows[1]
    if is_splitter(fraction):
        train, validation = _last_split(fraction, request, len(Y))
    elif by_strata:
        part = draw_part(targets.strata(Y), fraction, spawn(random_state))
        train, validation = np.flatnonzero(~part), np.flatnonzero(part)
    else:
        train, validation = _split_rows(recipe, targets, rows, random_state)
    drawn = is_splitter(fraction) or by_strata
    if fraction == 0 or len(validation) < (2 if drawn else 1):
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or "
            "the size of your dataset."
        )
    if recipe.shuffle == "blocks":  # in the order of the file
        train, validation = np.sort(train), np.sort(validation)
    return train, validation


def _split_rows(recipe, targets, rows, random_state):
    """MLPClassifier's split; for few rows with weights or copies, of the distinct rows.

    In that case, with alpha="auto", a weight of k counts as k copies: a row is held out
    with all its copies, and the draw does not depend on their number or position.  With
    more than MOST_COPIES copies per distinct row, they are values that many rows share,
    and without them the training rows would have another distribution.
    """
    X, Y, sample_weight = rows
    rule = recipe.validation_fraction, targets
    n_rows = len(Y) if sample_weight is None else sample_weight.sum()
    if recipe.alpha == "auto" and n_rows < FEW_ROWS:
        first, group = different_rows(X, Y)
        shared = len(Y) > MOST_COPIES * len(first)
        if sample_weight is not None or (len(first) < len(Y) and not shared):
            drawn = _train_test_split(*rule, Y[first], random_state)
            train, validation = (np.flatnonzero(np.isin(group, d)) for d in drawn)
            return train, validation
    return _train_test_split(*rule, Y, random_state)


def different_rows(X, Y):
    """The distinct rows of X and Y, sorted by their values.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, n_features)
    Y : ndarray of shape (n, n_outputs)

    Returns
    -------
    first : ndarray of int of shape (n_different,)
        The first position of each distinct row.
    group : ndarray of int of shape (n,)
        For each row, the position in `first` of its distinct row.
    """
    if issparse(X):
        X = X[:, np.unique(X.indices)].toarray()
    table = np.hstack([Y, X[:]])
    order = np.lexsort(table.T[::-1])  # the first column goes first; stable
    table = table[order]
    is_new = np.append(True, (table[1:] != table[:-1]).any(axis=1))
    group = np.empty(len(Y), np.intp)
    group[order] = np.cumsum(is_new) - 1
    return order[is_new], group


def _train_test_split(fraction, targets, Y, random_state):
    """MLPClassifier's split; if there are too few rows for it, the closest possible."""
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
    except ValueError as error:  # too few rows, in total or of some class
        if n > 1 and math.ceil(fraction * n) >= n:
            raise ValueError(
                f"early_stopping=True cannot hold out validation_fraction={fraction} "
                f"of {n} rows: {error} Lower 'validation_fraction'."
            ) from error
    train, validation = split_few(n, strata, fraction, random_state)
    of_classes = ""
    if strata is not None:
        of_classes = ", and at least one row of each class stays in training"
    warn_user(
        f"early_stopping=True: validation_fraction={fraction} of {n} rows is too few "
        f"for a stratified split. {len(validation)} are held out{of_classes}. So few "
        "rows are a poor guide: pass X_val and y_val, or set early_stopping=False.",
    )
    return train, validation


def split_few(n, strata, fraction, random_state):
    """Training and validation rows, if some class has hardly any.

    One row of each class, drawn at random, stays in training.  The given fraction of
    all rows is held out from the others, spread over the classes: at least two rows if
    there are four.

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
    why = "no class has a second row" if strata is not None else "no other row is left"
    strata = np.zeros(n) if strata is None else strata.reshape(n)
    _, first, classes = np.unique(strata[order], return_index=True, return_inverse=True)
    others = np.delete(np.arange(n), first)
    if len(others) == 0:
        raise ValueError(
            f"early_stopping=True cannot hold out a row: n_samples={n}, and {why} to "
            "train on. Set early_stopping=False, or pass X_val and y_val."
        )
    others = order[others[np.argsort(classes[others], kind="stable")]]
    n_requested = max(math.ceil(fraction * n), 2 if n >= 4 else 1)
    n_held_out = min(n_requested, len(others))
    validation = others[np.arange(n_held_out) * len(others) // n_held_out]
    return np.setdiff1d(order, validation), validation


def _last_split(splitter, request, n):
    """The last split of a splitter; the last split of a time series has most rows."""
    y = for_metrics(request.kept_rows("y"))
    rows = splitter.split(request.kept_rows("X"), y, request.kept_rows("groups"))
    splits, name = deque(rows, maxlen=1), f"validation_fraction={splitter!r}"
    if not splits:
        raise ValueError(f"{name} yields no split: it must yield at least one.")
    train, validation = _positions(splits.pop(), n, name)
    if np.intersect1d(train, validation).size or len(train) == 0:
        raise ValueError(
            f"{name} yields a split whose validation rows are training rows too, or "
            "that leaves no training rows: pass two separate parts."
        )
    return train, validation


def _positions(pair, n, name):
    """The two parts of a split as positions from 0, whatever an index of numpy's is."""
    rows = np.arange(n)
    try:
        parts = [np.asarray(part) for part in pair]
        train, validation = (rows[p if p.size else p.astype(int)] for p in parts)
        if train.ndim == validation.ndim == 1:
            return train, validation
    except (IndexError, TypeError, ValueError):
        pass
    raise ValueError(
        f"{name} must yield pairs of indices of the {n} rows: those to train on, and "
        "those to hold out."
    )
