"""The page of one video: its text, and what it does in a browser if there is one."""

import base64
import html
import json
import re
import time
from html.parser import HTMLParser

import media
import numpy as np
import pytest
from finds import CLASSES, TEXT, found
from hypothesis import given, settings
from hypothesis import strategies as st

from fedn_jax.core.errors import UserError
from fedn_jax.formats.detection_files import Expression
from fedn_jax.reports import video_page

EVIL = "</script><script>window.broken=1</script>\u2028\"'&<img src=x onerror=alert(1)>"
FPS, FRAMES = 15, 300
PICTURES = [np.full((40, 30, 3), 50 * i, np.uint8) for i in range(5)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Frames that carry their number."""
    return media.write_video(tmp_path_factory.mktemp("media") / "anna.mp4", media.numbered(FRAMES), fps=FPS)


@pytest.fixture(scope="module")
def path(video, tmp_path_factory):
    classes = [*CLASSES[:3], EVIL]
    result = found(classes=classes, subject=EVIL, about={"run": "demo/run", EVIL: EVIL})
    path = tmp_path_factory.mktemp("page") / "new" / "viewer.html"
    video_page.write(path, result, video, "video/mp4", PICTURES)
    assert [one.name for one in path.parent.iterdir()] == ["viewer.html"]
    return path


@pytest.fixture(scope="module")
def page(path):
    return path.read_text(encoding="utf-8")


# ---- Text ------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Everything that the page would load, and the text of its scripts."""

    VOID = {"meta", "link", "img", "br", "line", "path", "input"}

    def __init__(self, page):
        super().__init__()
        self.loaded, self.open, self.scripts, self.tags = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.loaded += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def test_page_is_whole_and_loads_nothing(page):
    reader = Reader(page)
    assert reader.loaded and all(link.startswith("data:") for link in reader.loaded)
    rest = re.sub(r"data:[^\"]*", "", page.split('<script class="media"')[0])
    rest = re.sub(r'"http://www\.(w3\.org|mpi\.nl)/[^"]*"', "", rest)  # names in ELAN documents; nothing is there
    assert not re.search(r"https?:|//[a-z]|@import|@font-face|url\(", rest)
    policy = next(attributes["content"] for tag, attributes in reader.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "connect-src" not in policy


def test_names_are_escaped(page):
    scripts = [attributes for tag, attributes in Reader(page).tags if tag == "script"]
    assert scripts == [{}, {"class": "media", "type": "text/plain"}]
    assert "onerror=alert(1)>" not in page and "<script>window" not in page and "\u2028" not in page
    assert html.escape("<script>window.broken=1</script>") in page and "厌恶" in page


@pytest.mark.parametrize("size", [1, 100, 3000, 100000])
def test_the_video_is_inside_in_pieces(size, video, tmp_path, monkeypatch):
    monkeypatch.setattr(video_page, "PIECE", 3 * size)
    video_page.write(tmp_path / "a.html", found(), video, "video/mp4", None)
    pieces = Reader((tmp_path / "a.html").read_text()).scripts[1:]
    assert len(pieces) == -(-video.stat().st_size // (3 * size))
    assert b"".join(base64.b64decode(piece) for piece in pieces) == video.read_bytes()


def test_a_stranger_cannot_choose_where_the_video_goes(video, tmp_path, monkeypatch):
    video_page.write(tmp_path / "a.html", found(), video, "video/mp4", None)
    assert (tmp_path / "a.html").read_bytes().count(base64.b64encode(video.read_bytes()[:300])) == 1
    video_page.write(tmp_path / "b.html", found(), video, "video/mp4", None)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_page_says_what_was_found(page):
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.split("<script>")[0])).split())
    for words in ("0:02.00 frame 31", "0:02.67 frame 41", "0:03.40 frame 51", "0.93", "threshold, 0.40", "demo/run"):
        assert words in text
    assert "nothing here is a diagnosis" in text and "no face : 1.0 s" in re.sub(r" ?: ", " : ", text)
    page, blank = page.partition('<template id="blank">')[::2]
    assert page.count('class="bar"') == page.count('class="card"') == page.count("<tr data-") == 5
    assert page.count("data:image/jpeg") == 5 and page.count('class="strip"') == 4 == 4 * blank.count('class="strip"')


def test_page_without_anything(tmp_path):
    video_page.write(tmp_path / "a.html", found(spans=[], subject="", about={}, gaps=[]), None, "", None)
    page = (tmp_path / "a.html").read_text()
    Reader(page)
    assert "Nothing was found" in page and "highest score" in page and "not inside this page" in page
    page = page.partition('<template id="blank">')[0]
    assert not re.search(r"<video|image/jpeg|class=\"media\"", page) and '<div id="lists" hidden>' in page
    empty = found(spans=[], seconds=0.0, num_frames=0)._replace(curves=np.zeros((4, 0)))
    video_page.write(tmp_path / "b.html", empty, None, "", [])
    Reader((tmp_path / "b.html").read_text())


@settings(max_examples=20, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3, unique=True), TEXT, TEXT)
def test_any_name_can_be_shown(tmp_path_factory, classes, subject, name):
    path = tmp_path_factory.mktemp("any") / "a.html"
    spans = [(10 * i, 10 * i + 5, i, 0.5) for i in range(len(classes))]
    video_page.write(
        path, found("a", spans, classes, subject=subject, video=name, about={name: subject}), None, name, None
    )
    reader = Reader(path.read_text(encoding="utf-8"))
    assert sum(tag == "script" for tag, _ in reader.tags) == 1 and not reader.loaded[1:]


def test_mistakes_leave_no_file(tmp_path, video):
    with pytest.raises(UserError, match="no such file; expected a video"):
        video_page.write(tmp_path / "a.html", found(), tmp_path / "none.mp4", "video/mp4", None)
    with pytest.raises(UserError, match="thumbnails must be 5, one per expression; got 4"):
        video_page.write(tmp_path / "a.html", found(), video, "video/mp4", PICTURES[:4])
    assert not list(tmp_path.iterdir())


def test_thumbnails_follow_their_expressions(tmp_path):
    result = found()
    video_page.write(tmp_path / "a.html", result, None, "", PICTURES)
    shuffled = result._replace(expressions=result.expressions[::-1])
    video_page.write(tmp_path / "b.html", shuffled, None, "", PICTURES[::-1])
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text()


def text_of(page):
    """What a reader sees of it."""
    return re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL)


def test_a_page_of_facial_actions_says_nothing_of_emotions_or_of_a_trained_network(tmp_path):
    video_page.write(tmp_path / "a.html", found(label="action"), None, "", None)
    text = text_of(tmp_path / "a.html")
    assert "above the person's own rest" in text and "furthest from rest" in text and "5 facial actions found" in text
    assert "emotion" not in text.lower() and "probability" not in text


def test_a_page_of_kinds_speaks_of_kinds(tmp_path):
    video_page.write(tmp_path / "a.html", found(label="kind"), None, "", None)
    text = text_of(tmp_path / "a.html")
    assert "highest score of an interval" in text and "probability" in text and "5 expressions found" in text
    assert "action" not in text.lower() and "emotion" not in text.lower()


def test_outlines_by_hand(tmp_path):
    curves = np.full((4, 5), np.nan, np.float32)
    curves[0] = [0, 1, np.nan, 0.5, np.nan]
    video_page.write(tmp_path / "a.html", found(spans=[])._replace(curves=curves), None, "", None)
    page = (tmp_path / "a.html").read_text().partition('<template id="blank">')[0]
    paths = re.findall(r'<path (?:class="area" )?d="([^"]*)"', page)
    line, area = "M100.00 40.0L300.00 0.0M700.00 20.0", "M100.00 40L100.00 40.0L300.00 0.0L300.00 40ZM700.00 40"
    assert paths == [f"{area}L700.00 20.0L700.00 40Z", line] + [""] * 6


@pytest.mark.parametrize("seconds, words", [
    (0, "0:00.00"), (59.994, "0:59.99"), (59.996, "1:00.00"), (3599.999, "1:00:00.00"), (36061.5, "10:01:01.50"),
])  # fmt: skip
def test_clock(tmp_path, seconds, words):
    video_page.write(tmp_path / "a.html", found(spans=[], seconds=seconds, gaps=[]), None, "", None)
    assert f"<small>of {words}</small>" in (tmp_path / "a.html").read_text()


def test_a_picture_in_place_of_the_video(tmp_path, video):
    for media_file, tag in ((None, "img"), (video, "video")):
        video_page.write(tmp_path / "a.html", found(), media_file, "video/mp4", None, PICTURES[0])
        ((_, about),) = [one for one in Reader((tmp_path / "a.html").read_text()).tags if one[0] == tag]
        assert (about.get("poster") or about["src"]).startswith("data:image/jpeg")


# ---- In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def player(browser, path):
    browser.open(path)
    if not browser.run("""document.createElement("video").canPlayType('video/mp4; codecs="avc1.42E01E"')"""):
        pytest.skip("this browser plays no H.264")
    ready = browser.run("""new Promise(go => video.readyState ? go(true) : ["loadedmetadata", "error"].forEach(
        name => video.addEventListener(name, event => go(event.type === "loadedmetadata"))))""")
    assert ready and browser.run("video.duration") == pytest.approx(FRAMES / FPS, abs=0.1)
    browser.run("window.settled = async () => { while (video.seeking) await new Promise(go => setTimeout(go, 10)) }")
    return browser


def at(player, expected=None):
    """(time of the video, number of the frame that it shows, index of the expression that is marked).

    A browser shows the new frame a moment after it says that it is there: the expected one is waited for.
    """
    for _ in range(100):
        result = look(player)
        if expected is None or result[1] == expected:
            break
        time.sleep(0.03)
    return result


def look(player):
    pixels = player.run("""settled().then(() => { const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
        const pen = canvas.getContext("2d"); pen.drawImage(video, 0, 0);
        return [...pen.getImageData(0, 0, canvas.width, canvas.height).data]; })""")
    frame = np.array(pixels, np.uint8).reshape(48, 64, 4)[..., :3]
    marked = player.run("""[...document.querySelectorAll(".bar[aria-current], .card[aria-current], tr[aria-current]")]
        .map(one => Number(one.dataset.expression))""")
    assert len(marked) in (0, 3) and len(set(marked)) <= 1
    return player.run("video.currentTime"), media.number_of(frame), marked[0] if marked else None


EXPRESSIONS = found().expressions


@pytest.mark.parametrize("where", [".bar", ".card", "tr", "tr button"])
@pytest.mark.parametrize("index", [4, 0, 2])
def test_a_click_goes_to_the_onset(player, where, index):
    one = EXPRESSIONS[index]
    head, _, tail = where.partition(" ")
    player.click(f'{head}[data-expression="{index}"] {tail}'.strip(), x=0.3)
    seconds, frame, marked = at(player, one.onset - 1)
    assert seconds == pytest.approx(one.begin, abs=0.1) and marked == index
    assert frame == one.onset - 1, "the picture is the onset frame"
    left = float(player.run("parseFloat(document.querySelector('#playhead i').style.left)"))
    assert left == pytest.approx(100 * one.begin / 20, abs=0.1)
    assert player.run("document.querySelectorAll('.card.now').length") >= 1


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_go_to_the_onset(player, key):
    player.run("video.currentTime = 0; document.querySelector('.bar[data-expression=\"1\"]').focus()")
    player.press(key)
    assert at(player, EXPRESSIONS[1].onset - 1)[1:] == (EXPRESSIONS[1].onset - 1, 1)
    player.press("ArrowRight")
    assert player.run("document.activeElement.className + document.activeElement.dataset.expression") == "bar2"
    player.press(key)
    assert at(player, EXPRESSIONS[2].onset - 1)[1:] == (EXPRESSIONS[2].onset - 1, 2)


def test_each_list_is_one_tab_stop(player):
    player.run("document.querySelector('[data-zoom=\"2\"]').focus()")
    stops = []
    for _ in range(3):
        player.press("Tab")
        stops.append(player.run("(document.activeElement.closest('.bar, .card, tr') || document.body).tagName"))
    assert stops == ["BUTTON", "BUTTON", "TR"]
    unlabelled = "[...document.querySelectorAll('button')].filter(one => !(one.ariaLabel || one.textContent)).length"
    assert player.run(unlabelled) == 0


def test_a_click_on_the_empty_timeline_goes_there(player):
    player.click("#axis", x=0.5)
    assert at(player)[0] == pytest.approx(10, abs=0.1)
    player.click(".strip .plot", x=0.75, y=0.5)
    assert at(player)[0] == pytest.approx(15, abs=0.1)


def test_previous_and_next(player):
    player.run("video.currentTime = 0")
    at(player)
    seen = []
    for step in (1, 1, 1, 1, 1, 1, -1, -1):
        player.click(f'[data-step="{step}"]')
        seen.append(at(player)[2])
    assert seen == [0, 1, 2, 3, 4, 0, 4, 3]
    player.run("video.currentTime = 11")
    at(player)
    player.click('[data-step="-1"]')
    assert at(player)[2] == 2


def test_the_browser_loads_nothing(player):
    assert all(link.startswith(("file:", "data:", "blob:")) for link in player.requests)
    assert sum(link.startswith("file:") for link in player.requests) == 1
    assert player.run("window.broken === undefined && document.scripts.length === 1")


def test_playing_moves_the_playhead(player):
    player.run("video.currentTime = 1; video.muted = true; video.play()")
    player.run("new Promise(go => setTimeout(go, 500))")
    assert player.run("video.pause(), parseFloat(document.querySelector('#playhead i').style.left)") > 100 * 1.1 / 20


def box(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")


@pytest.mark.parametrize("width", [400, 1200])
def test_long_videos(browser, tmp_path, width):
    rng = np.random.default_rng(0)
    begin = np.sort(rng.uniform(0, 1790, 400))
    many = [
        Expression(int(t * 15), int(t * 15), int(t * 15) + 9, t, t, t + 0.6, CLASSES[i % 4], 0.5)
        for i, t in enumerate(begin)
    ]
    video_page.write(tmp_path / "a.html", found(num_frames=27000)._replace(expressions=many), None, "", None)
    browser.open(tmp_path / "a.html", width, 900)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the page itself does not scroll sideways"
    for _ in range(4):
        browser.click('[data-zoom="2"]')
    browser.run("select(200)")
    for mark, frame in ((".bar", "#timeline"), (".card", ".cards"), ("tr", ".rows")):
        a, b = (box(browser, selector) for selector in (f"{mark}[aria-current]", frame))
        assert a["top"] >= b["top"] - 1 and a["bottom"] <= b["bottom"] + 1, mark
        assert a["left"] >= b["left"] - 1 and (mark == "tr" or a["right"] <= b["right"] + 1), mark
    assert browser.run("document.querySelector('.current').textContent").endswith(" 0.50")
    code = "[...document.querySelectorAll('#axis span')].map(one => one.getBoundingClientRect().toJSON())"
    ticks = browser.run(code)
    assert len(ticks) > 20 and all(a["right"] < b["left"] for a, b in zip(ticks, ticks[1:], strict=False)), (
        "times overlap"
    )
