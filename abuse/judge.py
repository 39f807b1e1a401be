"""The rules that every end of a command is held against; what breaks one is a bad end."""

import hashlib
import os
import re
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from abuse.sandbox import Ended, Limits
from fedn_jax.core.text import printable

LONGEST = 320  # characters of a line that explains, without the name in it
LISTED = 42  # lines of a list of problems
USABLE, REFUSED = 0, 2  # the exit codes of a good end
# What libraries print past the program.
NOISE = re.compile(
    r"\w*Warning: |Exception ignored|Traceback|^\[.*@ 0x|^\[ ?(WARN|ERROR)"
    r"|libpng|Corrupt JPEG|Premature end|Invalid SOS"
    r"|^[IWEF]\d{4} \d\d:|^WARNING:absl|TIFFRead|terminate called|Fatal Python|std::|^\s+at \S+:\d+|leaked \w+ objects"
)
EXPECTATION = re.compile(
    r"expected|must|; |no such|denied|a directory|levels of|is (before|after|beyond)|choose|give |needs|did you mean"
    r"|check |copy |move |cut |save |restore|prepare|delete|wait for"
)
_PROGRESS = re.compile(r"^[^:]*:? +\d+%\|.*\|? ?\d+/\d+ \[|^\S.*: \d+\S*it \[|\d+\S* ?\S+/s[,\]]")


class Bad(NamedTuple):
    """One broken rule."""

    rule: str  # a word or two; the table counts them
    detail: str


def lines_of(err: str) -> list[str]:
    """What a command said.

    Args:
      err: its standard error.

    Returns:
      Its lines without progress bars and empty ones.
    """
    lines = [line for line in re.split(r"[\r\n]", err) if line.strip()]
    return [line for line in lines if not _PROGRESS.search(line)]


def judge(ended: Ended, names: Sequence[str], limits: Limits, batch: int = 1) -> list[Bad]:
    """Checks how a command ended, and what it said.

    Args:
      ended: the end.
      names: a refusal must hold one of them.
      limits: that it had.
      batch: files that it was given; more than one may be refused with a line each, and one for all.

    Returns:
      The broken rules; none of a good end.
    """
    lines = lines_of(ended.err)
    if ended.hung:
        return [Bad("hang", f"{limits.seconds:g} s; {ended.place}")]
    bad = [Bad("process left", one) for one in ended.left]
    if ended.memory > limits.memory:
        bad.append(Bad("memory", f"{ended.memory >> 20} MiB"))
    if ended.code is None:
        return [*bad, Bad("crash", f"signal {ended.signal}")]
    if any("Traceback (most" in line for line in lines):
        last = [
            line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Interrupt|Exit|Warning|Stop)\w*\b", line)
        ]
        return [*bad, Bad("traceback", f"{(last or lines)[-1][:200]}; {_raised(lines)}")]
    if ended.code not in (USABLE, REFUSED):
        bad.append(Bad("exit code", f"{ended.code}: {(lines or [''])[-1][:200]}"))
    bad += [Bad("stray line", line[:200]) for line in lines if NOISE.search(line)][:1]
    if ended.code == REFUSED:
        bad += _refusal(lines, names, batch)
    return bad


def _refusal(lines: Sequence[str], names: Sequence[str], batch: int) -> list[Bad]:
    """One line, and a list below it where there are many problems, that says what is wrong where."""
    heads = [line for line in lines if line.startswith("fedn: ")]
    most = 1 if batch == 1 else batch + 1
    if not 1 <= len(heads) <= most:
        return [Bad("message", f"{len(heads)} lines, not one: {' | '.join(heads or lines)[:200]}")]
    listed = lines[lines.index(heads[0]) + 1 :] if batch == 1 else []
    listed = [line for line in listed if line.startswith("  ")]
    text, bad = "\n".join([*heads, *listed]), []
    said = [line for line in lines if line not in heads and line not in listed and not NOISE.search(line)]
    if said and batch == 1 and lines.index(said[-1]) > lines.index(heads[0]):
        bad.append(Bad("message", f"goes on in another line: {said[-1][:200]}"))
    shown = [printable(name.encode("utf-8", "backslashreplace").decode()) for name in names]
    if names and not any(name in text for name in [*names, *shown]):
        bad.append(Bad("message", f"does not name the file: {text[:200]}"))
    longest = max(len(line) for line in [*heads, *listed]) - max(map(len, names), default=0)
    if longest > LONGEST or len(listed) > LISTED:
        bad.append(Bad("message", f"{longest} characters, {1 + len(listed)} lines: {text[:120]}..."))
    if not EXPECTATION.search(text):
        bad.append(Bad("message", f"no expectation: {text[:200]}"))
    return bad


def _raised(lines: Sequence[str]) -> str:
    """Where a traceback leaves this project."""
    frames = [line.strip() for line in lines if line.strip().startswith('File "')]
    own = [frame for frame in frames if "fedn_jax/" in frame or "data_prep/" in frame]
    frame = (own or frames or ['"?", line 0'])[-1]
    return re.sub(r'File ".*?((?:fedn_jax|data_prep)/[^"]*)"', r"\1", frame)


def snapshot(directory: Path, leave_out: Collection[str] = ()) -> dict[str, str]:
    """What lies in a directory.

    Args:
      directory: looked at with all below it.
      leave_out: paths below it, or beginnings of paths that end with a slash.

    Returns:
      Path -> kind, rights and content.
    """
    found = {}
    for base, folders, names in os.walk(directory):
        for name in folders + names:
            path = Path(base, name)
            key = os.fsencode(path.relative_to(directory)).decode("utf-8", "backslashreplace")
            if key in leave_out or any(one.endswith("/") and f"{key}/".startswith(one) for one in leave_out):
                continue
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else ""
            if stat.S_ISREG(status.st_mode):
                content = hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()
            found[key] = f"{status.st_mode:o} {content}"
    return found


def unchanged(before: dict[str, str], after: dict[str, str]) -> list[Bad]:
    """Checks that inputs were only read.

    Args:
      before: of ``snapshot``.
      after: of ``snapshot``.

    Returns:
      What was changed, at most one line.
    """
    changed = [path for path in before if before[path] != after.get(path)] + [
        path for path in after if path not in before
    ]
    return [Bad("changed input", ", ".join(sorted(changed)[:3]))] if changed else []
