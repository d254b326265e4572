"""The table of all suites."""

from benchmarks import suites, use_suites
from benchmarks.cluster_suite import cluster
from benchmarks.default_suite import default
from benchmarks.memory import memory
from benchmarks.shape_suite import shapes

SUITES = {
    "cells": suites.cells,
    "small": suites.small,
    "search": use_suites.search,
    "lbfgs": suites.lbfgs,
    "predict": use_suites.predict,
    "regression": suites.regression,
    "members": suites.members,
    "threads": use_suites.threads,
    "sparse": suites.sparse,
    "shapes": shapes,
    "default": default,
    "memory": memory,
    "scaling": suites.scaling,
    "loss": suites.loss,
    "cluster": cluster,
}
"""Name -> function of the options that yields cases."""
