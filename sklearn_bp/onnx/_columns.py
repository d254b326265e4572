"""From the inputs of a graph to the network's inputs: columns gathered and encoded."""

from itertools import groupby
from operator import itemgetter

import numpy as np
from skl2onnx.common.data_types import StringTensorType

from sklearn_bp._tables.values import EXACT

# Strings that stand for None, NaN and NA in a tensor of strings.
MISSING_STRINGS = ("", "nan", "None", "<NA>")


class Features:
    """The columns of X, in one input or in several side by side.

    Parameters
    ----------
    graph : Graph
    operator : object of skl2onnx
        Its inputs are numbers or strings, (n, 1) or (n, several).
    """

    def __init__(self, graph, operator):
        self.graph = graph
        d = operator.raw_operator.n_features_in_
        self._places = []  # for each column: its input, and its index there
        for variable in operator.inputs:
            width = _width(variable) if len(operator.inputs) > 1 else d
            self._places += [(variable, i) for i in range(width)]
        if len(self._places) != d:
            raise ValueError(
                f"The inputs have {len(self._places)} columns together, but this "
                f"{type(operator.raw_operator).__name__} was fitted to {d} columns."
            )

    def is_string(self, j):
        """Whether the input of a column holds strings."""
        return isinstance(self._places[j][0].type, StringTensorType)

    def columns(self, indices):
        """Names of matrices that side by side are these columns, one per input."""
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
        """Name of a matrix of these columns as numbers, in the graph's dtype."""
        for j in indices:
            if self.is_string(j):
                raise ValueError(
                    f"Column {j} was numeric in fit: its input must be a tensor of "
                    "numbers, not of strings."
                )
        pieces = [self.graph.cast(piece, dtype) for piece in self.columns(indices)]
        return _side_by_side(self.graph, pieces)


def _width(variable):
    """Number of columns of an input; 1 if its shape does not say."""
    shape = variable.type.shape
    return shape[1] if len(shape) > 1 and isinstance(shape[1], int) else 1


def _side_by_side(graph, parts):
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def filled(graph, features, columns):
    """The encoded columns: numbers, missing indicators, categories; see `Columns`."""
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


def with_bins(graph, X, bins):
    """The encoded columns, and those of the bins, computed in float64; see `Bins`."""

    def constant(values):
        return graph.constant(values, np.float64)

    values = graph.cast(graph.columns(X, bins.column), np.float64)
    places = graph.node("Sub", values, constant(bins.low))
    places = graph.node("Div", places, constant(bins.width))
    low, high = (constant(limits) for limits in bins.limits)
    added = graph.node("Min", graph.node("Max", places, low), high)
    return graph.node("Concat", X, graph.cast(added), axis=1)


def inside(graph, X, limits, centre):
    """X with the centre of its column for each value beyond the limits."""
    low, high = limits
    far = graph.node("Or", graph.node("Less", X, low), graph.node("Greater", X, high))
    centre = np.zeros(len(low)) if centre is None else centre
    return graph.node("Where", far, centre, X)


def _of_numbers(graph, features, j, levels):
    """An indicator for each level of a numeric column, compared in float64."""
    if any(isinstance(level, str | bytes) for level in levels):
        raise ValueError(
            f"Column {j} holds categories that are strings, but its input is a tensor "
            "of numbers. Give it an input of its own, StringTensorType([None, 1]), as "
            "to_onnx does for the columns of a DataFrame."
        )
    if any(isinstance(level, int) and abs(level) > EXACT for level in levels.tolist()):
        raise ValueError(
            f"Column {j} holds integers beyond 2**53 as categories, which the graph "
            "cannot tell apart in float64. Convert them to strings before fit."
        )
    levels = levels.astype(np.float64)
    column = features.numbers([j], np.float64)
    equal = graph.node("Equal", column, graph.constant([levels], np.float64))
    indicators = graph.cast(equal)
    if np.isnan(levels).any():  # NaN can be a level, but never compares equal
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
                    f"Column {j} holds categories that are not strings, such as "
                    f"{level!r}, but its input is a tensor of strings. Give it a "
                    "tensor of numbers."
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
