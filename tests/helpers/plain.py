"""The two estimators with MLP_DEFAULTS: one network, on columns as they are."""

import sklearn_bp

PLAIN = dict(sklearn_bp.MLP_DEFAULTS)
SIZES = PLAIN.pop("hidden_layer_sizes")


def TwoLayerClassifier(hidden_layer_sizes=SIZES, **settings):  # noqa: N802
    return sklearn_bp.TwoLayerClassifier(hidden_layer_sizes, **(PLAIN | settings))


def TwoLayerRegressor(hidden_layer_sizes=SIZES, **settings):  # noqa: N802
    return sklearn_bp.TwoLayerRegressor(hidden_layer_sizes, **(PLAIN | settings))
