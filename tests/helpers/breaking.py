"""A callback that interrupts fits, to test that they survive it."""

import numpy as np
import pytest

from sklearn_bp._versions import HAS_CALLBACKS

needs_callbacks = pytest.mark.skipif(
    not HAS_CALLBACKS, reason="scikit-learn before 1.9 has no callbacks"
)


class Breaking:
    """Interrupts a fit after some epochs; counts them."""

    def __init__(self, after=np.inf, error=None):
        self.n_epochs, self.after, self.error = 0, after, error

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "epoch":
            return False
        self.n_epochs += 1
        if self.n_epochs >= self.after and self.error is not None:
            raise self.error
        return self.n_epochs >= self.after
