"""A regressor's alpha="auto": the penalty is dropped once it no longer helps."""

from dataclasses import replace

import numpy as np
import pytest
from compare import assert_same_weights
from numpy.testing import assert_array_equal

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import Measured, Plan, TrainingState
from sklearn_bp._versions import HAS_CALLBACKS
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.callbacks import Checkpoint
from sklearn_bp.initializers import he_normal
from sklearn_bp.losses import REGRESSOR_LOSSES
from sklearn_bp.optimizers import OPTIMIZERS
from sklearn_bp.schedules import Constant

RNG = np.random.RandomState(0)
X = RNG.normal(size=(152, 3))
SIGNAL = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
# Many steps per epoch and a large tol: the patience of 8 epochs is used up soon.
QUICK = {"hidden_layer_sizes": 5, "batch_size": 4, "tol": 0.05, "random_state": 0}
QUICK["numeric_encoding"] = None


def fitted(estimator=TwoLayerRegressor, **options):
    y = SIGNAL if estimator is TwoLayerRegressor else SIGNAL > 0
    return estimator(**QUICK | options).fit(X, y)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "gaussian_nll"])
def test_once_the_patience_is_used_up_the_penalty_is_dropped(loss):
    """As with a given penalty until the patience is used up; then without it."""
    ours = fitted(loss=loss)
    given = fitted(loss=loss, alpha=ours.alpha_)
    n = given.n_iter_
    assert ours.alpha_ > 0
    assert ours.stop_reason_ == given.stop_reason_ == "patience"
    assert ours.n_iter_ > n
    for curve in ("loss_curve_", "validation_loss_curve_", "validation_scores_"):
        assert_array_equal(getattr(ours, curve)[:n], getattr(given, curve))
        assert len(getattr(ours, curve)) == ours.n_iter_
    assert ours.best_iter_ == np.argmin(ours.validation_loss_curve_) + 1


@pytest.mark.parametrize(
    "options",
    [
        {"n_iter_no_change": 8},
        {"solver": "adamw"},
        {"early_stopping": False},
        {"estimator": TwoLayerClassifier},
    ],
)
def test_with_other_settings_training_ends(options):
    model = fitted(**options)
    given = fitted(**options, alpha=model.alpha_)
    assert model.n_iter_ == given.n_iter_ < 400
    assert_array_equal(model.coefs_[0], given.coefs_[0])


def test_calls_of_partial_fit_keep_the_penalty():
    model = TwoLayerRegressor(**QUICK)
    used_up = 0
    for _ in range(60):
        model.partial_fit(X, SIGNAL, X_val=X[:30] + 0.1, y_val=SIGNAL[:30])
        used_up += model._training_state.patience.exhausted
    assert used_up
    assert not model._training_state.relaxed


@pytest.mark.parametrize("average", [0, 2])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("share", "slower"), [(0.0, 1.0), (0.03, 0.3)])
def test_it_is_two_trainings_one_after_the_other(
    solver, average, dropout, share, slower
):
    rng = np.random.RandomState(0)
    layout = (3, 4, 1, 2, False, solver == "adam")
    drawn = Parameters.draw(layout, np.float64, he_normal, rng, 6.0)
    network = TwoLayerNetwork(ACTIVATIONS["relu"], REGRESSOR_LOSSES["squared_error"])
    data = Data.weighted(X, SIGNAL[:, np.newaxis], None, alpha=5.0)
    descent = MiniBatches(
        OPTIMIZERS[solver](), Constant(0.02), 20, True, average, dropout
    )

    def start():
        return TrainingState(
            drawn.copy(),
            Patience(0.01, 4),
            np.random.RandomState(1),
            dropout_stream=np.arange(4, dtype=np.uint64) if dropout else None,
        )

    def validate(parameters):
        z = network.scores(parameters.mean(), X)
        return Measured(float(np.mean((z[:, 0] - SIGNAL) ** 2)), 0.0)

    plan = Plan(
        100,
        -np.inf,
        validate,
        cost=lambda measured: measured.loss,
        share=share,
        relaxed_rate=slower,
    )
    ours = descent.train(network, data, start(), replace(plan, drops_penalty=True))

    first = descent.train(network, data, start(), plan)
    state = first.state
    assert first.reason == ours.reason == "patience"
    assert first.state.n_iter < ours.state.n_iter < 100
    for parameters in (state.parameters, state.average):
        if parameters is not None:
            parameters.flat[:] = state.best
    state.patience.count, state.patience.n_iter_no_change = 0, 2
    if not share:
        state.patience.tol = 0.001
    descent = replace(descent, schedule=Constant(0.02 * slower))
    second = descent.train(network, replace(data, alpha=0.0), state, plan)
    assert_array_equal(second.parameters.flat, ours.parameters.flat)
    assert_array_equal(second.state.parameters.flat, ours.state.parameters.flat)
    assert second.state.loss_curve == ours.state.loss_curve
    assert second.best_iter == ours.best_iter
    assert ours.state.rate == 0.02  # partial_fit continues at this rate
    assert ours.state.relaxed
    assert not first.state.relaxed


@pytest.mark.skipif(
    not HAS_CALLBACKS, reason="scikit-learn before 1.9 has no callbacks"
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("later", [-1, 0, 2])
def test_a_fit_resumes_to_the_same_bits_before_and_after(later, tmp_path):
    unbroken = fitted()
    dropped_after = fitted(alpha=unbroken.alpha_).n_iter_
    for max_iter in (dropped_after + later, 400):
        model = TwoLayerRegressor(**QUICK, max_iter=max_iter)
        model.set_callbacks(Checkpoint(tmp_path / "fit.ckpt")).fit(X, SIGNAL)
    assert model.stop_reason_ == "patience"
    assert model.validation_loss_curve_ == unbroken.validation_loss_curve_
    assert_same_weights(model, unbroken)
