# make demo: on a fresh machine, installs what is missing, builds, and runs the main job on a real cluster.
# make test: the same set-up, then every test. Parts of it: test-unit, test-lab, test-java, test-kibosh, test-kafka,
# test-ducktape.
# make lint: format, ruff, mypy, the layers, Rust's clippy. make docs: what is made from the code.
# make bench, bench-scale, bench-kibosh, bench-kafka, bench-kill: the tables. make bench PARTS="lag page": some of the first.
# make bench-kill KILLS=10: fewer than a hundred of each.
# make demo-kafka: the active controller suspended under load.

SHELL := /bin/bash
VENV ?= .venv
export VENV
unexport PYTHONDONTWRITEBYTECODE  # each daemon that a test starts would compile everything anew
BIN := $(abspath $(VENV))/bin
## On CI's machine, which may stall, a red test is run once more; the summary names each that was: a bug to be found.
PYTEST := $(BIN)/python -m pytest -c trogdor/pyproject.toml -q $(if $(CI),--reruns 1 -raR)
SHARE := @tools/share
KILLS := 100
PARTS := coordinator lag lab_nodes lab_partition lab_degraded ssh page resolve schedule kill  # each within three minutes

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-kafka lint docs test test-unit test-lab test-java test-kibosh test-kafka test-examples \
	test-ducktape bench bench-scale bench-kibosh bench-kafka bench-kill clean

help:
	@sed -n 's/^# //p' Makefile

setup:
	@tools/setup

demo:
	@tools/setup demo
	@$(BIN)/python -m trogdor demo

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd trogdor && $(BIN)/mypy
	cd trogdor && $(BIN)/lint-imports --no-logo
	@$(BIN)/python -m trogdor.cli.reference | diff -q - docs/commands.md >/dev/null || \
	  { echo 'docs/commands.md is not what --help says: run make docs'; false; }
	@command -v cargo >/dev/null && $(MAKE) --no-print-directory -C kibosh lint PYTHON=$(BIN)/python || ! command -v cargo >/dev/null

docs: setup
	$(BIN)/python -m trogdor.cli.reference > docs/commands.md
	$(BIN)/python -m trogdor.platform.nets docs/faults.md

test: setup test-unit test-lab test-java test-kibosh test-kafka test-examples test-ducktape

test-unit: setup
	$(SHARE) unit 60 $(PYTEST) trogdor/tests/unit -n 4 --dist worksteal

test-lab: setup
	$(SHARE) lab 480 $(PYTEST) trogdor/tests/lab -n 3 --dist loadgroup

test-examples: setup
	$(SHARE) examples 60 $(PYTEST) examples/tests

test-java: setup
	$(SHARE) java 120 $(PYTEST) trogdor/tests/java

test-kibosh: setup
	@command -v cargo >/dev/null || { echo "kibosh: left out, there is no cargo here"; exit 0; }; \
	tools/share kibosh 480 $(MAKE) --no-print-directory -C kibosh test PYTHON=$(BIN)/python

test-kafka: setup
	$(SHARE) kafka 480 $(PYTEST) trogdor/tests/kafka -n 2 --dist loadgroup

test-ducktape: setup
	$(SHARE) ducktape 600 tools/test-ducktape

bench: setup
	@tools/bench $(PARTS)

bench-scale: setup
	@PYTHONPATH=trogdor/src:trogdor/tests $(BIN)/python bench/scale.py

bench-kibosh: setup
	@$(MAKE) --no-print-directory -C kibosh bench PYTHON=$(BIN)/python

bench-kafka: setup
	@$(BIN)/python bench/kafka.py

bench-kill: setup
	@PYTHONPATH=trogdor/src:trogdor/tests $(BIN)/python bench/kill.py $(KILLS)

demo-kafka: setup
	@$(BIN)/python -m trogdor demo-kafka

clean:
	rm -rf .venv .venv-ducktape .setup trogdor/dist kibosh/target kibosh/python/kibosh/_native.abi3.so
