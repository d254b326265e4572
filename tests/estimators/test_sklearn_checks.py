"""scikit-learn's checks of estimators, over several configurations of both classes.

Poisson and gamma regression are left out, since most checks fit targets of either sign,
and so are several quantiles, which are several predictions a target.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_bp import PiecewiseLinear, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.losses import Huber, LogLoss, Quantile

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}",
    "ignore:early_stopping=True. validation_fraction=:UserWarning",
)

SMALL = {"hidden_layer_sizes": 10, "max_iter": 40}  # for speed
# Slow enough for raw targets, which at 0.01 diverge from some starting weights.
SGD = SMALL | {"solver": "sgd", "learning_rate_init": 0.004, "max_iter": 150}
# With parts that are large enough for the few rows of some checks, and too small.
STOPPING = SMALL | {"early_stopping": True, "validation_fraction": 0.4}
ESTIMATORS = [
    TwoLayerClassifier(),
    TwoLayerRegressor(),
    TwoLayerClassifier(**SGD),
    TwoLayerRegressor(**SGD),
    TwoLayerClassifier(solver="lbfgs", **SMALL),
    TwoLayerRegressor(solver="lbfgs", **SMALL),
    TwoLayerClassifier(loss="squared_error", learning_rate_init=0.01, **SMALL),
    TwoLayerClassifier(learning_rate_init=0.01, **STOPPING),
    TwoLayerRegressor(learning_rate_init=0.01, **STOPPING),
    TwoLayerClassifier(solver="lbfgs", **STOPPING),
    TwoLayerClassifier(early_stopping=True, **SMALL),
    TwoLayerRegressor(early_stopping=True, **SMALL),
    TwoLayerClassifier(
        early_stopping=True,
        early_stopping_metric="score",
        **SMALL,
    ),
    TwoLayerClassifier(loss=LogLoss(label_smoothing=0.1), **SMALL),
    TwoLayerRegressor(loss="absolute_error", **SMALL),
    TwoLayerRegressor(loss="gaussian_nll", **SMALL),
    TwoLayerRegressor(loss="gaussian_nll", learning_rate_init=0.01, **STOPPING),
    TwoLayerRegressor(loss=Huber(delta=0.5), standardize=False, **SMALL),
    TwoLayerRegressor(loss=Quantile(0.7), solver="lbfgs", **SMALL),
]


# Those of the defaults, and of the quickest of the others, in each run of the tests.
QUICK = [ESTIMATORS[i] for i in (0, 1, 4, 5, 6, 16)]
checks = parametrize_with_checks(ESTIMATORS)
names, cases = checks.args


def in_time(case):
    """The parameters of a check, marked slow where its estimator is."""
    values, marks = getattr(case, "values", case), list(getattr(case, "marks", ()))
    if repr(values[0]) not in map(repr, QUICK):
        marks.append(pytest.mark.slow)
    return pytest.param(*values, marks=marks)


# A list, since scikit-learn 1.7 gives a generator, and pytest 9 warns of that.
@pytest.mark.parametrize(names, [in_time(case) for case in cases], **checks.kwargs)
def test_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"categorical_features": None},
        {"numeric_encoding": None, "standardize": False},
        {"categorical_features": [1]},
        {"categorical_features": np.array([False, True, False])},
        {"numeric_encoding": PiecewiseLinear(3)},
    ],
)
def test_the_tag_of_sparse_data_is_what_fit_takes(make, options):
    model = make(**SMALL, **options)
    X = np.random.RandomState(0).randint(3, size=(30, 3)).astype(float)
    y = X[:, 0] > 1
    for kind in (sparse.csr_matrix, sparse.csc_array):
        if get_tags(model).input_tags.sparse:
            assert model.fit(kind(X), y).n_features_in_ == 3
        else:
            with pytest.raises((ValueError, TypeError), match="sparse"):
                model.fit(kind(X), y)
    model.fit(X, y)


SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 10},
    "adam": {"solver": "adam", "learning_rate_init": 0.01, "batch_size": 10},
    "lbfgs": {"solver": "lbfgs"},
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (TwoLayerClassifier, "log_loss"),
        (TwoLayerClassifier, "squared_error"),
        (TwoLayerRegressor, "squared_error"),
        (TwoLayerRegressor, "poisson"),
    ],
)
def test_float32_stays_float32(make, loss, solver, early_stopping):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = np.digitize(X[:, 0] + X[:, 1] ** 2, [0.0, 1.0])
    if make is TwoLayerRegressor:
        y = y.astype(np.float32)
    options = SOLVERS[solver] | {
        "loss": loss,
        "activation": "tanh",
        "hidden_layer_sizes": 6,
        "max_iter": 5,
        "early_stopping": early_stopping,
        "random_state": 0,
    }
    narrow = make(**options).fit(X, y)
    wide = make(**options).fit(X.astype(np.float64), y)
    methods = ["predict"]
    if make is TwoLayerClassifier:
        methods = ["decision_function", "predict_proba", "predict_log_proba"]
    for method in methods:
        ours, theirs = getattr(narrow, method)(X), getattr(wide, method)(X)
        assert ours.dtype == np.float32
        assert theirs.dtype == np.float64
        # Five epochs of thirty steps, each rounded to 6e-8.
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    for name in ("coefs_", "intercepts_"):
        assert {a.dtype for a in getattr(narrow, name)} == {np.dtype(np.float32)}
        assert {a.dtype for a in getattr(wide, name)} == {np.dtype(np.float64)}
