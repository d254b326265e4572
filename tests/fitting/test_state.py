"""A training state survives a file unchanged; a file that is not whole is refused."""

import io
import os
import pickle
import zipfile
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_files import body, sealed
from memory import PeakMemory
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier
from sklearn_bp._fitting import state_files
from sklearn_bp._fitting.state_files import (
    decode,
    encode,
    from_bytes,
    given_fields,
    read,
    to_bytes,
)
from sklearn_bp._fitting.trainings import Training
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.state import TrainingState

RNG = np.random.RandomState(0)
X = RNG.normal(size=(130, 3))
y = np.digitize(X[:, 0] + X[:, 1] ** 2, [0, 1])


def there_and_back(value):
    arrays = []
    return decode(encode(value, arrays), arrays)


def assert_same(a, b):
    """Equal in type and in every bit."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray | np.generic):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, Parameters):
        assert a.layout == b.layout
        assert_same(a.flat, b.flat)
        assert np.shares_memory(b.flat, b.W1)
    elif isinstance(a, np.random.RandomState):
        assert_same(a.get_state(legacy=False), b.get_state(legacy=False))
    elif is_dataclass(a):
        for field in fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, z in zip(a, b, strict=True):
            assert_same(x, z)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert a == b or a != a != b != b
        assert repr(a) == repr(b)


numbers = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(width=64)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
arrays = st.sampled_from(["f4", "f8", "i8", "u8", "u1", "?"]).flatmap(
    lambda dtype: st.lists(st.integers(0, 1), max_size=4).map(
        lambda values: np.array(values, dtype)
    )
)
scalars = st.floats(width=32).map(np.float32) | st.integers(0, 9).map(np.int64)


@settings(max_examples=30)
@given(
    st.recursive(
        numbers | arrays | scalars,
        lambda part: (
            st.lists(part, max_size=3)
            | st.lists(part, max_size=3).map(tuple)
            | st.dictionaries(st.text(max_size=3), part, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_values_go_there_and_back(value):
    assert_same(there_and_back(value), value)
    assert_same(from_bytes(to_bytes(value), "x"), value)


@pytest.mark.parametrize("kind", state_files.BIT_GENERATORS)
def test_random_states_continue_where_they_stood(kind):
    random_state = np.random.RandomState(getattr(np.random, kind)(5))
    random_state.normal(size=3)  # one more is kept
    random_state.randint(2**32, size=5, dtype=np.uint32)
    there = from_bytes(to_bytes(random_state), "x")
    for draw in ("normal", "random_sample", "permutation"):
        args = {"size": 2000} if draw != "permutation" else {"x": 2000}
        ours, theirs = (getattr(r, draw)(**args) for r in (there, random_state))
        assert ours.tobytes() == theirs.tobytes()


@dataclass
class Unknown:
    x: int = 0


@pytest.mark.parametrize(
    "value",
    [
        Unknown(),
        object(),
        len,
        int,
        {1: 2},
        {1, 2},
        1j,
        np.array([None]),
        np.array(["a"]),
        np.random.default_rng(0),
        [1.0, Unknown()],
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="into a checkpoint"):
        encode(value, [])


# Together these set every field.
FITS = {
    "sgd": {"solver": "sgd"},
    "adam": {},
    "members": {
        "n_members": 3,
        "average": True,
        "early_stopping": "auto",
        "dropout": 0.3,
        "skip_layer": True,
    },
    "by step": {"learning_rate": "one_cycle", "early_stopping": True},
    "second training": {},
}


@pytest.fixture(scope="module")
def states():
    """The training states of these fits."""
    kept = []
    run = Training.run

    def keep(self):
        result = run(self)
        kept.append(result.state)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", keep)
        for name, options in FITS.items():
            fitted = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
            if name == "second training":
                rows = np.random.RandomState(0).normal(size=(200, 2))
                TwoLayerClassifier(4, random_state=0).fit(rows, rows[:, 0] > 0)
                continue
            model = TwoLayerClassifier(**MLP_DEFAULTS | fitted | options)
            if options.get("learning_rate"):
                model.fit(X, y)
                continue
            with pytest.warns(ConvergenceWarning):
                model.fit(X, y)
    return kept


def test_every_field_of_a_training_state_is_carried(states):
    left_out = given_fields(TrainingState)
    assert left_out == ["optimizer_type", "schedule"]
    carried = set()
    for state in states:
        there = from_bytes(to_bytes(state), "x")
        assert type(there) is TrainingState
        for field in fields(state):
            value = getattr(state, field.name)
            if field.name in left_out:
                assert getattr(there, field.name) is None
                continue
            if isinstance(value, TrainingState):  # without what is left out
                value = replace(value, **dict.fromkeys(left_out))
            assert_same(getattr(there, field.name), value)
            if value is not None and not (isinstance(value, list) and not value):
                carried.add(field.name)
    # A new field must be set by one of the fits, or its type is not tried.
    assert carried == {field.name for field in fields(TrainingState)} - set(left_out)


# Files.


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.ckpt"


SMALL = {"x": np.arange(3.0), "n": 5}
CONTENT = to_bytes(SMALL)


def test_a_file_goes_there_and_back(path):
    state_files.write(path, SMALL)
    assert_same(read(path), SMALL)
    state_files.write(str(path), SMALL | {"n": 6})
    assert read(path)["n"] == 6
    assert os.listdir(path.parent) == [path.name]


def test_a_path_without_a_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    state_files.write(path.name, SMALL)
    assert_same(read(path), SMALL)


def test_every_truncation_is_refused():
    for length in range(len(CONTENT)):
        with pytest.raises(ValueError, match="x is damaged: it was truncated"):
            from_bytes(CONTENT[:length], "x")


def test_every_changed_byte_is_refused():
    for place in range(len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1 + place % 255
        with pytest.raises(ValueError, match=r"^(The checkpoint )?x ") as caught:
            from_bytes(bytes(changed), "x")
        magic = place < len(state_files.MAGIC)
        version = not magic and place < len(state_files.MAGIC) + 4
        told = str(caught.value)
        assert ("is not a checkpoint of sklearn_bp" in told) == magic
        assert ("this version of sklearn_bp reads 1" in told) == version
        assert ("is damaged" in told) == (not magic and not version)


def test_appended_bytes_are_refused():
    with pytest.raises(ValueError, match="is damaged"):
        from_bytes(CONTENT + b"\0", "x")


class Trap:
    """It reports if it is unpickled."""

    def __reduce__(self):
        return (os.putenv, ("SKLEARN_BP_TRAP", "sprung"))


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_nothing_is_unpickled(monkeypatch):
    def trapped(*_, **__):
        raise AssertionError("a file was unpickled")

    trap = np.array([Trap()])
    tree = np.frombuffer(b'{"array": 0}', np.uint8)
    foreign = [
        pickle.dumps(Trap()),
        b"",
        b"PK",
        b"\x80\x05" + CONTENT,
        b"x" * 1000,
        archive(tree=tree),
    ]
    bad = [
        sealed(archive(tree=tree, **{"0": trap})),
        sealed(archive(tree=trap)),
        sealed(archive(other=tree)),
        sealed(archive(tree=np.frombuffer(b'{"array": 3}', np.uint8))),
        sealed(archive(tree=np.frombuffer(b'{"nonsense": 3}', np.uint8))),
        sealed(archive(tree=np.frombuffer(b'{"record": ["os", {}]}', np.uint8))),
        sealed(archive(tree=np.frombuffer(b"{}", np.uint8))),
        sealed(archive(tree=np.frombuffer(b"no json", np.uint8))),
        sealed(pickle.dumps(Trap())),
        sealed(b"no archive"),
        sealed(b""),
    ]
    monkeypatch.setattr(pickle, "load", trapped)
    monkeypatch.setattr(pickle, "loads", trapped)
    for content in foreign + bad:
        with pytest.raises(ValueError, match=r"is damaged|is not a checkpoint"):
            from_bytes(content, "x")


# Files that were made up, with a right digest.


def npy(header, data=b""):
    """An npy file of any header."""
    text = repr(header).encode() if isinstance(header, dict) else header
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


def header(shape, descr="<f8", order=False):
    return {"descr": descr, "fortran_order": order, "shape": shape}


def tree_of(text):
    return "tree.npy", npy(header((len(text),), "|u1"), text)


def nested(depth):
    return b'{"list": [' * depth + b"]}" * depth


ONE = ("0.npy", npy(header((2,)), bytes(16)))
ARRAY = tree_of(b'{"array": 0}')
MANY = tree_of(b'{"list": [' + b'{"floats": 0},' * 20_000 + b"null]}")
MADE_UP = {
    "64 MB of blanks, deflated": lambda: zipped(
        [tree_of(b" " * 2**26 + b"0")], zipfile.ZIP_DEFLATED
    ),
    "compressed": lambda: zipped([ARRAY, ONE], zipfile.ZIP_BZIP2),
    "a shape beyond the data": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((10**12,)), bytes(16)))]
    ),
    "a shape below the data": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((1,)), bytes(16)))]
    ),
    "an empty shape": lambda: zipped(
        [tree_of(b'{"floats": 0}'), ("0.npy", npy(header((10**12, 0))))]
    ),
    "a negative shape": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((-2, -1)), bytes(16)))]
    ),
    "a shape of floats": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((2.0,)), bytes(16)))]
    ),
    "wide elements": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((2,), "|V1000000000"), bytes(16)))]
    ),
    "elements of arrays": lambda: zipped(
        [ARRAY, ("0.npy", npy(header((1,), ("<f8", (2,))), bytes(16)))]
    ),
    "objects": lambda: zipped([ARRAY, ("0.npy", npy(header((2,), "|O"), bytes(16)))]),
    "a deep header": lambda: zipped([ARRAY, ("0.npy", npy(b"(" * 9000))]),
    "no header": lambda: zipped([ARRAY, ("0.npy", npy(b"1"))]),
    "another npy": lambda: zipped([ARRAY, ("0.npy", b"\x93NUMPY\x02\x00" + bytes(99))]),
    "one array time and again": lambda: zipped([MANY, *[ONE] * 1]),
    "long arrays time and again": lambda: zipped(
        [MANY, ("0.npy", npy(header((20_000,)), bytes(160_000)))]
    ),
    "names twice": lambda: zipped([ARRAY, ONE]).replace(b"tree.npy", b"0.npy\0\0\0"),
    "other names": lambda: zipped([ARRAY, ("1.npy", ONE[1])]),
    "no tree": lambda: zipped([ONE]),
    "nothing": lambda: zipped([]),
    "deep": lambda: zipped([tree_of(nested(30_000))]),
    "deep, of JSON": lambda: zipped([tree_of(b"[" * 200_000)]),
    "a long number": lambda: zipped([tree_of(b"9" * 200_000)]),
    "no text": lambda: zipped([tree_of(b'"\xff\xfe"')]),
}
TREES = [
    b"[]",
    b"[1, 2]",
    b'{"list": 5}',
    b'{"list": {"a": 1}}',
    b'{"tuple": "ab"}',
    b'{"dict": [1]}',
    b'{"dict": {"a": [1]}}',
    b'{"array": true}',
    b'{"array": -1}',
    b'{"array": 1}',
    b'{"array": "0"}',
    b'{"array": 0, "list": []}',
    b'{"list": [{"array": 0}, {"array": 0}]}',
    b'{"number": 0}',
    b'{"record": ["TrainingState", {}]}',
    b'{"record": ["Patience", {"tol": 1}]}',
    b'{"record": ["Patience", {"tol": 1, "n_iter_no_change": 2, "x": 3}]}',
    b'{"record": ["Parameters", {}]}',
    b'{"record": ["Patience"]}',
    b'{"record": "Patience"}',
    b'{"parameters": [0, {"list": [1, 1, 1, 1, false, false]}]}',
    b'{"parameters": [0, {"list": [-1, 1, 1, 1, false, false]}]}',
    b'{"parameters": [0, {"list": [1, 1]}]}',
    b'{"parameters": [0, {"list": ["a", 1, 1, 1, false, false]}]}',
    b'{"parameters": [0, {"list": [1, 1, 1, 1, false, -3.0]}]}',
    b'{"parameters": [0, {"list": [1, 1, 1, 1, false, 3]}]}',
    b'{"random_state": 5}',
    b'{"random_state": {"dict": {"bit_generator": "os", "state": {"dict": {}}}}}',
    b'{"random_state": {"dict": {"bit_generator": "MT19937", "state": {"dict": {}}}}}',
]


@pytest.mark.parametrize("kind", MADE_UP)
def test_a_file_takes_no_more_memory_than_its_size_says(kind):
    content = sealed(MADE_UP[kind]())
    assert len(content) < 500_000
    damaged = pytest.raises(ValueError, match=r"^The checkpoint x is damaged")
    with PeakMemory() as used, damaged:
        from_bytes(content, "x")
    assert used.peak < 40 * len(content) + 2**22


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_a_wrong_tree_is_damaged(tree):
    with pytest.raises(ValueError, match=r"^The checkpoint x is damaged"):
        from_bytes(sealed(zipped([tree_of(tree), ONE])), "x")


def test_bytes_that_were_changed_under_a_right_digest(states):
    """Damaged, or another value: no other error, and no more memory."""
    rng = np.random.default_rng(0)
    wholes = [body(to_bytes(state)) for state in states] + [body(CONTENT)]
    n_damaged = 0
    for _ in range(600):
        changed = bytearray(wholes[rng.integers(len(wholes))])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(changed)))
            if rng.uniform() < 0.5:  # the directory at the end, and headers
                at = max(0, len(changed) - 1 - int(rng.integers(1000)))
            length = int(rng.integers(1, 9))
            action = rng.integers(4)
            if action == 0:
                changed[at] ^= 1 << int(rng.integers(8))
            elif action == 1:
                del changed[at : at + length]
            elif action == 2:
                changed[at : at + length] = rng.bytes(length)
            else:
                changed[at:at] = changed[at : at + 50]
        content = sealed(bytes(changed))
        with PeakMemory() as used:
            try:
                from_bytes(content, "x")
            except ValueError as error:
                n_damaged += "x is damaged" in str(error)
        assert used.peak < 40 * len(content) + 2**22
    assert n_damaged > 400


def test_a_foreign_file_is_not_read_to_its_end(path):
    """However large it is."""
    with open(path, "wb") as file:
        file.write(b"x" * 100)
        file.truncate(2**33)
    foreign = pytest.raises(ValueError, match="is not a checkpoint")
    with PeakMemory() as used, foreign:
        read(path)
    assert used.peak < 2**20


@pytest.mark.parametrize("step", ["to_bytes", "fsync", "replace"])
@pytest.mark.parametrize("before", [None, SMALL])
def test_a_failed_write_leaves_the_old_file(step, before, path, monkeypatch):
    if before is not None:
        state_files.write(path, before)

    def failing(*_):
        raise OSError("No space left on device")

    module = state_files if step == "to_bytes" else os
    with monkeypatch.context() as patch:
        patch.setattr(module, step, failing)
        with pytest.raises(OSError, match="No space left"):
            state_files.write(path, SMALL | {"n": 6})
    assert os.listdir(path.parent) == ([] if before is None else [path.name])
    if before is not None:
        assert_same(read(path), before)


def test_the_content_is_on_the_disk_before_it_has_the_name(path, monkeypatch):
    """The content, the name, the folder: in this order."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        where = os.fstat(descriptor)
        calls.append("folder" if os.path.stat.S_ISDIR(where.st_mode) else where.st_size)
        fsync(descriptor)

    def replaced(*names):
        calls.append("name")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    state_files.write(path, SMALL)
    assert calls[:2] == [len(CONTENT), "name"]
    assert calls[2:] == (["folder"] if hasattr(os, "O_DIRECTORY") else [])
