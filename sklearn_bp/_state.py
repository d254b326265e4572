"""A training state to and from a file, whole, and without pickle.

A file is

    MAGIC   version, 4 bytes   SHA-256 of the rest, 32 bytes   an npz archive

The archive has an array of bytes, the JSON of a tree, and the arrays that the tree
refers to by number.  The tree holds None, bools, numbers, strings, lists, tuples,
dicts, arrays, and records: `TrainingState` and what it is made of, by the names of
their fields.  So a new field is carried without a change here; at a type that is not
known, `encode` raises.

Fields with "given" in their metadata are left out: they follow from the parameters of
the fit, and a run that goes on has its own.
"""

import hashlib
import io
import json
import os
import zipfile
from dataclasses import fields
from typing import Any

import numpy as np

from sklearn_bp._parameters import Parameters
from sklearn_bp._stopping import Patience
from sklearn_bp._training import TrainingState

MAGIC = b"sklearn_bp checkpoint\n"
VERSION = 1
_DIGEST = hashlib.sha256().digest_size
_HEAD = len(MAGIC) + 4 + _DIGEST
# What numpy and `decode` raise at content that no checkpoint has.
_NOT_WHOLE = (ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile)
_RECORDS = {record.__name__: record for record in (TrainingState, Patience)}


def given_fields(record):
    """The names of the fields that a file leaves out."""
    return [field.name for field in fields(record) if "given" in field.metadata]


def encode(value, arrays):
    """The part of the tree for a value; its arrays are appended to a list."""
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
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(x, arrays) for key, x in value.items()}}
    if isinstance(value, Parameters):
        layout = encode(list(value.layout), arrays)
        return {"parameters": [_number_of(value.flat, arrays), layout]}
    if isinstance(value, np.random.RandomState):
        return {"random_state": encode(value.get_state(legacy=False), arrays)}
    if type(value) in _RECORDS.values():
        left_out = given_fields(value)
        names = [f.name for f in fields(value) if f.name not in left_out]
        parts = {name: encode(getattr(value, name), arrays) for name in names}
        return {"record": [type(value).__name__, parts]}
    raise TypeError(f"A {type(value).__name__} does not go into a checkpoint.")


def _number_of(array, arrays):
    arrays.append(array)
    return len(arrays) - 1


def decode(tree, arrays):
    """The value of a part of the tree: the inverse of `encode`."""
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind in ("array", "number"):
        array = arrays[content]
        return array if kind == "array" else array[()]
    if kind == "floats":
        return arrays[content].tolist()
    if kind in ("list", "tuple"):
        values = [decode(part, arrays) for part in content]
        return values if kind == "list" else tuple(values)
    if kind == "dict":
        return {key: decode(part, arrays) for key, part in content.items()}
    if kind == "parameters":
        number, layout = content
        return Parameters(arrays[number], *decode(layout, arrays))
    if kind == "random_state":
        random_state = np.random.RandomState(0)
        random_state.set_state(decode(content, arrays))
        return random_state
    name, parts = content
    return _RECORDS[name](**{key: decode(part, arrays) for key, part in parts.items()})


def to_bytes(value):
    """The content of a file that holds a value."""
    arrays: list[np.ndarray] = []
    tree = json.dumps(encode(value, arrays)).encode()
    archive = io.BytesIO()
    named: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    np.savez(archive, tree=np.frombuffer(tree, np.uint8), **named)
    rest = archive.getvalue()
    version = VERSION.to_bytes(4, "little")
    return MAGIC + version + hashlib.sha256(rest).digest() + rest


def from_bytes(content, path):
    """The value that a file holds; ValueError, with its path, if it holds none."""
    if not content.startswith(MAGIC):
        if MAGIC.startswith(content):
            raise _damaged(path)
        raise ValueError(
            f"{path} is no checkpoint of sklearn_bp. Give the fit another path; this "
            "file is left as it is."
        )
    version = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 4], "little")
    digest, rest = content[_HEAD - _DIGEST : _HEAD], content[_HEAD:]
    if len(content) >= _HEAD and version != VERSION:
        raise ValueError(
            f"The checkpoint {path} has version {version}; this version of sklearn_bp "
            f"reads {VERSION}. Delete it to train anew."
        )
    if hashlib.sha256(rest).digest() != digest:
        raise _damaged(path)
    try:
        with np.load(io.BytesIO(rest), allow_pickle=False) as archive:
            tree = json.loads(archive["tree"].tobytes())
            arrays = [archive[str(i)] for i in range(len(archive.files) - 1)]
        return decode(tree, arrays)
    except _NOT_WHOLE as error:
        raise _damaged(path) from error


def _damaged(path):
    return ValueError(
        f"The checkpoint {path} is damaged: it was cut off or changed. Delete it to "
        "train anew."
    )


def read(path):
    """The value that a file holds."""
    with open(path, "rb") as file:
        return from_bytes(file.read(), path)


def write(path, value):
    """Write a value; whatever happens, the file is then the old or the new one, whole.

    Through a file beside it, which is on the disk before it takes the name.
    """
    path = os.fspath(path)
    beside = f"{path}.tmp"
    try:
        with open(beside, "wb") as file:
            file.write(to_bytes(value))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.remove(beside)
        raise
    _sync_folder(os.path.dirname(path) or os.curdir)


def _sync_folder(folder):
    """Have the new name on the disk too, but on Windows, which opens no folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
