"""The suite of shapes: the defaults against MLPClassifier with preprocessing."""

from functools import cache, partial

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from benchmarks.estimators import of_both
from benchmarks.problems import Case, Contender
from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor

N_TEST = 1000
EPOCHS_OF_MANY_CLASSES = 2


def shapes(options):
    """Fits with default parameters to data of unusual shapes, scored on other rows."""
    wide = [(62, 2000), (72, 7000), (200, 2000), (60, 20_000)]
    many = [(300, 150), (500, 600), (300, 1000), (1000, 1000)]
    cases = {f"{n} x {d} dense": partial(factors, n, d) for n, d in wide + many}
    for n, d in [(200, 2000), *many]:
        cases[f"{n} x {d} dense, regression"] = partial(factors, n, d, of_classes=False)
    cases["1500 x 10000 text"] = partial(documents, 1500, 10_000)
    cases["800 x 5 and names"] = partial(named_rows, 800)
    cases["30000 rows, 3000 classes"] = partial(many_classes, 30_000, 3000)
    if options.quick:
        cases = {"30 x 300 dense": partial(factors, 30, 300)}
    for name, load in cases.items():
        work = {}
        if "classes" in name:
            work = {"max_iter": EPOCHS_OF_MANY_CLASSES, "tol": 0.0}

        def contender(rival, load=load, work=work):
            X, y, X_test, y_test = load()
            return Contender(
                lambda: default(rival, X, y, **work).fit(X, y),
                partial(scores, X_test=X_test, y_test=y_test),
            )

        build = partial(of_both, options.rivals, contender)
        yield Case("shapes", name, build)


def default(rival, X, y, **parameters):
    """Ours with its defaults; or scikit-learn's behind the usual preprocessing."""
    is_regression = np.asarray(y).dtype.kind == "f"
    parameters = {"random_state": 0} | parameters
    if rival == "ours":
        return (TwoLayerRegressor if is_regression else TwoLayerClassifier)(
            **parameters
        )
    scaler = MaxAbsScaler() if sparse.issparse(X) else StandardScaler()
    if isinstance(X, pd.DataFrame):
        text = [name for name in X if X[name].dtype.kind not in "biuf"]
        encoder = OneHotEncoder(handle_unknown="ignore")
        scaler = make_column_transformer((encoder, text), remainder=scaler)
    if not is_regression:
        return make_pipeline(scaler, MLPClassifier(**parameters))
    network = make_pipeline(scaler, MLPRegressor(**parameters))
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def scores(fitted, X_test, y_test):
    """Accuracy or R2, and the log-loss of a classifier, on other rows."""
    found = {"score": float(fitted.score(X_test, y_test))}
    if hasattr(fitted, "predict_proba"):
        p = fitted.predict_proba(X_test)
        found["log_loss"] = float(log_loss(y_test, p, labels=fitted.classes_))
    return found


def parted(X, y, n):
    """The first n rows to train on, the others to score."""
    if isinstance(X, pd.DataFrame):
        return X.iloc[:n], y[:n], X.iloc[n:], y[n:]
    return X[:n], y[:n], X[n:], y[n:]


@cache
def factors(n, d, seed=0, of_classes=True):
    """Columns of a few factors and much noise, as of genes; two classes, or numbers."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n + N_TEST, 12))
    loadings = rng.normal(size=(12, d)) * (rng.random(d) < 0.4)
    X = F @ loadings + 2 * rng.normal(size=(n + N_TEST, d))
    y = F[:, 0] + F[:, 1] * F[:, 2]
    return parted(X, (y > 0).astype(int) if of_classes else y, n)


@cache
def documents(n, d, n_topics=6, seed=0):
    """CSR counts of words by Zipf's law, a quarter of them of the document's topic."""
    rng = np.random.default_rng(seed)
    zipf = 1 / np.arange(1, d + 1)
    topics = zipf * rng.gamma(0.1, 10, (n_topics, d))
    rates = 0.75 * zipf / zipf.sum() + 0.25 * topics / topics.sum(1, keepdims=True)
    y = rng.integers(0, n_topics, n + N_TEST)
    lengths = np.maximum(5, rng.lognormal(np.log(120), 0.6, n + N_TEST)).astype(int)
    cumulated = np.cumsum(rates, axis=1)
    words = [
        np.minimum(np.searchsorted(cumulated[k], rng.random(length)), d - 1)
        for k, length in zip(y, lengths, strict=True)
    ]
    rows = np.repeat(np.arange(n + N_TEST), lengths)
    places = rows, np.concatenate(words)
    X = sparse.coo_matrix((np.ones(len(rows)), places), (n + N_TEST, d)).tocsr()
    return parted(X, y, n)


@cache
def named_rows(n, seed=0):
    """Five numbers, and a name for each row; a regression."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n + N_TEST, 5)), columns=list("abcde"))
    X["name"] = [f"row {i}" for i in range(n + N_TEST)]
    y = X.a + X.b * X.c + 0.2 * rng.normal(size=n + N_TEST)
    return parted(X, y.to_numpy(), n)


@cache
def many_classes(n, n_classes, d=50, seed=0):
    """Clouds around a centre for each class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n + N_TEST) % n_classes
    X = rng.normal(size=(n_classes, d))[y] + 0.3 * rng.normal(size=(n + N_TEST, d))
    return parted(X, y, n)
