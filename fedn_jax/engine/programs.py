"""Which folds are trained together, and by which process: programs are agreed on once, then claimed by locks.

A program is some folds of some runs that train as one. What was agreed is written into every run's run.json, so that
a training that goes on, on any devices, or another process that helps, trains the same programs, and so ends with the
same bits. Nothing is communicated between programs.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedn_jax.core import files
from fedn_jax.engine import parameters, run_dir


class Share(NamedTuple):
    """The folds of one run that one program trains; their checkpoints lie together."""

    run: int  # index of the run
    number: int  # of the program among those of the run
    folds: tuple[int, ...]  # indices


def agree(
    runs: Sequence[Path],
    recorded: Sequence[dict],
    wanted: Sequence[int],
    split: Callable[[Sequence[tuple[int, int]]], Sequence[range]],
) -> list[list[Share]]:
    """The shares of every program; what is agreed on for the first time is written into the runs' run.json.

    To be called by one process at a time.

    Args:
      runs: directories.
      recorded: content of the run.json of each.
      wanted: indices of the folds that each run shall train.
      split: (index of a run, index of a fold) of all that is new -> ranges of that list, one per program.

    Returns:
      One list per program; what was begun comes first, as it was begun.
    """
    begun = {
        program["plan"]
        for run, facts in zip(runs, recorded, strict=True)
        for number, program in enumerate(facts.get("programs", ()))
        if _begun(run, number, [facts["folds"][fold] for fold in program["folds"]])
    }
    entries = [[one for one in facts.get("programs", ()) if one["plan"] in begun] for facts in recorded]
    known = [{fold for program in programs for fold in program["folds"]} for programs in entries]
    fresh = [(run, fold) for run in range(len(runs)) for fold in wanted if fold not in known[run]]
    if fresh:
        name = f"{zlib.crc32(repr((fresh, *map(str, runs), *map(len, entries))).encode()):08x}"
        for index, part in enumerate(split(fresh)):
            pairs = fresh[part.start : part.stop]
            for run in dict.fromkeys(run for run, _ in pairs):
                folds = [fold for owner, fold in pairs if owner == run]
                entries[run].append({"plan": name, "index": index, "folds": folds})
        for run in dict.fromkeys(run for run, _ in fresh):
            run_dir.write_record(runs[run] / "run.json", recorded[run] | {"programs": entries[run]})
    programs: dict[tuple[str, int], list[Share]] = {}
    for run, own in enumerate(entries):
        for number, program in enumerate(own):
            share = Share(run, number, tuple(program["folds"]))
            programs.setdefault((program["plan"], program["index"]), []).append(share)
    return [shares for shares in programs.values() if any(set(share.folds) & set(wanted) for share in shares)]


def _begun(run: Path, number: int, folds: Sequence[str]) -> bool:
    """Whether a program left something, or a process is at work on it."""
    if checkpoints(run, number).exists() or run_dir.metrics_path(run, number).exists():
        return True
    if any(parameters.path_of(run, fold).exists() for fold in folds):
        return True
    try:
        with hold(run, number):
            return False
    except files.Held:
        return True


def hold(run: Path, number: int) -> contextlib.AbstractContextManager[None]:
    """Holds one program of one run, see ``files.lock``.

    Args:
      run: directory of the run.
      number: of the program among those of the run.

    Returns:
      A context; entering it raises ``files.Held`` where another process holds the program.
    """
    return files.lock(run / ".locks" / f"program{number}")


def checkpoints(run: Path, number: int) -> Path:
    """Where the training states of a program lie until it is trained.

    Args:
      run: directory of the run.
      number: of the program among those of the run.

    Returns:
      A path below ``run``.
    """
    return run / "checkpoints" / f"program{number}"


@contextlib.contextmanager
def claim(runs: Sequence[Path], shares: Sequence[Share]) -> Iterator[bool]:
    """Holds a program, unless another process does; the system gives it back even when the process is killed.

    Args:
      runs: directories.
      shares: of the program.

    Yields:
      Whether it is held here.
    """
    with contextlib.ExitStack() as locks:
        try:
            for share in shares:
                locks.enter_context(hold(runs[share.run], share.number))
        except files.Held:
            locks.close()
            yield False
        else:
            yield True
