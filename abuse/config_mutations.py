"""Ways to break a configuration, which is a program."""

import random
from pathlib import Path

from abuse import seeds
from abuse.text_mutations import NUMBERS, VALUES


def program(path: Path, rng: random.Random) -> str:
    """A configuration that is another program."""
    kind = rng.choice(
        [
            "value",
            "value",
            "value",
            "key",
            "none",
            "dict",
            "raises",
            "exits",
            "recursion",
            "no function",
            "import",
            "arguments",
            "syntax",
            "rows",
        ]
    )
    text = path.read_text()
    ends = {
        "none": "def get_config(row=''):\n    return None\n",
        "dict": "def get_config(row=''):\n    return {}\n",
        "raises": "def get_config(row=''):\n    raise KeyError('a\\nb')\n",
        "exits": "raise SystemExit('bye')\n",
        "recursion": "def get_config(row=''):\n    return get_config(row)\n",
        "no function": "del get_config\n",
        "import": "import a_module_that_nobody_has\n",
        "arguments": "def get_config():\n    return 1\n",
        "syntax": "def (:\n",
        "rows": "ROWS = 5\nSPACE = 7\n",
    }
    if kind in ends:
        path.write_text(f"{text}\n\n{ends[kind]}")
        return f"ends with: {kind}"
    name = rng.choice(
        list(seeds.OPTIONS)
        + ["train.learning_rate", "loss.beta", "data.kind", "window.stride", "folds.scheme", "seed", "model.dropout"]
    )
    value = rng.choice([*VALUES[:19], [], {}, [[]], *NUMBERS[:9]])
    line = f"    config.update_from_flattened_dict({{{name + 'x' * (kind == 'key')!r}: {value!r}}})\n".replace(
        ": nan", ": float('nan')"
    ).replace(": inf", ": float('inf')")
    path.write_text(text.replace("    return fedn_config", f"{line}    return fedn_config"))
    return f"{name} is {str(value)[:30]}" if kind == "value" else f"unknown option {name}x"


PROGRAM = (program,) * 5
