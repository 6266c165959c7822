# What people type. `make help` lists it. Everything runs in .venv, which `make setup` builds from the locks.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.runtime  ## Build .venv from requirements.lock (hash-checked)

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed, and there is no $(PYTHON); name yours: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.uv: requirements-uv.lock | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/.uv
	@echo "Installing what requirements.lock names (about 3 GB on disk) ..."
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.runtime server  ## The whole system on a generated corpus: train, choose, package, serve, ask
	@python -m flows.train --profile demo
	@python -m bentos.demo

# In the order of the folders: the long files come first, and the many short ones fill up the end.
test: $(VENV)/.dev  ## All tests, two files at a time
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev  ## Formatter, linter, type checker and the contracts between the rooms
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache

server: $(VENV)/.runtime  ## Start a local Prefect server if none answers
	@python -m ops.server

serve: $(VENV)/.runtime  ## Serve the champion's Bento on port 3000
	bentoml serve sentiment:latest

doctor: $(VENV)/.runtime  ## Is everything consistent? Mends what a kill left
	@python -m polarity doctor --mend

rollback: $(VENV)/.runtime  ## Put the previous champion back, or the version named with TO=
	@python -m polarity rollback $(if $(TO),--to $(TO))

prune: $(VENV)/.runtime  ## Remove old runs, versions, Bentos and results, never the champion's (DRY=1 only says which)
	@python -m polarity prune $(if $(DRY),--dry-run)

container-test: $(VENV)/.dev  ## Build the champion's image, run it, hold the contract's tests against it (TAG= for another)
	tests/container/run.sh $(TAG)

bench: bench-serving bench-training bench-scoring  ## All benchmarks: tables and JSON in benchmarks/results

bench-serving: $(VENV)/.dev  ## Serving beside its peers (MODEL=folder, RANDOM_WEIGHTS=1, DEVICE=gpu)
	python -m benchmarks.serving $(or $(MODEL),$(if $(RANDOM_WEIGHTS),--random)) --device $(or $(DEVICE),cpu)

bench-training: $(VENV)/.dev  ## The flow beside its steps by hand, and 1,600,000 tweets (TWEETS=file, FLOW=options)
	python -m benchmarks.training.flow $(FLOW)
	python -m benchmarks.training.scale $(if $(TWEETS),--tweets $(TWEETS))

bench-scoring: $(VENV)/.dev  ## Five million tweets beside the model alone (MODEL=folder, ROWS=5000000, TWEETS=file)
	python -m benchmarks.scoring $(MODEL) --rows $(or $(ROWS),5000000) $(if $(TWEETS),--tweets $(TWEETS))

soak: $(VENV)/.dev  ## Overload, endurance, and kills at random moments: some hours
	pytest -m soak --timeout 1800

ui: $(VENV)/.runtime  ## Prefect with a worker and all deployments, MLflow, and the runs' pages
	@python -m ops.ui

stop: $(VENV)/.runtime  ## Stop what `make demo`, `make serve` and `make ui` started
	@python -m ops.ui stop

locks: $(VENV)/.uv  ## Resolve the locks anew
	printf 'sentence-transformers\n' >$(VENV)/excludes.txt
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --excludes $(VENV)/excludes.txt --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --excludes $(VENV)/excludes.txt --python-version 3.11 pyproject.toml --extra dask --extra s3 --extra dev -c requirements.lock -o requirements-dev.lock
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --no-annotate --python-version 3.11 -c requirements-dev.lock - -o requirements-uv.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.11 bentos/requirements.in -c requirements.lock -o bentos/requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.11 bentos/requirements-gpu.in -c requirements.lock -o bentos/requirements-gpu.lock

.PHONY: help setup demo test lint server serve doctor rollback prune container-test bench bench-serving bench-training bench-scoring soak ui stop locks
