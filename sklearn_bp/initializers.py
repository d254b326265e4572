"""Starting weights of a layer, drawn from a legacy RandomState.

Each initializer is a function of (random_state, fan_in, fan_out, glorot_factor) that
returns the weights, (fan_in, fan_out), and the intercepts, (fan_out,), both float64.
"""

import numpy as np

from sklearn_bp._common.types import Array


def glorot_uniform(
    random_state: np.random.RandomState, fan_in: int, fan_out: int, glorot_factor: float
) -> tuple[Array, Array]:
    """U(-r, r), r = sqrt(glorot_factor / (fan_in + fan_out)), intercepts too.

    Glorot and Bengio 2010, eq. 16; the intercepts as MLPClassifier draws them.
    """
    bound = np.sqrt(glorot_factor / (fan_in + fan_out))
    weights = random_state.uniform(-bound, bound, (fan_in, fan_out))
    return weights, random_state.uniform(-bound, bound, fan_out)


def he_normal(
    random_state: np.random.RandomState, fan_in: int, fan_out: int, glorot_factor: float
) -> tuple[Array, Array]:
    """N(0, 2 / fan_in), intercepts zero (He et al. 2015, eq. 10)."""
    scale = np.sqrt(2 / fan_in)
    return random_state.normal(0, scale, (fan_in, fan_out)), np.zeros(fan_out)


def lecun_normal(
    random_state: np.random.RandomState, fan_in: int, fan_out: int, glorot_factor: float
) -> tuple[Array, Array]:
    """N(0, 1 / fan_in), intercepts zero (LeCun et al. 1998, eq. 16)."""
    scale = np.sqrt(1 / fan_in)
    return random_state.normal(0, scale, (fan_in, fan_out)), np.zeros(fan_out)


def normal(
    random_state: np.random.RandomState, fan_in: int, fan_out: int, glorot_factor: float
) -> tuple[Array, Array]:
    """N(0, 1) for weights and intercepts, as in early texts."""
    weights = random_state.normal(size=(fan_in, fan_out))
    return weights, random_state.normal(size=fan_out)


def zeros(
    random_state: np.random.RandomState, fan_in: int, fan_out: int, glorot_factor: float
) -> tuple[Array, Array]:
    """All zero: hidden units that start equal stay equal.

    For teaching: it shows why symmetry must be broken (Rumelhart, Hinton and Williams
    1986).
    """
    return np.zeros((fan_in, fan_out)), np.zeros(fan_out)


INITIALIZERS = {
    "glorot_uniform": glorot_uniform,
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "normal": normal,
    "zeros": zeros,
}
