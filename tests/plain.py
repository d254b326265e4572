"""The two estimators with MLP_DEFAULTS: one network, on columns as they are."""

import sklearn_bp

PLAIN = {
    name: value
    for name, value in sklearn_bp.MLP_DEFAULTS.items()
    if name != "hidden_layer_sizes"
}


def TwoLayerClassifier(*args, **settings):  # noqa: N802
    return sklearn_bp.TwoLayerClassifier(*args, **(PLAIN | settings))


def TwoLayerRegressor(*args, **settings):  # noqa: N802
    return sklearn_bp.TwoLayerRegressor(*args, **(PLAIN | settings))
