"""The suites about using the estimators: predicting, searching, threads."""

from functools import partial

import numpy as np
from sklearn.model_selection import GridSearchCV

from benchmarks import data
from benchmarks.estimators import estimator, of_both
from benchmarks.problems import Case, Contender
from benchmarks.rivals import by_estimator
from benchmarks.suites import RTOL, problems
from benchmarks.threads import limited

GRID = {
    "hidden_layer_sizes": [(30,), (100,)],
    "alpha": [1e-4, 1e-2, 1.0],
    "learning_rate_init": [1e-3, 1e-2],
}
QUICK_GRID = {"hidden_layer_sizes": [(10,), (20,)], "max_iter": [10]}


def predict(options):
    """predict and predict_proba of one row and of 10,000."""
    for dtype in ("float64", "float32"):
        X, y = data.digits(dtype)
        for n_rows, repeats in ((1, 300), (10_000, 5)):
            rows = np.resize(X, (n_rows, X.shape[1]))
            for method in ("predict", "predict_proba"):

                def contender(rival, X=X, y=y, rows=rows, method=method):
                    fitted = estimator(rival, max_iter=20, random_state=0).fit(X, y)
                    predict = getattr(fitted, method)
                    return Contender(
                        lambda: predict(rows),
                        lambda result: {"norm": float(np.linalg.norm(result) + 1)},
                    )

                name = f"{method} {n_rows} rows f{dtype[-2:]}"
                build = partial(of_both, options.rivals, contender)
                yield Case("predict", name, build, 1, repeats, RTOL[dtype])


def searching(rival, options, n_jobs):
    """The contender that searches the grid; it tells the scores."""
    X, y = data.digits()
    grid, folds = (QUICK_GRID, 2) if options.quick else (GRID, 5)

    def work():
        base = estimator(rival, random_state=0)
        return GridSearchCV(base, grid, cv=folds, n_jobs=n_jobs).fit(X, y)

    return Contender(
        work, lambda done: {"scores": done.cv_results_["mean_test_score"].tolist()}
    )


def search(options):
    """A grid of 12 candidates by 5 folds on digits, else default parameters."""
    build = partial(
        of_both, options.rivals, lambda r: searching(r, options, n_jobs=None)
    )
    yield Case("search", "digits f64, default parameters", build, rtol=1e-6)


def threads(options):
    """Ours on one thread and on two; a search in one process and in two."""

    def on_threads(problem):
        fit = by_estimator("ours", problem)

        def work(n_threads):
            with limited(n_threads):
                return fit.work()

        return {
            "ours": Contender(partial(work, 1)),
            "2 threads": Contender(partial(work, 2)),
        }

    def in_processes():
        return {
            "ours": searching("ours", options, n_jobs=1),
            "n_jobs=2": searching("ours", options, n_jobs=2),
        }

    for problem in problems(options):
        build = partial(on_threads, problem)
        yield Case("threads", problem.name, build, problem.epochs)
    yield Case("threads", "search, digits f64", in_processes)
