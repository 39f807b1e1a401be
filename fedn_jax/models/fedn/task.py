"""FEDN as a task: what the trainer, the predictor and the folds call (Fang et al., arXiv 2504.07660)."""

import math

import jax.numpy as jnp
from jaxtyping import Bool, Float, Key

from fedn_jax.core import config as configs
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Context, Detections, Encoding, Events, Hyper, Task, Tree
from fedn_jax.models import layers
from fedn_jax.models.fedn import fusion
from fedn_jax.models.fedn.network import HEADS, NUM_BLOCKS, WINDOW_ATTENTION, Fedn
from fedn_jax.ops import anchors, losses, windows
from fedn_jax.ops.targets import Targets, assign

SAVED = ("offsets", "free", "logits", "positions")


def check(config: Config) -> Config:
    """Checks FEDN's options.

    Args:
      config: the whole configuration.

    Returns:
      ``config``.

    Raises:
      UserError: the first one that is out of its range, or does not fit others.
    """
    for name in ("width", "head_width", "head_depth", "heads", "groups"):
        errors.at_least(f"model.{name}", config.model[name], 1)
    errors.one_of("model.window_attention_channels", config.model.window_attention_channels, (0, 1))
    for option, without in (
        ("model.prior", [0, 1]), ("model.dropout", [1]), ("anchors.positive_iou", []), ("anchors.negative_iou", []),
    ):  # fmt: skip
        errors.between(option, configs.flatten(config)[option], 0, 1, without)
    widths = config.anchors.widths
    if not widths or not all(type(width) in (int, float) and 0 < width < math.inf for width in widths):
        raise UserError(f"anchors.widths must be a list of numbers above 0; got {list(widths)}")
    if not config.anchors.reaches:
        raise UserError("anchors.reaches must hold a pair [low, high] per level; got none")
    for pair in config.anchors.reaches:
        numbers = isinstance(pair, list) and all(type(number) in (int, float) for number in pair)
        if not numbers or len(pair) != 2 or not pair[0] < pair[1]:
            raise UserError(f"anchors.reaches must be a list of [low, high] with low < high; got {pair}")
    levels = len(config.anchors.reaches)
    if config.window.segments % 2 ** (levels + 1):
        raise UserError(
            f"window.segments must be a multiple of {2 ** (levels + 1)} for {levels} pyramid levels; "
            f"got {config.window.segments}"
        )
    for name in ("width", "head_width"):
        for divisor in ("heads", "groups") if name == "width" else ("groups",):
            if config.model[name] % config.model[divisor]:
                raise UserError(
                    f"model.{divisor} must divide model.{name} ({config.model[name]}); got {config.model[divisor]}"
                )
    return config


def make_task(config: Config, geometry: windows.Geometry, num_classes: int, input_shape: tuple[int, ...]) -> Task:
    """Builds FEDN as a task.

    Args:
      config: sections ``model``, ``anchors`` and ``loss`` are read.
      geometry: how windows are cut.
      num_classes: C of the data.
      input_shape: (D,) of the data.

    Returns:
      The task.

    Raises:
      UserError: a table entry that does not exist, or numbers that do not fit one another.
    """
    model, anchor = config.model, config.anchors
    if len(input_shape) != 1:
        raise UserError(f"task 'fedn' reads embeddings, one vector per row; got rows of shape {list(input_shape)}")
    (input_width,) = input_shape
    errors.one_of("model.segment_fusion", model.segment_fusion, fusion.SEGMENT_FUSIONS)
    errors.one_of("model.window_attention", model.window_attention, WINDOW_ATTENTION)
    errors.one_of("model.head", model.head, HEADS)
    errors.one_of("loss.interval", config.loss.interval, losses.INTERVAL_LOSSES)
    scoring = losses.SCORINGS[errors.one_of("model.scoring", model.scoring, losses.SCORINGS)]
    clips = geometry.rows == geometry.segments
    if (model.segment_fusion == "none") != clips:
        raise UserError(
            f"model.segment_fusion={model.segment_fusion!r} does not fit data with {geometry.frames_per_row} frame(s) "
            "per row; expected 'none' for clip features (one row per segment) and another fusion for frame embeddings"
        )
    segment_heads = fusion.fitting_heads(input_width, model.heads)
    notes = ()
    if segment_heads != model.heads and model.segment_fusion == "attention":
        notes = (
            f"the segment attention has {segment_heads} heads instead of {model.heads} (model.heads), which do not "
            f"divide the data's {input_width} features",
        )
    levels = len(anchor.reaches)
    strides = [geometry.stride * 2 ** (NUM_BLOCKS + level) for level in range(levels)]
    grid = anchors.make_grid(geometry.frames, strides, list(anchor.widths), [list(pair) for pair in anchor.reaches])
    network = Fedn(
        geometry=geometry,
        segment_fusion=model.segment_fusion,
        window_attention=model.window_attention,
        window_attention_channels=model.window_attention_channels or input_width,
        width=model.width,
        head_width=model.head_width,
        head_depth=model.head_depth,
        head=model.head,
        heads=model.heads,
        segment_heads=segment_heads,
        groups=model.groups,
        levels=levels,
        anchors=len(anchor.widths),
        channels=num_classes + scoring.extra_channels,
        prior=model.prior,
        dropout=model.dropout,
    )
    interval_cost = losses.INTERVAL_LOSSES[config.loss.interval]

    def init(key: Array) -> Tree:
        inputs = jnp.zeros((1, geometry.rows, input_width))
        return layers.init(network, key, inputs, jnp.ones(inputs.shape[:2], bool))

    def features(variables: Tree, inputs: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B S D"]:
        return network.apply(variables, inputs, valid, method="features")

    def read(variables: Tree, features: Float[Array, "B S D"], valid: Bool[Array, "B S"]) -> dict:
        return network.apply(variables, features, valid, False, method="outputs")

    def apply(
        variables: Tree, got: windows.Gathered, weight: Float[Array, " B"], train: bool, key: Key[Array, ""]
    ) -> tuple[dict, Tree]:
        del weight  # nothing depends on the batch
        segments = features(variables, got.inputs, got.valid)
        return network.apply(variables, segments, got.inside, train, rngs={"dropout": key}, method="outputs"), {}

    def targets(events: Events) -> Targets:
        return assign(events, grid, num_classes, anchor.positive_iou, anchor.negative_iou)

    def tally(targets: Targets) -> dict[str, Array]:
        return {"positives": targets.positive.sum((1, 2)), "missed": targets.missed}

    def loss(outputs: dict, targets: Targets, context: Context, hyper: Hyper) -> tuple[Float[Array, ""], dict]:
        predicted = anchors.decode(outputs["offsets"], grid, outputs["free"])
        seen = outputs["positions"][..., None]  # a short video ends before its window
        interval, label = losses.detection_loss(
            interval_cost(predicted, targets.interval),
            scoring.cost(outputs["logits"], targets.label, targets.positive),
            targets.positive & seen, targets.counted & seen, context.weight, config.loss.normalize,
        )  # fmt: skip
        total = hyper.loss["alpha"] * interval + hyper.loss["beta"] * label
        return total, {"interval_loss": interval, "class_loss": label}

    def decode(
        outputs: dict, starts: Float[Array, " W"], valid: Bool[Array, " W"], num_frames: Float[Array, ""] | float
    ) -> Detections:
        predicted = anchors.decode(outputs["offsets"], grid, outputs["free"])  # [W, L, A, 2]
        predicted = jnp.clip(predicted + starts[:, None, None, None], 0, num_frames)
        scores = scoring.scores(outputs["logits"])  # [W, L, A, C]
        interval = predicted.reshape(-1, 2)
        kept = jnp.broadcast_to((outputs["positions"] & valid[:, None])[..., None], scores.shape[:3]).reshape(-1)
        return Detections(
            interval=interval,
            score=scores.max(-1).reshape(-1),
            emotion=scores.argmax(-1).reshape(-1).astype(jnp.int32),
            valid=kept & (interval[:, 1] > interval[:, 0]),
        )

    return Task(init, apply, targets, tally, loss, decode, SAVED, Encoding(features, read), notes=notes)
