"""
Any acyclic graph of units
==========================

Backpropagation does not need layers. If no unit feeds back to itself, you can compute
activations in topological order and errors in reverse order.

The error of a unit is the sum over the edges that leave it. A weight that several edges
share gets the sum of their derivatives. The example uses irises: the units s1, s2, s3
see the length and width of the sepals, and p1, p2, p3 see those of the petals with the
same weights. Two more units see these and the inputs; the second one also sees the
first, and the outputs see everything. ::

    python examples/acyclic_network.py
"""

from graphlib import TopologicalSorter
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from sklearn_bp.activations import Tanh
from sklearn_bp.building_blocks import gradient_error, stepper
from sklearn_bp.display import LossCurveDisplay
from sklearn_bp.losses import CategoricalLogLoss
from sklearn_bp.optimizers import Adam


class AcyclicNetwork:
    """Units and their edges (source, target, weight).

    There is one input per feature. The net inputs of the outputs are the scores, and
    the unit "bias" is always 1. Units and weights are any hashable objects; edges with
    equal weights share them.
    """

    def __init__(self, inputs, outputs, edges, seed=0):
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.activation, self.loss = Tanh(), CategoricalLogLoss()
        self.numbers = {}  # of each weight in theta
        self.incoming = {}  # (source, number of the weight) for each edge to a unit
        for source, target, weight in edges:
            number = self.numbers.setdefault(weight, len(self.numbers))
            self.incoming.setdefault(target, []).append((source, number))
        graph = {unit: [s for s, _ in into] for unit, into in self.incoming.items()}
        # CycleError if there is no such order.
        self.order = [u for u in TopologicalSorter(graph).static_order() if u in graph]
        rng = np.random.RandomState(seed)
        self.theta = rng.normal(scale=0.5, size=len(self.numbers))

    def forward(self, X):
        """The activation of each unit, (n_rows,), and predictions, (n_rows, k)."""
        a = dict(zip(self.inputs, X.T, strict=True)) | {"bias": np.ones(len(X))}
        for unit in self.order:
            a[unit] = sum(
                self.theta[w] * a[source] for source, w in self.incoming[unit]
            )
            if unit not in self.outputs:
                self.activation.forward(a[unit])  # in place
        p = np.column_stack([a[unit] for unit in self.outputs])
        self.loss.forward(p)
        return a, p

    def loss_and_gradient(self, X, Y):
        """The mean loss, and its gradient as one flat vector."""
        a, p = self.forward(X)
        delta2 = np.empty_like(p)
        self.loss.backward(p, Y, delta2)
        delta = {unit: np.zeros(len(X)) for unit in a}
        delta |= dict(zip(self.outputs, delta2.T, strict=True))
        gradient = np.zeros_like(self.theta)
        for unit in reversed(self.order):
            if unit not in self.outputs:
                self.activation.backward(a[unit], delta[unit])  # in place
            for source, w in self.incoming[unit]:
                gradient[w] += delta[unit] @ a[source]
                delta[source] += self.theta[w] * delta[unit]
        return self.loss.value(p, Y).mean(), gradient / len(X)

    def fit(self, X, Y, n_steps, rate=0.02):
        """Adam on all rows at once; return the loss before each step."""
        step, curve = stepper(Adam(), self.theta, rate), []
        for _ in range(n_steps):
            loss, gradient = self.loss_and_gradient(X, Y)
            step(gradient)
            curve.append(loss)
        return curve


def layered(sizes):
    """The graph of a network of layers: inputs, outputs, edges."""
    layers = [[(i, j) for j in range(size)] for i, size in enumerate(sizes)]
    edges = [
        (source, target, (source, target))
        for lower, upper in pairwise(layers)
        for target in upper
        for source in [*lower, "bias"]
    ]
    return layers[0], layers[-1], edges


def iris_graph():
    inputs = ["sepal length", "sepal width", "petal length", "petal width"]
    outputs = ["setosa", "versicolor", "virginica"]
    detectors = ["s1", "s2", "s3", "p1", "p2", "p3"]
    edges = [
        (source, part[0] + k, (source.removeprefix(part), k))  # shared by both parts
        for part in ("sepal", "petal")
        for k in "123"
        for source in (f"{part} length", f"{part} width", "bias")
    ]
    seen = ["bias", *inputs, *detectors]
    edges += [(source, "u", (source, "u")) for source in seen]
    edges += [(source, "v", (source, "v")) for source in [*seen, "u"]]
    edges += [(s, target, (s, target)) for target in outputs for s in [*seen, "u", "v"]]
    return inputs, outputs, edges


def irises(seed=0):
    X, y = load_iris(return_X_y=True)
    split = train_test_split(scale(X), y, test_size=50, stratify=y, random_state=seed)
    return (*split[:2], np.eye(3)[split[2]], split[3])


def check_gradient(seed=0):
    X, _, Y, _ = irises()
    network = AcyclicNetwork(*iris_graph(), seed=seed)
    return gradient_error(lambda _: network.loss_and_gradient(X, Y), network.theta)


def main(n_steps=300):
    """Print the gradient's error and the accuracy; return the network and this."""
    print(f"Gradient against differences: {check_gradient():.0e}")
    network = AcyclicNetwork(*iris_graph())
    n_edges = sum(map(len, network.incoming.values()))
    print(f"{len(network.order)} units, {n_edges} edges, {len(network.theta)} weights")
    X_train, X_test, Y_train, y_test = irises()
    curve = network.fit(X_train, Y_train, n_steps)
    accuracy = np.mean(network.forward(X_test)[1].argmax(axis=1) == y_test)
    print(f"Loss {curve[-1]:.3f}; accuracy on 50 irises held out: {accuracy:.0%}")
    return network, curve, accuracy


if __name__ == "__main__":
    LossCurveDisplay(loss=main()[1]).plot()
    plt.show()
