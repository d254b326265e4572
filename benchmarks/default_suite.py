"""The suite of default fits: against gradient boosting, and against their products."""

from functools import cache, partial
from importlib.util import find_spec
from math import ceil

import numpy as np
from scipy.linalg import get_blas_funcs
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from benchmarks.estimators import on_engine
from benchmarks.problems import Case, Contender
from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

N_CLASSES = 5
SHAPES = [(1000, 10), (3000, 20), (20_000, 20), (20_000, 100)]

# Of a step: epochs that are timed, so many that setting up weighs nothing.
STEP_EPOCHS = 10


def default(options):
    """Whole fits with default parameters, and epochs alone against their products."""
    for n, d in SHAPES[:1] if options.quick else SHAPES:
        for task in ("regression", "classes"):
            name = f"{n} x {d} {task}"
            load = partial(table, n, d, task)
            build = partial(fits, options.rivals, load, task)
            yield Case("default", f"fit {name}", build)
            epochs = 2 if options.quick else STEP_EPOCHS
            build = partial(steps, options.rivals, load, task, epochs)
            yield Case("default", f"epochs {name}", build, epochs)


@cache
def table(n, d, task, seed=0):
    """Smooth and jumping functions of a few columns, and noise; the rest is noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    smooth = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] ** 2
    y = smooth + (X[:, 4] > 0.5) + 0.3 * rng.normal(size=n)
    if task == "regression":
        return X, y
    edges = np.quantile(y, np.arange(1, N_CLASSES) / N_CLASSES)
    return X, np.digitize(y, edges)


def ours(task, **parameters):
    make = TwoLayerRegressor if task == "regression" else TwoLayerClassifier
    return make(random_state=0, **parameters)


def fits(rivals, load, task):
    """Whole fits; they tell their number of epochs, or of trees."""
    X, y = load()
    found = {}
    if "ours" in rivals:
        own = Contender(lambda: ours(task).fit(X, y), lambda m: {"n_iter": m.n_iter_})
        found = {"ours": own}
        if "python" in rivals:
            found["python"] = on_engine("python", own)
    classes = task == "classes"
    if "hgb" in rivals:
        boosting = (
            HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        )
        found["hgb"] = Contender(lambda: boosting(random_state=0).fit(X, y))
    if "lightgbm" in rivals and find_spec("lightgbm"):
        from lightgbm import LGBMClassifier, LGBMRegressor
        from threadpoolctl import threadpool_info

        n_threads = min(lib["num_threads"] for lib in threadpool_info())
        make = LGBMClassifier if classes else LGBMRegressor
        model = make(random_state=0, n_jobs=n_threads, verbose=-1)
        found["lightgbm"] = Contender(lambda: model.fit(X, y))
    return found


def steps(rivals, load, task, epochs):
    """Epochs of default fits, held-out rows measured, and their bare products."""
    X, y = load()
    found = {}
    work = {"max_iter": epochs, "n_iter_no_change": np.inf}
    if "ours" in rivals:
        own = Contender(lambda: ours(task, **work).fit(X, y))
        found = {"ours": own}
        if "python" in rivals:
            found["python"] = on_engine("python", own)
    if "products" in rivals:
        model = ours(task, **work).fit(X, y)
        sizes = (X.shape, model.batch_size_, model.n_members_)
        h, k = model.coefs_[1].shape
        found["products"] = products(*sizes, h // model.n_members_, k, epochs)
    return found


def products(shape, batch, n_members, h, k, epochs):
    """The matrix products of ensemble members on all rows, into ready buffers."""
    (n, d), dtype = shape, np.float32
    (gemm,) = get_blas_funcs(["gemm"], dtype=dtype)
    rng = np.random.default_rng(0)

    def matrix(*shape):
        return rng.random(shape, dtype).T  # Fortran order, as f2py wants it

    x, a1, W1 = matrix(batch, d), matrix(batch, h * n_members), matrix(d, h * n_members)
    members = [
        (matrix(batch, h), matrix(batch, k), matrix(h, k)) for _ in range(n_members)
    ]

    def work():
        for _ in range(epochs * ceil(n / batch)):
            gemm(1.0, W1, x, 0.0, a1, 0, 0, 1)
            for a, z, W2 in members:
                gemm(1.0, W2, a, 0.0, z, 0, 0, 1)
                gemm(1.0, W2, z, 0.0, a, 1, 0, 1)
                gemm(1.0, z, a, 0.0, W2, 0, 1, 1)
            gemm(1.0, a1, x, 0.0, W1, 0, 1, 1)

    return Contender(work)
