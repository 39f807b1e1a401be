"""The types that modules pass to one another, and the letters that name their axes.

Axes of what modules pass to one another:

    B batch   T frames   S segments   F frames per segment   D input features
    L positions of the pyramid   A intervals per position   M = L * A intervals per window
    N candidates or detections   E expressions   C emotion classes
    W windows   V videos   K folds   P entries of a fold's window list

Time inside the package is counted in frames of the video, from 0, as floats; intervals are half-open
``[onset, offset)``. Files speak inclusive frame numbers; they are converted where files are read and
written (``data_prep.sheets``, ``fedn_jax.formats``, ``fedn_jax.engine.decode``).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int, Shaped, UInt

Array = Any  # a NumPy or JAX array, as in Float[Array, "N 2"]; the tests check what ops and models say of shapes
Tree = Any  # a pytree of arrays
Config = Any  # a configuration with attributes, as made by config.default()


class VideoMeta(NamedTuple):
    """One video of a store (plain Python values)."""

    subject: str  # subject identifier as in the data set, e.g. "s15"
    video: str  # video identifier, unique within its subject
    num_frames: int  # frames of the video, T
    fps: float  # frames per second
    first_frame: int  # number that files give to the first frame (1 in CAS(ME)^2)
    row: int  # first row of the video in Store.inputs
    num_rows: int  # rows of the video in Store.inputs: T frames, or one per clip of a clip feature
    source: tuple[int, ...] | None = None  # T frames of the file, from 0, that the frames came from; None: 0 to T - 1


class Events(NamedTuple):
    """Expressions: of one video ``[E]``, or of each window of a plan ``[W, E]``."""

    interval: Float[Array, "*W E 2"]  # float32, frames, half-open [onset, offset)
    apex: Float[Array, "*W E"]  # float32, frame of the apex; -1 where it is not annotated
    emotion: Int[Array, "*W E"]  # int32, class index; -1 where it is not annotated
    kind: Int[Array, "*W E"]  # int32, index into schema.KINDS (macro, micro)
    valid: Bool[Array, "*W E"]  # False for padding


class Store(NamedTuple):
    """All inputs of a data set, flat."""

    inputs: Shaped[Array, "R ..."]  # one row per frame (or per clip): [R, D] float16, or pictures
    valid: Bool[Array, " R"]  # False where the frame shows no face


class Windows(NamedTuple):
    """Every window of a data set, as arrays that live beside the store."""

    row: Int[Array, " W"]  # int32, first row of the window's video in Store.inputs
    num_rows: Int[Array, " W"]  # int32, rows of the window's video
    start: Int[Array, " W"]  # int32, first segment of the window, counted in segments of its video
    num_segments: Int[Array, " W"]  # int32, segments of the window's video
    video: Int[Array, " W"]  # int32, index of the window's video
    events: Events  # [W, E], frames relative to the window's first frame, clipped to the window


class Folds(NamedTuple):
    """Cross-validation as index lists; a fold is data, not a code path."""

    name: tuple[str, ...]  # K names, e.g. "s15" or "s15/inner"
    key: UInt[Array, " K"]  # uint32, crc32 of the fold's name: folded into the root key
    positive: Int[Array, "K P"]  # int32, training windows with an expression; -1 pads
    negative: Int[Array, "K Q"]  # int32, training windows without one; -1 pads
    test: tuple[tuple[int, ...], ...]  # K lists of test videos
    census: Float[Array, "K C"]  # float32, what Task.census counts, over a fold's training windows; C may be 0


class Hyper(NamedTuple):
    """Numbers that keep every shape, hence axes of one program (scalars, or [K] when mapped)."""

    learning_rate: Float[Array, "*K"]  # float32
    weight_decay: Float[Array, "*K"]  # float32, L2 added to the gradient
    seed: UInt[Array, "*K"]  # uint32, seed of the fold's keys
    loss: dict[str, Float[Array, "*K"]]  # float32, numbers of the section loss, by name
    clip_norm: Float[Array, "*K"] | None = None  # float32, largest norm of a gradient; None: any
    ema_decay: Float[Array, "*K"] | None = None  # float32, of the running mean of the parameters; None: there is none


class TrainState(NamedTuple):
    """Everything that training changes."""

    params: Tree  # trainable variables
    extra: Tree  # other variables (batch statistics); {} without
    opt_state: Tree  # state of the optimiser
    step: Int[Array, "*K"]  # int32, updates done
    mean: tuple[Tree, Tree] | None = None  # running mean of (params, extra), with Hyper.ema_decay


class Detections(NamedTuple):
    """Detected expressions of one video."""

    interval: Float[Array, "N 2"]  # float32, frames of the video, half-open [onset, offset)
    score: Float[Array, " N"]  # float32 in [0, 1], highest class probability
    emotion: Int[Array, " N"]  # int32, class index
    valid: Bool[Array, " N"]  # False for padding


class Context(NamedTuple):
    """What a loss may know beside outputs and targets; B windows of one fold."""

    weight: Float[Array, " B"]  # 0 for padding of the batch, else 1
    valid: Bool[Array, "B rows"]  # False where the row shows no face
    inside: Bool[Array, "B S"]  # False for segments past the end of the video, or without a face
    census: Float[Array, " C"]  # of the fold's training windows, see Task.census


class Encoding(NamedTuple):
    """The network in two steps, for prediction: what belongs to a video is computed once per video."""

    encode: Callable[..., Float[Array, "B S d"]]  # (variables, inputs [B, rows, ...], valid [B, rows]) -> [B, S, d]
    read: Callable[..., Any]  # (variables, encoded [B, S, d], inside [B, S]) -> outputs


class Task(NamedTuple):
    """All that training, prediction and folds know about a model: pure functions, and names.

    ``got`` is ``windows.Gathered`` of B windows: inputs [B, rows, ...], valid [B, rows], inside [B, S].
    """

    init: Callable[..., Tree]  # (key) -> variables {"params": ..., others}
    apply: Callable[..., Any]  # (variables, got, weight [B], train, key) -> (outputs {name: [B, ...]}, others)
    targets: Callable[..., Tree]  # (events of one window) -> targets of that window
    tally: Callable[..., dict[str, Array]]  # (targets [B, ...]) -> name -> [B], numbers to add up and to log
    loss: Callable[..., Any]  # (outputs, targets, context, hyper) -> (scalar, dict of scalars to log)
    decode: Callable[..., Detections]  # (saved outputs of one video's windows, starts [W], valid [W], T) -> Detections
    saved: tuple[str, ...]  # outputs that prediction keeps; those that are floats can be averaged over folds
    encoding: Encoding | None = None  # None: nothing of a window belongs to its video alone
    census: Callable[..., Float[Array, " C"]] | None = None  # (targets of one window, inside [S]) -> [C], added up
    driver: str = "scan"  # how epochs run and where inputs lie, see trainer.DRIVERS
    notes: tuple[str, ...] = ()  # what to say before training
    whole: bool = False  # decode needs all windows of a video at once, and each of its candidates is an answer
