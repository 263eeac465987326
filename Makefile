# Every target does its own set-up: a fresh clone, Python 3.11 or newer and `make` are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.ready ## Make the development environment (.venv, interpreted, editable)

.venv/.ready: requirements-dev.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	LEDGERMQ_COMPILE=0 $(BIN)/python -m pip install --quiet --no-build-isolation -e .
	touch $@

check: venv ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: venv ## Run the tests
	$(BIN)/python -m pytest -q

docs: venv ## Write docs/configuration.md from the tables
	$(BIN)/python -m ledgermq.runtime.config_reference docs/configuration.md

.PHONY: help venv check test docs
