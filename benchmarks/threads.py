"""The number of threads, of everything that has threads of its own."""

import os
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def before_imports(threads):
    """jax reads its flags when it is imported.

    It knows one thread or all: other numbers are for the process to set, by
    `taskset`.
    """
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{XLA_ONE_THREAD} {flags}".strip()


@contextmanager
def limited(threads, rivals=()):
    """Limit every BLAS and OpenMP, and PyTorch's own pool if it is among the rivals."""
    if {"torch", "skorch"} & set(rivals) and find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    with controller().limit(limits=threads):
        yield


@cache
def controller():
    """All libraries with threads; found once, for finding them takes a while."""
    import scipy.linalg.blas  # noqa: F401  scipy's BLAS is another than numpy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
