"""How good the defaults are on raw tables: cross-validation of ours and its rivals.

`benchmarks/README.md` explains it. With --out, a run that was interrupted continues
where it stopped.
"""

import argparse
import gc
import io
import json
import os
import sys
import time
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import product
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from benchmarks.accuracy_metrics import class_metrics, number_metrics
from benchmarks.accuracy_report import markdown
from benchmarks.accuracy_rivals import (
    RIVALS,
    SLOW,
    installed,
    versions_of,
)
from benchmarks.accuracy_tables import CLASSES, load_tables, split
from benchmarks.report import machine
from benchmarks.threads import limited

KEY = ("table", "repeat", "fold", "folds", "rival", "data", "versions", "clock")
"""The fields that identify a result when a run continues."""


def main(arguments=None):
    options = parse(arguments)
    names = chosen(options.rivals)
    if options.quick and options.rivals is None:
        names = [name for name in names if name not in SLOW]
    tables = load_tables(options.data, options.only, options.max_rows)
    if not tables:
        sys.exit("There are no such tables.")
    results = run(
        tables,
        installed(names),
        options.repeats,
        options.folds,
        options.jobs,
        options.out,
    )
    text = markdown(results)
    print(text)
    if options.out:
        Path(options.out).with_suffix(".md").write_text(text)
    if options.pictures:
        from benchmarks import accuracy_picture, accuracy_time_picture

        accuracy_picture.draw(results, options.pictures)
        accuracy_time_picture.draw(results, options.pictures)


def parse(arguments):
    parser = argparse.ArgumentParser(
        "python -m benchmarks.accuracy", description=__doc__
    )
    add = parser.add_argument
    add("--data", metavar="DIR", help="default: scikit-learn's own sets")
    add("--quick", action="store_true", help="few rows, 3 folds, once")
    add("--repeats", type=int, metavar="N", help="default: 3; quick: 1")
    add("--folds", type=int, metavar="N", help="default: 5; quick: 3")
    add("--only", default="", metavar="PATTERN", help="tables whose name contains this")
    add("--jobs", type=int, metavar="N", default=1, help="fits at a time; default: 1")
    add("--rivals", metavar="A,B", help="default: all that are installed")
    add("--max-rows", type=int, metavar="N", help="of each table; quick: 300")
    add("--out", metavar="FILE.jsonl", help="keep the results; tables go to FILE.md")
    add("--pictures", metavar="DIR", help="draw pictures here")
    options = parser.parse_args(arguments)
    usual = (1, 3, 300) if options.quick else (3, 5, None)
    for name, value in zip(("repeats", "folds", "max_rows"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.out and not options.out.endswith(".jsonl"):
        parser.error("--out: the name must end with .jsonl")
    return options


def chosen(names):
    """The rivals in a list like "a,b", all if there is none."""
    if names is None:
        return list(RIVALS)
    for name in names.split(","):
        if name not in RIVALS:
            sys.exit(f"There is no rival {name!r}; there are: {', '.join(RIVALS)}.")
    return names.split(",")


def run(tables, rivals, repeats, folds, jobs=1, out=None):
    """The results of all fits; those that are in the file `out` are not repeated.

    Rivals take turns on each fold, so that a machine that is slower for a while is
    slower for all.
    """
    store = Store(out)
    wanted = [
        (table, identity(table, repeat, fold, folds, rival))
        for table in tables
        for repeat, fold, rival in product(range(repeats), range(folds), rivals)
    ]
    missing = [(table, ident) for table, ident in wanted if not store.has(ident)]
    fits = Parallel(jobs, return_as="generator_unordered", batch_size=1)(
        delayed(evaluate)(table, ident) for table, ident in missing
    )
    start = time.perf_counter()
    for number, result in enumerate(fits, 1):
        store.add(result)
        seconds = time.perf_counter() - start
        progress = f"{seconds:6.0f} s  {number}/{len(missing)}  {line(result)}"
        print(progress, file=sys.stderr, flush=True)
    return [store.get(ident) for _, ident in wanted]


def identity(table, repeat, fold, folds, rival):
    """The fields of a result that are known before the fit."""
    return {
        "table": table.name,
        "task": table.task,
        "rows": len(table.y),
        "columns": table.X.shape[1],
        "rival": rival,
        "repeat": repeat,
        "fold": fold,
        "folds": folds,
        "data": table.digest,
        "versions": versions_of(rival),
        "clock": "processor",
    }


def evaluate(table, ident):
    """Fit a rival on the training rows of a fold, and measure it on the test rows.

    An error is a result as well: one rival that fails on one table must not end a
    run of hours.
    """
    train, test = split(table, ident["folds"], ident["repeat"], ident["fold"])
    with warnings.catch_warnings(record=True) as caught, limited(1), silence():
        warnings.simplefilter("always")
        try:
            model = RIVALS[ident["rival"]](table.task, ident["repeat"])
            measured = measure(model, table, train, test)
        except Exception as error:
            measured = {"error": first_line(error)}
    return {**ident, **measured, "warnings": told(caught, ident["rival"])}


@contextmanager
def silence():
    """Discards output: some rivals print their progress in any case."""
    nowhere = io.StringIO()
    with redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def measure(model, table, train, test):
    """Scores and CPU seconds, which other programs disturb little."""
    X, y = table.X, table.y
    classes = table.task == CLASSES
    targets = y[train]
    if classes:  # some rivals want them without gaps
        known, targets = np.unique(targets, return_inverse=True)
    gc.collect()
    start = time.process_time()
    model.fit(X.iloc[train], targets)
    fitted = time.process_time()
    predict = model.predict_proba if classes else model.predict
    predicted = predict(X.iloc[test])
    done = time.process_time()
    if not np.isfinite(predicted).all():
        raise ValueError("predictions that are not finite")
    if classes:
        found = known[np.asarray(model.classes_, dtype=int)]
        metrics = class_metrics(predicted, found, y[test], table.n_classes)
    else:
        metrics = number_metrics(np.ravel(predicted), y[test])
    return {**metrics, "fit_seconds": fitted - start, "predict_seconds": done - fitted}


def told(caught, rival):
    """Warnings as text, except for rivals that did not converge."""
    return [
        first_line(warning.message)
        for warning in caught
        if rival == "ours" or not issubclass(warning.category, ConvergenceWarning)
    ]


def first_line(error):
    """Kind and first line of an error or a warning."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def line(result):
    """A result as a line of progress."""
    name = f"{result['table']}  {result['rival']}"
    if "error" in result:
        return f"{name}  FAILED, {result['error']}"
    if "r2" in result:
        score = f"R2 {result['r2']:.4f}"
    else:
        score = f"accuracy {result['accuracy']:.4f}, log-loss {result['log_loss']:.4f}"
    return f"{name}  {score}  {result['fit_seconds']:.2f} s"


class Store:
    """Results by their keys, and in a file if there is one.

    The file has a line of JSON per result, and a line for the machine before its first
    result. Lines are only appended, so the file is complete whenever a run is
    interrupted, and a fit costs the same however long the file is. It keeps the results
    of other versions and settings. If two results have the same key, the later counts.
    """

    def __init__(self, path=None):
        self.path = None if path is None else Path(path)
        self.machine = machine()
        self.results = {}
        self._last_machine = None
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read()

    def _read(self):
        """Read the file, and cut off a line that was not written to its end."""
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            os.truncate(self.path, len(whole))
        for line in whole.splitlines():
            content = json.loads(line)
            if "machine" in content:
                self._last_machine = content["machine"]
            else:
                self.results[key_of(content)] = content

    def has(self, ident):
        """Whether there is a result; fits that failed are tried again."""
        return "error" not in self.results.get(key_of(ident), {"error": "missing"})

    def get(self, ident):
        return self.results[key_of(ident)]

    def add(self, result):
        self.results[key_of(result)] = result
        if self.path is None:
            return
        lines = [result]
        if self._last_machine != self.machine:
            lines.insert(0, {"machine": self.machine})
            self._last_machine = self.machine
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))


def key_of(result):
    # Older results have wall-clock seconds and no field for it.
    return tuple(result.get(name, "wall") for name in KEY)


if __name__ == "__main__":
    main()
