"""A table, and the forms that it is shown in: CSV, LaTeX, text of 80 columns, and HTML; each escapes what it obeys."""

import csv
import html as markup
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedn_jax.core import errors, files
from fedn_jax.core.text import COLUMNS, DASH, no_formula, percent, plain

LONG = 60  # letters of a cell that a page makes wide, since it would be very high otherwise
WIDEST = 12  # columns of a terminal for every column of a table but the first


class Column(NamedTuple):
    """What a column holds."""

    title: str
    unit: str = ""  # such as "%"
    number: bool = True
    detail: bool = False  # in the CSV file only
    drawn: str = ""  # how a page draws the share of a cell: "bar" or "shade"
    filed: str = ""  # its title in the CSV file, if that is another one


SOURCE = Column("Source", number=False, detail=True)  # whose number it is: the paper's, or OURS
OURS = "fedn_jax"


class Cell(NamedTuple):
    """What is shown, the unrounded value, and a share in [0, 1] that a page may draw."""

    text: str
    value: Any = ""
    share: float | None = None
    below: Sequence[str] = ()  # lines of a page
    best: bool = False  # marked on a page


class Table(NamedTuple):
    """A table; every row has one cell per column."""

    name: str  # of its files
    title: str
    columns: Sequence[Column]
    groups: list[tuple[str, list[list[Cell]]]]  # (heading or "", rows)
    notes: Sequence[str] = ()


def words(content: Any) -> Cell:
    """A cell of text, or of a whole number.

    Args:
      content: None: there is no such number.

    Returns:
      The cell, without control characters.
    """
    text = DASH if content is None else plain(content)
    return Cell(text, content if isinstance(content, int) else "" if content is None else text)


def share(value: float | None) -> Cell:
    """A cell in percent.

    Args:
      value: in [0, 1]; None: there is no such number.

    Returns:
      The cell.
    """
    return Cell(percent(value)) if value is None else Cell(percent(value), 100 * value, value)


def texts(*titles: str) -> list[Column]:
    """Columns of text.

    Args:
      *titles: of the columns.

    Returns:
      The columns.
    """
    return [Column(title, number=False) for title in titles]


def number(value: float | None, digits: int = 1, scale: float = 1.0) -> Cell:
    """A cell of a number that is no share.

    Args:
      value: None, or not finite: there is no such number.
      digits: after the point.
      scale: that it is multiplied by.

    Returns:
      The cell.
    """
    missing = value is None or not math.isfinite(value)
    return Cell(DASH) if missing else Cell(f"{scale * value:.{digits}f}", scale * value)


def spread(entry: Mapping[str, Any], scale: float = 1.0) -> Cell:
    """A cell of a mean and its standard deviation.

    Args:
      entry: "mean" and "std", None where they do not exist.
      scale: that both are multiplied by.

    Returns:
      The cell; its value is the mean.
    """
    cell, error = number(entry["mean"], 1, scale), entry["std"]
    return cell if error is None else cell._replace(text=f"{cell.text} ± {scale * error:.1f}")


def deviations(columns: Sequence[Column]) -> list[Column]:
    """Columns of standard deviations, which the CSV file has apart from the means.

    Args:
      columns: of the means.

    Returns:
      A column for each.
    """
    return [Column(f"{column.title} SD", column.unit, detail=True) for column in columns]


def _shown(table: Table) -> tuple[list[int], list[Column]]:
    """Indices and columns that are not only in the CSV file."""
    indices = [index for index, column in enumerate(table.columns) if not column.detail]
    return indices, [table.columns[index] for index in indices]


def _heading(column: Column) -> str:
    return column.title + (f" ({column.unit})" if column.unit else "")


def _csv(table: Table) -> str:
    """A table for programs: our numbers are not rounded, those of the paper are as printed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [column._replace(title=column.filed or column.title) for column in table.columns]
    writer.writerow([no_formula(_heading(column)) for column in titles])
    for _, rows in table.groups:
        writer.writerows([no_formula(cell.value) for cell in row] for row in rows)
    return text.getvalue()


LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"$\sim$", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "–": "--", "…": r"\ldots{}", "[": "{[}", "]": "{]}", '"': "''", "`": r"\textasciigrave{}",
}  # fmt: skip


def _latex(text: str) -> str:
    """Text that LaTeX prints as it is; a power of a number is raised."""
    parts = re.split(r"\^(-?[0-9]+)", text)
    escaped = ["".join(LATEX.get(letter, letter) for letter in part) for part in parts[::2]]
    powers = [f"$^{{{part}}}$" for part in parts[1::2]] + [""]
    return "".join(a + b for a, b in zip(escaped, powers, strict=True))


def _to_latex(table: Table) -> str:
    """A table for a paper, with its caption and notes; it needs the package booktabs."""
    indices, columns = _shown(table)
    lines = [r"% Needs \usepackage{booktabs}.", r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}.}}"]
    lines += [rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in columns)}}}", r"\toprule"]
    lines.append(" & ".join(_latex(_heading(column)) for column in columns) + r" \\")
    for heading, rows in table.groups:
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(columns)}}}{{l}}{{\textit{{{_latex(heading)}}}}} \\")
        lines += [" & ".join(_latex(row[index].text) for index in indices) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
    lines += [_latex(note) + r"\par" for note in table.notes]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def folded(text: str) -> list[str]:
    """A paragraph for a terminal.

    Args:
      text: any length.

    Returns:
      Lines of at most 80 columns, wide letters counted as two; further lines are indented.
    """
    from rich.console import Console
    from rich.text import Text

    lines = Text(plain(text)).wrap(Console(width=COLUMNS), COLUMNS - 2)
    return [("  " if number else "") + line.plain.rstrip() for number, line in enumerate(lines)]


def _fit(text: str, size: int, right: bool) -> str:
    """Text of exactly that many columns of a terminal; an ellipsis shows what was cut."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > size:
        text = set_cell_size(text, size - 1) + "…"
    space = " " * (size - cell_len(text))
    return space + text if right else text + space


def to_text(table: Table) -> str:
    """A table for a terminal; columns that do not fit come below.

    Args:
      table: the table; without a title it begins with its columns.

    Returns:
      Lines of at most 80 columns.
    """
    from rich.cells import cell_len

    indices, columns = _shown(table)
    rows = [[plain(row[index].text) for index in indices] for _, group in table.groups for row in group]
    sizes = [max(map(cell_len, column)) for column in zip([column.title for column in columns], *rows, strict=True)]
    sizes[1:] = [min(size, WIDEST) for size in sizes[1:]]
    blocks: list[list[int]] = [[]]
    for index in range(1, len(columns)):
        if min(sizes[0], 18) + sum(sizes[i] + 2 for i in [*blocks[-1], index]) > COLUMNS:
            blocks.append([])
        blocks[-1].append(index)
    lines = [*folded(table.title), ""] if table.title else []
    for block in blocks:
        shown = [0, *block]
        sizes[0] = min(sizes[0], COLUMNS - sum(sizes[i] + 2 for i in block))
        rule = "-" * (sum(sizes[i] + 2 for i in shown) - 2)

        def line(texts: Sequence[str], shown: list[int] = shown) -> str:
            return "  ".join(_fit(texts[i], sizes[i], i > 0 and columns[i].number) for i in shown).rstrip()

        lines.append(line([plain(column.title) for column in columns]))
        rest = iter(rows)
        for heading, group in table.groups:
            lines += [rule, *(folded(heading) if heading else [])]
            lines += [line(next(rest)) for _ in group]
        lines.append("")
    units: dict[str, list[str]] = {}
    for column in columns:
        units.setdefault(column.unit, []).append(column.title)
    stated = [f"{', '.join(titles)} in {unit}" for unit, titles in units.items() if unit]
    for note in [f"{'; '.join(stated)}."] * bool(stated) + list(table.notes):
        lines += folded(note)
    return "\n".join(lines).rstrip() + "\n"


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


def _side(column: Column) -> str:
    return ' class="n"' if column.number else ""


def _td(cell: Cell, column: Column) -> str:
    """A cell of a page, with its share as a bar below it or as a shade behind it."""
    style, below = "", "".join(f"<small>{raised(line)}</small>" for line in cell.below)
    if cell.share is not None and column.drawn == "shade":
        ink = ";color:#fff" if cell.share > 0.55 else ""
        style = f' style="background:rgba(31,78,121,{0.05 + 0.85 * cell.share:.2f}){ink}"'
    if cell.share is not None and column.drawn == "bar":
        below += f'<span class="meter"><i style="width:{100 * cell.share:.1f}%"></i></span>'
    text = f'<strong class="best">{raised(cell.text)}</strong>' if cell.best else raised(cell.text)
    kind = ' class="long"' if not column.number and len(cell.text) > LONG else _side(column)
    return f"<td{kind}{style}>{text}{below}</td>"


def _to_html(table: Table) -> str:
    """A table element in a box that scrolls sideways; every name is escaped."""
    indices, columns = _shown(table)
    label = markup.escape(plain(table.title))
    lines = [f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>']
    lines += [f"<th{_side(column)}>{raised(_heading(column))}</th>" for column in columns]
    lines.append("</tr></thead>")
    for heading, rows in table.groups:
        lines.append("<tbody>")
        if heading:
            lines.append(f'<tr class="group"><th colspan="{len(columns)}">{raised(heading)}</th></tr>')
        for row in rows:
            cells = (_td(row[index], column) for index, column in zip(indices, columns, strict=True))
            lines.append(f"<tr>{''.join(cells)}</tr>")
        lines.append("</tbody>")
    return "\n".join([*lines, "</table></div>"])


FORMATS: dict[str, Callable[[Table], str]] = {"csv": _csv, "tex": _to_latex, "txt": to_text, "html": _to_html}


def save(table: Table, directory: Path, formats: Sequence[str] = ("csv", "tex")) -> None:
    """Writes a table as files, each whole or not at all.

    Args:
      table: the table.
      directory: made if missing.
      formats: entries of ``FORMATS``.

    Raises:
      UserError: no such format.
    """
    contents = {kind: FORMATS[errors.one_of("format of a table", kind, FORMATS)](table) for kind in formats}
    for kind, content in contents.items():
        files.write_text(directory / f"{table.name}.{kind}", content)
