"""The input weights of hidden units."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sklearn_bp._common.types import Array, MatrixLike
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

# Maximum number of rows on which contributions of hidden units are measured.
CONTRIBUTION_ROWS = 10_000


class HiddenUnitsDisplay:
    """The input weights of hidden units, those that contribute most first.

    Use `from_estimator` to make one. The contribution of a unit is how much it moves
    the scores: the standard deviation of its activation over the rows of X, times the
    length of its output weights. For classes that exclude each other, the mean of the
    output weights is subtracted first, since it changes no probability.

    Parameters
    ----------
    weights : ndarray of shape (n_features, n_hidden)
        Input weights, one column per unit.

    contributions : ndarray of shape (n_hidden,)
        Contribution of each unit.

    feature_names : array-like of str of shape (n_features,), default=None
        Names of the rows of `weights`; None for 'x0', 'x1' and so on.

    Attributes
    ----------
    order_ : ndarray of int
        Indices of the units drawn, the largest contribution first.

    axes_ : list of matplotlib Axes
        Axes of each unit drawn.

    ax_ : matplotlib Axes
        Axes that contain them.

    figure_ : matplotlib Figure

    See Also
    --------
    LossCurveDisplay : Loss and score against epochs.
    BackpropDisplay : Activations and errors for one sample.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier
    >>> from sklearn_bp.display import HiddenUnitsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> settings = MLP_DEFAULTS | {"max_iter": "auto", "random_state": 0}
    >>> network = TwoLayerClassifier(**settings).fit(X, y)
    >>> HiddenUnitsDisplay.from_estimator(network, X, image_shape=(8, 8))
    <...HiddenUnitsDisplay object at ...>
    """

    def __init__(
        self,
        *,
        weights: Array,
        contributions: Array,
        feature_names: Sequence[str] | Array | None = None,
    ) -> None:
        self.weights = weights
        self.contributions = contributions
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: MatrixLike,
        *,
        image_shape: tuple[int, int] | None = None,
        per_deviation: bool = True,
        n_units: int = 16,
        n_features: int = 8,
        ax: "Axes | None" = None,
    ) -> Self:
        """Draw the input weights of the units that contribute most.

        Parameters
        ----------
        estimator : TwoLayerClassifier or TwoLayerRegressor
            Fitted; for a pipeline, pass its last step.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows on which contributions are measured; at most 10,000 are used.

        image_shape : tuple of two ints, default=None
            Shape to draw the weights as images; None for bars.

        per_deviation : bool, default=True
            Whether to multiply weights by the standard deviations of their features, so
            that features in different units can be compared. False draws `coefs_`
            unchanged.

        n_units : int, default=16
            Maximum number of units drawn.

        n_features : int, default=8
            Maximum number of bars per unit: those of its largest weights.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : HiddenUnitsDisplay
        """
        network = two_layer(estimator, cls.__name__)
        X = network._check_features(X)
        X = X[:: -(-X.shape[0] // CONTRIBUTION_ROWS)]
        if hasattr(X, "toarray"):
            X = X.toarray()
        X = network._fitted_network().seen(X.astype(np.float64, copy=False))
        W1, W2 = network.coefs_
        if network.out_activation_ == "softmax":
            W2 = W2 - W2.mean(axis=1, keepdims=True)
        contributions = hidden_activations(network, X).std(axis=0) * np.linalg.norm(
            W2, axis=1
        )
        if per_deviation:
            W1 = W1 * X.std(axis=0)[:, np.newaxis]
        display = cls(
            weights=W1,
            contributions=contributions,
            feature_names=network.encoded_feature_names_,
        )
        return display.plot(
            ax, image_shape=image_shape, n_units=n_units, n_features=n_features
        )

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        image_shape: tuple[int, int] | None = None,
        n_units: int = 16,
        n_features: int = 8,
    ) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        image_shape : tuple of two ints, default=None
            Shape to draw the weights as images; None for bars.

        n_units : int, default=16
            Maximum number of units drawn.

        n_features : int, default=8
            Maximum number of bars per unit.

        Returns
        -------
        display : HiddenUnitsDisplay

        Raises
        ------
        ValueError
            If `image_shape` does not fit the number of features.
        """
        if image_shape is not None and np.prod(image_shape) != len(self.weights):
            raise ValueError(
                f"image_shape={image_shape} has {np.prod(image_shape)} pixels, but the "
                f"units have {len(self.weights)} input weights."
            )
        order = np.argsort(-self.contributions, kind="stable")[:n_units]
        self.order_, self.axes_ = order, self._axes(ax, len(order), bool(image_shape))
        largest = np.abs(self.weights[:, order]).max() or 1.0
        share = self.contributions / (self.contributions.sum() or 1.0)
        for unit, unit_ax in zip(order, self.axes_, strict=True):
            weights = self.weights[:, unit]
            if image_shape is None:
                self._bars(unit_ax, weights, n_features, largest)
            else:
                image = weights.reshape(image_shape)
                unit_ax.imshow(image, cmap="RdBu", vmin=-largest, vmax=largest)
                unit_ax.set(xticks=[], yticks=[])
            unit_ax.set_title(f"unit {unit}: {share[unit]:.1%}", fontsize="small")
        self.ax_.set_title(
            "Input weights of hidden units, and their shares of all contributions",
            fontsize="medium",
            pad=24,
        )
        return self

    def _axes(self, ax: "Axes | None", n_units: int, are_images: bool) -> "list[Axes]":
        """Axes of the units, in a grid within `ax` or a new figure."""
        plt = pyplot(self)
        n_columns = min(n_units, 8 if are_images else 4)
        n_rows = -(-n_units // n_columns)
        if ax is None:
            width, height = (1.3, 1.5) if are_images else (3.0, 2.2)
            size = (max(n_columns * width, 4), n_rows * height + 0.5)
            _, ax = plt.subplots(figsize=size)
            left, bottom = (0.02, 0.03) if are_images else (0.12, 0.3 / size[1])
            ax.figure.subplots_adjust(left, bottom, 0.97, 1 - 0.65 / size[1])
        ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        space = {"hspace": 0.35, "wspace": 0.1} if are_images else {"hspace": 0.45}
        place: Any = ax.get_subplotspec()
        grid = place.subgridspec(n_rows, n_columns, **({"wspace": 0.8} | space))
        return [
            self.figure_.add_subplot(grid[i // n_columns, i % n_columns])
            for i in range(n_units)
        ]

    def _bars(
        self, ax: "Axes", weights: Array, n_features: int, largest: float
    ) -> None:
        """Bars of the largest weights, the largest on top."""
        chosen = np.argsort(-np.abs(weights), kind="stable")[:n_features]
        names = [f"x{j}" for j in chosen]
        if self.feature_names is not None:
            names = [shortened(str(self.feature_names[j])) for j in chosen]
        colors = [FORWARD if weights[j] > 0 else BACKWARD for j in chosen]
        places = np.arange(len(chosen))
        ax.barh(places, weights[chosen], color=colors)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(xlim=(-1.05 * largest, 1.05 * largest), yticks=places)
        ax.set_yticklabels(names, fontsize="x-small")
        ax.tick_params(axis="x", labelsize="x-small")
        ax.invert_yaxis()
