"""Optimizers and schedules against torch's own, where it is installed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_bp._network.parameters import Parameters
from sklearn_bp.optimizers import SGD, Adam, AdamW, RMSprop
from sklearn_bp.schedules import Cosine, OneCycle

torch = pytest.importorskip("torch")

N_STEPS, RATE = 100, 0.01

# torch adds epsilon after the correction of the moments' bias, we before, as Kingma and
# Ba propose and scikit-learn does: next to nothing, so that it makes no difference.
EPS = {"eps": 1e-30}

# ours, torch's, its settings
CASES = {
    "sgd": (SGD(0.0, False), "SGD", {}),
    "momentum": (SGD(0.9, False), "SGD", {"momentum": 0.9}),
    "adam": (Adam(epsilon=1e-30), "Adam", EPS),
    "adamw": (
        AdamW(epsilon=1e-30, weight_decay=0.3),
        "AdamW",
        EPS | {"weight_decay": 0.3},
    ),
    "rmsprop": (RMSprop(), "RMSprop", {}),
    "clipped": (Adam(epsilon=1e-30, clip_norm=1.5), "Adam", EPS),
}
SCHEDULES = {
    "constant": (None, None),
    "cosine": (
        Cosine(),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, N_STEPS),
    ),
    "one cycle": (
        OneCycle(),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, RATE, total_steps=N_STEPS, cycle_momentum=False
        ),
    ),
}


# Velocities hold the rate in ours, as in scikit-learn, and not in torch: the same while
# the rate is.
@pytest.mark.parametrize(
    ("case", "schedule"),
    [(c, s) for c in CASES for s in SCHEDULES if c != "momentum" or s == "constant"],
)
def test_the_same_way_as_torch(case, schedule):
    """The weights after each of 100 steps down a bowl that is not round."""
    ours, name, settings = CASES[case]
    rule, scheduler = SCHEDULES[schedule]
    parameters = Parameters.empty((3, 4, 2), np.float64)
    theta = parameters.flat
    theta[:] = np.random.RandomState(0).normal(size=theta.size)
    curvature = np.geomspace(0.1, 10, theta.size)
    bound = ours.bind(parameters)

    parts = [parameters.W1, parameters.W2, parameters.b1, parameters.b2]
    own = [torch.tensor(part.copy(), requires_grad=True) for part in parts]
    intercepts = {"params": own[2:]}
    if "weight_decay" in settings:  # ours spares the intercepts
        intercepts["weight_decay"] = 0.0
    groups = [{"params": own[:2]}, intercepts]
    optimizer = getattr(torch.optim, name)(groups, lr=RATE, **settings)
    theirs = None if scheduler is None else scheduler(optimizer)
    bowl = parameters.like(curvature)
    bowls = [bowl.W1, bowl.W2, bowl.b1, bowl.b2]
    for step in range(N_STEPS):
        rate = RATE if rule is None else RATE * rule.factor(step, N_STEPS)
        gradient = curvature * theta
        scale, beta = bound.begin(1, rate)
        target = bound.target.flat
        target[:] = (beta * target if beta else 0) + scale * gradient
        bound.finish(1, rate)

        for part, b in zip(own, bowls, strict=True):
            part.grad = torch.tensor(b) * part.detach()
        if ours.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(own, ours.clip_norm)
        optimizer.step()
        if theirs is not None:
            theirs.step()
        for part, other in zip(parts, own, strict=True):
            assert_allclose(part, other.detach().numpy(), rtol=1e-6, atol=1e-9)
