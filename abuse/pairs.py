"""Two commands at once in one place: each ends well or says in one line why not, and what is made is what one makes."""

import itertools
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from abuse import digests, jobs, judge, sandbox
from abuse.jobs import JOBS, Job
from abuse.judge import Bad
from abuse.kills import FOLLOW, LIMITS, digest

NAMES = ("prepare", "verify", "train", "evaluate", "report", "detect", "sweep")
ALONE = ("prepare, 2 workers", "predict", "convert", "convert-backbone")  # with themselves only


class Met(NamedTuple):
    """Two commands that met."""

    pair: str
    start: str
    codes: list[int | None]
    bad: list[Bad]
    kept: str


def plan() -> list[tuple[str, str]]:
    """All pairs.

    Returns:
      Names of two commands each.
    """
    return [*itertools.combinations_with_replacement(NAMES, 2), *((one, one) for one in ALONE)]


def healthy(names: Iterable[str], whole: Path, work: Path) -> dict[str, str]:
    """What each command makes alone.

    Args:
      names: of the commands.
      whole: of ``jobs.whole``.
      work: a directory for records.

    Returns:
      name -> digest.
    """
    return {name: digest(JOBS[name], whole, work) for name in names}


def meet(names: tuple[str, str], seed: int, healthy: dict[str, str], whole: Path, work: Path, keep: Path) -> Met:
    """Starts two commands at almost the same time.

    Args:
      names: of the commands.
      seed: decides when the second starts, and what is there already.
      healthy: name -> digest of what it makes alone.
      whole: of ``jobs.whole``.
      work: a directory that is emptied.
      keep: directory for what ends badly.

    Returns:
      What happened.
    """
    rng = random.Random(f"{seed} {names}")
    pair = [JOBS[name] for name in names]
    shutil.rmtree(work, ignore_errors=True)
    if names[0] == names[1] and pair[0].shared:
        pair = [job._replace(digest=job.shared) for job in pair]
        healthy = healthy | {names[0]: digest(pair[0], whole, work / "records")}
    missing = [job for job in pair if names[0] == names[1] or rng.random() < 0.5]
    jobs.fresh(whole, work / "case", missing)
    order = pair if rng.random() < 0.5 else pair[::-1]
    started = []
    for number, job in enumerate(order):
        started.append(sandbox.start(sandbox.command(job.words), work / "case", work / f"records-{number}", LIMITS))
        time.sleep(rng.choice([0.0, 0.01, 0.1, 0.5]))
    ends = [process.wait(FOLLOW) for process in started]
    bad = [
        Bad(one.rule, f"{job.name}: {one.detail}")
        for job, end in zip(order, ends, strict=True)
        for one in judge.judge(end, [], LIMITS, job.batch)
    ]
    bad += _made(order, [end.code for end in ends], healthy, whole, work)
    about = f"{', '.join(job.name for job in missing) or 'nothing'} still to be made; {order[0].name} first"
    kept = ""
    if bad:
        kept = sandbox.keep(work, keep, "-and-".join(names))
    return Met(" / ".join(names), about, [end.code for end in ends], bad, kept)


def _made(
    order: Sequence[Job], codes: Sequence[int | None], healthy: dict[str, str], whole: Path, work: Path
) -> list[Bad]:
    """What was refused is started again, alone; then all must be there as one command makes it."""
    bad = []
    for job, code in zip(order, codes, strict=True):
        if code == 0 and (got := digest(job, work / "case", work / "records")) != healthy[job.name]:
            bad.append(Bad("another end", f"{job.name}: {got}, not {healthy[job.name]}"))
    refused = {job.name for job, code in zip(order, codes, strict=True) if code == 2}
    if {"train", "report"} == {job.name for job in order} and not (work / "case/run/metrics.json").exists():
        refused.add("evaluate")  # a report needs the numbers, which lay in the run that was removed
    met = {job.name: job for job in order}
    for name in dict.fromkeys(jobs.ORDER + ALONE):
        if name not in refused | set(met):
            continue
        job = met.get(name, JOBS[name])
        if name in refused and not (0 in codes and not job.replaces):
            ended = sandbox.start(sandbox.command(job.words), work / "case", work / "records", LIMITS).wait(FOLLOW)
            if ended.code != 0:
                bad.append(Bad("cannot go on", f"{job.name}: {(judge.lines_of(ended.err) or ['?'])[-1][:250]}"))
                continue
            if name not in met:
                continue
        got = digest(job, work / "case", work / "records")
        bad += [Bad("another end", f"{job.name}, afterwards: {got}, not {healthy[job.name]}")] * (
            got != healthy[job.name]
        )
    left = digests.leftovers(work / "case", whole)
    return bad + ([Bad("left behind", ", ".join(left[:3]))] if left else [])
