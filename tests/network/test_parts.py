"""Laws over the tables of parts: each entry alone, without a network or estimator."""

import copy
import pickle

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bp import activations, optimizers
from sklearn_bp._network.parameters import Parameters
from sklearn_bp._training.patience import Patience
from sklearn_bp.activations import ACTIVATIONS
from sklearn_bp.initializers import INITIALIZERS
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES, GaussianNLL
from sklearn_bp.optimizers import OPTIMIZERS, SGD, Adam, AdamW, RMSprop
from sklearn_bp.schedules import (
    SCHEDULES,
    Adaptive,
    Constant,
    Cosine,
    InverseScaling,
    OneCycle,
)

LOSSES = {
    f"{name}-{'exclusive' if exclusive else 'independent'}": loss
    for name, variants in CLASSIFIER_LOSSES.items()
    for exclusive, loss in variants.items()
} | REGRESSOR_LOSSES

SCIKIT_LEARNS = ["constant", "invscaling", "adaptive"]

over_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
over_activations = pytest.mark.parametrize(
    "activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys()
)
over_losses = pytest.mark.parametrize("loss", LOSSES)


# Activations.


def points(largest):
    """Net inputs of all sizes and both signs, as (n, 1), without zero."""
    sizes = np.r_[np.geomspace(1e-3, 50, 80), np.geomspace(1e2, largest, 9)]
    return np.r_[-sizes[::-1], sizes][:, np.newaxis]


def forward(activation, z):
    a = z.copy()
    activation.forward(a)
    return a


def backward(activation, z, delta):
    delta = delta.copy()
    activation.backward(z if activation.of_input else forward(activation, z), delta)
    return delta


@over_activations
def test_backward_multiplies_by_the_derivative(activation):
    z = points(1e300)
    delta = np.random.RandomState(0).normal(size=z.shape)
    step = 1e-6 * np.maximum(np.abs(z), 1e-1)
    slope = (forward(activation, z + step) - forward(activation, z - step)) / (2 * step)
    found = backward(activation, z, delta)
    # Differences are off by 1e-16 / 1e-7, a rounding of f over the step.
    assert_allclose(found, delta * slope, rtol=1e-7, atol=1e-8)


@over_activations
@over_dtypes
def test_bound_activation_is_the_plain_one(activation, dtype):
    z = np.r_[points(1e30), [[0.0], [-0.0]]].astype(dtype)
    delta = np.random.RandomState(0).normal(size=z.shape).astype(dtype)
    run_forward, run_backward = activation.bind(z.shape, dtype)
    for sign in (1, -1):  # twice: the second call finds used buffers
        a = sign * z
        run_forward(a)
        assert a.dtype == dtype
        assert_array_equal(a, forward(activation, sign * z))
        found = delta.copy()
        run_backward(a, found)
        assert_array_equal(found, backward(activation, sign * z, delta))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    z = points(300)  # cosh(z)^2 overflows beyond
    f, f_prime = reference.ACTIVATIONS[name]
    a = forward(ACTIVATIONS[name], z)
    assert_allclose(a, f(z), rtol=1e-13, atol=1e-300)
    # 1 - a of a near 1 is off by the rounding of a.
    found = backward(ACTIVATIONS[name], z, np.ones_like(z))
    assert_allclose(found, f_prime(z), rtol=1e-9, atol=1e-15)


@over_activations
@over_dtypes
def test_activation_is_exact_in_the_tails(activation, dtype):
    """In its own dtype, with the values of float64, and without a warning."""
    z = np.array([[-1e4], [-500.0], [-80.0], [80.0], [500.0], [1e4]], dtype)
    one = np.ones_like(z)
    with np.errstate(all="raise", under="ignore"):
        a, slope = forward(activation, z), backward(activation, z, one)
    assert a.dtype == slope.dtype == dtype
    wide = z.astype(np.float64)
    tiny = np.finfo(dtype).tiny
    assert_allclose(a, forward(activation, wide), rtol=1e-4, atol=100 * tiny)
    exact = backward(activation, wide, one.astype(np.float64))
    assert_allclose(slope, exact, rtol=1e-4, atol=100 * tiny)


def test_selu_keeps_mean_and_variance():
    """Of a standard normal: the fixed point that its two constants solve."""
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    a = forward(ACTIVATIONS["selu"], z[:, np.newaxis])[:, 0]
    assert abs(density @ a) < 1e-9
    assert abs(density @ a**2 - 1) < 1e-9


def test_parameters_of_activations():
    z = np.array([[-2.0, 3.0]])
    assert_allclose(forward(activations.LeakyReLU(0.25), z), [[-0.5, 3]])
    assert_allclose(forward(activations.ELU(2.0), z), [[2 * np.expm1(-2), 3]])
    for bad, error in ((-0.1, ValueError), (1.5, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="'negative_slope' parameter of LeakyReLU"):
            activations.LeakyReLU(bad)
    with pytest.raises(ValueError, match="'alpha' parameter of ELU"):
        activations.ELU(0)


def test_relu_at_zero_has_no_slope():
    for zero in (0.0, -0.0):
        z = np.array([[zero]])
        assert forward(ACTIVATIONS["relu"], z) == 0
        assert backward(ACTIVATIONS["relu"], z, np.ones((1, 1))) == 0


# Losses.


def predictions(loss, z):
    p = z.copy()
    loss.forward(p)
    return p


def targets(name, n, k, rng):
    if name in REGRESSOR_LOSSES:
        if not reference.LOSSES[name].admits(0):
            return rng.gamma(2, size=(n, k))
        return rng.poisson(1.5, size=(n, k)).astype(float)
    if name.endswith("exclusive"):
        return np.eye(k, dtype=bool)[rng.randint(k, size=n)]
    return rng.uniform(size=(n, k)) < 0.5


@over_losses
@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_backward_is_the_derivative_of_the_value(loss, n_outputs):
    rng = np.random.RandomState(0)
    y = targets(loss, 200, n_outputs, rng)
    loss = LOSSES[loss]
    n_scores = loss.n_scores(n_outputs)
    z = rng.uniform(-8, 8, size=(200, n_scores))
    delta2 = np.empty_like(z)
    loss.backward(predictions(loss, z), y, delta2)
    step = 1e-5
    for k in range(n_scores):
        up, down = z.copy(), z.copy()
        up[:, k] += step
        down[:, k] -= step
        values = [loss.value(predictions(loss, moved), y) for moved in (up, down)]
        slope = (values[0] - values[1]) / (2 * step)
        # Differences are off by a rounding of the value over the step.
        noise = 1e-9 + 1e-10 * np.abs(values[0])
        assert (np.abs(delta2[:, k] - slope) <= 1e-6 * np.abs(slope) + noise).all()


@over_losses
def test_value_is_one_number_per_row_and_least_at_the_target(loss):
    rng = np.random.RandomState(0)
    y = targets(loss, 12, 3, rng)
    loss = LOSSES[loss]
    z = rng.normal(size=(2, 12, loss.n_scores(3)))
    values = loss.value(predictions(loss, z), y)
    assert values.shape == (2, 12)
    right, least = np.maximum(y.astype(float), 1e-300), 0.0
    if isinstance(loss, GaussianNLL):
        right = np.hstack([right, np.full_like(right, loss.min_std)])
        least = 3 * np.log(loss.min_std)
    assert (values > least).all()
    assert_allclose(loss.value(right, y), least, atol=1e-14)


@over_losses
@over_dtypes
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_bound_loss_is_the_plain_one(loss, dtype, n_outputs):
    loss, eps = LOSSES[loss], np.finfo(dtype).eps
    rng = np.random.RandomState(0)
    shape = (20, loss.n_scores(n_outputs))
    run = loss.bind(shape, dtype)
    for scale, shift in [
        (1, 0), (3, 5), (3, -5), (30, 0), (1, 55), (1, -55), (1, 62), (1, -62),
        (100, 0), (1, 590), (1, -590), (1, 1000), (1000, -1000), (1e6, 0), (1, 0),
    ]:  # fmt: skip
        z = (scale * rng.normal(size=shape) + shift).astype(dtype)
        p = z.copy()
        with np.errstate(all="ignore"):  # as in training
            run(p)
            plain = predictions(loss, z)
        # Rounding of exp(z) grows with |z|, up to 600.
        assert_allclose(p, plain, rtol=1000 * eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", CLASSIFIER_LOSSES)
@over_dtypes
def test_probabilities(name, dtype):
    rng = np.random.RandomState(0)
    eps, largest = np.finfo(dtype).eps, np.finfo(dtype).max / 4
    for scale in (1e-3, 1, 30, 100, 1e6, largest):
        z = scale * rng.uniform(-1, 1, size=(50, 4))
        z = z.astype(dtype)
        classes = z.copy()
        CLASSIFIER_LOSSES[name][True].proba(classes)
        # Saturated sigmoids may tie; the largest score never has less than others.
        likeliest = np.take_along_axis(classes, z.argmax(axis=1)[:, np.newaxis], 1)
        assert_array_equal(likeliest[:, 0], classes.max(axis=1))
        two = np.concatenate([-z[:, :1], z[:, :1]], axis=1)  # two classes, one score
        CLASSIFIER_LOSSES[name][False].proba(two)
        for p in (classes, two):
            assert p.dtype == dtype
            assert (p > 0).all()
            assert (p <= 1).all()
            assert_allclose(p.sum(axis=1), 1, atol=4 * eps)
            assert np.isfinite(np.log(p)).all()


def test_squared_error_normalises_sigmoids():
    z = np.random.RandomState(0).normal(size=(20, 3)) * 5
    p = z.copy()
    CLASSIFIER_LOSSES["squared_error"][True].proba(p)
    s = reference.sigmoid(z)
    assert_allclose(p, s / s.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("name", REGRESSOR_LOSSES)
def test_targets_outside_the_domain_are_refused(name):
    loss, domain = REGRESSOR_LOSSES[name], reference.LOSSES[name]
    for y in (-1e300, -1e-9, 0.0, 1e-300, 2.5):
        targets = np.array([[1.0], [y]])
        if domain.admits(y):
            loss.check_targets(targets)
        else:
            with pytest.raises(ValueError, match=rf"{name}.* needs y .* Use loss="):
                loss.check_targets(targets)


# Initializers.

FAN_IN, FAN_OUT = 50, 4000
UNIFORM, NORMAL = 9 / 5, 3.0  # fourth moment over squared variance

# Variance of the weights and of the intercepts, and the kind of distribution, from
# the formulas of the docstrings, for a glorot_factor of 2.
DISTRIBUTIONS = {
    "glorot_uniform": (2 / 4050 / 3, 2 / 4050 / 3, UNIFORM),  # variance r^2 / 3
    "he_normal": (2 / 50, 0, NORMAL),
    "lecun_normal": (1 / 50, 0, NORMAL),
    "normal": (1, 1, NORMAL),
    "zeros": (0, 0, None),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_distribution_of_starting_weights(name):
    weight_variance, intercept_variance, kind = DISTRIBUTIONS[name]
    weights, intercepts = INITIALIZERS[name](
        np.random.RandomState(0), FAN_IN, FAN_OUT, glorot_factor=2.0
    )
    assert weights.shape == (FAN_IN, FAN_OUT)
    assert intercepts.shape == (FAN_OUT,)
    for draws, variance in [
        (weights, weight_variance),
        (intercepts, intercept_variance),
    ]:
        if variance == 0:
            assert not draws.any()
            continue
        # Five standard errors of mean, variance and fourth moment (for a normal, whose
        # are the larger: variance / n, 2 variance^2 / n, 96 variance^4 / n).
        n = draws.size
        assert abs(draws.mean()) < 5 * np.sqrt(variance / n)
        assert_allclose(draws.var(), variance, rtol=5 * np.sqrt(2 / n))
        assert_allclose((draws**4).mean() / variance**2, kind, atol=5 * np.sqrt(96 / n))
        if kind == UNIFORM:
            bound = np.sqrt(3 * variance)
            assert 0.99 * bound < np.abs(draws).max() <= bound


@pytest.mark.parametrize("name", INITIALIZERS)
def test_starting_weights_repeat(name):
    a, b = (
        INITIALIZERS[name](np.random.RandomState(7), 5, 3, glorot_factor=6.0)
        for _ in range(2)
    )
    assert_array_equal(a[0], b[0])
    assert_array_equal(a[1], b[1])


# Schedules.


def test_constant_schedule():
    schedule = Constant(0.1)
    assert schedule.after_epoch(0.1, 1000) == 0.1
    assert schedule.on_plateau(0.1) is None


def test_inverse_scaling_schedule():
    assert_allclose(InverseScaling(0.1, 0.5).after_epoch(0.1, 99), 0.01, rtol=1e-15)
    assert_allclose(InverseScaling(0.1, 0.5).after_epoch(7.0, 3), 0.05, rtol=1e-15)
    assert_allclose(InverseScaling(0.1, 1.0).after_epoch(0.1, 99), 0.001, rtol=1e-15)
    assert InverseScaling(0.1, 0.0).after_epoch(0.1, 99) == 0.1
    assert InverseScaling(0.1, 0.5).on_plateau(0.1) is None


def test_adaptive_schedule():
    schedule = Adaptive(0.1)
    assert schedule.after_epoch(0.02, 1000) == 0.02
    rates = [0.1]
    while (rate := schedule.on_plateau(rates[-1])) is not None:
        rates.append(rate)
    # 5^7 < 0.1 / 1e-6 < 5^8: the eighth division is the last.
    assert_allclose(rates, 0.1 / 5.0 ** np.arange(9), rtol=1e-14)


def test_cosine_schedule():
    plain = [Cosine().factor(step, 10) for step in range(10)]
    assert_allclose(plain, (1 + np.cos(np.pi * np.arange(10) / 10)) / 2, rtol=1e-15)
    rising = [Cosine(warmup=0.4, final=0.1).factor(step, 10) for step in range(11)]
    assert_allclose(rising[:4], np.arange(1, 5) / 5)
    assert_allclose(rising[4], 1.0)
    assert_allclose(rising[7], 0.55)
    assert_allclose(rising[10], 0.1)


def test_one_cycle_schedule():
    """Smith and Topin 2018 with torch's defaults: 1/25, 1, 1/25/10,000."""
    factors = [OneCycle().factor(step, 100) for step in range(100)]
    assert_allclose(factors[0], 1 / 25)
    assert_allclose(factors[29], 1.0)
    assert_allclose(factors[-1], 1 / 25 / 1e4)
    assert (np.diff(factors[:30]) > 0).all()
    assert (np.diff(factors[29:]) < 0).all()
    halfway = OneCycle(pct_start=0.5, div_factor=2, final_div_factor=1)
    assert_allclose(halfway.factor(2, 11), 0.5 + 0.25 * (1 - np.cos(np.pi * 2 / 4.5)))
    assert OneCycle().factor(0, 1) > 0  # a single step


@pytest.mark.parametrize("pct_start", [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_one_cycle_of_few_steps_ends_at_its_end(pct_start):
    rule = OneCycle(pct_start)
    for n_steps in range(1, 30):
        factors = [rule.factor(step, n_steps) for step in range(n_steps)]
        assert_allclose(factors[-1], 1 / 25 / 1e4)
        assert min(factors) > 0
        assert max(factors) <= 1 + 1e-15


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in SCIKIT_LEARNS])
def test_factors_are_between_0_and_1(name):
    for n_steps in (1, 2, 3, 10, 1000):
        factors = [SCHEDULES[name]().factor(step, n_steps) for step in range(n_steps)]
        assert min(factors) >= 0
        assert max(factors) <= 1 + 1e-15
        assert factors[-1] < 1 or n_steps == 1


@pytest.mark.parametrize("name", SCIKIT_LEARNS)
def test_rates_stay_positive_and_never_grow(name):
    schedule = SCHEDULES[name](0.3, 0.5)
    rate, t = schedule.learning_rate_init, 0
    for _ in range(50):
        t += 100
        lower = schedule.after_epoch(rate, t)
        assert 0 < lower <= rate
        rate = lower
        plateau = schedule.on_plateau(rate)
        assert plateau is None or 0 < plateau < rate


# Optimizers.

OPTIMIZER_CASES = [
    *[
        (
            SGD(momentum, nesterov),
            reference.sgd,
            {"momentum": momentum, "nesterov": nesterov},
        )
        for momentum in (0, 0.5, 0.9, 1.0)
        for nesterov in (False, True)
    ],
    *[
        (
            Adam(*betas, epsilon),
            reference.adam,
            {"beta_1": betas[0], "beta_2": betas[1], "epsilon": epsilon},
        )
        for betas in ((0.9, 0.999), (0.0, 0.0), (0.5, 0.9))
        for epsilon in (1e-8, 0.1)
    ],
    (RMSprop(), reference.rmsprop, {}),
    (RMSprop(0.5, 0.1), reference.rmsprop, {"rho": 0.5, "epsilon": 0.1}),
    (AdamW(weight_decay=0.0), reference.adam, {}),
    (SGD(clip_norm=1e9), reference.sgd, {}),
    (SGD(0.5, False, 1e9), reference.sgd, {"momentum": 0.5, "nesterov": False}),
    (Adam(clip_norm=1e9), reference.adam, {}),
]


def new_parameters(dtype=np.float64):
    parameters = Parameters.empty((3, 4, 2), dtype)
    parameters.flat[:] = np.random.RandomState(0).normal(size=parameters.flat.size)
    return parameters


def step(bound, gradient, rate, n_rows=5):
    """As in the kernel: the sum over the batch, times the requested scale."""
    scale, beta = bound.begin(n_rows, rate)
    target = bound.target.flat
    target[:] = (beta * target if beta else 0) + scale * n_rows * gradient
    return bound.finish(n_rows, rate)


@pytest.mark.parametrize(("dtype", "least"), [("f4", 1.6e-23), ("f8", 2.6e-185)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_denormal_numbers_ahead_become_zero_after_256_steps(name, dtype, least):
    parameters = Parameters.empty((3, 4, 2), np.dtype(dtype))
    parameters.flat[:] = 1
    parameters.flat[:2] = 0.8 * least, 1.3 * least
    bound = OPTIMIZERS[name]().bind(parameters)
    for t in range(256):
        assert parameters.flat[0] > 0, t
        step(bound, np.zeros(parameters.flat.size), 1e-6)
    assert parameters.flat[0] == 0, "Call `flush` every FLUSH_EVERY steps."
    assert parameters.flat[1] > 0


def gradients(n_steps, size):
    """Changing signs, sizes from 1e-3 to 10."""
    rng = np.random.RandomState(1)
    return rng.normal(size=(n_steps, size)) * 10.0 ** rng.uniform(-3, 1, (n_steps, 1))


@pytest.mark.parametrize(
    ("optimizer", "plain", "options"),
    OPTIMIZER_CASES,
    ids=[repr(case[0]) for case in OPTIMIZER_CASES],
)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 300.0])
@pytest.mark.parametrize("piece", [2**14, 5])
@over_dtypes
def test_optimizer_is_its_formula(
    optimizer, plain, options, dtype, alpha, piece, monkeypatch
):
    monkeypatch.setattr(optimizers._base, "PIECE", piece)
    monkeypatch.setattr(optimizers._base, "LONG", 5)
    parameters = new_parameters(dtype)
    penalized = parameters.like(np.zeros(parameters.flat.size))
    penalized.penalized[:] = 1
    theta, eps = [parameters.flat.astype(float)], np.finfo(dtype).eps
    bound = optimizer.bind(parameters, alpha)
    update = plain(theta, rate=0.01, **options)
    # 0.9^300 and 0.5^300 are tiny: anything kept as a product has been renewed.  With
    # alpha = 300 a step takes 0.01 * 300 / 5 = 0.6 of a weight away.
    for gradient in gradients(300, theta[0].size):
        squared_norm = step(bound, gradient, 0.01)
        expected = (penalized.flat * theta[0] ** 2).sum() if alpha else 0
        assert_allclose(squared_norm, expected, rtol=1e-12 if eps < 1e-15 else 1e-2)
        update([gradient + alpha / 5 * penalized.flat * theta[0]])
    assert parameters.flat.dtype == dtype
    # 300 steps, each rounded to 6e-8 (1e-16) of the numbers at hand.
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(parameters.flat, theta[0], rtol=rtol, atol=rtol)


@over_dtypes
def test_decoupled_decay_is_its_formula(dtype):
    """Loshchilov and Hutter 2019, algorithm 2: W shrinks by rate * decay, then Adam."""
    decay, rate = 0.3, 0.05
    parameters, plain = new_parameters(dtype), new_parameters(dtype)
    bound, adam = AdamW(weight_decay=decay).bind(parameters), Adam().bind(plain)
    for gradient in gradients(50, parameters.flat.size):
        step(bound, gradient, rate)
        plain.penalized[...] *= 1 - rate * decay
        step(adam, gradient, rate)
    rtol = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(parameters.flat, plain.flat, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("n_members", [1, 3])
@over_dtypes
def test_clipped_gradients(name, n_members, dtype):
    """As if the user had scaled the gradients that are too long, member by member."""
    make, most = OPTIMIZERS[name], 2.0
    layout = (3, 4, 2, n_members)
    parameters, plain = (Parameters.empty(layout, dtype) for _ in range(2))
    parameters.flat[:] = np.random.RandomState(0).normal(size=parameters.flat.size)
    plain.flat[:] = parameters.flat
    bound, free = make(clip_norm=most).bind(parameters, 0.1), make().bind(plain, 0.1)
    n_clipped = 0
    for gradient in gradients(60, parameters.flat.size):
        clipped = parameters.like(gradient.copy())
        for member in clipped.members():
            norm = np.sqrt(sum((part**2).sum() for part in member.arrays()))
            n_clipped += norm > most
            for part in member.arrays():
                part *= min(1, most / norm)
        step(bound, gradient, 0.01)
        step(free, clipped.flat, 0.01)
    assert 10 * n_members < n_clipped < 50 * n_members
    rtol = 1e-11 if dtype == np.float64 else 2e-4
    assert_allclose(parameters.flat, plain.flat, rtol=rtol, atol=rtol)


def rosenbrock_gradient(theta):
    """Of sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, least where all x are 1."""
    x, y = theta[:-1], theta[1:]
    gradient = np.zeros_like(theta)
    gradient[:-1] = -400 * x * (y - x**2) - 2 * (1 - x)
    gradient[1:] += 200 * (y - x**2)
    return gradient


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (SGD(clip_norm=1.0), 0.002),
        (Adam(), 0.05),
        (AdamW(weight_decay=0.0), 0.05),
        (RMSprop(), 0.005),
    ],
    ids=lambda value: type(value).__name__,
)
def test_optimizer_goes_down_the_curved_valley(optimizer, rate):
    """From (-1.2, 1), Rosenbrock's own start, along its valley to (1, 1)."""
    parameters = Parameters(np.array([-1.2, 1.0, 0.0, 0.0]), (1, 1, 1))
    theta = parameters.flat[:2]
    bound = optimizer.bind(parameters)
    for i in range(6000):
        gradient = np.r_[rosenbrock_gradient(theta), 0, 0]
        step(bound, gradient, rate * (1 - i / 6000))
    assert_allclose(theta, 1, atol=0.01)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer_finds_the_minimum_of_a_quadratic(optimizer):
    parameters = new_parameters()
    theta = parameters.flat
    curvature = np.geomspace(0.1, 5, theta.size)
    minimum = np.linspace(-2, 2, theta.size)
    settings = {"weight_decay": 0.0} if optimizer == "adamw" else {}
    bound = OPTIMIZERS[optimizer](**settings).bind(parameters)
    for i in range(3000):
        # A rate that falls to nothing, since steps may not shrink with the gradient.
        step(bound, curvature * (theta - minimum), 0.05 * (1 - i / 3000) ** 2)
    assert_allclose(theta, minimum, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    dict.fromkeys(
        [make() for make in OPTIMIZERS.values()] + [case[0] for case in OPTIMIZER_CASES]
    ),
    ids=repr,
)
@pytest.mark.parametrize("n_before", [1, 37, 260])
def test_state_continues_to_the_very_bits(optimizer, n_before):
    parameters = new_parameters()
    all_gradients = gradients(n_before + 60, parameters.flat.size)
    bound = optimizer.bind(parameters)
    for gradient in all_gradients[:n_before]:
        step(bound, gradient, 0.01)
    state = bound.state()
    for value in state.values():
        assert isinstance(value, np.ndarray | float | int)
    state = pickle.loads(pickle.dumps(state))
    resumed = parameters.like(parameters.flat.copy())
    resumed_bound = optimizer.bind(resumed, state=copy.deepcopy(state))
    for gradient in all_gradients[n_before:]:
        step(bound, gradient, 0.01)
        step(resumed_bound, gradient, 0.01)
    assert_array_equal(resumed.flat, parameters.flat)
    # Two that start from one state do not share it.
    twins = [parameters.like(parameters.flat.copy()) for _ in range(2)]
    bounds = [optimizer.bind(twin, state=state) for twin in twins]
    for bound in bounds:
        step(bound, all_gradients[0], 0.01)
    assert_array_equal(twins[0].flat, twins[1].flat)


@pytest.mark.parametrize("optimizer", [Adam(), SGD(0.9), SGD(0.0, False)], ids=repr)
@over_dtypes
def test_weights_that_decay_to_nothing_end_at_zero(optimizer, dtype):
    # No gradient but the penalty's, as behind a feature that is always zero.
    parameters = new_parameters(dtype)
    bound = optimizer.bind(parameters, 1.0)
    nothing = np.zeros(parameters.flat.size)
    n_steps, rate = (4000, 0.1) if dtype == np.float32 else (25_000, 0.1)
    if isinstance(optimizer, Adam):
        rate = 0.01 if dtype == np.float32 else 0.001
    for _ in range(n_steps):
        step(bound, nothing, rate)
    for values in [parameters.penalized, *bound.state().values()]:
        sizes = np.abs(np.asarray(values))
        assert not ((sizes > 0) & (sizes < np.finfo(dtype).tiny)).any()
    assert (parameters.penalized == 0).all()


# Patience.

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("costs", "improved", "counts"),
    [
        ([3, 2, 1], [1, 1, 1], [0, 0, 0]),
        # A gain of just tol counts, less does not, though it is the best so far.
        ([1, 0.75, 0.625, 0.375], [1, 1, 1, 1], [0, 0, 1, 0]),
        # Small gains add up to nothing: each is measured from the best so far.
        ([1, 0.875, 0.75, 0.625], [1, 1, 1, 1], [0, 1, 2, 3]),
        ([1, 1, 2, 0], [1, 0, 0, 1], [0, 1, 2, 0]),
        ([NAN, NAN], [0, 0], [1, 2]),
        ([1, NAN, NAN, 0.5], [1, 0, 0, 1], [0, 1, 2, 0]),
        ([1, INF, -INF], [1, 0, 1], [0, 1, 0]),
        ([-0.5, -0.75], [1, 1], [0, 0]),  # scores, larger being better
    ],
)
def test_patience_counts(costs, improved, counts):
    patience = Patience(tol=0.25, n_iter_no_change=99)
    seen = [(patience.update(cost), patience.count) for cost in costs]
    assert seen == [(bool(i), n) for i, n in zip(improved, counts, strict=True)]
    finite = [cost for cost in costs if not np.isnan(cost)]
    assert patience.best == min(finite, default=INF)


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
@pytest.mark.parametrize("cost", [1.0, NAN, INF])
def test_patience_ends(n_iter_no_change, cost):
    patience = Patience(0.0, n_iter_no_change)
    patience.update(0.5)
    for _ in range(n_iter_no_change):
        patience.update(cost)
        assert not patience.exhausted
    patience.update(cost)
    assert patience.exhausted
    patience.update(0.25)
    assert not patience.exhausted


def test_patience_without_end():
    patience = Patience(1.0, INF)
    for _ in range(1000):
        patience.update(NAN)
    assert patience.count == 1000
    assert not patience.exhausted
