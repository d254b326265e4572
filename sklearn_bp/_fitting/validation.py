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
    recipe : Recipe
    inputs : Inputs
    targets : ClassTargets or RealTargets
    dtype : dtype
        The dtype of the fitted weights.
    features : dict
        The attributes that describe the user's columns.
    rotation : Rotation, default=None
    """

    def __init__(self, recipe, inputs, targets, dtype, features, rotation=None):
        self.recipe, self.inputs, self.targets = recipe, inputs, targets
        self.dtype, self.features, self.rotation = dtype, features, rotation

    def weights(self, parameters):
        """`Weights` of the network on the user's columns."""
        scalings = self.inputs.network_scaling, self.targets.score_scaling
        return absorbed(on_columns(parameters, self.rotation), self.dtype, *scalings)

    def estimator(self, parameters):
        """An estimator with these parameters, as if fitted."""
        parameters = on_columns(parameters, self.rotation)
        fitted = FittedNetwork.of(
            parameters, self.dtype, self.recipe, self.inputs, self.targets
        )
        model = self.recipe.estimator()
        model._take(self.features | fitted.attributes())
        return model

    def score_of(self, Y, sample_weight):
        """The score, as a function of scores z in training units and of parameters."""
        scaling = self.targets.score_scaling
        measure = self.targets.score(Y, sample_weight)
        if scaling is not None:
            scale, shift = scaling.inverse(np.float64)

        def score(z, parameters):
            if scaling is not None:  # as `Scaling.backwards`
                z = z * scale
                z += shift
            return measure(z)

        return score

    def validation_set(self, network, request, X, rows, Y, sample_weight):
        """The validation on these rows of X, in the user's units."""
        targets, metric = self.targets, self.recipe.metric
        score = self.score_of(Y, sample_weight)
        if metric.is_scorer:
            X_given, y_given = request.validation_rows(rows)

            def score(z, parameters):
                model = self.estimator(parameters)
                return metric.score(model, X_given, y_given, sample_weight)

        return ValidationSet(
            network,
            X,
            rows,
            targets.in_training_units(Y),
            sample_weight,
            self.weights,
            targets.score_scaling,
            score,
            targets.tempers,
            self.inputs.replacing,
        )


def users_validation(interim, network, request, feature_record):
    """The validation on the validation data of the user.

    Parameters
    ----------
    interim : Interim
    network : TwoLayerNetwork
    request : Request
    feature_record : estimator
        It knows number and names of the features.
    """
    network = TwoLayerNetwork(network.activation, network.loss.for_validation())
    targets, dtypes = interim.targets, [interim.dtype]
    try:
        feature_record._refuse_collections(X=request.X_val)
        X, _ = check_features(
            feature_record, request.X_val, dtypes, interim.inputs.columns
        )
        Y = targets.encode_validation(request.y_val)
        check_consistent_length(X, Y)
        weights = check_sample_weight(request.sample_weight_val, X.shape[0])
        own = Request(request.X_val, request.y_val)
        X, Y, weights, own = with_weight(X, Y, weights, own)
        weights = targets.times_class_weights(own.own("y"), weights)
        X, Y, weights, own = with_weight(X, Y, weights, own)
        targets.loss.check_targets(Y)
    except ValueError as error:
        raise ValueError(f"In the validation data: {error}") from error
    request = replace(request, X_val=own.own("X"), y_val=own.own("y"))
    return interim.validation_set(network, request, X, None, Y, weights)
