"""Where the converters find the ONNX forms of activations and losses."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sklearn_bp import activations, losses
from sklearn_bp._common.onnx_graph import Graph

Form = Callable[[Graph, str, Any], str]


class HasForm(Protocol):
    """An activation or a loss, or an object of a user."""

    def onnx(self, graph: Graph, z: str, /) -> str: ...


def _own_form(graph: Graph, z: str, part: HasForm) -> str:
    return part.onnx(graph, z)


def _by_type(parts: Iterable[HasForm]) -> dict[type, Form]:
    return {type(part): _own_form for part in parts}


# Functions by class, of a graph, the name of the net inputs (or of the scores) and the
# part; they return the name of the result.  An entry takes precedence over the method.
ACTIVATIONS: dict[type, Form] = _by_type(activations.ACTIVATIONS.values())
LINKS: dict[type, Form] = _by_type(losses.REGRESSOR_LOSSES.values())
for _variants in losses.CLASSIFIER_LOSSES.values():
    LINKS |= _by_type(_variants.values())


def written(
    table: dict[type, Form],
    graph: Graph,
    z: str,
    part: HasForm,
    name: str,
    given: object,
) -> str:
    """Append the form of a part to a graph.

    Parameters
    ----------
    table : dict
        `ACTIVATIONS` or `LINKS`.
    graph : Graph
    z : str
        Name of the net inputs or of the scores.
    part : Activation or Loss
    name, given : str, object
        The estimator's parameter and its value, for the error.

    Returns
    -------
    str
        Name of the result.
    """
    own: HasForm = getattr(part, "__wrapped__", part)  # a user's object of its own kind
    if type(own) in table:
        return table[type(own)](graph, z, own)
    if not _has_form(own):
        register = "ACTIVATIONS" if table is ACTIVATIONS else "LINKS"
        raise ValueError(
            f"There is no ONNX form of {name}={given!r}. Give {type(own).__name__} a "
            "method onnx(graph, z) that appends its nodes, or register a function of "
            f"(graph, z, part) for it in sklearn_bp.onnx.{register}."
        )
    return part.onnx(graph, z)


def _has_form(part: object) -> bool:
    """Whether the method `onnx` describes the part's own `forward` and `proba`.

    A subclass that overrides one of these has no form until it overrides `onnx` too.
    """
    scopes = [getattr(part, "__dict__", {}), *map(vars, type(part).__mro__)]

    def depth(name: str) -> int:
        return next((i for i, scope in enumerate(scopes) if name in scope), len(scopes))

    return depth("onnx") <= min(depth("forward"), depth("proba"))
