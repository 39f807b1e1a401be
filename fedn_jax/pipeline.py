"""From shards to numbers: what the commands ``train``, ``evaluate`` and ``report`` do, on a run's directory."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedn_jax import (
    baseline,
    checkpoint,
    data,
    evaluation,
    files,
    folds,
    matching,
    metrics,
    predict,
    problems,
    report,
    runs,
    train,
)
from fedn_jax import config as configs
from fedn_jax.checks import UserError
from fedn_jax.types import Config, Detections, TrainState, VideoMeta

log = logging.getLogger(__name__)


# ---- Train ----------------------------------------------------------------------------------------------------------


def fit(run: Path, config: Config, dataset: data.Dataset, progress: Callable[..., Any]) -> None:
    """Trains all folds, or goes on where an earlier start was stopped, then predicts their test videos.

    Args:
      run: directory of the run.
      config: the configuration.
      dataset: loaded shards.
      progress: tqdm, or something with its interface.
    """
    with files.alone(run):
        _fit(run, config, dataset, progress)


def _fit(run: Path, config: Config, dataset: data.Dataset, progress: Callable[..., Any]) -> None:
    problem = problems.make(config, dataset)
    init, state_bytes = _initialiser(problem, config)
    devices = jax.local_devices()
    groups = folds.group(
        len(problem.folds.name), state_bytes, folds.memory_of(devices, config.folds.memory_gb), len(devices)
    )
    facts = {
        "data": dataset.metadata["signature"], "folds": list(problem.folds.name), "classes": problem.classes,
        "input_width": int(dataset.store.inputs.shape[1]), "metadata": dataset.metadata,
        "fps": float(np.median([meta.fps for meta in dataset.metas])),
    }  # fmt: skip
    recorded = runs.open_run(run, config, facts)
    if "groups" in recorded and (run / "checkpoints").exists():  # what was begun keeps its groups on any devices
        groups = [range(*edges) for edges in recorded["groups"]]
    else:
        runs.write_json(run / "run.json", recorded | {"groups": [[one.start, one.stop] for one in groups]})
    inner = sum(name.endswith(folds.INNER) for name in problem.folds.name)
    positive = int(problem.windows.events.valid.any(1).sum())
    log.info(
        f"{len(problem.folds.name)} folds, {inner} of them inner; {len(problem.windows.start)} windows, "
        f"{positive} with an expression; {len(devices)} x {devices[0].device_kind}\n"
        f"a fold's state takes {state_bytes / 1e6:.1f} MB: {len(groups)} group(s) of at most "
        f"{max(len(one) for one in groups)} folds"
    )
    for number, members in enumerate(groups):
        state = _fit_group(run, config, problem, init, number, members, progress)
        _predict_group(run, config, problem, state, members, progress)


def _initialiser(problem: problems.Problem, config: Config) -> tuple[Callable, int]:
    """(init of one fold, bytes of its state)."""

    def init(fold: train.Fold, hyper: Any) -> TrainState:
        return train.init_state(problem.task, fold, hyper)

    empty = np.zeros(1, np.int32)
    shapes = jax.eval_shape(init, train.Fold(np.uint32(0), empty, empty), configs.to_hyper(config))
    return init, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def _fit_group(run, config, problem, init, number, members, progress) -> TrainState:
    """Trains one group of folds to the end; returns its state [K, ...] on the host."""
    chosen, hyper = folds.take(problem.folds, members), configs.to_hyper(config)
    one = train.Fold(chosen.key[0], chosen.positive[0], chosen.negative[0])
    template = jax.tree.map(
        lambda leaf: np.zeros((len(members), *leaf.shape), leaf.dtype), jax.eval_shape(init, one, hyper)
    )
    directory = run / "checkpoints" / f"group{number}"
    done, state, _ = checkpoint.restore(directory, template) or (0, None, {})
    epochs = config.train.epochs
    if done >= epochs:
        log.info("group %d: all %d epochs are done", number, done)
        return state
    steps = folds.steps_per_epoch(problem.folds, config.train.batch_size, config.train.negatives)
    epoch = train.make_train_epoch(
        problem.task, problem.geometry, config.train.batch_size, config.train.negatives, steps
    )
    lines = runs.MetricsLog(run, number, done)
    bar = progress(total=epochs, initial=done, desc=f"train {len(members)} folds", unit="epoch")
    bar.set_postfix_str("compiling")
    stream = folds.run(
        init, epoch, chosen, hyper, problem.store, problem.windows, range(done, epochs), jax.local_devices(), state
    )
    for index, values, get_state in stream:
        finished = index + 1
        if not all(np.isfinite(value).all() for value in values.values()):
            bad = [name for name, loss in zip(chosen.name, values["loss"], strict=True) if not np.isfinite(loss)]
            raise UserError(
                f"the loss is not a finite number in epoch {finished} of fold {', '.join(bad)}; lower "
                "train.learning_rate and start into another --out"
            )
        lines.write(finished, chosen.name, values)  # before the checkpoint: a resumed run drops a line too many
        if finished % config.train.checkpoint_every == 0 or finished == epochs:
            state = get_state()
            checkpoint.save(directory, finished, state, {"folds": list(chosen.name)})
        bar.set_postfix_str(f"loss {values['loss'].mean():.3f}, {values['windows'].sum():.0f} windows")
        bar.update()
    bar.close()
    lines.close()
    return state


def raw_path(run: Path, fold: str, meta: VideoMeta) -> Path:
    """Where the raw outputs of a fold for a video lie.

    Args:
      run: directory of the run.
      fold: name of the fold.
      meta: the video.

    Returns:
      A path below ``run``.
    """
    return run / "raw" / files.file_name(fold) / f"{files.file_name(meta.subject, meta.video)}.npz"


def _predict_group(run, config, problem, state, members, progress) -> None:
    """Saves the raw outputs of the group's test videos; those that are there already are kept."""
    chosen = folds.take(problem.folds, members)
    todo = [
        (place, name, problem.metas[video])
        for place, (name, videos) in enumerate(zip(chosen.name, chosen.test, strict=True))
        for video in videos
        if not raw_path(run, name, problem.metas[video]).exists()
    ]
    if not todo:
        return
    predictor = predict.make_predictor(problem.task, problem.geometry, config.window.test_hop, config.predict.chunk)
    store = jax.device_put(problem.store)
    for place, name, meta in progress(todo, desc="predict", unit="video"):
        params, extra = jax.tree.map(lambda leaf: leaf[place], (state.params, state.extra))  # noqa: B023
        predict.save_raw(raw_path(run, name, meta), predictor({"params": params, **extra}, store, meta))


# ---- Evaluate -------------------------------------------------------------------------------------------------------


class Results(NamedTuple):
    """What an evaluation found."""

    problem: problems.Problem
    metrics: dict[str, Any]  # content of metrics.json
    detections: list[Detections]  # V, survivors of NMS
    thresholds: np.ndarray  # [V] float


def evaluate(run: Path, config: Config, dataset: data.Dataset, progress: Callable[..., Any]) -> Results:
    """Decodes the raw outputs, picks each fold's threshold on its inner fold, and scores the test videos.

    Args:
      run: directory of a finished run.
      config: that of the run; options of the sections predict and evaluate may differ.
      dataset: the shards that it was trained on.
      progress: tqdm, or something with its interface.

    Returns:
      Results; ``detections.csv``, ``candidates.csv`` and ``metrics.json`` are written.

    Raises:
      UserError: the run is not finished, or was trained on other data.
    """
    recorded = runs.read_json(run / "run.json")
    if recorded["data"] != dataset.metadata["signature"]:
        raise UserError(f"{run} was trained on other data than these; expected the --data directory of that training")
    problem = problems.make(config, dataset)
    post, iou = config.predict, config.evaluate.iou
    decode = predict.make_decoder(problem.task, post.nms_iou, post.max_detections, post.per_class, post.chunk)
    found: list[Detections | None] = [None] * len(problem.metas)
    thresholds = np.zeros(len(problem.metas))
    plan = dict(zip(problem.folds.name, problem.folds.test, strict=True))

    def detect(fold: str) -> list[Detections]:
        paths = [raw_path(run, fold, problem.metas[video]) for video in plan[fold]]
        for path in paths:
            if not path.exists():
                raise UserError(f"{path}: no such file; the run is not finished: start `fedn train` again to go on")
        return [
            decode(predict.load_raw(path), problem.metas[video].num_frames)
            for path, video in zip(paths, plan[fold], strict=True)
        ]

    outer = [name for name in plan if not name.endswith(folds.INNER)]
    for name in progress(outer, desc="decode and score", unit="fold"):
        threshold = config.evaluate.threshold
        if (inner := name + folds.INNER) in plan:
            held_out = matching.pad([problem.events[video] for video in plan[inner]])
            threshold = metrics.best_threshold(matching.pad(detect(inner)), held_out, iou)
        for video, detections in zip(plan[name], detect(name), strict=True):
            found[video], thresholds[video] = detections, threshold
    result = _score(problem, found, thresholds, iou)
    moves = dataset.motion.any()  # clip features come without pictures, hence without motion
    result["baseline"] = _baseline(problem, dataset, plan, outer, iou) if moves else None
    result["thresholds"] = {name: float(thresholds[plan[name][0]]) for name in outer}
    result["config"], result["versions"] = json.loads(config.to_json()), recorded["versions"]
    result["data"] = {key: value for key, value in dataset.metadata.items() if key != "signature"} | {
        "signature": recorded["data"]
    }
    predict.write_csv(run / "candidates.csv", problem.metas, found, problem.classes)
    kept = [one._replace(valid=one.valid & (one.score >= limit)) for one, limit in zip(found, thresholds, strict=True)]
    predict.write_csv(run / "detections.csv", problem.metas, kept, problem.classes)
    runs.write_json(run / "metrics.json", result)
    return Results(problem, result, found, thresholds)


def _score(problem: problems.Problem, found: list[Detections], thresholds: np.ndarray, iou: float) -> dict[str, Any]:
    """All numbers of one set of detections."""
    subjects = [meta.subject for meta in problem.metas]
    return evaluation.evaluate(
        matching.pad(found), matching.pad(problem.events), subjects, problem.classes, thresholds,
        iou, [meta.num_frames for meta in problem.metas],
    )  # fmt: skip


def _baseline(
    problem: problems.Problem, dataset: data.Dataset, plan: dict, outer: list[str], iou: float
) -> dict[str, Any]:
    """The motion-energy spotter, scored the same way; its settings come from the training videos of each fold."""
    rows = [slice(meta.row, meta.row + meta.num_rows) for meta in problem.metas]
    tests = [plan[name] for name in outer]
    trains = [tuple(sorted(set(range(len(problem.metas))) - set(test))) for test in tests]
    found, thresholds = baseline.run(
        [dataset.motion[row] for row in rows],
        [dataset.store.valid[row] for row in rows],
        [meta.fps / problem.geometry.frames_per_row for meta in problem.metas],
        problem.events,
        trains,
        tests,
        len(problem.classes),
        problem.geometry.frames_per_row,
        iou,
    )
    return _score(problem, found, thresholds, iou)


# ---- Report ---------------------------------------------------------------------------------------------------------


def videos(results: Results) -> list[report.Video]:
    """What pages show of each video.

    Args:
      results: of ``evaluate``.

    Returns:
      V videos.
    """
    problem = results.problem
    rows = zip(problem.metas, problem.events, results.detections, results.thresholds, strict=True)
    return [report.Video(*row) for row in rows]


def write_report(run: Path, results: Results, thumbnail: Callable[..., Any]) -> Path:
    """Writes ``report.html``.

    Args:
      run: directory of the run.
      results: of ``evaluate``.
      thumbnail: (subject, video, frame indices) -> list of [H, W, 3] uint8 pictures, or None without pictures.

    Returns:
      Path of the page.
    """
    history = runs.read_metrics(run)
    return report.write(run, results.metrics, videos(results), results.problem.classes, history, thumbnail)
