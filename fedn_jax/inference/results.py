"""Where the results of new videos lie: each video has a name of its own, and nothing of a person is replaced."""

import contextlib
import csv
import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedn_jax.core import files, written
from fedn_jax.core.errors import UserError
from fedn_jax.core.text import no_formula
from fedn_jax.formats import detection_files, video_names

SUFFIXES = (*detection_files.FORMATS, detection_files.FRAMES, "html")
ALL = "detections.csv"  # of all videos
COLUMNS = (
    "subject", "video", "what", "onset", "apex", "offset", "onset_seconds", "offset_seconds", "seconds", "emotion",
    "score",
)  # fmt: skip


_MOST = 2**28  # bytes of the JSON file of a video


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
        theirs = {ALL} | {
            file for name, one in known.items() if not self._is_of_this(name, one) for file in one["files"]
        }
        free = [
            name
            for name in self._names
            if name.casefold() not in others and not theirs & {path.name for path in self._paths(name).values()}
        ]
        self.name = [*own, *free, self._last()][0]
        first = others.get(self._names[0].casefold())
        self.note = (
            f"{self.out / self._names[0]}.* are of {first.get('path', 'something else')}"
            if first and self.name not in own
            else ""
        )
        if not self.force:
            written.check(self.out, [path.name for path in self._paths(self.name).values()])
        return self._paths(self.name)

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
        return self._paths(self.name)[suffix]

    def _paths(self, name: str) -> dict[str, Path]:
        return {suffix: self.out / f"{name}{'' if suffix.startswith('_') else '.'}{suffix}" for suffix in SUFFIXES}

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


def check_all(out: Path) -> None:
    """Refuses to replace a table of all videos that a person changed.

    Args:
      out: directory of all results.

    Raises:
      UserError: it was changed, or is not known to be a result.
    """
    written.check(out, [ALL])


def write_all(out: Path, force: bool = False) -> Path:
    """Writes one table of all videos whose results lie in a directory, whichever command made them.

    Videos of one name go by the names of their results. ``what`` is "video" (one row each, with its length),
    "expression", or "no face" (a stretch without one); of the latter two the columns of
    ``detection_files.write_csv``, and how long they are.

    Args:
      out: directory of all results.
      force: replace the table even where a person changed it.

    Returns:
      The table.

    Raises:
      UserError: see ``check_all``.
    """
    with files.wait_for_lock(out):
        rows: list[Sequence[Any]] = [COLUMNS]
        names = [name for name, entry in written.read(out).items() if f"{name}.json" in entry["files"]]
        paths = [out / f"{name}.json" for name in sorted(names) if (out / f"{name}.json").is_file()]
        videos = [_rows(path) for path in paths]
        alike = Counter(tuple(of_video[0][:2]) for of_video in videos)
        for path, of_video in zip(paths, videos, strict=True):
            one = alike[tuple(of_video[0][:2])] == 1
            rows += of_video if one else [[row[0], no_formula(path.stem), *row[2:]] for row in of_video]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with written.replacing(out, ALL, {"of": "all videos"}, [ALL], force) as parts:
            parts[ALL].write_text(text.getvalue(), encoding="utf-8")
    return out / ALL


def _rows(path: Path) -> list[Sequence[Any]]:
    """Rows of one video."""
    try:
        found = json.loads(files.read_bytes(path, _MOST, "results of a video"))
        who = [no_formula(found["subject"]), no_formula(found["video"])]
        first, last = found["first_frame"], found["first_frame"] + found["num_frames"] - 1
        rows = [[*who, "video", first, "", last, *_span(0.0, found["seconds"]), "", ""]]
        rows += [[*who, "no face", "", "", "", *_span(*gap), "", ""] for gap in found["gaps"]]
        for one in found["expressions"]:
            frames = [one["onset"], one["apex"], one["offset"]]
            emotion = no_formula(one["emotion"])
            rows.append([*who, "expression", *frames, *_span(one["begin"], one["end"]), emotion, f"{one['score']:.6f}"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: was changed and is no result any more; remove it, and start again") from None
    return rows


def _span(begin: float, end: float) -> list[str]:
    return [f"{begin:.6f}", f"{end:.6f}", f"{end - begin:.6f}"]


def _names(video: Path, others: set[Path], tag: str = "") -> list[str]:
    """Names for the files of a video, the shortest first; those that would do for another one, too, are left out."""
    taken = [{name.casefold() for name in video_names.of_file(other, tag)} for other in others]
    own = [name for name in video_names.of_file(video, tag) if not any(name.casefold() in names for names in taken)]
    return own or [files.file_name(str(video), *([tag] if tag else []))]
