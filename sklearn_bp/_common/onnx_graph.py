"""`Graph`: an ONNX graph under construction, to which parts append their nodes.

It is here, below the parts, so that their annotations can name it.  ONNX is only
imported when a graph grows.
"""

from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


class Scope(Protocol):
    """The part of skl2onnx's Scope that a graph uses."""

    def get_unique_variable_name(self, seed: str, /) -> str: ...

    def get_unique_operator_name(self, seed: str, /) -> str: ...


class Container(Protocol):
    """The part of skl2onnx's ModelComponentContainer that a graph uses."""

    def add_node(
        self,
        op_type: str,
        inputs: list[str],
        outputs: str,
        /,
        *,
        name: str,
        **attributes: Any,
    ) -> None: ...

    def add_initializer(
        self, name: str, onnx_type: int, shape: tuple[int, ...], content: Any, /
    ) -> Any: ...


@cache
def _tensor_types() -> dict[np.dtype[Any], int]:
    """The types of ONNX's tensors by their numpy dtypes; object for strings."""
    from onnx import TensorProto

    return {
        np.dtype(np.float32): TensorProto.FLOAT,
        np.dtype(np.float64): TensorProto.DOUBLE,
        np.dtype(np.int64): TensorProto.INT64,
        np.dtype(np.bool_): TensorProto.BOOL,
        np.dtype(object): TensorProto.STRING,
    }


class Graph:
    """An ONNX graph that grows node by node; values are referred to by name.

    Parameters
    ----------
    scope, container : objects of skl2onnx
    dtype : dtype
        The dtype of numbers in the graph: float32 or float64.
    """

    __module__ = "sklearn_bp.onnx"  # its public name

    def __init__(self, scope: Scope, container: Container, dtype: DTypeLike) -> None:
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

    def constant(self, values: ArrayLike, dtype: DTypeLike | None = None) -> str:
        """Add a constant in `dtype`, or in int64, bool or str; return its name."""
        name = self.scope.get_unique_variable_name("constant")
        if dtype is str:
            array = np.array(values, object)
            content: Any = [value.encode("utf-8") for value in array.ravel()]
        else:
            array = np.asarray(values, self.dtype if dtype is None else dtype)
            content = array.ravel()
        kind = _tensor_types()[array.dtype]
        self.container.add_initializer(name, kind, array.shape, content)
        return name

    def cast(
        self, value: str, dtype: DTypeLike | None = None, out: str | None = None
    ) -> str:
        """Convert `value` to `dtype`, or to another."""
        to = _tensor_types()[np.dtype(self.dtype if dtype is None else dtype)]
        return self.node("Cast", value, to=to, out=out)

    def columns(self, value: str, indices: ArrayLike) -> str:
        """Select columns of a matrix."""
        indices = self.constant(indices, np.int64)
        return self.node("Gather", value, indices, axis=1)
