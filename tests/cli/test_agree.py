"""``fedn agree``: files of coders in any format, tables that fit a terminal."""

import csv
import json

import media

from fedn_jax.cli.main import main
from fedn_jax.formats import elan


def run(*words):
    return main([str(word) for word in words])


def test_a_folder_of_documents_and_a_table(tmp_path, capsys):
    for name in ("a", "b"):
        media.write_video(tmp_path / "videos" / f"{name}.mp4", media.numbered(60))
        made = [elan.Annotation(0.1, 0.5, "joy"), elan.Annotation(1.0, 1.5, "sad")]
        elan.write(
            tmp_path / "coder" / f"{name}.eaf", tmp_path / f"{name}.mp4", made, ["joy", "sad"], f"s{name}", False
        )
    rows = ",a,4,15,joy,0.9\n,a,31,45,sad,0.8\n,b,5,15,joy,0.7\n,b,31,60,joy,0.6\n"
    (tmp_path / "found.csv").write_text(f"subject,video,onset,offset,emotion,score\n{rows}")
    words = ["agree", tmp_path / "coder", tmp_path / "found.csv", "--videos", tmp_path / "videos"]
    words += ["--out", tmp_path / "out"]
    assert run(*words) == 0
    text = capsys.readouterr().out.partition("written: ")[0]
    assert all(len(line) <= 80 for line in text.splitlines()) and "A: coder, B: found" in text
    heads = [line.split() for line in text.splitlines() if "  low  " in line]
    assert heads[0] == "emotion A B pairs F1 low high kappa low high".split()
    assert heads[1] == "difference pairs mean low high lower low high upper low high".split() and len(heads) == 3
    result = json.loads((tmp_path / "out" / "agreement.json").read_text())
    whole = result["pairs"][0]
    assert (whole["pairs"], whole["events_a"], whole["events_b"]) == (4, 4, 4) and whole["f1"]["value"] == 1
    assert whole["kappa"]["value"] < 1 and result["persons"] == 2 and result["unit"] == "s"
    with (tmp_path / "out" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (
        rows[0]["coder A"] == "coder" and round(float(rows[0]["mean"]), 2) == -8.33
    )  # ms; one of four is a frame late
    assert (tmp_path / "out" / "persons.tex").read_text().startswith("% Needs")
    assert run(*words) == 0
    (tmp_path / "out" / "persons.csv").write_text("mine")
    assert run(*words) == 2 and "was changed since it was written" in capsys.readouterr().err
    assert run(*words, "--force") == 0


def test_mistakes(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "detections.csv").touch()
    (tmp_path / "a.csv").write_text("subject,video,onset,offset,emotion\ns,v,0:01,0:02,joy\n")
    for words, expected in (
        ([tmp_path / "a.csv"], "two coders at least"),
        ([tmp_path / "a.csv", tmp_path / "empty"], "holds no annotations"),
        ([tmp_path / "a.csv", tmp_path / "found"], f"give {tmp_path / 'found' / 'detections.csv'}, or a folder"),
        ([tmp_path / "a.csv", tmp_path / "empty" / ".." / "a.csv"], "a.csv is given twice"),
        ([tmp_path / "a.csv", tmp_path / "b.csv"], "b.csv: no such file; expected a file with annotations"),
        ([tmp_path / "a.csv", tmp_path / "a.csv", "--fps", 3, "--videos", tmp_path], "give one of them"),
    ):
        assert run("agree", *words, *(["--fps", 30] if "--fps" not in words else [])) == 2
        assert expected in capsys.readouterr().err
