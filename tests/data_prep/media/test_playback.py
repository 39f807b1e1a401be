"""What a player shows: every expected value is by hand or FFmpeg's own (compared once with ffmpeg 9.0)."""

import itertools
import struct
from fractions import Fraction

import media
import numpy as np
import pytest

from data_prep.media import frames, playback
from fedn_jax.core.errors import UserError

CASES = media.REAL.parent / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason=f"the files are not there: {CASES}")
COUNT, RATE = 24, 30
REORDERED = ("libx264", "mpeg4", "mpeg1video", "mpeg2video")


def write(path, codec="libx264", times=None, pix_fmt="yuv420p", ratio=None, count=COUNT, options=None, sound=None):
    """Numbered frames with B-frames where the codec has them; ``times`` in frames; ``sound``: seconds from and to."""
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=RATE, options={"bf": "2"} if codec in REORDERED else {})
        video.height, video.width, video.pix_fmt = 48, 96, pix_fmt
        if ratio:
            video.codec_context.sample_aspect_ratio = ratio
        if sound:
            audio = container.add_stream("aac", rate=8000)
        for number, image in enumerate(media.numbered(count, 48, 96)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for begin in np.arange(*(sound or (0, 0)), 0.125):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 8000, round(8000 * begin), Fraction(1, 8000)
            container.mux(audio.encode(tone))
        if sound:
            container.mux(audio.encode(None))
    return path


def rewrite(source, path, change, options=None, first=None):
    """Copies packets; change(number, packet) may alter their times. ``first`` is copied before, as another stream."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w", options=options or {}) as new:
        extra = av.open(str(first)) if first else None
        if extra:
            preview = new.add_stream_from_template(extra.streams.video[0])
        film = new.add_stream_from_template(old.streams.video[0])
        if extra:
            with extra:
                preview.disposition = change(-1, None) or 0
                for packet in [packet for packet in extra.demux(video=0) if packet.dts is not None]:
                    packet.stream = preview
                    new.mux(packet)
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.dts is not None):
            change(number, packet)
            packet.stream = film
            new.mux(packet)
    return path


def shown(path, fps=None):
    """(numbers of the pictures, seconds, notes)."""
    notes = []
    got = list(frames.stream(path, fps, notes))
    numbers = [None if frame.image is None else media.number_of(frame.image) for frame in got]
    return numbers, np.array([frame.seconds for frame in got]), notes


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("playback") / "film.mp4")


# ---- When ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.avi", "libx264"), ("a.ts", "libx264"),
        ("a.flv", "libx264"), ("a.h264", "libx264"), ("a.avi", "mpeg4"), ("a.mp4", "mpeg4"), ("a.avi", "mpeg2video"),
        ("a.mpg", "mpeg2video"), ("a.mpg", "mpeg1video"), ("a.ts", "mpeg2video"), ("a.wmv", "wmv2"), ("a.avi", "ffv1"),
        ("a.webm", "libvpx"), ("a.mkv", "ffv1"), ("a.nut", "libx264"),
    ],
)  # fmt: skip
def test_every_container_gives_the_same_times(name, codec, tmp_path):
    """AVI knows decoding times only; raw streams none; all others presentation times, in units of up to 1 ms."""
    numbers, seconds, notes = shown(write(tmp_path / name, codec))
    assert numbers == list(range(COUNT)) and notes == []
    np.testing.assert_allclose(seconds, np.arange(COUNT) / RATE, atol=6e-4)
    assert shown(tmp_path / name, RATE)[0] == list(range(COUNT))


@pytest.mark.parametrize(
    "pts, dts, expected",
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [None] * 4, [0, 1, 2, 3]),
        ([None] * 4, [2, 3, 4, 5], [2, 3, 4, 5]),
        ([1, 4, 3, 5, 2, 8], [2, 3, 4, 5, 6, 7], [1, 4, 4, 5, 6, 7]),  # presentation times fell once more
        ([5, 6, 7, 8], [0, 3, 1, 2], [5, 6, 7, 8]),
        ([None, 1, None, 3], [None, None, 2, None], [None, 1, 2, 3]),
    ],
)
def test_best_effort_as_ffmpeg(film, pts, dts, expected):
    """Worked by hand from guess_correct_pts of libavcodec/decode.c."""
    container, stream, _ = frames._open(film)
    with container:
        clock = playback.Clock(container, stream)
        assert [clock._best_effort(*pair)[0] for pair in zip(pts, dts, strict=True)] == expected


def test_times_that_do_not_rise(film, tmp_path):
    """The second half has one time; in the second file the clock begins anew."""
    half = COUNT // 2
    stopped = write(tmp_path / "plain.mkv", "libvpx", count=COUNT)
    for name, times in (("equal.mkv", [*range(half), *[half - 1] * half]), ("anew.mkv", [*range(half)] * 2)):
        ticks = np.round(1000 * np.array(times) / RATE).astype(int).tolist()

        def change(number, packet, ticks=ticks):
            packet.pts = packet.dts = number

        path = rewrite(stopped, tmp_path / name, change)
        _set_times(path, ticks)
        numbers, seconds, notes = shown(path)
        assert numbers == list(range(COUNT))
        np.testing.assert_allclose(seconds, np.arange(COUNT) / RATE, atol=1e-3)
        assert len(notes) == 1 and f"{half} of {COUNT} frames do not rise" in notes[0] and f"index {half}" in notes[0]
        assert shown(path, RATE)[0] == list(range(COUNT))


def _set_times(path, ticks):
    """Sets the times of the SimpleBlocks of a Matroska file of one cluster and one track, in milliseconds."""
    content = bytearray(path.read_bytes())
    at, number = content.index(b"\x1f\x43\xb6\x75"), 0
    while number < len(ticks):
        at = content.index(b"\xa3", at + 1)
        size = next(n for n in range(1, 9) if content[at + 1] >> (8 - n))
        if content[at + 1 + size] == 0x81 and content[at + 4 + size] in (0x00, 0x80):
            (time,) = struct.unpack_from(">h", content, at + 2 + size)
            if time == number:
                struct.pack_into(">h", content, at + 2 + size, ticks[number])
                number += 1
    path.write_bytes(content)


def test_hole_is_named_and_bounded(tmp_path):
    """20 minutes without a picture: one second of frames without an image, not 36,000 copies."""
    half = COUNT // 2
    times = [number + (number >= half) * 1200 * RATE for number in range(COUNT)]
    path = write(tmp_path / "hole.mp4", "mpeg4", times)
    _, seconds, notes = shown(path)
    np.testing.assert_allclose(seconds, np.array(times) / RATE, atol=1e-6)
    assert notes == [f"no picture between {(half - 1) / RATE:.2f} and {1200 + half / RATE:.2f} s"]
    numbers, _, _ = shown(path, RATE)
    assert numbers == [*range(half), *[None] * (RATE - 1), *range(half, COUNT)]


def test_a_slow_video_has_no_holes(tmp_path):
    path = write(tmp_path / "slow.mp4", "mpeg4", [60 * number for number in range(8)], count=8)
    numbers, seconds, notes = shown(path)
    assert notes == [] and numbers == list(range(8)) and seconds[-1] == pytest.approx(14)
    assert None not in shown(path, 10)[0]


def test_seconds_count_from_the_start_of_the_container(tmp_path):
    """The picture begins a second after the sound: 1.0 s for every player, and ffprobe's start_time of the stream."""
    path = write(tmp_path / "late.mp4", times=[RATE + number for number in range(COUNT)], sound=(0, 2))
    numbers, seconds, notes = shown(path)
    np.testing.assert_allclose(seconds, 1 + np.arange(COUNT) / RATE, atol=1e-6)
    assert numbers == list(range(COUNT)) and notes == []
    assert shown(path, RATE)[0] == list(range(COUNT))  # no frames are made up for the time before


def test_a_container_that_starts_late_starts_at_zero(tmp_path):
    path = write(tmp_path / "late.mkv", times=[50 * RATE + number for number in range(COUNT)])
    np.testing.assert_allclose(shown(path)[1], np.arange(COUNT) / RATE, atol=6e-4)


# ---- Which stream ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cover", [True, False])
def test_neither_a_cover_nor_a_preview_is_the_film(film, tmp_path, cover):
    from av.stream import Disposition

    small = media.write_video(tmp_path / "small.mp4", np.zeros((3, 16, 16, 3), np.uint8))
    if cover:
        small = write(tmp_path / "cover.mov", "mjpeg", count=1, pix_fmt="yuvj420p")
    kind = Disposition.attached_pic if cover else None
    path = rewrite(film, tmp_path / "both.mkv" if not cover else tmp_path / "both.mp4", lambda n, _: kind, first=small)
    numbers, _, notes = shown(path)
    assert numbers == list(range(COUNT))
    assert notes == ([] if cover else ["2 video streams; the largest is used, number 1 (96 x 48)"])
    assert frames.probe(path).width == 96


def test_the_default_stream_is_the_film(film, tmp_path):
    from av.stream import Disposition

    large = media.write_video(tmp_path / "large.mp4", np.zeros((3, 96, 192, 3), np.uint8))
    with_default = []

    def change(number, packet):
        if number == 0:
            packet.stream.disposition = Disposition.default
        with_default.append(number)

    path = rewrite(film, tmp_path / "both.mp4", change, first=large)
    content = path.read_bytes()
    first, second = (place for place in range(len(content)) if content[place : place + 4] == b"tkhd")
    content = bytearray(content)
    content[first + 7] &= ~1  # the flag "track enabled"
    content[second + 7] |= 1
    path.write_bytes(content)
    numbers, _, notes = shown(path)
    assert numbers == list(range(COUNT)) and "the default one is used, number 1" in notes[0]


def test_a_song_with_a_cover_is_no_video(tmp_path):
    import av
    from av.stream import Disposition

    cover = write(tmp_path / "cover.mov", "mjpeg", count=1, pix_fmt="yuvj420p")
    path = tmp_path / "song.mp4"
    with av.open(str(cover)) as old, av.open(str(path), "w") as new:
        picture = new.add_stream_from_template(old.streams.video[0])
        picture.disposition = Disposition.attached_pic
        for packet in [packet for packet in old.demux(video=0) if packet.dts is not None]:
            packet.stream = picture
            new.mux(packet)
    with pytest.raises(UserError, match="no video stream but a cover picture"):
        list(frames.stream(path))


def test_huge_pictures_are_refused(film, monkeypatch):
    monkeypatch.setattr(playback, "LARGEST", 96 * 48 - 1)
    with pytest.raises(UserError, match="claims pictures of 96 x 48 pixels"):
        list(frames.stream(film))


@pytest.mark.parametrize("name", ["take:2.mp4", "file:a.mp4", "50%d.mp4", "a b?#.mp4", "x\udce9.mp4"])
def test_a_name_is_a_name(film, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(film.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert frames.probe(name).width == 96


def test_metadata_of_another_encoding(film, tmp_path):
    content = film.read_bytes()
    assert b"Lavf" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"Lavf", b"\xe9\xffvf"))
    assert len(shown(tmp_path / "a.mp4")[0]) == COUNT


# ---- Which way up, how wide ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b, c, d", [(x, 0, 0, y) for x in (1, -1) for y in (1, -1)] + [(0, x, y, 0) for x in (1, -1) for y in (1, -1)]
)
def test_all_eight_display_matrices(tmp_path, a, b, c, d):
    """Every pixel (p, q) is shown at (a p + c q, b p + d q), shifted so that the smallest is 0: pixel by pixel."""
    image = np.arange(2 * 3).reshape(2, 3)
    places = {(a * p + c * q, b * p + d * q): image[q, p] for q, p in itertools.product(range(2), range(3))}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    wanted = np.zeros((2, 3) if a else (3, 2), int)
    for (x, y), value in places.items():
        wanted[y - top, x - left] = value
    np.testing.assert_array_equal(playback.turn(image, [a, b, 0, c, d, 0, 0, 0, 1]), wanted)


def _matrix(source, path, *numbers):
    content = bytearray(source.read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", *(round(n * (1 << 16)) for n in numbers[:8]), 1 << 30)
    path.write_bytes(content)
    return path


def test_matrices_of_a_file(film, tmp_path):
    """Mirrored; turned by 90 degrees and mirrored; scaled, which is a shape of pixels; at an angle."""
    plain = next(frames.read(film))
    mirrored = _matrix(film, tmp_path / "a.mp4", -1, 0, 0, 0, 1, 0, 0, 0)
    np.testing.assert_array_equal(next(frames.read(mirrored)), plain[:, ::-1])
    both = _matrix(film, tmp_path / "b.mp4", 0, 1, 0, 1, 0, 0, 0, 0)
    np.testing.assert_array_equal(next(frames.read(both)), plain.swapaxes(0, 1))
    wide = _matrix(film, tmp_path / "c.mp4", 2, 0, 0, 0, 1, 0, 0, 0)
    assert next(frames.read(wide)).shape == (48, 192, 3)
    cos, sin = np.cos(0.3), np.sin(0.3)
    oblique = _matrix(film, tmp_path / "d.mp4", cos, sin, 0, -sin, cos, 0, 0, 0)
    np.testing.assert_array_equal(next(frames.read(oblique)), plain)
    assert "not a multiple of 90 degrees" in shown(oblique)[2][0]


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.ts", "libx264")]
)
@pytest.mark.parametrize(
    "ratio, size", [((2, 1), (48, 192)), ((8, 9), (54, 96)), ((1, 1), (48, 96)), ((9, 1), (48, 96))]
)
def test_pixels_that_are_not_square(tmp_path, name, codec, ratio, size):
    """Stretched to what players show; never shrunk; an impossible shape is not believed."""
    image, *_ = frames.read(write(tmp_path / name, codec, ratio=Fraction(*ratio)))
    _, _, notes = shown(tmp_path / name)
    assert image.shape == (*size, 3)
    assert media.number_of(image) == 0
    assert ["taken as square" in note for note in notes] == [True] * (ratio[0] == 9)


@pytest.mark.parametrize(
    "pix_fmt, codec, name", [("gray", "ffv1", "a.mkv"), ("rgba", "png", "a.mov"), ("yuv420p10le", "libx264", "a.mp4")]
)
def test_grey_transparent_and_deep_pictures(tmp_path, pix_fmt, codec, name):
    numbers, _, notes = shown(write(tmp_path / name, codec, pix_fmt=pix_fmt, count=4))
    assert numbers == [0, 1, 2, 3] and notes == []


# ---- Where the end is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, codec", [("a.mkv", "libx264"), ("a.webm", "libvpx")])
def test_matroska_that_is_cut_off(tmp_path, name, codec):
    """The header says where the end is; no error does."""
    path = write(tmp_path / name, codec, count=60, sound=(0, 4) if codec == "libx264" else None)
    assert shown(path)[2] == []  # the sound is longer, and that is no loss
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    numbers, seconds, notes = shown(path)
    assert 0 < len(numbers) < 50
    assert notes == [
        f"it ends {2 - len(numbers) / RATE:.1f} s before the end that its header gives (2.0 s); it may be cut off"
    ]


def test_a_lost_packet_of_a_transport_stream_is_no_end(tmp_path):
    path = write(tmp_path / "a.ts", "mpeg2video", count=60)
    whole = path.read_bytes()
    packets = [whole[start : start + 188] for start in range(0, len(whole), 188)]
    lost = len(packets) // 2
    while packets[lost][1:3] != b"\x01\x00":  # of the video, inside a frame
        lost += 1
    (tmp_path / "lost.ts").write_bytes(b"".join(packets[:lost] + packets[lost + 1 :]))
    numbers, seconds, notes = shown(tmp_path / "lost.ts")
    assert len(numbers) >= 58 and seconds[-1] == pytest.approx(59 / RATE, abs=1e-3)
    assert len(notes) == 1 and "lost or damaged in" in notes[0]
    (tmp_path / "twice.ts").write_bytes(whole + whole)  # as cat joins them
    numbers, seconds, notes = shown(tmp_path / "twice.ts")
    assert len(numbers) == 120 and (np.diff(seconds) > 0).all() and seconds[-1] == pytest.approx(119 / RATE, abs=2e-3)
    assert "do not rise" in notes[0]


def test_an_empty_container_may_be_cut_off(film, tmp_path):
    content = film.read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: content.index(b"mdat") + 100])
    with pytest.raises(UserError, match="cut off"):
        list(frames.stream(tmp_path / "a.mp4"))


# ---- Files of others -------------------------------------------------------------------------------------------------


@needs_cases
@pytest.mark.parametrize(
    "name, count, end, note",
    [
        ("avi_bframes/facebf.avi", 600, 20.0, ""), ("start_offset/delay.mp4", 180, 8.0, ""),
        ("wrong_stream/coverfirst.mp4", 180, 6.0, ""), ("truncated_mkv/kcut.mkv", 122, 4.067, "cut off"),
        ("ts_corrupt/catsame.ts", 180, 6.0, "lost or damaged"), ("time_jumps/jump20min.mkv", 180, 1206.0, "no picture"),
        ("time_jumps/jumpb.mkv", 180, 6.0, "do not rise"),
    ],
)  # fmt: skip
def test_files_that_players_show(name, count, end, note):
    notes, last, numbers = [], None, []
    for frame in frames.stream(CASES / name, None, notes):
        last, numbers = frame, [*numbers, frame.index]
    assert numbers == list(range(count))
    assert last.seconds + last.length == pytest.approx(end, abs=1e-3)
    assert [note in text for text in notes] == [True] * bool(note)


@needs_cases
def test_shapes_and_directions_of_others():
    square, wide = (next(frames.read(CASES / "pixel_aspect" / name)) for name in ("square.mp4", "sar.mp4"))
    assert square.shape == wide.shape == (256, 256, 3)
    assert np.abs(square.astype(float) - wide).mean() < 8
