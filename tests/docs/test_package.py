"""The package as a whole: version, public names, documentation of parameters."""

import ast
import configparser
import importlib.metadata
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import ROOT
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

ESTIMATORS = [TwoLayerClassifier, TwoLayerRegressor]
over_estimators = pytest.mark.parametrize("estimator", ESTIMATORS)


def test_version_stands_in_one_place():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: sklearn_bp.__version__"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project.get("project", {})
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, flags=re.M) == [
        sklearn_bp.__version__
    ]
    try:
        installed = importlib.metadata.version("sklearn-bp")
    except importlib.metadata.PackageNotFoundError:
        return  # run from the checkout
    assert installed == sklearn_bp.__version__


def test_versions_page_says_what_the_package_says():
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    table = page.split("## Supported versions")[1]
    told = dict(re.findall(r"^\| ([\w-]+) \| (\d.*?) \|$", table, flags=re.M))
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    named = re.findall(r":: (3\.\d+)$", setup["metadata"]["classifiers"], flags=re.M)
    assert told.pop("Python").split(", ") == named
    assert setup["options"]["python_requires"] == f">={named[0]}"
    required = setup["options"]["install_requires"].split()
    assert [f"{name}>={told[name].split()[0]}" for name in told] == required
    public = page.split("The public modules are")[1].split(".\n")[0]
    modules = re.findall(r"`(?:sklearn_bp\.)?(\w+)`", public)
    assert modules == MODULES


def test_public_names():
    names = {
        "MLP_DEFAULTS",
        "DivergenceError",
        "PiecewiseLinear",
        "TwoLayerClassifier",
        "TwoLayerRegressor",
        "show_versions",
    }
    assert set(sklearn_bp.__all__) == names
    assert len(sklearn_bp.__all__) == len(names)
    source = ast.parse(Path(sklearn_bp.__file__).read_text(encoding="utf-8"))
    found = {node.name for node in source.body if isinstance(node, ast.FunctionDef)}
    for node in source.body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    assert {name for name in found if not name.startswith("_")} == names


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
    own = {"loss", "class_weight", "temperature_scaling", "extrapolation"}
    assert set(MLP_DEFAULTS) == names - own
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
        "numeric_encoding": None,
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


# The parameters and attributes that the two classes describe in other words, because
# they differ.  All others are written twice, since editors show docstrings as they
# stand in the file, and are held to be the same.
DIFFERENT = {
    *("loss", "alpha", "learning_rate_init", "max_iter", "scaling_layer", "dropout"),
    *("early_stopping", "n_iter_no_change", "tol", "standardize", "numeric_encoding"),
    "n_outputs_",
}


def described(documented):
    """The entries of a class docstring, {name: lines}."""
    doc = inspect.cleandoc(documented.__doc__)
    entries = re.split(r"\n(?=\S)", doc)
    return {e.split(" : ")[0]: e.rstrip() for e in entries if " : " in e.split("\n")[0]}


def test_shared_parameters_are_described_in_the_same_words():
    ours, other = described(TwoLayerClassifier), described(TwoLayerRegressor)
    shared = ours.keys() & other.keys() - {"y"}
    assert len(shared) > 50
    assert {name for name in shared if ours[name] != other[name]} == DIFFERENT


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


# Public modules.

MODULES = [
    "activations",
    "building_blocks",
    "callbacks",
    "dask",
    "display",
    "initializers",
    "losses",
    "onnx",
    "optimizers",
    "schedules",
]
NEEDS = {"dask": ("dask", "distributed"), "onnx": ("skl2onnx", "onnx")}


def python(code, *absent):
    """The output of a new process in which some packages are not installed."""
    hide = f"""
import importlib.abc, sys, warnings

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
warnings.simplefilter("ignore")
"""
    run = subprocess.run(
        [sys.executable, "-c", hide + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\n")[:-1]


def test_modules_are_all_that_are_public():
    package = Path(sklearn_bp.__file__).parent
    public = {path.stem for path in package.glob("[!_]*.py")}
    public |= {path.parent.name for path in package.glob("[!_]*/__init__.py")}
    assert public == set(MODULES) == set(sklearn_bp._MODULES)


def test_import_is_light_and_modules_are_attributes():
    """After only the import of the package, and in its dir()."""
    names = [n for n in MODULES if all(map(find_spec, NEEDS.get(n, ())))]
    # scikit-learn takes pandas in if it finds it; we bring nothing more.
    code = f"""
import sklearn.model_selection, sklearn.neural_network
before = {{name.split(".")[0] for name in sys.modules}}
import sklearn_bp
after = {{name.split(".")[0] for name in sys.modules}}
print(*sorted(after - before - set(sys.stdlib_module_names)))
for name in {names}:
    assert name in dir(sklearn_bp)
    assert getattr(sklearn_bp, name) is sys.modules["sklearn_bp." + name]
    assert name in dir(sklearn_bp)
    print(getattr(sklearn_bp, name).__name__)
"""
    assert python(code) == ["sklearn_bp", *(f"sklearn_bp.{name}" for name in names)]


def test_other_names_are_not_attributes():
    for name in ("nonsense", "_dask", "__wrapped__"):
        assert not hasattr(sklearn_bp, name)
    with pytest.raises(
        AttributeError, match="'sklearn_bp' has no attribute 'displays'"
    ):
        _ = sklearn_bp.displays
    assert {*sklearn_bp.__all__, "__version__", "losses"} <= set(dir(sklearn_bp))


@pytest.mark.parametrize("absent", list(zip(*NEEDS.values(), strict=True)))
def test_without_its_packages_a_module_says_what_to_install(absent):
    """Without the first of the two that it needs, or without the second."""
    code = f"""
import inspect, sklearn_bp
for name in {list(NEEDS)}:
    for how in [
        f"import sklearn_bp.{{name}}",
        f"from sklearn_bp import {{name}}",
        f"import sklearn_bp; sklearn_bp.{{name}}",
        f"from sklearn_bp.{{name}} import x",
    ]:
        try:
            exec(how)
        except ImportError as error:
            print(error)
assert len(inspect.getmembers(sklearn_bp)) > 10
assert not {set(NEEDS)} & set(dir(sklearn_bp))
"""
    told = python(code, *absent)
    names = [name for name in NEEDS for _ in range(4)]
    for name, line in zip(names, told, strict=True):
        assert f"sklearn_bp.{name} needs" in line
        assert f'pip install "sklearn-bp[{name}]"' in line


def texts():
    """Everything that users read: pages, hints in the code, and examples."""
    for folder in ("sklearn_bp", "docs", "examples", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md", ".rst", ".txt"):
                yield path, path.read_text(encoding="utf-8")
    yield ROOT / "README.md", (ROOT / "README.md").read_text(encoding="utf-8")


def test_hints_name_packages_that_pip_can_install():
    """The distribution, with extras that there are, in quotes that shells need."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    name, extras = setup["metadata"]["name"], set(setup["options.extras_require"])
    found = 0
    for path, text in texts():
        for before, named, extra in re.findall(r"(.)(\.|sklearn[-_]bp)\[(\w+)\]", text):
            if named == "." and before not in "\"'":
                continue  # an index
            assert (named in (name, "."), before, extra in extras) == (
                True,
                '"',
                True,
            ), path
            found += 1
        assert not re.search(r"pip install [\"']?sklearn_bp", text), path
    assert found >= 8
