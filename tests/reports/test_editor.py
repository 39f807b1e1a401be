"""Corrections on the page of a video, in a browser: what a person changes, what is marked, what is saved."""

import csv
import time

import pytest
from finds import CLASSES, found

from data_prep.sheets import annotations
from fedn_jax.formats import elan, predictions
from fedn_jax.reports import video_page

RUNS = [(0, 0.0, 1 / 30), (150, 5.0, 0.1)]  # 30, then 10 frames per second
SECONDS = 20.0
SPANS = [(30, 60, 0, 0.93), (90, 105, 3, 0.714), (158, 194, 1, 0.66), (186, 204, 0, 0.58), (240, 241, 2, 0.47)]


def seconds(frame):
    return frame / 30 if frame < 150 else 5 + (frame - 150) / 10


def expressions():
    one = found(spans=SPANS).expressions
    times = [(seconds(x.onset - 1), seconds(x.apex - 1), seconds(x.offset)) for x in one]
    return [x._replace(begin=a, peak=b, end=c) for x, (a, b, c) in zip(one, times, strict=True)]


@pytest.fixture
def page(browser, tmp_path):
    """A page that is being corrected; downloads go beside it."""
    result = found(path="videos/anna.mp4", expressions=expressions(), clock=RUNS, seconds=SECONDS, num_frames=300)
    video_page.write(tmp_path / "anna.html", result, None, "", None)
    browser.open(tmp_path / "anna.html")
    browser.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.click('[data-edit="toggle"]')
    browser.folder = tmp_path
    return browser


def saved(page, kind):
    path = page.folder / f"anna_corrected.{kind}"
    page.click(f'[data-edit="{kind}"]')
    for _ in range(200):
        if path.exists() and path.stat().st_size:
            return path
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


def rows(page):
    with saved(page, "csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def choose(page, index):
    page.click(f'tr[data-expression="{index}"] button')


def spans(page):
    return page.run("list.map((one) => [one.onset, one.offset, one.name])")


def test_clocks_agree(page):
    for frame in (0, 1, 149, 150, 299):
        assert page.run(f"[start({frame}), stop({frame})]") == pytest.approx([seconds(frame), seconds(frame + 1)])
        assert (
            page.run(f"[nearest(start({frame}) + 0.004, start), nearest(stop({frame}) - 0.004, stop)]") == [frame] * 2
        )
    assert page.run("[nearest(-1, start), nearest(99, stop)]") == [0, 299]
    assert page.run("['12.5', '0:12,5', '1:02:03', 'x', '1:'].map((text) => String(typed(text)))") == [
        "12.5", "12.5", "3723", "NaN", "NaN",
    ]  # fmt: skip


def test_nothing_changed_is_the_table_that_was_found(page):
    assert [(row["onset"], row["apex"], row["offset"], row["emotion"], row["changed"]) for row in rows(page)] == [
        (str(x.onset), str(x.apex), str(x.offset), x.emotion, "") for x in expressions()
    ]


def test_keys_move_both_ends(page):
    choose(page, 0)
    page.press("ArrowRight", alt=True)
    page.press("ArrowRight", shift=True)
    page.press("ArrowLeft", alt=True, shift=True)
    assert spans(page)[0] == [30, 61, CLASSES[0]] and page.run("chosen") == 0
    choose(page, 4)  # of one frame
    page.press("ArrowLeft", shift=True)
    page.press("ArrowRight", alt=True, shift=True)
    assert spans(page)[4][:2] == [240, 240]
    page.run("seek(6.04)")  # frame 160 is shown from 6.0 s
    page.run("select(2, false)")
    page.press("[")
    assert spans(page)[2] == [160, 193, CLASSES[1]]
    assert page.run("document.getElementById('changes').textContent") == "2 moved – not saved"
    assert page.run("document.querySelectorAll('.bar.edited').length") == 2
    for _ in range(4):
        page.press("z", control=True)
    assert spans(page) == [[a, b - 1, CLASSES[e]] for a, b, e, _ in SPANS]
    assert not page.run("document.querySelectorAll('.bar.edited').length")


def test_the_mouse_moves_a_bar_and_its_ends(page):
    width = page.run("document.querySelector('#axis').offsetWidth") / SECONDS  # pixels of a second
    page.drag('.bar[data-expression="2"]', 0.5, 2 * width)
    assert spans(page)[2:4] == [[178, 213, CLASSES[1]], [186, 203, CLASSES[0]]]
    page.drag('.bar[data-expression="2"]', 0.999, 1 * width)
    assert spans(page)[2][1] == pytest.approx(223, abs=1)
    page.drag('.bar[data-expression="2"]', 0.001, -1 * width)
    assert spans(page)[2][0] == pytest.approx(168, abs=1)
    page.drag('.bar[data-expression="4"]', 0.5, 50 * width)  # not beyond the end
    assert spans(page)[4][:2] == [299, 299]
    page.click('[data-edit="toggle"]')  # when nothing is corrected the mouse changes nothing
    before = spans(page)
    page.drag('.bar[data-expression="0"]', 0.5, width)
    assert spans(page) == before


def test_add_rename_delete_and_save(page):
    choose(page, 1)
    page.press("Delete")
    page.run("seek(9.0)")
    page.press("n")
    assert page.run("chosen") == 3 and spans(page)[3] == [190, 194, CLASSES[0]]
    for name, value in (("emotion", "contempt, or so"), ("offset", "0:10")):
        page.run(f"""(() => {{ const field = document.getElementById("{name}"); field.value = "{value}";
            field.dispatchEvent(new Event("change")); }})()""")
    assert spans(page)[3] == [190, 199, "contempt, or so"]
    page.run("""(() => { const field = document.getElementById("offset"); field.value = "soon";
        field.dispatchEvent(new Event("change")); })()""")
    assert page.run("document.getElementById('offset').ariaInvalid") == "true" and spans(page)[3][1] == 199
    choose(page, 0)
    page.run("""(() => { const field = document.getElementById("emotion"); field.value = "surprise";
        field.dispatchEvent(new Event("change")); })()""")
    assert page.run("document.getElementById('changes').textContent") == "1 renamed, 1 added, 1 deleted – not saved"
    found_rows = rows(page)
    assert page.run("document.getElementById('changes').textContent") == "1 renamed, 1 added, 1 deleted"
    assert [row["changed"] for row in found_rows] == ["renamed", "", "", "added", ""]
    assert (found_rows[3]["onset"], found_rows[3]["apex"], found_rows[3]["offset_seconds"]) == ("191", "", "10.000000")
    table = predictions.read(page.folder / "anna_corrected.csv", "predictions")
    assert [[row.onset - 1, row.offset - 1, row.emotion] for row in table.rows] == spans(page)
    (page.folder / "videos").mkdir()
    (page.folder / "videos" / "anna.mp4").touch()
    (item,) = annotations.read_folder(page.folder / "anna_corrected.csv", page.folder / "videos").items
    assert item.events[:, 0].tolist() == [span[0] for span in spans(page)]

    document = elan.read(saved(page, "eaf"), "ground truth")
    assert document.vocabulary == (*CLASSES, "contempt, or so") and document.videos[0] == ("anna", "anna")
    assert sorted((row.onset, row.offset, row.emotion) for row in document.rows) == sorted(
        (round(seconds(a), 3), round(seconds(b + 1), 3), name) for a, b, name in spans(page)
    )
    pympi = pytest.importorskip("pympi")
    theirs = pympi.Elan.Eaf(str(page.folder / "anna_corrected.eaf"))
    assert theirs.get_annotation_data_for_tier("contempt, or so") == [(9000, 10000, "contempt, or so")]
    assert theirs.get_linked_files()[0]["RELATIVE_MEDIA_URL"] == "./anna.mp4"


def test_overlapping_ones_get_tiers_of_their_own(page):
    page.run("""list.forEach((one) => { one.name = "surprise"; }), paint(null)""")
    document = elan.parse(saved(page, "eaf"))
    assert [len(document.tiers[name].annotations) for name in ("surprise", "surprise-2", CLASSES[0])] == [4, 1, 0]


def test_a_video_in_which_nothing_was_found(browser, tmp_path):
    video_page.write(tmp_path / "anna.html", found(spans=[], subject="=1+1"), None, "", None)
    browser.open(tmp_path / "anna.html")
    browser.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.folder = tmp_path
    browser.click('[data-edit="toggle"]')
    assert [list(row.values()) for row in rows(browser)] == [["'=1+1", "anna.mp4", *[""] * 7]]
    browser.run("seek(2)")
    browser.press("n")
    assert spans(browser) == [[30, 37, CLASSES[0]]] and not browser.run("document.getElementById('lists').hidden")
    browser.click('.card[data-expression="0"]')
    assert browser.run("document.querySelectorAll('[aria-current]').length") == 3


def test_files_are_named_as_the_page_since_people_may_have_videos_of_one_name(page):
    (page.folder / "anna.html").rename(page.folder / "anna__before 1.html")
    page.open(page.folder / "anna__before 1.html")
    page.click('[data-edit="toggle"]')
    page.click('[data-edit="csv"]')
    for _ in range(200):
        if (path := page.folder / "anna__before 1_corrected.csv").exists():
            break
        time.sleep(0.05)
    assert path.exists()


def test_a_pressed_button_can_be_read_under_the_mouse(page):
    button = """getComputedStyle(document.querySelector('[data-edit="toggle"]'))"""
    assert page.run("""document.querySelector('[data-edit="toggle"]:hover') !== null""")
    assert (page.run(f"{button}.color"), page.run(f"{button}.backgroundColor")) == (
        "rgb(255, 255, 255)",
        "rgb(29, 37, 48)",
    )
