# Every target does all of its own set-up: `make demo` and `make test` work on an empty machine with Python 3.11 or 3.12.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all check format docs clean
.DELETE_ON_ERROR:

demo: .venv/.base ## a real sweep, small: about ten minutes the first time, seconds the second
	$(BIN)/python -m flare_ray.sweep sweeps/demo.yaml

test: .venv/.dev ## the fast tests
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: .venv/.dev ## every test this machine can run
	$(BIN)/python -m pytest

check: .venv/.dev ## format, lint, import rule, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(MAKE) test

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  || { echo "flare_ray needs Python 3.11 or 3.12; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.base: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing flare_ray and what it needs into .venv (some minutes) …"
	$(INSTALL) -e .
	@touch $@

.venv/.dev: .venv/.base
	@echo "installing the development tools into .venv …"
	$(INSTALL) -e '.[dev]'
	@touch $@

docs: .venv/.base ## what docs/sweep-file.md says of each field, from the code
	sed '/^<!-- flare-ray schema/q' docs/sweep-file.md > docs/.sweep-file.md
	$(BIN)/flare-ray schema --markdown >> docs/.sweep-file.md
	mv docs/.sweep-file.md docs/sweep-file.md

clean: ## removes the virtual environment and the demo's results, not the cache
	rm -rf .venv results
