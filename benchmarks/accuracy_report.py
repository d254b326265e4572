"""Means over tables, differences paired over tables, and both as Markdown."""

from dataclasses import dataclass

import numpy as np

from benchmarks.accuracy_rivals import TITLES
from benchmarks.accuracy_tables import CLASSES, NUMBERS
from benchmarks.report import geometric_mean

METRICS = {
    CLASSES: ("accuracy", "log_loss", "calibration_error"),
    NUMBERS: ("r2", "rmse"),
}
SECONDS = ("fit_seconds", "predict_seconds")

EQUAL = 1e-12  # means over folds that differ by less differ by rounding

WELL_BELOW, WELL_ABOVE = 0.0, 0.2
"""A table is lost if our R2 is below the first and ridge's above the second."""


def by_table(results, task):
    """Table -> rival -> metric -> mean over its folds.

    A rival that failed on a fold of a table is left out of the table.
    """
    folds = {}
    for result in results:
        if result["task"] == task:
            rivals = folds.setdefault(result["table"], {})
            rivals.setdefault(result["rival"], []).append(result)
    return {
        table: {
            rival: {
                metric: float(np.mean([result[metric] for result in of_rival]))
                for metric in METRICS[task] + SECONDS
            }
            for rival, of_rival in rivals.items()
            if not any("error" in result for result in of_rival)
        }
        for table, rivals in folds.items()
    }


def column(scores, rival, metric):
    """The rival's values on the tables that it completed."""
    return np.array([row[rival][metric] for row in scores.values() if rival in row])


def rivals_in(scores):
    return list(dict.fromkeys(rival for row in scores.values() for rival in row))


def pairs(scores, rival, metric):
    """Ours and the rival's values on the tables that both completed."""
    both = [row for row in scores.values() if "ours" in row and rival in row]
    ours = np.array([row["ours"][metric] for row in both])
    return ours, np.array([row[rival][metric] for row in both])


@dataclass(frozen=True)
class Differences:
    """Ours minus theirs, over tables; `wins` are the tables where ours is larger."""

    mean: float
    standard_error: float | None
    median: float
    wins: int
    ties: int
    n: int


def differences(ours, theirs):
    gaps = np.subtract(ours, theirs)
    gaps = np.where(np.abs(gaps) < EQUAL, 0.0, gaps)
    n = len(gaps)
    return Differences(
        mean=float(np.mean(gaps)),
        standard_error=float(np.std(gaps, ddof=1) / np.sqrt(n)) if n > 1 else None,
        median=float(np.median(gaps)),
        wins=int(np.sum(gaps > 0)),
        ties=int(np.sum(gaps == 0)),
        n=n,
    )


@dataclass(frozen=True)
class Ratios:
    """Ours over theirs, over tables; `lower` are the tables where ours is smaller."""

    of_means: float
    geometric: float
    worst: float
    lower: int
    n: int


def ratios(ours, theirs):
    """The ratio of the means, which is also that of the totals, and of each table."""
    each = np.divide(ours, theirs)
    return Ratios(
        of_means=float(np.sum(ours) / np.sum(theirs)),
        geometric=geometric_mean(each),
        worst=float(np.max(each)),
        lower=int(np.sum(each < 1)),
        n=len(each),
    )


def lost(scores):
    """Tables where ours is worse than the mean and ridge is of use."""
    return [
        table
        for table, row in scores.items()
        if "ours" in row
        and "linear" in row
        and row["ours"]["r2"] < WELL_BELOW
        and row["linear"]["r2"] > WELL_ABOVE
    ]


def markdown(results):
    """The report of the results: summaries first, then table by table."""
    parts = []
    for task, summary in ((CLASSES, class_summary), (NUMBERS, number_summary)):
        scores = by_table(results, task)
        if scores:
            parts += [f"### {heading(results, task)}", *summary(scores)]
            parts.append(each_table(scores, task))
    return "\n\n".join([*parts, *complaints(results)]) + "\n"


def heading(results, task):
    of_task = [result for result in results if result["task"] == task]
    tables = len({result["table"] for result in of_task})
    folds = of_task[0]["folds"]
    repeats = 1 + max(result["repeat"] for result in of_task)
    times = "" if repeats == 1 else f", {repeats} times"
    name = task.capitalize()
    return f"{name}: {counted(tables, 'table')}, {folds} folds{times}"


def class_summary(scores):
    means = [
        [
            TITLES.get(rival, rival),
            f"{100 * np.mean(column(scores, rival, 'accuracy')):.2f}",
            f"{np.mean(column(scores, rival, 'log_loss')):.4f}",
            f"{100 * np.mean(column(scores, rival, 'calibration_error')):.2f}",
            *usual_columns(scores, rival),
        ]
        for rival in rivals_in(scores)
    ]
    head = ["mean over tables", "accuracy, %", "log-loss", "calibration error, %"]
    yield grid([*head, "fit, s", "predict, s", "tables"], means)
    against = []
    for rival, title in opponents(scores):
        accuracy = differences(*pairs(scores, rival, "accuracy"))
        loss = ratios(*pairs(scores, rival, "log_loss"))
        calibration = differences(*pairs(scores, rival, "calibration_error"))
        row = [
            title,
            plus_minus(accuracy, 100, 2),
            wins(accuracy),
            f"{loss.of_means:.3f}",
            f"{loss.geometric:.3f}",
            f"{loss.lower} of {loss.n}",
            plus_minus(calibration, 100, 2),
        ]
        against.append(row + times(scores, rival))
    if against:
        head = ["ours against", "accuracy, points", "better on", "mean log-loss, ratio"]
        head += ["geometric mean of ratios", "lower on", "calibration error, points"]
        yield grid([*head, "total fit time, ratio", "largest"], against)


def number_summary(scores):
    means = []
    for rival in rivals_in(scores):
        r2 = column(scores, rival, "r2")
        row = [TITLES.get(rival, rival), f"{np.median(r2):.4f}", f"{np.mean(r2):.4f}"]
        row += [str(np.sum(r2 < 0)), *usual_columns(scores, rival)]
        means.append(row)
    head = ["over tables", "median R2", "mean R2", "R2 below 0"]
    yield grid([*head, "fit, s", "predict, s", "tables"], means)
    against = []
    for rival, title in opponents(scores):
        r2 = differences(*pairs(scores, rival, "r2"))
        rmse = ratios(*pairs(scores, rival, "rmse"))
        row = [title, wins(r2), f"{r2.median:+.4f}", plus_minus(r2, 1, 4)]
        row += [f"{rmse.geometric:.3f}", *times(scores, rival)]
        against.append(row)
    if against:
        head = ["ours against", "better on", "R2, median difference", "R2, mean"]
        head += ["RMSE, geometric mean of ratios", "total fit time, ratio", "largest"]
        yield grid(head, against)
    if {"ours", "linear"} <= set(rivals_in(scores)):
        names = ", ".join(lost(scores)) or "none"
        yield f"R2 below {WELL_BELOW:g} where ridge is above {WELL_ABOVE:g}: {names}."


def each_table(scores, task):
    """One row per table, one column per rival."""
    rivals = rivals_in(scores)
    rows = [
        [table, *(cell(row.get(rival), task) for rival in rivals)]
        for table, row in scores.items()
    ]
    what = {
        CLASSES: "accuracy, % / log-loss / calibration error, % / fit, s",
        NUMBERS: "R2 / RMSE / fit, s",
    }
    return grid([what[task], *(TITLES.get(rival, rival) for rival in rivals)], rows)


def cell(row, task):
    if row is None:
        return "failed"
    if task == CLASSES:
        values = [f"{100 * row['accuracy']:.2f}", f"{row['log_loss']:.4f}"]
        values.append(f"{100 * row['calibration_error']:.2f}")
    else:
        values = [f"{row['r2']:.4f}", f"{row['rmse']:.4g}"]
    return " / ".join([*values, f"{row['fit_seconds']:.3g}"])


def usual_columns(scores, rival):
    """Mean seconds of fit and of predict, and how many tables they are of."""
    seconds = [f"{np.mean(column(scores, rival, name)):.3g}" for name in SECONDS]
    return [*seconds, str(len(column(scores, rival, SECONDS[0])))]


def opponents(scores):
    """Rival and title of those that share a table with ours."""
    for rival in rivals_in(scores):
        if rival != "ours" and len(pairs(scores, rival, SECONDS[0])[0]):
            yield rival, TITLES.get(rival, rival)


def times(scores, rival):
    """Ratio of the total times to fit, and the largest ratio of a table."""
    ratio = ratios(*pairs(scores, rival, "fit_seconds"))
    return [f"{ratio.of_means:.3g}", f"{ratio.worst:.3g}"]


def plus_minus(found, scale, digits):
    """The mean difference with its standard error over tables."""
    mean = f"{scale * found.mean:+.{digits}f}"
    if found.standard_error is None:
        return mean
    return f"{mean} ± {scale * found.standard_error:.{digits}f}"


def wins(found):
    equal = f", {found.ties} equal" if found.ties else ""
    return f"{found.wins} of {found.n}{equal}"


def complaints(results):
    """Lines on what warned and what failed; the rivals' warnings are only counted."""
    for rival in dict.fromkeys(result["rival"] for result in results):
        told = [
            (result["table"], text)
            for result in results
            if result["rival"] == rival
            for text in result["warnings"]
        ]
        if rival == "ours":
            yield listed(f"Warnings of {TITLES[rival]}", told)
        elif told:
            yield f"Warnings of {TITLES.get(rival, rival)}: {len(told)}."
    failed = [
        (f"{result['rival']} on {result['table']}", result["error"])
        for result in results
        if "error" in result
    ]
    if failed:
        yield listed("Failed fits", failed)


def listed(title, told):
    """A count, and each different text once."""
    lines = [f"- {where}: {text}" for where, text in dict.fromkeys(told)]
    return f"{title}: {len(told) or 'none'}." + "".join("\n" + text for text in lines)


def counted(n, word):
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def grid(head, rows):
    """A Markdown table whose columns are aligned as text, too."""
    lines = [head, ["-"] * len(head), *rows]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    lines[1] = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    )
