# make demo        sets everything up, then runs the whole way on built-in videos
# make test        the same set-up plus the test extra, then all tests
# make test-fast   the tests without the files that take longest
# make abuse       broken inputs, kills, two commands at once (docs/reliability.md); 15 minutes on two quiet cores
# make bench       the benchmarks that need no GPU (benchmarks/gpu.py is for a machine with one)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast bench abuse clean

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fedn_jax needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml setup.py
	@echo "installing (about a minute and 1.4 GB)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/fedn demo --out demo

# A file stays with one worker, which shares its fixtures; the longest files come first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.tested
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(PYTEST)

test-fast: $(VENV)/.tested
	@$(PYTEST) -m "not slow"

BENCHMARKS := startup suppression mean_average_precision preparation torch_reference \
	'embedding --small' 'folds --small' 'compilation --small' sweep

bench: $(VENV)/.tested
	@for one in $(BENCHMARKS); do set -- $$one; name=$$1; shift; \
		echo "== benchmarks/$$name.py $$*"; $(BIN)/python benchmarks/$$name.py $$* || exit 1; done

abuse: $(VENV)/.tested
	@$(BIN)/python -m abuse --out abuse-out

clean:
	rm -rf $(VENV) demo abuse-out build *.egg-info
