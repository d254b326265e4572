"""Losses and gradients of the kernel: against differences, formulas and metrics.

The cases are read from the tables of the package, so a new activation or loss is
tested as soon as it stands there.
"""

from itertools import product

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error

from sklearn_bp._network.batches import Data
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import Objective, loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._tables.class_targets import ClassTargets
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import (
    CLASSIFIER_LOSSES,
    REGRESSOR_LOSSES,
    LogLoss,
    Quantile,
)

# The keys of reference.LOSSES: (name, exclusive) for classes, name for regression.
FURTHER_LOSSES = {
    ("smoothed", True): LogLoss(0.1).variant(True),
    ("smoothed", False): LogLoss(0.1).variant(False),
    "three quantiles": Quantile([0.1, 0.5, 0.9]),
}
LOSSES = (
    FURTHER_LOSSES
    | {
        (name, exclusive): loss
        for name, variants in CLASSIFIER_LOSSES.items()
        for exclusive, loss in variants.items()
    }
    | REGRESSOR_LOSSES
)

N_ROWS, N_FEATURES, N_HIDDEN = 20, 3, 4


def named(part):
    return part if isinstance(part, str) else f"{part[0]}-{part[1]}"


over_parts = pytest.mark.parametrize(
    ("loss", "activation"),
    list(product(LOSSES, ACTIVATIONS)),
    ids=named,
)
# All pairs are tried by examples/gradient_check.py, in test_docs.py; and against the
# plain network below.
over_each_part = pytest.mark.parametrize(
    ("loss", "activation"),
    [
        (loss, activation)
        for loss, activation in product(LOSSES, ACTIVATIONS)
        if activation in ("tanh", "relu") or loss in list(LOSSES)[:2]
    ],
    ids=named,
)
over_outputs = pytest.mark.parametrize("n_outputs", [1, 3])


def problem(loss, n_outputs):
    """Parameters, X with many zeros, targets that the loss admits, weights."""
    rng = np.random.RandomState(5)
    X = rng.normal(size=(N_ROWS, N_FEATURES)) * (rng.uniform(size=(N_ROWS, 1)) < 0.7)
    X[rng.uniform(size=X.shape) < 0.3] = 0
    weights = rng.uniform(0, 3, size=N_ROWS)
    weights[3] = 0
    classes = rng.randint(n_outputs, size=N_ROWS)
    if isinstance(loss, str):
        Y = rng.poisson(2, size=(N_ROWS, n_outputs)) + rng.uniform(
            size=(N_ROWS, n_outputs)
        )
        if reference.LOSSES[loss].admits(0):
            Y[:5] = 0  # on the edge of the domain of poisson
    elif loss[1]:
        Y = classes[:, np.newaxis] == np.arange(n_outputs)
    else:
        Y = rng.uniform(size=(N_ROWS, n_outputs)) < 0.5
    n_scores = LOSSES[loss].n_scores(n_outputs)
    parameters = Parameters.empty((N_FEATURES, N_HIDDEN, n_scores), np.float64)
    parameters.flat[:] = rng.uniform(-1, 1, size=parameters.flat.size)
    return parameters, X, Y, weights


def blocks(parameters):
    return [parameters.W1, parameters.b1, parameters.W2, parameters.b2]


def differences(function, x, step=1e-5):
    """Central differences.

    The error is about step^2 + 1e-16 / step: 1e-10 and 1e-11 for the step here.
    """
    gradient = np.empty_like(x)
    for i, value in enumerate(x.copy()):
        x[i] = value + step
        above = function()
        x[i] = value - step
        gradient[i] = (above - function()) / (2 * step)
        x[i] = value
    return gradient


@over_outputs
@over_each_part
def test_gradient_against_differences(loss, activation, n_outputs):
    network = TwoLayerNetwork(ACTIVATIONS[activation], LOSSES[loss])
    parameters, X, Y, weights = problem(loss, n_outputs)
    # No kink of relu within reach of the step.
    assert np.abs(X @ parameters.W1 + parameters.b1).min() > 1e-3

    for w, alpha in product([None, weights], [0.0, 0.7]):
        data = X, Y, w, alpha
        _, gradient = loss_and_gradient(network, parameters, *data)
        _, of_csr = loss_and_gradient(
            network, parameters, sparse.csr_matrix(X), Y, w, alpha
        )
        assert_allclose(of_csr.flat, gradient.flat, rtol=1e-10, atol=1e-12)
        numeric = parameters.like(
            differences(
                lambda data=data: loss_and_gradient(network, parameters, *data)[0],
                parameters.flat,
            )
        )
        for a, b in zip(blocks(gradient), blocks(numeric), strict=True):
            # A single class has nothing to learn: both are zero but for rounding,
            # which the step makes 1e-11.
            scale = max(np.linalg.norm(a), np.linalg.norm(b), 1e-4)
            assert np.linalg.norm(a - b) < 1e-6 * scale


@over_outputs
@over_parts
def test_kernel_is_the_plain_network(loss, activation, n_outputs):
    network = TwoLayerNetwork(ACTIVATIONS[activation], LOSSES[loss])
    parameters, X, Y, weights = problem(loss, n_outputs)
    value, gradient = loss_and_gradient(network, parameters, X, Y, weights, 0.7)
    plain_value, plain_gradient = reference.loss_and_gradient(
        blocks(parameters),
        X,
        Y.astype(float),
        weights,
        weights.sum(),
        0.7,
        activation,
        loss,
    )
    assert_allclose(value, plain_value, rtol=1e-12)
    for a, b in zip(blocks(gradient), plain_gradient, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_change_nothing(weighted, convert):
    network = TwoLayerNetwork(ACTIVATIONS["tanh"], LOSSES["log_loss", True])
    parameters, X, Y, weights = problem(("log_loss", True), 3)
    data = Data.weighted(convert(X), Y, weights if weighted else None, 0.7)
    whole = Objective(network, parameters, data, block_rows=N_ROWS)
    loss = whole()
    for block_rows in (1, 3, 7, N_ROWS - 1, N_ROWS + 1):
        objective = Objective(network, parameters, data, block_rows=block_rows)
        for _ in range(2):  # the second call finds used buffers
            assert_allclose(objective(), loss, rtol=1e-12)
            assert_allclose(
                objective.gradient.flat, whole.gradient.flat, rtol=1e-12, atol=1e-14
            )


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_rows_select(convert):
    network = TwoLayerNetwork(ACTIVATIONS["relu"], LOSSES["squared_error"])
    parameters, X, Y, weights = problem("squared_error", 3)
    rows = np.array([7, 2, 11, 5])
    some = Objective(
        network, parameters, Data.weighted(convert(X), Y, weights, 0.7, rows)
    )
    loss, gradient = loss_and_gradient(
        network, parameters, X[rows], Y[rows], weights[rows], 0.7
    )
    assert_allclose(some(), loss, rtol=1e-12)
    assert_allclose(some.gradient.flat, gradient.flat, rtol=1e-12, atol=1e-14)


# The loss at the fitted weights is scikit-learn's metric of the predictions.


def kernel_loss(model, loss, X, Y, sample_weight):
    network = TwoLayerNetwork(ACTIVATIONS[model.activation], loss)
    parameters = Parameters.pack(model.coefs_, model.intercepts_, np.float64)
    return loss_and_gradient(network, parameters, X, Y, sample_weight)[0]


def regular_data(n_classes):
    rng = np.random.RandomState(1)
    X = rng.normal(size=(80, 4))
    y = np.digitize(
        X[:, 0] * X[:, 1] + X[:, 2], np.linspace(-1, 1, n_classes + 1)[1:-1]
    )
    return X, y, rng.uniform(0, 2, size=80)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_log_loss_of_the_probabilities(n_classes, weighted, solver):
    X, y, weights = regular_data(n_classes)
    w = weights if weighted else None
    model = TwoLayerClassifier(
        8, solver=solver, alpha=0, max_iter=15, random_state=0, learning_rate_init=0.05
    ).fit(X, y, w)
    Y = ClassTargets.of(y).encode(y)
    loss = CLASSIFIER_LOSSES["log_loss"][n_classes != 2]
    metric = log_loss(y, model.predict_proba(X), sample_weight=w)
    assert_allclose(kernel_loss(model, loss, X, Y, w), metric, rtol=1e-10)
    if solver == "lbfgs":  # its last loss is that of the weights kept
        assert_allclose(model.loss_, metric, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_log_loss_of_labels_is_their_sum():
    X, y, weights = regular_data(4)
    Y = np.column_stack([y > 0, y % 2 == 1, X[:, 3] > 0]).astype(int)
    model = TwoLayerClassifier(8, alpha=0, max_iter=15, random_state=0)
    p = model.fit(X, Y, weights).predict_proba(X)
    loss = kernel_loss(
        model, CLASSIFIER_LOSSES["log_loss"][False], X, Y.astype(bool), weights
    )
    metric = sum(
        log_loss(Y[:, k], p[:, k], sample_weight=weights) for k in range(Y.shape[1])
    )
    assert_allclose(loss, metric, rtol=1e-10)


@pytest.mark.parametrize(
    ("loss", "metric"),
    [("squared_error", mean_squared_error), ("poisson", mean_poisson_deviance)],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_regression_loss_is_half_the_metric(loss, metric, weighted):
    X, y, weights = regular_data(4)
    w = weights if weighted else None
    model = TwoLayerRegressor(8, loss=loss, alpha=0, max_iter=15, random_state=0)
    model.fit(X, y, w)
    value = kernel_loss(
        model, REGRESSOR_LOSSES[loss], X, y[:, np.newaxis].astype(float), w
    )
    assert_allclose(value, metric(y, model.predict(X), sample_weight=w) / 2, rtol=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_outputs_average_their_squares():
    X, y, weights = regular_data(4)
    Y = np.column_stack([y, X[:, 0], -y]).astype(float)
    model = TwoLayerRegressor(8, alpha=0, max_iter=15, random_state=0)
    model.fit(X, Y, weights)
    metric = mean_squared_error(Y, model.predict(X), sample_weight=weights) / 2
    loss = REGRESSOR_LOSSES["squared_error"]
    assert_allclose(kernel_loss(model, loss, X, Y, weights), metric, rtol=1e-10)
