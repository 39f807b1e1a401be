"""Commands in processes of their own, bounded in time and memory, whose words and leftovers are caught.

A process that has imported everything and has not started JAX is forked for each command: a command then costs what
it does, not seconds of imports. Linux only.
"""

import contextlib
import ctypes
import faulthandler
import io
import logging
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Limits(NamedTuple):
    """What a command may use."""

    seconds: float = 20.0  # of the processor, which other work on the machine does not change; and see _overdue
    memory: int = 2 << 30  # bytes in use at the same time (resident)
    address_space: int = 6 << 30  # bytes that may be asked for; keeps the machine alive


class Terminal(NamedTuple):
    """How a command is started."""

    encoding: str = "utf-8"  # of its output
    rights: bool = True  # False: rights of files hold for root, too


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None  # exit code; None: killed
    signal: int  # that killed it; 0: none
    hung: bool  # it was still at work when its time was over
    out: str
    err: str
    seconds: float
    memory: int  # bytes, the most that were in use
    place: str  # where it was when its time was over
    left: tuple[str, ...]  # processes that it left behind, as command lines


class Process:
    """A command at work."""

    def __init__(self, pid: int, records: Path, limits: Limits):
        self.pid, self._records, self._limits = pid, records, limits
        self._start = time.monotonic()
        self._status: tuple[int, resource.struct_rusage] | None = None  # how it ended, and what it used

    def ended(self) -> bool:
        """Whether it is done.

        Returns:
          True after its end.
        """
        if self._status is None:
            done, status, usage = os.wait4(self.pid, os.WNOHANG)
            self._status = (status, usage) if done else None
        return self._status is not None

    def kill(self, number: int) -> None:
        """Sends a signal; nothing happens if the command is done."""
        if not self.ended():
            os.kill(self.pid, number)

    def wait(self, patience: float = 1.0) -> Ended:
        """Waits for the end, or for the end of its time.

        Args:
          patience: seconds that processes which it started have to follow it.

        Returns:
          How it ended; nothing of it is at work any more.
        """
        hung, step = False, 0.002
        while not self.ended():
            if not hung and self._overdue():
                hung = True
                self.kill(signal.SIGUSR1)  # writes where it is
                time.sleep(0.3)
                self.kill(signal.SIGKILL)
            time.sleep(step)
            step = min(2 * step, 0.05)
        status, usage = self._status
        seconds = time.monotonic() - self._start
        left = _remaining(self.pid, patience)
        out, err, place = ((self._records / name).read_text("utf-8", "replace") for name in ("out", "err", "place"))
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        return Ended(
            code, 0 if hung else number, hung, out, err, seconds, usage.ru_maxrss << 10, _innermost(place), left
        )

    def _overdue(self) -> bool:
        """Whether its time is over: of the processor; or of the clock, where it hardly works."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        passed, most = time.monotonic() - self._start, self._limits.seconds
        return used > most or (passed > most and used < 0.1 * passed) or passed > 6 * most


def start(
    function: Callable[[], int],
    directory: Path,
    records: Path,
    limits: Limits,
    terminal: Terminal | None = None,
) -> Process:
    """Starts a function in a process of its own.

    Args:
      function: gives the exit code.
      directory: its working directory.
      records: a directory for what it prints; made.
      limits: of time and memory.
      terminal: how it is started; None: as usual.

    Returns:
      The process.
    """
    records.mkdir(parents=True, exist_ok=True)
    for name in ("out", "err", "place"):
        (records / name).write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Process(pid, records, limits)
    code = 70
    try:
        _enter(directory, records, limits, terminal or Terminal())
        code = _ended(function)
        threading._shutdown()  # what the interpreter does at its end
        import atexit

        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = 71
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def keep(work: Path, directory: Path, name: str) -> str:
    """Puts what ended badly aside.

    Args:
      work: what the commands worked on; it is moved.
      directory: for all that is kept.
      name: of this one.

    Returns:
      Where it lies.
    """
    place = directory / re.sub(r"[^A-Za-z0-9-]+", "-", name)
    shutil.rmtree(place, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    shutil.move(work, place)
    return str(place)


def command(words: Sequence[str]) -> Callable[[], int]:
    """A call of ``fedn``.

    Args:
      words: its arguments.

    Returns:
      A function for ``start``.
    """

    def call() -> int:
        from fedn_jax.cli import main

        return main.main(list(words))

    return call


def _ended(function: Callable[[], int]) -> int:
    """The exit code that the interpreter would give."""
    try:
        return function() or 0
    except SystemExit as stop:
        if isinstance(stop.code, int) or stop.code is None:
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1


def _enter(directory: Path, records: Path, limits: Limits, terminal: Terminal) -> None:
    """Turns a copy of this process into one that a shell would have started."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.address_space,) * 2)
    flags = os.O_WRONLY | os.O_APPEND
    nothing, out, err = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(records / "out", flags),
        os.open(records / "err", flags),
    )
    for target, source in enumerate((nothing, out, err)):
        os.dup2(source, target)
        os.close(source)
    raw = [os.fdopen(number, "wb", closefd=False) for number in (1, 2)]
    sys.stdout = io.TextIOWrapper(raw[0], terminal.encoding, "strict")
    sys.stderr = io.TextIOWrapper(raw[1], terminal.encoding, "backslashreplace", line_buffering=True)
    faulthandler.register(signal.SIGUSR1, (records / "place").open("w"), all_threads=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    logging.root.handlers.clear()
    os.chdir(directory)
    if not terminal.rights and os.geteuid() == 0:
        _give_up_rights()


def _give_up_rights() -> None:
    """Root without the capabilities to read and write what the rights of a file forbid (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    forbidden = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capget(header, sets) == 0:
        sets[0] &= ~forbidden  # effective
        sets[1] &= ~forbidden  # permitted
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "rights cannot be given up")


def _innermost(trace: str) -> str:
    """The innermost line of this project in what faulthandler wrote."""
    frames = [line.split('"') for line in trace.splitlines() if line.startswith('  File "')]
    own = [f"{Path(path).name}{rest}" for _, path, rest in frames if "fedn_jax/" in path or "data_prep/" in path]
    return (own or [Path(parts[1]).name + parts[2] for parts in frames] or [""])[0]


def _remaining(session: int, patience: float) -> tuple[str, ...]:
    """Waits for the processes of a session to end; kills, and names, those that do not."""
    deadline = time.monotonic() + patience
    while left := _members(session):
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return tuple(left.values())
        time.sleep(0.05)
    return ()


def _members(session: int) -> dict[int, str]:
    """pid -> command line of the processes of a session; those that ended and wait for their parent are none."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            state, _, _, group = Path(entry.path, "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(group) == session and state not in "ZX":
                words = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found[int(entry.name)] = words.strip()[:80]
    return found
