"""The paper's table with ours beside it, and what became of its orderings: for a page, a terminal and a paper."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn_jax.core import files
from fedn_jax.core.text import DASH
from fedn_jax.experiments import orderings, paper_tables, published
from fedn_jax.reports import figures, published_table, run_page, tables
from fedn_jax.reports.tables import Cell, Column, Table

COLUMNS = (
    Column("Method", number=False), Column("TP"), Column("N"), Column("F1 S", "10^-2"), Column("F1 R", "10^-2"),
    Column("mAP S", "10^-3"), Column("mAP D", "10^-3"), Column("Params", "10^6"), Column("FLOP", "10^9"),
    Column("Seeds", detail=True),
)  # fmt: skip
SCALES = {"tp": 1, "n": 1, "f1_s": 100, "f1_r": 100, "map_s": 1000, "map_d": 1000}  # of the columns


def _spread(entry: Mapping[str, Any], scale: float) -> Cell:
    if entry["mean"] is None:
        return Cell(DASH)
    text = f"{scale * entry['mean']:.1f}"
    return Cell(text + (f" ± {scale * entry['std']:.1f}" if entry["std"] is not None else ""), scale * entry["mean"])


def _printed(row: published.Row) -> list[Cell]:
    n, origin = published.detections(row)
    cells = [Cell(row.printed.get(name, DASH), row.printed.get(name, "")) for name in published.NUMBERS]
    cells[1] = Cell(f"~{n}", n) if origin == "implied" else cells[1]
    flops = row.printed.get("gflops", DASH)
    return [Cell(row.method, row.method), *cells, Cell(DASH), Cell(flops, flops.replace(DASH, "")), Cell(DASH)]


def _ours(row: Mapping[str, Any], seeds: int) -> list[Cell]:
    if row["obstacle"]:
        said = Cell(f"{row['method']}: {row['obstacle']}", f"{row['method']}: {row['obstacle']}")
        return [said, *[Cell(DASH)] * (len(COLUMNS) - 1)]
    cells = [_spread(row["numbers"][name], scale) for name, scale in SCALES.items()]
    price_of = row["cost"]
    cells += [Cell(f"{price_of['parameters'] / 1e6:.2f}", price_of["parameters"] / 1e6)]
    cells += [Cell(f"{price_of['flops'] / 1e9:.2f}", price_of["flops"] / 1e9)]
    return [Cell(row["method"], row["method"]), *cells, Cell(str(seeds), seeds)]


def table(result: Mapping[str, Any]) -> Table:
    """The paper's table with ours beside it.

    Args:
      result: of ``paper_tables.run``.

    Returns:
      A table of two groups.
    """
    number = result["table"]
    comparable = not result["obstacle"]
    setting = tuple(result["setting"]) if comparable else ("casme2", "annotated")
    printed = [_printed(row) for row in published.rows(*setting, number)]
    title = published.content()["datasets"][setting[0]]["title"]
    heading = f"FEDN, Table {number}, {published_table.PRINTED} ({title}, {setting[1]})"
    groups = [(heading if comparable else f"{heading}: not comparable", printed)]
    n = len(result["seeds"])
    heading = f"Run here, mean ± standard deviation of {n} seeds" if n > 1 else "Run here, one seed"
    groups.append((heading, [_ours(row, len(result["seeds"])) for row in result["rows"]]))
    notes = [] if comparable else [f"The two groups are not comparable: {result['obstacle']}."]
    notes += [
        "Seeds differ in initial weights and order of windows; the "
        "subjects are the same, so this is not the spread that other subjects would give.",
        *flops(result),
        "~: N is not printed; it follows from TP and F1.",
    ]
    explained = published_table.EXPLAINED
    notes += [f"{column}: {result['definition'][key]}." for column, key in explained if key in result["definition"]]
    return Table(f"table{number}", f"Table {number} of the FEDN paper, and runs here", list(COLUMNS), groups, notes)


def flops(result: Mapping[str, Any]) -> list[str]:
    """What the operations of the table consist of.

    Args:
      result: of ``paper_tables.run``.

    Returns:
      Sentences.
    """
    ours = [row["cost"] for row in result["rows"] if row["cost"]][-1]  # of FEDN, or of the only row that fits the data
    frames, network = ours["frames"], ours["network"]["flops"] / 1e9
    extractor = ours["backbone"]["flops"] / 1e9
    made = (
        f"FLOP of a window: {frames} frames through the backbone, {extractor:.2f} x 10^9, and the network, "
        f"{network:.3f} x 10^9"
        if extractor
        else f"FLOP of a window: the network alone, {network:.3f} x 10^9, since the features were given"
    )
    return [
        f"{made}; two per multiplication and addition, as XLA counts the lowered program.",
        "The paper's 466.4 x 10^9 is nearly all backbone: 128 frames x 3.64 x 10^9 of ResNet18 at 224 px are 465.9. "
        "XLA counts 3.37 x 10^9 for the same frame, because it leaves out products with the padding.",
    ]


def verdicts(result: Mapping[str, Any]) -> Table:
    """What became of the paper's orderings.

    Args:
      result: of ``paper_tables.run``.

    Returns:
      A table with a row per ordering.
    """
    columns = [Column("Ordering", number=False), Column("Number", number=False), Column("Verdict", number=False)]
    columns += [Column("Difference"), Column("Paper")]
    printed = {
        row.method: row for row in published.rows("casme2", "annotated", result["table"]) if row.options is not None
    }
    lines, judged = [], 0
    for one in result["orderings"]:
        pair = [printed.get(paper_tables.method(result["table"], one[side])) for side in ("better", "worse")]
        for name, title in orderings.NUMBERS.items():
            got, scale = one["verdicts"].get(name), SCALES[name]
            theirs = [published.number(row, name) if row else None for row in pair]
            if not got and None in theirs:
                continue
            judged += got is not None
            word = got["word"] if got else "not run"
            by = f"{_signed(scale * got['mean'])} ±{scale * (got['error'] or 0):.1f}" if got else DASH
            difference = None if None in theirs else scale * (theirs[0] - theirs[1])
            cells = [Cell(one["claim"], one["claim"]), Cell(title, title), Cell(word, word)]
            cells += [Cell(by, scale * got["mean"] if got else "")]
            cells.append(Cell(DASH) if difference is None else Cell(_signed(difference), difference))
            lines.append(cells)
    n = len(result["seeds"])
    rule = f"{result['rule']}. Differences: mean ± standard error, F1 in 10^-2, mAP in 10^-3."
    if result["chance"] is not None:
        share = f"{100 * result['chance']:.0f} %"
        rule += f" With {n} seeds two rows that do not differ are told apart in up to {share} of cases"
        rule += f", and {judged} comparisons are made here."
    return Table(f"table{result['table']}-orderings", "The paper's orderings", columns, [("", lines)], [rule])


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + f"{abs(value):.1f}"


def write(out: Path, result: Mapping[str, Any]) -> Path:
    """Writes the page and the table as files.

    Args:
      out: directory of the reproduction.
      result: of ``paper_tables.run``.

    Returns:
      Path of the page.
    """
    written = [table(result), verdicts(result)]
    for one in written:
        tables.save(one, out, ("csv", "tex", "txt"))
    run_here = [row for row in result["rows"] if not row["obstacle"]]
    drawn = figures.seeds([(row["method"], row["numbers"]) for row in run_here], orderings.NUMBERS)
    path = out / f"table{result['table']}.html"
    text = run_page.page(
        "reproduce.html.j2",
        result=result,
        n=len(result["seeds"]),
        tables=[(one, tables.to_html(one)) for one in written],
        drawn=figures.uri(drawn),
        waiting=[row for row in result["rows"] if row["obstacle"]],
        made=run_page.made(result),
        raised=tables.raised,
        config=json.dumps(result["config"], indent=2),
    )
    files.write_text(path, text)
    return path
