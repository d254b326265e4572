"""Continuing: partial_fit, warm_start, and both after a failure."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from compare import assert_same_weights, flat
from memory import PeakMemory
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import DivergenceError, optimizers
from sklearn_bp.optimizers import OPTIMIZERS, RMSprop
from sklearn_bp.schedules import SCHEDULES, Cosine, ends_with_max_iter

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(53, 4))
X[RNG.uniform(size=X.shape) < 0.3] = 0
SIGNAL = X[:, 0] + X[:, 1] ** 2
WEIGHTS = RNG.uniform(0, 3, size=53)
WEIGHTS[:5] = 0

# kind: (class, y, further settings)
KINDS = {
    "binary": (TwoLayerClassifier, np.where(SIGNAL > 0.7, "b", "a"), {}),
    "multiclass": (TwoLayerClassifier, np.digitize(SIGNAL, [0, 0.8, 1.5]) - 2, {}),
    "squared_error": (
        TwoLayerClassifier,
        np.digitize(SIGNAL, [0, 1]),
        {"loss": "squared_error"},
    ),
    "multilabel": (
        TwoLayerClassifier,
        np.column_stack([SIGNAL > 0.7, X[:, 2] > 0, X[:, 3] > 0]).astype(int),
        {},
    ),
    "regression": (TwoLayerRegressor, SIGNAL, {}),
    "outputs": (TwoLayerRegressor, np.column_stack([SIGNAL, X[:, 2]]), {}),
    "poisson": (TwoLayerRegressor, np.abs(SIGNAL), {"loss": "poisson"}),
}


def slower(step):
    return 0.97**step


# The patience ends no run here, but with it "adaptive" lowers its rate often.
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
SOLVERS = {
    "sgd": SGD,
    "sgd plain": SGD | {"momentum": 0.0, "nesterovs_momentum": False},
    "sgd momentum": SGD | {"nesterovs_momentum": False},
    "invscaling": SGD | {"learning_rate": "invscaling"},
    "adaptive": SGD | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.3},
    "adam": {"solver": "adam", "learning_rate_init": 0.02},
    "adamw by one cycle": {"solver": "adamw", "learning_rate": "one_cycle"},
    "rmsprop by cosine": {
        "solver": RMSprop(clip_norm=1.0),
        "learning_rate": Cosine(warmup=0.2),
    },
    "sgd by steps": SGD
    | {"solver": optimizers.SGD(clip_norm=0.5), "learning_rate": slower},
}
# Optimizers and schedules that no row names, so that new ones are held too.
GIVEN = [value for row in SOLVERS.values() for value in row.values()]
SOLVERS |= {name: {"solver": name} for name in OPTIMIZERS if name not in GIVEN}
SOLVERS |= {
    name: SGD | {"learning_rate": name}
    for name in SCHEDULES
    if name not in GIVEN and name != "constant"
}
N_EPOCHS = 9


def make(kind, base, **options):
    estimator, _, settings = KINDS[kind]
    defaults = {
        "hidden_layer_sizes": 6,
        "activation": "tanh",
        "batch_size": 8,
        "alpha": 0.1,
        "random_state": 3,
        "max_iter": N_EPOCHS,
        "n_iter_no_change": np.inf,
    }
    return estimator(**defaults | settings | SOLVERS[base] | options)


def first_call(model, kind):
    """The arguments that the first partial_fit of a classifier needs."""
    y = KINDS[kind][1]
    if isinstance(model, RegressorMixin):
        return {}
    return {"classes": np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)}


def stepwise(model, kind, X=X, sample_weight=None, n=N_EPOCHS, between=lambda m: m):
    """The model after n calls of partial_fit, passed through `between` after each."""
    y = KINDS[kind][1]
    options = first_call(model, kind)
    for _ in range(n):
        model = between(model.partial_fit(X, y, sample_weight, **options))
        options = {}
    return model


def assert_same(a, b):
    """Weights, curves and counters to rounding."""
    assert_allclose(flat(a), flat(b), rtol=1e-12, atol=1e-14)
    assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-12)
    for name in ("loss_", "best_loss_"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12)
    for name in ("n_iter_", "t_", "best_iter_", "n_outputs_", "out_activation_"):
        assert getattr(a, name) == getattr(b, name), name


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


WAYS = [lambda model: model, through_pickle, copy.deepcopy]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_partial_fits_are_fit(kind, solver, shuffle):
    whole = make(kind, solver, shuffle=shuffle).fit(X, KINDS[kind][1])
    assert whole.n_iter_ == N_EPOCHS
    assert whole.t_ == N_EPOCHS * len(X)
    for between in WAYS if kind == "multiclass" else [through_pickle]:
        model = stepwise(make(kind, solver, shuffle=shuffle), kind, between=between)
        assert_same(model, whole)


def test_adaptive_lowers_its_rate_within_these_epochs():
    """Otherwise the test above would not cover it."""
    y = KINDS["binary"][1]
    adaptive, constant = (make("binary", s).fit(X, y) for s in ("adaptive", "sgd"))
    assert np.abs(flat(adaptive) - flat(constant)).max() > 1e-3


@pytest.mark.parametrize("x_format", [np.asarray, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_partial_fits_are_fit_with_weights_and_csr(
    kind, solver, sample_weight, x_format
):
    X_given = x_format(X)
    whole = make(kind, solver).fit(X_given, KINDS[kind][1], sample_weight)
    model = stepwise(
        make(kind, solver), kind, X_given, sample_weight, between=through_pickle
    )
    assert_same(model, whole)


@pytest.mark.parametrize("batch_size", [1, 53, "full", "auto"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fits_are_fit_for_any_batch(solver, batch_size):
    options = {"batch_size": batch_size, "learning_rate_init": 0.01}
    whole = make("multiclass", solver, **options).fit(X, KINDS["multiclass"][1])
    assert_same(stepwise(make("multiclass", solver, **options), "multiclass"), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_keeps_its_dtype(solver, dtype):
    """The first call sets it, as fit does; X of another dtype is cast to it."""
    X_first, y = X.astype(dtype), KINDS["binary"][1]
    model = make("binary", solver).partial_fit(X_first, y, classes=["a", "b"])
    model.partial_fit(X_first.astype(np.float64), y)
    model.partial_fit(X_first.astype(np.float32).astype(dtype), y)
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(dtype)}
    whole = make("binary", solver, max_iter=3).fit(X_first, y)
    tolerance = 10 * np.finfo(np.float32).eps  # of the last cast
    assert_allclose(flat(model), flat(whole), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_other_random_states_continue_too(solver):
    y = KINDS["binary"][1]
    whole = make("binary", solver, random_state=3).fit(X, y)
    instance = np.random.RandomState(3)
    model = make("binary", solver, random_state=instance)
    assert_same(stepwise(model, "binary"), whole)
    # In a pickle the instance goes along.
    instance = np.random.RandomState(3)
    model = make("binary", solver, random_state=instance)
    assert_same(stepwise(model, "binary", between=through_pickle), whole)
    # None is numpy's global one.
    before = np.random.get_state()
    try:
        np.random.seed(3)
        model = stepwise(make("binary", solver, random_state=None), "binary")
    finally:
        np.random.set_state(before)
    assert_same(model, whole)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_chunks_of_different_lengths(kind, solver):
    """Chunks of whole batches, in order, are an epoch over all rows."""
    y = KINDS[kind][1]
    model = make(kind, solver, shuffle=False)
    options = first_call(model, kind)
    stops = [0, 8, 32, 40, 53]  # the last one ends in a batch of 5
    for start, stop in itertools.pairwise(stops):
        model.partial_fit(X[start:stop], y[start:stop], **options)
        assert model.t_ == stop
    whole = make(kind, solver, shuffle=False, max_iter=1).fit(X, y)
    assert_allclose(flat(model), flat(whole), rtol=1e-12, atol=1e-14)
    assert model.n_iter_ == len(model.loss_curve_) == 4
    # The epoch's loss is the mean over its rows.
    mean = np.average(model.loss_curve_, weights=np.diff(stops))
    assert_allclose(mean, whole.loss_, rtol=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_chunks_are_shuffled(solver):
    """Shuffled chunks of different lengths learn the same as the whole data."""
    y = KINDS["binary"][1]
    model = make("binary", solver)
    for _ in range(30):
        for part in (slice(0, 30), slice(30, 53)):
            model.partial_fit(X[part], y[part], classes=["a", "b"])
    assert model.t_ == 30 * 53
    assert model.score(X, y) > 0.9


def test_classes_may_come_late():
    y = KINDS["multiclass"][1]
    order = np.argsort(y, kind="stable")  # the first call sees a single class
    model = make("multiclass", "adam")
    model.partial_fit(X[order[:8]], y[order[:8]], classes=np.unique(y)[::-1])
    assert_array_equal(model.classes_, np.unique(y))
    assert model.predict_proba(X).shape == (53, 4)
    assert model.score(X, y) < 0.5
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.85


@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_after_fit(solver):
    """It continues from the weights and counters of fit, with a fresh optimizer."""
    y = KINDS["binary"][1]
    model = make("binary", solver, max_iter=3).fit(X, y)
    curve = list(model.loss_curve_)
    warm = copy.deepcopy(model).set_params(warm_start=True, max_iter=1).fit(X, y)
    model.partial_fit(X, y)
    assert model.loss_curve_[:3] == curve
    assert len(model.loss_curve_) == model.n_iter_ == model.best_iter_ == 4
    assert model.t_ == 4 * 53
    # "adaptive" has no plateau yet in the first epoch of a fit; some others depend on
    # the number of steps in max_iter, which is not the same in the two.
    schedule = SOLVERS[solver].get("learning_rate", "constant")
    if schedule != "adaptive" and not ends_with_max_iter(schedule):
        assert_allclose(flat(model), flat(warm), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("solver", SOLVERS)
def test_fit_forgets_partial_fits(solver):
    y = KINDS["binary"][1]
    model = stepwise(make("binary", solver), "binary", n=3)
    assert_same(model.fit(X, y), make("binary", solver).fit(X, y))
    model.partial_fit(X, y)
    assert model.n_iter_ == N_EPOCHS + 1


# After a failure.

NAN = X.copy()
NAN[7, 2] = np.nan


def fail_features(model, y):
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(NAN, y)


def fail_width(model, y):
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3], y)


def fail_rows(model, y):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.partial_fit(X, y[:-1])


def fail_weights(model, y):
    with pytest.raises(ValueError, match="Negative values"):
        model.partial_fit(X, y, -np.ones(len(y)))


def fail_parameter(model, y):
    alpha = model.alpha
    with pytest.raises(ValueError, match="'alpha'"):
        model.set_params(alpha=-1.0).partial_fit(X, y)
    model.set_params(alpha=alpha)


def fail_divergence(model, y):
    alpha = model.alpha
    with pytest.raises(DivergenceError):
        model.set_params(alpha=1e308).partial_fit(X, y)
    model.set_params(alpha=alpha)


def fail_labels(model, y):
    error = "classes not in" if isinstance(model, ClassifierMixin) else "convert"
    with pytest.raises(ValueError, match=error):
        model.partial_fit(X, np.full(len(y), "never seen"))


FAILURES = [
    fail_features,
    fail_width,
    fail_rows,
    fail_weights,
    fail_parameter,
    fail_divergence,
    fail_labels,
]


@pytest.mark.parametrize("fail", FAILURES)
@pytest.mark.parametrize("solver", ["sgd", "adaptive", "adam"])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_failure_changes_nothing(kind, solver, fail):
    """The next call gives exactly the result that it would give without the failure."""
    y = KINDS[kind][1]
    model = stepwise(make(kind, solver), kind, n=3)
    undisturbed = copy.deepcopy(model)
    before = pickle.dumps(model)
    fail(model, y)
    assert pickle.dumps(model) == before
    for _ in range(3):
        model.partial_fit(X, y)
        undisturbed.partial_fit(X, y)
    assert_array_equal(flat(model), flat(undisturbed))
    assert model.loss_curve_ == undisturbed.loss_curve_


def test_failure_of_the_first_call():
    y = KINDS["binary"][1]
    model = make("binary", "adam")
    before = vars(model).copy()
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(NAN, y, classes=["a", "b"])
    assert vars(model) == before
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    assert vars(model) == before
    assert_same(stepwise(model, "binary"), make("binary", "adam").fit(X, y))


# warm_start.


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_continues_from_the_weights(kind):
    """Plain descent in a fixed order keeps nothing else, so two fits are one."""
    options = {"shuffle": False, "warm_start": True}
    y = KINDS[kind][1]
    model = make(kind, "sgd plain", max_iter=5, **options).fit(X, y)
    once = make(kind, "sgd plain", max_iter=5, shuffle=False).fit(X, y)
    assert_same(model, once)  # the first fit is a fit
    model.set_params(max_iter=4).fit(X, y)
    whole = make(kind, "sgd plain", max_iter=9, shuffle=False).fit(X, y)
    assert_allclose(flat(model), flat(whole), rtol=1e-12, atol=1e-14)
    assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert model.n_iter_ == model.best_iter_ == 4
    assert model.t_ == whole.t_ == 9 * 53


@pytest.mark.parametrize("solver", [*SOLVERS, "lbfgs"])
def test_warm_start_takes_weights_only(solver):
    """Two pasts that end in the same weights have the same future."""
    settings = {"solver": "lbfgs", "max_iter": 5} if solver == "lbfgs" else {}
    settings["warm_start"] = True
    y = KINDS["multiclass"][1]
    base = "sgd" if solver == "lbfgs" else solver
    model = make("multiclass", base, **settings).fit(X, y)
    other = make("multiclass", base, **settings).fit(X[::2], y[::2])
    other.coefs_, other.intercepts_ = copy.deepcopy((model.coefs_, model.intercepts_))
    other.t_ = model.t_  # "invscaling" goes by it
    n_before, n_other = len(model.loss_curve_), len(other.loss_curve_)
    model.fit(X[1::2], y[1::2])
    other.fit(X[1::2], y[1::2])
    assert_array_equal(flat(model), flat(other))
    assert model.loss_curve_[n_before:] == other.loss_curve_[n_other:]
    assert model.n_iter_ == len(model.loss_curve_) - n_before
    assert model.best_loss_ == min(model.loss_curve_[n_before:])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warm_start_has_a_patience_of_its_own(solver):
    """Swapped labels make the loss jump far above the best one so far."""
    y = np.where(KINDS["binary"][1] == "a", 0, 1)
    settings = {"max_iter": 300, "n_iter_no_change": 4, "tol": 1e-3}
    model = make("binary", solver, warm_start=True, alpha=0, **settings).fit(X, y)
    n_before, best = len(model.loss_curve_), model.best_loss_
    model.fit(X, 1 - y)
    new = model.loss_curve_[n_before:]
    assert new[0] > 2 * best
    assert model.n_iter_ == len(new) > 6
    assert model.best_loss_ == min(new) < new[0] / 2
    # It ended after the first five epochs in a row that improved too little.
    idle = [new[i] > min(new[:i], default=np.inf) - 1e-3 for i in range(len(new))]
    assert all(idle[-5:])
    assert not any(all(idle[i - 5 : i]) for i in range(5, len(new)))


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_warm_start_with_early_stopping(solver):
    y = KINDS["binary"][1]
    settings = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 6}
    base = "adam" if solver == "lbfgs" else solver
    options = SOLVERS[base] | settings | {"solver": solver, "warm_start": True}
    model = make("binary", base, **options).fit(X, y)
    scores = list(model.validation_scores_)
    model.fit(X, np.where(y == "a", "b", "a"))  # worse at first
    assert model.validation_scores_[: len(scores)] == scores
    new = model.validation_scores_[len(scores) :]
    assert len(new) == model.n_iter_
    assert model.best_validation_score_ == max(new)
    assert model.best_iter_ == 1 + int(np.argmax(new))
    assert model.best_loss_ is None


def test_warm_start_at_a_minimum_stays():
    """L-BFGS has nothing left to do on the data that it has just fitted."""
    y = KINDS["regression"][1]
    options = {"solver": "lbfgs", "warm_start": True, "max_iter": 2000, "alpha": 1.0}
    model = make("regression", "sgd", **options, tol=1e-6).fit(X, y)
    before, loss = flat(model), model.loss_
    model.fit(X, y)
    assert model.n_iter_ <= 3
    assert_allclose(model.loss_, loss, rtol=1e-6)  # scipy stops at steps of 2e-9
    assert_allclose(flat(model), before, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_warm_start_keeps_its_dtype(dtype):
    y = KINDS["binary"][1]
    model = make("binary", "adam", warm_start=True).fit(X.astype(dtype), y)
    for other in (np.float64, np.float32):
        model.fit(X.astype(other), y)
        assert model.coefs_[0].dtype == dtype


def test_without_warm_start_fit_starts_from_scratch():
    y = KINDS["multiclass"][1]
    model = make("multiclass", "adam").fit(X[:20, :2], KINDS["binary"][1][:20])
    assert_same(model.fit(X, y), make("multiclass", "adam").fit(X, y))


# Streams without end.


def curves(model):
    return [
        model.loss_curve_,
        model.data_loss_curve_,
        model.validation_loss_curve_ or [],
        model.validation_scores_ or [],
    ]


@pytest.mark.parametrize("validated", [False, True])
def test_a_stream_keeps_its_last_losses(validated, monkeypatch):
    """The last ones from before a call, as floats; nothing else depends on them."""
    options = {"X_val": X[:20], "y_val": SIGNAL[:20]} if validated else {}
    models = [TwoLayerRegressor(**SGD, random_state=0) for _ in range(2)]
    for n_calls in range(1, 13):
        for model, kept in zip(models, (10_000, 4), strict=True):
            monkeypatch.setattr("sklearn_bp._fitting.start.KEPT_EPOCHS", kept)
            model.partial_fit(X, SIGNAL, **options)
        whole, cut = models
        assert len(whole.loss_curve_) == whole.n_iter_ == cut.n_iter_ == n_calls
        for all_values, last in zip(curves(whole), curves(cut), strict=True):
            assert last == all_values[-5:]
            assert {type(x) for x in last} <= {float}
        assert cut.loss_ == whole.loss_
        assert_same_weights(whole, cut)


def test_a_warm_start_keeps_all_epochs_of_its_own(monkeypatch):
    monkeypatch.setattr("sklearn_bp._fitting.start.KEPT_EPOCHS", 4)
    model = TwoLayerRegressor(**SGD, random_state=0, warm_start=True, max_iter=9)
    first = model.fit(X, SIGNAL).loss_curve_
    assert len(first) == 9
    second = model.fit(X, SIGNAL).loss_curve_
    assert len(second) == 13
    assert second[:4] == first[-4:]
    assert len(first) == 9


def test_after_a_million_calls_one_takes_no_more_than_before():
    model = TwoLayerRegressor(3, random_state=0).partial_fit(X, SIGNAL)
    model.loss_curve_ = [0.5] * 10**6
    model.partial_fit(X, SIGNAL)
    with PeakMemory() as used:
        model.partial_fit(X, SIGNAL)
    assert used.peak < 10**6  # a curve of a million numbers has 8 MB
    assert len(model.loss_curve_) == 10_001
    assert len(pickle.dumps(model)) < 10**6


def test_a_failure_leaves_the_curves():
    model = TwoLayerRegressor(**SGD, random_state=0)
    model.partial_fit(X, SIGNAL)
    before = [list(curve) for curve in curves(model.partial_fit(X, SIGNAL))]
    held = model.loss_curve_
    with pytest.raises(DivergenceError):
        model.set_params(learning_rate_init=1e308).partial_fit(X, 1e3 * SIGNAL)
    assert curves(model) == before
    model.set_params(learning_rate_init=0.05).partial_fit(X, SIGNAL)
    assert held == before[0]
    assert len(model.loss_curve_) == 3
