"""The BLAS routines of one dtype, as scipy binds them.

Called with positional arguments on arrays of the right dtype and layout, they work in
place and cost less than the equivalent numpy ufunc.  All take Fortran-ordered matrices,
such as the transpose of a C-ordered array, which is a view.

f2py silently copies an output array that does not fit, and the result is lost.  So
`blas_for` checks once per dtype that the routines write into the given arrays.
"""

import os
import threading
from contextlib import contextmanager, nullcontext
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


# If the largest product has fewer multiplications than this, threads wait for each
# other longer than they compute.  Two threads took up to 3.2 times the time of one at
# 0.24e6, up to 1.8 times at 2.5e6, and 0.8 times at 5e6.
MANY_THREADS = 4e6


# OpenBLAS computes products of up to this many multiplications without packing the
# matrices first (with AVX-512, and on ARM).
DIRECT_PRODUCT = 10**6


def row_parts(n_rows, n_multiplications, least):
    """Slices of a batch whose products need no packing, or one slice of all rows.

    Two direct products take 0.75 to 0.9 of the time of one packed product.

    Parameters
    ----------
    n_rows : int
    n_multiplications : int
        Per row.
    least : int
        The smallest number of rows per part for which splitting pays.
    """
    most = DIRECT_PRODUCT // n_multiplications
    if most >= n_rows or most < least:
        return [slice(0, n_rows)]
    n_parts = -(-n_rows // most)
    size = -(-n_rows // n_parts)
    return [slice(i, min(i + size, n_rows)) for i in range(0, n_rows, size)]


def blas_threads(n_multiplications):
    """A context in which BLAS uses one thread if products are small.

    This holds for both copies of OpenBLAS, numpy's and scipy's.  threadpoolctl comes
    with scikit-learn.
    """
    if n_multiplications >= MANY_THREADS:
        return nullcontext()
    return one_blas_thread()


def one_blas_thread():
    """A context in which BLAS uses one thread."""
    return _one_thread()()


def allowed_threads():
    """The number of threads that BLAS may use now, apart from a limit of our own."""
    return _one_thread().allowed()


class OneThread:
    """A context in which BLAS uses one thread; any number of threads may enter it.

    BLAS has one number of threads for the whole process.  The first thread to enter
    saves and limits it, and the last to leave restores it, in whatever order they
    leave.  A number that other code sets meanwhile (with threadpool_limits, say) stays.
    OpenMP has a number per thread, which each thread saves and restores for itself.

    One case cannot be handled: if another thread enters threadpool_limits while this
    context is in use and leaves it later, it restores the one thread that it found.

    Parameters
    ----------
    libraries : sequence of threadpoolctl's LibController
    """

    def __init__(self, libraries):
        self._shared: dict[Any, Any] = {}  # the numbers to restore
        self._own: list[Any] = []
        for lib in libraries:
            if getattr(lib, "threading_layer", None) == "openmp":
                self._own.append(lib)
            else:
                self._shared[lib] = None
        self._entered: dict[int, int] = {}  # how often, by thread
        self._outer = threading.local()  # the thread's numbers of OpenMP to restore
        # Reentrant: a signal handler or a finalizer may fit, or fork, at any time.
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._after_fork,
            )

    @contextmanager
    def __call__(self):
        own = [(lib, lib.get_num_threads()) for lib in self._own]
        is_outer = not hasattr(self._outer, "numbers")
        if is_outer:
            self._outer.numbers = [number for _, number in own]
        try:
            self._enter()
            try:
                for lib, _ in own:
                    _set_number(lib, 1)
                yield
            finally:
                self._leave()
        finally:
            for lib, number in own:
                _set_number(lib, number)
            if is_outer:
                del self._outer.numbers

    def allowed(self):
        """The smallest number of threads of any library, ignoring our own limit.

        It is the machine's number, or the one set by an environment variable,
        threadpool_limits or joblib.
        """
        with self._lock:
            numbers = [
                number or lib.get_num_threads() for lib, number in self._shared.items()
            ]
        outer = getattr(self._outer, "numbers", None)
        numbers += outer or [lib.get_num_threads() for lib in self._own]
        return min([number for number in numbers if number is not None], default=1)

    def _enter(self):
        me = threading.get_ident()
        with self._lock:
            for lib in self._shared:
                number = lib.get_num_threads()
                if number not in (1, None):  # None: a build without threads
                    self._shared[lib] = number
                    _set_number(lib, 1)
            self._entered[me] = self._entered.get(me, 0) + 1

    def _leave(self):
        me = threading.get_ident()
        with self._lock:
            self._entered[me] -= 1
            if not self._entered[me]:
                del self._entered[me]
            if not self._entered:
                self._restore()

    def _restore(self):
        for lib, number in self._shared.items():
            if number is not None and lib.get_num_threads() == 1:
                _set_number(lib, number)
            self._shared[lib] = None

    def _after_fork(self):
        """In a child process, which has only the thread that forked."""
        try:
            me = threading.get_ident()
            self._entered = {k: v for k, v in self._entered.items() if k == me}
            if not self._entered:
                self._restore()
        finally:
            self._lock.release()


def _set_number(lib, number):
    """Set a library's number of threads, from any thread.

    From version 3.8 on threadpoolctl lets one thread at a time do so and ignores the
    others, because it does not count the callers that still need the limit.
    `OneThread` does.
    """
    getattr(lib, "_real_set_num_threads", lib.set_num_threads)(number)


@cache
def _one_thread():
    return OneThread(_controller().select(user_api="blas").lib_controllers)


@cache
def _controller():
    return ThreadpoolController()


@cache
def blas_for(dtype):
    """Routines for `dtype`, float32 or float64, checked to work in place."""
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
