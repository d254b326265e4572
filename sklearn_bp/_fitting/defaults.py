"""What "auto" stands for: the rules, each a function of the recipe and the data."""

import math
from typing import NamedTuple

import numpy as np

from sklearn_bp.optimizers import decays

# Below so many training rows that have weight no row is held out, and batches are
# full: what is drawn at random weighs too much there, and copies of a row equal a
# weight on it.
FEW_ROWS = 100

# Epochs that the running mean of the weights reaches back.
AVERAGED_EPOCHS = 2

# Of wide data, which is trained on in the space of its rows: the penalty and the epochs
# of few rows, the patience in steps, the rates, and the rows from which on they are
# lower.  At a rate too high the loss on held-out rows rises first, and for longer than
# the patience lasts.
WIDE_PENALTY = 0.3
WIDE_EPOCHS = 60
WIDE_PATIENCE = 80
WIDE_RATE = 0.03
SPARSE_WIDE_RATE = 0.02
WIDE_RATE_ROWS = 400

# Members of n_members="auto": up to what costs of a row there are how many, and how
# many beyond.  Eight cost ordinary tables little, where calling numpy takes much of the
# time.
MEMBERS_BY_COST = {1024: 8, 1536: 4}
FEWEST_MEMBERS = 2
MOST_MEMBERS = 8


class Resolved(NamedTuple):
    """The values that training uses; see the parameters of the same names."""

    alpha: float
    batch_size: int
    learning_rate_init: float
    max_iter: int
    n_iter_no_change: float


def holds_out(recipe, n_rows):
    """Whether early_stopping="auto" holds rows out, of so many that have weight."""
    return (
        recipe.early_stopping == "auto"
        and recipe.solver != "lbfgs"
        and n_rows >= FEW_ROWS
    )


def training_dtype(recipe, dtype, n_rows):
    """What the network computes in: float32 where it sees scaled data, else X's dtype.

    Scaled data needs no more, and takes half the time; the weights are folded in
    float64.  Line searches do suffer, and so does equality on a few rows.
    """
    scaled = recipe.standardize and recipe.solver != "lbfgs"
    return np.dtype(np.float32) if scaled and n_rows >= FEW_ROWS else dtype


def rows_a_batch(n_rows):
    """A power of two near a 67th of the rows, from 32 to 256."""
    return min(max(2 ** round(math.log2(n_rows / 67)), 32), 256)


def rows_a_round(n_rows):
    """Likewise, but from 256 to 8192, where each step is a round over a cluster."""
    return min(max(2 ** round(math.log2(n_rows / 67)), 256), 8192)


def penalty(recipe, n_rows, wide=0.0):
    """`alpha`, for so many rows, held out or not; `wide` is that of `resolve`.

    Steps are taken with alpha over the rows of a batch.  The fewer rows, the more a
    penalty helps; where none is held out, it is all there is against learning by heart.
    """
    if recipe.alpha != "auto":
        return float(recipe.alpha)
    if decays(recipe.solver):
        return 0.0
    if n_rows < FEW_ROWS or recipe.solver == "lbfgs":
        return WIDE_PENALTY if wide else 1.0
    return 0.1 * (100 / n_rows) ** 1.5


def rows_a_penalty(recipe, n_rows, few, batch_size, by_rows=rows_a_batch):
    """The rows that the penalty of a step is divided by; None for those of its batch.

    alpha="auto" is meant for batches of the default length: divided by that, whatever
    the length of a batch, one row in the last does not carry all of a penalty of 1,
    and batch_size=1 does not drown in it.  Where batches have the default length the
    last, shorter one keeps the penalty of its own rows, which balances its noise.
    """
    if recipe.alpha != "auto":
        return None
    by_default = n_rows if few else by_rows(n_rows)
    return None if by_default == batch_size else by_default


def rows_to_repeat(recipe):
    """Whole weights are repeated rows, under alpha="auto", if these are fewer.

    With more of them, and steps on drawn batches, nothing could be equal anyway.
    """
    return math.inf if recipe.solver == "lbfgs" else FEW_ROWS


def starting_rate(n_features):
    """0.01 for up to 10 features, less for more, but 0.002 at least.

    A step of Adam's moves all weights of a hidden unit by about the rate, and with
    them the unit by up to the sum of its features.
    """
    return min(max(0.01 * math.sqrt(10 / n_features), 0.002), 0.01)


def wide_rate(n_rows, is_sparse):
    """Likewise, of wide data: of principal components, most of which are small."""
    rate = SPARSE_WIDE_RATE if is_sparse else WIDE_RATE
    return rate * min(1.0, math.sqrt(WIDE_RATE_ROWS / n_rows))


def members(recipe, n_rows, n_features, row_length, n_outputs):
    """`n_members` of a fit from the start; "auto" goes by what one row costs.

    That grows as its outputs and, of a CSR, its stored numbers and its share of the
    optimizer's step over all weights, which may be most of it: a weight costs there
    about eight times what it costs in the products.  Of dense rows only outputs count:
    members with fewer rows would be worse, and are not far slower than an MLP.
    """
    if recipe.n_members != "auto":
        return int(recipe.n_members)
    cost = n_outputs
    if row_length < n_features:
        cost += row_length + 8 * n_features / rows_a_batch(n_rows)
    enough = (n for most, n in MEMBERS_BY_COST.items() if cost <= most)
    return next(enough, FEWEST_MEMBERS)


def members_to_go_on_with(recipe, n_fitted):
    """`n_members` of training that goes on; "auto" stands for the fitted number."""
    return n_fitted if recipe.n_members == "auto" else int(recipe.n_members)


def most_members(recipe):
    """The largest number that `members` might give."""
    return MOST_MEMBERS if recipe.n_members == "auto" else int(recipe.n_members)


def resolve(
    recipe,
    n_rows,
    n_features,
    alpha,
    few,
    by_rows=rows_a_batch,
    n_seen=None,
    wide=0.0,
):
    """What "auto" and "full" stand for, for a training set of this shape.

    `few` tells whether fewer than FEW_ROWS of the rows have weight; `by_rows` is the
    rule for batch_size="by_rows".  `n_seen` are the rows of a stream so far.  `wide` is
    the `wide_rate` where features are coordinates in the space of the rows, else 0.
    """
    batch_size = recipe.batch_size
    if batch_size == "auto":
        batch_size = 200
    elif batch_size == "by_rows":
        batch_size = n_rows if few else by_rows(n_seen or n_rows)
    elif batch_size == "full":
        batch_size = n_rows
    batch_size = min(batch_size, n_rows)
    n_steps = math.ceil(n_rows / batch_size)
    max_iter, n_iter_no_change = recipe.max_iter, recipe.n_iter_no_change
    if max_iter == "auto":
        max_iter = 400
        if few:
            max_iter = WIDE_EPOCHS if wide else 200
    if n_iter_no_change == "auto":
        n_iter_no_change = max(8, math.ceil((WIDE_PATIENCE if wide else 300) / n_steps))
    rate = recipe.learning_rate_init
    if rate == "auto":
        rate = wide or starting_rate(n_features)
    penalty_rows = rows_a_penalty(recipe, n_seen or n_rows, few, batch_size, by_rows)
    if penalty_rows is not None:
        alpha *= batch_size / penalty_rows  # a number that would do the same
    return Resolved(alpha, batch_size, float(rate), max_iter, n_iter_no_change)
