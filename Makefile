# One word for each task; every word does its own set-up. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One thread in each of the workers, so that they do not fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8
DEMO := demo_output

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast lint types contracts bench wheel clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 - /p' $(MAKEFILE_LIST) | sort

venv: $(STAMP)  ## the environment .venv with the tested set of packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "napari-blush needs Python 3.11 or newer; '$(PYTHON)' is not: make venv PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing; on Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@sh .ci/x-libraries
	@echo "Making $(VENV) (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) pip
	@$(PIP) torch  # first, and alone, so that a CPU build at hand is taken
	@$(PIP) -e ".[cpu,napari]" PyQt6 --group dev
	@touch $@

# On Linux without a display the demonstration runs in the shell, as with HEADLESS=1.
ifeq ($(shell uname),Linux)
ifeq ($(DISPLAY)$(WAYLAND_DISPLAY),)
HEADLESS ?= 1
endif
endif

demo: $(STAMP)  ## refine the sample data in napari; HEADLESS=1: in the shell, with a picture
	@rm -rf $(DEMO)
ifneq ($(filter-out 0,$(HEADLESS)),)
	@$(BIN)/napari-blush refine sample_data/particles.star --reference sample_data/start_map.mrc \
	  --mask sample_data/mask.mrc --particle-diameter 160 --initial-low-pass 40 --output $(DEMO)
	@$(BIN)/napari-blush report $(DEMO) --output $(DEMO)/slices.png
	@$(BIN)/napari-blush report $(DEMO)
else
	@$(BIN)/python -m napari_blush.plugin.demo --output $(DEMO)
endif

test: $(STAMP)  ## the whole test suite
	@$(PYTEST)

test-fast: $(STAMP)  ## without the slow tests and those that need RELION or the shared data
	@$(PYTEST) -m "not slow and not relion and not real_data"

lint: $(STAMP)  ## style: ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## types: mypy, strict
	@$(BIN)/mypy

contracts: $(STAMP)  ## who may import whom: import-linter
	@$(BIN)/lint-imports

bench: $(STAMP)  ## benchmarks, each printing a table
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

wheel: $(STAMP)  ## build the wheel into dist/
	@$(BIN)/python -m build --no-isolation --wheel

clean:  ## remove what the other words made, but for .venv
	@rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
