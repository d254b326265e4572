"""Learning rates, from epoch to epoch or from step to step.

scikit-learn's three schedules have two methods: `after_epoch(rate, t)` returns the rate
of the next epoch, where t is the number of training rows seen so far, and
`on_plateau(rate)` a lower rate when the patience is used up, or None to stop. `varies`
says whether the rate ever changes.

All others change from step to step: `factor(step, n_steps)` multiplies the initial
rate.  Steps count from 0, and n_steps is the number of steps in `max_iter` epochs;
beyond it the factor stays that of the last step.  A function of the step alone works
too.  `Stepwise` turns either into rates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_bp._common.option import Option, check_number, returned_number


@dataclass(frozen=True)
class Constant:
    """The initial rate throughout."""

    varies: ClassVar[bool] = False

    learning_rate_init: float
    power_t: float = 0.5

    def after_epoch(self, rate: float, t: int) -> float:
        return rate

    def on_plateau(self, rate: float) -> float | None:
        return None


@dataclass(frozen=True)
class InverseScaling(Constant):
    """learning_rate_init / (t + 1) ** power_t after t rows."""

    varies: ClassVar[bool] = True

    def after_epoch(self, rate: float, t: int) -> float:
        next_rate: float = self.learning_rate_init / (t + 1) ** self.power_t
        return next_rate


@dataclass(frozen=True)
class Adaptive(Constant):
    """Divided by 5 at each plateau; training ends once it is below 1e-6."""

    varies: ClassVar[bool] = True

    def on_plateau(self, rate: float) -> float | None:
        return rate / 5 if rate > 1e-6 else None


@dataclass(frozen=True)
class Cosine(Option):
    """Cosine decay from the initial rate to `final` times it, after a linear warmup.

    factor = final + (1 - final) (1 + cos(pi s)) / 2, s from 0 to 1 (Loshchilov and
    Hutter 2017, eq. 5, without restarts).

    Parameters
    ----------
    warmup : float in [0, 1), default=0.0
        Fraction of the steps in which the rate rises from 0.
    final : float in [0, 1], default=0.0
    """

    warmup: float = 0.0
    final: float = 0.0

    def check(self) -> None:
        check_number(self, "warmup", 0, 1)
        check_number(self, "final", 0, 1, closed="both")

    def factor(self, step: int, n_steps: int) -> float:
        rise = self.warmup * n_steps
        if step < rise:
            return (step + 1) / (rise + 1)
        share = min((step - rise) / (n_steps - rise), 1.0)
        return _by_cosine(1.0, self.final, share)


@dataclass(frozen=True)
class OneCycle(Option):
    """Up to the initial rate and down again (Smith and Topin 2018), as in PyTorch.

    Along cosines, from 1 / div_factor up to 1 and down to 1 / (div_factor
    final_div_factor).  The momentum stays the same.

    Parameters
    ----------
    pct_start : float in (0, 1), default=0.3
        Fraction of the steps in which the rate rises.
    div_factor : float >= 1, default=25.0
    final_div_factor : float >= 1, default=1e4
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def check(self) -> None:
        check_number(self, "pct_start", 0, 1, closed="neither")
        check_number(self, "div_factor", 1)
        check_number(self, "final_div_factor", 1)

    def factor(self, step: int, n_steps: int) -> float:
        low = 1 / self.div_factor
        peak, last = self.pct_start * n_steps - 1, n_steps - 1
        if step < peak:
            return _by_cosine(low, 1.0, step / peak)
        share = (step - peak) / (last - peak)
        return _by_cosine(1.0, low / self.final_div_factor, share)


def _by_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class Stepwise:
    """The rates of a schedule that changes from step to step.

    Parameters
    ----------
    learning_rate_init : float
    rule : object with `factor`, or callable(step) -> float
    n_epochs : int
    """

    varies: ClassVar[bool] = True

    learning_rate_init: float
    rule: Any
    n_epochs: int

    def after_epoch(self, rate: float, t: int) -> float:
        return rate

    def on_plateau(self, rate: float) -> float | None:
        return None

    def by_step(self, steps_per_epoch: int) -> Callable[[int], float]:
        """The rate of each step, counted from 0."""
        rate, rule = self.learning_rate_init, self.rule
        n_steps = self.n_epochs * steps_per_epoch
        if not hasattr(rule, "factor"):
            return lambda step: rate * _factor(rule(step), rule)
        return lambda step: (
            rate * _factor(rule.factor(min(step, n_steps - 1), n_steps), rule)
        )


def _factor(value: Any, rule: Any) -> float:
    """A factor of the rate, checked: one below 0 would climb."""
    factor = returned_number(value, "learning_rate", rule)
    if not 0 <= factor < math.inf:
        raise ValueError(
            f"learning_rate={rule!r} must return a number in [0, inf). Got {value!r}."
        )
    return factor


# The first three change from epoch to epoch, for 'sgd' only, as in scikit-learn.
SCHEDULES: dict[str, Any] = {
    "constant": Constant,
    "invscaling": InverseScaling,
    "adaptive": Adaptive,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def ends_with_max_iter(schedule: Any) -> bool:
    """Whether a schedule, by name or as an object, is designed to end at `max_iter`."""
    made = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return hasattr(made, "factor")


def as_schedule(
    schedule: Any,
    learning_rate_init: float,
    power_t: float,
    n_epochs: int,
    scheduled: bool,
) -> Constant | Stepwise:
    """The schedule of a name, an object or a function.

    Parameters
    ----------
    schedule : str, object with `factor`, or callable
    learning_rate_init, power_t : float
    n_epochs : int
    scheduled : bool
        Whether scikit-learn's three schedules apply to the optimizer.
    """
    if isinstance(schedule, str):
        made = SCHEDULES[schedule]
        if issubclass(made, Constant):
            return (made if scheduled else Constant)(learning_rate_init, power_t)
        schedule = made()
    return Stepwise(learning_rate_init, schedule, n_epochs)
