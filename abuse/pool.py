"""Tasks side by side in forked processes that start no threads, so that each may fork again."""

import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Task = Callable[[Path], Any]  # a directory of its own -> what JSON can hold


def run(tasks: Sequence[Task], out: Path, jobs: int, tell: Callable[[str], None]) -> list[Any]:
    """Does tasks, each once, in any order.

    Args:
      tasks: what to do.
      out: directory for the processes' own ones.
      jobs: processes.
      tell: is told how far it is.

    Returns:
      What each task gave, in the order of ``tasks``.

    Raises:
      RuntimeError: a process died; its traceback was printed.
    """
    out.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    os.write(writing, b"".join(index.to_bytes(4, "big") for index in range(len(tasks))))  # a pipe holds 64 KiB
    os.close(writing)
    records = [out / f"done-{job}.jsonl" for job in range(jobs)]
    for record in records:
        record.write_text("")
    pids = [_worker(reading, tasks, out / f"work-{job}", record) for job, record in enumerate(records)]
    os.close(reading)
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            done = sum(record.read_bytes().count(b"\n") for record in records)
            tell(f"{done} of {len(tasks)}")
            time.sleep(1)
    results = dict(json.loads(line) for record in records for line in record.read_text().splitlines())
    if len(results) != len(tasks):
        raise RuntimeError(
            f"{len(tasks) - len(results)} tasks were not done: a process of the campaign died, see above"
        )
    return [results[index] for index in range(len(tasks))]


def _worker(reading: int, tasks: Sequence[Task], directory: Path, record: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with record.open("a") as file:
            while number := os.read(reading, 4):
                index = int.from_bytes(number, "big")
                file.write(json.dumps([index, tasks[index](directory)]) + "\n")
                file.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os._exit(code)
