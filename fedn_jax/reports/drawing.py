"""How figures look and are written: the same size, letters and colours everywhere, and the same bytes every time.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Importing this module does not load
matplotlib.
"""

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedn_jax.core import errors, files

COLUMN, PAGE = 3.4, 7.0  # inches
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
MARKERS, LINES = "osD^vPX", ("-", "--", ":", "-.")
INK, SOFT, RULE, WASH = "#1d2530", "#5b6673", "#dfe3e8", "#eef1f4"
FONT = "DejaVu Sans"  # comes with matplotlib
LETTERS = 30  # of a name in a legend
# What a format writes beside the figure: no dates, so that the same figure gives the same bytes.
FORMATS: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}


def style() -> Any:
    """The settings that all figures are made and written with, whatever the user's are.

    Returns:
      A context of matplotlib.
    """
    import matplotlib

    settings = {
        "font.family": FONT, "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5, "legend.fontsize": 7.5, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "axes.edgecolor": SOFT, "axes.linewidth": 0.7, "axes.titlelocation": "left",
        "axes.axisbelow": True, "grid.color": RULE, "grid.linewidth": 0.6, "hatch.linewidth": 1.0, "text.usetex": False,
        "svg.hashsalt": "fedn_jax", "svg.fonttype": "path", "pdf.fonttype": 42, "figure.facecolor": "white",
        "savefig.facecolor": "auto", "savefig.bbox": None,
    }  # fmt: skip
    return matplotlib.rc_context(settings)


@functools.cache
def _glyphs() -> Any:
    from matplotlib import font_manager

    return font_manager.get_font(font_manager.findfont(FONT)).get_charmap()


def label(text: Any, letters: int = LETTERS) -> str:
    """A name for a figure.

    Args:
      text: anything.
      letters: the most that are shown.

    Returns:
      One line of it: what the font lacks is a question mark, an ellipsis shows that it was cut, dollars are dollars.
    """
    known = _glyphs()
    shown = "".join(x if x.isprintable() and ord(x) in known else "?" for x in str(text))
    shown = shown if len(shown) <= letters else shown[: letters - 1] + "…"
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")  # "_name" is left out of legends


def axes(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, list[Any]]:
    """A figure without a window, and its plain axes.

    Args:
      rows: of axes.
      columns: of axes.
      width: inches.
      height: inches.
      **options: of ``Figure.subplots``.

    Returns:
      (figure, axes row by row).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False, **options).ravel())
    for axis in found:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y")
    return figure, found


def legend(figure: Any, axis: Any, width: float) -> None:
    """Names what is in the axes, below everything, in as many columns as there is room for; one name needs none.

    Args:
      figure: of ``axes``.
      axis: the one whose names are shown.
      width: of the figure in inches.
    """
    handles, names = axis.get_legend_handles_labels()
    if len(names) > 1:
        columns = int(np.clip(width * 14 // (max(map(len, names)) + 7), 1, len(names)))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, borderpad=0.2)


def encode(figure: Any, kind: str) -> bytes:
    """A figure in a format: the same bytes for the same figure.

    Args:
      figure: of matplotlib.
      kind: entry of ``FORMATS``.

    Returns:
      The content of a file.

    Raises:
      UserError: no such format.
    """
    metadata = FORMATS[errors.one_of("format of a figure", kind, FORMATS)]
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
    return buffer.getvalue()


def uri(figure: Any) -> str:
    """A figure for a page that loads nothing.

    Args:
      figure: of matplotlib.

    Returns:
      An SVG as a data URI.
    """
    return "data:image/svg+xml;base64," + base64.b64encode(encode(figure, "svg")).decode()


def save(figure: Any, path: Path, formats: Sequence[str] = ("svg", "png", "pdf")) -> list[Path]:
    """Writes a figure.

    Args:
      figure: of matplotlib.
      path: of the files, without a suffix; its directory is made if missing.
      formats: entries of ``FORMATS``.

    Returns:
      The files, in the order of the formats; each is written whole or not at all.

    Raises:
      UserError: no such format.
    """
    contents = {path.with_name(f"{path.name}.{kind}"): encode(figure, kind) for kind in formats}
    for file, content in contents.items():
        files.write_bytes(file, content)
    return list(contents)
