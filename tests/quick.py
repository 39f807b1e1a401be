"""How programs are compiled in tests, where most of the time is compilation; this file does not load JAX."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

OLDER = metadata.version("jaxlib").startswith("0.10.")  # later ones need not have it, and XLA aborts on unknown flags
QUICKLY = "--xla_cpu_use_fusion_emitters=false" if OLDER else ""  # the older code generator takes a third of the time


def run_as_users_compile(file, function):
    """Calls a function of a test file in a process of its own, without QUICKLY: to compare two programs by bits."""
    path = Path(file)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path.parent), *sys.path]), "XLA_FLAGS": ""}
    words = [sys.executable, "-c", f"import {path.stem}; {path.stem}.{function}()"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
