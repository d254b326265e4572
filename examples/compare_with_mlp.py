"""TwoLayerClassifier and MLPClassifier, searched and compared on real data.

For each data set and each of the two: a grid search over hidden units, penalty
and learning rate behind a StandardScaler, then ten-fold cross-validation of the
best setting. Prints one table and draws the loss curves of the best settings.

    python examples/compare_with_mlp.py [picture.png]
"""

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
GRID = {
    "hidden_layer_sizes": [30, 100],
    "alpha": [1e-4, 1e-1],
    "learning_rate_init": [3e-3, 1e-2],
}
FOLDS = 3


class Progress:
    """A scorer that shows how many of its calls are done."""

    def __init__(self, title, total):
        self.title, self.total, self.done = title, total, 0

    def __call__(self, estimator, X, y):
        self.done += 1
        bar = "#" * (30 * self.done // self.total)
        line = f"{self.title:36} [{bar:30}] {self.done}/{self.total}"
        if self.done == self.total:
            print("\r" + line)
        elif sys.stdout.isatty():
            print("\r" + line, end="", flush=True)
        return estimator.score(X, y)


def search(title, model, X, y):
    """The fitted pipeline of the best setting, and what it is worth."""
    pipeline = make_pipeline(StandardScaler(), clone(model))
    step = pipeline.steps[-1][0]
    grid = {f"{step}__{name}": values for name, values in GRID.items()}
    n_fits = FOLDS
    for values in grid.values():
        n_fits *= len(values)
    start = time.perf_counter()
    progress = Progress(title, n_fits)
    found = GridSearchCV(pipeline, grid, cv=FOLDS, scoring=progress).fit(X, y)
    seconds = time.perf_counter() - start
    scores = cross_validate(
        found.best_estimator_, X, y, cv=10, scoring=["accuracy", "neg_log_loss"]
    )
    return found.best_estimator_, {
        "accuracy": f"{scores['test_accuracy'].mean():.4f}",
        "log-loss": f"{-scores['test_neg_log_loss'].mean():.4f}",
        "s a fit": f"{scores['fit_time'].mean():.3f}",
        "s the search": f"{seconds:.1f}",
        **{name: f"{found.best_params_[f'{step}__{name}']:g}" for name in GRID},
    }


def main(picture="compare_with_mlp.png"):
    figure, axes = plt.subplots(1, len(DATA), figsize=(10, 4), layout="constrained")
    rows = []
    for ax, (data, load) in zip(axes, DATA.items(), strict=True):
        X, y = load(return_X_y=True)
        for (name, model), style in zip(MODELS.items(), ["-", ":"], strict=True):
            best, row = search(f"{data}, {name}", model, X, y)
            rows.append({"data": data, "model": name} | row)
            curve = best[-1].loss_curve_
            ax.plot(range(1, len(curve) + 1), curve, style, lw=2.5, label=name)
        ax.set(title=data, xlabel="epoch", ylabel="training loss", yscale="log")
        ax.legend()
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    print()
    for row in [dict(zip(widths, widths, strict=True)), *rows]:
        cells = [f"{row[key]:{width}}" for key, width in widths.items()]
        print("  ".join(cells).rstrip())
    figure.savefig(picture, dpi=100)
    print(f"\nThe loss curves are in {picture}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
