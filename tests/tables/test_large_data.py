"""Data larger than memory: how it is read and cast, and what is kept."""

import numpy as np
import pytest
from compare import assert_same_training, learned
from memory import PeakMemory
from numpy.testing import assert_array_equal
from scipy import sparse
from slow import slow_but

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._network.batches import Data, next_block_order

# More than the 4 MB, in float64, that are cast at once.
N, D = 60_000, 10
RNG = np.random.RandomState(0)
INTEGERS = RNG.randint(-100, 100, size=(N, D)).astype(np.int8)
INTEGERS[:, 1] = INTEGERS[:, 0] > 30
LABELS = INTEGERS[:, 0].astype(float) + INTEGERS[:, 2] > 20
TARGETS = INTEGERS[:, 0] * 0.1 + INTEGERS[:, 1]

BRIEF = {
    "max_iter": 2,
    "random_state": 0,
    "hidden_layer_sizes": 4,
    "batch_size": 2000,
    "tol": 0.0,
}
PLAIN = MLP_DEFAULTS | BRIEF
SETTINGS = {
    "defaults": BRIEF,
    "half": BRIEF | {"early_stopping": True},
    "lbfgs": BRIEF | {"solver": "lbfgs", "max_fun": 3, "max_iter": "auto"},
    "plain": PLAIN | {"n_iter_no_change": np.inf, "max_iter": 1, "loss_threshold": 1e9},
    "plain early": PLAIN | {"early_stopping": True, "loss_threshold": 1e9},
}
over_settings = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
ignore_the_limit = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.mark.parametrize("dtype", slow_but([np.int8], [np.int8, np.int64]))
@over_settings
@ignore_the_limit
def test_integers_equal_their_float64(settings, dtype):
    """Bit for bit, though they are cast a block at a time."""
    integers = (INTEGERS.astype(np.int64) + 100).astype(dtype)
    for make, y in ((TwoLayerClassifier, LABELS), (TwoLayerRegressor, TARGETS)):
        ours = make(**settings).fit(integers, y)
        plain = make(**settings).fit(integers.astype(np.float64), y)
        assert_same_training(ours, plain)
        assert ours.coefs_[0].dtype == np.float64
        assert_array_equal(ours.predict(integers), plain.predict(integers * 1.0))


@ignore_the_limit
def test_bools_equal_their_float64():
    bools = INTEGERS > 0
    for settings in (BRIEF, PLAIN):
        ours = TwoLayerClassifier(**settings).fit(bools, LABELS)
        plain = TwoLayerClassifier(**settings).fit(bools * 1.0, LABELS)
        assert_same_training(ours, plain)


@ignore_the_limit
def test_integers_after_floats():
    """partial_fit and predict take either, in the dtype that was fitted."""
    settings = BRIEF | {"random_state": 1}
    X = INTEGERS.astype(np.float32)
    ours = TwoLayerClassifier(**settings).partial_fit(X, LABELS, classes=[False, True])
    plain = TwoLayerClassifier(**settings).partial_fit(X, LABELS, classes=[False, True])
    ours.partial_fit(INTEGERS, LABELS)
    plain.partial_fit(X, LABELS)
    assert ours.coefs_[0].dtype == np.float32
    for one, other in zip(learned(ours), learned(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert_array_equal(plain.predict_proba(INTEGERS), plain.predict_proba(X))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.float64])
@pytest.mark.parametrize("name", slow_but(["plain"], SETTINGS))
@ignore_the_limit
def test_a_file_is_not_copied(name, dtype, weighted, tmp_path, monkeypatch):
    """A fit needs a few dozen megabytes, predictions two, and some 100 bytes per row.

    In float64 the file would be 64 MB; of more than 4 MB no scaled copy is made here.
    """
    monkeypatch.setattr("sklearn_bp._tables.inputs.SCALED_BYTES", 2**22)
    n, d = 20_000, 400
    rows = np.memmap(tmp_path / "X", dtype, "w+", shape=(n, d))
    rows[:] = (np.arange(n) % 91)[:, np.newaxis]
    rows[:, 1] = np.arange(n) % 3
    rows.flush()
    rows = np.memmap(tmp_path / "X", dtype, "r", shape=(n, d))
    y = np.arange(n) % 91 > 40
    weight = np.ones(n) * (np.arange(n) % 7 > 0) if weighted else None
    model = TwoLayerClassifier(**SETTINGS[name] | {"max_iter": 1})
    with PeakMemory() as of_fit:
        model.fit(rows, y, sample_weight=weight)
    with PeakMemory() as of_predict:
        model.predict(rows)
    assert of_fit.peak < 100 * n + 48e6
    assert of_predict.peak < 100 * n + 2e6


# shuffle="blocks".


def order_of(n_rows, row_bytes, seed=0):
    X = np.zeros((n_rows, 1), f"V{row_bytes}")
    data = Data(X, np.zeros((n_rows, 1)), None, 0.0)
    return next_block_order(data, np.random.RandomState(seed))


@pytest.mark.parametrize("n_rows", [1, 2, 39, 40, 41, 1000])
def test_an_order_by_blocks_is_a_permutation(n_rows):
    assert_array_equal(np.sort(order_of(n_rows, 10**5)), np.arange(n_rows))


def test_rows_of_few_chunks_are_read_together():
    """41 rows of 100,000 bytes per chunk, and 16 chunks together."""
    n_rows, length = 41 * 40, 41
    order = order_of(n_rows, 10**5)
    together = order[: 2 * 16 * length].reshape(2, -1)
    for rows in together:
        chunks, counts = np.unique(rows // length, return_counts=True)
        assert len(chunks) == 16
        assert (counts == length).all()
        assert (np.abs(np.diff(rows)) > length).mean() > 0.8  # mixed
    assert not np.array_equal(order, order_of(n_rows, 10**5, seed=1))


def test_a_row_may_be_longer_than_a_chunk():
    order = order_of(20, 10**7)
    assert_array_equal(np.sort(order), np.arange(20))
    assert not np.array_equal(order, np.arange(20))


@pytest.mark.parametrize("n_rows", [1, 30, 200])
def test_sparse_rows_without_an_entry_have_an_order(n_rows):
    X = sparse.csr_matrix((n_rows, 3))
    y = np.arange(n_rows) % 2
    options = {"shuffle": "blocks", "random_state": 0}
    model = TwoLayerClassifier(4, **options).partial_fit(X, y, classes=[0, 1])
    assert len(set(model.predict(X))) == 1
    data = Data(X, y[:, np.newaxis], None, 0.0)
    order = next_block_order(data, np.random.RandomState(0))
    assert_array_equal(np.sort(order), np.arange(n_rows))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True, "auto"])
def test_training_by_blocks(solver, early_stopping, monkeypatch):
    """Equal to a fit without shuffling on the rows in that order."""
    monkeypatch.setattr("sklearn_bp._network.batches.SHUFFLED_BYTES", 8 * 10 * 50)
    X, y = INTEGERS[:3000] * 1.0, LABELS[:3000]
    settings = PLAIN | {"max_iter": 1, "loss_threshold": 1e9, "solver": solver}
    settings |= {"hidden_layer_sizes": 5, "batch_size": 100}
    if early_stopping is False:
        model = TwoLayerClassifier(**settings | {"shuffle": "blocks"}).fit(X, y)
        random_state = np.random.RandomState(0)
        in_order = settings | {"shuffle": False}
        start = in_order | {"random_state": random_state}
        TwoLayerClassifier(**start).fit(X, y)  # draws the starting weights only
        order = next_block_order(Data(X, y[:, np.newaxis], None, 0.0), random_state)
        plain = TwoLayerClassifier(**in_order).fit(X[order], y[order])
        assert_same_training(model, plain)
        return
    settings |= {"early_stopping": early_stopping, "shuffle": "blocks", "max_iter": 30}
    settings |= {"learning_rate_init": 0.01, "loss_threshold": None, "tol": 0.0}
    model = TwoLayerClassifier(**settings | {"n_iter_no_change": np.inf})
    with pytest.warns(match="Maximum iterations"):
        assert model.fit(X, y).score(X, y) > 0.95


@ignore_the_limit
def test_partial_fit_by_blocks_equals_fit(monkeypatch):
    monkeypatch.setattr("sklearn_bp._network.batches.SHUFFLED_BYTES", 8 * 10 * 50)
    X, y = INTEGERS[:3000] * 1.0, LABELS[:3000]
    settings = BRIEF | {"shuffle": "blocks", "early_stopping": False, "max_iter": 3}
    whole = TwoLayerClassifier(**settings).fit(X, y)
    parts = TwoLayerClassifier(**settings)
    for _ in range(3):
        parts.partial_fit(X, y, classes=[False, True])
    assert_same_training(whole, parts)


# fit_batches.


STREAM = BRIEF | {"batch_size": 100}
WEIGHTS = RNG.uniform(size=N)
PARTS = [slice(0, 700), slice(700, 900), slice(900, 2000)]
CHUNKS = {
    "plain": [(INTEGERS[p], LABELS[p]) for p in PARTS],
    "weighted": [(INTEGERS[p], LABELS[p], WEIGHTS[p]) for p in PARTS],
    "sparse": [(sparse.csr_matrix(INTEGERS[p] * 1.0), LABELS[p]) for p in PARTS],
    "lists": [[INTEGERS[p], LABELS[p], None] for p in PARTS],
}


class Source:
    """An iterable that starts again in each iteration."""

    def __init__(self, chunks):
        self.chunks = chunks

    def __iter__(self):
        return iter(self.chunks)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_batches_equal_a_loop_of_partial_fit(chunks, make, epochs):
    loop = make(**STREAM)
    first = {"classes": [False, True]} if make is TwoLayerClassifier else {}
    for _ in range(epochs):
        for X, y, *weight in chunks:
            loop.partial_fit(X, y, *weight, **first)
    for source in (chunks, lambda: iter(chunks), Source(chunks)):
        model = make(**STREAM).fit_batches(source, epochs=epochs)
        assert_same_training(model, loop)
        assert model.n_iter_ == loop.n_iter_ == 3 * epochs


def test_an_iterator_serves_for_one_epoch():
    classes = [False, True]
    model = TwoLayerClassifier(**STREAM)
    model.fit_batches(iter(CHUNKS["plain"]), classes=classes)
    assert model.n_iter_ == 3
    model.fit_batches(iter(CHUNKS["plain"]))  # the classes are known by now
    assert model.n_iter_ == 6
    with pytest.raises(ValueError, match="iterator, which can be read once"):
        model.fit_batches(iter(CHUNKS["plain"]), epochs=2)
    with pytest.raises(ValueError, match="finding the `classes` needs one more pass"):
        TwoLayerClassifier().fit_batches(iter(CHUNKS["plain"]))


def test_labels_are_found_in_all_batches():
    """Also labels that are missing from the first batch; several labels are columns."""
    names = np.array(["b", "a", "c"])
    y = names[np.arange(2000) * 3 // 2000]
    chunks = [(INTEGERS[p], y[p]) for p in PARTS]
    model = TwoLayerClassifier(**STREAM).fit_batches(chunks)
    assert_array_equal(model.classes_, ["a", "b", "c"])
    several = np.column_stack([LABELS, ~LABELS, LABELS]).astype(int)
    chunks = [(INTEGERS[p], several[p]) for p in PARTS]
    assert TwoLayerClassifier(**STREAM).fit_batches(chunks).n_outputs_ == 3


BAD_SOURCES = {
    "empty": ([], "no batch"),
    "no iterable": (3, "must be an iterable of"),
    "a callable of none": (lambda: 3, "must be an iterable of"),
    "arrays": ((INTEGERS[:9], LABELS[:9]), "must be a tuple .* Got a ndarray"),
    "one": ([(INTEGERS[:9],)], "must be a tuple .* Got a tuple of 1"),
    "four": ([(1, 2, 3, 4)], "must be a tuple .* Got a tuple of 4"),
    "wrong lengths": ([(INTEGERS[:9], LABELS[:8])], "inconsistent numbers of samples"),
}


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("case", BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources_are_refused(case, make):
    source, message = case
    model = make(**STREAM)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit_batches(source)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("epochs", [0, -1, 1.0, True, "2", None])
def test_epochs_are_whole_numbers(epochs):
    with pytest.raises(ValueError, match="epochs must be an int >= 1"):
        TwoLayerRegressor(**STREAM).fit_batches(CHUNKS["plain"], epochs=epochs)


def test_epochs_may_be_an_int_of_numpy():
    two = TwoLayerRegressor(**STREAM).fit_batches(CHUNKS["plain"], epochs=np.int64(2))
    assert two.n_iter_ == 2 * len(CHUNKS["plain"])


def test_a_source_that_is_used_up_is_noticed():
    chunks = iter(CHUNKS["plain"])
    with pytest.raises(ValueError, match="no batch in epoch 2 of 2"):
        TwoLayerRegressor(**STREAM).fit_batches(lambda: chunks, epochs=2)


def test_training_before_a_bad_batch_stays():
    chunks = [*CHUNKS["plain"], (INTEGERS[:5, :3], LABELS[:5])]
    model = TwoLayerRegressor(**STREAM)
    with pytest.raises(ValueError, match=r"3 features, but .* 10"):
        model.fit_batches(chunks)
    good = TwoLayerRegressor(**STREAM).fit_batches(CHUNKS["plain"])
    assert_array_equal(model.coefs_[0], good.coefs_[0])
    assert model.n_iter_ == 3


def test_lbfgs_has_no_batches():
    assert not hasattr(TwoLayerClassifier(solver="lbfgs"), "fit_batches")
