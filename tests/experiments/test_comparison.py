"""Several runs: how they are read, what may be compared, and how their numbers differ."""

import shutil

import fakes
import pytest

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import bootstrap, headline, metrics
from fedn_jax.evaluation.metrics import Counts
from fedn_jax.experiments import comparison

BASE = fakes.make_metrics()
BETTER = fakes.make_metrics({"s15": (4, 4, 5), "s16": (2, 3, 2), "s19": (0, 0, 0), "s20": (4, 4, 4)}, ap=0.2,
                            changes={"loss.interval": "giou"})  # fmt: skip


def test_names_of_runs(tmp_path):
    paths = [fakes.write_run(tmp_path / name, BASE) for name in ("x/run", "y/run", "other")]
    assert [run.name for run in comparison.load(paths)] == ["x/run", "y/run", "other"]
    with pytest.raises(UserError, match="is given twice"):
        comparison.load([paths[0], tmp_path / "x" / ".." / "x" / "run"])
    shutil.copytree(tmp_path / "x", tmp_path / "z" / "x")
    names = [run.name for run in comparison.load([paths[0], tmp_path / "z" / "x" / "run"])]
    assert names == [f"{tmp_path.name}/x/run", "z/x/run"]


def test_options_are_those_of_the_evaluation(tmp_path):
    path = fakes.write_run(tmp_path / "a", fakes.make_metrics(changes={"predict.nms_iou": 0.5}))
    run_dir.write_record(path / "config.json", BASE["config"])
    (run,) = comparison.load([path])
    assert run.options["predict.nms_iou"] == 0.5


# ---- Comparable or not ---------------------------------------------------------------------------------------------


def run(name, found):
    return comparison.Run(name, configs.flatten(found["config"]), {}, found, [])


ALL, COUNTED, NAMED = comparison.ALL, comparison.COUNTED, headline.NAMED
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
    found = comparison.compare([run("first", BASE), run("other", metrics)])["remarks"]
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
    found = comparison.compare([run("first", BASE), run("other", other)])["remarks"]
    assert [one.about for one in found] == [
        "data set", "training with emotions", "lowest IoU of a match", "folds",
    ]  # fmt: skip


def test_the_first_run_has_remarks_of_its_own():
    control = fakes.make_metrics(changes={"data.shuffle_labels": True})
    found = comparison.compare([run("a", control), run("b", control)])["remarks"]
    assert [one.run for one in found] == ["a", "b"]


def test_differences():
    options = {"a": 1, "b": [1, 2], "c": None}, {"a": 1, "b": [1, 3], "d": True}
    several = [run("a", BASE)._replace(options=one) for one in options]
    assert comparison.compare(several)["options"] == [
        ("b", ["[1, 2]", "[1, 3]"]),
        ("c", ["None", "–"]),
        ("d", ["–", "True"]),
    ]


# ---- Numbers -------------------------------------------------------------------------------------------------------


def table(*found):
    several = [run(f"run{i}", one) for i, one in enumerate(found)]
    rows = comparison.compare(several)["rows"]
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
    counts = [{row["subject"]: Counts(row["tp"], row["n"], row["gt"]) for row in one["per_subject"]}
              for one in (BASE, BETTER)]  # fmt: skip
    low, high = bootstrap.interval(counts[0], metrics.f1)[1:]
    assert first["interval"] == [[low, high], None, None, None] and low < BASE["spotting"]["f1"] < high
    assert second["paired"][0] == bootstrap.paired(counts[1], counts[0], metrics.f1)
    assert second["paired"][0].difference == pytest.approx(10 / 11 - 2 / 3)
    known = {"confidence": {"level": 0.95, "f1": [0.1, 0.9], "accuracy": [0.2, 0.8]}}
    assert table(BASE | known)[0]["interval"] == [[0.1, 0.9], [0.2, 0.8], None, None]
    (single,) = table(fakes.make_metrics({"a": (1, 1, 1)}))
    assert single["interval"] == [None] * 4


def test_other_subjects_are_not_paired():
    extra = fakes.make_metrics(fakes.SUBJECTS | {"silent": (0, 1, 0)})
    other = table(BASE, extra)[1]
    assert other["paired"][0] is None and other["difference"][0] == "−2.7"
