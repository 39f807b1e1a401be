"""Detection in a new video: the trained folds of a run on any number of frames, or of their embeddings.

A long video goes through in pieces whose windows are those of the whole, so memory does not grow with its length.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import models
from fedn_jax.cascade.samplers import Flow, Spotter
from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config, Detections, Store, Task, Tree, VideoMeta
from fedn_jax.data import splits, standardization
from fedn_jax.engine import decode, parameters, predict, run_dir
from fedn_jax.engine.trainer import shape_of_variables
from fedn_jax.evaluation import matching, thresholds
from fedn_jax.evaluation.thresholds import Threshold
from fedn_jax.formats import detection_files
from fedn_jax.formats.clocks import Stamps
from fedn_jax.inference import cascades
from fedn_jax.inference.cascades import Cascade
from fedn_jax.ops import apex, nms, windows

ENSEMBLE = "ensemble"  # all folds: their network outputs are averaged
WINDOWS = 256  # of a piece, at most
PIECE = 2**28  # bytes of a piece, at most; FEDN's pieces are far below
CURVE = 1200  # points of a confidence curve, at most


class Model(NamedTuple):
    """The trained networks of a run; of a cascade those of its spotter, with the recognisers behind them."""

    run: Path  # where these networks lie
    config: Config
    classes: list[str]
    geometry: windows.Geometry
    folds: dict[str, Tree]  # name -> variables
    thresholds: dict[str, Threshold]  # name -> of the run's evaluation; empty if there is none
    recorded: dict[str, Any]  # content of run.json
    obstacle: str = ""  # why thresholds of the run cannot be used, although there are some
    cascade: Cascade | None = None  # what names the intervals; None: the networks themselves


class Detected(NamedTuple):
    """What was detected in one video, in the frames that were looked at; ``present`` says it in those of the file."""

    detections: Detections  # [N], above the threshold, by onset
    apex: np.ndarray  # [N] int, estimated: the frame that differs most from the onset
    curves: np.ndarray  # [C, P] float32, highest score of a candidate of each emotion that covers the point
    frames: np.ndarray  # [C, T] float32, the same for every frame


def load(run: Path, fold: str = ENSEMBLE) -> Model:
    """Loads trained networks.

    Args:
      run: directory of a run.
      fold: name of one fold, or ``ENSEMBLE`` for all of them.

    Returns:
      The model.

    Raises:
      UserError: not a finished run of ``fedn train`` or ``fedn recognise``, a cascade whose spotter is gone, or no
        such fold.
    """
    recorded, config = run_dir.read_run(run), run_dir.load_config(run)
    if config.cascade.recogniser:
        spotter = load(cascades.spotter_of(run), fold)
        cascade = cascades.load(run, list(spotter.folds))
        return spotter._replace(classes=cascade.classes, cascade=cascade)
    known = {"programs", "input_shape", "fps", "versions"} <= set(recorded)
    if not (known and "frames_per_row" in recorded.get("metadata", {})):
        raise UserError(f"{run}: was trained by an older version, or training never began; train it again")
    names = [name for name in recorded["folds"] if not name.endswith(splits.INNER)]
    errors.one_of("--fold", fold, [ENSEMBLE, *names])
    wanted = names if fold == ENSEMBLE else [fold]
    window = config.window
    geometry = windows.Geometry(
        window.segments,
        window.segment_frames,
        window.stride,
        int(recorded["metadata"]["frames_per_row"]),
        window.context,
    )
    expected = shape_of_variables(_task(config, geometry, recorded))
    found = {name: parameters.load(parameters.path_of(run, name), expected, name)[0] for name in wanted}
    chosen, obstacle = _thresholds(run)
    chosen = {name: one for name, one in chosen.items() if name in wanted}
    return Model(run, config, recorded["classes"], geometry, found, chosen, recorded, obstacle)


def _thresholds(run: Path) -> tuple[dict[str, Threshold], str]:
    """Thresholds of the run's evaluation; none, and why, if another version or other options made them."""
    path = run / "metrics.json"
    if not path.exists():
        return {}, ""
    recorded = run_dir.read_record(path)
    again = f"evaluate the run again (`fedn evaluate {run} --data DIR`), or give --threshold"
    if not thresholds.known(recorded):
        return {}, f"{path}: was written by another version; {again}"
    chosen = thresholds.of_training(recorded)
    return chosen, "" if chosen else f"{path}: was made with other options than the training's; {again}"


def _task(config: Config, geometry: windows.Geometry, recorded: dict[str, Any]) -> Task:
    return models.make_task(config, geometry, len(recorded["classes"]), tuple(recorded["input_shape"]))


def make_detector(model: Model, threshold: float) -> Callable[..., Detected]:
    """Detection in one video after another; compiled once.

    Args:
      model: of ``load``.
      threshold: lowest score of a detection.

    Returns:
      detect(inputs [T, ...] as the task reads them, valid [T] bool, flow=None) -> Detected. ``inputs`` may be a
      memory-mapped file; ``flow`` is between its frames, for recognisers that need it. Curves of a cascade show what is
      reported, since weaker candidates are not named.
    """
    config, geometry = model.config, model.geometry
    task = _task(config, geometry, model.recorded)
    hop, chunk, rule = config.window.test_hop, config.predict.chunk, decode.rule_of(config)
    predictor = predict.make_predictor(task, geometry, hop, chunk)
    candidates = decode.make_candidates(task, chunk)
    chosen = standardization.STANDARDIZATIONS[config.data.standardize]
    context = geometry.rows - geometry.frames + geometry.stride  # rows that a segment may read past its piece
    per_piece = max(1, min(WINDOWS, PIECE // (hop * math.prod(model.recorded["input_shape"]))))
    size = per_piece * hop + geometry.frames + context
    folds = [jax.device_put(variables) for variables in model.folds.values()]
    own = len(model.recorded["classes"])  # classes of the networks; a recogniser's may be others
    namer = model.cascade and cascades.make_namer(model.cascade, chunk)

    def piece(inputs: np.ndarray, valid: np.ndarray, numbers: Any, start: int, end: int) -> dict[str, np.ndarray]:
        """Network outputs of the windows of [start, end), averaged over the folds."""
        rows = slice(start, min(len(valid), start + size))
        cut = np.asarray(inputs[rows])
        cut = cut if numbers is None else standardization.standardize(cut, numbers)
        padding = size - len(cut)
        padded = np.pad(cut, [(0, padding)] + [(0, 0)] * (cut.ndim - 1))
        store = predict.place(task, Store(padded, np.pad(valid[rows], (0, padding))), jax.local_devices()[0])
        meta = VideoMeta("", "", end - start, 0.0, 0, 0, len(cut))
        outputs = [predict.fetch(predicted) for predicted in [predictor(fold, store, meta) for fold in folds]]
        # What is no float, such as masks and starts, is the same for all folds.
        averaged = [name for name in task.saved if np.issubdtype(outputs[0][name].dtype, np.floating)]
        mean = {name: np.mean([fold[name] for fold in outputs], 0, np.float32) for name in averaged}
        return outputs[0] | mean | {"starts": outputs[0]["starts"] + np.int32(start)}

    def detect(inputs: np.ndarray, valid: np.ndarray, flow: Flow | None = None) -> Detected:
        valid = np.asarray(valid, bool)
        numbers = chosen.statistics(inputs, valid) if chosen else None  # of a subject, too: nobody else is seen here
        curves = np.zeros((own, min(CURVE, len(valid))), np.float32)
        frames = np.zeros((own, len(valid)), np.float32)
        kept = []
        cut = windows.pieces(len(valid), geometry, hop, per_piece)
        outputs = (piece(inputs, valid, numbers, *edges) for edges in cut)
        for part in [_joined(list(outputs))] if task.whole else outputs:
            found = candidates(part, len(valid))
            for each in (curves, frames):
                _raise_curves(each, found, len(valid))
            strong = matching.above(found, threshold).valid
            kept.append(Detections(*(column[strong] for column in found)))
        strong = Detections(*(np.concatenate(column) for column in zip(*kept, strict=True)))
        best = _suppress(strong, rule, threshold)
        if namer:
            seen = standardization.standardize(inputs, numbers) if numbers else inputs
            meta = VideoMeta("", "", len(valid), 0.0, 0, 0, len(valid))
            stores = Store(inputs, valid), Store(seen, valid)
            spotter = Spotter(model.run, config, task, geometry, [meta], *stores, model.cascade.training, flow)
            best = best._replace(emotion=namer(spotter, best.interval))
            curves, frames = (np.zeros((len(model.classes), each.shape[1]), np.float32) for each in (curves, frames))
            for each in (curves, frames):
                _raise_curves(each, best, len(valid))
        return Detected(best, apex.farthest(inputs, valid, best.interval), curves, frames)

    return detect


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _suppress(candidates: Detections, rule: nms.Rule, threshold: float) -> Detections:
    """NMS of all candidates above the threshold, exact, since weaker ones touch none above it. Sizes: powers of two."""
    size = 1 << max(len(candidates.score) - 1, 31).bit_length()
    kept = jax.device_get(nms.suppress(nms.pad(candidates, size), rule._replace(max_detections=size)))
    kept = matching.above(kept, threshold)
    kept = Detections(*(column[kept.valid] for column in kept))
    order = np.lexsort((kept.interval[:, 1], kept.interval[:, 0]))
    return Detections(*(column[order] for column in kept))


def _raise_curves(curves: np.ndarray, found: Detections, num_frames: int) -> None:
    """Raises each emotion's curve to the scores of the candidates that cover its points."""
    points = curves.shape[1]
    edges = np.ceil(found.interval.astype(np.float64) * points / num_frames - 0.5).astype(int)  # of bins' centres
    for i in np.flatnonzero(found.valid):
        strip = curves[found.emotion[i], max(edges[i, 0], 0) : edges[i, 1]]
        np.maximum(strip, found.score[i], out=strip)


# ---- In frames of the file and in seconds ---------------------------------------------------------------------------


class Frames(NamedTuple):
    """Where the T frames that were looked at come from."""

    source: np.ndarray  # [T] int, frame of the file, from 0
    seconds: np.ndarray  # [num_source] float, when each frame of the file is shown; rises
    valid: np.ndarray  # [T] bool, False without a face
    fps: float  # of the T frames
    ends: np.ndarray | None = None  # [num_source] float, until when; None: until the next one


def choose_threshold(model: Model, given: float | None) -> tuple[float, str]:
    """The lowest score of a detection.

    Args:
      model: of ``load``.
      given: the user's; None: what the run's evaluation chose.

    Returns:
      The threshold, and where it comes from, in words.

    Raises:
      UserError: not a number from 0 to 1; or none was given, and the run's own do not belong to the training's options.
    """
    if given is None and model.obstacle:
        raise UserError(model.obstacle)
    if given is not None:
        if not 0 <= given <= 1:
            raise UserError(f"--threshold must be a number from 0 to 1; got {given}")
        return given, "given on the command line"
    if model.thresholds:
        mean = f"mean of {len(model.thresholds)}; " if len(model.thresholds) > 1 else ""
        origins = {name: one.origin for name, one in model.thresholds.items()}
        return float(np.mean([one.value for one in model.thresholds.values()])), mean + thresholds.describe(origins)
    return float(model.config.evaluate.threshold), "evaluate.threshold of the configuration; the run is not evaluated"


def present(
    found: Detected,
    classes: list[str],
    path: Path,
    frames: Frames,
    first_frame: int,
    threshold: float,
    about: dict[str, str],
    subject: str = "",
    label: str = "emotion",
) -> detection_files.Found:
    """What was found, in frames of the file and in seconds.

    Args:
      found: of a detector.
      classes: what its indices stand for.
      path: the video.
      frames: about its frames.
      first_frame: number that the file gives to its first frame.
      threshold: lowest score of a detection.
      about: how it was made, in words.
      subject: who is seen; "": not said.
      label: what the classes are, in one word.

    Returns:
      What the writers of ``formats.detection_files`` and the page of a video take.
    """
    seconds, source = np.asarray(frames.seconds, float), np.asarray(frames.source)
    usual = np.median(np.diff(seconds)) if len(seconds) > 1 else 1 / frames.fps
    ends = np.append(seconds[1:], seconds[-1] + usual) if frames.ends is None else np.asarray(frames.ends, float)
    shown = np.median(ends[:-1] - seconds[:-1]) if len(seconds) > 1 else 1 / frames.fps
    after = np.append(seconds[1:], ends[-1])  # when the next frame is shown: later than the end where there is a hole
    edges = decode.in_file(found.detections.interval, source=source)  # frames of the file, from 0
    peaks = np.clip(source[np.minimum(found.apex, len(source) - 1)], edges[:, 0], edges[:, 1])
    expressions = [
        detection_files.Expression(
            onset + first_frame, peak + first_frame, offset + first_frame,
            float(seconds[onset]), float(seconds[peak]), float(ends[offset]), classes[emotion], score,
        )
        for (onset, offset), peak, score, emotion in zip(
            edges.tolist(), peaks.tolist(), found.detections.score.tolist(), found.detections.emotion.tolist(),
            strict=True,
        )
    ]  # fmt: skip
    turns = np.flatnonzero(np.diff(np.concatenate([[1], np.asarray(frames.valid, np.int8), [1]])))
    gaps = [(float(seconds[source[a]]), float(after[source[b - 1]])) for a, b in turns.reshape(-1, 2)]
    return detection_files.Found(
        subject=subject, video=path.stem, path=path, num_frames=len(seconds), first_frame=first_frame,
        fps=round(float(1 / shown), 3), seconds=float(ends[-1]), expressions=expressions, classes=classes,
        threshold=threshold, curves=_in_time(found.curves, source, seconds, ends), gaps=gaps, about=about,
        clock=Stamps(seconds, ends).runs(), label=label,
    )  # fmt: skip


def per_frame(found: Detected, frames: Frames) -> detection_files.PerFrame:
    """What is known of each frame of the file.

    Args:
      found: of a detector.
      frames: about the frames that were looked at.

    Returns:
      A frame that was not looked at is taken to be as the next one that was.
    """
    rows = np.searchsorted(frames.source, np.arange(len(frames.seconds)))
    rows = np.minimum(rows, len(frames.valid) - 1)
    valid = np.asarray(frames.valid, bool)[rows]
    return detection_files.PerFrame(np.asarray(frames.seconds, float), valid, found.frames[:, rows])


def _in_time(curves: np.ndarray, source: np.ndarray, seconds: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Curves over the T frames as curves over time from 0 to the end; NaN where no frame is shown.

    They are the same where the frames fill that time.
    """
    usual = np.median(ends - seconds)
    if seconds[0] <= usual and (seconds[1:] - ends[:-1] <= usual).all():
        return curves
    time = (np.arange(CURVE) + 0.5) * ends[-1] / CURVE
    frame = np.searchsorted(seconds, time, "right") - 1  # of the file
    row = np.searchsorted(source, frame, "right") - 1  # the last that was looked at
    points = np.clip((row + 0.5) * curves.shape[1] / len(source), 0, curves.shape[1] - 1).astype(int)
    shown = (frame >= 0) & (row >= 0) & (time < ends[np.maximum(frame, 0)])
    return np.where(shown, curves[:, points], np.nan).astype(curves.dtype)
