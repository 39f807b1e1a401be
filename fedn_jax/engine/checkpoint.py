"""Checkpoints of a training: atomic, checked, without padding, so that they restore on any number of devices.

Orbax writes a step under another name and renames it when it is whole, but does not notice a flipped bit; so a digest
of every array lies beside the arrays and is compared when they come back. A step that is damaged, or that runs which
are trained together do not share, is moved aside; only what was saved after a whole shared step is removed.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.core.types import Tree

NOTHING: Mapping[str, Any] = {}
KEEP = 2  # the last step, and the one before in case the last is damaged


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """One digest of named arrays.

    Args:
      arrays: name -> NumPy array.

    Returns:
      A digest of names, dtypes, shapes and bytes.
    """
    whole = hashlib.blake2b(digest_size=16)
    for name, value in sorted(digests(dict(arrays)).items()):
        whole.update(f"{name}{value}".encode())
    return whole.hexdigest()


def digests(tree: Tree) -> dict[str, str]:
    """A digest of every array of a tree.

    Args:
      tree: a pytree of NumPy arrays.

    Returns:
      path of the leaf -> digest of its dtype, shape and bytes.
    """
    result = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.ascontiguousarray(leaf)
        digest = hashlib.blake2b(f"{leaf.dtype}{leaf.shape}".encode(), digest_size=16)
        digest.update(leaf.data)
        result[jax.tree_util.keystr(path)] = digest.hexdigest()
    return result


def layout(tree: Tree) -> dict[str, list]:
    """What a tree holds, without the numbers.

    Args:
      tree: a pytree of arrays.

    Returns:
      path of the leaf -> [dtype, shape].
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): [str(leaf.dtype), list(leaf.shape)] for path, leaf in leaves}


def difference(got: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """How what a file holds differs from what the code expects.

    Args:
      got: name -> what it is.
      expected: the same.

    Returns:
      The first difference in words; "" if there is none.
    """
    for name in sorted({*got, *expected}):
        if name not in got:
            return f"it has no {name}"
        if name not in expected:
            return f"{name} is not known"
        if got[name] != expected[name]:
            return f"{name} is {got[name]}, expected {expected[name]}"
    return ""


def _manager(directory: Path, read_only: bool) -> Any:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        max_to_keep=None if read_only else KEEP, create=not read_only, read_only=read_only,
        enable_async_checkpointing=False,
    )  # fmt: skip
    return ocp.CheckpointManager(directory.absolute(), options=options)


def save(directory: Path, step: int, tree: Tree, info: dict) -> None:
    """Writes one step; at any moment the directory holds a whole one.

    Args:
      directory: of the checkpoints; made if missing.
      step: number of the step.
      tree: a pytree of NumPy arrays, leaves [K, ...] without padding.
      info: JSON-serialisable facts to keep beside it.
    """
    import orbax.checkpoint as ocp

    info = info | {"layout": layout(tree), "digests": digests(tree)}
    with _manager(directory, False) as manager:
        manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(tree), info=ocp.args.JsonSave(info)))


class Writer:
    """Saves the state of a training by time, beside the training."""

    def __init__(self, minutes: float):
        """Starts the clock.

        Args:
          minutes: between two saves; 0 saves whenever it may.
        """
        self.seconds = 60 * minutes
        self.last = time.monotonic()
        self.pool = ThreadPoolExecutor(1)
        self.saving: Future | None = None

    def due(self) -> bool:
        """Whether it is time to save, and the last save is done. Errors of that are raised here.

        Returns:
          True if ``start`` should be called.
        """
        if time.monotonic() - self.last < self.seconds:
            return False
        if self.seconds and self.saving and not self.saving.done():
            return False
        self.wait()
        return True

    def start(self, directories: Sequence[Path], step: int, trees: Sequence[Tree], info: Sequence[dict]) -> None:
        """Begins to save one step in several directories, and returns at once.

        Args:
          directories: one or more.
          step: number of the step.
          trees: of each; not to be changed afterwards.
          info: of each, as of ``save``.
        """
        self.last = time.monotonic()

        def write() -> None:
            for directory, tree, facts in zip(directories, trees, info, strict=True):
                save(directory, step, tree, facts)

        self.saving = self.pool.submit(write)

    def wait(self) -> None:
        """Waits until what was begun is saved, and raises its errors."""
        if self.saving:
            self.saving.result()
            self.saving = None

    def close(self) -> None:
        """Waits for the last save. Its errors are not raised: an error is on its way already, or all is trained."""
        self.pool.shutdown(wait=True)


def steps(directory: Path) -> list[int]:
    """The steps that are there, whole or damaged.

    Args:
      directory: of the checkpoints.

    Returns:
      Their numbers, the last first.
    """
    if not directory.is_dir():
        return []
    with _manager(directory, True) as manager:
        return sorted(manager.all_steps(), reverse=True)


def restore(directory: Path, template: Tree, facts: Mapping[str, Any] = NOTHING) -> tuple[int, Tree, dict] | None:
    """Reads the last step that is whole; damaged ones are moved aside, with a warning.

    Args:
      directory: of the checkpoints.
      template: a pytree of NumPy arrays of the same shapes and dtypes.
      facts: what must have been kept beside it.

    Returns:
      (step, tree, info), or None if nothing was saved yet.

    Raises:
      UserError: there are steps, and every one is damaged; or one is whole and has other facts, or was written by
        another version.
    """
    known = steps(directory)
    for step in known:
        try:
            return step, *_read(directory, step, template, facts)
        except (MemoryError, PermissionError, UserError):
            raise
        except Exception as error:  # whatever a damaged file raises
            taken = len(list(directory.parent.glob(f"{directory.name}-damaged-*")))
            aside = directory.parent / f"{directory.name}-damaged-{step}-{taken}"
            shutil.move(directory / str(step), aside)
            logging.getLogger(__name__).warning(
                "checkpoint %s is damaged (%s): moved to %s, going on from the step before",
                directory / str(step), excerpt(error), aside,
            )  # fmt: skip
    if known:
        raise UserError(f"{directory}: every checkpoint is damaged; remove the run's directory to start afresh")
    return None


def why_not(directory: Path, step: int, template: Tree, facts: Mapping[str, Any]) -> str:
    """Why a step cannot be read; nothing is moved.

    Args:
      directory: of the checkpoints.
      step: its number.
      template: see ``restore``.
      facts: see ``restore``.

    Returns:
      In words; "" if it can be read.
    """
    try:
        _read(directory, step, template, facts)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # whatever a damaged file raises
        return excerpt(error)
    return ""


def _read(directory: Path, step: int, template: Tree, facts: Mapping[str, Any]) -> tuple[Tree, dict]:
    """(tree, info) of one step. A difference in structure is a UserError; what is damaged raises anything else."""
    import orbax.checkpoint as ocp

    with _manager(directory, True) as manager:
        info = manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore()))["info"]
        if found := difference(info.get("layout", {}), layout(template)):
            raise UserError(
                f"{directory / str(step)}: was written by another version, or for another configuration: {found}; "
                "finish the run with that version, or train into another --out"
            )
        if found := difference({name: info.get(name) for name in facts}, facts):
            raise UserError(
                f"{directory / str(step)}: was moved here from another place: {found}; restore what was here, or train "
                "into another --out"
            )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(template))
        tree = jax.tree.map(np.asarray, manager.restore(step, args=args)["state"])
    if digests(tree) != info["digests"]:
        raise ValueError("an array does not match its digest")
    return tree, info


def restore_together(
    directories: Sequence[Path], templates: Sequence[Tree], facts: Sequence[Mapping[str, Any]]
) -> tuple[int, list[Tree]] | None:
    """Reads the last step that is whole in every directory.

    What is saved together can be cut between two directories: some have a later step than others. Once the shared
    step was read whole everywhere, later ones are removed, as they will be written again, the same.

    Args:
      directories: one or more.
      templates: of each, as of ``restore``.
      facts: of each, as of ``restore``.

    Returns:
      (step, trees), or None if no directory has a step.

    Raises:
      UserError: every step of a directory is damaged, or some have steps and share none.
    """
    while True:
        known = {directory: steps(directory) for directory in directories}
        shared = set.intersection(*(set(have) for have in known.values()))
        if not shared:
            _refuse_lost(known)
            return None
        last = max(shared)
        try:
            each = list(zip(directories, templates, facts, strict=True))
            trees = [_read(directory, last, template, about)[0] for directory, template, about in each]
        except (MemoryError, PermissionError, UserError):
            raise
        except Exception:  # a damaged step: ``restore`` moves it aside, or says that nothing whole is left
            for directory, template, about in each:
                restore(directory, template, about)
            continue
        for directory in directories:
            for step in known[directory]:
                if step > last:
                    shutil.rmtree(directory / str(step))
        return last, trees


def _refuse_lost(known: Mapping[Path, Sequence[int]]) -> None:
    """Directories without a shared step: fine if nothing was saved, or if the first save of all was cut in between."""
    saved = {step for found in known.values() for step in found}
    if len(saved) > 1:
        have = "; ".join(f"{name} has {', '.join(map(str, found)) or 'none'}" for name, found in known.items())
        raise UserError(
            f"runs that are trained together share no checkpoint ({have}); restore what is missing, or remove the "
            "directories of all these runs to start afresh"
        )
    for directory, found in known.items():
        for step in found:
            aside = directory.parent / f"{directory.name}-alone-{step}"
            shutil.move(directory / str(step), aside)
            logging.getLogger(__name__).warning(
                "checkpoint %s has no counterpart in the runs that are trained with it: moved to %s, starting afresh",
                directory / str(step), aside,
            )  # fmt: skip
