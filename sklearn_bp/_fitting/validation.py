"""Validation on rows that training does not see, in the user's units.

`Interim` is the fit as if training had ended; it makes the score and the
`ValidationSet`.  `users_validation` is the validation on X_val and y_val.
"""

from dataclasses import replace

import numpy as np
from sklearn.utils import check_consistent_length

from sklearn_bp._fitting.fitted_network import FittedNetwork, absorbed
from sklearn_bp._fitting.request import Request, with_weight
from sklearn_bp._network.kernel import TwoLayerNetwork
from sklearn_bp._tables.features import check_features
from sklearn_bp._tables.rotation import on_columns
from sklearn_bp._tables.weights import check_sample_weight
from sklearn_bp._training.held_out import ValidationSet


class Interim:
    """The fitted network or estimator for parameters, as if training had ended.

    Parameters
    ----------
    rows : MemoryRows or PartitionedRows
        The rows of the fit, prepared.
    inputs : Inputs
    """

    def __init__(self, rows, inputs):
        self.rows, self.inputs = rows, inputs
        self.recipe, self.targets = rows.recipe, rows.targets

    def weights(self, parameters):
        """`Weights` of the network on the user's columns."""
        parameters = on_columns(parameters, self.rows.rotation)
        scalings = self.inputs.network_scaling, self.targets.score_scaling
        return absorbed(parameters, self.rows.dtype, *scalings)

    def estimator(self, parameters):
        """An estimator with these parameters, as if fitted."""
        parameters = on_columns(parameters, self.rows.rotation)
        fitted = FittedNetwork.of(
            parameters, self.rows.dtype, self.recipe, self.inputs, self.targets
        )
        model = self.recipe.estimator()
        model._take(self.rows.features | fitted.attributes())
        return model

    def score_of(self, Y, sample_weight):
        """The score, as a function of scores z in training units and of parameters."""
        scaling = self.targets.score_scaling
        measure = self.targets.score(Y, sample_weight)
        if scaling is None:
            return lambda z, parameters: measure(z)
        unscaled = scaling.inversion(np.float64)
        return lambda z, parameters: measure(unscaled(z.astype(np.float64)))

    def validation_set(self, network, request, X, rows, Y, sample_weight):
        """The validation on these rows of X, in the user's units."""
        targets, metric = self.targets, self.recipe.metric
        replacing, scaled = self.inputs.replacing, targets.score_scaling

        def scores_of(parameters):
            z = network.scores(self.weights(parameters), X, rows, replacing)
            return z if scaled is None else scaled(z)

        score = self.score_of(Y, sample_weight)
        if metric.is_scorer:
            X_given, y_given = request.validation_rows(rows)

            def score(z, parameters):
                model = self.estimator(parameters)
                return metric.score(model, X_given, y_given, sample_weight)

        return ValidationSet(
            network.loss,
            targets.in_training_units(Y),
            sample_weight,
            scores_of,
            score,
            targets.tempers,
        )


def users_validation(interim, network):
    """The validation on the validation data of the user.

    Parameters
    ----------
    interim : Interim
    network : TwoLayerNetwork
    """
    network = TwoLayerNetwork(network.activation, network.loss.for_validation())
    rows, targets = interim.rows, interim.targets
    request, record = rows.request, rows.feature_record
    try:
        record._refuse_collections(X=request.X_val)
        X, _ = check_features(
            record, request.X_val, [rows.dtype], interim.inputs.columns
        )
        Y = targets.encode_validation(request.y_val)
        check_consistent_length(X, Y)
        weights = check_sample_weight(request.sample_weight_val, X.shape[0])
        passed = Request(request.X_val, request.y_val)
        X, Y, weights, passed = with_weight(X, Y, weights, passed)
        weights = targets.times_class_weights(passed.kept_rows("y"), weights)
        X, Y, weights, passed = with_weight(X, Y, weights, passed)
        targets.loss.check_targets(Y)
    except ValueError as error:
        raise ValueError(f"In the validation data: {error}") from error
    X_val, y_val = passed.kept_rows("X"), passed.kept_rows("y")
    request = replace(request, X_val=X_val, y_val=y_val)
    return interim.validation_set(network, request, X, None, Y, weights)
