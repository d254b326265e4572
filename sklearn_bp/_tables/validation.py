"""Constructor parameters and sample weights: checked, or a clear error."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from sklearn_bp._tables.values import refuse_lazy, unmasked


class Number:
    """A number in an interval, open at infinity.

    Parameters
    ----------
    kind : type
        `Integral` or `Real`.
    low, high : float
    closed : {"left", "neither", "both"}
    also : tuple
        Further values.
    """

    def __init__(self, kind, low, high=np.inf, closed="left", also=()):
        self.kind, self.low, self.high = kind, low, high
        self.closed, self.also = closed, also

    def admits(self, value):
        if isinstance(value, str | bool | np.bool_):
            return value in self.also if isinstance(value, str) else False
        if not isinstance(value, self.kind):
            return isinstance(value, Real) and value in self.also
        above = value > self.low if self.closed == "neither" else value >= self.low
        below = value <= self.high if self.closed == "both" else value < self.high
        return bool(above and below) or value in self.also

    def has_type(self, value):
        names = any(isinstance(also, str) for also in self.also)
        kinds = (str, self.kind) if names else self.kind
        return isinstance(value, kinds) and not isinstance(value, bool)

    def __str__(self):
        kind = "an int" if self.kind is Integral else "a float"
        left = "(" if self.closed == "neither" else "["
        right = "]" if self.closed == "both" else ")"
        high = self.high if self.high == np.inf else f"{self.high:g}"
        text = f"{kind} in the range {left}{self.low:g}, {high}{right}"
        return " or ".join([text, *(repr(also) for also in self.also)])


class Part:
    """A name in a table, or an object that has some methods.

    Parameters
    ----------
    table : iterable of str
    methods : tuple of str
    function : bool, default=False
        Whether a function will do too.
    """

    def __init__(self, table, methods, function=False):
        self.names, self.methods, self.function = list(table), methods, function

    def admits(self, value):
        if isinstance(value, str):
            return value in self.names
        if isinstance(value, type):
            return False
        has_methods = all(callable(getattr(value, m, None)) for m in self.methods)
        return (bool(self.methods) and has_methods) or (
            self.function and callable(value)
        )

    def has_type(self, value):
        return isinstance(value, str)

    def __str__(self):
        text = "one of " + ", ".join(repr(name) for name in self.names)
        if self.methods:
            text += ", or an object with " + " and ".join(
                f"{m}()" for m in self.methods
            )
        return text + (", or a function" if self.function else "")


class Boolean:
    """True or False, numpy's included; also an int where that means a level.

    Parameters
    ----------
    or_int : bool, default=False
    also : tuple of str
        Further values.
    """

    def __init__(self, or_int=False, also=()):
        self.kinds = (bool, np.bool_, Integral) if or_int else (bool, np.bool_)
        self.also = also

    def admits(self, value):
        if isinstance(value, str):
            return value in self.also
        return isinstance(value, self.kinds)

    def has_type(self, value):
        return isinstance(value, str) and bool(self.also)

    def __str__(self):
        kinds = ["an int"] if Integral in self.kinds else []
        return " or ".join(["True or False", *kinds, *map(repr, self.also)])


class ClassWeight:
    """None, "balanced", a dict of weights, or a list of dicts, one a label."""

    def admits(self, value):
        if isinstance(value, list):
            return all(isinstance(each, dict) for each in value)
        return value is None or isinstance(value, dict) or self.has_type(value, True)

    def has_type(self, value, admitted=False):
        return isinstance(value, str) and (value == "balanced" or not admitted)

    def __str__(self):
        return "None, 'balanced', a dict {label: weight} or a list of such dicts"


def check_parameters(estimator, constraints):
    """TypeError or ValueError that names parameter, range and value."""
    for name, constraint in constraints.items():
        value = getattr(estimator, name)
        if value is None and name == "loss_threshold":
            continue
        if not constraint.admits(value):
            error = ValueError if constraint.has_type(value) else TypeError
            raise error(
                f"The {name!r} parameter of {type(estimator).__name__} must be "
                f"{constraint}. Got {value!r} instead."
            )


def check_hidden_layer_sizes(estimator):
    """The number of hidden units, from an int or a sequence of one."""
    name, value = type(estimator).__name__, estimator.hidden_layer_sizes
    is_sequence = hasattr(value, "__iter__") and not isinstance(value, str)
    sizes = list(value) if is_sequence else [value]
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in sizes):
        raise TypeError(
            f"The 'hidden_layer_sizes' parameter of {name} must be an int or a "
            f"sequence of one int. Got {value!r} instead."
        )
    if len(sizes) != 1:
        raise ValueError(
            f"{name} has one hidden layer: hidden_layer_sizes must be an int or a "
            f"sequence of one int. Got {value!r} instead; for more layers see "
            "scikit-learn's MLPClassifier and MLPRegressor."
        )
    if sizes[0] < 1:
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return int(sizes[0])


def canonical(X):
    """A sparse matrix as a CSR with sorted, summed entries; all else as it is.

    Some methods of scipy sort and sum the entries of a matrix in place.  The CSR is
    therefore an object of its own: it shares the arrays of a canonical X, to which
    nothing is then written, and has copies of others.  So X may be read by other
    threads, and may lie in read-only memory.
    """
    if not sparse.issparse(X) or X.ndim != 2 or X.dtype.kind not in "biuf":
        return X
    csr = X.tocsr()
    make = sparse.csr_array if isinstance(X, sparse.sparray) else sparse.csr_matrix
    own = make((csr.data, csr.indices, csr.indptr), shape=csr.shape)
    if not own.has_canonical_format:
        own = own.copy()
        own.sum_duplicates()
    return own


def is_dask_collection(value):
    """Whether a value is a dask array, DataFrame or the like; dask is not imported."""
    return hasattr(value, "__dask_graph__") and not isinstance(value, type)


def refuse_collections(estimator, **values):
    """TypeError for dask collections, which would be gathered into one process.

    And for polars' lazy frames.
    """
    for name, value in values.items():
        refuse_lazy(value, name)
        if is_dask_collection(value):
            own = type(estimator).__name__
            raise TypeError(
                f"{name} is a dask {type(value).__name__}, which {own} would gather "
                f"into one process. Use sklearn_bp.dask.{own}, which leaves it on the "
                f"cluster, or pass {name}.compute()."
            )


def check_sample_weight(sample_weight, n_rows):
    """Finite, non-negative float64 weights that are not all zero, or None.

    Returns
    -------
    ndarray of shape (n_rows,) or None
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_rows)
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def check_weights(sample_weight, n_rows):
    """Finite, non-negative float64 weights, (n_rows,), which may all be zero."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, sample_weight)
    refuse_lazy(sample_weight, "sample_weight")
    sample_weight = unmasked(sample_weight, "sample_weight")
    weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array."
        )
    if weights.shape != (n_rows,):
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected {(n_rows,)}!"
        )
    if (weights < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weights


def check_start(coef_init, intercept_init, shape, n_members, skip_layer):
    """Starting weights of the user's own, float64: coefs, intercepts and skip layer.

    Parameters
    ----------
    coef_init : list of two arrays, or three with a skip layer
    intercept_init : list of two arrays
    shape : (n_features, n_hidden, n_outputs)
    n_members : int
    skip_layer : bool

    Returns
    -------
    coefs, intercepts : list of two ndarrays
    skip : ndarray of shape (n_features, n_outputs), or None
    """
    if coef_init is None or intercept_init is None:
        raise ValueError("coef_init and intercept_init go together: pass both.")
    (d, h, k), h_all = shape, shape[1] * n_members
    wanted = [(d, h_all), (h_all, k)] + ([(d, k)] if skip_layer else [])
    coefs = [_finite(w, "coef_init") for w in coef_init]
    intercepts = [_finite(b, "intercept_init") for b in intercept_init]
    found = [w.shape for w in coefs]
    # Without the third a skip layer starts at zero.
    if found not in (wanted, wanted[:2]) or [b.shape for b in intercepts] != [
        (h_all,),
        (k,),
    ]:
        raise ValueError(
            f"coef_init must be arrays of shapes {wanted} and intercept_init of "
            f"{[(h_all,), (k,)]}: n_members={n_members} times {h} hidden units. Got "
            f"{found} and {[b.shape for b in intercepts]}."
        )
    skip = np.zeros((d, k)) if skip_layer else None
    return coefs[:2], intercepts, coefs[2] if len(coefs) == 3 else skip


def _finite(values, name):
    values = unmasked(values, name)
    return check_array(
        values, ensure_2d=False, dtype=np.float64, input_name=name, copy=True
    )


# Weights are whole multiples of a unit, not less than the largest over so many, if
# rounding to these changes no weight by more of the unit than this.
LARGEST_MULTIPLE = 100
WHOLE = 1e-6


def in_rows(sample_weight, most_rows):
    """Weights, or None, in a unit of their own, so that theirs does not matter.

    Equal weights become 1. Weights that are whole multiples of a unit become these,
    as small as can be: repeated rows, if they stand for fewer than `most_rows`. Others
    have mean 1 over the rows that have weight.

    Returns
    -------
    ndarray of shape (n,), or None if all are 1
    """
    if sample_weight is None:
        return None
    weights, _ = bounded(sample_weight)
    values, counts = np.unique(weights[weights > 0], return_counts=True)
    unit, is_whole = row_unit(values, counts, most_rows)
    if len(values) == 1 and counts[0] == len(weights):
        return None
    return np.rint(weights / unit) if is_whole else weights / unit


def row_unit(values, counts, most_rows):
    """The weight of a row, as of `in_rows`, and whether all weights are multiples.

    Parameters
    ----------
    values, counts : ndarrays
        The different weights, which are above 0, and the rows that have each.
    most_rows : int or inf
    """
    largest, shares = values.max(), values / values.max()
    if len(values) <= LARGEST_MULTIPLE:
        for k in range(1, LARGEST_MULTIPLE + 1):
            multiples = np.rint(k * shares)
            if counts @ multiples >= most_rows and k > 1:
                break
            if multiples.all() and np.abs(k * shares - multiples).max() < WHOLE:
                return largest / k, True
    return largest * (counts @ shares / counts.sum()), False


def bounded(sample_weight):
    """Weights, or None, over 2 ** exponent: at most 1, so that sums are finite.

    Returns
    -------
    shares : ndarray or None
    exponent : int
        0 for None.
    """
    if sample_weight is None:
        return None, 0
    _, exponent = np.frexp(sample_weight.max())
    return np.ldexp(sample_weight, -exponent), int(exponent)
