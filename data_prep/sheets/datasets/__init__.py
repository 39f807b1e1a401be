"""Readers of released data sets: one row each, one signature."""

from data_prep.sheets.datasets import casme2, casme3, samm
from data_prep.sheets.datasets.common import DataSet

DATASETS: dict[str, DataSet] = {"casme2": casme2.DATASET, "casme3": casme3.DATASET, "samm": samm.DATASET}
