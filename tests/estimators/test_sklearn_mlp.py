"""scikit-learn's own tests of its MLP classes, run on ours.

The file ships inside scikit-learn.  It is read from there, one import is exchanged,
and it runs in a process of its own, away from this project's settings: it lets
warnings pass that are errors here.
"""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sklearn.neural_network
from places import environment

THEIR_IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
OUR_IMPORT = (
    "from plain import TwoLayerClassifier as MLPClassifier\n"
    "from plain import TwoLayerRegressor as MLPRegressor"
)

# The file takes a fixture from scikit-learn's conftest, which does not ship.
CONFTEST = """
import pytest

@pytest.fixture
def global_random_seed():
    return 42
"""

ATTRIBUTES = "looks at private attributes, which ours has not"
LAYERS = "has several hidden layers"
FEW_ROWS = "wants early_stopping to refuse few rows; ours holds out what they allow"
NOT_FOR_US = {
    "test_fit": "sets the weights of an estimator that was never fitted",
    "test_gradient": ATTRIBUTES,
    "test_learning_rate_warmstart": ATTRIBUTES,
    "test_adaptive_learning_rate": ATTRIBUTES,
    "test_n_iter_no_change": ATTRIBUTES,
    "test_n_iter_no_change_inf": ATTRIBUTES,
    "test_mlp_classifier_dtypes_casting": LAYERS,
    "test_mlp_regressor_dtypes_casting": LAYERS,
    "test_mlp_param_dtypes": LAYERS,
    "test_verbose_sgd": "wants lines that say 'Iteration'; ours are a table of epochs",
    "test_early_stopping_stratified": FEW_ROWS,
    "test_minimum_input_sample_size": FEW_ROWS,
    "test_mlp_partial_fit_after_fit": "wants early_stopping=True to be refused; ours "
    "holds no row out in partial_fit",
    "test_mlp_diverging_loss": "wants diverged fits to return; ours raise",
}


def outcomes(report):
    """The names of the tests in a JUnit report, each with its outcome."""
    return [
        (case.get("name"), "passed" if not len(case) else case[0].tag)
        for case in ElementTree.parse(report).iter("testcase")
    ]


@pytest.mark.slow
def test_scikit_learns_tests_of_mlp(tmp_path):
    path = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
    source = path.read_text(encoding="utf-8")
    assert source.count(THEIR_IMPORT) == 1
    source = source.replace(THEIR_IMPORT, OUR_IMPORT)
    (tmp_path / "test_mlp.py").write_text(source, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    own = environment()
    own.pop("PYTEST_ADDOPTS", None)
    arguments = ["-q", "-c", "pytest.ini", "--rootdir", ".", "--junitxml", "report.xml"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "report.xml").exists(), run.stdout + run.stderr

    passed, failed = [], set()
    for name, outcome in outcomes(tmp_path / "report.xml"):
        if outcome == "passed":
            passed.append(name)
        else:
            failed.add(name.split("[")[0])
    # Both ways round: a test that passes after all must leave the table.
    assert failed == set(NOT_FOR_US), run.stdout
    assert not {name.split("[")[0] for name in passed} & set(NOT_FOR_US)
    assert len(passed) > 40
