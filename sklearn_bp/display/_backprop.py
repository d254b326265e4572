"""The network drawn with its activations and back-propagated errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from sklearn_bp._common.types import Array, MatrixLike
from sklearn_bp._estimators.base import BaseTwoLayer
from sklearn_bp._network.objective import loss_and_gradient
from sklearn_bp._network.parameters import Parameters
from sklearn_bp.display._drawing import (
    BACKWARD,
    FORWARD,
    Estimator,
    hidden_activations,
    pyplot,
    shortened,
    two_layer,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.text import Annotation

# A layer with at most this many edges shows numbers on them.
NUMBERED_EDGES = 16


class BackpropDisplay:
    """The network for one sample: activations forward, errors back.

    Use `from_estimator` to make one. Units show their activation and, below, their
    error delta, the derivative of the sample's loss with respect to the net input. The
    larger an activation, the darker its unit; inputs are shaded by their scaled values.
    The width of an edge is the size of its weight; negative weights are dashed. If
    there are few edges, each shows its weight and, below, the derivative of the loss
    with respect to it.

    Parameters
    ----------
    activations : list of three ndarrays, (n_features,), (n_hidden,), (n_outputs,)
        The inputs, the hidden activations, the predictions.

    deltas : list of two ndarrays, (n_hidden,) and (n_outputs,)
        Errors of the hidden and the output layer.

    weights : list of two ndarrays, (n_features, n_hidden) and (n_hidden, n_outputs)
        Weights of the two layers.

    gradients : list of two ndarrays, (n_features, n_hidden) and (n_hidden, n_outputs)
        Derivatives of the loss with respect to `weights`.

    loss : float
        Loss of the sample, without the penalty.

    feature_names, output_names : list of str
        Names of inputs and outputs.

    target : ndarray of shape (n_targets,)
        Target that the loss compares with the prediction.

    skip_weights, skip_gradients : ndarray of shape (n_features, n_outputs), \
            default=None
        Weights of a skip layer, and the derivatives of the loss with respect to them.

    centre : ndarray of shape (n_features,), default=None
        Reference values of the inputs, for choosing the inputs that contribute most;
        None for 0.

    factor : ndarray of shape (n_features,), default=None
        Factor that scales an input's difference from `centre`; None for 1. Inputs are
        shaded by their scaled values.

    Attributes
    ----------
    shown_ : list of three ndarrays of int
        Indices of the units drawn in each layer.

    nodes_ : list of three matplotlib PathCollections
        Units, layer by layer.

    edges_ : list of two matplotlib LineCollections
        Weights, layer by layer; each unit's weights to the next layer in turn.

    skip_edges_ : matplotlib LineCollection or None
        Arcs from the inputs to the outputs, if there is a skip layer.

    numbers_ : list of two lists of matplotlib Text
        Numbers on the edges; empty if there are many edges.

    ax_ : matplotlib Axes

    figure_ : matplotlib Figure

    See Also
    --------
    LossCurveDisplay : Loss and score against epochs.
    HiddenUnitsDisplay : The input weights of hidden units.

    References
    ----------
    .. [1] Rumelhart, D. E., Hinton, G. E. and Williams, R. J. (1986). Learning
       representations by back-propagating errors. Nature 323, 533-536.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier
    >>> from sklearn_bp.display import BackpropDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> settings = {"hidden_layer_sizes": 3, "solver": "lbfgs", "random_state": 0}
    >>> network = TwoLayerClassifier(**MLP_DEFAULTS | settings).fit(X, y)
    >>> BackpropDisplay.from_estimator(network, X[70], y[70])
    <...BackpropDisplay object at ...>
    """

    def __init__(
        self,
        *,
        activations: list[Array],
        deltas: list[Array],
        weights: list[Array],
        gradients: list[Array],
        loss: float,
        feature_names: Sequence[str],
        output_names: Sequence[str],
        target: Array,
        skip_weights: Array | None = None,
        skip_gradients: Array | None = None,
        centre: Array | None = None,
        factor: Array | None = None,
    ) -> None:
        self.activations = activations
        self.deltas = deltas
        self.weights = weights
        self.gradients = gradients
        self.loss = loss
        self.feature_names = feature_names
        self.output_names = output_names
        self.target = target
        self.skip_weights = skip_weights
        self.skip_gradients = skip_gradients
        self.centre = centre
        self.factor = factor

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        x: MatrixLike,
        y: ArrayLike,
        *,
        max_units: int = 8,
        ax: "Axes | None" = None,
    ) -> Self:
        """Propagate one sample forward and its error back, and draw both.

        Parameters
        ----------
        estimator : TwoLayerClassifier or TwoLayerRegressor
            Fitted; for a pipeline, pass its last step. An ensemble is drawn as the one
            network that it has become.

        x : array-like of shape (n_features,) or (1, n_features)
            The sample; a row of a table if the estimator was fitted to a table.

        y : scalar or array-like of shape (n_outputs,)
            Label or target of the sample.

        max_units : int, default=8
            Maximum number of units drawn per layer: those that contribute most to the
            scores of this sample.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : BackpropDisplay
        """
        model = two_layer(estimator, cls.__name__)
        X = model._check_features(_one_row(x))
        X = check_array(X, accept_sparse=True, dtype=np.float64)
        X = X.toarray() if hasattr(X, "toarray") else X
        Y, fitted = _one_target(model, y), model._fitted_network()
        X, network = fitted.seen(X), fitted.network
        network.loss.check_targets(Y)
        coefs, intercepts = model.coefs_, model.intercepts_
        parameters = Parameters.pack(
            coefs, intercepts, np.float64, skip=model.skip_coef_
        )
        # For a single row, the derivatives by the intercepts are the deltas.
        loss, gradient = loss_and_gradient(network, parameters, X, Y)
        p = network.scores(parameters.mean(), X)
        network.loss.forward(p)
        scaling = model._fitted.inputs.network_scaling
        display = cls(
            activations=[X[0], hidden_activations(model, X)[0], p[0]],
            deltas=[gradient.b1, gradient.b2],
            weights=[parameters.W1, parameters.W2],
            gradients=[gradient.W1, gradient.W2],
            loss=loss,
            feature_names=list(model.encoded_feature_names_),
            output_names=_output_names(model, len(p[0])),
            target=Y[0],
            skip_weights=parameters.V,
            skip_gradients=gradient.V,
            centre=None if scaling is None else scaling.centre,
            factor=None if scaling is None else scaling.factor,
        )
        return display.plot(ax, max_units=max_units)

    def plot(self, ax: "Axes | None" = None, *, max_units: int = 8) -> Self:
        """Draw the network.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        max_units : int, default=8
            Maximum number of units drawn per layer.

        Returns
        -------
        display : BackpropDisplay
        """
        plt = pyplot(self)
        self.shown_ = self._most_contributing(max_units)
        if ax is None:
            height = min(max(3.2, 0.85 * max(map(len, self.shown_)) + 1), 8)
            _, ax = plt.subplots(figsize=(8, height), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        arcs = 0.2 if self.skip_weights is not None else 0
        ax.set(xlim=(-0.55, 2.6), ylim=(-0.12 - arcs, 1.12 + arcs))
        ax.set_axis_off()
        places = [_places(len(units)) for units in self.shown_]
        self.edges_: list[LineCollection] = []
        self.numbers_: list[list[Annotation]] = []
        for layer in (0, 1):
            self._draw_edges(layer, places)
        self.skip_edges_ = self._draw_arcs(places)
        self.nodes_ = [self._draw_units(layer, places[layer]) for layer in (0, 1, 2)]
        self._draw_names(places)
        ax.set_title(self._title(), fontsize="medium")
        return self

    def _most_contributing(self, max_units: int) -> list[Array]:
        """Sorted indices of the units to draw, for each layer."""
        (_, a1, _), (W1, W2) = self.activations, self.weights
        outputs = np.argsort(-np.abs(self.deltas[1]), kind="stable")[:max_units]
        to_scores = np.abs(a1) * np.linalg.norm(W2, axis=1)
        hidden = np.argsort(-to_scores, kind="stable")[:max_units]
        to_hidden = np.abs(self._offset()) * np.linalg.norm(W1[:, hidden], axis=1)
        inputs = np.argsort(-to_hidden, kind="stable")[:max_units]
        return [np.sort(inputs), np.sort(hidden), np.sort(outputs)]

    def _offset(self) -> Array:
        """The inputs from where their columns are centred."""
        x = self.activations[0]
        return x if self.centre is None else x - self.centre

    def _scaled_inputs(self) -> Array:
        """The inputs in units in which their sizes can be compared."""
        return self._offset() if self.factor is None else self._offset() * self.factor

    def _draw_edges(self, layer: int, places: list[Array]) -> None:
        at = np.ix_(self.shown_[layer], self.shown_[layer + 1])
        weights, gradients = self.weights[layer][at], self.gradients[layer][at]
        ends = [
            [(layer, y0), (layer + 1, y1)]
            for y0 in places[layer]
            for y1 in places[layer + 1]
        ]
        self.edges_.append(_draw_lines(self.ax_, ends, weights.ravel()))
        numbers = []
        if weights.size <= NUMBERED_EDGES:
            values = zip(weights.ravel(), gradients.ravel(), strict=True)
            spots = _clear_places(ends, self.ax_)
            for place, pair in zip(spots, values, strict=True):
                numbers += _two_numbers(self.ax_, place, *pair)
        self.numbers_.append(numbers)

    def _draw_arcs(self, places: list[Array]) -> "LineCollection | None":
        """The skip layer, above or below the hidden units, whichever is nearer."""
        if self.skip_weights is None:
            return None
        weights = self.skip_weights[np.ix_(self.shown_[0], self.shown_[2])]
        t = np.linspace(0, 1, 40)
        arcs = []
        for y0 in places[0]:
            for y1 in places[2]:
                side = 1.3 if y0 + y1 >= 1 else -0.3
                y = (1 - t) ** 3 * y0 + 3 * t * (1 - t) * side + t**3 * y1
                arcs.append(np.column_stack([2 * t, y]))
        return _draw_lines(self.ax_, arcs, weights.ravel(), "#cbbfae")

    def _draw_units(self, layer: int, places: Array) -> "PathCollection":
        from matplotlib.colors import LinearSegmentedColormap

        units, values = self.shown_[layer], self.activations[layer]
        shown = np.abs(values if layer else self._scaled_inputs())[units]
        cmap = LinearSegmentedColormap.from_list("activation", ["white", "#9cc3ea"])
        nodes = self.ax_.scatter(
            np.full(len(units), layer),
            places,
            s=1300,
            c=shown,
            cmap=cmap,
            vmin=0,
            vmax=max(shown.max(initial=0), np.finfo(float).tiny),
            edgecolors="black",
            zorder=2,
        )
        for unit, y in zip(units, places, strict=True):
            numbers = [(values[unit], 4 if layer else 0, FORWARD)]
            if layer:
                numbers.append((self.deltas[layer - 1][unit], -6, BACKWARD))
            for value, dy, color in numbers:
                self.ax_.annotate(
                    _number(value),
                    (layer, y),
                    xytext=(0, dy),
                    textcoords="offset points",
                    color=color,
                    ha="center",
                    va="center",
                    zorder=3,
                    fontsize=8,
                )
        return nodes

    def _draw_names(self, places: list[Array]) -> None:
        inputs, _, outputs = self.shown_
        beside: dict[str, Any] = {
            "textcoords": "offset points",
            "va": "center",
            "fontsize": 8,
        }
        for unit, y in zip(inputs, places[0], strict=True):
            name = shortened(str(self.feature_names[unit]), 22)
            self.ax_.annotate(name, (0, y), xytext=(-22, 0), ha="right", **beside)
        for unit, y in zip(outputs, places[2], strict=True):
            name = shortened(str(self.output_names[unit]), 22)
            if len(self.target) == len(self.output_names):
                name += f"\ntarget {_number(float(self.target[unit]))}"
            self.ax_.annotate(name, (2, y), xytext=(22, 0), ha="left", **beside)
        above: dict[str, Any] = {
            "transform": self.ax_.transAxes,
            "va": "bottom",
            "fontsize": 8,
        }
        self.ax_.text(
            0.02,
            0.985,
            "forward: inputs, activations, weights →",
            color=FORWARD,
            **above,
        )
        self.ax_.text(
            0.98,
            0.985,
            "← back: δ = ∂loss/∂net input, ∂loss/∂weight",
            color=BACKWARD,
            ha="right",
            **above,
        )

    def _title(self) -> str:
        title = f"loss {self.loss:.3g}"
        if len(self.target) != len(self.output_names):  # otherwise it is beside each
            target = ", ".join(_number(float(value)) for value in self.target)
            title += f" at target {target}"
        layers = ("inputs", "hidden units", "outputs")
        cut = [
            f"{len(units)} of {len(values)} {kind}"
            for units, values, kind in zip(
                self.shown_, self.activations, layers, strict=True
            )
            if len(units) < len(values)
        ]
        if cut:
            title += f"; shown are those that contribute most: {', '.join(cut)}"
        return title + "\n"


def _one_row(x: MatrixLike) -> Any:
    """One sample as a table or matrix of one row."""
    if hasattr(x, "to_frame"):  # a row of a pandas table
        return x.to_frame().T.infer_objects()
    if hasattr(x, "shape") and len(x.shape) == 2:
        if x.shape[0] != 1:
            raise ValueError(f"x must be one sample, but has {x.shape[0]} rows.")
        return x
    return np.asarray(x).reshape(1, -1)


def _one_target(estimator: BaseTwoLayer, y: ArrayLike) -> Array:
    """One label or target as a matrix for the loss, float64."""
    targets = estimator._fitted.targets
    if not targets.labelled:
        return np.asarray(y, np.float64).reshape(1, -1)
    if targets.multilabel:
        return np.asarray(y, bool).reshape(1, -1).astype(np.float64)
    codes: Array = targets.encode(np.asarray(y).reshape(1))
    return codes.astype(np.float64)


def _output_names(estimator: BaseTwoLayer, n_outputs: int) -> list[str]:
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return [f"output {k}" for k in range(n_outputs)]
    if len(classes) != n_outputs:  # two classes share one output
        return [f"class {classes[-1]}"]
    kind = "label" if estimator._fitted.targets.multilabel else "class"
    return [f"{kind} {label}" for label in classes]


def _places(n: int) -> Array:
    """Vertical positions of n units."""
    return np.array([0.5]) if n == 1 else np.linspace(1, 0, n)


def _clear_places(edges: ArrayLike, ax: "Axes") -> list[Array]:
    """A place on each edge for two numbers, without overlap if possible.

    One edge after the other takes the first free place, or the one with least overlap.
    """
    # Space for two numbers in data units, 0.42 x 0.27 inches.
    width, height = ax.figure.dpi * np.array([0.42, 0.27])
    unit = ax.transData.transform([(0, 0), (1, 1)])
    room = np.array([width, height]) / np.abs(unit[1] - unit[0])
    shares = np.array([0.3, 0.37, 0.23, 0.44, 0.51, 0.58, 0.65, 0.72, 0.79])
    taken: list[np.ndarray] = []
    for start, end in np.array(edges):
        places = start + shares[:, np.newaxis] * (end - start)
        apart = np.full(len(places), np.inf)
        for other in taken:
            apart = np.minimum(apart, np.abs((places - other) / room).max(axis=1))
        taken.append(places[np.argmax(np.minimum(apart, 1))])
    return taken


def _draw_lines(
    ax: "Axes", lines: Sequence[ArrayLike], weights: Array, color: str = "#9a9a9a"
) -> "LineCollection":
    """Edges whose width is the size of the weight; negative weights are dashed."""
    from matplotlib.collections import LineCollection

    relative = np.abs(weights) / (np.abs(weights).max(initial=0) or 1.0)
    edges = LineCollection(
        lines,
        linewidths=0.4 + 2.6 * relative,
        linestyles=["--" if w < 0 else "-" for w in weights],
        colors=color,
        zorder=1,
    )
    ax.add_collection(edges)
    return edges


def _number(value: float) -> str:
    """A short text for a number."""
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    digits = 2 if abs(value) < 100 else 4
    return f"{value:.{digits}g}".replace("-", "−")


def _two_numbers(
    ax: "Axes", place: Array, weight: float, gradient: float
) -> "list[Annotation]":
    """A weight, and below it the derivative with respect to it."""
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    style: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "center",
        "fontsize": 7,
        "zorder": 1.5,
    }
    return [
        ax.annotate(
            _number(value),
            (place[0], place[1]),
            xytext=(0, dy),
            color=color,
            va="center",
            bbox=box,
            **style,
        )
        for value, dy, color in ((weight, 4.5, FORWARD), (gradient, -4.5, BACKWARD))
    ]
