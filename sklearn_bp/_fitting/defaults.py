"""The rules behind "auto", as functions of the recipe and the data."""

import math
from typing import NamedTuple

import numpy as np

from sklearn_bp._network.parameters import SCALE_SPEED
from sklearn_bp.losses import LogLoss, SquaredError
from sklearn_bp.optimizers import adaptive, decays

# With fewer training rows of non-zero weight than this, no row is held out and batches
# are full.  Random draws would matter too much, and copies of a row should equal a
# weight on it.
FEW_ROWS = 100

# Time constant of the weights' moving average, in epochs.
AVERAGED_EPOCHS = 2

# tol="auto", wherever the rules below do not apply.
TOLERANCE = 1e-4

# The patience in steps.
PATIENCE = 300

# A usual fit has up to MANY_COLUMNS columns, and rows that are held out in turn.  It
# takes fewer steps than others: its batches are shorter, and so is its patience, by
# whether it has fewer than FEW_STEPS_ROWS rows; from there on, for classes (True) and
# regressions.  An improvement counts if it is a share of the lowest held-out loss.
# Regressions start with a higher rate, the fewer rows the higher, and with a lower one
# once the penalty is dropped.  From MANY_ROWS rows on, four networks are as good as
# eight.
FEW_STEPS_ROWS = 300
PATIENCE_OF_FEW_ROWS = 100
USUAL_PATIENCE = {True: 150, False: 300}
MANY_ROWS = 3000
SHARE_OF_LOSS = {True: 0.001, False: 0.002}
RATE_OF_FEW_ROWS = 3.0
RATE_OF_REGRESSIONS = 2.0
RATE_OF_MANY_ROWS = 1.5
RELAXED_RATE = 0.5

# Maximum length of each member's gradient in streams of regressions with solver="sgd".
# If rows are in an order, the next part is unlike those before, and the network may be
# far off: so far that gradient descent, whose steps grow with the error, diverges.
# Steps of other solvers do not, but a gradient that is far too long spoils their
# running means: for them, it is the maximum in parts with a scaled target beyond
# FAR_TARGET, or beyond a quarter of the rows of a batch, among which it counts less.
# With solver="sgd", it is the maximum in any fit with a row LONG_ROW times as long as
# most: errors of such a row change the weights by more than the rate allows.
STREAM_CLIP_NORM = 5.0
FAR_TARGET = 4.0
LONG_ROW = 6.0

# For wide data, which is trained in the space of its rows: the penalty and the epochs
# with few rows, the patience in steps, the learning rates, and the number of rows above
# which they decrease.  If the rate is too high, the loss on held-out rows rises first,
# and for longer than the patience lasts.
WIDE_PENALTY = 0.3
WIDE_EPOCHS = 60
WIDE_PATIENCE = 80
WIDE_RATE = 0.03
SPARSE_WIDE_RATE = 0.02
SPARSE_WIDE_STEPS = 4200  # at most, as an epoch of dense coordinates takes long
WIDE_RATE_ROWS = 400

# The speed of scaling layers that must separate the relevant columns from many others
# in few steps.
FAST_SCALES = 9.0

# For columns that are also encoded by bins: the learning rate, for any number of
# columns, because most of their values differ little from row to row; and the factor of
# the penalty per column, because more columns fit more noise.
ENCODED_RATE = 0.01
ENCODED_PENALTY = 1.5

# Dense data of more columns than this that is not trained in the space of its rows has
# rules of its own.  An epoch takes long there, and a step of Adam moves a hidden unit
# far, so that few epochs are enough: at most EPOCHS_OF_MANY (of classes or not) over
# the root of the number of columns, or over a 32nd of it if that is more, but no fewer
# than STEPS_OF_MANY steps.  In so few steps, the scales of features must move faster to
# separate the relevant columns from the many others.
#
# Regressions of few rows, but several per column, that hold rows out follow these rules
# from fewer columns on, with twice the rate.  A second training, on columns encoded by
# bins too, then has a higher rate and fewer epochs.
MANY_COLUMNS = 128
MANY_COLUMNS_OF_FEW = 20
FEW_FOR_COLUMNS = 1000
ROWS_PER_COLUMN = 8
RATE_OF_FEW = 0.02
ENCODED_RATE_OF_FEW = 0.03
ENCODED_EPOCHS_OF_FEW = 80
EPOCHS_OF_MANY = {True: 1000, False: 500}
STEPS_OF_MANY = 160
RATE_OF_MANY = 0.01

# n_members="auto": the number of ensemble members for a cost per row up to each key,
# and the number beyond.  On ordinary tables eight members cost little, because calls to
# numpy take much of the time.
MEMBERS_BY_COST = {1024: 8, 1536: 4}
FEWEST_MEMBERS = 2
MEMBERS_OF_MANY_ROWS = 4
MOST_MEMBERS = 8


class Resolved(NamedTuple):
    """The values that training uses; see the parameters of the same names."""

    alpha: float
    batch_size: int
    learning_rate_init: float
    max_iter: int
    n_iter_no_change: float


def holds_out(recipe, n_rows):
    """Whether early_stopping="auto" holds rows out; `n_rows` have non-zero weight."""
    return (
        recipe.early_stopping == "auto"
        and recipe.solver != "lbfgs"
        and n_rows >= FEW_ROWS
    )


def training_dtype(recipe, dtype, n_rows):
    """The dtype of training: float32 for scaled data, otherwise the dtype of X.

    float32 is enough for scaled data, and takes half the time; the scaling is absorbed
    in float64.  Line searches need float64, and so does equality on a few rows.
    """
    scaled = recipe.standardize and recipe.solver != "lbfgs"
    return np.dtype(np.float32) if scaled and n_rows >= FEW_ROWS else dtype


def stream_clip_norm(recipe, targets, Y, batch_size):
    """`clip_norm` of an optimizer given by its name; None for no limit.

    Y are the targets of a part as the solver gets them, or None if a stream has had no
    other rows than those of this call: until then, calls of partial_fit equal fit.  The
    errors of classes are bounded, and the unit of unscaled data is not known.
    """
    if Y is None or not may_clip(recipe, targets):
        return None
    if adaptive(recipe.solver):
        far = max(FAR_TARGET, min(batch_size, len(Y)) / 4)
        return STREAM_CLIP_NORM if np.abs(Y).max() > far else None
    return STREAM_CLIP_NORM


def may_clip(recipe, targets):
    """Whether gradients may be clipped though the user has not asked for it."""
    by_name = isinstance(recipe.solver, str)
    return bool(by_name and recipe.standardize and not targets.labelled)


def clips_long_rows(recipe, targets):
    """Whether gradients are clipped if a row is LONG_ROW times as long as most."""
    return recipe.solver == "sgd" and may_clip(recipe, targets)


def rows_per_batch(n_rows):
    """The power of two nearest to a 67th of the rows, from 32 to 256."""
    return min(max(2 ** round(math.log2(n_rows / 67)), 32), 256)


def rows_per_short_batch(n_rows):
    """Half as many, from 32 to 128: for dense rows in a usual fit."""
    return max(rows_per_batch(n_rows) // 2, 32)


def rows_per_round(n_rows):
    """The same, but from 256 to 8192, for steps that are rounds over a cluster."""
    return min(max(2 ** round(math.log2(n_rows / 67)), 256), 8192)


def penalty(recipe, n_rows, wide=0.0, n_binned=0):
    """`alpha` for this number of rows, including held-out rows.

    `wide` is the `wide_rate` of `Settings`; `n_binned` is as there.

    A step divides alpha by the rows of its batch.  A penalty helps more with fewer
    rows; if no rows are held out, it is the only regularization.
    """
    if recipe.alpha != "auto":
        return float(recipe.alpha)
    if decays(recipe.solver):
        return 0.0
    if n_rows < FEW_ROWS or recipe.solver == "lbfgs":
        return WIDE_PENALTY if wide else 1.0
    return 0.1 * (100 / n_rows) ** 1.5 * max(1.0, ENCODED_PENALTY * n_binned)


def rows_per_penalty(recipe, n_rows, few, batch_size, by_rows=rows_per_batch):
    """The number of rows that divides the penalty of a step; None for the batch's own.

    alpha="auto" is meant for batches of the default length, and is divided by that
    length for all batches.  So a last batch of one row does not get all of a penalty of
    1, and neither does each row with batch_size=1.  If batches have the default length,
    the shorter last one keeps the penalty of its own rows, which balances its noise.
    """
    if recipe.alpha != "auto":
        return None
    by_default = n_rows if few else by_rows(n_rows)
    return None if by_default == batch_size else by_default


def rows_to_repeat(recipe):
    """With alpha="auto", whole weights equal repeated rows if these are fewer.

    With more rows and random batches, the results could not be equal anyway.
    """
    return math.inf if recipe.solver == "lbfgs" else FEW_ROWS


def starting_rate(n_features):
    """0.01 for up to 10 features, less for more, but 0.002 at least.

    A step of Adam moves each weight of a hidden unit by about the rate, and so its net
    input by up to the rate times the sum of its features.
    """
    return min(max(0.01 * math.sqrt(10 / n_features), 0.002), 0.01)


def is_usual(recipe, n_rows, n_columns):
    """Whether a fit from rows in memory is a usual one; see FEW_STEPS_ROWS."""
    scaled = recipe.standardize and adaptive(recipe.solver)
    return bool(scaled and n_columns <= MANY_COLUMNS and holds_out(recipe, n_rows))


def usual_patience(n_rows, of_classes):
    """The patience of a usual fit, in steps; of sparse classes for any columns."""
    few = n_rows < FEW_STEPS_ROWS
    return PATIENCE_OF_FEW_ROWS if few else USUAL_PATIENCE[of_classes]


def rate_factor(n_rows, of_classes):
    """The factor on the starting rate of a usual fit."""
    if of_classes:
        return 1.0
    if n_rows < FEW_STEPS_ROWS:
        return RATE_OF_FEW_ROWS
    return RATE_OF_MANY_ROWS if n_rows >= MANY_ROWS else RATE_OF_REGRESSIONS


def share_that_counts(recipe, loss):
    """The smallest improvement that counts in a usual fit; 0 for `tol` itself.

    It is a share of the lowest held-out loss so far.  Other losses may be negative, or
    their lowest value may not be 0.
    """
    applies = recipe.metric.is_loss and isinstance(loss, LogLoss | SquaredError)
    if recipe.tol != "auto" or not applies:
        return 0.0
    return SHARE_OF_LOSS[isinstance(loss, LogLoss)]


def relaxed_rate(recipe):
    """The factor on the rate of a usual fit once the penalty is dropped."""
    is_set = recipe.learning_rate_init != "auto" or recipe.learning_rate != "constant"
    return 1.0 if is_set else RELAXED_RATE


def wide_rate(n_rows, is_sparse):
    """The learning rate for wide data: most principal components are small."""
    rate = SPARSE_WIDE_RATE if is_sparse else WIDE_RATE
    return rate * min(1.0, math.sqrt(WIDE_RATE_ROWS / n_rows))


def epochs_of_many(recipe, n_rows, n_features, of_classes):
    """The most epochs for dense data of many columns; 0 where its rules do not apply.

    They belong to the rate, to scaled features, and to steps that do not depend on the
    length of the gradient.
    """
    scaled = recipe.standardize and adaptive(recipe.solver)
    own_rate = recipe.learning_rate_init != "auto"
    few = ROWS_PER_COLUMN * n_features <= n_rows < FEW_FOR_COLUMNS and not of_classes
    few = few and recipe.early_stopping  # otherwise calls of partial_fit equal fit
    most = MANY_COLUMNS_OF_FEW if few else MANY_COLUMNS
    if n_features <= most or n_rows < FEW_ROWS or own_rate or not scaled:
        return 0
    length = max(math.sqrt(n_features), n_features / 32)
    return max(round(EPOCHS_OF_MANY[of_classes] / length), 1)


def epochs_of_encoded(recipe, n_rows, n_columns, of_classes):
    """The most epochs of the training on bins too; 0 where only its patience ends it.

    `n_columns` are the columns without their bins.
    """
    if recipe.numeric_encoding != "auto":
        return 0
    many = epochs_of_many(recipe, n_rows, n_columns, of_classes)
    return ENCODED_EPOCHS_OF_FEW if many else 0


def scale_speed(recipe, many, n_binned):
    """The speed of a scaling layer; 0 without one.  `many` is an `epoch_limit`."""
    if not recipe.learns_scales(n_binned > 0):
        return 0.0
    if many:
        return FAST_SCALES
    return min(max(0.1 * n_binned, 1.0) * SCALE_SPEED, FAST_SCALES)


def members(recipe, n_rows, n_features, row_length, n_outputs, usual=False):
    """`n_members` of a new fit; "auto" depends on the cost of one row.

    A `usual` fit of many rows has fewer, too.

    The cost of a row is its outputs plus, for CSR data, its stored numbers and its
    share of the optimizer's step over all weights.  That share may be most of the cost:
    a weight costs about eight times as much there as in the products.  For dense rows
    only the outputs count: a smaller ensemble would predict worse, and eight members
    are not much slower than an MLP.
    """
    if recipe.n_members != "auto":
        return int(recipe.n_members)
    cost = n_outputs
    if row_length < n_features:
        cost += row_length + 8 * n_features / rows_per_batch(n_rows)
    sizes = (n for most, n in MEMBERS_BY_COST.items() if cost <= most)
    size = next(sizes, FEWEST_MEMBERS)
    return min(size, MEMBERS_OF_MANY_ROWS) if usual and n_rows >= MANY_ROWS else size


def members_to_continue_with(recipe, n_fitted):
    """`n_members` of training that continues; "auto" is the fitted number."""
    return n_fitted if recipe.n_members == "auto" else int(recipe.n_members)


def most_members(recipe):
    """The largest number that `members` can return."""
    return MOST_MEMBERS if recipe.n_members == "auto" else int(recipe.n_members)
