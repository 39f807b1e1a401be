"""What a stranger's file reaches: kinds of input, and the command that reads each."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from abuse import archive_mutations as archives
from abuse import checks, commands
from abuse import config_mutations as configs
from abuse import media_mutations as media
from abuse import mutations as plain
from abuse import text_mutations as texts
from abuse.mutations import Mutation


class Victim(NamedTuple):
    """Files that are broken, one at a time."""

    pattern: str  # below the working directory
    mutations: Sequence[Mutation]
    names: Sequence[str] = ()  # that a message may give instead of the file's own


class Target(NamedTuple):
    """One kind of input."""

    name: str
    share: int  # of the inputs, as many in proportion
    copies: dict[str, str]  # path below the working directory -> path below the seeds
    words: Sequence[str]
    victims: Sequence[Victim]
    whole: checks.Check
    may_write: Sequence[str] = ()  # below the working directory, beside out/
    batch: int = 1  # files that are broken at once
    seconds: float = 20.0
    inputs: Sequence[Mutation] = plain.IN_ITS_PLACE


FEATURES = commands.prepare_features("in/features", "in/sheet.csv", "out")
VIDEOS = commands.prepare_videos("in/videos", "in/sheet.csv", "out")
RUN = {"in/run": "of_features/run", "in/data": "of_features/data"}
_CUT = {"in/run": "cut/run", "in/data": "of_features/data", "in/mine.py": "configs/of_features.py"}
_TRAIN = ["train", "--config", "in/mine.py", "--data", "in/data", "--out", "in/run"]
RUN_OF_VIDEOS = {"in/run": "of_videos/run", "in/videos/one.mp4": "containers/in_mp4.mp4"}
TABLE = (*texts.TABLE, *texts.TABLE, *plain.BYTES)
WORKBOOK = (*archives.WORKBOOK, *archives.WORKBOOK, *plain.BYTES, archives.zip_bomb)
MARKED = (*texts.MARKED, *texts.MARKED, *plain.BYTES)
JSON = (*texts.JSON, *texts.JSON, *plain.BYTES)
ARRAYS = (*archives.ARRAYS, *archives.ARRAYS, *plain.BYTES, archives.zip_bomb)
_PAIR = {"in/found.csv": "predictions/found.csv", "in/truth.csv": "predictions/truth.csv"}
_SHEET = {"in/sheet.csv": "annotations/sheet.csv"}
_NUMBERS = checks.one_file("out/numbers.json", checks.strict_json)
_TABLE_OUT = checks.one_file("out/found.csv", checks.predictions)


def _convert(name: str, source: str, share: int, file: str, mutations: Sequence[Mutation]) -> Target:
    words = ["convert", f"in/{file}", "out/found.csv", "--from", name, "--fps", "30"]
    return Target(
        source, share, {f"in/{file}": f"{source}/{file}"}, words, [Victim(f"in/{file}", mutations)], _TABLE_OUT
    )


def _release(name: str, share: int) -> Target:
    words = ["verify", name, "--annotations", "in/sheet.xlsx", "--json", "out/counts.json"]
    return Target(
        f"sheet of {name}",
        share,
        {"in/sheet.xlsx": f"{name}/sheet.xlsx"},
        words,
        [Victim("in/sheet.xlsx", WORKBOOK)],
        checks.one_file("out/counts.json", checks.strict_json),
    )


def _weights(name: str, share: int, source: str, mutations: Sequence[Mutation]) -> Target:
    words = [
        "convert-backbone",
        f"in/{Path(source).name}",
        "--out",
        "out/net.safetensors",
        "--normalization",
        "half",
        "--size",
        "32",
    ]
    return Target(
        name,
        share,
        {f"in/{Path(source).name}": source},
        words,
        [Victim(f"in/{Path(source).name}", mutations)],
        checks.one_file("out/net.safetensors", checks.backbone),
    )


def _faces(name: str, share: int, victim: Victim) -> Target:
    words = ["train-backbone", "in/table.csv", "--out", "out/net.safetensors", "--aligner", "none", "--size", "32"]
    words += ["--epochs", "1", "--workers", "1"]
    written = checks.one_file("out/net.safetensors", checks.backbone)
    return Target(name, share, {"in": "faces"}, words, [victim], written, seconds=60)


_RUN_FILES = [
    Victim("in/run/run.json", JSON, ["in/run"]),
    Victim("in/run/config.json", JSON, ["in/run"]),
    Victim("in/run/metrics.json", JSON, ["in/run"]),
]
_CHECKPOINTS = Victim("in/run/checkpoints/program0/*/**/*", plain.BYTES, ["in/run", "program0"])
_NETWORKS = Victim("in/run/parameters/*", (*media.SAFETENSORS, *media.SAFETENSORS, *plain.BYTES), ["in/run"])
_EVALUATED = ["in/run/metrics.json", "in/run/report.html", "in/run/detections.csv", "in/run/candidates.csv"]

TARGETS = (
    Target(
        "CSV of predictions",
        89,
        _PAIR,
        ["evaluate", "--predictions", "in/found.csv", "--ground-truth", "in/truth.csv", "--json", "out/numbers.json"],
        [Victim("in/found.csv", TABLE), Victim("in/truth.csv", TABLE)],
        _NUMBERS,
    ),
    Target(
        "workbook of predictions",
        40,
        {"in/found.xlsx": "workbook/sheet.xlsx"},
        ["evaluate", "--predictions", "in/found.xlsx", "--ground-truth", "in/found.xlsx", "--json", "out/numbers.json"],
        [Victim("in/found.xlsx", WORKBOOK)],
        _NUMBERS,
    ),
    Target(
        "CSV of annotations",
        60,
        {"in/features": "features", **_SHEET},
        FEATURES,
        [Victim("in/sheet.csv", TABLE)],
        checks.shards("out"),
    ),
    Target(
        "workbook of annotations",
        35,
        {"in/features": "features", "in/sheet.xlsx": "workbook/sheet.xlsx"},
        commands.prepare_features("in/features", "in/sheet.xlsx", "out"),
        [Victim("in/sheet.xlsx", WORKBOOK)],
        checks.shards("out"),
    ),
    Target(
        "clip features",
        65,
        {"in/features": "features", **_SHEET},
        FEATURES,
        [Victim("in/features/*.npz", ARRAYS)],
        checks.shards("out"),
    ),
    _convert("activitynet", "activitynet", 50, "found.json", JSON),
    _convert("activitynet", "database", 15, "truth.json", JSON),
    _convert("strs", "strs", 15, "found.csv", TABLE),
    _convert("megc", "megc", 20, "found.csv", TABLE),
    _convert("elan", "elan", 30, "one.eaf", MARKED),
    _convert("srt", "srt", 15, "one.srt", MARKED),
    _convert("vtt", "vtt", 15, "one.vtt", MARKED),
    _convert("bids", "bids", 20, "one_events.tsv", TABLE),
    _release("casme2", 20),
    _release("casme3", 15),
    _release("samm", 15),
    _weights("safetensors", 50, "weights/net.safetensors", (*media.SAFETENSORS, *media.SAFETENSORS, *plain.BYTES)),
    _weights(
        ".pth",
        40,
        "checkpoint/net.pth",
        (*media.CHECKPOINT, *plain.BYTES, archives.zip_member, archives.zip_member, archives.zip_member),
    ),
    Target(
        "shards",
        60,
        {"in/data": "shards/data"},
        ["verify", "in/data", "--json", "out/counts.json"],
        [
            Victim("in/data/shards/**/*.json", JSON, ["in/data"]),
            Victim("in/data/shards/**/*.array_record*", plain.BYTES, ["in/data"]),
            Victim("in/data/shards/**/*", plain.BYTES, ["in/data"]),
        ],
        checks.one_file("out/counts.json", checks.strict_json),
    ),
    Target(
        "numbers of a run (report)",
        45,
        {"in/run": "of_features/run"},
        ["report", "in/run", "--out", "out"],
        [*_RUN_FILES, Victim("in/run/metrics/*.jsonl", plain.BYTES, ["in/run"])],
        checks.reported,
    ),
    Target(
        "outputs of a run (evaluate)",
        35,
        RUN,
        ["evaluate", "in/run", "--data", "in/data"],
        [
            Victim("in/run/outputs/*/*.npz", ARRAYS, ["in/run"]),
            *_RUN_FILES,
            Victim("in/data/shards/**/*", plain.BYTES, ["in/data"]),
        ],
        checks.evaluated,
        _EVALUATED,
    ),
    Target(
        "networks of a run (detect)",
        30,
        RUN_OF_VIDEOS,
        ["detect", "in/videos/one.mp4", "--run", "in/run", "--out", "out"],
        [
            *_RUN_FILES,
            _NETWORKS,
            Victim("in/run/backbone.safetensors", (*media.SAFETENSORS, *plain.BYTES), ["in/run"]),
        ],
        checks.found,
    ),
    Target(
        "a killed run (train)",
        12,
        _CUT,
        _TRAIN,
        [*_RUN_FILES[:2], _CHECKPOINTS, Victim("in/run/metrics/*.jsonl", plain.BYTES, ["in/run"])],
        checks.outputs,
        ["in/run/"],
    ),
    Target(
        "a finished run (train)",
        8,
        RUN | {"in/mine.py": "configs/of_features.py"},
        _TRAIN,
        [_NETWORKS, Victim("in/run/outputs/*/*.npz", ARRAYS, ["in/run"]), *_RUN_FILES[:2]],
        checks.outputs,
        ["in/run/"],
    ),
    Target(
        "own code of a run (evaluate)",
        20,
        {"in/run": "own/run", "in/data": "of_features/data"},
        ["evaluate", "in/run", "--data", "in/data", "--config", "in/run/own_code.py"],
        [
            Victim("in/run/own_code.json", JSON, ["in/run"]),
            Victim("in/run/own_code.py", (*configs.PROGRAM, *plain.BYTES), ["in/run"]),
        ],
        checks.evaluated,
        _EVALUATED,
    ),
    Target(
        "a kept state (train, more epochs)",
        6,
        {"in/run": "kept/run", "in/data": "of_features/data", "in/mine.py": "configs/of_features.py"},
        [*_TRAIN, "--config.train.epochs=2"],
        [_CHECKPOINTS, _NETWORKS, *_RUN_FILES[:2]],
        checks.outputs,
        ["in/run/"],
    ),
    _faces("table of labelled pictures", 10, Victim("in/table.csv", (*texts.TABLE, *plain.BYTES))),
    _faces("labelled pictures", 4, Victim("in/all/*/*/*", (*media.PICTURE, *plain.BYTES))),
    Target(
        "cache",
        25,
        {"in/data": "of_videos/data", "in/healthy": "shards_of_videos", "in/videos": "videos", **_SHEET},
        commands.prepare_videos("in/videos", "in/sheet.csv", "in/data"),
        [
            Victim("in/data/cache/*.npz", ARRAYS, ["in/data"]),
            Victim("in/data/prepare.json", JSON, ["in/data"]),
            Victim("in/data/backbone.safetensors", plain.BYTES, ["in/data"]),
            Victim("in/data/shards/**/*", plain.BYTES, ["in/data"]),
        ],
        checks.same_shards,
        ["in/data/"],
    ),
    Target(
        "configurations",
        40,
        {"in/mine.py": "configs/of_features.py"},
        ["configs", "in/mine.py"],
        [Victim("in/mine.py", (*configs.PROGRAM, *plain.BYTES))],
        checks.nothing,
    ),
    Target(
        "pictures",
        30,
        {"in/videos": "pictures", **_SHEET},
        VIDEOS,
        [Victim("in/videos/*/*", (*media.PICTURE, *plain.BYTES), ["_v1"])],
        checks.shards("out"),
    ),
    Target(
        "OpenFace",
        30,
        {"in/videos": "openface", **_SHEET},
        commands.prepare_videos("in/videos", "in/sheet.csv", "out", aligner="openface"),
        [
            Victim("in/videos/*.csv", TABLE, ["_v1"]),
            Victim("in/videos/*/*.bmp", (*media.PICTURE, *plain.BYTES), ["_v1"]),
        ],
        checks.shards("out"),
    ),
    Target(
        "videos (prepare)",
        30,
        {"in/videos": "videos", **_SHEET},
        VIDEOS,
        [Victim("in/videos/*", (*media.VIDEO, *media.WHOLE_VIDEO, *plain.BYTES))],
        checks.shards("out"),
    ),
    Target(
        "videos (detect)",
        126,
        {"in/run": "of_videos/run", "in/videos": "containers"},
        ["detect", "in/videos/*", "--run", "in/run", "--out", "out"],
        [Victim("in/videos/*", (*plain.BYTES, *plain.BYTES, *media.WHOLE_VIDEO))],
        checks.found,
        batch=7,
        seconds=60,
    ),
)
