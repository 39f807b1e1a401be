"""The agreement of coders as tables: for the terminal, CSV and LaTeX, and the figure of their differences."""

from collections.abc import Mapping
from typing import Any

from fedn_jax.evaluation.coders import ALL
from fedn_jax.reports import tables
from fedn_jax.reports.tables import Cell, Column, Table, texts, words

ENDS = ("low", "high")  # of an interval


def _bounded(bounds: Mapping[str, Any] | None, digits: int = 2, scale: float = 1.0) -> list[Cell]:
    """A number and both ends of its interval."""
    return [tables.number(bounds and bounds[name], digits, scale) for name in ("value", "low", "high")]


def _columns(title: str) -> list[Column]:
    return [Column(title), *(Column(f"{title} {end}") for end in ENDS)]


def _groups(result: Mapping[str, Any], rows: Any) -> list[tuple[str, list[list[Cell]]]]:
    """Rows by pair of coders, under their names."""
    found: dict[str, list[list[Cell]]] = {}
    for pair in result["pairs"]:
        found.setdefault("A: {}, B: {}".format(*pair["coders"]), []).extend(rows(pair))
    return list(found.items())


def _who(pair: Mapping[str, Any]) -> list[Cell]:
    return [words(name) for name in (pair["emotion"], *pair["coders"])]


HEAD = [*texts("emotion"), *(one._replace(detail=True) for one in texts("coder A", "coder B"))]


def events(result: Mapping[str, Any]) -> Table:
    """F1 and kappa of every two coders.

    Args:
      result: of ``coders.compare``.

    Returns:
      The table.
    """
    columns = [*HEAD, *map(Column, ("A", "B", "pairs")), *_columns("F1"), *_columns("kappa")]

    def rows(pair: Mapping[str, Any]) -> list[list[Cell]]:
        numbers = [words(pair[name]) for name in ("events_a", "events_b", "pairs")]
        return [[*_who(pair), *numbers, *_bounded(pair["f1"]), *_bounded(pair["kappa"])]]

    note = f"Expressions of A, of B, and pairs of both with temporal IoU of at least {result['iou']:g}; F1 of these"
    more = "Cohen's kappa: of frames, marked or not. low, high: 95 % interval, bootstrap over persons"
    return Table("agreement", "Agreement of coders", columns, _groups(result, rows), [note, more, *result["notes"]])


def times(result: Mapping[str, Any]) -> Table:
    """Differences of onsets and offsets of every two coders.

    Args:
      result: of ``coders.compare``.

    Returns:
      The table.
    """
    names = {"bias": "mean", "lower": "lower", "upper": "upper"}
    seconds = result["unit"] == "s"
    digits, scale, unit = (0, 1000.0, "milliseconds") if seconds else (1, 1.0, "frames")
    columns = [*texts("difference"), *(one._replace(detail=True) for one in [*HEAD, *texts("edge")]), Column("pairs")]
    columns += [column for title in names.values() for column in _columns(title)]

    def rows(pair: Mapping[str, Any]) -> list[list[Cell]]:
        return [
            [words(f"{edge}, {pair['emotion']}"), *_who(pair), words(edge), words(pair["pairs"])]
            + [cell for name in names for cell in _bounded(pair[edge][name], digits, scale)]
            for edge in ("onset", "offset")
        ]

    title = f"Differences of onset and offset in {unit}, A less B"
    note = "Of the pairs: mean, and lower and upper 95 % limit of agreement, each with its interval"
    return Table("differences", title, columns, _groups(result, rows), [note])


def amounts(result: Mapping[str, Any]) -> Table:
    """Intraclass correlations of all coders.

    Args:
      result: of ``coders.compare``.

    Returns:
      The table.
    """
    columns = [*texts("emotion", "of"), Column("videos"), *_columns("ICC2"), *_columns("ICC3")]
    rows = [
        [words(row[name]) for name in ("emotion", "what", "videos")]
        + [*_bounded(row["icc_absolute"]), *_bounded(row["icc_consistency"])]
        for row in result["icc"]
    ]
    title = "Agreement on how many expressions a video has, and how long they are together"
    note = "ICC2: ICC(2,1), absolute agreement; ICC3: ICC(3,1), whatever each coder's level; each with its interval"
    return Table("amounts", title, columns, [("", rows)], [note])


def persons(result: Mapping[str, Any]) -> Table:
    """The numbers of each person.

    Args:
      result: of ``coders.compare``.

    Returns:
      The table, for all emotions together in print, for each in CSV.
    """
    columns = [*texts("person"), *HEAD, *map(Column, ("A", "B", "pairs", "F1", "kappa"))]

    def rows(pair: Mapping[str, Any]) -> list[list[Cell]]:
        return [
            [words(one["person"]), *_who(pair)]
            + [words(one[name]) for name in ("events_a", "events_b", "pairs")]
            + [tables.number(one[name], 2) for name in ("f1", "kappa")]
            for one in pair["persons"]
        ]

    return Table("persons", "Agreement by person", columns, _groups(result, rows))


def text(result: Mapping[str, Any]) -> str:
    """What a terminal shows.

    Args:
      result: of ``coders.compare``.

    Returns:
      Lines of at most 80 columns.
    """
    whole = dict(result, pairs=[pair for pair in result["pairs"] if pair["emotion"] == ALL])
    rows = [row for row in result["icc"] if row["emotion"] == ALL]
    shown = [events(result), times(whole), amounts(dict(result, icc=rows))]
    return "\n".join(tables.to_text(one._replace(columns=[*map(_short, one.columns)])) for one in shown)


def _short(column: Column) -> Column:
    """The ends of an interval stand behind their number, so that they need no longer name."""
    end = column.title.rpartition(" ")[2]
    return column._replace(title=end) if end in ENDS else column
