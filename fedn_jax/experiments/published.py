"""The numbers that the FEDN paper prints in its Tables 2 to 4, as they are printed: ``paper.json``.

What looks like a misprint stays as it is and has a remark. A number is kept as its text, so that no digit is lost or
added; ``number`` gives its value. They are those of arXiv version 1. Nothing here is a result of this software.
"""

import functools
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core import errors, schema
from fedn_jax.evaluation import headline

FILE = Path(__file__).with_name("paper.json")
TABLES = (2, 3, 4)
NUMBERS = tuple(headline.NUMBERS)  # of a result; Table 3 prints gflops, Table 4 fn beside them


class Row(NamedTuple):
    """One method on one data set with one set of labels."""

    table: int  # of the paper
    dataset: str  # as ``fedn prepare`` names it
    labels: str  # "annotated" or "self-reported"
    method: str  # as it is printed; "SPOTTER + RECOGNISER" for a cascade
    options: dict[str, Any] | None  # what sets a run of this software apart from FEDN; None: another method
    printed: dict[str, str]  # number -> its text
    remarks: dict[str, str]  # number -> what is odd about it
    gt: int  # expressions of the data set (Table 1)
    source: str


@functools.cache
def content() -> dict[str, Any]:
    """The whole file beside its rows: "source", "version", "units", "datasets", "tables", "stated", "variant", remarks.

    Returns:
      The content of ``paper.json``; not to be changed.
    """
    return json.loads(FILE.read_text(encoding="utf-8"))


def rows(dataset: str | None = None, labels: str | None = None, table: int | None = None) -> list[Row]:
    """The rows of some tables.

    Args:
      dataset: e.g. "casme2"; None: any. A data set that the paper does not use has no rows.
      labels: "annotated" or "self-reported"; None: any.
      table: 2, 3 or 4; None: any.

    Returns:
      Rows, in the order of the paper.

    Raises:
      UserError: the paper has no such table of results.
    """
    if table is not None:
        errors.one_of("table of the paper", table, TABLES)
    data = content()
    return [
        Row(**row, gt=data["datasets"][row["dataset"]]["expressions"], source=f"{data['source']}, Table {row['table']}")
        for row in ({"remarks": {}} | row for row in data["rows"])
        if dataset in (None, row["dataset"]) and labels in (None, row["labels"]) and table in (None, row["table"])
    ]


def number(row: Row, name: str) -> float | None:
    """The value of a printed number.

    Args:
      row: the row.
      name: of ``NUMBERS``, or "fn" or "gflops".

    Returns:
      A count, or a share in [0, 1]: "51.1" in a column of 10^-2 is 0.511. None: not printed.
    """
    exponent = content()["units"][errors.one_of("number of the paper", name, content()["units"])]
    return float(Decimal(row.printed[name]).scaleb(exponent)) if name in row.printed else None


def in_percent(row: Row, name: str) -> str:
    """A printed number in the unit that this software uses everywhere; only the decimal point moves.

    Args:
      row: the row.
      name: of ``NUMBERS``.

    Returns:
      A count as printed; a share in percent: "106" in a column of 10^-3 is "10.6". "" where it is not printed.
    """
    exponent, text = content()["units"][name], row.printed.get(name, "")
    return str(Decimal(text).scaleb(exponent + 2)) if text and exponent < 0 else text


def implied(row: Row) -> tuple[int, int, int] | None:
    """The number of detections that TP and F1 leave possible: N = 2 TP / F1 - GT, F1 being known to one decimal.

    Args:
      row: the row.

    Returns:
      (lowest, most likely, highest) N; None without TP or F1.

    >>> implied(rows("casme2", "self-reported", 2)[-1])
    (166, 166, 166)
    """
    tp, f1 = number(row, "tp"), number(row, "f1_s")
    if tp is None or f1 is None:
        return None
    low, best, high = (2 * tp / (f1 + half) - row.gt for half in (0.0005, 0.0, -0.0005))
    return math.ceil(low), round(best), math.floor(high)


def detections(row: Row) -> tuple[int | None, str]:
    """N of a row, and where it comes from.

    Args:
      row: the row.

    Returns:
      (N, "printed" or "implied"), or (None, "").
    """
    if "n" in row.printed:
        return int(row.printed["n"]), "printed"
    possible = implied(row)
    return (possible[1], "implied") if possible else (None, "")


def reproduces(row: Row, options: Mapping[str, Any]) -> bool:
    """Whether a run is the variant of FEDN that a row is about. Its sizes may differ; see ``departures``.

    Args:
      row: the row.
      options: of the run, by dotted name; "features" is "backbone", or "given" for features of another network.

    Returns:
      True if every option that tells the paper's variants apart has the row's value.
    """
    if row.options is None:
        return False
    wanted = content()["variant"] | {key: [value] for key, value in row.options.items()}
    return all(options.get(key) in choices for key, choices in wanted.items())


def departures(options: Mapping[str, Any]) -> list[str]:
    """Options whose values the paper states (section 4.2) and a run does not share.

    Args:
      options: of the run, by dotted name.

    Returns:
      "model.width 96 (paper: 512)" each.
    """
    stated = content()["stated"]
    return [f"{key} {options.get(key)} (paper: {value})" for key, value in stated.items() if options.get(key) != value]


# ---- Comparable or not -----------------------------------------------------------------------------------------------


def untrained(metrics: Mapping[str, Any]) -> str:
    """Features of random weights: their numbers are no results.

    Args:
      metrics: content of metrics.json.

    Returns:
      What the features are, or "" if the network that made them was trained.
    """
    backbone = str((metrics.get("data") or {}).get("backbone", ""))
    return backbone if "UNTRAINED" in backbone else ""


def options(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was, as ``reproduces`` wants it.

    Args:
      metrics: content of metrics.json.

    Returns:
      dotted name -> value; "features" is "given" or "backbone".
    """
    given = str((metrics.get("data") or {}).get("backbone", "")).startswith("features given")
    return configs.flatten(metrics.get("config") or {}) | {"features": "given" if given else "backbone"}


def setting(metrics: Mapping[str, Any]) -> tuple[str, str]:
    """Data set and labels of a run.

    Args:
      metrics: content of metrics.json.

    Returns:
      (data set, labels) as ``rows`` takes them; labels are "annotated" where a release has no other.
    """
    data = metrics.get("data") or {}
    chosen = (data.get("labels") or {}).get("options") or {}
    return str(data.get("dataset", "unknown")), str(chosen.get("labels", "annotated"))


def obstacle(metrics: Mapping[str, Any]) -> str:
    """Why the paper's rows cannot stand beside a run.

    Args:
      metrics: content of metrics.json.

    Returns:
      A clause such as "the data (own videos) are none of the paper's"; "" if they can.
    """
    (dataset, labels), chosen = setting(metrics), options(metrics)
    known = content()["datasets"]
    if dataset not in known:
        return f"the data ({schema.dataset({'dataset': dataset})}) are none of the paper's"
    given, printed = set((metrics["data"]).get("classes") or ()), known[dataset]["classes"].get(labels)
    if printed is None or headline.options_recognise(chosen) and given != set(printed):
        return f"the labels are {labels} ({', '.join(sorted(given)) or 'none'}), which the paper does not use"
    pairs = {  # what it is -> (here, in the paper)
        "kind of expressions": (chosen.get("data.kind"), "macro"),
        "lowest IoU of a match": (metrics["iou"], 0.5),
        "rule of counting": (metrics.get("protocol", "megc"), "megc"),
        "number of annotated expressions": (metrics["spotting"]["gt"], known[dataset]["expressions"]),
    }
    for name, (here, there) in pairs.items():
        if here != there:
            return f"the {name} is {here}, in the paper {there}"
    if untrained(metrics):
        return "the features are those of an untrained network"
    return "the run is a control, trained on expressions moved in time" if chosen.get("data.shuffle_labels") else ""
