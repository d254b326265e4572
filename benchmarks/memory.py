"""Peak memory of a fit and the size of a pickle, each in a process of its own.

`python -m benchmarks.memory RIVAL FOLDER` measures a rival on the data in FOLDER
and prints JSON; the suite `memory` calls it.
"""

import ctypes
import json
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks import data

MB = 1e6


MEASURES = (
    "peak of a fit",
    "pickle after fit",
    "pickle after 1 partial_fit",
    "pickle after 10 partial_fit",
)


@dataclass(frozen=True)
class MemoryCase:
    """One of the measures; `found()` gives all of them, measured at the first call."""

    suite: str
    name: str
    found: Callable[[], dict]

    def run(self, rounds):
        rivals = {}
        for rival, measures in self.found().items():
            if self.name in measures:
                m = measures[self.name] / MB
                rivals[rival] = dict.fromkeys(
                    ("best", "median", "best_epoch", "median_epoch"), m
                )
        return {
            "suite": self.suite,
            "case": self.name,
            "epochs": 1,
            "unit": "MB",
            "difference": None,
            "rtol": None,
            "rivals": rivals,
        }


def memory(options):
    """Peak of a fit above what was there before it; bytes of the pickles."""
    found = cache(partial(measures_of_all, options))
    return [MemoryCase("memory", name, found) for name in MEASURES]


def measures_of_all(options):
    """Rival's name -> its measures, in bytes; those of the bare weights too."""
    rivals = [name for name in ("ours", "mlp") if name in options.rivals]
    X, y = data.mnist(options.data, 2000 if options.quick else 60_000)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", X)
        np.save(Path(folder) / "y.npy", y)
        found = {rival: in_own_process(rival, folder) for rival in rivals}
    n_bytes = ((X.shape[1] + 1) * 100 + (100 + 1) * 10) * X.itemsize
    found["weights"] = dict.fromkeys(MEASURES[1:], n_bytes)
    return found


def in_own_process(rival, folder):
    command = [sys.executable, "-m", "benchmarks.memory", rival, folder]
    return json.loads(subprocess.run(command, check=True, stdout=-1).stdout)


def peak_bytes():
    """The most memory that this process has had.

    Linux' ru_maxrss begins with the peak of the process that started this one;
    VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if "VmHWM" in x)
        return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak():
    """Let the peak begin at what is in use now, where the system offers it.

    glibc keeps what was freed for the next fit, which then seems to need less: it is
    to be given back first.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measure(rival, folder):
    from benchmarks.estimators import estimator
    from benchmarks.threads import limited

    warnings.simplefilter("ignore")
    X, y = (np.load(Path(folder) / name) for name in ("X.npy", "y.npy"))
    with limited(1):
        network = estimator(rival, max_iter=2, random_state=0)
        network.fit(X[:1000], y[:1000])  # whatever the first call loads
        forget_peak()
        before = peak_bytes()
        network.fit(X, y)
        peak = max(peak_bytes() - before, 1)
        sizes = [peak, len(pickle.dumps(network))]
        for calls in range(1, 11):
            network.partial_fit(X[:1000], y[:1000])
            if calls in (1, 10):
                sizes.append(len(pickle.dumps(network)))
    return dict(zip(MEASURES, sizes, strict=True))


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
