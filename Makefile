# One word for each thing to do. Needs python3 (3.11 or newer), make and git; everything else is set up in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Set-up never reads an environment that happens to be active.
unexport PYTHONPATH VIRTUAL_ENV

.PHONY: help demo ui test kill-suite large check bench bench-lake chaos simulate clean lock

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.run ## archive the embedded sandbox's recordings, end to end, below ./demo
	@$(BIN)/recording-archive demo

ui: $(VENV)/.run ## the Dagster UI and daemon, with the settings of the environment and .env
	@export DAGSTER_HOME="$${DAGSTER_HOME:-$(CURDIR)/.dagster}" && mkdir -p "$$DAGSTER_HOME" && \
	  { [ -f "$$DAGSTER_HOME/dagster.yaml" ] || cp dagster.yaml "$$DAGSTER_HOME/"; } && exec $(BIN)/dagster dev -w workspace.yaml

test: $(VENV)/.dev ## all tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

kill-suite: $(VENV)/.dev ## kill -9 at each failpoint, twenty times each (ROUNDS=20), on local disk and S3; not a part of the tests
	@KILL_ROUNDS=$(or $(ROUNDS),20) $(BIN)/python -m pytest tests/survival/test_kill.py $(ARGS)

large: $(VENV)/.dev ## a recording of 1 GiB, cut at 90 % with its link expired: what is fetched again; not a part of the tests
	@LARGE_MEGABYTES=$(or $(MEGABYTES),1024) $(BIN)/python -m pytest -q tests/survival/test_expired_at_ninety.py $(ARGS)

check: $(VENV)/.dev ## lint, format, types, floors, dead code, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/deptry .

bench: $(VENV)/.dev ## the transfer beside its peer, interleaved; writes docs/performance.md
	@$(BIN)/python -m benchmarks.transfer

bench-lake: $(VENV)/.bench ## a lake of ten million executions, and what is asked of it; 10 GB of disk; writes docs/performance.md
	@$(BIN)/python -m benchmarks.lake $(ARGS)

simulate: $(VENV)/.dev ## random worlds, SEEDS of them; or one again, SEED=n; writes docs/reliability.md
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),500) --write)

chaos: $(VENV)/.dev ## archive 10,000 recordings while a fifth of all calls fails; writes docs/reliability.md
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

clean: ## remove the demo, the environment and the caches; keeps .env, the archive and Dagster's history
	rm -rf demo $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache .tmp_dagster_home_*

lock: ## pin the dependencies of pyproject.toml again (for maintainers)
	@for set in run dev bench; do \
	  case $$set in run) group="";; dev) group="--group dev";; bench) group="--group dev --group bench -c requirements/dev.txt";; esac; \
	  $(BIN)/uv pip compile pyproject.toml $$group --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-strip-extras --quiet -o requirements/$$set.txt || exit 1; \
	done

# pip brings the pinned installer, the installer brings the rest; where it cannot (an index that only pip is told of), pip does.
$(VENV)/bin/uv: requirements/installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	@touch $@

define install
	@echo "setting up $(VENV) ($(1)) ..."
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes --compile-bytecode -r requirements/$(1).txt \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$(1).txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@
endef

$(VENV)/.run: $(VENV)/bin/uv requirements/run.txt pyproject.toml
	$(call install,run)

$(VENV)/.dev: $(VENV)/bin/uv requirements/dev.txt pyproject.toml
	$(call install,dev)
	@touch $(VENV)/.run

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	$(call install,bench)
