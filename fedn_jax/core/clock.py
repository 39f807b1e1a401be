"""Where the time of long work goes."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any


class Spent:
    """Where the time of a training goes."""

    def __init__(self) -> None:
        """Starts without any."""
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Adds the time of what is done inside.

        Args:
          what: name of it.

        Yields:
          Nothing.
        """
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - start

    def each(self, what: str, items: Iterable[Any]) -> Iterator[Any]:
        """Adds the time that the items take to come.

        Args:
          what: name of it.
          items: any.

        Yields:
          The items.
        """
        waiting = iter(items)
        while True:
            with self.on(what):
                item = next(waiting, None)
            if item is None:
                return
            yield item

    def __str__(self) -> str:
        return "seconds: " + ", ".join(f"{what} {value:.1f}" for what, value in self.seconds.items())
