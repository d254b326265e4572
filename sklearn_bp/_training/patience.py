"""When to stop: patience, as a state machine that knows no network."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Patience:
    """Counts the epochs that bring no improvement of at least `tol`.

    Takes costs, smaller being better; a score is passed as its negative.  NaN is
    never an improvement.

    Parameters
    ----------
    tol : float
    n_iter_no_change : int or inf
        More than this many epochs in a row use the patience up.
    """

    tol: float
    n_iter_no_change: float
    best: float = np.inf
    count: int = 0

    def update(self, cost):
        """Take an epoch's cost; return whether it is the best so far."""
        self.count = 0 if cost <= self.best - self.tol else self.count + 1
        improved = bool(cost < self.best)
        if improved:
            self.best = cost
        return improved

    @property
    def exhausted(self):
        return self.count > self.n_iter_no_change
