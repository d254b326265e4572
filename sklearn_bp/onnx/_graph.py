"""`Graph`: an ONNX graph under construction, to which parts append their nodes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto

_TENSORS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}


class Graph:
    """An ONNX graph that grows node by node; values are referred to by name.

    Parameters
    ----------
    scope, container : objects of skl2onnx
    dtype : dtype
        The dtype of numbers in the graph: float32 or float64.
    """

    def __init__(self, scope: Any, container: Any, dtype: DTypeLike) -> None:
        self.scope, self.container = scope, container
        self.dtype = np.dtype(dtype)

    def node(
        self,
        operator: str,
        *inputs: ArrayLike,
        out: str | None = None,
        **attributes: Any,
    ) -> str:
        """Append a node and return the name of its result.

        Parameters
        ----------
        operator : str
            Name of an operator in ONNX's default domain.
        *inputs : str or array-like
            Names of values; anything else becomes a constant in `dtype`.
        out : str, default=None
            Name of the result; None makes a new one.
        **attributes
            Attributes of the operator.
        """
        if out is None:
            out = self.scope.get_unique_variable_name(operator.lower())
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, names, out, name=name, **attributes)
        return out

    def constant(self, values: ArrayLike, dtype: Any = None) -> str:
        """Add a constant in `dtype`, or in int64, bool or str; return its name."""
        name = self.scope.get_unique_variable_name("constant")
        flat: Any
        if dtype is str:
            kind, values = TensorProto.STRING, np.array(values, object)
            flat = [value.encode("utf-8") for value in values.ravel()]
        else:
            values = np.asarray(values, self.dtype if dtype is None else dtype)
            kind, flat = _TENSORS[values.dtype], values.ravel()
        self.container.add_initializer(name, kind, values.shape, flat)
        return name

    def cast(
        self, value: str, dtype: DTypeLike | None = None, out: str | None = None
    ) -> str:
        """Convert `value` to `dtype`, or to another."""
        to = _TENSORS[np.dtype(self.dtype if dtype is None else dtype)]
        return self.node("Cast", value, to=to, out=out)

    def columns(self, value: str, indices: ArrayLike) -> str:
        """Select columns of a matrix."""
        indices = self.constant(indices, np.int64)
        return self.node("Gather", value, indices, axis=1)
