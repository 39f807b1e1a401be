"""Level 8: from outputs to detections, the same ones in the same order."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from fedn_jax.core.types import Detections
from fedn_jax.engine import decode
from fedn_jax.ops import nms
from fedn_jax.torch_parity import cases, measure
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.measure import Difference, Level

TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
CASES = ((0.01, 30, False), (0.3, 60, False), (0.5, 400, True))  # IoU of the suppression, most detections, per class


def draw(pair: cases.Pair, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Random outputs of a video's windows, with equal scores and with intervals that lie outside the video.

    Args:
      pair: the networks.
      rng: of all that is random.
      count: windows.

    Returns:
      "offsets", "free", "logits", "positions" and "starts", float32.
    """
    positions, slots = len(networks.grid(pair).centre), len(pair.config.anchors.widths)
    channels = pair.classes + (pair.config.model.scoring == "confidence")
    logits = rng.normal(size=(count, positions, slots + 1, channels)).astype(np.float32)
    logits[::2] = logits[:1]  # half of the windows score alike
    offsets = rng.normal(size=(count, positions, slots, 2)).astype(np.float32)
    offsets[0, 0, 0, 1], offsets[0, 1, 0, 1] = 9, -9  # beyond what a width may change by
    return {
        "offsets": offsets, "free": 2 * rng.random((count, positions, 2)).astype(np.float32), "logits": logits,
        "positions": rng.random((count, positions)) < 0.9, "starts": np.arange(count, dtype=np.int32) * 16 - 16,
    }  # fmt: skip


def ours(pair: cases.Pair, outputs: Mapping[str, Any], num_frames: int, dtype: str, options: tuple) -> Detections:
    """Our detections of one video.

    Args:
      pair: the networks.
      outputs: as a predictor saves them.
      num_frames: of the video.
      dtype: float32 or float64.
      options: (IoU of the suppression, most detections, per class).

    Returns:
      Detections, without padding.
    """
    with jax.enable_x64(dtype == "float64"):
        found = decode.make_decoder(pair.task, nms.Rule(*options), chunk=1)(
            networks.cast(dict(outputs), dtype), num_frames
        )
    return Detections(*(np.asarray(column)[found.valid] for column in found))


def theirs(pair: cases.Pair, outputs: Mapping[str, Any], num_frames: int, dtype: str, options: tuple) -> Detections:
    """The reference's detections of one video.

    Args:
      pair: the networks.
      outputs: as a predictor saves them.
      num_frames: of the video.
      dtype: float32 or float64.
      options: (IoU of the suppression, most detections, per class).

    Returns:
      Detections, without padding.
    """
    import torch

    from fedn_jax.torch_parity.reference import detection

    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in networks.cast(dict(outputs), dtype).items()}
    found = detection.detect(tensors, tensors.pop("starts"), num_frames, pair.settings, *options)
    interval, score, emotion = (column.numpy() for column in found)
    return Detections(interval, score, emotion, np.ones(len(score), bool))


def compare(name: str, one: Detections, two: Detections) -> list[Difference]:
    """Differences of two lists of detections, one by one.

    Args:
      name: of the case.
      one: ours.
      two: the reference's.

    Returns:
      Number, emotions, scores, intervals; frames in units of the longest interval. An infinite difference where the
      reference detects nothing, since two empty lists say nothing.
    """
    found = [measure.difference(f"number ({name})", len(one.score), len(two.score), 1e-9)]
    if not len(two.score):
        found.append(Difference(f"nothing is detected ({name})", np.inf, np.inf))
    if len(one.score) == len(two.score):
        found.append(measure.difference(f"emotions ({name})", one.emotion, two.emotion, 1e-9))
        found.append(measure.difference(f"scores ({name})", one.score, two.score))
        found.append(measure.difference(f"intervals ({name})", one.interval, two.interval))
    return found


def run(precisions: tuple[str, ...] = ("float32", "float64"), windows: int = 12) -> Iterator[Level]:
    """Random outputs through both decoders and suppressions.

    Args:
      precisions: of float32, float64.
      windows: of the video.

    Yields:
      One line per precision.
    """
    for dtype in precisions:
        found, number = [], 0
        for scoring in ("binary", "confidence"):
            pair = cases.make(cases.configure({"model.scoring": scoring}))
            outputs = draw(pair, np.random.default_rng(4), windows)
            for options in CASES:
                one, two = (side(pair, outputs, windows * 16 + 21, dtype, options) for side in (ours, theirs))
                found += compare(f"{scoring}, IoU {options[0]}, {options[1]} at most", one, two)
                number += len(two.score)
        note = f"{number} detections, equal scores among them; numbers and emotions must be equal"
        yield measure.judge("8 detections", "random outputs", dtype, TOLERANCES[dtype], found, note)
