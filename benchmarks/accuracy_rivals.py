"""The rivals of the accuracy benchmark: each makes an estimator for raw tables.

Ours gets the table as it is. The preprocessing that the others need (one-hot encoding,
imputation, scaling) is part of their pipelines, fitted on the training rows only.
"""

import hashlib
import importlib
import logging
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import sklearn_bp
from benchmarks.accuracy_tables import CLASSES, number_columns, text_columns

MOST_ONE_HOT = 1000  # beyond it the rarest levels of a column share one
MOST_LEVELS = 254  # what the trees' bins hold beside missing values


def ours(task, seed):
    if task == CLASSES:
        return sklearn_bp.TwoLayerClassifier(random_state=seed)
    return sklearn_bp.TwoLayerRegressor(random_state=seed)


def mlp(task, seed):
    """Everything scaled, the target of a regression too."""
    if task == CLASSES:
        network = MLPClassifier(random_state=seed)
    else:
        network = TransformedTargetRegressor(
            MLPRegressor(random_state=seed), transformer=StandardScaler()
        )
    return make_pipeline(encoder(), StandardScaler(), network)


def mlp_raw(task, seed):
    kind = MLPClassifier if task == CLASSES else MLPRegressor
    return make_pipeline(encoder(), kind(random_state=seed))


def trees(task, seed):
    """Categories and missing values as boosted trees take them by themselves."""
    classes = task == CLASSES
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    boosting = kind(categorical_features="from_dtype", random_state=seed)
    return make_pipeline(TextAsCategories(), boosting)


def linear(task, seed):
    """Logistic regression, or ridge with a penalty chosen by cross-validation."""
    if task == CLASSES:
        model = LogisticRegression(max_iter=1000)
    else:
        model = RidgeCV(alphas=np.logspace(-3, 3, 13))
    return make_pipeline(encoder(), StandardScaler(), model)


def lightgbm(task, seed):
    import lightgbm

    kind = lightgbm.LGBMClassifier if task == CLASSES else lightgbm.LGBMRegressor
    boosting = kind(n_jobs=1, random_state=seed, verbose=-1)
    return make_pipeline(TextAsCategories(None), numbered_columns(), boosting)


def xgboost(task, seed):
    import xgboost

    kind = xgboost.XGBClassifier if task == CLASSES else xgboost.XGBRegressor
    boosting = kind(n_jobs=1, random_state=seed, enable_categorical=True)
    return make_pipeline(TextAsCategories(None), numbered_columns(), boosting)


def catboost(task, seed):
    import catboost

    classes = task == CLASSES
    kind = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
    boosting = kind(
        thread_count=1, random_seed=seed, verbose=False, allow_writing_files=False
    )
    return TextAsStrings(boosting)


def realmlp(task, seed):
    return of_pytabkit("RealMLP_TD_S", task, seed)


def tabm(task, seed):
    return of_pytabkit("TabM_D", task, seed)


def xrfm(task, seed):
    return of_pytabkit("XRFM_D", task, seed)


def of_pytabkit(name, task, seed):
    """A model of pytabkit with its defaults: text as it is, numbers imputed."""
    pytabkit = quiet_pytabkit()
    kind = "Classifier" if task == CLASSES else "Regressor"
    model = getattr(pytabkit, f"{name}_{kind}")(
        device="cpu", n_threads=1, random_state=seed
    )
    columns = make_column_transformer(
        (imputer(), number_columns),
        ("passthrough", text_columns),
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns.set_output(transform="pandas"), model)


@cache
def quiet_pytabkit():
    """The package, without the lines that its trainer logs for each fit."""
    import torch

    torch.set_num_threads(1)
    pytabkit = importlib.import_module("pytabkit")
    for name in ("pytorch_lightning", "lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return pytabkit


def encoder():
    """Numbers imputed by their median, with indicators; text one-hot."""
    one_hot = OneHotEncoder(
        handle_unknown="ignore", sparse_output=False, max_categories=MOST_ONE_HOT
    )
    return make_column_transformer((imputer(), number_columns), (one_hot, text_columns))


def imputer():
    median = SimpleImputer(
        strategy="median", add_indicator=True, keep_empty_features=True
    )
    as_floats = FunctionTransformer(as_float, feature_names_out="one-to-one")
    return make_pipeline(as_floats, median)


def as_float(X):
    """Truth values as numbers, for the imputer."""
    return X.astype(np.float64)


def numbered_columns():
    """Names that every library accepts: some refuse brackets or white space."""
    return FunctionTransformer(
        lambda X: X.set_axis([f"column_{i}" for i in range(X.shape[1])], axis=1)
    )


class TextAsCategories(TransformerMixin, BaseEstimator):
    """Text columns as pandas categories of their most frequent levels.

    Rarer levels, and levels that the training rows lack, become missing values; None
    keeps all levels of the training rows. Columns without any value are dropped.
    """

    def __init__(self, most_levels=MOST_LEVELS):
        self.most_levels = most_levels

    def fit(self, X, y=None):
        self.names_ = [name for name in X.columns if X[name].notna().any()]
        self.levels_ = {
            name: sorted(X[name].value_counts().index[: self.most_levels], key=str)
            for name in text_columns(X[self.names_])
        }
        return self

    def transform(self, X):
        return X[self.names_].assign(
            **{
                name: pd.Categorical(X[name].where(X[name].isin(levels)), levels)
                for name, levels in self.levels_.items()
            }
        )


class TextAsStrings(BaseEstimator):
    """A CatBoost model whose text columns are its categories.

    It takes no missing categories, so an empty string stands for them.
    """

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        texts = text_columns(X)
        self.model.fit(with_strings(X), y, cat_features=texts)
        return self

    @property
    def classes_(self):
        return self.model.classes_

    def predict(self, X):
        return self.model.predict(with_strings(X))

    def predict_proba(self, X):
        return self.model.predict_proba(with_strings(X))


def with_strings(X):
    texts = X[text_columns(X)].astype(object)
    return X.assign(**texts.where(texts.notna(), "").map(str))


RIVALS = {
    "ours": ours,
    "mlp": mlp,
    "mlp-raw": mlp_raw,
    "trees": trees,
    "linear": linear,
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "catboost": catboost,
    "realmlp": realmlp,
    "tabm": tabm,
    "xrfm": xrfm,
}
"""Rival's name -> function of task and seed that makes an unfitted estimator."""

NEEDS = {
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "catboost": ("catboost",),
    "realmlp": ("pytabkit", "torch"),
    "tabm": ("pytabkit", "torch"),
    "xrfm": ("pytabkit", "torch", "xrfm"),
}
"""Rival's name -> the packages that it needs beyond scikit-learn's."""

SLOW = ("catboost", "realmlp", "tabm", "xrfm")
"""Rivals that a quick run leaves out unless it names them."""

TITLES = {
    "ours": "sklearn_bp",
    "mlp": "MLP, scaled",
    "mlp-raw": "MLP, raw",
    "trees": "HistGradientBoosting",
    "linear": "logistic / ridge",
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "realmlp": "RealMLP-TD-S",
    "tabm": "TabM",
    "xrfm": "xRFM",
}


def installed(names):
    """The names whose packages are installed; prints a line for each other one."""
    present = []
    for name in names:
        missing = [need for need in NEEDS.get(name, ()) if find_spec(need) is None]
        if missing:
            print(f"skipped: {name}, for {missing[0]} is not installed", flush=True)
        else:
            present.append(name)
    return present


@cache
def versions_of(rival):
    """The versions that a result of this rival depends on, as text.

    Ours includes a digest of its sources, because its version number does not change
    with every edit.
    """
    packages = ["scikit-learn", "numpy", "scipy", *NEEDS.get(rival, ())]
    found = [f"{package} {version(package)}" for package in packages]
    if rival == "ours":
        found.insert(0, f"sklearn_bp {sklearn_bp.__version__} {sources_digest()}")
    return ", ".join(found)


SOURCES = (".py", ".c", ".h", ".so", ".pyd")
"""Endings of the files that a result of ours depends on; the last two are built."""


@cache
def sources_digest(folder=Path(sklearn_bp.__file__).parent):
    """A short text that differs if any source, or the built extension, does."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SOURCES):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
