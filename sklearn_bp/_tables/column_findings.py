"""The medians and levels of columns, learned from training rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_bp._common.warn import warn_user
from sklearn_bp._tables.levels import encoder_of
from sklearn_bp._tables.sorted_columns import quantiles

# Maximum number of evenly spaced rows for the median of a column that is complete in
# training: it is only used for later rows with missing values.
MEDIAN_ROWS = 20_000


@dataclass
class Findings:
    """Medians and levels of columns, by their positions in X.

    Attributes
    ----------
    medians : dict of int to float
        Medians of numeric columns; 0 if no value was observed.
    encoders : dict of int to OneHotEncoder
        Encoders of categorical columns.
    incomplete, empty : set of int
        Numeric columns with missing values, and those without any observed value.
    """

    medians: dict = field(default_factory=dict)
    encoders: dict = field(default_factory=dict)
    incomplete: set = field(default_factory=set)
    empty: set = field(default_factory=set)

    @classmethod
    def of(cls, columns):
        numeric, categorical = columns.numeric.tolist(), columns.categorical.tolist()
        return cls(
            dict(zip(numeric, columns.medians.tolist(), strict=True)),
            dict(zip(categorical, columns.encoders, strict=True)),
            {numeric[i] for i in columns.incomplete},
            set(columns.empty),
        )

    def add_numbers(self, j, values, weights, suspect):
        """Add rows of a numeric column; its first observed values give the median."""
        if j not in self.medians:
            self.medians[j] = 0.0
            self.empty.add(j)
        median, is_incomplete = median_of(values, weights, suspect)
        if is_incomplete:
            self.incomplete.add(j)
        if j in self.empty and median is not None:
            self.medians[j] = median
            self.empty.discard(j)

    def turn_to_category(self, j, column, rows):
        """Make a column categorical that had only missing values so far."""
        levels = column.levels()[rows].astype(object)
        self.encoders[j] = encoder_of(np.append(levels, np.nan), column.label)
        del self.medians[j]
        self.empty.discard(j)
        self.incomplete.discard(j)

    def leave_out_ids(self, labels):
        """Drop categories that identify rows, with a warning, unless all columns do.

        Parameters
        ----------
        labels : dict of int to str
            Positions and labels of these categories.
        """
        if not self.medians and len(labels) == len(self.encoders):
            return
        for j, label in labels.items():
            n_levels = len(self.encoders.pop(j).categories_[0])
            warn_user(
                f"{label} has {n_levels} levels, more than half as many as there are "
                "rows: it looks like an identifier of rows and is left out. To encode "
                "it anyway, name it in categorical_features; otherwise drop it from X.",
            )

    def fields(self):
        """The fields of `Columns`."""
        numeric, categorical = sorted(self.medians), sorted(self.encoders)
        return {
            "numeric": np.array(numeric, int),
            "medians": np.array([self.medians[j] for j in numeric], np.float64),
            "incomplete": np.flatnonzero([j in self.incomplete for j in numeric]),
            "categorical": np.array(categorical, int),
            "encoders": [self.encoders[j] for j in categorical],
            "empty": tuple(sorted(self.empty)),
        }


def median_of(values, weights, suspect):
    """The median with which missing values of a column are filled.

    Parameters
    ----------
    values : ndarray of shape (n,)
        NaN where missing.
    weights : ndarray of shape (n,) or None
    suspect : bool
        Whether values may be missing.

    Returns
    -------
    median : float or None
        Median of the observed values; None if there are none.
    is_incomplete : bool
        Whether values are missing.
    """
    missing = np.isnan(values) if suspect and values.dtype.kind == "f" else np.False_
    observed: Any
    if not missing.any():
        observed = slice(None, None, -(-len(values) // MEDIAN_ROWS))
    elif missing.all():
        return None, True
    else:
        observed = ~missing
    weights = None if weights is None else weights[observed]
    return _median(values[observed], weights), bool(missing.any())


def _median(values, weights):
    """As `quantiles` gives it; without weights by a partition, which is faster."""
    if weights is not None:
        return float(quantiles(values[np.newaxis], weights, [0.5])[0, 0])
    lower, upper = (len(values) - 1) // 2, len(values) // 2
    values = np.partition(values, (lower, upper))
    return float(values[lower]) / 2 + float(values[upper]) / 2
