"""Which file of a folder a sheet means: links are followed, names compared as a reader sees them, not byte by byte."""

import difflib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from data_prep.media import images
from fedn_jax.core.errors import UserError
from fedn_jax.formats import video_names
from fedn_jax.formats.cells import shown

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".vob", ".mts", ".m2ts", ".ts", ".wmv",
    ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".gif",
)  # fmt: skip


class Index(NamedTuple):
    """The files below a folder under every name that a sheet may give them."""

    directory: Path
    videos: list[Path]  # what belongs to the data set by its suffix, and folders of pictures, sorted
    names: dict[str, list[Path]]  # NFC name, with and without folder and ending, or that of its results -> files
    real: dict[str, Path]  # real path -> file
    folders: dict[str, Path]  # real path -> folder


def nfc(name: str | Path) -> str:
    """A name in Unicode NFC, in which letters that look alike are alike.

    Args:
      name: of a file, or a path.

    Returns:
      The name with slashes.
    """
    return unicodedata.normalize("NFC", name.as_posix() if isinstance(name, Path) else name)


def walk(directory: Path, skip: Path | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """All folders below one, those behind links too, each once even where links go in circles.

    Args:
      directory: where to begin.
      skip: a folder that is not entered.

    Yields:
      A folder, the names of the folders in it and those of the files, both sorted. Folders that are removed from the
      list are not entered.

    Raises:
      UserError: a folder cannot be read.
    """

    entered = {os.path.realpath(skip)} if skip is not None else set()
    if os.path.realpath(directory) in entered:
        raise UserError(f"{directory}: is the folder of the videos and --out; choose another --out")
    starts = [directory]  # links wait here, so that a file goes by its own place where it has one below the folder
    while starts:
        for root, folders, names in os.walk(starts.pop(0), onerror=_refuse):
            here, real = Path(root), os.path.realpath(root)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            folders.sort()
            yield here, folders, sorted(names)
            starts += [here / name for name in folders if (here / name).is_symlink()]


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}); see to its permissions") from None


def has_pictures(folder: Path) -> bool:
    """Whether a folder holds numbered pictures.

    Args:
      folder: the folder.

    Returns:
      See ``images.is_folder``.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return images.is_folder(folder)
    except OSError as error:
        _refuse(error)


def index(directory: Path, suffixes: Sequence[str], skip: Path | None, openface: bool) -> Index:
    """Finds the files that a sheet may name.

    Args:
      directory: where they are.
      suffixes: endings of the files of the data set; with ``SUFFIXES``, folders of pictures belong to it, too.
      skip: a folder whose files are none of them.
      openface: folders that end in _aligned, and nothing else.

    Returns:
      The index. Hidden files are not in it; files with other endings only under their whole names.
    """
    videos, others, places = [], [], {}
    for here, folders, files in walk(directory, skip):
        places[os.path.realpath(here)] = here
        inside = [here / name for name in folders] if suffixes is SUFFIXES else []
        for path in [path for path in inside if has_pictures(path)]:
            if not path.name.startswith(".") and path.name.endswith("_aligned") >= openface:
                videos.append(path)
        for path in [here / name for name in files if not openface and not name.startswith(".")]:
            known = path.name.lower().endswith(tuple(suffixes))
            if path.is_file():
                (videos if known else others).append(path)
    if skip is not None:
        videos = [path for path in videos if os.path.realpath(path) != os.path.realpath(skip)]
    videos = list({os.path.realpath(path): path for path in reversed(videos)}.values())[::-1]
    names: dict[str, list[Path]] = {}
    whole: dict[str, list[Path]] = {}
    results: dict[str, list[Path]] = {}
    for path in [*videos, *others]:
        relative = path.relative_to(directory)
        bare = relative.with_name(path.name.removesuffix("_aligned") if path.is_dir() else path.stem)
        whole.setdefault(nfc(relative), []).append(path)
        given = (relative, relative.name, bare, bare.name) if path in videos else (relative, relative.name)
        for name in dict.fromkeys(map(nfc, given)):
            names.setdefault(name, []).append(path)
        for name in video_names.of_file(Path(os.path.abspath(path))) if path in videos else ():
            results.setdefault(name, []).append(path)
    # A full relative path is never ambiguous, even where another folder has a file of that name.
    real = {os.path.realpath(path): path for path in [*videos, *others]}
    return Index(directory, sorted(videos), results | names | whole, real, places)


def meant(name: str, files: Index, subject: str = "") -> list[Path]:
    """The files that a cell may mean.

    Args:
      name: as the sheet writes it.
      files: of ``index``.
      subject: who is seen, if it is known.

    Returns:
      None, one or several; of several those in a folder that is named as the subject, if there are any.
    """
    name = nfc(name.replace("\\", "/").removeprefix("./"))
    if name in files.names or "\0" in name:
        found = files.names.get(name, [])
        own = [path for path in found if nfc(path.resolve().parent.name) == nfc(subject)] if found[1:] else []
        return own or found
    # Through a link to a folder that has another place here, or an absolute path.
    path = files.directory / name
    place = files.folders.get(os.path.realpath(path.parent))
    if place is not None and (found := files.names.get(nfc((place / path.name).relative_to(files.directory)))):
        return found
    return [files.real[real]] if (real := os.path.realpath(path)) in files.real else []


def find(name: str, files: Index, subject: str = "") -> tuple[Path | None, str]:
    """The file that a cell means.

    Args:
      name: as the sheet writes it.
      files: of ``index``.
      subject: who is seen, if it is known; see ``meant``.

    Returns:
      The file and ""; or None and the reason, as the end of a sentence.
    """
    found = meant(name, files, subject)
    if len(found) == 1:
        return found[0], ""
    if found:
        if len({nfc(path) for path in found}) < len(found):
            advice = "rename one, since their names look alike"
        else:
            advice = f"write its {'folder' if len({path.parent for path in found}) > 1 else 'ending'} too"
        return None, f"{len(found)} files of that name, {advice}"
    return None, f"no such file{_hint(nfc(name), files)}"


def _hint(name: str, files: Index) -> str:
    """What may have been meant instead."""
    if "\0" not in name and os.path.islink(files.directory / name):
        return " (a link that leads nowhere)"
    folded = {other.casefold(): other for other in files.names}
    if name.casefold() in folded:
        return f" (there is {shown(folded[name.casefold()])}, which differs in upper and lower case)"
    ending = [other for other in files.names if other.rpartition(".")[0] == name]
    if ending:
        return f" (there is {shown(ending[0])}, which has no ending of a video that is known: write it with its ending)"
    near = difflib.get_close_matches(name, files.names, n=1, cutoff=0.8) if len(files.names) < 5000 else []
    return f" (did you mean {shown(near[0])}?)" if near else ""
