"""Pictures of fitted networks, after scikit-learn's Display convention.

`from_estimator` computes what is to be seen and draws it; the object keeps the numbers,
and `plot(ax=)` draws them again. `figure_` and `ax_` are matplotlib's. matplotlib, of
``pip install "sklearn-bp[plots]"``, is imported where something is drawn, and not
before.
"""

from sklearn_bp.display._backprop import BackpropDisplay
from sklearn_bp.display._hidden_units import HiddenUnitsDisplay
from sklearn_bp.display._loss_curve import LossCurveDisplay

__all__ = ["BackpropDisplay", "HiddenUnitsDisplay", "LossCurveDisplay"]
