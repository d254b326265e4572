"""Timing, round by round: each round runs every contender once."""

import gc
import time
from contextlib import contextmanager

import numpy as np

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_now = time.perf_counter


@contextmanager
def clock(name):
    """Measure by another clock of `CLOCKS`."""
    global _now
    before, _now = _now, CLOCKS[name]
    try:
        yield
    finally:
        _now = before


def measure(case, rounds):
    """Time the contenders of `case`; return its row for the results.

    One warm-up each, then `rounds` rounds; every second one in the reverse order,
    so that the effects of a contender on the next one (caches, heat) balance out.
    """
    contenders = case.build()
    seconds = {name: [] for name in contenders}
    values = {}
    for name, contender in contenders.items():
        values[name] = contender.inspect(contender.work())
    names = list(contenders)
    gc.freeze()  # the collector need not search the objects that exist by now
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            seconds[name].append(time_once(contenders[name].work, case.repeats))
    gc.unfreeze()
    return {
        "suite": case.suite,
        "case": case.name,
        "epochs": case.epochs,
        "unit": "s",
        **(case.facts or {}),
        "difference": difference(values.get("ours"), values.get("mlp")),
        "rtol": case.rtol,
        "rivals": {
            name: summary(seconds[name], case.epochs) | values[name] for name in names
        },
    }


def time_once(work, repeats):
    """Seconds of one call, the mean of `repeats`; garbage is collected before."""
    gc.collect()
    gc.disable()
    try:
        start = _now()
        for _ in range(repeats):
            work()
        return (_now() - start) / repeats
    finally:
        gc.enable()


def summary(seconds, epochs):
    best, median = min(seconds), float(np.median(seconds))
    return {
        "best": best,
        "median": median,
        "best_epoch": best / epochs,
        "median_epoch": median / epochs,
        "seconds": seconds,
    }


def difference(ours, theirs):
    """The largest relative difference of values that both have; None without any."""
    shared = set(ours or ()) & set(theirs or ())
    if not shared:
        return None
    return max(
        float(np.max(np.abs(np.divide(ours[key], theirs[key]) - 1))) for key in shared
    )
