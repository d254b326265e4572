"""
Two moons: lines become a boundary
==================================

Watch six hidden units turn into a curved decision boundary.

Each hidden unit computes tanh(w1 x1 + w2 x2 + b). This is 0 on a straight line through
the plane: on one side the unit is positive, on the other negative. The
output adds up the six units, each with a weight of its own, and the sum decides the
class. So a two-layer network builds a curve from straight lines, and learning means
moving the lines.

Blue and red are the two classes, and pale colors mean that the network is not sure. The
black curve is the boundary. The dashed lines are those of the hidden units, darker the
larger the unit's output weight is. Press play:

.. player

In the first epochs the network is little better than a single line. Then the units
part. Some lines turn towards the tip of one moon, some towards the other, and the
boundary bends where two of them cross. Later the lines hardly move, and the weights
only grow: the network becomes surer, and the loss on new rows stops falling. Early
stopping ends a fit there. ::

    python examples/watch/two_moons.py
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

EPOCHS = [1, 2, 3, 4, 6, 8, *range(10, 60, 4), *range(60, 201, 10)]
PRINTED = (1, 10, 30, 60, 100, 200)


def train():
    """The network after each of the EPOCHS: weights, intercepts, surface and losses."""
    X, y = make_moons(300, noise=0.18, random_state=0)
    X, X_new, y, y_new = train_test_split(X, y, test_size=0.5, random_state=0)
    # One network on the data as it is, and nothing else:
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 6,
        "activation": "tanh",
        "solver": "adam",
        "learning_rate_init": 0.03,
        "batch_size": 30,
        "random_state": 3,
    }
    network = TwoLayerClassifier(**settings)
    x1, x2 = np.meshgrid(np.linspace(-2, 3, 60), np.linspace(-1.5, 2, 45))
    plane = np.column_stack([x1.ravel(), x2.ravel()])
    frames = []
    for epoch in range(1, EPOCHS[-1] + 1):
        network.partial_fit(X, y, classes=[0, 1], X_val=X_new, y_val=y_new)
        if epoch in EPOCHS:
            surface = network.predict_proba(plane)[:, 1].reshape(x1.shape)
            accuracy = network.score(X_new, y_new)
            weights = [w.copy() for w in (*network.coefs_, network.intercepts_[0])]
            frames.append((epoch, weights, surface, accuracy))
    curves = network.data_loss_curve_, network.validation_loss_curve_
    return (X, y), (x1, x2), frames, curves


def main():
    data, plane, frames, curves = train()
    print("epoch   training loss   loss on new rows   accuracy on new rows")
    for epoch, _, _, accuracy in frames:
        if epoch in PRINTED:
            training, new = (curve[epoch - 1] for curve in curves)
            print(f"{epoch:5}{training:16.3f}{new:19.3f}{accuracy:23.1%}")
    return data, plane, frames, curves


def paint(ax, data, plane, frame):
    """The surface, the lines of the hidden units, and the training rows."""
    epoch, (W1, W2, b1), surface, _ = frame
    (X, y), (x1, x2) = data, plane
    ax.clear()
    ax.contourf(x1, x2, surface, np.linspace(0, 1, 9), cmap="RdBu_r", alpha=0.6)
    ax.contour(x1, x2, surface, [0.5], colors="black")
    ends = np.array([-2.0, 3.0])
    strength = np.abs(W2[:, 0]) / np.abs(W2).max()
    for (w1, w2), b, alpha in zip(W1.T, b1, strength, strict=True):
        ax.plot(ends, -(b + w1 * ends) / w2, "--", color="black", alpha=alpha, lw=1)
    ax.scatter(*X.T, c=y, cmap="RdBu_r", s=14, edgecolors="white", linewidths=0.5)
    ax.set(xlim=(-2, 3), ylim=(-1.5, 2), xticks=[], yticks=[], title=f"epoch {epoch}")


def losses(ax, curves):
    """Both curves, and a line at the epoch that is shown."""
    for curve, label in zip(curves, ("training rows", "new rows"), strict=True):
        ax.plot(np.arange(len(curve)) + 1, curve, label=label)
    ax.set(xscale="log", xlabel="epoch", ylabel="loss")
    ax.legend(frameon=False, loc="upper right")
    return ax.axvline(1, color="grey", linestyle=":")


def play(data, plane, frames, curves):
    """The player: from epoch to epoch."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(5.5, 5.5), dpi=80, height_ratios=(5, 2), layout="constrained"
    )
    line = losses(below, curves)

    def show(i):
        paint(above, data, plane, frames[i])
        line.set_xdata([frames[i][0]] * 2)

    show(0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing moves but what is learned
    return FuncAnimation(figure, show, len(frames), interval=300, repeat=False)


if __name__ == "__main__":
    player = play(*main())
    plt.show()
