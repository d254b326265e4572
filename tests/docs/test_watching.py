"""The pages of "Watch it learn": numbers as in the package, correct text."""

import importlib.util
import math
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.animation import FuncAnimation
from numpy.testing import assert_allclose, assert_array_equal
from places import ROOT, example
from scipy.special import expit

from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES

mpl.use("Agg")


def package_gradient(activation, loss, weights, X, y):
    """Loss and gradient by the kernel; weights are W1, b1, W2, b2 as matrices."""
    W1, b1, W2, b2 = weights
    parameters = Parameters.pack([W1, W2], [b1, b2], np.float64)
    network = TwoLayerNetwork(ACTIVATIONS[activation], loss)
    return loss_and_gradient(network, parameters, X, np.reshape(y, (-1, 1)))


# By hand.


@pytest.fixture(scope="module")
def by_hand():
    return example("watch/backpropagation_by_hand")


def test_numbers_by_hand_are_the_packages(by_hand):
    e = by_hand
    weights = e.W1, e.b1, e.W2.reshape(2, 1), np.array([e.b2])
    loss, gradient = package_gradient(
        "logistic", CLASSIFIER_LOSSES["log_loss"][False], weights, e.x[np.newaxis], True
    )
    exact = {"rtol": 1e-14}
    assert_allclose(e.loss, loss, **exact)
    assert_allclose(e.W1_gradient, gradient.W1, **exact)
    assert_allclose(e.b1_gradient, gradient.b1, **exact)
    assert_allclose(e.W2_gradient, gradient.W2[:, 0], **exact)
    assert_allclose(e.b2_gradient, gradient.b2[0], **exact)
    # A row's derivatives by the intercepts are its errors.
    assert_allclose(e.delta1, gradient.b1, **exact)
    assert_allclose(e.delta2, gradient.b2[0], **exact)
    assert e.largest < 1e-15  # from what BackpropDisplay draws, and from partial_fit
    assert -np.log(e.p_new) < e.loss


def test_every_line_on_the_pages_holds(by_hand):
    """Each side of each equation, worked out from the rounded numbers that it shows."""
    names = {"sigmoid": expit, "ln": math.log}
    n_equations = 0
    for _, lines, _ in by_hand.pages():
        for equation in re.split(r"\n|,  ", "\n".join(lines)):
            *left, right = equation.rsplit(" = ", 1)
            if not left or "weight" in equation:
                continue
            text = re.split(r"\s{2,}", left[0])[-1]
            text = text.replace("·", "*").replace("\N{MINUS SIGN}", "-")
            worked = eval(text, {"__builtins__": {}}, names)
            shown = float(right.replace("\N{MINUS SIGN}", "-"))
            assert_allclose(worked, shown, atol=2e-3, err_msg=equation)
            n_equations += 1
    assert n_equations == 19


def test_numbers_in_the_text_are_those_of_the_code(by_hand):
    text = (ROOT / "examples/watch/backpropagation_by_hand.py").read_text("utf-8")
    first, second, result = re.search(
        r"([\d.]+) \* 1 \+ ([\d.]+) \* \(-2\) \+ 0\.5 =\s+# (-[\d.]+)\.", text
    ).groups()
    assert_allclose([float(first), float(second)], by_hand.a1, atol=5e-5)
    assert float(result) == round(float(first) - 2 * float(second) + 0.5, 4)
    assert_allclose(float(result), by_hand.z2, atol=1e-4)


# Two moons.


def test_two_moons():
    moons = example("watch/two_moons")
    learned = moons.main()
    _, _, frames, (training, new) = learned
    assert len(training) == len(new) == moons.EPOCHS[-1]
    accuracies = [accuracy for *_, accuracy in frames]
    assert accuracies[0] < 0.6
    assert accuracies[-1] > 0.97
    assert np.argmin(new) < len(new) - 20  # it stops falling; training continues
    assert np.argmin(training) > len(training) - 20
    # The dashed lines are where a hidden unit is 0.
    _, ax = plt.subplots()
    moons.paint(ax, *learned[:2], frames[-1])
    _, (W1, _, b1), _, _ = frames[-1]
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert len(dashed) == len(b1) == 6
    for line, w, b in zip(dashed, W1.T, b1, strict=True):
        assert_allclose(line.get_xydata() @ w + b, 0, atol=1e-9)
    # As the text has it: the weights grow while the lines hardly turn.
    norms = {epoch: np.linalg.norm(W1) for epoch, (W1, _, _), _, _ in frames}
    assert norms[200] > 1.2 * norms[60]


# XOR.


def test_xor_moves_the_points():
    xor = example("watch/xor_hidden_layer")
    steps, curve = xor.main()
    losses = [np.mean((xor.forward(step, xor.X)[1] - xor.y) ** 2) / 2 for step in steps]
    assert_allclose(losses[:-1], curve[1:], rtol=1e-9)  # from before the next step
    _, p = xor.forward(steps[0], xor.X)
    assert np.ptp(p) < 0.05
    a1, p = xor.forward(steps[-1], xor.X)
    assert_array_equal(p > 0.5, xor.y == 1)
    # (0,1) and (1,0) have met.
    assert np.linalg.norm(a1[1] - a1[2]) < 0.05 < np.linalg.norm(a1[0] - a1[3])


# A sigmoid that saturates.


def test_the_sigmoid_saturates_and_the_relu_learns():
    page = example("watch/saturation")
    (runs,) = page.main()
    at = {step: i for i, step in enumerate(page.STEPS)}

    def losses(activation):
        found = runs[activation]
        return {s: page.loss(page.passes(activation, found[at[s]])[2]) for s in at}

    sigmoid, relu = losses("logistic"), losses("relu")
    assert relu[0] > sigmoid[0]
    assert relu[325] < 1e-4
    assert sigmoid[325] > 0.04
    assert sigmoid[3000] > 0.01
    slopes = [page.slope(a, page.passes(a, runs[a][0])[1]).mean() for a in runs]
    assert_allclose(slopes, [0.035, 1], atol=5e-4)
    for activation in runs:
        for step in (0, 100):
            w1, w2, b1, b2 = weights = runs[activation][at[step]]
            _, _, p, delta1 = page.passes(activation, weights)
            matrices = [[w1]], [b1], [[w2]], [b2]
            loss, gradient = package_gradient(
                activation,
                REGRESSOR_LOSSES["squared_error"],
                [np.array(w) for w in matrices],
                page.X,
                page.y,
            )
            assert_allclose(page.loss(p), loss, rtol=1e-12)
            assert_allclose(delta1.mean(), gradient.b1[0], rtol=1e-9)
            assert_allclose(
                (delta1 * page.X[:, 0]).mean(), gradient.W1[0, 0], rtol=1e-9
            )


# Momentum.


def test_momentum_is_the_recursion_that_the_page_gives():
    page = example("watch/momentum")
    (paths,) = page.main()
    x = page.X[:, 0]
    for momentum, path in paths.items():
        w, v = np.full(2, page.START), np.zeros(2)
        for found in path[:60]:
            assert_allclose(found, w, rtol=1e-9)
            t = np.tanh(w[0] * x)
            error = w[1] * t - page.y
            gradient = [np.mean(error * w[1] * x * (1 - t**2)), np.mean(error * t)]
            v = momentum * v - page.RATE * np.array(gradient)
            w = w + v
    red, blue = (page.loss(*path.T) for path in paths.values())
    assert blue[-1] < 1e-5 < 5e-3 < red[-1]
    assert blue[5] > red[5]  # it overshoots
    # "A third of the way" along the valley, from where it dropped into it.
    dropped, ended = paths[0.0][20, 0], paths[0.0][-1, 0]
    assert 0.25 < (dropped - ended) / (dropped - 1) < 0.42


# The players.


@pytest.fixture(scope="module")
def players():
    spec = importlib.util.spec_from_file_location(
        "gallery_players", ROOT / "docs" / "gallery_players.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_players_are_small_and_need_no_other_site(players, tmp_path):
    figure, ax = plt.subplots(figsize=(4, 3), dpi=60)
    field = np.random.RandomState(0).normal(size=(20, 20))
    image = ax.imshow(field)
    animation = FuncAnimation(figure, lambda i: image.set_data(field + i), 3)
    names = {"x": 1, "player": animation}
    plain = animation.to_jshtml()
    thumbnail = tmp_path / "last.png"
    block = {"example_globals": names, "image_path_iterator": iter([thumbnail])}
    text = players.scraper(None, block, {})
    assert not plt.get_fignums()
    assert len(text) < 0.6 * len(plain)
    assert "http" in plain
    assert "http" not in text
    assert text.count("data:image/png;base64") == 3
    assert '<img alt="The animation"' in text
    lines = text.strip().split("\n")
    assert lines[0] == ".. raw:: html"
    assert all(line.startswith("    ") for line in lines[1:] if line.strip())
    assert plt.imread(thumbnail).shape[:2] == (180, 240)
    assert players.scraper(None, block, {}) == ""
    # To its place, if there is one.
    page = f"Title\n\nText:\n\n.. player\n\nMore.\n{text}\nThe end.\n"
    before, moved, after = players.placed(page).partition(text.strip())
    assert before.split() == ["Title", "Text:"]
    assert moved
    assert after.split() == ["More.", "The", "end."]
    unplaced = page.replace("\n.. player\n", "")
    assert players.placed(unplaced) == unplaced
