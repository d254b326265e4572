"""
Backpropagation's gradient against central differences
======================================================

Is the gradient right? Finite differences tell.

For each loss, activation and number of targets, the script builds a small random
network with a penalty and sample weights. It compares the gradient by backpropagation
with the gradient obtained by moving each parameter a little in both directions, and
prints the relative error ::

    ||analytic - numeric|| / max(||analytic||, ||numeric||).

This is about 1e-10 if the derivation is right, and above 1e-3 if any part is wrong. ::

    python examples/gradient_check.py [--loss NAME] [--activation NAME] [--outputs K]
"""

# sphinx_gallery_thumbnail_path = 'images/backpropagation.png'

import argparse
import sys
from itertools import product

import numpy as np

from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.building_blocks import gradient_error
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES

# "classes" exclude each other, "labels" do not.
LOSSES = {
    f"{name}-{kind}": loss
    for name, variants in CLASSIFIER_LOSSES.items()
    for kind, loss in (("classes", variants[True]), ("labels", variants[False]))
} | {f"{name}-regression": loss for name, loss in REGRESSOR_LOSSES.items()}

N_ROWS, N_FEATURES, N_HIDDEN, ALPHA = 12, 4, 5, 0.1
LIMIT = 1e-6


def targets(loss, n_outputs, rng):
    """Random targets of the kind that the loss wants."""
    if "regression" in loss:
        return rng.gamma(2.0, size=(N_ROWS, n_outputs))
    if "classes" in loss:
        return np.eye(n_outputs)[rng.integers(n_outputs, size=N_ROWS)]
    return rng.integers(2, size=(N_ROWS, n_outputs)).astype(float)


def relative_error(loss, activation, n_outputs, seed=0):
    """How far the gradient by backpropagation is from central differences."""
    rng = np.random.default_rng(seed)
    network = TwoLayerNetwork(ACTIVATIONS[activation], LOSSES[loss])
    n_scores = LOSSES[loss].n_scores(n_outputs)
    parameters = Parameters.empty((N_FEATURES, N_HIDDEN, n_scores), np.float64)
    theta = parameters.flat
    theta[:] = rng.normal(scale=0.5, size=theta.size)
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    Y = targets(loss, n_outputs, rng)
    data = (X, Y, rng.uniform(0, 2, size=N_ROWS), ALPHA)

    def at(_):
        loss, gradient = loss_and_gradient(network, parameters, *data)
        return loss, gradient.flat

    return gradient_error(at, theta)


def parse(arguments):
    parser = argparse.ArgumentParser(description="Gradients checked.")
    parser.add_argument("--loss", choices=LOSSES, help="default: all")
    parser.add_argument("--activation", choices=ACTIVATIONS, help="default: all")
    parser.add_argument("--outputs", type=int, help="default: 1 and 3")
    options = parser.parse_args(arguments)
    if options.outputs is not None and options.outputs < 1:
        parser.error("--outputs must be at least 1")
    return options


def main(arguments=None):
    """Print the table; return the relative errors by (loss, activation, outputs)."""
    options = parse(arguments)
    cases = product(
        [options.loss] if options.loss else LOSSES,
        [options.activation] if options.activation else ACTIVATIONS,
        [options.outputs] if options.outputs else [1, 3],
    )
    print(f"{'loss':27}{'activation':12}{'outputs':>7}  {'relative error':>14}")
    errors = {}
    for case in cases:
        errors[case] = error = relative_error(*case)
        loss, activation, n_outputs = case
        verdict = "ok" if error < LIMIT else "WRONG"
        print(f"{loss:27}{activation:12}{n_outputs:7}  {error:14.1e}  {verdict}")
    worst = max(errors.values())
    print(f"\nThe largest of {len(errors)} relative errors is {worst:.1e}.")
    return errors


if __name__ == "__main__" and max(main().values()) >= LIMIT:
    sys.exit(1)
