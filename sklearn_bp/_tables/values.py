"""Kinds of values, missing and masked values; values that hold no numbers."""

import datetime
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from numbers import Integral, Number

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

# Type names of missing values: None, those of pandas, and masked entries of numpy.
MISSING = ("NoneType", "NAType", "NaTType", "MaskedConstant")

# Float64 represents all integers exactly up to this one.
EXACT = 2**53

# Kinds of numpy dtypes.
NUMERIC_KINDS = "biuf"

DATES = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    np.datetime64,
    np.timedelta64,
)
STRINGS, BYTES, BOOLEANS, NUMBERS, TIMES, COMPLEX = (
    "strings",
    "bytes",
    "booleans",
    "numbers",
    "dates or times",
    "complex numbers",
)
TEXTS = {STRINGS, BYTES}


def is_missing(value):
    """Whether a value is None, NaN, NA, NaT or a masked entry."""
    if type(value).__name__ in MISSING:
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(value != value)


def kind_of(kind):
    """The kind of the values of a type, as named in messages."""
    if issubclass(kind, str):
        return STRINGS
    if issubclass(kind, bytes):
        return BYTES
    if issubclass(kind, bool | np.bool_):
        return BOOLEANS
    if issubclass(kind, DATES) or kind.__name__ == "Period":
        return TIMES
    if issubclass(kind, complex | np.complexfloating):
        return COMPLEX
    return NUMBERS if issubclass(kind, Number) else f"values of type {kind.__name__}"


def example(values, kind):
    """The repr of the first value of a kind."""
    of_kind = (v for v in values if kind_of(type(v)) == kind and not is_missing(v))
    value = next(of_kind)
    return repr(value.item() if isinstance(value, np.generic) else value)


def are_large(integers):
    """Whether an array holds integers that float64 may not represent exactly."""
    if integers.dtype.kind not in "iu" or not integers.size:
        return False
    return int(integers.max()) > EXACT or int(integers.min()) < -EXACT


def is_numeric(values):
    """Whether values are numbers that scikit-learn's metrics can sum."""
    dtype = np.asarray(values).dtype
    return dtype.kind in NUMERIC_KINDS and dtype.itemsize <= 8


def readable_by_numpy(values):
    """Values of polars that numpy would change as an array of objects; or unchanged.

    These are 128-bit integers, and strings with null characters at the end.
    """
    if not type(values).__module__.startswith("polars."):
        return values
    is_series = not hasattr(values, "dtypes")
    columns = [values] if is_series else values.get_columns()
    if not any(map(_is_changed_by_numpy, columns)):
        return values
    return np.array(values.to_list() if is_series else values.rows(), dtype=object)


def _is_changed_by_numpy(series):
    """Whether numpy would not read all values of a polars Series as they are."""
    dtype = str(series.dtype)
    is_cut = dtype.startswith("String") and series.str.ends_with("\0").any()
    return dtype.endswith("128") or is_cut


def as_numbers(values):
    """Objects that are all numbers in a numeric dtype; unchanged if any lose digits."""
    numbers = np.array(values.tolist())
    if numbers.dtype.kind != "f" or not (np.abs(numbers) >= EXACT).any():
        return numbers
    exact = [int(v) if isinstance(v, Integral) else v for v in values.flat]
    if not any(type(v) is int and abs(v) > EXACT for v in exact):
        return numbers
    objects = np.empty(values.size, object)
    objects[:] = exact
    return objects.reshape(values.shape)


# Masked arrays.


def is_masked(values):
    """Whether values are a masked array, or a list that contains one."""
    if isinstance(values, list | tuple):
        return any(isinstance(v, np.ma.MaskedArray) for v in values)
    return isinstance(values, np.ma.MaskedArray)


def as_features(X):
    """X, with the masked entries of masked arrays as missing values.

    numpy's variable-length strings become objects, which scikit-learn can check, and
    record batches of pyarrow become tables, whose names it reads.
    """
    if is_masked(X):
        X = _missing_for_masked(_masked_array(X))
    refuse_structured(X, "X")
    if isinstance(X, np.ndarray) and X.dtype.kind == "T":
        return X.astype(object)
    if type(X).__name__ == "RecordBatch" and hasattr(X, "schema"):
        import pyarrow as pa

        return pa.Table.from_batches([X])
    return X


def _missing_for_masked(X):
    mask = np.ma.getmaskarray(X)
    if not mask.any():
        return np.asarray(X.data)
    kind = X.dtype.kind
    if kind in "mM":
        return np.asarray(X.filled(np.array("NaT", X.dtype)))
    if kind == "f":
        return np.asarray(X.filled(np.nan))
    if kind in "iu" and not are_large(np.asarray(X.compressed())):
        return np.asarray(X.astype(np.float64).filled(np.nan))
    return np.asarray(X.astype(object).filled(np.nan))


def _masked_array(values):
    """A masked array from values for which `is_masked` is true."""
    if isinstance(values, np.ma.MaskedArray):
        return values
    if all(np.ndim(v) == 0 for v in values):
        mask = [v is np.ma.masked for v in values]
        data = np.array([0 if m else v for v, m in zip(values, mask, strict=True)])
        return np.ma.array(data, mask=mask)
    return np.ma.stack([np.ma.asarray(v) for v in values])


def unmasked(values, name):
    """Values as an array without a mask; ValueError if any are masked.

    Parameters
    ----------
    values : object
        Targets, weights or the like, which may not be missing.
    name : str
    """
    if not is_masked(values):
        return values
    values = _masked_array(values)
    mask = np.ma.getmaskarray(values)
    if mask.any():
        raise ValueError(
            f"{name} is a masked array, and {mask.sum()} of its {mask.size} entries "
            "are masked, but only X may have missing values: drop these rows from all "
            f"arrays, or fill them with {name}.filled(...)."
        )
    return np.asarray(values.data)


# Values that hold no numbers.


def refuse_structured(value, name):
    """Raise a ValueError for a structured array."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "V":
        this = (
            "pandas.DataFrame(X)" if name == "X" else f"one of its fields, {name}[...]"
        )
        raise ValueError(
            f"{name} is a structured array, whose fields are not columns: pass {this}."
        )


def refuse_other_kinds(values, name):
    """Raise a ValueError for targets or weights that are dates, times or complex."""
    array = np.asarray(values)
    kinds = {kind_of(array.dtype.type)}
    if array.dtype == object:
        kinds = set(map(kind_of, set(map(type, array.ravel().tolist()))))
    if TIMES in kinds:
        raise ValueError(
            f"{name} holds dates or times: convert them to numbers beforehand, such as "
            "days since the first."
        )
    if COMPLEX in kinds:
        raise ValueError(f"Complex data not supported. {name} holds complex numbers.")


def checked_numbers(values, name, dtype, **shape):
    """Targets or weights as a finite array of `dtype`.

    `shape` are arguments of scikit-learn's check_array.
    """
    refuse_lazy(values, name)
    values = unmasked(values, name)
    refuse_structured(values, name)
    values = readable_by_numpy(values)
    with named_errors(name):
        if not issparse(values):
            refuse_other_kinds(values, name)
        return check_array(values, dtype=dtype, **shape)


@contextmanager
def named_errors(name):
    """Prefix errors about values with the name of their column or argument."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        if re.search(rf"\b{re.escape(name)}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


def refuse_lazy(value, name):
    """Raise a TypeError for a value without ordered rows.

    These are lazy frames of polars and narwhals, iterators, sets and dicts, and
    objects that only pyarrow can read, such as relations of DuckDB.
    """
    kind = type(value).__name__
    if kind == "LazyFrame" and hasattr(value, "collect"):
        raise TypeError(
            f"{name} is a LazyFrame, which holds no rows yet: pass {name}.collect()."
        )
    is_array = hasattr(value, "__array__") or issparse(value)  # a DOK is a dict
    if isinstance(value, Mapping | Set | Iterator) and not is_array:
        raise TypeError(
            f"{name} is a {kind}, which has no rows in an order: pass an array, a list "
            "or a data frame."
        )
    if hasattr(value, "__arrow_c_stream__") and not is_array:
        raise TypeError(f"{name} is of type {kind}: pass pyarrow.table({name}).")
    is_list = isinstance(value, list | tuple) and len(value) > 0
    if is_list and all(isinstance(row, Mapping) for row in value):
        raise TypeError(f"{name} is a list of dicts: pass pandas.DataFrame({name}).")
