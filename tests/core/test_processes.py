"""No worker is left behind: a program that has two of them is stopped, killed, or fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedn_jax.core import processes
from fedn_jax.core.errors import UserError

PROGRAM = """
import os, sys, time
from concurrent.futures import wait
from fedn_jax.core import processes

def work(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    time.sleep(60)

if __name__ == "__main__":
    try:
        with processes.stoppable(), processes.pool(2) as pool:
            jobs = [pool.submit(work, sys.argv[1]) for _ in range(4)]
            wait(jobs)
    except processes.Stopped as stopped:
        sys.exit(100 + stopped.args[0])
"""


def alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number, code", [("SIGTERM", 100 + signal.SIGTERM), ("SIGKILL", -signal.SIGKILL)])
def test_workers_end_with_the_process_that_started_them(tmp_path, number, code):
    script, folder = tmp_path / "program.py", tmp_path / "workers"
    script.write_text(PROGRAM)
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(processes.__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script), str(folder)], env=environment) as program:
        assert wait_until(lambda: len(list(folder.iterdir())) == 2)
        workers = [int(path.name) for path in folder.iterdir()]
        assert all(map(alive, workers))
        begun = time.monotonic()
        program.send_signal(getattr(signal, number))
        assert program.wait() == code and time.monotonic() - begun < 20
        assert wait_until(lambda: not any(map(alive, workers)))


def test_a_worker_that_is_killed_is_said():
    with pytest.raises(UserError, match="a worker process was killed"), processes.pool(1) as pool:
        pool.submit(os._exit, 9).result()


def test_signals_are_as_before_afterwards():
    with pytest.raises(processes.Stopped) as stopped, processes.stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert stopped.value.args == (signal.SIGTERM,) and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_waits_until_a_worker_is_started():
    done = []
    with pytest.raises(processes.Stopped), processes.stoppable(), processes.deferring():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("the rest")
    assert done == ["the rest"] and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt), processes.deferring():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("and more")
    assert done[1:] == ["and more"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
