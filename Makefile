# make demo | test | slow | stress | bundle | docs | reference | lint | types | clean
# PYTHON=python3.12 selects the interpreter, VENV=folder the virtual environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml
PYTEST ?=

.DEFAULT_GOAL := help
.PHONY: help demo test slow stress faults bundle docs reference lint types clean

help:
	@echo "make demo    simulate CT, train CycleGAN and the supervised baseline, evaluate both (configs/demo.yaml)"
	@echo "make test    run the tests (PYTEST='-k name' selects some);  make slow  run the tests that take longer"
	@echo "make stress  long-running fault injection: SIGKILLs, fuzzed files, bad inputs; a long training with flat memory"
	@echo "make bundle  refresh bundles/ct_denoiser after changing code that bundles contain"
	@echo "make docs    build the documentation in site/;  make reference  refresh the config reference from the schema"
	@echo "make lint    check formatting and style;  make types  run the type checker"
	@echo "make clean   remove $(VENV), keep the runs"

demo: $(VENV)/.installed
	$(BIN)/python -m ctcycle.run --config $(CONFIG)

test: $(VENV)/.installed-dev
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow" $(PYTEST)

slow: $(VENV)/.installed-dev
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto --dist loadfile -m slow $(PYTEST)

stress: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python tests/stress/kills.py --kills 20
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python tests/stress/task_kills.py --kills 30
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python tests/stress/mutations.py
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python -W ignore tests/stress/long_run.py --iterations 10000
	PYTHONPATH=.:tests/support $(BIN)/python tests/stress/node_faults.py
	$(BIN)/python -m pytest -q tests/stress

faults: stress

bundle: $(VENV)/.installed
	$(BIN)/python -W ignore -m ctcycle.bundle.refresh bundles/ct_denoiser

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

reference: $(VENV)/.installed
	$(BIN)/python -m ctcycle.reference.refresh

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf "$(VENV)"

# A stamp file that is older than its prerequisites triggers a new installation.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[bundle,node]"
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[bundle,sweep,node,dev,docs]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
	  echo "ctcycle needs Python 3.11 or newer, but $(PYTHON) is `$(PYTHON) --version 2>&1`; set PYTHON=python3.12, for example" >&2; \
	  exit 1; }
	$(PYTHON) -m venv "$(VENV)"
