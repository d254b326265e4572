"""
Three pictures of a network
===========================

Each picture takes one line and a fitted estimator: how training went, what the hidden
units respond to, and what flows forward and back for one sample. ::

    python examples/displays.py [folder to save them in]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import scale

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier
from sklearn_bp.display import BackpropDisplay, HiddenUnitsDisplay, LossCurveDisplay

PLAIN = MLP_DEFAULTS | {"max_iter": "auto", "random_state": 0}


def loss_curves():
    """The defaults, which hold rows out, and MLPClassifier's early stopping."""
    X, y = load_digits(return_X_y=True)
    networks = {
        "defaults": TwoLayerClassifier(random_state=0),
        "early stopping": TwoLayerClassifier(**PLAIN | {"early_stopping": True}),
    }
    for network in networks.values():
        network.fit(X, y)
    return LossCurveDisplay.from_estimator(networks)


def hidden_units():
    """Sixteen sigmoids on images of digits, kept small by a penalty."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    settings = {"hidden_layer_sizes": 16, "activation": "logistic", "alpha": 1}
    network = TwoLayerClassifier(**PLAIN | settings)
    return HiddenUnitsDisplay.from_estimator(network.fit(X, y), X, image_shape=(8, 8))


def forward_and_back():
    """A network of three hidden units, and an iris it is not sure of."""
    data = load_iris(as_frame=True)
    X = data.data.assign(**dict(zip(data.data, scale(data.data).T, strict=True)))
    settings = {"hidden_layer_sizes": 3, "activation": "tanh", "alpha": 0.1}
    network = TwoLayerClassifier(**PLAIN | settings | {"solver": "lbfgs"})
    network.fit(X, data.target_names[data.target])
    return BackpropDisplay.from_estimator(network, X.iloc[[70]], "versicolor")


PICTURES = {
    "loss_display": loss_curves,
    "hidden_units": hidden_units,
    "backpropagation": forward_and_back,
}


def main(folder=None):
    """Draw all three; save them, if a folder is given."""
    displays = {name: draw() for name, draw in PICTURES.items()}
    if folder is not None:
        for name, display in displays.items():
            display.figure_.savefig(Path(folder) / f"{name}.png", dpi=80)
    return displays


if __name__ == "__main__":
    main(*sys.argv[1:])
    plt.show()
