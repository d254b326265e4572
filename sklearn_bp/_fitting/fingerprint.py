"""Fingerprints of a fit: its parameters and its data, as short texts.

They are computed from the user's own data, before any other step, so that they are the
same on another machine.  At most some million numbers are read, from evenly
spaced rows.

`joblib.hash` would not do.  It digests pickles, which differ for equal data in another
memory order, in other blocks of a DataFrame, or in a sparse matrix whose order of
indices has been checked; and it refuses functions without a global name.
"""

import functools
import hashlib
import math
from dataclasses import fields

import numpy as np
from scipy import sparse

# Numbers of an array that are read, or a little more.
LOOKED_AT = 2**20


def of_parameters(params):
    """A text for each parameter.

    Parameters
    ----------
    params : dict
        As returned by get_params.
    """
    return {name: describe(value) for name, value in params.items()}


def describe(value):
    """A text that is the same in another process: for a function its name."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.ndarray):
        return of_data(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {describe(v)}' for k, v in value.items())}}}"
    if isinstance(value, functools.partial):
        parts = value.func, value.args, value.keywords
        return f"partial({', '.join(map(describe, parts))})"
    name = getattr(value, "__qualname__", None)
    if name is not None:
        return f"{value.__module__}.{name}"
    if hasattr(value, "get_params"):
        content = value.get_params(deep=False)
    elif hasattr(value, "__dataclass_fields__"):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
    else:
        content = getattr(value, "__dict__", {})
    return f"{describe(type(value))}({describe(dict(content))})"


def of_data(data):
    """A text for an array, a sparse matrix, a table, a list of any, or None."""
    if data is None:
        return "None"
    digest = hashlib.blake2b(digest_size=16)
    for part in _arrays(data):
        is_number = part.dtype.kind in "biufcMm"
        _update(digest, f"{part.shape} {part.dtype.str if is_number else 'text'}")
        _update(digest, part if part.ndim == 0 else part[_rows(*part.shape)])
    return digest.hexdigest()


def _arrays(data):
    """Iterate over the arrays that the data consists of."""
    if isinstance(data, np.ma.MaskedArray):
        yield np.ma.getmaskarray(data)
        data = data.filled()  # masked values do not matter
    if sparse.issparse(data):
        data = data.tocsr()
        yield np.array(data.shape)
        data = data[_rows(data.shape[0], data.nnz // max(1, data.shape[0]))]
        yield from (data.data, data.indices, data.indptr)
    elif hasattr(data, "columns"):
        names = getattr(data, "column_names", data.columns)  # the former in arrow
        yield np.array([str(name) for name in names])
        for name in names:
            column = np.asarray(data[name])
            yield column[_rows(len(column), len(names))]
    else:
        try:
            whole = np.asarray(data)
        except ValueError:  # a list of arrays of different shapes
            yield np.array(len(data))
            for part in data:
                yield from _arrays(part)
        else:
            yield whole


def _rows(n_rows, *n_columns):
    """Rows to read: all, or an array of their positions."""
    n_read = max(1000, LOOKED_AT // max(1, math.prod(n_columns)))
    if n_rows <= n_read:
        return slice(None)
    return np.linspace(0, n_rows - 1, n_read).astype(np.intp)


def _update(digest, value):
    """Add a string, numbers, or the texts of other objects to a digest."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufcMm":
            digest.update(value.tobytes())
            return
        value = "\x1f".join(map(str, value.ravel().tolist()))
    digest.update(value.encode("utf-8", "surrogatepass"))
