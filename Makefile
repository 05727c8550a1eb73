# Two commands: `make demo` runs the main job, `make test` the tests. `make check` is what to run before a commit.
# Each sets up all it needs in .venv; PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= auto

.PHONY: demo test test-wheel check format lint types schema parity reference snapshot benchmark clean help

help:
	@sed -n 's/^# //p' Makefile; echo; sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: $(PYTHON) is older than Python 3.10"; echo; echo "hint: make PYTHON=python3.12"; exit 1; } >&2
	@echo "> setting up $(VENV) (a few minutes when no package is cached)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## the whole loop on this machine: data, training job, registry, endpoint, predictions
	@PATH="$(abspath $(BIN)):$$PATH" scripts/demo

test: $(INSTALLED) ## all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-wheel: ## all tests against the built wheel, outside the checkout
	PYTHON=$(PYTHON) scripts/test-wheel -n $(WORKERS) --dist loadfile

check: $(INSTALLED) ## format, lint, types, tests: before a commit
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory lint types test

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED) ## lint the code
	$(BIN)/ruff check .

types: $(INSTALLED) ## check the types
	$(BIN)/mypy

schema: $(INSTALLED) ## freeze the API's schema again from the installed SDK
	$(BIN)/python -m edge_tasks.emulator.schema.freeze

parity: $(INSTALLED) ## write docs/parity.md again: what of the API is emulated
	$(BIN)/python -m edge_tasks.emulator.parity --markdown > docs/parity.md.new
	@mv docs/parity.md.new docs/parity.md

reference: $(INSTALLED) ## write docs/reference.md again, from the tasks and edge.yaml's schema
	$(BIN)/python scripts/reference.py > docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md

snapshot: $(INSTALLED) ## keep what this release makes, for the test that updates it
	@PATH="$(abspath $(BIN)):$$PATH" scripts/snapshot

benchmark: $(INSTALLED) ## measure and print tables
	$(BIN)/python -m benchmarks

clean: ## remove what make made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
