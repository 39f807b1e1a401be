"""What all pages share: a palette, pictures that lie inside the page, and how a run was made.

A page is one HTML file that loads nothing. Names come from files that somebody else wrote, so every string is escaped.
"""

import base64
import functools
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedn_jax.core import files
from fedn_jax.core.text import DASH, count, percent
from fedn_jax.evaluation import thresholds

TEMPLATES = Path(__file__).parent / "templates"
# Okabe and Ito, which colour-blind readers can tell apart; right and wrong are darker forms of two of them.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
PALETTE = {
    "ink": "#1d2530", "soft": "#5b6673", "line": "#dfe3e8", "wash": "#f2f5f7", "ours": "#1f4e79", "other": "#9aa5b1",
    "truth": "#44546a", "right": "#00805d", "wrong": "#b84300", "gap": "#d9dee4", "leader": "#aab3bd",
}  # fmt: skip


class Chart(NamedTuple):
    """A figure of a page."""

    image: str  # data URI
    alt: str  # what it shows, for those who do not see it
    caption: str = ""


@functools.cache
def _environment() -> Any:
    import jinja2

    from fedn_jax.reports import tables

    loader = jinja2.FileSystemLoader(TEMPLATES)
    made = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "percent": percent,
        "table": lambda table: jinja2.utils.markupsafe.Markup(tables.FORMATS["html"](table)),
    }
    made.filters["raised"] = lambda text: jinja2.utils.markupsafe.Markup(tables.raised(text))
    made.filters["facts"] = _facts
    made.globals |= {"count": count, "palette": PALETTE}
    return made


def render(template: str, **content: Any) -> str:
    """Fills a template.

    Args:
      template: file in ``TEMPLATES``.
      **content: what the template calls by name.

    Returns:
      HTML.
    """
    return _environment().get_template(template).render(**content)


def write(
    path: Path,
    title: str,
    about: str,
    sections: Iterable[tuple[str, Sequence[Any]]],
    *,
    template: str = "sections.html.j2",
    **content: Any,
) -> Path:
    """Writes a page of sections whole or not at all.

    Args:
      path: of the page; its directory is made if missing.
      title: of the page.
      about: a sentence below the title.
      sections: (heading, items) each; without items it is left out. An item is a paragraph, a ``tables.Table``, a
        ``Chart``, a tuple of small charts, a dict, what ``made`` returns, or ``run_page.Timelines``.
      template: file in ``TEMPLATES`` that extends "sections.html.j2".
      **content: "lead", a sentence; "warning", words in bold and items; "footer"; what else the template calls by name.

    Returns:
      The path.
    """
    shown = [(heading, items) for heading, items in sections if items]
    files.write_text(path, render(template, title=title, about=about, sections=shown, **content))
    return path


def uri(content: bytes, mime: str) -> str:
    """A file inside a page.

    Args:
      content: of the file.
      mime: its type, such as "image/png".

    Returns:
      A data URI.
    """
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def jpeg(picture: np.ndarray, side: int, square: bool = False) -> str:
    """A small picture inside a page.

    Args:
      picture: [h, w, 3] uint8.
      side: longest side in pixels.
      square: cut to the square in the middle.

    Returns:
      A data URI.
    """
    from PIL import Image, ImageOps

    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
    if square:
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75, optimize=True)
    return uri(buffer.getvalue(), "image/jpeg")


def _facts(content: Mapping[str, Any], above: str = "") -> list[tuple[str, list[str]]]:
    """(name, lines of text) of what a dict holds; names of dicts inside are paths, with ``above`` before them."""
    rows: list[tuple[str, list[str]]] = []
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += _facts(value, f"{name} / ")
        elif isinstance(value, list | tuple):
            lines = [_line(one) for one in value]
            long = any(len(line) > 30 or isinstance(one, Mapping) for line, one in zip(lines, value, strict=True))
            rows.append((name, lines if long else [", ".join(lines) or DASH]))
        else:
            rows.append((name, [_line(value)]))
    return rows


def _line(value: Any) -> str:
    """A value in words; a note on a sheet as "44 x offset 0: offset = apex"."""
    if isinstance(value, Mapping):
        if {"what", "count", "done"} <= set(value):
            return f"{value['count']} x {value['what']}: {value['done']}"
        return ", ".join(f"{key} {_line(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return DASH if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _thresholds(metrics: Mapping[str, Any]) -> dict[str, str] | None:
    """Fold -> its score threshold, and where that comes from if it is known."""
    origins = metrics.get("threshold_origins") or {}
    words = {fold: f": {thresholds.MEANING[origin]}" for fold, origin in origins.items()}
    found = metrics.get("thresholds")
    return found and {fold: f"{_line(value)}{words.get(fold, '')}" for fold, value in found.items()}


def made(metrics: Mapping[str, Any], configuration: str = "Configuration") -> list[tuple[str, Any]]:
    """How a run was made.

    Args:
      metrics: content of metrics.json.
      configuration: title of its configuration; "": leaves it out.

    Returns:
      (title, (name, lines of text) each) of every part that has something to say; the configuration is JSON.
    """
    data = dict(metrics.get("data") or {})
    parts = {
        "How the annotations were read": data.pop("labels", None),
        "Preparation": data.pop("preparation", None),
        "Spotter and recogniser": metrics.get("cascade"),
        "Versions": metrics.get("versions"),
        "Score threshold of each fold": _thresholds(metrics),
        "Options of this evaluation that are not the training's": metrics.get("other_options"),
    }
    found = [(title, _facts(content)) for title, content in {"Data": data, **parts}.items() if content]
    config = metrics.get("config")
    return found + (
        [(configuration, json.dumps(config, indent=2, ensure_ascii=False))] if config and configuration else []
    )
