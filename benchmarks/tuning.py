"""What a search gains over the defaults.

    python -m benchmarks.tuning --data DIR --max-rows 1000 --out tuning.jsonl

Nested cross-validation: within the training rows of each outer fold, inner folds score
the default, values of one parameter at a time, and 20 random candidates. Two rules then
pick a candidate from each group. It is fitted to all training rows and judged on the
outer fold's test rows, which nothing has seen. Every fit has the default's number of
members. A run that was interrupted continues where it stopped.
"""

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import loguniform, randint
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_wine,
    make_friedman1,
    make_friedman2,
)
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    KFold,
    ParameterSampler,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.utils import _safe_indexing

from benchmarks.accuracy_tables import CLASSES, load_tables
from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

ALONE = {
    "activation": ["tanh", "gelu"],
    "hidden_layer_sizes": [16, 256],
    "alpha": [0.001, 0.1, 1.0],
    "learning_rate_init": [0.003, 0.02],
    "dropout": [0.1, 0.3],
}
"""Values that are tried with all other parameters at their defaults."""

SPACE = {
    "activation": ["relu", "tanh", "gelu"],
    "hidden_layer_sizes": randint(16, 257),
    "alpha": loguniform(1e-3, 3),
    "learning_rate_init": loguniform(2e-3, 3e-2),
    "dropout": [0.0, 0.1, 0.3],
}
"""The distributions of the random candidates."""

N_RANDOM, N_INNER, N_OUTER = 20, 5, 3


def tables(folder=None, max_rows=600):
    """(name, X, y, of_classes) of each table of a folder, or of own_sets."""
    if folder is None:
        yield from own_sets()
        return
    for table in load_tables(folder, max_rows=max_rows):
        yield table.name, table.X, table.y, table.task == CLASSES


def own_sets():
    """Six sets of scikit-learn, with at most 600 rows each."""
    for load in (load_wine, load_breast_cancer, load_digits):
        X, y = load(return_X_y=True)
        yield load.__name__.removeprefix("load_"), X[:600], y[:600], True
    yield "diabetes", *load_diabetes(return_X_y=True), False
    yield "friedman1", *make_friedman1(300, noise=1, random_state=0), False
    yield "friedman2", *make_friedman2(300, noise=100, random_state=0), False


def one_at_a_time():
    """The values of ALONE, a candidate each."""
    return [{name: value} for name, values in ALONE.items() for value in values]


def candidates():
    """The default first, then one parameter at a time, then random ones."""
    drawn = ParameterSampler(SPACE, N_RANDOM, random_state=0)
    return [{}, *one_at_a_time(), *drawn]


def pools():
    """The candidates that each search may pick from; each includes the default."""
    found, start = {}, 1
    for name, values in ALONE.items():
        found[name] = [0, *range(start, start + len(values))]
        start += len(values)
    found["random 10"] = [0, *range(start, start + N_RANDOM // 2)]
    found["random 20"] = [0, *range(start, start + N_RANDOM)]
    return found


def best(scores, pool):
    """The candidate of the highest mean score."""
    return max(pool, key=lambda i: scores[i].mean())


def clearly_best(scores, pool):
    """The best, or the default where their difference is below its standard error."""
    found = best(scores, pool)
    difference = scores[found] - scores[0]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return found if difference.mean() > error else 0


RULES = {"best": best, "clearly best": clearly_best}


def loss(model, X, y, of_classes):
    """Log-loss, or root mean squared error."""
    name = "neg_log_loss" if of_classes else "neg_root_mean_squared_error"
    return -float(get_scorer(name)(model, X, y))


def search(X, y, of_classes, fold):
    """Inner scores of all candidates, and the outer losses of the picked ones."""
    kind = StratifiedKFold if of_classes else KFold
    outer = kind(N_OUTER, shuffle=True, random_state=0)
    train, test = list(outer.split(X, y))[fold]
    X_train, X_test = _safe_indexing(X, train), _safe_indexing(X, test)
    estimator = TwoLayerClassifier if of_classes else TwoLayerRegressor
    scoring = "neg_log_loss" if of_classes else "neg_root_mean_squared_error"
    models = [estimator(**values, random_state=0) for values in candidates()]
    inner = kind(N_INNER, shuffle=True, random_state=1)
    scores = [
        cross_val_score(model, X_train, y[train], cv=inner, scoring=scoring)
        for model in models
    ]
    picks = {
        f"{pool}, {rule}": int(pick(scores, indices))
        for pool, indices in pools().items()
        for rule, pick in RULES.items()
    }
    losses = {
        i: loss(models[i].fit(X_train, y[train]), X_test, y[test], of_classes)
        for i in {0, *picks.values()}
    }
    return {
        "inner": [score.mean() for score in scores],
        "picks": picks,
        "ratio": {name: losses[i] / losses[0] for name, i in picks.items()},
    }


def over_tables(logarithms):
    """A geometric mean over tables of the means over folds; its standard error."""
    means = [np.mean(values) for values in logarithms.values()]
    mean = np.exp(np.mean(means))
    return mean, mean * np.std(means, ddof=1) / np.sqrt(len(means))


def report(results):
    """Factors on the default's loss, as Markdown."""
    ratios = defaultdict(lambda: defaultdict(list))
    alone = defaultdict(lambda: defaultdict(list))
    kept = defaultdict(list)
    for result in results:
        for name, ratio in result["ratio"].items():
            ratios[name][result["table"]].append(np.log(ratio))
            kept[name].append(result["picks"][name] == 0)
        for values, inner in zip(one_at_a_time(), result["inner"][1:], strict=False):
            (setting,) = (f"`{name}={value!r}`" for name, value in values.items())
            ratio = inner / result["inner"][0]
            alone[setting][result["table"]].append(np.log(ratio))
    lines = [
        "| search | loss, factor | best table | worst table | default kept |",
        "|---|---|---|---|---|",
    ]
    for name, of_table in ratios.items():
        mean, error = over_tables(of_table)
        factors = {table: np.exp(np.mean(values)) for table, values in of_table.items()}
        ends = (min(factors, key=factors.get), max(factors, key=factors.get))
        best_table, worst_table = (f"{table}: {factors[table]:.3f}" for table in ends)
        lines.append(
            f"| {name} | {mean:.3f} ± {error:.3f} | {best_table} | {worst_table} | "
            f"{np.mean(kept[name]):.0%} |"
        )
    lines += ["", "| set to | loss on inner folds, factor |", "|---|---|"]
    for setting, of_table in alone.items():
        mean, error = over_tables(of_table)
        lines.append(f"| {setting} | {mean:.3f} ± {error:.3f} |")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--data", metavar="DIR", help="default: scikit-learn's own sets"
    )
    parser.add_argument(
        "--max-rows", type=int, default=600, metavar="N", help="of each table of --data"
    )
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="tables whose name contains this"
    )
    parser.add_argument(
        "--folds",
        type=int,
        choices=range(1, N_OUTER + 1),
        default=N_OUTER,
        help=f"outer folds that are run, of {N_OUTER}; default: all",
    )
    options = parser.parse_args(arguments)
    text = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
    results = [json.loads(line) for line in text.splitlines()]
    done = {(result["table"], result["fold"]) for result in results}
    warnings.simplefilter("ignore")
    for fold in range(options.folds):
        for name, X, y, of_classes in tables(options.data, options.max_rows):
            if options.only not in name or (name, fold) in done:
                continue
            result = {"table": name, "fold": fold} | search(X, y, of_classes, fold)
            results.append(result)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
    print(report(results))


if __name__ == "__main__":
    main()
