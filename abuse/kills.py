"""Commands that are killed at random moments and started again: their end must be that of one that was left alone."""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from abuse import digests, jobs, judge, sandbox
from abuse.jobs import Job
from abuse.judge import Bad

SHARES = {"prepare": 24, "prepare, 2 workers": 8, "train": 32, "predict": 10, "detect": 18, "sweep": 8}
MOST_PER_CHAIN = 4
LIMITS = sandbox.Limits(seconds=120)
FOLLOW = 15.0  # seconds that other processes of a killed command have to end
WRITES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "shutil.rmtree",
    "shutil.move",
    "os.link",
    "os.symlink",
    "os.truncate",
}


class Chain(NamedTuple):
    """A command that was killed several times, and its end."""

    job: str
    number: int
    killed: int  # times; it may have been faster
    moments: list[str]
    bad: list[Bad]
    kept: str


class Healthy(NamedTuple):
    """A command that was left alone."""

    seconds: float
    writes: int  # changes of files, as Python sees them
    digest: str


def _watched(words: Sequence[str], directory: Path, moment: int, number: int, record: Path) -> Callable[[], int]:
    """A command that counts its changes of files, and is killed before one of them; ``moment`` 0: never."""

    def call() -> int:
        count, inside = 0, str(directory)

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event not in WRITES and not (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            ):
                return
            path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
            if path.startswith("/") and not path.startswith(inside):
                return
            count += 1
            if count == moment:
                os.kill(os.getpid(), number)

        sys.addaudithook(hook)
        code = sandbox.command(words)()
        if not moment:
            record.write_text(str(count))
        return code

    return call


def digest(job: Job, directory: Path, records: Path) -> str:
    """What a command made; taken in a process of its own, since libraries start threads.

    Args:
      job: the command.
      directory: where it worked.
      records: a directory for what the process prints.

    Returns:
      The checksum, or why there is none.
    """

    def call() -> int:
        print(job.digest(directory))
        return 0

    ended = sandbox.start(call, directory, records, LIMITS).wait()
    return (
        ended.out.strip() if ended.code == 0 else f"not readable: {(ended.err.strip().splitlines() or ['?'])[-1][:200]}"
    )


def alone(job: Job, whole: Path, work: Path) -> Healthy:
    """Runs a command that is left alone, twice: both ends must be the same.

    Args:
      job: the command.
      whole: of ``jobs.whole``.
      work: a directory that is emptied.

    Returns:
      How long it takes, and its end.

    Raises:
      RuntimeError: it fails, or two ends differ.
    """
    ends = []
    for _ in range(2):
        jobs.fresh(whole, work / "case", [job])
        count = work / "count"
        call = _watched(job.words, work / "case", 0, 0, count)
        ended = sandbox.start(call, work / "case", work / "records", LIMITS).wait(FOLLOW)
        if ended.code != 0:
            raise RuntimeError(f"{job.name}: exit code {ended.code} without a kill\n{ended.err[-2000:]}")
        ends.append(Healthy(ended.seconds, int(count.read_text()), digest(job, work / "case", work / "records")))
    if ends[0].digest != ends[1].digest:
        raise RuntimeError(f"{job.name}: two calls that were left alone end differently")
    return ends[1]


def plan(total: int, shares: dict[str, int]) -> list[tuple[str, int, int]]:
    """Which commands are killed how often.

    Args:
      total: kills; of a command that ends before it is killed there are fewer.
      shares: name of a job -> share of the kills.

    Returns:
      (name, number, kills) of each chain.
    """
    found = []
    for name, share in shares.items():
        left, number = max(1, round(total * share / sum(shares.values()))), 0
        while left > 0:
            many = min(left, 1 + number % MOST_PER_CHAIN)
            found.append((name, number, many))
            left, number = left - many, number + 1
    return found


def chain(job: Job, number: int, kills: int, seed: int, healthy: Healthy, whole: Path, work: Path, keep: Path) -> Chain:
    """Kills a command several times, then lets it end.

    Args:
      job: the command.
      number: of the chain; decides the moments, with the seed.
      kills: how often.
      seed: see above.
      healthy: of ``alone``.
      whole: of ``jobs.whole``.
      work: a directory that is emptied.
      keep: directory for what ends badly.

    Returns:
      What happened.
    """
    rng = random.Random(f"{seed} {job.name} {number}")
    shutil.rmtree(work, ignore_errors=True)
    jobs.fresh(whole, work / "case", [job])
    killed, moments, bad = 0, [], []
    while killed < kills and len(moments) < 5 * kills:
        sign = rng.choice([signal.SIGKILL, signal.SIGTERM])
        by_time = rng.random() < 0.5
        moment = 0 if by_time else rng.randint(1, max(1, healthy.writes))
        call = _watched(job.words, work / "case", moment, sign, work / "count")
        process = sandbox.start(call, work / "case", work / "records", LIMITS)
        if by_time:
            delay = rng.uniform(0.05, 1.0) * healthy.seconds
            time.sleep(delay)
            process.kill(sign)
        ended = process.wait(FOLLOW)
        moments.append(f"{sign.name} {f'after {delay:.2f} s' if by_time else f'before change {moment}'}")
        if ended.code == 0:  # it was faster
            moments[-1] += " (it had ended, and began anew)"
            bad += _end(job, healthy, whole, work)
            jobs.fresh(whole, work / "case", [job])
            continue
        killed += 1
        bad += _after_kill(ended, sign, moments[-1])
    ended = sandbox.start(sandbox.command(job.words), work / "case", work / "records", LIMITS).wait(FOLLOW)
    bad += [Bad(one.rule, f"resumed: {one.detail}") for one in judge.judge(ended, [], LIMITS)]
    if ended.code != 0:
        bad.append(Bad("cannot go on", (judge.lines_of(ended.err) or ["?"])[-1][:250]))
    else:
        bad += _end(job, healthy, whole, work)
    kept = ""
    if bad:
        kept = sandbox.keep(work, keep, f"{job.name}-{number}")
        Path(kept, "moments.json").write_text(
            json.dumps({"words": list(job.words), "moments": moments, "bad": bad}, indent=1)
        )
    return Chain(job.name, number, killed, moments, bad, kept)


def _end(job: Job, healthy: Healthy, whole: Path, work: Path) -> list[Bad]:
    """What is different from the end of a command that was left alone."""
    got, left = digest(job, work / "case", work / "records"), digests.leftovers(work / "case", whole)
    bad = [Bad("another end", f"{got}, not {healthy.digest}")] if got != healthy.digest else []
    return bad + ([Bad("left behind", ", ".join(left[:3]))] if left else [])


def _after_kill(ended: sandbox.Ended, sign: signal.Signals, moment: str) -> list[Bad]:
    bad = [Bad("process left", f"{moment}: {one}") for one in ended.left]
    if ended.hung:
        bad.append(Bad("hang", f"{moment}: {ended.place}"))
    if sign == signal.SIGTERM and "Traceback (most" in ended.err:
        bad.append(Bad("traceback", f"{moment}: {judge.lines_of(ended.err)[-1][:200]}"))
    return bad
