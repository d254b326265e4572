"""Training states in files, written atomically and without pickle.

A file is

    MAGIC   version, 4 bytes   SHA-256 of the rest, 32 bytes   an npz archive

The archive has an array of bytes, the JSON of a tree, and the arrays that the tree
refers to by number.  The tree holds None, bools, numbers, strings, lists, tuples,
dicts, arrays, and the parts of a `TrainingState`, as dicts of their fields (`codec`).
So a new field needs no change here; `encode` raises for an unknown type.

Fields with "given" in their metadata are left out: they follow from the parameters of
the fit, so a run that resumes has its own.
"""

import hashlib
import io
import json
import math
import zipfile
from typing import Any

import numpy as np

from sklearn_bp._fitting.codec import PART, fields_of, given_fields, part_of
from sklearn_bp._fitting.files import write_whole
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingState

MAGIC = b"sklearn_bp checkpoint\n"
VERSION = 1
_DIGEST = hashlib.sha256().digest_size
_HEAD = len(MAGIC) + 4 + _DIGEST
BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_RECORDS = {record.__name__: record for record in (TrainingState, Patience, Parameters)}


def encode(value, arrays):
    """The tree of a value; its arrays are appended to `arrays`."""
    if value is None or type(value) in (bool, int, float, str):
        return value  # JSON keeps the digits of a float, and NaN and inf
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"No array of {value.dtype} goes into a checkpoint.")
        kind = "number" if isinstance(value, np.generic) else "array"
        return {kind: _number_of(np.asarray(value), arrays)}
    if isinstance(value, list) and all(type(x) is float for x in value):
        return {"floats": _number_of(np.array(value, np.float64), arrays)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [encode(x, arrays) for x in value]}
    if type(value) in _RECORDS.values():
        value = fields_of(value, given=False)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(x, arrays) for key, x in value.items()}}
    if isinstance(value, np.random.RandomState):
        return {"random_state": encode(value.get_state(legacy=False), arrays)}
    raise TypeError(f"A {type(value).__name__} does not go into a checkpoint.")


def _number_of(array, arrays):
    arrays.append(array)
    return len(arrays) - 1


def decode(tree, arrays):
    """The value of a tree: the inverse of `encode`.

    Each array is used once, so the work is bounded by the size of tree and arrays.
    """
    return _decode(tree, dict(enumerate(arrays)))


def _decode(tree, arrays):
    """Like `decode`; takes the arrays out of a dict of unused ones."""
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    if type(tree) is not dict:
        raise TypeError("A list stands where a value is expected.")
    ((kind, content),) = tree.items()
    if kind in ("array", "number", "floats"):
        return _array_as(kind, arrays.pop(_as(int, content)))
    if kind in ("list", "tuple"):
        values = [_decode(part, arrays) for part in _as(list, content)]
        return values if kind == "list" else tuple(values)
    if kind == "dict":
        content = _as(dict, content)
        return _record({key: _decode(part, arrays) for key, part in content.items()})
    if kind == "random_state":
        return random_state_of(_decode(content, arrays))
    raise ValueError(f"{kind!r} is not a kind of value.")


def _record(content):
    """The part that a dict represents, or the dict itself if it represents none."""
    if PART not in content:
        return content
    name, values = content.pop(PART), content
    record = _RECORDS[name]
    if record is not Parameters and values.keys() & set(given_fields(record)):
        raise ValueError(f"A {name} in a file has no such fields as {list(values)}.")
    return part_of(name, values)


def _as(kind, value):
    if type(value) is not kind:
        raise TypeError(f"A {type(value).__name__} stands for a {kind.__name__}.")
    return value


def _array_as(kind, array):
    if kind == "array":
        return array
    if kind == "number" and array.ndim == 0:
        return array[()]
    if kind == "floats" and array.ndim == 1 and array.dtype == np.float64:
        return array.tolist()
    raise ValueError(f"An array of {array.dtype}, {array.shape}, is not a {kind}.")


def random_state_of(state):
    """A RandomState in the state that get_state(legacy=False) of another returned.

    The position is checked, because numpy would accept one out of range.
    """
    name, content = state["bit_generator"], state["state"]
    if name not in BIT_GENERATORS or not isinstance(content, dict):
        raise ValueError(f"{name!r} is not a bit generator.")
    n_numbers = {"pos": 624, "buffer_pos": 4}
    for place in (content, state):
        for key, n in n_numbers.items():
            if not 0 <= place.get(key, 0) <= n:
                raise ValueError(f"{key}={place[key]} is out of range.")
    random_state = np.random.RandomState(getattr(np.random, name)(0))
    random_state.set_state(state)
    return random_state


def to_bytes(value):
    """The content of a file for a value."""
    arrays: list[np.ndarray] = []
    tree = json.dumps(encode(value, arrays)).encode()
    archive = io.BytesIO()
    named: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    np.savez(archive, tree=np.frombuffer(tree, np.uint8), **named)
    rest = archive.getvalue()
    version = VERSION.to_bytes(4, "little")
    return MAGIC + version + hashlib.sha256(rest).digest() + rest


def from_bytes(content, path):
    """The value in a file; ValueError with the path if there is none."""
    _check_magic(content, path)
    version = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 4], "little")
    digest, rest = content[_HEAD - _DIGEST : _HEAD], content[_HEAD:]
    if len(content) >= _HEAD and version != VERSION:
        raise ValueError(
            f"The checkpoint {path} has version {version}; this version of sklearn_bp "
            f"reads {VERSION}. Delete it to train from scratch."
        )
    if hashlib.sha256(rest).digest() != digest:
        raise damaged(path)
    try:
        tree, arrays = _unpacked(rest)
        return decode(tree, arrays)
    except MemoryError:
        raise
    except Exception as error:  # of zipfile, json, numpy: not the expected content
        raise damaged(path) from error


def _check_magic(content, path):
    if content.startswith(MAGIC):
        return
    if MAGIC.startswith(content):
        raise damaged(path)
    raise ValueError(
        f"{path} is not a checkpoint of sklearn_bp. Give the fit another path; this "
        "file has not been changed."
    )


def _unpacked(rest):
    """The tree and the arrays of an npz archive, in memory bounded by its size.

    np.load would allocate the memory that a header claims before reading.
    """
    with zipfile.ZipFile(io.BytesIO(rest)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        names = [f"{i}.npy" for i in range(len(members) - 1)]
        stored = all(
            info.compress_type == zipfile.ZIP_STORED
            and info.compress_size == info.file_size
            for info in members.values()
        )
        total = sum(info.file_size for info in archive.infolist())
        if not stored or total > len(rest) or len(archive.infolist()) != len(members):
            raise ValueError("The archive is not as np.savez writes it.")
        tree, *arrays = (
            _array(archive.read(members[name])) for name in ["tree.npy", *names]
        )
    return json.loads(tree.tobytes()), arrays


def _array(content):
    """The array in the bytes of an npy file of version 1."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("Another version of npy.")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    n_bytes = len(content) - stream.tell()
    if dtype.kind not in "biuf" or max(shape, default=0) > len(content):
        raise ValueError(f"No checkpoint has an array of {dtype}, {shape}.")
    if math.prod(shape) * dtype.itemsize != n_bytes:
        raise ValueError(f"{n_bytes} bytes are not an array of {dtype}, {shape}.")
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if in_columns else "C").copy(order="K")


def damaged(path):
    """The error for a file that has changed since it was written."""
    return ValueError(
        f"The checkpoint {path} is damaged: it was truncated or changed. Delete it to "
        "train from scratch."
    )


def read(path, name=None):
    """The value in a file; errors name its path, or `name`."""
    name = path if name is None else name
    with open(path, "rb") as file:
        head = file.read(len(MAGIC))
        _check_magic(head, name)  # a foreign file may have any size
        return from_bytes(head + file.read(), name)


def write(path, value):
    """Write a value atomically: the file is always the whole old or new one."""
    write_whole(path, to_bytes(value))
