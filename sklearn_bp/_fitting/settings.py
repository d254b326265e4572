"""The values of "auto" in one fit, from the recipe and the size of the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn_bp._fitting import defaults
from sklearn_bp._fitting.defaults import Resolved


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a fit.

    `MemoryRows` and `PartitionedRows` make them.  Those with a default belong to kinds
    of data that have rules of their own; see the constants in `defaults`.

    Attributes
    ----------
    recipe : Recipe
    incremental : bool, default=False
        Whether it is a call of partial_fit.
    n_rows, n_seen : int
        Rows with non-zero weight in this call, and in the stream so far.
    shape : (n_inputs, n_hidden, n_outputs)
        The shape of an ensemble member.
    n_members : int
    rows_per_batch : callable(n_rows) -> int
        The rule for batch_size="by_rows".
    wide_rate : float, default=0.0
        The learning rate for wide data, whose inputs are coordinates in the space of
        the rows; 0 for other data.
    n_binned : int, default=0
        The number of columns that fit encodes by bins too, or from which it chooses
        these columns.
    epoch_limit : int, default=0
        The most epochs for dense data of many columns, from `epochs_of_many` or, if
        encoded, `epochs_of_encoded`; 0 for other data.
    step_limit : float, default=inf
        The most steps, whatever the epochs.
    usual : bool, default=False
        From `is_usual`; False for partial_fit.
    patience : int, default=PATIENCE
        The patience in steps, except for wide data.
    rate_factor : float, default=1.0
        The factor on the starting rate of a usual fit.
    """

    recipe: Any
    incremental: bool = False
    n_rows: int
    n_seen: int
    shape: tuple[int, int, int]
    n_members: int
    rows_per_batch: Callable[[int], int]
    wide_rate: float = 0.0
    n_binned: int = 0
    epoch_limit: int = 0
    step_limit: float = math.inf
    usual: bool = False
    patience: int = defaults.PATIENCE
    rate_factor: float = 1.0

    @property
    def few(self):
        """Whether fewer than FEW_ROWS rows have non-zero weight."""
        return self.n_seen < defaults.FEW_ROWS

    @property
    def holds_out(self):
        """Whether early_stopping="auto" holds rows out."""
        return not self.incremental and defaults.holds_out(self.recipe, self.n_rows)

    @property
    def alpha(self):
        """The penalty, for batches of the default length."""
        return defaults.penalty(self.recipe, self.n_seen, self.wide_rate, self.n_binned)

    @property
    def scale_speed(self):
        """The speed of a new scaling layer; 0 without one."""
        many = self.epoch_limit if not self.n_binned else 0
        return defaults.scale_speed(self.recipe, many, self.n_binned)

    def resolved(self, n_rows) -> Resolved:
        """The values of "auto" and "full" for this number of training rows."""
        batch_size = self._batch_size(n_rows)
        n_steps = math.ceil(n_rows / batch_size)
        alpha, penalty_rows = self.alpha, self.penalty_rows(n_rows, batch_size)
        if penalty_rows is not None:
            alpha *= batch_size / penalty_rows  # the equivalent value
        max_iter, n_iter_no_change = self.recipe.max_iter, self.recipe.n_iter_no_change
        if max_iter == "auto":
            max_iter = self._most_epochs(n_steps)
        if n_iter_no_change == "auto":
            n_iter_no_change = self._patience(n_steps)
        rate = self.recipe.learning_rate_init
        if rate == "auto":
            rate = self._rate()
        return Resolved(alpha, batch_size, float(rate), max_iter, n_iter_no_change)

    def penalty_rows(self, n_rows, batch_size):
        """`penalty_rows` of `MiniBatches` for this number of training rows."""
        n_rows = self.n_seen if self.incremental else n_rows
        rule = self.rows_per_batch
        return defaults.rows_per_penalty(
            self.recipe, n_rows, self.few, batch_size, rule
        )

    def _batch_size(self, n_rows):
        size = self.recipe.batch_size
        if size == "auto":
            size = 200
        elif size == "by_rows" and not self.few:
            size = self.rows_per_batch(self.n_seen if self.incremental else n_rows)
        elif size in ("by_rows", "full"):
            size = n_rows
        return min(size, n_rows)

    def _most_epochs(self, n_steps):
        """`max_iter`, for epochs of `n_steps` steps."""
        if self.few:
            most = defaults.WIDE_EPOCHS if self.wide_rate else 200
        elif self.epoch_limit:
            at_least = math.ceil(defaults.STEPS_OF_MANY / n_steps)
            most = min(max(self.epoch_limit, at_least), 400)
        else:
            most = 400
        if self.step_limit < math.inf:
            most = min(most, math.ceil(self.step_limit / n_steps))
        return most

    def _patience(self, n_steps):
        """`n_iter_no_change`: a number of steps, but at least a few epochs."""
        steps = defaults.WIDE_PATIENCE if self.wide_rate else self.patience
        if self.epoch_limit and not self.n_binned:
            steps = 0
        return max(5 if self.usual else 8, math.ceil(steps / n_steps))

    def _rate(self):
        """`learning_rate_init`."""
        if self.wide_rate:
            return self.wide_rate
        if self.n_binned:
            few = self.epoch_limit
            return defaults.ENCODED_RATE_OF_FEW if few else defaults.ENCODED_RATE
        n_features, *_ = self.shape
        if self.epoch_limit:
            few = n_features <= defaults.MANY_COLUMNS
            return defaults.RATE_OF_FEW if few else defaults.RATE_OF_MANY
        return self.rate_factor * defaults.starting_rate(n_features)
