"""FESNet as a task: frames of an interval to one label per frame, runs of labels to expressions."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Config, Context, Detections, Events, Hyper, Task, Tree
from fedn_jax.models import layers
from fedn_jax.models.fesnet import losses
from fedn_jax.models.fesnet.network import Fesnet, Lsdm, Mtam
from fedn_jax.ops import frame_labels, windows

REFINEMENTS = ("heads", "literal")  # channels of refine_width and a proposal head per layer, or eq. 2 word for word
SUPERVISED = ("stages", "final")  # what the labels' loss sees: LSDM, MTAM and each block, or the last block only
STEM_STRIDE = 2


def check(config: Config) -> Config:
    """Checks FESNet's options.

    Args:
      config: the whole configuration.

    Returns:
      ``config``.

    Raises:
      UserError: the first one that is out of its range, or does not fit others.
    """
    own, loss = config.fesnet, config.loss
    for name in ("depth", "heads", "mlp", "stem_width", "stem_kernel", "temporal_width", "refine_width",
                 "refine_stages", "refine_layers"):  # fmt: skip
        errors.at_least(f"fesnet.{name}", own[name], 1)
    for name in ("widths", "strides"):
        numbers = list(own[name])
        if len(numbers) != 5 or not all(type(number) is int and number > 0 for number in numbers):
            raise UserError(f"fesnet.{name} must be a list of 5 whole numbers above 0; got {numbers}")
    if own.stem_kernel % 2 == 0:
        raise UserError(f"fesnet.stem_kernel must be odd; got {own.stem_kernel}")
    if own.strides[3] * own.strides[4] != 2:
        raise UserError(
            f"the last two of fesnet.strides must halve the map, as eq. 1 doubles it; got {own.strides[3:]}"
        )
    if own.widths[2] % own.heads:
        raise UserError(f"fesnet.heads must divide the third of fesnet.widths ({own.widths[2]}); got {own.heads}")
    errors.one_of("fesnet.refinement", own.refinement, REFINEMENTS)
    for name, table in (
        ("supervise", SUPERVISED), ("smooth", losses.SMOOTHINGS), ("lsdm_form", losses.LSDM_FORMS),
        ("lsdm_mean", losses.MEANS),
    ):  # fmt: skip
        errors.one_of(f"loss.{name}", loss[name], table)
    window = config.window
    if (window.segment_frames, window.stride) != (1, 1):
        raise UserError(
            "task 'fesnet' reads single frames: window.segment_frames and window.stride must be 1; got "
            f"{window.segment_frames} and {window.stride}"
        )
    if window.test_hop > window.segments:
        raise UserError(
            f"window.test_hop must be at most window.segments ({window.segments}), or frames are left out; got "
            f"{window.test_hop}"
        )
    errors.at_least("predict.min_frames", config.predict.min_frames, 1)
    errors.at_least("predict.max_gap", config.predict.max_gap, 0)
    return config


def _check_side(side: int, strides: list[int]) -> None:
    """The deconvolution must end where attention ended."""

    def after(size: int, factors: list[int]) -> int:
        for factor in factors:
            size = -(-size // factor)
        return size

    def fits(size: int) -> bool:
        middle = after(size, [STEM_STRIDE, *strides[:3]])
        return 2 * after(middle, list(strides[3:])) == middle

    if not fits(side):
        near = sorted((size for size in range(16, 2 * side + 16) if fits(size)), key=lambda size: abs(size - side))
        raise UserError(
            f"frames of {side} pixels do not fit fesnet.strides; sides that do: "
            f"{', '.join(map(str, sorted(near[:4])))} (data.side makes them smaller)"
        )


def make_task(config: Config, geometry: windows.Geometry, num_classes: int, input_shape: tuple[int, ...]) -> Task:
    """Builds FESNet as a task.

    Args:
      config: sections ``fesnet``, ``loss``, ``predict`` and ``window`` are read.
      geometry: how intervals are cut: N segments of one frame.
      num_classes: kinds of expressions; labels have neutral beside them.
      input_shape: (side, side, 3) of the data.

    Returns:
      The task.

    Raises:
      UserError: inputs that are no frames, or of a side that does not fit the strides.
    """
    if len(input_shape) != 3 or input_shape[0] != input_shape[1] or input_shape[2] != 3:
        raise UserError(f"task 'fesnet' reads square frames; got rows of shape {list(input_shape)}")
    own, loss_options, post = config.fesnet, config.loss, config.predict
    _check_side(input_shape[0], list(own.strides))
    length, labels, hop = geometry.segments, num_classes + 1, config.window.test_hop
    lsdm = Lsdm(
        own.stem_width, own.stem_kernel, tuple(own.widths), tuple(own.strides), own.depth, own.heads, own.mlp, labels
    )
    refine_width = own.refine_width if own.refinement == "heads" else 0
    mtam = Mtam(own.temporal_width, refine_width, own.refine_stages, own.refine_layers, labels) if own.mtam else None
    network = Fesnet(lsdm, mtam)

    def init(key: Key[Array, ""]) -> Tree:
        inside = jnp.ones((1, length), bool)
        return layers.init(network, key, jnp.zeros((1, length, *input_shape)), inside, inside, False)

    def apply(
        variables: Tree, got: windows.Gathered, weight: Float[Array, " B"], train: bool, key: Key[Array, ""]
    ) -> tuple[dict, Tree]:
        inputs, inside = got.inputs, got.inside
        if train and config.train.flip:
            flipped = jax.random.bernoulli(key, shape=weight.shape)
            inputs = jnp.where(flipped[:, None, None, None, None], inputs[:, :, :, ::-1], inputs)
        counted = inside & (weight[:, None] > 0)
        out, others = network.apply(variables, inputs, inside, counted, train, mutable=["batch_stats"])
        return out | {"inside": inside}, dict(others)

    def targets(events: Events) -> Int[Array, " N"]:
        return frame_labels.of_events(events, length)

    def tally(label: Int[Array, "B N"]) -> dict[str, Array]:
        return {"labelled": (label > 0).sum(1)}

    def census(label: Int[Array, " N"], inside: Bool[Array, " N"]) -> Float[Array, " C"]:
        return (jax.nn.one_hot(label, labels) * inside[:, None]).sum(0)

    def loss(
        outputs: dict, label: Int[Array, "B N"], context: Context, hyper: Hyper
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        mask = context.inside & (context.weight[:, None] > 0)
        counted = mask.astype(outputs["final"].dtype)
        weights = losses.class_weights(context.census, hyper.loss["weight_power"])
        supervised = [outputs["final"]]
        if mtam is not None and loss_options.supervise == "stages":
            blocks = outputs["proposals"][:, :, -1]  # [B, S, N, C]
            supervised = [outputs["spatial"], outputs["temporal"], *jnp.moveaxis(blocks, 1, 0)]
        cost = sum(losses.label_loss(one, label, weights, counted) for one in supervised) / len(supervised)
        smooth = jnp.zeros(())
        if mtam is not None:
            smooth = losses.smooth_loss(outputs["proposals"], counted, loss_options.smooth)
        spread, deviation = losses.lsdm_loss(outputs["x"], mask, loss_options.lsdm_form, loss_options.lsdm_mean)
        total = hyper.loss["lsdm"] * spread + cost + hyper.loss["gamma"] * smooth
        return total, {"label_loss": cost, "smooth_loss": smooth, "lsdm_loss": spread, "deviation": deviation}

    def decode(
        outputs: dict, starts: Float[Array, " W"], valid: Bool[Array, " W"], num_frames: Float[Array, ""] | float
    ) -> Detections:
        del num_frames  # frames past the end are not inside
        frames = (starts.shape[0] - 1) * hop + length
        seen = outputs["inside"] & valid[:, None]
        final = jax.nn.softmax(outputs["final"])
        stitched = frame_labels.stitch(final, starts.astype(jnp.int32), seen, frames)
        return frame_labels.runs(stitched, post.min_frames, post.max_gap)

    saved = ("spatial", *(("temporal",) if mtam is not None else ()), "final", "inside")
    return Task(init, apply, targets, tally, loss, decode, saved, census=census, driver="steps", whole=True)
