"""``fedn summarise``: files, and what a terminal shows."""

import csv

from fedn_jax.cli.main import main

HEADER = "subject,video,what,onset,apex,offset,onset_seconds,offset_seconds,seconds,emotion,score\n"


def test_from_tables_to_tests(tmp_path, capsys):
    rows, plan = "", "video,condition\n"
    for person in range(6):
        for condition, many in (("film", 5 + person), ("rest", 2)):
            name = f"p{person}_{condition}"
            plan += f"{name},{condition}\n"
            rows += f"p{person},{name},video,1,,1800,0,60,60,,\n"
            rows += "".join(
                f"p{person},{name},expression,{61 + 30 * k},,{75 + 30 * k},{2 + k},{2.5 + k},0.5,joy,0.9\n"
                for k in range(many)
            )
    (tmp_path / "detections.csv").write_text(HEADER + rows)
    (tmp_path / "design.csv").write_text(plan)
    words = ["summarise", tmp_path / "detections.csv", "--design", tmp_path / "design.csv", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    text = capsys.readouterr().out.partition("written: ")[0]
    assert all(len(line) <= 80 for line in text.splitlines()) and "film - rest" in text
    with (tmp_path / "out" / "tests.csv").open() as file:
        found = {(row["measure"], row["emotion"]): row for row in csv.DictReader(file)}
    assert float(found["rate", "joy"]["difference"]) == 5.5 and float(found["rate", "joy"]["p"]) == 2 / 2**6
    with (tmp_path / "out" / "persons.csv").open() as file:
        assert [float(row["rate"]) for row in csv.DictReader(file)][:4] == [5, 5, 2, 2]
    assert all((tmp_path / "out" / f"conditions.{kind}").stat().st_size > 1000 for kind in ("svg", "png", "pdf"))
    (tmp_path / "out" / "tests.tex").write_text("mine")
    assert main([str(word) for word in words]) == 2 and "was changed" in capsys.readouterr().err
    (tmp_path / "design.csv").write_text("video,group\n")
    assert main([str(word) for word in [*words, "--force"]]) == 2
    assert "design.csv: no column condition; expected video,condition" in capsys.readouterr().err
