"""Marks values of parametrized tests as slow: see docs/contributing.md."""

import pytest


def slow_but(quick, values):
    """The values as parameters, all but those in `quick` marked slow."""
    return [
        v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values
    ]
