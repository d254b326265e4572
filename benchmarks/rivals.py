"""The rivals: each turns a problem into a contender, or None if it cannot do it.

All of them train the same network on the same rows: relu, softmax and log-loss,
MLPClassifier's rate, momentum and penalty (alpha / batch size on the weights, not
on the intercepts), rows shuffled for each epoch, the mean loss of an epoch known.
"""

import importlib
from functools import partial
from importlib.util import find_spec

import numpy as np

from benchmarks.estimators import fitting, on_engine
from benchmarks.problems import Contender


def by_estimator(rival, problem):
    X, y = problem.load()
    return fitting(rival, problem.kind, X, y, **problem.parameters)


def by_the_loop(problem):
    """Ours without the compiled step."""
    return on_engine("python", by_estimator("ours", problem))


def products(problem):
    """The five matrix products of each step and nothing else: the floor."""
    X, y = problem.load()
    n, h, dtype = len(X), problem.hidden, X.dtype
    k = n_outputs(problem, y)
    rng = np.random.default_rng(0)
    W1 = rng.uniform(-0.1, 0.1, (X.shape[1], h)).astype(dtype)
    W2 = rng.uniform(-0.1, 0.1, (h, k)).astype(dtype)
    new_W1, new_W2 = np.empty_like(W1), np.empty_like(W2)
    buffers = {}
    for b in {min(problem.batch, n), n % problem.batch} - {0}:
        a1, hidden = rng.uniform(0, 1, (2, b, h)).astype(dtype)
        delta2, outputs = rng.uniform(-1, 1, (2, b, k)).astype(dtype)
        buffers[b] = a1, delta2, hidden, outputs
    batches = [X[start : start + problem.batch] for start in range(0, n, problem.batch)]
    steps = [(x, x.T, *buffers[len(x)]) for x in batches]

    def work():
        dot, W2_T = np.dot, W2.T
        for _ in range(problem.epochs):
            for x, x_T, a1, delta2, hidden, outputs in steps:
                dot(x, W1, out=hidden)
                dot(a1, W2, out=outputs)
                dot(delta2, W2_T, out=hidden)
                dot(a1.T, delta2, out=new_W2)
                dot(x_T, hidden, out=new_W1)

    return Contender(work)


def null(problem):
    """Nothing: the cost of the harness itself."""
    return Contender(lambda: None)


def of_other_suites(problem):
    """None: gradient boosting trains no network; the suite `default` has it."""


def from_module(module, function, problem):
    """The contender of a rival with a module of its own, imported only now."""
    return getattr(importlib.import_module(f"benchmarks.{module}"), function)(problem)


def n_outputs(problem, y):
    if problem.kind == "regressor":
        return 1 if y.ndim == 1 else y.shape[1]
    n_classes = len(np.unique(y))
    return 1 if n_classes == 2 else n_classes


RIVALS = {
    "ours": partial(by_estimator, "ours"),
    "python": by_the_loop,
    "mlp": partial(by_estimator, "mlp"),
    "products": products,
    "torch": partial(from_module, "torch_rival", "eager"),
    "skorch": partial(from_module, "skorch_rival", "net"),
    "jax": partial(from_module, "jax_rival", "steady"),
    "jax+compile": partial(from_module, "jax_rival", "cold"),
    "mlxtend": partial(from_module, "mlxtend_rival", "perceptron"),
    "hgb": of_other_suites,
    "lightgbm": of_other_suites,
    "null": null,
}
"""Rival's name -> function of a problem."""

NEEDS = {
    "torch": "torch",
    "skorch": "skorch",
    "jax": "jax",
    "jax+compile": "jax",
    "mlxtend": "mlxtend",
    "lightgbm": "lightgbm",
}
"""Rival's name -> the package that it needs beyond scikit-learn's."""


SLOW = ("jax+compile", "skorch")
"""Rivals that a quick run leaves out unless it names them."""


def installed(names):
    """The names whose packages are installed; prints a line for each other one."""
    present = []
    for name in names:
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            print(f"skipped: {name}, for {NEEDS[name]} is not installed")
        else:
            present.append(name)
    return present


def contenders(names, problem):
    """The contenders of the named rivals that can do this problem."""
    built = {name: RIVALS[name](problem) for name in names}
    return {name: contender for name, contender in built.items() if contender}
