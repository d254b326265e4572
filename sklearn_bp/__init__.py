"""Two-layer neural networks for scikit-learn, trained by backpropagation."""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from types import ModuleType as _ModuleType

from sklearn_bp import _compiled
from sklearn_bp._estimators.classifier import TwoLayerClassifier
from sklearn_bp._estimators.regressor import TwoLayerRegressor
from sklearn_bp._fitting.parameters import MLP_DEFAULTS
from sklearn_bp._tables.piecewise_linear import PiecewiseLinear
from sklearn_bp._training.state import DivergenceError

__version__ = "1.0.0"

__all__ = [
    "MLP_DEFAULTS",
    "DivergenceError",
    "PiecewiseLinear",
    "TwoLayerClassifier",
    "TwoLayerRegressor",
    "show_versions",
]

# The public modules, and the optional packages that they need.  They are imported on
# first access, for example by sklearn_bp.display.
_MODULES: dict[str, tuple[str, ...]] = {
    "activations": (),
    "building_blocks": (),
    "callbacks": (),
    "dask": ("dask", "distributed"),
    "display": (),
    "initializers": (),
    "losses": (),
    "onnx": ("onnx", "skl2onnx"),
    "optimizers": (),
    "schedules": (),
}


def show_versions() -> None:
    """Print the version and engine of this package, and scikit-learn's report.

    The engine is the one that fits will use: "compiled", if it covers their parameters
    (see `docs/performance.md`), or "python".  The report gives the versions of numpy,
    scipy and scikit-learn, and each BLAS with its number of threads.
    """
    from sklearn import show_versions as show_others

    built = "built" if _compiled.is_built() else "not built"
    engine = "compiled" if _compiled.is_asked_for() else "python"
    print(f"sklearn_bp: {__version__}")
    print(f"    engine: {engine} (the compiled step is {built})")
    show_others()


def __getattr__(name: str) -> _ModuleType:
    if name in _MODULES:
        return _import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    modules = [name for name, needed in _MODULES.items() if all(map(_is_there, needed))]
    return sorted({*globals(), *modules})


def _is_there(package: str) -> bool:
    try:
        return _find_spec(package) is not None
    except (ImportError, ValueError):
        return False
