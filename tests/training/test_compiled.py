"""The compiled step against the loop in Python, which is the reference."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from places import environment
from scipy import sparse
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import sklearn_bp
from sklearn_bp import (
    MLP_DEFAULTS,
    DivergenceError,
    TwoLayerClassifier,
    TwoLayerRegressor,
    _compiled,
)
from sklearn_bp._common import threads
from sklearn_bp._common.blas import one_blas_thread
from sklearn_bp._compiled import library
from sklearn_bp._compiled.epochs import Epochs, Training
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import SCALE_SPEED, Layout, Parameters
from sklearn_bp._tables.piecewise_linear import Bins
from sklearn_bp._training.held_out import HeldOut
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import History, Plan, TrainingState
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.optimizers import SGD, Adam, AdamW, RMSprop
from sklearn_bp.schedules import Cosine, InverseScaling, as_schedule

needs_extension = pytest.mark.skipif(
    not _compiled.is_built(), reason="the compiled step is not built"
)
pytestmark = [
    needs_extension,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

N, D, H = 70, 5, 6

TASKS = {
    "squared error": (REGRESSOR_LOSSES["squared_error"], 1),
    "squared error of three": (REGRESSOR_LOSSES["squared_error"], 3),
    "two classes": (CLASSIFIER_LOSSES["log_loss"][0], 1),
    "labels": (CLASSIFIER_LOSSES["log_loss"][0], 3),
    "four classes": (CLASSIFIER_LOSSES["log_loss"][1], 4),
}
OPTIMIZERS = {
    "sgd": SGD(nesterovs_momentum=False),
    "nesterov": SGD(),
    "no momentum": SGD(0.0),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSprop(),
}


def targets(task, rng, n=N):
    _, k = TASKS[task]
    if task.startswith("squared"):
        return rng.normal(size=(n, k))
    if task == "four classes":
        return np.eye(k, dtype=bool)[rng.randint(k, size=n)]
    return rng.randint(2, size=(n, k)).astype(bool)


def trained(
    engine,
    monkeypatch,
    task="four classes",
    activation="relu",
    optimizer="adam",
    n_members=1,
    folds=False,
    weighted=False,
    speed=0.0,
    average=2.0,
    penalty_rows=None,
    schedule=None,
    batch_size=16,
    shuffle=True,
    drops_penalty=False,
    dtype=np.float64,
    n=N,
    d=D,
    h=H,
    epochs=10,
    change=None,
    start=None,
    runs_on=None,
    groups=None,
    n_bins=0,
    observers=(),
):
    """The result of ten epochs on drawn data, and the engine that it ran on."""
    monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
    rng = np.random.RandomState(0)
    loss, k = TASKS[task]
    X = rng.normal(size=(n, d)).astype(dtype)
    Y = targets(task, rng, n)
    Y = Y if Y.dtype == bool else Y.astype(dtype)
    weights = rng.uniform(0.1, 3.0, size=n) if weighted else None
    if weighted == "with zeros":
        weights[: n // 3] = 0
    if change is not None:
        X = change(X)
    X, bins = with_bins(X, n_bins) if n_bins else (X, None)
    takes_sums = n_bins > 0 and engine == "compiled" and library.has_vector()
    assert (bins is not None) == takes_sums
    layout = Layout(X.shape[1], h, k, n_members, False, speed)
    if start is None:
        start = rng.normal(size=layout.size) / 3
    state = TrainingState(
        Parameters(start.astype(dtype), layout),
        Patience(1e-4, 3 if drops_penalty else 100),
        np.random.RandomState(1),
    )
    data = replace(Data.weighted(X, Y, weights, 0.05), bins=bins)
    if groups is not None:
        data = replace(data, groups=np.arange(X.shape[1]) % groups)
    network = TwoLayerNetwork(ACTIVATIONS[activation], loss)
    validate = None
    if folds:
        of_rows = np.arange(n) % n_members
        rows = [np.flatnonzero(of_rows == j) for j in range(n_members)]
        if n_members > 1:
            data = data.without_folds(of_rows, n_members)
        validate = HeldOut(network, replace(data, weights=weights), rows)
    rule = as_schedule("constant", 0.01, 0.5, epochs, True)
    solver = MiniBatches(
        OPTIMIZERS[optimizer],
        rule if schedule is None else schedule,
        batch_size,
        shuffle,
        average,
        penalty_rows=penalty_rows,
    )
    cost = None if validate is None else (lambda measured: measured.loss)
    plan = Plan(epochs, -np.inf, validate, cost, drops_penalty, observers=observers)
    result = solver.train(network, data, state, plan)
    assert state.engine == (runs_on or engine)
    return result


def with_bins(X, n_bins):
    """X and its columns in bins, scaled; and where the rows stand in them.

    The bins are those of the first rows alone, so others lie beyond them.
    """
    bins = Bins.of(X[: len(X) // 2], None, X.shape[1], n_bins)
    scale = np.linspace(0.5, 2, bins.n_bins).astype(X.dtype)
    ends = np.array([np.zeros(bins.n_bins), np.ones(bins.n_bins)], X.dtype)
    ends = (ends - bins.means.astype(X.dtype)) * scale
    encoded = (bins.encode(X).astype(X.dtype) - bins.means.astype(X.dtype)) * scale
    starts = np.flatnonzero(np.diff(bins.column, prepend=-1, append=-1))
    encoded = np.hstack([X, encoded])
    return encoded, _compiled.binned(encoded, starts, *ends)


def assert_equal_results(ours, reference, tolerance=1e-10):
    kept = {"rtol": tolerance, "atol": tolerance}
    one, other = ours.state, reference.state
    assert_allclose(ours.parameters.flat, reference.parameters.flat, **kept)
    assert_allclose(one.parameters.flat, other.parameters.flat, **kept)
    if other.average is not None:
        assert_allclose(one.average.flat, other.average.flat, **kept)
    assert_allclose(one.loss_curve, other.loss_curve, **kept)
    assert_allclose(one.data_losses, other.data_losses, **kept)
    assert_allclose(one.validation_losses, other.validation_losses, **kept)
    assert ours.best_iter == reference.best_iter
    assert (one.t, one.n_steps, one.n_iter) == (other.t, other.n_steps, other.n_iter)
    assert one.rate == other.rate
    if other.order is not None:
        assert_array_equal(one.order, other.order)
    assert_array_equal(
        one.random_state.get_state()[1], other.random_state.get_state()[1]
    )
    assert one.optimizer.keys() == other.optimizer.keys()
    assert one.optimizer["t"] == other.optimizer["t"]


def both(monkeypatch, **options):
    return [
        trained(engine, monkeypatch, **options) for engine in ("compiled", "python")
    ]


def half_empty(X):
    return sparse.csr_matrix(X * (X > 0))


def with_gaps(X):
    """Numbers that are 0 but stored, and a row and a column without any number."""
    X = np.where(X > 0.3, X, 0)
    X[len(X) // 2] = 0
    X[:, X.shape[1] // 2] = 0
    csr = sparse.csr_matrix(X)
    csr.data[::5] = 0
    return csr


def multiply_sparse_rows(by, monkeypatch):
    """Multiply by stored numbers or by dense copies, however full the rows are."""
    monkeypatch.setattr(library, "FULL", np.inf if by == "stored numbers" else 0)


@pytest.fixture(params=["stored numbers", "dense copies"])
def products(request, monkeypatch):
    """Both ways to multiply sparse rows."""
    multiply_sparse_rows(request.param, monkeypatch)


both_products = pytest.mark.usefixtures("products")


@pytest.fixture(params=["dense", "stored numbers", "dense copies"])
def change(request):
    """None for dense rows, or a function that makes rows sparse."""
    if request.param == "dense":
        return None
    multiply_sparse_rows(request.param, request.getfixturevalue("monkeypatch"))
    return with_gaps


# The same numbers.


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("task", TASKS)
def test_one_network_equals_the_loop(task, activation, optimizer, change, monkeypatch):
    options = {"task": task, "activation": activation, "optimizer": optimizer}
    assert_equal_results(*both(monkeypatch, change=change, **options))


@pytest.mark.parametrize("weighted", [False, True, "with zeros"])
@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_members_equal_the_loop(task, optimizer, folds, weighted, change, monkeypatch):
    options = {
        "task": task,
        "optimizer": optimizer,
        "folds": folds,
        "weighted": weighted,
        "n_members": 3,
    }
    assert_equal_results(*both(monkeypatch, change=change, **options))


@pytest.mark.parametrize("average", [0, 2.0])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_observers_see_what_a_fit_ends_with(optimizer, n_members, average, monkeypatch):
    """Vectors that only observers look at are brought up to date for them."""
    seen, observer = [], Mock(epoch_ends=Mock(return_value=False))

    def look(history, reason):
        vectors = dict(history.state.optimizer)
        vectors["theta"] = history.state.parameters.flat
        seen.append({name: np.copy(value) for name, value in vectors.items()})

    observer.epoch_ends.side_effect = look
    options = {"optimizer": optimizer, "n_members": n_members, "average": average}
    options |= {"folds": n_members > 1, "drops_penalty": True, "speed": SCALE_SPEED}
    for n in (1, 2, 7, 25):
        seen.clear()
        trained("compiled", monkeypatch, epochs=n, observers=[observer], **options)
        state = trained("compiled", monkeypatch, epochs=n, **options).state
        ended = dict(state.optimizer) | {"theta": state.parameters.flat}
        assert ended.keys() == seen[-1].keys()
        for name, value in ended.items():
            assert_array_equal(value, seen[-1][name], name)


@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("task", TASKS)
def test_feature_scales_equal_the_loop(task, optimizer, n_members, change, monkeypatch):
    options = {
        "task": task,
        "optimizer": optimizer,
        "n_members": n_members,
        "folds": True,
        "groups": None if n_members == 1 else 3,
    }
    speed = True if n_members == 1 else 9.0
    assert_equal_results(*both(monkeypatch, change=change, speed=speed, **options))


@pytest.mark.parametrize("groups", [[0, -1, 0], [0, 1]])
def test_groups_of_scales_are_checked(groups):
    layout = Layout(3, 2, 1, scale_speed=1.0)
    parameters = Parameters(np.zeros(layout.size), layout)
    data = replace(
        Data(np.zeros((4, 3)), np.zeros((4, 1)), None, 0.0), groups=np.array(groups)
    )
    network = TwoLayerNetwork(ACTIVATIONS["relu"], TASKS["squared error"][0])
    with pytest.raises(ValueError, match=r"Each group|has shape"):
        Epochs(network, data, TrainingState(parameters, None, None), Adam(), 2)


SETTINGS = [
    {"average": 0},
    {"penalty_rows": 5},
    {"penalty_rows": 5, "optimizer": "nesterov"},
    {"shuffle": False},
    {"shuffle": "blocks"},
    {"batch_size": N},
    {"batch_size": 1},
    {"schedule": InverseScaling(0.05), "optimizer": "sgd"},
    {"schedule": as_schedule(Cosine(0.2), 0.05, 0.5, 10, True)},
    {"folds": True},
    {"drops_penalty": True, "folds": True, "n_members": 3, "epochs": 40},
    {"optimizer": "nesterov", "epochs": 60, "average": 0},
    {"n_members": 256, "folds": True, "n": 300},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_settings_equal_the_loop(options, change, monkeypatch):
    """Sixty epochs are 300 steps: small numbers have been flushed once by then."""
    assert_equal_results(*both(monkeypatch, change=change, **options))


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", TASKS)
def test_float32_equals_the_loop_to_its_rounding(task, n_members, change, monkeypatch):
    """A few hundred roundings to 6e-8, which Adam may make steps of."""
    options = {"task": task, "n_members": n_members, "folds": n_members > 1}
    results = both(monkeypatch, change=change, dtype=np.float32, epochs=3, **options)
    assert results[0].parameters.flat.dtype == np.float32
    assert_allclose(*(r.parameters.flat for r in results), rtol=1e-3, atol=1e-4)


# Rows in bins, whose products are sums.

needs_vectors = pytest.mark.skipif(
    not (_compiled.is_built() and library.has_vector()),
    reason="the processor multiplies a few numbers at a time",
)


@pytest.fixture(params=[8, 40])
def of_bins(request):
    """Options: 40 units of float32 are a block of four vectors and another vector."""
    return {"n_bins": 7, "h": request.param, "n": 90}


@needs_vectors
@pytest.mark.parametrize(("n_bins", "are_sums"), [(3, False), (4, True)])
def test_products_are_sums_from_four_bins_per_column_on(n_bins, are_sums, monkeypatch):
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "compiled")
    _, bins = with_bins(np.random.RandomState(0).normal(size=(N, D)), n_bins)
    assert (bins is not None) == are_sums


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("task", TASKS)
def test_members_on_bins_equal_the_loop(task, activation, folds, of_bins, monkeypatch):
    options = {"task": task, "activation": activation, "folds": folds}
    assert_equal_results(*both(monkeypatch, n_members=3, **of_bins, **options))


@pytest.mark.parametrize("options", SETTINGS[:-1], ids=str)
def test_settings_on_bins_equal_the_loop(options, of_bins, monkeypatch):
    assert_equal_results(*both(monkeypatch, **(of_bins | options)))


@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize("task", TASKS)
def test_scales_of_bins_equal_the_loop(task, n_members, of_bins, monkeypatch):
    options = {"task": task, "n_members": n_members, "folds": True, "groups": 3}
    assert_equal_results(*both(monkeypatch, speed=9.0, **of_bins, **options))


@pytest.mark.parametrize("h", [1, 6, 12])
def test_units_that_are_no_whole_vectors_equal_the_loop(h, monkeypatch):
    options = {"n_bins": 7, "h": h, "n_members": 2, "folds": True}
    assert_equal_results(*both(monkeypatch, **options))


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", TASKS)
def test_float32_on_bins_equals_the_loop_to_its_rounding(
    task, n_members, of_bins, monkeypatch
):
    options = {"task": task, "n_members": n_members, "folds": n_members > 1}
    results = both(monkeypatch, dtype=np.float32, epochs=3, **of_bins, **options)
    assert_allclose(*(r.parameters.flat for r in results), rtol=1e-3, atol=1e-4)


@needs_vectors
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_and_shares_are_the_rows(dtype):
    X = np.random.RandomState(0).normal(size=(50, 4)).astype(dtype)
    encoded, found = with_bins(X, 9)
    bins, n_bins = np.arange(len(found.low)), np.diff(found.starts)
    assert found.n_plain + len(bins) == encoded.shape[1]
    column = np.repeat(np.arange(4), n_bins)
    own = found.codes[:, column] - column  # the bin of each row in the bin's column
    values = np.where(bins < own, found.low + found.span, found.low)
    inside = found.low + found.shares[:, column] * found.span
    values = np.where(bins == own, inside, values)
    assert_allclose(values, encoded[:, 4:], rtol=1e-5 if dtype == np.float32 else 1e-13)


@needs_vectors
def test_other_rows_are_no_bins():
    """In the fourth bin: a number between its ends, NaN, and one below them."""
    X = np.random.RandomState(0).normal(size=(50, 2))
    encoded, found = with_bins(X, 8)
    low, ends = found.low, (found.starts, found.low, found.low + found.span)
    row = int(np.flatnonzero(found.codes[:, 0] == 1)[0])
    for value in (low[3] + 0.1, np.nan, low[3] - 1):
        spoilt = encoded.copy()
        spoilt[row, 2 + 3] = value
        assert _compiled.binned(spoilt, *ends) is None


@needs_vectors
@pytest.mark.parametrize("starts", [[0, 8, 15], [0, 16, 16], [1, 8, 16], [0, 17, 16]])
def test_bins_that_do_not_follow_are_an_error(starts):
    low = np.zeros(16)
    with pytest.raises(ValueError, match="do not follow"):
        _compiled.binned(np.zeros((5, 20)), np.array(starts), low, low + 1)


def test_few_bins_are_multiplied_by_gemm():
    X, low = np.zeros((5, 20)), np.zeros(6)
    assert _compiled.binned(X, np.array([0, 3, 6]), low, low + 1) is None


@needs_vectors
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_default_fits_take_sums(make, monkeypatch):
    found, binned = [], _compiled.binned
    monkeypatch.setattr(
        _compiled, "binned", lambda *args: found.append(binned(*args)) or found[-1]
    )
    X = np.random.RandomState(0).normal(size=(600, 5))
    make(random_state=0).fit(X, X[:, 0] > 0)
    assert len(found) == 1
    assert found[0].codes.shape == X.shape


# Sparse rows.


@both_products
@pytest.mark.parametrize("speed", [0.0, SCALE_SPEED])
@pytest.mark.parametrize("h", [1, 3, 5000])
def test_gradients_in_parts_equal_the_loop(h, speed, monkeypatch):
    """Parts have 4,096 weights, or a single feature, and the last part has fewer."""
    options = {"h": h, "d": 37, "n": 40, "speed": speed, "epochs": 3}
    options |= {"task": "labels", "change": half_empty, "n_members": 2, "folds": True}
    assert_equal_results(*both(monkeypatch, **options))


@both_products
@pytest.mark.parametrize(
    "shape", [{"n": 1}, {"d": 1}, {"h": 1}, {"n": 2, "d": 1, "h": 1}]
)
@pytest.mark.parametrize("task", TASKS)
def test_smallest_sparse_shapes_equal_the_loop(task, shape, monkeypatch):
    options = {"task": task, "batch_size": 1, "change": half_empty}
    assert_equal_results(*both(monkeypatch, **options | shape))


@both_products
@pytest.mark.parametrize("n_members", [1, 3])
def test_rows_without_any_stored_number_equal_the_loop(n_members, monkeypatch):
    options = {"n_members": n_members, "folds": True}
    options["change"] = lambda X: sparse.csr_matrix(X.shape)
    assert_equal_results(*both(monkeypatch, **options))


def with_long_indices(csr):
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def read_only_csr(csr):
    for array in (csr.data, csr.indices, csr.indptr):
        array.flags.writeable = False
    return csr


def misaligned_csr(csr):
    csr.data, csr.indices = misaligned(csr.data), misaligned(csr.indices)
    return csr


def unsorted_with_duplicates(csr):
    """Each number as two halves, and columns backwards."""
    halves = np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), 2 * csr.indptr
    other = sparse.csr_matrix(halves, shape=csr.shape)
    for start, stop in zip(other.indptr, other.indptr[1:], strict=False):
        other.data[start:stop] = other.data[start:stop][::-1].copy()
        other.indices[start:stop] = other.indices[start:stop][::-1].copy()
    assert not other.has_sorted_indices
    return other


def with_room_to_spare(csr):
    """As scipy leaves the arrays of a matrix from which numbers were removed."""
    csr.data = np.append(csr.data, np.full(7, np.nan))
    csr.indices = np.append(csr.indices, np.full(7, -1, csr.indices.dtype))
    return csr


SPARSE_SOURCES = {
    "an array": sparse.csr_array,
    "read-only": read_only_csr,
    "misaligned": misaligned_csr,
    "long indices": with_long_indices,
    "twice, backwards": unsorted_with_duplicates,
    "of integers": lambda csr: (4 * csr).astype(int),
    "of float32": lambda csr: csr.astype(np.float32),
    "every other row": lambda csr: sparse.csr_matrix(np.repeat(csr.toarray(), 2, 0))[
        ::2
    ],
    "room to spare": with_room_to_spare,
}


@both_products
@pytest.mark.parametrize("speed", [0.0, SCALE_SPEED])
@pytest.mark.parametrize("source", SPARSE_SOURCES)
def test_any_csr_equals_the_loop(source, speed, monkeypatch):
    make = SPARSE_SOURCES[source]
    options = {"change": lambda X: make(with_gaps(X)), "speed": speed}
    assert_equal_results(*both(monkeypatch, folds=True, n_members=3, **options))


BAD_SPARSE = {
    "a column beyond": lambda csr: csr.indices.__setitem__(3, csr.shape[1]),
    "a negative column": lambda csr: csr.indices.__setitem__(3, -1),
    "rows that overlap": lambda csr: csr.indptr.__setitem__(2, csr.nnz),
    "a row before the first": lambda csr: csr.indptr.__setitem__(0, -1),
    "rows beyond the numbers": lambda csr: csr.indptr.__setitem__(-1, csr.nnz + 1),
    "numbers that lack": lambda csr: setattr(csr, "data", csr.data[:-1]),
    "columns that lack": lambda csr: setattr(csr, "indices", csr.indices[:-1]),
    "rows that lack": lambda csr: setattr(csr, "indptr", csr.indptr[:-1]),
}


@pytest.mark.parametrize("spoil", BAD_SPARSE.values(), ids=BAD_SPARSE)
def test_no_csr_leads_beyond_its_arrays(spoil):
    csr = half_empty(np.random.RandomState(0).normal(size=(20, 5)))
    library.set_sparse(Training(), csr, csr.dtype)
    spoil(csr)
    with pytest.raises(ValueError, match=r"do not follow|must be in|has shape"):
        library.set_sparse(Training(), csr, csr.dtype)


def test_full_rows_are_multiplied_by_gemm():
    """Fewer stored numbers suffice where the rows of the weights are short."""

    def takes_gemm(share, h, dtype=np.float64):
        csr = sparse.random(50, 20, share, "csr", random_state=0)
        return library.takes_gemm(csr, h, dtype)

    assert [takes_gemm(share, 64) for share in (0.1, 0.9)] == [False, True]
    assert [takes_gemm(0.1, h) for h in (5, 500)] == [True, False]
    assert [takes_gemm(0.1, 16, t) for t in ("f4", "f8")] == [True, False]


# Sparse rows on which Python trains: with compiled steps of the optimizer.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_members": 3, "folds": True},
        {"penalty_rows": 5, "weighted": True},
        {"average": 0, "epochs": 60},
        {"drops_penalty": True, "folds": True, "n_members": 3, "epochs": 40},
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_of_sparse_rows_equal_the_loop(optimizer, options, monkeypatch):
    """Sixty epochs are 300 steps: small numbers have been flushed once by then."""
    options = {"optimizer": optimizer, "activation": "gelu"} | options
    options |= {"runs_on": "python"}
    bound = Mock(wraps=_compiled.bound)
    monkeypatch.setattr(_compiled, "bound", bound)
    results = both(monkeypatch, change=half_empty, **options)
    assert bound.call_count == (2 if results[0].state.relaxed else 1)
    assert_equal_results(*results)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_steps_of_sparse_rows_with_scales_equal_the_loop(optimizer, monkeypatch):
    options = {"optimizer": optimizer, "speed": SCALE_SPEED, "n_members": 3}
    options |= {"change": half_empty, "activation": "gelu", "runs_on": "python"}
    assert_equal_results(*both(monkeypatch, **options))


def read_only(X):
    X.flags.writeable = False
    return X


def misaligned(X):
    buffer = np.empty(X.nbytes + 1, np.uint8)[1:]
    other = buffer.view(X.dtype).reshape(X.shape)
    other[...] = X
    assert not other.flags.aligned
    return other


SOURCES = {
    "read-only": read_only,
    "misaligned": misaligned,
    "in columns": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "backwards": lambda X: X[::-1].copy()[::-1],
    "every other column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "of integers": lambda X: np.round(4 * X).astype(int),
    "of the other byte order": lambda X: X.astype(X.dtype.newbyteorder()),
}


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_any_array_equals_the_loop(source, folds, monkeypatch):
    options = {"change": SOURCES[source], "folds": folds, "n_members": 3}
    assert_equal_results(*both(monkeypatch, **options))


@pytest.mark.parametrize(
    "shape", [{"n": 1}, {"d": 1}, {"h": 1}, {"n": 2, "d": 1, "h": 1}]
)
@pytest.mark.parametrize("task", TASKS)
def test_smallest_shapes_equal_the_loop(task, shape, monkeypatch):
    assert_equal_results(*both(monkeypatch, task=task, batch_size=1, **shape))


@needs_vectors
@pytest.mark.parametrize("size", [1e-39, 1e-35])
def test_subnormal_numbers_are_0_in_a_step(size):
    """Otherwise adam's step would not be: it does not depend on their size."""
    X, Y = np.full((4, 1), size, np.float32), np.ones((4, 1), np.float32)
    flat = np.array([0, 0, 1, 0], np.float32)  # b1, W1, W2, b2
    state = TrainingState(Parameters(flat, (1, 1, 1)), None, None)
    network = TwoLayerNetwork(ACTIVATIONS["identity"], TASKS["squared error"][0])
    Epochs(network, Data(X, Y, None, 0.0), state, Adam(), 4).epoch(None, np.ones(1))
    assert (state.parameters.W1 == 0).all() == (size < np.finfo(np.float32).tiny)


@pytest.mark.skipif(not _compiled.is_built(), reason="the extension was not built")
@pytest.mark.parametrize(("dtype", "tiny"), [(np.float32, 1e-24), (np.float64, 1e-186)])
def test_tiny_weights_become_0_in_step_256(dtype, tiny):
    """A weight without gradient, as behind a feature that is always zero."""
    zeros = np.zeros((128, 1), dtype)
    state = TrainingState(Parameters(np.zeros(4, dtype), (1, 1, 1)), None, None)
    state.parameters.W1[...] = tiny
    network = TwoLayerNetwork(ACTIVATIONS["identity"], TASKS["squared error"][0])
    sgd = OPTIMIZERS["sgd"]
    epochs = Epochs(network, Data(zeros, zeros, None, 0.0), state, sgd, 1)
    for expected in (tiny, 0.0):  # after 128 steps, and after 256
        epochs.epoch(None, np.full(128, 0.1))
        assert_array_equal(state.parameters.W1, np.full((1, 1), expected, dtype))


@pytest.mark.parametrize("n_members", [1, 3])
def test_subnormal_numbers_are_numbers_after_training(n_members, monkeypatch):
    """The compiled step takes them as 0, and must not change the mode of its thread."""
    trained("compiled", monkeypatch, n_members=n_members, speed=SCALE_SPEED)
    for dtype in (np.float32, np.float64):
        smallest = np.full(64, np.finfo(dtype).tiny)
        assert_array_equal(smallest / 2 * 2, smallest)


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("settings", [{}, {"n_members": 1}, {"standardize": False}])
def test_default_fits_have_the_same_epochs_and_weights(make, settings, monkeypatch):
    """In float64: three hundred rows would train in float32."""
    rng = np.random.RandomState(3)
    X = rng.normal(size=(300, 4))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    if make is TwoLayerClassifier:
        y = np.digitize(y, [-0.5, 0.5])
    monkeypatch.setattr(
        "sklearn_bp._fitting.base_rows.training_dtype", lambda *args: np.dtype(float)
    )
    fitted = []
    for engine in ("compiled", "python"):
        monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
        fitted.append(make(random_state=0, max_iter=25, **settings).fit(X, y))
        assert fitted[-1].engine_ == engine
    ours, reference = fitted
    for name in ("n_iter_", "best_iter_", "stop_reason_", "t_"):
        assert getattr(ours, name) == getattr(reference, name)
    for name in (
        "loss_curve_",
        "data_loss_curve_",
        "validation_loss_curve_",
        "validation_scores_",
    ):
        assert_allclose(getattr(ours, name), getattr(reference, name), rtol=1e-9)
    for one, other in zip(
        ours.coefs_ + ours.intercepts_,
        reference.coefs_ + reference.intercepts_,
        strict=True,
    ):
        assert_allclose(one, other, rtol=1e-8, atol=1e-9)
    if make is TwoLayerClassifier:
        assert_allclose(ours.temperature_, reference.temperature_, rtol=1e-8)


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_are_right_to_the_last_places(activation, dtype, monkeypatch):
    """By scores of a network that is one unit of an activation, z2 = f(x)."""
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "compiled")
    x = np.concatenate([np.linspace(-40, 40, 4001), np.geomspace(1e-30, 1e4, 500)])
    x = np.concatenate([x, -x, [np.inf, -np.inf, np.nan]]).astype(dtype)[:, np.newaxis]
    flat = np.array([0, 1, 1, 0], dtype)  # b1, W1, W2, b2
    network = TwoLayerNetwork(
        ACTIVATIONS[activation], REGRESSOR_LOSSES["squared_error"]
    )
    rows = [np.arange(len(x))]
    held_out = HeldOut(network, Data(x, np.zeros(x.shape, dtype), None, 0.0), rows)
    scores = held_out.scores(Parameters(flat, (1, 1, 1)))
    assert type(held_out._at_once) is _compiled.Scores
    with np.errstate(over="ignore"):
        wide = x.astype(np.float64)
        exact = np.tanh(wide) if activation == "tanh" else 1 / (1 + np.exp(-wide))
    smallest = np.finfo(dtype).tiny * 2  # where exp ends
    assert_allclose(scores, exact, rtol=4 * np.finfo(dtype).eps, atol=smallest)


# What is not finite.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("task", TASKS)
def test_infinite_values_are_an_error(task, value, dtype, monkeypatch):
    def spoilt(X):
        with np.errstate(over="ignore"):
            X[7, 2] = value
        return X

    for engine in ("compiled", "python"):
        options = {"activation": "relu", "dtype": dtype, "change": spoilt}
        with np.errstate(over="ignore"), pytest.raises(DivergenceError):
            trained(engine, monkeypatch, task, optimizer="sgd", **options)


def test_nan_everywhere_is_an_error(monkeypatch):
    with pytest.raises(DivergenceError):
        trained("compiled", monkeypatch, change=lambda X: X * np.nan, n_members=3)


# Who trains.


def small_problem():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 3))
    return X, (X[:, 0] > 0).astype(int)


def fitted_on(engine, monkeypatch, **options):
    monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
    return TwoLayerClassifier(4, max_iter=2, random_state=0, **options).fit(
        *small_problem()
    )


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "lbfgs"},
        {"skip_layer": True},
        {"dropout": 0.2},
        {"activation": "gelu"},
        {"loss": "squared_error"},
        {"solver": SGD(clip_norm=1.0)},
    ],
    ids=str,
)
def test_fits_that_are_not_covered_run_the_loop(options, monkeypatch):
    fits = [fitted_on(engine, monkeypatch, **options) for engine in library.CHOICES]
    for model in fits:
        assert model.engine_ == "python"
        assert_array_equal(model.coefs_[0], fits[0].coefs_[0])


def test_users_classes_run_the_loop(monkeypatch):
    class Half(type(ACTIVATIONS["relu"])):
        def forward(self, z):
            super().forward(z)
            z *= 0.5

    assert fitted_on("auto", monkeypatch, activation=Half()).engine_ == "python"


def test_sizes_beyond_c_ints_run_the_loop(monkeypatch):
    """Here the largest int is 100."""
    monkeypatch.setattr(_compiled, "MOST", 100)
    few = fitted_on("auto", monkeypatch, batch_size=30, early_stopping=False)
    many = fitted_on("auto", monkeypatch, batch_size=40, early_stopping=False)
    assert (few.engine_, many.engine_) == ("compiled", "python")


def test_stored_numbers_may_exceed_c_ints(monkeypatch):
    """Products of stored numbers count columns, others all numbers of a batch."""
    monkeypatch.setattr(_compiled, "MOST", 100)
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "auto")
    X, y = small_problem()
    model = TwoLayerClassifier(4, max_iter=2, batch_size=40, early_stopping=False)
    for full, engine in ((np.inf, "compiled"), (0, "python")):
        monkeypatch.setattr(library, "FULL", full)
        assert model.fit(sparse.csr_matrix(X), y).engine_ == engine


def test_environment_chooses(monkeypatch):
    assert fitted_on("auto", monkeypatch).engine_ == "compiled"
    assert fitted_on("compiled", monkeypatch).engine_ == "compiled"
    assert fitted_on("python", monkeypatch).engine_ == "python"
    with pytest.raises(ValueError, match="SKLEARN_BP_ENGINE is 'fast'"):
        fitted_on("fast", monkeypatch)


def test_without_the_extension(monkeypatch):
    monkeypatch.setattr(library, "engine", None)
    assert fitted_on("auto", monkeypatch).engine_ == "python"
    with pytest.raises(ImportError, match="not installed"):
        fitted_on("compiled", monkeypatch)


def test_versions_tell_the_engine(monkeypatch):
    for engine in ("python", "compiled"):
        monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
        with redirect_stdout(io.StringIO()) as printed:
            sklearn_bp.show_versions()
        assert f"engine: {engine} (the compiled step is built)" in printed.getvalue()
        assert "numpy" in printed.getvalue()


def test_jobs_of_another_size_are_refused():
    with pytest.raises(ValueError, match="A job of 8 bytes"):
        library.engine.train(b"12345678", 0, 1, 0, 1, 0, None)


# From one engine to the other.


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop"])
def test_engines_take_over_from_each_other(solver, n_members, convert, monkeypatch):
    """Calls of partial_fit: the bits of fit on one engine, otherwise to rounding."""
    X, y = small_problem()
    X = convert(X)
    model = TwoLayerClassifier(
        4,
        solver=solver,
        n_members=n_members,
        early_stopping=False,
        standardize=False,
        max_iter=6,
        random_state=0,
        n_iter_no_change=100,
    )
    weights = {}
    for engines in ("ccc", "ppp", "cpc", "pcp"):
        parts = clone(model)
        for engine in engines:
            name = {"c": "compiled", "p": "python"}[engine]
            monkeypatch.setenv("SKLEARN_BP_ENGINE", name)
            for _ in range(2):
                parts.partial_fit(X, y, classes=[0, 1])
            assert parts.engine_ == name
        weights[engines] = parts.coefs_[0]
    for name, engine in (("ccc", "compiled"), ("ppp", "python")):
        monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
        whole = clone(model).fit(X, y)
        assert_array_equal(weights[name], whole.coefs_[0])
    for found in weights.values():
        assert_allclose(found, weights["ppp"], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_twins_of_mlpclassifier(solver, monkeypatch):
    from sklearn.neural_network import MLPClassifier

    monkeypatch.setenv("SKLEARN_BP_ENGINE", "compiled")
    X, y = small_problem()
    settings = {
        "max_iter": 20,
        "random_state": 0,
        "solver": solver,
        "batch_size": 7,
        "tol": 0,
    }
    settings |= {"hidden_layer_sizes": (5,), "n_iter_no_change": 100}
    ours = TwoLayerClassifier(**MLP_DEFAULTS | settings).fit(X, y)
    theirs = MLPClassifier(**settings).fit(X, y)
    assert ours.engine_ == "compiled"
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    for one, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-9)


# Threads.


@pytest.mark.parametrize("change", [None, half_empty, "bins"])
@pytest.mark.parametrize("speed", [0.0, SCALE_SPEED])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype, speed, change, shared, monkeypatch):
    """With scales threads meet at each step, and some of these sleep for others."""
    results = []
    options = {"n_members": 5, "folds": True, "dtype": dtype, "n": 700}
    if change == "bins":
        options |= {"n_bins": 8, "h": 8}
    else:
        options["change"] = change
    monkeypatch.setattr(library, "FULL", np.inf)
    for n_threads in (1, 2, 3, 8):
        shared(n_threads)
        options["speed"] = speed
        results.append(trained("compiled", monkeypatch, **options))
    for result in results[1:]:
        assert_array_equal(result.parameters.flat, results[0].parameters.flat)
        assert result.state.loss_curve == results[0].state.loss_curve
        assert result.state.validation_losses == results[0].state.validation_losses


def test_nobody_waits_for_a_thread_that_does_not_come(shared, monkeypatch):
    """Threads that share feature scales take over the members of others."""
    shared(4)
    options = {"n_members": 5, "speed": SCALE_SPEED}
    whole = trained("compiled", monkeypatch, **options).parameters
    monkeypatch.setattr(threads.Team, "share", lambda self, n, work: work(2, 3))
    alone = trained("compiled", monkeypatch, **options).parameters
    assert_array_equal(alone.flat, whole.flat)


@pytest.mark.parametrize("kind", ["dense", "integers", "sparse"])
@pytest.mark.parametrize("skip_layer", [False, True])
def test_predictions_have_the_same_bits_for_any_number_of_threads(
    kind, skip_layer, shared, monkeypatch
):
    """Overflow does not warn, in any thread."""
    rng = np.random.RandomState(0)
    X = np.round(rng.normal(size=(3000, 4)) * 4)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = TwoLayerClassifier(6, max_iter=2, random_state=0, skip_layer=skip_layer)
    model.fit(X[:200], y[:200])
    if kind == "integers":
        X = X.astype(int)
    else:
        X[::100] = 1e300
        X = X if kind == "dense" else sparse.csr_matrix(X)
    scores = []
    for n_threads in (1, 2, 3):
        shared(n_threads)
        scores.append(model.decision_function(X))
    assert_array_equal(scores[1], scores[0])
    assert_array_equal(scores[2], scores[0])


def test_as_many_threads_as_blas_may_use():
    with threadpool_limits(1):
        assert threads.Team(8).size == 1
    with threadpool_limits(2):
        number = threads.allowed_threads()
        assert number <= 2
        with one_blas_thread():  # a limit of our own
            assert threads.allowed_threads() == number
            assert threads.Team(8).size == min(number, threads.cpu_count())
    assert threads.Team(1).size == 1


def test_errors_of_helpers_are_raised(shared):
    shared(3)

    def work(first, last):
        if first:
            raise RuntimeError(f"{first} to {last}")

    with pytest.raises(RuntimeError, match="2 to 4"):
        threads.Team(3).share(6, work)


def model_and_data(n=400):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    return TwoLayerClassifier(max_iter=8, random_state=0), X, y


def test_concurrent_fits_are_the_fits_one_by_one(shared):
    shared(2)
    model, X, y = model_and_data()
    reference = clone(model).fit(X, y).coefs_[0]
    found = []

    def fit():
        found.append(clone(model).fit(X, y).coefs_[0])

    workers = [threading.Thread(target=fit) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for weights in found:
        assert_array_equal(weights, reference)
    helpers = [t for t in threading.enumerate() if t.name.startswith("sklearn_bp")]
    for helper in helpers:  # they end with the fits
        helper.join(60)
        assert not helper.is_alive()


def _fit_in_child(queue):
    model, X, y = model_and_data()
    queue.put(model.fit(X, y).coefs_[0])


@pytest.mark.skipif(sys.platform != "linux", reason="fork is for Linux")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_fork_after_fit(shared):
    shared(2)
    model, X, y = model_and_data()
    reference = model.fit(X, y).coefs_[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_fit_in_child, args=(queue,))
    child.start()
    assert_array_equal(queue.get(timeout=60), reference)
    child.join(60)
    assert child.exitcode == 0


@pytest.fixture
def heeded_interrupts():
    """Shells start background processes with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are for POSIX")
@pytest.mark.usefixtures("heeded_interrupts")
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_interrupt_keeps_the_last_whole_epoch(n_threads, convert, shared, monkeypatch):
    """Ctrl-C comes while C runs, and is raised once that returns."""
    shared(n_threads)
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "compiled")
    monkeypatch.setattr(library, "FULL", np.inf)
    _, X, y = model_and_data(5_000)
    X = convert(X)
    model = TwoLayerClassifier(max_iter=10_000, n_iter_no_change=10_000, random_state=0)
    two_epochs = threading.Event()
    epoch_ends = History.epoch_ends

    def watched(self, *losses):
        epoch_ends(self, *losses)
        if self.state.n_iter == 2:
            two_epochs.set()

    monkeypatch.setattr(History, "epoch_ends", watched)

    def interrupt():
        two_epochs.wait(60)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    sender.join()
    assert model.stop_reason_ == "interrupted"
    n = model.n_iter_
    assert 2 <= n < 10_000
    assert model.engine_ == "compiled"
    whole = clone(model).set_params(max_iter=n).fit(X, y)
    assert model.loss_curve_ == whole.loss_curve_
    assert_array_equal(model.coefs_[0], whole.coefs_[0])


SCARCE = """
import resource
import numpy as np
from scipy import sparse
from sklearn_bp import _compiled, activations, losses, optimizers
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import (TwoLayerNetwork)
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.state import TrainingState

d, r = 6_000_000, resource.RLIMIT_AS  # more than malloc keeps, whatever it has freed
X = sparse.csr_matrix(([1.0, 2.0], ([0, 1], [3, d - 1])), (2, d), np.float32)
data = Data.weighted(X, np.array([[True], [False]]), None, 0.0)
network = TwoLayerNetwork(
    activations.ACTIVATIONS["relu"], losses.CLASSIFIER_LOSSES["log_loss"][0]
)
theta = np.full(d + 3, 0.25, np.float32)
state = TrainingState(Parameters(theta, (d, 1, 1)), None, None)
sgd = optimizers.SGD(0.0, False)
epochs = _compiled.Epochs(network, data, state, sgd, 2)
rates = np.array([0.1])
before = resource.getrlimit(r)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(r, (used + 2**24, before[1]))
try:
    epochs.epoch(None, rates)
except MemoryError:
    print("scarce", (theta == 0.25).all())
resource.setrlimit(r, before)
epochs.epoch(None, rates)
print("enough", np.flatnonzero(theta[1 : d + 1] != 0.25).tolist() == [3, d - 1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are for Linux")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it aborts")
def test_scarce_memory_is_an_error():
    """Nothing changes, and training continues once there is enough."""
    run = [sys.executable, "-c", SCARCE]
    found = subprocess.run(
        run, capture_output=True, text=True, check=True, env=environment()
    )
    assert found.stdout == "scarce True\nenough True\n"


@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_weights_that_decay_to_nothing_end_at_zero(engine, monkeypatch):
    """The weights of a column of zeros: 600 steps, each of which removes a tenth."""
    monkeypatch.setenv("SKLEARN_BP_ENGINE", engine)
    X = np.random.RandomState(0).normal(size=(40, 2)).astype(np.float32)
    X[:, 0] = 0
    settings = {"solver": SGD(0.0, False), "learning_rate_init": 0.1, "alpha": 10.0}
    settings |= {"batch_size": 10, "max_iter": 150, "n_iter_no_change": 150}
    settings |= {"hidden_layer_sizes": 5, "random_state": 0}
    model = TwoLayerRegressor(**MLP_DEFAULTS | settings)
    model.fit(X, X[:, 1])
    assert model.engine_ == engine
    assert (model.n_iter_, model.coefs_[0].dtype) == (150, np.float32)
    assert_array_equal(model.coefs_[0][0], np.zeros(5))
