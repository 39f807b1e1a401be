"""More epochs for a run that was begun with fewer: it goes on as if it had been begun with all of them.

That holds to the last bit, and only where an epoch does not depend on how many there will be. It needs the training
state of the last epoch, which a finished run has if ``train.keep_state`` was set.
"""

import contextlib
import itertools
import json
import logging
from pathlib import Path
from typing import Any

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Config
from fedn_jax.engine import checkpoint, parameters, programs, run_dir, train_step

log = logging.getLogger(__name__)
OPTION = "train.epochs"


def extend(run: Path, config: Config, facts: dict[str, Any]) -> None:
    """Prepares a run to go on to more epochs; what it has so far is moved into ``RUN/after_N_epochs``.

    Killed at any moment, it can be done again. To be called by one process at a time.

    Args:
      run: directory; where it holds no run, or one of as many epochs, nothing happens.
      config: with the new number of epochs.
      facts: see ``run_dir.check_unchanged``.

    Raises:
      UserError: another configuration or other data; epochs that depend on their number; a training state that was
        not kept; or a process is at work in the run.
    """
    if not (run / "run.json").exists():
        return
    before, after = run_dir.load_config(run).train.epochs, config.train.epochs
    if after <= before:
        return
    recorded = run_dir.check_unchanged(run, config, facts, (OPTION,))
    more = f"{run}: holds a run of {before} epochs, now {after} are asked for"
    if train_step.SCHEDULES[config.train.schedule] is not None:
        raise UserError(
            f"{more}; train.schedule={config.train.schedule} depends on their number, so that is another training: "
            "choose another --out"
        )
    with contextlib.ExitStack() as locks:
        for number, program in enumerate(recorded.get("programs", ())):
            locks.enter_context(programs.hold(run, number))
            names = [recorded["folds"][fold] for fold in program["folds"]]
            trained = any(parameters.path_of(run, name).exists() for name in names)
            if trained and before not in checkpoint.steps(programs.checkpoints(run, number)):
                raise UserError(
                    f"{more}; its training state (Adam's moments) was not kept, as it is with "
                    "--config.train.keep_state=True: choose another --out"
                )
        networks = sorted((run / "parameters").glob("*.safetensors"))
        made = [path for path in [*networks, *(run / name for name in run_dir.RESULTS)] if path.exists()]
        old = _free(run / f"after_{before}_epochs")
        for path in made:
            (old / path.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
            path.rename(old / path.relative_to(run))
        run_dir.write_record(run / "config.json", json.loads(config.to_json()))
    log.info(f"{run}: goes on to {after} epochs" + (f"; what it had after {before} is in {old}" if made else ""))


def _free(path: Path) -> Path:
    """The path, or, where an extension that was cut has left something there, one like it."""
    others = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], others) if not one.exists())
