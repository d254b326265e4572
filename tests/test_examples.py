"""What the examples claim, quickly: each is imported and trained for a short while."""

import importlib.util
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

mpl.use("Agg")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    plt.close("all")


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_displays_are_saved(tmp_path):
    displays = example("displays").main(tmp_path)
    for name, display in displays.items():
        height, width, _ = plt.imread(tmp_path / f"{name}.png").shape
        np.testing.assert_allclose(
            [width, height], display.figure_.get_size_inches() * 80, atol=1
        )
    # The iris of the README's picture is taken for what it is, if hardly.
    p = displays["backpropagation"].activations[2]
    assert p.argmax() == 1
    assert p[1] < 0.6
