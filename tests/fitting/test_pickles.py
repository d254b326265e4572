"""Files of fitted estimators: those of older versions, and the types in skops files.

``python tests/fitting/test_pickles.py`` writes the file of the present state version.
"""

import copy
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_bp import (
    MLP_DEFAULTS,
    TwoLayerClassifier,
    TwoLayerRegressor,
    activations,
    losses,
    optimizers,
    schedules,
)
from sklearn_bp._common.option import Option
from sklearn_bp._fitting.codec import NAMES, READABLE, STATE_VERSION, plain, restored
from sklearn_bp._tables.scaling import Scaling

DATA = Path(__file__).parents[1] / "data"

RNG = np.random.RandomState(0)
X = RNG.normal(size=(130, 3)) * [1, 50, 1] + [0, 200, 0]
X[::9, 1] = np.nan
SIGNAL = X[:, 0] + np.cos(X[:, 2])
LABELS = np.where(SIGNAL > 0.5, "high", "low")
TABLE = pd.DataFrame({"size": X[:, 1], "kind": np.digitize(SIGNAL, [-1, 0, 1])})
TABLE["kind"] = TABLE["kind"].map({0: "a", 1: "b", 2: "c", 3: None}).astype(object)
BRIEF = {"hidden_layer_sizes": 3, "n_members": 2, "max_iter": 4, "random_state": 0}
PLAIN = MLP_DEFAULTS | {"hidden_layer_sizes": 3, "random_state": 0}


def models(with_categories=True):
    """A few fitted estimators, and the rows that they predict."""
    filled = np.nan_to_num(X[:, [0, 2]])
    stream = TwoLayerClassifier(**PLAIN)
    for _ in range(2):
        stream.partial_fit(filled, LABELS, classes=["high", "low"])
    found = {
        "classifier": (TwoLayerClassifier(**BRIEF).fit(X, LABELS), X),
        "regressor": (TwoLayerRegressor(**BRIEF).fit(X, SIGNAL), X),
        "stream": (stream, filled),
    }
    if with_categories:
        table = TwoLayerRegressor(**BRIEF).fit(TABLE, SIGNAL)
        found["table"] = (table, TABLE.to_numpy(object))
    return found


def write(version, with_categories=True):
    found = models(with_categories)
    kept = {name: (model, rows[:9]) for name, (model, rows) in found.items()}
    expected = {name: raw_prediction(*pair) for name, pair in kept.items()}
    next_one = copy.deepcopy(found["stream"][0]).partial_fit(found["stream"][1], LABELS)
    expected["next"] = raw_prediction(next_one, found["stream"][1][:9])
    with open(DATA / f"state_{version}.pickle", "wb") as file:
        pickle.dump({"models": kept, "expected": expected}, file, protocol=4)


def raw_prediction(model, rows):
    if hasattr(model, "feature_names_in_"):
        rows = pd.DataFrame(rows, columns=model.feature_names_in_)
    probability = getattr(model, "predict_proba", model.predict)
    return probability(rows)


@pytest.mark.parametrize("version", READABLE)
def test_files_of_earlier_versions(version):
    path = DATA / f"state_{version}.pickle"
    assert path.stat().st_size < 30_000
    with open(path, "rb") as file:
        kept = pickle.load(file)
    expected = kept["expected"]
    for name, (model, rows) in kept["models"].items():
        assert_allclose(raw_prediction(model, rows), expected[name], rtol=1e-9)
        assert clone(model).get_params() == model.get_params()
        copied = pickle.loads(pickle.dumps(model))
        assert_array_equal(raw_prediction(copied, rows), raw_prediction(model, rows))
    stream, rows = kept["models"]["stream"]
    stream.partial_fit(np.nan_to_num(X[:, [0, 2]]), LABELS)
    assert_allclose(raw_prediction(stream, rows), expected["next"], rtol=1e-9)
    regressor, rows = kept["models"]["regressor"]
    with pytest.warns(ConvergenceWarning):
        regressor.set_params(warm_start=True).fit(X, SIGNAL)
    assert regressor.loss_ < regressor.loss_curve_[0]


def test_the_present_version_has_its_file():
    assert max(READABLE) == STATE_VERSION


def test_all_parts_survive():
    """All parts of the public modules, and of the tables of names."""
    rooms = (activations, losses, optimizers, schedules)
    classes = {
        found
        for room in rooms
        for name, found in vars(room).items()
        if isinstance(found, type)
        and issubclass(found, Option)
        and found is not Option
        and not name.startswith("_")
    }
    assert classes <= set(NAMES)
    for part in classes:
        assert restored(plain(part())) == part()
        assert restored(plain(part)) is part
        assert not isinstance(plain(part()), Option)
    stepwise = schedules.Stepwise(0.1, schedules.Cosine(0.2), 7)
    assert restored(plain(stepwise)) == stepwise


def test_values_that_are_not_parts_stay():
    class Mine(Option):
        pass

    mine, wave = Mine(), {"class": 1.0}
    for value in (mine, wave, [1, 2], [wave], (1, None), "relu", np.float32(2), np.sum):
        assert plain(value) is value
        assert restored(value) is value or restored(value) == value
    scaling = Scaling(None, np.ones(3))
    assert plain([scaling])[0]["factor"] is scaling.factor


def test_parts_of_later_versions_are_refused():
    with pytest.raises(ValueError, match="'Warp' is not a part of this version"):
        restored({"__part__": "Warp"})


def test_parameters_that_a_file_lacks_change_nothing():
    model = TwoLayerClassifier(**PLAIN).fit(np.nan_to_num(X), LABELS)
    state = model.__getstate__()
    for name in ("dropout", "skip_layer", "n_members", "class_weight"):
        del state[name]
    older = TwoLayerClassifier.__new__(TwoLayerClassifier)
    older.__setstate__(state)
    assert older.get_params() == model.get_params()
    rows = np.nan_to_num(X)
    assert_array_equal(older.predict_proba(rows), model.predict_proba(rows))


SKOPS = {
    "classifier": lambda: models()["classifier"][0],
    "table": lambda: models()["table"][0],
    "stream": lambda: models()["stream"][0],
    "options": lambda: TwoLayerClassifier(
        **BRIEF
        | {
            "activation": activations.LeakyReLU(0.2),
            "solver": optimizers.AdamW(weight_decay=0.1),
            "learning_rate": schedules.Cosine(0.1),
            "dropout": 0.2,
        }
    ).partial_fit(X, LABELS, classes=["high", "low"]),
    "early": lambda: TwoLayerRegressor(
        **PLAIN | {"early_stopping": True, "max_iter": 3}
    ).fit(np.nan_to_num(X), np.c_[SIGNAL, -SIGNAL]),
    "labels": lambda: TwoLayerClassifier(**BRIEF, class_weight={1: 2.0}).fit(
        np.nan_to_num(X).astype(np.float32), np.digitize(SIGNAL, [0, 1])
    ),
    "unfitted": lambda: TwoLayerClassifier(activation=activations.ELU(0.5)),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", SKOPS)
def test_skops_trusts_our_own_class_and_no_other(kind):
    skops = pytest.importorskip("skops.io")
    model = SKOPS[kind]()
    data = skops.dumps(model)
    own = [f"{type(model).__module__}.{type(model).__name__}"]
    assert skops.get_untrusted_types(data=data) == own
    loaded = skops.loads(data, trusted=own)
    assert loaded.get_params() == model.get_params()
    assert vars(loaded).keys() == vars(model).keys()
    if kind == "unfitted":
        return
    rows = TABLE if kind == "table" else np.nan_to_num(X)[:, : model.n_features_in_]
    assert_array_equal(raw_prediction(loaded, rows), raw_prediction(model, rows))
    if model._training_state is not None:
        for one in (model, loaded):
            one.partial_fit(rows, LABELS)
        assert_array_equal(raw_prediction(loaded, rows), raw_prediction(model, rows))


if __name__ == "__main__":
    write(int(sys.argv[1]) if len(sys.argv) > 1 else STATE_VERSION, len(sys.argv) < 2)
