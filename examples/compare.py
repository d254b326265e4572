"""
Raw tables, default settings
============================

Compare the two networks with the models that people use today, on real tables.

The tables come with scikit-learn. Our networks and HistGradientBoosting take them raw.
MLPClassifier and the linear models get a StandardScaler, as their guides advise. The
first table shows the quality and the time of five folds, and the picture shows both at
once. The second table compares twins: with equal parameters, ``TwoLayerClassifier``
gives MLPClassifier's numbers, in less time.

All models get one thread and take turns. Seconds are CPU seconds, and short fits are
repeated, so the ratios hold on a busy machine too. ::

    python examples/compare.py [picture.png]
"""

# sphinx_gallery_thumbnail_path = 'images/quality_and_time.png'

import sys
import time
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor

FOLDS, SEED = 5, 0
MOST_ROUNDS, LONG = 5, 0.5  # fits are repeated until a fold has taken LONG seconds
TABLES = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes": load_diabetes,
}


def scaled(model):
    return make_pipeline(StandardScaler(), model)


def scaled_targets(model):
    return TransformedTargetRegressor(scaled(model), transformer=StandardScaler())


# For classes, and for real targets.
MODELS = {
    "sklearn_bp": (
        TwoLayerClassifier(random_state=SEED),
        TwoLayerRegressor(random_state=SEED),
    ),
    "MLP, scaled": (
        scaled(MLPClassifier(random_state=SEED)),
        scaled_targets(MLPRegressor(random_state=SEED)),
    ),
    "HistGradientBoosting": (
        HistGradientBoostingClassifier(random_state=SEED),
        HistGradientBoostingRegressor(random_state=SEED),
    ),
    "linear, scaled": (scaled(LogisticRegression()), scaled(RidgeCV())),
}


def folds_of(y):
    """Pairs of training and test rows."""
    classes = len(np.unique(y)) < 20
    kind = StratifiedKFold if classes else KFold
    return list(kind(FOLDS, shuffle=True, random_state=SEED).split(y, y)), classes


def fit_in_turn(models, X, y, most_rounds=MOST_ROUNDS):
    """Fit all models, once or several times; return the fewest CPU seconds of each."""
    best, total = dict.fromkeys(models, np.inf), 0.0
    for _ in range(most_rounds):
        for name, model in models.items():
            start = time.process_time()
            model.fit(X, y)
            seconds = time.process_time() - start
            best[name] = min(best[name], seconds)
            total += seconds
        if total > LONG:
            break
    return best


def judge(X, y):
    """For each model: its scores on the test folds, and its seconds to fit."""
    folds, classes = folds_of(y)
    found = {name: [] for name in MODELS}
    for train, test in folds:
        models = {name: clone(MODELS[name][0 if classes else 1]) for name in MODELS}
        seconds = fit_in_turn(models, X[train], y[train])
        for name, model in models.items():
            if classes:
                p = model.predict_proba(X[test])
                hits = accuracy_score(y[test], model.predict(X[test]))
                found[name].append((100 * hits, log_loss(y[test], p), seconds[name]))
            else:
                score = r2_score(y[test], model.predict(X[test]))
                found[name].append((score, np.nan, seconds[name]))
    # One disturbed fold does not change the median.
    means = {name: np.mean(rows, axis=0) for name, rows in found.items()}
    medians = {name: np.median(rows, axis=0)[2] for name, rows in found.items()}
    return {name: (*means[name][:2], medians[name]) for name in MODELS}, classes


def compare():
    """Print the first table; return the values of the picture."""
    titles = ("accuracy, %", "log-loss", "s to fit", "ratio")
    widths = (13, 10, 10, 7)
    print(f"Raw tables, default settings: means of {FOLDS} folds, median of seconds\n")
    header = "".join(f"{t:>{width}}" for t, width in zip(titles, widths, strict=True))
    print(f"{'table':14}{'model':25}{header}")
    losses, seconds = {name: [] for name in MODELS}, dict.fromkeys(MODELS, 0.0)
    for table, load in TABLES.items():
        found, classes = judge(*load(return_X_y=True))
        own = next(iter(found.values()))[2]
        for name, (score, loss, took) in found.items():
            seconds[name] += took
            shown = f"{score:13.1f}{loss:10.3f}" if classes else f"R2 {score:10.3f}"
            print(f"{table:14}{name:25}{shown:23}{took:10.3f}{took / own:7.2g}")
            if classes:
                losses[name].append(loss)
    mean = {name: np.exp(np.mean(np.log(own))) for name, own in losses.items()}
    return {name: (seconds[name], mean[name]) for name in MODELS}


def draw(found, picture):
    """Quality against time, on logarithmic axes: the best is at the lower left."""
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for i, (name, (seconds, loss)) in enumerate(found.items()):
        ax.scatter(seconds, loss, s=90, color="#b3361e" if i == 0 else "#1f5fa8")
        ax.annotate(
            name, (seconds, loss), (0, 10), textcoords="offset points", ha="center"
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="seconds to fit all tables",
        ylabel="log-loss, geometric mean",
        title="Raw tables, default settings",
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:.2g}")
    ax.margins(0.3)
    ax.grid(alpha=0.3, which="both")
    figure.savefig(picture, dpi=100)  # and stays open, for the gallery


def twin():
    """Print the second table: equal parameters, equal numbers."""
    print("\nWith MLPClassifier's parameters: its numbers, in less time\n")
    print(f"{'table':15}{'largest difference':>20}{'accuracy, %':>13}", end="")
    print(f"{'s to fit':>10}{'MLPClassifier':>15}{'ratio':>7}")
    settings = {"max_iter": 100, "random_state": SEED}
    for table in ("breast cancer", "digits"):
        X, y = TABLES[table](return_X_y=True)
        X = StandardScaler().fit_transform(X)
        ours = TwoLayerClassifier(**MLP_DEFAULTS | settings)
        theirs = MLPClassifier(**settings)
        own, other = fit_in_turn({"ours": ours, "theirs": theirs}, X, y).values()
        apart = np.abs(ours.predict_proba(X) - theirs.predict_proba(X)).max()
        print(
            f"{table:15}{apart:20.0e}{100 * ours.score(X, y):13.1f}{own:10.3f}"
            f"{other:15.3f}{other / own:7.1f}"
        )


def main(picture="compare.png"):
    warnings.simplefilter("ignore")  # MLPClassifier reaches its max_iter
    with threadpool_limits(limits=1):
        draw(compare(), picture)
        twin()
    print(f"\nThe picture is in {picture}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
