"""The metrics on the test rows of a fold."""

import numpy as np
from sklearn.metrics import log_loss, r2_score, root_mean_squared_error

N_BINS = 15


def class_metrics(probabilities, classes, y, n_classes):
    """Accuracy, log-loss and calibration error.

    `classes` are those of the columns; a class that was not in the training rows has
    probability 0, which the log-loss clips as scikit-learn's does. All in float64,
    lest the clipping depend on the rival's precision.
    """
    full = np.zeros((len(y), n_classes))
    full[:, np.asarray(classes, dtype=int)] = probabilities
    full /= full.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(np.mean(full.argmax(axis=1) == y)),
        "log_loss": float(log_loss(y, full, labels=np.arange(n_classes))),
        "calibration_error": calibration_error(full, y),
    }


def calibration_error(probabilities, y, n_bins=N_BINS):
    """Expected calibration error of the top probability, in bins of equal width.

    The mean over rows of |accuracy - mean confidence| of the row's bin; a bin holds
    its upper edge.
    """
    confidence = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == y
    bins = np.ceil(n_bins * confidence).astype(int) - 1
    gaps = np.bincount(bins.clip(0, n_bins - 1), weights=confidence - hits)
    return float(np.abs(gaps).sum() / len(y))


def number_metrics(predicted, y):
    return {
        "r2": float(r2_score(y, predicted)),
        "rmse": float(root_mean_squared_error(y, predicted)),
    }
