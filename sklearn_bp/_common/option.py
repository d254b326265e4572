"""The base class of all parts that users build: parameters by name.

`activation=activations.LeakyReLU(0.1)`, `solver=optimizers.AdamW(weight_decay=0.1)`:
such an object is a frozen dataclass that stores its fields as given.  So scikit-learn's
`clone`, `repr` and grids over `solver__weight_decay` work as for an estimator within an
estimator.
"""

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Self


@dataclass(frozen=True)
class Option:
    """A part with parameters; equal to another of its class with equal parameters."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ValueError or TypeError if a field is out of range."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """A dict of the fields by name; `deep` has no effect."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Set fields, and check them.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            For an unknown name, or a value out of range.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}. It has "
                    f"{sorted(known) or 'none'}."
                )
        type(self)(**known | params)  # checks all before any is set
        for name, value in params.items():
            object.__setattr__(self, name, value)
        return self


def check_number(
    option: Any, name: str, low: float, high: float = float("inf"), closed: str = "left"
) -> None:
    """Raise TypeError or ValueError unless a field is a number in an interval.

    Parameters
    ----------
    option : Option
    name : str
    low, high : float
    closed : {"left", "right", "both", "neither"}
        Which ends belong to the interval.
    """
    value = getattr(option, name)
    interval = (
        f"{'[' if closed in ('left', 'both') else '('}{low:g}, "
        f"{high:g}{']' if closed in ('right', 'both') else ')'}"
    )
    what = f"The {name!r} parameter of {type(option).__name__} must be a number in "
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number:
        raise TypeError(f"{what}{interval}. Got {value!r} instead.")
    above = value >= low if closed in ("left", "both") else value > low
    below = value <= high if closed in ("right", "both") else value < high
    if not (above and below):
        raise ValueError(f"{what}{interval}. Got {value!r} instead.")


def returned_number(value: Any, parameter: str, function: Any) -> float:
    """The number that a function of the user returned, as a float.

    Raises
    ------
    TypeError
        Unless it is a number; the message names the parameter and the function.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{parameter}={function!r} must return a number. Got {value!r}."
        ) from None
