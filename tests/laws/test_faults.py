"""The faults of MLPClassifier and MLPRegressor, and the laws of sample weights.

A test shows the fault of scikit-learn (1.7 to 1.9) first, where that is cheap, and
then that ours does not have it.  Should scikit-learn mend one, its half of the test
fails and can go.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from compare import flat
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import (
    check_classifiers_multilabel_output_format_predict_proba,
)

from sklearn_bp import (
    MLP_DEFAULTS,
    DivergenceError,
    TwoLayerClassifier,
    TwoLayerRegressor,
)

# Many fits here are short on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def classifier(**options):
    return TwoLayerClassifier(**MLP_DEFAULTS | {"random_state": 0} | options)


def regressor(**options):
    return TwoLayerRegressor(**MLP_DEFAULTS | {"random_state": 0} | options)


def data(n=60, n_classes=2, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(n, 3))
    signal = X[:, 0] + X[:, 1] ** 2
    return X, np.digitize(
        signal, np.quantile(signal, np.arange(1, n_classes) / n_classes)
    )


def assert_same(a, b, rtol=1e-10):
    a, b = flat(a), flat(b)
    assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def assert_differ(a, b):
    assert np.abs(flat(a) - flat(b)).max() > 1e-4


PLAIN = {
    "solver": "sgd",
    "hidden_layer_sizes": 4,
    "activation": "tanh",
    "momentum": 0.0,
    "nesterovs_momentum": False,
    "shuffle": False,
    "alpha": 0.0,
    "learning_rate_init": 0.1,
    "max_iter": 5,
}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_weights_count_between_batches(batch_size):
    X, y = data(6)
    weights = np.array([100.0] * 3 + [1.0] * 3)
    options = PLAIN | {"batch_size": batch_size, "random_state": 0}
    theirs = [MLPClassifier(**options).fit(X, y, w) for w in (None, weights)]
    assert_same(*theirs)
    ours = [classifier(**options).fit(X, y, w) for w in (None, weights)]
    assert_differ(*ours)


def test_batch_of_zero_weights():
    X, y = data(6)[0], np.array([0, 1, 0, 1, 0, 1])
    weights = np.array([1.0] * 3 + [0.0] * 3)
    options = PLAIN | {"batch_size": 3, "max_iter": 1, "random_state": 0}
    with pytest.raises(ZeroDivisionError):
        MLPClassifier(**options).fit(X, y, weights)
    # Rows of weight 0 are absent: there is no such batch.
    ours = classifier(**options).fit(X, y, weights)
    assert_same(ours, classifier(**options).fit(X[:3], y[:3]))
    # A batch of next to no weight moves nothing, the other has twice the mean.
    ours = classifier(**options).fit(X, y, np.maximum(weights, 1e-300))
    twice_as_fast = classifier(**options | {"learning_rate_init": 0.2})
    assert_same(ours, twice_as_fast.fit(X[:3], y[:3]))
    # With a penalty W becomes W (1 - rate alpha / (b mean(w))) in each batch, here
    # by nothing else, since X = 0; b mean(w) is 3 / 2.
    X[:] = 0
    options |= {"alpha": 0.3, "activation": "identity"}
    decayed, start = (
        classifier(**options | {"learning_rate_init": rate}).fit(
            X, y, np.maximum(weights, 1e-300)
        )
        for rate in (0.1, 1e-300)
    )
    assert_allclose(
        decayed.coefs_[0], start.coefs_[0] * (1 - 0.1 * 0.3 / 1.5) ** 2, rtol=1e-12
    )


@pytest.mark.parametrize(("mlp", "factor"), [(True, 3), (False, 1)])
def test_gradient_of_several_outputs(mlp, factor):
    X, _ = data(20)
    Y = np.random.RandomState(1).normal(size=(20, 3))
    options = PLAIN | {"batch_size": 20, "max_iter": 1, "activation": "identity"}

    def model(rate):
        make = MLPRegressor if mlp else regressor
        settings = options | {"learning_rate_init": rate, "random_state": 0}
        return make(**settings).fit(X, Y)

    start, once = model(1e-300), model(0.1)
    p = start.predict(X)
    gradient = (p - Y).mean(axis=0) / 3  # of mean((p - Y) ** 2) / 2 by b2
    assert_allclose(start.loss_, ((p - Y) ** 2).mean() / 2, rtol=1e-10)
    step = (start.intercepts_[1] - once.intercepts_[1]) / 0.1
    assert_allclose(step, factor * gradient, rtol=1e-10)


def validation_shares(model):
    """Validation scores for X = 0, where one class is predicted for all rows.

    The score is the share of that class in the rows held out.
    """
    y = np.repeat([0, 1, 2], [50, 30, 20])
    return {
        model(
            hidden_layer_sizes=4,
            early_stopping=True,
            validation_fraction=0.2,
            max_iter=1,
            random_state=seed,
        )
        .fit(np.zeros((100, 2)), y)
        .validation_scores_[0]
        for seed in range(10)
    }


def test_split_is_stratified_for_several_classes():
    shares = {0.5, 0.3, 0.2}
    assert not validation_shares(MLPClassifier) <= shares
    assert validation_shares(classifier) <= shares


def test_warm_start_on_new_data_has_new_patience():
    X, y = data()
    options = {
        "warm_start": True,
        "n_iter_no_change": 3,
        "tol": 0.01,
        "max_iter": 200,
        "random_state": 0,
        "learning_rate_init": 0.01,
        "hidden_layer_sizes": 10,
    }
    X_new, y_new = data(seed=1)
    y_new = 1 - y_new  # a larger loss than the one reached
    theirs = MLPClassifier(**options).fit(X, y).fit(X_new, y_new)
    assert theirs.n_iter_ == 1
    ours = classifier(**options).fit(X, y)
    n_before = ours.n_iter_
    ours.fit(X_new, y_new)
    assert ours.n_iter_ > 4
    assert ours.best_loss_ == min(ours.loss_curve_[n_before:])


def test_warm_start_on_new_data_has_new_best_weights():
    X, y = data(200)
    y = (X[:, 0] > 0).astype(int)
    noise = np.random.RandomState(0).randint(2, size=200)
    options = {
        "solver": "adam",
        "warm_start": True,
        "early_stopping": True,
        "max_iter": 40,
        "random_state": 0,
        "learning_rate_init": 0.02,
        "hidden_layer_sizes": 10,
        "validation_fraction": 0.2,
    }
    theirs = MLPClassifier(**options).fit(X, y).fit(X, noise)
    scores = theirs.validation_scores_[-theirs.n_iter_ :]
    assert theirs.best_validation_score_ > max(scores)

    ours = classifier(**options).fit(X, y)
    before, n_before = flat(ours), ours.n_iter_
    ours.fit(X, noise)
    assert np.abs(flat(ours) - before).max() > 1e-4
    scores = ours.validation_scores_[n_before:]
    assert len(scores) == ours.n_iter_ > 10
    assert ours.best_validation_score_ == max(scores)
    assert ours.best_iter_ == 1 + int(np.argmax(scores))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_shuffles_again(solver):
    X, y = data()
    options = {
        "solver": solver,
        "hidden_layer_sizes": 8,
        "batch_size": 7,
        "learning_rate_init": 0.05,
        "random_state": 0,
        "tol": 0.0,
        "n_iter_no_change": 99,
    }

    def both_ways(make):
        stepwise = make(**options, max_iter=6)
        for _ in range(6):
            stepwise.partial_fit(X, y, classes=[0, 1])
        return stepwise, make(**options, max_iter=6).fit(X, y)

    assert_differ(*both_ways(MLPClassifier))
    assert_same(*both_ways(classifier))


def test_divergence_with_early_stopping():
    X, y = data(100)
    options = {
        "solver": "sgd",
        "hidden_layer_sizes": 10,
        "learning_rate_init": 1e3,
        "early_stopping": True,
        "max_iter": 30,
        "random_state": 0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = MLPRegressor(**options).fit(X, y * 1e3)
    assert theirs.n_iter_ == 30
    assert np.isnan(theirs.validation_scores_[-1])

    ours = regressor(**options)
    with pytest.raises(DivergenceError, match="learning_rate_init"):
        ours.fit(X, y * 1e3)
    assert not hasattr(ours, "coefs_")


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_one_class(solver):
    X, _ = data()
    y = np.full(60, "only")
    theirs = MLPClassifier(4, solver=solver, max_iter=3).fit(X, y)
    assert theirs.predict_proba(X).shape == (60, 2)
    assert len(theirs.classes_) == 1
    ours = classifier(hidden_layer_sizes=4, solver=solver, max_iter=3).fit(X, y)
    assert_array_equal(ours.predict_proba(X), np.ones((60, 1)))
    assert_array_equal(ours.predict(X), y)


LBFGS = {"solver": "lbfgs", "hidden_layer_sizes": 10, "max_iter": 60, "random_state": 0}


def test_lbfgs_stops_early():
    X, _ = data(150)
    y = np.random.RandomState(0).randint(2, size=150)  # noise, to be overfitted
    options = LBFGS | {
        "early_stopping": True,
        "n_iter_no_change": 4,
        "validation_fraction": 0.3,
    }
    assert not getattr(MLPClassifier(**options).fit(X, y), "validation_scores_", None)
    ours = classifier(**options).fit(X, y)
    scores = ours.validation_scores_
    assert len(scores) == ours.n_iter_ < 60
    assert ours.best_validation_score_ == max(scores)
    assert ours.best_iter_ == 1 + int(np.argmax(scores)) < ours.n_iter_
    # The weights kept are those of that iteration.
    assert_array_equal(
        flat(classifier(**options | {"max_iter": ours.best_iter_}).fit(X, y)),
        flat(ours),
    )


def test_lbfgs_has_a_loss_curve():
    X, y = data()
    assert not hasattr(MLPClassifier(**LBFGS).fit(X, y), "loss_curve_")
    ours = classifier(**LBFGS).fit(X, y)
    assert len(ours.loss_curve_) == ours.n_iter_
    assert (np.diff(ours.loss_curve_) <= 0).all()
    assert ours.loss_ == ours.loss_curve_[-1]


def test_lbfgs_keeps_float32():
    X, y = data()
    X32 = X.astype(np.float32)
    assert MLPClassifier(**LBFGS).fit(X32, y).coefs_[0].dtype == np.float64
    ours = classifier(**LBFGS | {"max_iter": 10}).fit(X32, y)
    assert {a.dtype for a in ours.coefs_ + ours.intercepts_} == {np.dtype("float32")}
    assert ours.predict_proba(X32).dtype == np.float32
    # It computes in float64: the start alone, and the result, are rounded to 6e-8.
    wide = classifier(**LBFGS | {"max_iter": 10}).fit(X32.astype(float), y)
    assert_allclose(ours.loss_curve_, wide.loss_curve_, rtol=1e-4)


def test_lbfgs_multilabel_probability_format():
    check = check_classifiers_multilabel_output_format_predict_proba
    with pytest.raises(AssertionError):
        check("MLPClassifier", MLPClassifier(solver="lbfgs"))
    check("TwoLayerClassifier", classifier(solver="lbfgs"))


def weight_bytes(model):
    return sum(a.nbytes for a in model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_pickle_holds_little_but_the_weights(solver, early_stopping):
    X = np.random.RandomState(0).normal(size=(60, 400))
    y = (X[:, 0] > 0).astype(int)
    options = {
        "solver": solver,
        "max_iter": 5,
        "random_state": 0,
        "early_stopping": early_stopping,
    }
    theirs = MLPClassifier(**options).fit(X, y)
    assert len(pickle.dumps(theirs)) > 1.9 * weight_bytes(theirs)
    ours = classifier(**options).fit(X, y)
    assert len(pickle.dumps(ours)) <= 1.1 * weight_bytes(ours) + 16_000


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_pickle_does_not_grow(solver):
    X, y = data()
    ours = classifier(solver=solver)
    sizes = []
    for call in range(170):
        ours.partial_fit(X, y, classes=[0, 1])
        if call >= 150:  # a sample for importances is complete
            sizes.append(len(pickle.dumps(ours)))
    # An entry of the loss curve takes 9 bytes, counters some more now and then.
    assert max(np.diff(sizes)) <= 20


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_best_iter_names_the_epoch_of_the_weights(solver):
    X, _ = data(150)
    y = np.random.RandomState(0).randint(2, size=150)
    options = {
        "solver": solver,
        "early_stopping": True,
        "learning_rate_init": 0.02,
        "hidden_layer_sizes": 10,
        "validation_fraction": 0.3,
    }
    ours = classifier(**options).fit(X, y)
    assert ours.best_iter_ == 1 + int(np.argmax(ours.validation_scores_))
    assert ours.best_iter_ < ours.n_iter_
    again = classifier(**options | {"max_iter": ours.best_iter_}).fit(X, y)
    assert_array_equal(flat(again), flat(ours))

    # Without validation the weights are the last epoch's.
    plain = classifier(solver=solver, max_iter=3).fit(X, y)
    assert plain.best_iter_ == plain.n_iter_ == 3


def test_nullable_integers_come_back_as_integers():
    X, y = data()
    labels = pd.Series(y * 3 - 1, dtype="Int64")
    ours = classifier(max_iter=3).fit(X, labels)
    assert ours.classes_.dtype.kind == "i"
    assert_array_equal(ours.classes_, [-1, 2])
    assert ours.predict(X).dtype.kind == "i"


# Laws of sample weights.

SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": "full"},
    "adam": {"solver": "adam", "learning_rate_init": 0.01, "batch_size": "full"},
    "lbfgs": {"solver": "lbfgs"},
}
BASE = {
    "hidden_layer_sizes": 6,
    "activation": "tanh",
    "max_iter": 12,
    "alpha": 0.3,
    "shuffle": False,
}
over_solvers = pytest.mark.parametrize("solver", SOLVERS)


@over_solvers
@pytest.mark.parametrize("batch_size", [7, "full"])
@pytest.mark.parametrize("factor", [1e-200, 0.1, 8.0, 1e200])
def test_only_ratios_of_weights_count(factor, batch_size, solver):
    X, y = data(n_classes=3)
    weights = np.random.RandomState(2).uniform(0.1, 3, size=60)
    options = BASE | SOLVERS[solver] | {"batch_size": batch_size, "alpha": 0.0}
    assert_same(
        classifier(**options).fit(X, y, weights * factor),
        classifier(**options).fit(X, y, weights),
        1e-9,
    )


@over_solvers
@pytest.mark.parametrize("batch_size", [7, "full"])
def test_penalty_is_divided_by_the_sum_of_weights(batch_size, solver):
    X, y = data(n_classes=3)
    weights = np.random.RandomState(2).uniform(0.1, 3, size=60)
    options = BASE | SOLVERS[solver] | {"batch_size": batch_size}
    assert_same(
        classifier(**options | {"alpha": 0.8}).fit(X, y, weights * 8),
        classifier(**options | {"alpha": 0.1}).fit(X, y, weights),
        1e-9,
    )
