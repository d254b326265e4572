"""class_weight: a factor of sample_weight, and nothing else."""

import numpy as np
import pytest
from compare import assert_same_weights
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier

# Most fits are cut short.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(160, 3))
LABELS = np.array(["a", "b", "c"])[
    np.digitize(X[:, 0] + RNG.normal(size=160) / 2, [0.8, 1.5])
]
WEIGHTS = RNG.uniform(0.5, 2, 160)
DICT = {"a": 0.5, "b": 1.0, "c": 7.25}
SETTINGS = {"hidden_layer_sizes": 5, "random_state": 0}
BRIEF = SETTINGS | {"n_members": 2, "max_iter": 20}
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
    assert_same_weights(model.fit(X, LABELS, own), expected.fit(X, LABELS, both))


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
    assert_same_weights(model, expected)


@pytest.mark.parametrize("weight", [-1, float("nan"), np.inf, "2", None, True])
def test_weights_are_finite_and_not_negative(weight):
    """The error names the class; sample weights were not passed."""
    says = "The class_weight of 'b' is .*: it must be a finite number >= 0"
    model = TwoLayerClassifier(class_weight={"b": weight}, **BRIEF)
    for method in (model.fit, model.partial_fit):
        classes = {} if method == model.fit else {"classes": np.unique(LABELS)}
        with pytest.raises(ValueError, match=says):
            method(X, LABELS, **classes)


def test_labels_have_one_dict_per_column():
    Y = np.column_stack([LABELS == "a", LABELS == "c"]).astype(int)
    class_weight = [{0: 1, 1: 2}, {0: 0.5, 1: 3}]
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS).fit(X, Y)
    weights = compute_sample_weight(class_weight, Y)
    assert_same_weights(model, TwoLayerClassifier(**SETTINGS).fit(X, Y, weights))


@pytest.mark.parametrize("seed", range(5))
def test_weights_go_by_all_classes(seed):
    """Rows at hand may lack some: in parts, and among validation rows."""
    rng = np.random.default_rng(seed)
    classes = np.unique(LABELS)
    kept = rng.choice(classes, rng.integers(1, 4), replace=False).tolist()
    class_weight = {c: rng.uniform(0.5, 9) for c in kept}
    weights = np.array([class_weight.get(c, 1.0) for c in classes])
    of_row = weights[np.searchsorted(classes, LABELS)]
    model = TwoLayerClassifier(class_weight=class_weight, **BRIEF)
    expected = TwoLayerClassifier(**BRIEF)
    order = np.argsort(LABELS, kind="stable")  # parts of one class or two
    for rows in np.array_split(order, 4):
        model.partial_fit(X[rows], LABELS[rows], classes=classes)
        expected.partial_fit(X[rows], LABELS[rows], of_row[rows], classes=classes)
    assert_same_weights(model, expected)
    model.fit_batches([(X[rows], LABELS[rows]) for rows in np.array_split(order, 4)])
    for own in (LABELS == "a", LABELS == "b", LABELS == "c"):
        given = {"X_val": X[own], "y_val": LABELS[own]}
        both = (of_row * WEIGHTS)[own]
        model.fit(X, LABELS, **given, sample_weight_val=WEIGHTS[own])
        expected.fit(X, LABELS, of_row, **given, sample_weight_val=both)
        assert_same_weights(model, expected)
        assert model.validation_loss_curve_ == expected.validation_loss_curve_


@pytest.mark.parametrize("multilabel", [False, True])
def test_validation_rows_have_the_balance_of_training(multilabel):
    y = LABELS
    if multilabel:
        y = np.column_stack([LABELS == "a", LABELS == "c", X[:, 0] > 9]).astype(int)
    of_row = compute_sample_weight("balanced", y)
    model = TwoLayerClassifier(class_weight="balanced", **BRIEF)
    expected = TwoLayerClassifier(**BRIEF)
    for own in (LABELS == "a", LABELS == "c", LABELS != "b"):
        given = {"X_val": X[own], "y_val": y[own]}
        model.fit(X, y, **given)
        expected.fit(X, y, of_row, **given, sample_weight_val=of_row[own])
        assert_same_weights(model, expected)
        assert model.validation_loss_curve_ == expected.validation_loss_curve_


def test_rows_of_weight_0_do_not_count_for_the_balance():
    weights = np.where(np.arange(160) % 3, WEIGHTS, 0)
    kept = weights > 0
    of_row = np.zeros(160)
    of_row[kept] = compute_sample_weight("balanced", LABELS[kept])
    model = TwoLayerClassifier(class_weight="balanced", **SETTINGS)
    model.fit(X, LABELS, weights)
    assert_same_weights(
        model, TwoLayerClassifier(**SETTINGS).fit(X, LABELS, of_row * weights)
    )


@pytest.mark.parametrize("seed", range(5))
def test_labels_may_lack_one_of_both_values(seed):
    rng = np.random.default_rng(seed)
    Y = np.column_stack([LABELS == "a", LABELS == "c", LABELS == "b"]).astype(int)
    class_weight = [
        {int(k): rng.uniform(0.5, 9) for k in rng.permutation(2)[: rng.integers(3)]}
        for _ in range(3)
    ]
    of_row = np.ones(160)
    for own, column in zip(class_weight, Y.T, strict=True):
        of_row *= [own.get(value, 1.0) for value in column.tolist()]
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS)
    expected = TwoLayerClassifier(**SETTINGS)
    for rows in (LABELS == "a", LABELS == "b", LABELS == "c"):
        model.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
        expected.partial_fit(X[rows], Y[rows], of_row[rows], classes=[0, 1, 2])
    assert_same_weights(model, expected)


@pytest.mark.parametrize(
    ("labels", "class_weight"),
    [
        (LABELS == "c", {True: 7.25}),
        ((LABELS == "c").astype(int), {True: 7.25}),
        ((LABELS == "c").astype(int), {1.0: 7.25}),
        (np.where(LABELS == "c", "1", "0"), {"1": 7.25}),
        (np.where(LABELS == "c", "1", "0"), {1: 7.25}),  # as scikit-learn has it
        (np.where(LABELS == "c", 2**60 + 1, 2**60), {2**60 + 1: 7.25}),
        ((LABELS == "c").astype(object), {True: 7.25}),
    ],
)
def test_keys_are_labels(labels, class_weight):
    of_row = np.where(LABELS == "c", 7.25, 1.0)
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS)
    expected = TwoLayerClassifier(**SETTINGS).fit(X, labels, of_row)
    assert_same_weights(model.fit(X, labels), expected)


@pytest.mark.parametrize(
    ("class_weight", "error", "says"),
    [
        ("equal", ValueError, "'class_weight' parameter.*None, 'balanced', a dict"),
        (2.0, TypeError, "'class_weight' parameter.*None, 'balanced', a dict"),
        ({"a": -1.0}, ValueError, "The class_weight of 'a' is -1.0"),
        ({"a": 0, "b": 0, "c": 0}, ValueError, "at least one non-zero"),
        ({"a": np.nan}, ValueError, "The class_weight of 'a' is nan"),
        (
            {"d": 2},
            ValueError,
            r"\['a', 'b', 'c'\], and its keys \['d'\] are not clas",
        ),
        ({"a": 1, 1: 2}, ValueError, r"\['b', 'c'\], and its keys \[1\] are not clas"),
        ([{"a": 2}], ValueError, "a list, which needs a label indicator matrix"),
    ],
)
def test_bad_class_weights(class_weight, error, says):
    model = TwoLayerClassifier(class_weight=class_weight, **SETTINGS)
    with pytest.raises(error, match=says):
        model.fit(X, LABELS)
    assert not hasattr(model, "coefs_")
