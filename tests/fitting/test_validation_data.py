"""Validation rows of the user, the metric of early stopping, and splitters."""

import copy
import pickle

import kinds
import numpy as np
import pandas as pd
import pytest
import sklearn
from compare import assert_same_weights, weights_of
from kinds import REGRESSION
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    make_scorer,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupShuffleSplit,
    PredefinedSplit,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier
from sklearn_bp._fitting import early_stopping as early_stopping_room
from sklearn_bp._tables.metrics import R2

RNG = np.random.RandomState(0)
N, N_VAL = 160, 70
X_ALL = RNG.normal(size=(N + N_VAL, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 0]
SIGNAL = X_ALL[:, 0] + np.sin(X_ALL[:, 1]) + RNG.normal(0, 0.3, N + N_VAL)
TARGETS = kinds.targets(SIGNAL, X_ALL[:, 3], RNG)
TARGETS["binary"] = np.where(SIGNAL > 0.3, "yes", "no")
X, X_VAL = X_ALL[:N], X_ALL[N:]
WEIGHTS = RNG.uniform(0.1, 3, N + N_VAL)
VAL_WEIGHTS = WEIGHTS[N:].copy()
VAL_WEIGHTS[:5] = 0

BASES = {
    "defaults": {"n_members": 2, "hidden_layer_sizes": 8},
    "plain": MLP_DEFAULTS | {"hidden_layer_sizes": 8, "learning_rate_init": 0.01},
    "lbfgs": MLP_DEFAULTS | {"hidden_layer_sizes": 8, "solver": "lbfgs", "alpha": 0.01},
}
over_kinds = pytest.mark.parametrize("kind", TARGETS)
over_bases = pytest.mark.parametrize("base", BASES)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make(kind, base="defaults", **options):
    settings = BASES[base] | {"max_iter": 25, "random_state": 0} | options
    return kinds.make(kind, **settings)


def halves(kind):
    return TARGETS[kind][:N], TARGETS[kind][N:]


def fitted(kind, base="defaults", weighted=True, **options):
    y, y_val = halves(kind)
    return make(kind, base, **options).fit(
        X,
        y,
        WEIGHTS[:N] if weighted else None,
        X_val=X_VAL,
        y_val=y_val,
        sample_weight_val=VAL_WEIGHTS if weighted else None,
    )


def plain_score(kind, model, weights):
    y_val = halves(kind)[1]
    score = r2_score if kind in REGRESSION else accuracy_score
    return score(y_val, model.predict(X_VAL), sample_weight=weights)


# Validation rows of the user.


@over_bases
@over_kinds
def test_monitored_rows_change_no_weight(kind, base):
    """Without early stopping; but both curves are recorded."""
    y, _ = halves(kind)
    alone = make(kind, base, early_stopping=False).fit(X, y, WEIGHTS[:N])
    watched = fitted(kind, base, early_stopping=False)
    assert_same_weights(watched, alone)
    assert watched.n_iter_ == watched.best_iter_ == alone.n_iter_
    assert alone.validation_loss_curve_ is alone.validation_scores_ is None
    assert len(watched.validation_loss_curve_) == watched.n_iter_
    assert watched.best_validation_score_ is None
    assert watched.best_loss_ == alone.best_loss_
    last = plain_score(kind, watched, VAL_WEIGHTS)
    assert_allclose(watched.validation_scores_[-1], last, rtol=1e-10)


@pytest.mark.parametrize("early_stopping", [True, "auto"])
@pytest.mark.parametrize("metric", ["loss", "score"])
@over_bases
@over_kinds
def test_the_best_epoch_by_the_users_rows(kind, base, metric, early_stopping):
    """All rows train, and the kept weights give the best value of the curve."""
    model = fitted(
        kind,
        base,
        early_stopping=early_stopping,
        early_stopping_metric=metric,
        n_iter_no_change=6,
    )
    curve, scores = model.validation_loss_curve_, model.validation_scores_
    at = np.argmin(curve) if metric == "loss" else np.argmax(scores)
    assert model.best_iter_ == at + 1
    assert model.best_validation_score_ == scores[at]
    score = plain_score(kind, model, VAL_WEIGHTS)
    assert_allclose(score, scores[at], rtol=1e-10)
    y_val = halves(kind)[1]
    if kind in ("binary", "multiclass"):
        p = model.predict_proba(X_VAL)
        loss = log_loss(y_val, p, sample_weight=VAL_WEIGHTS, labels=model.classes_)
        assert_allclose(loss, curve[at], rtol=1e-10)
    if kind == "regression" and base == "defaults":
        y = halves(kind)[0]
        mean = np.average(y, weights=WEIGHTS[:N])
        variance = np.average((y - mean) ** 2, weights=WEIGHTS[:N])
        error = np.average((y_val - model.predict(X_VAL)) ** 2, weights=VAL_WEIGHTS)
        if np.all(np.abs(y_val - mean) < np.ptp(y)):  # nothing was cut off
            assert_allclose(error / variance / 2, curve[at], rtol=1e-6)


def test_the_users_rows_replace_the_split():
    """All rows learn: the first epoch is that of a fit without early stopping."""
    y, _ = halves("binary")
    for early_stopping in (True, "auto"):
        model = fitted("binary", "plain", early_stopping=early_stopping)
        alone = make("binary", "plain").fit(X, y, WEIGHTS[:N])
        assert model.loss_curve_[:5] == alone.loss_curve_[:5]
        assert model.t_ == N * model.n_iter_


@over_kinds
def test_validation_weights_are_repeated_rows(kind):
    y, y_val = halves(kind)
    repeats = RNG.randint(0, 4, N_VAL)
    weighted = make(kind).fit(
        X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=repeats.astype(float)
    )
    rows = np.repeat(np.arange(N_VAL), repeats)
    repeated = make(kind).fit(X, y, X_val=X_VAL[rows], y_val=y_val[rows])
    n = min(weighted.n_iter_, repeated.n_iter_)
    # A temperature is found to 1 % only, where the loss is flat.
    for name in ("validation_loss_curve_", "validation_scores_"):
        ours, theirs = getattr(weighted, name)[:n], getattr(repeated, name)[:n]
        assert_allclose(ours, theirs, rtol=1e-5)


def test_tables_and_sparse_rows():
    """Categories and missing values are encoded as in training; CSR stays CSR."""
    y, y_val = halves("binary")
    frame = pd.DataFrame(X_ALL, columns=list("abcd"))
    frame["kind"] = np.where(X_ALL[:, 3] > 0, "up", "down")
    frame.loc[::7, "b"] = np.nan
    train, val = frame[:N], frame[N:]
    model = make("binary").fit(train, y, X_val=val, y_val=y_val)
    assert_allclose(model.score(val, y_val), model.best_validation_score_)
    with pytest.raises(ValueError, match=r"In the validation data: .*feature names"):
        make("binary").fit(train, y, X_val=val.rename(columns={"a": "z"}), y_val=y_val)
    csr = sparse.csr_matrix(X_ALL * (np.abs(X_ALL) > 0.5))
    model = make("binary").fit(csr[:N], y, X_val=csr[N:], y_val=y_val)
    assert_allclose(model.score(csr[N:], y_val), model.best_validation_score_)


Y, Y_VAL = halves("binary")
BAD = {
    "no y_val": ({"X_val": X_VAL}, "X_val is given without y_val"),
    "no X_val": ({"y_val": Y_VAL}, "y_val is given without X_val"),
    "weights alone": ({"sample_weight_val": VAL_WEIGHTS}, "without X_val and y_val"),
    "lengths": ({"X_val": X_VAL, "y_val": Y_VAL[:-1]}, "inconsistent numbers"),
    "features": ({"X_val": X_VAL[:, :3], "y_val": Y_VAL}, "3 features"),
    "labels": ({"X_val": X_VAL, "y_val": ["maybe"] * N_VAL}, "not in `self.classes_`"),
    "infinite": ({"X_val": X_VAL * np.inf, "y_val": Y_VAL}, "infinity"),
    "one column": ({"X_val": X_VAL[:, 0], "y_val": Y_VAL}, "Expected 2D array"),
    "groups": ({"groups": np.arange(N)}, "groups need a splitter"),
    "weights": (
        {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": -VAL_WEIGHTS},
        "Negative values",
    ),
    "no weight": (
        {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": 0 * VAL_WEIGHTS},
        "at least one non-zero",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_validation_data_is_refused(case):
    options, message = case
    model = make("binary").fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **options)
    assert pickle.dumps(model) == before


def test_targets_of_another_width_are_refused():
    y, y_val = halves("outputs")
    with pytest.raises(ValueError, match="y_val has 1 columns, but y has 2"):
        make("outputs").fit(X, y, X_val=X_VAL, y_val=y_val[:, 0])
    with pytest.raises(ValueError, match="negative"):
        make("poisson").fit(X, halves("poisson")[0], X_val=X_VAL, y_val=-y_val[:, 1])


def test_metadata_is_routed():
    """GridSearchCV passes X_val on; a Pipeline transforms it on the way."""
    with sklearn.config_context(enable_metadata_routing=True):
        network = make("binary", standardize=False, early_stopping=True)
        network.set_fit_request(X_val=True, y_val=True)
        scaler = StandardScaler()
        pipe = Pipeline(
            [("scale", scaler), ("network", network)], transform_input=["X_val"]
        )
        pipe.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
        direct = make("binary", standardize=False, early_stopping=True)
        scaler = StandardScaler().fit(X)
        direct.fit(scaler.transform(X), Y, X_val=scaler.transform(X_VAL), y_val=Y_VAL)
        assert_same_weights(pipe[-1], direct)
        grid = {"hidden_layer_sizes": [3, 5]}
        search = GridSearchCV(network, grid, cv=2, error_score="raise")
        search.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
        best = search.best_estimator_
        assert_allclose(best.score(X_VAL, Y_VAL), best.best_validation_score_)


# What is watched.


@over_bases
@pytest.mark.parametrize("early_stopping", [True, "auto"])
def test_scorers(base, early_stopping):
    """By name, as an object or a function; the best epoch reproduces its best."""
    by_hand = []

    def auc(estimator, X, y):
        by_hand.append(estimator)
        return roc_auc_score(y, estimator.predict_proba(X)[:, 1])

    options = {"early_stopping": early_stopping, "n_iter_no_change": 5}
    models = [
        fitted("binary", base, weighted=False, early_stopping_metric=m, **options)
        for m in (
            "roc_auc",
            make_scorer(roc_auc_score, response_method="predict_proba"),
            auc,
        )
    ]
    for model in models:
        assert model.validation_scores_ == models[0].validation_scores_
        assert model.best_iter_ == np.argmax(model.validation_scores_) + 1
        p = model.predict_proba(X_VAL)[:, 1]
        assert_allclose(model.best_validation_score_, roc_auc_score(Y_VAL, p))
    assert not hasattr(by_hand[0], "n_iter_")  # a view of its own, not the estimator
    assert by_hand[0].predict(X_VAL[:1]) in ("yes", "no")


def test_scorers_get_weights_and_the_users_rows():
    y, y_val = halves("regression")
    names = []

    def error(y_true, y_pred, sample_weight=None):
        assert isinstance(y_true, pd.Series)
        names.append(sample_weight)
        return mean_absolute_error(y_true, y_pred, sample_weight=sample_weight)

    scorer = make_scorer(error, greater_is_better=False)
    frame = pd.DataFrame(X_ALL, columns=list("abcd"))
    model = make("regression", early_stopping=True, early_stopping_metric=scorer)
    model.fit(
        frame[:N],
        pd.Series(y),
        X_val=frame[N:],
        y_val=pd.Series(y_val),
        sample_weight_val=VAL_WEIGHTS,
    )
    assert_array_equal(names[0], VAL_WEIGHTS[VAL_WEIGHTS > 0])
    p = model.predict(frame[N:])
    best = -mean_absolute_error(y_val, p, sample_weight=VAL_WEIGHTS)
    assert_allclose(model.best_validation_score_, best, rtol=1e-10)
    # the internal split: rows of the frame, by position
    shuffled = frame.sample(frac=1, random_state=0)
    model.fit(shuffled, pd.Series(TARGETS["regression"])[shuffled.index], WEIGHTS)
    assert model.best_iter_ == np.argmax(model.validation_scores_) + 1


def test_a_nan_score_is_not_an_improvement():
    calls = []

    def sometimes(estimator, X, y):
        calls.append(None)
        return np.nan if len(calls) > 3 else float(len(calls))

    model = fitted(
        "binary",
        early_stopping=True,
        early_stopping_metric=sometimes,
        n_iter_no_change=4,
        max_iter=200,
    )
    assert model.best_iter_ == 3
    assert model.n_iter_ == 3 + 4 + 1
    assert model.best_validation_score_ == 3


def test_an_error_of_the_scorer_loses_nothing():
    def broken(estimator, X, y):
        raise RuntimeError("broken")

    model = fitted("binary")
    before = pickle.dumps(model)
    model.set_params(early_stopping=True, early_stopping_metric=broken)
    with pytest.raises(RuntimeError, match="broken"):
        model.fit(X, Y)
    assert pickle.dumps(model.set_params(**make("binary").get_params())) == before


@pytest.mark.parametrize("bad", ["accurate", 3, None, accuracy_score.__class__])
def test_values_that_are_not_metrics_are_refused(bad):
    with pytest.raises((ValueError, TypeError), match="'early_stopping_metric'"):
        make("binary", early_stopping_metric=bad).fit(X, Y)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_is_scikit_learns(n_outputs, weighted):
    y = RNG.normal(size=(30, n_outputs)) + [1e3, 0, 1][:n_outputs]
    p = y + RNG.normal(size=y.shape)
    w = WEIGHTS[:30] if weighted else None
    cases = [(y, p), (y, y), (np.ones_like(y), p), (np.ones_like(y), np.ones_like(y))]
    for true, predicted in cases:
        expected = r2_score(true, predicted, sample_weight=w)
        assert_allclose(R2(true, w)(predicted), expected, rtol=1e-9)
    assert_allclose(R2(1e200 * y, w)(1e200 * p), R2(y, w)(p), rtol=1e-9)


# Splitters.


@pytest.mark.parametrize("early_stopping", [True, "auto"])
@over_bases
def test_no_group_is_on_both_sides(base, early_stopping, monkeypatch):
    groups = RNG.randint(12, size=N)
    splitter = GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=0)
    train, validation = next(splitter.split(X, Y, groups))
    seen = []
    split = early_stopping_room.split
    monkeypatch.setattr(
        "sklearn_bp._fitting.rows.split",
        lambda *args, **options: seen.append(split(*args, **options)) or seen[-1],
    )
    model = make(
        "binary", base, early_stopping=early_stopping, validation_fraction=splitter
    )
    if base == "lbfgs" and early_stopping == "auto":  # holds no rows out
        return
    if base == "plain":
        model.set_params(n_members=1)
    model.fit(X, Y, groups=groups)
    assert_array_equal(seen[0][0], train)
    assert_array_equal(seen[0][1], validation)
    assert not set(groups[train]) & set(groups[validation])
    assert model.t_ == len(train) * model.n_iter_
    held_out = model.score(X[validation], Y[validation])
    assert_allclose(model.best_validation_score_, held_out, rtol=1e-10)


def test_a_splitter_equals_its_rows():
    """As if the user had passed the validation rows, but for the scaling's rows."""
    y = halves("regression")[0]
    fold = np.where(np.arange(N) < 120, -1, 0)
    options = {"early_stopping": True, "standardize": False, "alpha": 0.1}
    by_splitter = make(
        "regression", validation_fraction=PredefinedSplit(fold), **options
    ).fit(X, y)
    by_hand = make("regression", **options).fit(
        X[:120], y[:120], X_val=X[120:], y_val=y[120:]
    )
    assert_same_weights(by_splitter, by_hand)
    assert by_splitter.validation_scores_ == by_hand.validation_scores_


def test_the_last_of_several_splits_is_taken():
    y = halves("regression")[0]
    model = make("regression", early_stopping=True)
    model.set_params(validation_fraction=TimeSeriesSplit(n_splits=4)).fit(X, y)
    *_, (train, _) = TimeSeriesSplit(n_splits=4).split(X)
    assert model.t_ == len(train) * model.n_iter_


def test_bad_splitters():
    model = make("binary", early_stopping=True)
    for splits, message in (
        ([], "no split"),
        ([([0, 1], [1, 2])], "training rows too"),
    ):
        splitter = copy.copy(ShuffleSplit(1))
        splitter.split = lambda X, y=None, groups=None, splits=splits: iter(splits)
        with pytest.raises(ValueError, match=message):
            model.set_params(validation_fraction=splitter).fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.set_params(validation_fraction=GroupShuffleSplit(1)).fit(
            X, Y, groups=np.arange(9)
        )


# partial_fit.


@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
@over_kinds
@pytest.mark.parametrize("base", ["defaults", "plain"])
def test_partial_fit_monitors_too(base, kind, early_stopping):
    """n calls equal one fit of n epochs, its best weights and curves."""
    y, y_val = halves(kind)
    own = {"X_val": X_VAL, "y_val": y_val, "sample_weight_val": VAL_WEIGHTS}
    options = {
        "early_stopping": early_stopping,
        "max_iter": 7,
        "n_iter_no_change": np.inf,
        "learning_rate_init": 0.05,
    }
    whole = make(kind, base, **options).fit(X, y, WEIGHTS[:N], **own)
    parts = make(kind, base, **options)
    first = {}
    if isinstance(parts, TwoLayerClassifier):
        first = {"classes": np.unique(y) if y.ndim == 1 else [0, 1]}
    for call in range(7):
        parts.partial_fit(X, y, WEIGHTS[:N], **first, **own)
        if call == 3:
            parts = pickle.loads(pickle.dumps(parts))
    assert parts.best_iter_ == whole.best_iter_
    for ours, theirs in zip(weights_of(parts), weights_of(whole), strict=True):
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    for name in ("validation_scores_", "validation_loss_curve_", "loss_curve_"):
        assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-5)


def test_partial_fit_says_when_the_patience_is_used_up():
    model = make(
        "binary", "plain", early_stopping=True, n_iter_no_change=3, max_iter=500
    )
    y_val = np.random.RandomState(0).permutation(Y_VAL)  # nothing to learn
    whole = copy.deepcopy(model).fit(X, Y, X_val=X_VAL, y_val=y_val)
    for _ in range(whole.n_iter_):
        assert getattr(model, "stop_reason_", "max_iter") == "max_iter"
        model.partial_fit(X, Y, X_val=X_VAL, y_val=y_val, classes=["no", "yes"])
    assert model.stop_reason_ == whole.stop_reason_ == "patience"
    assert_same_weights(model, whole)
