"""Laws of the benchmarks; no test judges how fast anything is."""

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import ROOT
from sklearn.exceptions import ConvergenceWarning

from benchmarks import __main__ as program
from benchmarks import data, memory, problems, report, timing
from benchmarks.all_suites import SUITES
from benchmarks.compare import compare, is_slower
from benchmarks.problems import Case, Contender, Problem
from benchmarks.rivals import NEEDS, RIVALS, contenders, installed


def results(times, suite="cells", unit="s", epochs=10):
    """Results as the program writes them, of ours alone."""
    rows = [
        {
            "suite": suite,
            "case": case,
            "epochs": epochs,
            "unit": unit,
            "difference": None,
            "rtol": None,
            "rivals": {"ours": timing.summary([seconds], epochs)},
        }
        for case, seconds in times.items()
    ]
    return {"machine": {}, "settings": {}, "versions": {}, "rows": rows}


@pytest.mark.parametrize(
    ("values", "mean"), [([2, 8], 4), ([5], 5), ([0.5, 2], 1), ([1, 10, 100], 10)]
)
def test_geometric_mean(values, mean):
    assert report.geometric_mean(values) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("old", "new", "slower"),
    [
        (1.0, 1.16, True),
        (1.0, 1.14, False),  # under 15 %
        (1.0, 0.5, False),
        (0.0010, 0.00119, False),  # 19 %, but under 0.2 ms
        (0.0010, 0.00121, True),
    ],
)
def test_slower_is_by_15_percent_and_by_a_fifth_of_a_millisecond(old, new, slower):
    assert is_slower(old, new) == slower
    lines, names = compare(results({"a": old, "b": 1.0}), results({"a": new, "b": 1.0}))
    assert names == (["cells a"] if slower else [])
    assert ("SLOWER" in lines[0]) == slower


def test_compare_tells_of_cases_in_one_file_only():
    lines, slower = compare(
        results({"a": 1.0, "b": 1.0}), results({"b": 1.0, "c": 9.0})
    )
    assert slower == []
    assert lines[0] == "cells a: only in the old results"
    assert "cells c: only in the new results" in lines


def test_results_survive_json(tmp_path):
    before = results({"a": 1 / 3})
    report.save(before, tmp_path / "results.json")
    assert report.load(tmp_path / "results.json") == before


def test_machine_names_no_computer():
    assert set(report.machine()) == {"cpu", "cores", "usable_cores", "system", "python"}


def test_ratios_divide_by_our_time():
    row = {"rivals": {"ours": {"best": 2.0}, "mlp": {"best": 9.0}}}
    assert report.ratios(row) == {"mlp": 4.5}


def test_slopes_recover_a_power():
    rows = [
        {"axis": "rows", "size": n, "rivals": {"ours": {"best": 3e-6 * n**1.5}}}
        for n in (100, 200, 400)
    ]
    assert report.slopes(rows) == {("rows", "ours"): pytest.approx(1.5)}


def test_rounds_alternate_the_order():
    calls = []

    def contender(name):
        return Contender(lambda: calls.append(name), lambda result: {"loss": 1.0})

    case = Case("s", "c", lambda: {"ours": contender("a"), "mlp": contender("b")})
    row = case.run(rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"  # the warm-up comes first
    assert len(row["rivals"]["ours"]["seconds"]) == 3
    assert row["difference"] == 0
    json.dumps(row)


def test_cpu_time_leaves_out_what_others_take():
    def sleep():
        time.sleep(0.1)

    with timing.clock("cpu"):
        cpu = timing.time_once(sleep, 1)
    assert cpu < 0.1 <= timing.time_once(sleep, 1)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_ours_and_mlp_do_the_same_work(solver, kind):
    def load():
        target = "binary" if kind == "classifier" else 1
        return data.synthetic(60, 5, target)

    problem = Problem("tiny", load, 7, 16, solver, 3, kind)
    losses = {}
    for name, contender in contenders(["ours", "mlp"], problem).items():
        with pytest.warns(ConvergenceWarning):
            losses[name] = contender.inspect(contender.work())["loss"]
    assert losses["ours"] == pytest.approx(losses["mlp"], rel=1e-10)


def test_products_multiply_each_row_five_times():
    """The floor's multiplications: forward 2, hidden error 1, gradients 2."""
    X, y = data.iris()
    products = []

    def counting_dot(a, b, out):
        products.append(a.shape[0] * a.shape[1] * b.shape[1])
        return np.multiply(out, 0, out=out)

    problem = Problem("iris", data.iris, 10, 40, "sgd", 2)  # a last batch of 30
    with pytest.MonkeyPatch.context() as patch:
        contender = RIVALS["products"](problem)
        patch.setattr(np, "dot", counting_dot)
        contender.work()
    n, p, h, k = len(X), X.shape[1], 10, len(np.unique(y))
    assert len(products) == 2 * 4 * 5  # epochs, batches, products
    assert sum(products) == 2 * n * (2 * p * h + 3 * h * k)


def test_missing_rivals_are_skipped_with_a_line(monkeypatch, capsys):
    monkeypatch.setitem(NEEDS, "torch", "no_such_package")
    assert installed(["ours", "torch"]) == ["ours"]
    assert capsys.readouterr().out.count("\n") == 1


def test_generated_images_are_like_mnist():
    X, y = data.like_mnist(1000)
    assert X.shape == (1000, 784)
    assert X.dtype == np.float32
    assert X.min() == 0
    assert X.max() == 1
    assert np.mean(X > 0) == pytest.approx(data.FILLED, abs=0.02)
    assert np.sum(~X.any(axis=0)) >= data.N_ALWAYS_ZERO
    assert set(y) == set(range(10))


def test_text_is_filled_as_asked():
    X, _ = data.text(200, 5000, 5)
    assert X.shape == (200, 5000)
    assert X.nnz == 200 * 5
    assert X.has_sorted_indices


def test_real_mnist_is_read_and_scaled(tmp_path):
    images = np.arange(3 * 784).reshape(3, 28, 28).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", X_train=images, y_train=[1, 2, 3])
    X, y = data.mnist(str(tmp_path))
    np.testing.assert_array_equal(np.rint(255 * X), images.reshape(3, 784))
    assert X.dtype == np.float32
    assert list(y) == [1, 2, 3]


def test_listing_measures_nothing(monkeypatch):
    """Cases that `--only` leaves out never run."""

    def refuse(*args, **kwargs):
        raise AssertionError("measured while listing")

    monkeypatch.setattr(memory, "in_own_process", refuse)
    monkeypatch.setattr(problems, "measure", refuse)
    options = SimpleNamespace(quick=True, data=None, rivals=["ours"], only="sgd")
    for name, suite in SUITES.items():
        for case in program.listed(name, suite, options):
            assert "sgd" in case.name


def test_a_pattern_without_a_case_is_an_error(monkeypatch):
    arguments = ["benchmarks", "--quick", "--rivals", "ours", "--only", "no such case"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(program.threads, "before_imports", lambda threads: None)
    with warnings.catch_warnings(), pytest.raises(SystemExit, match="no such case"):
        program.main()


def test_jax_is_told_its_threads_before_it_is_imported(monkeypatch):
    monkeypatch.setenv("NPROC", "64")
    program.threads.before_imports(1)
    assert os.environ["NPROC"] == "1"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_memory_freed_before_counts_when_it_is_used_again():
    """Many small blocks, which glibc would keep for later requests."""
    code = (
        "from benchmarks.memory import forget_peak, peak_bytes\n"
        "blocks = [bytearray(10_000) for _ in range(5000)]\n"
        "last = bytearray(10_000)  # what is below it cannot go back of itself\n"
        "del blocks\n"
        "forget_peak()\n"
        "before = peak_bytes()\n"
        "blocks = [bytearray(10_000) for _ in range(5000)]\n"
        "print(peak_bytes() - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) > 40e6  # of the 50


def test_cases_have_names_of_their_own():
    options = SimpleNamespace(quick=False, data=None, rivals=[])
    suites = {name: f(options) for name, f in SUITES.items()}
    names = {name: [case.name for case in cases] for name, cases in suites.items()}
    assert len(names["cells"]) == 18
    for of_suite in names.values():
        assert len(set(of_suite)) == len(of_suite)
