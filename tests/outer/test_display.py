"""The drawings of the displays: artists, their data, their labels."""

import re
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from scipy import sparse
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_bp
from sklearn_bp.display import BackpropDisplay, HiddenUnitsDisplay, LossCurveDisplay

mpl.use("Agg")

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def default():
    return sklearn_bp.TwoLayerClassifier(16, n_members=2, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def stopped():
    settings = {"early_stopping": True, "max_iter": "auto", "random_state": 0}
    return TwoLayerClassifier(20, **settings).fit(X, y)


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


# Loss curves.


def test_curves_are_the_fitted_ones(default):
    display = LossCurveDisplay.from_estimator(default)
    (line,), (validation,) = display.lines_, display.validation_lines_
    epochs = np.arange(default.n_iter_) + 1
    assert_array_equal(line.get_xdata(), epochs)
    assert_array_equal(line.get_ydata(), default.data_loss_curve_)
    assert_array_equal(validation.get_xdata(), epochs)
    assert_array_equal(validation.get_ydata(), default.validation_loss_curve_)
    kept = default.best_iter_
    curves = ("data_loss_curve_", "validation_loss_curve_", "validation_scores_")
    for mark, curve in zip(display.kept_[0], curves, strict=True):
        assert mark.get_xdata() == [kept]
        assert mark.get_ydata() == [getattr(default, curve)[kept - 1]]
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "loss"
    assert display.ax_.get_yscale() == "log"
    assert texts(display.ax_.get_legend()) == [
        "training loss",
        "validation loss",
        "validation score",
        f"kept: epoch {kept}",
    ]
    assert display.figure_ is display.ax_.figure


def test_without_scores_there_is_one_axis():
    settings = {"random_state": 0, "early_stopping": False}
    network = TwoLayerClassifier(5, max_iter="auto", **settings).fit(X, y)
    assert LossCurveDisplay.from_estimator(network).score_ax_ is None


def test_scores_have_an_axis_of_their_own(stopped):
    display = LossCurveDisplay.from_estimator(stopped)
    (score,), (*_, mark) = display.score_lines_, display.kept_[0]
    assert score.axes is display.score_ax_ is not display.ax_
    assert_array_equal(score.get_ydata(), stopped.validation_scores_)
    assert mark.get_xdata() == [stopped.best_iter_]
    assert mark.get_ydata() == [stopped.best_validation_score_]
    assert mark.axes is display.score_ax_
    assert "score" in display.score_ax_.get_ylabel()


def test_several_estimators_share_a_picture(default, stopped):
    _, ax = plt.subplots()
    display = LossCurveDisplay.from_estimator(
        {"by default": default, "stopped": stopped}, ax=ax, log_scale=False
    )
    assert display.ax_ is ax
    assert ax.get_yscale() == "linear"
    for line, network in zip(display.lines_, [default, stopped], strict=True):
        assert_array_equal(line.get_ydata(), network.data_loss_curve_)
    colors = [line.get_color() for line in display.lines_]
    assert len(set(colors)) == 2
    assert display.validation_lines_[0].get_color() == colors[0]
    assert display.score_lines_[1].get_color() == colors[1]
    assert texts(ax.get_legend())[:2] == ["by default", "stopped"]


def test_kept_epoch_stands_right_after_a_warm_start():
    settings = {"warm_start": True, "max_iter": "auto", "random_state": 0}
    network = TwoLayerClassifier(5, early_stopping=True, **settings)
    n_first = network.fit(X, y).n_iter_
    network.fit(X, y)
    display = LossCurveDisplay.from_estimator(network)
    assert len(display.lines_[0].get_xdata()) == n_first + network.n_iter_
    kept = int(display.kept_[0][0].get_xdata()[0])
    assert kept == n_first + network.best_iter_
    assert network.validation_scores_[kept - 1] == network.best_validation_score_


def test_shorter_validation_curves_are_of_the_last_epochs():
    display = LossCurveDisplay(loss=[3.0, 2.0, 1.0], validation_loss=[2.5, 2.0])
    display.plot()
    assert_array_equal(display.validation_lines_[0].get_xdata(), [2, 3])
    assert display.kept_ == [[]]


def test_losses_below_zero_have_a_linear_axis():
    display = LossCurveDisplay(loss=[[1.0, -1.0], [2.0, 1.0]], name=["a", "b"]).plot()
    assert display.ax_.get_yscale() == "linear"
    assert texts(display.ax_.get_legend()) == ["a", "b"]


def test_networks_are_found_where_they_are_wrapped(default):
    pipeline = make_pipeline(StandardScaler(), default)
    pipeline.steps[0][1].fit(X)
    regressor = TransformedTargetRegressor(TwoLayerRegressor(3, max_iter="auto"))
    regressor.fit(X[:, :3], X[:, 3])
    mlp = MLPClassifier(early_stopping=True, random_state=0, n_iter_no_change=2)
    mlp.fit(X, y)
    wrapped = [pipeline, regressor, mlp]
    display = LossCurveDisplay.from_estimator(wrapped)
    ours = (default, regressor.regressor_)
    curves = [*(network.data_loss_curve_ for network in ours), mlp.loss_curve_]
    for line, curve in zip(display.lines_, curves, strict=True):
        assert_array_equal(line.get_ydata(), curve)
    assert display.kept_[2] == []  # MLPClassifier does not say
    assert texts(display.ax_.get_legend())[:3] == [
        "TwoLayerClassifier",
        "TwoLayerRegressor",
        "MLPClassifier with its penalty",
    ]


def test_the_legend_says_where_a_loss_has_its_penalty(default):
    """MLPClassifier's has, and that of a fit that continued from one."""
    settings = {"max_iter": 3, "warm_start": True, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        mlp = MLPClassifier(5, **settings).fit(X, y)
    after = sklearn_bp.TwoLayerClassifier.from_mlp(mlp)
    with pytest.warns(ConvergenceWarning):
        after.fit(X, y)
    assert len(after.data_loss_curve_) == 3
    for network in (mlp, after):
        display = LossCurveDisplay.from_estimator(network)
        assert_array_equal(display.lines_[0].get_ydata(), network.loss_curve_)
        label = texts(display.ax_.get_legend())[0]
        assert label == "training loss with its penalty"
    display = LossCurveDisplay.from_estimator(default)
    assert texts(display.ax_.get_legend())[0] == "training loss"


def test_folds_of_a_cross_validation():
    network = TwoLayerClassifier(3, max_iter="auto", random_state=0)
    results = cross_validate(network, X, y, cv=3, return_estimator=True)
    display = LossCurveDisplay.from_cv_results(results)
    for line, fitted in zip(display.lines_, results["estimator"], strict=True):
        assert_array_equal(line.get_ydata(), fitted.data_loss_curve_)
    assert texts(display.ax_.get_legend())[:3] == ["fold 0", "fold 1", "fold 2"]


def test_best_settings_of_a_search():
    pipeline = make_pipeline(
        StandardScaler(), TwoLayerClassifier(3, max_iter="auto", random_state=0)
    )
    grid = {"twolayerclassifier__alpha": [1e-4, 100.0, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    display = LossCurveDisplay.from_cv_results(
        search.cv_results_, pipeline, X, y, n_candidates=2
    )
    labels = texts(display.ax_.get_legend())[:2]
    best = search.best_params_["twolayerclassifier__alpha"]
    assert labels[0] == f"alpha={best}: {search.best_score_:.3g}"
    refitted = search.best_estimator_[-1]
    assert_array_equal(display.lines_[0].get_ydata(), refitted.data_loss_curve_)
    assert len(display.lines_) == 2
    assert not any("alpha=100" in label for label in labels)
    with pytest.raises(ValueError, match="return_estimator=True"):
        LossCurveDisplay.from_cv_results(search.cv_results_)


def test_no_curve_is_an_error():
    with pytest.raises(ValueError, match="has no loss_curve_: fit it first"):
        LossCurveDisplay.from_estimator(TwoLayerClassifier())


# Hidden units.


def contributions(network, X):
    """The contribution of a unit, for relu and classes that exclude each other."""
    (W1, W2), (b1, _) = network.coefs_, network.intercepts_
    a1 = np.maximum(X @ W1 + b1, 0)
    moved = [
        np.outer(a, w) - np.outer(a, w).mean(axis=1, keepdims=True)
        for a, w in zip((a1 - a1.mean(axis=0)).T, W2, strict=True)
    ]
    return np.array([np.sqrt(np.square(m).sum(axis=1).mean()) for m in moved])


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_units_are_drawn_by_contribution(convert):
    fitted = TwoLayerClassifier(20, max_iter="auto", random_state=0)
    fitted.fit(convert(X), y)
    display = HiddenUnitsDisplay.from_estimator(
        fitted, convert(X), image_shape=(2, 2), n_units=7
    )
    expected = contributions(fitted, X)
    assert_allclose(display.contributions, expected, rtol=1e-10)
    assert_array_equal(display.order_, np.argsort(-expected)[:7])
    assert len(display.axes_) == 7
    weights = fitted.coefs_[0] * X.std(axis=0)[:, np.newaxis]
    for unit, ax in zip(display.order_, display.axes_, strict=True):
        (image,) = ax.images
        assert_allclose(image.get_array().ravel(), weights[:, unit], rtol=1e-10)
        low, high = image.get_clim()
        assert low == -high == -np.abs(weights[:, display.order_]).max()
        share = expected[unit] / expected.sum()
        assert ax.get_title() == f"unit {unit}: {share:.1%}"


def test_bars_are_the_largest_weights_by_name():
    table = load_iris(as_frame=True).data
    fitted = sklearn_bp.TwoLayerClassifier(6, n_members=2, random_state=0)
    fitted.fit(table, y)
    display = HiddenUnitsDisplay.from_estimator(
        fitted, table, n_features=3, per_deviation=False
    )
    assert len(display.axes_) == 12
    for unit, ax in zip(display.order_, display.axes_, strict=True):
        weights = fitted.coefs_[0][:, unit]
        chosen = np.argsort(-np.abs(weights))[:3]
        assert_allclose([bar.get_width() for bar in ax.patches], weights[chosen])
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert names == [table.columns[j] for j in chosen]


def test_arrays_without_names_have_default_names():
    weights = np.array([[1.0, -2.0], [3.0, 0.5]])
    display = HiddenUnitsDisplay(weights=weights, contributions=np.array([1.0, 3.0]))
    display.plot()
    assert_array_equal(display.order_, [1, 0])
    names = [[t.get_text() for t in ax.get_yticklabels()] for ax in display.axes_]
    assert names == [["x0", "x1"], ["x1", "x0"]]


def test_categories_have_bars_of_their_own():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"a": rng.normal(size=60), "town": rng.choice(["Aachen", "Bonn"], 60)}
    )
    table.loc[3, "a"] = np.nan
    fitted = sklearn_bp.TwoLayerRegressor(4, n_members=1, random_state=0)
    fitted.fit(table, (table["town"] == "Bonn") * 1.0)
    display = HiddenUnitsDisplay.from_estimator(fitted, table)
    names = {label.get_text() for ax in display.axes_ for label in ax.get_yticklabels()}
    assert names == {"a", "missingindicator_a", "town_Aachen", "town_Bonn"}


def test_units_go_into_given_axes(default):
    figure, (left, right) = plt.subplots(1, 2)
    display = HiddenUnitsDisplay.from_estimator(default, X, ax=right, n_units=3)
    assert display.figure_ is figure
    assert display.ax_ is right
    edge = left.get_position().x1
    assert all(ax.get_position().x0 >= edge for ax in display.axes_)


def test_a_wrong_image_shape_is_an_error(default):
    with pytest.raises(ValueError, match=re.escape("image_shape=(3, 3) has 9 pixels")):
        HiddenUnitsDisplay.from_estimator(default, X, image_shape=(3, 3))


# Forward and back.


def loss_of(fitted, x, y):
    """The sample's loss from the estimator's prediction."""
    if hasattr(fitted, "classes_"):
        p = fitted.predict_proba(x.reshape(1, -1))[0]
        return -np.log(p[list(fitted.classes_).index(y)])
    return np.mean((fitted.predict(x.reshape(1, -1)) - y) ** 2) / 2


def moved(fitted, name, layer, at, step):
    """The loss derivative by one weight or intercept, from differences."""
    array = getattr(fitted, name)[layer]

    def shifted(amount):
        array[at] += amount
        return array

    def measure(sample):
        shifted(step)
        above = loss_of(fitted, *sample)
        shifted(-2 * step)
        below = loss_of(fitted, *sample)
        shifted(step)
        return (above - below) / (2 * step)

    return measure


NETWORKS = {
    "three classes": (TwoLayerClassifier(4, activation="tanh"), X, y),
    "two classes": (TwoLayerClassifier(3), X[:100], y[:100]),
    "members": (
        sklearn_bp.TwoLayerClassifier(3, n_members=2, activation="logistic"),
        X,
        y,
    ),
    "two outputs": (TwoLayerRegressor(3, activation="tanh"), X[:, :2], X[:, 2:]),
    "one output, scaled": (
        sklearn_bp.TwoLayerRegressor(3, n_members=1, activation="tanh"),
        *load_diabetes(return_X_y=True),
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_deltas_and_gradients_are_derivatives_of_the_loss(case):
    network, X, y = NETWORKS[case]
    fitted = network.set_params(random_state=1, max_iter="auto").fit(X, y)
    x, target = X[60], y[60]
    display = BackpropDisplay.from_estimator(fitted, x, target)
    assert_allclose(display.loss, loss_of(fitted, x, target), rtol=1e-10)
    for layer in (0, 1):
        scale = max(np.abs(display.deltas[layer]).max(), 1e-3)
        for unit in range(len(display.deltas[layer])):
            b = fitted.intercepts_[layer]
            step = 1e-5 * max(1, abs(b[unit]))
            delta = moved(fitted, "intercepts_", layer, unit, step)((x, target))
            assert_allclose(display.deltas[layer][unit], delta, atol=1e-5 * scale)
        for at in [(0, 0), (1, 1 % fitted.coefs_[layer].shape[1])]:
            derivative = moved(fitted, "coefs_", layer, at, 1e-5)((x, target))
            gradient = display.gradients[layer]
            assert_allclose(
                gradient[at], derivative, atol=1e-5 * max(np.abs(gradient).max(), 1e-3)
            )


def shown_number(text):
    return float(text.get_text().replace("−", "-"))


def test_picture_shows_activations_and_errors():
    fitted = TwoLayerClassifier(3, solver="lbfgs", random_state=0).fit(X, y)
    display = BackpropDisplay.from_estimator(fitted, X[70], y[70])
    inputs, _, outputs = display.activations
    assert_array_equal(inputs, X[70])
    assert_allclose(outputs, fitted.predict_proba(X[70:71])[0], rtol=1e-10)
    for nodes, values in zip(display.nodes_, display.activations, strict=True):
        assert_array_equal(nodes.get_array(), np.abs(values))
        assert len(nodes.get_offsets()) == len(values)
    for layer in (0, 1):
        weights = fitted.coefs_[layer].ravel()
        edges = display.edges_[layer]
        assert len(edges.get_segments()) == len(weights)
        widths = edges.get_linewidths()
        assert_array_equal(np.argsort(widths), np.argsort(np.abs(weights)))
        numbers = [shown_number(text) for text in display.numbers_[layer]]
        assert_allclose(numbers[::2], weights, rtol=0.06)
        gradients = np.outer(display.activations[layer], display.deltas[layer])
        assert_allclose(display.gradients[layer], gradients, rtol=1e-10, atol=1e-15)
        assert_allclose(numbers[1::2], gradients.ravel(), rtol=0.5)
    written = [text.get_text() for text in display.ax_.texts]
    assert "class 1\ntarget 1" in written
    assert "class 2\ntarget 0" in written
    assert "x3" in written
    assert display.ax_.get_title() == f"loss {display.loss:.3g}\n"


def test_inputs_are_shaded_by_their_scaled_values():
    """A column in other units looks the same."""
    shades = []
    for unit in (1.0, 1e4):
        rows = X * [1, 1, unit, 1]
        fitted = sklearn_bp.TwoLayerClassifier(4, n_members=1, random_state=0)
        display = BackpropDisplay.from_estimator(fitted.fit(rows, y), rows[70], y[70])
        shades.append(np.asarray(display.nodes_[0].get_array()))
    assert_allclose(shades[0], shades[1], rtol=1e-6)
    quartiles = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
    scaled = (X[70] - quartiles[1]) / (quartiles[2] - quartiles[0])
    assert_allclose(shades[0], np.abs(scaled), rtol=1e-6)


def test_numbers_on_edges_do_not_cover_each_other():
    fitted = TwoLayerClassifier(3, solver="lbfgs", random_state=0).fit(X, y)
    display = BackpropDisplay.from_estimator(fitted, X[70], y[70])
    display.figure_.draw_without_rendering()
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    assert overlaps == 0


def test_targets_are_in_the_title_where_outputs_are_more():
    parts = {"weights": [np.ones((1, 2)), np.ones((2, 3))], "loss": 0.25}
    display = BackpropDisplay(
        activations=[np.ones(1), np.ones(2), np.ones(3)],
        deltas=[np.zeros(2), np.zeros(3)],
        gradients=[np.zeros((1, 2)), np.zeros((2, 3))],
        feature_names=["x"],
        output_names=["lower", "middle", "upper"],
        target=np.array([1.5]),
        **parts,
    ).plot()
    assert display.ax_.get_title() == "loss 0.25 at target 1.5\n"
    assert "middle" in [text.get_text() for text in display.ax_.texts]


def test_skip_layer_has_arcs():
    settings = {"max_iter": "auto", "random_state": 0}
    fitted = TwoLayerClassifier(2, skip_layer=True, **settings).fit(X, y)
    x, target = X[70], y[70]
    display = BackpropDisplay.from_estimator(fitted, x, target)
    assert_allclose(display.loss, loss_of(fitted, x, target), rtol=1e-10)
    assert_allclose(display.skip_weights, fitted.skip_coef_)
    assert_allclose(display.skip_gradients, np.outer(x, display.deltas[1]), rtol=1e-10)
    arcs = display.skip_edges_
    for arc, (i, k) in zip(arcs.get_segments(), np.ndindex(4, 3), strict=True):
        starts, ends = display.nodes_[0].get_offsets(), display.nodes_[2].get_offsets()
        assert_allclose(arc[[0, -1]], [starts[i], ends[k]], atol=1e-12)
    widths = arcs.get_linewidths()
    order = np.argsort(np.abs(fitted.skip_coef_).ravel())
    assert_array_equal(np.argsort(widths), order)
    plain = TwoLayerClassifier(2, **settings).fit(X, y)
    assert BackpropDisplay.from_estimator(plain, x, target).skip_edges_ is None


def test_many_units_are_cut_to_those_that_contribute(default):
    x, target = X[100], y[100]
    display = BackpropDisplay.from_estimator(default, x, target, max_units=5)
    a1 = display.activations[1]
    to_scores = np.abs(a1) * np.linalg.norm(default.coefs_[1], axis=1)
    assert set(display.shown_[1]) == set(np.argsort(-to_scores)[:5])
    assert_array_equal(display.nodes_[1].get_array(), a1[display.shown_[1]])
    assert "5 of 32 hidden units" in display.ax_.get_title()
    assert display.numbers_[0] == []  # 4 x 5 edges
    _, ax = plt.subplots()
    assert display.plot(ax).ax_ is ax
    assert len(display.shown_[1]) == 8


def test_rows_of_tables_and_labels_of_all_kinds():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"a": rng.normal(size=60), "town": rng.choice(["Aachen", "Bonn"], 60)}
    )
    labels = np.where(table["a"] > 0, "dear", "cheap")
    fitted = sklearn_bp.TwoLayerClassifier(3, n_members=1, random_state=0)
    fitted.fit(table, labels)
    display = BackpropDisplay.from_estimator(fitted, table.iloc[7], labels[7])
    again = BackpropDisplay.from_estimator(fitted, table.iloc[[7]], labels[7])
    assert_allclose(display.loss, again.loss, rtol=0)
    assert display.output_names == ["class dear"]
    assert_allclose(
        display.activations[2][0], fitted.predict_proba(table.iloc[[7]])[0, 1]
    )
    assert display.feature_names == ["a", "town_Aachen", "town_Bonn"]

    several = np.column_stack([y > 0, y > 1])
    fitted = TwoLayerClassifier(3, max_iter="auto").fit(X.astype("f4"), several)
    display = BackpropDisplay.from_estimator(fitted, X[60], several[60])
    assert_array_equal(display.target, [1, 0])
    p = fitted.predict_proba(X[60:61].astype("f4"))[0]
    assert_allclose(display.activations[2], p, rtol=1e-5)


def test_unknown_labels_and_several_samples_are_refused(default):
    with pytest.raises(ValueError, match="classes not in"):
        BackpropDisplay.from_estimator(default, X[0], 7)
    with pytest.raises(ValueError, match="one sample, but has 2 rows"):
        BackpropDisplay.from_estimator(default, X[:2], y[:2])
    with pytest.raises(TypeError, match="takes a fitted TwoLayerClassifier"):
        BackpropDisplay.from_estimator(sklearn_bp.TwoLayerClassifier(), X[0], y[0])
    with pytest.raises(TypeError, match="pass its last step"):
        HiddenUnitsDisplay.from_estimator(make_pipeline(default), X)


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "sklearn-bp\[plots\]"'):
        LossCurveDisplay(loss=[1.0]).plot()
