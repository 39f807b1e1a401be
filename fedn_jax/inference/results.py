"""Where the results of new videos lie: each video has a name of its own, and nothing of a person is replaced."""

import contextlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core import files, written
from fedn_jax.formats import detection_files

SUFFIXES = (*detection_files.FORMATS, "html")


class Place:
    """Where the results of one video go: the first of its names that is not another video's.

    Attributes:
      name: of its files, without suffix; of the last ``find``.
      note: why it is not the shortest name; "" if it is.
    """

    def __init__(self, out: Path, video: Path, together: Sequence[Path] = (), force: bool = False, tag: str = ""):
        """Takes note of a video.

        Args:
          out: directory of all results.
          video: a file, or a folder of pictures.
          together: all videos of the command; a name that would do for two of them is not taken.
          force: replace what a person changed.
          tag: ends its names, such as "person2"; "": nothing does.
        """
        self.out, self.force, self.name, self.note = out, force, "", ""
        self._video = Path(os.path.abspath(video))  # a link keeps its own name
        self._names = _names(self._video, {Path(os.path.abspath(one)) for one in together} - {self._video}, tag)
        self._fingerprint: Any = None

    def find(self, fingerprint: Any) -> dict[str, Path]:
        """Finds the place, before the work begins.

        Args:
          fingerprint: of the video's content, as JSON can say it.

        Returns:
          suffix -> file.

        Raises:
          UserError: a person changed one of the files, or put one there; not with ``force``.
        """
        self._fingerprint, known = fingerprint, written.read(self.out)
        others = {name.casefold(): one["about"] for name, one in known.items() if not self._is_of_this(name, one)}
        here = {"path": str(self._video), "fingerprint": fingerprint}
        own = [name for name, one in known.items() if one["about"] == here]
        self.name = [*own, *(name for name in self._names if name.casefold() not in others), self._last()][0]
        first = others.get(self._names[0].casefold())
        self.note = (
            f"{self.out / self._names[0]}.* are of {first.get('path', 'something else')}"
            if first and self.name not in own
            else ""
        )
        if not self.force:
            written.check(self.out, [path.name for path in self._paths().values()])
        return self._paths()

    @contextlib.contextmanager
    def writing(self) -> Iterator[dict[str, Path]]:
        """Writes the results, one process at a time; call ``find`` before.

        Yields:
          suffix -> path to write to; they take their places at the end.

        Raises:
          UserError: see ``find``; it is asked again, since other processes may have written meanwhile.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with files.wait_for_lock(self.out):
            paths = self.find(self._fingerprint)
            about = {"path": str(self._video), "fingerprint": self._fingerprint}
            names = [path.name for path in paths.values()]
            with written.replacing(self.out, self.name, about, names, self.force) as parts:
                yield {suffix: parts[path.name] for suffix, path in paths.items()}

    def path(self, suffix: str) -> Path:
        """A file of this video.

        Args:
          suffix: one of SUFFIXES.

        Returns:
          Its path.
        """
        return self.out / f"{self.name}.{suffix}"

    def _paths(self) -> dict[str, Path]:
        return {suffix: self.path(suffix) for suffix in SUFFIXES}

    def _last(self) -> str:
        """A name that is no other video's."""
        what = f"{self._video}\0{self._fingerprint}".encode("utf-8", "surrogatepass")
        return f"{self._names[0]}-{zlib.crc32(what):08x}"

    def _is_of_this(self, name: str, entry: dict[str, Any]) -> bool:
        """Whether results are of this video, perhaps of its place before it was moved, or are all gone."""
        if not any((self.out / one).exists() for one in entry["files"]):
            return True
        path = entry["about"].get("path", "")
        here = path == str(self._video) or not os.path.exists(path)
        return here and entry["about"].get("fingerprint") == self._fingerprint


def _names(video: Path, others: set[Path], tag: str = "") -> list[str]:
    """Names for the files of a video, the shortest first; those that would do for another one, too, are left out."""

    def ways(path: Path) -> list[str]:
        stem = path.name if path.is_dir() else path.stem
        end = [tag] if tag else []
        return [
            files.file_name(*parts, *end)
            for parts in ((stem,), (path.parent.name, stem), (path.name,), (path.parent.name, path.name))
        ]

    taken = [{name.casefold() for name in ways(other)} for other in others]
    own = [name for name in dict.fromkeys(ways(video)) if not any(name.casefold() in names for names in taken)]
    return own or [files.file_name(str(video), *([tag] if tag else []))]
