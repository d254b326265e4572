"""A problem to solve, and a case: the contenders that solve it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import measure

RATE, MOMENTUM, ALPHA = 1e-3, 0.9, 1e-4  # MLPClassifier's defaults


@dataclass(frozen=True)
class Problem:
    """A network to be trained; every rival does this same work.

    Attributes
    ----------
    data : str
        Name of the data set.
    load : callable() -> (X, y)
    hidden, batch, epochs : int
    solver : str
        "sgd" (Nesterov's momentum 0.9) or "adam".
    kind : str
        "classifier" or "regressor".
    """

    data: str
    load: Callable[[], tuple]
    hidden: int
    batch: int
    solver: str
    epochs: int
    kind: str = "classifier"

    @property
    def name(self):
        return f"{self.data} {self.hidden},{self.batch} {self.solver}"

    @property
    def parameters(self):
        """The parameters of an estimator with MLPClassifier's names."""
        return {
            "hidden_layer_sizes": (self.hidden,),
            "batch_size": self.batch,
            "solver": self.solver,
            "max_iter": self.epochs,
            "tol": 0.0,
            "n_iter_no_change": np.inf,
            "random_state": 0,
        }


def nothing_to_tell(result):
    return {}


class Contender(NamedTuple):
    """A piece of work to be timed, and the value to read from its result."""

    work: Callable[[], Any]
    inspect: Callable[[Any], dict] = nothing_to_tell


@dataclass(frozen=True)
class Case:
    """Contenders with the same work.

    Attributes
    ----------
    suite, name : str
    build : callable() -> dict of Contender by rival's name
        Called right before the case is run.
    epochs : int
        Divisor of the time, for the time of an epoch.
    repeats : int
        Calls in one timing; for work of microseconds.
    rtol : float or None
        How far ours and MLPClassifier's values may be apart; None: not compared.
    facts : dict
        Anything else that the reports need.
    """

    suite: str
    name: str
    build: Callable[[], dict[str, Contender]]
    epochs: int = 1
    repeats: int = 1
    rtol: float | None = None
    facts: dict | None = None

    def run(self, rounds):
        """Its row of the results."""
        return measure(self, rounds)
