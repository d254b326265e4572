"""What tells one fit from another: its parameters and its data, as short texts.

Of data some million numbers are looked at, all where there are no more, else those of
evenly spaced rows.  They are the user's own, before anything is computed from them, so
that another machine finds the same.
"""

import functools
import hashlib
from dataclasses import fields

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

# Numbers of an array that are looked at, or a little more.
LOOKED_AT = 2**20


def of_parameters(params):
    """A text for each parameter.

    Parameters
    ----------
    params : dict
        As get_params gives it.
    """
    return {name: describe(value) for name, value in params.items()}


def describe(value):
    """A text that is the same in another process; of a function, its name."""
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
    """A text for an array, a sparse matrix, a table, a list, or None."""
    if data is None:
        return "None"
    digest = hashlib.blake2b(digest_size=16)
    shape = np.shape(data) if not hasattr(data, "shape") else data.shape
    _update(digest, str(tuple(shape)))
    n_rows = _num_samples(data)
    n_columns = max(1, int(np.prod(shape[1:])))
    n_looked_at = min(n_rows, max(1000, LOOKED_AT // n_columns))
    if n_looked_at < n_rows:
        rows = np.linspace(0, n_rows - 1, n_looked_at).astype(np.intp)
        data = (
            data.tocsr()[rows] if sparse.issparse(data) else _safe_indexing(data, rows)
        )
    for part in _arrays(data):
        _update(digest, part.dtype.str if part.dtype.kind in "biufcMm" else "text")
        _update(digest, part)
    return digest.hexdigest()


def _arrays(data):
    """The arrays that data consists of."""
    if sparse.issparse(data):
        data = data.tocsr()
        return [data.data, data.indices.astype(np.int64), data.indptr.astype(np.int64)]
    if hasattr(data, "columns"):
        names = [str(name) for name in data.columns]
        return [np.array(names), *(np.asarray(data[name]) for name in data.columns)]
    return [np.asarray(data)]


def _update(digest, value):
    """Add a string, numbers, or the texts of anything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufcMm":
            digest.update(value.tobytes())
            return
        value = "\x1f".join(map(str, value.ravel().tolist()))
    digest.update(value.encode("utf-8", "surrogatepass"))
