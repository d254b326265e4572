"""The pictures: ratios by cell, scaling, time to a test loss."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import NullFormatter

from benchmarks.report import ratios, slopes

matplotlib.use("agg")
import matplotlib.pyplot as plt

NOT_DRAWN = ("null",)


def draw(results, folder):
    """Write a picture of each suite that was run and has one; return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suite, picture in PICTURES.items():
        rows = [row for row in results["rows"] if row["suite"] == suite]
        if not rows:
            continue
        figure = picture(rows)
        path = folder / f"{suite}.png"
        figure.savefig(path, dpi=150, bbox_inches="tight")
        plt.close(figure)
        written.append(path)
    return written


def ratios_by_cell(rows):
    """A dot a rival and case: its time over ours."""
    figure, axes = plt.subplots(figsize=(8, 1.5 + 0.3 * len(rows)))
    names = {name: None for row in rows for name in ratios(row)}
    for name in names:
        if name in NOT_DRAWN:
            continue
        points = [
            (ratio[name], i)
            for i, row in enumerate(rows)
            if name in (ratio := ratios(row))
        ]
        axes.plot(*zip(*points, strict=True), "o", label=name, alpha=0.8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.set_xlabel("time / ours (right of the line: slower than ours)")
    axes.legend(bbox_to_anchor=(1, 1), loc="upper left", frameon=False)
    return figure


def scaling(rows):
    """Log-log, one panel for each size that grows, with the fitted slopes."""
    axis_names = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(
        1, len(axis_names), figsize=(3.2 * len(axis_names), 3)
    )
    fitted = slopes(rows)
    for axes, axis in zip(np.atleast_1d(panels), axis_names, strict=True):
        here = [row for row in rows if row["axis"] == axis]
        for name in here[0]["rivals"]:
            sizes = [row["size"] for row in here]
            times = [row["rivals"][name]["best"] for row in here]
            label = f"{name}, slope {fitted[axis, name]:.2f}"
            axes.loglog(sizes, times, "o-", label=label)
        axes.set_xticks(sizes, sizes)
        axes.set_xticks([], minor=True)
        axes.set_xlabel(axis)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small", loc=(0, 1.02))
    np.atleast_1d(panels)[0].set_ylabel("seconds of a fit")
    figure.tight_layout()
    return figure


def time_to_loss(rows):
    """Seconds of a fit against the log-loss on held-out rows."""
    figure, axes = plt.subplots(figsize=(6, 4))
    for name in rows[0]["rivals"]:
        points = [
            (row["rivals"][name]["best"], row["rivals"][name]["loss"]) for row in rows
        ]
        axes.loglog(*zip(*points, strict=True), "o-", label=name)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds of a fit")
    axes.set_ylabel("log-loss on held-out rows")
    axes.grid(which="both", alpha=0.3)
    axes.legend(frameon=False)
    return figure


PICTURES = {
    "cells": ratios_by_cell,
    "regression": ratios_by_cell,
    "predict": ratios_by_cell,
    "threads": ratios_by_cell,
    "scaling": scaling,
    "loss": time_to_loss,
}
"""Suite -> function of its rows that returns a figure."""
