"""From the outputs of a video's windows to its detections (FEDN section 3, Post-processing)."""

import torch

from fedn_jax.torch_parity.reference import targets


def scores_of(logits, scoring):
    """Score and class of every interval.

    "binary": the highest class probability. "confidence": the probability of the extra, first output ranks; the class
    is the likeliest of the others.

    Args:
      logits: [..., channels].
      scoring: "binary" or "confidence".

    Returns:
      [...] scores in [0, 1] and [...] classes; of equal classes the first.
    """
    if scoring == "confidence":
        return torch.sigmoid(logits[..., 0]), logits[..., 1:].argmax(dim=-1)
    if scoring == "binary":
        return torch.sigmoid(logits.max(dim=-1).values), logits.argmax(dim=-1)
    raise ValueError(f"scoring must be binary or confidence; got {scoring!r}")


def candidates(outputs, starts, num_frames, settings):
    """All intervals of a video's windows, clipped to the video; in the order of windows, positions, slots.

    Args:
      outputs: dict of model.Fedn, [W, ...].
      starts: [W] int, first frames of the windows in the video.
      num_frames: frames of the video.
      settings: model.Settings.

    Returns:
      Interval [N, 2] in frames of the video, score [N], emotion [N]; without positions past the video's end and without
      intervals that have no frame in the video.
    """
    interval = targets.decode(outputs["offsets"], outputs["free"], settings)  # [W, L, A, 2]
    score, emotion = scores_of(outputs["logits"], settings.scoring)  # [W, L, A]
    starts = torch.as_tensor(starts).to(interval.dtype)
    interval = (interval + starts[:, None, None, None]).clamp(min=0, max=num_frames)
    keep = outputs["positions"][:, :, None] & (interval[..., 1] > interval[..., 0])
    return interval[keep], score[keep], emotion[keep]


def nms(interval, score, emotion, nms_iou, max_detections, per_class):
    """Greedy non-maximum suppression.

    Args:
      interval: [N, 2].
      score: [N].
      emotion: [N] int.
      nms_iou: a candidate that overlaps a better detection by more is dropped.
      max_detections: keep at most so many.
      per_class: candidates are dropped only by detections of their own emotion.

    Returns:
      list of kept indices by falling score; of equal scores the lower index first.
    """
    intervals, scores, emotions = interval.tolist(), score.tolist(), emotion.tolist()
    kept = []
    for index in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        if len(kept) == max_detections:
            break
        rivals = [other for other in kept if not per_class or emotions[other] == emotions[index]]
        if all(targets.iou(intervals[other], intervals[index]) <= nms_iou for other in rivals):
            kept.append(index)
    return kept


def detect(outputs, starts, num_frames, settings, nms_iou=0.01, max_detections=30, per_class=False):
    """Detections of a video.

    Args:
      outputs: dict of model.Fedn for all windows of the video, [W, ...].
      starts: [W] int, first frames of the windows in the video.
      num_frames: frames of the video.
      settings: model.Settings.
      nms_iou: as in ``nms``.
      max_detections: as in ``nms``.
      per_class: as in ``nms``.

    Returns:
      Interval [N, 2] in frames of the video, score [N], emotion [N], by falling score.
    """
    interval, score, emotion = candidates(outputs, starts, num_frames, settings)
    kept = nms(interval, score, emotion, nms_iou, max_detections, per_class)
    return interval[kept], score[kept], emotion[kept]
