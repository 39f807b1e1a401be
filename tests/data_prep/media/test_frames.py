"""Every frame once, in order, upright; damage is said in one line."""

import shutil
import socket
import struct

import cv2
import media
import numpy as np
import pytest

from data_prep.media import frames
from fedn_jax.core.errors import UserError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return media.write_video(tmp_path_factory.mktemp("frames") / "a.mp4", media.numbered(90))


def test_every_frame_once_in_order(video):
    got = list(frames.stream(video))
    assert [media.number_of(frame.image) for frame in got] == list(range(90))
    assert [frame.index for frame in got] == list(range(90))
    np.testing.assert_allclose([frame.seconds for frame in got], np.arange(90) / 30, atol=1e-6)
    assert got[0].image.dtype == np.uint8 and got[0].image.shape == (48, 64, 3)


def test_reading_is_lazy(video):
    assert media.number_of(next(iter(frames.read(video)))) == 0


def test_probe(video):
    info = frames.probe(video)
    assert (info.width, info.height) == (64, 48) and info.fps == pytest.approx(30)


@pytest.mark.parametrize("fps, expected", [(30, list(range(90))), (15, list(range(0, 90, 2)))])
def test_resampling_a_constant_rate(video, fps, expected):
    assert [media.number_of(image) for image in frames.read(video, fps)] == expected


def test_resampling_up_repeats(video):
    assert [media.number_of(image) for image in frames.read(video, 60)][:7] == [0, 0, 1, 1, 2, 2, 3]


def test_variable_rate_is_resampled_by_time(tmp_path):
    gaps = np.random.default_rng(0).choice([10, 20, 40, 60], 49)
    times = np.concatenate([[0], np.cumsum(gaps)])
    path = media.write_video(tmp_path / "v.mp4", media.numbered(50), times=times.tolist())
    assert [media.number_of(image) for image in frames.read(path)] == list(range(50))
    got = [media.number_of(image) for image in frames.read(path, 30)]
    at = np.arange(len(got)) * 20
    distance = np.abs(times[got] - at)
    np.testing.assert_array_equal(distance, np.abs(times[None] - at[:, None]).min(1))
    assert len(got) == pytest.approx((times[-1] + gaps[-1]) / 20, abs=2)


def test_pick(video):
    assert [media.number_of(image) for image in frames.pick(video, [40, 3, 3, 500])] == [40, 3, 3, 89]
    assert frames.pick(video, []) == []


def test_rotation_of_a_phone(video, tmp_path):
    content = bytearray(video.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    clockwise = (0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *clockwise)
    path = tmp_path / "phone.mp4"
    path.write_bytes(content)
    plain, turned = next(iter(frames.read(video))), next(iter(frames.read(path)))
    assert turned.shape == (64, 48, 3)
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


def _error(path):
    with pytest.raises(UserError) as caught:
        list(frames.read(path))
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def test_missing_and_empty(tmp_path):
    assert "no such video" in _error(tmp_path / "none.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in _error(tmp_path / "empty.mp4")


def test_not_a_video(tmp_path):
    (tmp_path / "text.mp4").write_text("hello " * 100)
    assert "not a readable video" in _error(tmp_path / "text.mp4")


def test_no_other_file_is_opened(video, tmp_path):
    """Lists of files in whatever words, and patterns of names: what is beside them, or in the network, stays closed."""
    shutil.copy(video, tmp_path / "secret.dat")
    cv2.imwrite(str(tmp_path / "a1.png"), np.zeros((32, 32, 3), np.uint8))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        there = f"http://127.0.0.1:{server.getsockname()[1]}/x.mp4"
        lists = {
            "concat": f"ffconcat version 1.0\nfile 'secret.dat'\nfile '{there}'\n",
            "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
            "a=rtpmap:96 H264/90000\n",
            "dash": '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-live:2011">'
            "<BaseURL>{}</BaseURL></MPD>\n",
            "ffmetadata": ";FFMETADATA1\ntitle=a\n",
        }
        for name, text in lists.items():
            for suffix in ("mp4", "m3u8", "mpd", "sdp"):
                for target in ("secret.dat", there):
                    path = tmp_path / f"{name}.{suffix}"
                    path.write_text(text.replace("{}", target))
                    assert "not a readable video but text; of a list of other files give these" in _error(path)
        (tmp_path / "a%01d.png").write_bytes((tmp_path / "a1.png").read_bytes())
        assert "not a readable video" in _error(tmp_path / "a%01d.png")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert frames.probe(tmp_path / "secret.dat").width == frames.probe(video).width


def test_text_is_no_video(tmp_path):
    for name in ("notes.txt", "art.ans", "notes.mp4", "art.bin"):
        (tmp_path / name).write_bytes(b"\x1b[31mWords of a letter, caf\xe9.\r\n" * 50)
        assert "not a readable video" in _error(tmp_path / name)


def test_truncated_without_index(video, tmp_path):
    path = tmp_path / "short.mp4"
    path.write_bytes(video.read_bytes()[:2000])
    assert "cut off" in _error(path)


def test_truncated_with_the_index_in_front(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = media.write_video(tmp_path / "front.mp4", noise, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged at frame" in _error(path)


def test_damage_in_the_middle_names_the_frame(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = media.write_video(tmp_path / "hole.mp4", noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    text = _error(path)
    assert "damaged at frame" in text and "re-encode" in text
    frame = int(text.split("damaged at frame ")[1].split()[0])
    assert 15 < frame < 45


def test_no_video_stream(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert "no video stream" in _error(path)


def test_fps_must_be_positive(video):
    with pytest.raises(UserError, match="positive"):
        list(frames.read(video, 0.0))


@media.needs_real
def test_real_videos():
    assert sum(1 for _ in frames.read(media.REAL / "videos" / "single_face.mp4")) == 72
    wolfgang = media.REAL / "videos" / "WolfgangLanger_Pexels.mp4"
    assert sum(1 for _ in frames.read(wolfgang)) == 472
    assert sum(1 for _ in frames.read(wolfgang, 30)) == pytest.approx(472 * 30 / 23.976, abs=1)
