"""
Backpropagation by hand
=======================

One step of learning in the smallest network, with every number in it.

The network has two inputs, two hidden units and one output. It gets a single row, whose
class is 1. We follow the row forward to a prediction, follow its error back to each
weight, and take one step downhill. You can check every number with a pocket calculator.

Blue marks the forward pass: inputs, activations, weights. Red marks the backward pass:
errors and derivatives. Turn the pages with the buttons beside the play button, or press
play:

.. player

The same steps follow in words and code. ::

    python examples/watch/backpropagation_by_hand.py
"""

import numpy as np

x = np.array([1.0, 2.0])  # the inputs x1 and x2
y = 1.0  # the class
W1 = np.array([[0.5, -1.0], [0.25, 0.5]])  # from input (row) to hidden unit (column)
b1 = np.array([0.0, 0.5])  # intercepts of the hidden units
W2 = np.array([1.0, -2.0])  # from hidden unit to output
b2 = 0.5  # intercept of the output
rate = 0.5  # learning rate


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def show(**numbers):
    """Print numbers by their names, to four decimals."""
    for name, value in numbers.items():
        print(f"{name} = {np.array2string(np.asarray(value), precision=4)}")


# %%
# 1. Forward: the hidden units
# ----------------------------
# A hidden unit multiplies each input by a weight, adds up, and adds its intercept. For
# the first unit that is 1 * 0.5 + 2 * 0.25 + 0 = 1. This sum is its **net input** z1.
# Its **activation** a1 is the sigmoid of that, a number between 0 and 1.

z1 = x @ W1 + b1
a1 = sigmoid(z1)
show(z1=z1, a1=a1)

# %%
# 2. Forward: the output
# ----------------------
# The output does the same with the activations: 0.7311 * 1 + 0.6225 * (-2) + 0.5 =
# -0.0139. Its sigmoid is the **prediction** p, the probability of class 1. The network
# does not know: it says almost 1/2.

z2 = a1 @ W2 + b2
p = sigmoid(z2)
show(z2=z2, p=p)

# %%
# 3. The loss
# -----------
# The **loss** says how bad a prediction is. Here it is the log-loss, -ln p if the class
# is 1: it is 0 for p = 1, and grows without limit as p falls to 0. The aim is to make
# it smaller. So for each weight we ask: if it grew a little, how would the loss change?
# This is the derivative of the loss with respect to the weight, and all of them
# together are the **gradient**.

loss = -np.log(p)
show(loss=loss)

# %%
# 4. Back: the error of the output
# --------------------------------
# We start at the end. How does the loss change with the net input z2? This derivative
# is called the **error** of the output, delta2. For a sigmoid with the log-loss it is
# simply the prediction minus the target. It is below 0: a larger z2 would make the loss
# smaller.

delta2 = p - y
show(delta2=delta2)

# %%
# 5. Back: the errors of the hidden units
# ---------------------------------------
# Now one layer back. How does the loss change with the net input of the first hidden
# unit? Two factors stand between that and the output. If z1 grows a little, a1 grows by
# the **slope** of the sigmoid, a1 (1 - a1). If a1 grows a little, z2 grows by the
# weight W2. The chain rule multiplies: the error of a hidden unit is the error of the
# output, times the weight on the way, times the slope. So the error flows back along
# the same weights as the activations flowed forward. Hence the name.

slope = a1 * (1 - a1)
delta1 = delta2 * W2 * slope
show(slope=slope, delta1=delta1)

# %%
# 6. The gradient
# ---------------
# A weight multiplies the number at its start. So its derivative is **the number at its
# start times the error at its end**: an activation times delta2 in the output layer, an
# input times delta1 in the hidden layer. An intercept multiplies 1, so its derivative
# is the error itself.

W2_gradient, b2_gradient = a1 * delta2, delta2
W1_gradient, b1_gradient = np.outer(x, delta1), delta1
show(
    W2_gradient=W2_gradient,
    b2_gradient=b2_gradient,
    W1_gradient=W1_gradient,
    b1_gradient=b1_gradient,
)

# %%
# 7. The step
# -----------
# The gradient points uphill, so we step against it: each weight moves by its derivative
# times the learning rate. Where the derivative is below 0, the weight grows. Then we go
# forward again. The prediction has moved towards 1, and the loss has fallen.

W1_new, b1_new = W1 - rate * W1_gradient, b1 - rate * b1_gradient
W2_new, b2_new = W2 - rate * W2_gradient, b2 - rate * b2_gradient
a1_new = sigmoid(x @ W1_new + b1_new)
p_new = sigmoid(a1_new @ W2_new + b2_new)
show(p_new=p_new)
print(f"loss before and after: {loss:.4f}, {-np.log(p_new):.4f}")

# %%
# That is all of backpropagation. Training repeats it, row after row, or for many rows
# at once, and averages their gradients.
#
# Is it right?
# ------------
# There are two ways to check. First without any mathematics: make one weight a little
# larger, go forward, and see how much the loss has changed.

small = 1e-6
nudged = W1.copy()
nudged[0, 0] += small
nudged_p = sigmoid(sigmoid(x @ nudged + b1) @ W2 + b2)
print(f"derivative by the first weight: {W1_gradient[0, 0]:.4f}")
print(f"change of the loss by trial:    {(-np.log(nudged_p) - loss) / small:.4f}")

# %%
# Second, the package. It is given these weights, draws the same numbers, and takes the
# same step.

import matplotlib.pyplot as plt  # noqa: E402

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier  # noqa: E402
from sklearn_bp.display import BackpropDisplay  # noqa: E402

settings = MLP_DEFAULTS | {
    "hidden_layer_sizes": 2,
    "activation": "logistic",
    "solver": "sgd",
    "learning_rate_init": rate,
    "momentum": 0,
    "alpha": 0,
}
network = TwoLayerClassifier(**settings).partial_fit([x], [y], classes=[0, 1])
network.coefs_ = [W1.copy(), W2.reshape(2, 1)]
network.intercepts_ = [b1.copy(), np.array([b2])]
display = BackpropDisplay.from_estimator(network, x, y)
network.partial_fit([x], [y])
differences = [
    display.deltas[0] - delta1,
    display.deltas[1] - delta2,
    display.gradients[0] - W1_gradient,
    display.gradients[1][:, 0] - W2_gradient,
    network.coefs_[0] - W1_new,
    network.coefs_[1][:, 0] - W2_new,
]
largest = max(np.abs(difference).max() for difference in differences)
print(f"largest difference from the package: {largest:.0e}")

# %%
# The pages above
# ---------------
# This is how they are drawn.

from matplotlib.animation import FuncAnimation  # noqa: E402

BLUE, RED, GREY = "#1f5fa8", "#b3361e", "#9a9a9a"
PLACES = {"x1": (0, 1), "x2": (0, 0), "h1": (1, 1), "h2": (1, 0), "out": (2, 0.5)}


def told(value):
    """A number to three decimals, or as short as it is."""
    short = f"{value:g}" if round(value, 2) == value else f"{value:.3f}"
    return short.replace("-", "\N{MINUS SIGN}")


def terms(left, right, *more):
    """left[0]·right[0] + left[1]·right[1] + more."""
    pairs = [
        f"{told(a)}·{told(b)}" if b >= 0 else f"{told(a)}·({told(b)})"
        for a, b in zip(left, right, strict=True)
    ]
    return " + ".join([*pairs, *map(told, more)])


def pages():
    """For each page its title, its lines, and the names of what it adds."""
    yield (
        "The network and its weights",
        ["a row of class 1, with the inputs x1 and x2"],
        "",
    )
    for j in (0, 1):
        unit = f"h{j + 1}"
        lines = [
            f"net input  {terms(x, W1[:, j], b1[j])} = {told(z1[j])}",
            f"activation  sigmoid({told(z1[j])}) = {told(a1[j])}",
        ]
        yield f"Forward: hidden unit {unit}", lines, unit
    lines = [
        f"net input  {terms(a1, W2, b2)} = {told(z2)}",
        f"prediction  sigmoid({told(z2)}) = {told(p)}",
    ]
    yield "Forward: the output", lines, "out"
    yield "The loss", [f"of class 1  \N{MINUS SIGN}ln({told(p)}) = {told(loss)}"], ""
    lines = [f"prediction minus class  {told(p)} \N{MINUS SIGN} 1 = {told(delta2)}"]
    yield "Back: the error of the output", lines, "d_out"
    for j in (0, 1):
        unit = f"h{j + 1}"
        lines = [
            f"slope  {told(a1[j])}·(1 \N{MINUS SIGN} {told(a1[j])}) = {told(slope[j])}",
            f"error  {terms([delta2], [W2[j]])}·{told(slope[j])} = {told(delta1[j])}",
        ]
        yield f"Back: the error of {unit}", lines, f"d_{unit}"
    lines = [
        f"activation of h{j + 1} times error of the output\n"
        f"    {terms([a1[j]], [delta2])} = {told(W2_gradient[j])}"
        for j in (0, 1)
    ]
    yield "The gradient of the output layer", lines, "dW2"
    lines = [
        f"input x{i + 1} times errors of h1 and h2\n    "
        + ",  ".join(
            f"{terms([x[i]], [delta1[j]])} = {told(W1_gradient[i, j])}" for j in (0, 1)
        )
        for i in (0, 1)
    ]
    lines.append("the derivative by an intercept is the error of its unit")
    yield "The gradient of the hidden layer", lines, "dW1"
    lines = [
        f"new weight = old weight \N{MINUS SIGN} {rate} · derivative; for example",
        f"    {told(W1[0, 0])} \N{MINUS SIGN} {rate}·({told(W1_gradient[0, 0])}) "
        f"= {told(W1_new[0, 0])}",
    ]
    yield "The step", lines, "new"
    lines = [
        f"prediction {told(p)} \N{RIGHTWARDS ARROW} {told(p_new)}",
        f"loss {told(loss)} \N{RIGHTWARDS ARROW} {told(-np.log(p_new))}",
    ]
    yield "Forward again", lines, "again"


def draw_unit(ax, name, value, error, intercept=None, fill="white"):
    """A circle with its activation and, below, its error; above and below its names."""
    px, py = PLACES[name]
    ax.scatter(px, py, s=2100, color=fill, edgecolors="black", zorder=2)
    style = {"ha": "center", "va": "center", "zorder": 3}
    ax.text(px, py + 0.19, name, fontsize=9, color="black", **style)
    if intercept is not None:
        below = f"intercept {told(intercept)}"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(px, py - 0.2, below, fontsize=9, color=BLUE, bbox=box, **style)
    if value is not None:
        ax.text(px, py + 0.045, told(value), color=BLUE, fontsize=10, **style)
    if error is not None:
        ax.text(px, py - 0.06, told(error), color=RED, fontsize=10, **style)


def draw_edge(ax, start, end, weight, derivative):
    """A line with its weight and, below, the derivative by it."""
    (x0, y0), (x1, y1) = PLACES[start], PLACES[end]
    ax.plot([x0, x1], [y0, y1], color=GREY, lw=1 + abs(weight), zorder=0)
    # Of crossing lines the numbers stand near the start.
    share = 0.34
    px, py = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    style = {"ha": "center", "va": "center", "fontsize": 9, "bbox": box, "zorder": 1}
    ax.text(px, py + 0.05, told(weight), color=BLUE, **style)
    if derivative is not None:
        ax.text(px, py - 0.05, told(derivative), color=RED, **style)


def fill_of(unit, now):
    """Pale blue or red where a page adds an activation or an error."""
    if now & {unit, "again"}:
        return "#d9e7f6"
    return "#f8dcd6" if f"d_{unit}" in now else "white"


def play():
    """The player, a page at a time."""
    figure, ax = plt.subplots(figsize=(5.2, 5.2), dpi=90)
    figure.subplots_adjust(0, 0, 1, 1)
    book = list(pages())

    def turn(i):
        title, lines, added = book[i]
        seen = {name for _, _, names in book[: i + 1] for name in names.split()}
        now = set(added.split())
        ax.clear()
        ax.set(xlim=(-0.3, 2.3), ylim=(-0.85, 1.45))
        ax.set_axis_off()
        weights = (W1_new, W2_new) if "new" in seen else (W1, W2)
        intercepts = [*b1_new, b2_new] if "new" in seen else [*b1, b2]
        active = a1_new if "again" in seen else a1
        output = p_new if "again" in seen else p
        back = "new" not in seen  # after the step, what flowed back has done its work
        for j, unit in enumerate(("h1", "h2")):
            for k, entry in enumerate(("x1", "x2")):
                derivative = W1_gradient[k, j] if back and "dW1" in seen else None
                draw_edge(ax, entry, unit, weights[0][k, j], derivative)
            derivative = W2_gradient[j] if back and "dW2" in seen else None
            draw_edge(ax, unit, "out", weights[1][j], derivative)
            error = delta1[j] if back and f"d_{unit}" in seen else None
            value = active[j] if unit in seen else None
            draw_unit(ax, unit, value, error, intercepts[j], fill_of(unit, now))
        for name, value in zip(("x1", "x2"), x, strict=True):
            draw_unit(ax, name, value, None)
        error = delta2 if back and "d_out" in seen else None
        value = output if "out" in seen else None
        draw_unit(ax, "out", value, error, intercepts[2], fill_of("out", now))
        ax.text(-0.25, 1.36, f"{i + 1}. {title}", fontsize=12, weight="bold")
        ax.text(-0.25, -0.3, "\n".join(lines), fontsize=10, va="top", linespacing=1.5)

    turn(0)
    return FuncAnimation(figure, turn, len(book), interval=2500, repeat=False)


if __name__ == "__main__":
    player = play()
    plt.show()
