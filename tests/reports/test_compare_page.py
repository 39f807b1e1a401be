"""Several runs on one page: what may be compared, what is said, what is written."""

import html
import re

import fakes
import pytest
from fakes import Resources

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import percent
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import headline
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
    assert "not comparable with the paper's rows: the data (own videos) are none of the paper's" in text
    assert headline.MAP_ORDER in text
    assert written[2].count("data:image/svg+xml") == 2 + 3


@pytest.mark.parametrize("worse, ending", [(False, "."), (True, ", the highest.")])
def test_the_same_f1_is_no_victory(worse, ending, directory):
    runs = {"one": BETTER, "two": BETTER} | ({"base": BASE} if worse else {})
    paths = directory(**runs)
    page = page_of(paths[0].parent / "out", paths)
    assert f"one and two have the same spotting F1, 90.9 %{ending}" in page


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
    assert compare_page.write(out, directory(a=BASE | {"baselines": {"flow": BETTER}}), [fakes.layout()]) == out
    names = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert {"figures/curves.svg", "figures/subjects.pdf", "figures/confusion.png", "figures/training.svg",
            "tables/table2.tex", "tables/subjects.csv"} <= names and "comparison.html" not in names  # fmt: skip
    assert len(list((out / "figures" / "timelines").iterdir())) == 3


def test_tables_of_the_paper_are_on_the_page(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(compare_page.figures, "save", lambda *_: None)  # the page and the tables only
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
