"""The claims of the examples, quickly: each is imported and trained briefly."""

from graphlib import CycleError

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal
from places import ROOT, example
from scipy import signal
from scipy.optimize import rosen, rosen_der
from sklearn.metrics import log_loss

from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.building_blocks import (
    gradient_error,
    n_parameters,
    numerical_gradient,
    stepper,
    views,
)
from sklearn_bp.losses import CategoricalLogLoss
from sklearn_bp.optimizers import SGD, Adam

mpl.use("Agg")
EXAMPLES = ROOT / "examples"


def test_displays_are_saved(tmp_path):
    displays = example("displays").main(tmp_path)
    for name, display in displays.items():
        height, width, _ = plt.imread(tmp_path / f"{name}.png").shape
        np.testing.assert_allclose(
            [width, height], display.figure_.get_size_inches() * 80, atol=1
        )
    # The iris of the README's picture is taken for what it is, if hardly.
    p = displays["backpropagation"].activations[2]
    assert p.argmax() == 1
    assert p[1] < 0.6


@pytest.mark.slow
def test_the_tutorials_claims_hold(capsys):
    tutorial = example("tutorial")
    printed = capsys.readouterr().out
    assert len(plt.get_fignums()) == 4
    # Intervals hold: 111 rows, so within three standard errors.
    assert 0.8 - 0.11 < tutorial.inside.mean() <= 0.8 + 0.11
    # Probabilities know more than the base rate, and mean what they say.
    fast, p = tutorial.fast, tutorial.p
    assert log_loss(fast, p) < 0.8 * log_loss(fast, tutorial.base)
    assert abs(p.mean() - fast.mean()) < 0.03
    # The two columns that matter most do so by both measures.
    columns, importances = (
        tutorial.table.columns,
        tutorial.regressor.feature_importances_,
    )
    for measure in (importances, tutorial.lost.importances_mean):
        assert set(columns[np.argsort(measure)[-2:]]) == {"bmi", "s5"}
    # A search that has the default among its candidates cannot end below it.
    assert tutorial.gain.mean() >= 0
    assert "the same predictions: True" in printed
    assert "inputs: age, sex, bmi" in printed


# The parts that examples build on.


def test_views_share_the_vector():
    shapes = [(2, 3), (3,), (3, 1, 2)]
    theta = np.arange(float(n_parameters(shapes)))
    parts = views(theta, shapes)
    assert [part.shape for part in parts] == shapes
    assert_array_equal(np.concatenate([part.ravel() for part in parts]), theta)
    parts[1][...] = -1
    assert_array_equal(theta[6:9], -1)
    with pytest.raises(ValueError, match=r"theta has shape \(14,\)"):
        views(theta[1:], shapes)


@pytest.mark.parametrize(
    ("optimizer", "plain"),
    [
        (SGD(), reference.sgd),
        (SGD(momentum=0.5, nesterovs_momentum=False), None),
        (Adam(), reference.adam),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stepper_is_the_published_update(optimizer, plain, dtype):
    rng = np.random.RandomState(0)
    theta = rng.normal(size=7).astype(dtype)
    start = [theta.astype(float)]
    update = (
        reference.sgd(start, 0.01, 0.5, nesterov=False)
        if plain is None
        else plain(start, rate=0.01)
    )
    step = stepper(optimizer, theta, rate=0.01)
    for _ in range(30):
        gradient = rng.normal(size=7)
        step(gradient.astype(dtype))
        update([gradient])
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    assert_allclose(theta, start[0], rtol=tolerance, atol=tolerance)


def test_steps_go_down_rosenbrock():
    theta = np.array([-1.2, 1.0])
    step = stepper(Adam(), theta, rate=0.02)
    for _ in range(5000):
        step(rosen_der(theta))
    assert_allclose(theta, 1, atol=1e-2)


def test_gradient_error_finds_a_wrong_part():
    rng = np.random.RandomState(0)
    theta = rng.normal(size=6)
    before = theta.copy()
    assert gradient_error(lambda x: (rosen(x), rosen_der(x)), theta) < 1e-8
    assert_array_equal(theta, before)
    assert_allclose(numerical_gradient(rosen, theta), rosen_der(theta), rtol=1e-6)
    for i in range(6):
        wrong = np.ones(6)
        wrong[i] = 1.1
        error = gradient_error(lambda x, f=wrong: (rosen(x), f * rosen_der(x)), theta)
        assert error > 1e-3
    assert gradient_error(lambda x: (1.0, np.zeros(6)), theta) == 0

    def fails(x):
        if x[2] > before[2]:
            raise ArithmeticError
        return 0.0

    with pytest.raises(ArithmeticError):
        numerical_gradient(fails, theta)
    assert_array_equal(theta, before)  # put back all the same


# The examples.


@pytest.mark.parametrize(
    "name",
    ["from_scratch", "deep_network", "convolutional_network", "acyclic_network"],
)
def test_examples_are_short(name):
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").split("\n")
    assert len(lines) - 1 <= 150


def test_from_scratch_is_the_package(capsys):
    scratch = example("from_scratch")
    assert scratch.check_gradient() < 1e-6
    ours, theirs, accuracy = scratch.main(n_epochs=8)
    for a, b in zip(ours, theirs, strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert accuracy > 0.95
    assert "0.0e+00" not in capsys.readouterr().out


def kernel_gradient(sizes, activation, theta, X, Y):
    """Loss and gradient of the package's kernel, the latter as W1, b1, W2, b2."""
    network = TwoLayerNetwork(ACTIVATIONS[activation], CategoricalLogLoss())
    W1, b1, W2, b2 = theta
    parameters = Parameters.pack([W1, W2], [b1, b2], np.float64)
    loss, g = loss_and_gradient(network, parameters, X, Y)
    return loss, [g.W1, g.b1, g.W2, g.b2]


def problem(n_features, n_classes, seed=0):
    rng = np.random.RandomState(seed)
    return rng.normal(size=(12, n_features)), np.eye(n_classes)[
        rng.randint(n_classes, size=12)
    ]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_deep_gradients(activation):
    deep = example("deep_network")
    assert deep.check_gradient(activation) < 1e-6
    # With one hidden layer it is the package's network.
    X, Y = problem(4, 3)
    network = deep.DeepNetwork([4, 5, 3], activation)
    loss, gradient = network.loss_and_gradient(X, Y)
    parts = views(network.theta, network.shapes)
    expected, theirs = kernel_gradient([4, 5, 3], activation, parts, X, Y)
    assert_allclose(loss, expected, rtol=1e-12)
    for a, b in zip(views(gradient, network.shapes), theirs, strict=True):
        assert_allclose(a, b, rtol=1e-10, atol=1e-15)


def test_deep_network_learns_and_sigmoids_vanish():
    deep = example("deep_network")
    sigmoid = deep.gradient_norms("logistic", "glorot_uniform")
    relu = deep.gradient_norms("relu", "he_normal")
    assert len(sigmoid) == len(relu) == 9
    assert sigmoid[0] < 1e-5 * sigmoid[-1]
    assert np.all(np.diff(sigmoid) > 0)  # it fades layer by layer, going back
    assert 0.1 < relu[0] / relu[-1] < 10
    X_train, X_test, Y_train, y_test = deep.digits()
    network = deep.DeepNetwork([64, 50, 50, 50, 10])
    curve = network.fit(X_train, Y_train, n_epochs=6)
    assert curve[-1] < curve[0] / 5
    assert np.mean(network.forward(X_test)[0][-1].argmax(axis=1) == y_test) > 0.93


def test_convolution_is_scipys():
    convolutional = example("convolutional_network")
    rng = np.random.RandomState(0)
    X, b = rng.normal(size=(2, 6, 4, 3)), rng.normal(size=5)
    kernels = rng.normal(size=(3, 3, 3, 5))
    z, backward = convolutional.convolution(X, kernels, b)
    for row, k in np.ndindex(2, 5):
        expected = sum(
            signal.correlate2d(X[row, :, :, c], kernels[:, :, c, k], mode="same")
            for c in range(3)
        )
        assert_allclose(z[row, :, :, k], expected + b[k], atol=1e-12)
    # The way back is the transpose: <delta, A x> = <A^T delta, x>.
    delta = rng.normal(size=z.shape)
    back, by_kernels, by_b = backward(delta)
    assert_allclose((delta * (z - b)).sum(), (back * X).sum(), rtol=1e-10)
    assert_allclose((delta * (z - b)).sum(), (by_kernels * kernels).sum(), rtol=1e-10)
    assert_allclose(by_b, delta.sum(axis=(0, 1, 2)))


def test_pooling_sends_errors_where_they_belong():
    convolutional = example("convolutional_network")
    X = np.random.RandomState(0).normal(size=(2, 4, 6, 3))
    squares = X.reshape(2, 2, 2, 3, 2, 3)
    delta = np.random.RandomState(1).normal(size=(2, 2, 3, 3))
    pooled, backward = convolutional.mean_pooling(X)
    assert_allclose(pooled, squares.mean(axis=(2, 4)))
    (back,) = backward(delta)
    assert_allclose((back * X).sum(), (delta * pooled).sum())
    pooled, backward = convolutional.max_pooling(X)
    assert_array_equal(pooled, squares.max(axis=(2, 4)))
    (back,) = backward(delta)
    chosen = pooled.repeat(2, axis=1).repeat(2, axis=2) == X
    assert_array_equal(back != 0, chosen)
    assert_array_equal(back[chosen], delta.repeat(2, axis=1).repeat(2, axis=2)[chosen])
    # Of equal numbers one only gets it.
    (back,) = convolutional.max_pooling(np.zeros((1, 2, 2, 1)))[1](
        np.ones((1, 1, 1, 1))
    )
    assert_array_equal(back.ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_convolutional_gradient(activation):
    assert example("convolutional_network").check_gradient(activation) < 1e-6


def test_convolutional_network_reads_digits():
    # 99.1 % with twice the kernels and three times the epochs, which takes seconds.
    accuracy, _ = example("convolutional_network").main(14, 12, 24)
    assert accuracy >= 0.98


def test_layered_graph_is_the_package():
    acyclic = example("acyclic_network")
    assert acyclic.check_gradient() < 1e-6
    X, Y = problem(4, 3)
    network = acyclic.AcyclicNetwork(*acyclic.layered([4, 5, 3]))
    W1, b1, W2, b2 = np.empty((4, 5)), np.empty(5), np.empty((5, 3)), np.empty(3)
    places = {}
    for layer, (W, b) in enumerate([(W1, b1), (W2, b2)]):
        for (source, target), number in network.numbers.items():
            if target[0] == layer + 1:
                bias = source == "bias"
                at = (b, target[1]) if bias else (W, (source[1], target[1]))
                places[number] = at
                at[0][at[1]] = network.theta[number]
    loss, gradient = network.loss_and_gradient(X, Y)
    expected, theirs = kernel_gradient([4, 5, 3], "tanh", [W1, b1, W2, b2], X, Y)
    assert_allclose(loss, expected, rtol=1e-12)
    for mine, their in zip((W1, b1, W2, b2), theirs, strict=True):
        for number, (array, at) in places.items():
            if array is mine:
                assert_allclose(gradient[number], their[at], rtol=1e-9, atol=1e-14)


def test_shared_weights_sum_their_gradients():
    acyclic = example("acyclic_network")
    X, _, Y, _ = acyclic.irises()
    inputs, outputs, edges = acyclic.iris_graph()
    shared = acyclic.AcyclicNetwork(inputs, outputs, edges)
    apart = acyclic.AcyclicNetwork(
        inputs, outputs, [(s, t, ("apart", s, t)) for s, t, _ in edges]
    )
    total = {}
    for s, t, weight in edges:
        apart.theta[apart.numbers["apart", s, t]] = shared.theta[shared.numbers[weight]]
    loss, gradient = shared.loss_and_gradient(X, Y)
    loss_apart, gradient_apart = apart.loss_and_gradient(X, Y)
    for s, t, weight in edges:
        derivative = gradient_apart[apart.numbers["apart", s, t]]
        total[weight] = total.get(weight, 0) + derivative
    assert len(total) == len(shared.theta) == len(apart.theta) - 9
    assert_allclose(loss, loss_apart, rtol=1e-12)
    for weight, value in total.items():
        assert_allclose(gradient[shared.numbers[weight]], value, rtol=1e-9, atol=1e-14)


def test_acyclic_network_classifies_irises_and_refuses_cycles(capsys):
    acyclic = example("acyclic_network")
    _, curve, accuracy = acyclic.main(n_steps=150)
    assert accuracy >= 0.92
    assert curve[-1] < curve[0] / 10
    assert "80 edges, 71 weights" in capsys.readouterr().out
    with pytest.raises(CycleError):
        acyclic.AcyclicNetwork(
            ["x"], ["z"], [("x", "z", 0), ("z", "y", 1), ("y", "z", 2)]
        )


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.py")), ids=lambda f: f.stem)
def test_examples_open_with_a_title(file):
    # As Sphinx-Gallery wants it.
    first, title, line, blank, *_ = file.read_text(encoding="utf-8").split("\n")
    assert (first, blank) == ('"""', "")
    assert line == "=" * len(title)
