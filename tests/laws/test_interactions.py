"""Every pair of options together works, or raises a clear error.

The cases cover each pair of values of each two options at least once; they are found by
a greedy search, the same in each run.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GroupShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from slow import slow_but

from sklearn_bp import DivergenceError, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._training.held_out import spawn
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
    """X, y and the other arguments of fit."""
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


# What is given is only read.

OWN_RNG = np.random.RandomState(1)
MADE_FROM = np.round(3 * OWN_RNG.normal(size=(N, 5)))
MADE_FROM[OWN_RNG.uniform(size=MADE_FROM.shape) < 0.5] = 0
MADE_FROM[0] = 1  # so that no column is empty


def scattered(X, kind, rng):
    """X in a compressed format, its entries in any order, some in two parts."""
    compressed = (sparse.csr_matrix if "csr" in kind else sparse.csc_matrix)(X)
    data, indices, indptr = [], [], [0]
    for i in range(len(compressed.indptr) - 1):
        part = slice(compressed.indptr[i], compressed.indptr[i + 1])
        own, where = compressed.data[part], compressed.indices[part]
        twice = rng.uniform(size=len(own)) < 0.3
        own = np.r_[np.where(twice, own - 1, own), np.ones(twice.sum())]
        where = np.r_[where, where[twice]]
        order = rng.permutation(len(own))
        data.append(own[order])
        indices.append(where[order])
        indptr.append(indptr[-1] + len(own))
    make = getattr(sparse, kind)
    arrays = np.concatenate(data).astype(X.dtype), np.concatenate(indices), indptr
    made = make(arrays, shape=X.shape)
    assert not vars(made).keys() & {"_has_sorted_indices", "_has_canonical_format"}
    return made


def as_coo(X, rng):
    rows, columns = np.nonzero(X)
    data, order = X[rows, columns], rng.permutation(2 * len(rows))
    both = np.r_[data - 1, np.ones_like(data)][order]
    return sparse.coo_matrix(
        (both, (np.tile(rows, 2)[order], np.tile(columns, 2)[order])), shape=X.shape
    )


def memory_map(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def with_gaps(X):
    X = X.copy()
    X[::7, 1] = np.nan
    return X


def frame_of(X):
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["kind"] = pd.Categorical(np.where(X[:, 2] > 0, "x", "y"))
    frame["text"] = np.where(X[:, 3] > 0, "u", None)
    frame["nullable"] = pd.array(X[:, 4], dtype="Int64")
    return frame


FORMATS = {
    "float64": lambda X, rng, folder: X,
    "float32": lambda X, rng, folder: X.astype(np.float32),
    "int": lambda X, rng, folder: X.astype(int),
    "bool": lambda X, rng, folder: X > 0,
    "F order": lambda X, rng, folder: np.asfortranarray(X),
    "gaps": lambda X, rng, folder: with_gaps(X),
    "object": lambda X, rng, folder: with_gaps(X).astype(object),
    "memory map": lambda X, rng, folder: memory_map(X, folder),
    "gaps in a memory map": lambda X, rng, folder: memory_map(with_gaps(X), folder),
    "list": lambda X, rng, folder: X.tolist(),
    "pandas": lambda X, rng, folder: frame_of(X),
    "pandas of floats": lambda X, rng, folder: pd.DataFrame(with_gaps(X)),
    "sparse pandas": lambda X, rng, folder: pd.DataFrame(X).astype(
        pd.SparseDtype(float, 0.0)
    ),
    "polars": lambda X, rng, folder: pl.DataFrame({"a": X[:, 0], "b": X[:, 1]}),
    "coo": lambda X, rng, folder: as_coo(X, rng),
    "lil": lambda X, rng, folder: sparse.lil_matrix(X),
    "bsr": lambda X, rng, folder: sparse.bsr_matrix(X, blocksize=(13, 1)),
} | {
    kind: lambda X, rng, folder, kind=kind: scattered(X, kind, rng)
    for kind in ("csr_matrix", "csc_matrix", "csr_array", "csc_array")
}
SCATTERED = ["coo", "csr_matrix", "csc_matrix", "csr_array", "csc_array"]


def arrays_in(value):
    """The arrays that a value holds, itself included."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, list):
        return [array for part in value for array in arrays_in(part)]
    if sparse.issparse(value) and value.format != "lil":  # scipy's wants to write
        found = [v for v in vars(value).values() if isinstance(v, np.ndarray)]
        return found + list(getattr(value, "coords", ()))
    if isinstance(value, pd.DataFrame):
        return [value[name].to_numpy() for name in value if value[name].dtype == float]
    return []


def locked(value):
    """The value, which raises where its arrays are written to."""
    for array in arrays_in(value):
        array.setflags(write=False)
    return value


def told(value):
    """A complete description of a value."""
    if sparse.issparse(value):
        own = {k: v for k, v in vars(value).items() if not k.startswith("_sh")}
        return pickle.dumps(own), [array.tobytes() for array in arrays_in(value)]
    if isinstance(value, pl.DataFrame):
        return value.to_dict(as_series=False)
    if isinstance(value, pd.DataFrame):  # whose pickle has caches in it
        return pickle.dumps(value.to_dict("list")), list(map(str, value.dtypes))
    return pickle.dumps(value)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_nothing_that_is_given_is_written_to(make, kind, standardize, tmp_path):
    rng = np.random.default_rng(list(kind.encode()))
    X = locked(FORMATS[kind](MADE_FROM, rng, tmp_path))
    labels = MADE_FROM[:, 0] + MADE_FROM[:, 1] > 0
    y = labels if make is TwoLayerClassifier else MADE_FROM[:, 0] + 0.5
    weights = rng.uniform(0.5, 2, size=N)
    weights[::9] = 0
    model = make(4, n_members=2, max_iter=3, random_state=0, standardize=standardize)
    given = {
        "X": X,
        "y": y,
        "sample_weight": weights,
        "X_val": X if isinstance(X, list) else locked(copy.deepcopy(X)),
        "y_val": y.tolist(),
        "sample_weight_val": weights.copy(),
    }
    locked([value for value in given.values() if isinstance(value, np.ndarray)])
    before = {name: told(value) for name, value in given.items()}
    model.fit(**given)
    start = locked([w.copy() for w in model.coefs_])
    intercepts = locked([b.copy() for b in model.intercepts_])
    given |= {"coef_init": start, "intercept_init": intercepts}
    before |= {name: told(given[name]) for name in ("coef_init", "intercept_init")}
    # With one member: absorbed weights of several start as many.
    make(8, n_members=1, max_iter=3, random_state=0).set_params(
        standardize=standardize
    ).fit(**given)
    model.set_params(warm_start=True).fit(X, y)
    model.partial_fit(X, y, weights)
    names = ["predict", "transform", "input_gradient"]
    if make is TwoLayerClassifier:
        names += ["predict_proba", "predict_log_proba", "decision_function"]
    for name in names:
        getattr(model, name)(X)
    model.score(X, y, weights)
    assert {name: told(value) for name, value in given.items()} == before


@pytest.mark.parametrize("options", [{}, {"standardize": False}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("kind", SCATTERED)
def test_entries_in_parts_are_their_sum(kind, options):
    """To the bit, in any order of the entries, and for all rows that a fit takes."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = FORMATS[kind](MADE_FROM, rng, None)
        whole = sparse.csr_matrix(MADE_FROM)
        y = MADE_FROM[:, 0] > 0
        fitted = [
            TwoLayerClassifier(4, max_iter=3, random_state=0, **options).fit(
                x, y, X_val=x, y_val=y
            )
            for x in (X, whole)
        ]
        for one, other in zip(*map(arrays, fitted), strict=True):
            assert_array_equal(one, other)
        for name in ("predict_proba", "transform", "input_gradient"):
            of_parts, of_whole = (getattr(fitted[0], name)(x) for x in (X, whole))
            assert_array_equal(of_parts, of_whole)
        assert fitted[0].best_validation_score_ == fitted[1].best_validation_score_
        if "solver" not in options:
            for model, x in zip(fitted, (X, whole), strict=True):
                model.partial_fit(x, y)
            for one, other in zip(*map(arrays, fitted), strict=True):
                assert_array_equal(one, other)


def test_parts_whose_sum_is_not_finite_are_refused():
    X = sparse.csr_matrix(([1e308, 1e308, 1.0], [0, 0, 1], [0, 2, 3]), shape=(2, 2))
    with pytest.raises(ValueError, match="infinity"):
        TwoLayerClassifier().fit(X, [0, 1])


@pytest.mark.parametrize("way", ["voting", "one against the rest"])
@pytest.mark.parametrize(
    "kind", slow_but(["float64"], ["csr_matrix", "float64", "int"])
)
def test_processes_that_share_mapped_memory(way, kind, tmp_path):
    """joblib maps arrays of more than a megabyte into its processes, read-only."""
    rng = np.random.default_rng(0)
    X = np.round(2 * rng.normal(size=(3000, 90)))
    y = np.digitize(X[:, 0] + X[:, 1], [-1, 1])
    X = FORMATS[kind](X, rng, tmp_path)
    before = told(X)
    largest = max(array.nbytes for array in arrays_in(X))
    assert largest > 2**20
    base = TwoLayerClassifier(3, n_members=1, max_iter=1, random_state=0)
    if way == "voting":
        twins = [("a", base), ("b", clone(base).set_params(random_state=1))]
        alone, shared = (VotingClassifier(twins, n_jobs=n) for n in (None, 2))
    else:
        alone, shared = (OneVsRestClassifier(base, n_jobs=n) for n in (None, 2))
    shared.fit(X, y)
    assert told(X) == before
    alone.fit(X, y)
    for one, other in zip(alone.estimators_, shared.estimators_, strict=True):
        assert_array_equal(one.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array"])
def test_threads_that_share_one_matrix(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 60)) * (rng.uniform(size=(400, 60)) < 0.3)
    y = X[:, 0] > 0
    shared = FORMATS[kind](X, rng, None)
    before = told(shared)

    def fit(seed):
        return TwoLayerClassifier(3, max_iter=2, random_state=seed).fit(shared, y)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fit, range(8)))
    assert told(shared) == before
    for seed, model in enumerate(together):
        for one, other in zip(arrays(fit(seed)), arrays(model), strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize(
    "kind", ["float64", "int", "gaps", "pandas", "csr_matrix", "csc_array", "coo"]
)
@pytest.mark.parametrize("make", ["TwoLayerClassifier", "TwoLayerRegressor"])
def test_blocks_on_a_cluster_are_only_read(make, kind, tmp_path):
    on_cluster = pytest.importorskip("sklearn_bp.dask", exc_type=ImportError)
    from partitions import LocalParts

    from sklearn_bp._fitting.request import Request
    from sklearn_bp.dask._rows import Block, train_block

    rng = np.random.default_rng(0)
    y = MADE_FROM[:, 0] > 0 if "Classifier" in make else MADE_FROM[:, 0] + 0.5
    weights = np.where(np.arange(N) % 9, 1.5, 0.0)
    locked([y, weights])
    halves = [slice(0, 65), slice(65, N)]
    given = [
        Block(
            locked(FORMATS[kind](MADE_FROM[s], rng, tmp_path)), y[s].copy(), weights[s]
        )
        for s in halves
    ]
    for block in given:
        locked(list(block))
    before = [list(map(told, block)) for block in given]

    def trained(blocks):
        model = getattr(on_cluster, make)(3, max_iter=2, random_state=0)
        width = np.shape(blocks[0].X)[1]
        empty = blocks[0].X[:0] if kind == "pandas" else np.empty((0, width))
        model._fit_parts(Request(0, 0, weights), LocalParts(blocks), empty)
        plain = model.to_local()
        return arrays(model) + arrays(train_block(plain, blocks[1], {}))

    found = trained(given)
    assert [list(map(told, block)) for block in given] == before
    if kind in SCATTERED:
        whole = [b._replace(X=sparse.csr_matrix(b.X)) for b in copy.deepcopy(given)]
        for block in whole:
            block.X.sum_duplicates()
        for one, other in zip(found, trained(whole), strict=True):
            assert_array_equal(one, other)


# Random numbers of any kind.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.3, "n_members": 3},
        {"early_stopping": True, "shuffle": "blocks"},
        {"solver": "lbfgs", "early_stopping": True},
        {"early_stopping": False, "batch_size": 30},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_a_random_state_over_any_bit_generator(kind, options):
    """Equal states give equal networks, and other states others; each fit draws on."""

    def made(seed):
        random_state = np.random.RandomState(getattr(np.random, kind)(seed))
        random_state.normal()  # one more is kept
        return TwoLayerClassifier(3, max_iter=3, random_state=random_state, **options)

    y = MADE_FROM[:, 0] > 0
    models = [made(0), clone(made(0)), pickle.loads(pickle.dumps(made(0))), made(1)]
    for way in ("fit", "warm start", "partial_fit"):
        if way == "partial_fit":
            if options.get("solver") == "lbfgs":
                break
            for model in models:
                model.set_params(early_stopping=False)
        for model in models:
            model.set_params(warm_start=way == "warm start")
            getattr(model, "fit" if way != "partial_fit" else way)(MADE_FROM, y)
        first, *twins, other = models
        for twin in twins:
            for a, b in zip(arrays(first), arrays(twin), strict=True):
                assert_array_equal(a, b)
        assert not np.array_equal(first.coefs_[0], other.coefs_[0])
    again = made(0).fit(MADE_FROM, y)
    before = again.coefs_[0]
    assert not np.array_equal(again.fit(MADE_FROM, y).coefs_[0], before)


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "Philox"])
def test_a_spawned_stream_depends_on_the_state_alone(kind):
    """And draws nothing from it."""
    make = getattr(np.random, kind)
    random_state, seen = np.random.RandomState(make(3)), set()
    for _ in range(20):
        twin = copy.deepcopy(random_state)
        drawn = spawn(random_state).randint(2**31, size=4)
        assert_array_equal(spawn(twin).randint(2**31, size=4), drawn)
        seen.add(tuple(drawn))
        assert random_state.randint(2**31) == twin.randint(2**31)
    assert len(seen) == 20
