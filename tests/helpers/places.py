"""The repository's paths, and the environment of processes that run its files."""

import importlib.util
import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def environment(*folders):
    """Of a process that imports the package, helpers and modules of these folders.

    On one thread, as the tests are.
    """
    paths = [*map(str, folders), str(TESTS / "helpers"), str(ROOT)]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def example(name):
    """A module of examples/, freshly imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"examples/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
