# Two commands: `make demo` runs the main job, `make test` the tests. `make check` is what to run before a commit.
# Each sets up all it needs in .venv; PYTHON chooses the interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNS := $(VENV)/.runs
WORKERS ?= auto
TESTS = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Bytecode is written and used, whatever the machine's setting: it makes every command several times faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-monitoring test test-fast test-long test-wheel coverage check format lint types javascript schema parity \
	reference site \
	pictures snapshot benchmark clean help

help:
	@sed -n 's/^# //p' Makefile; echo; sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

$(INSTALLED): pyproject.toml scripts/environment
	@scripts/environment $(PYTHON) $(VENV) -e '.[dev]'
	@touch $@ $(RUNS)

# What a user installs is enough for the demo, and is there sooner.
$(RUNS): pyproject.toml scripts/environment
	@scripts/environment $(PYTHON) $(VENV) -e '.[local,digits]'
	@touch $@

demo: $(RUNS) ## the whole loop on this machine: data, training job, registry, endpoint, predictions
	@PATH="$(abspath $(BIN)):$$PATH" scripts/demo

demo-monitoring: $(RUNS) ## a change of what a model is asked: found, trained for, tried as a canary, promoted
	@PATH="$(abspath $(BIN)):$$PATH" scripts/demo-monitoring

test: $(INSTALLED) ## all tests
	$(TESTS)

test-fast: $(INSTALLED) ## the tests that are not slow: after every change
	$(TESTS) -m 'not slow and not google_cloud'

test-long: $(INSTALLED) ## all tests, the random ones longer and with other numbers each time: at night
	EDGE_TESTS_SEED=random EDGE_TESTS_PYTHONS=3.10,3.11,3.12,3.13 EDGE_DISTURBANCES=20 EDGE_INTERRUPTIONS=20 VERTEX_EMULATOR_EXAMPLES=3000 $(TESTS)

coverage: $(INSTALLED) ## all tests, and how many of the lines of edge_tasks they run
	$(BIN)/python scripts/coverage -n $(WORKERS) --dist worksteal

test-wheel: ## all tests against the built wheel, outside the checkout
	PYTHON=$(PYTHON) scripts/test-wheel -n $(WORKERS) --dist worksteal

check: $(INSTALLED) ## format, lint, types, tests: before a commit
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory lint types javascript test

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED) ## lint the code
	$(BIN)/ruff check .

types: $(INSTALLED) ## check the types
	$(BIN)/mypy

javascript: ## check the types of the dashboard's scripts, if npm is there
	scripts/check-javascript

schema: $(INSTALLED) ## freeze the API's schema again from the installed SDK
	$(BIN)/python -m edge_tasks.emulator.schema.freeze

parity: $(INSTALLED) ## write docs/parity.md again: what of the API is emulated
	$(BIN)/python -m edge_tasks.emulator.parity --markdown > docs/parity.md.new
	@mv docs/parity.md.new docs/parity.md

reference: $(INSTALLED) ## write docs/reference.md again, from the tasks and edge.yaml's schema
	$(BIN)/python scripts/reference.py > docs/reference.md.new
	@mv docs/reference.md.new docs/reference.md

site: $(INSTALLED) ## the pages of docs/ as a site with search, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site"

pictures: $(INSTALLED) ## take docs/pictures again: the dashboard over a real loop on this machine
	$(BIN)/python scripts/pictures

snapshot: $(INSTALLED) ## keep what this release makes, for the test that updates it
	@PATH="$(abspath $(BIN)):$$PATH" scripts/snapshot

benchmark: $(INSTALLED) ## measure and print tables
	$(BIN)/python -m benchmarks

clean: ## remove what make made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
