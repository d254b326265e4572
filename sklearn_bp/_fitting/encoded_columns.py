"""Which numeric columns the second training sees, and which of them in bins.

All of them if they are few.  Otherwise, bins of many columns of noise cost time and let
the networks fit noise.  So columns have bins if the errors of the first training on its
held-out rows depend on them, alone or in pairs (`_tables.column_tests`), or if the
first training gave them the largest weights.  If more columns depend on it alone than
chance allows, most columns count a little, and all have bins.

With few rows per column, or with very many columns, fewer have bins, and the others are
no inputs of the second training: its networks would fit noise with them, and the first
training has learned what little they tell.
"""

import numpy as np

from sklearn_bp._common.blas import one_blas_thread
from sklearn_bp._fitting.defaults import MANY_COLUMNS, ROWS_PER_COLUMN
from sklearn_bp._tables.column_tests import p_values
from sklearn_bp._tables.selection import Selection
from sklearn_bp.losses import CategoricalLogLoss

# Up to this number of columns, all have bins; of more than MANY_COLUMNS, at most
# MOST_OF_MANY; and of any number, so many that the encoded rows store no more numbers
# than MOST_NUMBERS.
FEW_COLUMNS = 32
MOST_OF_MANY = 16
MOST_NUMBERS = 2**22

# A column has bins if the p-value of a test is below SIGNIFICANT, or if its weights are
# among the HEAVIEST, by whether the rows are few for the columns; all have if the test
# of the columns alone finds a larger share of them than LARGE_SHARE.
SIGNIFICANT = 0.1
HEAVIEST = {True: 16, False: 32}
LARGE_SHARE = 0.2


def chosen(inputs, fitting, result):
    """Which columns have bins, and which inputs the second training has.

    Parameters
    ----------
    inputs : Inputs
        With bins of all numeric columns that can have some.
    fitting : Fitting
        Of the first training.
    result : TrainingResult
        Of the first training.

    Returns
    -------
    inputs : Inputs
        With bins of the chosen columns alone; without bins if there are none.
    selection : Selection or None
        None for all inputs.
    """
    bins, rows = inputs.bins, fitting.rows
    room = _room(rows, bins)
    if bins.n_binned <= min(FEW_COLUMNS, room):
        return inputs, None
    if room < 1:
        return inputs._replace(bins=None), None
    few_rows = rows.n_rows < ROWS_PER_COLUMN * bins.n_binned
    few_rows = few_rows or rows.n_full > MANY_COLUMNS
    columns = np.unique(bins.column)
    found = _tested(fitting, result, bins)
    weights = _weights(result.parameters, columns)
    count = found.smaller < SIGNIFICANT
    count[np.argsort(-weights, kind="stable")[: HEAVIEST[few_rows]]] = True
    if np.mean(found.alone < SIGNIFICANT) > LARGE_SHARE:
        count[:] = True
    best = _in_order(found.smaller[count], weights[count])[:room]
    bins = bins.of_columns(columns[count][best])
    selection = None
    if few_rows and not (count.all() or bins.is_sparse):
        selection = Selection(~np.isin(np.arange(bins.n_seen), columns[~count]))
    return inputs._replace(bins=bins), selection


def has_room(rows):
    """Whether any column may have bins."""
    return rows.n_stored + 2 * rows.n_rows <= MOST_NUMBERS


def _room(rows, bins):
    """The number of columns that may have bins."""
    most = MOST_OF_MANY if rows.n_full > MANY_COLUMNS else bins.n_binned
    if rows.n_stored + rows.n_rows * bins.n_bins <= MOST_NUMBERS:
        return most
    per_row = MOST_NUMBERS / rows.n_rows - rows.n_stored / rows.n_rows
    widest = np.unique(bins.column, return_counts=True)[1].max()
    return min(int(per_row / widest), most)


def _tested(fitting, result, bins):
    """The `PValues` of the columns, by the errors of the first training."""
    errors = fitting.validate.errors_in_order(result.parameters)
    loss, n_outputs = fitting.validate.network.loss, errors.shape[1]
    n_free = n_outputs - isinstance(loss, CategoricalLogLoss)
    with one_blas_thread():  # the same bits for any number of threads
        return p_values(fitting.rows.full_columns, bins, errors, n_free)


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
