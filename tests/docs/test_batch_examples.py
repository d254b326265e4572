"""The examples that train on files larger than the memory they use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

# Run in a process of its own, whose memory is that of the example alone.
MEASURE = """
import contextlib, io, json, sys
sys.path[:0] = ["examples", "."]
from pathlib import Path
from benchmarks.memory import forget_peak, peak_bytes
import {example} as example

folder = Path(sys.argv[1])
with contextlib.redirect_stdout(io.StringIO()):
    example.{make}(folder / "small", 12_000)
    example.train(folder / "small", 1)  # whatever the first call loads
    example.{make}(folder / "large", {n_rows})
    forget_peak()
    before = peak_bytes()
    model = example.train(folder / "large", 1)
    growth = peak_bytes() - before
size = (folder / "large").stat().st_size
print(json.dumps({{"growth": growth, "size": size, "t": model.t_}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("example", "make", "n_rows"),
    [
        ("parquet_batches", "make_file", 200_000),
        ("sqlite_batches", "make_database", 160_000),
    ],
)
def test_more_data_than_memory(example, make, n_rows, tmp_path):
    """Training reads all rows and needs less than half their bytes."""
    code = MEASURE.format(example=example, make=make, n_rows=n_rows)
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["t"] == n_rows
    assert found["growth"] < found["size"] / 2, found
