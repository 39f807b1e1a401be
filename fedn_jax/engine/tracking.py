"""Where the numbers of every epoch go, beside the file that is always written: one table, one small interface.

A tracker gets the means over folds (``mean/loss``) and the numbers of each fold (``s15/loss``). Each program of a run
is a run of the tracker; started again, it goes on with the same one.
"""

import hashlib
import importlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt

log = logging.getLogger(__name__)
PROJECT = "fedn_jax"  # of the trackers that know projects or experiments
DEFAULT = ("tensorboard",)
MOST = 100  # entries that MLflow takes at once


class Start(NamedTuple):
    """What a tracker is told when a program begins, or goes on."""

    run: Path  # its directory
    program: int  # its number among those of the run
    done: int  # epochs that are done
    options: Mapping[str, Any]  # "section.key" -> value

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.run.resolve().name}/program{self.program}"

    @property
    def key(self) -> str:
        """The same whenever this program goes on, and another one for any other."""
        return hashlib.blake2b(f"{self.run.resolve()}/{self.program}".encode(), digest_size=8).hexdigest()


class Tracker(NamedTuple):
    """One run of a tracker."""

    write: Callable[[int, Mapping[str, float]], None]  # (epoch, from 1; name -> value)
    close: Callable[[], None]


class Kind(NamedTuple):
    """A tracker before a run."""

    open: Callable[[Start], Tracker]
    package: str  # to be imported, and installed by pip under the same name


def _tensorboard(start: Start) -> Tracker:
    import tensorboardX

    board = tensorboardX.SummaryWriter(
        str(start.run / "tensorboard" / f"program{start.program}"), purge_step=start.done + 1
    )

    def write(epoch: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            board.add_scalar(name, value, epoch)
        board.flush()

    return Tracker(write, board.close)


def _wandb(start: Start) -> Tracker:
    import wandb

    run = wandb.init(
        project=PROJECT, name=start.name, id=start.key, resume="allow", dir=str(start.run), config=dict(start.options),
        settings=wandb.Settings(console="off"),
    )  # fmt: skip
    return Tracker(lambda epoch, numbers: run.log(dict(numbers), step=epoch), run.finish)


def _mlflow(start: Start) -> Tracker:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client, tag = MlflowClient(), f"{PROJECT}.key"
    experiment = client.get_experiment_by_name(PROJECT)
    number = experiment.experiment_id if experiment else client.create_experiment(PROJECT)
    known = client.search_runs([number], f"tags.`{tag}` = '{start.key}'", max_results=1)
    run = known[0] if known else client.create_run(number, tags={tag: start.key}, run_name=start.name)
    options = [] if known else [Param(name, str(value)) for name, value in start.options.items()]
    for i in range(0, len(options), MOST):
        client.log_batch(run.info.run_id, params=options[i : i + MOST])

    def write(epoch: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        named = {re.sub(r"[^\w/. :-]", "_", name): value for name, value in numbers.items()}
        metrics = [Metric(name, value, now, epoch) for name, value in named.items()]
        for i in range(0, len(metrics), MOST):
            client.log_batch(run.info.run_id, metrics[i : i + MOST])

    return Tracker(write, lambda: client.set_terminated(run.info.run_id))


TRACKERS = {
    "tensorboard": Kind(_tensorboard, "tensorboardX"),
    "wandb": Kind(_wandb, "wandb"),
    "mlflow": Kind(_mlflow, "mlflow"),
}


def check(names: Sequence[str]) -> None:
    """Checks that trackers exist and are installed.

    Args:
      names: entries of ``TRACKERS``.

    Raises:
      UserError: no such tracker, or its package is missing.
    """
    for name in names:
        package = TRACKERS[errors.one_of("--track", name, TRACKERS)].package
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"--track {name}: cannot be imported ({excerpt(error)}); install it with `pip install {package}`"
            ) from error


def open_all(names: Iterable[str], start: Start) -> Tracker:
    """Several trackers as one.

    A tracker that fails later on, such as one whose server is gone, is left out with a warning: the training goes on.

    Args:
      names: entries of ``TRACKERS``.
      start: what they are told.

    Returns:
      The tracker.

    Raises:
      UserError: one cannot begin.
    """
    left: dict[str, Tracker] = {}
    for name in names:
        try:
            left[name] = TRACKERS[name].open(start)
        except Exception as error:  # whatever its library raises
            _close(left)
            if name in DEFAULT:
                raise
            raise UserError(f"--track {name}: cannot begin ({excerpt(error)}); leave it out, or set it up") from error

    def write(epoch: int, numbers: Mapping[str, float]) -> None:
        for name, tracker in list(left.items()):
            try:
                tracker.write(epoch, numbers)
            except Exception as error:  # as above
                if name in DEFAULT:  # which fails where nothing else can be written either
                    raise
                del left[name]
                log.warning(f"--track {name}: failed in epoch {epoch} ({excerpt(error)}); going on without it")

    return Tracker(write, lambda: _close(left))


def _close(trackers: Mapping[str, Tracker]) -> None:
    for name, tracker in trackers.items():
        try:
            tracker.close()
        except Exception as error:  # all is trained and written
            log.warning(f"--track {name}: was not closed ({excerpt(error)})")
