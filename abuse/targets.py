"""What a stranger's file reaches: kinds of input, the command that reads each, and what must be left behind."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from abuse import media_mutations as media
from abuse import mutations as plain
from abuse import seeds
from abuse.mutations import Mutation

Check = Callable[[int], Sequence[str]]  # exit code -> what is not whole; called in the working directory


class Victim(NamedTuple):
    """Files that are broken, one at a time."""

    pattern: str  # below the working directory
    mutations: Sequence[Mutation]
    names: Sequence[str] = ()  # that a message may give instead of the file's own


class Target(NamedTuple):
    """One kind of input."""

    name: str
    share: int  # of 1,000 inputs
    copies: dict[str, str]  # path below the working directory -> path below the seeds
    words: Sequence[str]
    victims: Sequence[Victim]
    whole: Check
    may_write: Sequence[str] = ()  # below the working directory, beside out/
    batch: int = 1  # files that are broken at once
    seconds: float = 20.0
    inputs: Sequence[Mutation] = plain.IN_ITS_PLACE


def nothing(code: int) -> list[str]:
    """Nothing is written.

    Args:
      code: exit code.

    Returns:
      Nothing.
    """
    return []


def _leftovers() -> list[str]:
    return [f"left behind: {path}" for path in Path("out").rglob(".part-*")]


def one_file(name: str, read: Callable[[Path], object]) -> Check:
    """One file that is there and whole, or not there.

    Args:
      name: of the file.
      read: reads it and raises what it likes.

    Returns:
      The check.
    """

    def check(code: int) -> list[str]:
        path = Path(name)
        if code == 0:
            read(path)
        return [f"{name} is there, but the command failed"] * (code != 0 and path.exists()) + _leftovers()

    return check


def strict_json(path: Path) -> object:
    """Reads JSON as other programs do.

    Args:
      path: the file.

    Returns:
      Its content.

    Raises:
      ValueError: not JSON, or with NaN.
    """

    def constant(name: str) -> None:
        raise ValueError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=constant)


def _predictions(path: Path) -> object:
    from fedn_jax.formats import predictions

    return predictions.read(path, "predictions")


def _shards(directory: str) -> Check:
    def check(code: int) -> list[str]:
        from fedn_jax.data import shards

        if code == 0 or Path(directory, "shards").exists():
            shards.load(directory)
        return _leftovers()

    return check


def _same_shards(code: int) -> list[str]:
    """Damage of a cache must not reach the shards."""
    import numpy as np

    from fedn_jax.data import shards

    if code:
        return _leftovers()
    got, healthy = shards.load("in/data"), shards.load("in/healthy")
    same = np.array_equal(got.store.inputs, healthy.store.inputs) and np.array_equal(got.store.valid, healthy.store.valid)
    return [] if same else ["the shards differ from those of a whole cache"]


def _backbone(path: Path) -> object:
    from data_prep.backbones import embed

    return embed.load_backbone(path)


def _evaluated(code: int) -> list[str]:
    if code == 0:
        strict_json(Path("in/run/metrics.json"))
        return [f"{name} is missing" for name in ("report.html", "detections.csv") if not Path("in/run", name).exists()]
    return []


def _reported(code: int) -> list[str]:
    pages = list(Path("out").glob("*.html")) if Path("out").is_dir() else []
    return ["no page"] if code == 0 and not any(Path("out").iterdir()) else [f"{one} is empty" for one in pages if not one.stat().st_size]


def _outputs(code: int) -> list[str]:
    """A finished training left whole outputs."""
    import numpy as np

    if code == 0:
        for path in Path("in/run/outputs").rglob("*.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays:
                    arrays[name]
    return []


def _found(code: int) -> list[str]:
    """Of every video all files, or none."""
    bad = _leftovers()
    tables = [path.with_suffix("") for path in Path("out").glob("*.csv")]
    for one in tables:
        others = [one.with_name(f"{one.name}.{suffix}") for suffix in ("eaf", "vtt", "json", "html")]
        bad += [f"{path} is missing" for path in others if not path.exists()]
    for path in Path("out").glob("*.json"):
        strict_json(path)
    if code == 0 and len(tables) != len(list(Path("in/videos").iterdir())):
        bad.append(f"{len(tables)} results")
    return bad


FEATURES = seeds.prepare_features("in/features", "in/sheet.csv", "out")
VIDEOS = seeds.prepare_videos("in/videos", "in/sheet.csv", "out")
RUN = {"in/run": "of_features/run", "in/data": "of_features/data"}
RUN_OF_VIDEOS = {"in/run": "of_videos/run", "in/videos/one.mp4": "containers/in_mp4.mp4"}
TABLE = (*plain.TABLE, *plain.TABLE, *plain.BYTES)
WORKBOOK = (*plain.WORKBOOK, *plain.WORKBOOK, *plain.BYTES, plain.zip_bomb)
JSON = (*plain.JSON, *plain.JSON, *plain.BYTES)
ARRAYS = (*plain.ARRAYS, *plain.ARRAYS, *plain.BYTES, plain.zip_bomb)
_PAIR = {"in/found.csv": "predictions/found.csv", "in/truth.csv": "predictions/truth.csv"}
_SHEET = {"in/sheet.csv": "annotations/sheet.csv"}
_NUMBERS = one_file("out/numbers.json", strict_json)
_TABLE_OUT = one_file("out/found.csv", _predictions)


def _convert(name: str, source: str, share: int, file: str, mutations: Sequence[Mutation]) -> Target:
    words = ["convert", f"in/{file}", "out/found.csv", "--from", name, "--fps", "30"]
    return Target(source, share, {f"in/{file}": f"{source}/{file}"}, words, [Victim(f"in/{file}", mutations)], _TABLE_OUT)


def _release(name: str, share: int) -> Target:
    words = ["verify", name, "--annotations", "in/sheet.xlsx", "--json", "out/counts.json"]
    return Target(f"sheet of {name}", share, {"in/sheet.xlsx": f"{name}/sheet.xlsx"}, words, [Victim("in/sheet.xlsx", WORKBOOK)],
                  one_file("out/counts.json", strict_json))  # fmt: skip


def _weights(name: str, share: int, source: str, mutations: Sequence[Mutation]) -> Target:
    words = ["convert-backbone", f"in/{Path(source).name}", "--out", "out/net.safetensors", "--normalization", "half", "--size", "32"]
    return Target(name, share, {f"in/{Path(source).name}": source}, words, [Victim(f"in/{Path(source).name}", mutations)],
                  one_file("out/net.safetensors", _backbone))  # fmt: skip


_RUN_FILES = [
    Victim("in/run/run.json", JSON, ["in/run"]), Victim("in/run/config.json", JSON, ["in/run"]), Victim("in/run/metrics.json", JSON, ["in/run"]),
]  # fmt: skip
_CHECKPOINTS = Victim("in/run/checkpoints/program0/2/*/**/*", plain.BYTES, ["in/run", "program0"])
_EVALUATED = ["in/run/metrics.json", "in/run/report.html", "in/run/detections.csv", "in/run/candidates.csv"]

TARGETS = (
    Target("CSV of predictions", 89, _PAIR,
           ["evaluate", "--predictions", "in/found.csv", "--ground-truth", "in/truth.csv", "--json", "out/numbers.json"],
           [Victim("in/found.csv", TABLE), Victim("in/truth.csv", TABLE)], _NUMBERS),
    Target("workbook of predictions", 40, {"in/found.xlsx": "workbook/sheet.xlsx"},
           ["evaluate", "--predictions", "in/found.xlsx", "--ground-truth", "in/found.xlsx", "--json", "out/numbers.json"],
           [Victim("in/found.xlsx", WORKBOOK)], _NUMBERS),
    Target("CSV of annotations", 60, {"in/features": "features", **_SHEET}, FEATURES, [Victim("in/sheet.csv", TABLE)], _shards("out")),
    Target("workbook of annotations", 35, {"in/features": "features", "in/sheet.xlsx": "workbook/sheet.xlsx"},
           seeds.prepare_features("in/features", "in/sheet.xlsx", "out"), [Victim("in/sheet.xlsx", WORKBOOK)], _shards("out")),
    Target("clip features", 65, {"in/features": "features", **_SHEET}, FEATURES, [Victim("in/features/*.npz", ARRAYS)], _shards("out")),
    _convert("activitynet", "activitynet", 50, "found.json", JSON),
    _convert("activitynet", "database", 15, "truth.json", JSON),
    _convert("strs", "strs", 15, "found.csv", TABLE),
    _convert("megc", "megc", 20, "found.csv", TABLE),
    _release("casme2", 20), _release("casme3", 15), _release("samm", 15),
    _weights("safetensors", 50, "weights/net.safetensors", (*media.SAFETENSORS, *media.SAFETENSORS, *plain.BYTES)),
    _weights(".pth", 40, "checkpoint/net.pth", (*media.CHECKPOINT, *plain.BYTES, plain.zip_member, plain.zip_member, plain.zip_member)),
    Target("shards", 60, {"in/data": "shards/data"}, ["verify", "in/data", "--json", "out/counts.json"],
           [Victim("in/data/shards/**/*.json", JSON, ["in/data"]), Victim("in/data/shards/**/*.array_record*", plain.BYTES, ["in/data"]),
            Victim("in/data/shards/**/*", plain.BYTES, ["in/data"])], one_file("out/counts.json", strict_json)),
    Target("run: numbers (report)", 45, {"in/run": "of_features/run"}, ["report", "in/run", "--out", "out"],
           [*_RUN_FILES, Victim("in/run/metrics.jsonl", plain.BYTES, ["in/run"])], _reported),
    Target("run: outputs (evaluate)", 35, RUN, ["evaluate", "in/run", "--data", "in/data"],
           [Victim("in/run/outputs/*/*.npz", ARRAYS, ["in/run"]), *_RUN_FILES, Victim("in/data/shards/**/*", plain.BYTES, ["in/data"])],
           _evaluated, _EVALUATED),
    Target("run: networks (detect)", 30, RUN_OF_VIDEOS, ["detect", "in/videos/one.mp4", "--run", "in/run", "--out", "out"],
           [*_RUN_FILES, _CHECKPOINTS, Victim("in/run/backbone.safetensors", (*media.SAFETENSORS, *plain.BYTES), ["in/run"])], _found),
    Target("run: resumed (train)", 20, RUN | {"in/mine.py": "configs/of_features.py"},
           ["train", "--config", "in/mine.py", "--data", "in/data", "--out", "in/run"],
           [*_RUN_FILES[:2], _CHECKPOINTS, Victim("in/run/metrics.jsonl", plain.BYTES, ["in/run"]),
            Victim("in/run/outputs/*/*.npz", ARRAYS, ["in/run"])], _outputs, ["in/run/"]),
    Target("cache", 25, {"in/data": "of_videos/data", "in/healthy": "shards_of_videos", "in/videos": "videos", **_SHEET},
           seeds.prepare_videos("in/videos", "in/sheet.csv", "in/data"),
           [Victim("in/data/cache/*.npz", ARRAYS, ["in/data"]), Victim("in/data/prepare.json", JSON, ["in/data"]),
            Victim("in/data/backbone.safetensors", plain.BYTES, ["in/data"]), Victim("in/data/shards/**/*", plain.BYTES, ["in/data"])],
           _same_shards, ["in/data/"]),
    Target("configurations", 40, {"in/mine.py": "configs/of_features.py"}, ["configs", "in/mine.py"],
           [Victim("in/mine.py", (*media.PROGRAM, *plain.BYTES))], nothing),
    Target("pictures", 30, {"in/videos": "pictures", **_SHEET}, VIDEOS, [Victim("in/videos/*/*", (*media.PICTURE, *plain.BYTES), ["_v1"])], _shards("out")),
    Target("OpenFace", 30, {"in/videos": "openface", **_SHEET}, seeds.prepare_videos("in/videos", "in/sheet.csv", "out", aligner="openface"),
           [Victim("in/videos/*.csv", TABLE, ["_v1"]), Victim("in/videos/*/*.bmp", (*media.PICTURE, *plain.BYTES), ["_v1"])], _shards("out")),
    Target("videos (prepare)", 30, {"in/videos": "videos", **_SHEET}, VIDEOS, [Victim("in/videos/*", (*media.VIDEO, *media.WHOLE_VIDEO, *plain.BYTES))],
           _shards("out")),
    Target("videos (detect)", 126, {"in/run": "of_videos/run", "in/videos": "containers"}, ["detect", "in/videos/*", "--run", "in/run", "--out", "out"],
           [Victim("in/videos/*", (*plain.BYTES, *plain.BYTES, *media.WHOLE_VIDEO))], _found, batch=7, seconds=60),
)  # fmt: skip
