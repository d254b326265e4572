"""Converters for skl2onnx: the shapes of an estimator's outputs, and its nodes."""

import numpy as np
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.common.utils import (
    check_input_and_output_numbers,
    check_input_and_output_types,
)
from sklearn.utils.validation import check_is_fitted

from sklearn_bp._common.onnx_graph import Graph
from sklearn_bp.activations import as_activation
from sklearn_bp.onnx._columns import Features, filled, inside, with_bins
from sklearn_bp.onnx._forms import ACTIVATIONS, LINKS, written

INPUT_TYPES = [
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
]


def _scores(graph, estimator, features):
    """Name of the scores z2, (n, n_outputs)."""
    fitted = estimator._fitted_network()
    columns = fitted.columns
    if columns is None:
        X = features.numbers(range(estimator.n_features_in_))
    else:
        X = filled(graph, features, columns)
    if fitted.limits is not None:
        X = inside(graph, X, fitted.limits, fitted.centre)
    if fitted.inputs.bins is not None:
        X = with_bins(graph, X, fitted.inputs.bins)
    W1, b1, W2, b2, V = fitted.weights
    z1 = graph.node("Add", graph.node("MatMul", X, W1), b1)
    activation_given = fitted.activation_given
    activation = as_activation(activation_given)
    a1 = written(ACTIVATIONS, graph, z1, activation, "activation", activation_given)
    z2 = graph.node("MatMul", a1, W2)
    if V is not None:
        z2 = graph.node("Add", z2, graph.node("MatMul", X, V))
    return graph.node("Add", z2, b2)


def _graph(scope, operator, container):
    """A graph in the dtype of the weights, and its input features."""
    dtype = operator.raw_operator.coefs_[0].dtype
    graph = Graph(scope, container, dtype)
    return graph, Features(graph, operator)


def _float_type(operator):
    """The type of results: float64 only if an input is float64."""
    is_double = any(isinstance(v.type, DoubleTensorType) for v in operator.inputs)
    return DoubleTensorType if is_double else FloatTensorType


def _float_dtype(operator):
    return np.float64 if _float_type(operator) is DoubleTensorType else np.float32


# The classifier.


def _integers(classes):
    """Class labels as int64, or None if they are strings."""
    if all(isinstance(label, str) for label in classes):
        return None
    if classes.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            whole = classes.astype(np.int64)
        if (whole == classes).all():
            return whole
    raise ValueError(
        "Class labels in ONNX must be all integers or all strings. Those of this "
        f"classifier are {classes!r}: encode them before fit."
    )


def classifier_shapes(operator):
    _check(operator, 2)
    estimator = operator.raw_operator
    n, n_classes = operator.inputs[0].get_first_dimension(), len(estimator.classes_)
    shape = [n, n_classes] if estimator._fitted.targets.multilabel else [n]
    of_labels = StringTensorType
    if _integers(estimator.classes_) is not None:
        of_labels = Int64TensorType
    operator.outputs[0].set_type(of_labels(shape))
    operator.outputs[1].set_type(_float_type(operator)([n, n_classes]))


def convert_classifier(scope, operator, container):
    estimator = operator.raw_operator
    graph, features = _graph(scope, operator, container)
    targets = estimator._fitted.targets
    z = _scores(graph, estimator, features)
    labels, proba = (output.full_name for output in operator.outputs)

    if estimator._fitted.targets.exclusive:
        code = graph.node("ArgMax", z, axis=1, keepdims=0)
    else:
        decided = graph.node("Greater", z, 0.0)
        code = graph.cast(decided, np.int64)
    if estimator._fitted.targets.multilabel:
        graph.node("Identity", code, out=labels)
    else:
        code = graph.node("Reshape", code, graph.constant([-1], np.int64))
        whole = _integers(estimator.classes_)
        if whole is None:
            classes = graph.constant(estimator.classes_, str)
        else:
            classes = graph.constant(whole, np.int64)
        graph.node("Gather", classes, code, out=labels, axis=0)

    if targets.shares_score:
        z = graph.node("Concat", graph.node("Neg", z), z, axis=1)
    if container.get_options(estimator, {"raw_scores": False})["raw_scores"]:
        graph.cast(z, _float_dtype(operator), out=proba)  # of two classes, -z and z
        return
    p = written(LINKS, graph, z, targets.loss, "loss", targets.loss_given)
    p = graph.node("Max", p, np.finfo(graph.dtype).tiny)
    graph.cast(p, _float_dtype(operator), out=proba)


# The regressor.


def _predicted(estimator):
    """The columns of the loss's predictions that `predict` returns.

    Returns
    -------
    columns : ndarray of int, (n_targets,) or (n_targets, several)
    """
    targets, k = estimator._fitted.targets, estimator.n_outputs_
    loss, n_targets = targets.loss, targets.n_targets_of(np.empty((1, k)))
    return loss.predicted(np.arange(k)[np.newaxis], n_targets)[0]


def _shape(columns):
    """The shape of one row's prediction; (1,) for one number."""
    return list(columns.shape[1:] if len(columns) == 1 else columns.shape) or [1]


def regressor_shapes(operator):
    _check(operator, 1)
    n = operator.inputs[0].get_first_dimension()
    columns = _predicted(operator.raw_operator)
    operator.outputs[0].set_type(_float_type(operator)([n, *_shape(columns)]))


def convert_regressor(scope, operator, container):
    estimator = operator.raw_operator
    graph, features = _graph(scope, operator, container)
    targets = estimator._fitted_network().targets
    loss, columns = targets.loss, _predicted(estimator)
    z, scaling = _scores(graph, estimator, features), targets.prediction_scaling
    unit = targets.unit if scaling is None else scaling
    if unit is not None and not unit.absorbable_in(graph.dtype):
        graph = Graph(scope, container, np.float64)
        z = graph.cast(z)
    p = written(LINKS, graph, z, loss, "loss", targets.loss_given)
    if scaling is not None:
        scale, shift = scaling.inverse(graph.dtype)
        factors, offsets = (
            np.ones((1, estimator.n_outputs_)),
            np.zeros((1, estimator.n_outputs_)),
        )
        loss.rescale(factors, scale, np.zeros_like(shift))
        loss.rescale(offsets, scale, shift)
        p = graph.node("Add", graph.node("Mul", p, factors), offsets)
    p = graph.columns(p, columns.ravel())
    limits = targets.limits
    if limits is not None:
        several = columns.size // len(columns)
        low, high = np.repeat(limits, several, axis=1)
        p = graph.node("Min", graph.node("Max", p, low), high)
    shape = graph.constant([-1, *_shape(columns)], np.int64)
    p = graph.node("Reshape", p, shape)
    graph.cast(p, _float_dtype(operator), out=operator.outputs[0].full_name)


def _check(operator, n_outputs):
    check_is_fitted(operator.raw_operator)
    counts = {"input_count_range": [1, None], "output_count_range": n_outputs}
    check_input_and_output_numbers(operator, **counts)
    check_input_and_output_types(operator, good_input_types=INPUT_TYPES)
