"""Configuration files, found by name among those that come with the package, or by path."""

import ast
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedn_jax.cli.command import ALL_OPTIONS, OVERRIDES
from fedn_jax.core.errors import UserError

if TYPE_CHECKING:  # it imports jaxtyping and NumPy
    from fedn_jax.core.types import Config

PACKAGE = Path(__file__).resolve().parents[1]
SPEC = "NAME[:ROW] of `fedn configs`, or FILE.py[:ROW]"  # of the option --config


def directory() -> Path:
    """Where the configurations of the package lie.

    Returns:
      ``fedn_jax/configs`` where the package is installed, ``configs`` beside it in a checkout.
    """
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def names() -> list[str]:
    """The configurations of the package.

    Returns:
      Their names, sorted.
    """
    return sorted(path.stem for path in directory().glob("*.py") if not path.stem.startswith("_"))


def find(name: str) -> Path:
    """The file of a configuration.

    Args:
      name: of ``names``, or a path.

    Returns:
      The file.

    Raises:
      UserError: neither; lists the names.
    """
    known = names()
    if name in known:
        return directory() / f"{name}.py"
    path = Path(name)
    if path.is_file():
        return path
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"--config {name}: no such file, and not one of {', '.join(known)}{hint}")


def split(spec: str) -> tuple[str, str]:
    """Takes ``--config`` apart.

    Args:
      spec: "NAME", "NAME:ROW", "FILE" or "FILE:ROW".

    Returns:
      (name or file, row); the row is "" where none is given.

    >>> split("casme2:table4/coupled"), split("mine.py")
    (('casme2', 'table4/coupled'), ('mine.py', ''))
    """
    name, _, row = spec.partition(":")
    return name, row


def module(name: str) -> Any:
    """The module that a configuration file is.

    Args:
      name: of ``names``, or a path.

    Returns:
      The module; it has ``get_config``.

    Raises:
      UserError: no such file, not a Python file, or without ``get_config``.
    """
    from importlib import util

    path = find(name)
    spec = util.spec_from_file_location("config", path)
    if spec is None:
        raise UserError(f"--config {name}: expected a Python file, ending in .py")
    loaded = util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, "get_config"):
        raise UserError(f"--config {name}: has no get_config(row); `fedn configs casme2` names a file that has")
    return loaded


def rows(name: str) -> list[str]:
    """The rows of a configuration.

    Args:
      name: of ``names``, or a path.

    Returns:
      Their names, as in ``ROWS``; none where the file has no such dict.
    """
    return list(getattr(module(name), "ROWS", {}))


def docstring(name: str) -> str:
    """What a configuration is for.

    Args:
      name: of ``names``, or a path.

    Returns:
      Its docstring; the file is read, not run.
    """
    return ast.get_docstring(ast.parse(find(name).read_text(encoding="utf-8"))) or ""


def load(spec: str, overrides: Sequence[str] = ()) -> "Config":
    """Reads a configuration and applies options of the command line.

    Args:
      spec: "NAME[:ROW]" or "FILE[:ROW]".
      overrides: "--config.section.key=value" each.

    Returns:
      A locked ConfigDict.

    Raises:
      UserError: no such file, row or key, or a value of the wrong type.
    """
    from fedn_jax.core import config as configs

    name, row = split(spec)
    find(name)
    try:
        config = module(name).get_config(row)
    except UserError:
        raise
    except Exception as error:  # the file is the user's program
        reason = " ".join(str(error).split())
        raise UserError(f"--config {spec}: {type(error).__name__}: {reason}") from error
    override(config, overrides)
    return configs.validate(config)


def override(config: "Config", overrides: Sequence[str], sections: Sequence[str] = ()) -> None:
    """Applies options of the command line.

    Args:
      config: changed.
      overrides: "--config.section.key=value" each.
      sections: the only ones that may be changed; empty: all.

    Raises:
      UserError: another argument, no such option, or a value of the wrong type.
    """
    from fedn_jax.core import config as configs

    for text in overrides:
        key, equals, value = text.removeprefix("--config.").partition("=")
        if not text.startswith("--config.") or not equals:
            raise UserError(f"unknown argument {text}; {OVERRIDES}; {ALL_OPTIONS}")
        if sections and key.partition(".")[0] not in sections:
            raise UserError(f"{text} needs another training; here only {' and '.join(sections)} options may be changed")
        configs.override(config, key, value)
