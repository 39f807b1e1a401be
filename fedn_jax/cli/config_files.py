"""Configuration files, found by name among those that come with the package, or by path."""

import ast
import contextlib
import difflib
import os
import re
import traceback
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedn_jax.cli.command import OVERRIDES
from fedn_jax.core import files
from fedn_jax.core.errors import ALL_OPTIONS, UserError
from fedn_jax.core.text import excerpt

if TYPE_CHECKING:  # it imports jaxtyping and NumPy
    from fedn_jax.core.types import Config

PACKAGE = Path(__file__).resolve().parents[1]
_MOST_BYTES = 2**24
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


def read(name: str) -> bytes:
    """What a configuration file holds; nothing is run.

    Args:
      name: of ``names``, or a path.

    Returns:
      Its bytes.

    Raises:
      UserError: no such file, or not a Python file.
    """
    path = find(name)
    if path.suffix != ".py":
        raise UserError(f"--config {name}: expected a Python file, ending in .py")
    return files.read_bytes(path, _MOST_BYTES, "a configuration")


def module(name: str, content: bytes | None = None) -> Any:
    """The module that a configuration file is.

    What is run is what stands in the file: Python's own import would take a compiled file beside it instead.

    Args:
      name: of ``names``, or a path.
      content: of ``read``; None: as it is now.

    Returns:
      The module; it has ``get_config``.

    Raises:
      UserError: no such file, not a Python file, one that raises an error, or without ``get_config``.
    """
    path, content = find(name), read(name) if content is None else content
    loaded = types.ModuleType("config")
    loaded.__file__ = str(path)
    with running(name, path):
        exec(compile(content, str(path), "exec"), loaded.__dict__)
    if not callable(getattr(loaded, "get_config", None)):
        raise UserError(f"--config {name}: has no get_config(row); `fedn configs casme2` names a file that has")
    return loaded


@contextlib.contextmanager
def running(spec: str, path: Path) -> Iterator[None]:
    """Says in one line what went wrong in a configuration file, which is the user's program, or in what it holds.

    Args:
      spec: how the user named it.
      path: the file.

    Yields:
      Nothing.

    Raises:
      UserError: instead of every exception but Ctrl-C.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"--config {spec}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too
        raise UserError(f"--config {spec}: {_place(error, path)}{_reason(error)}") from error


def blame(spec: str, error: Exception) -> str | None:
    """Says in one line what went wrong in own code, after it was read.

    Args:
      spec: how the user named the configuration.
      error: what a command ended with.

    Returns:
      The line; None where the error did not come through the file.
    """
    with contextlib.suppress(UserError):
        if place := _place(error, find(split(spec)[0])):
            return f"--config {spec}: {place}{_name(error)}; correct that code (--debug shows how it was reached)"
    return None


def _place(error: BaseException, path: Path) -> str:
    """The last line of a file that an error came through; "" for none."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    places += [(error.filename, error.lineno)] if isinstance(error, SyntaxError) else []
    lines = [line for file, line in places if line and os.path.abspath(file or "") == os.path.abspath(path)]
    return f"line {lines[-1]}: " if lines else ""


def _name(error: BaseException) -> str:
    said = excerpt(" ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split()))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _reason(error: BaseException) -> str:
    """What went wrong, and what was expected; ml_collections says the former at length."""
    from fedn_jax.core import config as configs

    said = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    unknown = re.match(r"\W*(?:Key )?\W*(\w+)\W+n?\W*(?:does not exist and cannot be added|Did you mean)", said)
    if unknown and isinstance(error, KeyError | AttributeError):
        return configs.no_option(unknown[1])
    pattern = r"Could not override field '(.+?)'.* of original type <class '(.+?)'> .* to type <class '(.+?)'>"
    if isinstance(error, TypeError) and (found := re.match(pattern, said)):
        name, got, kind = found.groups()
        kind = "a section of options" if kind.endswith("ConfigDict") else f"of type {kind}"
        return f"{name} must be {kind}; got {got.rpartition('.')[2]}; {ALL_OPTIONS}"
    return f"{_name(error)}; expected a Python file whose get_config(row) returns all options"


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
    return ast.get_docstring(ast.parse(files.read_bytes(find(name), _MOST_BYTES))) or ""


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
    from fedn_jax import models
    from fedn_jax.core import config as configs

    name, row = split(spec)
    loaded = module(name)
    with running(spec, find(name)):
        config = configs.check_options(loaded.get_config(row))
    override(config, overrides)
    return models.validate(config)


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
