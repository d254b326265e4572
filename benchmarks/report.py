"""The table of ratios, and the results as JSON."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import sklearn_bp

PACKAGES = [
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "skorch",
    "jax",
    "mlxtend",
]


def geometric_mean(values):
    return float(np.exp(np.mean(np.log(values))))


def machine():
    """Processor and number of cores; nothing that names the computer."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": n_usable_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def n_usable_cores():
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def cpu_model():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions():
    found = {"sklearn_bp": sklearn_bp.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(results, path):
    Path(path).write_text(json.dumps(results, indent=1) + "\n")


def load(path):
    return json.loads(Path(path).read_text())


def ratios(row, statistic="best"):
    """Each rival's time over ours."""
    times = {name: rival[statistic] for name, rival in row["rivals"].items()}
    if "ours" not in times:
        return {}
    ours = times.pop("ours")
    return {name: time / ours for name, time in times.items()}


def slopes(rows):
    """(axis, rival) -> slope of log time over log size: 1 is linear growth."""
    points = {}
    for row in rows:
        for name, rival in row["rivals"].items():
            point = np.log(row["size"]), np.log(rival["best"])
            points.setdefault((row["axis"], name), []).append(point)
    return {
        key: float(np.polyfit(*np.transpose(found), 1)[0])
        for key, found in points.items()
    }


def suite_text(name, rows):
    """The table of a suite, as text."""
    parts = [f"\n{name}: rivals as multiples of ours, best (median)", table(rows)]
    if name == "scaling":
        parts.append("slopes of log time over log size:")
        parts += [
            f"  {axis}, {rival}: {slope:.2f}"
            for (axis, rival), slope in slopes(rows).items()
        ]
    return "\n".join(parts)


def table(rows):
    """Rows of one suite as text: our time, and the rivals' as multiples of it.

    The first number of a pair compares the best rounds, the second, in brackets,
    the medians.
    """
    others = list(dict.fromkeys(name for row in rows for name in ratios(row)))
    in_epochs = any(row["epochs"] > 1 for row in rows)
    unit, scale = ("ms", 1e3) if rows[0]["unit"] == "s" else (rows[0]["unit"], 1)
    lines = [["", f"ours, {unit}{'/epoch' * in_epochs}", *others, "loss equal"]]
    for row in rows:
        best, median = ratios(row), ratios(row, "median")
        ours = row["rivals"].get("ours")
        time = f"{scale * ours['best_epoch']:.4g}" if ours else "-"
        pairs = [pair(best.get(name), median.get(name)) for name in others]
        lines.append([row["case"], time, *pairs, agreement(row)])
    means = [pair(mean_ratio(rows, n), mean_ratio(rows, n, "median")) for n in others]
    return aligned([*lines, ["geometric mean", "", *means, ""]])


def mean_ratio(rows, rival, statistic="best"):
    """Geometric mean over the rows in which the rival took part."""
    found = [ratios(row, statistic).get(rival) for row in rows]
    return geometric_mean([ratio for ratio in found if ratio is not None])


def aligned(lines):
    """Lists of words as columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *map(str.rjust, line[1:], widths[1:]),
            ]
        ).rstrip()
        for line in lines
    )


def pair(best, median):
    return "-" if best is None else f"{best:.3g} ({median:.3g})"


def agreement(row):
    """Whether ours and MLPClassifier ended alike, or how far apart."""
    if row["difference"] is None or row["rtol"] is None:
        return ""
    word = "yes" if row["difference"] <= row["rtol"] else "NO"
    return f"{word} {row['difference']:.0g}"
