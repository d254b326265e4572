"""From the columns of a table to the inputs of the network, for a fit and for streams.

A fit keeps `Inputs`: the columns, the feature scaling, and the statistics of all rows
so far, into which further rows are merged.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from sklearn_bp._common.threads import shared_by
from sklearn_bp._network.batches import SCALED_BYTES
from sklearn_bp._tables.digest import digest_of
from sklearn_bp._tables.piecewise_linear import Bins
from sklearn_bp._tables.running import TOLERANCE, Running, of_features, settled
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.sorted_columns import quantile_step

# Numbers that are encoded and scaled at a time, and the multiplications that take as
# long for one.
SCALED_AT_ONCE = 2**16
SCALING_COST = 30

# Parts with fewer rows may be equal by chance, so the part before must match too.
FEWEST_TO_KNOW = 10


@dataclass(frozen=True)
class NewRows:
    """Training rows, all with non-zero weight.

    Attributes
    ----------
    n_rows : int
    shares : ndarray of shape (n_rows,) or None
        Weights over 2 ** exponent.
    exponent : int
    n_before : int or None
        Number of earlier rows of the stream; None if fit gets all rows at once.
    digest : int or None
        Digest of the rows of a stream; None for few rows that follow few others.
    repeats : bool
        Whether the stream has contained exactly these rows before, so that they do not
        change its statistics.
    """

    n_rows: int
    shares: Any
    exponent: int
    n_before: Any
    digest: Any = None
    repeats: bool = False

    def known_by(self, X, Y, columns, running):
        """A copy with the digest of rows encoded by `columns` and of their targets."""
        parts: list[Any] = []
        if not self.is_long:
            before = 0 if running is None else running.last
            if before is None:
                return self
            parts = [np.array([before], np.uint64)]
        if columns is not None and len(columns.incomplete) and not sparse.issparse(X):
            X = columns.with_holes(X)  # the values that fill them may change
        digest = digest_of(X, Y, self.shares, *parts)
        repeats = running is not None and running.knows(digest)
        return replace(self, digest=digest, repeats=repeats)

    def features(self, X, n_dense=None, columns=None, earlier=None, in_order=None):
        """The `Running` statistics of the features, encoded by `columns`.

        `earlier` are those of earlier rows, if the columns are the same; `in_order` are
        the `SortedColumns`, if there are any.
        """
        running = of_features(X, self, n_dense, columns, earlier, in_order)
        if self.n_before is None and columns is not None and columns.empty:
            # Zeros stand for columns without observed values.
            unknown = np.zeros(len(running.features.low), bool)
            unknown[: len(columns.numeric)] = np.isin(columns.numeric, columns.empty)
            running = replace(running, features=running.features.without(unknown))
        counted = self.running()
        return replace(running, digests=counted.digests, last=counted.last)

    @property
    def is_long(self):
        """Whether other rows are hardly equal to these by chance."""
        return self.n_rows >= FEWEST_TO_KNOW

    @property
    def last(self):
        """The digest that identifies a short part that follows; or None."""
        return self.digest if self.is_long else None

    def running(self):
        """The same, without features."""
        counted = Running.of_rows(self.n_rows, self.exponent, self.digest)
        return replace(counted, last=self.last)


class Inputs(NamedTuple):
    """The transformation of the user's columns into the network's inputs.

    Attributes
    ----------
    columns : Columns or None
    scaling : Scaling or None
    running : Running or None
        None for weights from elsewhere, without statistics of earlier rows.
    bins : Bins or None
        The bins of numeric columns, whose own columns follow all others.
    """

    columns: Any
    scaling: Any
    running: Any
    bins: Any = None

    def with_bins(self, X, sample_weight, n_bins, in_order=None):
        """The inputs with bins between the quantiles of encoded rows.

        `n_bins` is a number for all columns, or one for each of the first, numeric
        ones; `in_order` are the `SortedColumns` with these, or None.  Without bins if
        no column has enough values.
        """
        n_numeric = self.n_numeric(X.shape[1])
        step = quantile_step(X.shape[0], max(n_numeric, 1))
        if in_order is not None and in_order.step != step:
            in_order = None
        if self.limits is not None:
            if in_order is None:
                X = self.scaling.inside(X)
            else:
                in_order = in_order.inside(self.limits, self.scaling.centre)
        bins = Bins.of(X, sample_weight, n_numeric, n_bins, in_order)
        return self._replace(bins=bins)

    def n_numeric(self, n_encoded):
        """The number of numeric columns, which come first among the encoded ones."""
        return n_encoded if self.columns is None else len(self.columns.numeric)

    def for_network(self, X):
        """Encoded rows with the columns of bins, not scaled yet.

        Values beyond the limits are replaced first; without bins, by the scaling.
        """
        if self.bins is None:
            return X
        return self.bins(X if self.limits is None else self.scaling.inside(X))

    def for_training(self, X, dtype, selection=None):
        """Encoded rows as a solver gets them, and the scaling still to be applied.

        Large dense data is scaled block by block when it is used.  Smaller data is
        scaled here, block by block too, in threads if it takes long.

        Parameters
        ----------
        X : ndarray or CSR of shape (n, n_encoded)
        dtype : dtype
            Of scaled dense rows.
        selection : Selection, default=None
            The inputs of the network that are trained on.
        """
        scaling = self.network_scaling

        def selected(X):
            X = self.for_network(X)
            return (X, scaling) if selection is None else selection.of_rows(X, scaling)

        n, d = X.shape[0], X.shape[1] if self.bins is None else self.bins.n_seen
        small = isinstance(X, np.ndarray) and n * d * dtype.itemsize <= SCALED_BYTES
        if scaling is None or not small:
            X, scaling = selected(X)
            if scaling is not None and sparse.issparse(X):
                return scaling(X), None
            return X, scaling
        width = d if selection is None else selection.n_selected
        out, length = np.empty((n, width), dtype), max(1, SCALED_AT_ONCE // d)

        def scale(first, last):
            for start in range(first * length, min(last * length, n), length):
                rows = slice(start, start + length)
                of_network, of_selected = selected(X[rows])
                of_selected(of_network, out[rows])

        shared_by(-(-n // length), SCALING_COST * n * d, scale)
        return out, None

    @property
    def replacing(self):
        """From encoded rows to the inputs of the network: callable(X), or None."""
        if self.bins is not None:
            return self.for_network
        return None if self.limits is None else self.scaling.inside

    @property
    def network_scaling(self):
        """The scaling of all inputs of the network, or None."""
        if self.bins is None or self.scaling is None:
            return self.scaling
        return self.bins.scaling(self.scaling)

    def ends_of_bins(self, own, dtype):
        """The first bin of each column, and the smallest and largest scaled values.

        Parameters
        ----------
        own, dtype : dtypes
            Of the columns, and of the scaled rows.

        Returns
        -------
        starts : ndarray of int of shape (n_columns + 1,)
            The last of these is the number of bins.
        low, high : ndarrays of shape (n_bins,)
            The values of rows below a bin, and of rows above it.
        """
        bins, scaling = self.bins, self.network_scaling
        ends = np.array([np.zeros(bins.n_seen), np.ones(bins.n_seen)], own)
        if scaling is not None:
            ends = scaling(ends, np.empty(ends.shape, dtype))
        starts = np.flatnonzero(np.diff(bins.column, prepend=-1, append=-1))
        return starts, *ends[:, bins.n_columns :]

    def sources(self, n_seen):
        """For each of the `n_seen` columns that the network sees, the user's column."""
        if self.columns is not None:
            sources = self.columns.sources
        else:
            sources = np.arange(n_seen - (self.bins.n_bins if self.bins else 0))
        if self.bins is None:
            return sources
        return np.append(sources, sources[self.bins.column])

    @property
    def limits(self):
        """The limits of the encoded columns, (2, n_encoded), or None; see `limits`."""
        return None if self.scaling is None else self.scaling.limits

    @classmethod
    def of(cls, columns, X, part, standardize, in_order=None):
        """The inputs learned from the encoded rows X, (n, n_encoded), of a part.

        `in_order` are the `SortedColumns` that are scaled as dense ones, or None.
        """
        if not standardize:
            return cls(columns, None, part.running())
        n_dense = _n_dense(columns, X)
        running = part.features(X, n_dense, columns, in_order=in_order)
        running, scaling = running.settled(X.dtype)
        return cls(columns, scaling, running)

    def format(self, X, columns):
        """Encoded rows in the format that the scaling expects: dense or CSR."""
        if self.scaling is not None and not _n_dense(columns, X):
            if self.scaling.centre is None and not sparse.issparse(X):
                return sparse.csr_matrix(X)
            if self.scaling.centre is not None and sparse.issparse(X):
                return X.toarray()
        return X

    def continued(self, columns, X, part):
        """The inputs after further rows, and these rows with missing values refilled.

        Parameters
        ----------
        columns : Columns or None
            Our columns, `joined` with these rows.
        X : ndarray or CSR of shape (n, n_encoded)
            These rows, encoded by `columns` and `format`.
        part : NewRows

        Returns
        -------
        inputs : Inputs
        X : ndarray or CSR
        """
        if self.running is None:
            return self, X
        if part.repeats and columns is self.columns:
            return self._replace(running=replace(self.running, last=part.last)), X
        if self.scaling is None:
            running = self.running.merged(part.running())
            return self._replace(columns=columns, running=running), X
        n_dense = _n_dense(columns, X)
        earlier = self.running if columns is self.columns else None
        of_part = part.features(X, n_dense, columns, earlier)
        after = self.merged(columns, of_part, n_dense, X.dtype)
        if after.running.settled_at == after.running.n_rows and columns is not None:
            return after.filled(X, n_dense)
        return after, X

    def merged(self, columns, further, n_dense, dtype):
        """The inputs after further rows.

        Parameters
        ----------
        columns : Columns or None
            Our columns, `joined` with these rows.
        further : Running
            The statistics of these rows.
        n_dense : int or None
            For a CSR made from a table, the number of columns scaled as dense ones.
        dtype : dtype
            The dtype of the encoded rows.
        """
        running, scaling, bins = self.running, self.scaling, self.bins
        changed = columns is not self.columns
        if changed:
            origins, values = self.origins(columns)
            bins = bins and bins.rearranged(origins)
            running = running.rearranged(origins, values, n_dense)
            scaling = _rearranged(scaling, origins, n_dense)
        running = running.merged(further)
        if changed or running.is_due(scaling):
            running, current = running.settled(dtype)
            scaling = settled(scaling, current)
        return Inputs(columns, scaling, running, bins)

    def filled(self, X, n_dense):
        """The inputs with the medians of all rows so far, and X filled with them.

        A median that has hardly changed is kept.
        """
        columns, statistics = self.columns, self.running.features
        if statistics is None:
            return self, X
        d = len(columns.numeric)
        medians = statistics.filled().three[0][:d]
        moved = np.abs(medians - columns.medians) * self.scaling.factor[:d] > TOLERANCE
        moved &= ~np.isin(columns.numeric, columns.empty)
        if not moved.any():
            return self, X
        columns = columns.with_medians(np.where(moved, medians, columns.medians))
        head = X[:, :n_dense].toarray() if n_dense else X
        for k, i in enumerate(columns.incomplete.tolist()):
            if moved[i]:
                head[head[:, d + k] == 1, i] = columns.medians[i]
        if n_dense:
            parts = [sparse.csr_matrix(head), X[:, n_dense:]]
            head = sparse.csr_matrix(sparse.hstack(parts, "csr"))
        return self._replace(columns=columns), head

    def origins(self, columns):
        """`Columns.origins` of `columns` relative to ours."""
        if columns is None or columns is self.columns:
            d = len(self.scaling.factor) if columns is None else columns.n_encoded
            return np.arange(d), np.zeros(d)
        return columns.origins(self.columns)

    def network_origins(self, origins):
        """The same for all inputs of the network; the bins never change."""
        if self.bins is None:
            return origins
        return np.append(origins, np.arange(self.bins.n_bins) + self.bins.n_columns)

    def fills(self, columns):
        """The changes of the values that fill missing ones.

        Returns
        -------
        list of (indicator, column, change)
            The first two are columns of the matrix that `columns` makes.
        """
        if columns is None or columns is self.columns:
            return []
        pairs = zip(self.columns.numeric.tolist(), self.columns.medians, strict=True)
        medians, changes = dict(pairs), []
        for k, i in enumerate(columns.incomplete.tolist()):
            j = int(columns.numeric[i])
            if j in medians and j not in self.columns.empty:
                change = float(columns.medians[i] - medians[j])
                if change:
                    changes.append((len(columns.numeric) + k, i, change))
        return changes


def _n_dense(columns, X):
    """For a CSR made from a table, the number of columns scaled as dense ones."""
    return None if columns is None else columns.n_dense(X) or None


def _rearranged(scaling, origins, n_dense):
    """The scaling of rearranged columns: as before, and 0 for new columns."""
    known = origins >= 0
    factor = np.where(known, scaling.factor[origins], 0.0)
    if scaling.centre is None:
        return Scaling(None, factor, cuts=scaling.cuts)
    centre = np.where(known, scaling.centre[origins], 0.0)
    return Scaling(centre, factor, n_dense or 0, cuts=scaling.cuts)
