"""Callbacks with scikit-learn 1.9 or later, and the errors with older versions."""

import pickle
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from compare import state_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._versions import HAS_CALLBACKS, listens
from sklearn_bp.callbacks import Checkpoint, TimeLimit

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(130, 3))
SIGNAL = X[:, 0] + X[:, 1] ** 2
WEIGHTS = RNG.uniform(0.5, 2, size=130)
TARGETS = {
    TwoLayerClassifier: np.digitize(SIGNAL, [0, 1]),
    TwoLayerRegressor: SIGNAL,
}
SETTINGS = {
    "plain sgd": {**MLP_DEFAULTS, "solver": "sgd"},
    "plain adam": MLP_DEFAULTS,
    "early stopping": MLP_DEFAULTS | {"early_stopping": True},
    "lbfgs": MLP_DEFAULTS | {"solver": "lbfgs", "alpha": 0.1},
    "lbfgs, held out": MLP_DEFAULTS | {"solver": "lbfgs", "early_stopping": True},
    "defaults": {},
    "few rows": {"n_members": 2},
    "skip, dropout": {"n_members": 2, "skip_layer": True, "dropout": 0.2},
}
over_estimators = pytest.mark.parametrize("estimator", list(TARGETS))
over_settings = pytest.mark.parametrize("name", list(SETTINGS))


def made(estimator, name, **options):
    """The estimator, and data for it."""
    settings = {"hidden_layer_sizes": 5, "max_iter": 6, "random_state": 0}
    n = 60 if name == "few rows" else len(X)
    model = estimator(**SETTINGS[name] | settings | options)
    return model, X[:n], TARGETS[estimator][:n]


def outcome(model):
    """All fitted attributes as bytes, except for the reason of the end."""
    state = state_of(model)
    return {name: state[name] for name in state.keys() - {"max_iter_", "stop_reason_"}}


def predictions(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


if not HAS_CALLBACKS:

    @pytest.mark.parametrize(("kind", "value"), [(TimeLimit, 10), (Checkpoint, "file")])
    def test_older_versions_say_so(kind, value):
        message = rf"{kind.__name__} needs scikit-learn 1\.9"
        with pytest.raises(ImportError, match=message):
            kind(value)

    @over_estimators
    def test_nothing_else_changes(estimator):
        model, X, y = made(estimator, "plain adam")
        assert not hasattr(model, "set_callbacks")
        assert not listens(model)
        assert model.fit(X, y).n_iter_ == 6

else:
    from sklearn.callback import ProgressBar, ScoringMonitor

    class Recorder:
        """Records its notifications, and stops training after some epochs."""

        def __init__(self, stop_after=np.inf):
            self.told, self.fitted, self.stop_after = [], [], stop_after
            self.given, self.sizes = [], []

        def setup(self, estimator, context):
            self.told.append("setup")
            self.sizes.append(context.max_subtasks)

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.told.append(f"{context.task_name} begins")

        def on_fit_task_end(
            self,
            estimator,
            context,
            *,
            X=None,
            y=None,
            metadata=None,
            fitted_estimator=None,
        ):
            self.told.append(f"{context.task_name} ends")
            self.given.append((X, y, metadata))
            if context.task_name == "epoch":
                self.fitted.append((fitted_estimator, outcome(fitted_estimator)))
            return len(self.fitted) >= self.stop_after

    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no more")

    @over_settings
    @over_estimators
    def test_order_of_calls(estimator, name):
        model, X, y = made(estimator, name)
        recorder = Recorder()
        model.set_callbacks(recorder).fit(X, y)
        epochs = ["epoch begins", "epoch ends"] * model.n_iter_
        assert recorder.told == [
            "setup",
            "fit begins",
            *epochs,
            "fit ends",
            "teardown",
        ]
        assert recorder.sizes == [6]
        assert vars(model).keys() - vars(clone(model).fit(X, y)).keys() == set()

    @over_settings
    @over_estimators
    def test_callbacks_do_not_change_the_fit(estimator, name):
        model, X, y = made(estimator, name)
        alone = outcome(clone(model).fit(X, y))
        assert outcome(model.set_callbacks(Recorder()).fit(X, y)) == alone

    @over_settings
    @over_estimators
    def test_fitted_estimator_is_the_fit_that_stops_there(estimator, name):
        model, X, y = made(estimator, name)
        recorder = Recorder()
        model.set_callbacks(recorder).fit(X, y)
        assert len(recorder.fitted) == model.n_iter_ >= 3
        for n, (view, then) in enumerate(recorder.fitted, 1):
            assert outcome(view) == then, "training changed an earlier result"
            shorter = made(estimator, name, max_iter=n)[0].fit(X, y)
            assert then == outcome(shorter)
            assert_array_equal(predictions(view, X), predictions(shorter, X))

    @over_settings
    @over_estimators
    @pytest.mark.parametrize("n", [1, 4])
    def test_a_callback_stops_and_the_weights_stay(estimator, name, n):
        model, X, y = made(estimator, name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the user's wish is no reason to warn
            model.set_callbacks(Recorder(stop_after=n)).fit(X, y)
        shorter = made(estimator, name, max_iter=n)[0].fit(X, y)
        assert model.n_iter_ == n
        assert outcome(model) == outcome(shorter)
        assert model.stop_reason_ == "callback"

    def test_best_weights_so_far_stay():
        options = {"learning_rate_init": 3.0, "validation_fraction": 0.3}
        model, X, y = made(TwoLayerClassifier, "early stopping", **options)
        model.set_callbacks(Recorder(stop_after=5)).fit(X, y)
        scores = model.validation_scores_
        assert model.best_iter_ == np.argmax(scores) + 1 < 5

    @over_estimators
    def test_callbacks_get_what_the_user_gave(estimator):
        model, _, y = made(estimator, "defaults")
        frame = pd.DataFrame(X, columns=list("abc"))
        recorder = Recorder()
        model.set_callbacks(recorder).fit(frame, y, WEIGHTS)
        for given_X, given_y, metadata in recorder.given:
            assert given_X is frame
            assert given_y is y
            assert list(metadata) == ["sample_weight"]
            assert metadata["sample_weight"] is WEIGHTS
        model.fit(frame, y)
        assert recorder.given[-1][2] is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of feature names, for instance
            predictions(recorder.fitted[0][0], frame)

    @over_estimators
    def test_partial_fit_is_one_epoch(estimator):
        model, X, y = made(estimator, "plain adam")
        alone = clone(model)
        options = {}
        if estimator is TwoLayerClassifier:
            options = {"classes": np.unique(y)}
        recorder = Recorder()
        model.set_callbacks(recorder)
        for _ in range(3):
            model.partial_fit(X, y, **options)
            alone.partial_fit(X, y, **options)
        call = ["setup", "fit begins", "epoch begins", "epoch ends", "fit ends"]
        assert recorder.told == 3 * [*call, "teardown"]
        assert outcome(recorder.fitted[-1][0]) == outcome(alone) == outcome(model)

    @over_settings
    def test_a_failure_keeps_the_fit_and_tears_down(name):
        model, X, y = made(TwoLayerClassifier, name)
        model.fit(X, y)
        before = vars(model).copy()
        failing = Failing()
        model.set_callbacks(failing)
        with pytest.raises(RuntimeError, match="no more"):
            model.fit(X[:120], y[:120])
        assert failing.told[-1] == "teardown"
        assert {**vars(model), "_skl_callbacks": None} == {
            **before,
            "_skl_callbacks": None,
        }
        model.set_callbacks().fit(X, y)

    def test_a_failing_setup_tears_down():
        class BadSetup(Recorder):
            def setup(self, estimator, context):
                super().setup(estimator, context)
                raise RuntimeError("not ready")

        first, bad = Recorder(), BadSetup()
        model, X, y = made(TwoLayerClassifier, "plain adam")
        with pytest.raises(RuntimeError, match="not ready"):
            model.set_callbacks(first, bad).fit(X, y)
        assert first.told == bad.told == ["setup", "teardown"]
        assert not hasattr(model, "coefs_")

    def test_warnings_name_the_line_that_called():
        model, X, y = made(TwoLayerClassifier, "plain adam")
        with pytest.warns(ConvergenceWarning) as caught:
            model.fit(X, y)
        assert caught[0].filename == __file__

    # scikit-learn's own.

    @over_settings
    @over_estimators
    def test_scoring_monitor_has_one_row_per_epoch(estimator, name):
        model, X, y = made(estimator, name)
        metric = "accuracy" if estimator is TwoLayerClassifier else "r2"
        monitor = ScoringMonitor(scoring=metric)
        model.set_callbacks(monitor).fit(X, y, WEIGHTS[: len(y)])
        rows = monitor.get_logs().data
        epochs = [row[metric] for row in rows if row["task_name"] == "epoch"]
        expected = [
            made(estimator, name, max_iter=n)[0]
            .fit(X, y, WEIGHTS[: len(y)])
            .score(X, y, WEIGHTS[: len(y)])
            for n in range(1, model.n_iter_ + 1)
        ]
        assert epochs == expected
        (whole,) = (row[metric] for row in rows if row["task_name"] == "fit")
        assert whole == expected[-1]

    def searched(*callbacks):
        """A search over a pipeline, with callbacks of its own."""
        network = made(TwoLayerClassifier, "plain adam")[0]
        return GridSearchCV(
            make_pipeline(StandardScaler(), network.set_callbacks(*callbacks)),
            {"twolayerclassifier__alpha": [0.01, 0.1]},
            cv=2,
        )

    N_FITS = 2 * 2 + 1

    def test_progress_bar_within_pipeline_and_search(capsys):
        search = searched()
        search.set_callbacks(ProgressBar(max_propagation_depth=None))
        search.fit(X, TARGETS[TwoLayerClassifier])
        lines = capsys.readouterr().out.splitlines()
        bars = [line for line in lines if "| TwoLayerClassifier - fit" in line]
        assert len(bars) == N_FITS
        assert all("100%" in bar for bar in bars)

    def test_epochs_reach_the_callbacks_of_a_search():
        class Propagated(Recorder):
            max_propagation_depth = None

        recorder = Propagated()
        searched().set_callbacks(recorder).fit(X, TARGETS[TwoLayerClassifier])
        assert recorder.told.count("epoch ends") == 6 * N_FITS

    def test_callbacks_within_a_search():
        monitor = ScoringMonitor(scoring="accuracy")
        y = TARGETS[TwoLayerClassifier]
        search = searched(monitor).fit(X, y)
        rows = monitor.get_logs().data
        epochs = [row for row in rows if row["task_name"] == "epoch"]
        assert len(epochs) == 6 * N_FITS
        assert max(row["task_id"] for row in epochs) == 5
        refit = accuracy_score(y, search.predict(X))
        assert refit in [row["accuracy"] for row in epochs]

    # TimeLimit.

    class Slow(Recorder):
        """Takes a while in each epoch."""

        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "epoch":
                time.sleep(0.05)

        def on_fit_task_end(self, estimator, context):
            return None

    @pytest.mark.parametrize("name", ["plain adam", "lbfgs", "defaults"])
    def test_time_limit(name):
        model, X, y = made(TwoLayerClassifier, name, max_iter=400, tol=0)
        model.set_params(n_iter_no_change=np.inf)
        limit = pickle.loads(pickle.dumps(TimeLimit(seconds=0.12)))
        model = clone(model.set_callbacks(Slow(), limit)).fit(X, y)
        assert 1 <= model.n_iter_ <= 3  # of 0.05 seconds and more each
        model.set_callbacks(TimeLimit(1e9)).set_params(max_iter=5).fit(X, y)
        assert model.n_iter_ == 5
        assert_array_equal(model.coefs_[0], model.set_callbacks().fit(X, y).coefs_[0])

    def test_time_limit_starts_again_in_each_fit():
        model, X, y = made(TwoLayerClassifier, "plain adam", max_iter=400)
        model.set_callbacks(Slow(), TimeLimit(0.12))
        pipeline = make_pipeline(StandardScaler(), model)
        for _ in range(2):
            assert pipeline.fit(X, y)[-1].n_iter_ in (2, 3)

    def test_time_limit_checks_its_seconds():
        with pytest.raises(TypeError, match="must be a number"):
            TimeLimit("60")
        with pytest.raises(ValueError, match=r"in \(0, inf\)\. Got 0 instead"):
            TimeLimit(0)


def test_version_decides():
    major, minor = map(int, sklearn.__version__.split(".")[:2])
    assert ((major, minor) >= (1, 9)) == HAS_CALLBACKS
