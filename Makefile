# make demo: on a fresh machine, install what is missing, build, run the main job on a real cluster.
# make test: the same set-up, then every test. make lint, make bench, make docs: as they say.

SHELL := /bin/bash
VENV ?= .venv
export VENV
BIN := $(abspath $(VENV))/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo docs lint test test-unit test-lab test-kafka bench clean

help:
	@sed -n 's/^# //p' Makefile

setup:
	@tools/setup

demo: setup
	@$(BIN)/trogdor demo

demo-kafka: setup
	@$(BIN)/trogdor demo-kafka

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd trogdor && $(BIN)/mypy
	cd trogdor && $(BIN)/lint-imports --no-logo
	@$(BIN)/python -m trogdor.cli.reference | diff -q - docs/commands.md >/dev/null || { echo 'docs/commands.md is not what --help says: run make docs'; false; }

test: setup test-unit test-lab

test-unit: setup
	@tools/share unit 60 $(PYTEST) -c trogdor/pyproject.toml trogdor/tests/unit -n 2 -q

test-lab: setup
	@tools/share lab 480 $(PYTEST) -c trogdor/pyproject.toml trogdor/tests/lab -n 2 --dist loadgroup -q

test-kafka: setup
	@tools/share kafka 480 $(PYTEST) -c trogdor/pyproject.toml trogdor/tests/kafka -q

docs: setup
	$(BIN)/python -m trogdor.cli.reference > docs/commands.md

clean:
	rm -rf $(VENV) .setup trogdor/dist kibosh/target
