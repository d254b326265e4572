"""Run the benchmarks; `benchmarks/README.md` explains them."""

import argparse
import sys
import time
import warnings

from benchmarks import threads, timing


def main():
    options = parse(sys.argv[1:])
    threads.before_imports(options.threads)
    from benchmarks import report, rivals
    from benchmarks.all_suites import SUITES

    options.suites = chosen(options.suites, SUITES, "suite")
    names = chosen(options.rivals, rivals.RIVALS, "rival")
    if options.quick and options.rivals is None:
        names = [name for name in names if name not in rivals.SLOW]
    options.rivals = rivals.installed(names)
    warnings.simplefilter("ignore")  # that max_iter is reached is the intention
    results = {
        "machine": report.machine(),
        "versions": report.versions(),
        "settings": {
            "threads": options.threads,
            "clock": options.clock,
            "rounds": options.rounds,
            "quick": options.quick,
        },
        "rows": [],
    }
    cases = {name: listed(name, SUITES[name], options) for name in options.suites}
    if not any(cases.values()):
        sys.exit(f"No case's name contains {options.only!r}.")
    limits = threads.limited(options.threads, options.rivals)
    with limits, timing.clock(options.clock):
        for name in filter(cases.get, cases):
            rows = run(name, cases[name], options.rounds)
            results["rows"] += rows
            if options.out:  # after each suite: a long run may be interrupted
                report.save(results, options.out)
            print(report.suite_text(name, rows), flush=True)
    if options.pictures:
        from benchmarks.pictures import draw

        draw(results, options.pictures)


def listed(name, suite, options):
    """The cases of a suite that were asked for; nothing is measured yet."""
    return [case for case in suite(options) if options.only in f"{name} {case.name}"]


def run(name, cases, rounds):
    """The rows of one suite's cases."""
    start = time.perf_counter()
    rows = []
    for number, case in enumerate(cases, 1):
        seconds = time.perf_counter() - start
        line = f"{seconds:6.0f} s  {name} {number}/{len(cases)}  {case.name}"
        print(line, file=sys.stderr, flush=True)
        rows.append(case.run(rounds))
    return rows


def parse(arguments):
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="small problems, few rounds and epochs")
    add("--only", default="", metavar="PATTERN", help="cases whose name contains this")
    add("--suites", metavar="A,B", help="default: all")
    add("--rivals", metavar="A,B", help="default: all that are installed")
    add("--rounds", type=int, metavar="N", help="default: 5; quick: 2")
    add("--threads", type=int, metavar="N", default=1, help="default: 1")
    add("--clock", choices=list(timing.CLOCKS), default="wall", help="default: wall")
    add("--data", metavar="DIR", help="where mnist.npz is (X_train, y_train)")
    add("--out", metavar="FILE", help="write the results as JSON")
    add("--pictures", metavar="DIR", help="draw pictures")
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 2 if options.quick else 5
    return options


def chosen(names, table, kind):
    """The names in a list like "a,b", all of the table if there is none."""
    if names is None:
        return list(table)
    names = names.split(",")
    for name in names:
        if name not in table:
            sys.exit(f"There is no {kind} {name!r}; there are: {', '.join(table)}.")
    return names


if __name__ == "__main__":
    main()
