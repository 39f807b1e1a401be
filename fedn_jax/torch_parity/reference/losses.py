"""The loss of a batch of windows (FEDN eq. 3; section 4.2; decision 12).

The sum of eq. 3 runs over the intervals of both branches. With ``normalize`` each branch's sum is divided by its number
of positive intervals plus the number of windows.
"""

import torch
from torch.nn import functional

from fedn_jax.torch_parity.reference import targets as reference_targets


def interval_distance(predicted, target, kind):
    """1 - IoU and its relatives, in one dimension (GIoU: FEDN [19]; DIoU: FEDN [26]).

    Args:
      predicted: [N, 2], onset before offset.
      target: [N, 2], onset before offset.
      kind: "iou", "giou" or "diou".

    Returns:
      [N].
    """
    intersection = torch.minimum(predicted[:, 1], target[:, 1]) - torch.maximum(predicted[:, 0], target[:, 0])
    intersection = intersection.clamp(min=0)
    union = (predicted[:, 1] - predicted[:, 0]) + (target[:, 1] - target[:, 0]) - intersection
    hull = torch.maximum(predicted[:, 1], target[:, 1]) - torch.minimum(predicted[:, 0], target[:, 0])
    iou = intersection / union
    if kind == "iou":
        return 1 - iou
    if kind == "giou":
        return 1 - (iou - (hull - union) / hull)
    if kind == "diou":
        distance = predicted.mean(dim=1) - target.mean(dim=1)
        return 1 - iou + (distance / hull) ** 2
    raise ValueError(f"interval_loss must be iou, giou or diou; got {kind!r}")


def class_distance(logits, label, positive, scoring):
    """The loss of class scores, one number per interval.

    "binary": binary cross-entropy, summed over the C scores. "confidence": binary cross-entropy of the first output,
    which says whether there is an expression, plus, for positives, softmax cross-entropy of the others.

    Args:
      logits: [N, channels].
      label: [N, C], one-hot for positives, zeros for the others.
      positive: [N] bool.
      scoring: "binary" or "confidence".

    Returns:
      [N].
    """
    if scoring == "binary":
        return functional.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(dim=1)
    if scoring == "confidence":
        positive = positive.to(logits.dtype)
        is_expression = functional.binary_cross_entropy_with_logits(logits[:, 0], positive, reduction="none")
        which = functional.cross_entropy(logits[:, 1:], label.argmax(dim=1), reduction="none")
        return is_expression + which * positive
    raise ValueError(f"scoring must be binary or confidence; got {scoring!r}")


def total(outputs, targets, weight, settings):
    """The loss of a batch.

    Args:
      outputs: dict of model.Fedn, [B, ...].
      targets: dict of targets.assign, stacked, [B, ...].
      weight: [B], 1 for a window, 0 for padding of the batch.
      settings: model.Settings.

    Returns:
      The loss, a scalar, and {"interval_loss", "class_loss"}: the sums over both branches, without alpha and beta.
    """
    dtype = outputs["logits"].dtype
    weight = weight.to(dtype)
    predicted = reference_targets.decode(outputs["offsets"], outputs["free"], settings)  # [B, L, A, 2]
    exists = outputs["positions"][:, :, None]  # past the video's end nothing is learnt
    positive = targets["positive"] & exists
    counted = targets["counted"] & exists
    interval_loss, class_loss = 0.0, 0.0
    for branch in (slice(0, 1), slice(1, None)):  # anchor-free, anchor-based
        is_positive, is_counted = positive[:, :, branch], counted[:, :, branch]  # [B, L, slots]
        window_weight = weight[:, None, None].expand(is_positive.shape)
        distance = interval_distance(
            predicted[:, :, branch][is_positive],
            targets["interval"][:, :, branch][is_positive].to(dtype),
            settings.interval_loss,
        )
        interval_sum = (distance * window_weight[is_positive]).sum()
        distance = class_distance(
            outputs["logits"][:, :, branch][is_counted],
            targets["label"][:, :, branch][is_counted].to(dtype),
            is_positive[is_counted],
            settings.scoring,
        )
        class_sum = (distance * window_weight[is_counted]).sum()
        divisor = window_weight[is_positive].sum() + weight.sum() if settings.normalize else torch.ones((), dtype=dtype)
        divisor = torch.where(divisor > 0, divisor, torch.ones_like(divisor))  # a batch of padding
        interval_loss = interval_loss + interval_sum / divisor
        class_loss = class_loss + class_sum / divisor
    loss = settings.alpha * interval_loss + settings.beta * class_loss
    return loss, {"interval_loss": interval_loss, "class_loss": class_loss}
