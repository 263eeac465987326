# Every target does its own set-up: a fresh clone, Python 3.11 or newer and `make` are enough.
#
# There are two environments. .venv holds the checkout itself, interpreted, so that an edit is in effect at once.
# .venv-compiled holds an installed wheel with the hot modules compiled, as users get it; it is rebuilt when a
# source has changed. No extension module ever stands in src/, where it would hide the source beside it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
COMPILED_BIN := .venv-compiled/bin
SOURCES := setup.py pyproject.toml $(shell find src -name '*.py')

.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: venv ## Start everything, send, consume, and say what happened
	$(BIN)/python scripts/demo.py

test: venv compile ## Run the tests twice, interpreted and compiled
	LEDGERMQ_TEST_BUILD=interpreted $(BIN)/python -m pytest -q -n auto
	LEDGERMQ_TEST_BUILD=compiled $(COMPILED_BIN)/python -m pytest -q -n auto

check: venv ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

interop: compile ## Stock RocketMQ clients, tools and servers against ours (needs JDK, Maven, Go)
	LEDGERMQ_INTEROP=1 LEDGERMQ_TEST_BUILD=compiled $(COMPILED_BIN)/python -m pytest -q tests/interop

crash: compile ## Fifty times kill -9 of a loaded broker, and what must be left
	LEDGERMQ_CRASH_ROUNDS=50 LEDGERMQ_TEST_BUILD=compiled $(COMPILED_BIN)/python -m pytest -q -n auto tests/crash

bench: venv compile ## Measure against the Java broker in turn (needs JDK, Maven; takes a while)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.dledger
	$(BIN)/python -m bench.quorum

docs: venv ## Write the pages that follow from the code: configuration, protocols
	$(BIN)/python -m ledgermq.runtime.config_reference docs/configuration.md
	$(BIN)/python scripts/protocol_reference.py docs/protocols.md

venv: .venv/.ready ## Make the development environment

compile: .venv-compiled/.ready ## Build the wheel with compiled modules and install it apart

dist: venv ## Build the source distribution and the wheel into dist/
	rm -rf dist
	LEDGERMQ_COMPILE=1 $(BIN)/python -m build --no-isolation

clean: ## Remove everything that was made
	rm -rf .venv .venv-compiled build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: requirements-dev.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	LEDGERMQ_COMPILE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --editable .
	touch $@

# The wheel is built from the unpacked source distribution: in a directory of its own, without leftovers.
.venv-compiled/.ready: .venv/.ready $(SOURCES)
	test -x $(COMPILED_BIN)/python || $(PYTHON) -m venv .venv-compiled
	$(COMPILED_BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	rm -rf .venv-compiled/dist
	LEDGERMQ_COMPILE=1 $(BIN)/python -m build --no-isolation --outdir .venv-compiled/dist . \
	  >.venv-compiled/build.log 2>&1 || { tail -n 40 .venv-compiled/build.log; exit 1; }
	$(COMPILED_BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --force-reinstall .venv-compiled/dist/*.whl
	touch $@

.PHONY: help demo test check interop crash bench docs venv compile dist clean
