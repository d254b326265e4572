"""What the rows of training show of each column: its median, or its levels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_bp._common.warn import warn_user
from sklearn_bp._tables.levels import encoder_of
from sklearn_bp._tables.statistics import quantiles

# The median of a column that is complete in training is taken from at most so many
# rows, evenly spaced: it only serves later rows that lack the value.
MEDIAN_ROWS = 20_000


@dataclass
class Findings:
    """What training has shown of each column, by its position in X.

    Attributes
    ----------
    medians : dict of int to float
        Of numeric columns; 0 where no value was observed.
    encoders : dict of int to OneHotEncoder
        Of categorical columns.
    incomplete, empty : set of int
        Numeric columns that missed values, and those of which no value was observed.
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
        """Add rows of a numeric column; its first values give the median."""
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
        """Make a category of a column all of whose values were missing so far."""
        levels = column.levels()[rows].astype(object)
        self.encoders[j] = encoder_of(np.append(levels, np.nan), column.label)
        del self.medians[j]
        self.empty.discard(j)
        self.incomplete.discard(j)

    def leave_out_ids(self, labels):
        """Drop categories that name the rows, with a warning; keep them if all do.

        Parameters
        ----------
        labels : dict of int to str
            Their positions and labels.
        """
        if not self.medians and len(labels) == len(self.encoders):
            return
        for j, label in labels.items():
            n_levels = len(self.encoders.pop(j).categories_[0])
            warn_user(
                f"{label} has {n_levels} levels, more than half as many as there are "
                "rows: it is taken for their names and left out. To encode it all the "
                "same, name it in categorical_features; else drop it from X.",
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
    """The median that missing values of a column are filled with.

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
        Of the observed values; None if there are none.
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
    """As `quantiles` gives it; without weights in a third of the time."""
    if weights is not None:
        return float(quantiles(values[np.newaxis], weights, [0.5])[0, 0])
    lower, upper = (len(values) - 1) // 2, len(values) // 2
    values = np.partition(values, (lower, upper))
    return float(values[lower]) / 2 + float(values[upper]) / 2
