"""Several runs on one page: what may be compared, what is said, what is written."""

import html
import re
import shutil

import fakes
import pytest
from fakes import Resources

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import percent
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import bootstrap, headline
from fedn_jax.reports import compare_page

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
    named = {"base": BASE | {"baselines": {"flow": BASE}}, "better": BETTER, EVIL.replace("/", ""): other}
    runs = [fakes.write_run(root / name, metrics) for name, metrics in named.items()]
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
    assert "With 6 subjects such a difference can be chance." in text
    assert "20.0 +10.0" in text and "2 TP / (N + GT)" in text and BASE["definition"]["map"] in text
    assert "loss.interval diou giou diou" in text and "model.width" not in text
    assert f"{EVIL} features made by an untrained network" in text
    assert f"{EVIL} data set other folder all numbers" in text
    assert "not comparable with the paper's rows: the data set is folder, which the paper does not use" in text
    assert headline.MAP_ORDER in text
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
    assert compare_page.write(out, directory(a=BASE | {"baselines": {"flow": BETTER}})) == out
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
    (runs[0] / "metrics" / "program0.jsonl").unlink()
    page = page_of(tmp_path / "out", runs)
    assert "Confusion</h2>" not in page and "The configurations are the same." in page
    assert not list((tmp_path / "out" / "figures").glob("training-a*"))


# ---- Reading -------------------------------------------------------------------------------------------------------


def test_a_run_that_was_not_evaluated(directory, tmp_path):
    good, bad = directory(a=BASE, b=BASE)
    (bad / "metrics.json").unlink()
    with pytest.raises(UserError, match=r"b: is not evaluated; run `fedn evaluate .*b --data DIR` first"):
        compare_page.write(tmp_path / "out", [good, bad])
    run_dir.write_record(bad / "metrics.json", {"iou": 0.5})
    with pytest.raises(UserError, match="metrics.json: has no spotting; run `fedn evaluate"):
        compare_page.write(tmp_path / "out", [good, bad])
    run_dir.write_record(bad / "metrics.json", BASE | {"thresholds": {"a": 0.5}, "threshold_origins": {"a": "inner"}})
    with pytest.raises(UserError, match=r"metrics.json: was written by another version; run `fedn evaluate .*b --data"):
        compare_page.write(tmp_path / "out", [good, bad])
    (bad / "metrics.json").write_text("[]")
    with pytest.raises(UserError, match="metrics.json: was written by another version"):
        compare_page.write(tmp_path / "out", [good, bad])
    with pytest.raises(UserError, match="no such file; expected the directory of a run"):
        compare_page.write(tmp_path / "out", [tmp_path / "none"])
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="loop.*: no such file; expected the directory of a run"):
        compare_page.write(tmp_path / "out", [tmp_path / "loop"])
    with pytest.raises(UserError, match="at least one run; got none"):
        compare_page.write(tmp_path / "out", [])
    assert not (tmp_path / "out").exists()


def test_names_of_runs(tmp_path):
    paths = [fakes.write_run(tmp_path / name, BASE) for name in ("x/run", "y/run", "other")]
    assert [run.name for run in compare_page.load(paths)] == ["x/run", "y/run", "other"]
    with pytest.raises(UserError, match="is given twice"):
        compare_page.load([paths[0], tmp_path / "x" / ".." / "x" / "run"])
    shutil.copytree(tmp_path / "x", tmp_path / "z" / "x")
    names = [run.name for run in compare_page.load([paths[0], tmp_path / "z" / "x" / "run"])]
    assert names == [f"{tmp_path.name}/x/run", "z/x/run"]


def test_options_are_those_of_the_evaluation(tmp_path):
    path = fakes.write_run(tmp_path / "a", fakes.make_metrics(changes={"predict.nms_iou": 0.5}))
    run_dir.write_record(path / "config.json", BASE["config"])
    (run,) = compare_page.load([path])
    assert run.options["predict.nms_iou"] == 0.5


# ---- Comparable or not ---------------------------------------------------------------------------------------------


def run(name, metrics):
    options = configs.flatten(metrics["config"])
    return compare_page.Run(name, options, {}, metrics, [])


ALL, COUNTED, NAMED = compare_page.ALL, compare_page.COUNTED, headline.NAMED
CASES = [  # metrics, (what differs, here, in the first run), what it spoils
    (fakes.make_metrics(), None, None),
    (fakes.make_metrics(changes={"loss.interval": "iou", "train.epochs": 3}), None, None),
    (fakes.make_metrics(dataset="samm"), ("data set", "samm", "folder"), ALL),
    (fakes.make_metrics(changes={"data.kind": "all"}), ("kind of expressions", "all", "macro"), ALL),
    (fakes.make_metrics({"s15": (1, 1, 9)}), ("annotated expressions", "9 of 1 subject", "11 of 3 subjects"), ALL),
    (fakes.make_metrics({"s15": (3, 4, 4), "s16": (1, 3, 3), "s20": (4, 5, 4)}),
     ("annotated expressions", "11 of 3 subjects", "11 of 3 subjects"), ALL),
    (fakes.make_metrics(labels={"options": {"zero-offset": "drop"}}),
     ("reading of the annotations", "zero-offset drop", "zero-offset –"), ALL),
    (fakes.make_metrics(signature="b", backbone="I3D"),
     ("preparation", "backbone I3D, signature b", "backbone ResNet18, signature a"), set()),
    (fakes.make_metrics(signature="b"), ("preparation", "signature b", "signature a"), set()),
    (fakes.make_metrics(classes=["a", "b"], signature="b"),
     ("emotions", "a, b", "positive, surprise, negative, others"), NAMED),
    (fakes.make_metrics(labels={"options": {"labels": "self-reported"}}),
     ("emotions", f"{', '.join(fakes.CLASSES)} (self-reported)", ", ".join(fakes.CLASSES)), NAMED),
    (fakes.make_metrics(changes={"data.recognition": False}), ("training with emotions", "False", "True"), NAMED),
    (fakes.make_metrics(changes={"evaluate.iou": 0.3}), ("lowest IoU of a match", "0.3", "0.5"), COUNTED),
    (fakes.changed(BASE, protocol="pairs"), ("rule of counting", "pairs", "megc"), COUNTED),
    (fakes.changed(BASE, definition=BASE["definition"] | {"f1": "other"}),
     ("definitions", "other words; evaluate both runs with one version", "–"), ALL),
    (fakes.changed(BASE, definition=BASE["definition"] | {"new": "more"}), None, None),
    (fakes.make_metrics(changes={"folds.inner": 0.5}), ("folds", "loso, 0.5", "loso, 0.25"), set()),
    (fakes.make_metrics(changes={"folds.k": 9}), None, None),  # of no use to leave-one-subject-out
    (fakes.make_metrics(changes={"data.shuffle_labels": True}), ("trained on", None, "–"), set()),
    (fakes.make_metrics(backbone="UNTRAINED net"), ("features", None, "–"), set()),
]  # fmt: skip


@pytest.mark.parametrize(("metrics", "expected", "spoils"), CASES)
def test_remarks(metrics, expected, spoils):
    found = compare_page.compare([run("first", BASE), run("other", metrics)])["remarks"]
    assert {one.run for one in found} <= {"other"}
    assert len(found) == (expected is not None) + (spoils == set() and expected[0] == "features")
    if expected:
        about, here, first = expected
        assert (found[0].about, found[0].here if here else None, found[0].first) == (about, here, first)
        assert found[0].spoils == spoils


def test_several_differences_are_all_listed():
    other = fakes.make_metrics(
        changes={"evaluate.iou": 0.3, "data.recognition": False, "folds.inner": 0.5}, dataset="b"
    )
    found = compare_page.compare([run("first", BASE), run("other", other)])["remarks"]
    assert [one.about for one in found] == [
        "data set", "training with emotions", "lowest IoU of a match", "folds",
    ]  # fmt: skip


def test_the_first_run_has_remarks_of_its_own():
    control = fakes.make_metrics(changes={"data.shuffle_labels": True})
    found = compare_page.compare([run("a", control), run("b", control)])["remarks"]
    assert [one.run for one in found] == ["a", "b"]


def test_differences():
    options = {"a": 1, "b": [1, 2], "c": None}, {"a": 1, "b": [1, 3], "d": True}
    several = [run("a", BASE)._replace(options=one) for one in options]
    assert compare_page.compare(several)["options"] == [
        ("b", ["[1, 2]", "[1, 3]"]),
        ("c", ["None", "–"]),
        ("d", ["–", "True"]),
    ]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def table(*metrics):
    several = [run(f"run{i}", one) for i, one in enumerate(metrics)]
    rows = compare_page.compare(several)["rows"]
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
