"""The losses from a user's view: optima, scikit-learn's twins, units, errors.

Their derivatives are held to differences and to the plain network in test_gradients.py
and test_parts.py.
"""

import pickle

import numpy as np
import plain
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    PoissonRegressor,
    QuantileRegressor,
)
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from sklearn.model_selection import GridSearchCV

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor, losses
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.losses._base import best_constant

DECILES = losses.Quantile([0.1, 0.5, 0.9])
LOSSES = REGRESSOR_LOSSES | {"deciles": DECILES, "small delta": losses.Huber(0.2)}
SCALABLE = {name: loss for name, loss in LOSSES.items() if loss.scalable}
over_losses = pytest.mark.parametrize("name", LOSSES)
over_scalable = pytest.mark.parametrize("name", SCALABLE)
over_weights = pytest.mark.parametrize("weighted", [False, True])
# Most fits are cut short.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
N = 81
X = RNG.normal(size=(N, 3))
Y = np.exp(X @ [0.5, -0.3, 0.2] + 0.3 * RNG.normal(size=N)) + 0.1
WEIGHTS = RNG.randint(4, size=N).astype(float)
LINEAR = {  # a linear model, trained to the end
    "hidden_layer_sizes": 1,
    "activation": "identity",
    "solver": "lbfgs",
    "alpha": 0,
    "tol": 1e-9,
    "max_iter": 3000,
    "random_state": 0,
}


def noisy(n, seed=0):
    """X, y, and the mean and spread of y."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-2, 2, size=(n, 2))
    mean, spread = np.sin(2 * X[:, 1]), 0.2 + 0.2 * (X[:, 0] + 2)
    return X, mean + spread * rng.normal(size=n), mean, spread


def mean_loss(loss, z, y, weights):
    P = np.tile(z, (len(y), 1))
    loss.forward(P)
    return np.average(loss.value(P, y), weights=weights)


# The best constant.


@over_losses
@over_weights
def test_best_constant_is_best(name, weighted):
    loss, weights = LOSSES[name], WEIGHTS if weighted else None
    y = np.column_stack([Y, Y**2 + 0.5])
    scores, value = best_constant(loss, y, weights)
    assert scores.shape == (loss.n_scores(2),)
    assert_allclose(value, mean_loss(loss, scores, y, weights), rtol=1e-12)
    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000}
    found = minimize(
        lambda z: mean_loss(loss, z, y, weights),
        scores + 0.1,
        method="Nelder-Mead",
        options=options | {"adaptive": True},
    )
    assert value <= found.fun + 1e-9


@over_weights
def test_best_constants_are_the_known_statistics(weighted):
    weights = WEIGHTS if weighted else np.ones(N)
    y = Y[:, np.newaxis]
    repeated = np.repeat(Y, weights.astype(int))

    def best(loss):
        P = best_constant(LOSSES[loss], y, weights)[0][np.newaxis]
        LOSSES[loss].forward(P)
        return P[0]

    for name in ("squared_error", "poisson", "gamma"):
        assert_allclose(best(name), repeated.mean())
    for name in ("absolute_error", "quantile"):
        assert_allclose(best(name), np.median(repeated))
    deciles = np.quantile(repeated, DECILES.levels, method="averaged_inverted_cdf")
    assert_allclose(best("deciles"), deciles)
    assert_allclose(best("gaussian_nll"), [repeated.mean(), repeated.std()])


@pytest.mark.parametrize("unit", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["squared_error", "gamma"])
def test_best_constants_of_means_follow_the_unit(name, unit):
    y = Y[:, np.newaxis] * unit
    P = best_constant(LOSSES[name], y)[0][np.newaxis]
    LOSSES[name].forward(P)
    assert_allclose(P[0], y.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", ["absolute_error", "huber", "gaussian_nll"])
def test_best_constants_of_many_rows_are_searched_on_rows_from_all_parts(name):
    """Rows in the order of their targets have about the constant of any order."""
    y = np.sort(np.random.RandomState(0).exponential(size=60_001))[:, np.newaxis]
    scores, _ = best_constant(LOSSES[name], y)
    shuffled, _ = best_constant(LOSSES[name], np.random.RandomState(1).permutation(y))
    assert_allclose(scores, shuffled, atol=0.03)


@over_losses
@over_weights
def test_training_finds_the_best_constant(name, weighted):
    """From other starting weights, on columns without information."""
    loss, weights = LOSSES[name], WEIGHTS if weighted else None
    y = np.column_stack([Y, Y**2 + 0.5])
    model = plain.TwoLayerRegressor(loss=loss, **LINEAR)
    model.fit(np.zeros((N, 1)), y, weights)
    _, value = best_constant(loss, y, weights)
    # L-BFGS comes near a kink, and not onto it.
    smooth = not isinstance(loss, losses.AbsoluteError | losses.Quantile)
    assert_allclose(model.loss_, value, rtol=1e-7 if smooth else 1e-2)


# scikit-learn's linear models are networks of identity activation.


@pytest.mark.parametrize(
    ("name", "twin"), [("poisson", PoissonRegressor), ("gamma", GammaRegressor)]
)
@over_weights
def test_deviances_have_scikit_learns_optimum(name, twin, weighted):
    weights = WEIGHTS if weighted else None
    theirs = twin(alpha=0, tol=1e-9, max_iter=1000).fit(X, Y, weights)
    ours = plain.TwoLayerRegressor(loss=name, **LINEAR).fit(X, Y, weights)
    # L-BFGS ends where the loss falls by less than 2e-9: predictions by some 1e-4.
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-3)


@over_weights
def test_huber_has_scikit_learns_optimum(weighted):
    """Its epsilon is in units of a scale that is fitted too."""
    weights = WEIGHTS if weighted else None
    y = Y.copy()
    y[::9] += 20
    theirs = HuberRegressor(epsilon=1.5, alpha=0, tol=1e-9, max_iter=1000)
    theirs.fit(X, y, weights)
    assert theirs.outliers_.any()
    loss = losses.Huber(delta=1.5 * theirs.scale_)
    ours = plain.TwoLayerRegressor(loss=loss, **LINEAR).fit(X, y, weights)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4, atol=1e-4)


ADAM = {
    "solver": "adam",
    "max_iter": 1500,
    "learning_rate": "cosine",
    "learning_rate_init": 0.05,
    "batch_size": "full",
    "n_iter_no_change": np.inf,
}


@pytest.mark.parametrize("quantile", [0.5, 0.8])
@pytest.mark.parametrize("solver", [{}, ADAM], ids=["lbfgs", "adam"])
@over_weights
def test_quantiles_have_scikit_learns_optimum(quantile, solver, weighted):
    weights = WEIGHTS if weighted else None
    theirs = QuantileRegressor(quantile=quantile, alpha=0).fit(X, Y, weights)
    loss = losses.Quantile(quantile)
    settings = LINEAR | {"hidden_layer_sizes": 3} | solver
    ours = plain.TwoLayerRegressor(loss=loss, **settings).fit(X, Y, weights)
    ours, theirs = (
        mean_pinball_loss(Y, model.predict(X), sample_weight=weights, alpha=quantile)
        for model in (ours, theirs)
    )
    assert theirs <= ours + 1e-12
    # A linear program ends in a corner, descent along kinks near it.
    assert ours <= 1.01 * theirs


def test_half_the_median_loss_is_the_absolute_error():
    settings = {"max_iter": 300, "solver": "lbfgs", "tol": 0, "random_state": 0}
    median = TwoLayerRegressor(5, loss="quantile", alpha=0, **settings).fit(X, Y)
    absolute = TwoLayerRegressor(5, loss="absolute_error", alpha=0, **settings)
    assert_allclose(2 * median.loss_, absolute.fit(X, Y).loss_, rtol=0.1)


# Units.


@over_scalable
def test_predictions_change_units_with_the_targets(name):
    model = TwoLayerRegressor(5, loss=SCALABLE[name], random_state=0, max_iter=30)
    there, here = clone(model).fit(X, 1e4 * Y - 7), model.fit(X, Y)
    # What rounding leaves differs, and training makes more of it.
    assert_allclose(there.predict(X), 1e4 * here.predict(X) - 7, rtol=1e-6)
    assert_allclose(there.loss_curve_, here.loss_curve_, rtol=1e-6)
    if name == "gaussian_nll":
        std = [model.predict(X, return_std=True)[1] for model in (there, here)]
        assert_allclose(std[0], 1e4 * std[1], rtol=1e-6)


def test_gamma_changes_units_with_the_targets():
    model = TwoLayerRegressor(5, loss="gamma", random_state=0, max_iter=30)
    there, here = clone(model).fit(X, 1e4 * Y), model.fit(X, Y)
    assert_allclose(there.predict(X), 1e4 * here.predict(X), rtol=1e-6)


def test_delta_counts_in_quartiles_that_outliers_leave_alone():
    y = np.r_[Y[:-2], 1e9, -1e9]
    model = TwoLayerRegressor(5, loss="huber", max_iter=2).fit(X, y)
    scaling = model._fitted.targets.scaling
    first, middle, third = np.quantile(
        y, [0.25, 0.5, 0.75], method="averaged_inverted_cdf"
    )
    assert_allclose(scaling.centre, middle)
    assert_allclose(1 / scaling.factor, (third - first) / 1.3489795, rtol=1e-7)
    raw = TwoLayerRegressor(5, loss="huber", standardize=False, max_iter=2).fit(X, y)
    assert raw._fitted.targets.scaling is None


@over_scalable
def test_constant_targets_are_learned(name):
    for y in (np.full(N, -3e5), np.where(np.arange(N) == 4, 2.0, 1.0)):
        model = TwoLayerRegressor(5, loss=SCALABLE[name], random_state=0, max_iter=20)
        p = model.fit(X, y).predict(X)
        assert np.isfinite(p).all()
        if y[0] < 0:
            assert_allclose(p, -3e5)


# Quantiles.

FAR = np.vstack([X, 1e3 * X, 1e6 * X, np.zeros((1, 3))])


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("n_members", [1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_quantiles_never_cross(standardize, n_members, dtype, convert):
    levels = [0.01, 0.25, 0.5, 0.75, 0.99]
    model = TwoLayerRegressor(
        8,
        loss=losses.Quantile(levels),
        standardize=standardize,
        n_members=n_members,
        max_iter=30,
        random_state=0,
    )
    y = np.column_stack([Y, -(Y**2)])
    model.fit(convert(X.astype(dtype)), y, WEIGHTS)
    far = convert(FAR.astype(dtype))
    p = model.predict(far)
    assert p.shape == (len(FAR), 2, 5)
    assert p.dtype == dtype
    assert np.isfinite(p).all()
    assert (np.diff(p, axis=-1) >= 0).all()
    assert_allclose(model.predict(FAR.astype(dtype)), p, rtol=1e-3)
    # One target, or one quantile in brackets.
    model.set_params(loss=losses.Quantile([0.5])).fit(X, Y)
    assert model.predict(X).shape == (N, 1)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_coverage_of_training_rows(solver):
    X, y, _, spread = noisy(1500)
    settings = {"hidden_layer_sizes": 16, "random_state": 0}
    if solver == "lbfgs":
        settings |= {"solver": solver, "max_iter": 300, "n_members": 1, "tol": 1e-3}
    p = TwoLayerRegressor(loss=DECILES, **settings).fit(X, y).predict(X)
    below = (y[:, np.newaxis] < p).mean(axis=0)
    # By the optimum of the intercepts about 1 % is due; the rest is early stopping.
    assert_allclose(below, DECILES.levels, atol=0.03)
    assert np.corrcoef(p[:, 2] - p[:, 0], spread)[0, 1] > 0.9


@over_weights
def test_score_of_quantiles_is_the_share_of_pinball_loss(weighted):
    # With 81 rows all definitions of these quantiles agree, but for weights.
    weights = WEIGHTS if weighted else None
    y = np.column_stack([Y, Y**2])
    model = TwoLayerRegressor(5, loss=DECILES, max_iter=20, random_state=0).fit(X, y)
    p = model.predict(X)
    shares = [
        d2_pinball_score(y, p[..., j], sample_weight=weights, alpha=q)
        for j, q in enumerate(DECILES.levels)
    ]
    assert_allclose(model.score(X, y, weights), np.mean(shares), rtol=1e-9)
    one = TwoLayerRegressor(5, loss="quantile", max_iter=20, random_state=0).fit(X, Y)
    share = d2_pinball_score(Y, one.predict(X), sample_weight=weights)
    assert_allclose(one.score(X, Y, weights), share, rtol=1e-9)
    assert one.fit(X, np.ones(N)).score(X, np.ones(N)) == 1


# Mean and spread.


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_spread_is_near_the_truth(solver):
    X, y, mean, spread = noisy(2000)
    settings = {"hidden_layer_sizes": 16, "random_state": 0}
    if solver == "lbfgs":
        settings |= {"solver": solver, "max_iter": 200, "n_members": 1, "alpha": 10}
        settings |= {"tol": 1e-3}
    model = TwoLayerRegressor(loss="gaussian_nll", **settings)
    p, std = model.fit(X, 50 * y + 9).predict(X, return_std=True)
    assert_array_equal(p, model.predict(X))
    assert np.abs((p - 9) / 50 - mean).mean() < 0.1
    assert np.abs(std / (50 * spread) - 1).mean() < 0.1


def test_variance_of_a_mixture_of_normals():
    y = np.column_stack([Y, Y**2])
    model = TwoLayerRegressor(
        5, loss="gaussian_nll", n_members=3, max_iter=20, random_state=0
    ).fit(X, y)
    means, spreads = [], []
    scaling = model._fitted.targets.prediction_scaling
    for z in model._member_scores(X):
        m, s = np.hsplit(z, 2)
        means.append(m / scaling.factor + scaling.centre)
        spreads.append((0.01 + np.log(1 + np.exp(s))) / scaling.factor)
    draws = np.random.RandomState(0).normal(size=(20_000, 3, *y.shape))
    _, std = model.predict(X, return_std=True)
    assert std.shape == y.shape
    variance = np.var(means, axis=0) + np.mean(np.square(spreads), axis=0)
    assert_allclose(std, np.sqrt(variance), rtol=1e-9)
    drawn = np.array(means) + np.array(spreads) * draws
    # 60,000 draws give a deviation to 0.3 %, the worst of 162 to some 2 %.
    assert_allclose(drawn.std(axis=(0, 1)), std, rtol=0.03)


def test_a_single_network_has_a_spread():
    X, y, _, spread = noisy(300)
    model = TwoLayerRegressor(5, loss="gaussian_nll", n_members=1, random_state=0)
    p, std = model.fit(X, y).predict(X, return_std=True)
    assert p.shape == std.shape == (300,)
    assert np.corrcoef(std, spread)[0, 1] > 0.7
    for loss in ("squared_error", DECILES, "gamma"):
        model = TwoLayerRegressor(5, loss=loss, n_members=1, max_iter=5)
        with pytest.raises(ValueError, match="return_std=True needs"):
            model.fit(X, np.abs(y) + 1).predict(X, return_std=True)


def test_members_spread_of_quantiles():
    model = TwoLayerRegressor(5, loss=DECILES, n_members=3, max_iter=20, random_state=0)
    p, std = model.fit(X, Y).predict(X, return_std=True)
    assert p.shape == std.shape == (N, 3)
    scaling = model._fitted.targets.prediction_scaling
    members = []
    for z in model._member_scores(X):
        steps = np.column_stack([z[:, 0], np.log(1 + np.exp(z[:, 1:]))])
        members.append(np.cumsum(steps, axis=1) / scaling.factor)
    assert_allclose(std, np.std(members, axis=0), rtol=1e-6)


@pytest.mark.parametrize("loss", ["gaussian_nll", DECILES], ids=str)
def test_targets_met_exactly(loss):
    """Without a smallest spread, the likelihood would have no bound."""
    for solver in ("adam", "lbfgs"):
        model = TwoLayerRegressor(
            5, loss=loss, solver=solver, max_iter=300, tol=1e-3, random_state=0
        )
        p = model.fit(X, X[:, 0]).predict(X)
        assert np.isfinite(p).all()
        assert np.isfinite(model.loss_)


# Weights, continuing, early stopping, searches.


@pytest.mark.parametrize("standardize", [False, True])
@over_losses
def test_partial_fits_are_one_fit(name, standardize):
    settings = {"loss": LOSSES[name], "batch_size": 20, "max_iter": 4}
    settings |= {"standardize": standardize, "random_state": 0}
    whole = plain.TwoLayerRegressor(6, **settings).fit(X, Y, WEIGHTS)
    parts = plain.TwoLayerRegressor(6, **settings)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, Y, WEIGHTS)))
    assert_allclose(parts.predict(X), whole.predict(X), rtol=1e-7)
    assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-9)
    again = clone(whole).set_params(warm_start=True).fit(X, Y)
    before = again.loss_
    assert again.fit(X, Y).loss_curve_[-1] < before
    assert len(again.loss_curve_) == 8


def test_continuing_with_other_targets_is_refused():
    two = np.column_stack([Y, Y])
    model = TwoLayerRegressor(5, max_iter=2, warm_start=True).fit(X, two)
    with pytest.raises(ValueError, match=r"y has 1 columns, but .* trained on 2"):
        model.fit(X, Y)
    with pytest.raises(ValueError, match=r"continues from .*loss='squared_error'"):
        model.set_params(loss="gaussian_nll").fit(X, Y)
    model.set_params(loss="squared_error")
    assert model.predict(X).shape == (N, 2)


@pytest.mark.parametrize("loss", ["huber", "gaussian_nll", DECILES], ids=str)
@pytest.mark.parametrize("metric", ["loss", "score"])
def test_best_epoch_reproduces_its_score(loss, metric):
    X, y, *_ = noisy(300)
    model = TwoLayerRegressor(
        8,
        loss=loss,
        early_stopping_metric=metric,
        max_iter=30,
        n_members=2,
        random_state=0,
    ).fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    best = model.validation_scores_[model.best_iter_ - 1]
    assert_allclose(model.score(X[200:], y[200:]), best, rtol=1e-10)
    curve = {"loss": model.validation_loss_curve_, "score": model.validation_scores_}
    best_of = np.argmin if metric == "loss" else np.argmax
    assert best_of(curve[metric]) + 1 == model.best_iter_


def test_grids_reach_into_losses():
    model = TwoLayerRegressor(5, loss=losses.Huber(), max_iter=3, random_state=0)
    search = GridSearchCV(model, {"loss__delta": [0.5, 2.0]}, cv=2).fit(X, Y)
    assert search.best_estimator_.loss.delta in (0.5, 2.0)
    again = clone(TwoLayerRegressor(loss=DECILES))
    assert again.loss == DECILES
    assert again.loss is not DECILES
    again.set_params(loss__quantile=(0.2, 0.8))
    assert DECILES.quantile == [0.1, 0.5, 0.9]
    assert "quantile=(0.2, 0.8)" in repr(again)


# Names, objects, and other values.


@pytest.mark.parametrize("name", REGRESSOR_LOSSES)
def test_a_name_is_an_object(name):
    settings = {"max_iter": 3, "random_state": 0, "n_members": 2}
    named = TwoLayerRegressor(5, loss=name, **settings).fit(X, Y)
    objects = TwoLayerRegressor(5, loss=type(REGRESSOR_LOSSES[name])(), **settings)
    assert_array_equal(objects.fit(X, Y).predict(X), named.predict(X))


def test_classifier_takes_objects():
    y = Y > 1
    for name, loss in (
        ("log_loss", losses.LogLoss()),
        ("squared_error", losses.SquaredError()),
    ):
        for target in (y, y.astype(int) + (Y > 2), np.column_stack([y, Y > 2])):
            settings = {"max_iter": 3, "random_state": 0}
            named = TwoLayerClassifier(5, loss=name, **settings).fit(X, target)
            objects = TwoLayerClassifier(5, loss=loss, **settings).fit(X, target)
            assert_array_equal(
                objects.predict_proba(X), named.predict_proba(X), strict=True
            )


class Own:
    """Nothing but the two methods."""

    def value(self, p, y):
        return 0.5 * np.square(p - y).mean(axis=-1)

    def backward(self, p, y, out):
        np.subtract(p, y, out=out)
        out /= out.shape[-1]


def test_a_users_loss():
    settings = {"max_iter": 5, "random_state": 0, "standardize": False}
    y = np.column_stack([Y, -Y])
    named = plain.TwoLayerRegressor(5, **settings).fit(X, y)
    own = plain.TwoLayerRegressor(5, loss=Own(), **settings).fit(X, y)
    assert_array_equal(own.predict(X), named.predict(X))
    # The best constant is found.
    scores, value = best_constant(losses.as_loss(Own()), y, WEIGHTS)
    expected = np.average(y, axis=0, weights=WEIGHTS)
    assert_allclose(scores, expected, rtol=1e-6)
    assert_allclose(value, best_constant(losses.SquaredError(), y, WEIGHTS)[1])


@pytest.mark.parametrize(
    "quantile", ["0.5", None, [0.1, "x"], [], [[0.1, 0.5]], True, 0, 1.0, [0.5, 0.5],
                 [0.9, 0.1], [0.5, 1.0], np.nan]
)  # fmt: skip
def test_quantiles_are_checked(quantile):
    with pytest.raises((ValueError, TypeError), match="'quantile' parameter of"):
        losses.Quantile(quantile)


def test_other_objects_than_losses_are_refused():
    for bad in (None, 3, losses.Huber, len):
        with pytest.raises(
            TypeError, match=r"'loss' parameter.*backward\(\) and value"
        ):
            TwoLayerRegressor(loss=bad).fit(X, Y)
    with pytest.raises(ValueError, match="one of 'squared_error', 'absolute_error'"):
        TwoLayerRegressor(loss="mse").fit(X, Y)
    with pytest.raises(TypeError, match=r"LogLoss.*is for classes.*TwoLayerClassifier"):
        TwoLayerRegressor(loss=losses.LogLoss()).fit(X, Y)
    with pytest.raises(TypeError, match=r"'loss' parameter.*variant\(\)"):
        TwoLayerClassifier(loss=losses.Huber()).fit(X, Y > 1)
    for make in (losses.Huber, losses.GaussianNLL):
        with pytest.raises(ValueError, match="must be a number in"):
            make(0)
    with pytest.raises(ValueError, match="'label_smoothing' parameter of LogLoss"):
        losses.LogLoss(1.0)


def test_gamma_needs_targets_above_zero():
    for bad in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"loss='gamma' needs y > 0.*poisson"):
            TwoLayerRegressor(loss="gamma").fit(X, np.r_[Y[:-1], bad])
    for loss, only in (("gamma", True), (losses.Poisson(), True), ("huber", False)):
        tags = TwoLayerRegressor(loss=loss).__sklearn_tags__()
        assert tags.target_tags.positive_only == only


# Label smoothing.

SMOOTH = {exclusive: losses.LogLoss(0.2).variant(exclusive) for exclusive in (0, 1)}


def test_two_smoothed_classes_have_one_loss():
    """As two scores that exclude each other, or as their difference."""
    z = RNG.normal(size=(20, 1)) * 3
    y = RNG.randint(2, size=(20, 1)).astype(bool)
    two, one = np.hstack([np.zeros_like(z), z]), z.copy()
    both = np.hstack([~y, y])
    SMOOTH[True].forward(two)
    SMOOTH[False].forward(one)
    assert_allclose(SMOOTH[True].value(two, both), SMOOTH[False].value(one, y))
    errors = np.empty_like(two), np.empty_like(one)
    SMOOTH[True].backward(two, both, errors[0])
    SMOOTH[False].backward(one, y, errors[1])
    assert_allclose(errors[0][:, 1:], errors[1])


@pytest.mark.parametrize("kind", ["two", "three", "labels"])
def test_probabilities_of_rows_without_features_are_smoothed_shares(kind):
    codes = np.digitize(Y, [0.8, 1.4])
    y = {"two": codes > 0, "three": codes}.get(kind, np.eye(3, dtype=int)[codes])
    model = plain.TwoLayerClassifier(loss=losses.LogLoss(0.2), **LINEAR)
    p = model.fit(np.zeros((N, 1)), y, WEIGHTS).predict_proba(np.zeros((1, 1)))[0]
    shares = np.bincount(codes, WEIGHTS) / WEIGHTS.sum()
    if kind == "two":
        shares = np.array([shares[0], 1 - shares[0]])
    n_classes = 3 if kind == "three" else 2
    assert_allclose(p, 0.8 * shares + 0.2 / n_classes, rtol=1e-5)
    for exclusive in (True, False):
        Z = np.eye(3, dtype=bool)[codes]
        scores, value = best_constant(SMOOTH[exclusive], Z, WEIGHTS)
        moved = [
            mean_loss(SMOOTH[exclusive], scores + s * np.eye(3)[k], Z, WEIGHTS)
            for s in (0.01, -0.01)
            for k in range(3)
        ]
        assert min(moved) > value


def test_validation_rows_are_measured_without_smoothing():
    X, y, *_ = noisy(400)
    classes = np.digitize(y, [-0.5, 0.5])
    model = TwoLayerClassifier(
        8, loss=losses.LogLoss(0.1), early_stopping=True, max_iter=20, random_state=0
    ).fit(X[:300], classes[:300], X_val=X[300:], y_val=classes[300:])
    p = model.predict_proba(X[300:])[np.arange(100), classes[300:]]
    best = model.validation_loss_curve_[model.best_iter_ - 1]
    assert_allclose(-np.log(p).mean(), best, rtol=1e-9)
    assert CLASSIFIER_LOSSES["log_loss"][True].for_validation() is not None


# Intervals.


@pytest.mark.parametrize("loss", ["gaussian_nll", DECILES, "absolute_error"], ids=str)
def test_intervals_hold_and_follow_the_spread(loss):
    held, correlation, draws = [], [], 20
    for seed in range(draws):
        X, y, _, spread = noisy(500, seed)
        y = 1e3 * y + 7
        model = TwoLayerRegressor(
            6,
            loss=loss,
            early_stopping=False,
            learning_rate_init=0.02,
            max_iter=25,
            n_members=2,
            random_state=seed,
        ).fit(X[:150], y[:150], X_val=X[150:350], y_val=y[150:350])
        lower, upper = model.predict_interval(X[350:], coverage=0.9).T
        assert (lower <= upper).all()
        held.append(np.mean((lower <= y[350:]) & (y[350:] <= upper)))
        correlation.append(np.corrcoef(upper - lower + 1e-9 * X[350:, 0], spread[350:]))
    # The share in one draw varies by 0.03: that of twenty by 0.007.
    assert abs(np.mean(held) - 0.9) < 0.02
    if loss != "absolute_error":
        assert np.median(correlation, axis=0)[0, 1] > 0.4


def test_intervals_of_several_targets():
    X, y, *_ = noisy(200)
    y = np.column_stack([y, 1e4 * y, np.ones(200)])
    for loss in ("gaussian_nll", DECILES, losses.Quantile([0.5])):
        model = TwoLayerRegressor(5, loss=loss, max_iter=10, random_state=0)
        interval = model.fit(X, y).predict_interval(X)
        assert interval.shape == (200, 3, 2)
        lower, upper = interval[..., 0], interval[..., 1]
        assert (lower <= upper).all()
        held = np.mean((lower <= y) & (y <= upper), axis=0)
        assert held.min() > 0.85
        assert held[2] == 1
        assert np.ptp(interval[:, 2]) < 1e-9


def test_starting_from_given_weights():
    settings = {"max_iter": 3, "n_members": 1, "random_state": 0}
    first = TwoLayerRegressor(5, loss=DECILES, **settings).fit(X, Y)
    start = {"coef_init": first.coefs_, "intercept_init": first.intercepts_}
    again = TwoLayerRegressor(5, loss=DECILES, **settings).fit(X, Y, **start)
    going_on = first.set_params(warm_start=True).fit(X, Y)
    assert_allclose(again.predict(X), going_on.predict(X), rtol=1e-6)


def positive_targets(loss, n, seed):
    """X, y of a log-linear mean, and that mean."""
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 4))
    mean = np.exp(0.5 * X[:, 0] + 0.3 * X[:, 1])
    y = rng.poisson(mean) if loss == "poisson" else rng.gamma(2, mean / 2) + 1e-9
    return X, y.astype(float), mean


def test_constant_quantiles_of_equal_targets_are_a_thousandth_apart():
    """So their scores are finite."""
    loss = DECILES
    scores = loss.constant(np.full((20, 1), 3.0), np.ones(20), 0.01)
    p = scores[np.newaxis].copy()
    loss.forward(p)
    assert_allclose(p, [[3, 3.001, 3.002]], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["poisson", "gamma"])
def test_bounded_losses(name, dtype):
    """The loss itself where errors are ordinary, and linear in the scores beyond."""
    rng = np.random.RandomState(0)
    Y = (rng.gamma(1, size=(200, 2)) + 1e-3).astype(dtype)
    plain_loss = REGRESSOR_LOSSES[name]
    bounded = plain_loss.bounded(Y.max(axis=0))

    def told(loss, z):
        p, error = z.copy(), np.empty_like(z)
        loss.forward(p)
        loss.backward(p, Y, error)
        return p, loss.value(p, Y), error

    near = rng.normal(size=Y.shape).astype(dtype)
    for ours, theirs in zip(told(bounded, near), told(plain_loss, near), strict=True):
        assert_array_equal(ours, theirs)
    for size in (10, 60, 1e4, 1e30):
        far = (size * rng.normal(size=Y.shape)).astype(dtype)
        p, values, errors = told(bounded, far)
        assert all(np.isfinite(a).all() for a in (p, values, errors))
        largest = 30 * Y.max() if name == "poisson" else 1000
        assert np.abs(errors).max() <= largest
        assert size < 1e3 or np.abs(errors).max() > 0.95 * largest
    if dtype is np.float64:
        z, step = 12 * rng.normal(size=Y.shape), 1e-6
        rise = told(bounded, z + step)[1] - told(bounded, z - step)[1]
        slope = told(bounded, z)[2].sum(axis=1)
        assert_allclose(rise / (2 * step), slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [50, 300])
@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "lbfgs"])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_bounds_move_no_bit_of_ordinary_fits(loss, solver, n, monkeypatch):
    X, y, _ = positive_targets(loss, n, seed=1)
    model = TwoLayerRegressor(loss=loss, solver=solver, max_iter=40, random_state=0)
    expected = clone(model).fit(X, y)
    kind = type(REGRESSOR_LOSSES[loss])
    monkeypatch.setattr(kind, "bounded", lambda self, largest: self)
    model.fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("far", [1e4, -1e5, 1e6])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_one_value_far_out_does_not_end_training(loss, solver, far, seed):
    """The other informative column is still learned from the other rows."""
    X, y, _ = positive_targets(loss, 600, seed)
    X_new, _, mean = positive_targets(loss, 500, seed + 100)
    X[seed, 1] = far
    model = TwoLayerRegressor(loss=loss, solver=solver, random_state=0).fit(X, y)
    p = model.predict(X_new)
    deviance = REGRESSOR_LOSSES[loss].value
    of_mean = deviance(np.full((500, 1), y.mean()), mean[:, np.newaxis]).mean()
    assert deviance(p[:, np.newaxis], mean[:, np.newaxis]).mean() < 0.6 * of_mean
    assert np.isfinite(model.predict(X)).all()
    parts = TwoLayerRegressor(loss=loss, solver=solver, random_state=0)
    for rows in np.split(np.arange(600), 6) * 3:
        parts.partial_fit(X[rows], y[rows])
    assert np.isfinite(parts.predict(X)).all()
