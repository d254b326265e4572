"""The BLAS routines of one dtype, as scipy binds them.

Called positionally on arrays that already have the right dtype and layout
they cost less than the equivalent numpy ufunc, and they work in place.  All
take Fortran-ordered matrices: the transpose of a C-ordered array, which is a
view, is one.

f2py silently copies an output that does not fit and the result is then lost,
so `blas_for` checks once for each dtype that results share their memory.
"""

from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import get_blas_funcs
from scipy.linalg.blas import idamax, isamax
from threadpoolctl import ThreadpoolController


class Blas(NamedTuple):
    """Routines of one dtype.

    gemm(alpha, a, b, beta, c, trans_a, trans_b, overwrite_c) : c = alpha a b + beta c
    gemv(alpha, a, x, beta, y, 0, 1, 0, 1, 0, 1) : y = alpha a x + beta y
    axpy(x, y, n, a) : y = a x + y
    scal(a, x) : x = a x
    dot(x, y) : sum(x * y)
    amax(x) : index of the largest |x|
    """

    gemm: Any
    gemv: Any
    axpy: Any
    scal: Any
    dot: Any
    amax: Any


# Multiplications in the largest product below which threads wait for each other
# longer than they compute: at 2.5e6 two threads took up to 1.8 times as long as
# one, at 0.24e6 up to 3.2 times, at 5e6 they took 0.8 of it.
MANY_THREADS = 4e6


# OpenBLAS multiplies matrices of up to this many multiplications without packing
# them first (where it has AVX-512, and on ARM).
DIRECT_PRODUCT = 10**6


def row_parts(n_rows, n_multiplications, least):
    """Slices of a batch whose products are direct, or one slice of all rows.

    Two direct products take 0.75 to 0.9 of the time of one packed product.

    Parameters
    ----------
    n_rows : int
    n_multiplications : int
        Of a row.
    least : int
        Rows of a part below which splitting does not pay.
    """
    most = DIRECT_PRODUCT // n_multiplications
    if most >= n_rows or most < least:
        return [slice(0, n_rows)]
    n_parts = -(-n_rows // most)
    size = -(-n_rows // n_parts)
    return [slice(i, min(i + size, n_rows)) for i in range(0, n_rows, size)]


def blas_threads(n_multiplications):
    """A context in which BLAS uses one thread if products are small.

    Both copies of OpenBLAS, numpy's and scipy's.  threadpoolctl comes with
    scikit-learn.
    """
    if n_multiplications >= MANY_THREADS:
        return nullcontext()
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller():
    return ThreadpoolController()


@cache
def blas_for(dtype):
    """Routines for `dtype`, float32 or float64; checked to work in place."""
    dtype = np.dtype(dtype)
    names = ("gemm", "gemv", "axpy", "scal", "dot")
    gemm, gemv, axpy, scal, dot = get_blas_funcs(names, dtype=dtype)
    amax = idamax if dtype == np.float64 else isamax
    blas = Blas(gemm, gemv, axpy, scal, dot, amax)
    a = np.ones((2, 3), dtype=dtype)
    c = np.zeros((2, 2), dtype=dtype)
    x, y = np.ones(4, dtype=dtype), np.ones(4, dtype=dtype)
    z = np.zeros(3, dtype=dtype)
    blas.gemm(1.0, a.T, a.T, 0.0, c.T, 1, 0, 1)
    blas.gemv(1.0, a.T, x[:2], 0.0, z, 0, 1, 0, 1, 0, 1)
    blas.axpy(x, y, 4, 2.0)
    blas.scal(5.0, x)
    if not ((c == 3).all() and (z == 2).all() and (y == 3).all() and (x == 5).all()):
        raise RuntimeError(
            f"The BLAS bindings of this scipy do not work in place for {dtype}."
        )
    return blas
