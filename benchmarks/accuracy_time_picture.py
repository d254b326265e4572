"""The picture of quality against time: a dot per rival, means over the tables."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from benchmarks.accuracy_report import by_table, column, counted, differences, pairs
from benchmarks.accuracy_rivals import TITLES
from benchmarks.accuracy_tables import CLASSES, NUMBERS
from benchmarks.report import geometric_mean

matplotlib.use("agg")
import matplotlib.pyplot as plt

OURS, THEIRS = "#b3361e", "#1f5fa8"
FONT = 13  # readable on a phone, where the picture has half of its width
PANELS = {CLASSES: ("log_loss", "log-loss"), NUMBERS: ("rmse", "RMSE")}
"""Task -> the metric that is drawn, and its title."""


@dataclass(frozen=True)
class Dot:
    """A rival over the tables that it shares with ours: geometric means.

    `loss` is a multiple of ours, `low` and `high` are a standard error away.
    """

    rival: str
    seconds: float
    loss: float
    low: float
    high: float


def dots_of(scores, metric):
    """A dot per rival; ours has no error, for all are relative to it."""
    return [
        dot_of(scores, rival, metric)
        for rival in TITLES
        if len(pairs(scores, rival, metric)[0])
    ]


def dot_of(scores, rival, metric):
    ours, theirs = map(np.log, pairs(scores, rival, metric))
    found = differences(theirs, ours)
    error = found.standard_error or 0.0
    loss, low, high = np.exp(found.mean + error * np.array([0, -1, 1]))
    seconds = geometric_mean(column(scores, rival, "fit_seconds"))
    return Dot(rival, seconds, loss, low, high)


def draw(results, folder):
    """Write quality_against_time.png with a panel for each task that was run."""
    panels = []
    for task, (metric, title) in PANELS.items():
        scores = by_table(results, task)
        dots = dots_of(scores, metric)
        if len(dots) > 1:
            panels.append((title, counted(len(scores), f"{task} table"), dots))
    if not panels:
        return None
    size = (6, 3.6 * len(panels))
    figure, axes = plt.subplots(
        len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    for ax, (title, tables, dots) in zip(axes.flat, panels, strict=True):
        draw_dots(ax, dots)
        ax.set_title(f"{tables}, nothing set", fontsize=FONT)
        ax.set_ylabel(f"{title} over {TITLES['ours']}'s", fontsize=FONT)
    axes[-1, 0].set_xlabel("seconds to fit a table, on one core", fontsize=FONT)
    figure.draw_without_rendering()  # places of the names depend on the layout
    for ax, (_, _, dots) in zip(axes.flat, panels, strict=True):
        label_dots(ax, dots)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quality_against_time.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_dots(ax, dots):
    """Best at the lower left; a bar is a standard error to either side."""
    ax.set(xscale="log", yscale="log")
    ax.axhline(1, color="grey", linewidth=1, zorder=0)
    for dot in dots:
        color = OURS if dot.rival == "ours" else THEIRS
        bar = [[dot.loss - dot.low], [dot.high - dot.loss]]
        ax.errorbar(dot.seconds, dot.loss, bar, fmt="o", ms=8, lw=1.5, color=color)
    ax.margins(x=0.15, y=0.12)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize=11)
    ax.grid(alpha=0.3)


def label_dots(ax, dots):
    """Each name beside its dot, where it covers least; the best rival first."""
    frame = ax.get_window_extent()
    taken = [extent_of(ax, dot) for dot in dots]
    for dot in sorted(dots, key=lambda dot: dot.loss):
        name = label(ax, dot)

        def covered(place, name=name):
            put(name, place)
            box = box_of(name)
            outside = box.width * box.height - overlap(box, frame)
            return 3 * outside + sum(overlap(box, other) for other in taken)

        put(name, min(PLACES, key=covered))
        taken.append(box_of(name))


def label(ax, dot):
    ours = dot.rival == "ours"
    return ax.annotate(
        TITLES[dot.rival],
        (dot.seconds, dot.loss),
        (0, 0),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "grey", "shrinkA": 0, "shrinkB": 4},
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7},
        fontsize=FONT,
        color=OURS if ours else "black",
        fontweight="bold" if ours else "normal",
    )


PLACES = sorted(
    (
        place
        for place in product((8, -8, 0), (0, 8, -8, 22, -22, 36, -36))
        if any(place)
    ),
    key=lambda place: abs(place[0]) + abs(place[1]) + 12 * (place[0] == 0),
)
"""Points to the right of a dot and above it, the best place for a name first."""


def put(name, place):
    """The name so far from its dot, and aligned away from it."""
    right, up = np.sign(place)
    name.set_position(place)
    name.set_horizontalalignment({-1: "right", 0: "center", 1: "left"}[right])
    name.set_verticalalignment({-1: "top", 0: "center", 1: "bottom"}[up])


def box_of(name):
    """The text's box in pixels, without the line to the dot."""
    name.get_window_extent()  # moves the text to where it belongs
    return Text.get_window_extent(name)


def extent_of(ax, dot):
    """The box of a dot and its bar, in pixels."""
    ends = [(dot.seconds, dot.low), (dot.seconds, dot.high)]
    (x, low), (_, high) = ax.transData.transform(ends)
    half = 6
    middle = ax.transData.transform((dot.seconds, dot.loss))[1]
    box = [[x - half, min(low, middle - half)], [x + half, max(high, middle + half)]]
    return matplotlib.transforms.Bbox(box)


def overlap(one, other):
    """The area that two boxes share."""
    shared = matplotlib.transforms.Bbox.intersection(one, other)
    return 0.0 if shared is None else shared.width * shared.height
