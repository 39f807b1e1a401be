"""Candidates of a video before NMS: made on the device, cut to those that can matter, kept for whole folds."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Detections, Task
from fedn_jax.engine.output_files import AGAIN
from fedn_jax.engine.predict import Predicted
from fedn_jax.ops import nms

KEPT = ("interval", "score", "emotion")  # columns of a candidate
STRONGEST = 1000  # candidates of a video that are kept where its network outputs are not


def make_reducer(task: Task, rule: nms.Rule) -> Callable[[Predicted, int], tuple[Detections, Detections]]:
    """Network outputs of one video -> its candidates and which of them survive NMS, on the device that has them.

    Args:
      task: the model.
      rule: of suppression.

    Returns:
      reduce(predicted, num_frames) -> (candidates [N], survivors [max_detections] with the scores that they had
      before); not waited for.
    """
    join = jax.jit(lambda parts: {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]})

    @jax.jit
    def program(outputs: dict[str, Array], starts: Array, valid: Array, num_frames: Array):
        candidates = task.decode(outputs, starts, valid, num_frames)
        index, keep, _ = nms.survivors(candidates, rule)
        return candidates, Detections(*(column[index] for column in candidates[:3]), keep)

    def reduce(predicted: Predicted, num_frames: int) -> tuple[Detections, Detections]:
        outputs, count = join(predicted.outputs), len(predicted.starts)
        first = next(iter(outputs.values()))
        (device,), size = first.devices(), len(first)
        starts = np.pad(predicted.starts, (0, size - count)).astype(np.float32)
        rest = jax.device_put((starts, np.arange(size) < count, np.float32(num_frames)), device)
        return program(outputs, *rest)

    return reduce


def strongest(candidates: Detections, survivors: Detections, number: int = STRONGEST) -> tuple[Detections, float]:
    """The candidates that can matter: those with the highest scores, and all that survive NMS.

    NMS with the same options keeps the same of them. With other options it keeps the same down to the returned score.

    Args:
      candidates: [N] of one video.
      survivors: of them.
      number: of the highest scores.

    Returns:
      (those candidates, in the order of the list; the score below which some are missing, 0 where none is).
    """
    candidates, survivors = jax.device_get((candidates, survivors))
    valid = np.flatnonzero(candidates.valid)
    if len(valid) <= number:
        return Detections(*(column[valid] for column in candidates)), 0.0
    ranked = valid[np.argsort(-candidates.score[valid], kind="stable")]
    floor = candidates.score[ranked[number - 1]]
    weak = survivors.score[survivors.valid & (survivors.score <= floor)]  # equal ones may have been cut
    chosen = np.zeros(len(candidates.valid), bool)
    chosen[ranked[:number]] = True
    chosen |= candidates.valid & np.isin(candidates.score, weak)
    return Detections(*(column[chosen] for column in candidates)), float(floor)


def save(path: Path, videos: Sequence[Detections], floors: Sequence[float]) -> None:
    """Writes the candidates of the test videos of one fold, whole or not at all.

    Args:
      path: an .npz file.
      videos: of each test video of the fold.
      floors: of each, the score below which some are missing.
    """
    columns = {name: np.concatenate([getattr(found, name) for found in videos]) for name in KEPT}
    counts = np.array([len(found.score) for found in videos], np.int32)
    with files.replacing(path) as part:
        np.savez(part, **columns, counts=counts, floors=np.array(floors, np.float32))


def load(path: Path, videos: int) -> tuple[list[Detections], np.ndarray]:
    """Reads the candidates of one fold.

    Args:
      path: an .npz file written by ``save``.
      videos: V, test videos of the fold.

    Returns:
      (of each test video, [N] each; [V] float32, the scores below which some are missing).

    Raises:
      UserError: the file is missing or damaged, or is not of these videos.
    """
    found = arrays.load_npz(path, (*KEPT, "counts", "floors"), remedy=AGAIN)
    counts, floors = found["counts"], found["floors"]
    shapes = {"interval": (len(found["score"]), 2), "emotion": found["score"].shape, "floors": (videos,)}
    whole = counts.shape == (videos,) and (counts >= 0).all() and counts.sum() == len(found["score"])
    kinds = "".join(found[name].dtype.kind for name in (*KEPT, "counts", "floors"))
    if not whole or kinds != "ffiif" or any(found[name].shape != shape for name, shape in shapes.items()):
        raise UserError(f"{path}: its arrays do not fit one another, or {videos} videos; {AGAIN}")
    columns = [np.split(found[name], np.cumsum(counts)[:-1]) for name in KEPT]
    return [Detections(*row, np.ones(len(row[0]), bool)) for row in zip(*columns, strict=True)], floors


@functools.partial(jax.jit, static_argnames=("rule",))
def _suppress(candidates: Detections, rule: nms.Rule) -> Detections:
    return nms.suppress(candidates, rule)


def suppress(candidates: Detections, rule: nms.Rule) -> Detections:
    """NMS of one video's candidates, padded so that few sizes compile.

    Args:
      candidates: [N] (NumPy).
      rule: of suppression.

    Returns:
      [max_detections] detections by falling score (NumPy).
    """
    size = STRONGEST * max(1, -(-len(candidates.score) // STRONGEST))
    return jax.device_get(_suppress(nms.pad(candidates, size), rule))
