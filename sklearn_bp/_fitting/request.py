"""The arguments that a user passes to fit."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing, check_consistent_length

from sklearn_bp._fitting.constraints import is_splitter
from sklearn_bp._network.batches import some_rows
from sklearn_bp._tables.targets import for_metrics


@dataclass(frozen=True)
class Request:
    """The unchanged arguments of a call of fit or partial_fit.

    Splitters, scorers and callbacks get these.

    Attributes
    ----------
    X, y : array-like
    sample_weight : array-like or None
    groups : array-like or None
    X_val, y_val, sample_weight_val : array-like or None
    coef_init, intercept_init : list of arrays or None
    incremental : bool
        Whether it is a call of partial_fit.
    classes : array-like or None
        The argument `classes` of partial_fit.
    kept : ndarray of int or None
        The rows of X and y with non-zero weight; None for all.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    coef_init: Any = None
    intercept_init: Any = None
    incremental: bool = False
    classes: Any = None
    kept: Any = None

    def check(self, splitter):
        """Raise a ValueError for arguments that do not fit together."""
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
                    "groups need a splitter: set validation_fraction, for example to "
                    "sklearn.model_selection.GroupShuffleSplit(n_splits=1), or do not "
                    "pass groups."
                )
            check_consistent_length(self.X, self.groups)

    def taken(self, rows):
        """A copy with some of the training rows."""
        return replace(self, kept=rows if self.kept is None else self.kept[rows])

    def kept_rows(self, name):
        """X, y or groups, by name, without the rows of weight 0."""
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
        """X and y of the validation rows as passed; y is converted by `for_metrics`."""
        if self.has_validation:
            return self.X_val, for_metrics(self.y_val)
        rows = rows if self.kept is None else self.kept[rows]
        return rows_of(self.X, rows), rows_of(for_metrics(self.y), rows)


def rows_of(data, rows):
    """Some rows of data of the user, whatever its type."""
    if issparse(data):
        return data.tocsr()[rows]
    return _safe_indexing(data, rows)


def with_weight(X, Y, sample_weight, request):
    """The rows with non-zero weight; all others are dropped."""
    if sample_weight is None or sample_weight.all():
        return X, Y, sample_weight, request
    rows = np.flatnonzero(sample_weight)
    return some_rows(X, rows), Y[rows], sample_weight[rows], request.taken(rows)
