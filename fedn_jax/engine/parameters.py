"""The trained variables of one fold as one file: what prediction needs, without the rest of the training."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fedn_jax.core import files
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import excerpt
from fedn_jax.core.types import Tree
from fedn_jax.engine import checkpoint

EPOCHS = "parameters/epochs"  # of a run


def path_of(run: Path, fold: str, epoch: int | None = None) -> Path:
    """Where the variables of a fold lie.

    Args:
      run: directory of the run.
      fold: its name.
      epoch: the one after which ``train.keep_every`` kept them; None: those of the whole training.

    Returns:
      A path below ``run``.
    """
    room = run / "parameters" if epoch is None else run / EPOCHS / f"{epoch:05d}"
    return room / f"{files.file_name(fold)}.safetensors"


def kept(run: Path) -> list[int]:
    """The epochs of which variables were kept.

    Args:
      run: directory of the run.

    Returns:
      Numbers of epochs, rising; none without ``train.keep_every``.
    """
    return sorted(int(path.name) for path in (run / EPOCHS).glob("[0-9]" * 5))


def save(path: Path, variables: Tree, facts: Mapping[str, Any]) -> None:
    """Writes the variables of one fold, whole or not at all.

    Args:
      path: of ``path_of``.
      variables: {"params": ..., others}, NumPy.
      facts: to keep beside them; text, or what text can say.
    """
    from safetensors.numpy import save_file

    flat = {name: np.ascontiguousarray(leaf) for name, leaf in _flat(variables).items()}
    beside = {name: str(value) for name, value in facts.items()} | {"digest": checkpoint.digest(flat)}
    with files.replacing(path) as part:
        save_file(flat, part, beside)


def load(path: Path, template: Tree, fold: str) -> tuple[Tree, dict[str, str]]:
    """Reads the variables of one fold.

    Args:
      path: a file written by ``save``.
      template: arrays, or their shapes and dtypes, in the structure that the code expects.
      fold: whose they must be: those of another fold may have been trained on what this one is tested on.

    Returns:
      (variables as NumPy arrays, the facts beside them).

    Raises:
      UserError: the file is missing or damaged, is another fold's, or its arrays are not those of the template.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise UserError(f"{path}: no such file; start `fedn train` again to finish the run")
    expected = {name: (tuple(leaf.shape), np.dtype(leaf.dtype)) for name, leaf in _flat(template).items()}
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path}: not a whole .safetensors file ({excerpt(error)}); {_again(path)}") from None
    got = {name: (leaf.shape, leaf.dtype) for name, leaf in flat.items()}
    if difference := checkpoint.difference(got, expected):
        raise UserError(
            f"{path}: was written by another version, or for another configuration: {excerpt(difference)}; expected "
            "the parameters that this version trains: use that version, or train into another --out"
        )
    if facts.get("digest") != checkpoint.digest(flat):
        raise UserError(f"{path}: damaged, its arrays do not match their digest; {_again(path)}")
    if facts.get("fold") != fold:
        raise UserError(f"{path}: holds the network of fold {facts.get('fold')}, expected {fold}; {_again(path)}")
    return traverse_util.unflatten_dict(flat, sep="/"), facts


def _again(path: Path) -> str:
    return f"restore it, or remove {path.parents[1]} and train again"


def _flat(tree: Tree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def digest(run: Path, folds: Sequence[str]) -> str:
    """What tells the networks of a run from others; the files say it of themselves, and are not read whole.

    Args:
      run: directory of the run.
      folds: names.

    Returns:
      Text.

    Raises:
      UserError: a file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for fold in folds:
        path = path_of(run, fold)
        if not path.exists():
            raise UserError(f"{path}: no such file; start `fedn train` again to finish the run")
        try:
            with safe_open(path, "np") as file:
                found[fold] = (file.metadata() or {}).get("digest", "")
        except (SafetensorError, ValueError) as error:
            raise UserError(f"{path}: not a whole .safetensors file ({excerpt(error)}); {_again(path)}") from None
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def variables_of(params: Tree, extra: Tree, index: int) -> Tree:
    """What the network of one fold needs.

    Args:
      params: trainable variables, leaves [K, ...].
      extra: other variables, leaves [K, ...].
      index: of the fold.

    Returns:
      {"params": ..., others}.
    """
    params, extra = jax.tree.map(lambda leaf: leaf[index], (params, extra))
    return {"params": params, **extra}
