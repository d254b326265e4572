"""Messages of a fit: the table of epochs, how training ended, what to do next."""

import textwrap
import time

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp._common.warn import warn_user
from sklearn_bp.schedules import ends_with_max_iter

# The address of the site, once it has one, with a trailing slash.  The HTML
# representation of an estimator links to its page there; without an address to none.
SITE = ""
PAGE = "api/{estimator_module}.{estimator_name}.html"

# Rows that the spread of the features is estimated from, and their maximum size.
SAMPLE, SAMPLE_SIZE = 200, 2**16
# Standard deviations that differ by this factor, from each other or from 1, slow down
# training.
WIDE = 100


def page_template():
    """Template of the address of an estimator's page, which scikit-learn fills in."""
    return SITE + PAGE if SITE else ""


# Widths of the cells of a line; all of them make 79 columns.
FIRST, CELL, LAST = 6, 13, 8


class EpochTable:
    """Prints a table of the epochs, with a header before the first line.

    Both losses are without the penalty, which has a column of its own, so that you can
    compare them. Values that never change have no column: no penalty, a constant rate,
    a score that is not computed.

    Parameters
    ----------
    every : int
        Prints the first epoch, every `every`-th, the last before the penalty is
        dropped, and the last of the training.
    penalized : bool
        Whether there is a penalty.
    validates : bool
        Whether there are validation rows.
    incremental : bool, default=False
        Whether the training is a single epoch of `partial_fit`. The calls then make one
        table, in which the last epoch of a call is like any other.
    title : str, default=None
        A line before the first epoch.
    """

    def __init__(self, every, penalized, validates, incremental=False, title=None):
        self.every, self.penalized, self.validates = every, penalized, validates
        self._incremental, self._title = incremental, title
        self._began: float | None = None
        self._header = True
        self._rate = self._next_rate = 0.0
        self._relaxed = False
        self._printed = 0  # the last epoch with a line

    def epoch_begins(self, state):
        self._next_rate = state.rate
        if self._began is None:
            self._began = time.perf_counter()
            self._printed = state.n_iter
            self._header = not self._incremental or state.n_iter == 0
            if self._title is not None:
                print(self._title)
        if state.relaxed and not self._relaxed:
            self._relaxed = True
            print(
                "The penalty is dropped: training continues from the weights of epoch "
                f"{state.best_iter}."
            )

    def epoch_ends(self, history, reason):
        state = history.state
        by_step = getattr(state.schedule, "by_step", None) is not None
        self._rate = state.rate if by_step else self._next_rate
        ends = reason is not None or state.relaxed != self._relaxed
        if state.n_iter % self.every == 0 or state.n_iter == 1 or ends:
            self._print(state)

    def training_ends(self, state):
        if state.n_iter > self._printed and not self._incremental:
            self._print(state)

    def _print(self, state):
        """Print the line of the last complete epoch."""
        self._printed = state.n_iter
        cells = self._cells(state)
        if self._header:
            print(_line("epoch", cells.keys()))
            self._header = False
        print(_line(state.n_iter, cells.values()))

    def _cells(self, state):
        """Titles and texts of the columns after the epoch."""
        loss = state.data_losses[-1]
        values = {"train loss": loss}
        if self.penalized:
            values["penalty"] = state.loss_curve[-1] - loss
        if self.validates:
            values["valid loss"] = state.validation_losses[-1]
            if not np.isnan(state.validation_scores).all():
                values["valid score"] = state.validation_scores[-1]
        if getattr(state.schedule, "varies", False):
            values["rate"] = self._rate
        cells = {title: f"{value:.5g}" for title, value in values.items()}
        seconds = time.perf_counter() - (self._began or 0.0)
        return cells | {"seconds": f"{seconds:.2f}"}


def epoch_tables(verbose, **options):
    """The observers that print the epochs: one, or none without `verbose`.

    Parameters
    ----------
    verbose : bool or int
    **options
        As in `EpochTable`.
    """
    return (EpochTable(max(1, int(verbose)), **options),) if verbose else ()


def _line(first, rest):
    """A line of the table: titles or values."""
    *cells, last = rest
    middle = "".join(f"{cell:>{CELL}}" for cell in cells)
    return f"{first:>{FIRST}}{middle}{last:>{LAST}}"


def ending(result):
    """How training ended, in lines of at most 79 columns."""
    n_iter, best = result.state.n_iter, result.best_iter
    why = {
        "tol": "the loss no longer improves by tol",
        "patience": "the validation metric no longer improves by tol",
        "max_iter": "max_iter is reached",
        "loss_threshold": "the loss is below loss_threshold",
        "callback": "a callback requested it",
        "interrupted": "it was interrupted",
    }.get(result.reason, result.reason)
    lines = textwrap.wrap(f"Ended after epoch {n_iter}: {why}.", 79)
    if best != n_iter:
        lines.append(f"The weights are those of epoch {best}.")
    return "\n".join(lines)


def warn_of(done, recipe):
    """Warn if training has not converged or was interrupted, with advice."""
    result, X = done.result, done.unscaled
    reason, n_iter = result.reason, result.state.n_iter
    if reason == "interrupted":
        text, category = "Training interrupted by user.", UserWarning
    elif recipe.max_iter == "auto" or ends_with_max_iter(recipe.learning_rate):
        return  # reaching max_iter is expected
    elif reason == "max_iter":
        text, category = (
            f"Stochastic Optimizer: Maximum iterations ({recipe.max_iter}) "
            "reached and the optimization hasn't converged yet. "
            f"{next_step(result, X, done.resolved.learning_rate_init)}",
            ConvergenceWarning,
        )
    elif reason.startswith("status="):
        step = next_step_of_lbfgs(reason, X, recipe.max_iter, recipe.max_fun)
        text, category = (
            f"lbfgs failed to converge after {n_iter} iteration(s) ({reason}). {step}",
            ConvergenceWarning,
        )
    else:
        return
    warn_user(text, category)


def next_step(result, X, learning_rate_init):
    """Advice if training by mini-batches reached max_iter.

    Parameters
    ----------
    result : TrainingResult
    X : ndarray or CSR, or None
        The features, unless they were scaled.
    learning_rate_init : float
    """
    sentences = [_about_scale(X)]
    curve = np.asarray(result.state.loss_curve)
    steps = np.diff(curve[-max(10, len(curve) // 4) - 1 :])
    n_rises, travelled = int((steps > 0).sum()), np.abs(steps).sum()
    if len(steps) < 3 or travelled == 0:
        sentences.append("Increase max_iter or tol.")
    elif -steps.sum() < travelled / 4 and n_rises >= len(steps) / 4:
        sentences.append(
            f"The loss goes up and down: it rose in {n_rises} of the last {len(steps)} "
            f"epochs. Lower learning_rate_init ({learning_rate_init:g}), or increase "
            "batch_size; if it is low enough, increase tol."
        )
    else:
        fall = -steps.sum() / abs(curve[-len(steps) - 1])
        sentences.append(
            f"The loss is still falling, by a fraction of {fall:.2g} in the last "
            f"{len(steps)} epochs: increase max_iter, learning_rate_init "
            f"({learning_rate_init:g}) or tol."
        )
    return " ".join(filter(None, sentences))


def next_step_of_lbfgs(reason, X, max_iter, max_fun):
    """Advice if scipy's minimizer stopped early; see `next_step`."""
    if "ITERATIONS" in reason:
        step = f"Increase max_iter ({max_iter}) or tol."
    elif "EVALUATIONS" in reason:
        step = f"Increase max_fun ({max_fun}) or tol."
    else:
        step = (
            "The line search found no lower loss, which happens if the loss has kinks "
            "or the weights are huge. Scale the data, increase tol, or try a "
            "smooth activation ('tanh')."
        )
    return " ".join(filter(None, [_about_scale(X), step]))


def _about_scale(X):
    """Advice if the spreads of the features differ much or are far from 1; or ''."""
    if X is None:
        return ""
    n, d = X.shape
    n_rows = max(20, min(SAMPLE, SAMPLE_SIZE // d))
    sample = X[:: -(-n // n_rows)].astype(np.float64)
    with np.errstate(all="ignore"):  # squares may overflow
        if sparse.issparse(sample):
            mean_square = sample.multiply(sample).mean(axis=0)
            spread = np.sqrt(np.asarray(mean_square).ravel())
        else:
            spread = np.std(sample, axis=0)
    spread = spread[spread > 0]
    if not len(spread):
        return ""
    low, high = float(spread.min()), float(spread.max())
    if high < WIDE * low and low > 1 / WIDE and high < WIDE:
        return ""
    return (
        f"The features' standard deviations are from {low:.2g} to {high:.2g}: set "
        "standardize=True, or scale them (StandardScaler)."
    )
