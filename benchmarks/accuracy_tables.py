"""Tables of the accuracy benchmark: reading them, their tasks and their folds."""

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from sklearn import datasets
from sklearn.model_selection import KFold, StratifiedKFold

CLASSES, NUMBERS = "classification", "regression"
MOST_CLASSES = 20  # an integer target with more values than this is a quantity
SUFFIXES = (".csv", ".csv.gz")

OWN_SETS = {
    "iris": (CLASSES, datasets.load_iris),
    "wine": (CLASSES, datasets.load_wine),
    "breast_cancer": (CLASSES, datasets.load_breast_cancer),
    "digits": (CLASSES, datasets.load_digits),
    "diabetes": (NUMBERS, datasets.load_diabetes),
}
"""Name -> task and loader of the sets that come with scikit-learn."""


@dataclass(frozen=True)
class Table:
    """Columns as pandas reads them, and a target of numbers.

    Classes are numbered from 0 in the order of their labels.
    """

    name: str
    task: str
    X: pd.DataFrame
    y: np.ndarray

    @property
    def n_classes(self):
        return int(self.y.max()) + 1

    @cached_property
    def digest(self):
        """Short text that differs if any cell does."""
        cells = pd.util.hash_pandas_object(self.X.assign(target=self.y), index=False)
        return hashlib.sha256(cells.to_numpy().tobytes()).hexdigest()[:16]

    def head(self, n_rows):
        """At most this many rows, drawn at random but always the same ones."""
        if n_rows is None or n_rows >= len(self.y):
            return self
        kept = np.sort(np.random.default_rng(0).permutation(len(self.y))[:n_rows])
        X, y = self.X.iloc[kept].reset_index(drop=True), self.y[kept]
        if self.task == CLASSES:
            y = np.unique(y, return_inverse=True)[1]
        return Table(self.name, self.task, X, y)


def load_tables(folder=None, only="", max_rows=None):
    """scikit-learn's own sets, or every table below the folder."""
    tables = own_sets(only) if folder is None else below(Path(folder), only)
    return [table.head(max_rows) for table in tables]


def own_sets(only=""):
    return [
        as_table(name, task, load(as_frame=True).frame)
        for name, (task, load) in OWN_SETS.items()
        if only in name
    ]


def below(folder, only=""):
    """The tables of all csv files below `folder`, or below its folder "tables"."""
    if (folder / "tables").is_dir():
        folder = folder / "tables"
    paths = sorted(p for p in folder.rglob("*") if p.name.endswith(SUFFIXES))
    named = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        name = name.removesuffix(".gz").removesuffix(".csv")
        if name in named:
            raise ValueError(f"{named[name]} and {path} are tables of one name")
        if only in name:
            named[name] = path
    return [read_table(name, path, folder.name) for name, path in named.items()]


def read_table(name, path, root=""):
    """A csv file: a header, the target in the last column, empty cells missing."""
    frame = pd.read_csv(path, low_memory=False)
    folders = [root, *name.split("/")[:-1]]
    task = next((f for f in reversed(folders) if f in (CLASSES, NUMBERS)), None)
    return as_table(name, task, frame)


def as_table(name, task, frame):
    """The last column is the target; rows that lack it are left out."""
    frame = frame[frame.iloc[:, -1].notna()].reset_index(drop=True)
    X, target = frame.iloc[:, :-1], frame.iloc[:, -1]
    if task is None:
        task = task_of(target)
    if task == CLASSES:
        y = np.unique(target.to_numpy(), return_inverse=True)[1]
    elif is_numeric_dtype(target):
        y = target.to_numpy(dtype=np.float64)
    else:
        raise ValueError(f"{name}: the target of a regression must be numbers")
    return Table(name, task, X, y)


def task_of(target):
    """Text, booleans and few integers are classes; anything else is a quantity."""
    if is_bool_dtype(target) or not is_numeric_dtype(target):
        return CLASSES
    few = target.nunique() <= MOST_CLASSES
    return CLASSES if few and (target == target.round()).all() else NUMBERS


def text_columns(X):
    return [name for name in X.columns if not is_numeric_dtype(X[name])]


def number_columns(X):
    """Numbers, truth values among them."""
    return [name for name in X.columns if is_numeric_dtype(X[name])]


def split(table, folds, repeat, fold):
    """Training and test rows: the same for every rival; classes are stratified."""
    kind = StratifiedKFold if table.task == CLASSES else KFold
    splitter = kind(folds, shuffle=True, random_state=repeat)
    with warnings.catch_warnings():
        # The metrics handle classes that are missing in some folds.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(table.X, table.y))[fold]
