"""Laws of the accuracy benchmark; no test judges how good a rival is."""

import json
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.tree import DecisionTreeClassifier

from benchmarks import accuracy, accuracy_rivals
from benchmarks.accuracy_metrics import calibration_error, class_metrics, number_metrics
from benchmarks.accuracy_report import by_table, differences, lost, markdown, ratios
from benchmarks.accuracy_rivals import (
    MOST_LEVELS,
    NEEDS,
    RIVALS,
    SLOW,
    TITLES,
    TextAsCategories,
    encoder,
    installed,
    numbered_columns,
    with_strings,
)
from benchmarks.accuracy_tables import (
    CLASSES,
    NUMBERS,
    Table,
    as_table,
    load_tables,
    split,
    task_of,
)
from benchmarks.accuracy_time_picture import (
    Dot,
    box_of,
    dots_of,
    extent_of,
    figure_of,
    overlap,
)
from benchmarks.accuracy_time_picture import draw as draw_time

EPS = np.finfo(np.float64).eps


def two_columns(first):
    """Probabilities of two classes from those of the first."""
    return np.column_stack([first, np.subtract(1, first)])


# What is measured


def test_calibration_error_by_hand():
    """Of four rows, two share a bin: confidence 0.91, accuracy 0.5, weight 1/2.

    One of 0.7 is right, gap 0.3, weight 1/4; the one of 1 is right, gap 0.
    """
    probabilities = two_columns([0.9, 0.08, 0.7, 1.0])
    assert calibration_error(probabilities, np.zeros(4)) == pytest.approx(
        0.41 / 2 + 0.3 / 4
    )


def test_calibrated_probabilities_have_no_calibration_error():
    probabilities = two_columns([0.75] * 4)
    assert calibration_error(probabilities, np.array([0, 0, 1, 0])) == 0


def test_a_bin_holds_its_upper_edge():
    """0.6 is 9 / 15: with 0.59 in one bin, gaps +0.6 and -0.41; not with 0.61."""
    y = np.array([1, 0])
    assert calibration_error(two_columns([0.6, 0.59]), y) == pytest.approx(0.19 / 2)
    assert calibration_error(two_columns([0.6, 0.61]), y) == pytest.approx(0.99 / 2)


def test_a_class_that_training_lacked_has_the_least_probability():
    found = class_metrics(two_columns([0.8, 0.5, 0.4]), [0, 2], np.arange(3), 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    expected = -(np.log(0.8) + np.log(EPS) + np.log(0.6)) / 3
    assert found["log_loss"] == pytest.approx(expected)


def test_log_loss_does_not_depend_on_the_precision():
    """A zero costs the same; in float32 scikit-learn would clip it at 1e-7."""
    single = two_columns([0.0, 1.0]).astype(np.float32)
    found = class_metrics(single, [0, 1], np.array([0, 0]), 2)
    assert found["log_loss"] == pytest.approx(-np.log(EPS) / 2)


def test_r2_and_rmse_by_hand():
    """Squared errors 0, 0, 4 of a target with squared deviations 1, 0, 1."""
    found = number_metrics(np.array([1, 2, 5]), np.array([1.0, 2, 3]))
    assert found == {"r2": pytest.approx(-1), "rmse": pytest.approx(np.sqrt(4 / 3))}


# Statistics paired over tables


def test_paired_differences_by_hand():
    """Gaps 1, 0, 3: variance 7/3, so the standard error is sqrt(7/9)."""
    found = differences([1, 2, 4], [0, 2, 1])
    assert found.mean == pytest.approx(4 / 3)
    assert found.standard_error == pytest.approx(np.sqrt(7) / 3)
    assert (found.median, found.wins, found.ties, found.n) == (1, 2, 1, 3)


def test_one_table_has_no_standard_error():
    assert differences([1], [3]).standard_error is None


def test_rounding_makes_no_winner():
    assert differences([0.1 + 0.2], [0.3]).ties == 1


def test_ratios_by_hand():
    found = ratios([1, 8], [2, 4])
    assert found.of_means == 1.5
    assert found.geometric == pytest.approx(1)
    assert (found.worst, found.lower, found.n) == (2, 1, 2)


def scored(table, rival, task=CLASSES, **values):
    """A result of a table's only fold."""
    seconds = {"fit_seconds": 1.0, "predict_seconds": 0.1}
    fold = {"repeat": 0, "fold": 0, "folds": 5, "warnings": []}
    return {"table": table, "rival": rival, "task": task, **fold, **seconds, **values}


def of_classes(table, rival, accuracy, log_loss, **values):
    values = {"calibration_error": 0.01, **values}
    return scored(table, rival, accuracy=accuracy, log_loss=log_loss, **values)


def test_a_table_is_lost_if_ours_is_below_0_and_ridge_above_02():
    values = {"a": (-0.1, 0.3), "b": (-0.1, 0.1), "c": (0.1, 0.9), "d": (-2.0, 0.25)}
    scores = {
        table: {"ours": {"r2": ours}, "linear": {"r2": ridge}}
        for table, (ours, ridge) in values.items()
    }
    assert lost(scores) == ["a", "d"]


def test_scores_are_means_over_folds_and_failures_are_left_out():
    results = [
        of_classes("a", "ours", 0.9, 0.2),
        of_classes("a", "ours", 0.7, 0.4),
        of_classes("a", "mlp", 0.9, 0.2),
        scored("a", "mlp", error="ValueError: no"),
    ]
    scores = by_table(results, CLASSES)
    assert list(scores["a"]) == ["ours"]
    assert scores["a"]["ours"]["accuracy"] == pytest.approx(0.8)
    assert scores["a"]["ours"]["log_loss"] == pytest.approx(0.3)


def cells(text, first):
    """The cells of the Markdown rows whose first cell is `first`."""
    rows = [line.strip("| ").split("|") for line in text.splitlines()]
    rows = [[cell.strip() for cell in row] for row in rows]
    return [row[1:] for row in rows if row[0] == first]


def test_markdown_of_classes_by_hand():
    """Accuracy gaps of 1 and 3 points; log-loss ratios 1/2 and 2, of means 5/4."""
    text = markdown(
        [
            of_classes("a", "ours", 0.91, 0.1),
            of_classes("a", "mlp", 0.90, 0.2, fit_seconds=2.0),
            of_classes("b", "ours", 0.93, 0.4, calibration_error=0.03),
            of_classes("b", "mlp", 0.90, 0.2, fit_seconds=0.5),
        ]
    )
    means, against = cells(text, "MLP, scaled")
    assert means == ["90.00", "0.2000", "1.00", "1.25", "0.1", "2"]
    assert against == [
        *["+2.00 ± 1.00", "2 of 2", "1.250", "1.000", "1 of 2", "+1.00 ± 1.00"],
        *["0.8", "2"],
    ]
    assert cells(text, "b") == [
        ["93.00 / 0.4000 / 3.00 / 1", "90.00 / 0.2000 / 1.00 / 0.5"]
    ]


def test_markdown_of_numbers_by_hand():
    text = markdown(
        [
            scored("a", "ours", NUMBERS, r2=0.9, rmse=1.0),
            scored("a", "linear", NUMBERS, r2=0.8, rmse=2.0),
            scored("b", "ours", NUMBERS, r2=-0.2, rmse=8.0),
            scored("b", "linear", NUMBERS, r2=0.4, rmse=4.0),
        ]
    )
    means, against = cells(text, "logistic / ridge")
    assert means == ["0.6000", "0.6000", "0", "1", "0.1", "2"]
    assert against == ["1 of 2", "-0.2500", "-0.2500 ± 0.3500", "1.000", "1", "1"]
    assert "R2 below 0 where ridge is above 0.2: b." in text


def test_markdown_tells_of_warnings_and_failures():
    results = [
        of_classes("a", "ours", 0.9, 0.2, warnings=["UserWarning: hot"]),
        scored("a", "mlp", error="ValueError: no"),
    ]
    text = markdown(results)
    assert "Warnings of sklearn_bp: 1.\n- a: UserWarning: hot" in text
    assert "Failed fits: 1.\n- mlp on a: ValueError: no" in text
    assert "Warnings of sklearn_bp: none." in markdown(
        [of_classes("a", "ours", 0.9, 0.2)]
    )


# The picture of quality against time


def of_two_tables(rival, losses, seconds=(1.0, 1.0)):
    return [
        of_classes(table, rival, 0.9, loss, fit_seconds=time)
        for table, loss, time in zip("ab", losses, seconds, strict=True)
    ]


def test_a_dot_by_hand():
    """Ratios 2 and 8: geometric mean 4, a standard error of log 2 around it.

    Seconds 1 and 4: geometric mean 2.
    """
    results = of_two_tables("ours", (0.1, 0.1))
    results += of_two_tables("mlp", (0.2, 0.8), (1.0, 4.0))
    ours, mlp = dots_of(by_table(results, CLASSES), "log_loss")
    assert (ours.rival, ours.seconds, ours.loss) == ("ours", 1, 1)
    assert ours.low == ours.high == 1
    expected = Dot("mlp", *map(pytest.approx, (2, 4, 2, 8)))
    assert mlp == expected


def test_a_dot_tells_of_the_tables_that_both_did():
    results = of_two_tables("ours", (0.1, 0.1))
    results += [of_classes("a", "mlp", 0.9, 0.3), scored("b", "mlp", error="no")]
    _, mlp = dots_of(by_table(results, CLASSES), "log_loss")
    assert mlp == Dot("mlp", 1, *map(pytest.approx, (3, 3, 3)))


OF_CLASSES = [
    Dot("ours", 0.08, 1, 1, 1),
    Dot("mlp", 0.28, 1.48, 1.35, 1.61),
    Dot("trees", 0.22, 1.52, 1.4, 1.65),
    Dot("linear", 0.018, 1.39, 1.24, 1.55),
    Dot("lightgbm", 0.093, 1.4, 1.32, 1.49),
    Dot("xgboost", 0.079, 1.39, 1.33, 1.45),
    Dot("catboost", 4, 1.06, 1.01, 1.12),
    Dot("realmlp", 5.1, 1.41, 1.27, 1.56),
    Dot("xrfm", 0.073, 1.44, 1.27, 1.62),
]
OF_NUMBERS = [
    Dot("ours", 0.11, 1, 1, 1),
    Dot("mlp", 0.2, 1.86, 1.42, 2.43),
    Dot("trees", 0.091, 1.33, 1.24, 1.44),
    Dot("linear", 0.01, 2.41, 1.72, 3.39),
    Dot("lightgbm", 0.031, 1.3, 1.2, 1.41),
    Dot("xgboost", 0.061, 1.3, 1.23, 1.37),
    Dot("catboost", 0.9, 1.22, 1.12, 1.32),
    Dot("realmlp", 5.3, 1.21, 1.08, 1.35),
    Dot("xrfm", 0.052, 1.05, 0.942, 1.17),
]
"""Crowds: the dots of the published picture, rounded."""


def in_a_row(spread):
    """Dots side by side, one above the other, or far apart."""
    return [Dot("ours", 1.0, 1.0, 1.0, 1.0)] + [
        Dot(rival, spread**i, 1.05 * spread**i, spread**i, 1.1 * spread**i)
        for i, rival in enumerate(["trees", "realmlp", "mlp"])
    ]


@pytest.mark.parametrize(
    "panels",
    [*([in_a_row(spread)] for spread in (1.0, 1.2, 3.0)), [OF_CLASSES, OF_NUMBERS]],
)
def test_names_cover_no_dots_and_no_names(panels):
    """Nor are they cut off at the sides.  The end of a bar may touch a name."""
    figure = figure_of([("loss", "8 tables", dots) for dots in panels])
    for ax, dots in zip(figure.axes, panels, strict=True):
        names = [box_of(name) for name in ax.texts]
        assert len(names) == len(dots)
        boxes = [*names, *(extent_of(ax, dot) for dot in dots)]
        extents = np.array([box.extents for box in boxes])
        for i, name in enumerate(names):
            covered = overlap(extents[[i]], np.delete(extents, i, axis=0))
            assert covered < 0.02 * name.width * name.height
        frame = ax.get_window_extent()
        assert all(frame.containsx(x) for name in names for x in (name.x0, name.x1))


def test_a_picture_of_each_task_that_has_rivals(tmp_path):
    from matplotlib.image import imread

    classes = of_two_tables("ours", (0.1, 0.2)) + of_two_tables("mlp", (0.2, 0.3))
    numbers = [
        scored("c", rival, NUMBERS, r2=0.9, rmse=1.0) for rival in ("ours", "trees")
    ]
    assert draw_time(of_two_tables("ours", (0.1, 0.2)), tmp_path) is None
    heights = [
        imread(draw_time(results, tmp_path)).shape[0]
        for results in (classes, classes + numbers)
    ]
    assert heights[1] == 2 * heights[0]


# Reading of tables


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["yes", "no", "yes"], CLASSES),
        ([True, False, True], CLASSES),
        ([3, 1, 2], CLASSES),
        ([1.0, 2.0, 1.0], CLASSES),
        ([1.0, 2.5, 1.0], NUMBERS),
        (range(20), CLASSES),
        (range(21), NUMBERS),
    ],
)
def test_task_of_a_target(target, task):
    assert task_of(pd.Series(target)) == task


CSV = """size,town,warm,class
1.5,Bonn,True,2
,Aachen,False,1
3,,True,2
4,Bonn,False,
"""


@pytest.mark.parametrize("outer", ["", "tables/", "more/tables/"])
def test_tables_below_a_folder(tmp_path, outer):
    for name in ["classification/a.csv", "regression/b.csv.gz", "c.csv", "d.txt"]:
        path = tmp_path / outer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        compression = "gzip" if name.endswith("gz") else None
        pd.DataFrame({"x": [1, 2], "y": [3, 4]}).to_csv(
            path, index=False, compression=compression
        )
    tables = load_tables(tmp_path)
    prefix = outer.removeprefix("tables/")
    assert [(table.name, table.task) for table in tables] == [
        (f"{prefix}{name}", task)
        for name, task in sorted(
            [("c", CLASSES), ("classification/a", CLASSES), ("regression/b", NUMBERS)]
        )
    ]
    (table,) = load_tables(tmp_path, only="regression/b")
    assert table.y.tolist() == [3.0, 4.0]
    (table,) = load_tables(tmp_path / outer / "regression")
    assert (table.name, table.task) == ("b", NUMBERS)


def test_cells_of_a_table(tmp_path):
    """Rows without a target are dropped; empty cells are missing; text stays text."""
    (tmp_path / "t.csv").write_text(CSV)
    (table,) = load_tables(tmp_path)
    assert table.task == CLASSES
    assert table.y.tolist() == [1, 0, 1]
    assert table.n_classes == 2
    assert list(table.X) == ["size", "town", "warm"]
    np.testing.assert_array_equal(table.X["size"], [1.5, np.nan, 3])
    assert table.X["town"].tolist()[:2] == ["Bonn", "Aachen"]
    assert table.X["town"].isna().tolist() == [False, False, True]
    assert table.X["warm"].tolist() == [True, False, True]


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("t.csv", "t.csv.gz"):
        pd.DataFrame({"x": [1], "y": [2]}).to_csv(tmp_path / name, index=False)
    with pytest.raises(ValueError, match="one name"):
        load_tables(tmp_path)


def test_text_is_not_a_target_of_a_regression():
    with pytest.raises(ValueError, match="numbers"):
        as_table("t", NUMBERS, pd.DataFrame({"x": [1], "y": ["a"]}))


def test_own_sets():
    tables = load_tables(max_rows=60)
    assert [table.name for table in tables if table.task == CLASSES] == [
        *["iris", "wine", "breast_cancer", "digits"]
    ]
    assert [table.name for table in tables if table.task == NUMBERS] == ["diabetes"]
    assert all(len(table.y) == len(table.X) == 60 for table in tables)
    assert [table.n_classes for table in tables[:4]] == [3, 3, 2, 10]


def test_a_digest_tells_tables_apart():
    frame = pd.DataFrame({"x": [1.0, 2.0], "t": ["a", None], "y": [1, 0]})
    other = frame.assign(x=[1.0, 2.5])
    assert as_table("t", None, frame).digest == as_table("t", None, frame).digest
    digests = {as_table("t", None, f).digest for f in (frame, other, frame[::-1])}
    assert len(digests) == 3


def test_folds_share_the_rows_and_keep_the_classes():
    (table,) = load_tables(only="iris")
    tests = [split(table, 5, 1, fold)[1] for fold in range(5)]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(150))
    for rows in tests:
        assert np.bincount(table.y[rows]).tolist() == [10, 10, 10]
    assert not np.array_equal(tests[0], split(table, 5, 2, 0)[1])
    for train, rows in (split(table, 5, 1, fold) for fold in range(5)):
        assert not set(train) & set(rows)


# Rivals


def raw_table(n=120, task=CLASSES):
    """Text, booleans and missing cells, which determine the target."""
    rng = np.random.default_rng(0)
    size, warm = rng.normal(size=n), rng.random(n) > 0.5
    town = rng.choice(["Aachen", "Bonn", "Celle"], n)
    score = 3.0 * (town == "Bonn") + 2.0 * warm + size
    frame = pd.DataFrame({"size": size, "town": town, "warm": warm})
    frame.loc[::10, "size"] = np.nan
    frame.loc[5::20, "town"] = None
    frame["target"] = score > np.median(score) if task == CLASSES else 100 * score
    return as_table(f"raw {task}", task, frame)


@pytest.mark.slow
@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
@pytest.mark.parametrize("rival", RIVALS)
def test_every_rival_takes_raw_tables(rival, task):
    """Each is better than a constant (the unscaled network at least for classes).

    Rivals may raise ConvergenceWarnings. No other warning is allowed, except those of
    pytabkit about deprecations in PyTorch.
    """
    if not installed([rival]):
        pytest.skip("not installed")
    table = raw_table(task=task)
    result = accuracy.evaluate(table, accuracy.identity(table, 0, 0, 4, rival))
    assert "error" not in result
    if "pytabkit" not in NEEDS.get(rival, ()):
        assert result["warnings"] == []
    if task == CLASSES:
        assert result["accuracy"] > 0.75
    elif rival != "mlp-raw":
        assert result["r2"] > 0.4
    json.dumps(result)


def test_the_encoder_imputes_indicates_and_encodes():
    train = pd.DataFrame({"n": [1.0, 2, 9, np.nan], "t": ["b", "a", None, "b"]})
    test = pd.DataFrame({"n": [np.nan, 5.0], "t": ["a", "new"]})
    fitted = encoder().fit(train)
    none = [0, 0, 0]  # of the levels a, b and missing
    np.testing.assert_array_equal(
        fitted.transform(test), [[2, 1, 1, 0, 0], [5, 0, *none]]
    )


def test_trees_get_the_most_frequent_levels():
    levels = [f"level {number}" for number in range(MOST_LEVELS + 10)]
    train = pd.DataFrame({"t": levels[:MOST_LEVELS] * 2 + levels})
    fitted = TextAsCategories().fit(train)
    found = fitted.transform(pd.DataFrame({"t": [levels[0], levels[-1], "new", None]}))
    assert len(found["t"].cat.categories) == MOST_LEVELS
    assert found["t"].isna().tolist() == [False, True, True, True]
    assert found["t"][0] == levels[0]


def test_trees_get_no_columns_without_values():
    train = pd.DataFrame({"a": [1.0, np.nan], "empty": [np.nan, np.nan]})
    assert list(TextAsCategories().fit(train).transform(train)) == ["a"]


def test_all_levels_are_kept_where_the_trees_take_them():
    levels = [f"level {number}" for number in range(MOST_LEVELS + 10)]
    train = pd.DataFrame({"t": levels})
    fitted = TextAsCategories(None).fit(train)
    assert fitted.transform(train)["t"].notna().all()
    assert fitted.transform(pd.DataFrame({"t": ["new"]}))["t"].isna().all()


def test_missing_text_is_an_empty_string():
    frame = pd.DataFrame({"n": [1.0, np.nan, 2.0], "t": ["b", None, 7]})
    found = with_strings(frame)
    assert found["t"].tolist() == ["b", "", "7"]
    pd.testing.assert_series_equal(found["n"], frame["n"])


def test_columns_get_names_that_every_library_accepts():
    frame = pd.DataFrame({"a [m]": [1], "<b>": ["x"]})
    found = numbered_columns().fit_transform(frame)
    assert list(found) == ["column_0", "column_1"]
    assert found.to_numpy().tolist() == [[1, "x"]]


def test_every_rival_has_a_title():
    assert list(TITLES) == list(RIVALS)
    assert set(NEEDS) <= set(RIVALS)
    assert set(SLOW) <= set(RIVALS)


def test_rivals_that_are_not_installed_are_skipped_with_a_line(monkeypatch, capsys):
    monkeypatch.setitem(NEEDS, "realmlp", ("numpy", "no_such_package"))
    assert installed(["ours", "realmlp", "trees"]) == ["ours", "trees"]
    line = "skipped: realmlp, for no_such_package is not installed\n"
    assert capsys.readouterr().out == line


def test_versions_of_ours_change_with_its_sources(monkeypatch):
    accuracy_rivals.versions_of.cache_clear()
    before = accuracy_rivals.versions_of("ours"), accuracy_rivals.versions_of("mlp")
    monkeypatch.setattr(accuracy_rivals, "sources_digest", lambda: "edited")
    accuracy_rivals.versions_of.cache_clear()
    after = accuracy_rivals.versions_of("ours"), accuracy_rivals.versions_of("mlp")
    accuracy_rivals.versions_of.cache_clear()
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize("name", ["a.py", "room/a.c", "room/a.h", "room/a.so"])
def test_digest_of_the_sources_covers_what_is_compiled(name, tmp_path):
    digest = accuracy_rivals.sources_digest.__wrapped__
    (tmp_path / "room").mkdir()
    (tmp_path / "README").write_text("no source")
    found = [digest(tmp_path)]
    for text in ("one", "two"):
        (tmp_path / name).write_text(text)
        found.append(digest(tmp_path))
    assert len(set(found)) == 3
    (tmp_path / "README").write_text("still no source")
    assert digest(tmp_path) == found[-1]


# Running and resuming


@pytest.fixture
def cheap(monkeypatch):
    """Rivals that cost nothing, and a clock that stands still; counts the fits."""
    fits = SimpleNamespace(n=0, stop_at=None)

    def constant(task, seed):
        fits.n += 1
        if fits.n == fits.stop_at:
            raise KeyboardInterrupt
        return DummyClassifier() if task == CLASSES else DummyRegressor()

    clock = SimpleNamespace(perf_counter=lambda: 0.0, process_time=lambda: 0.0)
    monkeypatch.setattr(accuracy, "time", clock)
    monkeypatch.setattr(accuracy, "gc", SimpleNamespace(collect=lambda: None))  # slow
    for name in ("ours", "linear"):
        monkeypatch.setitem(RIVALS, name, constant)
    return fits


def run(out, rivals=("ours", "linear"), repeats=2, folds=3):
    return accuracy.run(small_tables(), rivals, repeats, folds, out=out)


def results_in(path):
    """The results in a file, without the lines for the machine."""
    contents = map(json.loads, path.read_text().splitlines())
    return [content for content in contents if "machine" not in content]


def small_tables():
    return [raw_table(30, task) for task in (CLASSES, NUMBERS)]


@pytest.mark.parametrize("stop_at", [1, 2, 8, 24])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(cheap, tmp_path, stop_at):
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    expected = run(whole)
    assert cheap.n == len(expected) == 2 * 2 * 3 * 2
    cheap.n, cheap.stop_at = 0, stop_at
    with pytest.raises(KeyboardInterrupt):
        run(broken)
    if stop_at > 1:
        assert len(results_in(broken)) == stop_at - 1
    cheap.n, cheap.stop_at = 0, None
    assert run(broken) == expected
    assert cheap.n == 24 - (stop_at - 1)  # nothing is fitted twice
    assert broken.read_bytes() == whole.read_bytes()


def test_a_finished_run_fits_nothing(cheap, tmp_path):
    run(tmp_path / "r.jsonl")
    before, cheap.n = (tmp_path / "r.jsonl").read_bytes(), 0
    run(tmp_path / "r.jsonl")
    assert cheap.n == 0
    assert (tmp_path / "r.jsonl").read_bytes() == before


@pytest.mark.parametrize("lost", [1, 40])
def test_a_line_that_was_cut_off_is_fitted_again(cheap, tmp_path, lost):
    out = tmp_path / "r.jsonl"
    expected = run(out)
    whole, cheap.n = out.read_bytes(), 0
    out.write_bytes(whole[:-lost])
    assert run(out) == expected
    assert cheap.n == 1
    assert out.read_bytes() == whole


def test_a_result_only_appends_to_the_file(cheap, tmp_path):
    out = tmp_path / "r.jsonl"
    run(out, ["linear"], repeats=1)
    before = out.read_bytes()
    run(out, ["ours"], repeats=1)
    after = out.read_bytes()
    assert after.startswith(before)
    assert len(results_in(out)) == 12
    assert after.count(b'"machine"') == 1


def test_another_machine_is_recorded(cheap, tmp_path, monkeypatch):
    out = tmp_path / "r.jsonl"
    run(out, ["linear"], repeats=1)
    monkeypatch.setattr(accuracy, "machine", lambda: {"cpu": "another"})
    run(out, ["ours"], repeats=1)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    machines = [at for at, line in enumerate(lines) if "machine" in line]
    assert machines == [0, 7]
    assert lines[7] == {"machine": {"cpu": "another"}}


def test_new_versions_folds_and_data_are_run_again(cheap, tmp_path, monkeypatch):
    out = tmp_path / "r.jsonl"
    run(out, ["linear"], repeats=1)
    assert cheap.n == 6
    run(out, ["linear"], repeats=1, folds=2)
    assert cheap.n == 6 + 4
    accuracy.run([raw_table(40)], ["linear"], 1, 3, out=out)
    assert cheap.n == 10 + 3
    monkeypatch.setattr(accuracy, "versions_of", lambda rival: "newer")
    run(out, ["linear"], repeats=1)
    assert cheap.n == 13 + 6
    assert len(results_in(out)) == 19  # the old ones are kept


def test_an_error_ends_nothing_and_is_tried_again(cheap, tmp_path, monkeypatch):
    def broken(task, seed):
        raise ValueError("first line\nsecond line")

    out = tmp_path / "r.jsonl"
    with monkeypatch.context() as patch:
        patch.setitem(RIVALS, "linear", broken)
        results = run(out, repeats=1)
    failed = [result for result in results if "error" in result]
    assert [result["rival"] for result in failed] == ["linear"] * 6
    assert failed[0]["error"] == "ValueError: first line"
    assert cheap.n == 6
    assert not any("error" in result for result in run(out, repeats=1))
    assert cheap.n == 12


def test_results_with_seconds_of_another_clock_are_run_again(cheap, tmp_path):
    out = tmp_path / "r.jsonl"
    run(out, ["linear"], repeats=1)
    older = results_in(out)
    for result in older:
        del result["clock"]
    out.write_text("".join(json.dumps(result) + "\n" for result in older))
    run(out, ["linear"], repeats=1)
    assert cheap.n == 6 + 6


def test_rivals_get_classes_without_gaps(monkeypatch):
    """Training rows lack class 1, so the second column of a rival is class 2."""
    y = np.array([0, 0, 2, 2, 1])
    table = Table("t", CLASSES, pd.DataFrame({"x": np.arange(5.0)}), y)

    class Tree(DecisionTreeClassifier):
        def fit(self, X, y):
            assert np.unique(y).tolist() == [0, 1]
            return super().fit(X, y)

    train, test = np.arange(4), np.array([0, 2])
    assert accuracy.measure(Tree(), table, train, test)["accuracy"] == 1


def test_warnings_of_ours_are_kept_and_convergence_of_rivals_is_not(monkeypatch):
    class Noisy(DummyClassifier):
        def fit(self, X, y):
            warnings.warn("not yet", ConvergenceWarning, stacklevel=1)
            warnings.warn("odd", UserWarning, stacklevel=1)
            return super().fit(X, y)

    table = raw_table(30)
    told = {}
    for rival in ("ours", "linear"):
        monkeypatch.setitem(RIVALS, rival, lambda task, seed: Noisy())
        ident = accuracy.identity(table, 0, 0, 3, rival)
        told[rival] = accuracy.evaluate(table, ident)["warnings"]
    assert told["ours"] == ["ConvergenceWarning: not yet", "UserWarning: odd"]
    assert told["linear"] == ["UserWarning: odd"]


def test_output_of_rivals_is_not_shown(monkeypatch, capsys):
    class Talkative(DummyClassifier):
        def fit(self, X, y):
            print("halfway")
            print("almost", file=sys.stderr)
            return super().fit(X, y)

    monkeypatch.setitem(RIVALS, "linear", lambda task, seed: Talkative())
    table = raw_table(30)
    result = accuracy.evaluate(table, accuracy.identity(table, 0, 0, 3, "linear"))
    assert "error" not in result
    assert capsys.readouterr() == ("", "")


def test_predictions_that_are_not_finite_are_an_error(monkeypatch):
    class Endless(DummyRegressor):
        def predict(self, X):
            return np.full(len(X), np.inf)

    monkeypatch.setitem(RIVALS, "linear", lambda task, seed: Endless())
    table = Table("t", NUMBERS, pd.DataFrame({"x": np.arange(6.0)}), np.arange(6.0))
    result = accuracy.evaluate(table, accuracy.identity(table, 0, 0, 3, "linear"))
    assert "finite" in result["error"]


def test_the_program_writes_results_and_tables(tmp_path, capsys):
    """With the cheapest real rivals; the Markdown equals the printed text."""
    out = tmp_path / "new" / "iris.jsonl"
    arguments = ["--quick", "--only", "iris", "--rivals", "linear,ours"]
    accuracy.main([*arguments, "--out", str(out)])
    printed = capsys.readouterr()
    assert out.with_suffix(".md").read_text() in printed.out
    results = results_in(out)
    assert len(results) == 2 * 3
    assert {result["rows"] for result in results} == {150}
    assert len(printed.err.splitlines()) == 6
    assert "Classification: 1 table, 3 folds" in printed.out


def test_an_unknown_rival_is_an_error():
    with pytest.raises(SystemExit, match="no rival 'nobody'; there are: ours, "):
        accuracy.main(["--rivals", "nobody"])
