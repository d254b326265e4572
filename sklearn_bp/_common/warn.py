"""Warnings that point at the user's own line."""

import sys
import warnings

# A call from scikit-learn, by a Pipeline for instance, is not the user's line either.
OURS = ("sklearn_bp", "sklearn")


def warn_user(text, category=UserWarning):
    """Warn at the innermost line outside this package and scikit-learn."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _package(frame) in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level + 1)


def _package(frame):
    return frame.f_globals.get("__name__", "").split(".")[0]
