"""
TwoLayerClassifier and MLPClassifier compared
=============================================

Searched and compared on real data.

For each data set and each of the two: a grid search over hidden units, penalty
and learning rate behind a StandardScaler, then ten-fold cross-validation of the
best setting. Prints one table and draws the loss curves of the best settings.
Both are given the same parameters and the same seed, so scores and curves
coincide; what differs is the time.

    python examples/compare_with_mlp.py [picture.png]
"""

import math
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

DATA = {"digits": load_digits, "breast cancer": load_breast_cancer}
SETTINGS = {"max_iter": 500, "random_state": 0}
MODELS = {
    "TwoLayerClassifier": TwoLayerClassifier(**MLP_DEFAULTS | SETTINGS),
    "MLPClassifier": MLPClassifier(**SETTINGS),
}
STYLES = {"TwoLayerClassifier": "-", "MLPClassifier": ":"}
GRID = {
    "hidden_layer_sizes": [30, 100],
    "alpha": [1e-4, 1e-1],
    "learning_rate_init": [3e-3, 1e-2],
}
TITLES = {"hidden_layer_sizes": "units", "alpha": "alpha", "learning_rate_init": "rate"}
SEARCH_FOLDS, FOLDS = 3, 10


class Progress:
    """An accuracy scorer that shows how many of its calls are done."""

    def __init__(self, title, total):
        self.title, self.total, self.done = title, total, 0

    def __call__(self, estimator, X, y):
        self.done += 1
        bar = "#" * (30 * self.done // self.total)
        line = f"{self.title:33} [{bar:30}] {self.done}/{self.total} fits"
        if self.done == self.total:
            print("\r" + line, flush=True)
        elif sys.stdout.isatty():
            print("\r" + line, end="", flush=True)
        return estimator.score(X, y)


def search(title, model, X, y):
    """The fitted pipeline of the best setting, and its row of the table."""
    pipeline = make_pipeline(StandardScaler(), clone(model))
    step = pipeline.steps[-1][0]
    grid = {f"{step}__{name}": values for name, values in GRID.items()}
    n_settings = math.prod(len(values) for values in grid.values())
    progress = Progress(title, n_settings * SEARCH_FOLDS + FOLDS)

    start = time.perf_counter()
    found = GridSearchCV(pipeline, grid, cv=SEARCH_FOLDS, scoring=progress).fit(X, y)
    seconds = time.perf_counter() - start
    scores = cross_validate(
        found.best_estimator_,
        X,
        y,
        cv=FOLDS,
        scoring={"accuracy": progress, "log_loss": "neg_log_loss"},
    )
    best = {TITLES[name]: f"{found.best_params_[f'{step}__{name}']:g}" for name in GRID}
    return found.best_estimator_, {
        "accuracy": f"{scores['test_accuracy'].mean():.4f}",
        "log-loss": f"{-scores['test_log_loss'].mean():.4f}",
        "s to fit": f"{scores['fit_time'].mean():.3f}",
        "s to search": f"{seconds:.1f}",
        **best,
    }


def draw(ax, title, curves):
    """The loss curves, a dict of name and values, on one pair of axes."""
    for name, curve in curves.items():
        ax.plot(range(1, len(curve) + 1), curve, STYLES[name], lw=3, label=name)
    ax.set(title=title, xlabel="epoch", ylabel="training loss", yscale="log")
    ax.grid(alpha=0.3)
    ax.legend()


def print_table(rows):
    """Words to the left, numbers to the right."""
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    for row in [dict(zip(widths, widths, strict=True)), *rows]:
        cells = [
            f"{row[key]:{'<' if key in ('data', 'model') else '>'}{width}}"
            for key, width in widths.items()
        ]
        print("  ".join(cells))


def main(picture="compare_with_mlp.png"):
    figure, axes = plt.subplots(1, len(DATA), figsize=(10, 4), layout="constrained")
    rows = []
    for ax, (data, load) in zip(axes, DATA.items(), strict=True):
        X, y = load(return_X_y=True)
        curves = {}
        for name, model in MODELS.items():
            best, row = search(f"{data}, {name}", model, X, y)
            rows.append({"data": data, "model": name} | row)
            curves[name] = best[-1].loss_curve_
        draw(ax, f"{data} ({len(X)} rows, {X.shape[1]} features)", curves)
    print()
    print_table(rows)
    figure.savefig(picture, dpi=100)
    print(f"\nThe loss curves of the best settings are in {picture}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
