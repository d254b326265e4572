"""Dask collections: cut into blocks of rows, sent to a cluster, predicted lazily.

The cluster runs plain tasks, functions of `_rows` and `_partitions` on futures.  There
are no actors and nothing is scattered, so dask can compute the data of a lost worker
again from its source.  Results are used in the order of the blocks.
"""

import asyncio
from concurrent.futures import CancelledError
from numbers import Real
from typing import Any

import numpy as np

try:
    import dask.array as da
    from dask import delayed
    from distributed import default_client
except ImportError as error:
    raise ImportError(
        'sklearn_bp.dask needs dask and distributed: pip install "sklearn-bp[dask]".'
    ) from error

from sklearn_bp._tables.features import is_dask_collection
from sklearn_bp.dask._rows import Block

# Seconds without any worker before a fit gives up, and seconds between two checks of
# the workers while it waits for results.
WITHOUT_WORKERS = 60.0
LOOK_EVERY = 5.0


class Parts:
    """One object per block of rows, each on a worker of the cluster.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
    """

    def __init__(self, client, futures):
        self.client, self.futures = client, list(futures)

    def __len__(self):
        return len(self.futures)

    def each(self, function, *shared, per=None):
        """Results of function(part, *shared, *per[i]), in the order of the parts.

        Parameters
        ----------
        function : callable
        *shared : object
            Arguments for all parts.
        per : list of (tuple or None), default=None
            Further arguments for each part; parts with None are left out.
        """
        return gather(self.client, self._submit(function, shared, per))

    def then(self, function, *shared, per=None):
        """The results, as in `each`, left on the workers: Parts."""
        return Parts(self.client, self._submit(function, shared, per))

    def only(self, positions):
        """Some of the parts: Parts."""
        return Parts(self.client, [self.futures[i] for i in positions])

    def _submit(self, function, shared, per):
        if per is None:
            per = [()] * len(self)
        chosen = [i for i, own in enumerate(per) if own is not None]
        arguments = [[value] * len(chosen) for value in shared]
        arguments += map(list, zip(*(per[i] for i in chosen), strict=True))
        futures = [self.futures[i] for i in chosen]
        return self.client.map(function, futures, *arguments, pure=False)


def gather(client, futures):
    """The results of futures, in order.

    Raises
    ------
    RuntimeError
        If lost data cannot be computed again, or no worker is left.
    """
    try:
        return client.sync(_gathered, client, futures)
    except CancelledError as error:
        raise RuntimeError(
            "The cluster lost data that it cannot compute again: a worker that held "
            "scattered data is gone, or the scheduler is. Make collections from "
            "sources that can be read again: files, or dask.array.from_array."
        ) from error


async def _gathered(client, futures):
    gathering = asyncio.ensure_future(client.gather(futures, asynchronous=True))
    waited = 0.0
    try:
        while waited < WITHOUT_WORKERS:
            done, _ = await asyncio.wait([gathering], timeout=LOOK_EVERY)
            if done:
                return gathering.result()
            there = await client.nthreads(asynchronous=True)
            waited = 0.0 if there else waited + LOOK_EVERY
    finally:
        gathering.cancel()
    raise RuntimeError(
        f"The cluster has had no worker for {WITHOUT_WORKERS:.0f} s: start some, and "
        "fit again."
    )


def client_of(client):
    """The given client, or the default one."""
    if client is None:
        try:
            client = default_client()
        except ValueError as error:
            raise ValueError(
                "There is no dask client: create one with distributed.Client(...), or "
                "pass fit(..., client=client)."
            ) from error
    if getattr(client, "asynchronous", False):
        raise ValueError(
            "The client is asynchronous: fit needs a synchronous Client(...)."
        )
    return client


# Blocks of rows.


def is_array(value):
    return isinstance(value, da.Array)


def is_frame(value):
    """Whether a value is a dask DataFrame or Series."""
    return is_dask_collection(value) and hasattr(value, "map_partitions")


def check_collections(estimator, **values):
    """Raise a TypeError unless all values are dask arrays, DataFrames or None."""
    for name, value in values.items():
        if value is None or is_array(value) or is_frame(value):
            continue
        if name == "sample_weight" and isinstance(value, Real):
            continue
        kind = type(estimator).__name__
        raise TypeError(
            f"{name} must be a dask array or DataFrame. Got {type(value).__module__}."
            f"{type(value).__name__}: use sklearn_bp.{kind} (for predictions, "
            "to_local() gives it), or dask.array.from_array(...)."
        )


def empty_rows(X):
    """X without rows, in numpy or pandas, with its number or names of columns."""
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: X must have rows and "
            "columns."
        )
    return X._meta if is_frame(X) else np.empty((0, X.shape[1]), X.dtype)


def blocks_of(X, y, sample_weight, client):
    """Parts of `Block`, (X, y, sample_weight), with the chunks of X.

    y and the weights get the chunks of X if all chunk sizes are known; otherwise they
    must have as many chunks.
    """
    X = _by_rows(X)
    n_blocks, parts = len(_delayed(X)), [_delayed(X)]
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is None or isinstance(value, Real):
            parts.append([value] * n_blocks)
            continue
        value = _cut_alike(X, value, name)
        blocks = _delayed(value)
        if len(blocks) != n_blocks:
            raise ValueError(
                f"X has {n_blocks} blocks of rows and {name} has {len(blocks)}, of "
                "unknown sizes. Repartition one like the other, or call "
                "compute_chunk_sizes() so that dask knows the sizes."
            )
        parts.append(blocks)
    block = delayed(Block, pure=False)
    blocks = [block(*values) for values in zip(*parts, strict=True)]
    return Parts(client, client.compute(blocks))


def _by_rows(value):
    """The array with all columns in one block."""
    if is_array(value) and value.ndim == 2 and value.numblocks[1] > 1:
        return value.rechunk({1: -1})
    return value


def _cut_alike(X, value, name):
    if not is_array(value):
        return value
    value = _by_rows(value)
    if not (is_array(X) and _has_known_rows(X) and _has_known_rows(value)):
        return value
    if value.shape[0] != X.shape[0]:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has "
            f"{X.shape[0]} rows, {name} has {value.shape[0]}."
        )
    return value.rechunk({0: X.chunks[0]})


def _has_known_rows(array):
    return not np.isnan(array.shape[0])


def _delayed(value):
    blocks = value.to_delayed()
    return list(np.ravel(blocks)) if is_array(value) else list(blocks)


# Lazy predictions.


def predicted(X, model, method, columns, dtype):
    """model.method(rows) for the rows of X, lazily.

    Parameters
    ----------
    X : dask array or DataFrame
    model : plain estimator, fitted
    method : str
    columns : list or None
        Names of the columns of the result; None for one dimension.
    dtype : dtype

    Returns
    -------
    dask array for an array, Series or DataFrame for a DataFrame
    """
    arguments: dict[str, Any] = {
        "model": model,
        "method": method,
        "width": None if columns is None else len(columns),
        "result_dtype": dtype,
    }
    if is_frame(X):
        import pandas as pd

        rows = X._meta.index
        meta = (
            pd.Series(np.empty(0, dtype), rows)
            if columns is None
            else pd.DataFrame(np.empty((0, len(columns)), dtype), rows, columns)
        )
        return X.map_partitions(predict_frame, columns=columns, meta=meta, **arguments)
    X = _by_rows(X)
    if columns is None:
        meta = np.empty(0, dtype)
        return X.map_blocks(
            predict_rows, drop_axis=1, dtype=dtype, meta=meta, **arguments
        )
    return X.map_blocks(
        predict_rows,
        chunks=(X.chunks[0], (len(columns),)),
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
        **arguments,
    )


def predict_rows(X, model, method, width, result_dtype):
    """The predictions of a plain model; none for no rows."""
    if X.shape[0] == 0:
        return np.empty(0 if width is None else (0, width), result_dtype)
    return getattr(model, method)(X)


def predict_frame(X, model, method, width, result_dtype, columns):
    """The predictions with the index of a pandas DataFrame."""
    import pandas as pd

    values = predict_rows(X, model, method, width, result_dtype)
    if width is None:
        return pd.Series(values, X.index, result_dtype)
    return pd.DataFrame(values, X.index, columns)
