"""Checkpoints: what a fit leaves on disk, and how it goes on from there.

A checkpoint holds the training state, what ended training if something did, and what
tells the fit from others.  Going on, a fit prepares its data and its start as always,
so that rows held out are the same, and then takes the state from the file.
"""

import os
from dataclasses import replace
from numbers import Integral

import numpy as np

from sklearn_bp._fingerprint import of_data, of_parameters
from sklearn_bp._state import given_fields, read, write
from sklearn_bp.schedules import ends_with_max_iter

# Reasons that hold for good. More epochs may be asked for, and who was interrupted or
# stopped by a callback wants to go on.
FINAL = ("tol", "patience", "loss_threshold")

# To a relative error: another machine may round the start in another way.
SAME_START = 1e-4


def identify(run):
    """What tells the fit from others, to be written to its checkpoints."""
    estimator, solver = run.estimator, run.solver
    name = type(estimator).__name__
    if run.incremental:
        raise ValueError(
            "Checkpoint is for fit. Between calls of partial_fit the estimator itself "
            "holds all that going on needs: write that to a file, by pickle for "
            "instance. set_callbacks() without arguments takes Checkpoint off."
        )
    if not getattr(solver, "resumes", False):
        why = getattr(
            solver, "why_not", "its state is within scipy and cannot be written"
        )
        raise ValueError(
            f"Checkpoint cannot go on with solver={estimator.solver!r}: {why}. Use "
            "another solver, or warm_start, which goes on from the weights alone."
        )
    if not isinstance(estimator.random_state, Integral):
        raise ValueError(
            "Checkpoint needs an int for random_state, so that a fit that goes on "
            "starts alike and holds the same rows out. Got random_state="
            f"{estimator.random_state!r}."
        )
    params = estimator.get_params(deep=False)
    del params["verbose"]
    if not ends_with_max_iter(estimator.learning_rate):
        del params["max_iter"]
    weights = run.state.parameters.flat.astype(np.float64)
    return {
        "estimator": name,
        "parameters": of_parameters(params),
        "data": {name: of_data(data) for name, data in run.data().items()},
        "start": [
            float(np.abs(weights).sum()),
            float(weights @ np.cos(np.arange(len(weights)))),
        ],
    }


class Writer:
    """Writes the checkpoints of one fit.

    Parameters
    ----------
    path : str or path-like
    run : Run
        Goes on from the file at `path`, if there is one.
    """

    def __init__(self, path, run):
        self.path, self.run = path, run
        self.identity = identify(run)
        self._written = None
        if os.path.exists(path):
            self._resume()

    def write(self):
        """Write the state as it is, unless it is there already."""
        run = self.run
        now = run.state.n_iter, run.reason
        if now != self._written:
            content = {"identity": self.identity, "state": run.state}
            write(self.path, content | {"reason": run.reason})
            self._written = now

    def _resume(self):
        path, run, content = self.path, self.run, read(self.path)
        told = differences(content["identity"], self.identity)
        if told:
            raise ValueError(
                f"The checkpoint {path} is of another fit: {told}. Give this fit "
                "another path, or delete the file to train anew."
            )
        state, n_iter = content["state"], content["state"].n_iter
        if n_iter > run.plan.max_iter:
            raise ValueError(
                f"The checkpoint {path} has {n_iter} epochs behind it, more than "
                f"max_iter={run.plan.max_iter}. Increase max_iter, or delete the file "
                "to train anew."
            )
        run.solver.begin(run.state)
        given = {name: getattr(run.state, name) for name in given_fields(run.state)}
        run.state = replace(state, **given)
        run.plan = replace(run.plan, max_iter=run.plan.max_iter - n_iter)
        if content["reason"] in FINAL:
            run.ended = content["reason"]
        self._written = n_iter, content["reason"]


def differences(before, now):
    """What differs between two fits, in words."""
    if before["estimator"] != now["estimator"]:
        return f"of a {before['estimator']}"
    told = []
    for name in sorted(before["parameters"].keys() | now["parameters"].keys()):
        old, new = (
            identity["parameters"].get(name, "not there") for identity in (before, now)
        )
        if old != new:
            told.append(f"{name} was {old}, and is {new}")
    told += [
        f"{name} differs"
        for name in sorted(before["data"].keys() | now["data"].keys())
        if before["data"].get(name) != now["data"].get(name)
    ]
    if not told and not np.allclose(before["start"], now["start"], rtol=SAME_START):
        told.append("it starts from other weights")
    return "; ".join(told)
