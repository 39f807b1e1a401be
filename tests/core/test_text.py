import io
import os

import pytest

from fedn_jax.core import text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "cp1252"])
def test_any_name_can_be_printed_anywhere(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    text.print_anything(stream, None)
    print(os.fsdecode(b"J\xfcrgen"), "Jürgen", "厌恶", f"{text.DASH} 1 ± 2 ≥", file=stream, flush=True)
    got = stream.buffer.getvalue().decode(encoding)
    assert got.startswith("J\\udcfcrgen ") and got.count("\n") == 1
    if encoding == "ascii":
        assert got == "J\\udcfcrgen J\\xfcrgen \\u538c\\u6076 - 1 +/- 2 >=\n"


def test_names_do_not_control_the_terminal():
    assert text.printable("a\x1b[31mb\x07\r\x9b") == "a\\x1b[31mb\\x07\\x0d\\x9b"
    assert text.printable("two\n  lines\tof Jürgen") == "two\n  lines\tof Jürgen"
    assert text.printable("a\nb.pth: \n\n  c\n") == "a\\nb.pth: \\n\n  c\\n"


def test_open_bars_end_before_the_next_line(capsys):
    bar = text.progress_bar()(total=3)
    text.close_bars()
    assert bar.disable and capsys.readouterr().err.endswith("\n")


def test_a_log_gets_whole_lines_and_few_of_them(capsys, monkeypatch):
    """A bar that returns to the begin of its line makes one line of many thousand letters in a log."""
    bar = text.progress_bar()(total=1000, desc="train", unit="epoch")
    for epoch in range(1000):
        bar.set_postfix_str(f"loss {epoch}")
        bar.update()
    bar.close()
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("train:   0%| 0/1000 [") and last.startswith("train: 100%| 1000/1000 [")
    assert last.endswith("loss 999]") and "\r" not in first + last
    monkeypatch.setattr("fedn_jax.core.log_lines.SECONDS", 0.0)
    bar = text.progress_bar()(total=2, desc="train", unit="epoch")
    for loss in "ab":
        bar.set_postfix_str(loss)
        bar.update()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert [(line.split()[2], line[-2:]) for line in lines[1:]] == [("1/2", "a]"), ("2/2", "b]")]
    assert list(text.progress_bar()(range(3), desc="score", unit="fold")) == [0, 1, 2]
    assert [line[:15] for line in capsys.readouterr().err.splitlines()][-1] == "score: 100%| 3/"
    text.progress_bar()(total=3, disable=True).close()
    assert capsys.readouterr().err == ""


def test_one_bar_for_several_parts(capsys):
    """Parts that take less, more and nothing of what was expected; the bar never passes its end."""
    from fedn_jax.core.text import Whole

    bar = Whole([10, 5, 2], "detect", "frame")
    seen = []
    for steps in (4, 9, 0):
        with bar(total=99, desc="a") as own:
            for _ in range(steps):
                own.update()
        seen.append(bar._bar.n)
        bar.next()
        seen.append(bar._bar.n)
    bar.close()
    assert seen == [4, 10, 15, 15, 15, 17] and "detect" in capsys.readouterr().err
