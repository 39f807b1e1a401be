"""The campaign (`make abuse`) notices every kind of bad end: each is planted here in place of a command."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from abuse import inputs, judge, kills, mutations, pairs, targets, text_mutations
from abuse.judge import Bad
from abuse.sandbox import Ended, Limits

ROOT = Path(__file__).resolve().parents[2]
# Commands that are judged; `say` is what a good refusal prints. Run in a fresh process, because it forks.
PLANTED = """
import json, os, signal, subprocess, sys, time, warnings
from pathlib import Path
from abuse import checks, inputs, mutations, sandbox
from abuse.targets import Target, Victim

def say(text):
    print(f"fedn: {text}", file=sys.stderr)
    return 2

def write(text, code):
    Path("out").mkdir()
    Path("out/numbers.json").write_text(text)
    return say("in/a.csv: not a table; expected columns") if code else 0

def hidden():
    raise ValueError("a mistake")

COMMANDS = {
    "refused": lambda: say("in/a.csv: not a table; expected columns"),
    "used": lambda: write("[1]", 0),
    "traceback": hidden,
    "exit code": lambda: 3,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda: time.sleep(60),
    "busy": lambda: [1 for _ in iter(int, 1)],
    "memory": lambda: len(bytearray(200 << 20)) and 0,
    "half": lambda: write("[1", 0),
    "half, refused": lambda: write("[1", 2),
    "no file": lambda: 0,
    "changed": lambda: Path("in/a.csv").write_text("mine") and write("[1]", 0),
    "two lines": lambda: say("in/a.csv: bad; expected good") and say("in/a.csv: worse; expected better"),
    "no name": lambda: say("not a table; expected columns"),
    "no expectation": lambda: say("in/a.csv: invalid"),
    "silent": lambda: 2,
    "long": lambda: say("in/a.csv: expected " + "x" * 1000),
    "stray": lambda: warnings.warn("old") or write("[1]", 0),
    "left": lambda: subprocess.Popen(["sleep", "60"]) and write("[1]", 0),
    "program": lambda: os.mkdir("was-run") or say("in/a.csv: not a table; expected columns"),
}
sandbox.command = lambda words: COMMANDS[words[0]]
sandbox.Limits.__new__.__defaults__ = (1.0, 150 << 20, 6 << 30)
base = Path(sys.argv[1])
(base / "seeds").mkdir()
(base / "seeds" / "a.csv").write_text("a,b\\n1,2\\n")
found = {}
for name in COMMANDS:
    target = Target(name, 1, {"in/a.csv": "a.csv"}, [name], [Victim("in/a.csv", [mutations.truncate])],
                    checks.one_file("out/numbers.json", checks.strict_json), seconds=1.0, inputs=[mutations.truncate])
    tried = inputs.attempt(target, 0, 0, base / "seeds", base / "work", base / "failures")
    found[name] = [[bad.rule for bad in tried.bad], bool(tried.kept) and Path(tried.kept, "command.sh").exists()]
print(json.dumps(found))
"""
EXPECTED = {
    "refused": [],
    "used": [],
    "traceback": ["traceback"],
    "exit code": ["exit code"],
    "crash": ["crash"],
    "hang": ["hang"],
    "busy": ["hang"],
    "memory": ["memory", "not whole"],
    "half": ["not whole"],
    "half, refused": ["not whole"],
    "no file": ["not whole"],
    "changed": ["changed input"],
    "two lines": ["message"],
    "no name": ["message"],
    "no expectation": ["message"],
    "silent": ["message"],
    "long": ["message"],
    "stray": ["stray line"],
    "left": ["process left"],
    "program": ["program run"],
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    if not sys.platform.startswith("linux"):
        pytest.skip("the campaign needs Linux")
    words = [sys.executable, "-c", PLANTED, str(tmp_path_factory.mktemp("campaign"))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_end_is_noticed(judged, name):
    rules, kept = judged[name]
    assert rules == EXPECTED[name]
    assert kept == bool(rules)


def ended(**changes):
    return Ended(0, 0, False, "", "", 1.0, 0, "", ())._replace(**changes)


def rules(err, code=2, names=("a.mp4", "b.mp4"), batch=1):
    return [bad.rule for bad in judge.judge(ended(err=err, code=code), names, Limits(), batch)]


def test_lists_batches_and_progress_bars_are_good_messages():
    assert rules("fedn: a.mp4: 2 problems; correct them:\n  line 1: x\n  line 2: y\n") == []
    bar = "\rprepare:   0%|          | 0/3 [00:00<?, ?video/s]\rprepare: 100%|###| 3/3 [00:01<00:00]\n"
    assert rules(f"{bar}fedn: a.mp4: empty; copy it again\n") == []
    lines = (
        "fedn: a.mp4: empty; copy it again\nfedn: b.mp4: cut; copy it again\nfedn: 2 of 3 videos could not be used\n"
    )
    assert rules(lines, batch=3) == []
    assert rules(lines) == ["message"]
    assert rules("fedn: a.mp4: empty; copy it again\nand more\n") == ["message"]
    assert rules("[h264 @ 0x55d] error while decoding\n", code=0) == ["stray line"]


def test_the_smallest_input_of_each_bad_end_is_kept(tmp_path):
    def tried(number, size, rule, detail):
        kept = tmp_path / str(number)
        kept.mkdir()
        return inputs.Tried("k", number, 1, "cut", ["x"], 1, 0.1, 1, size, [Bad(rule, detail)], str(kept))

    many = [
        tried(0, 9, "traceback", "KeyError: 'a'; x.py, line 5"),
        tried(1, 3, "traceback", "KeyError: 'b'; x.py, line 5"),
        tried(2, 7, "traceback", "TypeError; y.py, line 9"),
        tried(3, 1, "hang", "20 s; z"),
    ]
    assert [(one.number, bad.rule) for one, bad in inputs.smallest(many)] == [
        (3, "hang"),
        (1, "traceback"),
        (2, "traceback"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]


def test_a_seed_decides_the_input(tmp_path):
    path, results = tmp_path / "a.csv", []
    for seed in (0, 0, 1):
        path.write_text("subject,video,onset,offset,emotion\n" + "s1,v1,5,20,happy\n" * 20)
        rng = random.Random(seed)
        results.append(
            ([mutation(path, rng) for mutation in (*text_mutations.TABLE[:4], *mutations.BYTES)], path.read_bytes())
        )
    assert results[0] == results[1] != results[2]


def test_the_plan_has_a_thousand_inputs_a_hundred_kills_and_all_pairs():
    plan = inputs.plan(1000)
    made = sum(targets.TARGETS[index].batch for index, _ in plan)
    assert made >= 1000
    assert {index for index, _ in plan} == set(range(len(targets.TARGETS)))
    assert len(set(plan)) == len(plan)
    assert inputs.plan(1000, "megc:7") == [(inputs.index_of("megc"), 7)]
    assert sum(many for *_, many in kills.plan(100, kills.SHARES)) == 100
    assert len(pairs.plan()) == len(set(pairs.plan())) >= 28
