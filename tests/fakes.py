"""Content of metrics.json by hand, and runs' directories that hold it."""

import copy
import json
from html.parser import HTMLParser

import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.types import Detections, Events, VideoMeta
from fedn_jax.engine import run_dir
from fedn_jax.evaluation import all_metrics, matching
from fedn_jax.reports import timeline

EVIL = "<script>_$x^2$表\x1b\n" + "long" * 30  # a name from a stranger
SUBJECTS = {"s15": (3, 4, 5), "s16": (1, 3, 2), "s19": (0, 1, 0), "s20": (4, 5, 4)}  # TP, N, GT
CLASSES = ["positive", "surprise", "negative", "others"]


def _summary(tp, n, gt):
    return {"tp": tp, "n": n, "gt": gt, "precision": tp / max(n, 1), "recall": tp / max(gt, 1),
            "f1": 2 * tp / max(n + gt, 1)}  # fmt: skip


def make_metrics(subjects=None, classes=CLASSES, ap=0.1, changes=None, **data):
    """Metrics of subjects' (TP, N, GT); ``changes`` of options, further entries of "data"."""
    subjects = SUBJECTS if subjects is None else subjects
    total = [sum(column) for column in zip(*subjects.values(), strict=True)]
    confusion = [[total[0] if i == j == 0 else 0 for j in range(len(classes))] for i in range(len(classes))]
    curve = {f"{0.5 + i / 20:.2f}": {"spotting": ap * (1 - i / 10), "detection": ap / 2} for i in range(10)}
    config = json.loads(configs.default().to_json())
    for key, value in (changes or {}).items():
        section, name = key.split(".")
        config[section][name] = value
    iou = config["evaluate"]["iou"]
    return {
        "iou": iou,
        "spotting": _summary(*total),
        "recognition": {"accuracy": 0.75, "macro_f1": 0.5, "confusion": confusion},
        "map": {"coco": {"spotting": ap, "detection": ap / 2, "ap": curve}},
        "per_subject": [{"subject": name, **_summary(*counts), "accuracy": 0.75} for name, counts in subjects.items()],
        "per_class": [{"class": name, "gt": 1, "tp": 1, "correct": 1} for name in classes],
        "definition": {key: text.format(iou=iou) for key, text in all_metrics.DEFINITIONS.items()},
        "config": config,
        "versions": {"jax": "0.10"},
        "data": {"dataset": "folder", "classes": list(classes), "backbone": "ResNet18", "aligner": "cascade",
                 "signature": "a", "labels": {}, "preparation": {}} | data,
    }  # fmt: skip


def casme2(labels="annotated", gt=300, **more):
    """Metrics that can stand beside the paper's CAS(ME)^2."""
    more.setdefault("subjects", {"s15": (100, 150, gt - 100), "s16": (29, 55, 100)})
    options = {"options": {"labels": labels, "zero-offset": "apex"}}
    return make_metrics(dataset="casme2", labels=options, **more)


def write_run(path, metrics, history=True):
    """A run's directory."""
    path.mkdir(parents=True)
    files = {"config.json": metrics["config"], "run.json": {"versions": metrics["versions"]}, "metrics.json": metrics}
    for name, content in files.items():
        run_dir.write_record(path / name, content)
    if history:
        lines = [{"epoch": e, "program": 0, "folds": ["a", "b"], "loss": [2.0 / e, 3.0 / e]} for e in (1, 2, 3)]
        (path / "metrics").mkdir()
        (path / "metrics" / "program0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def changed(metrics, **changes):
    """A copy with other entries."""
    return copy.deepcopy(metrics) | changes


class Resources(HTMLParser):
    """Tags, and everything that the page would load."""

    VOID = {"meta", "link", "img", "br", "rect", "line", "path", "image", "use"}

    def __init__(self):
        super().__init__()
        self.tags, self.loaded, self.open = set(), [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag


def pictures(subject, name, frames):
    return [np.full((32, 32, 3), 99, np.uint8) for _ in frames]


def layout(count=6, thumbnail=pictures):
    onset = np.arange(count) * 50 + 5.0
    interval = np.stack([onset, onset + 30], -1).astype(np.float32)
    events = Events(interval, onset + 9, np.arange(count) % 3, np.zeros(count, int), np.ones(count, bool))
    found = Detections(interval + 4, np.linspace(0.9, 0.3, count), np.arange(count) // 2 % 3, np.ones(count, bool))
    video = timeline.Video(VideoMeta(EVIL, "v", 400, 30.0, 1, 0, 400), events, found, 0.2)
    matched = np.where(np.arange(count) == 1, -1, np.arange(count))
    return timeline.layout(video, matched, ["happiness", "helplessness", EVIL], thumbnail)


def video(subject, name, rng, count=4):
    """Expressions, and detections near them."""
    onset = np.arange(count) * 60 + 10.0
    interval = np.stack([onset, onset + 30], -1).astype(np.float32)
    emotion = rng.integers(0, 3, count).astype(np.int32)
    events = Events(interval, onset.astype(np.float32), emotion, np.zeros(count, np.int32), np.ones(count, bool))
    shifted = (interval + rng.integers(-12, 13, (count, 1))).astype(np.float32)
    score = rng.uniform(0, 1, count).astype(np.float32)
    guessed = np.where(rng.random(count) < 0.5, emotion, 0).astype(np.int32)
    found = Detections(np.maximum(shifted, 0), score, guessed, np.ones(count, bool))
    return timeline.Video(VideoMeta(subject, name, 300, 30.0, 1, 0, 300), events, found, 0.2)


def evaluated(videos, classes):
    """Metrics of videos."""
    found, true = (matching.pad([getattr(one, name) for one in videos]) for name in ("detections", "events"))
    subjects = [one.meta.subject for one in videos]
    return all_metrics.evaluate_detections(found, true, subjects, classes, np.array([one.threshold for one in videos]))
