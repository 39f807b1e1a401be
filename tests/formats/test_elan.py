"""ELAN documents that other programs wrote, and that a person edited: pympi-ling is the independent judge."""

import numpy as np
import pytest
from finds import CLASSES, found

from fedn_jax.core.errors import UserError
from fedn_jax.formats import detection_files, elan, exchange
from fedn_jax.formats.converters import Options

pympi = pytest.importorskip("pympi")
HEAD = '<ANNOTATION_DOCUMENT FORMAT="3.0" VERSION="3.0">'
TIER = '<TIER TIER_ID="joy" LINGUISTIC_TYPE_REF="t">{}</TIER><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="t"/>'
ONE = (
    '<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">'
    "<ANNOTATION_VALUE>x</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
)


@pytest.fixture
def coded(tmp_path):
    """A document as a coder makes it: an emotion below a movement, notes, a vocabulary."""
    made = pympi.Elan.Eaf(author="coder")
    made.add_linked_file("/videos/anna.mp4", relpath="./anna.mp4", mimetype="video/mp4")
    made.add_language("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    made.add_controlled_vocabulary("feelings")
    for number, word in enumerate(("happiness", "surprise", "anger")):
        made.add_cv_entry("feelings", f"cve{number}", [(word, "und", None)])
    made.add_linguistic_type("feeling", constraints="Symbolic_Association", timealignable=False)
    made.linguistic_types["feeling"]["CONTROLLED_VOCABULARY_REF"] = "feelings"
    made.remove_tier("default")
    made.add_tier("movement", part="anna")
    made.add_tier("emotion", ling="feeling", parent="movement", part="anna")
    made.add_tier("notes", part="anna")
    for begin, end, word in ((1000, 2345, "surprise"), (200, 900, "happiness")):
        made.add_annotation("movement", begin, end, "brow")
        made.add_ref_annotation("emotion", "movement", begin, word)
    made.add_annotation("notes", 0, 500, "looks away")
    made.to_file(str(tmp_path / "coded.eaf"))
    return tmp_path / "coded.eaf"


def refused(path, text=None, **options):
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        elan.read(path, "ground truth", **options)
    return str(caught.value)


def test_tiers_are_chosen_by_name_and_vocabularies_kept(coded):
    table = elan.read(coded, "ground truth", ["emotion"])
    assert [(row.video, *row.span, row.emotion) for row in table.rows] == [
        (("anna", "anna"), 0.2, 0.9, "happiness"), (("anna", "anna"), 1.0, 2.345, "surprise"),
    ]  # fmt: skip
    assert table.vocabulary == ("happiness", "surprise", "anger") and not table.notes and not table.has_score
    whole = elan.read(coded, "ground truth")
    assert [row.emotion for row in whole.rows] == ["looks away", "brow", "brow"]
    assert "'movement', 'notes'; --tiers chooses" in whole.notes[0]
    named = elan.read(coded, "ground truth", ["movement"], label="tier")
    assert [row.emotion for row in named.rows] == ["movement"] * 2
    assert "did you mean 'emotion'" in refused(coded, tiers=["emotions"])
    assert "must be one of value, tier" in refused(coded, label="text")


def test_what_we_write_pympi_reads_and_what_pympi_writes_we_read(coded, tmp_path):
    table = elan.read(coded, "ground truth", ["emotion"])
    exchange.write(tmp_path / "ours.eaf", "elan", table, Options())
    theirs = pympi.Elan.Eaf(str(tmp_path / "ours.eaf"))
    assert sorted(theirs.get_tier_names()) == ["anger", "happiness", "surprise"]  # all of the vocabulary, no scores
    assert theirs.get_annotation_data_for_tier("surprise") == [(1000, 2345, "surprise")]
    entries = theirs.get_cv_entries(elan.EMOTIONS)
    assert [values[0][0] for values, *_ in entries.values()] == ["happiness", "surprise", "anger"]
    theirs.to_file(str(tmp_path / "again.eaf"))
    again = elan.read(tmp_path / "again.eaf", "ground truth")
    assert [row[1:] for row in again.rows] == [row[1:] for row in table.rows]
    assert again.vocabulary == table.vocabulary


def test_a_corrected_detection(tmp_path):
    """A person moves one, removes one and adds one in another program; scores go, since not all have one."""
    detection_files.write_eaf(tmp_path / "anna.eaf", found(tmp_path / "anna.mp4", classes=["joy", "a", "b", "c"]))
    table = elan.read(tmp_path / "anna.eaf", "predictions")
    assert table.has_score and table.vocabulary == ("joy", "a", "b", "c")
    assert {row.video for row in table.rows} == {("anna", "anna")}
    assert [(*row.span, row.emotion, row.score) for row in table.rows][0] == (2.0, 3.4, "joy", 0.93)
    theirs = pympi.Elan.Eaf(str(tmp_path / "anna.eaf"))
    theirs.remove_annotation("joy", 2500)
    theirs.add_annotation("joy", 5000, 5500, "joy")
    theirs.to_file(str(tmp_path / "anna.eaf"))
    edited = elan.read(tmp_path / "anna.eaf", "predictions")
    assert not edited.has_score and len(edited.rows) == len(table.rows)
    assert (5.0, 5.5) in [row.span for row in edited.rows] and (2.0, 3.4) not in [row.span for row in edited.rows]


def test_any_name_comes_back(tmp_path):
    detection_files.write_eaf(tmp_path / "x.eaf", found(tmp_path / "a.b.mp4"))
    table = elan.read(tmp_path / "x.eaf", "predictions")
    assert table.classes == sorted(CLASSES) and table.videos[0] == ("anna", "a.b")
    np.testing.assert_allclose([row.onset for row in table.rows], [2.0, 6.2, 10.533, 12.4, 16.0])


def test_strange_documents(tmp_path):
    path = tmp_path / "x.eaf"
    assert "no such file" in refused(path)
    assert "not readable as XML" in refused(path, "hello")
    assert "not an ELAN document" in refused(path, "<html/>")
    bomb = (
        '<!DOCTYPE a [<!ENTITY a "'
        + "x" * 999
        + '">'
        + "".join(f'<!ENTITY {b} "{f"&{a};" * 99}">' for a, b in zip("abcdef", "bcdefg", strict=True))
    )
    assert "not readable as XML" in refused(path, f"{bomb}]><ANNOTATION_DOCUMENT>&g;</ANNOTATION_DOCUMENT>")
    assert "damaged: ts1 is missing" in refused(path, HEAD + TIER.format(ONE) + "</ANNOTATION_DOCUMENT>")
    order = '<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="{}"/></TIME_ORDER>'
    line = refused(path, HEAD + order.format(9) + TIER.format(ONE) + "</ANNOTATION_DOCUMENT>")
    assert "tier 'joy', annotation 'a1': has no time; align it in ELAN" in line
    line = refused(path, HEAD + order.format("9e9") + TIER.format(ONE) + "</ANNOTATION_DOCUMENT>")
    assert "a time must be in milliseconds; got '9e9'" in line
    circle = ''.join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a{i}" ANNOTATION_REF="a{1 - i}"><ANNOTATION_VALUE>x'
        "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>" for i in range(2)
    )  # fmt: skip
    assert "has no time" in refused(path, HEAD + TIER.format(circle) + "</ANNOTATION_DOCUMENT>")


def test_no_text_and_participants_of_some_tiers(tmp_path):
    path = tmp_path / "x.eaf"
    made = pympi.Elan.Eaf()
    made.add_annotation("default", 0, 10)
    made.to_file(str(path))
    assert "has no text; expected an emotion, or --label tier" in refused(path)
    assert elan.read(path, "ground truth", label="tier").rows[0].emotion == "default"
    made.add_tier("b", part="ben")
    made.to_file(str(path))
    assert "tier 'default' names no participant" in refused(path, label="tier")
