"""Processes: workers that end with the process that started them, and stopping in order."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from fedn_jax.core.errors import UserError

STOPS = ("SIGTERM", "SIGHUP")  # signals of a scheduler, and of a terminal that closes


class Stopped(KeyboardInterrupt):
    """The process was asked to end, by one of ``STOPS``; its argument is the signal's number."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turns the first signal of ``STOPS`` into an exception, so that what is half done is cleaned up.

    Signals that are ignored (``nohup``) stay so. Only the main thread can do this; elsewhere nothing changes.

    Yields:
      Nothing.

    Raises:
      Stopped: from wherever the program is then; the next signal ends the process at once.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(number)

    known = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    taken = [one for one in known if main and signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)


@contextlib.contextmanager
def deferring() -> Iterator[None]:
    """Puts off signals that ask this process to end until what is inside is done.

    Yields:
      Nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    known = [getattr(signal, name) for name in (*STOPS, "SIGINT") if main and hasattr(signal, name)]
    before = {one: handler for one in known if callable(handler := signal.getsignal(one))}
    late: list[tuple[int, FrameType | None]] = []
    for one in before:
        signal.signal(one, lambda number, frame: late.append((number, frame)))
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    for number, frame in late[:1]:
        before[number](number, frame)


@contextlib.contextmanager
def pool(workers: int) -> Iterator[Any]:
    """Worker processes that are gone when this ends, and also when this process is killed.

    Args:
      workers: their number.

    Yields:
      A ``ProcessPoolExecutor``; after an exception what the workers are at is not finished.

    Raises:
      UserError: a worker was killed.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    class Pool(ProcessPoolExecutor):
        def submit(self, *work: Any, **named: Any) -> Any:
            with deferring():  # a worker that is half started would complain when its parent is gone
                return super().submit(*work, **named)

    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = Pool(workers, context, initializer=end_with_parent)
    try:
        yield executor
    except BaseException as error:
        for worker in set(multiprocessing.active_children()) - before:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise UserError(
                "a worker process was killed, most often for lack of memory; start the same command again with fewer "
                "--workers: what is finished is kept"
            ) from None
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """Ends this worker process when the one that started it does, in whatever way; Ctrl-C is the parent's business."""
    import multiprocessing

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
