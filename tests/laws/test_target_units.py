"""A regression in any unit of its targets: predictions, intervals, spread and score."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from partitions import fitted as fitted_to_parts
from sklearn.metrics import r2_score

from sklearn_bp import MLP_DEFAULTS, TwoLayerRegressor
from sklearn_bp.losses import REGRESSOR_LOSSES, Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(5, size=(150, 3))
ONE = np.abs(X[:, 0] + 0.3 * RNG.normal(size=150)) + 0.1
TWO = np.column_stack([ONE, ONE**2])
UNITS = [2.0**-150, 1e-46, 1e-300, 1e39, 1e304]
SCALED = [name for name, loss in REGRESSOR_LOSSES.items() if loss.scalable]
SCALED += [Quantile(0.3), Quantile([0.1, 0.5, 0.9])]
LOGARITHMIC = [name for name, loss in REGRESSOR_LOSSES.items() if loss.logarithmic]
QUICK = {"hidden_layer_sizes": 8, "n_members": 2, "max_iter": 15, "random_state": 0}


def told(model, X, y, unit=1.0):
    """Predictions, intervals and spread over a unit, and the score."""
    values = model.predict(X), model.predict_interval(X), model.predict(X, True)[1]
    assert all(np.isfinite(v).all() for v in values)
    return [*(np.float64(v) / unit for v in values), model.score(X, y)]


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("y", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("loss", SCALED, ids=str)
def test_the_unit_of_the_targets_does_not_matter(loss, y, dtype):
    """To rounding, from one end of float64 to the other, for float32 features too."""
    rows = X.astype(dtype)
    expected = told(TwoLayerRegressor(loss=loss, **QUICK).fit(rows, y), rows, y)
    tolerance = {"f8": 1e-6, "f4": 1e-4}[dtype]  # errors come from float32
    for unit in UNITS:
        model = TwoLayerRegressor(loss=loss, **QUICK).fit(rows, y * unit)
        found = told(model, rows, y * unit, unit)
        for ours, theirs in zip(found, expected, strict=True):
            size = np.abs(theirs).max()
            assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(
    "y", [ONE, pytest.param(TWO, marks=pytest.mark.slow)], ids=["one", "two"]
)
@pytest.mark.parametrize("loss", LOGARITHMIC)
def test_logarithmic_losses_learn_in_any_unit(loss, y, dtype):
    """Targets are divided by a power of two near their size."""
    rows, settings = X.astype(dtype), QUICK | {"loss": loss, "max_iter": 25}
    near = told(TwoLayerRegressor(**settings).fit(rows, y), rows, y)
    for unit in [1e-5, 1e9, *UNITS]:
        model = TwoLayerRegressor(**settings).fit(rows, y * unit)
        found = told(model, rows, y * unit, unit)
        assert found[-1] > near[-1] - 0.1
        again = pickle.loads(pickle.dumps(model))
        assert_array_equal(again.predict(rows), model.predict(rows))
        first = TwoLayerRegressor(**settings).fit(rows, y * unit * 4)
        # A power of two more is the same fit, to the rounding of a logarithm.
        assert_allclose(first.predict(rows) / unit / 4, found[0], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("loss", LOGARITHMIC)
def test_rows_far_away_have_finite_predictions(loss, standardize, dtype):
    """And above 0; standardized, near the range of the training targets."""
    rows = X.astype(dtype)
    settings = QUICK | {"loss": loss, "standardize": standardize}
    model = TwoLayerRegressor(**settings).fit(rows, ONE)
    for factor in (1000.0, -1000.0, 1e30, -1e30):
        far = model.predict((rows.astype("f8") * factor).astype(dtype))
        assert np.isfinite(far).all()
        assert (far > 0).all()
        if standardize:
            assert far.max() <= ONE.max() + 0.06 * np.ptp(ONE)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-46, 1e60, -1e300, 1e-320])
@pytest.mark.parametrize("loss", [*SCALED, *LOGARITHMIC], ids=str)
def test_constant_targets(loss, value):
    if loss in LOGARITHMIC:
        value = abs(value) or 1.0
    y = np.full(150, value)
    model = TwoLayerRegressor(loss=loss, **QUICK).fit(X, y)
    rtol = 0.2 if loss in LOGARITHMIC else 1e-12
    predicted, interval = model.predict(X), model.predict_interval(X)
    assert np.isfinite(interval).all()
    target = value if predicted.ndim == 1 else y[:, np.newaxis]
    assert_allclose(predicted, target * np.ones_like(predicted), rtol=rtol)


def test_targets_that_fill_the_range():
    """Their spread overflows, and no prediction does."""
    y = np.where(X[:, 0] > 5, 1.7e308, -1.7e308)
    for loss in SCALED:
        model = TwoLayerRegressor(loss=loss, **QUICK | {"max_iter": 25}).fit(X, y)
        predicted, interval = model.predict(X), model.predict_interval(X)
        assert np.isfinite(predicted).all()
        assert np.isfinite(interval).all()
        if loss == "squared_error":
            assert np.mean((predicted > 0) == (y > 0)) > 0.9


def test_the_score_is_scikit_learns():
    """Bit by bit where that is right, and scaled where squares overflow."""
    weights = RNG.exponential(size=150)
    model = TwoLayerRegressor(**QUICK).fit(X, TWO)
    expected = r2_score(TWO, model.predict(X), sample_weight=weights)
    assert model.score(X, TWO, weights) == expected
    large = TwoLayerRegressor(**QUICK).fit(X, TWO * 2.0**600)
    assert_allclose(large.score(X, TWO * 2.0**600, weights), expected, rtol=1e-9)


@pytest.mark.parametrize("loss", ["squared_error", "gaussian_nll", *LOGARITHMIC])
def test_partitions_take_any_unit_too(loss):
    dask = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    settings = QUICK | {"loss": loss, "solver": "lbfgs", "max_iter": 10}
    for unit in (1.0, 1e-46, 1e60):
        plain = TwoLayerRegressor(**settings).fit(X, ONE * unit)
        parts = dask.TwoLayerRegressor(**settings)
        ours = fitted_to_parts(parts, X, ONE * unit, (70, 80)).to_local()
        assert_allclose(ours.predict(X), plain.predict(X), rtol=1e-4)


def test_a_plain_network_is_not_cut():
    """With MLP_DEFAULTS, predictions are those of the network."""
    settings = MLP_DEFAULTS | {"loss": "poisson", "random_state": 0}
    assert TwoLayerRegressor(**settings).fit(X, ONE).target_range_ is None


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1.0, 1e10, 1e20, 1e30])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_targets_in_float32_are_scored_as_in_float64(unit, dtype, n_targets):
    """Also where predictions are float32 too, and where one target is an ordinary one.

    The squares of 1e20 are beyond the range of float32.
    """
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(40, 2)).astype(dtype), rng.normal(size=(40, 2))
    targets = np.squeeze((targets * [unit, 1])[:, :n_targets]).astype("f4")
    model = TwoLayerRegressor(4, max_iter=20, random_state=0).fit(rows, targets)
    narrow, wide = (model.score(rows, targets.astype(d)) for d in ("f4", "f8"))
    assert_allclose(narrow, wide, rtol=1e-5)
