"""The messages of a fit: the table of `verbose`, warnings, the link to the site."""

import importlib
import re
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from breaking import Breaking, needs_callbacks
from places import ROOT
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.utils import estimator_html_repr

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor, _compiled
from sklearn_bp._fitting import reports
from sklearn_bp._fitting.reports import next_step, next_step_of_lbfgs, page_template

RNG = np.random.RandomState(0)
X = RNG.normal(size=(130, 3))
SIGNAL = X[:, 0] + X[:, 1] ** 2
y = np.digitize(SIGNAL, [0, 1])

quiet = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)


def classifier(**options):
    settings = {"hidden_layer_sizes": 5, "max_iter": 7, "random_state": 0}
    return TwoLayerClassifier(**MLP_DEFAULTS | settings | options)


def table(printed):
    """The columns of the printed table, by their titles, and the last line."""
    header, *lines = printed.splitlines()
    assert all(len(line) < 80 for line in (header, *lines))
    rows = [line for line in lines if line.lstrip()[:1].isdigit()]
    titles = re.split(r"\s{2,}", header.strip().replace(" seconds", "  seconds"))
    assert {len(row) for row in rows} == {len(header)}
    columns = np.array([row.split() for row in rows], float).T
    last = " ".join(lines[lines.index(rows[-1]) + 1 :])
    return dict(zip(titles, columns, strict=True)), last


LOSSES = ["train loss", "penalty"]
VALIDATION = ["valid loss", "valid score"]
FALLING = {"solver": "sgd", "learning_rate": "invscaling", "power_t": 1.0}
CASES = {
    "sgd": ({"solver": "sgd"}, LOSSES),
    "no penalty": ({"alpha": 0.0}, LOSSES[:1]),
    "held out": ({"early_stopping": True}, LOSSES + VALIDATION),
    "in turn": ({"early_stopping": "auto", "n_members": 2}, LOSSES + VALIDATION),
    "all": (FALLING | {"early_stopping": True}, [*LOSSES, *VALIDATION, "rate"]),
}
DIGITS = 5e-5  # of five


def assert_losses_are_told(columns, model):
    """The loss and the penalty, which add up to what training minimizes."""
    loss, penalty = columns["train loss"], columns["penalty"]
    np.testing.assert_allclose(loss, model.data_loss_curve_, rtol=DIGITS)
    np.testing.assert_allclose(loss + penalty, model.loss_curve_, rtol=DIGITS)


@quiet
@pytest.mark.parametrize("case", list(CASES))
def test_table_of_epochs(case, capsys):
    options, extra = CASES[case]
    model = classifier(verbose=True, **options).fit(X, y)
    columns, last = table(capsys.readouterr().out)
    assert list(columns) == ["epoch", *extra, "seconds"]
    np.testing.assert_array_equal(columns["epoch"], np.arange(1, model.n_iter_ + 1))
    assert_losses_are_told({"penalty": 0.0} | columns, model)
    assert (np.diff(columns["seconds"]) >= 0).all()
    curves = {
        "valid score": model.validation_scores_,
        "valid loss": model.validation_loss_curve_,
    }
    for name in set(curves) & set(columns):
        np.testing.assert_allclose(columns[name], curves[name], rtol=DIGITS)
    assert last.startswith("Ended after epoch 7: max_iter is reached.")
    kept = re.search(r"The weights are those of epoch (\d+)\.$", last)
    assert model.best_iter_ == (int(kept[1]) if kept else 7)


@quiet
def test_rates_are_those_of_the_epoch(capsys):
    def rates(**options):
        classifier(verbose=True, batch_size=130, shuffle=False, **options).fit(X, y)
        return table(capsys.readouterr().out)[0]["rate"]

    # One step per epoch, so the rate of the step is that of the epoch.
    t = 130 * np.arange(7)
    np.testing.assert_allclose(rates(**FALLING), 0.001 / (t + 1), rtol=DIGITS)
    by_step = rates(learning_rate=lambda step: 0.5**step)
    np.testing.assert_allclose(by_step, 0.001 * 0.5 ** np.arange(7), rtol=DIGITS)


def test_table_says_where_the_penalty_is_dropped(capsys):
    settings = {"hidden_layer_sizes": 5, "batch_size": 4, "tol": 0.05}
    settings |= {"random_state": 0, "verbose": 1000, "numeric_encoding": None}
    model = TwoLayerRegressor(**settings).fit(X, SIGNAL)
    printed = capsys.readouterr().out
    columns, _ = table(printed)
    penalties = np.subtract(model.loss_curve_, model.data_loss_curve_)
    first = int(np.argmax(penalties == 0)) + 1  # the first epoch without
    assert (penalties[first - 1 :] == 0).all()
    np.testing.assert_array_equal(columns["epoch"], [1, first - 1, model.n_iter_])
    assert (columns["penalty"][:-1] > 0).all()
    assert columns["penalty"][-1] == 0
    best = int(np.argmin(model.validation_loss_curve_[: first - 1])) + 1
    line = printed.splitlines()[3]
    assert line == (
        f"The penalty is dropped: training continues from the weights of epoch {best}."
    )


@quiet
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_losses_without_the_penalty_are_those_of_the_rows(solver):
    """In one batch, of the network before the epoch; lbfgs: after."""
    options = {"solver": solver, "alpha": 3.0, "batch_size": "full"}
    curve = classifier(**options).fit(X, y).data_loss_curve_
    for n in (2, 5):
        model = classifier(**options, max_iter=n).fit(X, y)
        loss = log_loss(y, model.predict_proba(X))
        at = n - 1 if solver == "lbfgs" else n
        np.testing.assert_allclose(curve[at], loss, rtol=1e-10)
        if solver == "lbfgs":
            square = sum(np.square(w).sum() for w in model.coefs_)
            penalty = 3.0 * square / (2 * len(X))
            np.testing.assert_allclose(model.loss_ - loss, penalty, rtol=1e-10)


@quiet
def test_every_so_many_epochs(capsys):
    classifier(verbose=3).fit(X, y)
    columns, _ = table(capsys.readouterr().out)
    assert list(columns["epoch"]) == [1, 3, 6, 7]
    model = classifier(verbose=100, tol=10.0, n_iter_no_change=1).fit(X, y)
    columns, last = table(capsys.readouterr().out)
    assert list(columns["epoch"]) == [1, model.n_iter_]
    assert last == "Ended after epoch 3: the loss no longer improves by tol."


ENGINES = ["python", "compiled"] if _compiled.is_built() else ["python"]
OPTIMIZERS = {
    "adam": {},
    "held out": {"early_stopping": True},
    "lbfgs": {"solver": "lbfgs", "tol": 0.0},
}


def assert_last_epoch_has_a_line(printed, model, every):
    columns, last = table(printed)
    n = model.n_iter_
    assert n % every > 0  # otherwise it has one anyway
    expected = [1, *range(every, n, every), n]
    np.testing.assert_array_equal(columns["epoch"], np.unique(expected))
    assert f"Ended after epoch {n}" in last
    at = columns["epoch"].astype(int) - 1
    losses = np.take(model.data_loss_curve_, at)
    np.testing.assert_allclose(columns["train loss"], losses, rtol=DIGITS)


@quiet
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("solver", list(OPTIMIZERS))
def test_last_epoch_has_a_line(engine, solver, capsys, monkeypatch):
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "auto" if solver == "lbfgs" else engine)
    model = classifier(verbose=4, **OPTIMIZERS[solver]).fit(X, y)
    assert model.n_iter_ == 7
    assert_last_epoch_has_a_line(capsys.readouterr().out, model, 4)


@quiet
@needs_callbacks
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("solver", list(OPTIMIZERS))
@pytest.mark.parametrize("at", [2, 3, 6])
@pytest.mark.parametrize(
    ("error", "reason"), [(None, "callback"), (KeyboardInterrupt(), "interrupted")]
)
def test_epoch_at_which_a_callback_ends_training_has_a_line(
    error, reason, at, solver, engine, capsys, monkeypatch
):
    monkeypatch.setenv("SKLEARN_BP_ENGINE", "auto" if solver == "lbfgs" else engine)
    model = classifier(verbose=4, **OPTIMIZERS[solver])
    model.set_callbacks(Breaking(at, error))
    expected = (
        pytest.warns(UserWarning, match="interrupted") if error else nullcontext()
    )
    with expected:
        model.fit(X, y)
    assert (model.n_iter_, model.stop_reason_) == (at, reason)
    assert_last_epoch_has_a_line(capsys.readouterr().out, model, 4)


def test_both_trainings_of_a_fit_have_a_line_for_their_last_epoch(capsys):
    rng = np.random.RandomState(1)
    rows = rng.normal(size=(240, 3))
    model = TwoLayerClassifier(hidden_layer_sizes=8, verbose=1000, random_state=0)
    model.fit(rows, rows[:, 0] * rows[:, 1] > 0)
    printed = capsys.readouterr().out
    assert printed.count("A second training begins") == 1
    header = printed.splitlines()[0] + "\n"
    assert printed.count(header) == 2
    columns, last = table(header + printed.replace(header, ""))
    n_first, n = model.first_n_iter_, model.n_iter_
    assert 1 < n_first < n
    np.testing.assert_array_equal(columns["epoch"], [1, n_first, n])
    losses = np.take(model.validation_loss_curve_, [0, n_first - 1, n - 1])
    np.testing.assert_allclose(columns["valid loss"], losses, rtol=DIGITS)
    assert f"Ended after epoch {n}" in last


def test_partial_fit_prints_every_so_many_calls(capsys):
    model = classifier(verbose=3)
    for _ in range(7):
        model.partial_fit(X, y, classes=[0, 1, 2])
    columns, _ = table(capsys.readouterr().out)
    np.testing.assert_array_equal(columns["epoch"], [1, 3, 6])


@quiet
def test_table_of_lbfgs_has_no_rate(capsys):
    model = classifier(verbose=True, solver="lbfgs").fit(X, y)
    columns, last = table(capsys.readouterr().out)
    assert list(columns) == ["epoch", *LOSSES, "seconds"]
    assert_losses_are_told(columns, model)
    assert last.startswith("Ended after epoch 7: status=1: STOP")


def test_partial_fit_continues_the_table(capsys):
    model = classifier(verbose=True)
    for _ in range(4):
        model.partial_fit(X, y, classes=[0, 1, 2])
    columns, last = table(capsys.readouterr().out)
    np.testing.assert_array_equal(columns["epoch"], [1, 2, 3, 4])
    assert_losses_are_told(columns, model)
    assert last == ""


def test_silence_is_the_default(capsys):
    with pytest.warns(ConvergenceWarning):
        classifier().fit(X, y)
    assert capsys.readouterr() == ("", "")


# What to do next.


def advice(curve, X=None):
    result = SimpleNamespace(state=SimpleNamespace(loss_curve=list(curve)))
    return next_step(result, X, 0.1)


def test_advice_by_the_curve():
    epochs = np.arange(40)
    falling = advice(np.exp(-epochs / 20))
    fall = 1 - np.exp(-10 / 20)
    assert f"still falling, by a fraction of {fall:.2g} in the last 10" in falling
    assert "increase max_iter" in falling
    swinging = advice(1 + 0.1 * (-1.0) ** epochs)
    assert "epochs. Lower learning_rate_init (0.1)" in swinging
    assert "in 5 of the last 10 epochs" in swinging
    # Falling with noise is falling; a flat curve does not swing.
    noise = 0.002 * np.random.RandomState(0).normal(size=40)
    assert "still falling" in advice(np.exp(-epochs / 20) + noise)
    for flat in ([1.0], [1.0, 0.9], np.ones(40)):
        assert advice(flat) == "Increase max_iter or tol."
    # A curve may begin at 0: targets may be fitted exactly, and losses negative.
    for from_zero in (-np.arange(4.0), np.arange(4.0) ** 2, np.array([0.0, 1, 0, 0])):
        assert advice(from_zero)
    for curve in (falling, swinging):
        assert "deviations" not in curve


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_advice_by_the_features(kind):
    def about(factors):
        return advice(np.ones(9), kind(X * factors))

    assert about([1, 2, 0.5]) == "Increase max_iter or tol."
    assert about([1, 0, 1]) == "Increase max_iter or tol."
    assert about([0, 0, 0]) == "Increase max_iter or tol."
    for factors in ([1, 1e4, 1], [1e3, 1e3, 1e3], [1e-3] * 3, [1, 1e300, 1]):
        assert "standardize=True" in about(factors)


@pytest.mark.parametrize("regression", [False, True])
def test_following_the_advice_helps(regression):
    """Following the advice gives the missing convergence."""
    estimator = TwoLayerRegressor if regression else TwoLayerClassifier
    target = SIGNAL if regression else y
    settings = {"hidden_layer_sizes": 5, "random_state": 0, "solver": "sgd"}
    if regression:
        settings["alpha"] = 0.1

    def fitted(X, **options):
        model = estimator(**MLP_DEFAULTS | settings | options)
        with pytest.warns(ConvergenceWarning, match="hasn't converged yet") as caught:
            model.fit(X, target)
        return model, str(caught[0].message)

    short, message = fitted(X, max_iter=20)
    assert "increase max_iter" in message
    assert "deviations" not in message
    assert fitted(X, max_iter=40)[0].loss_ < short.loss_

    # Steps too large for some columns, and too small for others.
    wide = X * [1, 1e-3, 1e3 if not regression else 30]
    badly, message = fitted(wide, max_iter=40, n_iter_no_change=1000)
    assert "set standardize=True" in message
    better, message = fitted(wide, max_iter=40, n_iter_no_change=1000, standardize=True)
    assert "standardize" not in message
    assert better.score(wide, target) > badly.score(wide, target)


def test_advice_against_swinging():
    rough = classifier(learning_rate_init=2.0, max_iter=60, n_iter_no_change=1000)
    with pytest.warns(ConvergenceWarning, match="Lower learning_rate_init") as caught:
        rough.fit(X, y)
    assert "(2)" in str(caught[0].message)
    smooth = classifier(learning_rate_init=0.01, max_iter=60, n_iter_no_change=1000)
    with pytest.warns(ConvergenceWarning):
        smooth.fit(X, y)
    assert smooth.loss_ < rough.loss_


def test_advice_for_lbfgs():
    options = {"solver": "lbfgs", "alpha": 1.0}
    with pytest.warns(ConvergenceWarning, match=r"Increase max_iter \(3\)"):
        classifier(max_iter=3, **options).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"Increase max_fun \(4\)"):
        classifier(max_iter=500, max_fun=4, **options).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier(max_iter=5000, **options).fit(X, y)
    abnormal = next_step_of_lbfgs("status=2: ABNORMAL: ", 1e5 * X, 3, 4)
    assert abnormal.startswith("The features' standard deviations")
    assert "found no lower loss" in abnormal


# The link to the site.


def pages_of_classes():
    """The pages of the reference, by the full names of their objects."""
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    module, folder, pages = None, None, {}
    for line in text.splitlines():
        if found := re.match(r"\.\. currentmodule:: ([\w.]+)", line):
            module, folder = found[1], None
        elif found := re.match(r"   :toctree: (\w+)", line):
            folder = found[1]
        elif folder and (found := re.match(r"   (\w+)$", line)):
            pages[f"{module}.{found[1]}"] = f"{folder}/{module}.{found[1]}.html"
    return pages


@pytest.mark.parametrize("module", ["sklearn_bp", "sklearn_bp.dask"])
@pytest.mark.parametrize("name", ["TwoLayerClassifier", "TwoLayerRegressor"])
def test_html_links_to_the_page_of_the_site(module, name, monkeypatch):
    pytest.importorskip(module)
    model = getattr(importlib.import_module(module), name)()
    assert model._get_doc_link() == page_template() == ""  # there is no address yet
    assert f"{name}</a>" not in estimator_html_repr(model)
    site = "https://site.example/"
    monkeypatch.setattr(reports, "SITE", site)
    monkeypatch.setattr(type(model), "_doc_link_template", page_template())
    page = site + pages_of_classes()[f"{module}.{name}"]
    assert f'href="{page}"' in estimator_html_repr(model)
