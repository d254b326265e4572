"""
Momentum against none
=====================

Watch two runs from the same start: one rolls down the valley, one creeps.

Plain gradient descent steps against the gradient, and forgets it. Momentum keeps a
velocity v: each step adds the new gradient to what is left of the old velocity::

    v = 0.9 v - rate * gradient
    weights = weights + v

Where gradients change their sign from step to step, they cancel out. Where they agree,
they add up, to ten times the step. To see this, a network must be small enough to draw:
one input, one hidden tanh unit, one output. Its data is symmetric about 0, so both
intercepts stay at 0, and only the two weights learn: the prediction is w2 tanh(w1 x).

Each point of the plane on the left is a pair of weights, and darker means a larger
loss. The lowest loss, 0, is at the star. All good pairs lie in a long, curved valley: a
larger w1 can be made up for by a smaller w2. Across the valley the loss is steep, along
it almost flat. Press play:

.. player

Both runs drop into the valley within a few steps. Without momentum the red run then
creeps: the valley's floor is nearly flat, so the gradient is small, and so is each
step. With momentum the blue run first overshoots, climbs the opposite side and swings
back. On the floor of the valley it gathers speed, and reaches the star while the red
run has gone a third of the way.

The price is the overshoot: with a larger rate it would leave the valley altogether.
Adam, the default solver, also divides each weight's step by the size of its recent
gradients. ::

    python examples/watch/momentum.py
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import MLP_DEFAULTS, TwoLayerRegressor

X = np.linspace(-1, 1, 9).reshape(-1, 1)
y = 2 * np.tanh(X[:, 0])  # so the best weights are w1 = 1 and w2 = 2
START, RATE = 3.0, 0.3
STEPS = [*range(20), *range(20, 61, 2), *range(70, 151, 10)]
PRINTED = (0, 5, 10, 20, 50, 100, 150)
COLORS = {0.0: "#b3361e", 0.9: "#1f5fa8"}


def start(random_state, fan_in, fan_out, glorot_factor):
    """Starting weights, in place of random ones, and intercepts."""
    return np.full((fan_in, fan_out), START), np.zeros(fan_out)


def after(n_steps, momentum):
    """Both weights after this many steps."""
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 1,
        "activation": "tanh",
        "solver": "sgd",
        "learning_rate_init": RATE,
        "momentum": momentum,
        "nesterovs_momentum": False,
        "batch_size": "full",
        "alpha": 0,
        "init": start,
        "max_iter": n_steps,
        "n_iter_no_change": np.inf,
    }
    if n_steps == 0:
        return [START, START]
    with warnings.catch_warnings():  # it is meant to end early
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = TwoLayerRegressor(**settings).fit(X, y)
    return [float(W[0, 0]) for W in network.coefs_]


def loss(w1, w2):
    """Half the mean squared error, for numbers or arrays of weights."""
    p = np.multiply.outer(w2, np.ones(len(X))) * np.tanh(np.multiply.outer(w1, X[:, 0]))
    return np.mean((p - y) ** 2, axis=-1) / 2


def main():
    paths = {
        momentum: np.array([after(n, momentum) for n in range(STEPS[-1] + 1)])
        for momentum in COLORS
    }
    print("        |     no momentum        |    momentum 0.9")
    print("  step  |    w1     w2      loss |    w1     w2      loss")
    for step in PRINTED:
        cells = []
        for path in paths.values():
            w1, w2 = path[step]
            cells.append(f"{w1:6.2f} {w2:6.2f} {loss(w1, w2):9.5f}")
        print(f"{step:6}  |{' |'.join(cells)}")
    return (paths,)


def play(paths):
    """The player: from step to step.

    On the left are the paths so far over the loss, on the right the loss against steps.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(7.5, 4), dpi=80, layout="constrained"
    )
    w1, w2 = np.meshgrid(np.linspace(0, 3.6, 73), np.linspace(-0.5, 3.3, 77))
    levels = np.geomspace(1e-5, 10, 14)
    left.contourf(w1, w2, loss(w1, w2), levels, norm="log", cmap="Greys", alpha=0.6)
    left.plot(1, 2, "*", color="gold", markeredgecolor="black", markersize=14)
    left.set(xlabel="w1", ylabel="w2", xlim=(0, 3.6), ylim=(-0.5, 3.3))
    left.set(xticks=range(4), yticks=range(4))
    right.set(yscale="log", xlabel="step", title="loss")
    right.set(xlim=(-3, STEPS[-1] + 3), ylim=(1e-6, 5), yticks=[1e-6, 1e-3, 1])
    right.minorticks_off()
    drawn = []
    for momentum, path in paths.items():
        style = {"color": COLORS[momentum], "label": f"momentum {momentum:g}"}
        trails = [*left.plot([], [], **style), *right.plot([], [], **style)]
        style = {"color": COLORS[momentum], "markeredgecolor": "white", "zorder": 3}
        ends = [*left.plot([], [], "o", **style), *right.plot([], [], "o", **style)]
        curves = path, np.column_stack([np.arange(len(path)), loss(*path.T)])
        drawn += zip(curves, trails, ends, strict=True)
    right.legend(frameon=False, fontsize="small", loc="lower left")

    def show(step):
        for curve, trail, end in drawn:
            trail.set_data(*curve[: step + 1].T)
            end.set_data(*curve[step : step + 1].T)
        left.set_title(f"step {step}")

    show(0)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # nothing moves but what is learned
    return FuncAnimation(figure, show, STEPS, interval=250, repeat=False)


if __name__ == "__main__":
    player = play(*main())
    plt.show()
