"""How files of one video are named, and which video such a name means.

A table knows a video by subject and name. Subtitles and BIDS event files know only how they are called themselves,
which is NAME in what ``fedn detect`` writes: the video's name, with its folder's in front where several videos have
that name, and safe on every file system.
"""

from collections.abc import Iterable
from pathlib import Path

from fedn_jax.core import files

Video = tuple[str, str]  # subject, name


def of_file(video: Path, tag: str = "") -> list[str]:
    """What the results of a video may be called.

    Args:
      video: a file, or a folder of pictures.
      tag: ends the names, such as "person2"; "": nothing does.

    Returns:
      Names, the shortest first.

    >>> of_file(Path("videos/anna/before.mp4"))[:2]
    ['before', 'anna__before']
    """
    stem, folder, end = video.name if video.is_dir() else video.stem, video.parent.name, [tag] if tag else []
    ways = ((stem,), (folder, stem), (video.name,), (folder, video.name))
    return list(dict.fromkeys(files.file_name(*parts, *end) for parts in ways))


def meant(video: Video, known: Iterable[Video]) -> list[Video]:
    """The videos that another table may mean.

    Args:
      video: as one table has it; subject "" where nobody says who is seen.
      known: those of the other.

    Returns:
      The same one; else those of its name, or whose results are called so, of its subject or of nobody's.

    >>> meant(("", "anna__before"), [("anna", "before"), ("ben", "before")])
    [('anna', 'before')]
    >>> meant(("ben", "before"), [("anna", "before"), ("", "before")])
    [('', 'before')]
    """
    known = list(known)
    if video in known:
        return [video]
    subject, name = video
    found = [one for one in known if name in (one[1], files.file_name(one[1]), files.file_name(*one))]
    return [one for one in found if not subject or one[0] in (subject, "", one[1])]
