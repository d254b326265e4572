"""Tries the installed package, away from the checkout: every public module, two fits.

    python .ci/installed.py [--extras]

With --extras, the modules that need further packages too.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

from sklearn.datasets import load_diabetes, load_iris

import sklearn_bp

EXTRAS = {"dask", "onnx"}

checkout = Path(__file__).resolve().parents[1]
if Path(sklearn_bp.__file__).is_relative_to(checkout):
    sys.exit("This is the checkout, not the installed package.")
names = {module.name for module in pkgutil.iter_modules(sklearn_bp.__path__)}
public = {name for name in names if not name.startswith("_")}
if not public > EXTRAS:
    sys.exit(f"Modules are missing: there are only {sorted(public)}.")
for name in sorted(public if "--extras" in sys.argv else public - EXTRAS):
    importlib.import_module(f"sklearn_bp.{name}")
for estimator, data, least in [
    (sklearn_bp.TwoLayerClassifier, load_iris, 0.9),
    (sklearn_bp.TwoLayerRegressor, load_diabetes, 0.4),
]:
    X, y = data(return_X_y=True)
    model = estimator(random_state=0).fit(X, y)
    if model.score(X, y) < least:
        sys.exit(f"{model} has a score of {model.score(X, y)}, below {least}.")
print(f"sklearn_bp {sklearn_bp.__version__} ({model.engine_}): modules and fits work")
