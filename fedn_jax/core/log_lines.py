"""Progress in a log, where nothing can be written over: a line now and then instead of a bar."""

import sys
import time
from typing import Any

from tqdm import tqdm

SECONDS = 10.0  # between two lines
FORMAT = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class LogLines(tqdm):
    """A bar of tqdm that prints whole lines: at its begin, at its end, and every ``SECONDS`` at most between."""

    def __init__(self, items: Any = None, **options: Any):
        """Prints the first line.

        Args:
          items: as of tqdm.
          **options: as of tqdm.
        """
        self._shown, self._count = -SECONDS, -1
        super().__init__(items, gui=True, mininterval=SECONDS, file=sys.stderr, **options)
        if not self.disable:
            self.bar_format = FORMAT if self.total else None
            self.display()

    def display(self, *_: Any, **__: Any) -> None:
        """Prints a line, unless the last one is too recent."""
        now = time.monotonic()
        if now - self._shown >= SECONDS:
            self._shown, self._count = now, self.n
            print(self, file=self.fp, flush=True)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Sets what the next line ends with; the count that belongs to it follows.

        Args:
          s: the end.
          refresh: not used.
        """
        super().set_postfix_str(s, refresh=False)

    def clear(self, *_: Any, **__: Any) -> None:
        """Does nothing: what stands in a log stays."""

    def close(self) -> None:
        """Prints the last line, if that is not there yet."""
        if self.disable:
            return
        super().close()
        if self._count != self.n:
            self._shown = -SECONDS
            self.display()
