"""Training from a source of batches, with one call of partial_fit per batch.

A source is anything that yields (X, y) or (X, y, sample_weight): a list, a generator
function, a file reader.
"""

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, Protocol, TypeVar

import numpy as np

from sklearn_bp._tables.targets import check_labels, joined_labels
from sklearn_bp._tables.weights import NoWeightError


class Incremental(Protocol):
    """An estimator with partial_fit."""

    def partial_fit(self, X: Any, y: Any, *args: Any, **options: Any) -> Any: ...


E = TypeVar("E", bound=Incremental)
Source = Iterable[Any] | Callable[[], Iterable[Any]]


def fit_batches(estimator: E, source: Source, epochs: int, **options: Any) -> E:
    """Call partial_fit with the options on each batch of the source.

    Parameters
    ----------
    estimator : TwoLayerClassifier or TwoLayerRegressor
    source : iterable, or callable that returns an iterable
    epochs : int
    """
    if isinstance(epochs, bool) or not isinstance(epochs, Integral) or epochs < 1:
        raise ValueError(f"epochs must be an int >= 1. Got {epochs!r} instead.")
    if epochs > 1:
        _check_repeats(source, f"epochs={epochs} needs as many passes over it")
    unweighted = None
    for epoch in range(epochs):
        n_batches = 0
        for X, y, *sample_weight in _batches_of(source):
            n_batches += 1
            try:
                estimator.partial_fit(X, y, *sample_weight, **options)
            except NoWeightError as error:  # before the first row with weight
                unweighted = error
        if unweighted is not None and not hasattr(estimator, "coefs_"):
            raise unweighted
        if n_batches == 0:
            raise ValueError(
                f"The source yielded no batch in epoch {epoch + 1} of {epochs}. It "
                "must start again whenever it is iterated: pass a list, an object with "
                "an __iter__ of its own, or a function that returns a new generator."
            )
    return estimator


def labels_of(source):
    """All labels in the source, found in one pass over it; for `classes`."""
    _check_repeats(source, "finding the `classes` needs one more pass over it")
    labels = []
    for _, y, *_ in _batches_of(source):
        y = check_labels(y)
        labels.append(np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y))
    if not labels:
        raise ValueError("The source yielded no batch.")
    return joined_labels(labels)


def _batches_of(source):
    """Iterate over the source from its first batch; each is a tuple of two or three."""
    try:
        batches = iter(source() if callable(source) else source)
    except TypeError as error:
        raise TypeError(
            "source must be an iterable of (X, y) or (X, y, sample_weight), or a "
            f"function that returns one. Got {type(source).__name__}: {error}"
        ) from error
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise ValueError(
                "A batch must be a tuple (X, y) or (X, y, sample_weight). Got a "
                f"{type(batch).__name__}{size}."
            )
        yield tuple(batch)


def _check_repeats(source, reason):
    if not callable(source) and hasattr(source, "__next__"):
        raise ValueError(
            f"The source is an iterator, which can be read once, but {reason}. Pass "
            "something that can be iterated again, or a function that returns a new "
            "iterator."
        )
