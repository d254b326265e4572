"""Types of what users pass."""

from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

# Arrays and nested lists, pandas and polars tables, scipy's sparse matrices, dask's
# collections: these have no type in common.
MatrixLike: TypeAlias = ArrayLike | Any

# An array of any shape and dtype.  A name of its own: functions made in functions are
# annotated each time they are made, and building NDArray[Any] takes 5 us.
Array: TypeAlias = NDArray[Any]
