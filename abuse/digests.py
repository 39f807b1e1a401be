"""What a command made, as a checksum that leaves out times, paths and versions; and nothing half-done beside it."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOLATILE = {"versions", "command", "plan", "seconds", "time", "started", "fedn_jax"}  # keys of JSON
_VOLATILE = re.compile(rb'DATE="[^"]*"|MEDIA_URL="file:[^"]*"|\d{4}-\d\d-\d\dT[\d:.+-]+|urn:[\w:-]+')


def _add(digest: Any, name: str, value: Any) -> None:
    array = np.asarray(value)
    content = repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
    digest.update(f"{name} {array.dtype} {array.shape}".encode() + content)


def _add_tensors(digest: Any, path: Path) -> None:
    """Of a .safetensors file, whose header may have any order."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        digest.update(json.dumps(file.metadata(), sort_keys=True).encode())
        for name in sorted(file.keys()):
            _add(digest, f"{path.name} {name}", file.get_tensor(name))


def data(directory: Path) -> str:
    """Of prepared data.

    Args:
      directory: the --out of `fedn prepare`.

    Returns:
      The checksum; "absent" before it is finished.
    """
    from fedn_jax.data import shards

    if not (directory / "shards").exists():
        return "absent"
    loaded, digest = shards.load(directory), hashlib.sha256()
    for name, column in zip(("inputs", "valid"), loaded.store, strict=True):
        _add(digest, name, column)
    _add(digest, "flow", loaded.flow)
    for meta, events in zip(loaded.metas, loaded.events, strict=True):
        digest.update(repr(meta).encode())
        for name, column in events._asdict().items():
            _add(digest, name, column)
    digest.update(json.dumps(loaded.metadata, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def run(directory: Path) -> str:
    """Of a training: the networks, the outputs, the losses, the configuration.

    Args:
      directory: of the run.

    Returns:
      The checksum; "absent" before it is finished.
    """
    outputs = sorted(directory.glob("outputs/*/*.npz"))
    if not outputs:
        return "absent"
    digest = hashlib.sha256((directory / "config.json").read_bytes())
    for path in outputs:
        with np.load(path, allow_pickle=False) as arrays:
            for name in sorted(arrays):
                _add(digest, f"{path.relative_to(directory)} {name}", arrays[name])
    for path in sorted(directory.glob("parameters/*.safetensors")):
        _add_tensors(digest, path)
    for path in sorted(directory.glob("metrics/*.jsonl")):
        for line in path.read_text().splitlines():
            digest.update(_stable(json.loads(line)))
    return digest.hexdigest()[:16]


def _stable(value: Any) -> bytes:
    """JSON without what differs between two calls."""

    def clean(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: clean(inner) for key, inner in one.items() if key not in VOLATILE}
        return [clean(inner) for inner in one] if isinstance(one, list) else one

    return json.dumps(clean(value), sort_keys=True).encode()


def files(*patterns: str) -> Callable[[Path], str]:
    """Of files with text.

    Args:
      *patterns: below the directory.

    Returns:
      directory -> the checksum; "absent" where there is none.
    """

    def of(directory: Path) -> str:
        paths = sorted({path for pattern in patterns for path in directory.glob(pattern) if path.name[0] != "."})
        digest = hashlib.sha256()
        for path in paths:
            content = path.read_bytes()
            content = _stable(json.loads(content)) if path.suffix == ".json" else _VOLATILE.sub(b"", content)
            digest.update(str(path.relative_to(directory)).encode() + content)
        return digest.hexdigest()[:16] if paths else "absent"

    return of


def search(directory: Path) -> str:
    """Of a sweep: what every trial that was done tried and scored, in any order, and the best.

    A trial that a kill cut stays on the list as failed, beside the one that does it again.

    Args:
      directory: the --out of `fedn sweep`.

    Returns:
      The checksum; "absent" before it is finished.
    """
    if not (directory / "sweep.json").exists():
        return "absent"
    trials = json.loads((directory / "sweep.json").read_text())["trials"]
    trials = [one for one in trials if one["state"] in ("complete", "pruned")]
    kept = sorted(json.dumps([one["params"], one["state"], one["score"]], sort_keys=True) for one in trials)
    lines = [line for line in (directory / "best.py").read_text().splitlines() if not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16] + str(len(lines))


def trials(directory: Path) -> str:
    """Of a sweep that two commands share: they propose in another order, but do not more than was asked for.

    Args:
      directory: the --out of `fedn sweep`.

    Returns:
      How many trials were done; "absent" before it is finished.
    """
    if not (directory / "best.py").exists():
        return "absent"
    states = [one["state"] for one in json.loads((directory / "sweep.json").read_text())["trials"]]
    return f"{sum(state in ('complete', 'pruned') for state in states)} of {len(states)} trials done"


def backbone(directory: Path) -> str:
    """Of a file of weights; the order of what it says about itself may differ.

    Args:
      directory: in which net.safetensors lies.

    Returns:
      The checksum; "absent" where there is none.
    """
    path, digest = directory / "net.safetensors", hashlib.sha256()
    if not path.exists():
        return "absent"
    _add_tensors(digest, path)
    return digest.hexdigest()[:16]


def leftovers(directory: Path, whole: Path) -> list[str]:
    """What a finished command must not leave.

    Args:
      directory: where it worked.
      whole: where commands worked that were left alone; what lies there, too, is none.

    Returns:
      Names of files and folders that were being written.
    """
    ended = (".new", ".raw", ".tmp", ".problem")
    being_written = lambda name: name.startswith(".part-") or name.endswith(ended) or "orbax-checkpoint-tmp" in name
    found = [path.relative_to(directory) for path in directory.rglob("*") if being_written(path.name)]
    names = sorted(map(str, found))
    return [name for name in names if not (whole / name).exists()]
