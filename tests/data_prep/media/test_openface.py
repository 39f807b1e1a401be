"""OpenFace's frames get the numbers of the pictures they were made from, or the folder is refused."""

import functools

import cv2
import media
import numpy as np
import pytest

from data_prep.media import images, openface
from fedn_jax.core.errors import UserError

NEW = "frame,face_id,timestamp,confidence,success,AU01_r"
OLD = "frame, timestamp, confidence, success, AU01_r"


@functools.cache
def moving(count):
    """A drawn face that moves: [count, 32, 32, 3]."""
    if count <= 300:
        return np.stack(
            [cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in media.face_frames(1, count)]
        )
    face = cv2.resize(media.face_frames(1, 24)[0], (128, 128), interpolation=cv2.INTER_AREA)
    poses = [
        cv2.getRotationMatrix2D((64, 64), 57 * pose[2], pose[5]) + [[0, 0, x] for x in pose[:2]]
        for pose in media.sway(count)
    ]
    moved = [cv2.warpAffine(face, pose, (128, 128), borderMode=cv2.BORDER_REPLICATE) for pose in poses]
    return np.stack([cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA) for frame in moved])


def by_text(numbers, width):
    return sorted(numbers, key=lambda number: f"img{number:0{width}d}.jpg")


def write(out, pictures, order, skip=(), face="00_", suffix=".bmp"):
    """What OpenFace writes when it reads pictures (number -> image) in some order; returns the folder."""
    directory = out / "15_0101x_aligned"
    directory.mkdir(parents=True)
    for frame, number in enumerate(order, 1):
        if frame not in skip:
            path = directory / f"frame_det_{face}{frame:06d}{suffix}"
            cv2.imencode(suffix, pictures[number])[1].tofile(path)
    return directory


def write_csv(directory, count, lost=(), header=NEW, filmed=True):
    rows = [f"{k}, 0, 0.98, {int(k not in lost)}, 0.0" for k in range(1, count + 1)]
    if header == NEW:
        time = lambda k: (k - 1) / 30 if filmed else 0
        rows = [f"{k},0,{time(k)},{0.98 if k not in lost else 0},{int(k not in lost)},0.0" for k in range(1, count + 1)]
    path = directory.with_name("15_0101x.csv")
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_originals(path, numbers, name="{}.jpg"):
    path.mkdir()
    for number in numbers:
        (path / name.format(number)).write_bytes(b"x")
    return path


def video(count, first=1):
    return dict(enumerate(moving(count), first))


def check(files, pictures):
    """Every number has its own picture."""
    assert files.files and list(files.files) == sorted(files.files)
    for number, path in files.files.items():
        np.testing.assert_array_equal(cv2.imread(str(path)), pictures[number])


def error(*args, **kwargs):
    with pytest.raises(UserError) as caught:
        openface.listing(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_base_name():
    assert openface.base_name("out/15_0101x_aligned") == "15_0101x"
    assert openface.base_name("a_aligned_aligned/") == "a_aligned"
    assert openface.base_name("15_0101x") is None and openface.base_name("_aligned") is None
    assert openface.base_name(".") is None


# The CSV file


@pytest.mark.parametrize("header", [NEW, OLD])
def test_old_and_new_csv(tmp_path, header):
    table = openface.read_csv(write_csv(tmp_path / "a", 12, lost={3, 12}, header=header))
    assert table.frame.tolist() == list(range(1, 13)) and table.frame.dtype == np.int32
    assert np.flatnonzero(~table.success).tolist() == [2, 11]
    assert table.confidence[0] == 0.98 and table.confidence.dtype == np.float64


@media.needs_real
def test_a_real_csv():
    table = openface.read_csv(media.REAL / "openface" / "OpenFace_Test.csv")
    assert table.frame.tolist() == list(range(1, 101)) and table.success.all()
    assert table.confidence[0] == pytest.approx(0.883333)


@pytest.mark.parametrize("nan", ["nan", "-nan", "-nan(ind)", "NaN", "-1.#IND", "1.#QNAN"])
def test_no_confidence_is_no_success(tmp_path, nan):
    path = tmp_path / "a.csv"
    path.write_text(f"{NEW}\n1,0,0,{nan},1,0\n2,0,0,0.9,1.0,0\n\n")
    table = openface.read_csv(path)
    assert table.success.tolist() == [False, True] and np.isnan(table.confidence[0])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_csv_that_a_spreadsheet_saved_again(tmp_path, separator, encoding):
    path = write_csv(tmp_path / "a", 12, lost={3})
    text = path.read_text().replace(",", separator).replace("0.98", "0,98").replace("\n", "\r")
    path.write_text(text, encoding, newline="")
    table = openface.read_csv(path)
    assert table.frame.tolist() == list(range(1, 13)) and np.flatnonzero(~table.success).tolist() == [2]
    assert table.confidence[0] == 0.98


def csv_error(path, text):
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        openface.read_csv(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_missing_columns(tmp_path):
    text = csv_error(tmp_path / "a.csv", "face, confidence, x_0\n0, 1, 2\n")
    assert "no column frame, success" in text and "got 'face,confidence,x_0'" in text
    assert "an empty file" in csv_error(tmp_path / "a.csv", "")
    assert "holds no rows" in csv_error(tmp_path / "a.csv", NEW + "\n")


def test_bad_cells_are_all_listed_with_their_lines(tmp_path):
    rows = [
        "0,0,0,0.9,1,0", "1.5,0,0,0.9,1,0", "x,0,0,0.9,1,0", "nan,0,0,0.9,1,0", "inf,0,0,0.9,1,0", "7,0,0,,1,0",
        "8,0,0,inf,1,0", "9,0,0,0.9,2,0", "10,0,0,0.9,yes,0", "11,0,0", "12,0,0,1,1,0", "12,0,0,1,1,0",
    ]  # fmt: skip
    text = csv_error(tmp_path / "a.csv", "\n".join([NEW, *rows]))
    assert "11 problems" in text
    assert all(f"line {line}:" in text for line in [*range(2, 12), 13]) and "line 12:" not in text
    assert "line 11: 3 cells; expected 6" in text and "line 13: frame 12 is in line 12 already" in text
    assert "frame must be a whole number from 1 on; got 'x'" in text and "success must be 0 or 1; got '2'" in text


def test_a_long_file_of_nonsense_is_not_read_to_its_end(tmp_path):
    text = csv_error(tmp_path / "a.csv", NEW + "\n" + "a,0,0,b,c,0\n" * 5000)
    assert "102 problems" in text and "and 62 more" in text


def test_other_files(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(UserError):
        openface.read_csv(path)
    with pytest.raises(UserError, match="a folder; expected a file with OpenFace's frames"):
        openface.read_csv(tmp_path)
    assert "not readable as CSV" in csv_error(path, NEW + "\n" + "1" * 200_000)
    assert "frame 900000 in a file of 1 rows" in csv_error(path, NEW + "\n900000,0,0,1,1,0\n")


def test_several_faces_in_the_csv(tmp_path):
    text = csv_error(tmp_path / "a.csv", f"{NEW}\n1,0,0,0.9,1,0\n1,1,0,0.9,1,0\n")
    assert "line 3 is about a second face, 0 and 1" in text and "FeatureExtraction" in text


# The folder


@pytest.mark.parametrize("suffix, face", [(".bmp", "00_"), (".jpg", "00_"), (".png", "00_"), (".bmp", "")])
def test_a_video_as_it_is(tmp_path, suffix, face):
    directory = write(tmp_path, video(30), range(1, 31), face=face, suffix=suffix)
    write_csv(directory, 30)
    files = openface.listing(directory)
    assert list(files.files) == list(range(1, 31)) and files.last == 30
    assert files.invalid == frozenset() and files.notes == ()
    assert files.files[17].stem.endswith("000017")


def test_lost_frames_are_invalid_and_absent_ones_gaps(tmp_path):
    directory = write(tmp_path, video(60), range(1, 61), skip={1, 2, 20, 58, 59, 60})
    write_csv(directory, 62, lost={1, 2, 20, 33, 58, 59, 60, 61, 62})
    files = openface.listing(directory)
    assert files.invalid == {1, 2, 20, 33, 58, 59, 60, 61, 62} and files.last == 62
    assert 33 in files.files and 20 not in files.files
    assert files.notes == (
        "2 numbers missing before 3", "1 number missing between 3 and 57", "5 numbers missing after 57",
    )  # fmt: skip
    shown = [frame.index for frame in images.stream(files, 30, 1) if frame.image is not None]
    assert shown == [number - 1 for number in files.files]


def test_without_a_csv(tmp_path):
    directory = write(tmp_path, video(60), range(1, 61), skip={7})
    files = openface.listing(directory, write_originals(tmp_path / "o", range(1, 61), "{:03d}.jpg"))
    assert files.invalid == frozenset() and files.last == 60
    assert files.notes == ("no CSV file beside it", "1 number missing between 1 and 60")


def test_most_frames_may_be_lost_if_the_csv_says_so(tmp_path):
    directory = write(tmp_path, video(1200), range(1, 1201), skip=set(range(401, 1201)))
    assert "widest gap" not in error(directory)
    path = directory / "frame_det_00_001200.bmp"
    path.write_bytes((directory / "frame_det_00_000400.bmp").read_bytes())
    assert f"widest gap beside {path.name}" in error(directory)
    write_csv(directory, 1300, lost=range(401, 1301))
    files = openface.listing(directory)
    assert files.last == 1300 and len(files.invalid) == 900


def test_black_pictures_are_left_to_the_aligner(tmp_path):
    pictures = video(60) | {n: np.zeros((32, 32, 3), np.uint8) for n in range(20, 30)}
    directory = write(tmp_path, pictures, by_text(range(1, 61), 1))
    files = openface.listing(directory, write_originals(tmp_path / "o", pictures))
    check(files, pictures)
    assert len(files.files) == 60


def test_the_first_frame_may_be_zero(tmp_path):
    directory = write(tmp_path, video(60, first=0), by_text(range(60), 1))
    write_csv(directory, 60, lost={2})
    files = openface.listing(directory, write_originals(tmp_path / "o", range(60)), first_frame=0)
    check(files, video(60, first=0))
    assert files.last == 59 and files.invalid == {1}


def test_names_that_are_not_of_one_face(tmp_path):
    directory = write(tmp_path, video(30), range(1, 31))
    (directory / "frame_det_00_000005.bmp").rename(directory / "frame_det_01_000005.bmp")
    assert "2 faces (00, 01)" in error(directory)
    (directory / "frame_det_01_000005.bmp").rename(directory / "face_det_000005.bmp")
    assert "face_det_000005.bmp is not a name" in error(directory)
    (directory / "face_det_000005.bmp").rename(directory / "frame_det_00_000006.png")
    assert "are both number 6" in error(directory)
    (directory / "frame_det_00_000006.png").rename(directory / "frame_det_00_000000.bmp")
    assert "counts from 1" in error(directory)


def test_a_csv_of_another_run(tmp_path):
    directory = write(tmp_path, video(30), range(1, 31))
    write_csv(directory, 29)
    assert "frame_det_00_000030.bmp: 15_0101x.csv ends at frame 29" in error(directory)


def test_no_pictures(tmp_path):
    (tmp_path / "a_aligned").mkdir()
    assert "no numbered picture" in error(tmp_path / "a_aligned")
    assert "no such folder" in error(tmp_path / "b_aligned")


# The order, by the names of the originals


@pytest.mark.parametrize(
    "name, width, count",
    [("{}.jpg", 1, 1200), ("img_{}.jpg", 1, 300), ("img{:03d}.jpg", 3, 1200), ("{:05d}.png", 5, 300)],
)
def test_originals_say_the_order(tmp_path, name, width, count):
    order = by_text(range(1, count + 1), width)
    directory = write(tmp_path, video(count), order, skip={5, 77})
    write_csv(directory, count, lost={5, 77})
    files = openface.listing(directory, write_originals(tmp_path / "o", order, name))
    check(files, video(count))
    assert ("order repaired from the names of the originals" in files.notes) == (width < 4)
    away = {order[k - 1] for k in (5, 77)}
    assert files.invalid == away and not away & set(files.files) and files.last == count


def test_originals_with_gaps(tmp_path):
    numbers = [n for n in range(8, 311) if n % 29]
    pictures = {n: picture for n, picture in video(300).items() if n in numbers} | dict.fromkeys(
        range(301, 311), moving(300)[-1]
    )
    directory = write(tmp_path, pictures, by_text(numbers, 1))
    write_csv(directory, len(numbers), lost={1})
    files = openface.listing(directory, write_originals(tmp_path / "o", numbers), renumbered=True)
    check(files, pictures)
    assert list(files.files) == numbers and files.last == 310 and files.invalid == {10}
    missing = 310 - 7 - len(numbers)
    assert files.notes == (
        "order repaired from the names of the originals", "7 numbers missing before 8",
        f"{missing} numbers missing between 8 and 310",
    )  # fmt: skip


def test_numbers_that_are_not_positions_need_the_originals(tmp_path):
    directory = write(tmp_path, video(30), range(1, 31))
    assert "cannot be mapped" in error(directory, renumbered=True)


def test_originals_of_another_count(tmp_path):
    directory = write(tmp_path, video(30), by_text(range(1, 31), 1))
    text = error(directory, write_originals(tmp_path / "o", range(1, 33)))
    assert "saw 30 pictures" in text and "holds 32" in text


@pytest.mark.parametrize("with_csv", [True, False])
def test_pictures_without_their_originals_are_refused(tmp_path, with_csv):
    directory = write(tmp_path, video(30), range(1, 31))
    if with_csv:
        write_csv(directory, 30, filmed=False)
    text = error(directory)
    assert "give the folder of the pictures that it was run on (--originals)" in text and "\n" not in text


def test_frames_of_a_video_file_are_in_order(tmp_path):
    """OpenFace 2 gives times to the frames of a film, and none to pictures."""
    directory = write(tmp_path, video(30), range(1, 31))
    assert openface.read_csv(write_csv(directory, 30)).filmed
    assert list(openface.listing(directory).files) == list(range(1, 31))


@media.needs_real
def test_an_old_file_does_not_say_whether_it_was_filmed():
    assert not openface.read_csv(media.REAL / "openface" / "OpenFace_Test.csv").filmed
