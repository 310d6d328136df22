# One set-up path for everybody: a venv, a pinned uv in it, the locked packages.
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
export UV_PROJECT_ENVIRONMENT := $(VENV)

.PHONY: setup demo test lint simulate mutants boundaries fuzz clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.synced

$(VENV)/.synced: pyproject.toml uv.lock
	python3 -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "points needs Python 3.11 or newer; python3 is %d.%d: install a newer one or put it first on PATH" % sys.version_info[:2])'
	test -x $(BIN)/python || python3 -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv sync --frozen --quiet --inexact
	touch $@

demo: setup
	$(BIN)/points demo

# Node and Go for the apps of tests/clients, 130 MB that nobody else needs.
test: setup
	$(BIN)/uv sync --frozen --quiet --inexact --group clients
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The whole system in one thread and virtual time, every seed another history of failures.
SEEDS ?= 2000
MINUTES ?= 60
simulate: setup
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --minutes $(MINUTES)

# Defects on purpose, one at a time: the simulation must notice each.
mutants: setup
	$(BIN)/python -m tests.simulation.mutants

# Each comparison that decides, broken one at a time: a unit or property test must notice each.
boundaries: setup
	$(BIN)/python -m tests.boundaries

# Record batches with one fault each, made by structure; loadtest/results/fuzz.txt keeps a million's counts.
N ?= 1000000
fuzz: setup
	$(BIN)/python -m tests.batches.fuzz $(N)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .points .pytest_cache .ruff_cache .hypothesis
