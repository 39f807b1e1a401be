"""What is compared: pairs of networks with the same weights, and toy videos that both sides cut up on their own."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.core import config as configs
from fedn_jax.core.types import Config, Events, Store, Task, Tree, VideoMeta
from fedn_jax.models import torch_weights
from fedn_jax.ops import windows
from fedn_jax.torch_parity import measure

NARROW = {
    "window.segments": 32, "window.train_hop": 16, "model.width": 32, "model.head_width": 16, "model.heads": 2,
    "model.groups": 2, "anchors.reaches": [[0, 16], [8, 32], [16, 64]],
}  # fmt: skip
WIDTH, CLASSES = 12, 3  # of the narrow inputs
VARIANTS: dict[str, dict[str, Any]] = {  # FEDN, its Tables 2 to 4, and the options that the paper leaves open
    "fedn": {},
    **configs.PAPER_ROWS,
    "open/literal_window": {"model.window_attention": "literal", "window.context": "window"},
    "open/channels": {"model.window_attention_channels": 0, "model.head_depth": 1, "loss.normalize": False},
}


class Pair(NamedTuple):
    """One network twice: ours and the reference, with the same weights."""

    config: Config
    geometry: windows.Geometry
    classes: int
    task: Task
    params: Tree  # ours, float32
    settings: Any  # reference.model.Settings
    network: Any  # reference.model.Fedn, float32


class Data(NamedTuple):
    """Videos in memory."""

    store: Store
    metas: list[VideoMeta]
    events: list[Events]
    frames_per_row: int


def settings_of(config: Config) -> Any:
    """A configuration as the reference takes it.

    Args:
      config: of FEDN.

    Returns:
      reference.model.Settings.
    """
    from fedn_jax.torch_parity.reference.model import Settings

    sections = {**config.window, **config.model, **config.anchors, **config.loss}
    sections |= {"anchor_widths": tuple(config.anchors.widths), "interval_loss": config.loss.interval}
    sections["reaches"] = tuple(tuple(reach) for reach in config.anchors.reaches)
    return Settings(**{name: sections[name] for name in Settings._fields})


def configure(changes: Mapping[str, Any], base: Mapping[str, Any] = NARROW) -> Config:
    """A configuration from flat options.

    Args:
      changes: "section.key" -> value.
      base: the same, applied before.

    Returns:
      A locked, valid configuration.
    """
    config = configs.default()
    for options in (base, changes):
        config.update_from_flattened_dict(dict(options))
    return models.validate(config)


def make(config: Config, classes: int = CLASSES, width: int = WIDTH, params: Tree | None = None) -> Pair:
    """Builds both networks with the same weights.

    Args:
      config: of FEDN.
      classes: C; one without recognition.
      width: D.
      params: ours; None: initial ones, moved a little so that no bias is zero.

    Returns:
      The pair.
    """
    import torch

    from fedn_jax.torch_parity.reference.model import Fedn

    clips = config.model.segment_fusion == "none"
    geometry = windows.Geometry(
        config.window.segments, config.window.segment_frames, config.window.stride,
        config.window.stride if clips else 1, config.window.context,
    )  # fmt: skip
    classes = classes if config.data.recognition else 1
    task = models.make_task(config, geometry, classes, (width,))
    params = initial(task, config.seed) if params is None else params
    settings = settings_of(config)
    network = Fedn(width, classes, settings)
    state = torch_weights.to_torch(params)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()}, strict=True)
    return Pair(config, geometry, classes, task, params, settings, network)


def initial(task: Task, seed: int = 0) -> Tree:
    """Random parameters in the range of initial ones; no bias is zero and no two scales are alike.

    Args:
      task: the model.
      seed: of the numbers.

    Returns:
      NumPy, float32.
    """
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(task.init, jax.random.key(0))["params"]

    def draw(path: tuple, leaf: Any) -> np.ndarray:
        if leaf.ndim == 2:
            return rng.uniform(-1, 1, leaf.shape).astype(np.float32) / np.float32(np.sqrt(leaf.shape[0]))
        middle = 1 if path[-1].key == "scale" else 0
        return (middle + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


# ---- Toy videos -----------------------------------------------------------------------------------------------------


def toy(
    lengths: Sequence[int] = (200, 200, 200, 40),
    width: int = WIDTH,
    classes: int = CLASSES,
    frames_per_row: int = 1,
    gaps: bool = True,
    seed: int = 0,
    strength: float = 3.0,
) -> Data:
    """Videos in which the inputs rise along direction c while an expression of class c is on; one subject each.

    Args:
      lengths: frames of each video.
      width: D, at least ``classes``.
      classes: C.
      frames_per_row: frames that a row of the inputs stands for.
      gaps: single frames without a face, and in the second video a minute part without any.
      seed: of all that is random.
      strength: of the rise; the noise has a standard deviation of 1.

    Returns:
      The videos, float32.
    """
    rng = np.random.default_rng(seed)
    inputs, valid, metas, events = [], [], [], []
    for number, length in enumerate(lengths):
        rows = -(-length // frames_per_row)
        onset = np.arange(8, length - 14, 40) + rng.integers(0, 12, len(range(8, length - 14, 40)))
        offset = np.minimum(onset + rng.integers(8, 30, len(onset)), length)
        emotion = rng.integers(0, classes, len(onset)).astype(np.int32)
        x, seen = rng.normal(size=(rows, width)), np.ones(rows, bool)
        for a, b, c in zip(onset // frames_per_row, offset // frames_per_row, emotion, strict=True):
            x[a:b, c] += strength
        if gaps:
            seen[rng.integers(0, rows, rows // 20)] = False
            if number == 1:
                seen[rows // 3 : rows // 3 + 80 // frames_per_row] = False
        metas.append(VideoMeta(f"s{number}", "v", length, 30.0, 1, sum(map(len, valid)), rows))
        inputs.append(np.float32(x))
        valid.append(seen)
        interval = np.stack([onset, offset], -1).astype(np.float32)
        some = np.ones(len(onset), bool)
        events.append(Events(interval, interval.mean(-1), emotion, np.zeros_like(emotion), some))
    return Data(Store(np.concatenate(inputs), np.concatenate(valid)), metas, events, frames_per_row)


class Batch(NamedTuple):
    """Some windows, as both sides cut them."""

    inputs: np.ndarray  # [B, T, D]
    valid: np.ndarray  # [B, T] bool
    inside: np.ndarray  # [B, S] bool, segments with a face before the video's end
    events: Events  # [B, E]
    weight: np.ndarray  # [B]
    theirs: dict[str, Any]  # the reference's batch, of torch tensors


def peers_windows(pair: Pair, data: Data, hop: int) -> list[dict[str, Any]]:
    """The windows of every video, as the reference plans and cuts them.

    Args:
      pair: the networks.
      data: the videos.
      hop: frames between windows.

    Returns:
      What ``reference.training.windows`` gives, per video.
    """
    import torch

    from fedn_jax.torch_parity.reference import training

    cut = []
    for meta in data.metas:
        rows = slice(meta.row, meta.row + meta.num_rows)
        inputs, valid = torch.from_numpy(data.store.inputs[rows]), torch.from_numpy(data.store.valid[rows])
        cut.append(training.windows(inputs, valid, meta.num_frames, hop, pair.settings))
    return cut


def batch(pair: Pair, data: Data, chosen: Sequence[int], dtype: str = "float32") -> Batch:
    """Cuts windows on both sides.

    Args:
      pair: the networks.
      data: the videos.
      chosen: training windows, by their index in our plan; -1 pads.
      dtype: float32 or float64.

    Returns:
      The batch. Padding repeats the first window with weight 0.
    """
    import torch

    from fedn_jax.torch_parity.reference import training

    hop, every = pair.config.window.train_hop, data.events
    if not pair.config.data.recognition:
        every = [one._replace(emotion=np.zeros_like(one.emotion)) for one in every]
    plan = windows.plan(data.metas, every, pair.geometry, hop, pair.config.window.inside)
    index = np.maximum(np.asarray(chosen), 0)
    ours = jax.tree.map(lambda column: column[index], plan)
    gather = jax.vmap(windows.gather, in_axes=(None, 0, 0, 0, 0, None))
    gather = jax.jit(gather, static_argnums=5, compiler_options=measure.HASTY)
    got = gather(data.store, ours.row, ours.num_rows, ours.start, ours.num_segments, pair.geometry)
    weight = (np.asarray(chosen) >= 0).astype(dtype)
    parts, cut = [], peers_windows(pair, data, hop)
    for window in index:
        video = int(plan.video[window])
        number = int(window - np.flatnonzero(plan.video == video)[0])
        events = every[video]
        true = torch.from_numpy(events.interval.astype(dtype)), torch.from_numpy(events.emotion)
        parts.append(training.make_batch(cut[video], [number], *true, pair.settings, pair.classes))
    theirs = {name: torch.cat([part[name] for part in parts]) for name in ("frames", "frames_valid", "segments_inside")}
    theirs["targets"] = {k: torch.cat([part["targets"][k] for part in parts]) for k in parts[0]["targets"]}
    theirs["frames"], theirs["weight"] = theirs["frames"].to(getattr(torch, dtype)), torch.from_numpy(weight)
    interval = ours.events._replace(interval=ours.events.interval.astype(dtype))
    inputs, valid, inside = map(np.asarray, got)
    return Batch(inputs.astype(dtype), valid, inside, interval, weight, theirs)
