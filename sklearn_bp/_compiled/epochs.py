"""Epochs of training with the extension."""

from contextlib import nullcontext
from typing import Any

import numpy as np

from sklearn_bp import optimizers
from sklearn_bp._common.blas import MANY_THREADS, one_blas_thread
from sklearn_bp._common.threads import SHORT, SPEED, Team
from sklearn_bp._compiled.bins import BINS
from sklearn_bp._compiled.library import (
    ACTIVATIONS,
    FEATURES,
    LOSSES,
    Job,
    as_c,
    check_rows,
    engine,
    fields,
    gemm,
    has_vector,
    is_csr,
    set_dense,
    set_sparse,
    strides_of,
    takes_gemm,
    targets_as_c,
)
from sklearn_bp._network.batches import Batches, row_length
from sklearn_bp._network.parameters import TOGETHER, Layout

SGD, NESTEROV, ADAM, RMSPROP = range(4)

# Sums that C accumulates per member, padded to a cache line (engine.h).
SUMS = 8

# Cost of updating a weight in a step, in multiplications.
STEP_COST = 20


class Training(Job):
    """An epoch of training; its fields are those of engine.h."""

    _fields_ = (
        FEATURES
        + BINS
        + fields(
            "Y row_weights folds order rates member_weights theta first second average "
            "r r_first r_second r_average groups sums gemm",
            "d h k M n_groups size batch penalty_rows t every n_taken "
            "is_double Y_is_bytes activation loss vector optimizer",
            "beta_1 beta_2 epsilon decay alpha longest scale_speed together",
        )
    )


class Epochs:
    """Epochs of mini-batch training; replaces a bound optimizer and a pass function.

    Parameters
    ----------
    network : TwoLayerNetwork
    data : Data
    state : TrainingState
        Each epoch updates its parameters and, with `averages`, their running mean.
    optimizer : object of `optimizers`
    batch_size : int
    penalty_rows : int or None
        Divisor of the penalty in a step.
    averages : tuple of (int, float), default=None
        Steps between updates of the running mean, and its largest decay.
    """

    def __init__(
        self,
        network,
        data,
        state,
        optimizer,
        batch_size,
        penalty_rows=None,
        averages=None,
    ):
        parameters = state.parameters
        (d, h, k), M = parameters.shape, parameters.n_members
        self._data, self._dtype = data, parameters.flat.dtype
        self._sizes = d, h, k, M
        self._size = (1 + d) * h + (h + 1) * k  # per member
        self._state = opened(optimizer, state.optimizer, parameters.flat)
        self._batch_size = batch_size
        self._steps = -(-data.n_rows // batch_size)
        self._sums, self._rates = np.zeros((M, SUMS)), None
        self._job = self._job_of(network, optimizer)
        self._job.penalty_rows = penalty_rows or 0
        self._job.scale_speed, self._job.n_taken = parameters.scale_speed, state.n_steps
        if averages is not None:
            self._job.every, self._job.longest = averages
        self._bind_vectors(parameters, None if averages is None else state.average)
        self._bind_rows()
        self._share_work(coupled=parameters.r is not None)

    def _job_of(self, network, optimizer):
        """The fields that stay the same in all epochs, without vectors and rows."""
        data, (d, h, k, M) = self._data, self._sizes
        shares = np.ones(M) if data.fold_means is None else 1 / data.fold_means
        return Training(
            member_weights=as_c(shares, np.float64, (M,)),
            sums=self._sums,
            gemm=gemm(self._dtype),
            d=d,
            h=h,
            k=k,
            M=M,
            size=self._size,
            batch=self._batch_size,
            is_double=self._dtype == np.float64,
            activation=ACTIVATIONS[type(network.activation)],
            loss=LOSSES[type(network.loss)],
            vector=has_vector(),
            alpha=data.alpha,
            **settings(optimizer),
        )

    def _bind_vectors(self, parameters, average):
        """Let C work on the weights, their average and the optimizer's vectors.

        Several members' vectors are copied, one row per member.  `_copies` has the
        copies back to be made after each epoch, of the vector to predict with;
        `_later`, those to be made in `state`.
        """
        job, (d, _, _, M), state = self._job, self._sizes, self._state
        kept = "theta" if average is None else "average"
        vectors = {
            "theta": parameters.flat,
            "average": None if average is None else average.flat,
            "first": state.get("m"),
            "second": state["v"] if "v" in state else state["velocity"],
        }
        self._copies: list = []
        self._later: list = []
        if parameters.r is not None and self._data.groups is not None:
            groups = as_c(self._data.groups, np.int32, (d,))
            job.n_groups, job.together = groups.max() + 1, TOGETHER
            check_rows(groups, job.n_groups, "group")
            job.set("groups", groups)
        for name, flat in vectors.items():
            if flat is None:
                continue
            vector = as_c(flat, self._dtype, parameters.flat.shape)
            if vector is not flat or not flat.flags.writeable:
                raise ValueError(f"The vector of {name} cannot be updated in place.")
            if parameters.r is not None:
                job.set("r" if name == "theta" else f"r_{name}", flat[-d:])
            if M == 1:  # the two layouts are the same
                job.set(name, flat)
                continue
            rows = np.empty((M, self._size), self._dtype)
            copy = self._copy(flat, rows)
            copies = self._copies if name == kept else self._later
            copies.append((copy, (flat, rows)))  # the addresses in it stay valid
            engine.reorder(*copy, True)
            job.set(name, rows)

    def _share_work(self, coupled):
        """Choose the number of threads, and whether BLAS is limited to one.

        Coupled members all move the scaling layer's scales at each step, so their
        threads meet after each step.
        """
        (_, h, k, M), length = self._sizes, row_length(self._data.X)
        work = self._data.n_rows * 6 * ((1 + length) * h + (h + 1) * k)
        work += self._steps * STEP_COST * self._size
        alone = M * work < SHORT * SPEED or (coupled and not engine.can_meet())
        self._team, self._meets = Team(1 if alone else M), coupled
        # The fit has limited BLAS already where all members together are small.
        product = self._batch_size * length * h
        small = M > 1 and product < MANY_THREADS <= M * product
        self._limits = self._team.size > 1 or small

    def _bind_rows(self):
        """Let C read X and Y in place, or the blocks that Python fills."""
        data, job, dtype = self._data, self._job, self._dtype
        _, h, k, M = self._sizes
        self._batches: Any = None
        n, strides = data.X.shape[0], strides_of(data.X, dtype)
        if is_csr(data.X):
            set_sparse(job, data.X, dtype)
            job.by_gemm = takes_gemm(data.X, h, dtype)
        elif data.scaling is not None or strides is None:
            self._batches = Batches(data, self._batch_size, dtype, M, k)
            return
        else:
            set_dense(job, data.X, strides)
            if data.bins is not None:
                data.bins.bind(job, *data.X.shape, h, dtype)
        self._set_targets(data.Y, n)
        if data.weights is not None:
            job.set("row_weights", as_c(data.weights, dtype, (n,)))
        if data.folds is not None:
            self._set_folds(data.folds, n)
        rows = data.rows
        self._rows = None if rows is None else as_c(rows, np.int64, (data.n_rows,))
        if self._rows is not None:
            check_rows(self._rows, n)

    def _set_targets(self, Y, n):
        Y = targets_as_c(Y, self._dtype, (n, self._sizes[2]))
        self._job.set("Y", Y)
        self._job.Y_is_bytes = Y.dtype == np.bool_

    def _set_folds(self, folds, n):
        folds = as_c(folds, np.int32, (n,))
        check_rows(folds, self._sizes[3], "member")
        self._job.set("folds", folds)

    def state(self):
        """The state to resume from, as returned by `Bound.state`.

        Brings all vectors up to date: after an epoch, only the one to predict with is.
        """
        for copy, _ in self._later:
            engine.reorder(*copy, False)
        return dict(self._state)

    def epoch(self, order, rates):
        """Train for an epoch.

        Parameters
        ----------
        order : ndarray of int of shape (n_rows,) or None
        rates : ndarray of shape (n_steps,)

        Returns
        -------
        total, squared_norms : float
            As returned by `run_epoch`, summed over members.
        """
        job = self._job
        self._sums[:] = 0
        if rates is not self._rates:
            job.set("rates", as_c(rates, np.float64, (self._steps,)))
            self._rates = rates
        job.t = self._state["t"]
        with one_blas_thread() if self._limits else nullcontext():
            if self._batches is None:
                self._train_in_place(order)
            else:
                self._train_block_by_block(order)
        for copy, _ in self._copies:
            engine.reorder(*copy, False)
        self._state["t"] += self._steps
        job.n_taken += self._steps
        total, squared_norms = np.add.reduce(self._sums[:, :2])
        return float(total), float(squared_norms)

    def _train_in_place(self, order):
        n_rows, rows = self._data.n_rows, self._rows
        if order is not None:
            order = as_c(order, np.int64, (n_rows,))
            check_rows(order, n_rows)
            rows = order if rows is None else rows[order]
        if rows is None:
            self._job.set("order", None)
        else:
            self._job.set("order", rows)
        self._run(n_rows, 0)

    def _train_block_by_block(self, order):
        data, job, step = self._data, self._job, 0
        start = 0
        for block in self._batches.epoch(order):
            stop = start + block.n_batches * block.n_rows
            rows = slice(start, stop) if order is None else order[start:stop]
            if data.rows is not None:
                rows = data.rows[rows]
            n = stop - start
            d = self._sizes[0]
            set_dense(job, as_c(block.X, self._dtype, (n, d)), (d, 1))
            self._set_targets(block.Y, n)
            if data.weights is not None:
                job.set("row_weights", as_c(data.weights[rows], self._dtype, (n,)))
            if data.folds is not None:
                self._set_folds(data.folds[rows], n)
            self._run(n, step)
            step, start = step + block.n_batches, stop

    def _run(self, n_rows, step):
        job, (d, _, _, M), meeting = self._job, self._sizes, None
        if self._meets:
            n_bytes = M * d * self._dtype.itemsize
            meeting = engine.meeting(M, self._team.size, n_bytes)
        self._team.share(
            M,
            lambda first, last: engine.train(
                job, first, last, 0, n_rows, step, meeting
            ),
        )

    def _copy(self, flat, rows):
        """The arguments of `reorder`, apart from the direction."""
        (d, h, k, M), size = self._sizes, self._size
        if len(flat) < Layout(d, h, k, M).size or rows.shape != (M, size):
            raise ValueError("Vectors of parameters do not fit.")
        addresses = flat.ctypes.data, rows.ctypes.data
        return *addresses, d, h, k, M, size, flat.itemsize


def settings(optimizer):
    """The hyperparameters of an optimizer, as fields of a job."""
    if type(optimizer) is optimizers.SGD:
        rule = NESTEROV if optimizer.nesterovs_momentum else SGD
        return {"optimizer": rule, "beta_1": optimizer.momentum}
    if type(optimizer) is optimizers.RMSprop:
        return {
            "optimizer": RMSPROP,
            "beta_2": optimizer.rho,
            "epsilon": optimizer.epsilon,
        }
    return {
        "optimizer": ADAM,
        "beta_1": optimizer.beta_1,
        "beta_2": optimizer.beta_2,
        "epsilon": optimizer.epsilon,
        "decay": getattr(optimizer, "weight_decay", 0.0),
    }


# The vectors in the state of each optimizer, and the name of their scale, if any.
_KEPT: dict[Any, dict[str, Any]] = {
    optimizers.SGD: {"velocity": "scale"},
    optimizers.Adam: {"m": "m_scale", "v": "v_scale"},
    optimizers.AdamW: {"m": "m_scale", "v": "v_scale"},
    optimizers.RMSprop: {"v": None},
}


def opened(optimizer, state, theta):
    """A copy of an optimizer's state with its scales multiplied in; or a new one."""
    opened: dict[str, Any] = {"t": 0 if state is None else state["t"]}
    for vector, scale in _KEPT[type(optimizer)].items():
        if state is None:
            opened[vector] = np.zeros_like(theta)
        else:
            opened[vector] = state[vector].copy()
        if scale is not None:
            if state is not None and state[scale] != 1:
                opened[vector] *= theta.dtype.type(state[scale])
            opened[scale] = 1.0
    return opened
