"""A search for options with optuna: batches of trials, scored on inner folds, by any number of workers.

OUT/journal.log     the study (or a database, --storage)     OUT/report.html     the page
OUT/workers/        a lock per worker                        OUT/best.py         the best trial as a configuration

A finished trial is never lost or repeated. A trial whose worker has died is closed as failed, and proposed again with
the same values; what it had trained is trained again. The system releases a worker's lock however it dies.
"""

import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import config as configs
from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import Progress, count, excerpt
from fedn_jax.core.types import Config
from fedn_jax.data import shards
from fedn_jax.engine.trainer import Trainer
from fedn_jax.experiments import search_space, trials
from fedn_jax.experiments.search_space import Choice, Settings

NAME = "fedn"  # of the study in its storage
WORKER, REPLACES, REASON, POINT = "worker", "replaces", "reason", "point"  # what a trial carries
POLL = 2.0  # seconds between two looks at the trials of other processes
MAY_GROW = ("trials", "batch")  # settings that a study may go on with

log = logging.getLogger(__name__)


class Search(NamedTuple):
    """What is searched, and where it is kept."""

    out: Path
    config: Config  # what trials change
    space: Mapping[str, Any]  # option -> distribution
    settings: Settings
    source: str  # the configuration's file, as the user named it
    own: str = ""  # what stands in that file, if it adds code that trials need


def run(search: Search, dataset: shards.Dataset, storage: str | None, progress: Progress) -> Any:
    """Asks for batches of trials and trains them, until the study has as many as it should.

    While other workers train the last ones it waits: what is best is not known before, and a worker may die.

    Args:
      search: what is searched; checked with ``search_space.check``.
      dataset: loaded shards.
      storage: URL of a database; None: a journal file in ``search.out``.
      progress: bars.

    Returns:
      The study.

    Raises:
      UserError: the storage holds another study, or no trial can be trained.
    """
    search.out.mkdir(parents=True, exist_ok=True)
    worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    trainers: dict[str, Trainer] = {}
    waiting = False
    with files.lock(search.out / "workers" / worker):
        with files.wait_for_lock(search.out):
            study = _open(search, dataset, storage)
        while True:
            with files.wait_for_lock(search.out):
                _requeue_abandoned(study, search.out)
                batch = _ask(study, search, worker)
                others = _under_way(study, worker)
            if batch:
                _train(study, batch, search, dataset, trainers, progress)
                continue
            if not others:
                return study
            if not waiting:
                log.info(
                    f"{count(others, 'trial')} left, at which other processes work; waiting, to take over if one dies"
                )
            waiting = True
            time.sleep(POLL)


def library() -> Any:
    """Optuna, without its own messages.

    Returns:
      The module.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Turn:
    """Optuna's lock of the journal as a lock of the system, which is given back even when a process is killed.

    Optuna's own locks are files that a killed process leaves behind.
    """

    def __init__(self, out: Path):
        """Takes nothing yet.

        Args:
          out: directory of the sweep.
        """
        self.directory = out / ".locks" / "journal"
        self.held = contextlib.ExitStack()

    def acquire(self) -> bool:
        """Waits for the turn of this process.

        Returns:
          True.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.held.enter_context(files.wait_for_lock(self.directory))
        return True

    def release(self) -> None:
        """Gives it back, if it was taken."""
        self.held.close()


def _open(search: Search, dataset: shards.Dataset, storage: str | None) -> Any:
    """The study, new or as it was left."""
    optuna = library()
    if storage:
        from sqlalchemy.pool import NullPool

        try:
            # Without a pool, so that no connection stays open.
            kept = optuna.storages.RDBStorage(storage, engine_kwargs={"poolclass": NullPool})
        except Exception as error:  # whatever the database raises
            raise UserError(
                f"--storage {storage}: cannot be used ({excerpt(error)}); expected e.g. sqlite:///FILE"
            ) from error
    else:
        backend = optuna.storages.journal.JournalFileBackend(str(search.out / "journal.log"), Turn(search.out))
        kept = optuna.storages.JournalStorage(backend)
    study = optuna.create_study(storage=kept, study_name=NAME, direction="maximize", load_if_exists=True)
    facts = _facts(search, dataset)
    known = study.user_attrs.get("facts")
    if known is None:
        study.set_user_attr("facts", facts)
        if search.settings.sampler == "grid":
            for number, point in enumerate(search_space.grid(search.space)[: search.settings.trials]):
                study.enqueue_trial(point, user_attrs={POINT: number})
    elif known != facts:
        changed = ", ".join(sorted(key for key in facts if known.get(key) != facts[key]))
        raise UserError(f"{search.out} holds a sweep with another {changed}; choose another --out")
    return study


def _facts(search: Search, dataset: shards.Dataset) -> dict[str, Any]:
    """What a study must not change, as JSON."""
    values = lambda option: option.values if isinstance(option, Choice) else list(option)
    searched = {key: values(option) for key, option in search.space.items()}
    settings = {key: value for key, value in search.settings._asdict().items() if key not in MAY_GROW}
    facts = {
        "data": dataset.metadata["signature"], "configuration": configs.flatten(json.loads(search.config.to_json())),
        "SPACE": searched, "SWEEP": settings,
    }  # fmt: skip
    return json.loads(json.dumps(facts))


# ---- Proposing -------------------------------------------------------------------------------------------------------


def _requeue_abandoned(study: Any, out: Path) -> None:
    """Closes the trials of workers that have died, and queues their values again."""
    state = library().trial.TrialState
    known = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs.get(REPLACES) for trial in known}
    for trial in known:
        if trial.state != state.RUNNING or _is_alive(out, trial.user_attrs.get(WORKER)):
            continue
        if trial.number not in replaced:  # a worker may have died between the two lines below
            study.enqueue_trial(trial.params, user_attrs={REPLACES: trial.number})
        study.tell(trial.number, state=state.FAIL)


def _is_alive(out: Path, worker: str | None) -> bool:
    """Whether a worker holds its lock; a trial without one was cut while it was being proposed."""
    if worker is None:
        return False
    try:
        with files.lock(out / "workers" / worker):
            return False
    except UserError:
        return True


def _under_way(study: Any, worker: str) -> int:
    """How many trials other workers train."""
    state = library().trial.TrialState
    known = study.get_trials(deepcopy=False, states=(state.RUNNING,))
    return sum(trial.user_attrs.get(WORKER) != worker for trial in known)


def _count_trials(study: Any) -> int:
    """Trials that are done or under way; those that were closed and queued again count once."""
    state = library().trial.TrialState
    known = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs.get(REPLACES) for trial in known}
    return sum(trial.state != state.WAITING and trial.number not in replaced for trial in known)


def _ask(study: Any, search: Search, worker: str) -> list[Any]:
    """The next batch; those that were queued come first."""
    optuna, settings = library(), search.settings
    done = _count_trials(study)
    total = settings.trials
    if settings.sampler == "grid":
        total = min(total, len(search_space.grid(search.space)))
    study.sampler = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=settings.seed + done, n_startup_trials=min(8, total // 2)),
        "random": lambda: optuna.samplers.RandomSampler(seed=settings.seed + done),
        "grid": lambda: optuna.samplers.RandomSampler(seed=settings.seed),  # every point is queued already
    }[settings.sampler]()
    batch = []
    for _ in range(min(settings.batch, total - done)):
        trial = study.ask(_distributions(search.space))
        trial.set_user_attr(WORKER, worker)
        batch.append(trial)
    return batch


def _distributions(searched: Mapping[str, Any]) -> dict[str, Any]:
    kinds = library().distributions
    return {
        key: kinds.CategoricalDistribution(option.values)
        if isinstance(option, Choice)
        else kinds.FloatDistribution(option.low, option.high, log=option.log)
        for key, option in searched.items()
    }


# ---- Training --------------------------------------------------------------------------------------------------------


def _train(study, batch, search, dataset, trainers, progress) -> None:
    """Trains a batch, structure by structure, and tells the study what came out."""
    state = library().trial.TrialState
    settings = search.settings
    plan = trials.Plan(settings.seeds, settings.objective, settings.rungs, settings.folds)
    by_structure: dict[str, dict[int, Config]] = {}
    by_number = {trial.number: trial for trial in batch}
    for trial in batch:
        try:
            config = search_space.apply(search.config, trial.params)
            by_structure.setdefault(configs.structure(config), {})[trial.number] = config
        except UserError as error:
            _fail(study, trial, str(error))

    def report(epochs: int, scores: dict[int, float]) -> set[int]:
        for number, score in scores.items():
            if np.isfinite(score):
                by_number[number].report(score, epochs)
        kept = survivors(study, epochs, scores)
        for number in set(scores) - kept:
            if np.isfinite(scores[number]):
                study.tell(number, state=state.PRUNED)
        return kept

    for same in _known_first(by_structure, trainers):
        try:
            scores = trials.run(same, plan, dataset, trainers, report, progress)
        except UserError as error:
            for number in same:
                _fail(study, by_number[number], str(error))
            if _nothing_works(study):
                raise
            continue
        for number, score in scores.items():
            if not np.isfinite(score):
                _fail(study, by_number[number], "the loss was not a finite number")
            elif study.get_trials(deepcopy=False)[number].state == state.RUNNING:
                study.tell(number, score)


def _known_first(
    by_structure: Mapping[str, dict[int, Config]], trainers: Mapping[str, Trainer]
) -> list[dict[int, Config]]:
    """Trials by structure, those first whose trainer is still there."""
    return [by_structure[key] for key in sorted(by_structure, key=lambda key: key not in trainers)]


def _nothing_works(study: Any) -> bool:
    state = library().trial.TrialState
    return not study.get_trials(deepcopy=False, states=(state.COMPLETE, state.PRUNED))


def _fail(study: Any, trial: Any, reason: str) -> None:
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=library().trial.TrialState.FAIL)


def survivors(study: Any, epochs: int, scores: Mapping[int, float]) -> set[int]:
    """The trials that go on after a rung: those that reach the median of all scores known there, once there are four.

    A trial that failed does not count: if its worker was killed, the trial that does it again does.

    Args:
      study: of optuna; every trial's score at the rung is reported to it.
      epochs: the rung.
      scores: number -> score of the trials in question.

    Returns:
      Numbers of those that go on.
    """
    failed = library().trial.TrialState.FAIL
    known = [trial.intermediate_values[epochs] for trial in study.get_trials(deepcopy=False)
             if epochs in trial.intermediate_values and trial.state != failed]  # fmt: skip
    limit = np.median(known) if len(known) >= 4 else -np.inf
    return {number for number, score in scores.items() if np.isfinite(score) and score >= limit}
