"""Windows of a video, one training step, epochs over given batches (FEDN section 4.2).

Open points are decided as in docs/decisions.md, 1, 2, 5, 22 and 44.
"""

import torch
from torch import nn

from fedn_jax.torch_parity.reference import losses, targets
from fedn_jax.torch_parity.reference.model import AttentionFusion


def window_starts(num_frames, hop, settings):
    """First frames of a video's windows: every ``hop``, and a last window that ends with the video.

    Segments start every ``stride`` frames as long as there are frames, and windows start where segments do; so the last
    window may own one frame past the end.

    Args:
      num_frames: frames of the video.
      hop: frames between windows, a multiple of the stride.
      settings: model.Settings.

    Returns:
      list of W frames; [0] for a video shorter than a window.
    """
    if hop % settings.stride:
        raise ValueError(f"hop must be a multiple of {settings.stride}; got {hop}")
    num_segments = -(-num_frames // settings.stride)
    last = max(0, num_segments - settings.segments) * settings.stride
    starts = list(range(0, last + 1, hop))
    return starts if starts[-1] == last else [*starts, last]


def windows(rows, valid, num_frames, hop, settings):
    """All windows of a video.

    Args:
      rows: [R, D], embeddings of all frames; with segment_fusion "none" one row per segment, the last ones repeated.
      valid: [R] bool, False where there is no face.
      num_frames: frames of the video.
      hop: frames between windows.
      settings: model.Settings.

    Returns:
      dict of "starts" [W] frames, "frames" [W, T, D], "frames_valid" [W, T], "segments_inside" [W, S].
    """
    owned = settings.segments * settings.stride  # frames of a window
    starts = window_starts(num_frames, hop, settings)
    frames, frames_valid, segments_inside = [], [], []
    for start in starts:
        if settings.segment_fusion == "none":
            index = torch.arange(settings.segments) + start // settings.stride
        else:
            index = torch.arange((settings.segments - 1) * settings.stride + settings.segment_frames)
            if settings.context == "window":
                index = index.clamp(max=owned - 1)
            elif settings.context != "video":
                raise ValueError(f"context must be video or window; got {settings.context!r}")
            index = index + start
        index = index.clamp(max=len(rows) - 1)  # past the end the last row is repeated
        frames.append(rows[index])
        frames_valid.append(valid[index])
        first_frames = start + settings.stride * torch.arange(settings.segments)
        segments_inside.append(first_frames < num_frames)
    return {
        "starts": torch.tensor(starts),
        "frames": torch.stack(frames),
        "frames_valid": torch.stack(frames_valid),
        "segments_inside": torch.stack(segments_inside),
    }


def events_of_window(intervals, start, settings, inside=0.9):
    """Expressions that belong to a window.

    Args:
      intervals: [E, 2] frames of the video.
      start: first frame of the window.
      settings: model.Settings.
      inside: share of an expression; more than this must lie in the window.

    Returns:
      [E, 2] frames in the window, clipped to it, and which of the expressions belong to it [E] bool.
    """
    length = settings.segments * settings.stride
    clipped = (intervals - start).clamp(min=0, max=length)
    share = (clipped[:, 1] - clipped[:, 0]) / (intervals[:, 1] - intervals[:, 0])
    return clipped, share > inside


def make_batch(video_windows, chosen, intervals, emotions, settings, classes, inside=0.9):
    """Inputs and targets of some windows of one video.

    Args:
      video_windows: dict of ``windows``.
      chosen: list of window indices.
      intervals: [E, 2] frames of the video.
      emotions: [E] int.
      settings: model.Settings.
      classes: C.
      inside: as in ``events_of_window``.

    Returns:
      dict of "frames", "frames_valid", "segments_inside", "targets" (a dict) and "weight", as ``step`` takes it.
    """
    each = []
    for window in chosen:
        clipped, belongs = events_of_window(intervals, int(video_windows["starts"][window]), settings, inside)
        each.append(targets.assign(clipped, emotions, belongs, settings, classes))
    batch = {name: video_windows[name][chosen] for name in ("frames", "frames_valid", "segments_inside")}
    batch["targets"] = {name: torch.stack([target[name] for target in each]) for name in each[0]}
    batch["weight"] = torch.ones(len(chosen))
    return batch


def make_optimizer(model, lr=1e-4, weight_decay=1e-4):
    """Adam; weight decay is L2 added to the gradient.

    Args:
      model: model.Fedn.
      lr: learning rate.
      weight_decay: factor of the weights in the gradient.

    Returns:
      torch.optim.Adam.
    """
    return torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)


def clear_noise(model):
    """Sets gradients to zero that are zero in exact arithmetic, because a softmax removes what they belong to.

    Rounding leaves noise in them, and Adam divides it by its own size (decision 5): the bias of the keys of every
    attention, the bias of the frame score, and the global vector's half of the frame score's weights (decision 4).

    Args:
      model: model.Fedn after ``backward``.
    """
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention):
            size = module.embed_dim
            module.in_proj_bias.grad[size : 2 * size] = 0
        if isinstance(module, AttentionFusion):
            module.score.bias.grad[:] = 0
            module.score.weight.grad[:, module.attention.embed_dim :] = 0


def gradients(model, batch, settings):
    """Loss of a batch; its gradient is left in the parameters' ``grad``.

    Args:
      model: model.Fedn.
      batch: dict of ``make_batch``.
      settings: model.Settings.

    Returns:
      Scalar tensor, detached.
    """
    for parameter in model.parameters():
        parameter.grad = None
    outputs = model(batch["frames"], batch["frames_valid"], batch["segments_inside"])
    loss, _ = losses.total(outputs, batch["targets"], batch["weight"], settings)
    loss.backward()
    clear_noise(model)
    return loss.detach()


def step(model, optimizer, batch, settings):
    """One update; none where no window of the batch counts, since weight decay would still move the weights.

    Args:
      model: model.Fedn.
      optimizer: torch.optim.Adam.
      batch: dict of ``make_batch``.
      settings: model.Settings.

    Returns:
      The loss before the update, a scalar tensor, detached.
    """
    model.train()
    loss = gradients(model, batch, settings)
    if batch["weight"].sum() > 0:
        optimizer.step()
    return loss


def train(model, optimizer, epochs, settings):
    """Epochs over given batches: which windows an epoch draws is decided by the caller.

    Args:
      model: model.Fedn.
      optimizer: torch.optim.Adam.
      epochs: list of lists of batches.
      settings: model.Settings.

    Returns:
      list of the mean loss of every epoch.
    """
    means = []
    for batches in epochs:
        values = [float(step(model, optimizer, batch, settings)) for batch in batches]
        means.append(sum(values) / len(values))
    return means
