"""The command line of the campaign: ``make abuse``."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from abuse import commands, inputs, jobs, kills, pairs, pool, sandbox, seeds

PARTS = ("inputs", "kills", "pairs")


def arguments() -> argparse.Namespace:
    """What the user asked for.

    Returns:
      out, seed, jobs, parts, inputs, kills, only.
    """
    parser = argparse.ArgumentParser(
        prog="python -m abuse", description="Broken inputs, kills, and two commands at once."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("abuse-out"), metavar="DIR", help="for valid files and for what ends badly"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides everything (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="commands at once (default: one per core)"
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="default: all")
    parser.add_argument(
        "--inputs", type=int, default=1000, metavar="N", help="how many broken inputs (default: %(default)s)"
    )
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="how many kills (default: %(default)s)")
    parser.add_argument(
        "--only",
        default="",
        metavar="KIND[:NUMBER]",
        help="one kind of input, or one input of it, or one command or pair",
    )
    return parser.parse_args()


def main() -> int:
    """Runs the campaign.

    Returns:
      Exit code: 1 if an end was bad.
    """
    args, start = arguments(), time.monotonic()
    out = args.out.absolute()
    _own_cache(out / "cache")
    commands.preload()
    valid = seeds.make(out / "seeds")
    bad = 0
    if "inputs" in args.parts:
        bad += _inputs(args, valid, out / "inputs")
    if set(args.parts) & {"kills", "pairs"}:
        whole = jobs.whole(valid, out / "whole")
        bad += _kills(args, whole, out / "kills") if "kills" in args.parts else 0
        bad += _pairs(args, whole, out / "pairs") if "pairs" in args.parts else 0
    minutes = (time.monotonic() - start) / 60
    print(f"\n{bad} bad ends; seed {args.seed}, {args.jobs} commands at once, {minutes:.1f} minutes")
    return int(bad > 0)


def _own_cache(directory: Path) -> None:
    """Commands share compiled programs."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(directory), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def _tell(what: str) -> Callable[[str], None]:
    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {text}   ", end="", file=sys.stderr, flush=True)

    return tell


def _inputs(args: argparse.Namespace, valid: Path, out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)
    cases = inputs.plan(args.inputs, args.only)
    tried = inputs.try_all(cases, args.seed, valid, out, args.jobs, _tell("inputs"))
    limits = sandbox.Limits()
    print(f"\nBroken inputs; at most {limits.memory >> 30} GiB, and {limits.seconds:g} s of the processor for one")
    rows = inputs.summary(tried)
    total = {"kind": "all"} | {key: sum(row[key] for row in rows) for key in ("inputs", "used", "refused", "bad")}
    total |= {key: max((row[key] for row in rows), default=0) for key in ("slowest", "memory")}
    head = ("kind", "inputs", "commands: exit 0", "exit 2", "bad", "slowest s", "MiB")
    _table(
        head,
        [
            [
                row["kind"],
                row["inputs"],
                row["used"],
                row["refused"],
                row["bad"],
                f"{row['slowest']:.1f}",
                row["memory"],
            ]
            for row in [*rows, total]
        ],
    )
    for one, bad in inputs.smallest(tried):
        print(
            f"\nBAD {one.target}:{one.number}: {bad.rule}: {bad.detail}\n    input: {one.what[:300]}\n"
            f"    kept:  {one.kept} ({one.size} bytes)"
        )
    return sum(bool(one.bad) for one in tried)


def _kills(args: argparse.Namespace, whole: Path, out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)
    wanted = {name: share for name, share in kills.SHARES.items() if args.only in ("", name)}
    healthy = {name: kills.alone(jobs.JOBS[name], whole, out / "alone") for name in wanted}

    def task(name: str, number: int, many: int) -> pool.Task:
        return lambda work: kills.chain(
            jobs.JOBS[name], number, many, args.seed, healthy[name], whole, work, out / "failures"
        )

    plan = kills.plan(args.kills, wanted)
    done = [kills.Chain(*one) for one in pool.run([task(*one) for one in plan], out, args.jobs, _tell("kills"))]
    print("\nKilled at random moments (-9 and -15), then started again until done")
    rows = []
    for name in wanted:
        own = [one for one in done if one.job == name]
        rows.append(
            [
                name,
                sum(one.killed for one in own),
                len(own),
                sum(not one.bad for one in own),
                sum(bool(one.bad) for one in own),
            ]
        )
    _table(
        ("command", "kills", "ends", "identical", "bad"),
        [*rows, ["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])]],
    )
    for one in done:
        for rule, detail in one.bad:
            print(
                f"\nBAD {one.job} {one.number}: {rule}: {detail}\n    killed: {'; '.join(one.moments)}\n"
                f"    kept:   {one.kept}"
            )
    return sum(bool(one.bad) for one in done)


def _pairs(args: argparse.Namespace, whole: Path, out: Path) -> int:
    shutil.rmtree(out, ignore_errors=True)
    plan = [pair for pair in pairs.plan() if args.only in ("", " / ".join(pair), *pair)]
    healthy = pairs.healthy({name for pair in plan for name in pair}, whole, out / "alone")

    def task(pair: tuple[str, str]) -> pool.Task:
        return lambda work: pairs.meet(pair, args.seed, healthy, whole, work, out / "failures")

    most = max(1, args.jobs // 2)  # a pair is two commands
    done = [pairs.Met(*one) for one in pool.run([task(pair) for pair in plan], out, most, _tell("pairs"))]
    print("\nTwo commands at once in one place")
    count = lambda *codes: sum(sorted(one.codes, key=str) == list(codes) for one in done)
    rows = [[len(done), count(0, 0), count(0, 2), count(2, 2), sum(bool(one.bad) for one in done)]]
    _table(("pairs", "both done", "one refused", "both refused", "bad"), rows)
    for one in done:
        for rule, detail in one.bad:
            print(f"\nBAD {one.pair} ({one.start}; exit {one.codes}): {rule}: {detail}\n    kept: {one.kept}")
    return sum(bool(one.bad) for one in done)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as Markdown has it, so that it can be put into a document."""
    lines = [list(map(str, line)) for line in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        cells = [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print(
                f"|{'|'.join('-' * (width + 1) + ('-' if place == 0 else ':') for place, width in enumerate(widths))}|"
            )


if __name__ == "__main__":
    sys.exit(main())
