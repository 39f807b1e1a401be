"""Runs as their files say them, and whether their numbers can be compared, in plain words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import DASH
from fedn_jax.engine import run_dir
from fedn_jax.experiments import published

NEEDED = ("iou", "spotting", "recognition", "map", "per_subject", "per_class")  # of metrics.json
F1, ACCURACY, MAP_S, MAP_D = NUMBERS = ("f1", "accuracy", "map_s", "map_d")  # what is compared
ALL = frozenset(NUMBERS)
DEFINED = ("tp", "n", "gt", "f1", "accuracy", "map", "map.spotting", "map.detection", "coco")  # of DEFINITIONS
COUNTED, NAMED = frozenset({F1, ACCURACY}), frozenset({ACCURACY, MAP_D})  # need an IoU; need emotions


class Run(NamedTuple):
    """What the files of a run say."""

    name: str  # its directory's, with the parent's where two are called alike
    options: dict[str, Any]  # of the training and of the evaluation, by dotted name
    recorded: dict[str, Any]  # run.json
    metrics: dict[str, Any]  # metrics.json
    history: list[dict[str, Any]]  # metrics.jsonl


class Remark(NamedTuple):
    """Something to know before a run is compared with the first."""

    run: str
    text: str
    spoils: frozenset[str] = frozenset()  # of ``NUMBERS``: those that cannot be compared


def load(paths: Sequence[Path]) -> list[Run]:
    """Reads runs.

    Args:
      paths: their directories.

    Returns:
      Runs, named differently.

    Raises:
      UserError: a directory is given twice, holds no run, or a run that was not evaluated.
    """
    places = [path.resolve() for path in paths]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{paths[number]} is given twice; give each run once")
    names = [place.name for place in places]
    depth = 1
    while len(set(names)) < len(names):
        depth += 1
        names = [
            "/".join(place.parts[-depth:]) if names.count(name) > 1 else name
            for place, name in zip(places, names, strict=True)
        ]
    return [_load(path, name) for path, name in zip(paths, names, strict=True)]


def _load(path: Path, name: str) -> Run:
    settings, recorded = run_dir.read_json(path / "config.json"), run_dir.read_json(path / "run.json")
    if not (path / "metrics.json").exists():
        raise UserError(f"{path}: is not evaluated; run `fedn evaluate {path} --data DIR` first")
    found = run_dir.read_json(path / "metrics.json")
    if missing := [key for key in NEEDED if not isinstance(found, dict) or not found.get(key)]:
        raise UserError(
            f"{path}/metrics.json: has no {missing[0]}; run `fedn evaluate {path} --data DIR` again with this version"
        )
    return Run(name, configs.flatten(found.get("config") or settings), recorded, found, run_dir.read_metrics(path))


def differences(several: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """What is not the same in all runs.

    Args:
      several: name -> value of each run, such as its options.

    Returns:
      (name, value of each run) in the order of the names.
    """
    keys = dict.fromkeys(key for one in several for key in one)
    rows = [(key, [str(one.get(key, DASH)) for one in several]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


# ---- Comparable or not -----------------------------------------------------------------------------------------------


def _data(run: Run) -> dict[str, Any]:
    return run.metrics.get("data") or {}


def _annotated(run: Run) -> dict[str, int]:
    """Expressions of every subject that has any."""
    return {row["subject"]: row["gt"] for row in run.metrics["per_subject"] if row["gt"]}


def _words(run: Run) -> list[str]:
    """Its definitions of what is compared, whatever its IoU."""
    words, iou = run.metrics.get("definition") or {}, f"IoU >= {run.metrics['iou']}"
    return [words.get(key, "").replace(iou, "IoU") for key in DEFINED]


def _protocol(run: Run) -> str:
    return run.metrics.get("protocol", "megc")


def remarks(several: Sequence[Run]) -> list[Remark]:
    """What to know before the runs are compared with the first one.

    Args:
      several: the runs.

    Returns:
      Remarks, those of the first run first.
    """
    first = several[0]
    return [one for run in several for one in _alone(run) + (_beside(run, first) if run is not first else [])]


def _alone(run: Run) -> list[Remark]:
    """What a number of this run says nothing about."""
    found = []
    if published.untrained(run.metrics):
        found.append(Remark(run.name, "its features are those of an untrained network: the numbers say nothing about "
                            "how well the method works"))  # fmt: skip
    if run.options.get("data.shuffle_labels"):
        found.append(Remark(run.name, "it is a control: it was trained on expressions moved in time, so its numbers "
                            "show what chance reaches"))  # fmt: skip
    return found


def _pair(run: Run, first: Run, key: str) -> tuple[Any, Any] | None:
    """The values of an option, if they differ."""
    pair = run.options.get(key), first.options.get(key)
    return pair if pair[0] != pair[1] else None


def _beside(run: Run, first: Run) -> list[Remark]:
    """What sets a run apart from the first."""
    name, iou = first.name, (run.metrics["iou"], first.metrics["iou"])
    found = [*_expressions(run, first), *_emotions(run, first)]
    if _words(run) != _words(first):
        text = f"its numbers are defined in other words than those of {name}; evaluate both with one version"
        found.append(Remark(run.name, text, ALL))
    if _protocol(run) != _protocol(first):
        text = f"it counts by the protocol {_protocol(run)}, {name} by {_protocol(first)}: spotting F1 and recognition "
        found.append(Remark(run.name, f"{text}cannot be compared, mAP can", COUNTED))
    if iou[0] != iou[1]:
        text = f"it counts a match from IoU {iou[0]:g}, {name} from {iou[1]:g}: spotting F1 and recognition cannot be "
        found.append(Remark(run.name, f"{text}compared, mAP can", COUNTED))
    keys = ["scheme", "inner"] + ["k"] * (first.options.get("folds.scheme") == "kfold")
    if any(_pair(run, first, f"folds.{key}") for key in keys):
        text = f"its folds are not those of {name}, so the two were trained on different people or videos"
        found.append(Remark(run.name, text))
    return found


def _expressions(run: Run, first: Run) -> list[Remark]:
    """Whether both had the same to find; if not, the first reason."""
    data, other, name = _data(run), _data(first), first.name
    chosen, others = (_chosen(one) for one in (data, other))
    read = [key for key in {**chosen, **others} if key != "labels" and chosen.get(key) != others.get(key)]
    kinds, gt = _pair(run, first, "data.kind"), (_annotated(run), _annotated(first))
    if data.get("dataset") != other.get("dataset"):
        text = f"its data set is {data.get('dataset')}, that of {name} is {other.get('dataset')}"
    elif kinds:
        text = f"it looks for {kinds[0]} expressions, {name} for {kinds[1]}"
    elif read:
        pairs = (f"{key} {chosen.get(key, DASH)} instead of {others.get(key, DASH)}" for key in read)
        text = f"its annotations were read differently ({', '.join(pairs)})"
    elif gt[0] != gt[1]:
        counts = [f"{sum(one.values())} of {len(one)} subjects" for one in gt]
        text = f"it was scored on other expressions ({counts[0]}) than {name} ({counts[1]})"
    elif data.get("signature") != other.get("signature") and _set(data) == _set(other):
        keys = (key for key in ("backbone", "aligner") if data.get(key) != other.get(key))
        how = "; ".join(f"{key} {data.get(key)} instead of {other.get(key)}" for key in keys)
        text = f"its data were prepared differently ({how or 'their signatures differ'}). Every subject has as many "
        text += "expressions in both, so the numbers compare the two ways if the annotations were the same"
        return [Remark(run.name, text)]
    else:
        return []
    return [Remark(run.name, f"{text}: their numbers cannot be compared", ALL)]


def _chosen(data: dict[str, Any]) -> dict[str, Any]:
    return (data.get("labels") or {}).get("options") or {}


def _set(data: dict[str, Any]) -> tuple[list[str], Any]:
    """The label set: emotions, and whose they are."""
    return list(map(str, data.get("classes") or ())), _chosen(data).get("labels")


def _emotions(run: Run, first: Run) -> list[Remark]:
    """Whether both named the same emotions."""
    ours, theirs = _set(_data(run)), _set(_data(first))
    if _pair(run, first, "data.recognition"):
        taught = first.name if first.options.get("data.recognition", True) else run.name
        text = f"only {taught} was trained with emotions: recognition and detection mAP cannot be compared"
    elif ours != theirs:
        text = f"its emotions are {', '.join(ours[0])}, those of {first.name} {', '.join(theirs[0])}: recognition and "
        text += "detection mAP cannot be compared, spotting can"
    else:
        return []
    return [Remark(run.name, text, NAMED)]
