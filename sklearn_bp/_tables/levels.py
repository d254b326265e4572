"""Levels of a categorical column and their indicators, by scikit-learn's encoder.

`OneHotEncoder` does the encoding. Values of another type than in fit are handled here:
it would take them for unknown levels, or compare large integers as float64, which
merges them.
"""

import numpy as np
from sklearn.preprocessing import OneHotEncoder

from sklearn_bp._tables.values import (
    BOOLEANS,
    NUMBERS,
    are_large,
    example,
    kind_of,
    named_errors,
)

# A column that is categorical only by its dtype counts as an identifier of rows if it
# has more levels than this, and more than half as many as it has observed values.
MOST_ID_LEVELS = 50


def encoder_of(levels, label="A column"):
    """An encoder whose categories are the sorted unique levels."""
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=True)
    encoder.set_output(transform="default")
    with named_errors(label):
        return encoder.fit(levels[:, np.newaxis])


def extended(encoder, column, rows):
    """The encoder, extended by new levels in these rows of a `RawColumn`, if any."""
    old = encoder.categories_[0]
    if all(level != level for level in old.tolist()):  # nothing but missing
        levels = column.levels()[rows]
        old = old.astype(levels.dtype if levels.dtype.kind == "f" else object)
    else:
        levels = _like(old, column)[rows]
    if set(keys_of(levels)) <= set(keys_of(old)):
        return encoder
    return encoder_of(np.concatenate([old, levels]), column.label)


def keys_of(levels):
    """Levels as keys of a dict, with None for NaN, which is not equal to itself."""
    return [None if level != level else level for level in levels.tolist()]


def indicators(encoder, column):
    """The indicators of a `RawColumn`, CSR (n, n_levels); unknown levels are zeros."""
    categories = encoder.categories_[0]
    levels = _like(categories, column)
    if levels.dtype == object != categories.dtype:
        encoder = encoder_of(categories.astype(object))
    with named_errors(column.label):
        return encoder.transform(levels[:, np.newaxis])


def name_rows(n_levels, n_observed):
    """Whether a column with so many levels identifies nearly every row.

    Such levels say nothing about other rows.
    """
    return n_levels > MOST_ID_LEVELS and n_levels > n_observed / 2


def observed(levels):
    """Number of levels, (n,), that are not missing."""
    return np.count_nonzero(levels == levels)  # NaN alone differs from itself


def _like(categories, column):
    """Levels of a column in the dtype of `categories`, or in a common dtype.

    They are objects if float64 would not represent large integers exactly.
    """
    levels = column.levels()
    _refuse_other_kinds(column, categories)
    if object in (levels.dtype, categories.dtype):
        return levels.astype(object, copy=False)
    if levels.dtype.kind == categories.dtype.kind == "f":
        return _rounded_like(categories, levels)
    common = np.result_type(levels, categories)
    if common.kind == "f" and (are_large(levels) or are_large(categories)):
        common = np.dtype(object)
    return levels.astype(common, copy=False)


def _refuse_other_kinds(column, categories):
    """Raise a ValueError for values of another kind than in training."""
    first = categories[0]  # they are sorted, so all have its kind
    if first is None or first != first:  # nothing but missing
        return
    kind = kind_of(type(first))
    strange = column.kinds - {kind}
    if not strange or {kind, *column.kinds} <= {BOOLEANS, NUMBERS}:
        return
    values = column.values
    if values.dtype.kind == "f" and np.isnan(values).all():
        return
    raise ValueError(
        f"{column.label} holds {column.such_as(min(strange))}. Its categories were "
        f"{kind} in fit (such as {example(categories, kind)}): pass them with the "
        "type and the spelling of fit."
    )


def _rounded_like(categories, levels):
    """Floats as the categories that equal them when rounded to the shorter dtype."""
    if levels.itemsize >= categories.itemsize:
        return levels.astype(categories.dtype, copy=False)
    short = categories.astype(levels.dtype)
    if len(np.unique(short)) < len(short):
        return levels.astype(categories.dtype)
    at = np.minimum(np.searchsorted(short, levels), len(short) - 1)
    return np.where(short[at] == levels, categories[at], levels)
