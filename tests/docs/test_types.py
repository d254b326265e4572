"""Types: what is public is annotated, and a user's script is checked by them."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_bp

PUBLIC = [sklearn_bp.TwoLayerClassifier, sklearn_bp.TwoLayerRegressor]
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


def own_functions(kind):
    """The public functions of a class that this package defines."""
    for name, found in inspect.getmembers(kind):
        if name.startswith("_") and name != "__init__":
            continue
        function = found.fget if isinstance(found, property) else found
        function = inspect.unwrap(getattr(function, "fn", function))
        if getattr(function, "__module__", "").startswith("sklearn_bp"):
            yield name, function


@pytest.mark.parametrize("kind", PUBLIC)
def test_all_that_is_public_is_annotated(kind):
    missing = []
    for name, function in own_functions(kind):
        signature = inspect.signature(function)
        missing += [
            f"{kind.__name__}.{name}({parameter.name})"
            for parameter in signature.parameters.values()
            if parameter.annotation is parameter.empty
            and parameter.name not in INHERITED
        ]
        if signature.return_annotation is signature.empty:
            missing.append(f"{kind.__name__}.{name} -> ...")
    assert not missing


def test_the_package_says_that_it_is_typed():
    package = Path(sklearn_bp.__file__).parent
    assert (package / "py.typed").exists()
    setup = (package.parent / "setup.cfg").read_text(encoding="utf-8")
    assert "sklearn_bp = py.typed" in setup


def check(script, tmp_path):
    """What mypy says of a script."""
    pytest.importorskip("mypy")
    file = tmp_path / "script.py"
    file.write_text(script, encoding="utf-8")
    root = Path(sklearn_bp.__file__).parents[1]
    options = ["--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache")]
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


def test_public_modules_are_importable():
    for name in sklearn_bp._MODULES:
        assert importlib.import_module(f"sklearn_bp.{name}").__doc__
