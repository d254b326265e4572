"""Loss and score against epochs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone

from sklearn_bp._common.types import Array, MatrixLike
from sklearn_bp.display._drawing import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# One curve, or one per estimator, which may lack it.
Curves = ArrayLike | Sequence[ArrayLike | None]

TRAINING, WITH_PENALTY = "training loss", " with its penalty"


def _fitted_network(estimator: BaseEstimator) -> Any:
    """The network inside searches, pipelines and target transformers."""
    while not hasattr(estimator, "coefs_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "regressor_"):
            estimator = estimator.regressor_
        else:
            break
    return estimator


def _lists(value: Any, n: int) -> list[Any]:
    """One value per curve, from a list or from the value of a single curve."""
    if value is None:
        return [None] * n
    return list(value) if isinstance(value, list | tuple) else [value]


class LossCurveDisplay:
    """Loss and score against epochs, with the kept epoch marked.

    Use `from_estimator` or `from_cv_results` to make one. For this package's
    estimators, both losses are drawn without the penalty, so that you can compare them.
    The legend says so if a training loss includes the penalty, as MLPClassifier's does.

    Parameters
    ----------
    loss : array-like of shape (n_epochs,), or list of such
        Training loss of each epoch, for one or several estimators.

    validation_loss, validation_score : array-like or list of such, default=None
        Loss and score on held-out rows; if shorter than `loss`, for the last epochs. In
        a list, None for an estimator without them.

    best_iter : int or list of int, default=None
        Epoch whose weights are kept, counted from 1 in `loss`.

    name : str or list of str, default=None
        Names of the estimators in the legend.

    penalized : bool or list of bool, default=False
        Whether `loss` includes the penalty, which `validation_loss` never does.

    restart : int or list of int, default=None
        Last epoch of the first of two trainings, after which the curves are broken.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the losses.

    score_ax_ : matplotlib Axes or None
        Axes of the scores, on the right, if there are any.

    figure_ : matplotlib Figure

    lines_, validation_lines_, score_lines_ : list of matplotlib Line2D or None
        Curves, one per estimator.

    kept_ : list of lists of matplotlib Line2D
        Markers of the kept epoch on each curve of each estimator.

    See Also
    --------
    HiddenUnitsDisplay : The input weights of hidden units.
    BackpropDisplay : Activations and errors for one sample.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bp import TwoLayerClassifier
    >>> from sklearn_bp.display import LossCurveDisplay
    >>> network = TwoLayerClassifier(random_state=0).fit(*load_iris(return_X_y=True))
    >>> LossCurveDisplay.from_estimator(network)
    <...LossCurveDisplay object at ...>
    """

    def __init__(
        self,
        *,
        loss: Curves,
        validation_loss: Curves | None = None,
        validation_score: Curves | None = None,
        best_iter: int | Sequence[int | None] | None = None,
        name: str | Sequence[str] | None = None,
        penalized: bool | Sequence[bool] = False,
        restart: int | Sequence[int | None] | None = None,
    ) -> None:
        self.loss = loss
        self.validation_loss = validation_loss
        self.validation_score = validation_score
        self.best_iter = best_iter
        self.name = name
        self.penalized = penalized
        self.restart = restart

    @classmethod
    def from_estimator(
        cls,
        estimator: (
            BaseEstimator | Sequence[BaseEstimator] | Mapping[str, BaseEstimator]
        ),
        *,
        ax: "Axes | None" = None,
        name: str | Sequence[str] | None = None,
        log_scale: bool | str = "auto",
    ) -> Self:
        """Draw the curves of one estimator, or of several in one picture.

        Parameters
        ----------
        estimator : estimator, list of estimators, or dict of names and estimators
            Fitted estimators of this package, MLPClassifier, MLPRegressor, or pipelines
            and searches that end in one.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        name : str or list of str, default=None
            Names in the legend; None for their classes.

        log_scale : bool or 'auto', default='auto'
            Whether the loss axis is logarithmic; 'auto' if all losses are above 0.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If an estimator has no loss curve.
        """
        if isinstance(estimator, dict):
            name = list(estimator) if name is None else name
            estimator = list(estimator.values())
        several = isinstance(estimator, list | tuple)
        networks = [_fitted_network(e) for e in (estimator if several else [estimator])]
        curves = [_curves(network) for network in networks]
        if name is None:
            name = [type(network).__name__ for network in networks]
        loss, validation_loss, validation_score, best_iter, penalized, restart = map(
            list, zip(*curves, strict=True)
        )
        display = cls(
            loss=loss,
            validation_loss=validation_loss,
            validation_score=validation_score,
            best_iter=best_iter,
            name=_lists(name, len(networks)),
            penalized=penalized,
            restart=restart,
        )
        return display.plot(ax=ax, log_scale=log_scale)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: dict[str, Any],
        estimator: BaseEstimator | None = None,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        *,
        n_candidates: int = 3,
        metric: str = "score",
        ax: "Axes | None" = None,
        name: Sequence[str] | None = None,
        log_scale: bool | str = "auto",
    ) -> Self:
        """Draw the curves of cross-validation folds, or of the best of a search.

        Parameters
        ----------
        cv_results : dict
            Result of ``cross_validate(..., return_estimator=True)``, for one curve per
            fold. Or the `cv_results_` of a search: since a search keeps no curves, its
            best settings are fitted again to X and y.

        estimator : estimator, default=None
            Estimator of the search; only needed for a search, like X and y.

        X, y : array-like, default=None
            Training data.

        n_candidates : int, default=3
            Number of settings of a search that are drawn.

        metric : str, default='score'
            Scoring by which they are ranked, if a search has several.

        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        name : list of str, default=None
            Names of the curves in the legend; None for 'fold 0' and so on, or for
            parameters and mean score.

        log_scale : bool or 'auto', default='auto'
            As in `from_estimator`.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ValueError
            If there are neither fitted estimators nor the data to fit them.
        """
        if "estimator" in cv_results:
            fitted = list(cv_results["estimator"])
            labels = [f"fold {i}" for i in range(len(fitted))]
        elif "params" in cv_results and estimator is not None:
            best = np.argsort(cv_results[f"rank_test_{metric}"], kind="stable")
            params, means = cv_results["params"], cv_results[f"mean_test_{metric}"]
            best = best[:n_candidates]
            fitted = [clone(estimator).set_params(**params[i]).fit(X, y) for i in best]
            labels = [f"{_in_words(params[i])}: {means[i]:.3g}" for i in best]
        else:
            raise ValueError(
                "cv_results holds no fitted estimators. Pass return_estimator=True to "
                "cross_validate; for the cv_results_ of a search, pass the estimator, "
                "X and y too, so that its best settings are fitted again."
            )
        return cls.from_estimator(
            fitted, ax=ax, name=labels if name is None else name, log_scale=log_scale
        )

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        name: str | Sequence[str] | None = None,
        log_scale: bool | str = "auto",
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        name : str or list of str, default=None
            Names in the legend.

        log_scale : bool or 'auto', default='auto'
            Whether the loss axis is logarithmic; 'auto' if all losses are above 0.

        Returns
        -------
        display : LossCurveDisplay
        """
        plt = pyplot(self)
        given: Any = self.loss
        several = len(given) > 0 and np.ndim(given[0]) > 0
        losses = [np.asarray(c) for c in (given if several else [given])]
        n = len(losses)
        held_out: Any = self.validation_loss, self.validation_score
        losses_val, scores = (
            _lists(curves, n) if several else [curves] for curves in held_out
        )
        kept, restarts = _lists(self.best_iter, n), _lists(self.restart, n)
        penalized = _lists(self.penalized or None, n)
        names = _lists(self.name if name is None else name, n)
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_, self.score_ax_ = ax, ax.figure, None
        if any(score is not None for score in scores):
            self.score_ax_ = ax.twinx()
            self.score_ax_.set_ylabel("validation score (dotted)")
        self.lines_: list[Any] = []
        self.validation_lines_: list[Any] = []
        self.score_lines_: list[Any] = []
        self.kept_ = []
        for i, loss in enumerate(losses):
            color, label = f"C{i % 10}", names[i] or f"estimator {i}"
            suffix = WITH_PENALTY if penalized[i] else ""
            curves = loss, losses_val[i], scores[i]
            lines = self._lines(curves, restarts[i], color)
            kinds = [f"{TRAINING}{suffix}", "validation loss", "validation score"]
            for line, kind in zip(lines, kinds, strict=True):
                if line is not None:
                    line.set_label(f"{label}, {kind}" if n > 1 else kind)
            self.kept_.append(_marks(kept[i], lines, color))
        self._label(ax, losses, losses_val, log_scale)
        return self

    def _lines(
        self, curves: tuple[Any, Any, Any], restart: int | None, color: str
    ) -> list[Any]:
        """The lines of the losses and the score of an estimator; None for no curve."""
        loss, loss_val, score = curves
        epochs = len(loss), restart
        lines = [
            _line(self.ax_, loss, *epochs, color=color),
            _line(self.ax_, loss_val, *epochs, color=color, linestyle="--"),
            _line(self.score_ax_, score, *epochs, color=color, linestyle=":"),
        ]
        every = self.lines_, self.validation_lines_, self.score_lines_
        for drawn, line in zip(every, lines, strict=True):
            drawn.append(line)
        return lines

    def _label(
        self,
        ax: "Axes",
        losses: list[Array],
        losses_val: list[Any],
        log_scale: bool | str,
    ) -> None:
        if log_scale == "auto":
            drawn = [c for c in [*losses, *losses_val] if c is not None]
            log_scale = all(np.min(c) > 0 for c in drawn)
        ax.set(xlabel="epoch", ylabel="loss", yscale="log" if log_scale else "linear")
        ax.grid(alpha=0.3)
        if len(losses) == 1:
            drawn = [*self.lines_, *self.validation_lines_, *self.score_lines_]
            marks = self.kept_[0][:1]  # all look the same
            handles = [line for line in [*drawn, *marks] if line is not None]
        else:  # dashes and dots are explained once, in grey
            handles = list(self.lines_)
            for line, label in zip(handles, _first_words(handles), strict=True):
                line.set_label(label)
            kinds = [(self.validation_lines_, "--", "validation loss")]
            kinds += [(self.score_lines_, ":", "validation score")]
            for lines, style, kind in kinds:
                if any(line is not None for line in lines):
                    handles += ax.plot([], [], style, color="grey", label=kind)
            if any(self.kept_):
                handles += ax.plot([], [], "o", color="grey", label="epoch kept")
        ax.legend(  # above the axes, where there are no curves
            handles=handles,
            fontsize="small",
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=3,
            frameon=False,
        )


def _first_words(lines: "Sequence[Line2D]") -> list[str]:
    return [str(line.get_label()).replace(f", {TRAINING}", "") for line in lines]


def _curves(network: Any) -> tuple[Any, ...]:
    """Training loss, validation loss and score, the position of the kept epoch,
    whether the training loss includes the penalty, and where the first of two trainings
    ends.
    """
    if not hasattr(network, "loss_curve_"):
        raise ValueError(
            f"{network!r} has no loss_curve_: fit it first. (MLPClassifier and "
            "MLPRegressor have none with solver='lbfgs'.)"
        )
    loss = np.asarray(network.loss_curve_)
    best_iter = getattr(network, "best_iter_", None)
    earlier = len(loss) - network.n_iter_  # epochs of earlier fits
    if best_iter is not None:
        best_iter += earlier
    restart = getattr(network, "first_n_iter_", network.n_iter_) + earlier
    names = ("data_loss_curve_", "validation_loss_curve_", "validation_scores_")
    curves = [getattr(network, name, None) for name in names]
    data_loss, *curves = [None if c is None else np.asarray(c) for c in curves]
    # Earlier versions and MLPClassifier lack some of these.
    penalized = data_loss is None or len(data_loss) < len(loss)
    restart = restart if restart < len(loss) else None
    return loss if penalized else data_loss, *curves, best_iter, penalized, restart


def _in_words(params: dict[str, Any]) -> str:
    """The parameters of a search as a text for the legend."""
    short = {name.rpartition("__")[2]: value for name, value in params.items()}
    return ", ".join(f"{name}={value}" for name, value in short.items())


def _line(
    ax: "Axes | None",
    curve: ArrayLike | None,
    n_epochs: int,
    restart: int | None,
    **style: Any,
) -> "Line2D | None":
    """A curve that ends at the last epoch; None if there is no curve.

    It is broken after the epoch `restart`.
    """
    if curve is None or ax is None:
        return None
    curve = np.asarray(curve)
    epochs = np.arange(n_epochs - len(curve), n_epochs) + 1.0
    if restart is not None:
        at = np.searchsorted(epochs, restart + 0.5)
        epochs = np.insert(epochs, at, restart + 0.5)
        curve = np.insert(np.asarray(curve, float), at, np.nan)
    return ax.plot(epochs, curve, **style)[0]


def _marks(
    best_iter: int | None, lines: "Sequence[Line2D | None]", color: str
) -> "list[Line2D]":
    """A dot at the kept epoch on each curve that includes it."""
    marks = []
    for line in lines:
        if line is None or best_iter is None:
            continue
        epochs, values = map(np.asarray, line.get_data())
        at = np.flatnonzero(epochs == best_iter)
        style = {"color": color, "label": f"kept: epoch {best_iter}", "zorder": 3}
        axes: Any = line.axes
        marks += axes.plot(epochs[at], values[at], "o", **style)
    return marks
