"""Every pair of options together: it works, or a sentence refuses it.

The cases cover each pair of values of each two options at least once; they are found by
a greedy search, the same in each run.
"""

import pickle
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit

from sklearn_bp import DivergenceError, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.activations import ACTIVATIONS, LeakyReLU
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, LogLoss, Quantile
from sklearn_bp.optimizers import OPTIMIZERS, SGD
from sklearn_bp.schedules import SCHEDULES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def slower(step):
    return 0.9**step


SHARED = {
    "activation": [*ACTIVATIONS, LeakyReLU(0.3)],
    "solver": ["lbfgs", *OPTIMIZERS, SGD(clip_norm=0.5)],
    "learning_rate": [*SCHEDULES, slower],
    "learning_rate_init": [0.001, 0.003],
    "batch_size": ["by_rows", "full", 17],
    "init": ["he_normal", "glorot_uniform"],
    "shuffle": [True, False, "blocks"],
    "alpha": ["auto", 0.1],
    "early_stopping": ["auto", True, False],
    "early_stopping_metric": ["loss", "score"],
    "validation_fraction": [0.2, GroupShuffleSplit(1, test_size=0.3, random_state=0)],
    "standardize": [True, False],
    "n_members": [1, 3],
    "average": [True, False],
    "dropout": [0.0, 0.3],
    "skip_layer": [False, True],
    "scaling_layer": [False, True],
    "categorical_features": ["from_dtype", None, [3]],
    # not of the constructor
    "rows": ["float64", "float32", "int", "csr", "missing"],
    "weights": [None, "some", "with zeros"],
    "validation": [False, True],
    "way": ["fit", "warm start", "partial_fit"],
}
OF_THE_DATA = ["rows", "weights", "validation", "way", "targets"]
OPTIONS = {
    TwoLayerClassifier: SHARED
    | {
        "loss": [*CLASSIFIER_LOSSES, LogLoss(label_smoothing=0.1)],
        "class_weight": [None, {0: 2.0, 1: 1.0}],
        "temperature_scaling": ["auto", True, False],
        "targets": ["binary", "multiclass", "multilabel"],
    },
    TwoLayerRegressor: SHARED
    | {
        "loss": [*REGRESSOR_LOSSES, Quantile((0.1, 0.5, 0.9))],
        "targets": ["one", "two"],
    },
}
# What each sentence that refuses must say, and whom it may refuse.
REFUSALS = {
    "dropout": lambda o: o["dropout"] and o["solver"] == "lbfgs",
    "has no attribute 'partial_fit'": lambda o: (
        o["solver"] == "lbfgs" and o["way"] == "partial_fit"
    ),
    "does not support early_stopping=True": lambda o: (
        o["way"] == "partial_fit" and not o["validation"]
    ),
    "Input X contains NaN": lambda o: (
        o["rows"] == "missing"
        and not o["standardize"]
        and o["categorical_features"] is None
    ),
    "ategorical_features": lambda o: (
        o["rows"] == "csr" and o["categorical_features"] == [3]
    ),
    "class_weight": lambda o: o["targets"] == "multilabel",
}
# The exponential of scores on raw columns may be more than there are numbers for.
MAY_DIVERGE = {"poisson", "gamma", "gaussian_nll"}


def covering(options):
    """Settings that have each pair of values of each two options: a list of dicts."""
    rng = np.random.RandomState(0)
    names = list(options)
    missing = {
        ((a, i), (b, j))
        for a, b in combinations(range(len(names)), 2)
        for i, j in product(
            range(len(options[names[a]])), range(len(options[names[b]]))
        )
    }
    cases = []
    while missing:
        (a, i), (b, j) = min(missing)
        chosen = {a: i, b: j}
        for c in rng.permutation(len(names)):
            if c not in chosen:
                gains = [
                    sum(
                        tuple(sorted([(c, k), pair])) in missing
                        for pair in chosen.items()
                    )
                    for k in range(len(options[names[c]]))
                ]
                best = np.flatnonzero(np.array(gains) == max(gains))
                chosen[c] = rng.choice(best)
        missing -= set(combinations(sorted(chosen.items()), 2))
        cases.append({names[c]: options[names[c]][k] for c, k in chosen.items()})
    return cases


CASES = [
    (make, case) for make, options in OPTIONS.items() for case in covering(options)
]

RNG = np.random.RandomState(0)
N = 130
SIGNAL = RNG.normal(size=(N, 4))


def data_of(case):
    """X, y and what else fit takes."""
    X = np.round(3 * SIGNAL)
    X[:, 3] = np.abs(X[:, 3]) % 3
    signal = SIGNAL[:, 0] + SIGNAL[:, 1] ** 2
    y = {
        "binary": signal > 0.7,
        "multiclass": np.digitize(signal, [0, 1]),
        "multilabel": np.column_stack([signal > 0, signal > 1]).astype(int),
        "one": np.exp(signal / 3),
        "two": np.column_stack([np.exp(signal / 3), 1 + np.abs(SIGNAL[:, 0])]),
    }[case["targets"]]
    if case["rows"] == "csr":
        X = sparse.csr_matrix(X)
    elif case["rows"] == "missing":
        X[::11, 1] = np.nan
    else:
        X = X.astype(case["rows"])
    options = {}
    if case["weights"]:
        options["sample_weight"] = RNG.uniform(0.5, 2, size=N)
        if case["weights"] == "with zeros":
            options["sample_weight"][::9] = 0
    if case["validation"]:
        options |= {"X_val": X[:40], "y_val": y[:40]}
    return X, y, options


def trained(model, case, X, y, options):
    if case["way"] == "partial_fit":
        known = {}
        if isinstance(model, TwoLayerClassifier):
            known["classes"] = [0, 1] if y.ndim == 2 else np.unique(y)
        for _ in range(2):
            model.partial_fit(X, y, **options, **known)
        return model
    if not isinstance(case["validation_fraction"], float):
        options = options | {"groups": np.arange(N) % 13}
    model.fit(X, y, **options)
    if case["way"] == "warm start":
        model.set_params(warm_start=True).fit(X, y, **options)
    return model


def arrays(model):
    return [*model.coefs_, *model.intercepts_]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_pairs_of_options(number):
    make, case = CASES[number]
    settings = {k: v for k, v in case.items() if k not in OF_THE_DATA}
    X, y, options = data_of(case)
    model = make(hidden_layer_sizes=3, max_iter=3, random_state=0, **settings)
    before = model.get_params()
    reasons = [says for says, refuses in REFUSALS.items() if refuses(case)]
    try:
        trained(model, case, X, y, options)
    except (ValueError, AttributeError) as error:
        diverges = isinstance(error, DivergenceError) and not case["standardize"]
        if diverges and case["loss"] in MAY_DIVERGE:
            return
        if not any(says in str(error) for says in reasons):
            raise
        return
    after = model.get_params() | {"warm_start": False}
    assert {k: repr(v) for k, v in after.items()} == {
        k: repr(v) for k, v in before.items()
    }
    outputs = [model.predict(X)]
    if make is TwoLayerClassifier:
        outputs.append(model.predict_proba(X))
    else:
        assert np.isfinite(outputs[0]).all()
        assert outputs[0].shape[0] == N
    assert all(np.isfinite(a).all() for a in arrays(model))
    assert np.isfinite(model.loss_curve_).all()
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), outputs[0])
    again = trained(clone(model).set_params(warm_start=False), case, X, y, options)
    for one, other in zip(arrays(model), arrays(again), strict=True):
        assert_array_equal(one, other)
    assert np.isfinite(model.input_gradient(X[:5])).all()
    assert np.isfinite(model.transform(X)).all()


def test_the_cases_cover_all_pairs_and_most_work():
    for make, options in OPTIONS.items():
        cases = [case for of, case in CASES if of is make]
        for a, b in combinations(options, 2):
            pairs = {(repr(case[a]), repr(case[b])) for case in cases}
            assert len(pairs) == len(options[a]) * len(options[b])
    works = [not any(r(case) for r in REFUSALS.values()) for _, case in CASES]
    assert np.mean(works) > 0.45
