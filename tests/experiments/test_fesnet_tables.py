"""FESNet's tables: what is printed, which rows are one program, and what the page shows."""

import csv
import json
from types import SimpleNamespace

import pytest
from toys import quiet

from fedn_jax.cli import config_files
from fedn_jax.core import config as configs
from fedn_jax.core.errors import UserError
from fedn_jax.experiments import fesnet_tables, paper_tables
from fedn_jax.reports import fesnet_page, tables

NAMES = list(config_files.rows("demo_fesnet"))


def load(row):
    return config_files.load(f"demo_fesnet:{row}" if row else "demo_fesnet", [])


def test_what_is_printed():
    rows = fesnet_tables.content()["rows"]
    assert [row["table"] for row in rows] == [3] * 3 + [4] * 7
    assert all(set(row["printed"]) == {"f1_mae", "f1_me", "f1", "edit", "acc"} for row in rows)
    best = max((row for row in rows if row["table"] == 4), key=lambda row: float(row["printed"]["acc"]))
    assert best["method"] == "gamma 0.15" and best["printed"]["f1_me"] == "13.81"
    # What the remark says of Table 4, and of Edit and Acc: Edit is the lower one in every row.
    higher = {row["method"][-4:] for row in rows if row["table"] == 4 and float(row["printed"]["f1"]) > 39.89}
    assert higher == {"0.00", "0.20", "0.25", "0.30"}
    assert all(float(row["printed"]["edit"]) < float(row["printed"]["acc"]) for row in rows)


@pytest.mark.parametrize("name", ["demo_fesnet", "fesnet"])
def test_every_row_is_in_every_configuration(name):
    for table in fesnet_tables.TABLES:
        assert fesnet_tables.rows(table, list(config_files.rows(name)), load)
    with pytest.raises(UserError, match="no row table3/no_mtam; "):
        fesnet_tables.rows(3, [row for row in NAMES if row != "table3/no_mtam"], load)


def test_rows_that_differ_in_numbers_are_one_program():
    gammas = [row.config for row in fesnet_tables.rows(4, NAMES, load)]
    lsdm, mtam, fesnet = (row.config for row in fesnet_tables.rows(3, NAMES, load))
    assert len({configs.structure(config) for config in [*gammas, lsdm, fesnet]}) == 1
    assert configs.structure(mtam) != configs.structure(fesnet)
    assert [round(config.loss.gamma, 2) for config in gammas] == [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]


def test_ours_stand_beside_the_paper(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(paper_tables.fit, "fit", lambda runs, *_: trained.append(len(runs)))

    def evaluated(directory, config, *_):
        value = 0.1 + 0.1 * config.seed
        by_kind = {kind: {"f1": value} for kind in ("macro", "micro", "all")}
        labels = {"edit": 50.0, "accuracy": value, "all_neutral": 0.9}
        kinds = {"by_kind": by_kind, "labels": labels}
        data = {"dataset": "folder", "classes": []}
        return SimpleNamespace(
            metrics={"kinds": kinds, "config": json.loads(config.to_json()), "versions": {}, "data": data}
        )

    monkeypatch.setattr(fesnet_tables.run_evaluation, "evaluate_run", evaluated)
    monkeypatch.setattr(fesnet_tables.run_evaluation, "write", lambda *_: None)
    several = fesnet_tables.rows(3, NAMES, load)
    result = fesnet_tables.run(tmp_path, 3, several, 2, None, quiet)
    assert trained == [4, 2]  # two rows of one structure, then w/o MTAM; two seeds each
    assert result["rows"][2]["numbers"]["f1_mae"]["values"] == pytest.approx([10.0, 20.0])
    text = tables.to_text(fesnet_page.result_table(result))
    first, *lines = csv.DictReader(tables.FORMATS["csv"](fesnet_page.result_table(result)).splitlines())
    assert first["F1 MaE (%)"] and "FESNet" in first["Source"]  # as printed
    assert [one["Source"] for one in lines[-3:]] == ["fedn_jax"] * 3
    assert [float(lines[-1][name]) for name in ("F1 MaE (%)", "F1 MaE SD (%)")] == pytest.approx([15.0, 50**0.5])
    assert "15.0 ± 7.1" in text and "-46.37" in text and "Not comparable" in text and "FESNet" in text
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(UserError, match="--seeds must be at least 1"):
        fesnet_tables.run(tmp_path, 3, several, 0, None, quiet)
