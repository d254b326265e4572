"""The suites that train: each a function of the options that yields cases."""

from functools import partial

import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from benchmarks import data
from benchmarks.estimators import estimator, fitting, of_both
from benchmarks.problems import Case, Contender, Problem
from benchmarks.rivals import contenders

SHAPES = [(100, 200), (100, 32), (30, 10)]  # hidden units, batch size
SOLVERS = ["sgd", "adam"]
RTOL = {"float64": 1e-6, "float32": 1e-2}  # float32: MLPClassifier's own rounding


def case_of(suite, problem, rivals, rtol=None, facts=None):
    """The case of one problem and these rivals."""
    build = partial(contenders, rivals, problem)
    return Case(suite, problem.name, build, problem.epochs, rtol=rtol, facts=facts)


def problems(options):
    """Three data sets x three pairs of hidden units and batch size x two solvers."""
    few, many = 3, 3 if options.quick else 20
    sets = [
        ("digits f64", data.digits, many),
        ("digits f32", partial(data.digits, "float32"), many),
        ("mnist f32", partial(data.mnist, options.data), few),
    ]
    for name, load, epochs in sets[:1] if options.quick else sets:
        for hidden, batch in SHAPES:
            for solver in SOLVERS:
                yield Problem(name, load, hidden, batch, solver, epochs)


def cells(options):
    """The eighteen cells, all rivals."""
    for problem in problems(options):
        dtype = "float64" if "f64" in problem.data else "float32"
        yield case_of("cells", problem, options.rivals, RTOL[dtype])


def small(options):
    """Iris, the full batch, 200 epochs: a whole fit with all its fixed costs."""
    for solver in SOLVERS:
        problem = Problem("iris", data.iris, 100, 150, solver, 200)
        yield case_of("small", problem, options.rivals, RTOL["float64"])


def members(options):
    """Eight networks side by side, and one after the other; digits, 50, 32."""
    few = options.quick
    for dtype in ("float64",) if few else ("float64", "float32"):
        X, y = data.digits(dtype)
        for solver in SOLVERS:
            problem = Problem("digits", None, 50, 32, solver, 2 if few else 10)

            def build(X=X, y=y, work=problem.parameters):
                found = {
                    "ours": fitting("ours", "classifier", X, y, n_members=8, **work)
                }
                for rival in ("ours", "mlp"):
                    if rival in options.rivals:
                        found[f"8 of {rival}"] = one_by_one(rival, X, y, work)
                return found

            name = f"digits f{dtype[-2:]} 8 x 50,32 {solver}"
            yield Case("members", name, build, problem.epochs)


def one_by_one(rival, X, y, work):
    """The contender that fits eight networks one after the other."""

    def fit_all():
        for seed in range(8):
            parameters = work | {"random_state": seed}
            estimator(rival, **parameters).fit(X, y)

    return Contender(fit_all)


def regression(options):
    """The regressor with one output and three, and the binary classifier; adam.

    With three outputs MLPRegressor follows a gradient three times too large, so
    there the losses differ.
    """
    epochs = 2 if options.quick else 10
    close = [r for r in options.rivals if r in ("ours", "mlp", "products")]
    rivals = close if options.quick else options.rivals
    shapes = [(1797, 64)] if options.quick else [(1797, 64), (100_000, 20)]
    for rows, features in shapes:
        for target in ("binary", 1, 3):
            kind = "classifier" if target == "binary" else "regressor"
            name = target if target == "binary" else f"{target} output"
            for batch in (32, 200):
                problem = Problem(
                    f"{rows} x {features} {name}",
                    partial(data.synthetic, rows, features, target),
                    100,
                    batch,
                    "adam",
                    epochs if rows < 10_000 else min(epochs, 3),
                    kind,
                )
                rtol = None if target == 3 else RTOL["float64"]
                yield case_of("regression", problem, rivals, rtol)


def lbfgs(options):
    """Digits, 50 iterations of L-BFGS."""
    X, y = data.digits()
    n = 10 if options.quick else 50
    work = {"solver": "lbfgs", "max_iter": n, "tol": 0.0, "random_state": 0}

    def build():
        return of_both(options.rivals, lambda r: fitting(r, "classifier", X, y, **work))

    # Rounding grows from one line search to the next.
    yield Case("lbfgs", "digits f64", build, n, rtol=1e-3)


def sparse(options):
    """CSR rows like a text's: 20,000 x 50,000, 0.1 % filled."""
    shape = (2_000, 5_000, 5) if options.quick else (20_000, 50_000, 50)
    rivals = [r for r in options.rivals if r in ("ours", "mlp", "null")]
    for solver in SOLVERS:
        problem = Problem("text", partial(data.text, *shape), 100, 200, solver, 2)
        yield case_of("sparse", problem, rivals, RTOL["float64"])


def scaling(options):
    """How the time of a fit grows with each of its four sizes, the rest held."""
    base = {"rows": 4000, "features": 128, "hidden": 128, "epochs": 4}
    if options.quick:
        base["rows"] = 1000
    doublings = 3 if options.quick else 5
    rivals = [r for r in options.rivals if r in ("ours", "mlp", "products")]
    for axis in base:
        for i in range(doublings):
            size = base | {axis: (base[axis] >> 1) << i}
            load = partial(data.synthetic, size["rows"], size["features"], "binary")
            problem = Problem(
                f"{axis} {size[axis]}",
                load,
                size["hidden"],
                200,
                "adam",
                size["epochs"],
            )
            facts = {"axis": axis, "size": size[axis]}
            yield case_of("scaling", problem, rivals, RTOL["float64"], facts)


def loss(options):
    """Digits, default parameters: loss on held-out rows after more and more epochs."""
    X, y = data.digits()
    X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
    for epochs in (1, 2, 5, 10) if options.quick else (1, 2, 5, 10, 20, 40, 80, 160):
        work = {"max_iter": epochs, "tol": 0.0, "n_iter_no_change": np.inf}

        def contender(rival, work=work):
            return Contender(
                lambda: estimator(rival, random_state=0, **work).fit(X, y),
                lambda fitted: {"loss": log_loss(y_test, fitted.predict_proba(X_test))},
            )

        build = partial(of_both, options.rivals, contender)
        yield Case("loss", f"digits {epochs} epochs", build, epochs, rtol=1e-6)
