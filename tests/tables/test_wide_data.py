"""Wide data is trained on in the space of its rows; only the time shows it."""

import pickle

import numpy as np
import pytest
from compare import assert_same_weights
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.defaults import WIDE_RATE
from sklearn_bp._network.parameters import Layout, Parameters
from sklearn_bp._tables.rotation import MOST_ROWS, WIDE, Rotation, is_small, is_wide
from sklearn_bp._tables.scaling import Scaling

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning"
)

KINDS = ["dense", "float32", "integers", "csr", "constant columns", "repeated rows"]


def wide(kind="dense", n=40, d=400, seed=0):
    """Rows of a few factors and noise, and classes that depend on the factors."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, 3))
    X = 3 + F @ rng.normal(size=(3, d)) + 0.5 * rng.normal(size=(n, d))
    y = (F[:, 0] > 0).astype(int)
    if kind == "float32":
        X = X.astype(np.float32)
    elif kind == "integers":
        X = np.round(10 * X).astype(int)
    elif kind == "csr":
        X = sparse.csr_matrix(np.where(abs(X - 3) > 1, X, 0))
    elif kind == "constant columns":
        X[:, 1::9] = 7
    elif kind == "repeated rows":
        X[n // 2 :], y[n // 2 :] = X[: n - n // 2], y[: n - n // 2]
    return X, y


def as_dense(X):
    return X.toarray() if sparse.issparse(X) else X


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_coordinates_are_a_rotation_of_the_scaled_rows(kind, weighted):
    X, _ = wide(kind)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.1, 3, X.shape[0]) if weighted else None
    scaling = Scaling.of_features(X, weights)
    rotation, Z = Rotation.of_rows(X, scaling, weights)
    S = as_dense(scaling(X.astype(float)))
    V = S.T @ rotation.A
    assert Z.shape[1] == np.linalg.matrix_rank(S)
    np.testing.assert_allclose(V.T @ V, np.eye(V.shape[1]), atol=1e-5)
    # The largest weight of a component is positive, whatever LAPACK's sign.
    U = rotation.A if weights is None else rotation.A / np.sqrt(weights)[:, np.newaxis]
    assert (U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])] > 0).all()
    # All distances and angles are kept.
    np.testing.assert_allclose(Z @ Z.T, rotation.factor**2 * S @ S.T, atol=1e-6)
    mean_square = np.average(np.square(Z).mean(axis=1), weights=weights)
    assert mean_square == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("skip", [False, True])
def test_weights_go_back_to_the_columns(kind, skip):
    X, _ = wide(kind)
    scaling = Scaling.of_features(X)
    rotation, Z = Rotation.of_rows(X, scaling)
    rng = np.random.default_rng(2)
    layout = Layout(Z.shape[1], 5, 3, 4, skip)
    p = Parameters(rng.normal(size=layout.size), layout)
    q = rotation.back(p)
    S = as_dense(scaling(X.astype(float)))
    np.testing.assert_allclose(S @ q.W1, Z @ p.W1, rtol=1e-6, atol=1e-6)
    for name in ("b1", "W2", "b2"):
        np.testing.assert_array_equal(getattr(q, name), getattr(p, name))
    if skip:
        np.testing.assert_allclose(S @ q.V, Z @ p.V, rtol=1e-6, atol=1e-6)


def test_components_are_alike_for_weights_and_repeated_rows():
    X, _ = wide()
    counts = np.random.default_rng(3).integers(0, 4, len(X))
    scaling = Scaling.of_features(X, counts.astype(float))
    repeated = np.repeat(X, counts, axis=0)
    one, Z = Rotation.of_rows(X, scaling, counts.astype(float))
    other, Z_repeated = Rotation.of_rows(repeated, scaling)
    assert one.factor == pytest.approx(other.factor)
    signs = np.sign(np.sum(np.repeat(Z, counts, axis=0) * Z_repeated, axis=0))
    np.testing.assert_allclose(
        np.repeat(Z, counts, axis=0), Z_repeated * signs, atol=1e-6
    )


def test_rows_without_weight_change_nothing():
    X, _ = wide()
    weights = np.random.default_rng(4).uniform(1, 2, len(X))
    weights[::4] = 0
    other = X.copy()
    other[::4] *= -1e3
    scaling = Scaling.of_features(X, weights)
    found = [Rotation.of_rows(rows, scaling, weights) for rows in (X, other)]
    (one, Z), (two, Z_other) = found
    assert one.factor == two.factor
    np.testing.assert_array_equal(one.A, two.A)
    kept = weights > 0
    np.testing.assert_allclose(Z[kept], Z_other[kept], atol=1e-9)


@pytest.mark.parametrize("n", [30, 110])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_the_fit_are_those_of_one_network_on_the_columns(n, kind):
    X, y = wide(kind, n, 6 * n)
    model = TwoLayerClassifier(random_state=0).fit(X, y)
    (W1, W2), (b1, b2) = model.coefs_, model.intercepts_
    assert W1.shape == (6 * n, 512)
    z = np.maximum(as_dense(X) @ W1 + b1, 0) @ W2 + b2
    p = 1 / (1 + np.exp(-z.ravel()))
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], p, rtol=1e-4, atol=1e-5)
    X_new, y_new = wide(kind, n, 6 * n, seed=0)
    assert model.score(X_new, y_new) > 0.9
    if n > 100:  # the loss on rows held out is that of the mean of members, or above
        assert min(model.validation_loss_curve_) < np.log(2)


@pytest.mark.parametrize("Estimator", [TwoLayerClassifier, TwoLayerRegressor])
def test_rows_out_of_the_span_count_by_their_part_in_it(Estimator):
    X, y = wide(n=30, d=300)
    model = Estimator(random_state=0, standardize=True).fit(X, y)
    scaling = Scaling.of_features(X)
    S = scaling(X)
    rng = np.random.default_rng(5)
    aside = rng.normal(size=S.shape)
    aside -= aside @ np.linalg.pinv(S) @ S
    factor = np.where(scaling.factor > 0, scaling.factor, 1)
    moved = X + aside / factor
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    np.testing.assert_allclose(
        getattr(model, method)(moved), getattr(model, method)(X), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("Estimator", [TwoLayerClassifier, TwoLayerRegressor])
def test_partial_fit_and_warm_start_continue_from_the_fit(Estimator, kind):
    X, y = wide(kind, 105, 600)
    settings = {"n_members": 2, "max_iter": 60, "random_state": 0}
    model = Estimator(16, warm_start=True, **settings).fit(X, y)
    again = Estimator(16, **settings).fit(X, y)
    assert_same_weights(model, again)
    score = model.score(X, y)
    assert pickle.loads(pickle.dumps(model)).partial_fit(X, y).score(X, y) > score - 0.1
    model.set_params(learning_rate_init=1e-9, max_iter=1, tol=0.0)
    model.fit(X, y)
    np.testing.assert_allclose(model.predict(X), again.predict(X), atol=1e-3)


@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": True},
        {"early_stopping": True, "early_stopping_metric": "accuracy"},
        {"skip_layer": True},
        {"scaling_layer": True},
        {"solver": "adamw"},
        {"n_members": 1},
        {"dropout": 0.1},
        {"max_iter": 3},
    ],
)
def test_validation_measures_the_weights_that_are_kept(parameters):
    X, y = wide("dense", 105, 600)
    X_val, y_val = wide("dense", 60, 600)
    parameters = {"n_members": 2, "random_state": 0} | parameters
    model = TwoLayerClassifier(16, **parameters).fit(X, y)
    assert model.coefs_[0].shape[0] == 600
    held = clone(model).set_params(
        early_stopping=True, temperature_scaling=False, early_stopping_metric="accuracy"
    )
    held.fit(X, y, X_val=X_val, y_val=y_val)
    assert held.best_validation_score_ == pytest.approx(held.score(X_val, y_val))


def test_the_start_is_the_users_own():
    """An initializer of the user, and given weights, refer to the columns."""
    X, y = wide()
    shapes = []

    def init(random_state, fan_in, fan_out, glorot_factor):
        shapes.append((fan_in, fan_out))
        return random_state.normal(0, 0.1, (fan_in, fan_out)), np.zeros(fan_out)

    TwoLayerClassifier(init=init, max_iter=1, n_members=1, random_state=0).fit(X, y)
    assert shapes == [(400, 64), (64, 1)]
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=(400, 64)) / 20, rng.normal(size=(64, 1)) / 8]
    intercepts = [np.zeros(64), np.zeros(1)]
    model = TwoLayerClassifier(
        n_members=1, max_iter=1, learning_rate_init=1e-12, random_state=0
    )
    model.fit(X, y, coef_init=coefs, intercept_init=intercepts)
    np.testing.assert_allclose(model.coefs_[0], coefs[0], atol=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [{"standardize": False}, {"solver": "sgd"}, {"solver": "lbfgs"}],
)
def test_other_ways_of_training_see_all_columns(parameters):
    X, y = wide()
    model = TwoLayerClassifier(max_iter=2, n_members=1, random_state=0, **parameters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rotation, "of_rows", None)
        model.fit(X, y)


def test_wide_is_by_rows_that_weigh_and_columns_that_vary():
    assert is_wide(20, 20 * WIDE)
    assert not is_wide(20, 20 * WIDE - 1)
    assert not is_wide(MOST_ROWS + 1, 10**9)
    X, y = wide(n=40, d=40 * WIDE - 5)

    def rate(X, sample_weight=None):
        model = TwoLayerClassifier(max_iter=1, random_state=0)
        return model.fit(X, y, sample_weight=sample_weight).learning_rate_init_

    weights = np.ones(40)
    weights[:1] = 0
    assert rate(X) < WIDE_RATE
    assert rate(X, weights) == WIDE_RATE
    assert rate(np.hstack([X, np.ones((40, 100))])) < WIDE_RATE


def test_a_csr_is_not_filled_at_the_cost_of_more_than_its_weights():
    assert is_small(100, 2 * 100**2)
    assert not is_small(100, 2 * 100**2 - 1)
    X, y = wide("csr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rotation, "of_rows", None)
        few = {"hidden_layer_sizes": (1,), "n_members": 1, "max_iter": 1}
        TwoLayerClassifier(**few).fit(X, y)
        with pytest.raises(TypeError):
            TwoLayerClassifier(**few | {"n_members": 8}).fit(X, y)
