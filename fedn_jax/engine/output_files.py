"""The files of a video's detection: its network outputs, and its detections as CSV."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from fedn_jax.core import arrays, files
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Detections, VideoMeta
from fedn_jax.engine import decode

CSV_COLUMNS = ("subject", "video", "onset", "offset", "score", "emotion")
AGAIN = "remove it and start `fedn train` again, which predicts it anew"


def save(path: Path, outputs: dict[str, np.ndarray]) -> None:
    """Writes the network outputs of one video, whole or not at all.

    Args:
      path: an .npz file.
      outputs: as returned by a predictor.
    """
    with files.replacing(path) as part:
        np.savez(part, **outputs)


def load(path: Path, starts: np.ndarray, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """Reads network outputs.

    Args:
      path: an .npz file written by ``save``.
      starts: [W] first frames of the windows of that video.
      shapes: of ``predict.shapes_of_outputs``.

    Returns:
      Name -> array.

    Raises:
      UserError: the file is missing or damaged, or is not of that video.
    """
    expected = {name: ((len(starts), *leaf.shape), leaf.dtype.kind) for name, leaf in shapes.items()}
    expected["starts"] = (np.shape(starts), "i")
    outputs = arrays.load_npz(path, tuple(expected), remedy=AGAIN)
    for name, (shape, kind) in expected.items():
        if outputs[name].shape != shape or outputs[name].dtype.kind != kind:
            got = f"{outputs[name].dtype} {list(outputs[name].shape)}"
            raise UserError(f"{path}: {name} is {got}, expected {list(shape)}; {AGAIN}")
    if not np.array_equal(outputs["starts"], starts):
        raise UserError(f"{path}: is of another video, or of another version; {AGAIN}")
    return outputs


def write_csv(
    path: Path,
    metas: Sequence[VideoMeta],
    detections: Sequence[Detections],
    classes: Sequence[str],
    kinds: bool = False,
) -> None:
    """Writes detections with inclusive frame numbers, as the data set counts them.

    Args:
      path: the file; replaced whole.
      metas: V videos.
      detections: V detections, by falling score.
      classes: C names.
      kinds: the classes are kinds, of a column of their own; emotions are then not named.
    """
    with files.replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS, "kind"] if kinds else CSV_COLUMNS)
        for meta, found in zip(metas, detections, strict=True):
            edges = decode.in_file(found.interval, meta.first_frame, meta.source)
            for (onset, offset), score, emotion in zip(
                edges[found.valid], found.score[found.valid], found.emotion[found.valid], strict=True
            ):
                named = ["", classes[emotion]] if kinds else [classes[emotion]]
                writer.writerow([meta.subject, meta.video, onset, offset, f"{score:.6f}", *named])
