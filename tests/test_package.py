"""The package as such: version, public names, documentation of parameters."""

import ast
import configparser
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

import sklearn_bp
from sklearn_bp import (
    MLP_DEFAULTS,
    DivergenceError,
    TwoLayerClassifier,
    TwoLayerRegressor,
)
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES
from sklearn_bp.optimizers import OPTIMIZERS
from sklearn_bp.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]
ESTIMATORS = [TwoLayerClassifier, TwoLayerRegressor]
over_estimators = pytest.mark.parametrize("estimator", ESTIMATORS)


def test_version_stands_in_one_place():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: sklearn_bp.__version__"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project.get("project", {})
    try:
        installed = importlib.metadata.version("sklearn-bp")
    except importlib.metadata.PackageNotFoundError:
        return  # run from the checkout
    assert installed == sklearn_bp.__version__


def test_public_names():
    names = {
        "MLP_DEFAULTS",
        "DivergenceError",
        "TwoLayerClassifier",
        "TwoLayerRegressor",
    }
    assert set(sklearn_bp.__all__) == names
    assert len(sklearn_bp.__all__) == len(names)
    source = ast.parse(Path(sklearn_bp.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in source.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name in imported if not name.startswith("_")} == names


@pytest.mark.parametrize(
    ("mlp", "ours"),
    [(MLPClassifier, TwoLayerClassifier), (MLPRegressor, TwoLayerRegressor)],
)
def test_mlp_defaults(mlp, ours):
    theirs = mlp().get_params()
    loss = theirs.pop("loss", None)  # of the regressor; both classes share the dict
    assert {name: MLP_DEFAULTS[name] for name in theirs} == theirs
    assert loss in (None, ours().loss)
    names = set(ours().get_params())
    assert set(MLP_DEFAULTS) == names - {"loss", "class_weight", "temperature_scaling"}
    # Names that MLP has not have the value that changes nothing.
    new = {name: MLP_DEFAULTS[name] for name in MLP_DEFAULTS if name not in theirs}
    assert new == {
        "loss_threshold": None,
        "early_stopping_metric": "score",
        "init": "glorot_uniform",
        "standardize": False,
        "n_members": 1,
        "average": False,
        "dropout": 0.0,
        "skip_layer": False,
        "scaling_layer": False,
        "categorical_features": None,
    }


def section(documented, title):
    """The entries of a numpydoc section, in order: [(name, type), ...].

    An entry may share its type, and a list of defaults, between several names.
    """
    lines = inspect.cleandoc(documented.__doc__).split("\n")
    for i, line in enumerate(lines[1:], 1):
        if lines[i - 1] == title and line == "-" * len(title):
            break
    else:
        return []
    entries = []
    for j, line in enumerate(lines[i + 1 :], i + 1):
        if j + 1 < len(lines) and line and lines[j + 1] == "-" * len(line):
            break
        if line and not line.startswith(" "):
            names, kind = line.split(" : ")
            kind = " ".join(kind.split())
            entries += [(name, kind) for name in names.split(", ")]
    return entries


def with_defaults(entries):
    """(name, type, default) of each parameter."""
    kinds = [kind for _, kind in entries]
    for i, (name, kind) in enumerate(entries):
        kind, default = kind.split(", default=")
        default = ast.literal_eval(default)
        # Names that share a line share a tuple of defaults, in order.
        sharing = kinds.count(kinds[i])
        same_line = sharing > 1 and isinstance(default, tuple)
        yield name, kind, default[i - kinds.index(kinds[i])] if same_line else default


def test_sections_are_read_right():
    def documented():
        """Do something.

        Parameters
        ----------
        a, b : float, default=1, 2
            Text: more - text.

        c : {'x', \
                'y'}

        Returns
        -------
        d : int
        """

    assert section(documented, "Parameters") == [
        ("a", "float, default=1, 2"),
        ("b", "float, default=1, 2"),
        ("c", "{'x', 'y'}"),
    ]
    entries = section(documented, "Parameters")[:2]
    assert list(with_defaults(entries)) == [("a", "float", 1), ("b", "float", 2)]
    assert section(documented, "Returns") == [("d", "int")]
    assert section(documented, "Notes") == []


@over_estimators
def test_parameters_are_documented(estimator):
    parameters = inspect.signature(estimator).parameters
    entries = section(estimator, "Parameters")
    assert [name for name, _ in entries] == list(parameters)
    stated = [(name, default) for name, _, default in with_defaults(entries)]
    assert stated == [(name, p.default) for name, p in parameters.items()]
    # hidden_layer_sizes may be given by position, nothing else.
    kinds = [parameter.kind.name for parameter in parameters.values()]
    assert kinds == ["POSITIONAL_OR_KEYWORD"] + ["KEYWORD_ONLY"] * (len(kinds) - 1)


@pytest.mark.parametrize(
    ("estimator", "losses"),
    [
        (TwoLayerClassifier, CLASSIFIER_LOSSES),
        (TwoLayerRegressor, REGRESSOR_LOSSES),
    ],
)
def test_choices_are_documented(estimator, losses):
    tables = {
        "activation": ACTIVATIONS,
        "solver": ["lbfgs", *OPTIMIZERS],
        "learning_rate": SCHEDULES,
        "loss": losses,
        "init": INITIALIZERS,
    }
    entries = dict(section(estimator, "Parameters"))
    for name, table in tables.items():
        names = entries[name].split(", default=")[0].split("}")[0] + "}"
        assert ast.literal_eval(names) == set(table)


@over_estimators
def test_attributes_are_documented(estimator):
    names = {name for name, _ in section(estimator, "Attributes")}
    X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]
    with pytest.warns(ConvergenceWarning):
        model = estimator(2, max_iter=1).fit(X, y)
    fitted = {name for name in vars(model) if name.endswith("_")}
    assert names == fitted | {
        "feature_names_in_",
        "encoded_feature_names_",
        "feature_importances_",
    }


PUBLIC_METHODS = [
    pytest.param(estimator, name, id=f"{estimator.__name__}.{name}")
    for estimator in ESTIMATORS
    for name in (
        "fit",
        "partial_fit",
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    )
    if hasattr(estimator, name)
]


@pytest.mark.parametrize(("estimator", "name"), PUBLIC_METHODS)
def test_methods_are_documented(estimator, name):
    method = getattr(estimator, name)
    parameters = [p for p in inspect.signature(method).parameters if p != "self"]
    assert [entry for entry, _ in section(method, "Parameters")] == parameters
    assert section(method, "Returns")


@pytest.mark.parametrize("public", [*ESTIMATORS, DivergenceError])
def test_classes_have_a_summary_line(public):
    assert public.__doc__.split("\n")[0].endswith(".")


def test_import_is_light():
    # scikit-learn takes pandas in if it finds it; we bring nothing more.
    code = """
import sys
import sklearn.model_selection, sklearn.neural_network
before = {name.split(".")[0] for name in sys.modules}
import sklearn_bp
after = {name.split(".")[0] for name in sys.modules}
print(*sorted(after - before - set(sys.stdlib_module_names)))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["sklearn_bp"]
