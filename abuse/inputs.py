"""Broken inputs: makes them, gives each to the command that reads its kind, and judges how that ends."""

import contextlib
import os
import random
import re
import shlex
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from abuse import judge, media_mutations, mutations, pool, sandbox
from abuse.judge import Bad
from abuse.targets import TARGETS, Target, Victim

IN_PLACE, TWICE, RENAMED, OTHER_TERMINAL = 0.1, 0.15, 0.06, 0.1  # shares of the inputs
NAMES = (
    b"\xff\xfe bad",
    "表 é e\u0301".encode(),
    b"a b'\"c",
    b"a\nb",
    b"x" * 200,
    b"=1+1",
    b"%s{0}",
    b"a:b",
    b"..x",
    b"\x1b[31mred",
)


class Tried(NamedTuple):
    """One input, and how the command ended."""

    target: str
    number: int
    inputs: int  # files that were broken
    what: str  # how
    words: list[str]
    code: int | None
    seconds: float
    memory: int
    size: int  # bytes of the broken files
    bad: list[Bad]
    kept: str  # where it lies; "" if nothing is wrong


def attempt(target: Target, number: int, seed: int, seeds: Path, work: Path, keep: Path) -> Tried:
    """Makes one input and tries it.

    Args:
      target: kind of input.
      number: of the input.
      seed: with the kind and the number it decides everything.
      seeds: valid files.
      work: a directory that is emptied.
      keep: directory for what ends badly.

    Returns:
      What happened.
    """
    rng = random.Random(f"{seed} {target.name} {number}")
    case, what, broken, words = _broken(target, rng, seeds, work)
    terminal = sandbox.Terminal(
        rng.choice(["ascii", "latin-1"]) if rng.random() < OTHER_TERMINAL else "utf-8", "no permission" not in what
    )
    limits = sandbox.Limits(seconds=target.seconds)
    leave_out = [path.removeprefix("in/") for path in target.may_write]
    before = judge.snapshot(case / "in", leave_out)
    whole = work / "records" / "whole"
    whole.parent.mkdir()
    whole.touch()
    function = _with_check(words, target.whole, whole)
    ended = sandbox.start(function, case, work / "records", limits, terminal).wait()
    names = _names(target, broken)
    bad = judge.judge(ended, names, limits, target.batch) + judge.unchanged(
        before, judge.snapshot(case / "in", leave_out)
    )
    bad += [Bad("not whole", line) for line in whole.read_text().splitlines()]
    if target.batch > 1 and ended.code is not None:
        bad += _skipped(case, ended)
    bad += _followed(case, what, broken, ended)
    bad += [Bad("program run", "a program in the file was run")] * (case / "was-run").exists()
    size = sum(path.lstat().st_size for path in broken if os.path.lexists(path))
    kept = _keep(work, keep, f"{target.name}-{number}", words, what, terminal) if bad else ""
    return Tried(
        target.name, number, target.batch, what, words, ended.code, ended.seconds, ended.memory, size, bad, kept
    )


def _broken(target: Target, rng: random.Random, seeds: Path, work: Path) -> tuple[Path, str, list[Path], list[str]]:
    """(working directory, what was done, broken files, words of the command)."""
    shutil.rmtree(work, ignore_errors=True)
    case = work / "case"
    for there, source in target.copies.items():
        path = case / there
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(seeds / source, path) if (seeds / source).is_dir() else shutil.copy(seeds / source, path)
    words = list(target.words)
    for pattern in [word for word in words if "*" in word]:
        at = words.index(pattern)
        words[at : at + 1] = sorted(str(path.relative_to(case)) for path in case.glob(pattern))
    if target.batch > 1:
        victim = target.victims[0]
        broken = sorted(case.glob(victim.pattern))[: target.batch]
        what = "; ".join(f"{path.name}: {_mutate(path, victim, target, rng)}" for path in broken)
    else:
        victim = rng.choice(target.victims)
        broken = [rng.choice(sorted(path for path in case.glob(victim.pattern) if path.is_file()))]
        what = f"{broken[0].relative_to(case)}: {_mutate(broken[0], victim, target, rng)}"
        short = str(broken[0].relative_to(case))
        if short in words and os.path.lexists(broken[0]) and rng.random() < RENAMED:
            name = os.fsdecode(rng.choice(NAMES)) + broken[0].suffix
            new = broken[0].with_name(name)
            broken[0].rename(new)
            words = [str(new.relative_to(case)) if word == short else word for word in words]
            broken, what = [new], f"{what}; named {name[:20]!r}"
    return case, what, broken, words


def _mutate(path: Path, victim: Victim, target: Target, rng: random.Random) -> str:
    """Breaks a file; where a way does not fit it, another one is taken."""
    whole = path.read_bytes()
    while True:
        mutation = rng.choice(target.inputs if rng.random() < IN_PLACE else victim.mutations)
        try:
            what = mutation(path, rng)
            if mutation in mutations.BYTES and rng.random() < TWICE:
                what += f"; {rng.choice(mutations.BYTES)(path, rng)}"
            return what
        except Exception:  # such as a box that only .mp4 has
            if path.is_symlink() or path.exists():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(whole)


def _names(target: Target, broken: Sequence[Path]) -> list[str]:
    """What a refusal may name."""
    given = [name for victim in target.victims for name in victim.names]
    return [name for path in broken for name in (path.name, *([path.stem] if len(path.stem) > 3 else []))] + given


def _with_check(words: Sequence[str], whole: Callable[[int], Sequence[str]], record: Path) -> Callable[[], int]:
    """A command, and a look at what it left behind."""

    def call() -> int:
        descriptor = os.open(record, os.O_WRONLY)
        code = sandbox.command(words)()
        try:
            problems = list(whole(code))
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            problems = [
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]} "
                f"({Path(frame.filename).name}:{frame.lineno})"
            ]
        os.write(descriptor, "\n".join(problems).encode("utf-8", "backslashreplace"))
        return code

    return call


def _skipped(case: Path, ended: sandbox.Ended) -> list[Bad]:
    """Videos of a batch that are neither found nor named."""
    heads = [line for line in judge.lines_of(ended.err) if line.startswith("fedn: ")]
    done = {path.stem for path in (case / "out").glob("*.csv")}
    lost = [
        path.name
        for path in (case / "in" / "videos").iterdir()
        if path.name != media_mutations.SECRET
        and path.stem not in done
        and not any(path.name in line for line in heads)
    ]
    return [Bad("skipped", ", ".join(lost[:3]))] if lost else []


def _followed(case: Path, what: str, broken: Sequence[Path], ended: sandbox.Ended) -> list[Bad]:
    """Files that are lists of other files, and were taken for these."""
    parts = what.split("; in_") if len(broken) > 1 else [what]
    lists = [path for path, part in zip(broken, parts, strict=False) if media_mutations.LIST in part]
    taken = [path.name for path in lists if (case / "out" / f"{path.stem}.csv").exists() or ended.code == 0]
    return [Bad("other file read", ", ".join(taken))] if taken else []


def _keep(work: Path, directory: Path, name: str, words: Sequence[str], what: str, terminal: sandbox.Terminal) -> str:
    """Moves an input away, with how to try it again."""
    place = sandbox.keep(work, directory, name)
    command = " ".join(
        [
            "cd",
            "case",
            "&&",
            *([f"PYTHONIOENCODING={terminal.encoding}"] * (terminal.encoding != "utf-8")),
            "fedn",
            *map(shlex.quote, words),
        ]
    )
    Path(place, "command.sh").write_bytes(os.fsencode(f"# {what!r}\n{command}\n"))
    return place


# ---- Many ------------------------------------------------------------------------------------------------------------


def index_of(kind: str) -> int:
    """The place of a kind of input.

    Args:
      kind: its name.

    Returns:
      Index into ``TARGETS``.
    """
    return [one.name for one in TARGETS].index(kind)


def plan(total: int, only: str = "") -> list[tuple[int, int]]:
    """Which inputs are made.

    Args:
      total: how many.
      only: "KIND" or "KIND:NUMBER"; "": all kinds.

    Returns:
      (index of the target, number) each, in an order that mixes the kinds.
    """
    kind, _, number = only.partition(":")
    if number:
        return [(index_of(kind), int(number))]
    shares = sum(one.share for one in TARGETS)
    found = []
    for index, one in enumerate(TARGETS):
        if kind in ("", one.name):
            cases = max(1, round(total * one.share / shares / one.batch))
            found += [((number + 0.5) / cases, index, number) for number in range(cases)]
    return [(index, number) for _, index, number in sorted(found)]


def try_all(
    cases: Sequence[tuple[int, int]], seed: int, seeds: Path, out: Path, jobs: int, tell: Callable[[str], None]
) -> list[Tried]:
    """Tries inputs side by side.

    Args:
      cases: of ``plan``.
      seed: decides the inputs.
      seeds: valid files.
      out: directory for what ends badly.
      jobs: processes.
      tell: is told how far it is.

    Returns:
      What happened, in the order of ``cases``.
    """

    def task(index: int, number: int) -> pool.Task:
        return lambda work: attempt(TARGETS[index], number, seed, seeds, work, out / "failures")

    done = [Tried(*one) for one in pool.run([task(*case) for case in cases], out, jobs, tell)]
    return [one._replace(bad=[Bad(*bad) for bad in one.bad]) for one in done]


def smallest(tried: Sequence[Tried]) -> list[tuple[Tried, Bad]]:
    """The smallest input of each kind of bad end; what is kept of the others is removed.

    Args:
      tried: all of them.

    Returns:
      The inputs, with what is bad; one of each kind of input, broken rule, and place in the code or kind of message.
    """
    found: dict[tuple[str, str, str], tuple[Tried, Bad]] = {}
    for one in sorted((one for one in tried if one.bad), key=lambda one: one.size):
        for bad in one.bad:
            found.setdefault((one.target, bad.rule, _kind(bad)), (one, bad))
    wanted = {one.kept for one, _ in found.values()}
    for one in tried:
        if one.kept and one.kept not in wanted:
            with contextlib.suppress(OSError):
                shutil.rmtree(one.kept)
    return list(found.values())


def _kind(bad: Bad) -> str:
    """What is bad, without numbers and names."""
    detail = bad.detail.partition(":")[0] if bad.rule == "message" else bad.detail
    detail = re.sub(r"'[^']*'|\"[^\"]*\"|in/\S+|out/\S+", "'x'", detail)
    return re.sub(r"0x[0-9a-f]+|-?\d+(\.\d+)?", "#", detail.partition("; ")[2] or detail)[:100]


def summary(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """A row per kind of input.

    Args:
      tried: all of them.

    Returns:
      kind, inputs, used (exit code 0), refused (2), bad, slowest in seconds, memory in MiB.
    """
    rows = []
    for target in TARGETS:
        own = [one for one in tried if one.target == target.name]
        if own:
            rows.append({
                "kind": target.name, "inputs": sum(one.inputs for one in own),
                "used": sum(one.code == 0 for one in own),
                "refused": sum(one.code == 2 for one in own), "bad": sum(bool(one.bad) for one in own),
                "slowest": max(one.seconds for one in own), "memory": max(one.memory for one in own) >> 20,
            })  # fmt: skip
    return rows
