"""When to stop: patience, as a state machine that does not know the network."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Patience:
    """Counts the epochs in a row without an improvement of at least `tol`.

    Smaller costs are better; pass the negative of a score.  NaN is never an
    improvement.

    Parameters
    ----------
    tol : float
    n_iter_no_change : int or inf
        The patience is used up after more than this many epochs in a row.
    """

    tol: float
    n_iter_no_change: float
    best: float = np.inf
    count: int = 0

    def update(self, cost, share=0.0):
        """Record the cost of an epoch; return whether it is the best so far.

        With a `share`, an improvement counts if it is this share of the best cost so
        far.  The limit is at least a tenth of `tol`, and at most ten times `tol`.
        """
        tol = self.tol
        if share and np.isfinite(self.best):
            tol = min(max(share * abs(self.best), tol / 10), 10 * tol)
        self.count = 0 if cost <= self.best - tol else self.count + 1
        improved = bool(cost < self.best)
        if improved:
            self.best = cost
        return improved

    @property
    def exhausted(self):
        return self.count > self.n_iter_no_change
