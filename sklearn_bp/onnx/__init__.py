"""ONNX: converters for the two estimators, registered with skl2onnx by the import.

    import sklearn_bp.onnx
    from skl2onnx import to_onnx

    model = to_onnx(estimator, X[:1], options={"zipmap": False})

A graph does what predicting does, in its order: X in the dtype of the weights, missing
values filled, the layers, the inverse link, the limits of predictions.  It is made of
operators that onnxruntime has for float32 and float64, which Elu, Selu, Softplus and
Mish are not, nor is Erf, so that these are put together from others.

To add an activation or a loss: a line in the tables `ACTIVATIONS` and `LINKS`, whose
functions get a `Graph`, the name of the net inputs (of the scores) and the object; they
return the name of the result.  An activation of your own goes in by
``ACTIVATIONS[YourClass] = function``.
"""

from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly, chebinterpolate
from scipy.special import erfcx
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_bp import activations, losses
from sklearn_bp._estimators.classifier import TwoLayerClassifier
from sklearn_bp._estimators.regressor import TwoLayerRegressor
from sklearn_bp._tables.values import EXACT
from sklearn_bp.losses import _classification

try:
    from onnx import TensorProto
    from skl2onnx import update_registered_converter
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
except ImportError as error:
    raise ImportError(
        'sklearn_bp.onnx needs skl2onnx: pip install "sklearn-bp[onnx]".'
    ) from error

__all__ = ["ACTIVATIONS", "LINKS", "Graph"]

INPUT_TYPES = [
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
]
# What None, NaN and NA are in a tensor of strings, and what users may write for them.
MISSING_STRINGS = ("", "nan", "None", "<NA>")
_TENSORS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}


class Graph:
    """Nodes, appended one by one; values go by their names.

    Parameters
    ----------
    scope, container : objects of skl2onnx
    dtype : dtype
        Of numbers in the graph: float32 or float64.
    """

    def __init__(self, scope, container, dtype):
        self.scope, self.container = scope, container
        self.dtype = np.dtype(dtype)

    def node(self, operator, *inputs, out=None, **attributes):
        """Append a node, and return the name of its result.

        Parameters
        ----------
        operator : str
            Of ONNX's default domain.
        *inputs : str or array-like
            Names of values; all else is a constant in `dtype`.
        out : str, default=None
            The name of the result; a new one if None.
        **attributes
            Of the operator.
        """
        if out is None:
            out = self.scope.get_unique_variable_name(operator.lower())
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, names, out, name=name, **attributes)
        return out

    def constant(self, values, dtype=None):
        """The name of a constant, in `dtype` or another: int64, or str."""
        name = self.scope.get_unique_variable_name("constant")
        if dtype is str:
            kind, values = TensorProto.STRING, np.array(values, object)
            flat = [value.encode("utf-8") for value in values.ravel()]
        else:
            values = np.asarray(values, self.dtype if dtype is None else dtype)
            kind, flat = _TENSORS[values.dtype], values.ravel()
        self.container.add_initializer(name, kind, values.shape, flat)
        return name

    def cast(self, value, dtype=None, out=None):
        """`value` in `dtype` or another."""
        to = _TENSORS[np.dtype(self.dtype if dtype is None else dtype)]
        return self.node("Cast", value, to=to, out=out)

    def columns(self, value, indices):
        """These columns of a matrix."""
        indices = self.constant(indices, np.int64)
        return self.node("Gather", value, indices, axis=1)


# Activations.  Attributes of ONNX's operators are float32; parameters are constants in
# the dtype of the graph instead.


def _erfcx_of(t):
    """erfcx(x) for t = (x - 3) / (x + 3); 0 for an infinite x."""
    x = 3 * (1 + t) / np.maximum(1 - t, np.finfo(np.float64).tiny)
    return erfcx(x)


# In powers of t, from 0 on.
_ERFCX = cheb2poly(chebinterpolate(_erfcx_of, 20))


def _leaky_relu(graph, z, activation):
    return graph.node("Max", z, graph.node("Mul", z, activation.negative_slope))


def _elu(graph, z, activation, scale=1.0):
    below = graph.node("Sub", graph.node("Exp", graph.node("Min", z, 0.0)), 1.0)
    below = graph.node("Mul", below, scale * activation.alpha)
    above = graph.node("Mul", graph.node("Relu", z), scale)
    return graph.node("Add", above, below)


def _gelu(graph, z, activation):
    # z Phi(z) = max(z, 0) - |z| erfc(x) / 2, x = |z| / sqrt(2), which keeps the digits
    # of small values.  erfc(x) = exp(-x^2) erfcx(x), and erfcx is a polynomial in
    # t = (x - 3) / (x + 3), from -1 to 1, to 3e-15.
    size = graph.node("Abs", z)
    x = graph.node("Mul", size, np.sqrt(0.5))
    t = graph.node("Div", graph.node("Sub", x, 3.0), graph.node("Add", x, 3.0))
    erfcx = graph.constant(_ERFCX[-1])
    for coefficient in _ERFCX[-2::-1]:  # Horner's scheme
        erfcx = graph.node("Add", graph.node("Mul", erfcx, t), coefficient)
    density = graph.node("Exp", graph.node("Neg", graph.node("Mul", x, x)))
    tail = graph.node("Mul", graph.node("Mul", density, erfcx), 0.5)
    return graph.node("Sub", graph.node("Relu", z), graph.node("Mul", size, tail))


def _softplus(graph, z, activation=None):
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), which does not overflow.
    small = graph.node("Exp", graph.node("Neg", graph.node("Abs", z)))
    rest = graph.node("Log", graph.node("Add", small, 1.0))
    return graph.node("Add", graph.node("Relu", z), rest)


def _mish(graph, z, activation):
    return graph.node("Mul", z, graph.node("Tanh", _softplus(graph, z)))


#: Functions of a graph, the name of the net inputs and the activation.
ACTIVATIONS: dict[type, Any] = {
    activations.Identity: lambda graph, z, activation: z,
    activations.Logistic: lambda graph, z, activation: graph.node("Sigmoid", z),
    activations.Tanh: lambda graph, z, activation: graph.node("Tanh", z),
    activations.ReLU: lambda graph, z, activation: graph.node("Relu", z),
    activations.LeakyReLU: _leaky_relu,
    activations.ELU: _elu,
    activations.SELU: lambda graph, z, selu: _elu(graph, z, selu, selu.scale),
    activations.GELU: _gelu,
    activations.SiLU: lambda graph, z, activation: graph.node(
        "Mul", z, graph.node("Sigmoid", z)
    ),
    activations.Mish: _mish,
    activations.Softplus: _softplus,
}


# Inverse links, of the losses: from scores to predictions; to probabilities from one
# score a class.


def _identity(graph, z, loss):
    return z


def _exp(graph, z, loss):
    digits = np.finfo(graph.dtype)  # neither 0 nor infinite
    p = graph.node("Min", graph.node("Exp", z), digits.max)
    return graph.node("Max", p, digits.tiny)


def _softmax(graph, z, loss):
    return graph.node("Softmax", z, axis=1)


def _sigmoid(graph, z, loss):
    return graph.node("Sigmoid", z)


def _shares_of_sigmoids(graph, z, loss):
    # p_k / sum_j p_j is the softmax of log p = -log(1 + exp(-z)).
    minus_log = _softplus(graph, graph.node("Neg", z))
    return _softmax(graph, graph.node("Neg", minus_log), loss)


def _quantiles(graph, z, loss):
    n_levels = len(loss.levels)
    if n_levels == 1:
        return z
    # A row a target: the first score, and steps from each quantile to the next, are
    # summed up by a product with ones on and above the diagonal.
    rows = graph.node("Reshape", z, graph.constant([-1, n_levels], np.int64))
    first = graph.constant([np.arange(n_levels) == 0], np.bool_)
    steps = graph.node("Where", first, rows, _softplus(graph, rows))
    sums = graph.node("MatMul", steps, np.triu(np.ones((n_levels, n_levels))))
    return graph.node("Reshape", sums, graph.node("Shape", z))


#: Functions of a graph, the name of the scores and the loss.
LINKS: dict[type, Any] = {
    losses.CategoricalLogLoss: _softmax,
    losses.BinaryLogLoss: _sigmoid,
    _classification._SmoothCategoricalLogLoss: _softmax,
    _classification._SmoothBinaryLogLoss: _sigmoid,
    losses.CategoricalSquaredError: _shares_of_sigmoids,
    losses.BinarySquaredError: _sigmoid,
    losses.SquaredError: _identity,
    losses.AbsoluteError: _identity,
    losses.Huber: _identity,
    losses.Quantile: _quantiles,
    losses.GaussianNLL: _identity,  # the mean; the graph does not give the spread
    losses.Poisson: _exp,
    losses.Gamma: _exp,
}


# From the features to the scores.


class _Features:
    """The columns of X, from one input or from several side by side.

    Parameters
    ----------
    graph : Graph
    operator : object of skl2onnx
        Inputs are numbers or strings, (n, 1) or (n, several).
    """

    def __init__(self, graph, operator):
        self.graph = graph
        d = operator.raw_operator.n_features_in_
        self._places = []  # of each column: its input, and where in it
        for variable in operator.inputs:
            width = _width(variable) if len(operator.inputs) > 1 else d
            self._places += [(variable, i) for i in range(width)]
        if len(self._places) != d:
            raise ValueError(
                f"The inputs have {len(self._places)} columns together, and this "
                f"{type(operator.raw_operator).__name__} was fitted to {d}."
            )

    def is_string(self, j):
        """Whether a column comes in as strings."""
        return isinstance(self._places[j][0].type, StringTensorType)

    def columns(self, indices):
        """The names of these columns in pieces, as they lie in the inputs."""
        pieces = []
        for variable, places in groupby(
            (self._places[j] for j in indices), key=itemgetter(0)
        ):
            at = [i for _, i in places]
            name = variable.full_name
            whole = sum(other is variable for other, _ in self._places)
            pieces.append(
                name if at == list(range(whole)) else self.graph.columns(name, at)
            )
        return pieces

    def numbers(self, indices, dtype=None):
        """The name of these columns as a matrix of numbers, in the graph's dtype."""
        for j in indices:
            if self.is_string(j):
                raise ValueError(
                    f"Column {j} was numbers in fit: its input must be a tensor of "
                    "numbers, not of strings."
                )
        pieces = [self.graph.cast(piece, dtype) for piece in self.columns(indices)]
        return _side_by_side(self.graph, pieces)


def _width(variable):
    """Columns of an input; one that does not tell has one."""
    shape = variable.type.shape
    return shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 1


def _side_by_side(graph, parts):
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def _filled(graph, features, columns):
    """Encoded columns: numbers, what they missed, categories; see `Columns`."""
    parts = []
    if len(columns.numeric):
        numbers = features.numbers(columns.numeric)
        missing = graph.node("IsNaN", numbers)
        parts.append(graph.node("Where", missing, columns.medians, numbers))
        if len(columns.incomplete):
            indicators = graph.cast(graph.node("IsNaN", numbers))
            parts.append(graph.columns(indicators, columns.incomplete))
    for j, encoder in zip(columns.categorical, columns.encoders, strict=True):
        levels = encoder.categories_[0]
        indicators = _of_strings if features.is_string(j) else _of_numbers
        parts.append(indicators(graph, features, j, levels))
    return _side_by_side(graph, parts)


def _of_numbers(graph, features, j, levels):
    """An indicator for each level of a column of numbers, compared in float64."""
    if any(isinstance(level, str | bytes) for level in levels):
        raise ValueError(
            f"Column {j} holds categories that are strings, and its input is a tensor "
            "of numbers. Give it one of its own, a StringTensorType([None, 1]), as "
            "to_onnx does for the columns of a DataFrame."
        )
    if any(isinstance(level, int) and abs(level) > EXACT for level in levels.tolist()):
        raise ValueError(
            f"Column {j} holds integers beyond 2**53 as categories, which the graph, "
            "in float64, cannot tell apart: turn them into strings before fit."
        )
    levels = levels.astype(np.float64)
    column = features.numbers([j], np.float64)
    equal = graph.node("Equal", column, graph.constant([levels], np.float64))
    indicators = graph.cast(equal)
    if np.isnan(levels).any():  # NaN is a level too, and equals nothing
        is_nan = graph.cast(graph.node("IsNaN", column))
        at = np.isnan([levels])
        indicators = graph.node("Max", indicators, graph.node("Mul", is_nan, at))
    return indicators


def _of_strings(graph, features, j, levels):
    """An indicator for each level of a column of strings."""
    codes = {level: i for i, level in enumerate(levels) if isinstance(level, str)}
    for i, level in enumerate(levels):
        if not isinstance(level, str):
            if level == level:
                raise ValueError(
                    f"Column {j} holds categories that are no strings, such as "
                    f"{level!r}, and its input is a tensor of strings."
                )
            for missing in MISSING_STRINGS:
                codes.setdefault(missing, i)
    (column,) = features.columns([j])
    code = graph.node(
        "LabelEncoder",
        column,
        op_domain="ai.onnx.ml",
        op_version=2,
        keys_strings=list(codes),
        values_int64s=list(codes.values()),
        default_int64=-1,  # unknown
    )
    numbers = graph.constant([np.arange(len(levels))], np.int64)
    return graph.cast(graph.node("Equal", code, numbers))


def _scores(graph, estimator, features):
    """The name of the scores z2, (n, n_outputs)."""
    fitted = estimator._fitted_network()
    given = fitted.activation_given
    activation = activations.as_activation(given)
    to_onnx = _found(ACTIVATIONS, activation, "activation", given)
    columns = fitted.columns
    if columns is None:
        X = features.numbers(range(estimator.n_features_in_))
    else:
        X = _filled(graph, features, columns)
    W1, b1, W2, b2, V = fitted.weights
    z1 = graph.node("Add", graph.node("MatMul", X, W1), b1)
    a1 = to_onnx(graph, z1, activation)
    z2 = graph.node("MatMul", a1, W2)
    if V is not None:
        z2 = graph.node("Add", z2, graph.node("MatMul", X, V))
    return graph.node("Add", z2, b2)


def _found(table, part, name, given):
    if type(part) not in table:
        raise ValueError(
            f"There is no ONNX form of {name}={given!r}. Known are those of the "
            "package; an activation of your own goes into "
            "sklearn_bp.onnx.ACTIVATIONS, a loss into LINKS."
        )
    return table[type(part)]


def _graph(scope, operator, container):
    """A graph in the dtype of the weights, and the features that come in."""
    dtype = operator.raw_operator.coefs_[0].dtype
    graph = Graph(scope, container, dtype)
    return graph, _Features(graph, operator)


def _float_type(operator):
    """The type of results: float64 only if an input is."""
    is_double = any(isinstance(v.type, DoubleTensorType) for v in operator.inputs)
    return DoubleTensorType if is_double else FloatTensorType


def _float_dtype(operator):
    return np.float64 if _float_type(operator) is DoubleTensorType else np.float32


# What skl2onnx wants of the classifier.


def _integers(classes):
    """Class labels as int64, or None for strings."""
    if all(isinstance(label, str) for label in classes):
        return None
    if classes.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            whole = classes.astype(np.int64)
        if (whole == classes).all():
            return whole
    raise ValueError(
        "Labels in ONNX are all integers or all strings. Those of this classifier are "
        f"{classes!r}: encode them before fit."
    )


def _classifier_shapes(operator):
    _check(operator, 2)
    estimator = operator.raw_operator
    n, n_classes = operator.inputs[0].get_first_dimension(), len(estimator.classes_)
    shape = [n, n_classes] if estimator._fitted.targets.multilabel else [n]
    of_labels = StringTensorType
    if _integers(estimator.classes_) is not None:
        of_labels = Int64TensorType
    operator.outputs[0].set_type(of_labels(shape))
    operator.outputs[1].set_type(_float_type(operator)([n, n_classes]))


def _convert_classifier(scope, operator, container):
    estimator = operator.raw_operator
    graph, features = _graph(scope, operator, container)
    targets = estimator._fitted.targets
    loss = targets.loss
    link = _found(LINKS, loss, "loss", targets.loss_given)
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
    p = graph.node("Max", link(graph, z, loss), np.finfo(graph.dtype).tiny)
    graph.cast(p, _float_dtype(operator), out=proba)


# And of the regressor.


def _predicted(estimator):
    """Which columns of the loss's predictions are predicted, in what shape.

    Returns
    -------
    columns : ndarray of int, (n_targets,) or (n_targets, several)
    """
    targets, k = estimator._fitted.targets, estimator.n_outputs_
    loss, n_targets = targets.loss, targets.n_targets_of(np.empty((1, k)))
    return loss.predicted(np.arange(k)[np.newaxis], n_targets)[0]


def _shape(columns):
    """The shape of what is predicted for a row; (1,) of one number."""
    return list(columns.shape[1:] if len(columns) == 1 else columns.shape) or [1]


def _regressor_shapes(operator):
    _check(operator, 1)
    n = operator.inputs[0].get_first_dimension()
    columns = _predicted(operator.raw_operator)
    operator.outputs[0].set_type(_float_type(operator)([n, *_shape(columns)]))


def _convert_regressor(scope, operator, container):
    estimator = operator.raw_operator
    graph, features = _graph(scope, operator, container)
    targets = estimator._fitted_network().targets
    loss, columns = targets.loss, _predicted(estimator)
    link = _found(LINKS, loss, "loss", targets.loss_given)
    z, scaling = _scores(graph, estimator, features), targets.prediction_scaling
    known = targets.unit if scaling is None else scaling
    if known is not None and not known.folds_in(graph.dtype):
        graph = Graph(scope, container, np.float64)
        z = graph.cast(z)
    p = link(graph, z, loss)
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


CLASSIFIER_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "nocl": [True, False],
    "raw_scores": [True, False],
}

for _estimator in (TwoLayerClassifier, TwoLayerRegressor):
    _is_classifier = is_classifier(_estimator())
    update_registered_converter(
        _estimator,
        f"SklearnBp{_estimator.__name__}",
        _classifier_shapes if _is_classifier else _regressor_shapes,
        _convert_classifier if _is_classifier else _convert_regressor,
        options=CLASSIFIER_OPTIONS if _is_classifier else None,
    )
