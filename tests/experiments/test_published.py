"""The printed numbers: as printed, consistent where they can be, with a remark where they are not."""

import runpy
from pathlib import Path

import pytest

from data_prep.sheets.datasets import casme2, casme3
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.experiments import published

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def options(row="", file="casme2.py", **more):
    config = runpy.run_path(str(CONFIGS / file))["get_config"](row)
    return configs.flatten(config) | {"features": "backbone"} | more


def printed(share):
    """To one decimal, rounded and truncated."""
    return {f"{100 * share:.1f}", f"{int(1000 * share + 1e-9) / 10:.1f}"}


def test_numbers_are_as_printed():
    (row,) = [row for row in published.rows("casme2", "annotated", 2) if row.method == "FEDN"]
    assert row.printed == {"tp": "129", "f1_s": "51.1", "f1_r": "75.2", "map_s": "106", "map_d": "51.6"}
    assert published.number(row, "f1_s") == 0.511 and published.number(row, "map_d") == 0.0516
    assert published.number(row, "tp") == 129 and published.number(row, "n") is None
    (coupled,) = [row for row in published.rows(table=4) if row.method == "coupled head"]
    assert coupled.printed["map_s"] == "80"  # no digit is added
    assert "arXiv 2504.07660, version 1, Table 4" in coupled.source
    (i3d,) = [row for row in published.rows(table=3) if row.method == "I3D"]
    assert published.number(i3d, "gflops") == 3420e9


def test_rows_are_found():
    assert (
        len(published.rows(table=2)) == 12 + 12 + 7
        and len(published.rows(table=3)) == len(published.rows(table=4)) == 5
    )
    assert len(published.rows()) == 41 and len(published.rows("casme3")) == 7
    assert {row.labels for row in published.rows("casme3")} == {"annotated"}
    assert published.rows("folder") == published.rows("samm") == published.rows("casme2", "other") == []
    with pytest.raises(UserError, match="table of the paper must be one of 2, 3, 4; got 1"):
        published.rows(table=1)
    with pytest.raises(UserError, match="number of the paper"):
        published.number(published.rows()[0], "f1")


@pytest.mark.parametrize(
    "row", published.rows(), ids=lambda row: f"{row.table}-{row.dataset}-{row.labels}-{row.method}"
)
def test_f1_follows_from_tp_and_n(row):
    n, origin = published.detections(row)
    if n is None:
        assert "tp" not in row.printed
        return
    f1 = 2 * published.number(row, "tp") / (n + row.gt)
    assert abs(f1 - published.number(row, "f1_s")) < 0.0011
    if origin == "printed" and f"{100 * f1:.1f}" != row.printed["f1_s"]:
        assert "f1_s" in row.remarks
    if origin == "implied":
        low, best, high = published.implied(row)
        assert low <= best == n <= high
        assert f"{100 * f1:.1f}" == f"{100 * published.number(row, 'f1_s'):.1f}"


@pytest.mark.parametrize("row", [row for row in published.rows("casme2") if row.printed.keys() >= {"tp", "f1_r"}])
def test_recognition_is_a_share_of_the_true_positives_or_has_a_remark(row):
    tp = int(row.printed["tp"])
    rounded = {f"{100 * right / tp:.1f}" for right in range(tp + 1)}
    if row.printed["f1_r"] in rounded:
        return
    assert row.remarks.keys() & {"f1_r", "tp"}
    tp = tp if "f1_r" in row.remarks else 125  # 120 may be 125
    assert any(row.printed["f1_r"] in printed(right / tp) for right in range(tp + 1))


def test_table_4_counts_detections_where_it_says_false_positives():
    for row in published.rows(table=4):
        assert int(row.printed["fn"]) == row.gt - int(row.printed["tp"]) and "headed FP" in row.remarks["n"]
        assert abs(published.implied(row)[1] - int(row.printed["n"])) <= 1


def test_remarks_are_about_numbers_of_the_row():
    for row in published.rows():
        assert row.remarks.keys() <= row.printed.keys() <= published.content()["units"].keys()
        assert all(text and not text.endswith(".") for text in row.remarks.values())


def test_data_sets_are_those_of_table_1():
    known = published.content()["datasets"]
    for labels, counts in casme2.TABLE1.items():
        assert sum(counts.values()) == known["casme2"]["expressions"]
        assert list(counts) == known["casme2"]["classes"][labels]
    assert sum(casme3.TABLE1.values()) == known["casme3"]["expressions"]
    assert list(casme3.TABLE1) == known["casme3"]["classes"]["annotated"]


def test_every_option_exists():
    known = configs.flatten(configs.default())
    for name, value in published.content()["stated"].items():
        assert known[name] == value, name
    named = {key for row in published.rows() for key in row.options or {}} | published.content()["variant"].keys()
    assert named - {"features"} <= known.keys()


@pytest.mark.parametrize(
    ("row", "method"),
    [
        ("table2/spotting_only", "FEDN (w/o rec)"),
        ("table2/spotting_only_ceflnet", "FEDN (w/o rec) + CEFLNet"),
        ("table2/ceflnet", "FEDN + CEFLNet"),
        ("table3/i3d", "I3D"),
        ("table3/no_segment_attention", "w/o seg. att."),
        ("table3/no_window_attention", "w/o sw att."),
        ("table3/no_attention", "w/o both"),
        ("table4/confidence", "w/ conf."),
        ("table4/coupled", "coupled head"),
        ("table4/iou", "IoU"),
        ("table4/giou", "GIoU"),
        ("", "FEDN"),
    ],
)
def test_configurations_are_the_rows_of_their_names(row, method):
    given = options(row, features="given" if row == "table3/i3d" else "backbone")
    table = int(row[5]) if row else 2
    same = [one.method for one in published.rows("casme2", "annotated", table) if published.reproduces(one, given)]
    assert same == [method]
    if not row:
        assert [one.method for one in published.rows(table=4) if published.reproduces(one, given)] == ["FEDN"]


def test_other_methods_and_other_features_are_not_ours():
    assert not any(published.reproduces(row, options()) for row in published.rows() if row.options is None)
    assert not any(published.reproduces(row, options(features="given")) for row in published.rows())


def test_departures():
    assert published.departures(options()) == published.departures(options(file="casme3.py")) == []
    narrow = published.departures(options(file="demo.py"))
    assert "model.width 96 (paper: 512)" in narrow and "train.epochs 14 (paper: 30)" in narrow
