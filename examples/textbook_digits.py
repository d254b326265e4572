"""
The network of the textbooks
============================

Sigmoids, squared error and plain gradient descent on handwritten digits.

The network has 64 inputs, 30 hidden units and 10 output units, all of them sigmoids. It
is trained for 30 epochs by plain mini-batch gradient descent on the squared error, with
a rate of 3.0, batches of 10, and starting weights and intercepts from the unit normal
distribution. The script prints the accuracy on a held-out quarter for ten seeds.

Sometimes a seed stays near 88 %, because an output unit is dead. The first steps drove
its sigmoid far into saturation, where the delta of the squared error,
(p - y) p (1 - p), is almost 0, and its digit is never predicted again. This is a
property of the method; with loss="log_loss" it does not happen. ::

    python examples/textbook_digits.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

N_SEEDS, N_EPOCHS, SHOWN = 10, 30, (1, 5, 10, 20, 30)


def train(seed):
    """The network of one seed, its held-out rows, and their accuracy each epoch."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16, y, test_size=0.25, stratify=y, random_state=seed
    )
    # One network on the data as it is, and nothing else:
    settings = MLP_DEFAULTS | {
        "hidden_layer_sizes": 30,
        "activation": "logistic",
        "loss": "squared_error",
        "solver": "sgd",
        "learning_rate_init": 3.0,
        "batch_size": 10,
        "init": "normal",
        "momentum": 0,
        "alpha": 0,
        "random_state": seed,
    }
    network = TwoLayerClassifier(**settings)
    accuracy = []
    for _ in range(N_EPOCHS):  # together the same as fit with max_iter=30
        network.partial_fit(X_train, y_train, classes=np.arange(10))
        accuracy.append(network.score(X_test, y_test))
    return network, X_test, accuracy


def main(n_seeds=N_SEEDS):
    """Print one line per seed; return the accuracies of each seed after each epoch."""
    print("Accuracy on a held-out quarter after so many epochs, %")
    print("seed" + "".join(f"{epoch:8}" for epoch in SHOWN))
    curves = []
    for seed in range(n_seeds):
        network, X_test, accuracy = train(seed)
        dead = np.setdiff1d(network.classes_, network.predict(X_test))
        cells = "".join(f"{100 * accuracy[epoch - 1]:8.1f}" for epoch in SHOWN)
        note = f"   dead output: {', '.join(map(str, dead))}" if len(dead) else ""
        print(f"{seed:4}{cells}{note}", flush=True)
        curves.append(accuracy)
    print(f"\nMedian over {n_seeds} seeds: {100 * np.median(curves, axis=0)[-1]:.1f} %")
    return curves


def draw(curves):
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained")
    ax.plot(range(1, N_EPOCHS + 1), np.transpose(curves))
    ax.set(xlabel="epoch", ylabel="accuracy on a held-out quarter", ylim=(0.5, 1))
    ax.grid(alpha=0.3)
    plt.show()


if __name__ == "__main__":
    draw(main())
