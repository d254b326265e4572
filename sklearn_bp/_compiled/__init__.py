"""An epoch of training in one compiled call: the same numbers as the loop in Python.

For each batch, and each member j of an ensemble on the b rows that are not held out
from it, with the letters of `_network` and weights w_i of the rows,

    z1 = x W1 + b1              a1 = f(z1)
    z2 = a1 W2 + b2             p  = g(z2)
    delta2 = w (dL / dz2)       delta1 = (delta2 W2^T) * f'(z1)
    dL/dW2 = a1^T delta2        dL/db2 = 1^T delta2
    dL/dW1 = x^T  delta1        dL/db1 = 1^T delta1

then a step of the optimizer, in one pass, and the running mean of the weights.  A
scaling layer multiplies x by s, not W1.  `step.h` holds this, once for float and once
for double; the products are scipy's gemm.  Python draws the order of the rows and
keeps everything that lasts: parameters, state, curves.

`covered` is the one question: whatever it does not cover, and everything where the
extension was not built, runs the loop in Python, which is the reference.

A member's parameters lie together here, one row of (M, size) per member; sums over
members are taken in their order, and nothing that a member computes depends on the
thread that it runs in.  So results have the same bits for any number of threads.

The environment variable SKLEARN_BP_ENGINE chooses: "auto" (compiled where it can be),
"python", or "compiled" (an error where the extension is missing).
"""

import ctypes
import os
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from scipy.linalg import cython_blas

from sklearn_bp import activations, losses, optimizers
from sklearn_bp._network.batches import SMALL_BYTES, Batches
from sklearn_bp._common.blas import MANY_THREADS, one_blas_thread
from sklearn_bp._compiled._threads import Team
from sklearn_bp._network.parameters import Parameters

_engine: Any
try:
    _engine = import_module("sklearn_bp._compiled._engine")
except ImportError:  # not built: there was no compiler
    _engine = None

ENGINES = ("auto", "python", "compiled")

# By exact class: a subclass may compute anything.  Codes are those of engine.h.
ACTIVATIONS = {
    activations.Identity: 0,
    activations.Logistic: 1,
    activations.Tanh: 2,
    activations.ReLU: 3,
}
LOSSES = {
    losses.SquaredError: 0,
    losses.BinaryLogLoss: 1,
    losses.CategoricalLogLoss: 2,
}
OPTIMIZERS = (optimizers.SGD, optimizers.Adam, optimizers.AdamW, optimizers.RMSprop)
SGD, NESTEROV, ADAM, RMSPROP = range(4)

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

# BLAS counts in C ints.
MOST = 2**31 - 1

# Below so many seconds of work, threads wait for each other longer than they work.
SHORT = 1e-3
# Numbers that a core multiplies and adds in a second, at least.
SPEED = 1e10
# What moving a weight in a step costs, in such operations.
STEP_COST = 20


def asked_for():
    """The value of SKLEARN_BP_ENGINE: "auto", "python" or "compiled"."""
    engine = os.environ.get("SKLEARN_BP_ENGINE", "auto")
    if engine not in ENGINES:
        raise ValueError(
            f"SKLEARN_BP_ENGINE is {engine!r}; it may be 'auto', 'python' or "
            "'compiled'. Set one of these, or unset it."
        )
    if engine == "compiled" and not is_built():
        raise ImportError(
            "SKLEARN_BP_ENGINE is 'compiled', but the compiled step of sklearn_bp is "
            "not installed. Install a C compiler and build sklearn_bp again, or set "
            "SKLEARN_BP_ENGINE to 'auto'."
        )
    return engine


def is_built():
    """Whether the extension is there, and scipy's gemm as it wants it."""
    return _engine is not None and all(_gemm(dtype) for dtype in DTYPES)


@cache
def _gemm(dtype):
    """The address of scipy's gemm; 0 if it does not count in C ints."""
    name = "dgemm" if dtype == np.float64 else "sgemm"
    capsule = cython_blas.__pyx_capi__.get(name)
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    signature = name_of(capsule)
    if not signature.startswith(b"void (char *, char *, int *, int *, int *, "):
        return 0
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype = ctypes.c_void_p
    pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return pointer_of(capsule, signature)


@cache
def _vector():
    """Whether this processor has the instructions of the faster variant."""
    return int(_engine.has_vector())


def covered(network, data, parameters, optimizer, batch_size, dropout):
    """Whether training runs compiled: the one place where this is decided.

    Parameters
    ----------
    network : TwoLayerNetwork
    data : Data
    parameters : Parameters
    optimizer : object of `optimizers`
    batch_size : int
        Rows that go through the network together.
    dropout : float
    """
    if asked_for() == "python" or not is_built():
        return False
    d, h, k = parameters.shape
    return (
        _is_plain(network)
        and type(optimizer) in OPTIMIZERS
        and optimizer.clip_norm is None
        and not dropout
        and parameters.V is None
        and parameters.flat.dtype in DTYPES
        and isinstance(getattr(data, "Y", None), np.ndarray)
        and data.Y.shape[1] == k
        and not hasattr(data.X, "tocsr")
        and max(d * batch_size, h * parameters.n_members, k * batch_size) <= MOST
    )


def _is_plain(network):
    return type(network.activation) in ACTIVATIONS and type(network.loss) in LOSSES


class _Job(ctypes.Structure):
    """Fields of eight bytes: pointers, integers and numbers, as engine.h has them."""

    def __init__(self, **values):
        super().__init__()
        self.arrays = {}  # what the pointers point to stays alive
        for name, value in values.items():
            self.set(name, value)

    def set(self, name, value):
        """A number, or the address of an array."""
        if isinstance(value, np.ndarray):
            self.arrays[name] = value
            value = value.ctypes.data
        setattr(self, name, value)


def _fields(pointers, integers, numbers=""):
    return [
        *((name, ctypes.c_void_p) for name in pointers.split()),
        *((name, ctypes.c_int64) for name in integers.split()),
        *((name, ctypes.c_double) for name in numbers.split()),
    ]


class _Training(_Job):
    _fields_ = _fields(
        "X Y row_weights folds order rates member_weights theta first second average "
        "r r_first r_second r_average totals norms gemm",
        "row_stride column_stride d h k M size batch penalty_rows t every n_taken "
        "is_double Y_is_bytes activation loss optimizer vector",
        "alpha beta_1 beta_2 epsilon decay longest",
    )


class _Scoring(_Job):
    _fields_ = _fields(
        "X rows starts b1 W1 W2 b2 scores gemm",
        "row_stride column_stride d h k M is_double activation vector",
    )


class _Measuring(_Job):
    _fields_ = _fields(
        "scores Y weights found", "n k is_double Y_is_bytes loss vector", "inverse"
    )


def _as(array, dtype, shape):
    """An array that C may read: of this dtype and shape, aligned and in C order."""
    array = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if array.shape != shape:
        raise ValueError(f"An array has shape {array.shape}; {shape} is meant.")
    return array


def _targets(Y, dtype):
    """Targets as C may read them: of a dtype, or as bytes that are 0 and 1."""
    return _as(Y, np.bool_ if Y.dtype == np.bool_ else dtype, Y.shape)


def _strides(X, dtype):
    """The strides of X in numbers; None if C cannot read it where it stands."""
    if type(X) is not np.ndarray or X.dtype != dtype or not X.dtype.isnative:
        return None
    if not X.flags.aligned or any(s % X.itemsize for s in X.strides):
        return None
    return tuple(s // X.itemsize for s in X.strides)


class Epochs:
    """Epochs of mini-batch training, as a bound optimizer and a function.

    Parameters
    ----------
    network : TwoLayerNetwork
    data : Data
    parameters : Parameters
        They hold the weights after each epoch.
    optimizer : object of `optimizers`
    optimizer_state : dict or None
    batch_size : int
    penalty_rows : int or None
        What the penalty of a step is divided by.
    average : Parameters or None
        A running mean, and
    every, n_taken, longest : int, int, float
        the steps between two of its terms, the steps so far, its largest decay.
    """

    def __init__(
        self,
        network,
        data,
        parameters,
        optimizer,
        optimizer_state,
        batch_size,
        penalty_rows=None,
        average=None,
        every=0,
        n_taken=0,
        longest=0.0,
    ):
        (d, h, k), M = parameters.shape, parameters.n_members
        self._data, self._dtype = data, parameters.flat.dtype
        self._sizes = d, h, k, M
        self._size = (1 + d) * h + (h + 1) * k  # of a member
        self._optimizer = optimizer
        self._state = _opened(optimizer, optimizer_state, parameters.flat)
        self._batch_size = batch_size
        self._steps = -(-data.n_rows // batch_size)
        self._totals, self._norms = np.zeros(M), np.zeros(M)
        shares = np.ones(M) if data.fold_means is None else 1 / data.fold_means
        job = self._job = _Training(
            member_weights=_as(shares, np.float64, (M,)),
            totals=self._totals,
            norms=self._norms,
            gemm=_gemm(self._dtype),
            d=d,
            h=h,
            k=k,
            M=M,
            size=self._size,
            batch=batch_size,
            penalty_rows=penalty_rows or 0,
            every=every,
            n_taken=n_taken,
            longest=longest,
            is_double=self._dtype == np.float64,
            activation=ACTIVATIONS[type(network.activation)],
            loss=LOSSES[type(network.loss)],
            vector=_vector(),
            alpha=data.alpha,
            **_settings(optimizer),
        )
        vectors = {"theta": parameters.flat, "average": None}
        if average is not None:
            vectors["average"] = average.flat
        vectors |= {"first": self._state.get("m"), "second": self._state.get("v")}
        if vectors["second"] is None:
            vectors["second"] = self._state["velocity"]
        r_names = {"theta": "r"}
        self._copies = []
        for name, flat in vectors.items():
            if flat is None:
                continue
            own = _as(flat, self._dtype, parameters.flat.shape)
            if own is not flat or not flat.flags.writeable:
                raise ValueError(f"The vector of {name} is not one to work on.")
            if parameters.r is not None:
                job.set(r_names.get(name, f"r_{name}"), flat[-d:])
            if M == 1:  # the two layouts are the same
                job.set(name, flat)
                continue
            rows = np.empty((M, self._size), self._dtype)
            self._copies.append((flat, rows))
            self._reorder(flat, rows, True)
            job.set(name, rows)
        self._bind_rows()
        work = data.n_rows * 6 * self._size + self._steps * STEP_COST * self._size
        coupled = parameters.r is not None  # all members move the scales at each step
        self._team = Team(1 if coupled or M * work < SHORT * SPEED else M)
        # The fit has limited BLAS already where all members together are small.
        product = batch_size * d * h
        small = M > 1 and product < MANY_THREADS <= M * product
        self._limits = self._team.size > 1 or small

    def _bind_rows(self):
        """Let C read X and Y where they stand, or the blocks that Python fills."""
        data, job, dtype = self._data, self._job, self._dtype
        d, _, k, M = self._sizes
        self._batches: Any = None
        strides = _strides(data.X, dtype)
        if data.scaling is not None or strides is None:
            self._batches = Batches(data, self._batch_size, dtype, M, k)
            job.row_stride, job.column_stride = d, 1
            return
        n = data.X.shape[0]
        job.set("X", data.X)
        job.row_stride, job.column_stride = strides
        self._set_targets(_targets(data.Y, dtype), n)
        if data.weights is not None:
            job.set("row_weights", _as(data.weights, dtype, (n,)))
        if data.folds is not None:
            job.set("folds", _as(data.folds, np.int32, (n,)))
            self._check_folds(self._job.arrays["folds"])
        rows = data.rows
        self._rows = None if rows is None else _as(rows, np.int64, (data.n_rows,))
        if self._rows is not None:
            _check_rows(self._rows, n)

    def _set_targets(self, Y, n):
        self._job.set("Y", _as(Y, Y.dtype, (n, self._sizes[2])))
        self._job.Y_is_bytes = Y.dtype == np.bool_

    def _check_folds(self, folds):
        if len(folds) and not 0 <= folds.min() <= folds.max() < self._sizes[3]:
            raise ValueError("A row is held out from a member that there is not.")

    def state(self):
        """What continuing needs, as the optimizer's own `state` gives it."""
        return self._state

    def epoch(self, order, rates):
        """Train for an epoch.

        Parameters
        ----------
        order : ndarray of int of shape (n_rows,) or None
        rates : ndarray of shape (n_steps,)

        Returns
        -------
        total, squared_norms : float
            As of `run_epoch`, of all members.
        """
        job = self._job
        self._totals[:] = self._norms[:] = 0
        job.set("rates", _as(rates, np.float64, (self._steps,)))
        job.t = self._state["t"]
        with one_blas_thread() if self._limits else nullcontext():
            if self._batches is None:
                self._train_in_place(order)
            else:
                self._train_block_by_block(order)
        for flat, rows in self._copies:
            self._reorder(flat, rows, False)
        self._state["t"] += self._steps
        job.n_taken += self._steps
        return float(self._totals.sum()), float(self._norms.sum())

    def _train_in_place(self, order):
        n_rows, rows = self._data.n_rows, self._rows
        if order is not None:
            order = _as(order, np.int64, (n_rows,))
            _check_rows(order, n_rows)
            rows = order if rows is None else rows[order]
        if rows is None:
            self._job.order = None
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
            job.set("X", _as(block.X, self._dtype, (n, self._sizes[0])))
            self._set_targets(_targets(block.Y, self._dtype), n)
            if data.weights is not None:
                job.set("row_weights", _as(data.weights[rows], self._dtype, (n,)))
            if data.folds is not None:
                job.set("folds", _as(data.folds[rows], np.int32, (n,)))
                self._check_folds(job.arrays["folds"])
            self._run(n, step)
            step, start = step + block.n_batches, stop

    def _run(self, n_rows, step):
        job = self._job
        self._team.share(
            self._sizes[3],
            lambda first, last: _engine.train(job, first, last, 0, n_rows, step),
        )

    def _reorder(self, flat, rows, to_rows):
        d, h, k, M = self._sizes
        length = Parameters.size(d, h, k, M)
        if len(flat) < length or rows.shape != (M, self._size):
            raise ValueError("Vectors of parameters do not fit.")
        _engine.reorder(
            flat.ctypes.data,
            rows.ctypes.data,
            d,
            h,
            k,
            M,
            self._size,
            flat.itemsize,
            to_rows,
        )


def _check_rows(rows, n):
    if len(rows) and not 0 <= rows.min() <= rows.max() < n:
        raise ValueError("A row is asked for that there is not.")


def _settings(optimizer):
    """An optimizer's hyperparameters, as fields of a job."""
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


# An optimizer's vectors, and the numbers that they are kept without.
_KEPT: dict[Any, dict[str, Any]] = {
    optimizers.SGD: {"velocity": "scale"},
    optimizers.Adam: {"m": "m_scale", "v": "v_scale"},
    optimizers.AdamW: {"m": "m_scale", "v": "v_scale"},
    optimizers.RMSprop: {"v": None},
}


def _opened(optimizer, state, theta):
    """A copy of an optimizer's state, whose scales are 1; or a fresh one."""
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


class Scores:
    """Scores of the rows held out from members, each by the one it is held out from.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray of shape (n, n_features)
    rows : list of ndarrays of int
        The rows held out from each member.
    """

    def __init__(self, network, X, rows):
        pooled = np.concatenate(rows).astype(np.int64)
        _check_rows(pooled, X.shape[0])
        starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
        self._n, self._M, self._d = len(pooled), len(rows), X.shape[1]
        stride, column_stride = _strides(X, X.dtype)
        self._dtype = X.dtype
        self._job = _Scoring(
            X=X,
            rows=pooled,
            starts=_as(starts, np.int64, (len(rows) + 1,)),
            gemm=_gemm(X.dtype),
            row_stride=stride,
            column_stride=column_stride,
            d=self._d,
            M=self._M,
            is_double=X.dtype == np.float64,
            activation=ACTIVATIONS[type(network.activation)],
            vector=_vector(),
        )
        self._team = None

    @staticmethod
    def cover(network, X, scaling, parameters):
        """Whether they may be compiled, for such parameters."""
        if asked_for() == "python" or not is_built():
            return False
        d, h, _ = parameters.shape
        return (
            _is_plain(network)
            and parameters.V is None
            and parameters.flat.dtype in DTYPES
            and scaling is None
            and _strides(X, parameters.flat.dtype) is not None
            and max(512 * d, h * parameters.n_members) <= MOST
        )

    def __call__(self, parameters):
        """(n, n_outputs)."""
        p, job, (d, h, k), M = parameters, self._job, parameters.shape, self._M
        if d != self._d or p.n_members != M:
            raise ValueError("The parameters have another layout.")
        scores = np.empty((self._n, k), self._dtype)
        job.h, job.k = h, k
        job.set("b1", _as(p.b1, self._dtype, (M * h,)))
        job.set("W1", _as(p.W1, self._dtype, (d, M * h)))
        job.set("W2", _as(p.W2, self._dtype, (M * h, k)))
        job.set("b2", _as(p.b2, self._dtype, (M * k,)))
        job.set("scores", scores)
        if self._team is None:
            work = 2 * self._n * d * h
            self._team = Team(1 if work < SHORT * SPEED else M)
        threads = self._team.size > 1
        with one_blas_thread() if threads else nullcontext():
            self._team.share(M, lambda i, j: _engine.score(job, i, j))
        return scores


class Loss:
    """The weighted loss of scores at a temperature, and its slope.

    Parameters
    ----------
    loss : object of `losses`
    Y : ndarray of shape (n, n_outputs)
    weights : ndarray of shape (n,), float64
    dtype : dtype
        Of the scores.
    """

    def __init__(self, loss, Y, weights, dtype):
        self._shape, self._dtype, self._found = Y.shape, dtype, np.empty(2)
        Y = _targets(Y, dtype)
        self._job = _Measuring(
            Y=Y,
            weights=_as(weights, np.float64, Y.shape[:1]),
            found=self._found,
            n=Y.shape[0],
            k=Y.shape[1],
            is_double=dtype == np.float64,
            Y_is_bytes=Y.dtype == np.bool_,
            loss=LOSSES[type(loss)],
            vector=_vector(),
        )

    @staticmethod
    def cover(loss, Y, z):
        """Whether it may be compiled, for such scores z."""
        if asked_for() == "python" or not is_built():
            return False
        plain = type(loss) in LOSSES and z.dtype in DTYPES and z.shape == Y.shape
        # A copy of large targets would take more than it saves.
        return plain and (Y.dtype in (z.dtype, np.bool_) or Y.size < SMALL_BYTES)

    def __call__(self, z, inverse=1.0):
        """Of scores z, (n, n_outputs), times `inverse`: a pair of floats."""
        self._job.set("scores", _as(z, self._dtype, self._shape))
        self._job.inverse = inverse
        _engine.measure(self._job)
        return float(self._found[0]), float(self._found[1])
