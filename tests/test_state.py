"""A training state goes through a file unchanged; what is no whole file is refused."""

import hashlib
import io
import os
import pickle
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, _state
from sklearn_bp._base import BaseTwoLayer
from sklearn_bp._parameters import Parameters
from sklearn_bp._state import decode, encode, from_bytes, given_fields, read, to_bytes
from sklearn_bp._training import TrainingState

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


@settings(max_examples=60, deadline=None)
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
}


@pytest.fixture(scope="module")
def states():
    """The training states of these fits."""
    kept = []
    set_fitted = BaseTwoLayer._set_fitted

    def keep(self, result, *rest):
        kept.append(result.state)
        set_fitted(self, result, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseTwoLayer, "_set_fitted", keep)
        for options in FITS.values():
            fitted = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
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
    _state.write(path, SMALL)
    assert_same(read(path), SMALL)
    _state.write(str(path), SMALL | {"n": 6})
    assert read(path)["n"] == 6
    assert os.listdir(path.parent) == [path.name]


def test_a_path_without_a_folder(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    _state.write(path.name, SMALL)
    assert_same(read(path), SMALL)


def test_every_truncation_is_refused():
    for length in range(len(CONTENT)):
        with pytest.raises(ValueError, match="x is damaged: it was cut off"):
            from_bytes(CONTENT[:length], "x")


def test_every_changed_byte_is_refused():
    for place in range(len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1 + place % 255
        with pytest.raises(ValueError, match=r"^(The checkpoint )?x ") as caught:
            from_bytes(bytes(changed), "x")
        magic = place < len(_state.MAGIC)
        version = not magic and place < len(_state.MAGIC) + 4
        told = str(caught.value)
        assert ("is no checkpoint of sklearn_bp" in told) == magic
        assert ("this version of sklearn_bp reads 1" in told) == version
        assert ("is damaged" in told) == (not magic and not version)


def test_appended_bytes_are_refused():
    with pytest.raises(ValueError, match="is damaged"):
        from_bytes(CONTENT + b"\0", "x")


class Trap:
    """Unpickled, it would say so."""

    def __reduce__(self):
        return (os.putenv, ("SKLEARN_BP_TRAP", "sprung"))


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def sealed(rest):
    """With the head of a whole file."""
    version = _state.VERSION.to_bytes(4, "little")
    return _state.MAGIC + version + hashlib.sha256(rest).digest() + rest


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
        with pytest.raises(ValueError, match=r"is damaged|is no checkpoint"):
            from_bytes(content, "x")


@pytest.mark.parametrize("step", ["to_bytes", "fsync", "replace"])
@pytest.mark.parametrize("before", [None, SMALL])
def test_a_failed_write_leaves_the_old_file(step, before, path, monkeypatch):
    if before is not None:
        _state.write(path, before)

    def failing(*_):
        raise OSError("No space left on device")

    module = _state if step == "to_bytes" else os
    with monkeypatch.context() as patch:
        patch.setattr(module, step, failing)
        with pytest.raises(OSError, match="No space left"):
            _state.write(path, SMALL | {"n": 6})
    assert os.listdir(path.parent) == ([] if before is None else [path.name])
    if before is not None:
        assert_same(read(path), before)


def test_what_is_written_is_on_the_disk_before_it_has_the_name(path, monkeypatch):
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
    _state.write(path, SMALL)
    assert calls[:2] == [len(CONTENT), "name"]
    assert calls[2:] == (["folder"] if hasattr(os, "O_DIRECTORY") else [])
