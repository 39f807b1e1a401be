"""Figures: drawn from hand-made numbers, readable, and the same bytes every time."""

import base64
import itertools
import re

import fakes
import numpy as np
import pytest
from fakes import EVIL, layout

from fedn_jax.core.errors import UserError
from fedn_jax.core.types import VideoMeta
from fedn_jax.evaluation import frame_views
from fedn_jax.reports import fesnet_figures, figures, timeline

RUNS = {"fedn": fakes.make_metrics(), EVIL: fakes.make_metrics(ap=0.2), "_hidden": fakes.make_metrics(ap=0.3)}
HISTORY = [
    {"epoch": epoch, "program": 0, "loss": [3.0 / epoch, 2.0], "class_$loss": [1.0], "missed": [1]}
    for epoch in (1, 2, 3)
]
LABELS = np.zeros(1200, np.int32)
LABELS[100:160], LABELS[400:412], LABELS[1100:1200] = 1, 2, 1
LABELLED = frame_views.Labelled(
    VideoMeta("s1", EVIL, 1200, 30.0, 1, 0, 1200),
    {"annotated": LABELS, "spatial": np.roll(LABELS, 9), "final": np.minimum(LABELS, 1)},
)
FEATURES = frame_views.Features(
    EVIL, np.arange(60) % 3, np.array(["s1", "s2"])[np.arange(60) // 30],
    {name: np.random.default_rng(0).normal(size=(60, 4)) for name in ("init", "v")},
)  # fmt: skip
BY_KIND = {"macro": {"f1": 0.3}, "micro": {"f1": None}, "all": {"f1": 0.2}}
FRAMEWISE = {"edit": 40.0, "accuracy": 0.7, "all_neutral": 0.8}
EPOCHS = [{"epoch": epoch, "by_kind": BY_KIND, "labels": FRAMEWISE} for epoch in (1, 2, 3)]
SPREAD = {name: {"values": [0.1, 0.2], "mean": 0.15} for name in ("f1_s", "map_s")}


MADE = {
    "curves": lambda: figures.curves(RUNS),
    "subjects": lambda: figures.subjects(RUNS),
    "confusion": lambda: figures.confusion(RUNS["fedn"], fakes.CLASSES),
    "training": lambda: figures.training(HISTORY),
    "seeds": lambda: figures.seeds([("a", SPREAD), (EVIL, SPREAD)], {"f1_s": "F1 S", "map_s": "mAP S"}),
    "timeline": lambda: timeline.figure(layout()),
    "fesnet_numbers": lambda: fesnet_figures.numbers(EPOCHS),
    "fesnet_features": lambda: fesnet_figures.features(FEATURES),
    "fesnet_proposals": lambda: fesnet_figures.proposals(LABELLED),
}


def texts(figure):
    """Every text that is drawn, with its box."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with figures.style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
    found = []
    for axis in figure.axes:
        if axis.get_visible():
            found += [*axis.texts, axis.title, axis._left_title]
            for one in (axis.xaxis, axis.yaxis) if axis.axison else ():
                low, high = sorted(one.get_view_interval())
                seen = [low <= place <= high for place in one.get_ticklocs()]  # the others are not drawn
                found += [one.label, *itertools.compress(one.get_ticklabels(), seen)]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    box = figure.bbox
    pairs = [(text.get_text(), text.get_window_extent(renderer)) for text in found if text.get_text()]
    return [(name, size) for name, size in pairs if size.overlaps(box)], box


@pytest.mark.parametrize("name", MADE)
def test_nothing_overlaps_and_nothing_is_cut(name):
    found, box = texts(MADE[name]())
    assert len(found) > 4
    for text, size in found:
        assert size.x0 >= -1 and size.y0 >= -1 and size.x1 <= box.x1 + 1 and size.y1 <= box.y1 + 1, text
    upright = [pair for pair in found if name != "confusion" or pair[0] not in fakes.CLASSES]  # boxes of turned text
    for (text, one), (other, two) in itertools.combinations(upright, 2):
        assert not one.padded(-1).overlaps(two.padded(-1)), (text, other)


@pytest.mark.parametrize("name", MADE)
def test_files_are_written_and_reproducible(name, tmp_path):
    first = figures.save(MADE[name](), tmp_path / "new" / "a.b")
    assert [path.name for path in first] == ["a.b.svg", "a.b.png", "a.b.pdf"]
    kinds = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    second = figures.save(MADE[name](), tmp_path / "again")
    for one, other in zip(first, second, strict=True):
        content = one.read_bytes()
        assert content.startswith(kinds[one.suffix[1:]]) and content == other.read_bytes()
        assert b"dc:date" not in content and b"CreationDate" not in content
    assert not list(tmp_path.rglob(".part-*"))
    svg = first[0].read_text()
    assert "<script" not in svg and "<image" not in svg or name == "timeline"
    assert not re.search(r"href=\"https?:", svg)


def test_formats_are_checked_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="format of a figure must be one of svg, png, pdf; got 'jpg'"):
        figures.save(MADE["curves"](), tmp_path / "a", ("svg", "jpg"))
    assert not list(tmp_path.iterdir())


def test_the_image_of_a_chart_is_the_svg(tmp_path):
    head, _, code = figures.chart(MADE["training"](), "").image.partition(",")
    assert head == "data:image/svg+xml;base64"
    (path,) = figures.save(MADE["training"](), tmp_path / "a", ("svg",))
    assert base64.b64decode(code) == path.read_bytes()


def test_curves_show_percent_of_every_run():
    spotting, detection = figures.curves(RUNS).axes
    lines = spotting.get_lines()
    assert len(lines) == len(detection.get_lines()) == 3
    np.testing.assert_allclose(lines[0].get_xdata(), np.arange(50, 100, 5) / 100)
    np.testing.assert_allclose(lines[1].get_ydata()[:2], [20, 18])
    assert "(%)" in spotting.get_ylabel() and len({line.get_marker() for line in lines}) == 3
    assert len(figures.curves({"one": RUNS["fedn"]}).legends) == 0  # one run needs no legend
    nothing = fakes.make_metrics()
    for row in nothing["map"]["coco"]["ap"].values():
        row["detection"] = None
    figures.chart(figures.curves({"none": nothing}), "")


def test_more_runs_than_colours():
    found = figures.curves({f"run {i}": RUNS["fedn"] for i in range(15)}).axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in found}) == 15


def test_bars_stand_at_their_subjects():
    other = fakes.make_metrics({"s16": (1, 3, 3), "s20": (1, 1, 4), "new": (1, 1, 1)})
    figure = figures.subjects({"a": RUNS["fedn"], "b": other})
    bars = [[(round(bar.get_x() + bar.get_width() / 2, 1), bar.get_height()) for bar in group]
            for group in figure.axes[0].containers]  # fmt: skip
    np.testing.assert_allclose(bars[0], [(-0.2, 100 * 6 / 9), (0.8, 40), (1.8, 0), (2.8, 100 * 8 / 9)])
    assert [x for x, _ in bars[1]] == [1.2, 3.2, 4.2] and bars[1][2][1] == 100
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names == ["s15 (5)", "s16 (?)", "s19 (0)", "s20 (4)", "new (1)"]


def test_many_subjects_take_rows():
    many = fakes.make_metrics({f"spNO.{i}": (1, 2, 3) for i in range(98)})
    figure = figures.subjects({"a": many, "b": many})
    assert len(figure.axes) > 3 and sum(len(axis.containers[0]) for axis in figure.axes) == 98
    found, _ = texts(figure)
    assert not any(a[1].padded(-1).overlaps(b[1].padded(-1)) for a, b in itertools.combinations(found, 2))


def test_confusion_shows_counts_and_shares():
    metrics = {"recognition": {"confusion": [[3, 1], [0, 0]]}}
    axis = figures.confusion(metrics, ["a", "b"]).axes[0]
    assert [text.get_text() for text in axis.texts] == ["3\n75 %", "1\n25 %", "0", "0"]
    assert [text.get_color() for text in axis.texts][0] == "white"
    big = figures.confusion({"recognition": {"confusion": np.eye(10).tolist()}}, [f"emotion {i}" for i in range(10)])
    assert big.get_figwidth() > figures.COLUMN


def test_training_without_losses():
    assert figures.training([]) is None and figures.training([{"epoch": 1, "missed": [1.0]}]) is None


def test_timeline_with_and_without_pictures():
    with_, without = timeline.figure(layout()), timeline.figure(layout(thumbnail=None))
    assert len(with_.axes[0].images) == 12 and not without.axes[0].images
    assert with_.get_figheight() > without.get_figheight()
    words = [text.get_text() for text in without.axes[0].texts]
    assert {"annotated", "detected", "0 s", "0.90"} <= set(words) and "happiness ✓" in words
    assert "✗ matches no annotated expression" in words
    figures.chart(timeline.figure(layout(0)), "")


def test_labels():
    assert figures.label("a$b$") == r"a\$b\$" and figures.label("_a") == " _a"
    assert figures.label("表\x1b\nx") == "???x" and figures.label("abcdef", 4) == "abc…"


def test_segments_of_labels():
    assert fesnet_figures.segments(np.array([1, 1, 0, 2, 1, 0])) == {"macro": [(0, 2), (4, 5)], "micro": [(3, 4)]}
    assert fesnet_figures.segments(np.zeros(4, int)) == {"macro": [], "micro": []}
