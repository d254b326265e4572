"""Types of what users pass."""

from typing import Any, TypeAlias

from numpy.typing import ArrayLike

# Arrays and nested lists, pandas and polars tables, scipy's sparse matrices, dask's
# collections: these have no type in common.
MatrixLike: TypeAlias = ArrayLike | Any
