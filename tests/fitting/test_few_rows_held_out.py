"""early_stopping=True with few rows, or with hardly any rows of a class."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.model_selection import train_test_split

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.early_stopping import different_rows, split, split_few
from sklearn_bp._fitting.recipe import Recipe
from sklearn_bp._fitting.request import Request

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEW = "early_stopping=True: validation_fraction="
QUICK = {"hidden_layer_sizes": 4, "max_iter": 5, "n_members": 2, "random_state": 0}
STOPPING = QUICK | {"early_stopping": True}


@pytest.mark.parametrize("n", [3, 4, 5, 7, 12, 25, 59])
@pytest.mark.parametrize("seed", range(8))
def test_the_split(seed, n):
    """Each row on one side, each class in training, and as many as are asked for."""
    rng = np.random.RandomState(seed)
    fraction = rng.choice([0.05, 0.1, 0.3, 0.9])
    strata = rng.randint(rng.randint(1, 6), size=n)
    spare = n - len(np.unique(strata))
    if spare == 0:
        return
    train, validation = split_few(n, strata, fraction, np.random.RandomState(seed))
    assert_array_equal(np.sort([*train, *validation]), np.arange(n))
    assert set(strata[train]) == set(strata)
    wanted = max(np.ceil(fraction * n), 2 if n >= 4 else 1)
    assert len(validation) == min(wanted, spare)
    # Spread over the classes by what they can spare, as evenly as whole rows can be.
    for c in np.unique(strata):
        share = (np.sum(strata == c) - 1) * len(validation) / spare
        assert abs(np.sum(strata[validation] == c) - share) < 1


def test_where_scikit_learn_splits_it_is_its_split():
    """The rows that MLPClassifier holds out, without a warning."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 3)), rng.randint(2, size=40)
    _, expected = train_test_split(
        np.arange(40), test_size=0.1, stratify=y, random_state=np.random.RandomState(0)
    )
    model = TwoLayerClassifier(**MLP_DEFAULTS | {"early_stopping": True})
    model.fit(X, y)
    rows, shuffled = (X, y[:, np.newaxis], None), np.random.RandomState(0)
    asked = Recipe.of(model), model._fitted.targets, rows, shuffled, Request(X, y)
    _, found = split(*asked, by_strata=False)
    assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
@pytest.mark.parametrize("metric", ["loss", "score"])
def test_few_rows_are_fitted(n, metric):
    """With a warning that says how many are held out."""
    rng = np.random.RandomState(0)
    X, signal = rng.normal(size=(n, 2)), rng.normal(size=n)
    settings = STOPPING | {"early_stopping_metric": metric}
    with pytest.warns(UserWarning, match=f"of {n} rows.* are held out"):
        model = TwoLayerRegressor(**settings).fit(X, signal)
    assert np.isfinite(model.predict(X)).all()
    assert len(model.validation_scores_) == model.n_iter_
    labels = np.where(np.arange(n) % 2, "a", "b")
    if n > 2:
        with pytest.warns(UserWarning, match="of each class stays in training"):
            model = TwoLayerClassifier(**settings).fit(X, labels)
        assert list(model.classes_) == ["a", "b"]


@pytest.mark.parametrize("n", [30, 400])
def test_a_class_of_one_row_stays_in_training(n):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(n, 2))
    y = np.where(X[:, 0] > 0, "left", "right").astype(object)
    y[5], X[5] = "rare", [9, 9]
    settings = STOPPING | {"max_iter": 60, "n_iter_no_change": 60}
    with pytest.warns(UserWarning, match=FEW):
        model = TwoLayerClassifier(**settings).fit(X, y)
    assert model.predict(X[5:6]) == ["rare"]


def test_where_no_row_can_be_spared():
    """The error says what to do."""
    X, y = np.eye(3), ["a", "b", "c"]
    model = TwoLayerClassifier(**STOPPING)
    with pytest.raises(ValueError, match=r"no class has a second row.*X_val"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="n_samples=1"):
        TwoLayerRegressor(**STOPPING).fit(X[:1], [1.0])
    model.fit(X, y, X_val=X, y_val=y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=FEW)
        model.set_params(early_stopping=False).fit(X, y)


@pytest.mark.parametrize("seed", range(10))
def test_different_rows(seed):
    """As np.unique finds them, dense and sparse, with the first position of each."""
    rng = np.random.RandomState(seed)
    X, Y = rng.randint(-1, 2, size=(30, 3)), rng.randint(2, size=(30, 1))
    unique, group = np.unique(np.hstack([Y, X]), axis=0, return_inverse=True)
    for rows in (X, X.astype(float), sparse.csr_matrix(X)):
        first, found = different_rows(rows, Y)
        assert_array_equal(found, group.ravel())
        assert_array_equal(np.hstack([Y, X])[first], unique)
        assert_array_equal(first, [np.argmax(found == g) for g in range(len(first))])


def copied(seed):
    """X, signal, weights, and the places of weighted rows' copies, in any order."""
    rng = np.random.RandomState(seed)
    n = rng.randint(12, 25)
    X, weights = rng.normal(size=(n, 3)), rng.randint(0, 4, size=n).astype(float)
    weights[:4] = 3
    return (
        X,
        X[:, 0],
        weights,
        rng.permutation(np.repeat(np.arange(n), weights.astype(int))),
    )


@pytest.mark.filterwarnings("ignore:early_stopping=True. validation_fraction=")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_copies(make, solver, seed):
    """Held-out rows too, at any position and in any unit."""
    X, y, weights, copies = copied(seed)
    if make is TwoLayerClassifier:
        y = np.digitize(y, [-0.5, 0.5])
    form = np.asarray if seed % 2 else sparse.csr_matrix
    settings = STOPPING | {"solver": solver, "validation_fraction": 0.25}
    one = make(**settings).fit(form(X), y, sample_weight=weights / 7)
    other = make(**settings).fit(form(X[copies]), y[copies])
    for name in ("validation_loss_curve_", "validation_scores_", "loss_curve_"):
        assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
    for ours, theirs in zip(one.coefs_, other.coefs_, strict=True):
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("n_levels", [2, 3, 5])
def test_values_that_many_rows_share_are_on_both_sides(n_levels):
    """Otherwise training would lack some labels of a value, or the frequent one."""
    scores = []
    for seed in range(4):
        rng = np.random.RandomState(seed)
        level = rng.randint(n_levels, size=90)
        y = np.where(rng.random_sample(90) < 0.85, level % 2, 1 - level % 2)
        X = level[:, np.newaxis] == np.arange(n_levels)
        model = TwoLayerClassifier(early_stopping=True, random_state=seed).fit(X, y)
        scores.append(model.score(X, y))
    assert np.mean(scores) > 0.75


@pytest.mark.parametrize("seed", range(5))
def test_settings_of_mlp_split_by_row(seed):
    """With a number as alpha, weights and copies or not: the rows it would hold out."""
    X, y, weights, copies = copied(seed)
    y = (y > 0).astype(int)
    model = TwoLayerClassifier(**MLP_DEFAULTS | {"early_stopping": True})
    model.fit(X[copies], y[copies])
    rows = X[copies], y[copies, np.newaxis], weights[copies]
    shuffled = np.random.RandomState(seed)
    asked = Recipe.of(model), model._fitted.targets, rows, shuffled, Request(X, y)
    _, found = split(*asked, by_strata=False)
    expected = train_test_split(
        np.arange(len(copies)),
        test_size=0.1,
        stratify=y[copies],
        random_state=np.random.RandomState(seed),
    )
    assert_array_equal(found, expected[1])


@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("settings", [{}, MLP_DEFAULTS])
def test_partial_fit_holds_no_row_out(make, settings):
    """Without validation rows of the user, early_stopping=True trains on all rows."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(150, 3)), rng.randint(2, size=150)
    models = []
    for early_stopping in (True, False):
        model = make(**settings | QUICK | {"early_stopping": early_stopping})
        for rows in np.split(np.arange(150), [40, 120]):
            first = {} if make is TwoLayerRegressor else {"classes": [0, 1]}
            model.partial_fit(X[rows], y[rows], **first)
        models.append(model)
    assert_array_equal(models[0].predict(X), models[1].predict(X))
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[0].validation_scores_ is None
