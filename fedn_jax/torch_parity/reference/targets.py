"""Positions and anchors of a window, what each of them should say, and intervals from outputs (decisions 9 and 10).

Times are frames in the window; intervals are half-open [onset, offset).
"""

from typing import NamedTuple

import torch

LARGEST_LOG_WIDTH = 4.0  # of a width in anchor widths, and its negative; any bound would do, the package takes this one


class Position(NamedTuple):
    """One position of the pyramid."""

    level: int  # 0 is the finest
    stride: float  # frames between positions of the level
    centre: float  # frames
    widths: tuple  # widths of its anchors, frames


def grid(settings):
    """All positions of a window, the finest level first: the order of every output.

    Args:
      settings: model.Settings.

    Returns:
      list of L Positions.
    """
    positions = []
    for level in range(len(settings.reaches)):
        stride = settings.stride * 4 * 2**level  # two blocks of stride 2 come before the finest level
        for index in range(settings.segments * settings.stride // stride):
            widths = tuple(stride * width for width in settings.anchor_widths)
            positions.append(Position(level, float(stride), stride * (index + 0.5), widths))
    return positions


def iou(a, b):
    """Intersection over union of two intervals.

    Args:
      a: (onset, offset).
      b: (onset, offset).

    Returns:
      float in [0, 1].
    """
    intersection = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - intersection
    return intersection / union


def match_anchor(anchor, events, settings):
    """The expression of highest IoU, the earlier one of equals.

    Args:
      anchor: (onset, offset).
      events: list of (onset, offset, emotion).
      settings: model.Settings.

    Returns:
      The matched event or None, and whether the anchor counts (False between the two thresholds).
    """
    best, best_iou = None, 0.0
    for event in events:
        overlap = iou(anchor, event)
        if overlap > best_iou:
            best, best_iou = event, overlap
    if best_iou > settings.positive_iou:
        return best, True
    return None, best_iou < settings.negative_iou


def match_position(position, events, settings):
    """The shortest expression around a position whose longer side lies in the level's reach, the earlier of equals.

    Args:
      position: Position.
      events: list of (onset, offset, emotion).
      settings: model.Settings.

    Returns:
      The matched event or None.
    """
    low, high = settings.reaches[position.level]
    best = None
    for event in events:
        onset, offset, _ = event
        is_around = onset <= position.centre < offset
        longer = max(position.centre - onset, offset - position.centre)
        if is_around and low <= longer < high and (best is None or offset - onset < best[1] - best[0]):
            best = event
    return best


def assign(intervals, emotions, valid, settings, classes):
    """What every interval of a window should say. Expressions are clipped to the window already.

    Args:
      intervals: [E, 2] frames in the window.
      emotions: [E] int, class.
      valid: [E] bool, False for padding.
      settings: model.Settings.
      classes: C.

    Returns:
      dict of "interval" [L, A, 2] (zero where not positive), "label" [L, A, C], "positive" and "counted" [L, A] bool;
      slot 0 is anchor-free.
    """
    intervals, emotions, valid = torch.as_tensor(intervals), torch.as_tensor(emotions), torch.as_tensor(valid)
    events = []
    for (onset, offset), emotion, is_valid in zip(intervals.tolist(), emotions.tolist(), valid.tolist(), strict=True):
        if is_valid:
            events.append((onset, offset, emotion))
    positions = grid(settings)
    shape = (len(positions), 1 + len(settings.anchor_widths))
    dtype = intervals.dtype if intervals.is_floating_point() else torch.float32
    interval = torch.zeros(*shape, 2, dtype=dtype)
    label = torch.zeros(*shape, classes, dtype=dtype)
    positive = torch.zeros(shape, dtype=torch.bool)
    counted = torch.zeros(shape, dtype=torch.bool)
    for row, position in enumerate(positions):
        matches = [(match_position(position, events, settings), True)]
        for width in position.widths:
            anchor = (position.centre - width / 2, position.centre + width / 2)
            matches.append(match_anchor(anchor, events, settings))
        for slot, (event, counts) in enumerate(matches):
            counted[row, slot] = counts
            if event is not None:
                onset, offset, emotion = event
                interval[row, slot] = torch.tensor([onset, offset], dtype=dtype)
                label[row, slot, emotion] = 1
                positive[row, slot] = True
    return {"interval": interval, "label": label, "positive": positive, "counted": counted}


def decode(offsets, free, settings):
    """Intervals from outputs.

    Args:
      offsets: [..., L, anchors, 2], centre in anchor widths and logarithm of the width in anchor widths.
      free: [..., L, 2], distances to onset and offset in strides of the level.
      settings: model.Settings.

    Returns:
      [..., L, 1 + anchors, 2] frames in the window; slot 0 is anchor-free.
    """
    positions = grid(settings)
    stride = offsets.new_tensor([position.stride for position in positions])  # [L]
    centre = offsets.new_tensor([position.centre for position in positions])  # [L]
    widths = offsets.new_tensor([position.widths for position in positions])  # [L, anchors]
    onset = centre - free[..., 0] * stride
    offset = centre + free[..., 1] * stride
    free_interval = torch.stack([onset, offset], dim=-1)[..., None, :]  # [..., L, 1, 2]
    middle = offsets[..., 0] * widths + centre[:, None]
    width = torch.exp(offsets[..., 1].clamp(-LARGEST_LOG_WIDTH, LARGEST_LOG_WIDTH)) * widths
    anchored_interval = torch.stack([middle - width / 2, middle + width / 2], dim=-1)  # [..., L, anchors, 2]
    return torch.cat([free_interval, anchored_interval], dim=-2)
