"""Checkpoints: writing the training state to a file, and resuming a fit from it.

A checkpoint holds the training state, the reason why training ended if it did, and the
identity of the fit.  A fit that resumes prepares its data and its start as usual, so
that the held-out rows are the same, and then takes the state from the file.
"""

import os
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from sklearn_bp._fitting.files import (
    HeldError,
    Lock,
    check_place,
    no_place,
    remove_unfinished,
    target_of,
)
from sklearn_bp._fitting.fingerprint import of_data, of_parameters
from sklearn_bp._fitting.state_files import damaged, given_fields, read, write
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingState
from sklearn_bp.schedules import ends_with_max_iter

# Final reasons. After other reasons a fit resumes: max_iter may have been increased,
# and a fit that was interrupted or stopped by a callback should continue.
FINAL = ("tol", "patience", "loss_threshold")

# Relative tolerance: another machine may round the starting weights differently.
SAME_START = 1e-4


def identify(run):
    """The identity of a fit, as written to its checkpoints."""
    estimator, training = run.estimator, run.training
    name, solver = type(estimator).__name__, training.solver
    if run.request.incremental:
        raise ValueError(
            "Checkpoint is for fit. After a call of partial_fit the estimator itself "
            "holds everything needed to continue: save the estimator, for example by "
            "pickle. set_callbacks() without arguments removes Checkpoint."
        )
    if not getattr(solver, "resumes", False):
        why = getattr(
            solver, "why_not", "its state is within scipy and cannot be written"
        )
        raise ValueError(
            f"Checkpoint cannot resume with solver={estimator.solver!r}: {why}. Use "
            "another solver, or warm_start, which continues from the weights alone."
        )
    if not isinstance(estimator.random_state, Integral):
        raise ValueError(
            "Checkpoint needs an int for random_state, so that a fit that resumes "
            "has the same start and the same held-out rows. Got random_state="
            f"{estimator.random_state!r}."
        )
    params = estimator.get_params(deep=False)
    del params["verbose"]
    if not ends_with_max_iter(estimator.learning_rate):
        del params["max_iter"]
    weights = training.state.parameters.flat.astype(np.float64)
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
    """Writes the checkpoints of one fit, which holds a lock on the file.

    Parameters
    ----------
    path : str or path-like
    run : Run
        It resumes from the file at `path`, if there is one.
    """

    def __init__(self, path, run):
        self.run = run
        self.identity = identify(run)
        self._told = os.fsdecode(path)
        check_place(path)
        self.path = target_of(path)  # absolute: the working directory may change
        self._written = None
        self._second: Any = None  # the file's state of the second training
        lock = _lock(path)
        run.at_end(lock.release)
        if lock.is_held:
            remove_unfinished(path)
        if os.path.exists(self.path):
            self._resume()

    def write(self):
        """Write the current state, unless it has been written."""
        state, reason = self.run.training.state, self.run.training.reason
        now = state.n_iter, reason
        if now != self._written:
            content = {"identity": self.identity, "state": state, "reason": reason}
            try:
                write(self.path, content)
            except OSError as error:
                raise OSError(
                    f"The checkpoint {self._told} could not be written "
                    f"({error.strerror}). The last one, if any, is unchanged: call fit "
                    "again to resume from it, once the file can be written."
                ) from error
            self._written = now

    def _resume(self):
        path, training = self._told, self.run.training
        content = _checked(read(self.path, path), path)
        reasons = differences(content["identity"], self.identity)
        if reasons:
            raise ValueError(
                f"The checkpoint {path} belongs to another fit: {reasons}. Give this "
                "fit another path, or delete the file to train from scratch."
            )
        state = content["state"]
        if state.first is not None:
            if not _can_resume(state.first, training):
                raise damaged(path)
            # The reason why the first training ended does not affect the second.
            training.state = _resumed(state.first, training)
            training.ended, self._second = "patience", content
            self._written = state.n_iter, content["reason"]
            return
        self._resume_from(state, content["reason"])

    def resume_second(self):
        """Resume the second training of the fit, if the file has a state of it."""
        if self._second is not None:
            self._resume_from(self._second["state"], self._second["reason"])

    def _resume_from(self, state, reason):
        path, training = self._told, self.run.training
        n_iter = state.n_iter - (state.first.n_iter if state.first else 0)
        if n_iter > training.plan.max_iter:
            raise ValueError(
                f"The checkpoint {path} already has {n_iter} epochs, more than "
                f"max_iter={training.plan.max_iter}. Increase max_iter, or delete the "
                "file to train from scratch."
            )
        if not _can_resume(state, training):
            raise damaged(path)
        plan = training.plan
        training.state = _resumed(state, training)
        training.plan = replace(plan, max_iter=plan.max_iter - n_iter)
        if reason in FINAL:
            training.ended = reason
        self._written = state.n_iter, reason


def _resumed(state, training):
    """A state from a file, completed by the parameters of the fit."""
    training.solver.begin(training.state)
    names = given_fields(training.state)
    return replace(state, **{name: getattr(training.state, name) for name in names})


def _lock(path):
    try:
        return Lock(path)
    except HeldError as error:
        raise ValueError(
            f"Another fit is writing the checkpoint {os.fsdecode(path)}. Give each fit "
            "a path of its own, or wait until the other fit has ended."
        ) from error
    except PermissionError as error:
        raise PermissionError(
            f"The checkpoint {os.fsdecode(path)} cannot be written: its folder is "
            "read-only for this user. Give the fit another path."
        ) from error
    except OSError as error:
        raise no_place(path, error) from error


def _checked(content, path):
    """The content, if it is one that `Writer` writes; ValueError otherwise."""
    if not (
        type(content) is dict and content.keys() == {"identity", "state", "reason"}
    ):
        raise damaged(path)
    identity, reason = content["identity"], content["reason"]
    kinds = {"estimator": str, "parameters": dict, "data": dict, "start": list}
    sound = (
        type(content["state"]) is TrainingState
        and (reason is None or type(reason) is str)
        and type(identity) is dict
        and {name: type(value) for name, value in identity.items()} == kinds
        and [type(x) for x in identity["start"]] == [float, float]
        and all(
            type(text) is str
            for texts in (identity["parameters"], identity["data"])
            for text in texts.values()
        )
        and _is_whole(content["state"])
        and _is_whole_first(content["state"])
    )
    if not sound:
        raise damaged(path)
    return content


def _is_whole(state):
    """Whether all fields have the right types and agree with one another."""
    return _has_right_types(state) and _is_consistent(state)


def _has_right_types(state):
    patience, order, best = state.patience, state.order, state.best
    curves = (
        state.loss_curve,
        state.data_losses,
        state.validation_losses,
        state.validation_scores,
    )
    return (
        type(state.parameters) is Parameters
        and type(patience) is Patience
        and all(map(_is_number, (patience.tol, patience.n_iter_no_change)))
        and _is_number(patience.best)
        and type(patience.count) is int
        and isinstance(state.random_state, np.random.RandomState)
        and _is_number(state.rate)
        and all(map(_is_count, (state.n_iter, state.t, state.n_steps)))
        and all(
            type(curve) is list and all(type(x) is float for x in curve)
            for curve in curves
        )
        and type(state.relaxed) is bool
        and type(state.optimizer) is dict
        and (state.average is None or type(state.average) is Parameters)
        and (order is None or _is_permutation(order))
        and (best is None or isinstance(best, np.ndarray))
        and (state.best_iter is None or _is_count(state.best_iter))
    )


def _is_consistent(state):
    return (
        1 <= state.n_iter <= len(state.loss_curve)
        and len(state.validation_losses) == len(state.validation_scores)
        and (state.best is None) == (state.best_iter is None)
        and (state.best is None or 1 <= state.best_iter <= state.n_iter)
    )


def _is_whole_first(state):
    """Whether the state of the first training, if there is one, is sound."""
    first = state.first
    return first is None or (
        type(first) is TrainingState
        and _is_whole(first)
        and first.first is None
        and first.best is not None
        and first.n_iter < state.n_iter
    )


def _is_permutation(order):
    return (
        isinstance(order, np.ndarray)
        and order.ndim == 1
        and order.dtype.kind in "iu"
        and bool(np.array_equal(np.sort(order), np.arange(len(order))))
    )


def _can_resume(state, training):
    """Whether this training can resume from a state read from a file."""
    start = training.state
    flat = start.parameters.flat
    forms = [state.parameters, start.parameters]
    if state.average is not None:
        forms.append(state.average)
    optimizer = training.solver.optimizer.bind(start.parameters, 0.0, None).state()
    plan = training.plan
    monitored = plan.cost is not None
    return (
        all(p.layout == start.parameters.layout for p in forms)
        and all(p.flat.dtype == flat.dtype for p in forms)
        and _form(state.best) in (_form(flat), _form(None))
        and (monitored or state.best is None)
        and _forms(state.optimizer) == _forms(optimizer)
        and _form(state.dropout_stream) == _form(start.dropout_stream)
        and (plan.validate is None or len(state.validation_losses) >= state.n_iter)
    )


def _form(value):
    """Type, or shape and dtype, by which the values of two states are compared."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype
    return "number" if _is_number(value) else type(value)


def _is_number(value):
    """Whether it is a number that numpy can hold: ints have at most 64 bits."""
    return isinstance(value, Real) and not (
        isinstance(value, int) and abs(value) >= 2**63
    )


def _is_count(value):
    return isinstance(value, int | np.integer) and 0 <= value < 2**63


def _forms(values):
    return {name: _form(value) for name, value in values.items()}


def differences(before, now):
    """A text that lists the differences between the identities of two fits."""
    if before["estimator"] != now["estimator"]:
        return f"of a {before['estimator']}"
    differing = []
    for name in sorted(before["parameters"].keys() | now["parameters"].keys()):
        old, new = (
            identity["parameters"].get(name, "not there") for identity in (before, now)
        )
        if old != new:
            differing.append(f"{name} was {old}, and is now {new}")
    differing += [
        f"{name} differs"
        for name in sorted(before["data"].keys() | now["data"].keys())
        if before["data"].get(name) != now["data"].get(name)
    ]
    if not differing and not np.allclose(
        before["start"], now["start"], rtol=SAME_START
    ):
        differing.append("its starting weights differ")
    return "; ".join(differing)
