"""What the shards say of a video, wherever its features come from."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.sheets import annotations
from data_prep.sheets.annotations import VideoItem
from fedn_jax.core import schema


def signed(item: VideoItem) -> tuple:
    """What the shards say of a video.

    Args:
      item: the video.

    Returns:
      Names, events and times, as JSON can say them.
    """
    columns = (item.subject, item.video, item.events.tolist(), item.cut.tolist())
    return columns if item.seconds is None else (*columns, item.seconds.tolist())


def _nearest(source: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Index of the entry of ``source`` (rising) that is nearest to each frame; a tie goes to the later one."""
    after = np.clip(np.searchsorted(source, frames, "left"), 0, len(source) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(frames - source[before]) < np.abs(source[after] - frames), before, after)


def record(item: VideoItem, content: Mapping[str, Any], first_frame: int) -> dict[str, Any]:
    """A record of a shard; expressions are moved to the frames that were kept, and cut at the video's end.

    Args:
      item: the video.
      content: fps, source [T], num_source, inputs, valid and flow, as in a cache file.
      first_frame: the number that the sheet gives to the first frame.

    Returns:
      The fields of ``schema.FIELDS``.
    """
    fps, source = float(content["fps"]), content["source"]
    events = item.events[item.events[:, 0] < int(content["num_source"])]
    if len(events):
        onset, apex = (_nearest(source, column) for column in (events[:, 0], events[:, 1]))
        last = np.maximum(len(source) - 1 - _nearest(-source[::-1], 1 - events[:, 2]), onset)
        events[:, 1] = np.where(events[:, 1] < 0, -1, np.clip(apex, onset, last))
        events[:, 0], events[:, 2] = onset, last + 1
    return {
        "subject": item.subject,
        "video": item.video,
        "num_frames": np.int32(len(source)),
        "fps": np.float32(fps),
        "first_frame": np.int32(first_frame),
        "inputs": content["inputs"],
        "valid": content["valid"],
        "flow": content["flow"],
        "source": source,
        "events": annotations.resolve_kinds(events.astype(np.int32), fps),
    } | {name: content[name] for name in schema.FRAME_FIELDS if name in content}
