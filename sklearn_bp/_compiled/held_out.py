"""Scores of held-out rows, their loss and its slope, with the extension."""

from contextlib import nullcontext

import numpy as np

from sklearn_bp._common.blas import one_blas_thread
from sklearn_bp._common.threads import SHORT, SPEED, Team
from sklearn_bp._compiled.bins import BINS
from sklearn_bp._compiled.library import (
    ACTIVATIONS,
    DTYPES,
    FEATURES,
    LOSSES,
    MOST,
    Job,
    as_c,
    check_rows,
    engine,
    fields,
    gemm,
    has_vector,
    is_asked_for,
    is_csr,
    is_plain,
    is_readable,
    numbers_at_once,
    set_dense,
    set_sparse,
    strides_of,
    takes_gemm,
    targets_as_c,
)
from sklearn_bp._network.batches import SMALL_BYTES, row_length

# Rows copied at a time: a multiple of the rows that `score` of held_out.h takes at a
# time, so that products are rounded as for rows read in place.
BLOCK_ROWS = 4096

# Held-out rows that are read in place are gathered once, up to this many bytes.
GATHERED_BYTES = 2**24

# Rows per block of `measure`, and the number of scores from which threads share blocks.
MEASURED_ROWS = 256
MANY_SCORES = 50_000


class Scoring(Job):
    """Rows and the parameters that score them; its fields are those of engine.h."""

    _fields_ = (
        FEATURES
        + BINS
        + fields(
            "rows starts b1 W1 W2 b2 scores gemm",
            "d h k M is_double activation vector",
        )
    )


class Measuring(Job):
    """Scores and targets; its fields are those of engine.h."""

    _fields_ = fields(
        "scores Y weights found",
        "n k row_stride column_stride is_double Y_is_bytes loss vector",
        "inverse",
    )


class Scores:
    """Scores of held-out rows, each by the member that it is held out from.

    Parameters
    ----------
    network : TwoLayerNetwork
    X : ndarray, CSR or `SomeRows` of shape (n, n_features)
    rows : list of ndarrays of int
        The rows held out from each member.
    scaling : callable(X, out) or None
    dtype : dtype
        Dtype of the parameters.
    bins : BinnedRows, default=None
    """

    def __init__(self, network, X, rows, scaling, dtype, bins=None):
        pooled = np.concatenate(rows).astype(np.int64)
        check_rows(pooled, X.shape[0])
        lengths = [len(r) for r in rows]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._rows: np.ndarray | None = pooled
        self._X, self._scaling, self._dtype = X, scaling, dtype
        self._job = Scoring(
            gemm=gemm(dtype),
            d=X.shape[1],
            M=len(rows),
            is_double=dtype == np.float64,
            activation=ACTIVATIONS[type(network.activation)],
            vector=has_vector(),
        )
        self._is_csr = is_csr(X)
        self._in_place = self._is_csr or (
            scaling is None and strides_of(X, dtype) is not None
        )
        if self._is_csr:
            set_sparse(self._job, X, dtype)
        elif self._in_place and len(pooled) * X[:1].nbytes <= GATHERED_BYTES:
            self._X, self._rows = X[pooled], None
            bins = bins and bins.of_rows(pooled)
        self._bins = bins if self._in_place else None
        self._n, self._team = len(pooled), None

    @staticmethod
    def cover(network, X, scaling, parameters):
        """Whether scores with such parameters are compiled."""
        _, h, _ = parameters.shape
        dtype = parameters.flat.dtype
        return (
            is_asked_for()
            and is_plain(network)
            and parameters.V is None
            and dtype in DTYPES
            and is_readable(X, scaling)
            and numbers_at_once(X, BLOCK_ROWS, h, dtype) <= MOST
            and h * parameters.n_members <= MOST
        )

    def __call__(self, parameters):
        """(n_held_out, n_outputs), member by member."""
        job, (d, h, k) = self._job, parameters.shape
        M, n, dtype = len(self._starts) - 1, self._n, self._dtype
        if (d, parameters.n_members) != (job.d, M):
            raise ValueError("The parameters have another layout.")
        if self._bins is not None and h != job.h:
            self._bins.bind(job, *self._X.shape, h, dtype)
        job.h, job.k = h, k
        job.by_gemm = self._is_csr and takes_gemm(self._X, h, dtype)
        for name, shape in (
            ("b1", (M * h,)),
            ("W1", (d, M * h)),
            ("W2", (M * h, k)),
            ("b2", (M * k,)),
        ):
            job.set(name, as_c(getattr(parameters, name), dtype, shape))
        scores = np.empty((n, k), dtype)
        if self._in_place:
            self._score(self._X, self._rows, self._starts, scores, 0, M)
        else:
            self._score_block_by_block(scores)
        return scores

    def _score(self, X, rows, starts, scores, first, last):
        job = self._job
        if rows is None:
            X = as_c(X, self._dtype, (int(starts[-1]), job.d))
        if not self._is_csr:
            set_dense(job, X, strides_of(X, self._dtype))
        job.set("rows", rows)
        job.set("starts", starts)
        job.set("scores", scores)
        if self._team is None:
            work = self._n * row_length(self._X) * job.h
            self._team = Team(1 if work < SHORT * SPEED else job.M)
        with nullcontext() if self._team.size == 1 else one_blas_thread():
            self._team.share(
                last - first,
                lambda i, j: engine.score(job, first + i, first + j),
            )

    def _score_block_by_block(self, scores):
        """As `_score`, on rows that are first copied and scaled."""
        d, dtype, rows = self._job.d, self._dtype, self._rows
        assert rows is not None  # they were not gathered
        for member, stop in enumerate(self._starts[1:]):
            for start in range(self._starts[member], stop, BLOCK_ROWS):
                part = rows[start : min(start + BLOCK_ROWS, stop)]
                X = self._X[part]
                if self._scaling is not None:
                    X = self._scaling(X, np.empty(X.shape, dtype))
                X, n = as_c(X, dtype, (len(part), d)), len(part)
                starts = np.where(np.arange(len(self._starts)) > member, n, 0)
                block = scores[start : start + n]
                self._score(X, None, starts, block, member, member + 1)


class Loss:
    """The weighted loss of scores at a temperature, and its slope.

    Parameters
    ----------
    loss : object of `losses`
    Y : ndarray of shape (n, n_outputs)
    weights : ndarray of shape (n,), float64
    dtype : dtype
        Dtype of the scores.
    """

    def __init__(self, loss, Y, weights, dtype):
        (n, k), self._dtype = Y.shape, dtype
        # A search looks at the same scores again and again, so small ones are turned
        # once: 0.6 of its time.
        self._turned = n * k * np.dtype(dtype).itemsize <= SMALL_BYTES
        self._shape = (k, n) if self._turned else (n, k)
        self._found = np.zeros((-(-n // MEASURED_ROWS), 2))
        self._team = Team(len(self._found) if Y.size >= MANY_SCORES else 1)
        Y = targets_as_c(Y.T if self._turned else Y, dtype, self._shape)
        self._job = Measuring(
            Y=Y,
            weights=as_c(weights, np.float64, (n,)),
            found=self._found,
            n=n,
            k=k,
            row_stride=1 if self._turned else k,
            column_stride=n if self._turned else 1,
            is_double=dtype == np.float64,
            Y_is_bytes=Y.dtype == np.bool_,
            loss=LOSSES[type(loss)],
            vector=has_vector(),
        )

    @staticmethod
    def cover(loss, Y, z):
        """Whether the loss of such scores is compiled."""
        plain = type(loss) in LOSSES and z.dtype in DTYPES and z.shape == Y.shape
        # Copying large targets would cost more than it gains.
        small = Y.dtype in (z.dtype, np.bool_) or 8 * Y.size < SMALL_BYTES
        return is_asked_for() and plain and small

    def of(self, z):
        """A function of the inverse temperature, for scores z, (n, n_outputs).

        It returns loss and slope, floats, of z times its argument, until the next call
        of `of`.
        """
        z = z.T if self._turned else z
        self._job.set("scores", as_c(z, self._dtype, self._shape))
        return self._at if len(self._found) > 1 else self._of_one_block

    def _of_one_block(self, inverse=1.0):
        self._job.inverse = inverse
        engine.measure(self._job, 0, 1)
        return self._found.item(0), self._found.item(1)

    def _at(self, inverse=1.0):
        self._job.inverse = inverse
        self._team.share(len(self._found), lambda i, j: engine.measure(self._job, i, j))
        loss, slope = np.add.reduce(self._found)
        return float(loss), float(slope)
