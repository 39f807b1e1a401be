"""A table of the paper: rows, numbers, pages; and a run of it on clip features."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import fakes
import pytest
from toys import SHALLOW, TINY

from fedn_jax import models
from fedn_jax.cascade import recognisers
from fedn_jax.cli import config_files
from fedn_jax.cli.main import main
from fedn_jax.core import config as configs
from fedn_jax.engine import parallel
from fedn_jax.experiments import flops, orderings, paper_tables, published
from fedn_jax.models import resnet
from fedn_jax.ops import windows
from fedn_jax.reports import reproduce_page, tables

ROOT = Path(__file__).resolve().parents[2]
TABLES = str(ROOT / "configs" / "demo_tables.py")


def rows(table, frames_per_row=1):
    load = lambda row: config_files.load(f"{TABLES}:{row}", [])
    return paper_tables.rows(table, list(configs.PAPER_ROWS), load, frames_per_row)


def test_rows_are_the_papers_with_its_names():
    assert [row.method for row in rows(2)] == ["FEDN (w/o rec)", "FEDN"]
    assert [row.method for row in rows(3)] == ["I3D", "w/o seg. att.", "w/o sw att.", "w/o both", "FEDN"]
    assert [row.method for row in rows(4)] == ["w/ conf.", "coupled head", "IoU", "GIoU", "FEDN"]


def test_two_spotters_are_trained_once_and_the_recognisers_stand_behind_them(monkeypatch, caplog, tmp_path):
    names = [*configs.PAPER_ROWS, *configs.CASCADE_ROWS]
    several = paper_tables.rows(2, names, lambda row: config_files.load(f"{TABLES}:{row}", []), 1)
    methods = ["FEDN (w/o rec)", "FEDN (w/o rec) + CEFLNet", "FEDN (w/o rec) + STR", "FEDN + CEFLNet", "FEDN + STR"]
    assert [row.method for row in several] == [*methods, "frozen features", "FEDN"]
    trained, behind, scored, kept = [], [], [], []

    def evaluated(run, config, *rest):
        scored.append(run.relative_to(tmp_path / "runs"))
        return SimpleNamespace(metrics=fakes.make_metrics() | {"threshold_origins": {"a": "best"}})

    def recognised(spotter, name, config, dataset, progress, out, flow):
        if name == "str":  # whose streams are trained behind the first spotter only
            mine = out / "recogniser" / "streams" / "parameters"
            assert mine.is_dir() == ("spotting_only" not in out.parent.name)
            mine.mkdir(parents=True, exist_ok=True)
        assert config.task == name and config.train.epochs == recognisers.RECOGNISERS[name].training["train.epochs"]
        behind.append((*(str(path.relative_to(tmp_path / "runs")) for path in (out, spotter)), name))
        return evaluated(out, config)

    fits = lambda runs, dataset, progress: trained.extend(str(run.directory.relative_to(tmp_path)) for run in runs)
    monkeypatch.setattr(paper_tables.fit, "fit", fits)
    caplog.set_level("INFO")
    monkeypatch.setattr(paper_tables.run_evaluation, "evaluate_run", evaluated)
    monkeypatch.setattr(paper_tables.recognise, "recognise", recognised)
    monkeypatch.setattr(
        paper_tables.run_evaluation, "write", lambda _, out: kept.append(out.relative_to(tmp_path / "runs"))
    )
    price = {"parameters": 1, "flops": 1.0, "network": {"flops": 1.0}, "backbone": {"flops": 0.0}, "frames": 134}
    monkeypatch.setattr(paper_tables, "price", lambda *_: price)
    found = paper_tables.run(tmp_path, 2, several, 2, None, None, None)
    kinds = ("table2/spotting_only", "fedn")
    assert caplog.messages == [f"{kind}:" for kind in kinds]  # which row is trained
    assert trained == [f"runs/{kind}/seed{seed}" for kind in kinds for seed in (0, 1)]
    assert kept == scored  # each in its own directory
    assert behind == [
        (f"{own}/seed{seed}", f"{spotter}/seed{seed}", name)
        for own, spotter, name in (
            ("table2/spotting_only_ceflnet", "table2/spotting_only", "ceflnet"),
            ("table2/spotting_only_str", "table2/spotting_only", "str"),
            ("table2/ceflnet", "fedn", "ceflnet"), ("table2/str", "fedn", "str"),
            ("table2/frozen_features", "fedn", "frozen-features"),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    assert len(scored) == 14
    assert [row["cost"] is None for row in found["rows"]] == [False, True, True, True, True, True, False]
    text = "\n".join(map(tables.to_text, reproduce_page.result_tables(found)))
    assert "FEDN + CEFLNet" in text and max(map(len, text.splitlines())) <= 80
    alone = [row for row in several if row.name != "table2/spotting_only"]
    with pytest.raises(ValueError, match="no row that is table2/spotting_only_ceflnet without its recogniser"):
        paper_tables.run(tmp_path, 2, alone, 1, None, None, None)


@pytest.mark.parametrize("name", ["casme2", "casme3", "demo_tables"])
def test_every_row_of_the_paper_is_one_name_of_a_configuration(name):
    """But for other methods, which this software does not have; a name sets what the paper's row sets, and no more."""
    path = ROOT / "configs" / f"{name}.py"
    names = ["", *config_files.module(str(path)).ROWS]
    plain = configs.flatten(config_files.load(str(path), []))
    changes = {row: {key: value for key, value in configs.flatten(config_files.load(f"{path}:{row}", [])).items()
                     if value != plain[key]} for row in names}  # fmt: skip
    others = set()
    for row in published.rows():
        if row.options is None:
            others.add(row.method)
            continue
        wanted = {key: value for key, value in row.options.items() if key != "features"}
        if row.options.get("features") == "given":
            assert wanted == {"model.segment_fusion": "none"}
        found = [one for one in names if changes[one] == wanted and (not one or one.startswith(f"table{row.table}/"))]
        assert len(found) == 1, row.method
        assert paper_tables.method(row.table, found[0]) == row.method
    assert others == {"LSSNet", "MTSN", "Tan et al.", "AUW-GCN", "SpotFormer", "STR"}


def test_what_does_not_fit_the_data_is_named():
    names = [*configs.PAPER_ROWS, *configs.CASCADE_ROWS]
    load = lambda row: config_files.load(f"{TABLES}:{row}", [])
    found = {row.name: row.obstacle for row in paper_tables.rows(2, names, load, 1, frames=False)}
    assert [name for name, obstacle in found.items() if obstacle] == ["table2/spotting_only_str", "table2/str"]
    assert found["table2/str"] == "needs aligned frames (`fedn prepare --frames`)"
    assert [row.obstacle for row in rows(3)] == ["needs clip features", "", "", "", ""]
    assert [row.obstacle for row in rows(3, 2)] == ["", *["needs frame embeddings"] * 4]
    with pytest.raises(ValueError, match="no row of table 3"):
        paper_tables.rows(3, ["shuffled"], lambda row: None, 1)


def test_spread():
    assert paper_tables.spread([1.0, None]) == {"values": [1.0, None], "mean": None, "std": None}
    assert paper_tables.spread([2.0, 2.0]) == {"values": [2.0, 2.0], "mean": 2.0, "std": 0.0}


def test_operations_of_the_papers_size():
    """ResNet18 at 224 px costs 3.64 G with the products with padding; the network is half a percent of a window."""
    frame = flops.backbone(resnet.FULL, 224)
    assert frame.flops == pytest.approx(3.37e9, rel=0.01) and frame.parameters == 11_171_712
    assert 128 * 3.64 == pytest.approx(466.4, rel=0.002)
    geometry = windows.Geometry(64, 8, 2)
    network = flops.network(models.make_task(configs.default(), geometry, 4, (512,)), geometry, (512,))
    assert network.parameters == pytest.approx(23.4e6, rel=0.01) and network.flops < 0.005 * 128 * frame.flops


def result(table=3, seeds=2):
    """A result by hand: FEDN is better by 0.1 than every other row."""
    found = []
    for row in rows(table):
        values = {name: [0.4 + 0.1 * (row.name == "") + s / 100 for s in range(seeds)] for name in published.NUMBERS}
        numbers = {} if row.obstacle else {name: paper_tables.spread(values[name]) for name in published.NUMBERS}
        price = {
            "parameters": 10**6,
            "flops": 8e9,
            "network": {"flops": 1e9},
            "backbone": {"flops": 7e9},
            "frames": 134,
        }
        found.append({"row": row.name, "method": row.method, "obstacle": row.obstacle, "numbers": numbers,
                      "cost": None if row.obstacle else price, "changes": {}})  # fmt: skip
    values = {one["row"]: {name: number["values"] for name, number in one["numbers"].items()}
              for one in found if one["numbers"]}  # fmt: skip
    judged = orderings.judge_all(table, values)
    judged = [one | {"verdicts": {k: v._asdict() for k, v in one["verdicts"].items()}} for one in judged]
    return {"table": table, "seeds": list(range(seeds)), "rows": found, "orderings": judged, "rule": orderings.RULE,
            "chance": orderings.chance(seeds), "obstacle": "the data (<folder>) are none of the paper's",
            "setting": ["folder", "annotated"], "definition": {"threshold": "score threshold of each fold: <a guess>"},
            "config": {"folds": {"scheme": "kfold"}}, "versions": {}, "data": {}}  # fmt: skip


@pytest.mark.parametrize("table", [2, 3, 4])
def test_pages_and_tables(table, tmp_path):
    found = result(table)
    text = reproduce_page.write(tmp_path, found).read_text()
    assert "folds by video. Score threshold of each fold: &lt;a guess&gt;." in text and "leave-one" not in text
    assert "Not comparable with the paper" in text and "three benchmarks" in text and "<folder>" not in text
    for one in reproduce_page.result_tables(found):
        assert max(map(len, tables.to_text(one).splitlines())) <= 80
    assert {path.suffix for path in tmp_path.glob(f"table{table}.*")} == {".html", ".csv", ".tex", ".txt"}
    assert ("needs clip features" in text) == (table == 3)
    words = [one["verdicts"]["f1_s"]["word"] for one in found["orderings"] if one["verdicts"]]
    assert words.count("seen") == {2: 1, 3: 3, 4: 4}[table]
    assert words.count("undecided") == (table == 4)  # GIoU and IoU are alike


def test_files_for_programs_say_whose_numbers_they_are_and_how_they_spread(tmp_path):
    reproduce_page.write(tmp_path, result(4))
    with (tmp_path / "table4.csv").open() as file:
        lines = list(csv.DictReader(file))
    sources = [one["Source"] for one in lines]
    assert {source for source in sources if source != "fedn_jax"} == {sources[0]} and "Table 4" in sources[0]
    ours = [one for one in lines if one["Source"] == "fedn_jax"]
    known = {row["method"]: row["numbers"]["f1_s"] for row in result(4)["rows"]}
    for one in ours:
        assert float(one["F1 S (%)"]) == pytest.approx(100 * known[one["Method"]]["mean"])
        assert float(one["F1 S SD (%)"]) == pytest.approx(100 * known[one["Method"]]["std"])
    with (tmp_path / "table4-orderings.csv").open() as file:
        assert all(one["Difference, standard error (points)"] for one in csv.DictReader(file))


def test_one_seed_has_no_error():
    shown, judged = reproduce_page.result_tables(result(4, seeds=1))
    rows = [row for one in (shown, judged) for row in one.groups[-1][1]]
    assert rows and not any("±" in cell.text for row in rows for cell in row)
    assert "without an error" in judged.notes[0]
    assert any("±" in cell.text for row in reproduce_page.result_tables(result(4))[1].groups[0][1] for cell in row)


def test_reproduce_on_clip_features(shards, tmp_path, capsys, monkeypatch):
    changes = TINY | SHALLOW | {"train.epochs": 1, "folds.scheme": "kfold", "folds.k": 2}
    del changes["model.segment_fusion"], changes["model.window_attention"]
    words = ["reproduce", "table3", "--config", TABLES, "--data", shards, "--out", tmp_path, "--seeds", "2"]
    words = [str(word) for word in words] + [f"--config.{key}={value}" for key, value in changes.items()]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 80
    assert "w/o both was not run: it needs frame embeddings." in printed and "I3D" in printed
    found = json.loads((tmp_path / "table3.json").read_text())
    assert len(found["rows"][0]["numbers"]["f1_s"]["values"]) == 2
    assert (tmp_path / "runs" / "table3" / "i3d" / "seed1" / "run.json").exists()
    before = (tmp_path / "table3.json").read_bytes()
    monkeypatch.setattr(parallel, "run", None)  # nothing is trained again
    assert main(words) == 0
    assert (tmp_path / "table3.json").read_bytes() == before


@pytest.mark.parametrize(
    "words, expected",
    [
        (["table5"], "table must be one of table2, table3, table4"),
        (["table3", "--config", str(ROOT / "configs" / "samm.py")], "no row of table 3"),
        (["table3", "--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_mistakes(words, expected, shards, tmp_path, capsys):
    assert main(["reproduce", *words, "--data", str(shards), "--out", str(tmp_path)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fedn: ")]
    assert len(lines) == 1 and expected in lines[0]
