"""Sets of parameter values, and what "auto" stands for."""

import math
from typing import NamedTuple

import numpy as np

MLP_DEFAULTS = {
    "hidden_layer_sizes": (100,),
    "activation": "relu",
    "solver": "adam",
    "alpha": 0.0001,
    "batch_size": "auto",
    "learning_rate": "constant",
    "learning_rate_init": 0.001,
    "power_t": 0.5,
    "max_iter": 200,
    "loss_threshold": None,
    "init": "glorot_uniform",
    "shuffle": True,
    "random_state": None,
    "tol": 1e-4,
    "verbose": False,
    "warm_start": False,
    "momentum": 0.9,
    "nesterovs_momentum": True,
    "early_stopping": False,
    "validation_fraction": 0.1,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-8,
    "n_iter_no_change": 10,
    "max_fun": 15000,
    "standardize": False,
    "n_members": 1,
    "average": False,
    "categorical_features": None,
}
"""MLPClassifier's parameter values in our constructor's names (scikit-learn 1.7 to
1.9), and with them MLPRegressor's: ``TwoLayerClassifier(**MLP_DEFAULTS)`` is
MLPClassifier's network, whatever our own defaults are.
"""

# Below so many training rows no row is held out, and batches are full: what is drawn
# at random weighs too much there, and copies of a row equal a weight on it.
FEW_ROWS = 100

# Epochs that the running mean of the weights reaches back.
AVERAGED_EPOCHS = 2


class Resolved(NamedTuple):
    """The values that training uses; see the parameters of the same names."""

    batch_size: int
    max_iter: int
    n_iter_no_change: float


def holds_out(estimator, n_rows):
    """Whether early_stopping="auto" holds rows out, of so many that have weight."""
    return (
        estimator.early_stopping == "auto"
        and estimator.solver != "lbfgs"
        and n_rows >= FEW_ROWS
    )


def training_dtype(estimator, X):
    """What the network computes in: float32 where it sees scaled data, else X's dtype.

    Scaled data needs no more, and takes half the time; the weights are folded in
    float64.  Line searches do suffer, and so does equality on a few rows.
    """
    scaled = estimator.standardize and estimator.solver != "lbfgs"
    return np.dtype(np.float32) if scaled and X.shape[0] >= FEW_ROWS else X.dtype


def rows_a_batch(n_rows):
    """A power of two near a 67th of the rows, from 32 to 256; all of a few rows."""
    if n_rows < FEW_ROWS:
        return n_rows
    return min(max(2 ** round(math.log2(n_rows / 67)), 32), 256)


def resolve(estimator, n_rows):
    """What "auto" and "full" stand for, for `n_rows` training rows."""
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = 200
    elif batch_size == "by_rows":
        batch_size = rows_a_batch(n_rows)
    elif batch_size == "full":
        batch_size = n_rows
    batch_size = min(batch_size, n_rows)
    n_steps = math.ceil(n_rows / batch_size)
    max_iter, n_iter_no_change = estimator.max_iter, estimator.n_iter_no_change
    if max_iter == "auto":
        max_iter = min(max(3000 // n_steps, 150), 400)
    if n_iter_no_change == "auto":
        n_iter_no_change = max(8, math.ceil(300 / n_steps))
    return Resolved(batch_size, max_iter, n_iter_no_change)
