# Two commands: `make demo` and `make test`. Each makes its own virtual environment in .venv and needs make and Python >= 3.11
# with its venv module; no compiler, no root, no Docker. PYTHON=… chooses another interpreter.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3 python; do \
	if command -v $$candidate >/dev/null 2>&1 && $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$candidate; break; fi; done)
# Each test process has servers of its own, a gigabyte together; a container may show more cores than it may use.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadgroup
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test lint types format clean

help:
	@echo 'make demo     run the main job on SQLite and a local folder, and check its guarantees'
	@echo 'make test     run the whole suite on every database that can be started here'
	@echo 'make lint     formatting, lint and import contracts'
	@echo 'make types    mypy --strict, and pyright on the public API'
	@echo 'make format   format the code'
	@echo 'make clean    remove the virtual environment and caches'

# Written last, so that a half-made environment is made again.
$(VENV)/created:
	@test -n '$(PYTHON)' || { \
		echo 'Python 3.11 or newer is needed and none was found. On Debian and Ubuntu: apt-get install python3 python3-venv.' >&2; \
		echo 'With another interpreter: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo '$(PYTHON) has no venv module, which is a package of its own on Debian and Ubuntu: apt-get install python3-venv.' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo 'Creating $(VENV) with $(PYTHON) …'; rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@touch $@

$(VENV)/demo.installed: pyproject.toml | $(VENV)/created
	@$(PIP) --editable '.[cli]'
	@touch $@

$(VENV)/test.installed: pyproject.toml | $(VENV)/created
	@echo 'Installing what the tests need …'
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/dev.installed: pyproject.toml | $(VENV)/created
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: $(VENV)/demo.installed
	@$(BIN)/flue-sqla demo $(DEMO_ARGS)

test: $(VENV)/test.installed
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/dev.installed
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/dev.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .nox .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
