"""Comparisons of fitted networks."""

import pickle

import numpy as np
from numpy.testing import assert_array_equal


def weights_of(model):
    skip = [] if getattr(model, "skip_coef_", None) is None else [model.skip_coef_]
    return [*model.coefs_, *model.intercepts_, *skip]


def flat(model):
    """All weights, as one vector."""
    return np.concatenate([a.ravel() for a in weights_of(model)])


def learned(model):
    """All weights, and the loss curve."""
    return [*weights_of(model), np.array(model.loss_curve_)]


def assert_same_weights(ours, theirs):
    """Bit by bit."""
    for a, b in zip(weights_of(ours), weights_of(theirs), strict=True):
        assert_array_equal(a, b)


def assert_same_training(ours, theirs):
    """Weights and loss curve, bit by bit."""
    for a, b in zip(learned(ours), learned(theirs), strict=True):
        assert_array_equal(a, b)


def state_of(model):
    """All fitted attributes, as bytes."""
    model._measure_importances()
    return {
        name: pickle.dumps(value)
        for name, value in sorted(vars(model).items())
        if name.endswith("_") or name in ("_shifts", "_importances")
    }


def outputs(model, X):
    """The predictions of a model for X: probabilities or targets."""
    return getattr(model, "predict_proba", model.predict)(X)
