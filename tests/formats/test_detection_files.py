"""The files for other programs: read back by their rules, and by a library that reads ELAN's."""

import csv
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from finds import CLASSES, SPANS, TEXT, found
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.errors import UserError
from fedn_jax.formats import converters, detection_files, exchange, predictions
from fedn_jax.formats.detection_files import Expression, Found


def written(name, folder, result):
    path = folder / "new" / f"found.{name}"
    detection_files.FORMATS[name](path, result)
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(path.name)] == [path.name]
    return path


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- CSV and JSON ----------------------------------------------------------------------------------------------------


def test_csv(tmp_path):
    rows = table(written("csv", tmp_path, found()))
    assert list(rows[0]) == list(detection_files.CSV_COLUMNS)
    assert " ".join(rows[0].values()) == "anna anna.mp4 31 41 51 2.000000 3.400000 happiness 0.930000"
    assert [row["emotion"] for row in rows] == [CLASSES[emotion] for _, _, emotion, _ in SPANS]
    header = ",".join(detection_files.CSV_COLUMNS)
    assert written("csv", tmp_path, found(spans=[])).read_text() == f"{header}\nanna,anna.mp4,,,,,,,\n"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@a", " =1", "＝1", "\t=1", '=cmd|"/c calc"!A0'])
def test_csv_has_no_formulas(name, tmp_path):
    (row,) = table(written("csv", tmp_path, found(subject=name, video=name, classes=[name, "b"], spans=SPANS[:1])))
    for column in ("subject", "video", "emotion"):
        assert row[column].startswith("'") and row[column].endswith(name.strip())
    assert json.loads(written("json", tmp_path, found(subject=name)).read_text())["subject"] == detection_files.plain(
        name
    )


def test_csv_is_an_annotation_file(tmp_path):
    from data_prep.sheets import annotations

    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "anna.mp4").touch()
    (item,), classes = annotations.read_folder(written("csv", tmp_path, found()), tmp_path / "videos")
    assert item.subject == "anna" and classes == sorted(CLASSES)
    assert [(a, b, classes[e]) for a, _, b, e, _ in item.events] == [(a, b, CLASSES[e]) for a, b, e, _ in SPANS]


@pytest.mark.parametrize("spans", [SPANS, []])
def test_every_command_reads_the_csv(tmp_path, spans):
    """Without a subject: evaluation finds the video by its name, preparation is told who is seen."""
    from data_prep.sheets import annotations

    names = {"subject": "", "video": "-anna"}  # which is written with an apostrophe
    path = written("csv", tmp_path, found(spans=spans, **names))
    table = predictions.read(path, "predictions")
    assert table.videos == [("", "-anna")] and len(table.rows) == len(spans)
    truth = predictions.make(tmp_path, "ground truth", [("s1", "-anna"), ("s2", "ben")], table.rows[:0])
    joined = predictions.join(table, truth, {"unknown-emotions"})
    assert joined.subjects == ["s1", "s2"] and len(joined.detections[0].valid) == len(spans)
    assert "predictions: no subjects, so videos were found by their names" in joined.notes
    assert predictions.join(truth, table, {"unmatched-videos"}).subjects[0] == "s1"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "-anna.mp4").touch()
    with pytest.raises(UserError, match="line 2: subject is empty; write who is seen, or give --subject"):
        annotations.read_folder(path, tmp_path / "videos", subject=None)
    sheet = annotations.read_folder(path, tmp_path / "videos", classes=CLASSES, subject="s1")
    assert [(item.subject, len(item.events)) for item in sheet.items] == [("s1", len(spans))]
    options = converters.Options(fps=30)
    for name in ("csv", "strs", "activitynet"):
        exchange.FORMATS[name].write(tmp_path / name, table, options)
        again = exchange.FORMATS[name].read(tmp_path / name, "predictions", options)
        assert predictions.join(again, truth, {"unknown-emotions"}).subjects == ["s1", "s2"]


def test_json_has_everything_unrounded(tmp_path):
    result = found()
    value = json.loads(written("json", tmp_path, result).read_text(encoding="utf-8"))
    assert list(value) == ["format", *Found._fields]
    assert [Expression(**one) for one in value["expressions"]] == result.expressions
    assert (value["classes"], value["gaps"], value["about"]) == (CLASSES, [[10.0, 11.0]], result.about)
    assert value["curves"][0][105] is None
    np.testing.assert_array_equal(np.array(value["curves"], float).astype(np.float32), result.curves)
    assert (value["path"], value["fps"], value["seconds"]) == ("videos/anna.mp4", 15.0, 20.0)


def test_json_takes_numbers_of_numpy(tmp_path):
    result = found(fps=np.float32(15), threshold=np.float32(0.4), num_frames=np.int64(300))
    one = result.expressions[0]._replace(score=np.float32(0.5), onset=np.int32(31))
    value = json.loads(written("json", tmp_path, result._replace(expressions=[one])).read_text())
    assert value["expressions"][0]["score"] == 0.5 and value["num_frames"] == 300


# ---- WebVTT ----------------------------------------------------------------------------------------------------------

CUE = re.compile(r"(\d+)\n(\d{2,}):([0-5]\d):([0-5]\d\.\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d\.\d{3})\n([^\n]*)\n")


def cues(text):
    """Cues by the rules of the format: header, then blocks of an id, a line of times and a line of text."""
    head, *blocks = text.removesuffix("\n").split("\n\n")
    assert head == "WEBVTT"
    result = []
    for block in blocks:
        match = CUE.fullmatch(block + "\n")
        assert match, block
        number, *times, line = match.groups()
        begin, end = (int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in (times[:3], times[3:]))
        assert begin < end and not re.search(r"<|-->|&(?!amp;|lt;|gt;)", line)
        result.append((number, round(begin, 3), round(end, 3), line))
    assert len({cue[0] for cue in result}) == len(result)
    assert [cue[1] for cue in result] == sorted(cue[1] for cue in result)
    return result


def test_vtt(tmp_path):
    lines = cues(written("vtt", tmp_path, found()).read_text(encoding="utf-8"))
    assert lines[0] == ("1", 2.0, 3.4, "happiness 0.93") and lines[1][3] == "surprise 0.71"
    assert lines[4] == ("5", 16.0, 16.067, '&lt;b&gt;anger &amp; "rage"&lt;/b&gt; --&gt; 0.47')
    assert written("vtt", tmp_path, found(spans=[])).read_text() == "WEBVTT\n"


def test_vtt_of_long_videos_and_short_expressions(tmp_path):
    one = Expression(1, 1, 1, 359999.9996, 359999.9997, 359999.9998, "surprise", 1.0)
    text = written("vtt", tmp_path, found()._replace(expressions=[one])).read_text()
    assert "100:00:00.000 --> 100:00:00.001" in text and cues(text)


# ---- ELAN ------------------------------------------------------------------------------------------------------------


def elan(path):
    """Tiers by name as (parent, value, begin and end in ms) of their annotations, by the rules of the format."""
    root = ElementTree.parse(path).getroot()
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONSTRAINT", "CONTROLLED_VOCABULARY"]
    tags = [child.tag for child in root]
    assert sorted(tags, key=order.index) == tags
    assert root.get("FORMAT") == root.get("VERSION") == "3.0"
    assert root.get("{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation").endswith("EAFv3.0.xsd")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", root.get("DATE"))
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
    times = [int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")]
    assert len(slots) == len(times) and times == sorted(times) and min(times, default=0) >= 0
    kinds = {kind.get("LINGUISTIC_TYPE_ID"): kind.get("CONSTRAINTS") for kind in root.iter("LINGUISTIC_TYPE")}
    assert set(kinds.values()) - {None} == {one.get("STEREOTYPE") for one in root.iter("CONSTRAINT")}
    ids, tiers = {}, {}
    for tier in root.iter("TIER"):
        name, parent = tier.get("TIER_ID"), tier.get("PARENT_REF")
        assert name not in tiers and (parent in tiers or parent is None)
        assert (kinds[tier.get("LINGUISTIC_TYPE_REF")] == "Symbolic_Association") == (parent is not None)
        rows = []
        for one in tier.iterfind("ANNOTATION/*"):
            assert one.get("ANNOTATION_ID") not in ids
            if parent is None:
                span = slots[one.get("TIME_SLOT_REF1")], slots[one.get("TIME_SLOT_REF2")]
                assert span[0] < span[1]
            else:
                tier_of, span = ids[one.get("ANNOTATION_REF")]
                assert tier_of == parent
            ids[one.get("ANNOTATION_ID")] = name, span
            rows.append((one.findtext("ANNOTATION_VALUE"), *span))
        assert all(a[2] <= b[1] for a, b in zip(rows, rows[1:], strict=False)), "annotations of a tier overlap"
        tiers[name] = parent, rows
    assert 2 * len([row for parent, rows in tiers.values() for row in rows if parent is None]) == len(ids)
    last = next(one.text for one in root.iter("PROPERTY") if one.get("NAME") == "lastUsedAnnotationId")
    assert int(last) == max([int(name[1:]) for name in ids], default=0)
    return root, tiers


def test_elan(tmp_path):
    root, tiers = elan(written("eaf", tmp_path, found(tmp_path / "my videos" / "100% ä.MP4")))
    assert list(tiers) == [name for emotion in CLASSES for name in (emotion, f"{emotion} score")]
    assert tiers["happiness"] == (None, [("happiness", 2000, 3400), ("happiness", 12400, 13600)])
    assert tiers["happiness score"] == ("happiness", [("0.93", 2000, 3400), ("0.58", 12400, 13600)])
    assert all(tier.get("PARTICIPANT") == "anna" for tier in root.iter("TIER"))
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL") == f"file://{tmp_path.resolve()}/my videos/100% ä.MP4"
    assert media.get("RELATIVE_MEDIA_URL") == "../my videos/100% ä.MP4" and media.get("MIME_TYPE") == "video/mp4"
    facts = {one.get("NAME"): one.text for one in root.iter("PROPERTY")}
    assert facts["fedn_jax: run"] == "demo/run"


@pytest.mark.parametrize(
    ("name", "mime"),
    [("a.mov", "video/quicktime"), ("a.avi", "video/x-msvideo"), ("a", "video/*"), ("a.xyz", "video/*")],
)
def test_elan_media(name, mime, tmp_path):
    root, _ = elan(written("eaf", tmp_path, found(tmp_path / "new" / name)))
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert (media.get("MIME_TYPE"), media.get("RELATIVE_MEDIA_URL")) == (mime, f"./{name}")


def test_elan_loses_no_overlapping_expression(tmp_path):
    spans = [(0, 30, 0, 0.9), (10, 20, 0, 0.8), (15, 40, 0, 0.7), (20, 25, 0, 0.6), (30, 50, 0, 0.5), (0, 60, 1, 0.5)]
    _, tiers = elan(written("eaf", tmp_path, found(spans=spans, classes=["x", "x-2", "x score"])))
    assert {name: [row[1:] for row in rows] for name, (parent, rows) in tiers.items() if not parent} == {
        "x": [(0, 2000), (2000, 3333)],
        "x-3": [(667, 1333), (1333, 1667)],
        "x-4": [(1000, 2667)],
        "x-2": [(0, 4000)],
        "x score": [],
    }
    assert all(len(tiers[name][1]) == len(tiers[parent][1]) for name, (parent, _) in tiers.items() if parent)


def test_elan_without_expressions_and_with_short_ones(tmp_path):
    _, tiers = elan(written("eaf", tmp_path, found(spans=[], subject="")))
    assert len(tiers) == 2 * len(CLASSES) and not any(rows for _, rows in tiers.values())
    fast = [Expression(i + 1, i + 1, i + 1, i / 9000, i / 9000, (i + 1) / 9000, "surprise", 0.5) for i in range(9)]
    _, tiers = elan(written("eaf", tmp_path, found()._replace(expressions=fast)))
    assert sum(len(rows) for parent, rows in tiers.values() if not parent) == 9


def test_elan_is_read_by_pympi(tmp_path):
    pympi = pytest.importorskip("pympi")
    document = pympi.Elan.Eaf(str(written("eaf", tmp_path, found())))
    assert sorted(document.get_tier_names()) == sorted(n for e in CLASSES for n in (e, f"{e} score"))
    assert document.get_annotation_data_for_tier("厌恶") == [(10533, 12933, "厌恶")]
    assert document.get_ref_annotation_data_for_tier("厌恶 score") == [(10533, 12933, "0.66", "厌恶")]
    assert document.get_child_tiers_for("surprise") == ["surprise score"]
    assert document.get_linked_files()[0]["MIME_TYPE"] == "video/mp4"
    document.add_annotation("surprise", 14000, 15000, "mine")
    document.to_file(str(tmp_path / "again.eaf"))
    assert len(pympi.Elan.Eaf(str(tmp_path / "again.eaf")).get_annotation_data_for_tier("surprise")) == 2


# ---- All -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_name_can_be_written(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    classes = data.draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))
    frames = st.tuples(st.integers(0, 290), st.integers(1, 60), st.integers(0, len(classes) - 1), st.floats(0, 1))
    spans = sorted((a, a + n, e, s) for a, n, e, s in data.draw(st.lists(frames, max_size=6)))
    names = {name: data.draw(TEXT) for name in ("subject", "video")}
    media = folder / data.draw(TEXT.filter(lambda name: "/" not in name and "\0" not in name))
    about = data.draw(st.dictionaries(TEXT, TEXT, max_size=3))
    result = found(media, spans, classes, about=about, **names)
    for name in detection_files.FORMATS:
        written(name, folder, result).read_text(encoding="utf-8").encode()
    rows = [row for row in table(folder / "new" / "found.csv") if row["onset"]]
    assert len(rows) == len(spans) == len(cues((folder / "new" / "found.vtt").read_text(encoding="utf-8")))
    value = json.loads((folder / "new" / "found.json").read_text(encoding="utf-8"))
    assert len(set(value["classes"])) == len(classes) and len(value["expressions"]) == len(spans)
    _, tiers = elan(folder / "new" / "found.eaf")
    assert sum(len(rows) for parent, rows in tiers.values() if not parent) == len(spans)


def test_expressions_are_put_in_order(tmp_path):
    result = found()
    shuffled = result._replace(expressions=result.expressions[::-1])
    assert written("csv", tmp_path, shuffled).read_text() == written("csv", tmp_path / "b", result).read_text()


def test_names_are_one_line_of_text():
    assert detection_files.plain("a\r\nb\tc\x00\x1b\x7f\x85\ud800\ufffe d\u2028e") == "a b c  d e"
    classes = detection_files.checked(found(classes=["a\x00", "a", "\n", ""], spans=[])).classes
    assert classes == ["a", "a-2", "unnamed", "unnamed-2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curves": np.zeros((3, 5))}, "curves must have shape"),
        ({"seconds": float("nan")}, "must be finite"),
        ({"gaps": [(0.0, float("inf"))]}, "must be finite"),
        ({"classes": [*CLASSES[:3], "surprised"]}, "one of happiness.*did you mean 'surprised'"),
    ],
)
@pytest.mark.parametrize("name", detection_files.FORMATS)
def test_mistakes_leave_no_file(name, change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        detection_files.FORMATS[name](tmp_path / "x", found()._replace(**change))
    assert not list(tmp_path.iterdir())
