"""Limits the number of threads of all libraries that have threads."""

import os
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec


def before_imports(threads):
    """jax takes the size of its pool from here when it is imported."""
    os.environ["NPROC"] = str(threads)


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
