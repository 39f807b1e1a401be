"""Every kind of page on a phone: what is wider than the window lies in a box that scrolls."""

import fakes
import finds
import numpy as np
import pytest

from fedn_jax.experiments import orderings, search_space
from fedn_jax.experiments.sweep import Settings
from fedn_jax.reports import compare_page, reproduce_page, run_page, sweep_page, video_page

CLASSES = ["happiness", "a rather long emotion", "helplessness"]
SHORT = {"reason": "", "replaces": None, "state": "complete", "rungs": {"4": 0.1}}


def run(out):
    rng = np.random.default_rng(0)
    videos = [fakes.video(subject, "a video with a long name.mp4", rng) for subject in ("s1", "x" * 80)]
    metrics = fakes.evaluated(videos, CLASSES)
    extras = {
        "baselines": {"flow": metrics, "position": metrics},
        "config": {"seed": 0, "text": "x" * 300},
        "versions": {"device": "x" * 200},
    }
    return run_page.write(out, metrics | extras, videos, CLASSES, [{"epoch": 1, "loss": [1.0]}], fakes.pictures)


def comparison(out):
    runs = {"fedn": fakes.casme2(), "b" * 60: fakes.casme2(changes={"model.head": "coupled"}),
            "other": fakes.make_metrics(dataset="samm", backbone="UNTRAINED net")}  # fmt: skip
    paths = [fakes.write_run(out / name, metrics) for name, metrics in runs.items()]
    with pytest.MonkeyPatch.context() as patch:  # the page only
        patch.setattr(compare_page.figures, "save", lambda *_: None)
        return compare_page.write(out / "new", paths)


def reproduced(out):
    spread = {"values": [0.4, 0.5], "mean": 0.45, "std": 0.07}
    cost = {"parameters": 10**6, "flops": 8e9, "network": {"flops": 1e9}, "backbone": {"flops": 7e9}, "frames": 134}
    rows = [{"row": name, "method": name or "FEDN", "obstacle": "", "cost": cost, "changes": {},
             "numbers": dict.fromkeys(reproduce_page.SCALES, spread)} for name in ("table4/giou", "")]  # fmt: skip
    values = {row["row"]: dict.fromkeys(orderings.NUMBERS, [0.4, 0.5]) for row in rows}
    judged = [one | {"verdicts": {k: v._asdict() for k, v in one["verdicts"].items()}}
              for one in orderings.judge_all(4, values)]  # fmt: skip
    result = {"table": 4, "seeds": [0, 1], "rows": rows, "orderings": judged, "rule": orderings.RULE, "chance": 0.3,
              "obstacle": "the data (other) are none of the paper's", "setting": ["folder", "annotated"],
              "definition": {"threshold": "a score"}, "versions": {},
              "config": {"folds": {"scheme": "loso"}, "text": "x" * 300},
              "data": {"backbone": "x" * 200}}  # fmt: skip
    return reproduce_page.write(out, result)


def sweep(out):
    several = [{"number": i, "score": 0.2, "params": {"loss.beta": 1.0 + i, "model.head": "coupled"}} for i in range(3)]
    trials = [SHORT | one for one in several]
    found = {"trials": trials, "best": 2, "importance": {"loss.beta": 0.7, "model.head": 0.3}, "repeated": 1,
             "space": {"loss.beta": "0.5 to 4", "model.head": "coupled, decoupled"}, "epochs": 10, "source": "x" * 200,
             "settings": Settings(rungs=(4,))._asdict(),
             "objective": search_space.OBJECTIVES["detection"]}  # fmt: skip
    return sweep_page.write(out, found)


def parity(out):
    pytest.importorskip("torch")
    from fedn_jax.torch_parity import measure, report

    same = [measure.difference("a/rather/long/name/of/an/array", 1.0, 1.0)]
    other = [measure.difference("block_0", 1.0, 2.0)]
    levels = [measure.judge("2 forward", "fedn", "float32", 1e-5, one, "a note") for one in (same, other)]
    return report.write(out, levels, "x" * 200)


def found(out):
    video_page.write(out / "viewer.html", finds.found(about={"run": "x" * 200}), None, "", None)
    return out / "viewer.html"


WIDER = """[...document.querySelectorAll("body *")].filter(one => {
    const box = one.getBoundingClientRect();
    for (let above = one.parentElement; above; above = above.parentElement)
        if (["auto", "scroll", "hidden"].includes(getComputedStyle(above).overflowX)) return false;
    return box.width > 0 && box.right > innerWidth + 1;
}).map(one => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`)"""
# Boxes whose content is wider than they are, and what shows that there is more.
HIDDEN = """[...document.querySelectorAll("body *")].filter(one => one.scrollWidth > one.clientWidth + 1
    && ["auto", "scroll"].includes(getComputedStyle(one).overflowX) && one.clientWidth)
    .map(one => [one.className, getComputedStyle(one).backgroundImage.split("gradient").length - 1])"""


@pytest.mark.parametrize("make", [run, comparison, reproduced, sweep, parity, found])
def test_nothing_is_cut_on_a_phone(browser, tmp_path, make):
    path = make(tmp_path)
    for width in (400, 1200):
        browser.open(path, width, 900)
        browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), browser.run(WIDER)
        assert browser.run(WIDER) == []
        boxes = browser.run(HIDDEN)
        assert all(shadows == 4 for _, shadows in boxes), boxes
        assert boxes or width > 400 or make is found
