"""jax: a whole epoch compiled, steady or with its compilation."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import ALPHA, MOMENTUM, RATE, Contender

jax.config.update("jax_enable_x64", True)  # float32 data stays float32


def initial(n_features, n_hidden, n_outputs, dtype):
    rng = np.random.default_rng(0)

    def uniform(fan_in, fan_out):
        bound = np.sqrt(6 / (fan_in + fan_out))
        return jnp.asarray(rng.uniform(-bound, bound, (fan_in, fan_out)), dtype)

    return {
        "W1": uniform(n_features, n_hidden),
        "b1": jnp.zeros(n_hidden, dtype),
        "W2": uniform(n_hidden, n_outputs),
        "b2": jnp.zeros(n_outputs, dtype),
    }


def log_loss(scores, y):
    true = jnp.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(scores, axis=1) - true)


def squared_error(scores, y):
    return 0.5 * jnp.mean((scores - y) ** 2)


def objective(criterion):
    def loss(p, X, y):
        hidden = jax.nn.relu(X @ p["W1"] + p["b1"])
        data = criterion(hidden @ p["W2"] + p["b2"], y)
        norms = jnp.sum(p["W1"] ** 2) + jnp.sum(p["W2"] ** 2)
        return data + 0.5 * ALPHA / len(X) * norms

    return loss


def sgd(p, gradient, state):
    """Nesterov's momentum."""
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v - RATE * g, state, gradient)
    p = jax.tree.map(lambda p, v, g: p + MOMENTUM * v - RATE * g, p, velocity, gradient)
    return p, velocity


def adam(p, gradient, state):
    first, second, t = state
    t = t + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    p = jax.tree.map(
        lambda p, m, v: p - rate.astype(p.dtype) * m / (jnp.sqrt(v) + 1e-8),
        p,
        first,
        second,
    )
    return p, (first, second, t)


def compiled_epoch(problem, criterion):
    """A new function, compiled at its first call: an epoch over shuffled rows."""
    gradient_of = jax.value_and_grad(objective(criterion))
    update = {"sgd": sgd, "adam": adam}[problem.solver]

    def step(carry, batch):
        p, state = carry
        loss, gradient = gradient_of(p, *batch)
        return update(p, gradient, state), loss

    @jax.jit
    def epoch(p, state, X, y, order):
        n = len(X)
        n_whole = n // problem.batch
        rows = order[: n_whole * problem.batch]
        batches = tuple(
            a[rows].reshape(n_whole, problem.batch, *a.shape[1:]) for a in (X, y)
        )
        carry, losses = jax.lax.scan(step, (p, state), batches)
        total = problem.batch * losses.sum()
        rest = order[n_whole * problem.batch :]
        if len(rest):
            carry, loss = step(carry, (X[rest], y[rest]))
            total += len(rest) * loss
        return carry, total / n

    return epoch


def trainer(problem):
    """A function that trains with a given epoch, and the criterion of the problem."""
    X, y = problem.load()
    n, X = len(X), jnp.asarray(X)
    if problem.kind == "regressor":
        y, criterion = jnp.asarray(y.reshape(n, -1)), squared_error
        n_outputs = y.shape[1]
    else:
        n_outputs, y, criterion = int(y.max()) + 1, jnp.asarray(y), log_loss

    def train(epoch):
        p = initial(X.shape[1], problem.hidden, n_outputs, X.dtype)
        state = jax.tree.map(jnp.zeros_like, p)
        if problem.solver == "adam":
            state = (state, jax.tree.map(jnp.zeros_like, p), jnp.zeros(()))
        rng = np.random.default_rng(0)
        for _ in range(problem.epochs):
            (p, state), loss = epoch(p, state, X, y, rng.permutation(n))
        return float(loss)

    return train, criterion


def tell(loss):
    return {"loss": loss}


def steady(problem):
    """Compiled once, in the warm-up."""
    train, criterion = trainer(problem)
    epoch = compiled_epoch(problem, criterion)
    return Contender(lambda: train(epoch), tell)


def cold(problem):
    """Compiled anew in each fit."""
    train, criterion = trainer(problem)
    return Contender(lambda: train(compiled_epoch(problem, criterion)), tell)
