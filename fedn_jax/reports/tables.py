"""A table, and the formats that it is written in: CSV, LaTeX, text and HTML.

Names come from strangers: each format escapes what it would otherwise obey.
"""

import csv
import html as markup
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import errors, files
from fedn_jax.core.text import COLUMNS, cell

FORMULA = "=+-@＝＋－＠"  # a cell that begins with one of these is a formula for a spreadsheet


class Column(NamedTuple):
    """What a column holds."""

    title: str
    unit: str = ""  # such as "10^-2"
    number: bool = True
    detail: bool = False  # in the CSV file only


class Cell(NamedTuple):
    """What people read, and the unrounded value."""

    text: str
    value: Any = ""


class Table(NamedTuple):
    """A table; every row has one cell per column."""

    name: str  # of its files
    title: str
    columns: list[Column]
    groups: list[tuple[str, list[list[Cell]]]]  # (heading or "", rows)
    notes: list[str]


def _shown(table: Table) -> tuple[list[int], list[Column]]:
    """Places and columns that people see."""
    places = [place for place, column in enumerate(table.columns) if not column.detail]
    return places, [table.columns[place] for place in places]


def _heading(column: Column) -> str:
    return column.title + (f" ({column.unit})" if column.unit else "")


def to_csv(table: Table) -> str:
    """A table for programs: unrounded numbers of ours, the paper's as printed.

    Args:
      table: the table.

    Returns:
      CSV with a heading. A name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")

    def safe(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(tuple(FORMULA)) else value

    writer.writerow([safe(_heading(column)) for column in table.columns])
    for _, rows in table.groups:
        writer.writerows([safe(cell.value) for cell in row] for row in rows)
    return text.getvalue()


LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"$\sim$", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "–": "--", "…": r"\ldots{}", "[": "{[}", "]": "{]}", '"': "''", "`": r"\textasciigrave{}",
}  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX prints as it is.

    Args:
      text: anything.

    Returns:
      LaTeX; a power of a number is raised.

    >>> escape("50 % of A_1, 10^-2")
    '50 \\\\% of A\\\\_1, 10$^{-2}$'
    """
    parts = re.split(r"\^(-?[0-9]+)", text)
    plain = ["".join(LATEX.get(letter, letter) for letter in part) for part in parts[::2]]
    raised = [f"$^{{{part}}}$" for part in parts[1::2]] + [""]
    return "".join(a + b for a, b in zip(plain, raised, strict=True))


def to_latex(table: Table) -> str:
    """A table for a paper; it needs the package booktabs.

    Args:
      table: the table.

    Returns:
      A LaTeX table with its caption and notes.
    """
    places, columns = _shown(table)
    lines = [r"% Needs \usepackage{booktabs}.", r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}.}}"]
    lines += [rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in columns)}}}", r"\toprule"]
    lines.append(" & ".join(escape(_heading(column)) for column in columns) + r" \\")
    for heading, rows in table.groups:
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{escape(heading)}}}}} \\")
        lines += [" & ".join(escape(row[place].text) for place in places) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [escape(note) + r"\par" for note in table.notes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def _folded(text: str) -> list[str]:
    """Lines of at most 80 columns, wide letters counted as two; further lines are indented."""
    lines, size = [""], 0
    for word in re.findall(r"\S+", text):
        widths = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in word]
        if size and size + 1 + min(sum(widths), COLUMNS // 2) > COLUMNS:
            lines.append(" ")
            size = 1
        lines[-1] += " " if size else ""
        size += 1 if size else 0
        for letter, width in zip(word, widths, strict=True):  # a word may be longer than a line
            if size + width > COLUMNS:
                lines.append("  ")
                size = 2
            lines[-1] += letter
            size += width
    return lines


def to_text(table: Table) -> str:
    """A table for a terminal; columns that do not fit come below.

    Args:
      table: the table.

    Returns:
      Lines of at most 80 columns.
    """
    places, columns = _shown(table)
    widths = [max(len(c.title), *(len(row[p].text) for _, rows in table.groups for row in rows)) for p, c in
              zip(places, columns, strict=True)]  # fmt: skip
    widths = [min(width, 12) for width in widths]
    blocks: list[list[int]] = [[]]
    for place in range(1, len(places)):
        if 18 + sum(widths[i] + 2 for i in [*blocks[-1], place]) > COLUMNS:
            blocks.append([])
        blocks[-1].append(place)
    lines = [*_folded(table.title), ""]
    for block in blocks:
        first = min(COLUMNS - sum(widths[i] + 2 for i in block), 36)
        rule = "-" * (first + sum(widths[i] + 2 for i in block))

        def line(texts: list[str], block: list[int] = block, first: int = first) -> str:
            shown = [cell(texts[i], widths[i]) for i in block]
            moved = [
                " " * (len(x) - len(x.rstrip())) + x.rstrip() if columns[i].number else x
                for i, x in zip(block, shown, strict=True)
            ]
            return "  ".join([cell(texts[0], first), *moved]).rstrip()

        lines.append(line([column.title for column in columns]))
        for heading, rows in table.groups:
            lines += [rule, *([cell(heading, len(rule)).rstrip()] if heading else [])]
            lines += [line([row[place].text for place in places]) for row in rows]
        lines.append("")
    units: dict[str, list[str]] = {}
    for column in columns:
        units.setdefault(column.unit, []).append(column.title)
    stated = [f"{', '.join(titles)} in {unit}" for unit, titles in units.items() if unit]
    for note in [f"{'; '.join(stated)}."] * bool(stated) + table.notes:
        lines += _folded(note)
    return "\n".join(lines) + "\n"


def raised(text: str) -> str:
    """Text for a page, with powers of numbers raised.

    Args:
      text: anything.

    Returns:
      HTML; what is HTML in the text is escaped.

    >>> raised("CAS(ME)^2 & 10^-3")
    'CAS(ME)<sup>2</sup> &amp; 10<sup>-3</sup>'
    """
    return re.sub(r"\^(-?[0-9]+)", r"<sup>\1</sup>", markup.escape(text))


def to_html(table: Table) -> str:
    """A table for a page.

    Args:
      table: the table.

    Returns:
      A table element and its notes; every name is escaped.
    """
    places, columns = _shown(table)

    def element(kind: str, text: str, column: Column) -> str:
        return f'<{kind} class="n">{raised(text)}</{kind}>' if column.number else f"<{kind}>{raised(text)}</{kind}>"

    lines = ["<table>", "<thead><tr>"]
    lines += [element("th", _heading(column), column) for column in columns]
    lines.append("</tr></thead>")
    for heading, rows in table.groups:
        lines.append("<tbody>")
        if heading:
            lines.append(f'<tr class="group"><th colspan="{len(columns)}">{raised(heading)}</th></tr>')
        for row in rows:
            cells = [element("td", row[place].text, column) for place, column in zip(places, columns, strict=True)]
            lines.append(f"<tr>{''.join(cells)}</tr>")
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"])


FORMATS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "tex": to_latex, "txt": to_text, "html": to_html}


def save(table: Table, directory: Path, formats: Sequence[str] = ("csv", "tex")) -> list[Path]:
    """Writes a table.

    Args:
      table: the table.
      directory: made if missing.
      formats: entries of ``FORMATS``.

    Returns:
      The files, in the order of the formats; each is written whole or not at all.

    Raises:
      UserError: no such format.
    """
    contents = {kind: FORMATS[errors.one_of("format of a table", kind, FORMATS)](table) for kind in formats}
    for kind, content in contents.items():
        files.write_text(directory / f"{table.name}.{kind}", content)
    return [directory / f"{table.name}.{kind}" for kind in contents]
