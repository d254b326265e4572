"""Two-layer neural networks for scikit-learn, trained by backpropagation."""

from sklearn_bp._classifier import TwoLayerClassifier
from sklearn_bp._defaults import MLP_DEFAULTS
from sklearn_bp._regressor import TwoLayerRegressor
from sklearn_bp._training import DivergenceError

__version__ = "0.1.0.dev0"

__all__ = ["MLP_DEFAULTS", "DivergenceError", "TwoLayerClassifier", "TwoLayerRegressor"]
