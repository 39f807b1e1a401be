"""Tables of OpenFace and py-feat: columns by pattern, frames by number and time, gaps, and one rate."""

import media
import numpy as np
import pytest

from data_prep.shards import feature_tables
from data_prep.shards.feature_tables import Wanted
from fedn_jax.cli.main import main
from fedn_jax.core.errors import UserError
from fedn_jax.data import shards

OPENFACE = "frame, face_id, timestamp, confidence, success, pose_Tx, pose_Rx, AU01_r, AU12_r, AU12_c"
AUS = Wanted(("AU*_r",), 30.0)


def openface(path, count, rate=30.0, lost=(), left_out=(), header=OPENFACE):
    """Row t of frame t + 1: AU01_r is t / 100, AU12_r is 1."""
    lines = [header]
    for t in range(count):
        if t not in left_out:
            found = int(t not in lost)
            lines.append(
                f"{t + 1}, 0, {t / rate:.3f}, {0.98 * found:.2f}, {found}, 12.5, 0.1, {t / 100:.2f}, 1.00, 1.00"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_frames_and_lost_faces(tmp_path):
    got = feature_tables.read(openface(tmp_path / "a.csv", 20, lost=(3, 4), left_out=(10,)), AUS)
    assert got.names == ("AU01_r", "AU12_r") and got.num_source == 20
    assert got.inputs.dtype == np.float16 and got.inputs.shape == (20, 2)
    assert np.flatnonzero(got.valid == 0).tolist() == [3, 4, 10] and not got.inputs[[3, 4, 10]].any()
    np.testing.assert_array_equal(got.source, np.arange(20))
    assert got.inputs[7, 0] == np.float16(0.07)


@pytest.mark.parametrize(
    ("rate", "count", "expected"), [(60.0, 60, 30), (59.94, 60, 30), (25.0, 50, 60), (15.0, 15, 30)]
)
def test_one_rate_by_time(tmp_path, rate, count, expected):
    """Frame k of 30 per second is the frame whose time is nearest to k / 30; each source time is t / rate."""
    got = feature_tables.read(openface(tmp_path / "a.csv", count, rate), AUS)
    assert abs(len(got.source) - expected) <= 1 and got.num_source == count
    nearest = np.abs(np.arange(len(got.source))[:, None] / 30 - np.arange(count) / rate).min(1)
    chosen = np.abs(np.arange(len(got.source)) / 30 - got.source / rate)
    assert (chosen <= nearest + 0.002).all()  # times have milliseconds
    np.testing.assert_array_equal(got.inputs[:, 0], (got.source / 100).astype(np.float16))


def test_missing_frames_keep_the_time(tmp_path):
    """The first and the last rows and one in the middle are not there; the rate is 60."""
    got = feature_tables.read(openface(tmp_path / "a.csv", 61, 60.0, left_out=(0, 1, 30, 31)), AUS)
    assert got.num_source == 61 and len(got.source) == 31
    np.testing.assert_array_equal(got.source, np.arange(0, 61, 2))
    assert np.flatnonzero(got.valid == 0).tolist() == [0, 15]


def test_py_feat(tmp_path):
    """Frames from 0, no times, NaN (an empty cell) where no face was found, and a score instead of success."""
    path = tmp_path / "fex.csv"
    lines = [",input,frame,FaceScore,AU01,AU12,Pitch,happiness"]
    lines += [f"{t},x.mp4,{t},{0.3 if t == 5 else 0.99},{t / 100},0.5,0.1,0.9" for t in range(12) if t != 7]
    lines += ["7,x.mp4,7,,,,,"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="says of no frame when it was shown; give --rate"):
        feature_tables.read(path, Wanted(("AU*",), 30.0))
    got = feature_tables.read(path, Wanted(("AU*", "pitch"), 30.0, 30.0))
    assert got.names == ("AU01", "AU12", "Pitch") and got.num_source == 12
    assert np.flatnonzero(got.valid == 0).tolist() == [5, 7]
    assert len(feature_tables.read(path, Wanted(("AU*",), 30.0, 60.0)).source) == 6


def test_openface_of_a_folder_has_no_times(tmp_path):
    path = openface(tmp_path / "a.csv", 20, 1000.0)  # it gives a millisecond to every picture
    with pytest.raises(UserError, match="give --rate"):
        feature_tables.read(path, AUS)
    assert len(feature_tables.read(path, AUS._replace(rate=30.0)).source) == 20


def test_a_workbook_is_a_table_too(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["frame", "timestamp", "AU12_r"])
    for t in range(10):
        book.active.append([t + 1, t / 30, t / 10])
    book.save(tmp_path / "a.xlsx")
    got = feature_tables.read(tmp_path / "a.xlsx", AUS)
    np.testing.assert_array_equal(got.inputs[:, 0], (np.arange(10) / 10).astype(np.float16))


def test_refused(tmp_path):
    path = openface(tmp_path / "a.csv", 5)
    with pytest.raises(UserError, match=r"no column fits AU\*_x; its columns are 'frame, "):
        feature_tables.read(path, Wanted(("AU*_x",), 30.0))
    text = path.read_text()
    for old, new, message in [
        ("0.02, 1.00", "two, 1.00", "line 4: AU01_r must be a number; got 'two'"),
        ("0.02, 1.00", "70000, 1.00", "AU01_r is beyond float16"),
        (
            "\n4, 0",
            "\n3, 1",
            "line 5: frame 3 is in line 4 already; this row is about face_id '1': keep the rows of one",
        ),
        ("\n5, 0", "\n50000, 0", "frame 50000 in a table of 5 rows"),
        ("\n5, 0", "\n-5, 0", "frame must be a whole number from 0 on; got '-5'"),
        (", 1, 12.5", ", 0, 12.5", "a face was followed in none of its 5 frames"),
    ]:
        path.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=message.replace("(", r"\(")):
            feature_tables.read(path, AUS)


def test_upper_and_lower_case_where_both_are_there(tmp_path):
    """OpenFace has x_0, in pixels, and X_0, in millimetres."""
    (tmp_path / "a.csv").write_text("frame, timestamp, x_0, X_0\n1, 0.0, 3, 5\n2, 0.033, 4, 6\n")
    assert feature_tables.read(tmp_path / "a.csv", Wanted(("x_*",), 30.0)).inputs.tolist() == [[3], [4]]
    assert feature_tables.read(tmp_path / "a.csv", Wanted(("X_0",), 30.0)).inputs.tolist() == [[5], [6]]


def words(tmp_path, *more):
    (tmp_path / "s.csv").write_text("subject,video,onset,offset,emotion\ns1,a,21,40,joy\ns2,b,,,\n")
    base = ["prepare", "features", "--features", tmp_path / "f", "--annotations", tmp_path / "s.csv", "--out"]
    return [str(word) for word in (*base, tmp_path / "data", *more)]


def test_prepared(tmp_path, capsys):
    """60 frames per second become 30; what the sheet says in frames of the table is moved."""
    openface(tmp_path / "f" / "a.csv", 120, 60.0, lost=(50, 51))
    openface(tmp_path / "f" / "b.csv", 60, 30.0)
    assert main(words(tmp_path, "--columns", "AU*_r,pose_R*")) == 0
    data = shards.load(tmp_path / "data")
    assert data.store.inputs.shape == (120, 3) and data.metadata["frames_per_row"] == 1
    np.testing.assert_array_equal(data.events[0].interval, [[10, 20]])
    assert np.flatnonzero(~np.asarray(data.store.valid, bool)).tolist() == [25]
    assert "(pose_Rx, AU01_r, AU12_r)" in data.metadata["backbone"]
    assert main(words(tmp_path, "--columns", "AU*_r")) == 2  # other options in the same directory
    assert "columns ['AU*_r', 'pose_R*'] there, ['AU*_r'] now" in capsys.readouterr().err
    assert main(words(tmp_path)) == 2
    assert "give --frames-per-row for arrays, or --columns for tables" in capsys.readouterr().err


def test_tables_of_different_columns_are_refused(tmp_path, capsys):
    openface(tmp_path / "f" / "a.csv", 60)
    openface(tmp_path / "f" / "b.csv", 60, header=OPENFACE.replace("AU01_r", "AU02_r"))
    assert main(words(tmp_path, "--columns", "AU*_r")) == 2
    assert "tables of different columns: AU01_r in a.csv, AU02_r in b.csv" in capsys.readouterr().err


@media.needs_real
def test_real_fixtures(tmp_path, capsys):
    got = feature_tables.read(
        media.REAL / "openface" / "OpenFace_Test.csv", Wanted(("AU*_r", "x_*", "y_*"), 30.0, 30.0)
    )
    assert got.inputs.shape[1] == 17 + 2 * 68 and len(got.source) == got.num_source and got.valid.mean() > 0.5
    sheet = str(media.REAL / "annotations" / "CAS(ME)^2code_final.xlsx")
    base = ["prepare", "features", "--features", str(media.REAL / "i3d"), "--annotations", sheet]
    base += ["--frames-per-row", "2", "--out", str(tmp_path / "data")]
    assert main(base) == 2
    assert "it is the sheet of CAS(ME)^2: add --dataset casme2" in capsys.readouterr().err
    assert main([*base, "--dataset", "casme2", "--partial"]) == 0
    data = shards.load(tmp_path / "data")
    assert [(meta.subject, meta.num_frames) for meta in data.metas] == [("s30", 2050), ("s30", 1068)]
    assert sum(len(events.apex) for events in data.events) > 0


def test_the_released_sheet_goes_with_features(tmp_path, capsys):
    """A sheet as CAS(ME)^2 has it, and arrays whose names begin like its videos."""
    rows = [
        "16,anger1_1,71,80,86,4,negative,macro-expression,anger",
        "16,anger1_2,20,22,25,4,others,micro-expression,fear",
    ]
    (tmp_path / "sheet.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "f").mkdir()
    np.savez(tmp_path / "f" / "33_0401x-rgb.npz", feature=np.zeros((1, 60, 4), np.float32))
    base = ["prepare", "features", "--features", tmp_path / "f", "--annotations", tmp_path / "sheet.csv"]
    base = [str(word) for word in [*base, "--frames-per-row", "2", "--out", tmp_path / "data"]]
    assert main([*base, "--dataset", "casme2"]) == 0
    data = shards.load(tmp_path / "data")
    np.testing.assert_array_equal(data.events[0].interval, [[19, 25], [70, 86]])
    assert data.metadata["classes"] == ["positive", "surprise", "negative", "others"]
