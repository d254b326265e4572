"""The extension, if it was built, and the checks of its arguments.

A job is a C structure (engine.h) with pointers to numpy arrays.  `as_c`,
`targets_as_c`, `strides_of` and `set_sparse` ensure the dtype, the shape and the order
that C assumes, and `check_rows` that all indices are in range.
"""

import ctypes
import os
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from scipy.linalg import cython_blas

from sklearn_bp import activations, losses

engine: Any
try:
    engine = import_module("sklearn_bp._compiled._engine")
except ImportError:  # not built, for lack of a compiler
    engine = None

CHOICES = ("auto", "python", "compiled")

# By exact class: a subclass may compute anything.  Codes are those of engine.h.
ACTIVATIONS = {
    activations.Identity: 0,
    activations.Logistic: 1,
    activations.Tanh: 2,
    activations.ReLU: 3,
}
LOSSES = {
    losses.SquaredError: 0,
    losses.BinaryLogLoss: 1,
    losses.CategoricalLogLoss: 2,
}
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

# BLAS counts in C ints, and sparse rows count their columns in them.
MOST = 2**31 - 1

# If a larger share of the numbers is stored, products of dense copies are faster than
# sums of rows of weights.  The share is FULL for long rows of weights, and half of it
# for rows of ROW_BYTES.  Measured: 0.02 (20 bytes, 32 rows of X) to 0.4 (2,048 bytes,
# 256 rows).
FULL = 0.4
ROW_BYTES = 256


def is_asked_for():
    """Whether to use the extension: it was built, and SKLEARN_BP_ENGINE allows it."""
    choice = os.environ.get("SKLEARN_BP_ENGINE", "auto")
    if choice not in CHOICES:
        raise ValueError(
            f"SKLEARN_BP_ENGINE is {choice!r}; it may be 'auto', 'python' or "
            "'compiled'. Set it to one of these, or unset it."
        )
    if choice == "compiled" and not is_built():
        raise ImportError(
            "SKLEARN_BP_ENGINE is 'compiled', but the compiled step of sklearn_bp is "
            "not installed. Install sklearn_bp again where there is a C compiler, or "
            "set SKLEARN_BP_ENGINE to 'auto'."
        )
    return choice != "python" and is_built()


def is_built():
    """Whether the extension was built, and can call scipy's gemm."""
    return engine is not None and all(gemm(dtype) for dtype in DTYPES)


@cache
def gemm(dtype):
    """The address of scipy's gemm; 0 if its sizes are not C ints."""
    name = "dgemm" if dtype == np.float64 else "sgemm"
    capsule = cython_blas.__pyx_capi__.get(name)
    signature_of = ctypes.pythonapi.PyCapsule_GetName
    signature_of.restype, signature_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype = ctypes.c_void_p
    pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = b"" if capsule is None else signature_of(capsule)
    if not signature.startswith(b"void (char *, char *, int *, int *, int *, "):
        return 0
    return pointer_of(capsule, signature)


@cache
def has_vector():
    """Whether this processor supports the faster variant."""
    return int(engine.has_vector())


def is_plain(network):
    """Whether activation and loss are compiled."""
    return type(network.activation) in ACTIVATIONS and type(network.loss) in LOSSES


class Job(ctypes.Structure):
    """A structure of engine.h, with fields of eight bytes."""

    def __init__(self, **values):
        super().__init__()
        self.arrays = {}  # keeps the arrays behind the pointers alive
        for name, value in values.items():
            self.set(name, value)

    def set(self, name, value):
        """Set a field to a number, or to the address of an array."""
        if isinstance(value, np.ndarray):
            if self.arrays.get(name) is value:
                return
            self.arrays[name] = value
            value = address_of(value)
        else:
            self.arrays.pop(name, None)
        setattr(self, name, value)


def address_of(array):
    """The address of an array; in a fifth of the time if C may write to it."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (BufferError, TypeError, ValueError):
        return array.ctypes.data


def fields(pointers, integers, numbers=""):
    """The `_fields_` of a job, from names in the order of engine.h."""
    return [
        *((name, ctypes.c_void_p) for name in pointers.split()),
        *((name, ctypes.c_int64) for name in integers.split()),
        *((name, ctypes.c_double) for name in numbers.split()),
    ]


# The features of a job's rows, dense or CSR: its first fields.
FEATURES = fields("X indptr indices", "row_stride column_stride is_long by_gemm")


def set_dense(job, X, strides):
    """Let a job read a dense X, by its strides in elements."""
    job.set("X", X)
    job.row_stride, job.column_stride = strides


def is_csr(X):
    """Whether X is a CSR of scipy."""
    return getattr(X, "format", None) == "csr"


def is_readable(X, scaling):
    """Whether C can read these features; a CSR must be scaled already."""
    return not hasattr(X, "tocsr") or (is_csr(X) and scaling is None)


def set_sparse(job, X, dtype):
    """Let a job read a CSR; copies the stored numbers if they have another dtype."""
    n, d = X.shape
    indptr = as_c(X.indptr, np.int64, (n + 1,))
    length = int(indptr[-1])
    if indptr[0] != 0 or (np.diff(indptr) < 0).any() or length > len(X.indices):
        raise ValueError("The rows of a CSR do not follow one another.")
    is_long = X.indices.dtype == np.int64
    indices = as_c(X.indices[:length], np.int64 if is_long else np.int32, (length,))
    check_rows(indices, d, "column")
    job.set("X", as_c(X.data[:length], dtype, (length,)))
    job.set("indptr", indptr)
    job.set("indices", indices)
    job.is_long = is_long


def takes_gemm(X, h, dtype):
    """Whether rows of a CSR are copied as dense ones, for products with h columns."""
    row_bytes = h * np.dtype(dtype).itemsize
    full = FULL * row_bytes / (row_bytes + ROW_BYTES)
    return X.nnz >= full * X.shape[0] * X.shape[1]


def numbers_at_once(X, n_rows, h, dtype):
    """The length of a product's operand: n_rows rows of X, or the columns of a CSR."""
    by_sums = is_csr(X) and not takes_gemm(X, h, dtype)
    return X.shape[1] if by_sums else n_rows * X.shape[1]


def as_c(array, dtype, shape):
    """An aligned array in C order with this dtype and shape, copied if necessary."""
    flags = array.flags
    if array.dtype != dtype or not (flags.c_contiguous and flags.aligned):
        array = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if array.shape != shape:
        raise ValueError(f"An array has shape {array.shape} instead of {shape}.")
    return array


def targets_as_c(Y, dtype, shape):
    """As `as_c`, for targets; bools stay bools, which are bytes of 0 and 1."""
    return as_c(Y, np.bool_ if Y.dtype == np.bool_ else dtype, shape)


def strides_of(X, dtype):
    """The strides of X, in elements; None if C cannot read it in place."""
    if type(X) is not np.ndarray or X.dtype != dtype or X.ndim != 2:
        return None
    if not X.flags.aligned or any(s % X.itemsize for s in X.strides):
        return None
    return tuple(s // X.itemsize for s in X.strides)


def check_rows(rows, n, what="row"):
    """Raise a ValueError unless all indices are from 0 to n - 1."""
    if not len(rows):
        return
    least, most = np.minimum.reduce(rows), np.maximum.reduce(rows)
    if least < 0 or most >= n:
        raise ValueError(f"Each {what} must be in 0 to {n - 1}. Got {least} to {most}.")
