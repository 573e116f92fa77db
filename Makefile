# make demo | test | stress | bundle | lint | types | clean
# PYTHON=python3.12 selects the interpreter, VENV=folder the virtual environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml
PYTEST ?=

.DEFAULT_GOAL := help
.PHONY: help demo test stress faults bundle lint types clean

help:
	@echo "make demo    simulate CT, train CycleGAN and the supervised baseline, evaluate both (configs/demo.yaml)"
	@echo "make test    run the tests (PYTEST='-k name' selects some)"
	@echo "make stress  long-running fault injection: SIGKILLs, bad inputs, fuzzed files"
	@echo "make bundle  refresh bundles/ct_denoiser after changing code that bundles contain"
	@echo "make lint    check formatting and style;  make types  run the type checker"
	@echo "make clean   remove $(VENV), keep the runs"

demo: $(VENV)/.installed
	$(BIN)/python -m ctcycle.run --config $(CONFIG)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(PYTEST)

stress: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python tests/stress/kills.py --kills 20
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python tests/stress/mutations.py
	$(BIN)/python -m pytest -q tests/stress/test_bad_inputs.py tests/stress/test_privacy.py

faults: stress

bundle: $(VENV)/.installed
	$(BIN)/python -W ignore -m ctcycle.bundle.refresh bundles/ct_denoiser

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf "$(VENV)"

# A stamp file that is older than its prerequisites triggers a new installation.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[bundle]"
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[bundle,dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
	  echo "ctcycle needs Python 3.11 or newer, but $(PYTHON) is `$(PYTHON) --version 2>&1`; set PYTHON=python3.12, for example" >&2; \
	  exit 1; }
	$(PYTHON) -m venv "$(VENV)"
