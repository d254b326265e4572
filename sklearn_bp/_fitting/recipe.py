"""The constructor's parameters, checked, and with names turned into objects.

This happens only in `Recipe.of`.  The values of "auto" depend on the data and are
determined in `settings`.
"""

import copy
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin

from sklearn_bp._common.warn import warn_user
from sklearn_bp._fitting.defaults import AVERAGED_EPOCHS, TOLERANCE
from sklearn_bp._fitting.early_stopping import Metric
from sklearn_bp._fitting.parameters import check_parameters, hidden_units, values_of
from sklearn_bp._training.lbfgs import BLOCK_ROWS, LBFGS
from sklearn_bp._training.mini_batches import MiniBatches
from sklearn_bp.activations import as_activation
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.optimizers import adaptive, as_optimizer
from sklearn_bp.schedules import as_schedule


class Recipe:
    """The parameters of a fit, unaffected by later changes of the estimator.

    Attributes
    ----------
    kind : type
        The class that predicts from arrays.
    name : str
        Name of the estimator, for errors.
    parameters : dict
        The constructor's parameters as given; each is also an attribute.  `activation`
        and `loss` are copies, so that predictions do not depend on later changes.
    n_hidden : int
    metric : Metric
        The metric that early stopping monitors.
    """

    if TYPE_CHECKING:  # the parameters

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, kind, name, parameters):
        self.kind, self.name, self.parameters = kind, name, parameters
        vars(self).update(parameters)
        self.activation: Any = copy.deepcopy(parameters["activation"])
        self.loss: Any = copy.deepcopy(parameters["loss"])
        self.categorical_features: Any = copy.deepcopy(
            parameters["categorical_features"]
        )
        self.n_hidden = hidden_units(name, self.hidden_layer_sizes)
        self.metric = Metric(self.early_stopping_metric)

    @classmethod
    def of(cls, estimator):
        """The recipe of an estimator; an error for invalid parameters."""
        name, values = type(estimator).__name__, values_of(estimator)
        check_parameters(name, estimator._parameters, values)
        dropout = values["dropout"]
        if dropout and values["solver"] == "lbfgs":
            raise ValueError(
                f"dropout={dropout} changes the loss in each step, and solver='lbfgs' "
                "needs a fixed loss: set dropout=0.0 or solver='adam'."
            )
        return cls(estimator._kind_in_memory(), name, values)

    @property
    def activation_object(self):
        return as_activation(self.activation)

    @property
    def initializer(self):
        return INITIALIZERS[self.init] if isinstance(self.init, str) else self.init

    @property
    def encodes(self):
        """Whether categories and missing values are allowed."""
        return bool(self.standardize or self.categorical_features is not None)

    def learns_scales(self, encoded):
        """Whether there is a scaling layer and a solver that supports it.

        `encoded` tells whether columns are encoded by bins too.
        """
        learns = self.scaling_layer
        if learns == "auto":
            learns = encoded or not issubclass(self.kind, ClassifierMixin)
        return bool(learns) and adaptive(self.solver)

    @property
    def counts_rows(self):
        """Whether any setting depends on the rows of a stream so far."""
        by_rows = self.alpha == "auto" or self.batch_size == "by_rows"
        return by_rows or self.encodes

    @property
    def monitors_a_loss(self):
        return not self.early_stopping or self.metric.is_loss

    @property
    def threshold(self):
        return -np.inf if self.loss_threshold is None else self.loss_threshold

    @property
    def tolerance(self):
        """`tol`, or for "auto" the number that its rules start from."""
        return TOLERANCE if self.tol == "auto" else self.tol

    def estimator(self):
        """A new estimator with these parameters, for data in memory."""
        return self.kind(**self.parameters)

    def drops_penalty(self, targets, alpha):
        """Whether the penalty is dropped once it no longer helps."""
        auto = self.alpha == self.n_iter_no_change == "auto"
        return targets.may_drop_penalty and auto and alpha > 0

    def solver_for(self, n_rows, resolved, penalty_rows, clip_norm=None):
        """The solver for this number of rows.

        Parameters
        ----------
        n_rows : int
        resolved : Resolved
            The values of "auto".
        penalty_rows : int or None
            See `MiniBatches`.
        clip_norm : float or None, default=None
            From `stream_clip_norm`.
        """
        if self.solver == "lbfgs":
            return LBFGS(self.tolerance, self.max_fun, min(BLOCK_ROWS, n_rows))
        if isinstance(self.batch_size, Integral) and self.batch_size > n_rows:
            warn_user(
                f"batch_size={self.batch_size} is larger than the number of training "
                f"rows: each batch has all {n_rows} of them."
            )
        optimizer = as_optimizer(
            self.solver, lambda name, default: _as_python(getattr(self, name, default))
        )
        if clip_norm is not None:
            optimizer = replace(optimizer, clip_norm=clip_norm)
        schedule = as_schedule(
            self.learning_rate,
            resolved.learning_rate_init,
            float(self.power_t),
            resolved.max_iter,
            getattr(optimizer, "scheduled", False),
        )
        return MiniBatches(
            optimizer,
            schedule,
            resolved.batch_size,
            self.shuffle,
            AVERAGED_EPOCHS if self.average else 0,
            float(self.dropout),
            penalty_rows,
        )


def _as_python(value):
    """A Python float of a number: a numpy float32 would make results float32."""
    return value if isinstance(value, bool | np.bool_ | None) else float(value)
