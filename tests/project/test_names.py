"""Names that are gone stay gone: one word for one thing."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEARCHED = ("fedn_jax", "data_prep", "configs", "docs", "README.md")
VANISHED = {  # pattern -> what stands for it now
    r"fedn compare\b": "fedn parity",
    r"--with torch\b": "fedn parity",
    r"configs/\w+\.py:": "--config NAME:ROW",
    r"--config configs/": "--config NAME",
    r"\bcommands/": "cli/",
    r"\bpairing\b": "formats/predictions",
    r"\bsidebyside\b": "reports/reproduce_page",
    r"\bpapertables\b": "reports/published_table",
    r"\bsweepreport\b": "reports/sweep_page",
    r"\bcost_model\b": "nothing",
    r"\btableformats\b": "reports/tables",
    r"\breports[./](comparable|comparison|drawing)\b": "reports/compare_page, reports/figures",
    r"\bdraw_kernels\b": "models/layers: init",
    r"\btorchfile\b": "torch.load",
    r"\bcsv_files\.py": "formats/table_files",
    r"\braw_path\b|\bsave_raw\b|RUN/raw\b": "outputs",
    r"\battention_literal\b": "an oracle in tests/models",
    r"\bfedn_jax\.(config|checks|losses|nms|train|folds|cohort|report|metrics|parity|reference)\b": "a room",
    r"\bcli[./]runs\b": "cli/train, plan, evaluate, report, run_results",
    r"\bevaluation[./]evaluate\b": "evaluation/all_metrics",
    r"\bsheets[./]tables\b": "sheets/release_sheets",
    r"\bmemory_of\b|\bparallel\.split\b": "engine/memory: allowed, pack",
    r"\bcohorts?\b": "runs that are trained together, a program",
}


def found(pattern):
    """Lines that hold a pattern, "file:number: line" each."""
    paths = [name for name in SEARCHED if (ROOT / name).exists()]
    for base in paths:
        top = ROOT / base
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.suffix not in (".py", ".md", ".j2", ".js", ".json") or "__pycache__" in file.parts:
                continue
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(pattern, line):
                    yield f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"


def test_vanished_names_are_found_nowhere():
    left = [f"{line}  ->  {now}" for pattern, now in VANISHED.items() for line in found(pattern)]
    assert left == [], "\n".join(left)


def test_the_search_finds():
    assert any(line.startswith("configs/demo.py:") for line in found(r"^ROWS = "))
