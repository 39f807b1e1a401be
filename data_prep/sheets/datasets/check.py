"""A released sheet on its own: read, counted, and compared with the numbers that were published."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.sheets import release_sheets
from data_prep.sheets.datasets import DATASETS
from data_prep.sheets.datasets.collect import count
from data_prep.sheets.datasets.common import Labels
from fedn_jax.core import errors, schema
from fedn_jax.core.errors import one_of

NO_EMOTION = "(no emotion)"


def choose(name: str, given: Mapping[str, str | None]) -> dict[str, str]:
    """The options of a data set, with defaults where nothing was chosen.

    Args:
      name: of the data set.
      given: option -> choice, or None.

    Returns:
      option -> choice.

    Raises:
      UserError: no such choice.
    """
    options = DATASETS[name].options
    return {key: one_of(f"--{key}", given.get(key) or choices[0], choices) for key, choices in options.items()}


def read(name: str, sheet: Path, emotions: Sequence[Path], options: dict[str, str]) -> tuple[Labels, list[str]]:
    """Reads a sheet.

    Args:
      name: of the data set.
      sheet: the released file.
      emotions: files with emotions, where the release has them apart.
      options: of ``choose``.

    Returns:
      Labels and everything that is wrong with the sheet, one line each.

    Raises:
      UserError: a file that is not the sheet of this data set.
    """
    problems: list[str] = []
    books = [release_sheets.read(path) for path in emotions]
    labels = DATASETS[name].read(release_sheets.read(sheet), books, options, problems)
    if not labels.rows and not problems:
        problems.append("holds no expressions")
    return labels, problems


def summary(name: str, sheet: Path, emotions: Sequence[Path], options: dict[str, str]) -> dict[str, Any]:
    """Checks a sheet without any video.

    Args:
      name: of the data set.
      sheet: the released file.
      emotions: files with emotions, where the release has them apart.
      options: of ``choose``.

    Returns:
      {"dataset", "sheet", "options", "subjects", "videos", "expressions": {"positive/macro": n, ...}, "notes":
      [{"what", "count", "done"}, ...], "published": what ``compare`` returns}.

    Raises:
      UserError: everything that is wrong with the sheet, one per line.
    """
    labels, problems = read(name, sheet, emotions, options)
    errors.report(str(sheet), problems)
    counts = count(labels.rows)
    return {
        "dataset": DATASETS[name].title,
        "sheet": sheet.name,
        "options": options,
        "subjects": len({row.subject for row in labels.rows}),
        "videos": len({(row.subject, row.video) for row in labels.rows}),
        "expressions": {f"{emotion}/{kind}": n for (kind, emotion), n in sorted(counts.items())},
        "notes": [note._asdict() for note in labels.notes],
        "published": compare(name, options, counts),
    }


def compare(name: str, options: dict[str, str], counts: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Puts counts beside the published ones.

    Args:
      name: of the data set.
      options: of ``choose``.
      counts: (kind, emotion) -> number; emotion "" where there is none.

    Returns:
      [{"title", "kind", "rows": [{"emotion", "published", "here"}, ...], "equal"}, ...]; the last row is the total.
      "here" is None for an emotion where these data have no emotions at all; only the total is compared then.
    """
    result = []
    for column in DATASETS[name].expected(options):
        here = Counter({emotion: n for (kind, emotion), n in counts.items() if kind == column.kind})
        named = any(here[emotion] for emotion in here if emotion)
        rows = [
            {"emotion": emotion, "published": n, "here": here[emotion] if named else None}
            for emotion, n in column.counts.items()
            if emotion
        ]
        rows.append({"emotion": "total", "published": sum(column.counts.values()), "here": sum(here.values())})
        equal = all(row["here"] in (None, row["published"]) for row in rows)
        result.append({"title": column.title, "kind": column.kind, "rows": rows, "equal": equal})
    return result


def lines(checked: dict[str, Any]) -> list[str]:
    """Writes the summary of a sheet as text.

    Args:
      checked: of ``summary``.

    Returns:
      Lines of at most 80 columns.
    """
    chosen = "".join(f", {key} {value}" for key, value in checked["options"].items())
    text = [
        f"{checked['dataset']}{chosen}",
        f"{checked['subjects']} subjects and {checked['videos']} videos have expressions",
    ]
    return [*text, *published(checked["published"]), *noted(checked["notes"])]


def published(columns: list[dict[str, Any]]) -> list[str]:
    """Writes the comparison with the published counts.

    Args:
      columns: of ``compare``.

    Returns:
      Lines of at most 80 columns.
    """
    text = []
    for column in columns:
        verdict = "equal" if column["equal"] else "DIFFERENT"
        text += ["", f"{column['title'] + ', ' + column['kind']:<46}{'published':>12}{'here':>8}"]
        for row in column["rows"]:
            here = "–" if row["here"] is None else row["here"]
            ending = f"  {verdict}" if row["emotion"] == "total" else ""
            text.append(f"  {row['emotion']:<44}{row['published']:>12}{here:>8}{ending}")
        if any(row["here"] is None for row in column["rows"]):
            text.append("  no emotions are given, so only the total is compared")
    return text


def noted(notes: list[dict[str, Any]]) -> list[str]:
    """Writes what was odd in a sheet.

    Args:
      notes: {"what", "count", "done"} each.

    Returns:
      Lines of at most 80 columns.
    """
    import textwrap

    if not notes:
        return []
    text = ["", "read with care:"]
    for note in notes:
        line = f"{note['count']:>5} x {note['what']}: {note['done']}"
        text += textwrap.wrap(line, 80, subsequent_indent=" " * 8)
    return text


def by_kind(expressions: Mapping[str, int]) -> Counter:
    """Counts by kind and emotion, of counts under joint names.

    Args:
      expressions: "positive/macro" -> n.

    Returns:
      (kind, emotion) -> n.
    """
    counts: Counter = Counter()
    for key, n in expressions.items():
        emotion, _, kind = key.rpartition("/")
        assert kind in schema.KINDS
        counts[kind, emotion] += n
    return counts
