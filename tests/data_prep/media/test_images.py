"""The number in a name is the number of the frame: for every way of naming, with gaps, damage and strays."""

import os

import cv2
import numpy as np
import pytest

from data_prep.media import images, sources
from fedn_jax.core.errors import UserError


def picture(number):
    """A picture that carries its number, safe from JPEG's losses."""
    image = np.full((24, 32, 3), 20, np.uint8)
    for bit in range(12):
        row, column = divmod(bit, 4)
        if number >> bit & 1:
            image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 220
    return image


def number_of(image):
    height, width = image.shape[0] // 3, image.shape[1] // 4
    cells = [image[height * (bit // 4) :, width * (bit % 4) :][:height, :width].mean() > 120 for bit in range(12)]
    return sum(1 << bit for bit, on in enumerate(cells) if on)


def folder(path, names):
    """Writes pictures: name -> number in the picture."""
    path.mkdir(parents=True, exist_ok=True)
    for name, number in names.items():
        suffix = name[name.rindex(".") :].lower()
        cv2.imencode(suffix, picture(number), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tofile(path / name)
    return path


NAMINGS = {
    "rawpic": lambda n: f"img{n:03d}.jpg",
    "cropped": lambda n: f"img_{n}.jpg",
    "plain": lambda n: f"{n}.jpg",
    "samm": lambda n: f"006_1_{n:04d}.jpg",
    "openface": lambda n: f"frame_det_00_{n:06d}.bmp",
    "capitals": lambda n: f"IMG_{n}.JPG",
    "jpeg": lambda n: f"f{n}.jpeg",
    "png": lambda n: f"015-0401 {n}.PNG",
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_is_read_in_order_of_the_numbers(tmp_path, naming):
    numbers = [*range(1, 13), *range(98, 103), *range(998, 1003)]
    path = folder(tmp_path / "v", {NAMINGS[naming](n): n for n in numbers})
    assert images.is_folder(path)
    found = [number for number, _ in images.pictures(path)]
    assert found == numbers
    files = images.by_number(path, images.pictures(path))
    assert [number_of(images.decode(file)) for file in files.values()] == numbers


def test_a_listing(tmp_path):
    files = images.listing(folder(tmp_path, {f"{n}.jpg": n for n in (11, 1, 2, 10, 3, 4, 5, 6, 7, 8, 9)}))
    assert list(files.files) == list(range(1, 12))
    assert files.last == 11 and files.invalid == frozenset() and files.notes == ()


def test_gaps_stay_gaps(tmp_path):
    files = images.listing(folder(tmp_path, {f"{n}.jpg": n for n in (8, 9, 10, 14, 15, 300)}))
    assert files.last == 300
    assert files.notes == ("7 numbers missing before 8", "287 numbers missing between 8 and 300")
    frames = list(images.stream(files, 30, 1))
    assert [frame.index for frame in frames] == list(range(300))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(300) / 30)
    shown = {frame.index + 1: number_of(frame.image) for frame in frames if frame.image is not None}
    assert shown == {n: n for n in (8, 9, 10, 14, 15, 300)}


def test_missing_at_the_end():
    assert images.gaps({1, 2, 3}, 1, 3) == ()
    assert images.gaps({2, 4}, 0, 5) == (
        "2 numbers missing before 2", "1 number missing between 2 and 4", "1 number missing after 4",
    )  # fmt: skip


def test_the_first_frame_may_be_zero(tmp_path):
    path = folder(tmp_path, {f"{n}.png": n for n in range(5)})
    frames = list(images.stream(images.listing(path, first_frame=0), 200, 0))
    assert [(frame.index, number_of(frame.image)) for frame in frames] == [(n, n) for n in range(5)]
    with pytest.raises(UserError, match=r"0\.png: number 0 is before the first frame, 1"):
        images.listing(path)


def test_what_is_no_picture_is_passed_over(tmp_path):
    path = folder(tmp_path, {"1.jpg": 1, ".2.jpg": 2, "._3.jpg": 3})
    (path / "4.jpg").mkdir()
    for name in ("Thumbs.db", "5.txt", "cover.jpg", "6", ".DS_Store", "7.mp4"):
        (path / name).write_bytes(b"x")
    assert list(images.listing(path).files) == [1]


def test_is_folder(tmp_path):
    assert not images.is_folder(tmp_path) and not images.is_folder(tmp_path / "none")
    inner = folder(tmp_path / "inner", {"1.jpg": 1})
    assert images.is_folder(inner) and images.is_folder(str(inner)) and not images.is_folder(tmp_path)
    assert not images.is_folder(inner / "1.jpg")


@pytest.mark.parametrize("names", [("1.jpg", "001.jpg"), ("a_2.jpg", "b_2.jpg"), ("img003 (2).jpg", "img002.jpg")])
def test_two_pictures_of_one_number(tmp_path, names):
    with pytest.raises(UserError) as caught:
        images.listing(folder(tmp_path, {name: 1 for name in (*names, "7.jpg")}))
    assert all(name in str(caught.value) for name in names) and "\n" not in str(caught.value)


def test_how_many_more_are_double(tmp_path):
    with pytest.raises(UserError, match="and 4 more"):
        images.listing(folder(tmp_path, {f"{p}{n}.jpg": n for n in range(1, 6) for p in "ab"}))


@pytest.mark.parametrize("stray", ["99999999.jpg", "IMG_20240131.jpg", "99999999999999999999999.jpg"])
def test_a_stray_number_is_named(tmp_path, stray):
    path = folder(tmp_path, {**{f"{n}.jpg": n for n in range(1, 40)}, stray: 1})
    with pytest.raises(UserError, match="widest gap beside " + stray.replace(".", r"\.")):
        images.listing(path)


def test_a_stray_number_below_the_others(tmp_path):
    path = folder(tmp_path, {**{f"{n}.jpg": 1 for n in range(20000, 20040)}, "3.jpg": 1})
    with pytest.raises(UserError, match=r"widest gap beside 3\.jpg"):
        images.listing(path)
    (path / "3.jpg").unlink()
    with pytest.raises(UserError, match=r"widest gap beside 20000\.jpg"):
        images.listing(path)


def test_half_of_a_long_video_may_be_missing(tmp_path):
    files = {number: tmp_path / f"{number}.jpg" for number in range(2, 3001, 2)}
    images.check_range(tmp_path, files, 1)
    with pytest.raises(UserError, match="749 pictures for the numbers 1 to 2994"):
        images.check_range(tmp_path, {n: files[n] for n in list(files)[::2][:749]}, 1)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        images.listing(tmp_path / "none")
    with pytest.raises(UserError, match="no numbered picture"):
        images.listing(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("damage", ["empty", "head", "half", "text"])
def test_a_damaged_picture_is_a_frame_without_image(tmp_path, suffix, damage):
    path = folder(tmp_path, {f"{n}{suffix}": n for n in (1, 2, 3)})
    content = (path / f"2{suffix}").read_bytes()
    broken = {"empty": b"", "head": content[:40], "half": content[: len(content) // 2], "text": b"hello " * 50}
    (path / f"2{suffix}").write_bytes(broken[damage])
    files = images.listing(path)
    assert [frame.image is None for frame in images.stream(files, 30, 1)] == [False, True, False]
    assert 2 in files.files and files.notes == ()


def test_depths_channels_and_sizes(tmp_path):
    deep = cv2.resize(picture(5)[..., 0], (64, 48), interpolation=cv2.INTER_NEAREST).astype(np.uint16) << 8
    clear = np.concatenate([picture(6), np.zeros((24, 32, 1), np.uint8)], -1)
    for name, image in (("1", picture(4)[..., 0]), ("2", deep), ("3", clear), ("4", picture(7)[..., [0, 1, 1]])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    shown = [frame.image for frame in images.stream(images.listing(tmp_path), 30, 1)]
    assert [image.shape for image in shown] == [(24, 32, 3), (48, 64, 3), (24, 32, 3), (24, 32, 3)]
    assert all(image.dtype == np.uint8 for image in shown)
    assert [number_of(image) for image in shown] == [4, 5, 6, 7]


def test_channels_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((4, 4, 3), (10, 20, 200), np.uint8))  # OpenCV writes BGR
    assert images.decode(tmp_path / "1.png")[0, 0].tolist() == [200, 20, 10]


def test_exif_does_not_turn_pictures(tmp_path):
    plain = cv2.imencode(".jpg", picture(9))[1].tobytes()
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: a quarter turn
    (tmp_path / "1.jpg").write_bytes(plain[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + plain[2:])
    assert cv2.imread(str(tmp_path / "1.jpg")).shape == (32, 24, 3)
    assert images.decode(tmp_path / "1.jpg").shape == (24, 32, 3)


def test_a_file_that_cannot_be_read_is_no_gap(tmp_path):
    path = folder(tmp_path, {"1.jpg": 1})
    (path / "2.jpg").symlink_to(tmp_path / "away.jpg")
    with pytest.raises(UserError, match=r"2\.jpg: no such file; expected a file with a picture"):
        list(images.stream(images.listing(path), 30, 1))


def test_reading_is_lazy_and_the_rate_is_checked_at_once(tmp_path):
    path = folder(tmp_path, {"1.jpg": 1, "2.jpg": 2})
    files = images.listing(path)
    stream = images.stream(files, 30, 1)
    (path / "2.jpg").unlink()
    assert number_of(next(stream).image) == 1
    with pytest.raises(UserError, match="frames per second from 0.1 to 1000; got 0"):
        images.stream(files, 0, 1)


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_every_kind_of_picture(tmp_path, suffix):
    files = images.listing(folder(tmp_path, {f"{n}{suffix.upper()}": n for n in (1, 2)})).files
    assert [number_of(images.decode(path)) for path in files.values()] == [1, 2]


def test_only_files_are_read(tmp_path):
    """Neither a pipe, which would be waited for, nor a device without an end."""
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "4.bmp").symlink_to("/dev/zero")
    for name in ("3.png", "4.bmp"):
        with pytest.raises(UserError, match=f"{name}: a pipe or a device; expected a file with a picture"):
            images.decode(tmp_path / name)
    with pytest.raises(UserError, match="a pipe or a device; expected a file with a video"):
        sources.fingerprint(sources.Source(tmp_path / "3.png"))


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-9, 1e9, float("nan"), float("inf")])
def test_an_impossible_rate_of_pictures_raises(rate, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), picture(1))
    with pytest.raises(UserError, match="must be a number of frames per second from 0.1 to 1000; got "):
        images.stream(images.listing(tmp_path), rate, 1)


def test_where_nobody_says_it_a_stretch_of_a_longer_video_begins_with_its_first_picture(tmp_path):
    for lowest, begin in ((0, 0), (1, 1), (4, 1), (5001, 5001)):
        place = tmp_path / str(lowest)
        folder(place, {f"img_{number}.png": number % 100 for number in range(lowest, lowest + 6)})
        source = sources.Source(place)
        assert sources.first_frame(source) == begin
        pictures = [f for f in sources.stream(source, sources.listing(source, begin), begin) if f.image is not None]
        assert [number_of(frame.image) for frame in pictures] == [n % 100 for n in range(lowest, lowest + 6)]
    folder(tmp_path / "stray", {f"{number}.png": number for number in (1, 2, 3, 4000)})
    assert sources.first_frame(sources.Source(tmp_path / "stray")) == 1
    with pytest.raises(UserError, match="expected at least half"):
        sources.listing(sources.Source(tmp_path / "stray"), 1)
