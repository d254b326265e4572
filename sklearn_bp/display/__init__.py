"""Pictures of fitted networks, after scikit-learn's Display convention.

`from_estimator` computes the numbers and draws them; the display keeps the numbers, and
`plot(ax=)` draws them again. `figure_` and `ax_` are matplotlib objects. matplotlib,
from ``pip install "sklearn-bp[plots]"``, is only imported when something is drawn.
"""

from sklearn_bp.display._backprop import BackpropDisplay
from sklearn_bp.display._hidden_units import HiddenUnitsDisplay
from sklearn_bp.display._loss_curve import LossCurveDisplay

__all__ = ["BackpropDisplay", "HiddenUnitsDisplay", "LossCurveDisplay"]
