"""Labels and targets from any container as arrays of one kind, or a clear error."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_bp._tables.values import (
    BOOLEANS,
    EXACT,
    MISSING,
    NUMBERS,
    NUMERIC_KINDS,
    STRINGS,
    TIMES,
    are_large,
    as_numbers,
    checked_numbers,
    example,
    is_missing,
    is_numeric,
    kind_of,
    readable_by_numpy,
    refuse_lazy,
    refuse_structured,
    unmasked,
)

_ANY_SHAPE = {"ensure_2d": False, "ensure_min_samples": 0, "input_name": "y"}


def check_y_given(y, estimator):
    """Raise scikit-learn's error for y=None."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )


def check_labels(y, name="y", warn=True):
    """Labels as an array of their natural dtype, or a label indicator matrix.

    Pandas' nullable and categorical columns and object arrays become arrays of their
    contents: ints, bools or strings.

    Returns
    -------
    y : ndarray of shape (n,), or of 0 and 1, of shape (n, n_labels)
    """
    y = _natural_dtype(y, name)
    y = check_array(y, **_ANY_SHAPE | {"input_name": name}, dtype=None)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=warn)
    if y.ndim == 2:
        _check_indicators(y, name)
    elif not _are_few_ints(y):
        check_classification_targets(y)
    return y


def _check_indicators(y, name):
    """Raise a ValueError unless all entries of a matrix are 0 or 1."""
    if y.dtype.kind in NUMERIC_KINDS:
        strange = y[(y != 0) & (y != 1)]
        if not strange.size:
            return
        if (strange % 1).any():
            check_classification_targets(y)  # which are continuous
        value = strange[0].item()
    else:
        value = np.asarray(y, dtype=object).flat[0]
    raise ValueError(
        f"{name} has several columns that are not all 0 or 1 (it holds {value!r}): "
        "multiclass-multioutput targets are not supported. Pass one column of labels, "
        "or a label indicator matrix of zeros and ones; or wrap the estimator in "
        "MultiOutputClassifier."
    )


def _are_few_ints(y):
    """Whether labels are a few ints, which need no slow check by scikit-learn."""
    if y.ndim != 1 or y.dtype.kind not in "iu" or not len(y):
        return False
    return 2 * (int(y.max()) - int(y.min()) + 1) <= len(y)


def _natural_dtype(y, name):
    """Labels as an array of their natural dtype; ValueError if they are mixed."""
    refuse_lazy(y, name)
    if issparse(y):
        if y.shape[-1] == 1:
            raise TypeError(
                f"Sparse {name} must be a label indicator matrix of several columns. "
                f"Got one column: pass {name}.toarray().ravel()."
            )
        return y.toarray()
    y = unmasked(y, name)
    refuse_structured(y, name)
    array = _array_of(y, name)
    if array.dtype.kind == "T":
        array = array.astype(object)
    if array.dtype.kind in "mM" and np.isnat(array).any():
        raise ValueError(_MISSING.format(name))
    if array.dtype != object or not array.size:
        return array
    return _of_one_kind(array, name)


def _array_of(y, name):
    """Labels as an array; ValueError for a list whose labels numpy would change."""
    y = readable_by_numpy(y)
    try:
        array = np.asarray(y)
    except ValueError as error:  # inhomogeneous
        raise ValueError(
            f"{name} holds sequences of several lengths: {_OF_SEQUENCES}"
        ) from error
    if array.ndim == 0:
        raise ValueError(
            f"{name} must be an array or a list with the label of each row, or a label "
            f"indicator matrix. Got {type(y).__name__} instead."
        )
    # numpy has converted mixed lists of strings and others, or ints and floats, to one.
    if array.size and not (hasattr(y, "dtype") or hasattr(y, "__array__")):
        if array.dtype.kind in "US":
            objects = _of_one_kind(np.array(y, dtype=object), name)
            # It writes out members of an Enum, and drops null characters at the end.
            return array if (array == objects).all() else objects
        if array.dtype.kind == "f" and (np.abs(array) >= EXACT).any():
            return np.array(y, dtype=object)
    return array


def _of_one_kind(array, name):
    """An object array as ints, bools or strings; ValueError for others and mixtures."""
    values = array.ravel().tolist()
    types = set(map(type, values))
    may_miss = {t for t in types if t.__name__ in MISSING or issubclass(t, _MAY_BE_NAN)}
    if may_miss and any(is_missing(v) for v in values if type(v) in may_miss):
        raise ValueError(_MISSING.format(name))
    kinds = sorted(set(map(kind_of, types)))
    if kinds == [STRINGS]:
        return array
    if kinds == [BOOLEANS]:
        return array.astype(bool)
    if set(kinds) <= {BOOLEANS, NUMBERS}:
        numbers = as_numbers(array)
        if numbers.dtype != object:
            return numbers
        large = max((v for v in values if kind_of(type(v)) == NUMBERS), key=abs)
        raise ValueError(
            f"{name} holds numbers that fit no numpy dtype without loss (such as "
            f"{large!r}): convert them to strings, which are allowed as labels."
        )
    if any(issubclass(t, list | tuple | set | frozenset | np.ndarray) for t in types):
        raise ValueError(f"{name} holds sequences: {_OF_SEQUENCES}")
    if len(kinds) > 1:
        found = (f"{k} (such as {example(values, k)})" for k in reversed(kinds))
        raise ValueError(
            f"{name} holds both {' and '.join(found)}: make its labels all of one kind."
        )
    to_do = "make them strings, ints or bools"
    if kinds == [TIMES]:
        to_do = "make them strings, or an array of numpy's datetime64 or timedelta64"
    raise ValueError(
        f"{name} holds objects that are {kinds[0]} (such as "
        f"{example(values, kinds[0])}), which cannot be labels: {to_do}. Unknown label "
        "type: unknown."
    )


_MISSING = "Input {} contains missing values (None, NaN, NA or NaT)."
_MAY_BE_NAN = float | np.floating | np.datetime64 | np.timedelta64
_OF_SEQUENCES = (
    "for several labels per row pass a label indicator matrix of zeros and ones, for "
    "example from sklearn.preprocessing.MultiLabelBinarizer."
)


def for_metrics(y):
    """Targets in a form that scikit-learn's metrics and splitters accept.

    Object arrays of numbers or bools get a numeric dtype, and indicators become dense;
    anything else is unchanged and keeps its index.
    """
    if issparse(y):
        return y.toarray()
    array = y if isinstance(y, np.ndarray) or not hasattr(y, "shape") else np.asarray(y)
    if getattr(array, "dtype", None) != np.dtype(object):
        return y
    kinds = set(map(kind_of, set(map(type, array.ravel().tolist()))))
    if not kinds or not kinds <= {BOOLEANS, NUMBERS}:
        return y
    array = array.astype(bool) if kinds == {BOOLEANS} else as_numbers(array)
    return y.astype(array.dtype) if hasattr(y, "iloc") else array


def joined_labels(found):
    """The sorted labels of several arrays, with their types unchanged.

    Parameters
    ----------
    found : list of ndarray
        From `check_labels`.
    """
    kinds = {labels.dtype.kind in NUMERIC_KINDS for labels in found}
    if len(kinds) > 1:
        raise ValueError(
            "y has numbers in some blocks and strings or other objects in others: "
            "make its labels all of one kind."
        )
    labels = np.concatenate(found)
    if labels.dtype.kind == "f" and any(map(are_large, found)):
        # For int64 and uint64.
        exact = np.concatenate([labels.astype(object) for labels in found])
        labels = _of_one_kind(exact, "y")
    return np.unique(labels)


def check_regression_targets(y, dtype):
    """Targets as a finite matrix of `dtype`, (n, n_outputs)."""
    y = checked_numbers(y, "y", dtype, **_ANY_SHAPE)
    if y.ndim == 0:
        raise ValueError(
            "y must be an array or a list with the target of each row. Got a single "
            f"number, {y.item()!r}, instead."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return y[:, np.newaxis] if y.ndim == 1 else y


def targets_for_metrics(y):
    """Targets in a form that scikit-learn's metrics accept: any that `fit` does."""
    y = readable_by_numpy(unmasked(y, "y"))
    return y if is_numeric(y) else checked_numbers(y, "y", np.float64, **_ANY_SHAPE)
