"""
XOR with two hidden units
=========================

See how two hidden units solve what a single layer cannot.

No single layer can compute XOR, because no straight line separates (0,1) and (1,0) from
(0,0) and (1,1). A hidden layer moves the four points to where a line can (Rumelhart,
Hinton and Williams 1986). The network is trained by batch gradient descent on the
squared error of sigmoids, until the error is small enough. ::

    python examples/xor.py
"""

import numpy as np
from scipy.special import expit

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([0, 1, 1, 0])


def learn(random_state=0):
    """The fitted network; some starts end in a local minimum, this one does not."""
    # One network on the data as it is, and nothing else:
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
        "max_iter": 5000,
        "loss_threshold": 0.001,
        "n_iter_no_change": np.inf,
        "random_state": random_state,
    }
    return TwoLayerClassifier(**settings).fit(X, y)


def hidden(network, X):
    """The hidden representation a1, (n_rows, 2)."""
    return expit(X @ network.coefs_[0] + network.intercepts_[0])


def main():
    network = learn()
    a1 = hidden(network, X)
    p = network.predict_proba(X)[:, 1]
    print(f"Squared error below 0.001 after {network.n_iter_} epochs.\n")
    print("  x1  x2  target  output    hidden 1  hidden 2")
    for (x1, x2), target, output, (h1, h2) in zip(X, y, p, a1, strict=True):
        print(f"{x1:4}{x2:4}{target:8}{output:8.3f}{h1:12.3f}{h2:10.3f}")
    w, b = network.coefs_[1][:, 0], network.intercepts_[1][0]
    print(
        "\nThe output is above 1/2 where, in the hidden units' plane,\n"
        f"    {w[0]:.2f} hidden1 {w[1]:+.2f} hidden2 {b:+.2f} > 0:\n"
        "a straight line now separates the two classes."
    )
    return network


def draw(network):
    """The hidden units' plane, and the line that separates the classes in it."""
    import matplotlib.pyplot as plt

    a1 = hidden(network, X)
    w, b = network.coefs_[1][:, 0], network.intercepts_[1][0]
    _, ax = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    ax.scatter(*a1.T, c=y, cmap="coolwarm", s=80, zorder=2)
    for point, (x1, x2) in zip(a1, X, strict=True):
        beside = {"xytext": (8, 8), "textcoords": "offset points"}
        ax.annotate(f"({x1}, {x2})", point, **beside)
    ends = np.array([-0.1, 1.1])
    ax.plot(ends, -(b + w[0] * ends) / w[1], color="grey")
    ax.set(xlabel="hidden 1", ylabel="hidden 2", xlim=(-0.1, 1.2), ylim=(-0.1, 1.2))
    plt.show()


if __name__ == "__main__":
    draw(main())
