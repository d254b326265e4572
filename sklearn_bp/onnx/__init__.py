"""ONNX: converters for the two estimators, registered with skl2onnx on import.

    import sklearn_bp.onnx
    from skl2onnx import to_onnx

    model = to_onnx(estimator, X[:1], options={"zipmap": False})

A graph repeats the steps of predicting in order: X in the dtype of the weights, missing
values filled, the layers, the inverse link, the limits of predictions.

An activation or a loss brings its ONNX form with it: the method ``onnx(graph, z)``
appends nodes to a `Graph`, where `z` is the name of the net inputs or of the scores,
and returns the name of the result.  If you cannot add this method to a class, register
a function for it: ``ACTIVATIONS[YourClass] = function``, or `LINKS` for a loss.
"""

from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp._estimators.classifier import TwoLayerClassifier
from sklearn_bp._estimators.regressor import TwoLayerRegressor

try:
    from skl2onnx import update_registered_converter

    from sklearn_bp.onnx import _converters
    from sklearn_bp.onnx._forms import ACTIVATIONS, LINKS
except ImportError as error:
    raise ImportError(
        'sklearn_bp.onnx needs skl2onnx: pip install "sklearn-bp[onnx]".'
    ) from error

__all__ = ["ACTIVATIONS", "LINKS", "Graph"]

update_registered_converter(
    TwoLayerClassifier,
    "SklearnBpTwoLayerClassifier",
    _converters.classifier_shapes,
    _converters.convert_classifier,
    options={
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
        "nocl": [True, False],
        "raw_scores": [True, False],
    },
)
update_registered_converter(
    TwoLayerRegressor,
    "SklearnBpTwoLayerRegressor",
    _converters.regressor_shapes,
    _converters.convert_regressor,
)
