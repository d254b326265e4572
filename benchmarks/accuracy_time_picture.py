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
FONT = 12  # readable on a phone, where the picture has half of its width
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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quality_against_time.png"
    figure = figure_of(panels)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def figure_of(panels):
    """A panel for each triple: title of the metric, number of tables, and dots."""
    size = (6, 3.6 * len(panels))
    figure, axes = plt.subplots(
        len(panels), 1, figsize=size, sharex=True, squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    for ax, (title, tables, dots) in zip(axes.flat, panels, strict=True):
        draw_dots(ax, dots)
        ax.set_title(f"{tables}, default settings", fontsize=FONT)
        ax.set_ylabel(f"{title} over {TITLES['ours']}'s", fontsize=FONT)
    axes[-1, 0].set_xlabel("seconds to fit a table, on one core", fontsize=FONT)
    figure.draw_without_rendering()  # places of the names depend on the layout
    for ax, (_, _, dots) in zip(axes.flat, panels, strict=True):
        label_dots(ax, dots)
    return figure


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
    """Each name beside its dot, where it covers least."""
    names = [label(ax, dot) for dot in dots]
    spaces = [spaces_of(ax, *own) for own in zip(dots, names, strict=True)]
    frame = ax.get_window_extent().extents
    marks = np.array([extent_of(ax, dot).extents for dot in dots])
    loss, seconds = np.argsort([(dot.loss, dot.seconds) for dot in dots], axis=0).T
    orders = loss, loss[::-1], seconds, seconds[::-1]
    found = [arranged(order, spaces, marks, frame) for order in orders]
    _, places = min(found, key=lambda one: one[0])
    for name, place in zip(names, places, strict=True):
        put(name, PLACES[place])


def arranged(order, spaces, marks, frame):
    """What names cover in total, and their places, if they are placed in this order.

    The first round places names beside those before them, and each further round moves
    every name once, beside all others.
    """
    places, covered = {}, {}
    for i in ROUNDS * list(order):
        places.pop(i, None)
        others = [
            (spaces[j][0][place], spaces[j][1][place]) for j, place in places.items()
        ]
        names = np.array([box for box, _ in others]).reshape(-1, 4)
        lines = np.array([line for _, line in others]).reshape(-1, 2)
        boxes, own_lines = spaces[i]
        wide = boxes + MARGIN * np.array([-1, -1, 1, 1])
        area = overlap(wide, np.concatenate([names, marks]))
        outside = np.prod(wide[:, 2:] - wide[:, :2], axis=1) - overlap(
            wide, frame[None]
        )
        beside = np.concatenate([names, np.delete(marks, i, axis=0)])
        crossings = inside(lines, boxes).sum(axis=0)
        crossings += inside(own_lines, beside).sum(axis=(1, 2))
        cost = 3 * outside + area + CROSSING * crossings + FAR * DISTANCES
        places[i] = np.argmin(cost)
        covered[i] = cost[places[i]]
    return sum(covered.values()), [places[i] for i in range(len(spaces))]


def spaces_of(ax, dot, name):
    """For each of the PLACES the box of the name, and points on the line to its dot.

    Boxes are (left, bottom, right, top) in pixels.  Points in the box are NaN.
    """
    size = Text.get_window_extent(name).size
    end = ax.transData.transform((dot.seconds, dot.loss))
    low = {"left": 0, "bottom": 0, "center": 0.5, "right": 1, "top": 1}
    before = np.array([[low[side] for side in alignment(place)] for place in PLACES])
    corner = end + np.array(PLACES) * ax.figure.dpi / 72 - size * before
    boxes = np.concatenate([corner, corner + size], axis=1)
    middle = corner + size / 2
    lines = middle[:, None] + np.linspace(0, 1, 20)[:, None] * (end - middle)[:, None]
    for box, line in zip(boxes, lines, strict=True):
        line[inside(line, box[None])[:, 0]] = np.nan
    return boxes, lines


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


MARGIN = 4  # pixels to leave free around a name
CROSSING = 20  # how many pixels a point of a line counts for that crosses a box
FAR = 2  # how many pixels a point of distance counts for
ROUNDS = 5

ALIGNED = {8: "left", 24: "left", -8: "right", -24: "right"}  # others are centered
RIGHT, UP = [*ALIGNED, *range(-40, 41, 5)], [0, 8, -8, 22, -22, 36, -36]
PLACES = sorted(
    (
        (right, up)
        for right, up in product(RIGHT, UP)
        if right in ALIGNED or abs(up) > 8 or (right == 0 and up)
    ),
    key=lambda place: abs(place[0]) + abs(place[1]) + 12 * (place[0] not in ALIGNED),
)
"""Points to the right of a dot and above it, the best place for a name first."""
DISTANCES = np.abs(PLACES).sum(axis=1)


def alignment(place):
    """Which end of a name is at its place, horizontally and vertically."""
    right, up = place
    vertical = {-1: "top", 0: "center", 1: "bottom"}[np.sign(up)]
    return ALIGNED.get(right, "center"), vertical


def put(name, place):
    """The name so far from its dot, and aligned away from it."""
    right, up = alignment(place)
    name.set(position=place, horizontalalignment=right, verticalalignment=up)


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


def overlap(boxes, others):
    """The area that each box shares with others, in total."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2).sum(axis=1)


def inside(points, boxes):
    """Whether points lie in boxes, (..., n_boxes)."""
    points = points[..., None, :]
    return ((boxes[:, :2] <= points) & (points <= boxes[:, 2:])).all(axis=-1)
