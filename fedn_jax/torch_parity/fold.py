"""Level 9: a whole fold of the built-in data set, from the first weights to the metrics, each side on its own.

Both sides get the same initial weights and are told which windows an epoch draws, in which order; everything else,
cutting windows to suppressing detections, each does itself. The score threshold comes from the fold's inner fold.
Equal zeros would say nothing, so every seed must spot something, and every number must be above 0 for some seed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core.text import percent
from fedn_jax.core.types import Detections, Folds
from fedn_jax.data import shards, splits
from fedn_jax.data.problem import Problem, make_problem
from fedn_jax.engine import predict, train_step
from fedn_jax.evaluation import all_metrics, headline, matching, thresholds
from fedn_jax.torch_parity import cases, detections, measure, training
from fedn_jax.torch_parity import network as networks
from fedn_jax.torch_parity.measure import Difference, Level

TOLERANCE = 5e-4  # equal to 3 decimals
SEEDS, EPOCHS, BATCH = (0, 1, 2), 20, 8  # after 12 epochs two of three seeds spot next to nothing
OPTIONS = {
    "data.standardize": "video", "train.learning_rate": 5e-3, "train.batch_size": BATCH, "train.negatives": 1,
    "predict.nms_iou": 0.1, "predict.max_detections": 30, "window.test_hop": 32, "window.train_hop": 32,
    "window.segments": 64, "model.head_depth": 1, "anchors.reaches": [[0, 16], [8, 32], [16, 64]],
}  # fmt: skip
NUMBERS = {  # what is compared: name -> where it lies in metrics.json
    **{headline.NUMBERS[name].title: headline.NUMBERS[name].path for name in headline.SHARES},
    "Recognition macro-F1": "recognition/macro_f1",
    "Oracle F1": "oracle/spotting/f1",
}
SPOTTED = headline.NUMBERS["f1_s"].title


Numbers = dict[str, float | None]


class Plan(NamedTuple):
    """One fold with its inner fold, and the windows they draw from."""

    pair: cases.Pair
    problem: Problem
    folds: Folds  # the fold and its inner one
    batches: list[np.ndarray]  # per fold: [steps, BATCH] int32, -1 pads


def plan(dataset: shards.Dataset, seed: int, dtype: str) -> Plan:
    """Sets the fold up.

    Args:
      dataset: the videos.
      seed: of the initial weights and of the draws.
      dtype: float32 or float64; random numbers of the two differ, and so do the windows that they draw.

    Returns:
      The plan.
    """
    config = cases.configure({**OPTIONS, "seed": seed})
    problem = make_problem(config, dataset)
    pair = cases.make(config, len(problem.classes), problem.store.inputs.shape[1])
    both, hyper, batches = splits.take(problem.folds, (0, 1)), configs.to_hyper(pair.config), []
    steps, negatives = splits.steps_per_epoch(both, BATCH, config.train.negatives), config.train.negatives
    for k in range(2):
        fold = train_step.Fold(both.key[k], both.positive[k], both.negative[k], both.census[k])
        with jax.enable_x64(dtype == "float64"):
            keys = [train_step.epoch_keys(hyper, fold, epoch)[0] for epoch in range(EPOCHS)]
            drawn = [train_step.draw(key, fold, len(problem.windows.start), negatives, steps * BATCH) for key in keys]
        batches.append(np.concatenate([np.asarray(one).reshape(steps, BATCH) for one in drawn]))
    return Plan(pair, problem, both, batches)


def ours(setting: Plan, dtype: str) -> Numbers:
    """Trains and evaluates our side.

    Args:
      setting: of ``plan``.
      dtype: float32 or float64.

    Returns:
      Name of a number -> its value; None where it does not exist.
    """
    pair, problem, post = setting.pair, setting.problem, setting.pair.config.predict
    store = problem.store._replace(inputs=problem.store.inputs.astype(dtype))
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        epoch = jax.jit(
            train_step.make_train_epoch(pair.task, pair.geometry, BATCH, pair.config.train.negatives,
                                   len(setting.batches[0]) // EPOCHS),
            compiler_options=measure.HASTY,
        )  # fmt: skip
        predictor = predict.make_predictor(pair.task, pair.geometry, pair.config.window.test_hop, 8)
        trained = []
        for k in range(2):
            fold = train_step.Fold(
                *(column[k] for column in (setting.folds.key, *setting.folds[2:4], setting.folds.census))
            )
            hyper = configs.to_hyper(pair.config)
            state = training.start(networks.cast(pair.params, dtype), hyper)
            for number in range(EPOCHS):
                state, _ = epoch(state, fold, hyper, number, store, problem.windows)
            trained.append({"params": state.params})

    def detect(k: int, video: int) -> Detections:
        meta = problem.metas[video]
        with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
            outputs = predict.fetch(predictor(trained[k], jax.device_put(store), meta))
        return detections.ours(
            pair, outputs, meta.num_frames, dtype, (post.nms_iou, post.max_detections, post.per_class)
        )

    return _score(setting, detect)


def theirs(setting: Plan, dtype: str) -> Numbers:
    """Trains and evaluates the reference.

    Args:
      setting: of ``plan``.
      dtype: float32 or float64.

    Returns:
      Name of a number -> its value; None where it does not exist.
    """
    import torch

    pair, problem, post = setting.pair, setting.problem, setting.pair.config.predict
    videos = cases.Data(problem.store, problem.metas, problem.events, pair.geometry.frames_per_row)
    every = cases.batch(pair, videos, range(len(problem.windows.start)), dtype).theirs
    trained = [training.peer_steps(pair, every, batches, dtype)[0].eval() for batches in setting.batches]
    cut = cases.peers_windows(pair, videos, pair.config.window.test_hop)

    def detect(k: int, video: int) -> Detections:
        given, meta = cut[video], problem.metas[video]
        with torch.no_grad():
            frames = given["frames"].to(getattr(torch, dtype))
            tensors = trained[k](frames, given["frames_valid"], given["segments_inside"])
        outputs = {name: tensors[name].numpy() for name in ("offsets", "free", "logits", "positions")}
        outputs["starts"] = given["starts"].numpy()
        return detections.theirs(
            pair, outputs, meta.num_frames, dtype, (post.nms_iou, post.max_detections, post.per_class)
        )

    return _score(setting, detect)


def _score(setting: Plan, detect: Callable[[int, int], Detections]) -> Numbers:
    """Numbers of the test videos, with the threshold that is best on the inner fold's."""
    problem, tests = setting.problem, setting.folds.test
    held = matching.pad([detect(1, video) for video in tests[1]])
    known = matching.pad([problem.events[video] for video in tests[1]])
    threshold = thresholds.choose(setting.pair.config, False, (held, known), 0.5).value
    found = matching.pad([detect(0, video) for video in tests[0]])
    true = matching.pad([problem.events[video] for video in tests[0]])
    subjects = [problem.metas[video].subject for video in tests[0]]
    result = all_metrics.evaluate_detections(found, true, subjects, problem.classes, threshold)
    numbers = {name: headline.value(result, path) for name, path in NUMBERS.items()}
    return numbers | {"Score threshold": threshold}


def compare(values: Sequence[tuple[int, Numbers, Numbers]]) -> list[Difference]:
    """Differences of the two sides.

    Args:
      values: (seed, our numbers, the reference's) each.

    Returns:
      One per number and seed, but not where neither side has it; an infinite one where one side has not, where a seed
      spots nothing, and for a number that is 0 with every seed.
    """
    found: list[Difference] = []
    for seed, one, two in values:
        for name in (name for name in two if (one[name], two[name]) != (None, None)):
            pair = [np.nan if side[name] is None else side[name] for side in (one, two)]
            found.append(measure.difference(f"{name}, seed {seed}", *pair, 1.0))
        if not two[SPOTTED]:
            found.append(Difference(f"{SPOTTED}, seed {seed}: nothing is spotted, nothing to compare", np.inf, np.inf))
    silent = [name for name in NUMBERS if not any(two[name] for _, _, two in values)]
    return found + [Difference(f"{name}: 0 with every seed, nothing to compare", np.inf, np.inf) for name in silent]


def run(
    dataset: shards.Dataset, precisions: tuple[str, ...] = ("float64", "float32"), seeds: tuple[int, ...] = SEEDS
) -> Iterator[Level]:
    """The fold with several seeds: the difference of the two sides beside that of two seeds.

    Args:
      dataset: the videos.
      precisions: float64 is judged; with float32 the first seed's difference in float32 is told, too.
      seeds: of weights and draws.

    Yields:
      One line.
    """
    values = []
    for seed in seeds:
        setting = plan(dataset, seed, "float64")
        values.append((seed, ours(setting, "float64"), theirs(setting, "float64")))
    shown = [headline.NUMBERS[name].title for name in ("f1_s", "map_s", "map_d")]
    spread = "; ".join(f"{name} {', '.join(percent(two[name]) for _, _, two in values)} %" for name in shown)
    spread = f"spread over seeds {', '.join(map(str, seeds))}: {spread}"
    if "float32" in precisions:
        setting = plan(dataset, seeds[0], "float32")
        one, two = ours(setting, "float32"), theirs(setting, "float32")
        apart = max(abs((one[name] or 0) - (two[name] or 0)) for name in one)
        spread += f"; in float32, seed {seeds[0]}, numbers are {apart:.1e} apart at most (not judged)"
    yield measure.judge("9 fold", "metrics", "float64", TOLERANCE, compare(values), spread)
