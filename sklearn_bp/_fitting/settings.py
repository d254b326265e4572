"""The values of "auto" in one fit, from the recipe and the size of the data."""

import math
from dataclasses import dataclass
from typing import Any

from sklearn_bp._fitting.defaults import (
    FEW_ROWS,
    SPARSE_WIDE_STEPS,
    Resolved,
    holds_out,
    members,
    penalty,
    rate_factor,
    resolve,
    rows_per_penalty,
    scale_speed,
    wide_rate,
)


@dataclass(frozen=True)
class Settings:
    """The settings of a fit.

    Attributes
    ----------
    recipe : Recipe
    incremental : bool
        Whether it is a call of partial_fit.
    n_rows, n_seen : int
        Rows with non-zero weight in this call, and in the stream so far.
    shape : (n_inputs, n_hidden, n_outputs)
        The shape of an ensemble member.
    n_members : int
    alpha : float
        The penalty.
    holds_out : bool
        Whether early_stopping="auto" holds rows out.
    wide : float
        The learning rate for wide data; 0 for other data.
    n_binned : int
        The number of columns that fit encodes by bins too.
    many : int
        The most epochs for dense data of many columns, see `epochs_of_many` and, if
        encoded, `epochs_of_encoded`; 0 for other data.
    most_steps : float
        The most steps, whatever the epochs.
    usual : bool
        From `is_usual`; False for partial_fit.
    faster : float
        From `rate_factor`.
    rows_per_batch : callable(n_rows) -> int
        The rule for batch_size="by_rows".
    """

    recipe: Any
    incremental: bool
    n_rows: int
    n_seen: int
    shape: tuple
    n_members: int
    alpha: float
    holds_out: bool
    wide: float
    n_binned: int
    many: int
    most_steps: float
    usual: bool
    faster: float
    rows_per_batch: Any

    @classmethod
    def of(
        cls,
        rows,
        n_seen,
        row_length,
        n_outputs,
        wide_of=None,
        n_binned=0,
        many=0,
        usual=False,
        by_rows=None,
    ):
        """The settings for `MemoryRows` or `PartitionedRows`.

        Parameters
        ----------
        rows : MemoryRows or PartitionedRows
        n_seen : int
        row_length : float
            Stored numbers per row.
        n_outputs : int
        wide_of : bool or None
            If the inputs are coordinates of wide data, whether the data is sparse; None
            otherwise.
        n_binned : int
            The number of columns that are encoded by bins too.
        many : int
            From `epochs_of_many` or `epochs_of_encoded`.
        usual : bool
            From `is_usual`.
        by_rows : callable(n_rows) -> int, default=None
            The rule for batch_size="by_rows"; None for that of the rows.
        """
        recipe, n_rows, d = rows.recipe, rows.n_rows, rows.n_inputs
        wide = 0.0 if wide_of is None else wide_rate(n_rows, wide_of)
        n_binned = 0 if rows.request.incremental else n_binned
        return cls(
            recipe,
            rows.request.incremental,
            n_rows,
            n_seen,
            (d, recipe.n_hidden, n_outputs),
            members(recipe, n_rows, d, row_length, n_outputs, usual),
            penalty(recipe, n_seen, wide, n_binned),
            not rows.request.incremental and holds_out(recipe, n_rows),
            wide,
            n_binned,
            many,
            SPARSE_WIDE_STEPS if wide_of else math.inf,
            usual,
            rate_factor(n_rows, rows.targets.labelled) if usual else 1.0,
            by_rows or rows.rows_per_batch,
        )

    @property
    def few(self):
        return self.n_seen < FEW_ROWS

    @property
    def scale_speed(self):
        """The speed of a new scaling layer; 0 without one."""
        many = self.many if not self.n_binned else 0
        return scale_speed(self.recipe, many, self.n_binned)

    def resolved(self, n_rows) -> Resolved:
        """The values of "auto" for this number of training rows."""
        return resolve(
            self.recipe,
            n_rows,
            self.shape[0],
            self.alpha,
            self.few,
            self.rows_per_batch,
            self.n_seen if self.incremental else None,
            self.wide,
            self.n_binned,
            self.many,
            self.most_steps,
            self.usual,
            self.faster,
        )

    def penalty_rows(self, n_rows, batch_size):
        """`penalty_rows` of `MiniBatches` for this number of training rows."""
        n_rows = self.n_seen if self.incremental else n_rows
        rule = self.rows_per_batch
        return rows_per_penalty(self.recipe, n_rows, self.few, batch_size, rule)
