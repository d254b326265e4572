"""A fit that resumes from a checkpoint ends with the bits of an uninterrupted one."""

import errno
import functools
import gc
import json
import os
import pickle
import random
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from breaking import Breaking, needs_callbacks
from compare import state_of
from made_up_files import packed, unpacked
from places import environment
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from slow import slow_but

from sklearn_bp import (
    MLP_DEFAULTS,
    TwoLayerClassifier,
    TwoLayerRegressor,
    optimizers,
)
from sklearn_bp._fitting import files, fingerprint
from sklearn_bp._fitting.checkpoint import differences
from sklearn_bp._fitting.fingerprint import describe, of_data
from sklearn_bp._fitting.state_files import read
from sklearn_bp.activations import LeakyReLU
from sklearn_bp.callbacks import Checkpoint, TimeLimit
from sklearn_bp.schedules import Cosine

IGNORED = f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
pytestmark = pytest.mark.filterwarnings(IGNORED)

RNG = np.random.RandomState(0)
X = RNG.normal(size=(150, 4))
X[RNG.uniform(size=X.shape) < 0.2] = 0
SIGNAL = X[:, 0] + X[:, 1] ** 2
LABELS = np.digitize(SIGNAL, [0, 1])
WEIGHTS = RNG.uniform(0.5, 2, size=150)
N_EPOCHS = 9


def slower(step):
    return 0.97**step


# name: (estimator's class, settings, arguments of fit)
PLAIN = {**MLP_DEFAULTS, "batch_size": 32}
EVERY = {"n_iter_no_change": 1000}
CASES = {
    "sgd": (TwoLayerClassifier, PLAIN | EVERY | {"solver": "sgd"}, {}),
    "adaptive": (
        TwoLayerRegressor,
        PLAIN
        | {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.05}
        | {"n_iter_no_change": 1, "tol": 0.3},
        {},
    ),
    "invscaling": (
        TwoLayerClassifier,
        PLAIN | EVERY | {"solver": "sgd", "learning_rate": "invscaling"},
        {},
    ),
    "adam": (TwoLayerRegressor, PLAIN | EVERY, {"sample_weight": WEIGHTS}),
    "best weights": (
        TwoLayerClassifier,
        PLAIN | EVERY | {"early_stopping": True, "learning_rate_init": 0.3},
        {},
    ),
    "members": (TwoLayerClassifier, {"n_members": 3}, {"sample_weight": WEIGHTS}),
    "members, regression": (TwoLayerRegressor, {"n_members": 3}, {}),
    "float32": (TwoLayerClassifier, PLAIN | EVERY, {"X": X.astype(np.float32)}),
    "dropout, one cycle, skip": (
        TwoLayerClassifier,
        {
            "n_members": 2,
            "dropout": 0.3,
            "skip_layer": True,
            "solver": "adamw",
            "learning_rate": "one_cycle",
        },
        {},
    ),
    "clipped rmsprop by cosine": (
        TwoLayerRegressor,
        PLAIN
        | {
            "solver": optimizers.RMSprop(clip_norm=0.5),
            "learning_rate": Cosine(warmup=0.2),
        },
        {},
    ),
    "clipped sgd, own rate": (
        TwoLayerClassifier,
        PLAIN | {"solver": optimizers.SGD(clip_norm=0.5), "learning_rate": slower},
        {},
    ),
    "sparse, balanced": (
        TwoLayerClassifier,
        {"class_weight": "balanced", "activation": LeakyReLU(0.1)},
        {"X": sparse.csr_array(X)},
    ),
    "own validation rows": (
        TwoLayerClassifier,
        {"n_members": 2},
        {"X_val": X[:40] + 0.1, "y_val": LABELS[:40]},
    ),
    "scorer, groups": (
        TwoLayerClassifier,
        {
            "early_stopping_metric": "balanced_accuracy",
            "validation_fraction": GroupShuffleSplit(n_splits=1, random_state=0),
        },
        {"groups": np.arange(150) // 5},
    ),
    "blocks": (TwoLayerClassifier, {"shuffle": "blocks", "n_members": 1}, {}),
    "few rows": (TwoLayerRegressor, {}, {"X": X[:50], "y": SIGNAL[:50]}),
    "two trainings": (
        TwoLayerRegressor,
        {},
        {"X": np.tile(X, (2, 1)), "y": np.tile(SIGNAL, 2)},
    ),
    "table": (
        TwoLayerClassifier,
        {"n_members": 2},
        {"X": pd.DataFrame(X, columns=list("abcd")).assign(e=LABELS.astype(str))},
    ),
}
over_cases = pytest.mark.parametrize("case", list(CASES))
over_some_cases = pytest.mark.parametrize(
    "case", ["adaptive", "best weights", "dropout, one cycle, skip", "scorer, groups"]
)


def made(case, **options):
    estimator, settings, _ = CASES[case]
    small = {"hidden_layer_sizes": 5, "max_iter": N_EPOCHS, "random_state": 0}
    return estimator(**settings | small | options)


def fit(model, case, **options):
    """The model, fitted to the data of a case."""
    y = LABELS if CASES[case][0] is TwoLayerClassifier else SIGNAL
    return model.fit(**{"X": X, "y": y} | CASES[case][2] | options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.ckpt"


@needs_callbacks
@over_cases
def test_resuming_ends_with_the_same_bits(case, path):
    unbroken = state_of(fit(made(case), case))
    for after in (1, 3, 4):
        model = made(case).set_callbacks(Breaking(after), Checkpoint(path))
        fit(model, case)
        assert model.stop_reason_ == "callback"
    assert read(path)["state"].n_iter == 8  # 1 + 3 + 4
    counter = Breaking()
    model = fit(made(case).set_callbacks(counter, Checkpoint(path)), case)
    assert counter.n_epochs == model.n_iter_ - 8
    assert state_of(model) == unbroken

    # At its end it is there at once.
    again = fit(made(case).set_callbacks(counter, Checkpoint(path)), case)
    assert counter.n_epochs == model.n_iter_ - 8
    assert state_of(again) == unbroken


@needs_callbacks
@over_some_cases
def test_a_crashed_fit_resumes_from_the_last_checkpoint(case, path):
    unbroken = state_of(fit(made(case), case))
    model = made(case).set_callbacks(
        Checkpoint(path, every=2), Breaking(after=5, error=RuntimeError("power cut"))
    )
    with pytest.raises(RuntimeError, match="power cut"):
        fit(model, case)
    assert not hasattr(model, "coefs_")
    assert read(path)["state"].n_iter == 4
    model.set_callbacks(Checkpoint(path, every=2))
    assert state_of(fit(model, case)) == unbroken
    whole = read(path)
    assert (whole["state"].n_iter, whole["reason"]) == (9, "max_iter")


@needs_callbacks
@over_some_cases
def test_writing_checkpoints_changes_nothing(case, path):
    alone = state_of(fit(made(case), case))
    model = made(case).set_callbacks(Checkpoint(path))
    assert state_of(fit(model, case)) == alone


@needs_callbacks
@pytest.mark.parametrize("case", ["sgd", "members", "best weights", "adaptive"])
def test_max_iter_may_be_increased(case, path):
    fit(made(case, max_iter=4).set_callbacks(Checkpoint(path)), case)
    longer = fit(made(case).set_callbacks(Checkpoint(path)), case)
    assert state_of(longer) == state_of(fit(made(case), case))
    with pytest.raises(ValueError, match="already has 9 epochs, more than max_iter=4"):
        fit(made(case, max_iter=4).set_callbacks(Checkpoint(path)), case)


@needs_callbacks
@pytest.mark.parametrize(
    ("case", "options", "reason"),
    [
        ("sgd", {"n_iter_no_change": 2, "tol": 10.0}, "tol"),
        ("best weights", {"n_iter_no_change": 1, "tol": 10.0}, "patience"),
        ("sgd", {"loss_threshold": 1e9}, "loss_threshold"),
    ],
)
def test_a_finished_fit_is_not_resumed(case, options, reason, path):
    first = fit(made(case, **options).set_callbacks(Checkpoint(path)), case)
    assert first.stop_reason_ == reason
    longer = made(case, **options | {"max_iter": 50})
    counter = Breaking()
    fit(longer.set_callbacks(counter, Checkpoint(path)), case)
    assert counter.n_epochs == 0
    unbroken = made(case, **options | {"max_iter": 50})
    assert state_of(longer) == state_of(fit(unbroken, case))


@needs_callbacks
def test_a_fit_resumes_after_a_time_limit(path):
    case = "members"
    calls = 0
    model = made(case).set_callbacks(TimeLimit(1e-9), Checkpoint(path, every=100))
    while True:
        fit(model, case)
        calls += 1
        if model.n_iter_ == N_EPOCHS:
            break
    assert calls == N_EPOCHS
    unbroken = state_of(fit(made(case), case))
    assert state_of(fit(made(case).set_callbacks(Checkpoint(path)), case)) == unbroken


@needs_callbacks
def test_a_fit_resumes_after_ctrl_c(path):
    case = "members"
    model = made(case).set_callbacks(
        Checkpoint(path, every=2), Breaking(after=5, error=KeyboardInterrupt())
    )
    with pytest.warns(UserWarning, match="interrupted by user"):
        fit(model, case)
    assert model.n_iter_ == 5
    assert read(path)["state"].n_iter == 4
    model = made(case).set_callbacks(Checkpoint(path, every=2))
    assert state_of(fit(model, case)) == state_of(fit(made(case), case))


# What is refused.


@pytest.fixture
def written(path):
    fit(made("members").set_callbacks(Checkpoint(path)), "members")
    return path


CHANGED = [
    ({"alpha": 0.5}, {}, r"alpha was 'auto', and is now 0\.5"),
    ({"random_state": 1}, {}, "random_state was 0, and is now 1"),
    ({"activation": LeakyReLU(0.2)}, {}, "activation was 'relu', and is .*LeakyReLU"),
    ({"solver": optimizers.Adam()}, {}, "solver was 'adam', and is .*Adam"),
    ({"learning_rate": "cosine"}, {}, "learning_rate was 'constant'"),
    ({"learning_rate": slower}, {}, r"and is now test_checkpoint\.slower"),
    ({}, {"X": X * (np.arange(150) != 70)[:, np.newaxis]}, "to another fit: X differs"),
    ({}, {"X": X[:, ::-1]}, "X differs"),
    ({}, {"X": X.astype(np.float32)}, "X differs"),
    ({}, {"y": np.where(np.arange(150) == 149, 2 - LABELS, LABELS)}, "y differs"),
    ({}, {"sample_weight": None}, "sample_weight differs"),
    ({}, {"X_val": X, "y_val": LABELS}, "X_val differs; y_val differs"),
]


@needs_callbacks
@pytest.mark.parametrize(("options", "data", "told"), CHANGED)
def test_another_fit_is_refused(options, data, told, written):
    before = written.read_bytes()
    model = made("members", **options).set_callbacks(Checkpoint(written))
    with pytest.raises(ValueError, match=told) as caught:
        fit(model, "members", **data)
    assert str(written) in str(caught.value)
    assert "delete the file to train from scratch" in str(caught.value)
    assert written.read_bytes() == before
    assert not hasattr(model, "coefs_")


def test_starting_weights_may_differ_by_rounding():
    """As on another machine; not by a thousandth."""
    start = np.array([0.5, -2.0])  # two sums of them
    identity = {"estimator": "e", "parameters": {}, "data": {}, "start": start}
    assert differences(identity, identity | {"start": start * (1 + 5e-5)}) == ""
    for moved in (start * 1.0005, start[::-1], start + np.array([0.0, 0.001])):
        told = differences(identity, identity | {"start": moved})
        assert told == "its starting weights differ"


@needs_callbacks
def test_another_start_is_refused(written):
    model = made("members").set_callbacks(Checkpoint(written))
    fit(model, "members")
    model.set_params(warm_start=True)
    with pytest.raises(ValueError, match="warm_start was False, and is now True"):
        fit(model, "members")
    written.unlink()
    fit(model, "members")
    with pytest.raises(ValueError, match="its starting weights differ"):
        fit(model, "members")
    with pytest.raises(ValueError, match="to another fit: of a TwoLayerClassifier"):
        fit(made("members, regression").set_callbacks(Checkpoint(written)), "adam")


@needs_callbacks
def test_damaged_and_foreign_files_are_refused_and_left_alone(written):
    content = written.read_bytes()
    model = made("members").set_callbacks(Checkpoint(written))
    for bad in (content[:-1], content[:100], b"", pickle.dumps(model.alpha), b"text"):
        written.write_bytes(bad)
        with pytest.raises(ValueError, match=r"damaged|is not a checkpoint of"):
            fit(model, "members")
        assert written.read_bytes() == bad


@needs_callbacks
def test_verbose_may_change(written, capsys):
    model = made("members", verbose=True).set_callbacks(Checkpoint(written))
    fit(model.set_params(max_iter=N_EPOCHS + 2), "members")
    header, *rows, _ = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["epoch", "train", "loss"]
    assert [row.split()[0] for row in rows] == ["10", "11"]


@needs_callbacks
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"random_state": None}, "needs an int for random_state"),
        ({"random_state": np.random.RandomState(0)}, "needs an int for random_state"),
        (
            {"random_state": np.random.RandomState(np.random.PCG64(0))},
            "needs an int for random_state",
        ),
        ({"solver": "lbfgs"}, "cannot resume with solver='lbfgs'"),
    ],
)
def test_fits_that_cannot_resume_are_refused_at_once(options, told, path):
    model = made("sgd", **options).set_callbacks(Checkpoint(path))
    with pytest.raises(ValueError, match=told):
        fit(model, "sgd")
    assert not path.exists()


@needs_callbacks
def test_places_where_it_does_not_belong(path):
    model = made("sgd").set_callbacks(Checkpoint(path))
    with pytest.raises(ValueError, match="Checkpoint is for fit"):
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
    pipeline = make_pipeline(StandardScaler(), made("sgd"))
    for callback in (Checkpoint(path), TimeLimit(60)):
        with pytest.raises(TypeError, match=r"on the network itself.*on a Pipeline"):
            pipeline.set_callbacks(callback).fit(X, LABELS)
    # In a search the second fit finds the file of the first.
    search = GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="to another fit: X differs; y differs"):
        search.fit(X, LABELS)


@needs_callbacks
def test_within_a_pipeline(path):
    unbroken = make_pipeline(StandardScaler(), made("sgd")).fit(X, LABELS)
    pipeline = make_pipeline(StandardScaler(), made("sgd"))
    pipeline[-1].set_callbacks(Checkpoint(path), Breaking(after=4))
    pipeline.fit(X, LABELS)
    pipeline[-1].set_callbacks(Checkpoint(path))
    assert state_of(pipeline.fit(X, LABELS)[-1]) == state_of(unbroken[-1])


@needs_callbacks
def test_its_parameters(path):
    for bad in (None, 5, b"x"):
        with pytest.raises(TypeError, match="must be a str or a path"):
            Checkpoint(bad)
    for bad in ("", "a\0b", f"folder{os.sep}", f"{path}{os.sep}", "\ud800x"):
        with pytest.raises(ValueError, match=r"of the checkpoint .* name of a file"):
            Checkpoint(bad)
    with pytest.raises(ValueError, match="must be a number in"):
        Checkpoint(path, every=0)
    with pytest.raises(TypeError, match="must be an int"):
        Checkpoint(path, every=1.5)
    model = made("sgd").set_callbacks(Checkpoint(str(path)))
    copy = clone(pickle.loads(pickle.dumps(model)))
    fit(copy, "sgd")
    assert path.exists()
    model.set_callbacks(Checkpoint(path / "no folder"))
    with pytest.raises(OSError, match=r"fit\.ckpt"):
        fit(model, "sgd")
    assert not hasattr(model, "coefs_")


# The file and its folder.


@needs_callbacks
def test_data_and_estimator_are_released(path):
    """After fits that end, are interrupted, fail or are refused."""
    refused = path.with_name("other.ckpt")
    refused.write_bytes(b"foreign")

    class Held(np.ndarray):
        """An array that can be referred to weakly."""

    for callbacks, error in [
        ([Checkpoint(path)], None),
        ([TimeLimit(60)], None),
        ([Checkpoint(path), Breaking(after=2)], None),
        (
            [Breaking(after=2, error=RuntimeError), Checkpoint(path)],
            RuntimeError,
        ),
        ([Checkpoint(refused)], ValueError),
        ([Checkpoint(path), Checkpoint(path)], ValueError),
        ([Checkpoint(path / "no folder")], OSError),
    ]:
        path.unlink(missing_ok=True)
        rows, labels = X.copy().view(Held), LABELS.copy().view(Held)
        model = made("sgd").set_callbacks(*callbacks)
        if error is None:
            model.fit(rows, labels)
        else:
            with pytest.raises(error):
                model.fit(rows, labels)
        kept = [weakref.ref(part) for part in (rows, labels, model)]
        del rows, labels, model
        gc.collect()
        assert [part() is None for part in kept] == [True] * 3


@needs_callbacks
@pytest.mark.parametrize(
    "place", ["no folder", "folder in a file", "folder", "loop", "long", "home"]
)
def test_an_unwritable_path_is_an_error_at_the_start(place, path):
    places = {
        "no folder": path.parent / "missing" / "x.ckpt",
        "folder in a file": path.parent / "file" / "x.ckpt",
        "folder": path.parent / "somewhere",
        "loop": path.parent / "loop",
        "long": path.parent / ("n" * 300),
        "home": os.path.join("~", "missing", "x.ckpt"),
    }
    (path.parent / "somewhere").mkdir()
    (path.parent / "file").write_bytes(b"text")
    (path.parent / "loop").symlink_to("loop")
    counter = Breaking()
    model = made("sgd").set_callbacks(counter, Checkpoint(places[place]))
    with pytest.raises(OSError, match="another path") as caught:
        fit(model, "sgd")
    assert str(places[place]) in str(caught.value)
    assert counter.n_epochs == 0
    assert sorted(os.listdir(path.parent)) == ["file", "loop", "somewhere"]


@needs_callbacks
@pytest.mark.parametrize("seed", range(6))
def test_a_full_disk_leaves_the_last_checkpoint(seed, path, monkeypatch):
    """At any write, before or after some bytes; the error names the checkpoint."""
    draw = random.Random(seed)
    call, function = draw.randint(0, 6), draw.choice(["fsync", "replace"])
    monkeypatch.setattr(files, "os", Full(function, call))
    model = made("adaptive").set_callbacks(Checkpoint(path))
    with pytest.raises(OSError, match="No space left") as caught:
        fit(model, "adaptive")
    assert str(path) in str(caught.value)
    monkeypatch.undo()
    assert os.listdir(path.parent) == ([path.name] if call else [])
    if call:
        assert read(path)["state"].n_iter == call
    fit(model, "adaptive")
    assert state_of(model) == state_of(fit(made("adaptive"), "adaptive"))


class Full:
    """The module os, in which a call of a function finds no space on the disk."""

    def __init__(self, function, call):
        self.function, self.left = function, call

    def __getattr__(self, name):
        return self.fail_at_last if name == self.function else getattr(os, name)

    def fail_at_last(self, *arguments):
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not (
            self.function == "fsync" and stat.S_ISDIR(os.fstat(*arguments).st_mode)
        ):
            self.left -= 1
        return getattr(os, self.function)(*arguments)


@needs_callbacks
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_folder_that_is_read_only(path):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    path.parent.chmod(0o500)
    counter = Breaking()
    model = made("sgd").set_callbacks(counter, Checkpoint(path))
    with pytest.raises(PermissionError, match="read-only for this user"):
        fit(model, "sgd")
    assert counter.n_epochs == 0


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@needs_callbacks
def test_other_files_in_the_folder_stay_as_they_are(path):
    """Also during a fit: for example the user's own temporary and lock files."""
    name = path.name
    for other in (".tmp", ".lock", ".bak", "~", ".part", ".new", ".0"):
        (path.parent / (name + other)).write_bytes(
            b"of the user's own" + other.encode()
        )
    (path.parent / f".{name}.lock").touch()
    before, seen = contents(path.parent), []

    class Looking(Breaking):
        def on_fit_task_end(self, estimator, context):
            found = contents(path.parent)
            seen.append({k: found.get(k) for k in before} == before)

    fit(made("sgd").set_callbacks(Checkpoint(path), Looking()), "sgd")
    assert seen == [True] * (N_EPOCHS + 1)
    after = contents(path.parent)
    assert after.pop(name)
    assert after == before


@needs_callbacks
@pytest.mark.skipif(os.name == "nt", reason="links are a privilege there")
@pytest.mark.parametrize("known", [True, False])
def test_a_symlink_stays_one(known, path, monkeypatch):
    """A chain of relative symlinks, to a file that exists or does not exist yet."""
    target = path.parent / "store" / "real.ckpt"
    target.parent.mkdir()
    path.symlink_to("between")
    (path.parent / "between").symlink_to(Path("store") / "real.ckpt")
    if known:
        fit(made("sgd", max_iter=4).set_callbacks(Checkpoint(target)), "sgd")
    fit(made("sgd").set_callbacks(Checkpoint(path)), "sgd")
    assert os.readlink(path) == "between"
    assert os.readlink(path.parent / "between") == os.path.join("store", "real.ckpt")
    assert not target.is_symlink()
    assert read(target)["state"].n_iter == N_EPOCHS
    assert os.listdir(target.parent) == ["real.ckpt"]
    assert sorted(os.listdir(path.parent)) == ["between", path.name, "store"]


@needs_callbacks
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_mode_and_owner_stay(path):
    """A new file has the mode and owner of any new file."""
    umask = os.umask(0o027)
    try:
        fit(made("sgd", max_iter=2).set_callbacks(Checkpoint(path)), "sgd")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for n_epochs, mode in enumerate((0o600, 0o664, 0o444, 0o755), 3):
        path.chmod(mode)
        if os.geteuid() == 0:
            os.chown(path, 4000 + n_epochs, 5000 + n_epochs)
        before = path.stat()
        model = made("sgd", max_iter=n_epochs).set_callbacks(Checkpoint(path))
        fit(model, "sgd")
        after = path.stat()
        assert read(path)["state"].n_iter == n_epochs
        assert (after.st_mode, after.st_uid, after.st_gid) == (
            before.st_mode,
            before.st_uid,
            before.st_gid,
        )


@needs_callbacks
def test_a_relative_path_is_that_of_the_start(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    (path.parent / "elsewhere").mkdir()

    class Moving(Breaking):
        def on_fit_task_end(self, estimator, context):
            os.chdir(path.parent / "elsewhere")

    fit(made("sgd").set_callbacks(Checkpoint(path.name), Moving()), "sgd")
    assert sorted(os.listdir(path.parent)) == ["elsewhere", path.name]
    assert not os.listdir(path.parent / "elsewhere")


@needs_callbacks
@pytest.mark.parametrize("name", ["x" * 255, "ß" * 127, "a b", ".hidden", "*[?]"])
def test_any_file_name_works(name, path):
    where = path.parent / name
    fit(made("sgd").set_callbacks(Checkpoint(where)), "sgd")
    assert os.listdir(path.parent) == [name]


# Several fits.


class Waiting(Breaking):
    """Waits at the end of the first epoch until it is let through."""

    def __init__(self):
        super().__init__()
        self.reached, self.opened = threading.Event(), threading.Event()

    def on_fit_task_end(self, estimator, context):
        self.reached.set()
        assert self.opened.wait(60)


@needs_callbacks
@pytest.mark.parametrize("by_link", [False, True])
def test_a_second_thread_is_refused(by_link, path):
    other = path
    if by_link:
        if os.name == "nt":
            pytest.skip("links are a privilege there")
        other = path.with_name("link")
        other.symlink_to(path)
    waiting = Waiting()
    model = made("sgd").set_callbacks(Checkpoint(path), waiting)
    thread = threading.Thread(target=fit, args=[model, "sgd"])
    thread.start()
    assert waiting.reached.wait(60)
    second = made("sgd").set_callbacks(Checkpoint(other))
    with pytest.raises(ValueError, match="Another fit is writing the checkpoint") as e:
        fit(second, "sgd")
    assert str(other) in str(e.value)
    fit(made("sgd").set_callbacks(Checkpoint(path.with_name("own"))), "sgd")
    waiting.opened.set()
    thread.join(60)
    assert state_of(model) == state_of(fit(made("sgd"), "sgd"))
    assert state_of(fit(second, "sgd")) == state_of(model)


@needs_callbacks
def test_of_many_threads_one_writes_at_a_time(path):
    """Each thread gets the result or an error."""
    expected = state_of(fit(made("sgd"), "sgd"))

    def attempt(_):
        try:
            return state_of(fit(made("sgd").set_callbacks(Checkpoint(path)), "sgd"))
        except ValueError as error:
            return expected if "Another fit is writing" in str(error) else error

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(attempt, range(18))) == [expected] * 18
    assert os.listdir(path.parent) == [path.name]


HOLDING = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import test_checkpoint as t

class Hanging(t.Breaking):
    def on_fit_task_end(self, estimator, context):
        child = 0
        if sys.argv[2] == "child":
            child = os.fork()
            if child == 0:
                time.sleep(60)
        if sys.argv[2] == "writing":
            from sklearn_bp._fitting import files
            files.os.replace = lambda *_: (print("there", flush=True), time.sleep(60))
            return
        print("there", child, flush=True)
        time.sleep(60)

model = t.made("sgd").set_callbacks(t.Checkpoint(sys.argv[1]), Hanging())
t.fit(model, "sgd")
"""


@needs_callbacks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
@pytest.mark.parametrize("how", slow_but(["writing"], ["plain", "child", "writing"]))
def test_a_killed_process_blocks_nobody(how, path):
    """While it lives, the second fit is refused; its child processes may live on."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), how],
        env=environment(Path(__file__).parent),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        words = process.stdout.readline().split()
        assert words[:1] == ["there"]
        model = made("sgd").set_callbacks(Checkpoint(path))
        try:
            with pytest.raises(ValueError, match="Another fit is writing"):
                fit(model, "sgd")
        finally:
            process.kill()
            process.wait()
        try:
            assert len(os.listdir(path.parent)) > 1  # it had no time to tidy up
            fit(model, "sgd")
        finally:
            if how == "child":
                os.kill(int(words[1]), signal.SIGKILL)
    assert state_of(model) == state_of(fit(made("sgd"), "sgd"))
    assert os.listdir(path.parent) == [path.name]


# Files that were made up.


def replaced(tree, place, value):
    """A tree with another value at the node with this number."""
    count = 0

    def walk(node):
        nonlocal count
        count += 1
        if count == place:
            return value
        if isinstance(node, dict):
            return {key: walk(part) for key, part in node.items()}
        if isinstance(node, list):
            return [walk(part) for part in node]
        return node

    changed = walk(tree)
    return changed, count


def renamed(tree, draw):
    """A tree in which a key, drawn, has another name, or is not there."""
    keys = [[]]

    def walk(node, where):
        if isinstance(node, dict):
            for key, part in node.items():
                keys.append([*where, key])
                walk(part, [*where, key])
        elif isinstance(node, list):
            for i, part in enumerate(node):
                walk(part, [*where, i])

    walk(tree, [])
    *where, key = draw.choice(keys[1:])
    tree = json.loads(json.dumps(tree))
    node = tree
    for step in where:
        node = node[step]
    value = node.pop(key)
    if draw.random() < 0.5:
        node[draw.choice(["x", "list", "dict", "array", "record"])] = value
    return tree


def deep(n):
    node = None
    for _ in range(n):
        node = {"list": [node]}
    return node


JUNK = [
    None,
    True,
    -1,
    0,
    3,
    10**9,
    2**70,
    -0.5,
    float("nan"),
    float("inf"),
    "x",
    [],
    [0],
    {},
    {"array": 0},
    {"list": []},
    {"dict": {}},
    {"floats": 1},
    {"record": ["Patience", {}]},
    {"record": ["os", {}]},
    {"parameters": [0, {"list": [10**6, 10**6, 1, 1, False, False]}]},
    deep(200),
]
OTHER_ARRAYS = [
    np.zeros(0),
    np.zeros((0, 100)),
    np.zeros(3),
    np.array(5),
    np.array(True),
    np.full(624, 9, np.uint32),
    np.arange(150)[::-1].copy(),
    np.full(150, 10**6),
    np.zeros((5, 5), np.float32),
]
TOLD = r"is damaged|belongs to another fit|already has"


@needs_callbacks
@pytest.mark.parametrize(
    "case", ["sgd", "best weights", "dropout, one cycle, skip", "members"]
)
@pytest.mark.parametrize("kind", ["value", "key", "array"])
def test_a_made_up_tree_is_damaged(kind, case, path):
    """Any content leads to this error, or to a fit that ends."""
    draw = random.Random(kind + case)
    fit(made(case, max_iter=5).set_callbacks(Checkpoint(path)), case)
    tree, arrays = unpacked(path.read_bytes())
    _, n_nodes = replaced(tree, 0, None)
    told, left_alone = [], []
    for _ in range(40):
        changed, own = tree, list(arrays)
        if kind == "value":
            place = draw.randint(1, n_nodes)
            changed, _ = replaced(tree, place, draw.choice(JUNK))
        elif kind == "key":
            changed = renamed(tree, draw)
        else:
            own[draw.randrange(len(own))] = draw.choice(OTHER_ARRAYS)
        content = packed(changed, own)
        path.write_bytes(content)
        model = made(case, max_iter=6).set_callbacks(Checkpoint(path))
        try:
            fit(model, case)
        except ValueError as error:
            told.append(str(error))
            left_alone.append(path.read_bytes() == content)
        else:
            assert all(np.isfinite(w).all() for w in model.coefs_)
    assert [text for text in told if not re.search(TOLD, text)] == []
    assert all(left_alone)
    assert len(told) > 20


@needs_callbacks
def test_a_position_beyond_the_random_numbers(path):
    """numpy would read beyond its own memory."""
    fit(made("sgd", max_iter=5).set_callbacks(Checkpoint(path)), "sgd")
    tree, arrays = unpacked(path.read_bytes())
    text = json.dumps(tree)
    for position in (625, 10**9, -1):
        changed = re.sub(r'"pos": \d+', f'"pos": {position}', text)
        assert changed != text
        path.write_bytes(packed(json.loads(changed), arrays))
        with pytest.raises(ValueError, match="is damaged"):
            fit(made("sgd").set_callbacks(Checkpoint(path)), "sgd")


# Fingerprints, which distinguish fits.


def shout(x, volume=1):
    return x


class OwnPart:
    def __init__(self, rate):
        self.rate = rate
        self.table = {"a": np.arange(3), "b": [1.5, None]}


PARTS = [
    lambda: OwnPart(0.1),
    lambda: OwnPart(0.2),
    lambda: LeakyReLU(0.1),
    lambda: LeakyReLU(0.2),
    lambda: GroupShuffleSplit(n_splits=1, random_state=0),
    lambda: GroupShuffleSplit(n_splits=1, random_state=1),
    lambda: functools.partial(shout, volume=2),
    lambda: functools.partial(shout, volume=3),
    lambda: shout,
    lambda: OwnPart,
    lambda: {"a": [1, 2.0, None, True]},
    lambda: (np.float64(0.25), "x"),
    lambda: "x",
    lambda: np.arange(3),
]


def test_parameters_are_compared_by_content():
    texts = [describe(part()) for part in PARTS]
    assert texts == [describe(part()) for part in PARTS]
    assert len(set(texts)) == len(PARTS)
    assert not any(" at 0x" in text for text in texts)
    assert describe(np.float64(0.5)) == describe(0.5)


TABLE = pd.DataFrame(
    {"a": [0.5, np.nan, 2.0], "b": ["x", "y", "x"], "c": pd.Categorical([1, 2, 1])}
)
KINDS_OF_DATA = {
    "array": X,
    "float32": X.astype(np.float32),
    "CSR": sparse.csr_array(X),
    "CSC": sparse.csc_array(X[:, :2]),
    "list": X[:5].tolist(),
    "labels": np.array(["a", "b", None], dtype=object),
    "strings": ["a", "bc"],
    "other strings": ["ab", "c"],
    "pandas": TABLE,
    "polars": pl.DataFrame({"a": [0.5, None], "b": ["x", "y"]}),
    "series": TABLE["b"],
    "list of arrays": [np.zeros((2, 3)), np.zeros((3, 1))],
    "other list of arrays": [np.zeros((3, 2)), np.zeros((3, 1))],
    "no rows": np.empty((0, 3)),
    "a number": 5,
    "bool": np.array([True, False]),
    "empty column": np.empty((3, 0)),
    "none": None,
}


@pytest.mark.parametrize("kind", list(KINDS_OF_DATA))
def test_data_is_compared_by_content(kind):
    data = KINDS_OF_DATA[kind]
    text = of_data(data)
    assert text == of_data(pickle.loads(pickle.dumps(data)))
    others = [of_data(other) for k, other in KINDS_OF_DATA.items() if k != kind]
    assert text not in others
    if kind == "array":
        for i, j in np.ndindex(X[:9].shape):
            changed = X.copy()
            changed[i, j] = np.nextafter(changed[i, j], 9)
            assert of_data(changed) != text
        assert of_data(np.asfortranarray(X)) == text


def test_arrow_tables_are_compared_by_content():
    pa = pytest.importorskip("pyarrow")
    columns = {"a": [0.5, None], "b": ["x", "y"], "c": [1, 2]}
    texts = {
        of_data(pa.table(columns | changed))
        for changed in ({}, {"a": [0.5, 1.0]}, {"b": ["x", "z"]}, {"d": [1, 2]})
    }
    assert len(texts) == 4
    assert of_data(pa.table(columns)) in texts


def test_masks_belong_to_the_content_and_hidden_values_do_not():
    mask = X > 0.5
    text = of_data(np.ma.array(X, mask=mask))
    assert of_data(np.ma.array(np.where(mask, 7, X), mask=mask)) == text
    others = [X, np.ma.array(X), np.ma.array(X, mask=X > 0.6), np.where(mask, 7, X)]
    assert text not in map(of_data, others)


LARGE = RNG.normal(size=(5000, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "kind", [np.asarray, sparse.csr_array, pd.DataFrame, lambda a: pd.Series(a[:, 0])]
)
def test_of_large_data_evenly_spaced_rows_are_compared(kind, monkeypatch):
    monkeypatch.setattr(fingerprint, "LOOKED_AT", 2000)  # 1000 rows, or 2000
    text = of_data(kind(LARGE))
    n_told = 0
    for row in range(0, 5000, 7):
        changed = LARGE.copy()
        changed[row] += 1
        told = of_data(kind(changed)) != text
        n_told += told
        assert told or row not in (0, 4999)
    share = n_told / len(range(0, 5000, 7))
    assert 0.15 < share < 0.45  # of the rows are looked at
    assert of_data(kind(LARGE[:-1])) != text


def test_of_wide_data_a_thousand_rows_are_compared():
    """However many numbers they hold."""
    rows = np.zeros((1000, 1100))
    text = of_data(rows)
    for row in (0, 499, 998):
        changed = rows.copy()
        changed[row, 5] = 1
        assert of_data(changed) != text


# Killed.

KILLED = [
    "sgd",
    "adam",
    "members",
    "best weights",
    "float32",
    "dropout, one cycle, skip",
    "two trainings",
]
KILLS_EACH = 4


def killed_again_and_again(case, folder):
    """Fit in processes that are killed at random moments, until one finishes.

    Returns the number of kills that came after the first checkpoint.
    """
    draw = random.Random(case)
    options = {"hidden_layer_sizes": 40, "max_iter": 25}
    began = time.perf_counter()
    unbroken = state_of(
        fit(made(case, **options).set_callbacks(Checkpoint(folder / "whole")), case)
    )
    duration = time.perf_counter() - began
    path, out = folder / "broken", folder / "result"
    n_kills = 0
    while True:
        child = os.fork()
        if child == 0:
            try:
                model = made(case, **options).set_callbacks(Checkpoint(path))
                out.write_bytes(pickle.dumps(state_of(fit(model, case))))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if n_kills < KILLS_EACH:
            time.sleep(draw.uniform(0, 0.6 * duration))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            n_kills += path.exists()
            continue
        assert os.waitstatus_to_exitcode(status) == 0
        assert pickle.loads(out.read_bytes()) == unbroken
        if n_kills >= KILLS_EACH:
            return n_kills
        path.unlink()  # it was too quick; once more


@pytest.mark.slow
@needs_callbacks
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment(tmp_path):
    """In a process of its own, which has no threads when it forks."""
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=environment(Path(__file__).parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout) >= 20


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    total = 0
    for case in KILLED:
        folder = Path(sys.argv[1]) / case
        folder.mkdir()
        total += killed_again_and_again(case, folder)
    print(total)
