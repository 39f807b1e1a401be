"""Several runs on one page: what may be compared, what is said, what is written."""

import html
import json
import re
import shutil

import fakes
import pytest
from fakes import Resources

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import percent
from fedn_jax.evaluation import bootstrap
from fedn_jax.reports import comparable, compare_page

EVIL = "<script>alert('x')<b>$&_"
BASE = fakes.make_metrics()
BETTER = fakes.make_metrics({"s15": (4, 4, 5), "s16": (2, 3, 2), "s19": (0, 0, 0), "s20": (4, 4, 4)}, ap=0.2,
                            changes={"loss.interval": "giou"})  # fmt: skip


@pytest.fixture
def directory(tmp_path):
    def write(**runs):
        return [fakes.write_run(tmp_path / name, metrics) for name, metrics in runs.items()]

    return write


def page_of(out, paths):
    path = compare_page.write(out, paths)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    other = fakes.make_metrics({"x": (1, 2, 3), EVIL: (1, 1, 1)}, backbone="UNTRAINED net", dataset="other")
    runs = [fakes.write_run(root / name, metrics) for name, metrics in
            {"base": BASE | {"baseline": BASE}, "better": BETTER, EVIL.replace("/", ""): other}.items()]  # fmt: skip
    out = root / "new" / "report"
    return out, runs, page_of(out, runs)


def test_page_is_whole_and_loads_nothing(written):
    parser = Resources()
    parser.feed(written[2])
    assert not parser.open
    assert not parser.tags & {"script", "iframe", "object", "embed", "form", "b"}
    assert parser.loaded and all(link.startswith(("data:", "#")) for link in parser.loaded)
    assert not re.search(r"https?:|//[a-z]|@import|@font-face", re.sub(r"data:[^\"]*", "", written[2]))


def test_names_are_escaped(written):
    assert "<script" not in written[2] and html.escape("<script>") in written[2]
    assert files.file_name(EVIL) in {path.stem.removeprefix("confusion-") for path in written[0].rglob("*.svg")}


def test_page_shows_numbers_differences_and_definitions(written):
    text = re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", re.sub(r"data:[^\"]*", "", written[2]))))
    difference = 2 * 10 / (11 + 11) - 2 * 8 / (13 + 11)
    assert percent(BETTER["spotting"]["f1"]) == "90.9" and f"90.9 +{100 * difference:.1f}" in text
    assert "better has the highest spotting F1, 90.9 %: +24.2 percentage points against base (95 % interval" in text
    assert "With these 6 subjects such a difference can be chance." in text
    assert "20.0 +10.0" in text and "2 TP / (N + GT)" in text and BASE["definition"]["map"] in text
    assert "loss.interval diou giou diou" in text and "model.width" not in text
    assert f"{EVIL} : its features are those of an untrained network" in text
    assert "its data set is other, that of base is folder: their numbers cannot be compared" in text
    assert "the paper's rows are not comparable, since the paper does not use its data set (folder)" in text
    assert written[2].count("data:image/svg+xml") == 2 + 3


def test_files(written):
    out = written[0]
    figures = {path.name for path in (out / "figures").iterdir()}
    names = ["curves", "subjects", "confusion-base", "training-base", "confusion-better", "training-better"]
    assert {f"{name}.{kind}" for name in names for kind in ("svg", "png", "pdf")} <= figures
    assert {path.name for path in (out / "tables").iterdir()} == {
        "table2.csv", "table2.tex", "subjects.csv", "subjects.tex"}  # fmt: skip
    assert not list(out.rglob(".part-*"))


def test_pages_are_reproducible(written, tmp_path):
    assert page_of(tmp_path, written[1]) == written[2]


def test_one_run_gives_files_only(directory, tmp_path):
    out = tmp_path / "out"
    assert compare_page.write(out, directory(a=BASE | {"baseline": BETTER})) == out
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert {"figures/curves.svg", "figures/subjects.pdf", "figures/confusion.png", "figures/training.svg",
            "tables/table2.tex", "tables/subjects.csv"} <= names and "comparison.html" not in names  # fmt: skip


def test_timelines_are_drawn(directory, tmp_path):
    from fakes import layout

    compare_page.write(tmp_path / "out", directory(a=BASE), [layout()])
    assert len(list((tmp_path / "out" / "figures" / "timelines").iterdir())) == 3


def test_tables_of_the_paper_are_on_the_page(directory, tmp_path):
    runs = directory(a=fakes.casme2(), b=fakes.casme2(changes={"model.head": "coupled"}))
    page = page_of(tmp_path / "out", runs)
    assert page.count("as printed") >= 3 and "CEFLNet" in page and "CAS(ME)<sup>2</sup>, annotated" in page
    assert (tmp_path / "out" / "tables" / "table4.tex").exists() and "not run" in page


def test_runs_without_emotions_or_epochs(directory, tmp_path):
    only = fakes.make_metrics(classes=["expression"], changes={"data.recognition": False})
    runs = directory(a=only, b=only)
    (runs[0] / "metrics.jsonl").unlink()
    page = page_of(tmp_path / "out", runs)
    assert "Confusion</h2>" not in page and "The configurations are the same." in page
    assert not list((tmp_path / "out" / "figures").glob("training-a*"))


# ---- Reading -------------------------------------------------------------------------------------------------------


def test_a_run_that_was_not_evaluated(directory, tmp_path):
    good, bad = directory(a=BASE, b=BASE)
    (bad / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"b: is not evaluated; run `fedn evaluate .*b --data DIR` first"):
        compare_page.write(tmp_path / "out", [good, bad])
    (bad / "metrics.json").write_text(json.dumps({"iou": 0.5}))
    with pytest.raises(UserError, match="metrics.json: has no spotting; run `fedn evaluate"):
        compare_page.write(tmp_path / "out", [good, bad])
    (bad / "metrics.json").write_text("[]")
    with pytest.raises(UserError, match="metrics.json: has no iou"):
        compare_page.write(tmp_path / "out", [good, bad])
    with pytest.raises(UserError, match="no such file; expected the directory of a run"):
        compare_page.write(tmp_path / "out", [tmp_path / "none"])
    with pytest.raises(UserError, match="at least one run; got none"):
        compare_page.write(tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_names_of_runs(tmp_path):
    paths = [fakes.write_run(tmp_path / name, BASE) for name in ("x/run", "y/run", "other")]
    assert [run.name for run in comparable.load(paths)] == ["x/run", "y/run", "other"]
    with pytest.raises(UserError, match="is given twice"):
        comparable.load([paths[0], tmp_path / "x" / ".." / "x" / "run"])
    shutil.copytree(tmp_path / "x", tmp_path / "z" / "x")
    names = [run.name for run in comparable.load([paths[0], tmp_path / "z" / "x" / "run"])]
    assert names == [f"{tmp_path.name}/x/run", "z/x/run"]


def test_options_are_those_of_the_evaluation(tmp_path):
    path = fakes.write_run(tmp_path / "a", fakes.make_metrics(changes={"predict.nms_iou": 0.5}))
    (path / "config.json").write_text(json.dumps(BASE["config"]))
    (run,) = comparable.load([path])
    assert run.options["predict.nms_iou"] == 0.5


# ---- Comparable or not ---------------------------------------------------------------------------------------------


def run(name, metrics):
    options = comparable.configs.flatten(metrics["config"])
    return comparable.Run(name, options, {}, metrics, [])


ALL, COUNTED, NAMED = comparable.ALL, comparable.COUNTED, comparable.NAMED
CASES = [
    (fakes.make_metrics(), None, None),
    (fakes.make_metrics(changes={"loss.interval": "iou", "train.epochs": 3}), None, None),
    (fakes.make_metrics(dataset="samm"), "its data set is samm, that of first is folder", ALL),
    (fakes.make_metrics(changes={"data.kind": "all"}), "it looks for all expressions, first for macro", ALL),
    (fakes.make_metrics({"s15": (1, 1, 9)}), "other expressions (9 of 1 subjects) than first (11 of 3 subjects)", ALL),
    (fakes.make_metrics(labels={"options": {"zero-offset": "drop"}}), "(zero-offset drop instead of –)", ALL),
    (
        fakes.make_metrics(signature="b", backbone="I3D"),
        "prepared differently (backbone I3D instead of ResNet18)",
        set(),
    ),
    (fakes.make_metrics(signature="b"), "prepared differently (their signatures differ)", set()),
    (fakes.make_metrics(classes=["a", "b"], signature="b"), "its emotions are a, b, those of first positive", NAMED),
    (fakes.make_metrics(labels={"options": {"labels": "self-reported"}}), "its emotions are", NAMED),
    (fakes.make_metrics(changes={"data.recognition": False}), "only first was trained with emotions", NAMED),
    (fakes.make_metrics(changes={"evaluate.iou": 0.3}), "from IoU 0.3, first from 0.5", COUNTED),
    (fakes.changed(BASE, protocol="pairs"), "by the protocol pairs, first by megc", COUNTED),
    (fakes.changed(BASE, definition=BASE["definition"] | {"f1": "other"}), "defined in other words", ALL),
    (fakes.changed(BASE, definition=BASE["definition"] | {"new": "more"}), None, None),
    (fakes.make_metrics(changes={"folds.inner": 0.5}), "its folds are not those of first", set()),
    (fakes.make_metrics(changes={"folds.k": 9}), None, None),  # of no use to leave-one-subject-out
    (fakes.make_metrics(changes={"data.shuffle_labels": True}), "it is a control", set()),
    (fakes.make_metrics(backbone="UNTRAINED net"), "an untrained network", set()),
]


@pytest.mark.parametrize(("metrics", "words", "spoils"), CASES)
def test_remarks(metrics, words, spoils):
    found = comparable.remarks([run("first", BASE), run("other", metrics)])
    assert [one.run for one in found] == ["other"] * (words is not None)
    if words:
        assert words in found[0].text and found[0].spoils == spoils


def test_the_first_run_has_remarks_of_its_own():
    control = fakes.make_metrics(changes={"data.shuffle_labels": True})
    assert [one.run for one in comparable.remarks([run("a", control), run("b", control)])] == ["a", "b"]


def test_differences():
    several = [{"a": 1, "b": [1, 2], "c": None}, {"a": 1, "b": [1, 3], "d": True}]
    assert comparable.differences(several) == [("b", ["[1, 2]", "[1, 3]"]), ("c", ["None", "–"]), ("d", ["–", "True"])]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def table(*metrics):
    several = [run(f"run{i}", one) for i, one in enumerate(metrics)]
    rows = compare_page.table(several, comparable.remarks(several))
    return [{key: [cell[key] for cell in row["cells"]] for key in row["cells"][0]} for row in rows]


def test_best_and_differences():
    first, second = table(BASE, BETTER)
    assert first["text"] == ["66.7", "75.0", "10.0", "5.0"] and first["difference"] == ["–"] * 4
    assert second["difference"] == ["+24.2", "0.0", "+10.0", "+5.0"]
    assert first["best"] == [False, True, False, False] and second["best"] == [True] * 4  # equals are both best


def test_what_cannot_be_compared_is_not():
    first, other, third = table(BASE, fakes.make_metrics(dataset="samm", ap=0.9), BETTER)
    assert other["difference"] == ["–"] * 4 and not any(other["best"]) and other["paired"] == [None] * 4
    assert third["best"] == [True] * 4
    first, coarse = table(BASE, fakes.make_metrics(changes={"evaluate.iou": 0.3}, ap=0.2))
    assert coarse["best"] == [False, False, True, True] and coarse["difference"][0] == "–"
    assert first["best"] == [False] * 4
    first, spotter = table(BASE, fakes.make_metrics(changes={"data.recognition": False}))
    assert spotter["text"][1] == spotter["text"][3] == "–" and spotter["difference"] == ["0.0", "–", "0.0", "–"]


def test_nothing_spotted_is_not_recognised():
    (one,) = table(fakes.make_metrics({"a": (0, 1, 2), "b": (0, 0, 1)}))
    assert one["text"][:2] == ["0.0", "–"]


def test_chance_is_that_of_the_statistics():
    first, second = table(BASE, BETTER)
    counts = [{row["subject"]: compare_page.Counts(row["tp"], row["n"], row["gt"]) for row in one["per_subject"]}
              for one in (BASE, BETTER)]  # fmt: skip
    low, high = bootstrap.interval(counts[0], compare_page.metrics.f1)[1:]
    assert first["interval"] == [[low, high], None, None, None] and low < BASE["spotting"]["f1"] < high
    assert second["paired"][0] == bootstrap.paired(counts[1], counts[0], compare_page.metrics.f1)
    assert second["paired"][0].difference == pytest.approx(10 / 11 - 2 / 3)
    known = {"confidence": {"level": 0.95, "f1": [0.1, 0.9], "accuracy": [0.2, 0.8]}}
    assert table(BASE | known)[0]["interval"] == [[0.1, 0.9], [0.2, 0.8], None, None]
    (single,) = table(fakes.make_metrics({"a": (1, 1, 1)}))
    assert single["interval"] == [None] * 4


def test_other_subjects_are_not_paired():
    extra = fakes.make_metrics(fakes.SUBJECTS | {"silent": (0, 1, 0)})
    other = table(BASE, extra)[1]
    assert other["paired"][0] is None and other["difference"][0] == "−2.7"
