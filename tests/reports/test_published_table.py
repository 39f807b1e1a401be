"""Tables: what stands beside what, every format, and names that are no commands."""

import csv
import html
import io
import re
from html.parser import HTMLParser

import fakes
import pytest

from fedn_jax.core.errors import UserError
from fedn_jax.reports import published_table, run_tables, tables
from fedn_jax.reports.tables import Cell, Column, Table

EVIL = r'=cmd|"<b>&_50%$x^2#~\input{a}[1]' + "\x1b\n"
OURS = {"fedn": fakes.casme2(), "spot": fakes.casme2(changes={"data.recognition": False})}


def cells(table, method):
    """Rows of a method: texts of the columns that people see."""
    rows = [row for _, rows in table.groups for row in rows if row[0].text.split(" [")[0] == method]
    return [[cell.text for cell in row[1:8]] for row in rows]


def test_paper_rows_stand_beside_runs_on_the_same_data():
    table = published_table.results(OURS)
    assert [heading for heading, _ in table.groups] == [f"FEDN, Table 2, {published_table.PRINTED}", "Run here"]
    assert table.title == "Results beside Table 2 of the FEDN paper (CAS(ME)^2, annotated)"
    assert cells(table, "FEDN") == [["129", "~205", "51.1", "75.2", "10.6", "5.16", "fedn"]]
    assert cells(table, "FEDN (w/o rec)") == [["120", "~173", "50.7", "–", "7.7", "–", "spot"]]
    assert cells(table, "SpotFormer") == [["–", "–", "50.6", "–", "–", "–", "not run"]]
    assert cells(table, "FEDN + STR")[0][-1] == "not run"
    assert cells(table, "fedn") == [["129", "205", "51.1", "75.0", "10.0", "5.0", ""]]
    assert cells(table, "spot") == [["129", "205", "51.1", "–", "10.0", "–", ""]]
    notes = " ".join(table.notes)
    assert "2 TP / (N + GT)" in notes and "misprint of 125" in notes and "~: N is not printed" in notes
    assert (
        "does not say how its mAP" in notes and "arXiv 2504.07660, version 1" in notes and "three benchmarks" in notes
    )
    assert "fedn, spot: features of ResNet18." in table.notes


def test_only_the_runs_labels_are_shown():
    classes = ["happiness", "surprise", "disgust", "anger", "fear", "sadness", "helpless", "confused", "pain"]
    own = fakes.casme2("self-reported", classes=[*classes, "sympathy"])
    assert cells(published_table.results({"self": own}), "FEDN")[0][0] == "122"
    both = published_table.results(OURS | {"self": own})
    assert [heading for heading, _ in both.groups][2] == f"Run here, {published_table.APART}"
    assert cells(both, "FEDN")[0][0] == "129" and len(both.groups[2][1]) == 1
    assert any("those of the rows casme2 annotated" in note for note in both.notes)


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        (fakes.make_metrics(), "the data (own videos) are none of the paper's"),
        (fakes.make_metrics(dataset="samm"), "the data (samm) are none of the paper's"),
        (fakes.casme2(gt=299), "the number of annotated expressions is 299, in the paper 300"),
        (fakes.casme2(labels="mine"), "the labels are mine ("),
        (fakes.casme2(classes=["a", "b"]), "the labels are annotated (a, b), which the paper does not use"),
        (fakes.casme2(changes={"data.kind": "all"}), "the kind of expressions is all, in the paper macro"),
        (fakes.casme2(changes={"evaluate.iou": 0.3}), "the lowest IoU of a match is 0.3, in the paper 0.5"),
        (fakes.casme2(changes={"data.shuffle_labels": True}), "the run is a control"),
        (fakes.changed(fakes.casme2(), protocol="pairs"), "the rule of counting is pairs, in the paper megc"),
        (fakes.casme2(backbone="UNTRAINED slim"), "the features are those of an untrained network"),
    ],
)
def test_otherwise_they_are_left_out_with_a_sentence(metrics, reason):
    table = published_table.results({"mine": metrics})
    assert table.title == "Results" and len(table.groups) == 1
    (note,) = [note for note in table.notes if "not comparable" in note]
    assert note.startswith(f"mine: {published_table.APART}: ") and reason in note
    assert "not run" not in tables.to_text(table)
    assert [table.name for table in published_table.tables({"mine": metrics})] == ["table2", "subjects"]


def test_the_third_data_set_has_one_set_of_labels():
    classes = ["happiness", "surprise", "disgust", "anger", "fear", "sadness", "others"]
    large = fakes.make_metrics({"a": (869, 1620, 3346)}, classes, dataset="casme3", labels={"options": {}})
    table = published_table.results({"mine": large})
    assert cells(table, "FEDN") == [["869", "~1620", "35.0", "40.9", "5.43", "0.54", "mine"]]
    assert cells(table, "mine")[0][:3] == ["869", "1620", "35.0"]


def test_ablations_have_their_tables():
    runs = OURS | {"giou": fakes.casme2(changes={"loss.interval": "giou"})}
    names = [table.name for table in published_table.tables(runs)]
    assert names == ["table2", "table3", "table4", "subjects"]
    four = published_table.results(runs, 4)
    assert cells(four, "GIoU") == [["114", "177", "47.9", "77.1", "10.3", "5.11", "giou"]]
    assert len(cells(four, "giou")) == 1 and not cells(four, "spot")
    assert "headed FP" in " ".join(four.notes)
    assert [table.name for table in published_table.tables({"spot": OURS["spot"]})] == ["table2", "subjects"]
    with pytest.raises(UserError, match="table of the paper"):
        published_table.results(runs, 5)


def test_what_departs_from_the_paper_is_said():
    small = fakes.casme2(changes={"model.width": 96}, backbone="slim, drawn faces")
    notes = published_table.results({"small": small}).notes
    assert "small: features of slim, drawn faces; model.width 96 (paper: 512)." in notes


def test_the_baseline_is_a_row():
    both = {"flow": fakes.make_metrics(), "position": fakes.make_metrics()}
    runs = {name: metrics | {"baselines": dict(both)} for name, metrics in OURS.items()}
    runs["spot"]["baselines"]["flow"] = fakes.make_metrics() | {"more": "entries"}
    assert len(cells(published_table.results(runs), "Flow baseline")) == 1
    assert len(cells(published_table.results(runs), "Position prior")) == 1
    runs["spot"]["baselines"]["flow"] = fakes.make_metrics(ap=0.01)
    assert len(cells(published_table.results(runs), "Flow baseline of spot")) == 1


def test_subjects_of_one_run():
    table = run_tables.subjects({"a": fakes.make_metrics()})
    assert [column.title for column in table.columns] == [
        "Subject",
        "GT",
        "TP",
        "N",
        "Precision",
        "Recall",
        "F1",
        "Recognition",
    ]
    rows = [[cell.text for cell in row] for _, rows in table.groups for row in rows]
    assert rows[0] == ["s15", "5", "3", "4", "75.0", "60.0", "66.7", "75.0"]
    assert rows[2] == ["s19", "0", "0", "1", "0.0", "0.0", "0.0", "–"]  # nothing was spotted, so nothing was recognised
    assert rows[-1] == ["All subjects", "11", "8", "13", "61.5", "72.7", "66.7", "75.0"]


def test_subjects_of_several_runs():
    other = fakes.make_metrics({"s15": (1, 1, 5), "new": (1, 1, 1)})
    table = run_tables.subjects({"a": fakes.make_metrics(), "b": other})
    rows = list(csv.reader(io.StringIO(tables.FORMATS["csv"](table))))
    titles = ("GT, {}", "TP, {}", "N, {}", "Precision, {} (%)", "Recall, {} (%)", "F1, {} (%)", "Recognition, {} (%)")
    assert rows[0] == ["Subject"] + [title.format(run) for run in "ab" for title in titles]
    assert rows[1][0] == "s15" and float(rows[1][6]) == pytest.approx(200 / 3) and float(rows[1][13]) == pytest.approx(
        100 / 3)  # fmt: skip
    assert rows[2][8:] == [""] * 7 and rows[5][:8] == ["new"] + [""] * 7
    text = tables.to_text(table).splitlines()
    assert text[2].split() == ["Subject", "a", "b"] and text[5].split() == ["s16", "40.0", "–"]


def test_every_format_holds_every_row_and_the_definitions(tmp_path):
    table = published_table.results(OURS)
    tables.save(table, tmp_path / "new", tuple(tables.FORMATS))
    paths = [tmp_path / "new" / f"table2.{kind}" for kind in ("csv", "tex", "txt", "html")]
    assert set((tmp_path / "new").iterdir()) == set(paths)
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text == tables.FORMATS[path.suffix[1:]](table)
        assert all(name in text for name in ("LSSNet", "CEFLNet", "51.1", "not run"))
    assert all("2 TP / (N + GT)" in path.read_text() for path in paths[1:3])
    with pytest.raises(UserError, match="format of a table must be one of csv, tex, txt, html; got 'xlsx'"):
        tables.save(table, tmp_path, ("xlsx",))


def test_csv_is_unrounded_and_says_where_n_comes_from():
    table = published_table.results(OURS | {EVIL: fakes.make_metrics()})
    head, *rows = csv.reader(io.StringIO(tables.FORMATS["csv"](table)))
    assert head == ["Method", "TP", "N", "F1 S (%)", "F1 R (%)", "mAP S (%)", "mAP D (%)", "Here", "GT", "N is",
                    "Source", "mAP S as printed (10^-3)", "mAP D as printed (10^-3)"]  # fmt: skip
    assert all(len(row) == len(head) for row in rows)
    named = {row[0]: row for row in rows}
    assert float(named["fedn"][3]) == pytest.approx(100 * 258 / 505, abs=1e-12) and named["fedn"][9] == "counted"
    assert named["FEDN"][1:4] == ["129", "205", "51.1"] and named["FEDN"][9] == "implied"
    assert named["FEDN"][5:7] == ["10.6", "5.16"] and named["FEDN"][11:] == ["106", "51.6"]
    assert named["LSSNet"][1] == "" and "Table 2" in named["LSSNet"][10]
    assert rows[-1][0].startswith("'=cmd") and "\n" not in rows[-1][0]


def columns_of_latex(line):
    return len(re.findall(r"(?<!\\)&", line)) + 1


def test_latex_has_its_columns_and_escapes():
    table = published_table.results(OURS | {EVIL: fakes.make_metrics()})
    lines = tables.FORMATS["tex"](table).splitlines()
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", "\n".join(lines))
    assert columns == "lrrrrrrl"
    inside = lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")]
    body = [line for line in inside if line != r"\midrule" and "multicolumn" not in line]
    assert len(body) == 1 + 12 + 2 + 1 and all(columns_of_latex(line) == 8 for line in body)
    assert all(line.endswith(r" \\") for line in inside if line != r"\midrule")
    assert r"\textbackslash{}input\{a\}{[}1{]}" in body[-1] and r"\_50\%\$x$^{2}$\#$\sim$" in body[-1]
    assert r"mAP S (\%)" in body[0] and "CAS(ME)$^{2}$" in "\n".join(lines)
    text = "\n".join(line for line in lines if not line.startswith("%"))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    plain = re.sub(r"\\[%&#_{}$]", "", text)
    assert not set(re.sub(r"\$(\\sim|\^\{-?\d+\})\$", "", plain)) & set('%#_^~$<>|"')
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert all(letter == "\n" or letter.isprintable() for letter in text)


@pytest.mark.parametrize("runs", [1, 2, 12])
def test_text_fits_a_terminal(runs):
    wide = {"表情" * 30 + str(i): fakes.casme2() for i in range(runs)} | {EVIL: fakes.make_metrics()}
    for table in published_table.tables(wide):
        lines = tables.to_text(table).splitlines()
        sizes = [sum(2 if "一" <= letter <= "鿿" else 1 for letter in line) for line in lines]
        assert max(sizes) <= 80
        assert "\x1b" not in "\n".join(lines)
    several = tables.to_text(run_tables.subjects(wide))
    assert several.count("s15") == -(-(runs + 1) // 4)  # columns that do not fit come below


class Counter(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.tags = [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attributes).get("colspan", 1))


def test_html_is_escaped():
    text = tables.FORMATS["html"](published_table.results(OURS | {EVIL: fakes.make_metrics()}))
    assert "<b>" not in text and html.escape("<b>&") in text
    parser = Counter()
    parser.feed(text)
    assert set(parser.rows) == {8} and parser.tags == {"div", "table", "thead", "tbody", "tr", "th", "td", "sup"}


def test_a_small_table():
    table = Table("t", "A title", [Column("name", number=False), Column("F1", "%")],
                  [("", [[Cell("a & b", "a & b"), Cell("1.0", 1.01)]])], ["A note."])  # fmt: skip
    assert tables.FORMATS["csv"](table) == "name,F1 (%)\na & b,1.01\n"
    assert tables.to_text(table).splitlines()[2:5] == [
        "name    F1", "----------", "a & b  1.0"]  # fmt: skip
    assert r"a \& b & 1.0 \\" in tables.FORMATS["tex"](table)


def test_no_runs():
    for make in (published_table.results, run_tables.subjects):
        with pytest.raises(UserError, match="at least one run"):
            make({})
