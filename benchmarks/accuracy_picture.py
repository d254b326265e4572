"""The picture: ours against each rival, one dot per table, with mean and error."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.accuracy_report import by_table, counted, differences, opponents, pairs
from benchmarks.accuracy_tables import CLASSES, NUMBERS

matplotlib.use("agg")
import matplotlib.pyplot as plt

HOW_TO_READ = (
    "sklearn_bp against each rival. A dot is a table, green where ours is better; "
    "arrow: beyond the axis;\n"
    "diamond and bar: mean over tables ± standard error; right: better : worse"
)
BETTER, WORSE = "#1b7837", "#b2182b"


@dataclass(frozen=True)
class Panel:
    """A metric: how it is turned so that differences make sense, and how drawn."""

    task: str
    metric: str
    title: str
    turn: Callable
    scale: str
    sign: int = 1  # -1 where less is better
    limit: float = np.inf  # differences beyond it are drawn at it, as arrows


def points(shares):
    return 100 * shares


PANELS = [
    Panel(
        CLASSES, "accuracy", "accuracy: points above theirs", points, "linear", limit=10
    ),
    Panel(
        CLASSES,
        "log_loss",
        "log-loss: multiple of theirs",
        np.log,
        "log",
        sign=-1,
        limit=np.log(8),
    ),
    Panel(NUMBERS, "r2", "R2: amount above theirs", np.asarray, "symlog"),
    Panel(
        NUMBERS,
        "rmse",
        "RMSE: multiple of theirs",
        np.log,
        "log",
        sign=-1,
        limit=np.log(8),
    ),
]


def draw(results, folder):
    """Write accuracy.png with a panel for each metric that was measured."""
    panels = []
    for panel in PANELS:
        scores = by_table(results, panel.task)
        rivals = list(opponents(scores))
        if rivals:
            panels.append((panel, scores, rivals))
    if not panels:
        return None
    n_rows = (len(panels) + 1) // 2
    most = max(len(rivals) for _, _, rivals in panels)
    size = (11, n_rows * (1.3 + 0.55 * most))
    figure, axes = plt.subplots(n_rows, 2, figsize=size, squeeze=False)
    for ax, (panel, scores, rivals) in zip(axes.flat, panels, strict=True):
        draw_panel(ax, panel, scores, rivals)
    figure.suptitle(HOW_TO_READ, fontsize=9)
    figure.tight_layout()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "accuracy.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def draw_panel(ax, panel, scores, rivals):
    n_tables = 0
    for height, (rival, _) in enumerate(rivals):
        ours, theirs = map(panel.turn, pairs(scores, rival, panel.metric))
        draw_rival(ax, panel, height, ours, theirs)
        n_tables = max(n_tables, len(ours))
    ax.axvline(0 if panel.scale != "log" else 1, color="black", linewidth=1)
    ax.set_yticks(range(len(rivals)), [title for _, title in rivals])
    ax.set_ylim(len(rivals) - 0.4, -0.6)
    rescale(ax, panel.scale)
    ax.grid(axis="x", alpha=0.3)
    ax.set_title(f"{panel.title} ({counted(n_tables, 'table')})", fontsize=10)


def draw_rival(ax, panel, height, ours, theirs):
    """Dots a little above and below the line, and the mean with two whiskers."""
    found = differences(ours, theirs)
    gaps = ours - theirs

    def place(values):
        values = np.clip(values, -panel.limit, panel.limit)
        return np.exp(values) if panel.scale == "log" else values

    signs = panel.sign * np.sign(gaps)
    colours = np.select([signs > 0, signs < 0], [BETTER, WORSE], "grey")
    order = np.argsort(np.argsort(gaps))  # neighbours get different heights
    heights = height + 0.09 * (order % 5 - 2)
    inside = np.abs(gaps) <= panel.limit
    for marker, drawn in [
        ("o", inside),
        ("<", ~inside & (gaps < 0)),
        (">", ~inside & (gaps > 0)),
    ]:
        style = {"c": colours[drawn], "alpha": 0.6, "linewidths": 0}
        ax.scatter(place(gaps[drawn]), heights[drawn], s=18, marker=marker, **style)
    error = found.standard_error or 0
    ends = place(found.mean + error * np.array([-1, 1]))
    ax.plot(ends, [height, height], color="black", linewidth=2)
    ax.plot(place(found.mean), height, "D", color="black", markersize=5)
    better = found.wins if panel.sign > 0 else found.n - found.wins - found.ties
    ax.text(
        1.02,
        height,
        f"{better} : {found.n - better - found.ties}",
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize=9,
    )


def rescale(ax, scale):
    ax.margins(x=0.06)
    if scale == "linear":
        return
    if scale == "symlog":  # linear up to the threshold, logarithmic beyond
        ax.set_xscale("symlog", linthresh=0.01)
        tens = 10.0 ** np.arange(-2, 7)
        # every second power of ten far from 0, lest the labels touch
        ax.set_xticks([*-tens[:3], 0, *tens[:3], *tens[4::2]])
        ax.autoscale(axis="x")
    else:
        ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
