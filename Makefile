# Everything CI runs, by hand. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSUMERS := .venv-consumers
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo consumers test format lint types floors pytest bench bench-compare renew clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) ## make the environment in .venv

$(STAMP): pyproject.toml constraints.txt
	@echo "making the environment in $(VENV): a few minutes, 2.9 GB, most of it TensorFlow"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: setup ## draw a small dataset and build it with dvc repro
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/dvc repro
	@$(BIN)/python demo/tour.py

test: setup format lint types floors pytest ## everything CI runs

format: setup ## check the format (make format FIX=1 fixes it)
	$(BIN)/ruff format $(if $(FIX),,--check) .

lint: setup ## look for mistakes (make lint FIX=1 fixes what it can)
	$(BIN)/ruff check $(if $(FIX),--fix) .

types: setup ## check the types
	$(BIN)/mypy

floors: setup ## check that imports point only downward
	$(BIN)/lint-imports

consumers: setup ## read shards with consumers that need an environment of their own (3 GB more)
	@$(PYTHON) -m venv $(CONSUMERS)
	@$(CONSUMERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/exporters/consumers/requirements.txt
	@$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
		> $$($(CONSUMERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth
	$(CONSUMERS)/bin/python -m pytest tests/exporters tests/test_readme.py $(PYTEST_ARGS) -k "not console and not demo"

pytest: setup ## run the tests; benchmarks run once, as plain tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: setup ## run the benchmarks (minutes), then print ratios
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only --benchmark-json=bench.json -o faulthandler_timeout=0 $(PYTEST_ARGS)
	$(BIN)/python -m benchmarks.ratios bench.json

bench-compare: setup ## print two results side by side: BEFORE=a.json AFTER=b.json
	$(BIN)/python -m benchmarks.ratios $(BEFORE) $(AFTER)

renew: setup ## after a change of bytes and of its number in formats.py: renew golden digests, dvc.lock, the README's table
	@$(BIN)/python -m tests.golden
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/dvc repro --force
	$(BIN)/python -m tests.test_readme

clean: ## remove the environment and everything built
	rm -rf $(VENV) $(CONSUMERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .benchmarks .hypothesis
