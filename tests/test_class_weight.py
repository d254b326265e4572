"""class_weight: a factor of sample_weight, and nothing else."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

RNG = np.random.RandomState(0)
X = RNG.normal(size=(160, 3))
LABELS = np.array(["a", "b", "c"])[
    np.digitize(X[:, 0] + RNG.normal(size=160) / 2, [0.8, 1.5])
]
WEIGHTS = RNG.uniform(0.5, 2, 160)
DICT = {"a": 0.5, "b": 1.0, "c": 7.25}
SETTINGS = {"hidden_layer_sizes": 5, "random_state": 0}
over_settings = pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "lbfgs"},
        MLP_DEFAULTS | {"max_iter": 10, "early_stopping": True},
        MLP_DEFAULTS | {"max_iter": 10, "solver": "sgd"},
    ],
    ids=["defaults", "lbfgs", "early stopping", "sgd"],
)


def assert_same(ours, theirs):
    for a, b in zip(
        [*ours.coefs_, *ours.intercepts_],
        [*theirs.coefs_, *theirs.intercepts_],
        strict=True,
    ):
        assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@over_settings
@pytest.mark.parametrize("class_weight", ["balanced", DICT])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_sample_weights(settings, class_weight, weighted):
    """Bit for bit."""
    of_class = compute_sample_weight(class_weight, LABELS)
    own = WEIGHTS if weighted else None
    settings = settings | SETTINGS
    model = TwoLayerClassifier(class_weight=class_weight, **settings)
    expected = TwoLayerClassifier(**settings)
    both = of_class if own is None else of_class * own
    assert_same(model.fit(X, LABELS, own), expected.fit(X, LABELS, both))


def test_balanced_finds_the_rare_class():
    rare = LABELS == "c"
    plain = TwoLayerClassifier(**SETTINGS).fit(X, rare)
    balanced = TwoLayerClassifier(class_weight="balanced", **SETTINGS).fit(X, rare)
    assert balanced.predict(X).mean() > plain.predict(X).mean()
    assert balanced.predict(X)[rare].mean() > 0.85


def test_partial_fit_takes_a_dict_and_refuses_balanced():
    classes = np.unique(LABELS)
    model = TwoLayerClassifier(class_weight="balanced", **SETTINGS)
    with pytest.raises(ValueError, match="Pass the weights as a dict"):
        model.partial_fit(X, LABELS, classes=classes)
    weights = compute_class_weight("balanced", classes=classes, y=LABELS)
    model.set_params(class_weight=dict(zip(classes, weights, strict=True)))
    expected = TwoLayerClassifier(**SETTINGS)
    balanced = compute_sample_weight("balanced", LABELS)
    for part in (slice(0, 90), slice(90, None)):
        model.partial_fit(X[part], LABELS[part], classes=classes)
        expected.partial_fit(X[part], LABELS[part], balanced[part], classes=classes)
    assert_same(model, expected)


def test_labels_have_a_dict_a_column():
    Y = np.column_stack([LABELS == "a", LABELS == "c"]).astype(int)
    class_weight = [{0: 1, 1: 2}, {0: 0.5, 1: 3}]
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS).fit(X, Y)
    weights = compute_sample_weight(class_weight, Y)
    assert_same(model, TwoLayerClassifier(**SETTINGS).fit(X, Y, weights))


@pytest.mark.parametrize(
    ("class_weight", "error", "says"),
    [
        ("equal", ValueError, "'class_weight' parameter.*None, 'balanced', a dict"),
        (2.0, TypeError, "'class_weight' parameter.*None, 'balanced', a dict"),
        ({"a": -1.0}, ValueError, "Negative values"),
        ({"a": 0, "b": 0, "c": 0}, ValueError, "at least one non-zero"),
        ({"a": np.nan}, ValueError, "NaN"),
    ],
)
def test_bad_class_weights(class_weight, error, says):
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS)
    with pytest.raises(error, match=says):
        model.fit(X, LABELS)
    assert not hasattr(model, "coefs_")
