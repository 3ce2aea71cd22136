# Sluice on a machine with Python 3.11 or newer and make. `make run` starts everything, `make test` tests it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev system run lint test bench lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.runtime  ## make .venv with sluice in it

setup-dev: $(VENV)/.dev  ## the same, with the tools that make test uses

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(PIP) install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

system:  ## install Mosquitto and its clients where apt and root are at hand
	tools/system-packages

run: setup  ## start the whole stack with a small demo fleet
	$(BIN)/sluice up --demo 25

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: system lint  ## lint, types, import contracts and every test
	$(BIN)/pytest

bench: setup-dev  ## the speed line, as JSON
	$(BIN)/python -m bench.ingest

lock:  ## pin every dependency anew, with hashes
	$(COMPILE) --upgrade --extra embedded pyproject.toml requirements.in -o requirements.txt
	$(COMPILE) --upgrade --extra embedded --extra dev -c requirements.txt pyproject.toml requirements.in \
		-o requirements-dev.txt

clean:  ## remove what set-up and tests made; .sluice, the data, stays
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
