"""What must lie there after a command: whole, or not at all. Called in its working directory, in its process."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

Check = Callable[[int], Sequence[str]]  # exit code -> what is not whole


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


def predictions(path: Path) -> object:
    from fedn_jax.formats import predictions

    return predictions.read(path, "predictions")


def shards(directory: str) -> Check:
    def check(code: int) -> list[str]:
        from fedn_jax.data import shards

        if code == 0 or Path(directory, "shards").exists():
            shards.load(directory)
        return _leftovers()

    return check


def same_shards(code: int) -> list[str]:
    """Damage of a cache must not reach the shards."""
    import numpy as np

    from fedn_jax.data import shards

    if code:
        return _leftovers()
    got, healthy = shards.load("in/data"), shards.load("in/healthy")
    same = np.array_equal(got.store.inputs, healthy.store.inputs) and np.array_equal(
        got.store.valid, healthy.store.valid
    )
    return [] if same else ["the shards differ from those of a whole cache"]


def backbone(path: Path) -> object:
    from data_prep.backbones import embed

    return embed.load_backbone(path)


def evaluated(code: int) -> list[str]:
    if code == 0:
        strict_json(Path("in/run/metrics.json"))
        return [f"{name} is missing" for name in ("report.html", "detections.csv") if not Path("in/run", name).exists()]
    return []


def reported(code: int) -> list[str]:
    pages = list(Path("out").glob("*.html")) if Path("out").is_dir() else []
    return (
        ["no page"]
        if code == 0 and not any(Path("out").iterdir())
        else [f"{one} is empty" for one in pages if not one.stat().st_size]
    )


def outputs(code: int) -> list[str]:
    """A finished training left whole outputs."""
    import numpy as np

    if code == 0:
        for path in Path("in/run/outputs").rglob("*.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays:
                    arrays[name]
    return []


def found(code: int) -> list[str]:
    """Of every video all files, or none."""
    bad = _leftovers()
    tables = [path.with_suffix("") for path in Path("out").glob("*.csv") if not path.name.endswith("_frames.csv")]
    tables = [path for path in tables if path.name != "detections"]
    for one in tables:
        others = [one.with_name(f"{one.name}.{suffix}") for suffix in ("eaf", "vtt", "json", "html")]
        bad += [f"{path} is missing" for path in others if not path.exists()]
    for path in Path("out").glob("*.json"):
        strict_json(path)
    if code == 0 and len(tables) != len([one for one in Path("in/videos").iterdir() if one.suffix != ".dat"]):
        bad.append(f"{len(tables)} results")
    return bad
