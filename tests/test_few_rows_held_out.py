"""early_stopping=True where rows are few, or a class has hardly any."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import train_test_split

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp._fitting.early_stopping import split_few

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEW = "early_stopping=True: validation_fraction="
QUICK = {"hidden_layer_sizes": 4, "max_iter": 5, "n_members": 2, "random_state": 0}
STOPPING = QUICK | {"early_stopping": True}


@pytest.mark.parametrize("seed", range(40))
def test_the_split(seed):
    """Each row on one side, each class in training, and as many as are asked for."""
    rng = np.random.RandomState(seed)
    n, fraction = rng.randint(3, 60), rng.choice([0.05, 0.1, 0.3, 0.9])
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
    """And no warning: the rows that MLPClassifier holds out."""
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(40, 3)), rng.randint(2, size=40)
    _, expected = train_test_split(
        np.arange(40), test_size=0.1, stratify=y, random_state=np.random.RandomState(0)
    )
    from sklearn_bp._fitting.early_stopping import UsersData, split

    model = TwoLayerClassifier(**MLP_DEFAULTS | {"early_stopping": True})
    model.fit(X, y)
    encoded = y[:, np.newaxis]
    users = UsersData(X, y)
    _, found = split(model, encoded, np.random.RandomState(0), users, False)
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
    """The error says what helps."""
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
