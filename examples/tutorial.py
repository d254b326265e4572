"""
A real table, from loading to export
====================================

How far will a patient's diabetes have progressed in a year?

The table has 442 patients with ten columns: age, sex, body mass index, blood pressure
and six blood serum measurements. The target is a measure of disease progression one
year later. You will fit it, look at intervals and probabilities, see which columns
matter, tune what is worth tuning, and save the model. ::

    python examples/tutorial.py
"""

# %%
# Load the table
# --------------
#
# The columns are in their original units. ``sex`` is a category, coded as 1 and 2 in
# the source. The network takes all of this as it is, so there is nothing to prepare.

import pickle

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    ParameterSampler,
    cross_val_predict,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.display import LossCurveDisplay

table, progression = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
table["sex"] = table["sex"].map({1.0: "one", 2.0: "two"})
X_train, X_test, y_train, y_test = train_test_split(table, progression, random_state=0)
print(X_train.head(3).round(1).to_string())

# %%
# Fit a regression
# ----------------
#
# You need not set any parameter; ``random_state`` makes the result repeatable. Ridge
# regression is a strong opponent here, because the table is small and the target is
# noisy. Its columns must be encoded and scaled first.

regressor = TwoLayerRegressor(random_state=0).fit(X_train, y_train)
ridge = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["sex"]), remainder=StandardScaler()),
    RidgeCV(np.logspace(-3, 3, 13)),
).fit(X_train, y_train)
print(f"R2 of the network: {regressor.score(X_test, y_test):.2f}")
print(f"R2 of ridge regression: {ridge.score(X_test, y_test):.2f}")

# %%
# Each row was held out from one of the eight networks in the ensemble. The loss on the
# held-out rows decided when to stop:

LossCurveDisplay.from_estimator(regressor)

# %%
# Intervals
# ---------
#
# A single number says little about a patient. ``predict_interval`` says how far off it
# may be. Its intervals are calibrated on the held-out rows, so that they contain the
# target with the probability you ask for.

lower, upper = regressor.predict_interval(X_test, coverage=0.8).T
inside = (lower <= y_test) & (y_test <= upper)
print(f"targets inside their intervals: {inside.mean():.2f} (asked for: 0.80)")

predicted = regressor.predict(X_test)
order = np.argsort(predicted)
_, ax = plt.subplots(layout="constrained")
ax.fill_between(
    np.arange(len(order)), lower[order], upper[order], alpha=0.2, label="80 % interval"
)
ax.plot(predicted[order], label="prediction")
ax.plot(y_test.to_numpy()[order], ".", label="target")
ax.set(xlabel="test rows, sorted by prediction", ylabel="disease progression")
ax.legend()

# %%
# Probabilities
# -------------
#
# Suppose you want to find the patients who progress fastest: the upper quarter. That is
# a classification, and ``predict_proba`` gives calibrated probabilities without any
# further step. Here each row is predicted by a network that was not trained on it.

fast = progression > progression.quantile(0.75)
p = cross_val_predict(
    TwoLayerClassifier(random_state=0), table, fast, cv=5, method="predict_proba"
)[:, 1]
base = np.full(len(fast), fast.mean())
print(f"accuracy: {np.mean((p > 0.5) == fast):.2f}, of always no: {np.mean(~fast):.2f}")
print(
    f"log-loss: {log_loss(fast, p):.2f}, of the base rate: {log_loss(fast, base):.2f}"
)

# %%
# Can you trust the probabilities? Compare them with what happened:

CalibrationDisplay.from_predictions(fast, p, n_bins=5, strategy="quantile")

# %%
# Which columns matter
# --------------------
#
# ``feature_importances_`` says what the network uses: how strongly its output reacts to
# each column. Permutation importance says what a column is worth on new rows: how much
# R2 falls if you shuffle it there.

lost = permutation_importance(regressor, X_test, y_test, n_repeats=10, random_state=0)
print("column  used  worth on new rows")
for j in np.argsort(regressor.feature_importances_)[::-1]:
    used, worth = regressor.feature_importances_[j], lost.importances_mean[j]
    error = lost.importances_std[j]
    print(f"{table.columns[j]:6}  {used:.2f}  {worth:+.3f} ± {error:.3f}")

# %%
# Partial dependence shows how the prediction changes with a column, averaged over the
# values of all others.

_, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
PartialDependenceDisplay.from_estimator(
    regressor, X_train, ["bmi", "s5", "bp"], ax=axes
)

# %%
# Tune what is worth tuning
# -------------------------
#
# The default is one of the candidates (the empty dictionary), so on the folds the
# search cannot end with anything worse. All candidates have the default's
# size. The page :doc:`tuning </tuning>` says which parameters are worth a search.

space = {
    "activation": ["relu", "tanh"],
    "alpha": loguniform(0.03, 3),
    "learning_rate_init": loguniform(2e-3, 3e-2),
}
drawn = ParameterSampler(space, 5, random_state=0)
search = GridSearchCV(
    TwoLayerRegressor(random_state=0),
    [{}] + [{name: [value] for name, value in values.items()} for values in drawn],
    cv=3,
    scoring="neg_root_mean_squared_error",
).fit(X_train, y_train)
scores = np.array([search.cv_results_[f"split{fold}_test_score"] for fold in range(3)])
gain = scores[:, search.best_index_] - scores[:, 0]
print(f"error of the default, cross-validated: {-scores[:, 0].mean():.1f}")
print(f"error of the best candidate: {-scores[:, search.best_index_].mean():.1f}")
print(f"difference: {gain.mean():.1f} ± {gain.std(ddof=1) / np.sqrt(3):.1f}")

# %%
# A difference within its standard error is no reason to leave the default. The rows of
# the test set have had no part in the search. They confirm it:

for name, model in {"default": regressor, "searched": search.best_estimator_}.items():
    error = root_mean_squared_error(y_test, model.predict(X_test))
    print(f"test error, {name}: {error:.1f}")

# %%
# Save and export
# ---------------
#
# A pickle holds the weights and little else:

stored = pickle.dumps(regressor)
restored = pickle.loads(stored)
same = np.array_equal(restored.predict(X_test), regressor.predict(X_test))
print(f"{len(stored) / 1000:.0f} kB; the same predictions: {same}")

# %%
# With skl2onnx (``pip install "sklearn-bp[onnx]"``) the network becomes an ONNX graph,
# which runs without Python. Each column of the table is an input of the graph.

try:
    from skl2onnx import to_onnx

    import sklearn_bp.onnx  # noqa: F401  registers both estimators with skl2onnx
except ImportError:
    print("skl2onnx is not installed.")
else:
    graph = to_onnx(restored, X_train[:1])
    print("inputs:", ", ".join(column.name for column in graph.graph.input))

# %%
# Next: the :doc:`user guide </user_guide>` says which parameter to set, and when.

if __name__ == "__main__":
    plt.show()
