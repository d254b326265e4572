"""Threads that share work in contiguous ranges; the caller takes the first range."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from itertools import pairwise

from joblib import cpu_count

from sklearn_bp._common.blas import allowed_threads, one_blas_thread

# Seconds of work below which threads wait for each other longer than they gain.
SHORT = 1e-3
# A lower bound of the multiplications per second of one core.
SPEED = 1e10


class Team:
    """At most `most` threads, no more than BLAS may use now, nor than there are cores.

    joblib counts the cores, because it respects the limits of containers.

    The threads wait without spinning, and end with the team. None outlives a fit, so a
    process may fork between fits.

    Parameters
    ----------
    most : int
    """

    def __init__(self, most):
        self.size = 1 if most == 1 else min(most, allowed_threads())
        if self.size > 1:  # counting reads files
            self.size = min(self.size, cpu_count())
        self._helpers = None
        if self.size > 1:
            self._helpers = ThreadPoolExecutor(self.size - 1, "sklearn_bp")

    def share(self, n, work):
        """Call work(first, last) for ranges that cover 0 to n, and wait for all."""
        if self._helpers is None:
            work(0, n)
            return

        def helped(first, last):
            with one_blas_thread():  # OpenMP has a separate number for each thread
                work(first, last)

        bounds = [n * i // self.size for i in range(self.size + 1)]
        ranges = list(pairwise(bounds))
        # Each gets a copy of the context, so that numpy's errstate applies there too.
        futures = [
            self._helpers.submit(copy_context().run, helped, *r) for r in ranges[1:]
        ]
        try:
            work(*ranges[0])
        finally:
            # Even after an interrupt no thread works on the arrays once this returns.
            self._wait(futures)
        for future in futures:
            future.result()

    @staticmethod
    def _wait(futures):
        interrupted = None
        for future in futures:
            while not future.done():
                try:
                    future.exception()
                except KeyboardInterrupt as error:
                    interrupted = error
        if interrupted is not None:
            raise interrupted


def shared_by(n, n_multiplications, work):
    """Call work(first, last) for ranges that cover 0 to n, in threads if it takes long.

    The threads share the cores, so BLAS uses one thread in each.
    """
    if n_multiplications < 4 * SHORT * SPEED or n < 2:
        work(0, n)
        return
    team = Team(n)
    with one_blas_thread() if team.size > 1 else nullcontext():
        team.share(n, work)
