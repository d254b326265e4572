"""
XOR: what the hidden layer sees
===============================

Watch a hidden layer move four points until one line separates them.

XOR is 1 where exactly one of its two inputs is 1. No straight line separates (0,1) and
(1,0) from (0,0) and (1,1), so a single layer cannot compute it. A network with two
hidden units can (Rumelhart, Hinton and Williams 1986). Its hidden layer gives each
point new coordinates, the activations of the two units, and in these coordinates one
line is enough.

On the left are the inputs. Each hidden unit is 1/2 on its dashed line. On the right are
the same four points as the hidden layer sees them: the axes are the activations of the
two units, and the output is 1/2 on the black line. Press play:

.. player

At first the output is near 1/2 for each point. Then the points drift apart. (0,1) and
(1,0) move towards each other, until the line of the output has them on one side, and
the other two points on the other side. On the left, the two dashed lines end up as the
edges of a band around (0,1) and (1,0). ::

    python examples/watch/xor_hidden_layer.py
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from scipy.special import expit

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([0, 1, 1, 0])
EPOCHS = [*range(1, 132, 4), 150, 180, 220, 300, 400]
BESIDE = [(8, -12), (-30, 6), (8, -12), (8, 6)]  # where the labels of points stand
BLUE, RED = "#1f5fa8", "#b3361e"


def train():
    """Weights and intercepts of both layers after each epoch."""
    # One network of sigmoids, the squared error and batch gradient descent:
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 2,
        "activation": "logistic",
        "loss": "squared_error",
        "solver": "sgd",
        "batch_size": "full",
        "learning_rate_init": 2.0,
        "momentum": 0.9,
        "alpha": 0,
        "init": "normal",
        "random_state": 0,
    }
    network, steps = TwoLayerClassifier(**settings), []
    for _ in range(EPOCHS[-1]):
        network.partial_fit(X, y, classes=[0, 1])
        (W1, W2), (b1, b2) = network.coefs_, network.intercepts_
        steps.append((W1.copy(), b1.copy(), W2[:, 0].copy(), float(b2[0])))
    return steps, network.loss_curve_


def forward(step, X):
    """Activations of the hidden units, (n, 2), and outputs, (n,)."""
    W1, b1, w2, b2 = step
    a1 = expit(X @ W1 + b1)
    return a1, expit(a1 @ w2 + b2)


def main():
    steps, curve = train()
    print("epoch     loss    output for (0,0)  (0,1)  (1,0)  (1,1)")
    for epoch in (1, 20, 50, 100, 200, EPOCHS[-1]):
        _, p = forward(steps[epoch - 1], X)
        outputs = "".join(f"{value:7.2f}" for value in p)
        print(f"{epoch:5}{curve[epoch - 1]:9.4f}{'':12}{outputs}")
    return steps, curve


def line(ax, weights, intercept, **style):
    """Where weights[0] x1 + weights[1] x2 + intercept is 0."""
    ends = np.array([-1.0, 2.0])
    ax.plot(ends, -(intercept + weights[0] * ends) / weights[1], **style)


def paint(axes, step, epoch):
    """The plane of the inputs, and that of the hidden units."""
    left, right = axes
    W1, b1, w2, b2 = step
    ticks = np.linspace(-0.3, 1.3, 50)
    x1, x2 = np.meshgrid(ticks, ticks)
    _, surface = forward(step, np.column_stack([x1.ravel(), x2.ravel()]))
    behind = np.column_stack([x1.ravel(), x2.ravel()])
    in_hidden = expit(behind @ w2 + b2).reshape(x1.shape)
    surfaces = surface.reshape(x1.shape), in_hidden
    for ax, values, points in zip(
        axes, surfaces, (X, forward(step, X)[0]), strict=True
    ):
        ax.clear()
        ax.contourf(x1, x2, values, np.linspace(0, 1, 9), cmap="RdBu_r", alpha=0.6)
        ax.scatter(*points.T, c=[RED if label else BLUE for label in y], s=90, zorder=3)
        ax.set(xlim=(-0.3, 1.3), ylim=(-0.3, 1.3), xticks=[0, 1], yticks=[0, 1])
    for weights, intercept in zip(W1.T, b1, strict=True):
        line(left, weights, intercept, color="black", ls="--", lw=1)
    line(right, w2, b2, color="black")
    for point, (x, z), place in zip(forward(step, X)[0], X, BESIDE, strict=True):
        beside = {"xytext": place, "textcoords": "offset points", "fontsize": 8}
        right.annotate(f"({x},{z})", point, **beside)
    left.set(title=f"inputs, epoch {epoch}", xlabel="x1", ylabel="x2")
    right.set(title="hidden layer", xlabel="hidden unit 1", ylabel="hidden unit 2")


def play(steps, curve):
    """The player: from epoch to epoch."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.8), dpi=80, layout="constrained")

    def show(i):
        paint(axes, steps[EPOCHS[i] - 1], EPOCHS[i])

    show(0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing moves but what is learned
    return FuncAnimation(figure, show, len(EPOCHS), interval=300, repeat=False)


if __name__ == "__main__":
    player = play(*main())
    plt.show()
