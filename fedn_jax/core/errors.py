"""Errors that say the rule, what came and what was expected."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN = 40  # problems that a message lists; the rest is counted
LISTED = 12  # choices that a message lists; of more, the nearest


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
