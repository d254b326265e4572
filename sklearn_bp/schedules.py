"""Learning rates from epoch to epoch.

A schedule is a small object without state: `after_epoch(rate, t)` gives the
rate of the next epoch, t being the number of training rows seen so far, and
`on_plateau(rate)` what to do when the patience is used up: a lower rate to go
on with, or None to stop.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The initial rate throughout."""

    learning_rate_init: float
    power_t: float = 0.5

    def after_epoch(self, rate, t):
        return rate

    def on_plateau(self, rate):
        return None


@dataclass(frozen=True)
class InverseScaling(Constant):
    """learning_rate_init / (t + 1) ** power_t after t rows."""

    def after_epoch(self, rate, t):
        return self.learning_rate_init / (t + 1) ** self.power_t


@dataclass(frozen=True)
class Adaptive(Constant):
    """Divided by 5 at each plateau; training ends once it is below 1e-6."""

    def on_plateau(self, rate):
        return rate / 5 if rate > 1e-6 else None


SCHEDULES = {"constant": Constant, "invscaling": InverseScaling, "adaptive": Adaptive}
