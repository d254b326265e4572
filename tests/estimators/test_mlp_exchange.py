"""`to_mlp` and `from_mlp`: scikit-learn's networks with the same weights."""

import copy
import pickle

import numpy as np
import pytest
from kinds import make, targets
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor, losses
from sklearn_bp._estimators.mlp_exchange import MLP_ACTIVATIONS
from sklearn_bp.activations import LeakyReLU

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(120, 4)) * [1, 100, 0.01, 1] + [0, 300, 0, 0]
SCALED = (X - X.mean(axis=0)) / X.std(axis=0)
SIGNAL = SCALED[:, 0] + 0.5 * np.sin(2 * SCALED[:, 1])
TARGETS = targets(SIGNAL, SCALED[:, 3], RNG)
TARGETS["names"] = np.where(SIGNAL > 0, "yes", "no")
over_kinds = pytest.mark.parametrize("kind", TARGETS)
# MLPRegressor's gradient is not divided by the number of outputs, as its loss is;
# 'adam' steps forget such a factor, but for its epsilon.
RTOL = {"outputs": 1e-5}
BRIEF = {"hidden_layer_sizes": 5, "n_members": 3, "max_iter": 15, "random_state": 0}
PLAIN = MLP_DEFAULTS | {"hidden_layer_sizes": 6, "max_iter": 15, "random_state": 0}


def fitted(kind, X=X, **settings):
    model = make(kind, **settings).fit(X, TARGETS[kind])
    if hasattr(model, "target_range_"):
        model.target_range_ = None  # MLPRegressor knows no limits
    return model


def assert_same_predictions(ours, mlp, X, rtol):
    if is_classifier(ours):
        assert_array_equal(mlp.predict(X), ours.predict(X))
        assert_allclose(mlp.predict_proba(X), ours.predict_proba(X), rtol, rtol)
    else:
        assert_allclose(mlp.predict(X), ours.predict(X), rtol=rtol)


@pytest.mark.parametrize("activation", MLP_ACTIVATIONS.values())
@over_kinds
def test_predictions_are_the_same(kind, activation):
    """Members, scaling and temperature are in the weights, of any of the four."""
    ours = fitted(kind, activation=activation, **BRIEF)
    mlp = ours.to_mlp()
    assert type(mlp) is (MLPClassifier if is_classifier(ours) else MLPRegressor)
    assert_same_predictions(ours, mlp, X, 1e-10)  # columns are offset by 3 widths
    for theirs, own in zip(mlp.coefs_, ours.coefs_, strict=True):
        assert_array_equal(theirs, own)
        assert not np.shares_memory(theirs, own)
    assert mlp.out_activation_ == ours.out_activation_


@pytest.mark.parametrize("activation", ["identity", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["regression", "outputs", "poisson"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_are_the_same_bits(kind, dtype, activation):
    """Where products are small enough to be summed in one order."""
    rows = SCALED.astype(dtype)
    ours = fitted(kind, rows, **PLAIN | {"activation": activation})
    assert_array_equal(ours.to_mlp().predict(rows), ours.predict(rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@over_kinds
def test_sparse_rows_of_either_dtype(kind, dtype):
    rows = sparse.csr_matrix(SCALED.astype(dtype))
    ours = fitted(kind, rows, **BRIEF)
    mlp = ours.to_mlp()
    assert mlp.coefs_[0].dtype == dtype
    assert_same_predictions(ours, mlp, rows, 2e-6 if dtype == np.float32 else 1e-12)


def test_parameters_that_both_have():
    ours = fitted("binary", solver="sgd", momentum=0.5, **BRIEF)
    mlp = ours.to_mlp()
    assert (mlp.solver, mlp.momentum) == ("sgd", 0.5)
    assert mlp.hidden_layer_sizes == (15,)
    assert mlp.alpha == ours.alpha_
    assert mlp.batch_size == ours.batch_size_ == 32
    mlp._validate_params()
    other = fitted("binary", solver="adamw", learning_rate="cosine", **BRIEF).to_mlp()
    assert (other.solver, other.learning_rate) == ("adam", "constant")
    other._validate_params()
    assert clone(mlp).get_params() == mlp.get_params()


@pytest.mark.parametrize(
    ("kind", "loss", "name"),
    [
        ("multiclass", losses.LogLoss(label_smoothing=0.1), "log_loss"),
        ("binary", losses.LogLoss(), "log_loss"),
        ("outputs", losses.SquaredError(), "squared_error"),
        ("poisson", losses.Poisson(), "poisson"),
    ],
)
def test_losses_as_objects(kind, loss, name):
    ours = type(make(kind))(loss=loss, **BRIEF).fit(X, TARGETS[kind])
    if hasattr(ours, "target_range_"):
        ours.target_range_ = None
    mlp = ours.to_mlp()
    assert getattr(mlp, "loss", "log_loss") == name
    mlp._validate_params()
    assert_same_predictions(ours, mlp, X, 1e-10)


@pytest.mark.parametrize("loss", ["huber", losses.Gamma(), losses.Quantile([0.1, 0.9])])
def test_losses_without_equivalent_are_refused(loss):
    ours = TwoLayerRegressor(loss=loss, **BRIEF).fit(X, np.exp(SIGNAL))
    with pytest.raises(ValueError, match="MLPRegressor has no equivalent of loss="):
        ours.to_mlp()


@pytest.mark.parametrize("warm_start", [True, False])
@over_kinds
def test_both_continue_alike(kind, warm_start):
    """From the same weights, by the same steps."""
    settings = PLAIN | {"warm_start": warm_start, "n_iter_no_change": 50}
    mlp = fitted(kind, SCALED, **settings).to_mlp()
    ours = type(make(kind)).from_mlp(copy.deepcopy(mlp))
    y = TARGETS[kind]
    before = mlp.coefs_[0].copy()
    for model in (mlp, ours):
        if warm_start:
            model.fit(SCALED, y)
        else:
            model.partial_fit(SCALED, y)
    pairs = zip(
        mlp.coefs_ + mlp.intercepts_, ours.coefs_ + ours.intercepts_, strict=True
    )
    for a, b in pairs:
        assert_allclose(a, b, rtol=RTOL.get(kind, 1e-9), atol=RTOL.get(kind, 1e-12))
    assert np.abs(mlp.coefs_[0] - before).max() > 1e-4
    assert_allclose(mlp.loss_, ours.loss_, rtol=RTOL.get(kind, 1e-10))


@pytest.mark.parametrize(
    "kind", sorted(TARGETS.keys() - {"names"})
)  # scikit-learn 1.7 fails
def test_early_stopping_continues_too(kind):
    settings = PLAIN | {"early_stopping": True, "warm_start": True}
    mlp = fitted(kind, SCALED, **settings).to_mlp()
    mlp.fit(SCALED, TARGETS[kind])
    assert 0 < len(mlp.validation_scores_) <= 15


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"activation": "gelu"}, "activation='gelu': it has"),
        ({"activation": LeakyReLU(0.2)}, "activation=LeakyReLU"),
        ({"loss": "squared_error"}, "loss='squared_error': it has 'log_loss'"),
        ({"skip_layer": True}, "skip_layer=True"),
        ({"categorical_features": [3]}, "columns of categories"),
    ],
)
def test_networks_without_equivalent_are_refused(options, what):
    rows = X.copy()
    rows[:, 3] = rows[:, 3] > 0
    model = TwoLayerClassifier(**BRIEF | options).fit(rows, TARGETS["binary"])
    with pytest.raises(ValueError, match=f"MLPClassifier has no equivalent of {what}"):
        model.to_mlp()


def test_limits_single_classes_and_missing_values_have_no_equivalent():
    model = TwoLayerRegressor(**BRIEF).fit(X, TARGETS["regression"])
    with pytest.raises(ValueError, match="Set target_range_ = None"):
        model.to_mlp()
    one = TwoLayerClassifier(**BRIEF).fit(X, np.ones(len(X)))
    with pytest.raises(ValueError, match="single class"):
        one.to_mlp()
    rows = X.copy()
    rows[3, 1] = np.nan
    gaps = TwoLayerClassifier(**BRIEF).fit(rows, TARGETS["binary"])
    with pytest.raises(ValueError, match="missing values"):
        gaps.to_mlp()
    with pytest.raises(NotFittedError):
        TwoLayerClassifier().to_mlp()


# from_mlp.


def fitted_mlp(kind, X=SCALED, **settings):
    settings = {
        "hidden_layer_sizes": (7,),
        "max_iter": 15,
        "random_state": 0,
    } | settings
    if kind in ("regression", "outputs", "poisson"):
        loss = "poisson" if kind == "poisson" else "squared_error"
        return MLPRegressor(loss=loss, **settings).fit(X, TARGETS[kind])
    return MLPClassifier(**settings).fit(X, TARGETS[kind])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@over_kinds
def test_from_mlp_predicts_the_same(kind, solver):
    mlp = fitted_mlp(kind, solver=solver, activation="tanh", alpha=0.01)
    ours = type(make(kind)).from_mlp(mlp)
    assert_same_predictions(ours, mlp, SCALED, 1e-12)
    theirs = mlp.get_params() | {"hidden_layer_sizes": 7}
    assert {name: ours.get_params()[name] for name in theirs} == theirs
    back = ours.to_mlp()
    assert_array_equal(back.coefs_[0], mlp.coefs_[0])
    assert_array_equal(back.intercepts_[1], mlp.intercepts_[1])
    copied = pickle.loads(pickle.dumps(ours))
    assert_array_equal(copied.predict(SCALED), ours.predict(SCALED))


@over_kinds
def test_from_mlp_is_as_if_fitted(kind):
    settings = {name: PLAIN[name] for name in ("max_iter", "random_state")}
    ours = type(make(kind)).from_mlp(fitted_mlp(kind, hidden_layer_sizes=6, **settings))
    trained = make(kind, **PLAIN).fit(SCALED, TARGETS[kind])
    assert not hasattr(ours, "feature_importances_")
    names = {name for name in vars(trained) if name.endswith("_")}
    assert {name for name in vars(ours) if name.endswith("_")} == names
    assert ours.data_loss_curve_ is None  # an MLP's curve is with the penalty
    for name in names - {"coefs_", "intercepts_", "engine_", "data_loss_curve_"}:
        a, b = getattr(ours, name), getattr(trained, name)
        if name in ("loss_", "best_loss_", "loss_curve_"):
            assert_allclose(a, b, rtol=RTOL.get(kind, 1e-9))
        else:
            assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("way", ["warm start", "partial_fit", "lbfgs at its optimum"])
@over_kinds
def test_an_mlp_of_several_calls(kind, way):
    """It counts the epochs of the last call, and the rows of all."""
    y = TARGETS[kind][:60]
    mlp = make(kind, **PLAIN).fit(SCALED[:60], y).to_mlp()
    mlp.set_params(warm_start=True, early_stopping=False, max_iter=2)
    if way == "lbfgs at its optimum":
        mlp.set_params(solver="lbfgs", tol=1e9)
    for _ in range(3):
        (mlp.partial_fit if way == "partial_fit" else mlp.fit)(SCALED[:60], y)
    ours = type(make(kind)).from_mlp(mlp)
    assert_same_predictions(ours, mlp, SCALED, 1e-12)
    assert ours.n_iter_ == mlp.n_iter_
    if way != "lbfgs at its optimum":
        assert ours.batch_size_ == 60
    else:
        assert mlp.n_iter_ == 0


def test_names_of_features_come_along():
    import pandas as pd

    frame = pd.DataFrame(SCALED, columns=list("abcd"))
    ours = TwoLayerClassifier.from_mlp(fitted_mlp("binary", frame))
    assert list(ours.feature_names_in_) == list("abcd")
    assert list(ours.to_mlp().feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame.rename(columns={"a": "z"}))


def test_from_mlp_refuses_other_networks():
    with pytest.raises(TypeError, match="takes a fitted MLPClassifier"):
        TwoLayerClassifier.from_mlp(fitted_mlp("regression"))
    with pytest.raises(TypeError, match="takes a fitted MLPRegressor"):
        TwoLayerRegressor.from_mlp(LinearRegression())
    with pytest.raises(NotFittedError):
        TwoLayerRegressor.from_mlp(MLPRegressor())
    deep = fitted_mlp("regression", hidden_layer_sizes=(4, 3))
    with pytest.raises(ValueError, match=r"one hidden layer, .*\(4, 3\)"):
        TwoLayerRegressor.from_mlp(deep)
    one = MLPClassifier(3, max_iter=2).fit(SCALED, np.ones(len(X), int))
    with pytest.raises(ValueError, match="single class"):
        TwoLayerClassifier.from_mlp(one)
