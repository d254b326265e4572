"""Features as numbers, dense or CSR: checked, and encoded if they are a table."""

from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from sklearn_bp._network.batches import SMALL_BYTES
from sklearn_bp._tables.frames import Sparse, table_of
from sklearn_bp._tables.limits import is_inside
from sklearn_bp._tables.raw_column import refuse_kind
from sklearn_bp._tables.values import NUMERIC_KINDS, TIMES, as_features, refuse_lazy

# Up to this many numbers are compared with their limits at once.
FEW_NUMBERS = 2**12


def check_features(estimator, X, dtypes, columns=None, learn=None, reset=False):
    """X as finite numbers, dense or CSR, and the `Columns` that encoded it.

    Large integer arrays stay integers: they are cast block by block.

    Parameters
    ----------
    estimator : estimator
        scikit-learn's validation reads the number and names of its features, or sets
        them if `reset` is true.
    X : array-like, DataFrame or sparse matrix
    dtypes : list of dtype
        Allowed dtypes; others are converted to the first.
    columns : Columns or None
        Encodes categories and fills missing values; None for numbers.
    learn : callable(X) -> Columns, default=None
        Learns the columns from these rows.
    reset : bool, default=False

    Returns
    -------
    X : ndarray or CSR of shape (n, n_encoded)
    columns : Columns or None
    """
    X = canonical(as_features(X))
    if _is_cast_by_blocks(X):
        dtypes = [*dtypes, X.dtype]
    checks = {"accept_sparse": ["csr", "csc"], "dtype": dtypes}
    named = {"estimator": estimator, "input_name": "X"}
    if columns is None and learn is None:
        with _explained(X, encodes=False):
            X = validate_data(estimator, X, reset=reset, **checks)
    else:
        if sparse.issparse(X):
            with _explained(X, encodes=True):
                X = check_array(X, **checks, **named)
        elif not hasattr(X, "columns"):  # a table is checked by column
            check_array(X, dtype=None, ensure_all_finite="allow-nan", **named)
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        if learn is not None:
            columns = learn(X)
        X = columns.transform(X, dtypes)
        X = check_array(X, **checks, **named)
    return (X.tocsr() if sparse.issparse(X) else X), columns


@contextmanager
def _explained(X, encodes):
    """Replace scikit-learn's errors about X by ones that say what to do, if possible.

    Also raise an error for dates where scikit-learn would convert them to numbers.

    Parameters
    ----------
    X : object
    encodes : bool
        Whether a dense X may have missing values and categories.
    """
    if not encodes and not _kinds(X) <= set(NUMERIC_KINDS):
        _refuse_dates(X)
    try:
        yield
    except (TypeError, ValueError):
        if not encodes:
            _refuse_dates(X)
        elif sparse.issparse(X):
            Sparse(X)
        raise


def _kinds(X):
    """Kinds of the dtypes of an array or a frame; an empty set for anything else."""
    if hasattr(X, "dtype"):
        return {X.dtype.kind}
    if not hasattr(X, "columns"):
        return set()
    return {getattr(dtype, "kind", "O") for dtype in getattr(X, "dtypes", [None])}


def _refuse_dates(X):
    """Raise a ValueError that names a column of dates, if there is one."""
    try:
        table = table_of(X)
    except (TypeError, ValueError):
        return
    if isinstance(table, Sparse):
        return
    for j in range(table.shape[1]):
        column = table.column(j)
        if TIMES in column.kinds:
            refuse_kind("M", column.label)


def is_clean(X, dtype, estimator, columns, limits=None):
    """Whether X needs no validation and no conversion.

    With limits, whether it has few rows and no values beyond the limits either.

    This shortcut serves predictions of a few rows, where scikit-learn's validation
    takes longer than the network. A sum is finite only if all terms are.
    """
    return (
        type(X) is np.ndarray
        and X.dtype == dtype
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
        and (columns is None or columns.is_plain)
        and (
            bool(np.isfinite(X.sum()))
            if limits is None
            else X.size <= FEW_NUMBERS and is_inside(X, limits)
        )
    )


def _is_cast_by_blocks(X):
    """Whether X is an integer array that would be large in float64."""
    is_array = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biu"
    return is_array and 8 * X.size > SMALL_BYTES


def canonical(X):
    """A sparse matrix as a CSR with sorted, summed entries; anything else unchanged.

    Some methods of scipy sort and sum the entries of a matrix in place.  The CSR is
    therefore a new object: it shares the arrays of X if these are canonical, since
    nothing is written to them, and copies them otherwise.  So other threads may read X,
    and X may be in read-only memory.
    """
    if not sparse.issparse(X) or X.ndim != 2 or X.dtype.kind not in "biuf":
        return X
    csr = X.tocsr()
    make = sparse.csr_array if isinstance(X, sparse.sparray) else sparse.csr_matrix
    result = make((csr.data, csr.indices, csr.indptr), shape=csr.shape)
    if not result.has_canonical_format:
        result = result.copy()
        result.sum_duplicates()
    return result


def is_dask_collection(value):
    """Whether a value is a dask array or DataFrame; it does not import dask."""
    return hasattr(value, "__dask_graph__") and not isinstance(value, type)


def refuse_collections(estimator, **values):
    """Raise a TypeError for dask collections and for polars' lazy frames.

    Dask collections would be gathered into one process.
    """
    for name, value in values.items():
        refuse_lazy(value, name)
        if is_dask_collection(value):
            kind = type(estimator).__name__
            raise TypeError(
                f"{name} is a dask {type(value).__name__}, which {kind} would gather "
                f"into one process. Use sklearn_bp.dask.{kind}, which leaves it on the "
                f"cluster, or pass {name}.compute()."
            )
