"""Objects of this package as plain values, for pickles, skops files and checkpoints.

A part, an object of this package, becomes a dict of its class's name and its fields.
Numbers, arrays, lists and objects of the user stay as they are.  So a file does not
depend on the modules of private classes, skops has to trust only the type of the
estimator, and a field that a later version adds gets its default.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from sklearn.preprocessing import OneHotEncoder

from sklearn_bp import activations, losses, optimizers, schedules
from sklearn_bp._common.option import Option
from sklearn_bp._fitting.fitted_network import FittedNetwork
from sklearn_bp._fitting.parameters import MLP_DEFAULTS
from sklearn_bp._network.parameters import SCALE_SPEED, Layout, Parameters
from sklearn_bp._tables.class_targets import ClassTargets
from sklearn_bp._tables.column_statistics import ColumnStatistics
from sklearn_bp._tables.columns import Columns
from sklearn_bp._tables.inputs import Inputs
from sklearn_bp._tables.levels import encoder_of
from sklearn_bp._tables.piecewise_linear import Bins, PiecewiseLinear
from sklearn_bp._tables.real_targets import RealTargets
from sklearn_bp._tables.running import Running
from sklearn_bp._tables.scaling import Scaling
from sklearn_bp._tables.target_statistics import TargetStatistics
from sklearn_bp._training.patience import Patience
from sklearn_bp._training.state import TrainingState

# Raise this with a change that the code below cannot read; `restored` must then convert
# older states or refuse them.  tests/data has a file of each version.
STATE_VERSION = 4
READABLE = (4,)  # earlier ones were never released

PART, CLASS = "__part__", "__class__"  # keys of the dicts that stand for these


def _public_parts():
    for room in (activations, losses, optimizers, schedules):
        for name, found in vars(room).items():
            is_part = isinstance(found, type) and is_dataclass(found)
            if is_part and found is not Option and not name.startswith("_"):
                yield name, found


# The classes by their names in files; the names never change.
PARTS: dict[str, Any] = {
    **dict(_public_parts()),
    "PiecewiseLinear": PiecewiseLinear,
    "Bins": Bins,
    "Columns": Columns,
    "Scaling": Scaling,
    "Running": Running,
    "ColumnStatistics": ColumnStatistics,
    "TargetStatistics": TargetStatistics,
    "ClassTargets": ClassTargets,
    "RealTargets": RealTargets,
    "FittedNetwork": FittedNetwork,
    "Inputs": Inputs,
    "Patience": Patience,
    "TrainingState": TrainingState,
    "Parameters": Parameters,
    "OneHotEncoder": OneHotEncoder,
}
NAMES = {part: name for name, part in PARTS.items()}


def fields_of(part, given=True):
    """The name and the fields of a part, a dict.

    Without those that have "given" in their metadata, if `given` is False: they follow
    from the parameters of a fit.
    """
    values: dict[str, Any]
    if isinstance(part, OneHotEncoder):
        values = {"categories": part.categories_[0]}
    elif isinstance(part, Parameters):
        values = {"flat": part.flat, "layout": list(part.layout)}
        if part.member_weights is not None:
            values["member_weights"] = part.member_weights
    elif isinstance(part, Inputs):
        values = part._asdict()
    else:
        left_out = () if given else given_fields(part)
        names = [f.name for f in fields(part) if f.name not in left_out]
        values = {name: getattr(part, name) for name in names}
    return {PART: NAMES[type(part)]} | values


def given_fields(part):
    """The names of the fields that a checkpoint leaves out."""
    return [field.name for field in fields(part) if "given" in field.metadata]


def part_of(name, values):
    """The part with this name and these fields; ValueError for other fields."""
    if name not in PARTS:
        raise ValueError(
            f"{name!r} is not a part of this version of sklearn_bp: the file was "
            "written by a later one."
        )
    part = PARTS[name]
    if part is OneHotEncoder:
        return encoder_of(values["categories"])
    if part is Parameters:
        return _parameters(**values)
    return part(**values)


def _parameters(flat, layout, member_weights=None):
    """`Parameters` with this layout; ValueError if the vectors do not fit."""
    if type(layout[-1]) is bool:  # in older files: whether there is a scaling layer
        layout = [*layout[:-1], SCALE_SPEED if layout[-1] else 0.0]
    kinds = [type(x) for x in layout]
    is_layout = kinds == [int] * 4 + [bool, float]
    if not is_layout or min(layout[:4]) < 1 or not 0 <= layout[-1] < math.inf:
        raise ValueError(f"{layout} is not a layout.")
    if flat.dtype.kind != "f" or flat.shape != (Layout(*layout).size,):
        raise ValueError(f"{flat.shape} is not the shape of parameters {layout}.")
    if member_weights is not None and (
        member_weights.dtype.kind != "f" or member_weights.shape != (layout[3],)
    ):
        raise ValueError(f"{member_weights.shape} is not the shape of member weights.")
    return Parameters(flat, layout, member_weights)


def plain(value):
    """A value with the parts of this package replaced by dicts."""
    if type(value) is list:
        return [plain(v) for v in value] if _holds_parts(value) else value
    if isinstance(value, type) and value in NAMES:
        return {CLASS: NAMES[value]}
    if type(value) not in NAMES:
        return value
    return {name: plain(v) for name, v in fields_of(value).items()}


def restored(value):
    """The inverse of `plain`; ValueError for an unknown name."""
    if type(value) is list:
        return [restored(v) for v in value] if _holds_dicts(value) else value
    if type(value) is not dict or not {PART, CLASS} & value.keys():
        return value
    if CLASS in value:
        return PARTS[value[CLASS]]
    values = {key: restored(v) for key, v in value.items() if key != PART}
    return part_of(value[PART], values)


def _holds_parts(values):
    return any(type(v) in NAMES for v in values)


def _holds_dicts(values):
    return any(type(v) is dict for v in values)


def state_of(attributes):
    """The content of a file for an estimator's attributes, a dict."""
    state = {name: plain(value) for name, value in attributes.items()}
    return state | {"_state_version": STATE_VERSION}


def attributes_of(state, kind):
    """The attributes of an estimator of class `kind`, from the content of a file.

    Parameters that are newer than the file get the value that changes nothing.
    """
    state = dict(state)
    version = state.pop("_state_version", None)
    if version not in READABLE:
        raise ValueError(
            f"This {kind.__name__} was pickled with state version {version}; this "
            f"version of sklearn_bp reads {' and '.join(map(str, READABLE))}."
        )
    parameters = kind().get_params(deep=False)
    defaults = parameters | {
        name: value for name, value in MLP_DEFAULTS.items() if name in parameters
    }
    return defaults | {name: restored(value) for name, value in state.items()}
