"""MEGC's submissions: CSV, exactly vid,pred_onset,pred_offset,type; type is me or mae, frames are taken as inclusive.

Two public entries to the spotting track of MEGC 2022 have this form, genbing99/MTSN-Spot-ME-MaE and
CZP-1/Facial-Expression-Spotting-Based-on-Optical-Flow-Features-MindSpore on GitHub. No other form was found.
"""

import math
from collections import Counter
from pathlib import Path

from fedn_jax.core import schema
from fedn_jax.core.errors import UserError
from fedn_jax.formats import predictions
from fedn_jax.formats.cells import shown, shown_video
from fedn_jax.formats.converters import Options, frame_rate, left_out, silent, write_csv
from fedn_jax.formats.predictions import Table

COLUMNS = {"subject": "vid", "video": "vid", "onset": "pred_onset", "offset": "pred_offset", "kind": "type"}
TYPES = {"macro": "mae", "micro": "me"}


def write(path: Path, table: Table, options: Options) -> list[str]:
    """Writes a submission: videos by their names alone, as the challenge gives them.

    Args:
      path: the file.
      table: in frames.
      options: ``fps`` tells kinds by length, where rows have none.

    Returns:
      What was left out, one sentence each.

    Raises:
      UserError: a video of several subjects, or a row whose kind is not known.
    """
    twice = [name for name, count in Counter(video for _, video in table.videos).items() if count > 1]
    if twice:
        raise UserError(
            f"{table.path}: video {shown(twice[0])} belongs to several subjects; the format has no subjects"
        )
    rows = []
    for row in table.rows:
        limit = schema.MICRO_SECONDS * frame_rate(options, row.video)
        if not row.kind and math.isnan(limit):
            raise UserError(
                f"{table.path}: video {shown_video(*row.video)} has rows without a kind; give --fps: what lasts half a "
                "second or less is micro"
            )
        kind = row.kind or ("micro" if row.offset - row.onset + 1 <= limit else "macro")
        rows.append((row.video[1], row.onset, row.offset, TYPES[kind]))
    write_csv(path, tuple(dict.fromkeys(COLUMNS.values())), rows)
    renamed = any(subject not in ("", video) for subject, video in table.videos)
    lost = ["subjects are left out: the format has no place for them"] if renamed else []
    return lost + left_out(table, "emotions", "scores") + silent(table)


def read(path: Path, what: str, options: Options) -> Table:
    """Reads a submission; it has no emotions.

    Args:
      path: the file.
      what: "predictions" or "ground truth", for messages.
      options: ``subjects`` of the videos.

    Returns:
      The table.

    Raises:
      UserError: all that is wrong with the file.
    """
    table = predictions.read(path, what, COLUMNS, {})
    video = {one: (options.subjects.get(one[1], one[0]), one[1]) for one in table.videos}
    rows = [row._replace(video=video[row.video]) for row in table.rows]
    return table._replace(videos=list(video.values()), rows=rows)
