"""Fits limit BLAS to one thread while they run, and leave its setting as it was."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from places import environment
from threadpoolctl import ThreadpoolController, threadpool_limits

from sklearn_bp import MLP_DEFAULTS, DivergenceError, TwoLayerClassifier
from sklearn_bp._common.blas import OneThread, blas_threads
from sklearn_bp._tables.metrics import R2
from sklearn_bp._tables.weights import in_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.normal(size=(60, 3))
y = X[:, 0] > 0


def numbers():
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return {lib.get_num_threads() for lib in libraries}


@pytest.fixture(autouse=True)
def _two_threads():
    with threadpool_limits(2, user_api="blas"):
        assert numbers() == {2}
        yield
        assert numbers() == {2}


class Library:
    """As threadpoolctl's LibController, with a number of the process or the thread."""

    def __init__(self, threading_layer, number=4):
        self.threading_layer = threading_layer
        by_thread = threading_layer == "openmp"
        self._place = threading.local() if by_thread else SimpleNamespace()
        self._number = number

    def get_num_threads(self):
        return getattr(self._place, "number", self._number)

    def set_num_threads(self, number):
        self._place.number = number


class Worker:
    """A thread that runs one task after another, on request."""

    def __init__(self):
        self._todo, self._done = None, threading.Semaphore(0)
        self._begin = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            self._begin.acquire()
            if self._todo is None:
                return
            self.result = self._todo()
            self._done.release()

    def do(self, function):
        self._todo = function
        self._begin.release()
        assert self._done.acquire(timeout=60)
        return self.result

    def end(self):
        self._todo = None
        self._begin.release()
        self._thread.join(60)


@pytest.mark.parametrize("seed", range(20))
def test_contexts_may_end_in_any_order(seed):
    """One thread while the context is in use, also nested; then the earlier number."""
    rng = np.random.default_rng(seed)
    library, of_openmp = Library("pthreads"), Library("openmp")
    limit = OneThread([library, of_openmp])
    workers = [Worker() for _ in range(3)]
    inside = [[] for _ in workers]
    for step in range(40):
        i = rng.integers(3)
        if inside[i] and (step > 25 or rng.uniform() < 0.5):
            context = inside[i].pop()
            error = ValueError() if rng.uniform() < 0.3 else None

            def leave(context=context, error=error):
                return context.__exit__(type(error) if error else None, error, None)

            assert not workers[i].do(leave)
        elif step <= 25:
            inside[i].append(limit())
            workers[i].do(inside[i][-1].__enter__)
        expected = 1 if any(inside) else 4
        assert {w.do(library.get_num_threads) for w in workers} == {expected}
        for worker, own in zip(workers, inside, strict=True):
            assert worker.do(of_openmp.get_num_threads) == (1 if own else 4)
    for worker, own in zip(workers, inside, strict=True):
        while own:
            worker.do(lambda own=own: own.pop().__exit__(None, None, None))
        worker.end()
    assert library.get_num_threads() == 4


@pytest.mark.parametrize("seed", range(20))
def test_a_number_set_by_others_stays(seed):
    """The last number set counts, from any thread; 1 is the limit itself."""
    rng = np.random.default_rng(seed)
    library = Library("pthreads")
    limit = OneThread([library])
    inside, wanted = [], 4
    for _ in range(40):
        action = rng.choice(["enter", "leave", "set"])
        if action == "enter":
            inside.append(limit())
            inside[-1].__enter__()
            assert library.get_num_threads() == 1
        elif action == "leave" and inside:
            inside.pop(rng.integers(len(inside))).__exit__(None, None, None)
        elif action == "set":
            wanted = int(rng.integers(2, 9))
            library.set_num_threads(wanted)
        if not inside:
            assert library.get_num_threads() == wanted
    while inside:
        inside.pop().__exit__(None, None, None)
    assert library.get_num_threads() == wanted


# Fits.


class Gate:
    """A learning rate that waits in the second step until it is let through."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()
        self.seen = None

    def __call__(self, step):
        if step < 1:  # asked for before training begins, too
            return 1.0
        self.seen = numbers()
        self.reached.set()
        assert self.opened.wait(60)
        return 1.0


def fit(rate, **options):
    settings = MLP_DEFAULTS | {"solver": "sgd", "max_iter": 2, "random_state": 0}
    model = TwoLayerClassifier(**settings | {"learning_rate": rate} | options)
    return model.fit(X, y)


@pytest.mark.parametrize("seed", range(6))
def test_fits_in_threads_end_in_any_order(seed):
    rng = np.random.default_rng(seed)
    gates = [Gate() for _ in range(4)]
    threads = [threading.Thread(target=fit, args=[gate]) for gate in gates]
    for thread, gate in zip(threads, gates, strict=True):
        thread.start()
        assert gate.reached.wait(60)
        assert gate.seen == {1}
    for i in rng.permutation(4):
        assert numbers() == {1}
        gates[i].opened.set()
        threads[i].join(60)
    assert numbers() == {2}


def test_a_fit_that_fails():
    def failing(step):
        if step < 1:
            return 1.0
        raise RuntimeError("no rate")

    with pytest.raises(RuntimeError, match="no rate"):
        fit(failing)
    assert numbers() == {2}
    with pytest.raises(DivergenceError):
        fit("constant", learning_rate_init=1e300)
    assert numbers() == {2}


def test_a_fit_within_a_fit():
    seen = []

    def scorer(estimator, X, y):
        fit("constant")
        seen.append(numbers())
        return 0.0

    fit("constant", early_stopping=True, early_stopping_metric=scorer)
    assert seen
    assert set.union(*seen) == {1}


def test_limits_of_the_users_own():
    """Around a fit, within it, and only around its start."""
    with threadpool_limits(3, user_api="blas"):
        fit("constant")
        assert numbers() == {3}

    def limited(step):
        if step < 1:
            return 1.0
        with threadpool_limits(3, user_api="blas"):
            assert numbers() == {3}
        assert numbers() == {1}
        return 1.0

    fit(limited)
    assert numbers() == {2}
    gate = Gate()
    thread = threading.Thread(target=fit, args=[gate])
    with threadpool_limits(3, user_api="blas"):
        thread.start()
        assert gate.reached.wait(60)
    assert numbers() == {2}
    gate.opened.set()
    thread.join(60)
    assert numbers() == {2}


def test_large_products_are_left_alone():
    with blas_threads(10**9):
        assert numbers() == {2}


FORKING = """
import os, sys, threading, warnings
from test_blas_threads import Gate, fit, numbers
from threadpoolctl import threadpool_limits

warnings.simplefilter("ignore")
threadpool_limits(2, user_api="blas")

def child_of(check):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        check()
    except BaseException as error:
        print("child:", repr(error), flush=True)
        os._exit(1)
    os._exit(0)

def at_two():
    assert numbers() == {2}, numbers()
    fit("constant")
    assert numbers() == {2}, numbers()

# Another thread is within a fit: the child has nothing of it.
gate = Gate()
thread = threading.Thread(target=fit, args=[gate])
thread.start()
gate.reached.wait()
assert numbers() == {1}
assert child_of(at_two) == 0
assert numbers() == {1}
gate.opened.set()
thread.join()
assert child_of(at_two) == 0

# The fit itself forks: both processes finish it.
children = []

def forking(step):
    if step < 1:
        return 1.0
    if not children:
        children.append(os.fork())
    assert numbers() == {1}
    return 1.0

fit(forking)
assert numbers() == {2}, numbers()
if children[0] == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
print("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_forks():
    run = subprocess.run(
        [sys.executable, "-c", FORKING],
        env=environment(Path(__file__).parent),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.stdout.split(), run.returncode) == (["whole"], 0), run.stderr


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_validation_scores_do_not_depend_on_the_number(n_outputs):
    """Sums of BLAS would; and its threads would spin beside the compiled step's."""
    rng = np.random.default_rng(0)
    Y, P = rng.normal(size=(2, 50_001, n_outputs))
    weights = rng.uniform(size=len(Y))
    found = set()
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found.add(R2(Y, weights)(P))
    assert len(found) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_unit_of_weights_does_not_depend_on_the_number(seed):
    """Nor do the curves of a weighted fit, then."""
    weights, found = np.random.default_rng(seed).uniform(0.5, 2, size=25_001), []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append(in_rows(weights, np.inf))
    assert_array_equal(found[0], found[1])
