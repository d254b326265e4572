"""Training on a dask cluster of worker processes: the laws of `sklearn_bp.dask`."""

import copy
import logging
import os
import pickle
import signal
import threading
import uuid

import joblib
import numpy as np
import pytest
from compare import assert_same_training
from numpy.testing import assert_allclose, assert_array_equal
from partitions import fitted
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV

import sklearn_bp

pytest.importorskip("distributed")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context

from sklearn_bp import dask as ours
from sklearn_bp.losses import Quantile

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*unclosed.*:ResourceWarning",
)
QUIET = {
    "logging.distributed": "critical",
    # So many workers may die while a task runs: here all are killed time and again.
    "distributed.scheduler.allowed-failures": 100,
    # A LocalCluster drops a nanny whose worker is away so long after a kill, be it
    # that of another kill.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    # New workers are there at once: copies of a process that has imported all.
    "distributed.worker.multiprocessing-method": "forkserver",
}


def prepare_workers():
    """Start worker processes with all modules imported and one BLAS thread."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with dask.config.set(QUIET):
        get_mp_context().set_forkserver_preload(["sklearn_bp.dask", "pandas"])


@pytest.fixture(autouse=True)
def _guard():
    """A test that hangs fails after two minutes."""

    def stop(*_):
        raise TimeoutError("the test did not end within two minutes")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def cluster_of(n_workers, **options):
    prepare_workers()
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        **options,
    )


@pytest.fixture(scope="module")
def cluster():
    with dask.config.set(QUIET), cluster_of(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def default_client(client):
    with client.as_current():
        yield client


RNG = np.random.RandomState(0)
X = RNG.normal(size=(600, 5)) * [1, 10, 0.1, 1, 1] + [0, 3, 0, 0, 7]
X[:, 3] = X[:, 0] > 0.5
LABELS = np.array(["no", "yes", "never"])[1 * (X[:, 1] > 3) + (X[:, 0] * X[:, 4] > 8)]
TARGETS = np.column_stack([X[:, 0] * X[:, 2], X[:, 1] - X[:, 4]])
WEIGHTS = RNG.randint(0, 3, 600).astype(float)
SIZES = (200, 50, 0, 349, 1)
BRIEF = {"hidden_layer_sizes": 5, "max_iter": 2, "random_state": 0, "batch_size": 200}
SETTINGS = {
    "adam": BRIEF | {"dropout": 0.25},
    "sgd": BRIEF | {"solver": "sgd", "early_stopping": True, "n_members": 2},
    "one": BRIEF | {"n_members": 1, "standardize": False, "solver": "rmsprop"},
    "lbfgs": BRIEF | {"solver": "lbfgs", "max_iter": 5},
}
over_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def array(values, sizes=SIZES):
    """A dask array in blocks of rows of these sizes, some of which may be 0."""
    blocks = np.split(values, np.cumsum(sizes)[:-1])
    name = "rows-" + uuid.uuid4().hex
    zeros = (0,) * (values.ndim - 1)
    graph = {(name, i, *zeros): block for i, block in enumerate(blocks)}
    chunks = (tuple(sizes), *((n,) for n in values.shape[1:]))
    return da.Array(graph, name, chunks, values.dtype)


# 1. Bits.


@over_settings
def test_bits_are_those_of_a_plain_loop(client, settings):
    model = ours.TwoLayerClassifier(**settings, class_weight="balanced")
    plain = fitted(clone(model), X, LABELS, SIZES, WEIGHTS)
    model.fit(array(X), array(LABELS), array(WEIGHTS), client=client)
    assert_same_training(model, plain)
    assert_array_equal(model.classes_, ["never", "no", "yes"])


def test_bits_of_several_outputs(client):
    model = ours.TwoLayerRegressor(**BRIEF)
    plain = fitted(clone(model), X, TARGETS, SIZES)
    model.fit(array(X), array(TARGETS), client=client)
    assert_same_training(model, plain)
    assert model.validation_loss_curve_ == plain.validation_loss_curve_
    assert_array_equal(model.target_range_, plain.target_range_)


@pytest.mark.parametrize("where", ["one thread", "three threads", "one worker"])
def test_bits_do_not_depend_on_the_cluster(client, where):
    settings = BRIEF | {"solver": "sgd"}
    expected = fitted(ours.TwoLayerClassifier(**settings), X, LABELS, SIZES)
    model = clone(expected)
    if where == "one worker":  # holds all, and is all that may compute
        address = next(iter(client.nthreads()))
        dX, dy = client.persist([array(X), array(LABELS)], workers=[address])
        model.fit(dX, dy, client=client)
    else:
        n_threads = 1 if where == "one thread" else 3
        with (
            dask.config.set(QUIET),
            Client(
                processes=False,
                n_workers=1,
                threads_per_worker=n_threads,
                dashboard_address=":0",
                set_as_default=False,
            ) as other,
        ):
            model.fit(array(X), array(LABELS), client=other)
    assert_same_training(model, expected)


# 2. Other partitions.


@pytest.mark.slow
def test_lbfgs_agrees_with_the_plain_class(client):
    settings = {"solver": "lbfgs", "hidden_layer_sizes": 5, "random_state": 0}
    settings |= {"alpha": 30.0, "n_members": 2, "tol": 1e-5, "max_iter": 200}
    plain = sklearn_bp.TwoLayerClassifier(**settings).fit(X, LABELS, WEIGHTS)
    model = ours.TwoLayerClassifier(**settings)
    model.fit(array(X), array(LABELS), array(WEIGHTS), client=client)
    # Rounding, over some hundred iterations, and where they end: gradients of 1e-5.
    assert_allclose(model.loss_, plain.loss_, rtol=1e-9)
    assert_allclose(model.loss_curve_[0], plain.loss_curve_[0], rtol=1e-12)
    p = model.to_local().predict_proba(X)
    assert_allclose(p, plain.predict_proba(X), atol=1e-4)


# 3. What users' collections are like.


@pytest.mark.slow
def test_weights_of_classes_that_blocks_lack(client):
    """In fit, for validation rows, and in partial_fit; labels and label matrices."""
    order = np.argsort(LABELS, kind="stable")
    rows, y = X[order], LABELS[order]
    labels = np.column_stack([y == "no", y == "yes"]).astype(int)
    own = {"X_val": rows[:90], "y_val": y[:90]}
    settings = SETTINGS["lbfgs"]
    cases = [
        (y, {"no": 5.0}, own),
        (y, "balanced", own),
        (labels, [{1: 5.0}, {0: 3.0}], own | {"y_val": labels[:90]}),
        (labels, "balanced", own | {"y_val": labels[:90]}),
    ]
    for targets, class_weight, given in cases:
        options = settings | {"class_weight": class_weight}
        for w in (None, WEIGHTS):
            model = ours.TwoLayerClassifier(**options).fit(
                array(rows),
                array(targets),
                None if w is None else array(w),
                client=client,
                **given,
            )
            other = sklearn_bp.TwoLayerClassifier(**options).fit(
                rows, targets, w, **given
            )
            assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-8)
            assert_allclose(
                model.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-8
            )


def test_masked_blocks_miss_values(client):
    mask = np.random.RandomState(1).uniform(size=X.shape) < 0.1
    mask[200:250] = False  # of a whole block
    junk = np.ma.array(np.where(mask, 1e20, X), mask=mask)
    blocks = [junk[:200], junk[200:250], junk[250:]]
    given = da.concatenate([da.from_array(b, chunks=b.shape) for b in blocks])
    filled = array(np.where(mask, np.nan, X), (200, 50, 350))
    y = array(LABELS, (200, 50, 350))
    fits = [
        ours.TwoLayerClassifier(**SETTINGS["adam"]).fit(rows, y, client=client)
        for rows in (given, filled)
    ]
    assert_same_training(*fits)
    gap = da.from_array(np.ma.array(LABELS, mask=mask[:, 0]), chunks=600)
    with pytest.raises(ValueError, match="y is a masked array"):
        ours.TwoLayerClassifier(**BRIEF).fit(array(X), gap, client=client)


def frame():
    table = pd.DataFrame(X, columns=[f"c{j}" for j in range(5)])
    table["town"] = np.where(X[:, 0] > 1.5, "far", np.where(X[:, 1] > 0, "mid", "near"))
    table["kind"] = pd.Categorical(np.where(X[:, 4] > 7, 2, 1))
    table.loc[30:33, "c0"] = np.nan
    table["y"] = LABELS
    table["w"] = WEIGHTS
    return table.sort_values("town", ignore_index=True)  # levels absent from most


@pytest.mark.parametrize("name", ["TwoLayerClassifier", "TwoLayerRegressor"])
def test_validation_rows_and_given_starts(client, name):
    """As of the plain class: curves, the best epoch, and where training begins."""
    y = LABELS if name == "TwoLayerClassifier" else TARGETS
    kind, plain = getattr(ours, name), getattr(sklearn_bp, name)
    settings = SETTINGS["lbfgs"] | {"early_stopping": True}
    start = plain(**settings).fit(X, y)
    rows = {
        "X_val": X[::3],
        "y_val": y[::3],
        "sample_weight_val": WEIGHTS[::3],
        "coef_init": start.coefs_,
        "intercept_init": start.intercepts_,
    }
    model = kind(**settings).fit(array(X), array(y), client=client, **rows)
    other = plain(**settings).fit(X, y, **rows)
    assert_allclose(model.loss_curve_, other.loss_curve_, rtol=1e-8)
    assert_allclose(
        model.validation_loss_curve_, other.validation_loss_curve_, rtol=1e-8
    )
    assert_allclose(model.validation_scores_, other.validation_scores_, rtol=1e-8)
    assert model.best_iter_ == other.best_iter_
    assert_allclose(model.coefs_[0], other.coefs_[0], rtol=1e-6)
    assert model.loss_curve_[0] < start.loss_curve_[0]


def test_scorers_on_validation_rows(client):
    """With rows in memory any metric may be watched; the best epoch's weights stay."""
    settings = SETTINGS["adam"] | {"max_iter": 6, "learning_rate_init": 0.1}
    model = ours.TwoLayerClassifier(
        **settings, early_stopping=True, early_stopping_metric="balanced_accuracy"
    )
    model.fit(array(X), array(LABELS), client=client, X_val=X[::2], y_val=LABELS[::2])
    predicted = model.to_local().predict(X[::2])
    score = balanced_accuracy_score(LABELS[::2], predicted)
    assert_allclose(score, max(model.validation_scores_))
    assert model.validation_scores_[model.best_iter_ - 1] == max(
        model.validation_scores_
    )


def test_validation_rows_are_in_memory(client):
    rows = {"X_val": array(X), "y_val": LABELS}
    with pytest.raises(TypeError, match=r"Pass X_val.compute\(\)"):
        ours.TwoLayerClassifier().fit(array(X), array(LABELS), client=client, **rows)
    with pytest.raises(ValueError, match="y_val is given without X_val"):
        ours.TwoLayerClassifier().fit(
            array(X), array(LABELS), client=client, y_val=LABELS
        )


def test_frames_of_unknown_sizes(client):
    table = frame()
    plain = table.drop(columns=["y", "w"])
    cut = dd.from_pandas(table, npartitions=4)
    cut = cut[cut.c1 > -1e9]  # now their sizes are unknown
    sizes = tuple(map(len, cut.partitions))
    model = ours.TwoLayerClassifier(**BRIEF)
    model.fit(cut.drop(columns=["y", "w"]), cut.y, cut.w, client=client)
    one = ours.TwoLayerClassifier(**BRIEF)
    assert_same_training(model, fitted(one, plain, table.y, sizes, table.w))
    local = sklearn_bp.TwoLayerClassifier(**BRIEF).fit(plain, table.y, table.w)
    assert_array_equal(model.encoded_feature_names_, local.encoded_feature_names_)
    assert_array_equal(model.feature_names_in_, local.feature_names_in_)
    assert "town_far" in model.encoded_feature_names_
    assert "missingindicator_c0" in model.encoded_feature_names_
    predicted = model.predict_proba(cut.drop(columns=["y", "w"]))
    assert list(predicted.columns) == ["never", "no", "yes"]
    with client.as_current():
        values = predicted.compute()
    assert_array_equal(values.index, table.index)
    assert_allclose(values, model.to_local().predict_proba(plain), rtol=1e-12)


def test_chunks_are_made_to_agree(client):
    model = ours.TwoLayerRegressor(**SETTINGS["lbfgs"])
    expected = clone(model).fit(array(X), array(TARGETS), client=client)
    dX = array(X).rechunk({1: 2})
    model.fit(dX, da.from_array(TARGETS, chunks=(130, 1)), client=client)
    assert_same_training(model, expected)


def test_chunks_that_cannot_agree(client):
    unknown = dd.from_pandas(frame(), npartitions=4)
    dX, dy = unknown[["c1", "c2"]].to_dask_array(), unknown.y
    model = ours.TwoLayerClassifier(**BRIEF)
    with pytest.raises(ValueError, match="4 blocks of rows and y has 5, of unknown"):
        model.fit(dX, array(LABELS), client=client)
    with pytest.raises(ValueError, match="X has 600 rows, y has 599"):
        model.fit(array(X), array(LABELS[1:], (599,)), client=client)
    with pytest.raises(ValueError, match=r"A block of X has .* inconsistent"):
        model.fit(dX, dy[dy != "yes"], client=client)
    assert not hasattr(model, "coefs_")
    assert not hasattr(model, "n_features_in_")


# 4. Workers that die.


class Killer(threading.Thread):
    """Kills worker processes at random moments, one of two or both, once all are up."""

    def __init__(self, cluster, seed):
        super().__init__(daemon=True)
        self.cluster, self.random = cluster, np.random.RandomState(seed)
        self.ended, self.n_killed, self.dead = threading.Event(), 0, set()

    def run(self):
        while not self.ended.wait(self.random.uniform(0.0, 0.4)):
            while not self.are_up():
                if self.ended.wait(0.02):
                    return
            pids = [nanny.pid for nanny in self.cluster.workers.values()]
            n = 1 + (self.random.uniform() < 0.2)
            for pid in self.random.permutation(pids)[:n]:
                os.kill(pid, signal.SIGKILL)
                self.dead.add(pid)
                self.n_killed += 1

    def are_up(self):
        """Whether the scheduler knows two living workers.

        A nanny whose worker is killed while it starts would not start another.
        """
        known = self.cluster.scheduler.workers
        return all(
            nanny.pid not in {None, *self.dead} and nanny.worker_address in known
            for nanny in self.cluster.workers.values()
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


@pytest.mark.slow
def test_killed_workers_change_no_bit():
    """At least ten kills during fits, on arrays and on persisted collections."""
    cases = [
        BRIEF | {"solver": "lbfgs", "max_iter": 60, "tol": 0.0, "max_fun": 200},
        BRIEF | {"max_iter": 16},
    ]
    n_killed = 0
    with dask.config.set(QUIET), cluster_of(2) as cluster, Client(cluster) as client:
        for round_ in range(20):
            settings = cases[round_ % 2]
            model = ours.TwoLayerClassifier(**settings)
            expected = fitted(clone(model), X, LABELS, SIZES)
            dX, dy = array(X), array(LABELS)
            if round_ == 1:
                dX, dy = client.persist([dX, dy])
            with Killer(cluster, round_) as killer:
                model.fit(dX, dy)
            n_killed += killer.n_killed
            assert_same_training(model, expected)
            if n_killed >= 10:
                break
    assert n_killed >= 10


def test_data_that_is_lost_is_an_error():
    """Scattered data cannot be computed again; the estimator stays unchanged."""
    with dask.config.set(QUIET), cluster_of(2) as cluster, Client(cluster) as client:
        pieces = client.scatter([X[:300], X[300:]])
        parts = [da.from_delayed(p, (300, 5), X.dtype) for p in pieces]
        dX, dy = da.concatenate(parts), array(LABELS, (300, 300))
        model = ours.TwoLayerClassifier(**BRIEF).fit(dX, dy)
        before = copy.deepcopy(vars(model))
        model.set_params(max_iter=10_000, n_iter_no_change=np.inf, tol=0.0)
        pids = [nanny.pid for nanny in cluster.workers.values()]
        timer = threading.Timer(1.0, lambda: [os.kill(p, signal.SIGKILL) for p in pids])
        timer.start()
        with pytest.raises(RuntimeError, match="lost data that it cannot compute"):
            model.fit(dX, dy)
        timer.join()
    assert_array_equal(model.coefs_[0], before["coefs_"][0])
    assert model.n_iter_ == before["n_iter_"] == 2


def test_a_failed_fit_changes_nothing(client):
    model = ours.TwoLayerRegressor(**BRIEF).fit(array(X), array(TARGETS), client=client)
    before = copy.deepcopy(model.__getstate__())
    spoilt = TARGETS.copy()
    spoilt[400] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(array(X[:, :2]), array(spoilt), client=client)
    after = model.__getstate__()
    assert set(after) == set(before)
    assert_array_equal(after["coefs_"][0], before["coefs_"][0])
    assert model.n_features_in_ == 5


# 5. Copies.


def test_copies_hold_no_client(default_client):
    model = ours.TwoLayerClassifier(**BRIEF).fit(array(X), array(LABELS))
    assert "client" not in model.get_params()
    again = clone(model).set_params(hidden_layer_sizes=3)
    assert type(again) is ours.TwoLayerClassifier
    text = pickle.dumps(model)
    assert b"distributed" not in text
    loaded = pickle.loads(text)
    assert type(loaded) is ours.TwoLayerClassifier
    assert_same_training(loaded, model)
    assert_array_equal(loaded.predict(array(X)).compute(), model.to_local().predict(X))
    local = model.to_local()
    assert type(local) is sklearn_bp.TwoLayerClassifier
    assert local.get_params() == model.get_params()
    local.coefs_[0][...] = 0
    assert model.coefs_[0].any()


# 6. Which data goes where.


def test_plain_classes_refuse_collections(client):
    for plain in (sklearn_bp.TwoLayerClassifier, sklearn_bp.TwoLayerRegressor):
        name = rf"sklearn_bp\.dask\.{plain.__name__}"
        y = X[:, 3]
        for arguments in (
            (array(X), y),
            (X, array(y)),
            (X, y, array(WEIGHTS)),
            (dd.from_pandas(frame(), npartitions=2), y),
        ):
            with pytest.raises(TypeError, match=name):
                plain(**BRIEF).fit(*arguments)
            with pytest.raises(TypeError, match=name):
                plain(**BRIEF).partial_fit(*arguments)
        with pytest.raises(TypeError, match=name):
            plain(**BRIEF).fit(X, y).predict(array(X))


def test_cluster_classes_refuse_arrays(default_client):
    model = ours.TwoLayerClassifier(**BRIEF)
    dX, dy = array(X), array(LABELS)
    for name, arguments in {
        "X": (X, dy),
        "y": (dX, LABELS),
        "sample_weight": (dX, dy, WEIGHTS),
    }.items():
        for method in (model.fit, model.partial_fit):
            with pytest.raises(TypeError, match=f"^{name} must be a dask array"):
                method(*arguments)
    with pytest.raises(NotFittedError):
        model.predict(dX)
    model.fit(dX, dy)
    with pytest.raises(TypeError, match=r"X must be a dask array .* to_local"):
        model.predict(X)
    with pytest.raises(ValueError, match=r"has 2 features, but .* expecting 5"):
        model.predict(dX[:, :2])
    with pytest.raises(AttributeError, match="partial_fit takes the blocks"):
        model.fit_batches([])


def test_scikit_learn_sees_their_kind():
    assert is_classifier(ours.TwoLayerClassifier())
    assert is_regressor(ours.TwoLayerRegressor())
    for one in (ours.TwoLayerClassifier(), ours.TwoLayerRegressor()):
        plain = getattr(sklearn_bp, type(one).__name__)()
        assert one.get_params() == plain.get_params()


def test_without_a_client():
    with pytest.raises(ValueError, match="There is no dask client"):
        ours.TwoLayerClassifier().fit(array(X), array(LABELS))


# Predictions, scores, continuing.


def test_predictions_are_lazy_and_local_ones(default_client):
    model = ours.TwoLayerClassifier(**BRIEF).fit(array(X), array(LABELS))
    local, dX = model.to_local(), array(X)
    for method in (
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    ):
        lazy, expected = getattr(model, method)(dX), getattr(local, method)(X)
        assert lazy.dtype == expected.dtype
        assert lazy.shape == expected.shape
        # Blocks of other sizes: products in another order.
        if expected.dtype.kind == "f":
            assert_allclose(lazy.compute(), expected, rtol=1e-9, atol=1e-12)
        else:
            assert_array_equal(lazy.compute(), expected)
    score = model.score(dX, array(LABELS), array(WEIGHTS))
    assert score == pytest.approx(local.score(X, LABELS, WEIGHTS), rel=1e-12)


def test_regressions_are_lazy_too(default_client):
    for y in (TARGETS, TARGETS[:, 0]):
        model = ours.TwoLayerRegressor(**BRIEF).fit(array(X), array(y))
        local, dX = model.to_local(), array(X)
        mean, std = model.predict(dX, return_std=True)
        assert mean.shape == std.shape == y.shape
        expected = local.predict(X, return_std=True)
        assert_allclose(mean.compute(), expected[0], rtol=1e-9, atol=1e-12)
        assert_allclose(std.compute(), expected[1], rtol=1e-9, atol=1e-12)
        score = model.score(dX, array(y), array(WEIGHTS))
        assert score == pytest.approx(local.score(X, y, WEIGHTS), rel=1e-12)
    predicted = model.predict(dd.from_pandas(pd.DataFrame(X), npartitions=3))
    assert_allclose(predicted.compute().to_numpy(), local.predict(X), rtol=1e-9)
    loss = Quantile([0.1, 0.9])
    model = ours.TwoLayerRegressor(**BRIEF, loss=loss).fit(dX, array(y))
    ends = model.predict(dX)
    assert ends.shape == (600, 2)
    assert_allclose(ends.compute(), model.to_local().predict(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_partial_fit_is_the_plain_loop(default_client, kind):
    sizes, cls = SIZES, "TwoLayer" + kind.capitalize()
    y = LABELS if kind == "classifier" else TARGETS
    options = {"classes": np.unique(LABELS)} if kind == "classifier" else {}
    settings = BRIEF | {"batch_size": "auto"}
    plain = getattr(sklearn_bp, cls)(**settings)
    for _ in range(2):
        for rows in np.split(np.arange(600), np.cumsum(sizes)[:-1]):
            if len(rows) and WEIGHTS[rows].any():
                plain.partial_fit(X[rows], y[rows], WEIGHTS[rows], **options)
    model = getattr(ours, cls)(**settings)
    for _ in range(2):
        model.partial_fit(array(X), array(y), array(WEIGHTS), **options)
    assert_same_training(model, plain)
    assert_same_training(model.to_local(), plain)


def test_warm_start_continues(default_client):
    settings = {"solver": "lbfgs", "hidden_layer_sizes": 4, "random_state": 0}
    model = ours.TwoLayerRegressor(**settings, warm_start=True, max_iter=5)
    model.fit(array(X), array(TARGETS))
    ended = model.loss_
    model.fit(array(X), array(TARGETS))
    assert model.loss_curve_[5] < ended
    plain = sklearn_bp.TwoLayerRegressor(**settings, warm_start=True, max_iter=5)
    plain.fit(X, TARGETS).fit(X, TARGETS)
    assert_allclose(model.loss_curve_, plain.loss_curve_, rtol=1e-6)


# Searches over the same cluster, of plain estimators.


@pytest.mark.slow
@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_searches_over_the_cluster(default_client, search):
    X, y = load_iris(return_X_y=True)
    base = sklearn_bp.TwoLayerClassifier(4, n_members=2, max_iter=5, random_state=0)
    grid = {"alpha": [0.1, 1.0], "activation": ["relu", "tanh"]}
    options = {} if search is GridSearchCV else {"random_state": 0, "min_resources": 60}
    scores = []
    for backend in ("sequential", "dask"):
        with joblib.parallel_config(backend=backend):
            done = search(base, grid, cv=3, **options).fit(X, y)
        scores.append(done.cv_results_["mean_test_score"])
    assert_array_equal(scores[0], scores[1])


def test_callbacks_see_each_epoch(default_client):
    pytest.importorskip("sklearn.callback")  # new in 1.9
    from sklearn_bp.callbacks import Checkpoint, TimeLimit

    model = ours.TwoLayerClassifier(**BRIEF)
    seen = []

    class Counts(TimeLimit):
        def on_fit_task_end(self, estimator, context, **_):
            seen.append(context.task_name)

    model.set_callbacks(Counts(1000.0)).fit(array(X), array(LABELS))
    assert seen.count("epoch") == model.n_iter_ == 2
    model = ours.TwoLayerClassifier(**BRIEF | {"max_iter": 50})
    model.set_callbacks(TimeLimit(1e-9)).fit(array(X), array(LABELS))
    assert (model.n_iter_, model.stop_reason_) == (1, "callback")
    model = ours.TwoLayerClassifier(**BRIEF).set_callbacks(Checkpoint("no file"))
    with pytest.raises(ValueError, match="its data is on a cluster"):
        model.fit(array(X), array(LABELS))
