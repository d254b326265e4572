"""Which of many values are tried by `.ci/run` only: see docs/contributing.md."""

import pytest


def slow_but(quick, values):
    """The values as parameters, marked slow but for those in `quick`."""
    return [
        v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values
    ]
