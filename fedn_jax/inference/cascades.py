"""A cascade on a new video: what its spotter finds is named by the recognisers of the folds that vote."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fedn_jax.cascade import recognise, samples
from fedn_jax.cascade.recognisers import RECOGNISERS, make_task
from fedn_jax.cascade.samplers import Spotter
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Array, Task, Tree
from fedn_jax.engine import parameters, predict, run_dir
from fedn_jax.engine.trainer import shape_of_variables
from fedn_jax.ops import windows


class Cascade(NamedTuple):
    """The trained recognisers behind a spotter."""

    training: Path  # directory of their training
    recogniser: str  # entry of ``RECOGNISERS``
    classes: list[str]
    task: Task
    folds: dict[str, Tree]  # name -> variables


def spotter_of(run: Path) -> Path:
    """The run of a cascade's spotter, which lies where it lay, seen from the cascade.

    Args:
      run: directory of the cascade.

    Returns:
      Directory of the spotter.

    Raises:
      UserError: it is not there, or its networks are not those behind which the recognisers were trained.
    """
    recorded = run_dir.read_run(run)
    if "spotter" not in recorded:
        raise UserError(f"{run}: was made by an older version, which does not name the spotter; recognise again")
    spotter = (run.resolve() / recorded["spotter"]["path"]).resolve()
    if not (spotter / "run.json").exists():
        raise UserError(
            f"{run}: the run of its spotter is not at {spotter} any more; move it back, or move both together"
        )
    if parameters.digest(spotter, recorded["folds"]) != recorded["spotter"]["networks"]:
        raise UserError(
            f"{run}: the networks in {spotter} are not those whose intervals it names; give --run a cascade made by "
            "`fedn recognise` behind them"
        )
    return spotter


def load(run: Path, folds: Sequence[str]) -> Cascade:
    """Loads trained recognisers.

    Args:
      run: directory of the cascade.
      folds: names of those that vote.

    Returns:
      The cascade.

    Raises:
      UserError: the recogniser is not trained, or was trained by another version.
    """
    training = run / recognise.TRAINING
    config, recorded = run_dir.load_config(training), run_dir.read_run(training)
    name, classes = config.cascade.recogniser, recorded["classes"]
    task = make_task(name, config, len(classes), tuple(recorded["input_shape"]))
    expected = shape_of_variables(task)
    found = {fold: parameters.load(parameters.path_of(training, fold), expected, fold)[0] for fold in folds}
    return Cascade(training, name, classes, task, found)


def make_namer(cascade: Cascade, chunk: int) -> Callable[[Spotter, np.ndarray], np.ndarray]:
    """What names intervals of new videos.

    Args:
      cascade: of ``load``.
      chunk: intervals per call of the network.

    Returns:
      name(spotter, with one video; interval [N, 2] float, frames) -> [N] int, classes: those of the highest mean
      probability over the folds.
    """
    recogniser = RECOGNISERS[cascade.recogniser]

    @jax.jit
    def program(variables: Tree, inputs: Array) -> Array:
        seen = np.ones((chunk, 1), bool)
        got = windows.Gathered(inputs[:, None], seen, seen)
        return jax.nn.softmax(predict.outputs_of(cascade.task, variables, got)["logits"])

    def shares(variables: Tree, shown: np.ndarray) -> np.ndarray:
        padded = np.pad(shown, [(0, -len(shown) % chunk), *[(0, 0)] * (shown.ndim - 1)])
        parts = [np.asarray(program(variables, padded[i : i + chunk])) for i in range(0, len(padded), chunk)]
        return np.concatenate(parts)[: len(shown)]

    def name(spotter: Spotter, interval: np.ndarray) -> np.ndarray:
        if not len(interval):
            return np.zeros(0, np.int32)
        whole, unknown = samples.whole_frames(interval, spotter.metas[0]), np.full(len(interval), -1)
        shown: dict[str, np.ndarray] = {}
        votes = []
        for fold, variables in cascade.folds.items():
            owner = fold if recogniser.of_fold else ""
            if owner not in shown:
                shown = {owner: recogniser.sampler(spotter, fold)(0, whole, unknown).astype(np.float16)}
            votes.append(shares(variables, shown[owner]))
        return np.mean(votes, 0).argmax(-1).astype(np.int32)

    return name
