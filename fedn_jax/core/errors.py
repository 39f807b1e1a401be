"""Errors that say the rule, what came and what was expected."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SHOWN = 40  # problems that a message lists; the rest is counted
LISTED = 12  # choices that a message lists; of more, the nearest
ALL_OPTIONS = "fedn configs --options lists all of them"  # after an option that does not exist
FULL = {  # errors of the system after which nothing more can be written, and what helps
    errno.ENOSPC: "no space left; free some",
    errno.EDQUOT: "the disk quota is used up; free some of it",
    errno.EFBIG: "the system does not let the file grow (ulimit -f); raise that limit",
}
REFUSED = {  # errors of the system that a place brings, and what helps
    errno.EROFS: "the file system is read-only; choose another place to write to",
    errno.EACCES: "no permission; change it (chmod, chown), or choose another place",
    errno.EPERM: "no permission; change it (chmod, chown), or choose another place",
    errno.EEXIST: "is a file; expected a directory, or a name that is free",
    errno.ENOTDIR: "is a file, or lies below one; expected a directory",
}


class UserError(ValueError):
    """Input or an option that cannot be used: the command line shows it without a traceback, with exit code 2."""


def one_of(name: str, got: Any, choices: Iterable[Any]) -> Any:
    """Returns ``got`` if it is one of ``choices``.

    Args:
      name: what is checked, for the message.
      got: the value.
      choices: the values that are allowed, or a dict whose keys are.

    Returns:
      ``got``.

    Raises:
      UserError: with the list of choices and the nearest of them.
    """
    choices = list(choices)
    if got in choices:
        return got
    near = difflib.get_close_matches(str(got), [str(choice) for choice in choices], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(str(choice) for choice in choices)
    if len(choices) > LISTED:
        nearest = difflib.get_close_matches(str(got), [str(choice) for choice in choices], n=5, cutoff=0.3)
        listed = f"{len(choices)} choices, such as {', '.join(nearest or map(str, choices[:5]))}"
    raise UserError(f"{name} must be one of {listed}; got {got!r}{hint}")


def shape(name: str, array: Any, expected: tuple[int | None, ...]) -> None:
    """Checks the static shape of an array.

    Args:
      name: what is checked, for the message.
      array: anything with ``.shape``.
      expected: the sizes; ``None`` admits any.

    Raises:
      UserError: with the expected and the actual shape.
    """
    got = tuple(array.shape)
    if len(got) != len(expected) or any(e is not None and e != g for e, g in zip(expected, got, strict=True)):
        wanted = "[" + ", ".join("any" if size is None else str(size) for size in expected) + "]"
        raise UserError(f"{name} must have shape {wanted}; got {list(got)}")


def at_least(name: str, got: float, lowest: float) -> None:
    """Checks a number against its lowest allowed value.

    Args:
      name: what is checked, for the message.
      got: the number.
      lowest: the smallest value that is allowed.

    Raises:
      UserError: with both numbers.
    """
    if not got >= lowest:
        raise UserError(f"{name} must be at least {lowest}; got {got}")


def between(name: str, got: float, low: float, high: float, without: Sequence[float] = ()) -> None:
    """Checks a number against a range.

    Args:
      name: what is checked, for the message.
      got: the number.
      low: the lower end of the range.
      high: the upper end.
      without: ends that are not in the range themselves.

    Raises:
      UserError: with the range and the number.

    >>> between("share", 0.0, 0, 1, without=[1])
    >>> between("share", 1.0, 0, 1, without=[1])
    Traceback (most recent call last):
    fedn_jax.core.errors.UserError: share must be at least 0 and below 1; got 1.0
    """
    if not low <= got <= high or got in without:
        lowest, highest = ("above" if low in without else "at least"), ("below" if high in without else "at most")
        raise UserError(f"{name} must be {lowest} {low} and {highest} {high}; got {got}")


def report(where: str, problems: Sequence[str]) -> None:
    """Raises everything that is wrong, together.

    Args:
      where: what was looked at.
      problems: one line each.

    Raises:
      UserError: if there are problems.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise UserError(f"{where}: {problems[0]}")
    lines = list(problems[:SHOWN])
    if len(problems) > SHOWN:
        lines.append(f"... and {len(problems) - SHOWN} more")
    listed = "\n".join(f"  {line}" for line in lines)
    raise UserError(f"{where}: {len(problems)} problems; correct them and start again:\n{listed}")


def line(error: BaseException, where: Path | None = None) -> str | None:
    """An error as the command line shows it.

    Args:
      error: any; also one that a library raised because it could not write.
      where: the directory that is written to, for errors that do not name a file.

    Returns:
      What is wrong, where, and what to do; None for an error that is no mistake of the input and not foreseen.
    """
    if isinstance(error, UserError):
        return str(error)
    if full := next(filter(None, map(_full, _chain(error))), None):
        reason, named = full
        where = named or where or "the disk"
        return f"{where}: {reason} and start the same command again: what is finished is kept"
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or use a machine with more"
    if isinstance(error, OSError):
        return _of_system(error) if error.filename else str(error)
    return None


def _of_system(error: OSError) -> str:
    path = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
    if error.errno not in REFUSED:
        return f"{path}: {error.strerror}"
    hidden = Path(path).name.startswith(".")  # a file of ours, beside the one that was to be written
    return f"{Path(path).parent if hidden else path}: {REFUSED[error.errno]}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _full(error: BaseException) -> tuple[str, str | None] | None:
    """(why nothing can be written, file) if that is what the error says; libraries say it in words only."""
    if isinstance(error, OSError) and error.errno is not None:
        return (FULL[error.errno], error.filename) if error.errno in FULL else None
    return next(((text, None) for code, text in FULL.items() if os.strerror(code) in str(error)), None)
