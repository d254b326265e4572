"""Types of arguments and arrays."""

from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

# Arrays and nested lists, pandas and polars tables, scipy's sparse matrices, dask's
# collections: these have no type in common.
MatrixLike: TypeAlias = ArrayLike | Any

# An array of any shape and dtype.  The alias saves time: inner functions evaluate their
# annotations at each definition, and NDArray[Any] takes 5 us.
Array: TypeAlias = NDArray[Any]
