"""Constraints of the constructors' parameters: checks, and their wording in errors."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import get_scorer_names

from sklearn_bp._common.option import Option
from sklearn_bp._tables.piecewise_linear import PiecewiseLinear


class Number:
    """A number in an interval, open at infinity.

    Parameters
    ----------
    kind : type
        `Integral` or `Real`.
    low, high : float
    closed : {"left", "neither", "both"}
    also : tuple
        Other values that are allowed.
    """

    def __init__(self, kind, low, high=np.inf, closed="left", also=()):
        self.kind, self.low, self.high = kind, low, high
        self.closed, self.also = closed, also

    def admits(self, value):
        if isinstance(value, str | bool | np.bool_):
            return value in self.also if isinstance(value, str) else False
        if not isinstance(value, self.kind):
            return isinstance(value, Real) and value in self.also
        above = value > self.low if self.closed == "neither" else value >= self.low
        below = value <= self.high if self.closed == "both" else value < self.high
        return bool(above and below) or value in self.also

    def has_type(self, value):
        names = any(isinstance(also, str) for also in self.also)
        kinds = (str, self.kind) if names else self.kind
        return isinstance(value, kinds) and not isinstance(value, bool)

    def __str__(self):
        kind = "an int" if self.kind is Integral else "a float"
        left = "(" if self.closed == "neither" else "["
        right = "]" if self.closed == "both" else ")"
        high = self.high if self.high == np.inf else f"{self.high:g}"
        text = f"{kind} in the range {left}{self.low:g}, {high}{right}"
        return " or ".join([text, *(repr(also) for also in self.also)])


class Part:
    """A name from a table, or an object with the given methods.

    Parameters
    ----------
    table : iterable of str
    methods : tuple of str
    function : bool, default=False
        Whether a function is allowed too.
    family : type, default=Option
        The base of our own objects. Those of another family may have methods of these
        names: every loss has the two methods of an activation.
    """

    def __init__(self, table, methods, function=False, family=Option):
        self.names, self.methods, self.function = list(table), methods, function
        self.family = family

    def admits(self, value):
        if isinstance(value, str):
            return value in self.names
        if isinstance(value, type):
            return False
        if isinstance(value, Option) and not isinstance(value, self.family):
            return False
        has_methods = all(callable(getattr(value, m, None)) for m in self.methods)
        return (bool(self.methods) and has_methods) or (
            self.function and callable(value)
        )

    def has_type(self, value):
        return isinstance(value, str)

    def __str__(self):
        text = "one of " + ", ".join(repr(name) for name in self.names)
        if self.methods:
            text += ", or an object with " + " and ".join(
                f"{m}()" for m in self.methods
            )
        return text + (", or a function" if self.function else "")


class Boolean:
    """True or False, also numpy's; optionally an int.

    Parameters
    ----------
    or_int : bool, default=False
    also : tuple of str
        Other values that are allowed.
    """

    def __init__(self, or_int=False, also=()):
        self.kinds = (bool, np.bool_, Integral) if or_int else (bool, np.bool_)
        self.also = also

    def admits(self, value):
        if isinstance(value, str):
            return value in self.also
        return isinstance(value, self.kinds)

    def has_type(self, value):
        return isinstance(value, str) and bool(self.also)

    def __str__(self):
        kinds = ["an int"] if Integral in self.kinds else []
        return " or ".join(["True or False", *kinds, *map(repr, self.also)])


class ClassWeight:
    """None, "balanced", a dict of weights, or a list of dicts, one per label."""

    def admits(self, value):
        if isinstance(value, list):
            return all(isinstance(each, dict) for each in value)
        return value is None or isinstance(value, dict) or self.has_type(value, True)

    def has_type(self, value, admitted=False):
        return isinstance(value, str) and (value == "balanced" or not admitted)

    def __str__(self):
        return "None, 'balanced', a dict {label: weight} or a list of such dicts"


class Seed:
    """The constraint of the parameter `random_state`, as scikit-learn's."""

    HIGH = 2**32 - 1

    def admits(self, value):
        if isinstance(value, Integral):
            return 0 <= int(value) <= self.HIGH
        return value is None or isinstance(value, np.random.RandomState)

    def has_type(self, value):
        return True  # scikit-learn raises a ValueError for every seed

    def __str__(self):
        return (
            f"an int in the range [0, {self.HIGH}], a numpy.random.RandomState or None"
        )


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


class NumericEncoding:
    """The constraint of the parameter `numeric_encoding`."""

    def admits(self, value):
        if isinstance(value, str):
            return value == "auto"
        return isinstance(value, PiecewiseLinear)

    def has_type(self, value):
        return isinstance(value, str)

    def __str__(self):
        return "'auto', None or a PiecewiseLinear"


def is_splitter(validation_fraction):
    return hasattr(validation_fraction, "split")


class Fraction:
    """The constraint of the parameter `validation_fraction`.

    Parameters
    ----------
    number : constraint
        The constraint of a number.
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
