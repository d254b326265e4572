"""Bad input raises a clear error, and nothing is lost; odd input works."""

import builtins
import collections
import copy
import enum
import pickle
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compare import assert_same_weights, flat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from sklearn_bp import DivergenceError, PiecewiseLinear
from sklearn_bp.activations import ACTIVATIONS, Tanh

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}",
    "ignore:early_stopping=True. validation_fraction=:UserWarning",
)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(40, 3))
SIGNAL = X[:, 0] + X[:, 1] ** 2
LABELS = np.array(["a", "b", "c"])[np.digitize(SIGNAL, [0.3, 1.2])]
TASKS = {
    "classifier": (TwoLayerClassifier, LABELS),
    "regressor": (TwoLayerRegressor, SIGNAL),
}
SOLVERS = ("sgd", "adam", "lbfgs")
over_tasks = pytest.mark.parametrize("task", TASKS)
over_solvers = pytest.mark.parametrize("solver", SOLVERS)


def make(task, **options):
    defaults = {
        "hidden_layer_sizes": 5,
        "activation": "tanh",
        "max_iter": 4,
        "batch_size": 10,
        "random_state": 0,
    }
    return TASKS[task][0](**defaults | options)


def fitted(task, y=None, **options):
    return make(task, **options).fit(X, TASKS[task][1] if y is None else y)


def everything(model):
    """The state of the estimator, in bytes; equal states have equal dumps."""
    return pickle.dumps({name: copy.deepcopy(v) for name, v in vars(model).items()})


def assert_refused(model, match, *args, error=ValueError, method="fit", **kwargs):
    """The call fails with the message, and leaves the estimator as it was.

    An estimator never fitted stays so; one that was keeps all that it has.
    """
    fresh = copy.deepcopy(model)
    for name in [n for n in vars(fresh) if n.endswith("_") or n.startswith("_")]:
        delattr(fresh, name)
    for estimator in (fresh, model) if method == "fit" else (model,):
        names, before = list(vars(estimator)), everything(estimator)
        with pytest.raises(error, match=match) as caught:
            getattr(estimator, method)(*args, **kwargs)
        assert not isinstance(caught.value, RuntimeWarning)
        assert list(vars(estimator)) == names
        assert everything(estimator) == before


# Parameters.

A_FLOAT = "must be a float in the range"
AN_INT = "must be an int in the range"
A_BOOL = "must be True or False"
# name: [(value, error, the range in the message), ...]
PARAMETERS = {
    "hidden_layer_sizes": [
        (0, ValueError, "must be > 0, got"),
        ((-3,), ValueError, "must be > 0, got"),
        ((5, 3), ValueError, "has one hidden layer: hidden_layer_sizes must be"),
        ((), ValueError, "has one hidden layer"),
        (2.0, TypeError, "an int or a sequence of one int"),
        ("5", TypeError, "an int or a sequence of one int"),
        (None, TypeError, "an int or a sequence of one int"),
        (True, TypeError, "an int or a sequence of one int"),
        (np.array(5), TypeError, "an int or a sequence of one int"),
        ((5.5,), TypeError, "an int or a sequence of one int"),
    ],
    "activation": [
        ("sigmoid", ValueError, "one of 'identity', 'logistic', 'tanh', 'relu'"),
        (None, TypeError, "one of 'identity', 'logistic', 'tanh', 'relu'"),
        (np.tanh, TypeError, "one of 'identity', 'logistic', 'tanh', 'relu'"),
    ],
    "solver": [
        ("newton", ValueError, "one of 'lbfgs', 'sgd', 'adam'"),
        (1, TypeError, "one of 'lbfgs', 'sgd', 'adam'"),
    ],
    "alpha": [
        (-1e-9, ValueError, A_FLOAT + r" \[0, inf\)"),
        (np.inf, ValueError, A_FLOAT + r" \[0, inf\)"),
        (np.nan, ValueError, A_FLOAT + r" \[0, inf\)"),
        ("1", ValueError, A_FLOAT + r" \[0, inf\) or 'auto'"),
        (None, TypeError, A_FLOAT),
        ([0.1], TypeError, A_FLOAT),
    ],
    "batch_size": [
        (0, ValueError, AN_INT + r" \[1, inf\) or 'auto' or 'by_rows' or 'full'"),
        (-1, ValueError, AN_INT + r" \[1, inf\) or 'auto' or 'by_rows' or 'full'"),
        ("all", ValueError, "or 'auto' or 'by_rows' or 'full'"),
        (2.0, TypeError, AN_INT),
        (None, TypeError, AN_INT),
        (True, (ValueError, TypeError), AN_INT),
    ],
    "learning_rate": [
        ("optimal", ValueError, "one of 'constant', 'invscaling', 'adaptive'"),
        (0.1, TypeError, "one of 'constant', 'invscaling', 'adaptive'"),
    ],
    "learning_rate_init": [
        (0, ValueError, A_FLOAT + r" \(0, inf\)"),
        (-0.1, ValueError, A_FLOAT + r" \(0, inf\)"),
        (np.nan, ValueError, A_FLOAT),
        (np.inf, ValueError, A_FLOAT),
        ("fast", ValueError, A_FLOAT + r" \(0, inf\) or 'auto'"),
        (None, TypeError, A_FLOAT),
    ],
    "power_t": [
        (-0.5, ValueError, A_FLOAT + r" \[0, inf\)"),
        (None, TypeError, A_FLOAT),
    ],
    "max_iter": [
        (0, ValueError, AN_INT + r" \[1, inf\) or 'auto'"),
        ("all", ValueError, AN_INT + r" \[1, inf\) or 'auto'"),
        (10.0, TypeError, AN_INT),
        (np.inf, TypeError, AN_INT),
    ],
    "loss": [
        ("hinge", ValueError, "one of '"),
        (None, TypeError, "one of '"),
    ],
    "loss_threshold": [
        (np.nan, ValueError, A_FLOAT),
        (np.inf, ValueError, A_FLOAT),
        ("small", TypeError, A_FLOAT),
    ],
    "init": [
        ("ones", ValueError, "one of 'glorot_uniform', 'he_normal', 'lecun_normal'"),
        (0, TypeError, "one of 'glorot_uniform'"),
    ],
    "shuffle": [
        ("yes", ValueError, A_BOOL + " or 'blocks'"),
        (1, TypeError, A_BOOL),
    ],
    "random_state": [
        (
            "seed",
            ValueError,
            AN_INT + r" \[0, 4294967295\], a numpy.random.RandomState",
        ),
        (-1, ValueError, AN_INT),
        (2**32, ValueError, AN_INT),
        (0.5, ValueError, AN_INT),
        (np.array(5), ValueError, AN_INT),
        (np.random.Generator, ValueError, AN_INT),
        (np.random.RandomState, ValueError, AN_INT),
    ],
    "tol": [
        (-1e-4, ValueError, A_FLOAT + r" \[0, inf\)"),
        (np.nan, ValueError, A_FLOAT),
        (None, TypeError, A_FLOAT),
    ],
    "verbose": [("loud", TypeError, A_BOOL), (None, TypeError, A_BOOL)],
    "warm_start": [(None, TypeError, A_BOOL), (0, TypeError, A_BOOL)],
    "momentum": [
        (-0.1, ValueError, A_FLOAT + r" \[0, 1\]"),
        (1.1, ValueError, A_FLOAT + r" \[0, 1\]"),
        ("0.9", TypeError, A_FLOAT),
    ],
    "nesterovs_momentum": [("no", TypeError, A_BOOL)],
    "early_stopping": [
        ("no", ValueError, A_BOOL + " or 'auto'"),
        (None, TypeError, A_BOOL + " or 'auto'"),
        (1, TypeError, A_BOOL),
    ],
    "early_stopping_metric": [
        ("best", ValueError, "'loss', 'score', one of .*get_scorer_names"),
        (None, TypeError, "a function of"),
    ],
    "validation_fraction": [
        (-0.1, ValueError, A_FLOAT + r" \[0, 1\)"),
        (1.0, ValueError, A_FLOAT + r" \[0, 1\)"),
        (None, TypeError, A_FLOAT),
    ],
    "beta_1": [
        (1.0, ValueError, A_FLOAT + r" \[0, 1\)"),
        (-0.1, ValueError, A_FLOAT + r" \[0, 1\)"),
        ("0.9", TypeError, A_FLOAT),
    ],
    "beta_2": [
        (1.0, ValueError, A_FLOAT + r" \[0, 1\)"),
        (-0.1, ValueError, A_FLOAT + r" \[0, 1\)"),
        (None, TypeError, A_FLOAT),
    ],
    "epsilon": [
        (0.0, ValueError, A_FLOAT + r" \(0, inf\)"),
        (None, TypeError, A_FLOAT),
    ],
    "n_iter_no_change": [
        (0, ValueError, AN_INT + r" \[1, inf\) or inf"),
        (2.5, TypeError, AN_INT),
        (np.nan, TypeError, AN_INT),
        (None, TypeError, AN_INT),
    ],
    "standardize": [("yes", TypeError, A_BOOL), (1, TypeError, A_BOOL)],
    "n_members": [
        (0, ValueError, AN_INT + r" \[1, inf\)"),
        (2.0, TypeError, AN_INT),
        (None, TypeError, AN_INT),
    ],
    "categorical_features": [
        ("all", ValueError, "None, 'from_dtype', or an array-like"),
        (5, TypeError, "None, 'from_dtype', or a one-dimensional array-like"),
        ([0.5], ValueError, "array-like of bool, int or str"),
        ([9], ValueError, r"must be in \[0, n_features - 1\]"),
        ([True], ValueError, "boolean mask must have shape"),
        (["a"], ValueError, "without feature names"),
    ],
    "numeric_encoding": [
        ("bins", ValueError, "'auto', None or a PiecewiseLinear"),
        (8, TypeError, "'auto', None or a PiecewiseLinear"),
        (PiecewiseLinear, TypeError, "'auto', None or a PiecewiseLinear"),
    ],
    "average": [(2, TypeError, A_BOOL), (None, TypeError, A_BOOL)],
    "scaling_layer": [
        (0, TypeError, A_BOOL),
        (None, TypeError, A_BOOL),
        ("yes", ValueError, "'auto'"),
    ],
    "skip_layer": [(1, TypeError, A_BOOL), ("yes", TypeError, A_BOOL)],
    "dropout": [
        (1.0, ValueError, A_FLOAT + r" \[0, 1\)"),
        (-0.1, ValueError, A_FLOAT + r" \[0, 1\)"),
        (True, TypeError, A_FLOAT),
    ],
    "max_fun": [(0, ValueError, AN_INT + r" \[1, inf\)"), (1.5, TypeError, AN_INT)],
}
PARAMETER_CASES = [
    pytest.param(name, *case, id=f"{name}={case[0]!r}")
    for name, cases in PARAMETERS.items()
    for case in cases
]


@over_tasks
def test_every_parameter_is_in_the_table(task):
    # Those that a regressor has not are tested in files of their own.
    of_classes = {"class_weight", "temperature_scaling", "extrapolation"}
    assert set(PARAMETERS) == set(make(task).get_params()) - of_classes


@over_tasks
@pytest.mark.parametrize(("name", "value", "error", "says"), PARAMETER_CASES)
def test_parameters(task, name, value, error, says):
    model = fitted(task)
    model.set_params(**{name: value})
    assert_refused(model, says, X, TASKS[task][1], error=error)
    given = re.escape(repr(value)) if value != (-3,) else r"\[-3\]"
    if name != "categorical_features":
        says = f"{name}.*{given}"
    assert_refused(model, says, X, TASKS[task][1], error=error)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numpy_numbers_are_numbers(kind):
    plain = fitted("classifier", alpha=0.5, momentum=0.5, solver="sgd")
    options = {"alpha": kind(0.5), "momentum": kind(0.5), "solver": "sgd"}
    # A float32 may reduce results to its own precision.
    assert_allclose(flat(fitted("classifier", **options)), flat(plain), rtol=1e-5)
    model = fitted(
        "classifier",
        hidden_layer_sizes=np.array([5]),
        batch_size=np.int64(10),
        max_iter=np.int32(4),
        shuffle=np.bool_(True),
    )
    assert_array_equal(flat(model), flat(fitted("classifier")))


@over_tasks
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint64])
def test_integers_of_any_dtype_are_integers(task, kind):
    """Also where sums of them would not fit their dtype."""
    values = {
        "hidden_layer_sizes": 100,
        "batch_size": 7,
        "max_iter": 3,
        "n_iter_no_change": 2,
        "n_members": 2,
        "random_state": 5,
    }
    plain = fitted(task, **values, standardize=True)
    model = fitted(
        task, **{name: kind(v) for name, v in values.items()}, standardize=True
    )
    assert_array_equal(flat(model), flat(plain))
    for name, value in values.items():
        assert type(model.get_params()[name]) is kind, value
    assert_array_equal(
        flat(model.partial_fit(X, TASKS[task][1])),
        flat(plain.partial_fit(X, TASKS[task][1])),
    )


@pytest.mark.parametrize("extrapolation", [1e300, np.finfo(float).max])
@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e300])
def test_extrapolation_of_any_size(extrapolation, unit):
    options = {"standardize": True, "early_stopping": True}
    model = fitted("regressor", SIGNAL * unit, extrapolation=extrapolation, **options)
    free = fitted("regressor", SIGNAL * unit, extrapolation=np.inf, **options)
    assert_allclose(model.predict(X), free.predict(X), rtol=1e-12)


# Data.


def spoiled(value, dtype=np.float64):
    """X with one entry replaced."""
    wrong = X.astype(dtype)
    wrong[3, 1] = value
    return wrong


def column(value):
    """SIGNAL with one entry replaced."""
    wrong = SIGNAL.copy()
    wrong[3] = value
    return wrong


X_FORMATS = [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_array]


@over_tasks
@pytest.mark.parametrize("x_format", X_FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_not_finite(task, value, dtype, x_format):
    wrong = x_format(spoiled(value, dtype))
    for options in ({}, {"early_stopping": True}, {"warm_start": True}):
        model = fitted(task, **options)
        assert_refused(model, r"X contains (NaN|infinity)", wrong, TASKS[task][1])
    methods = ["predict"]
    if task == "classifier":
        methods += ["predict_proba", "predict_log_proba", "decision_function"]
    for method in methods:
        assert_refused(model, r"X contains (NaN|infinity)", wrong, method=method)
    model = fitted(task)
    args = wrong, TASKS[task][1]
    assert_refused(model, r"X contains (NaN|infinity)", *args, method="partial_fit")


@over_tasks
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_features_of_both_infinities(task, method):
    """Their sum is NaN, and numpy would warn."""
    wrong = spoiled(np.inf)
    wrong[4, 1] = -np.inf
    args = (wrong,) if method == "predict" else (wrong, TASKS[task][1])
    assert_refused(fitted(task), "X contains infinity", *args, method=method)


@over_tasks
def test_predict_of_huge_features(task):
    """Their sum overflows, and numpy would warn, although they are finite."""
    model = fitted(task, activation="tanh")
    huge = np.full((3, 3), 1e308)
    assert_array_equal(model.predict(huge), model.predict(huge / 1e10))


@over_tasks
def test_features_missing_in_a_frame(task):
    frame = pd.DataFrame(X, columns=list("pqr"))
    frame.loc[3, "q"] = np.nan
    assert_refused(fitted(task), "X contains NaN", frame, TASKS[task][1])
    nullable = frame.convert_dtypes()
    assert_refused(fitted(task), "X contains NaN", nullable, TASKS[task][1])


@over_tasks
def test_features_that_float32_cannot_hold(task):
    y = TASKS[task][1]
    model = make(task).fit(X.astype(np.float32), y)
    wrong = spoiled(1e300)
    assert_refused(model, "X contains infinity", wrong, method="predict")
    assert_refused(model, "X contains infinity", wrong, y, method="partial_fit")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_targets_not_finite(value, n_outputs):
    y = column(value)
    if n_outputs == 2:
        y = np.column_stack([SIGNAL, y])
    model = fitted("regressor", np.ones_like(y))
    for method in ("fit", "partial_fit"):
        says = r"y contains (NaN|infinity)"
        assert_refused(model, says, X, y, method=method)


def test_targets_that_float32_cannot_hold():
    model = make("regressor").fit(X.astype(np.float32), SIGNAL)
    says = "y contains infinity"
    assert_refused(model, says, X.astype(np.float32), column(1e300))


WEIGHTS = np.ones(40)
NO_WEIGHT = "at least one non-zero"
WRONG_WEIGHTS = [
    ([*WEIGHTS[:-1], np.nan], "sample_weight contains NaN"),
    ([*WEIGHTS[:-1], np.inf], "sample_weight contains infinity"),
    ([*WEIGHTS[:-1], -1.0], "Negative values in data passed to `sample_weight`"),
    (-1.0, "Negative values in data passed to `sample_weight`"),
    (WEIGHTS * 0, NO_WEIGHT),
    (0, NO_WEIGHT),
    (np.nan, "sample_weight contains NaN"),
    (WEIGHTS[:-1], r"sample_weight.shape == \(39,\), expected \(40,\)"),
    (WEIGHTS[:, np.newaxis], "must be 1D array or scalar, got 2D"),
    (["heavy"] * 40, "sample_weight: could not convert string to float"),
    (np.arange(40).astype("M8[D]"), "sample_weight holds dates or times"),
    (np.arange(40).astype("m8[s]").astype(object), "sample_weight holds dates or"),
    (np.zeros(40, [("w", float)]), "sample_weight is a structured array"),
    ([*WEIGHTS[:-1], 1j], "sample_weight holds complex numbers"),
    (np.array([*WEIGHTS[:-1], np.complex64(1)], object), "sample_weight holds complex"),
]


@over_tasks
@pytest.mark.parametrize(("weights", "says"), WRONG_WEIGHTS)
def test_sample_weights(task, weights, says):
    y, model = TASKS[task][1], fitted(task)
    assert_refused(model, says, X, y, weights)
    if says != NO_WEIGHT:
        assert_refused(model, says, X, y, weights, method="partial_fit")
        return
    before = everything(model)  # rows of a later part may all be absent
    assert everything(model.partial_fit(X, y, weights)) == before


# Forms in which fit takes targets and weights.
NUMBERS = {
    "list": list,
    "strings": lambda v: v.astype(str),
    "strings of any length": lambda v: v.astype(np.dtypes.StringDType()),
    "objects": lambda v: v.astype(object),
    "decimals": lambda v: [Decimal(float(x)) for x in v],
    "nullable": lambda v: pd.Series(v, dtype="Float64"),
    "polars": pl.Series,
    "longdouble": lambda v: v.astype(np.longdouble),
}


@over_tasks
@pytest.mark.parametrize("form", NUMBERS)
def test_score_takes_what_fit_takes(task, form):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 9, 40) / 4
    y = np.round(8 * SIGNAL) / 8 if task == "regressor" else LABELS
    given = NUMBERS[form](y) if task == "regressor" else y
    options = {"max_iter": 1} | ({"standardize": True} if form == "list" else {})
    plain = make(task, **options).fit(X, y, weights)
    model = make(task, **options).fit(X, given, NUMBERS[form](weights))
    assert_allclose(flat(model), flat(plain), rtol=1e-12)
    scored = model.score(X, given, NUMBERS[form](weights))
    assert_allclose(scored, plain.score(X, y, weights), rtol=1e-12)


@over_tasks
def test_score_refuses_what_fit_refuses(task):
    y = TASKS[task][1]
    model = fitted(task)
    for weights, says in WRONG_WEIGHTS:
        if np.ndim(weights) and "Negative" not in says and "shape" not in says:
            with pytest.raises(ValueError, match=says[:20]):
                model.score(X, y, weights)


@pytest.mark.parametrize("loss", ["squared_error", "quantile", "poisson", "log_loss"])
@pytest.mark.parametrize("seed", range(3))
def test_score_does_not_see_the_unit_of_the_weights(loss, seed):
    """To the bit, from the smallest weights to those whose sum overflows."""
    rng = np.random.default_rng(seed)
    task = "classifier" if loss == "log_loss" else "regressor"
    y = LABELS if task == "classifier" else np.abs(SIGNAL)
    weights = rng.integers(1, 99, 40) / 99
    model = make(task, loss=loss, max_iter=2).fit(X, y)
    expected = model.score(X, y, weights)
    for unit in 2.0 ** rng.integers(-1000, 1023, size=8):
        assert model.score(X, y, weights * unit) == expected
    equal = model.score(X, y)
    for size in (5e-324, 1.7e308):
        assert_allclose(model.score(X, y, np.full(40, size)), equal, rtol=1e-14)


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@over_tasks
def test_integers_of_128_bits(task):
    """numpy has no such dtype; polars has."""
    codes = CODES.tolist()
    y = codes if task == "classifier" else [code * 2**70 for code in codes]
    wide = pl.Series(y, dtype=pl.Int128)
    weights = pl.Series((CODES + 1).tolist(), dtype=pl.UInt128)
    plain = make(task, max_iter=2).fit(X, y, CODES + 1)
    for targets in (wide, pl.DataFrame({"y": wide})):
        model = make(task, max_iter=2).fit(X, targets, weights)
        assert_array_equal(flat(model), flat(plain))
        assert model.score(X, targets, weights) == plain.score(X, y, CODES + 1)
    huge = pl.Series([2**70 + code for code in CODES.tolist()], dtype=pl.Int128)
    assert_refused(fitted("classifier"), "no numpy dtype without loss", X, huge)


def test_score_of_targets_far_below_those_of_fit():
    """R2 is minus infinity, or nearly; no square overflows with a warning."""
    model = fitted("regressor")
    assert model.score(X, SIGNAL * 1e-200) < -1e300
    assert model.score(X, SIGNAL * 1e-310) < -1e300


@over_tasks
def test_structured_arrays(task):
    y, rows = TASKS[task][1], np.zeros(40, [("a", float), ("b", float)])
    model = fitted(task)
    for method in ("fit", "partial_fit", "score"):
        assert_refused(model, "X is a structured array", rows, y, method=method)
        assert_refused(model, "y is a structured array", X, rows, method=method)
    assert_refused(model, "X is a structured array", rows, method="predict")


WRONG_SHAPES = [
    (X[0], "Expected 2D array, got 1D array"),
    (X[np.newaxis], r"dim 3|3 dimensions|dimension"),
    (X[:-1], "inconsistent numbers of samples"),
    (X[:, :0], r"0 feature\(s\)"),
    (X[:0], r"0 sample\(s\)"),
    (np.array([["x"] * 3] * 40), "could not convert string to float"),
    (X + 1j, "Complex data not supported"),
    (3.0, "Expected 2D array, got scalar array"),
    (sparse.csr_matrix(X)[:-1], "inconsistent numbers of samples"),
]


@over_tasks
@pytest.mark.parametrize(("wrong", "says"), WRONG_SHAPES)
def test_shapes_of_features(task, wrong, says):
    assert_refused(fitted(task), says, wrong, TASKS[task][1])


@over_tasks
@pytest.mark.parametrize("x_format", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_number_of_features(task, n_features, x_format):
    model, y = fitted(task), TASKS[task][1]
    wrong = x_format(np.ones((40, n_features)))
    says = f"X has {n_features} features, but .* is expecting 3 features"
    assert_refused(model, says, wrong, method="predict")
    assert_refused(model, says, wrong, y, method="partial_fit")
    model = fitted(task, warm_start=True)
    with pytest.raises(ValueError, match=says):
        model.fit(wrong, y)
    assert model.n_features_in_ == 3
    # Without warm_start that is new data and no error.
    assert fitted(task).fit(wrong, y).n_features_in_ == n_features


@over_tasks
def test_shapes_of_targets(task):
    y = TASKS[task][1]
    for method in ("fit", "partial_fit"):
        for wrong, says in [
            (None, "requires y to be passed, but the target y is None"),
            (y[:-1], "inconsistent numbers of samples"),
            (y[:0], "."),
            (np.stack([[SIGNAL, SIGNAL]] * 2), "dim"),
            (sparse.csr_matrix(SIGNAL[:, np.newaxis]), "[Ss]parse"),
        ]:
            error = (ValueError, TypeError)
            model = fitted(task)
            assert_refused(model, says, X, wrong, error=error, method=method)


@over_tasks
@pytest.mark.parametrize("y", [[], np.empty(0), pd.Series([], dtype=float)])
def test_targets_of_no_rows(task, y):
    says = r"inconsistent numbers of samples: \[(40, 0|0, 40)\]"
    model = fitted(task)
    assert_refused(model, says, X, y)
    with pytest.raises(ValueError, match=says):
        model.score(X, y)


@pytest.mark.parametrize("y", [3.0, np.float32(2), np.array(5), True])
def test_targets_that_are_one_number(y):
    says = "y must be an array or a list .* Got a single number"
    model = fitted("regressor")
    for method in ("fit", "partial_fit"):
        assert_refused(model, says, X, y, method=method)
    assert_refused(model, says, X, SIGNAL, X_val=X, y_val=y)


def test_targets_of_a_regressor():
    words = np.array(["word"] * 40)
    for method in ("fit", "partial_fit"):
        model = fitted("regressor")
        assert_refused(model, "could not convert", X, words, method=method)
    two = np.column_stack([SIGNAL, SIGNAL])
    says = "y has 2 columns, but the fitted network was trained on 1"
    for options, method in (({"warm_start": True}, "fit"), ({}, "partial_fit")):
        model = fitted("regressor", **options)
        with pytest.raises(ValueError, match=says):
            getattr(model, method)(X, two)
        assert model.n_outputs_ == 1


def test_poisson_targets_are_not_negative():
    y = np.abs(SIGNAL)
    model = fitted("regressor", y, loss="poisson")
    y[0] = -1e-9
    for method in ("fit", "partial_fit"):
        says = "Some targets are negative: loss='poisson' needs y >= 0"
        assert_refused(model, says, X, y, method=method)


# Labels.

CODES = np.digitize(SIGNAL, [0.3, 1.2])


def missing(labels, value, dtype=object):
    labels = np.array(labels, dtype=dtype)
    labels[5] = value
    return labels


WRONG_LABELS = {
    "continuous": (SIGNAL, "Unknown label type: continuous"),
    "continuous float32": (SIGNAL.astype("f4"), "Unknown label type: continuous"),
    "several continuous": (np.column_stack([SIGNAL] * 2), "Unknown label type"),
    "multioutput": (np.column_stack([CODES, CODES]), "multiclass-multioutput"),
    "None": (missing(LABELS, None), "y contains missing values"),
    "NaN": (missing(LABELS, np.nan), "y contains missing values"),
    "NaN floats": (missing(CODES, np.nan, float), "y contains NaN"),
    "inf floats": (missing(CODES, np.inf, float), "y contains infinity"),
    "NA": (missing(LABELS, pd.NA), "y contains missing values"),
    "Int64": (
        pd.Series(missing(CODES, pd.NA), dtype="Int64"),
        "y contains (missing|NaN)",
    ),
    "string": (pd.Series(missing(LABELS, pd.NA), dtype="string"), "contains missing"),
    "category": (
        pd.Series(missing(LABELS, None), dtype="category"),
        "y contains missing",
    ),
    "sparse": (sparse.csr_matrix(CODES[:, np.newaxis]), "[Ss]parse"),
    "sparse twos": (2 * sparse.csr_array(np.eye(3)[CODES]), r"0 or 1 \(it holds 2"),
    "dates": (missing(CODES, None).astype("M8[D]").astype(object), "missing values"),
    "objects of dates": (
        (np.datetime64("2020") + CODES).astype("M8[D]").astype(object),
        r"y holds objects that are dates or times .*datetime.date\(20.* strings",
    ),
    "NaT": (missing(CODES, "NaT", "M8[D]"), "y contains missing values"),
    "NaT of durations": (missing(CODES, "NaT", "m8[s]"), "y contains missing values"),
    "days of a frame": (
        pd.Series(missing(CODES, "NaT", "M8[ns]"), name="day"),
        "y contains missing values",
    ),
    "time zones": (
        pd.Series(CODES.astype("M8[ns]")).dt.tz_localize("UTC"),
        "y holds objects that are dates or times .* numpy's datetime64",
    ),
    "periods": (
        pd.Series(CODES.astype("M8[ns]")).dt.to_period("D"),
        "y holds objects that are dates or times .* numpy's datetime64",
    ),
    "strings and bytes": (missing(LABELS, b"a"), "both strings .* and bytes"),
    "beyond 64 bits": (missing(CODES, 2**70), "no numpy dtype without loss"),
    "several a row": ([{"a"}, {"b", "c"}] * 20, "MultiLabelBinarizer"),
    "lists of labels": ([["a"], ["b", "c"]] * 20, "MultiLabelBinarizer"),
    "a string": ("a" * 40, "must be an array or a list .* Got str"),
    "lazy": (pl.DataFrame({"y": CODES}).lazy(), r"pass y.collect\(\)"),
}


def lists_and_arrays(rng):
    """Wrong labels in all their forms, and the expected message for each."""
    kind = rng.choice(["strings", "ints", "bools", "floats"])
    labels = {
        "strings": LABELS.tolist(),
        "ints": CODES.tolist(),
        "bools": (CODES > 1).tolist(),
        "floats": CODES.astype(float).tolist(),
    }[kind]
    if rng.random() < 0.5:
        wrong, says = (
            [None, np.nan, pd.NA, pd.NaT, float("nan"), np.float32("nan")],
            ("contains (missing values|NaN)"),
        )
    else:
        wrong, says = [1, 2.5, True, np.int64(3)], "both strings .* and (num|bool)"
        if kind != "strings":
            wrong = ["1", "True", np.str_("x")]
    labels[rng.integers(40)] = wrong[rng.integers(len(wrong))]
    array = np.empty(40, object)
    array[:] = labels
    return [labels, tuple(labels), array, pd.Series(array, dtype=object)], says


@pytest.mark.parametrize("seed", range(30))
def test_labels_in_lists_get_the_checks_of_arrays(seed):
    forms, says = lists_and_arrays(np.random.default_rng(seed))
    model = make("classifier", max_iter=1).fit(X, LABELS)
    if "both" in says:
        says += "|both booleans .* strings|both numbers .* strings"
    for y in forms:
        calls = [
            lambda y=y: model.fit(X, y),
            lambda y=y: model.partial_fit(X, y),
            lambda y=y: make("classifier").partial_fit(X, LABELS, classes=y),
            lambda y=y: model.fit(X, LABELS, X_val=X, y_val=y),
            lambda y=y: make("classifier").fit_batches([(X, y)]),
            lambda y=y: model.score(X, y),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=says):
                call()


class Word(str, enum.Enum):  # noqa: UP042, StrEnum is written out as its value
    """Strings that numpy writes out as "Word.A", cut to one character."""

    A, B, C = "a", "b", "c"


def polars_series(labels):
    """polars has no Series of members of an Enum, but of their values."""
    return pl.Series([str.__str__(label) for label in labels])


@pytest.mark.parametrize("labels", [list(Word), ["a", "a\0", "b"], ["x", "y", "z"]])
@pytest.mark.parametrize("form", [list, tuple, collections.deque, polars_series])
def test_labels_in_sequences_are_those_of_an_array_of_objects(labels, form):
    """Also where numpy's own array of strings would change them."""
    array = np.empty(40, object)
    array[:] = [labels[code] for code in CODES]
    expected, model = fitted("classifier", array), fitted("classifier", form(array))
    assert_array_equal(model.classes_, expected.classes_)
    assert len(model.classes_) == 3
    assert_array_equal(flat(model), flat(expected))
    score = np.mean([a == b for a, b in zip(model.predict(X), array, strict=True)])
    assert model.score(X, form(array)) == pytest.approx(score)
    weighted = make("classifier", class_weight=dict.fromkeys(labels, 2.0))
    assert weighted.fit(X, form(array)).classes_.tolist() == labels


@pytest.mark.parametrize("kind", ["M8[D]", "M8[s]", "M8[ns]", "m8[h]", "m8[us]"])
@pytest.mark.parametrize("form", [np.asarray, pd.Series, pd.Categorical])
def test_dates_of_numpy_are_labels(kind, form):
    """The fit is that on their codes; predictions are dates again."""
    days = (np.arange(3) * 86_400).astype(kind)
    y, plain = form(days[CODES]), fitted("classifier", CODES)
    model = fitted("classifier", y)
    assert_array_equal(flat(model), flat(plain))
    assert model.classes_.dtype.kind == kind[0]
    assert_array_equal(model.predict(X), model.classes_[plain.predict(X)])
    assert_array_equal(model.classes_, days)
    assert model.score(X, y) == plain.score(X, CODES)
    stream, of_codes = make("classifier"), make("classifier")
    for part in (slice(20), slice(20, 40)):
        stream.partial_fit(X[part], y[part], classes=days)
        of_codes.partial_fit(X[part], CODES[part], classes=range(3))
    assert_array_equal(flat(stream), flat(of_codes))
    weights = dict(zip(model.classes_, [1.0, 2.0, 3.0], strict=True))
    weighted = make("classifier", class_weight=weights).fit(X, y)
    of_codes = make("classifier", class_weight={0: 1.0, 1: 2.0, 2: 3.0}).fit(X, CODES)
    assert_array_equal(flat(weighted), flat(of_codes))
    for setting in ({"early_stopping": True}, {"warm_start": True}):
        make("classifier", **setting).fit(X, y).fit(X, y)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "as_matrix", [np.asarray, pd.DataFrame, sparse.csr_array, list]
)
def test_matrices_of_labels_are_0_and_1(seed, as_matrix):
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.choice(np.arange(-3, 4), 2, replace=False).tolist())
    indicator = rng.integers(0, 2, (40, 3))
    matrix = np.where(indicator, high, low)
    dtype = rng.choice(["i8", "i1", "f8", "f4", "O"])
    if as_matrix is not sparse.csr_array:
        matrix = matrix.astype(dtype)
    y, labels = as_matrix(matrix), fitted("classifier", indicator)
    if (low, high) == (0, 1):
        assert_array_equal(labels.predict(X), fitted("classifier", y).predict(X))
        return
    says = r"not all 0 or 1 \(it holds -?[0-9.]+\)"
    assert_refused(labels, says, X, y)
    assert_refused(labels, says, X, y, method="partial_fit")
    assert_refused(labels, says, X, indicator, X_val=X, y_val=y)
    with pytest.raises(ValueError, match=says):
        labels.score(X, y)


@over_tasks
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_lazy_frames(task, method):
    names = ["a", "b", "c"]
    frame, y = pl.DataFrame(X, schema=names), TASKS[task][1]
    rest = () if method == "predict" else (y,)
    for model in (fitted(task), make(task).fit(frame, y)):
        with pytest.raises(TypeError, match=r"X is a LazyFrame.* X.collect\(\)"):
            getattr(model, method)(frame.lazy(), *rest)
        if rest:
            lazy = pl.DataFrame({"y": y}).lazy()
            with pytest.raises(TypeError, match=r"y is a LazyFrame.* y.collect\(\)"):
                getattr(model, method)(frame, lazy)
            with pytest.raises(TypeError, match=r"sample_weight is a LazyFrame"):
                getattr(model, method)(frame, y, sample_weight=lazy)


WITHOUT_ORDER = {
    "dict": lambda: {"a": 1.0},
    "set": lambda: {1.0, 2.0},
    "frozenset": lambda: frozenset([1.0]),
    "generator": lambda: (row for row in X),
    "map": lambda: map(float, X[:, 0]),
    "list_iterator": lambda: iter(X.tolist()),
}


@over_tasks
@pytest.mark.parametrize("kind", WITHOUT_ORDER)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_values_without_an_order(task, method, kind):
    """They would end in errors of numpy that speak of float()."""
    model = fitted(task)
    arguments = {"X": X}
    if method != "predict":
        arguments |= {"y": TASKS[task][1], "sample_weight": np.ones(len(X))}
    for name in arguments:
        wrong = arguments | {name: WITHOUT_ORDER[kind]()}
        with pytest.raises(TypeError, match=f"{name} is a .*, which has no rows in an"):
            getattr(model, method)(**wrong)


@over_tasks
@pytest.mark.parametrize("method", ["fit", "score"])
def test_targets_that_are_not_given(task, method):
    with pytest.raises(ValueError, match="requires y to be passed"):
        getattr(fitted(task), method)(X, None)


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_labels(name):
    y, says = WRONG_LABELS[name]
    model, error = fitted("classifier"), (ValueError, TypeError)
    assert_refused(model, says, X, y, error=error)
    assert_refused(model, says, X, y, error=error, method="partial_fit")


def test_labels_that_do_not_compare():
    mixed = missing(LABELS, 3)
    error = (ValueError, TypeError)
    assert_refused(fitted("classifier"), ".", X, mixed, error=error)


def test_labels_new_to_partial_fit():
    model = fitted("classifier")
    new = LABELS.copy()
    new[7] = "z"
    says = "`y` has classes not in `self.classes_`"
    assert_refused(model, says, X, new, method="partial_fit")
    assert_refused(model, says, X, CODES, method="partial_fit")
    indicator = np.eye(3, dtype=int)[CODES]
    says = r"y has shape \(40, 3\), which does not fit the 3 classes seen before"
    assert_refused(model, says, X, indicator, method="partial_fit")
    labels = fitted("classifier", indicator)
    says = r"y has shape \(40,\), which does not fit the 3 labels seen before"
    assert_refused(labels, says, X, CODES, method="partial_fit")
    says = r"y has shape \(40, 2\), which does not fit the 3 labels seen before"
    assert_refused(labels, says, X, indicator[:, :2], method="partial_fit")


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c", "d"], [0, 1, 2]])
def test_classes_changed_in_partial_fit(classes):
    model = make("classifier").partial_fit(X, LABELS, classes=["c", "b", "a"])
    says = "is not the same as on last call to partial_fit, was: "
    assert_refused(
        model, says, X, LABELS, classes=np.array(classes), method="partial_fit"
    )
    model.partial_fit(X, LABELS, classes=["b", "a", "c"])
    assert model.n_iter_ == 2


def test_first_partial_fit_needs_all_classes():
    model = make("classifier")
    says = "classes must be passed on the first call to partial_fit"
    assert_refused(model, says, X, LABELS, method="partial_fit")
    says = "`y` has classes not in `self.classes_`"
    assert_refused(model, says, X, LABELS, classes=["a", "b"], method="partial_fit")
    assert vars(model).keys() == make("classifier").get_params().keys()


@pytest.mark.parametrize("classes", [[], np.array([], int), pd.Index([])])
def test_classes_that_are_empty(classes):
    says = "classes is empty: it must hold all labels of the stream"
    assert_refused(
        make("classifier"), says, X, LABELS, classes=classes, method="partial_fit"
    )


@pytest.mark.parametrize(
    "as_dates",
    [
        lambda days: days.astype("M8[D]"),
        lambda days: days.astype("m8[s]"),
        lambda days: days.astype("M8[D]").astype(object),
        lambda days: days.astype("M8[D]").tolist(),
        lambda days: pd.Series(days.astype("M8[ns]")),
        lambda days: pd.Series(days.astype("M8[ns]")).dt.tz_localize("UTC"),
        lambda days: pd.Series(days.astype("M8[D]")).dt.to_period("D"),
        lambda days: pd.DataFrame({"a": days.astype("M8[ns]")}),
        lambda days: pl.Series(days.astype("M8[ms]")),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_targets_that_are_dates(as_dates, method):
    y, says = as_dates(np.arange(len(X))), "y holds dates or times: convert them to num"
    assert_refused(make("regressor"), says, X, y, method=method)
    model = fitted("regressor")
    assert_refused(model, says, X, TASKS["regressor"][1], X_val=X, y_val=y)


@over_solvers
def test_warm_start_with_other_classes(solver):
    model = fitted("classifier", solver=solver, warm_start=True)
    says = "can only be used where `y` has the same classes"
    for y in (CODES, np.where(LABELS == "a", "b", LABELS), missing(LABELS, "d", "U1")):
        with pytest.raises(ValueError, match=says):
            copy.deepcopy(model).fit(X, y)
        before = everything(model)
        with pytest.raises(ValueError, match=says):
            model.fit(X, y)
        assert everything(model) == before


@over_tasks
@over_solvers
def test_warm_start_with_other_hidden_units(task, solver):
    model = fitted(task, solver=solver, warm_start=True)
    model.set_params(hidden_layer_sizes=6)
    before = everything(model)
    with pytest.raises(
        ValueError, match=r"= \(3, 5, ., 1, False\), but \(3, 6, ., 1, False\) is"
    ):
        model.fit(X, TASKS[task][1])
    assert everything(model) == before


# The split for early stopping.

SPLITS = {
    "none held out": (SIGNAL, 0.0, "validation set is too small"),
    "none left": (SIGNAL, 0.999, "resulting train set will be empty"),
}


@over_solvers
@pytest.mark.parametrize("name", SPLITS)
def test_validation_fraction(name, solver):
    y, fraction, says = SPLITS[name]
    task = "regressor" if y is SIGNAL else "classifier"
    model = fitted(task, y, solver=solver)
    model.set_params(early_stopping=True, validation_fraction=fraction)
    assert_refused(model, says, X, y)
    assert_refused(model, "validation_fraction", X, y)


@over_tasks
def test_lbfgs_has_no_partial_fit(task):
    model = fitted(task, solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as error:
        model.partial_fit(X, TASKS[task][1])
    assert "lbfgs is not stochastic" in str(error.value.__cause__)
    assert hasattr(model.set_params(solver="sgd"), "partial_fit")


@over_tasks
def test_not_fitted(task):
    model = make(task)
    methods = ["predict"]
    if task == "classifier":
        methods += ["predict_proba", "predict_log_proba", "decision_function"]
    for method in methods:
        assert_refused(model, "not fitted yet", X, error=NotFittedError, method=method)


# Divergence.

DIVERGING = {
    "sgd": {"solver": "sgd", "learning_rate_init": 1e10, "alpha": 1.0},
    "sgd momentum 1": {"solver": "sgd", "learning_rate_init": 1e10, "momentum": 1.0},
    "adam": {"solver": "adam", "learning_rate_init": 1e200, "alpha": 1.0},
    "lbfgs": {"solver": "lbfgs", "alpha": 1e308},
}


@over_tasks
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("name", DIVERGING)
def test_divergence(task, name, warm_start, early_stopping):
    y = TASKS[task][1] if task == "regressor" else np.where(SIGNAL > 0.5, "a", "b")
    options = {"early_stopping": early_stopping, "validation_fraction": 0.3}
    model = fitted(task, y, warm_start=warm_start, activation="identity", **options)
    model.set_params(**DIVERGING[name], max_iter=200, tol=0)
    model.set_params(n_iter_no_change=np.inf)
    before = everything(model)
    says = "not finite.* Scale the features.*lower learning_rate_init"
    with pytest.raises(DivergenceError, match=says) as caught:
        model.fit(X, y)
    assert isinstance(caught.value, ValueError)
    assert everything(model) == before
    fresh = make(task, **model.get_params())
    with pytest.raises(DivergenceError, match=says):
        fresh.fit(X, y)
    assert vars(fresh).keys() == fresh.get_params().keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["relu", "identity", "gelu"])
def test_a_fit_on_its_way_to_divergence_predicts_finite_numbers_or_fails(
    activation, dtype
):
    """Wherever it ends: its last loss is finite, but its last step may not be."""
    rng, ends = np.random.default_rng(0), set()
    for _ in range(30):
        model = make(
            "regressor",
            solver="sgd",
            learning_rate_init=10.0 ** rng.uniform(-1, 12),
            activation=activation,
            batch_size=40,
            max_iter=int(rng.integers(1, 6)),
        )
        try:
            model.fit((X * 10).astype(dtype), SIGNAL)
        except DivergenceError:
            ends.add("fails")
            continue
        ends.add("predicts")
        assert np.isfinite(model.predict((X * 10).astype(dtype))).all()
    assert ends == {"fails", "predicts"}


@over_solvers
@pytest.mark.parametrize("early_stopping", [False, True])
def test_divergence_by_huge_targets(solver, early_stopping):
    model = fitted("regressor", solver=solver, early_stopping=early_stopping)
    with pytest.raises(DivergenceError, match=r"regressor's\s+targets"):
        model.fit(X, SIGNAL * 1e300)


# KeyboardInterrupt.


class InterruptedTanh(Tanh):
    """tanh, until it has been called a number of times, and once or always after."""

    def __init__(self, n_calls, once=False):
        vars(self).update(n_calls=n_calls, once=once)

    def forward(self, z):
        vars(self)["n_calls"] -= 1
        if self.n_calls == -1 or (self.n_calls < 0 and not self.once):
            raise KeyboardInterrupt
        super().forward(z)


EARLY = {"early_stopping": True, "validation_fraction": 0.3}


def assert_like_a_shorter_fit(model, shorter):
    """Weights, curves and counters are those of the complete epochs."""
    assert_same_weights(model, shorter)
    for name in ("n_iter_", "best_iter_", "t_", "loss_", "loss_curve_"):
        assert getattr(model, name) == getattr(shorter, name), name
    assert model.validation_scores_ == shorter.validation_scores_
    assert_array_equal(model.predict(X), shorter.predict(X))


@over_tasks
@over_solvers
@pytest.mark.parametrize("options", [{}, EARLY], ids=["plain", "early stopping"])
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_interrupted_between_epochs(task, solver, options, n_epochs, monkeypatch):
    y = TASKS[task][1]
    options = options | {"solver": solver, "n_iter_no_change": np.inf}
    shorter = fitted(task, max_iter=n_epochs, **options)
    lines = []

    def interrupted_print(line):
        lines.append(line)
        if line.split()[0] == str(n_epochs):
            raise KeyboardInterrupt

    monkeypatch.setattr(builtins, "print", interrupted_print)
    model = make(task, max_iter=50, verbose=True, **options)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        model.fit(X, y)
    assert lines[-2].split()[1] == f"{shorter.data_loss_curve_[-1]:.5g}"
    assert lines[-1].startswith(f"Ended after epoch {n_epochs}: it was interrupted.")
    assert_like_a_shorter_fit(model, shorter)


@over_tasks
@over_solvers
@pytest.mark.parametrize("n_calls", range(4, 13))
def test_interrupted_in_the_middle_of_an_epoch(task, solver, n_calls, monkeypatch):
    """An epoch of sgd and adam has four batches, one of lbfgs one or more.

    A custom activation interrupts, so everything runs in Python.
    """
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "python")
    y = TASKS[task][1]
    model = make(task, solver=solver, max_iter=50)
    with monkeypatch.context() as patched:
        patched.setitem(ACTIVATIONS, "tanh", InterruptedTanh(n_calls, once=True))
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            model.fit(X, y)
    if solver == "lbfgs":
        assert 1 <= model.n_iter_ < n_calls
    else:
        assert model.n_iter_ == n_calls // 4
    assert_like_a_shorter_fit(
        model, fitted(task, solver=solver, max_iter=model.n_iter_)
    )


@over_tasks
@over_solvers
@pytest.mark.parametrize("warm_start", [False, True])
def test_interrupted_in_the_first_epoch(task, solver, warm_start, monkeypatch):
    """Only the weights of an earlier fit can be kept."""
    y = TASKS[task][1]
    model = fitted(task, solver=solver, warm_start=warm_start)
    before = everything(model)
    fresh = make(task, solver=solver)
    monkeypatch.setitem(ACTIVATIONS, "tanh", InterruptedTanh(0))
    for estimator in (model, fresh):
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(X, y)
    assert everything(model) == before
    assert vars(fresh).keys() == fresh.get_params().keys()


@over_tasks
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("n_calls", [0, 3])
def test_interrupted_partial_fit(task, solver, n_calls, monkeypatch):
    """A call is one epoch, which counts only if it is complete."""
    y = TASKS[task][1]
    model = fitted(task, solver=solver).partial_fit(X, y)
    before = everything(model)
    monkeypatch.setitem(ACTIVATIONS, "tanh", InterruptedTanh(n_calls))
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, y)
    assert everything(model) == before


# Odd input that must work.


@over_solvers
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_one_class(solver, loss, early_stopping):
    options = {"loss": loss, "solver": solver, "early_stopping": early_stopping}
    for y in (np.full(40, "only"), np.zeros(40, int), np.ones(40, bool)):
        model = fitted("classifier", y, **options)
        assert_array_equal(model.classes_, y[:1])
        assert_array_equal(model.predict(X), y)
        assert model.predict(X).dtype == y.dtype
        assert_array_equal(model.predict_proba(X), np.ones((40, 1)))
        assert_array_equal(model.predict_log_proba(X), np.zeros((40, 1)))
        assert model.decision_function(X).shape == (40, 1)
        if solver != "lbfgs" and not early_stopping:
            model = make("classifier", **options).partial_fit(X, y, classes=y[:1])
            assert_array_equal(model.predict(X), y)


@over_solvers
def test_constant_columns(solver):
    """Zeros have no gradient; if everything is constant, the best guess is the mean."""
    wrong = np.column_stack([X[:, 0], np.zeros(40), np.full(40, 3.0)])
    start = make("classifier", max_iter=1, solver="sgd", learning_rate_init=1e-300)
    model = make("classifier", solver=solver, alpha=0.0)
    start.fit(wrong, LABELS), model.fit(wrong, LABELS)
    assert_array_equal(model.coefs_[0][1], start.coefs_[0][1])
    assert np.abs(model.coefs_[0] - start.coefs_[0])[[0, 2]].min() > 0

    options = {"solver": solver, "learning_rate_init": 0.05, "batch_size": "full"}
    options |= {"max_iter": 2000, "tol": 1e-9, "alpha": 0.0}
    options["n_iter_no_change"] = 500
    model = make("classifier", **options).fit(np.full((40, 2), 1e-3), LABELS)
    shares = np.unique(LABELS, return_counts=True)[1] / 40
    # Descent ends somewhere near the minimum.
    assert_allclose(model.predict_proba([[1e-3, 1e-3]])[0], shares, atol=2e-3)
    model = make("regressor", **options).fit(np.full((40, 2), 1e-3), SIGNAL)
    assert_allclose(model.predict([[1e-3, 1e-3]]), SIGNAL.mean(), rtol=2e-3)


@over_solvers
@pytest.mark.parametrize("x_format", [np.asarray, sparse.csr_matrix])
def test_one_sample(solver, x_format):
    one = x_format(X[:1])
    model = make("classifier", solver=solver, batch_size="auto").fit(one, ["x"])
    assert_array_equal(model.predict(one), ["x"])
    options = {"learning_rate_init": 0.05, "max_iter": 2000, "tol": 1e-12}
    options |= {"alpha": 0.0, "solver": solver, "n_iter_no_change": 100}
    for batch_size in (1, "auto", "full"):
        model = make("regressor", batch_size=batch_size, **options).fit(one, [7.5])
        assert model.predict(one).shape == (1,)
        assert_allclose(model.predict(one), [7.5], rtol=1e-3)


def test_more_hidden_units_than_samples():
    """Such a network goes through every point."""
    options = {"hidden_layer_sizes": 200, "alpha": 0.0, "solver": "lbfgs"}
    model = fitted("regressor", **options, max_iter=2000, tol=1e-8)
    assert model.coefs_[0].shape == (3, 200)
    # As far as scipy's minimizer goes, which ends where steps gain 2e-9.
    assert_allclose(model.predict(X), SIGNAL, atol=0.05)
    assert fitted("classifier", **options, max_iter=200).score(X, LABELS) == 1


@over_tasks
@over_solvers
def test_weights_of_any_size(task, solver):
    """Without a penalty, only their ratios count."""
    y = TASKS[task][1]
    huge = np.where(np.arange(40) % 3, 1e300, 1e-300)
    small = np.where(np.arange(40) % 3, 1.0, 1e-300)
    model = make(task, solver=solver, alpha=0.0).fit(X, y, huge)
    plain = make(task, solver=solver, alpha=0.0).fit(X, y, small)
    assert_allclose(flat(model), flat(plain), rtol=1e-9, atol=1e-12)


@over_tasks
def test_weights_of_zero_in_a_whole_batch(task):
    weights = np.repeat([1.0, 0.0], 20)
    model = make(task, shuffle=False, solver="sgd").fit(X, TASKS[task][1], weights)
    assert np.isfinite(flat(model)).all()
    assert np.isfinite(model.loss_curve_).all()


# Anything at all.

DTYPES = ["f2", "f4", "f8", np.longdouble, "i1", "i4", "i8", "u1", "u8", bool]
MEMORY = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every third column": lambda a: np.repeat(a, 3, axis=1)[:, ::3],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: np.asfortranarray(a[:, ::-1])[:, ::-1],
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "list": lambda a: a.tolist(),
    "frame": pd.DataFrame,
    "csr": lambda a: sparse.csr_array(a) if a.dtype in ("f4", "f8") else a,
    "csc": lambda a: sparse.csc_matrix(a) if a.dtype in ("f4", "f8") else a,
}
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-320, 1e30, -1e30, 1e200, -1.7e308]


def read_only(a):
    """Protect arrays, the parts of sparse ones too."""
    for part in [a] if isinstance(a, np.ndarray) else []:
        part.setflags(write=False)
    for name in ("data", "indices", "indptr"):
        if sparse.issparse(a):
            getattr(a, name).setflags(write=False)
    return a


@st.composite
def problems(draw):
    """Settings, X, y and weights; all in order, or one odd number somewhere."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    rng = np.random.RandomState(draw(st.integers(0, 999)))
    task = draw(st.sampled_from(sorted(TASKS)))
    options = {
        "solver": draw(st.sampled_from(SOLVERS)),
        "hidden_layer_sizes": draw(st.integers(1, 15)),
        "activation": draw(st.sampled_from(["identity", "logistic", "tanh", "relu"])),
        "batch_size": draw(st.sampled_from([1, "auto", "full"])),
        "early_stopping": draw(st.booleans()),
        "validation_fraction": 0.4,
    }
    features = rng.normal(size=(n, d)) * 2
    y = rng.normal(size=(n, draw(st.integers(1, 3)))) * 2
    y = y[:, 0] if y.shape[1] == 1 else y
    if task == "classifier":
        options["loss"] = draw(st.sampled_from(["log_loss", "squared_error"]))
        y = (
            (y > 0).astype(int)
            if y.ndim == 2
            else np.digitize(y, [-1, 1]).astype(float)
        )
    else:
        options["loss"] = draw(st.sampled_from(["squared_error", "poisson"]))
        if options["loss"] == "poisson":
            y, features = np.abs(y), features / 4  # exponentials grow fast
    weights = draw(st.sampled_from([None, rng.uniform(0, 2, n)]))
    arrays = [a for a in (features, y, weights) if a is not None and a.dtype == float]
    odd = draw(st.sampled_from([None, *ODD]))
    if odd is not None:
        spoiled = draw(st.sampled_from(range(len(arrays))))
        arrays[spoiled].flat[draw(st.integers(0, arrays[spoiled].size - 1))] = odd
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "u":  # negative ones would become huge
        features = np.abs(features)
    with np.errstate(all="ignore"):
        features = features.astype(dtype)
    features = MEMORY[draw(st.sampled_from(sorted(MEMORY)))](features)
    if draw(st.booleans()):
        features, y = read_only(features), read_only(y)
    return task, options, features, y, weights, odd


def plain_copy(a):
    if sparse.issparse(a):
        a = a.toarray()
    return np.array(a, dtype=np.float64, order="C")


def outputs(model, features, y, odd):
    """Predictions or probabilities, checked to have the right shape and to be finite.

    At odd features products may overflow, and an exponential may be infinite.
    """
    with np.errstate(**({} if odd is None else {"all": "ignore"})):
        predicted = model.predict(features)
        if isinstance(model, ClassifierMixin):
            probabilities = model.predict_proba(features)
            logarithms = model.predict_log_proba(features)
    assert predicted.shape == np.shape(y)
    if isinstance(model, RegressorMixin):
        assert not np.isnan(predicted).any()
        overflows = odd is not None and model.loss == "poisson"
        assert overflows or np.isfinite(predicted).all()
        return predicted
    if np.ndim(y) == 1:
        assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities > 0).all()
    assert np.isfinite(logarithms).all()
    return probabilities


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(problems())
def test_any_input_is_fitted_or_refused(problem):
    task, options, features, y, weights, odd = problem
    given_features, given_y, given_weights = copy.deepcopy((features, y, weights))
    model = make(task, **options)
    try:
        model.fit(features, y, weights)
    except (ValueError, TypeError):
        assert vars(model).keys() == model.get_params().keys()
        if odd is None and not options["early_stopping"]:
            raise  # nothing was wrong
    else:
        assert np.isfinite(flat(model)).all()
        assert np.isfinite(model.loss_curve_).all()
        plain = plain_copy(features)
        scores = outputs(model, features, y, odd)
        if odd is None or model.coefs_[0].dtype == np.float64:
            expected = outputs(
                make(task, **options).fit(plain, y, weights), plain, y, odd
            )
            # Rounding of float32 may turn a step of adam round where gradients are
            # nothing but rounding; steps are 1e-3 long.
            rtol = 1e-8 if model.coefs_[0].dtype == np.float64 else 1e-2
            assert_allclose(scores, expected, rtol=rtol, atol=rtol)
    # What was given is as it was.
    assert_array_equal(plain_copy(features), plain_copy(given_features))
    assert_array_equal(y, given_y)
    if weights is not None:
        assert_array_equal(weights, given_weights)


@pytest.mark.parametrize("labels", [[2, 0, 7], ["b", "c", "a"], [1.0, 3.0, 0.0]])
def test_classes_may_come_in_any_collection(labels):
    """And in any order: sets, views of dicts, arrays, with duplicates."""
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(30, 2)), np.array(labels)[rng.integers(0, 3, size=30)]
    known = TwoLayerClassifier(random_state=0).partial_fit(rows, y, classes=labels)
    forms = [set, frozenset, lambda v: dict.fromkeys(v).keys(), tuple, np.array]
    for form in [*forms, lambda v: [*v[::-1], v[0]]]:
        model = TwoLayerClassifier(random_state=0)
        model.partial_fit(rows, y, classes=form(labels))
        np.testing.assert_array_equal(model.classes_, np.unique(labels))
        np.testing.assert_array_equal(
            model.predict_proba(rows), known.predict_proba(rows)
        )


def test_errors_about_classes_name_them():
    for classes in ([0, 1, np.nan], [0, None], [0, np.inf]):
        with pytest.raises(ValueError, match="classes"):
            TwoLayerClassifier().partial_fit([[0], [1]], [0, 1], classes=classes)
