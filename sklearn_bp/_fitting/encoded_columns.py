"""Which numeric columns the second training sees, and which of them in how many bins.

If they are few, all have bins.  Bins of many columns of noise would cost time and let
the networks fit noise, so columns have bins if the errors of the first training on its
held-out rows depend on them, alone or in pairs (`_tables.column_tests`), or if the
first training gave them the largest weights.  If the errors depend on more single
columns than chance allows, most columns count a little, and all have bins.

With few rows per column, or with very many columns, fewer have bins, and the others are
not inputs of the second training: its networks would fit noise with them, and the first
training has learned the little that they contain.

With enough rows, the heaviest columns have finer bins, and light ones coarser ones.
"""

import numpy as np

from sklearn_bp._common.blas import one_blas_thread
from sklearn_bp._fitting.defaults import MANY_COLUMNS, ROWS_PER_COLUMN
from sklearn_bp._tables.column_tests import p_values
from sklearn_bp._tables.selection import Selection

# Bins per column.
BINS = 8

# With at least FINE_ROWS rows, the FINE_COLUMNS heaviest columns have FINE_BINS.  The
# others have the first number of COARSE_BINS if they are at least HEAVY times as heavy
# as the lightest of these, and the second if they are lighter.  The keys tell whether
# the targets are classes.
FINE_ROWS = {True: 200, False: 500}
FINE_COLUMNS = 4
FINE_BINS = {True: 24, False: 16}
HEAVY = 0.5
COARSE_BINS = {True: (6, 6), False: (8, 4)}

# The HEAVIEST columns always have bins; the key tells whether rows are few for the
# columns.  So have columns with a p-value below SIGNIFICANT.  All columns have bins if
# more than a LARGE_SHARE of them are significant alone.
HEAVIEST = {True: 16, False: 32}
SIGNIFICANT = 0.1
LARGE_SHARE = 0.2

# Of more than MANY_COLUMNS columns, at most MOST_OF_MANY have bins.  In any case, the
# encoded rows store at most MOST_NUMBERS numbers.
MOST_OF_MANY = 16
MOST_NUMBERS = 2**22


def encoded_inputs(fitting, result):
    """The inputs of the second training.

    Parameters
    ----------
    fitting : Fitting
        Of the first training.
    result : TrainingResult
        Of the first training.

    Returns
    -------
    inputs : Inputs
        With bins, if any column has some.
    selection : Selection or None
        None for all of these inputs.
    n_binned : int
        The number of columns that could have bins.
    """
    rows = fitting.rows
    inputs = rows.with_bins(fitting.inputs, BINS)
    if inputs.bins is None:
        return inputs, None, 0
    columns = np.unique(inputs.bins.column)
    weights = _weights(result.parameters, columns)
    count, chosen = _chosen(fitting, result, inputs.bins, columns, weights)
    if not chosen.all():
        inputs = inputs._replace(bins=inputs.bins.of_columns(columns[chosen]))
    labelled = fitting.targets.labelled
    if rows.n_rows >= FINE_ROWS[labelled] and chosen.any():
        n_bins = _bins_by_weight(weights[chosen], labelled)
        inputs = _finer(rows, inputs, columns[chosen], n_bins)
    bins, selection = inputs.bins, None
    if bins is not None and not (count.all() or bins.is_sparse):
        selection = Selection(~np.isin(np.arange(bins.n_seen), columns[~count]))
    return inputs, selection, len(columns)


def _chosen(fitting, result, bins, columns, weights):
    """Which of the columns are inputs, and which have bins: two arrays of bool."""
    rows, every = fitting.rows, np.ones(len(columns), bool)
    room = _room(rows, bins)
    few_rows = rows.n_rows < ROWS_PER_COLUMN * len(columns)
    few_rows = few_rows or rows.n_full > MANY_COLUMNS
    if len(columns) <= min(HEAVIEST[few_rows], room):
        return every, every
    if room < 1:
        return every, ~every
    p = _tested(fitting, result, bins)
    count = p.smaller < SIGNIFICANT
    count[np.argsort(-weights, kind="stable")[: HEAVIEST[few_rows]]] = True
    if np.mean(p.alone < SIGNIFICANT) > LARGE_SHARE:
        count[:] = True
    best = _in_order(p.smaller[count], weights[count])[:room]
    chosen = np.isin(columns, columns[count][best])
    return count if few_rows else every, chosen


def _bins_by_weight(weights, labelled):
    """The number of bins of each column."""
    order = np.argsort(-weights, kind="stable")[:FINE_COLUMNS]
    heavy = weights >= HEAVY * weights[order[-1]]
    n_bins = np.where(heavy, *COARSE_BINS[labelled])
    n_bins[order] = FINE_BINS[labelled]
    return n_bins


def _finer(rows, inputs, columns, n_bins):
    """The inputs with `n_bins` bins for each of these columns.

    They keep their bins if the encoded rows would store too many numbers, or if no
    column could have fewer bins.
    """
    of_all = np.zeros(inputs.n_numeric(inputs.bins.n_columns), int)
    of_all[columns] = n_bins
    finer = rows.with_bins(inputs, of_all)
    fits = finer.bins is not None and _is_stored(rows, finer.bins)
    return finer if fits else inputs


def has_room(rows):
    """Whether any column may have bins."""
    return rows.n_stored + 2 * rows.n_rows <= MOST_NUMBERS


def _room(rows, bins):
    """The number of columns that may have bins."""
    most = MOST_OF_MANY if rows.n_full > MANY_COLUMNS else bins.n_binned
    if _is_stored(rows, bins):
        return most
    per_row = MOST_NUMBERS / rows.n_rows - rows.n_stored / rows.n_rows
    widest = np.unique(bins.column, return_counts=True)[1].max()
    return min(int(per_row / widest), most)


def _is_stored(rows, bins):
    """Whether the encoded rows store at most MOST_NUMBERS."""
    return rows.n_stored + rows.n_rows * bins.n_bins <= MOST_NUMBERS


def _tested(fitting, result, bins):
    """The `PValues` of the columns, by the errors of the first training."""
    errors = fitting.validate.errors_in_order(result.parameters)
    with one_blas_thread():  # the same bits for any number of threads
        return p_values(fitting.rows.full_columns, bins, errors)


def _weights(parameters, columns):
    """How much the scores may depend on each column: the sum of |W1| |W2|."""
    W2 = parameters.W2.astype(np.float64)
    W1 = np.abs(parameters.absorbed().W1[columns].astype(np.float64))
    return W1 @ np.linalg.norm(W2, axis=1)


def _in_order(p, weights):
    """Positions by p-value and by weight, one of each in turn."""
    by_p = np.argsort(np.argsort(p, kind="stable"))
    by_weight = np.argsort(np.argsort(-weights, kind="stable"))
    return np.argsort(np.minimum(2 * by_p, 2 * by_weight + 1), kind="stable")
