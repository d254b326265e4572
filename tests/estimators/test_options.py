"""Objects instead of names: `activation=LeakyReLU(0.1)`, and users' own."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from plain import TwoLayerClassifier, TwoLayerRegressor
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sklearn_bp import activations, losses, optimizers, schedules
from sklearn_bp.initializers import INITIALIZERS

RNG = np.random.RandomState(0)
X = RNG.normal(size=(80, 4))
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
BRIEF = {
    "hidden_layer_sizes": 5,
    "max_iter": 3,
    "random_state": 0,
    "loss_threshold": 1e9,  # stops without a warning
}

# parameter: (name, the object that it stands for, another object, its parameter)
OBJECTS = {
    "activation": (
        "leaky_relu",
        activations.LeakyReLU(),
        activations.LeakyReLU(0.5),
        ("negative_slope", 0.25),
    ),
    "solver": (
        "adamw",
        optimizers.AdamW(),
        optimizers.AdamW(weight_decay=0.5),
        ("weight_decay", 0.1),
    ),
    "learning_rate": (
        "one_cycle",
        schedules.OneCycle(),
        schedules.OneCycle(pct_start=0.5),
        ("div_factor", 10),
    ),
}
over_objects = pytest.mark.parametrize("parameter", OBJECTS)


def fitted(**settings):
    return TwoLayerClassifier(**BRIEF | settings).fit(X, Y)


@over_objects
def test_an_object_is_its_name(parameter):
    name, default, other, _ = OBJECTS[parameter]
    by_name = fitted(**{parameter: name}).coefs_[0]
    assert_array_equal(fitted(**{parameter: default}).coefs_[0], by_name)
    assert not np.array_equal(fitted(**{parameter: other}).coefs_[0], by_name)


@over_objects
def test_clone_pickle_and_repr(parameter):
    _, _, other, (field, value) = OBJECTS[parameter]
    model = fitted(**{parameter: other})
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert getattr(again, parameter) is not other
    assert_array_equal(again.fit(X, Y).coefs_[0], model.coefs_[0])
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    written = "".join(model.__repr__(N_CHAR_MAX=10_000).split())
    assert f"{parameter}={''.join(repr(other).split())}" in written
    again.set_params(**{f"{parameter}__{field}": value})
    assert getattr(getattr(again, parameter), field) == value
    assert getattr(other, field) != value  # the clone's own was changed


@over_objects
def test_grids_reach_into_objects(parameter):
    _, default, _, (field, value) = OBJECTS[parameter]
    grid = {f"{parameter}__{field}": [getattr(default, field), value]}
    model = TwoLayerClassifier(**BRIEF | {parameter: default})
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 2
    name = search.best_params_[f"{parameter}__{field}"]
    assert getattr(getattr(search.best_estimator_, parameter), field) == name


@over_objects
def test_a_fit_changes_no_object(parameter):
    """Two estimators may share it."""
    _, _, other, _ = OBJECTS[parameter]
    before = pickle.dumps(other)
    first, second = fitted(**{parameter: other}), fitted(**{parameter: other})
    assert pickle.dumps(other) == before
    assert_array_equal(first.coefs_[0], second.coefs_[0])


@over_objects
def test_other_values_than_names_and_objects(parameter):
    name, default, _, _ = OBJECTS[parameter]
    with pytest.raises(ValueError, match=f"'{parameter}' parameter .* one of .*{name}"):
        fitted(**{parameter: "none of these"})
    for bad in (3, None, type(default)):
        with pytest.raises(TypeError, match=f"'{parameter}' parameter"):
            fitted(**{parameter: bad})


@over_objects
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
def test_objects_of_other_parameters_are_refused(make, parameter):
    """Although every loss has the methods of an activation, and both can be bound."""
    others = [OBJECTS[other][2] for other in sorted(set(OBJECTS) - {parameter})]
    for other in [*others, losses.SquaredError(), losses.LogLoss(), losses.Poisson()]:
        model = make(**BRIEF | {parameter: other})
        with pytest.raises(TypeError, match=f"'{parameter}' parameter of .* Got"):
            model.fit(X, Y)
        assert not hasattr(model, "coefs_")


@over_objects
def test_set_params_refuses_unknown_names(parameter):
    _, _, other, (field, value) = OBJECTS[parameter]
    with pytest.raises(ValueError, match="has no parameter 'nothing'"):
        other.set_params(nothing=1)
    before = other.get_params()
    with pytest.raises((ValueError, TypeError), match=f"{field!r} parameter of"):
        other.set_params(**{field: "bad"})
    assert other.get_params() == before
    assert type(other)(**before | {field: value}).get_params()[field] == value


class Cube:
    """f(z) = z^3, with only the two methods."""

    def forward(self, z):
        z *= z * z

    def backward(self, a, delta):
        delta *= 3 * np.cbrt(a) ** 2


class CubeOfInput(activations.Activation):
    of_input = True

    def forward(self, z):
        z *= z * z

    def backward(self, z, delta):
        delta *= 3 * z * z


def test_a_users_activation():
    by_value, by_input = fitted(activation=Cube()), fitted(activation=CubeOfInput())
    np.testing.assert_allclose(by_value.coefs_[0], by_input.coefs_[0], rtol=1e-9)
    (W1, W2), (b1, b2) = by_value.coefs_, by_value.intercepts_
    scores = ((X @ W1 + b1) ** 3 @ W2 + b2)[:, 0]
    np.testing.assert_allclose(by_value.decision_function(X), scores, rtol=1e-9)
    assert clone(by_value).fit(X, Y).loss_ == by_value.loss_


def test_a_users_initializer():
    by_name = fitted(init="lecun_normal")
    own = fitted(init=INITIALIZERS["lecun_normal"])
    assert_array_equal(own.coefs_[0], by_name.coefs_[0])


BRIEFEST = {"hidden_layer_sizes": 5, "max_iter": 2, "random_state": 0}
without_warning = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)
RETURNS_NO_NUMBER = [None, "a", [0.5], np.array([0.5, 1.0]), 1j]
A_LAYER = r"weights of shape \(4, 5\) and intercepts of shape \(5,\)"
# Parameter, what the function returns, what the message says, other settings
WRONG_FUNCTIONS = [
    *[
        ("learning_rate", value, "must return a number. Got", {})
        for value in RETURNS_NO_NUMBER
    ],
    *[
        ("learning_rate", value, r"a number in \[0, inf\). Got", {})
        for value in (-0.5, np.nan, np.inf)
    ],
    *[
        ("early_stopping_metric", value, "must return a number. Got", settings)
        for value in RETURNS_NO_NUMBER
        for settings in ({"early_stopping": True}, {"early_stopping": "auto"})
    ],
    *[
        ("init", value, A_LAYER, {})
        for value in (
            None,
            np.ones((4, 5)),
            (np.ones((5, 4)), np.zeros(5)),
            (np.ones((4, 5)), np.zeros((5, 1))),
            ("a", "b"),
            (1, 2, 3),
        )
    ],
]


def fitted_attributes(model):
    own = vars(model).items()
    return {name: pickle.dumps(value) for name, value in own if name.endswith("_")}


@without_warning
@pytest.mark.parametrize("make", [TwoLayerClassifier, TwoLayerRegressor])
@pytest.mark.parametrize("case", range(len(WRONG_FUNCTIONS)))
def test_what_a_function_returns_is_checked(make, case):
    """In a sentence that names its parameter, before an earlier fit is lost."""
    parameter, value, says, settings = WRONG_FUNCTIONS[case]
    X = RNG.normal(size=(120, 4))
    y = (X[:, 0] > 0).astype(int)
    model = make(**BRIEFEST).fit(X, y)
    before = fitted_attributes(model)
    model.set_params(**settings, **{parameter: lambda *given: value})
    with pytest.raises((ValueError, TypeError), match=f"{parameter}=.*{says}"):
        model.fit(X, y)
    assert fitted_attributes(model) == before


ROWS = np.arange(120)
PAIRS = "must yield pairs of indices of the 120 rows"
SPLITS = {
    "beyond": ((ROWS[:80], ROWS[81:] + 1), PAIRS),
    "floats": ((ROWS[:80] / 1, ROWS[80:] / 1), PAIRS),
    "three parts": ((ROWS[:80], ROWS[80:100], ROWS[100:]), PAIRS),
    "a column": ((ROWS[:80, np.newaxis], ROWS[80:, np.newaxis]), PAIRS),
    "a text": ("ab", PAIRS),
    "shared rows": ((ROWS[:80], ROWS[79:]), "are training rows too"),
    "shared from the end": ((ROWS, [-1, -2]), "are training rows too"),
    "no rows": ((ROWS, []), "The validation set is too small"),
}


@without_warning
@pytest.mark.parametrize("kind", SPLITS)
def test_what_a_splitter_yields_is_checked(kind):
    split, says = SPLITS[kind]
    model = TwoLayerClassifier(
        **BRIEFEST,
        early_stopping=True,
        validation_fraction=SimpleNamespace(split=lambda X, y, groups: [split]),
    )
    X = RNG.normal(size=(120, 4))
    with pytest.raises(ValueError, match=says):
        model.fit(X, X[:, 0] > 0)


@without_warning
def test_a_split_in_any_form_of_indices():
    X, fits = RNG.normal(size=(120, 4)), []
    held_out = ROWS >= 80
    for split in (
        (ROWS[:80], ROWS[80:]),
        (ROWS[:80].tolist(), ROWS[80:].tolist()),
        (ROWS[:80], ROWS[80:] - 120),
        (~held_out, held_out),
    ):
        splitter = SimpleNamespace(split=lambda X, y, groups, split=split: [split])
        model = TwoLayerClassifier(
            **BRIEFEST,
            early_stopping=True,
            validation_fraction=splitter,
        ).fit(X, X[:, 0] > 0)
        fits.append(model)
    for model in fits:
        assert_array_equal(model.coefs_[0], fits[0].coefs_[0])
        assert model.validation_scores_ == fits[0].validation_scores_


@pytest.mark.parametrize("rate", ["cosine", "one_cycle", schedules.Cosine()])
def test_a_schedule_that_ends_warns_of_nothing(rate):
    """Warnings are errors here: the schedule is meant to end at max_iter."""
    model = fitted(learning_rate=rate, loss_threshold=None)
    assert model.n_iter_ == 3
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        fitted(learning_rate=lambda step: 1.0, loss_threshold=None)
