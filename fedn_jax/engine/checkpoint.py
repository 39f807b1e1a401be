"""Checkpoints: atomic, checked, without padding, so that they restore on any number of devices.

Orbax writes a step under another name and renames it when it is whole, but does not notice a flipped bit; so a digest
of every array lies beside the arrays and is compared when they come back.
"""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Tree

KEEP = 2  # the last step, and the one before in case the last is damaged


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


def _manager(directory: Path) -> Any:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(max_to_keep=KEEP, create=True, enable_async_checkpointing=False)
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

    with _manager(directory) as manager:
        state = ocp.args.StandardSave(tree)
        manager.save(
            step, args=ocp.args.Composite(state=state, info=ocp.args.JsonSave(info | {"digests": digests(tree)}))
        )


def steps(directory: Path) -> list[int]:
    """The steps that are there, whole or damaged.

    Args:
      directory: of the checkpoints.

    Returns:
      Their numbers, the last first.
    """
    if not directory.is_dir():
        return []
    with _manager(directory) as manager:
        return sorted(manager.all_steps(), reverse=True)


def restore(directory: Path, template: Tree) -> tuple[int, Tree, dict] | None:
    """Reads the last step that is whole; damaged ones are moved aside, with a warning.

    Args:
      directory: of the checkpoints.
      template: a pytree of NumPy arrays of the same shapes and dtypes.

    Returns:
      (step, tree, info), or None if nothing was saved yet.

    Raises:
      UserError: there are steps, and every one is damaged.
    """
    import orbax.checkpoint as ocp

    known = steps(directory)
    for step in known:
        try:
            with _manager(directory) as manager:
                args = ocp.args.Composite(state=ocp.args.StandardRestore(template), info=ocp.args.JsonRestore())
                restored = manager.restore(step, args=args)
            tree = jax.tree.map(np.asarray, restored["state"])
            if digests(tree) != restored["info"].get("digests"):
                raise ValueError("an array does not match its digest")
            return step, tree, restored["info"]
        except (MemoryError, PermissionError):
            raise
        except Exception as error:  # whatever a damaged file raises
            taken = len(list(directory.parent.glob(f"{directory.name}-damaged-*")))
            aside = directory.parent / f"{directory.name}-damaged-{step}-{taken}"
            shutil.move(directory / str(step), aside)
            first = (str(error).splitlines() or [""])[0]
            logging.getLogger(__name__).warning(
                "checkpoint %s is damaged (%s): moved to %s, going on from the step before",
                directory / str(step), first[:120], aside,
            )  # fmt: skip
    if known:
        raise UserError(f"{directory}: every checkpoint is damaged; remove the run's directory to start afresh")
    return None


def restore_together(directories: Sequence[Path], templates: Sequence[Tree]) -> tuple[int, list[Tree]] | None:
    """Reads the last step that is whole in every directory; later steps of some of them are removed.

    What is saved together can be cut between two directories. Each keeps the step before, so they share one.

    Args:
      directories: one or more.
      templates: of each, as of ``restore``.

    Returns:
      (step, trees), or None if there is no step that all have.

    Raises:
      UserError: every step of a directory is damaged.
    """
    while True:
        shared = set.intersection(*(set(steps(directory)) for directory in directories))
        last = max(shared, default=0)
        for directory in directories:
            for step in steps(directory):
                if step > last:
                    shutil.rmtree(directory / str(step))
        if not shared:
            return None
        restored = [restore(directory, template) for directory, template in zip(directories, templates, strict=True)]
        if all(whole and whole[0] == last for whole in restored):
            return last, [whole[1] for whole in restored if whole]
