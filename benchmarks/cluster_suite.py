"""The suite about `sklearn_bp.dask`: the same fit in one process and on workers."""

import logging
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from benchmarks.estimators import estimator
from benchmarks.problems import Case, Contender
from sklearn_bp import MLP_DEFAULTS

N_PARTITIONS = 4


def cluster(options):
    """L-BFGS iterations and steps of Adam, on 1, 2 and 4 worker processes."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        print("distributed is not installed: no suite `cluster`", file=sys.stderr)
        return
    rows = 4000 if options.quick else 1_000_000
    work = {"hidden_layer_sizes": 128, "random_state": 0, "tol": 0.0}
    problems = {
        "lbfgs": {"solver": "lbfgs", "max_iter": 10},
        "adam full batch": {"max_iter": 10, "batch_size": rows},
        "adam 8192": {"max_iter": 1, "batch_size": min(8192, rows)},
    }
    for name, parameters in problems.items():
        n_steps = parameters["max_iter"] * -(
            -rows // parameters.get("batch_size", rows)
        )
        settings = work | parameters | {"n_iter_no_change": np.inf}
        numbers = (2,) if options.quick else (1, 2, 4)
        yield ClusterCase(
            "cluster",
            f"{name}, {rows} x 50, {N_PARTITIONS} partitions",
            lambda settings=settings, numbers=numbers, rows=rows: contenders(
                settings, numbers, rows
            ),
            n_steps,
            facts={"rows": rows},
        )


@dataclass(frozen=True)
class ClusterCase(Case):
    """A case that closes its clusters in the end."""

    def run(self, rounds):
        with ExitStack() as stack:
            build = self.build
            case = Case(
                self.suite,
                self.name,
                lambda: build()(stack),
                self.epochs,
                facts=self.facts,
            )
            return case.run(rounds)


def contenders(settings, numbers, rows):
    """A function of an ExitStack that makes the clusters and the contenders."""

    def enter(stack):
        import dask.array as da
        from distributed import Client, LocalCluster

        from sklearn_bp import dask as on_cluster

        X = da.random.RandomState(0).normal(size=(rows, 50), chunks=(rows // 4, 50))
        y = X[:, 0] * X[:, 1] > 0
        here = X.compute(), y.compute()
        found = {
            "ours": Contender(lambda: estimator("ours", **settings).fit(*here), told)
        }
        for n in numbers:
            workers = stack.enter_context(
                LocalCluster(
                    n_workers=n,
                    threads_per_worker=1,
                    dashboard_address=":0",
                    silence_logs=logging.ERROR,
                )
            )
            client = stack.enter_context(Client(workers, set_as_default=False))
            there = client.persist([X, y])
            client.compute(there, sync=True)

            def fit(client=client, there=there):
                model = on_cluster.TwoLayerClassifier(**MLP_DEFAULTS | settings)
                return model.fit(*there, client=client)

            found[f"{n} workers"] = Contender(fit, told)
        return found

    return enter


def told(fitted):
    return {"loss": float(fitted.loss_)}
