"""Evaluation of CSV files: hand-made numbers, the published scores, agreement with runs, and the terminal's table."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import REAL, needs_real

from fedn_jax.core.errors import UserError
from fedn_jax.evaluation import all_metrics, csv_evaluation, matching, protocols
from fedn_jax.formats import predictions
from fedn_jax.reports import run_tables

HEADER = "subject,video,onset,offset,emotion"
KEYS = {"confidence", "ties",
    "protocol", "definition", "iou", "kind", "threshold", "notes", "spotting", "by_kind", "recognition", "map",
    "map_missing", "strs", "per_subject", "per_class",
}  # fmt: skip
TRUTH = f"""{HEADER},kind
s1,a,1,40,sad,macro
s1,a,101,110,happy,micro
s2,b,1,40,happy,macro
s2,c,,,,
"""
FOUND = f"""{HEADER},score,kind
s1,a,1,40,sad,.9,macro
s1,a,101,110,sad,.8,macro
s2,b,1,40,happy,.4,macro
s2,b,201,210,happy,.3,micro
s2,c,1,40,sad,.2,macro
"""


def drop(text, *columns):
    """The CSV text without some columns."""
    header = text.splitlines()[0].split(",")
    keep = [i for i, name in enumerate(header) if name not in columns]
    lines = (line.split(",") for line in text.splitlines())
    return "\n".join(",".join(cells[i] for i in keep) for cells in lines) + "\n"


@pytest.fixture
def join(tmp_path):
    def joined(found=FOUND, truth=TRUTH, allow=()):
        for name, text in (("found", found), ("truth", truth)):
            (tmp_path / name).write_text(text)
        return predictions.join(
            predictions.read(tmp_path / "found", "predictions"),
            predictions.read(tmp_path / "truth", "ground truth"),
            allow,
        )

    return joined


def summary(tp, n, gt):
    return {"tp": tp, "n": n, "gt": gt, "precision": tp / n if n else None, "recall": tp / gt if gt else None,
            "f1": 2 * tp / (n + gt) if n + gt else None}  # fmt: skip


def test_all_numbers_by_hand(join):
    result = csv_evaluation.score(join())
    assert set(result) == KEYS
    json.dumps(result, allow_nan=False)
    assert result["spotting"] == pytest.approx(summary(3, 5, 3))
    assert {name: (row["tp"], row["n"], row["gt"]) for name, row in result["by_kind"].items()} == {
        "macro": (2, 4, 2), "micro": (0, 1, 1), "all": (2, 5, 3),  # the happy micro was found as a macro
    }  # fmt: skip
    assert result["recognition"] == {
        "accuracy": pytest.approx(2 / 3),
        "macro_f1": pytest.approx(2 / 3),  # happy: 1 of 1 found, of 2 annotated; sad: 1 of 2, of 1
        "confusion": [[1, 1], [0, 1]],
        "classes": ["happy", "sad"],
    }
    assert [(row["subject"], row["tp"], row["n"], row["gt"]) for row in result["per_subject"]] == [
        ("s1", 2, 2, 2), ("s2", 1, 3, 1)
    ]  # fmt: skip
    assert [row["accuracy"] for row in result["per_subject"]] == [0.5, 1]
    assert [(row["class"], row["gt"], row["tp"], row["correct"]) for row in result["per_class"]] == [
        ("happy", 2, 2, 1), ("sad", 1, 1, 1)
    ]  # fmt: skip
    assert result["map"]["all_point"]["spotting"] == pytest.approx(1)  # three hits lead the ranking
    assert result["map"]["coco"]["ap"]["0.50"] == pytest.approx({"spotting": 1, "detection": (51 / 101 + 1) / 2})
    assert set(result["map"]) == {"coco", "all_point"} and set(result["map"]["coco"]) == {"spotting", "detection", "ap"}
    assert result["map_missing"] is None
    # precision of happy 1, of sad 1/2; recall of happy 1/2, of sad 1
    assert result["strs"] == pytest.approx({"f1_spot": 0.75, "f1_analysis": 0.75, "strs": 0.5625})
    assert (result["protocol"], result["iou"], result["kind"], result["threshold"]) == ("megc", 0.5, "all", None)


def test_a_threshold_cuts_all_but_map(join):
    every, some = csv_evaluation.score(join()), csv_evaluation.score(join(), threshold=0.4)
    assert some["spotting"] == pytest.approx(summary(3, 3, 3)) and some["threshold"] == 0.4
    assert some["by_kind"]["all"]["n"] == 3 and some["strs"]["f1_spot"] == 1
    assert some["map"] == every["map"]


def test_one_kind(join):
    macro, micro = (csv_evaluation.score(join(), kind=kind) for kind in ("macro", "micro"))
    assert macro["spotting"] == pytest.approx(summary(2, 4, 2)) == macro["by_kind"]["macro"]
    assert micro["spotting"] == pytest.approx(summary(0, 1, 1)) == micro["by_kind"]["micro"]
    assert micro["recognition"]["confusion"] == [[0, 0], [0, 0]] and micro["strs"]["strs"] == 0
    assert [row["gt"] for row in micro["per_class"]] == [1, 0] and micro["per_class"][1]["map"] is None


def test_a_method_that_names_no_kinds(join):
    result = csv_evaluation.score(join(found=drop(FOUND, "kind")), kind="micro")
    assert result["spotting"] == pytest.approx(summary(1, 5, 1)) and result["by_kind"] is None
    assert "the predictions name no kinds: all of them count as micro" in result["notes"]


def test_kinds_by_length(join):
    bare = join(found=drop(FOUND, "kind"), truth=drop(TRUTH, "kind"))
    with pytest.raises(UserError, match="kind macro needs ground truth of known kinds"):
        csv_evaluation.score(bare, kind="macro")
    videos = [("s1", "a"), ("s2", "b"), ("s2", "c")]
    result = csv_evaluation.score(bare, kind="micro", fps=dict.fromkeys(videos, 30))
    assert result["spotting"] == pytest.approx(summary(1, 2, 1))  # at most 15 frames
    assert sum("micro" in note for note in result["notes"]) == 2
    assert csv_evaluation.score(bare, fps=100)["by_kind"]["micro"]["gt"] == 3
    with pytest.raises(UserError, match="video 's2' / 'c'.*got none"):
        csv_evaluation.score(bare, fps=dict.fromkeys(videos[:2], 30))
    with pytest.raises(UserError, match="fps: 3 problems"):
        csv_evaluation.score(bare, fps=-1)


def test_without_scores(join):
    result = csv_evaluation.score(join(found=drop(FOUND, "score")))
    assert result["map"] is None and "score" in result["map_missing"] and result["per_class"][0]["ap50"] is None
    assert result["spotting"] == pytest.approx(summary(3, 5, 3))
    with pytest.raises(UserError, match="needs predictions with scores"):
        csv_evaluation.score(join(found=drop(FOUND, "score")), threshold=0.5)


def test_without_emotions(join):
    result = csv_evaluation.score(
        join(truth="\n".join(line.replace("sad", "").replace("happy", "") for line in TRUTH.split()))
    )
    assert result["spotting"] == pytest.approx(summary(3, 5, 3)) and result["per_class"] == []
    assert result["recognition"] == {"accuracy": None, "macro_f1": None, "confusion": None, "classes": []}
    assert result["map"]["coco"]["spotting"] == pytest.approx(1) and result["map"]["coco"]["detection"] is None
    assert result["map"]["coco"]["ap"]["0.50"]["detection"] is None
    assert result["strs"] == {"f1_spot": 0.75, "f1_analysis": None, "strs": None}
    assert [row["accuracy"] for row in result["per_subject"]] == [None, None]
    assert run_tables.csv_text(result)


def test_nothing_found_and_nothing_there(join):
    nothing = csv_evaluation.score(join(found=HEADER))
    assert nothing["spotting"] == summary(0, 0, 3) and nothing["map"]["coco"]["spotting"] == 0
    quiet = csv_evaluation.score(join(found=HEADER, truth=HEADER + "\ns,a,,,\n"))
    assert quiet["spotting"] == summary(0, 0, 0) and quiet["map"]["coco"]["spotting"] is None
    for result in (nothing, quiet):
        json.dumps(result, allow_nan=False)
        assert run_tables.csv_text(result)


def test_videos_and_emotions_that_only_the_predictions_have(join):
    with pytest.raises(UserError, match="unmatched-videos"):
        join(found=FOUND + "s9,a,1,2,fear,.1,macro\n")
    result = csv_evaluation.score(join(found=FOUND + "s9,a,1,2,fear,.1,macro\n", allow=set(predictions.ALLOWANCES)))
    assert result["per_subject"][-1]["subject"] == "s9" and result["spotting"]["n"] == 6
    assert result["recognition"]["classes"] == ["happy", "sad", "fear"] and result["per_class"][2]["gt"] == 0
    assert result["strs"] == csv_evaluation.score(join())["strs"] | {
        "f1_spot": pytest.approx(2 * 3 / 9), "strs": pytest.approx(0.5)
    }  # fmt: skip


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
def test_every_protocol(join, protocol):
    # Two expressions that one prediction reaches, and two predictions that reach one expression.
    truth = f"{HEADER}\ns,a,1,20,x\ns,a,9,28,y\ns,b,101,108,x\ns,b,101,109,y\n"
    found = f"{HEADER},score\ns,a,5,24,x,.5\ns,b,101,108,y,.4\ns,b,101,109,y,.3\n"
    scored = join(found=found, truth=truth)
    result = csv_evaluation.score(scored, protocol, iou=0.5)
    padded = [matching.pad(group) for group in (scored.detections, scored.events)]
    pairs = protocols.find(protocol, *padded)
    counts = protocols.counts(protocol, pairs, *padded)
    assert (result["spotting"]["tp"], result["spotting"]["n"]) == (counts.tp, counts.n)
    assert np.sum(result["recognition"]["confusion"]) == len(pairs)
    assert protocols.PROTOCOLS[protocol].definition in result["definition"]["protocol"]
    assert result["strs"] == csv_evaluation.score(scored, "megc", iou=0.5)["strs"]
    assert all(len(line) <= 80 for line in run_tables.csv_text(result).splitlines())


def test_a_run_gives_the_same_numbers(join):
    """``evaluation`` and ``scoring`` agree where both count."""
    scored = join()
    run = all_metrics.evaluate_detections(
        matching.pad(scored.detections), matching.pad(scored.events), scored.subjects, scored.classes, 0.4
    )
    result = csv_evaluation.score(scored, threshold=0.4)
    assert run["spotting"] == result["spotting"] and run["per_subject"] == result["per_subject"]
    assert run["per_class"] == result["per_class"]
    assert run["recognition"] == {name: result["recognition"][name] for name in run["recognition"]}
    for name in ("coco", "all_point"):
        assert {key: run["map"][name][key] for key in ("spotting", "detection", "ap")} == result["map"][name]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_order_of_videos_does_not_matter(tmp_path_factory, data):
    folder, names = tmp_path_factory.getbasetemp(), [("s1", "a"), ("s1", "b"), ("s2", "a")]
    columns = st.tuples(st.sampled_from(names), st.integers(0, 40), st.integers(5, 30), st.sampled_from(["x", "y"]))
    rows = [data.draw(st.lists(columns, max_size=8, unique=True)) for _ in range(2)]

    def score(order):
        for name, part in zip(("found", "truth"), rows, strict=True):
            part = sorted(part, key=lambda row: order.index(row[0]))
            lines = [f"{s},{v},{on},{on + size},{emotion}" for (s, v), on, size, emotion in part]
            (folder / name).write_text("\n".join([HEADER, *(f"{s},{v},,," for s, v in order), *lines]))
        tables = [predictions.read(folder / name, name) for name in ("found", "truth")]
        result = csv_evaluation.score(predictions.join(*tables, set(predictions.ALLOWANCES)))
        assert sum(row["tp"] for row in result["per_subject"]) == result["spotting"]["tp"]
        return [result[name] for name in ("spotting", "recognition", "strs", "per_class")]

    assert score(names) == score(names[::-1])


def test_bad_arguments(join):
    scored = join()
    for arguments, message in [
        ({"protocol": "coco"}, "protocol must be one of"),
        ({"kind": "mega"}, "kind must be one of all, macro, micro"),
        ({"iou": 0}, "iou_threshold must be above 0"),
        ({"iou": float("nan")}, "iou_threshold"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
    ]:
        with pytest.raises(UserError, match=message):
            csv_evaluation.score(scored, **arguments)


def test_scores_keep_their_precision(join):
    text = f"{HEADER},score\ns,a,1,10,x,0.30000000000000001\ns,a,1,10,y,0.30000000000000004\n"
    result = csv_evaluation.score(join(found=text, truth=f"{HEADER}\ns,a,1,10,y\ns,a,90,99,x\n"))
    assert result["recognition"]["accuracy"] == 1  # in float32 they are one number, and the first would be taken


def test_text(join):
    text = run_tables.csv_text(csv_evaluation.score(join(), threshold=0.25, kind="macro")).splitlines()
    assert text[0] == "Protocol megc, IoU 0.5, macro-expressions, scores of at least 0.25."
    (row,) = (line for line in text if line.startswith("All subjects"))
    assert row.split() == ["All", "subjects", "2", "2", "3", "66.7", "100.0", "80.0", "100.0"]
    assert any(line.startswith("Kind: micro") for line in text) and any(line.startswith("101-point") for line in text)
    assert "STRS: spotting F1 80.0 x analysis F1 100.0 = 80.0 %." in text


def test_text_is_narrow_whatever_the_names(join):
    long, wide = "x" * 200, "\u8868\u60c5" * 60
    found = FOUND.replace("s1", long).replace("s2", wide).replace("sad", wide) + f"new,{wide},1,2,{long},.1,macro\n"
    truth = TRUTH.replace("s1", long).replace("s2", wide)
    text = run_tables.csv_text(csv_evaluation.score(join(found, truth, set(predictions.ALLOWANCES)))).splitlines()
    from unicodedata import east_asian_width

    assert all(sum(2 if east_asian_width(x) in "WF" else 1 for x in line) <= 80 for line in text)
    assert any(line.startswith("Note:") for line in text)


@needs_real
@pytest.mark.parametrize("protocol", ["strs", "megc"])
def test_published_scores(protocol):
    files = [REAL / "results" / f"casme2_strs_{name}.csv" for name in ("predictions", "ground_truth")]
    scored = predictions.join(predictions.read(files[0], "predictions"), predictions.read(files[1], "ground truth"))
    result = csv_evaluation.score(scored, protocol)
    assert {name: round(value, 4) for name, value in result["strs"].items()} == {
        "f1_spot": 0.6516, "f1_analysis": 0.5927, "strs": 0.3862
    }  # fmt: skip
    assert (result["spotting"]["tp"], result["spotting"]["n"], result["spotting"]["gt"]) == (159, 244, 244)
