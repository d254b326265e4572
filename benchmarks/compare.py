"""Compare two results: `python -m benchmarks.compare OLD.json NEW.json`.

Ends with status 1 if ours became slower in any case by both 15 % and 0.2 ms (for
memory: by 15 % and 1 MB).
"""

import argparse
import sys

from benchmarks.report import geometric_mean, load

SLOWER = 1.15
AT_LEAST = {"s": 0.2e-3, "MB": 1.0}


def is_slower(old, new, unit="s"):
    """Whether `new` is worse by more than noise: by 15 % and by 0.2 ms."""
    return new > SLOWER * old and new - old > AT_LEAST[unit]


def by_case(results, rival, statistic):
    """(suite, case) -> (value, unit) of the rival, where it took part."""
    return {
        (row["suite"], row["case"]): (
            row["rivals"][rival][f"{statistic}_epoch"] * row["epochs"],
            row["unit"],
        )
        for row in results["rows"]
        if rival in row["rivals"]
    }


def compare(old, new, rival="ours", statistic="best"):
    """Lines to print, and the names of the cases that became slower."""
    old_cases, new_cases = (by_case(r, rival, statistic) for r in (old, new))
    lines, slower, ratios = [], [], []
    if old["machine"] != new["machine"] or old["settings"] != new["settings"]:
        lines.append("The machines or the settings differ: read with care.")
    for key, (before, unit) in old_cases.items():
        name = " ".join(key)
        if key not in new_cases:
            lines.append(f"{name}: only in the old results")
            continue
        after, _ = new_cases[key]
        ratios.append(after / before)
        verdict = ""
        if is_slower(before, after, unit):
            slower.append(name)
            verdict = "  SLOWER"
        scale, label = (1e3, "ms") if unit == "s" else (1, unit)
        lines.append(
            f"{name}: {scale * before:.4g} -> {scale * after:.4g} {label}, "
            f"{after / before:.2f}{verdict}"
        )
    added = [key for key in new_cases if key not in old_cases]
    lines += [f"{' '.join(key)}: only in the new results" for key in added]
    if ratios:
        lines.append(f"geometric mean of new / old: {geometric_mean(ratios):.3f}")
    return lines, slower


def main():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.compare", description=__doc__
    )
    parser.add_argument("old", metavar="OLD.json")
    parser.add_argument("new", metavar="NEW.json")
    parser.add_argument("--rival", default="ours", help="default: ours")
    parser.add_argument("--statistic", default="best", choices=["best", "median"])
    options = parser.parse_args()
    lines, slower = compare(
        load(options.old), load(options.new), options.rival, options.statistic
    )
    print("\n".join(lines))
    if slower:
        sys.exit(f"slower by 15 % and more: {', '.join(slower)}")


if __name__ == "__main__":
    main()
