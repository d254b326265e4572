"""
A sigmoid that saturates, beside a relu
=======================================

Watch one hidden unit get stuck where its activation is flat, while another learns.

Backpropagation multiplies the error that reaches a hidden unit by the slope of the
unit's activation at its net input. A sigmoid is almost flat far from 0: there the slope
is close to 0, almost no error gets through, and the unit hardly learns, whether it is
right or wrong. It is *saturated*. A relu has slope 1 wherever it is above 0, however
far.

Both networks here have one hidden unit, the same five rows, the same starting weights
and the same learning rate. The start is a bad one: net inputs from 2 to 6, which are
far out for a sigmoid. Above are the activations with the five rows on them, and red
strokes as steep as the slope; below are the predictions. Press play:

.. player

The relu's strokes all have slope 1. Its first predictions are far outside the picture,
but within 300 steps they lie on the targets. The sigmoid's first steps only move the
output's intercept, to the mean of the targets. Then every row has almost the same
prediction, since a saturated unit says almost the same for every row. Only the row with
the smallest net input has some slope, and through it the unit creeps back to where it
can learn. That takes thousands of steps.

So weights should start small and inputs should be scaled, which keeps net inputs near
0; the package does both. On the output layer, the log-loss cancels the slope. A relu
has a weakness of its own: below 0 its slope is exactly 0, and a unit that is below 0
for every row never learns again.

The table below has the mean slope over the rows, the share of the error that gets
through: 3 % in the sigmoid, all of it in the relu. ::

    python examples/watch/saturation.py
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import MLP_DEFAULTS, TwoLayerRegressor

X = np.linspace(-1, 1, 5).reshape(-1, 1)
y = np.linspace(0, 1, 5)
STEPS = [0, 1, 2, 3, 4, 6, 8, *range(10, 100, 15), *range(100, 1001, 75)]
STEPS += [1250, 1500, 1750, 2000, 2500, 3000]
PRINTED = (0, 10, 100, 1000, 3000)
NAMES = {"logistic": "sigmoid", "relu": "relu"}
BLUE, RED = "#1f5fa8", "#b3361e"


def value(activation, z):
    """The activation of net inputs."""
    return expit(z) if activation == "logistic" else np.maximum(z, 0)


def slope(activation, a):
    """Its derivative, in terms of the activation."""
    return a * (1 - a) if activation == "logistic" else (a > 0) * 1.0


def train(activation):
    """The weights w1, w2 and intercepts b1, b2 at each of the STEPS."""
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 1,
        "activation": activation,
        "solver": "sgd",
        "learning_rate_init": 0.05,
        "momentum": 0,
        "batch_size": "full",
        "alpha": 0,
        "n_iter_no_change": np.inf,
    }
    coefs = [np.array([[2.0]]), np.array([[1.0]])]  # the same bad start for both
    intercepts = [np.array([4.0]), np.array([0.0])]
    found = [coefs + intercepts]
    with warnings.catch_warnings():  # each fit is meant to end early
        warnings.simplefilter("ignore", ConvergenceWarning)
        for n_steps in np.diff(STEPS):
            network = TwoLayerRegressor(**settings | {"max_iter": int(n_steps)})
            network.fit(X, y, coef_init=coefs, intercept_init=intercepts)
            coefs, intercepts = network.coefs_, network.intercepts_
            found.append(coefs + intercepts)
    return [[float(w.ravel()[0]) for w in weights] for weights in found]


def passes(activation, weights):
    """Forward and back: z1, a1, p, and the hidden error delta1 of each row."""
    w1, w2, b1, b2 = weights
    z1 = X[:, 0] * w1 + b1
    a1 = value(activation, z1)
    p = a1 * w2 + b2
    delta2 = p - y  # output error
    delta1 = delta2 * w2 * slope(activation, a1)  # hidden error
    return z1, a1, p, delta1


def loss(p):
    """Half the mean squared error."""
    return np.mean((p - y) ** 2) / 2


def main():
    runs = {activation: train(activation) for activation in NAMES}
    print("        |     sigmoid      |       relu")
    print("  step  |    loss    slope |    loss    slope")
    for i, step in enumerate(STEPS):
        if step not in PRINTED:
            continue
        cells = []
        for activation, found in runs.items():
            _, a1, p, _ = passes(activation, found[i])
            cells.append(f"{loss(p):8.4f} {slope(activation, a1).mean():8.3f}")
        print(f"{step:6}  |{' |'.join(cells)}")
    return (runs,)


def play(runs):
    """The player: from step to step.

    Above are the activations with the five rows on them, below the predictions.
    """
    figure, axes = plt.subplots(2, 2, figsize=(6.5, 5.5), dpi=80, layout="constrained")
    drawn = []
    for (above, below), (activation, found) in zip(axes.T, runs.items(), strict=True):
        line = np.linspace(-3, 7, 200)
        above.plot(line, value(activation, line), color="grey")
        above.set(xlim=(-3, 7), xlabel="net input", ylabel="activation")
        high = 1 if activation == "logistic" else 5
        above.set(ylim=(-0.2 * high, 1.4 * high), xticks=[0, 5], yticks=[0, high])
        below.plot(X[:, 0], y, "o", mfc="white", mec="black", label="target")
        below.set(ylim=(-0.3, 1.3), xlabel="input", ylabel="output")
        below.set(xticks=[-1, 0, 1], yticks=[0, 0.5, 1])
        tangents = [above.plot([], [], color=RED, lw=2)[0] for _ in y]
        (rows,) = above.plot([], [], "o", color=BLUE)
        (outputs,) = below.plot([], [], "o-", color=BLUE, ms=4, label="prediction")
        drawn.append((activation, found, above, below, tangents, rows, outputs))
    axes[1, 0].legend(frameon=False, fontsize="small", loc="upper left")

    def show(i):
        for activation, found, above, below, tangents, rows, outputs in drawn:
            z1, a1, p, _ = passes(activation, found[i])
            for tangent, z, a in zip(tangents, z1, a1, strict=True):
                steep = slope(activation, a)
                ends = np.array([-0.8, 0.8]) / np.hypot(1, steep)
                tangent.set_data(z + ends, a + steep * ends)
            rows.set_data(z1, a1)
            outputs.set_data(X[:, 0], p)
            above.set_title(f"{NAMES[activation]}, step {STEPS[i]}")
            below.set_title(f"loss {loss(p):.4f}", fontsize="medium")

    show(0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing moves but what is learned
    return FuncAnimation(figure, show, len(STEPS), interval=300, repeat=False)


if __name__ == "__main__":
    player = play(*main())
    plt.show()
