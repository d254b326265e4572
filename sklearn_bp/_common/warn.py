"""Warnings that point at the user's own line."""

import sys
import warnings

# A Pipeline's call is no line of the user's either.
OURS = ("sklearn_bp", "sklearn")


def warn_user(text, category=UserWarning):
    """Warn at the line outside of this package and scikit-learn that led here."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _package(frame) in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level + 1)


def _package(frame):
    return frame.f_globals.get("__name__", "").split(".")[0]
