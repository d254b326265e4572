"""A column of the user's X: its values in one form, and its name in messages."""

import numpy as np

from sklearn_bp._tables.values import (
    BOOLEANS,
    COMPLEX,
    MISSING,
    NUMBERS,
    NUMERIC_KINDS,
    TEXTS,
    TIMES,
    as_numbers,
    example,
    kind_of,
    named_errors,
)


class RawColumn:
    """The values of a column; ValueError for dates, times and complex numbers.

    Attributes
    ----------
    values : ndarray of shape (n,)
        Numbers or booleans; or objects, with NaN for everything that is missing.
    label : str
        The column in messages.
    kinds : set of str
        Kinds of the values, from `kind_of`, apart from missing ones.
    is_text : bool
        Whether its dtype holds strings or categories.
    """

    def __init__(self, values, label, is_text=False):
        self.values, self.kinds = _normalized(values, label)
        self.label, self.is_text = label, is_text

    @property
    def is_category(self):
        """Whether its dtype, or any of its values, is a string or a category."""
        return self.is_text or bool(self.kinds & TEXTS)

    def numbers(self, hint=""):
        """Numbers, NaN for missing; ValueError for dates, or for text, with a hint."""
        if self.values.dtype != object:
            return self.values
        self._refuse_mixed()
        if TIMES in self.kinds:
            refuse_kind("M", self.label)
        for kind in self.kinds & TEXTS:
            raise ValueError(f"{self.label} holds {self.such_as(kind)}. {hint}")
        with named_errors(self.label):
            return self.values.astype(np.float64)

    def levels(self):
        """Levels of a category: numbers if all are, otherwise objects; NaN for missing.

        Booleans are objects, so that NaN may join them later.
        """
        if self.values.dtype == bool:
            return self.values.astype(object)
        if self.values.dtype != object:
            return self.values
        self._refuse_mixed()
        return as_numbers(self.values) if self.kinds == {NUMBERS} else self.values

    def such_as(self, kind):
        """A kind of values, with its first value as an example, for a message."""
        return f"{kind} (such as {example(self.values, kind)})"

    def _refuse_mixed(self):
        """Raise a ValueError for strings among numbers."""
        texts, numbers = self.kinds & TEXTS, self.kinds & {NUMBERS, BOOLEANS}
        if texts and numbers:
            raise ValueError(
                f"{self.label} holds both {self.such_as(max(texts))} and "
                f"{self.such_as(max(numbers))}: make them all one or the other."
            )


def _normalized(values, label):
    """Numbers unchanged, others as objects with NaN for missing; and their kinds."""
    kind = values.dtype.kind
    if kind in NUMERIC_KINDS:
        return values, {BOOLEANS if kind == "b" else NUMBERS}
    refuse_kind(kind, label)
    values = values.astype(object, copy=False)
    types = set(map(type, values))
    nothing = {kind for kind in types if kind.__name__ in MISSING}
    floats = {kind for kind in types if issubclass(kind, float | np.floating)}
    if nothing or floats:
        missing = np.array(
            [type(v) in nothing or (type(v) in floats and v != v) for v in values]
        )
        values = values.copy()
        values[missing] = np.nan
        types = set(map(type, values[~missing]))
    kinds = set(map(kind_of, types))
    if COMPLEX in kinds:
        refuse_kind("c", label)
    return values, kinds


def refuse_kind(kind, label):
    """Raise a ValueError for kinds of numpy dtypes: dates, times, complex numbers.

    Parameters
    ----------
    kind, label : str
    """
    if kind in "mM":
        raise ValueError(
            f"{label} holds dates or times: convert them beforehand, to numbers (such "
            "as days since the first) or to categories (such as names of weekdays)."
        )
    if kind == "c":
        raise ValueError(f"Complex data not supported. {label} holds complex numbers.")
