"""Types: public names are annotated, and mypy checks users' scripts with them."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sklearn_bp
from sklearn_bp._versions import HAS_CALLBACKS

ESTIMATORS = [sklearn_bp.TwoLayerClassifier, sklearn_bp.TwoLayerRegressor]
INHERITED = {"self", "cls", "args", "kwargs"}
SCRIPT = """
import numpy as np
from numpy.typing import NDArray

from sklearn_bp import MLP_DEFAULTS, TwoLayerClassifier, TwoLayerRegressor

X: NDArray[np.float64] = np.zeros((9, 2))
y = [0, 1, 0, 1, 0, 1, 0, 1, 1]
model = TwoLayerClassifier(20, activation="tanh", random_state=0).fit(X, y)
reveal_type(model)
reveal_type(model.predict(X))
reveal_type(model.score(X, y))
reveal_type(TwoLayerRegressor().partial_fit(X, y).predict_interval(X, coverage=0.8))
"""
REVEALED = [
    "sklearn_bp._estimators.classifier.TwoLayerClassifier",
    "numpy.ndarray[",
    "float",
    "numpy.ndarray[",
]
# What users write beside estimators; it is checked, and run.
PARTS = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from sklearn_bp import TwoLayerClassifier, TwoLayerRegressor
from sklearn_bp.activations import Activation
from sklearn_bp.building_blocks import gradient_error, n_parameters, stepper, views
from sklearn_bp.callbacks import Checkpoint, TimeLimit
from sklearn_bp.display import BackpropDisplay, HiddenUnitsDisplay, LossCurveDisplay
from sklearn_bp.initializers import he_normal
from sklearn_bp.losses import REGRESSOR_LOSSES, Huber, Loss, Quantile
from sklearn_bp.onnx import Graph
from sklearn_bp.optimizers import AdamW
from sklearn_bp.schedules import Cosine

Floats = NDArray[np.float64]


class LogCosh(Loss):
    scalable = True

    def value(self, p: Floats, y: Floats) -> Floats:
        total: Floats = np.log(np.cosh(p - y)).sum(axis=-1)
        return total

    def backward(self, p: Floats, y: Floats, out: Floats) -> None:
        np.tanh(p - y, out=out)


@dataclass(frozen=True)
class Sine(Activation):
    frequency: float = 1.0
    of_input: ClassVar[bool] = True

    def check(self) -> None:
        if self.frequency <= 0:
            raise ValueError("The frequency must be above 0.")

    def forward(self, z: Floats) -> None:
        np.sin(self.frequency * z, out=z)

    def backward(self, z: Floats, delta: Floats) -> None:
        delta *= self.frequency * np.cos(self.frequency * z)

    def onnx(self, graph: Graph, z: str) -> str:
        return graph.node("Sin", graph.node("Mul", z, self.frequency))


class Halving:
    def factor(self, step: int, n_steps: int) -> float:
        return float(0.5 ** (4 * step // n_steps))


class Epochs:
    def __init__(self) -> None:
        self.n = 0

    def setup(self, estimator: Any, context: Any) -> None:
        self.n = 0

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        self.n += context.task_name == "epoch"
        return False

    def teardown(self, estimator: Any, context: Any) -> None: ...


X: Floats = np.random.default_rng(0).normal(size=(120, 2))
y: Floats = X[:, 0] - X[:, 1] ** 2
model = TwoLayerRegressor(
    5,
    activation=Sine(2.0),
    loss=LogCosh(),
    solver=AdamW(weight_decay=0.1),
    learning_rate=Halving(),
    max_iter=3,
)
callbacks = [Epochs(), TimeLimit(60), Checkpoint(Path("model.ckpt"), every=2)]


def draw(classifier: TwoLayerClassifier) -> list[Any]:
    ax: Axes = plt.figure().add_subplot()
    curves = LossCurveDisplay.from_estimator({"mine": classifier}, ax=ax)
    units = HiddenUnitsDisplay.from_estimator(classifier, X, n_units=2)
    sample = BackpropDisplay.from_estimator(classifier, X[0], 1).plot(max_units=3)
    return [curves.ax_, units.axes_, sample.figure_]


shapes = [(2, 3), (3,)]
theta: Floats = np.ones(n_parameters(shapes))
W, b = views(theta, shapes)
step = stepper(AdamW(), theta, 0.1)
step(2 * theta)
error: float = gradient_error(lambda x: (float(np.sum(x**2)), 2 * x), theta)
V, c = he_normal(np.random.RandomState(0), 2, 3, 6.0)
parts = [Huber(1.0).get_params(), Cosine(warmup=0.1).factor(0, 10)]
rows: Floats = Huber(1.0).value(theta[:, None], theta[:, None])
deciles = Quantile([0.1, 0.5, 0.9])
scores: int = REGRESSOR_LOSSES["gaussian_nll"].n_scores(3)


class Patient(TimeLimit):
    def on_fit_task_end(self, estimator: Any, context: Any) -> bool | None:
        return super().on_fit_task_end(estimator, context)
"""


def public_parts():
    """The public classes and functions of the public modules, by full name."""
    found = {}
    for module in sklearn_bp._MODULES:
        if module in ("dask", "onnx"):
            pytest.importorskip(module)
        room = importlib.import_module(f"sklearn_bp.{module}")
        for name in getattr(room, "__all__", vars(room)):
            part = getattr(room, name)
            own = getattr(part, "__module__", "").startswith(room.__name__)
            if own and not name.startswith("_") and callable(part):
                found[f"{module}.{name}"] = part
    return found


def own_functions(kind):
    """The public functions of a class that this package defines."""
    for name, found in inspect.getmembers(kind):
        if name.startswith("_") and name != "__init__":
            continue
        function = found.fget if isinstance(found, property) else found
        function = inspect.unwrap(getattr(function, "fn", function))
        if getattr(function, "__module__", "").startswith("sklearn_bp"):
            yield name, function


def unannotated(name, function):
    """The parameters of a function, and its return, that have no annotation."""
    signature = inspect.signature(function)
    missing = [
        f"{name}({parameter.name})"
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in INHERITED
    ]
    if signature.return_annotation is signature.empty:
        missing.append(f"{name} -> ...")
    return missing


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_estimators_are_annotated(kind):
    missing = []
    for name, function in own_functions(kind):
        missing += unannotated(f"{kind.__name__}.{name}", function)
    assert not missing


def test_public_modules_are_annotated():
    parts, missing = public_parts(), []
    assert {name.partition(".")[0] for name in parts} == set(sklearn_bp._MODULES)
    for name, part in parts.items():
        if not inspect.isclass(part):
            missing += unannotated(name, part)
            continue
        for method, function in own_functions(part):
            missing += unannotated(f"{name}.{method}", function)
    assert not missing


def test_the_package_says_that_it_is_typed():
    package = Path(sklearn_bp.__file__).parent
    assert (package / "py.typed").exists()
    setup = (package.parent / "setup.cfg").read_text(encoding="utf-8")
    assert "sklearn_bp = py.typed" in setup


def check(script, tmp_path, *more):
    """The output of mypy for a script."""
    pytest.importorskip("mypy")
    file = tmp_path / "script.py"
    file.write_text(script, encoding="utf-8")
    root = Path(sklearn_bp.__file__).parents[1]
    options = ["--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache")]
    options += more
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(root), "PATH": ""},
    )
    return found.stdout


@pytest.mark.slow
def test_a_script_is_checked(tmp_path):
    told = check(SCRIPT, tmp_path)
    assert "error:" not in told
    notes = [line for line in told.splitlines() if "Revealed type" in line]
    assert len(notes) == len(REVEALED)
    for note, expected in zip(notes, REVEALED, strict=True):
        assert expected in note


@pytest.mark.slow
def test_a_wrong_script_is_refused(tmp_path):
    told = check(SCRIPT.replace("random_state=0", "random_state='no'"), tmp_path)
    assert "error: Argument" in told
    told = check(SCRIPT.replace("activation=", "activations="), tmp_path)
    assert "Unexpected keyword argument" in told


# As for an installed package, whose own code mypy does not judge.
STRICT = ["--strict", "--follow-imports", "silent"]

# Mistakes in PARTS, and what mypy finds in each.
MISTAKES = {
    ("y: Floats) -> Floats:", "y: Floats) -> str:"): "[override]",
    ("(self, z: Floats) -> None", "(self, z: str) -> None"): "[override]",
    ("Sine(2.0)", "Sine('2')"): "[arg-type]",
    ('Checkpoint(Path("model.ckpt")', "Checkpoint(7"): "[arg-type]",
    ("Cosine(warmup=0.1)", "Cosine(warm_up=0.1)"): "[call-arg]",
    ("n_units=2", "n_units='all'"): "[arg-type]",
    ("ax=ax", "ax=plt"): "[arg-type]",
    ("(classifier, X[0], 1)", "('it', X[0], 1)"): "[arg-type]",
    ('graph.node("Sin"', 'graph.knot("Sin"'): "[attr-defined]",
    ("V, c = he_normal", "V, c, d = he_normal"): "[misc]",
    ("Quantile([0.1, 0.5, 0.9])", "Quantile('median')"): "[arg-type]",
    (".n_scores(3)", ".n_score(3)"): "[attr-defined]",
    ("Any) -> bool | None:", "Any) -> str:"): "[override]",
}


@pytest.mark.slow
def test_parts_are_checked_strictly(tmp_path):
    assert check(PARTS, tmp_path, *STRICT).startswith("Success")
    wrong = PARTS
    for right, mistake in MISTAKES:
        assert wrong.count(right) == 1
        wrong = wrong.replace(right, mistake)
    told = check(wrong, tmp_path, *STRICT)
    lines = wrong.splitlines()
    for (_, mistake), kind in MISTAKES.items():
        (place,) = (i for i, line in enumerate(lines, 1) if mistake in line)
        found = [t for t in told.splitlines() if f"script.py:{place}: error" in t]
        assert any(kind in text for text in found), (mistake, told)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parts_run(monkeypatch):
    """The script's types hold when it runs."""
    pytest.importorskip("matplotlib").use("agg")
    pytest.importorskip("skl2onnx")
    names = {"__name__": "script"}
    monkeypatch.setitem(sys.modules, "script", ModuleType("script"))
    parts = PARTS
    if not HAS_CALLBACKS:  # with scikit-learn before 1.9 they cannot be made
        parts = re.sub(r"^callbacks = .*$", "", PARTS, flags=re.M)
    exec(parts, names)
    fitted = names["model"].fit(names["X"], names["y"])
    assert fitted.n_iter_ == 3
    assert fitted.predict(names["X"]).shape == (120,)
    assert names["error"] < 1e-6
    assert names["W"].shape == names["V"].shape == (2, 3)
    classifier = sklearn_bp.TwoLayerClassifier(5, max_iter=3, random_state=0)
    drawn = names["draw"](classifier.fit(names["X"], names["y"] > 0))
    assert len(drawn[1]) == 2


def test_public_modules_are_importable():
    for name in sklearn_bp._MODULES:
        assert importlib.import_module(f"sklearn_bp.{name}").__doc__
