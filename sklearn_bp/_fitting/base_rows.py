"""The rows of a fit, and the interface by which the story of fit uses them.

`MemoryRows`, and `PartitionedRows` of `sklearn_bp.dask`, go from the user's arguments
to the data that a solver trains on.  Each stage returns new rows:

- `checked(recipe, start)`: as numbers, without rows of weight 0, with known `targets`;
- `learn_inputs(start)`: the `Inputs`, from statistics of the columns, and the rows;
- `prepared(inputs, targets, start)`: features and targets as the solver gets them;
- `best_constant(loss)`: the constant scores with the smallest loss, and that loss;
- `settings(inputs, n_outputs)`: the settings that depend on the size of the data;
- `hold_out(network, settings, state, inputs)`: training data and validation;
- `target_statistics(robust)`, `target_range()`: over all rows;
- `longest(inputs)`: the length of the longest row, relative to most.

Attributes: `n_rows`, the number of rows with non-zero weight; `n_inputs` of the
network; `features`, the public attributes that describe the user's columns; `repeat`,
whether the stream has contained exactly these rows before.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_bp._fitting.defaults import training_dtype
from sklearn_bp._fitting.request import Request


@dataclass(frozen=True)
class BaseRows:
    """The rows of a fit, in memory or on a cluster.

    Attributes
    ----------
    request : Request
        The arguments of the user; its `kept` are the rows with non-zero weight.
    feature_record : estimator
        A new estimator with the same parameters, on which scikit-learn's validation
        reads and writes number and names of the features.
    recipe : Recipe
    targets : ClassTargets or RealTargets
    columns : Columns or None
    dtype : dtype
        The dtype of the fitted weights.
    """

    request: Request
    feature_record: Any
    recipe: Any = None
    targets: Any = None
    columns: Any = None
    dtype: Any = None

    n_rows: ClassVar[Any]

    @property
    def features(self):
        """The public attributes of the user's columns."""
        names = getattr(self.feature_record, "feature_names_in_", None)
        features = {"n_features_in_": self.feature_record.n_features_in_}
        return features if names is None else features | {"feature_names_in_": names}

    @property
    def training_dtype(self):
        return training_dtype(self.recipe, self.dtype, self.n_rows)
