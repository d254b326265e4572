"""Which columns `categorical_features` names, and how to name them in messages."""

import numpy as np

from sklearn_bp._tables.frames import Frame, Sparse

WHAT_NAMES = (
    "categorical_features must be None, 'from_dtype', or {} of bool, int or str. "
    "Got {!r} instead."
)


def named_columns(categorical_features, table):
    """Mask of the columns named as categorical; None if their dtypes decide.

    Parameters
    ----------
    categorical_features : None, "from_dtype", or array-like of bool, int or str
        As for HistGradientBoostingClassifier; "from_dtype" selects no column of an
        array.
    table : table
        From `table_of`.
    """
    mask = np.zeros(table.shape[1], bool)
    if categorical_features is None:
        return mask
    if isinstance(categorical_features, str):
        if categorical_features != "from_dtype":
            raise ValueError(WHAT_NAMES.format("an array-like", categorical_features))
        return None if isinstance(table, Frame) else mask
    features = _as_array(categorical_features)
    if features.size:
        mask[_selected(features, table)] = True
    if mask.any() and isinstance(table, Sparse):
        raise ValueError(
            "categorical_features names columns of a sparse X: categories need a dense "
            "X, an array or a DataFrame."
        )
    return mask


def _as_array(categorical_features):
    """A one-dimensional array of bool, int or str, or an empty one."""
    try:
        features = np.asarray(categorical_features)
    except ValueError:  # lists of different lengths
        features = np.empty((0, 0))
    if features.ndim != 1:
        raise TypeError(
            WHAT_NAMES.format("a one-dimensional array-like", categorical_features)
        )
    kinds = {type(feature).__name__ for feature in features}
    are_texts = features.dtype.kind in "UTO" and kinds <= {"str", "str_"}
    if features.size and features.dtype.kind not in "biu" and not are_texts:
        raise ValueError(
            "categorical_features must be an array-like of bool, int or str, got: "
            f"{', '.join(sorted(kinds))}."
        )
    return features


def _selected(features, table):
    """An index that selects the columns: the mask, or their positions."""
    d = table.shape[1]
    if features.dtype.kind == "b":
        if len(features) != d:
            raise ValueError(
                "categorical_features set as a boolean mask must have shape "
                f"(n_features,) = {(d,)}, got: {features.shape}."
            )
        return features
    if features.dtype.kind not in "iu":
        return _positions(features, table.names)
    if features.max() >= d or features.min() < 0:
        raise ValueError(
            "categorical_features set as integer indices must be in "
            f"[0, n_features - 1] = [0, {d - 1}]. Got {features.tolist()}."
            f"{_about_names(features.tolist(), table.names)}"
        )
    return features


def _positions(features, names):
    """Indices of columns from their names."""
    if names is None:
        raise ValueError(
            "categorical_features should be passed as an array of integers or as a "
            "boolean mask when the model is fitted on data without feature names."
        )
    for feature in features:
        if feature not in names:
            raise ValueError(
                f"categorical_features has an item value {str(feature)!r} which is not "
                f"a valid feature name of the training data. Observed feature names: "
                f"{names}.{_about_names(features.tolist(), names)}"
            )
    return [names.index(feature) for feature in features]


def _about_names(features, names):
    """Advice on columns whose names are not strings, as part of a message."""
    if names is None or all(isinstance(name, str) for name in names):
        return ""
    at = [j for f in features for j, name in enumerate(names) if str(name) == str(f)]
    positions = f", here {at}" if len(at) == len(features) else ""
    return (
        " Only strings name columns, and integers are positions: pass positions"
        f"{positions}, or turn the names into strings, for example by "
        "X.columns = X.columns.astype(str)."
    )


def how_to_name(table, j, categorical_features):
    """How to declare column j as categorical, as a sentence of a message."""
    if not isinstance(table, Frame):
        return (
            "If it is categorical, set categorical_features to a list with its index, "
            f"[{j}]; an array, unlike a DataFrame, does not tell by its dtype."
        )
    also = "'from_dtype', or to " if categorical_features is None else ""
    name = table.names[j]
    place = f"name, [{name!r}]" if isinstance(name, str) else f"position, [{j}]"
    return (
        f"If it is categorical, set categorical_features to {also}a list with its "
        f"{place}."
    )
