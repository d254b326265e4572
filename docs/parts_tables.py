"""The tables of activations and losses in backpropagation.md.

    python docs/parts_tables.py

makes their rows from the `formulas` of each part, in the order of `ACTIVATIONS`,
`CLASSIFIER_LOSSES` and `REGRESSOR_LOSSES`, and writes them between two comments on the
page.
"""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("backpropagation.md")
sys.path.insert(0, str(PAGE.parents[1]))

from sklearn_bp.activations import ACTIVATIONS  # noqa: E402
from sklearn_bp.losses import CLASSIFIER_LOSSES, REGRESSOR_LOSSES  # noqa: E402

# The kinds of a loss for classes, by whether they exclude each other.
KINDS = {True: "three or more classes", False: "two classes (one score) or labels"}


def row(name, part, n_formulas):
    """The row of a part; its last cell links to `backward`."""
    cls = type(part)
    if len(cls.formulas) != n_formulas:
        raise ValueError(f"{cls.__name__}.formulas must be {n_formulas} strings.")
    module = cls.__module__.removeprefix("sklearn_bp.")
    link = f"../sklearn_bp/{module.replace('.', '/')}.py"
    cells = [name, *cls.formulas, f"[`{module}.{cls.__name__}.backward`]({link})"]
    return f"| {' | '.join(cells)} |"


def activations():
    """The table of activations."""
    head = ["| activation | $f(z)$ | $f'(z)$ | function |", "|---|---|---|---|"]
    rows = [row(f'`"{name}"`', part, 2) for name, part in ACTIVATIONS.items()]
    return "\n".join(head + rows)


def losses():
    """The table of losses."""
    head = [
        "| `loss` | $g(z)$ | $\\ell(p, y)$ | $\\delta_2$ | function |",
        "|---|---|---|---|---|",
    ]
    for_classes = [
        row(f'`"{name}"`, {kind}', variants[exclusive], 3)
        for name, variants in CLASSIFIER_LOSSES.items()
        for exclusive, kind in KINDS.items()
    ]
    rows = [
        row(f'`"{name}"`, regressor', part, 3)
        for name, part in REGRESSOR_LOSSES.items()
    ]
    return "\n".join(head + for_classes + rows)


def filled(text):
    """The page's text with its tables made anew."""
    for make in (activations, losses):
        begin, end = f"<!-- table of {make.__name__} -->", "<!-- end of table -->"
        pattern = rf"({begin}\n\n).*?(\n\n{end})"
        table = make()
        text, count = re.subn(
            pattern, lambda m, t=table: m[1] + t + m[2], text, flags=re.S
        )
        if count != 1:
            raise ValueError(f"{PAGE.name} must have one {begin} ... {end}.")
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
