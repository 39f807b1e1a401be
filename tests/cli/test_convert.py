"""``fedn convert`` between what people work with: frames of tables, seconds of ELAN and subtitles, videos between."""

import json

import media
import pytest

from fedn_jax.cli.main import main
from fedn_jax.formats import elan

FRAMES = 24
TIMES = [20 * n if n < 12 else 240 + 40 * (n - 12) for n in range(FRAMES)]  # in 1/600 s: 30, then 15 frames per second
CSV = "subject,video,onset,offset,emotion\nanna,anna,4,9,joy\nanna,anna,13,20,sad\n"


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    media.write_video(tmp_path / "videos" / "anna.mp4", media.numbered(FRAMES), times=TIMES)
    (tmp_path / "labels.csv").write_text(CSV)
    return tmp_path


def test_there_and_back_by_the_videos_own_time_stamps(folder, capsys):
    video = folder / "videos" / "anna.mp4"
    assert run("convert", folder / "labels.csv", folder / "anna.eaf", "--videos", video) == 0
    table = elan.read(folder / "anna.eaf", "predictions")
    assert [row.span for row in table.rows] == [(0.1, 0.3), (0.4, 0.933)]  # the rate halves at 0.4 s
    for name in ("anna.srt", "anna.vtt", "sub-x_events.tsv"):
        assert run("convert", folder / "anna.eaf", folder / name) == 0  # seconds to seconds: no video needed
    assert json.loads((folder / "sub-x_events.json").read_text())["onset"]["Units"] == "s"
    assert run("convert", folder / "anna.eaf", folder / "back.csv", "--videos", folder / "videos") == 0
    assert (folder / "back.csv").read_text() == CSV
    assert run("convert", folder / "anna.srt", folder / "srt.xlsx", "--videos", video, "--subject", "anna") == 0
    assert run("convert", folder / "srt.xlsx", folder / "srt.csv") == 0 and (folder / "srt.csv").read_text() == CSV
    assert run("convert", folder / "anna.eaf", folder / "seconds.csv") == 0  # no clock: the seconds are kept
    assert "anna,anna,,,joy,0.100000,0.300000" in (folder / "seconds.csv").read_text()
    assert run("convert", folder / "seconds.csv", folder / "out", "--to", "elan", "--videos", folder / "videos") == 0
    assert "../videos/anna.mp4" in (folder / "out" / "anna.eaf").read_text()
    capsys.readouterr()
    assert run("convert", folder / "anna.eaf", folder / "strs.csv", "--to", "strs") == 2
    assert "2 rows with times in seconds; expected frames: give --videos" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["elan", "srt", "bids"])
def test_videos_of_one_name_in_a_folder_per_person(folder, name, capsys):
    for person in ("anna", "J\u00fcrgen"):
        media.write_video(folder / "people" / person / "film 1.mp4", media.numbered(FRAMES))
    table = "subject,video,onset,offset,emotion\nanna,film 1,4,9,joy\nJ\u00fcrgen,film 1,13,20,sad\n"
    (folder / "labels.csv").write_text(table)
    videos = ["--videos", folder / "people", "--subject-folders"]
    assert run("convert", folder / "labels.csv", folder / "out", "--to", name, *videos) == 0
    made = [
        path for path in sorted((folder / "out").iterdir(), reverse=True) if path.suffix in (".eaf", ".srt", ".tsv")
    ]
    assert run("convert", *made, folder / "back.csv", *videos) == 0
    assert (folder / "back.csv").read_text() == table
    assert run("convert", *made, folder / "x.csv", "--subject-folders") == 2
    assert "--subject-folders needs --videos" in capsys.readouterr().err


def test_nothing_is_replaced_in_silence(folder, capsys):
    words = ["convert", folder / "labels.csv", folder / "out.csv"]
    assert run(*words) == 0 and run(*words) == 0  # its own result, unchanged
    (folder / "out.csv").write_text(CSV + "anna,anna,21,22,joy\n")
    assert run(*words) == 2 and "was changed since it was written" in capsys.readouterr().err
    assert run("convert", folder / "out.csv", folder / "labels.csv") == 2
    assert "labels.csv: is there, and is not known to be a result" in capsys.readouterr().err
    assert (folder / "labels.csv").read_text() == CSV
    assert run(*words, "--force") == 0 and (folder / "out.csv").read_text() == CSV
    (folder / "numbers.json").write_text("mine")
    numbers = ["evaluate", "--predictions", words[1], "--ground-truth", words[1], "--json", folder / "numbers.json"]
    assert run(*numbers) == 2 and (folder / "numbers.json").read_text() == "mine"
    assert run(*numbers, "--force") == 0 and json.loads((folder / "numbers.json").read_text())["spotting"]["tp"] == 2


def test_evaluate_takes_a_coders_document(folder, capsys):
    elan.write(
        folder / "anna.eaf", folder / "anna.mp4", [elan.Annotation(0.1, 0.3, "joy")], ["joy", "sad"], "anna", False
    )
    words = ["evaluate", "--predictions", folder / "labels.csv", "--ground-truth", folder / "anna.eaf"]
    assert run(*words) == 2 and "give --fps" in capsys.readouterr().err
    assert run(*words, "--fps", 30, "--allow", "unknown-emotions") == 0


def test_mistakes(folder, capsys):
    for words, expected in (
        (["--videos", folder / "nowhere"], "nowhere: no such file or folder"),
        (["--videos", folder / "videos", "--fps", 30], "give one of them"),
        (["--from", "elan"], "not readable as XML"),
    ):
        assert run("convert", folder / "labels.csv", folder / "x.eaf", *words) == 2
        assert expected in capsys.readouterr().err
    (folder / "labels.csv").write_text(CSV.replace("anna,13", "ben,13"))
    assert run("convert", folder / "labels.csv", folder / "x", "--to", "elan", "--videos", folder / "videos") == 2
    assert "video 'ben': no such file" in capsys.readouterr().err
