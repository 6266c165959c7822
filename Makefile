# Common commands; `make help` lists them. Everything runs in .venv, which `make setup` builds from the lock files.
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

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.runtime  ## Build .venv from requirements.lock (hash-checked)

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found, but Python 3.11 is needed; set its path: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.uv: requirements-uv.lock | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/.uv
	@echo "Installing requirements.lock (about 3 GB on disk) ..."
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.runtime server  ## Run the whole system on a generated corpus: train, select, package, serve, query
	@python -m flows.train --profile demo
	@python -m bentos.demo

# In folder order: the slow files run first, and the many fast ones fill the gaps at the end.
test: $(VENV)/.dev  ## Run all tests, two files at a time
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev  ## Run the formatter, linter, type checker, import contracts, and the check of the migrations
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-cache
	python -m polarity.record.migration

server: $(VENV)/.runtime  ## Start a local Prefect server, unless one is running
	@python -m ops.server

serve: $(VENV)/.runtime  ## Serve the champion's Bento on port 3000
	bentoml serve sentiment:latest

doctor: $(VENV)/.runtime  ## Check consistency, and repair what a killed process left behind
	@python -m polarity doctor --mend

rollback: $(VENV)/.runtime  ## Restore the previous champion, or version TO=
	@python -m polarity rollback $(if $(TO),--to $(TO))

prune: $(VENV)/.runtime  ## Delete old runs, versions, Bentos and results, never the champion's (DRY=1 only lists them)
	@python -m polarity prune $(if $(DRY),--dry-run)

container-test: $(VENV)/.dev  ## Build the champion's image, run it and test it against the contract (TAG= for a different Bento)
	tests/container/run.sh $(TAG)

bench: bench-serving bench-training bench-scoring  ## Run all benchmarks; tables and JSON go to benchmarks/results

bench-serving: $(VENV)/.dev  ## Compare serving with its peers (MODEL=folder, RANDOM_WEIGHTS=1, DEVICE=gpu)
	python -m benchmarks.serving $(or $(MODEL),$(if $(RANDOM_WEIGHTS),--random)) --device $(or $(DEVICE),cpu)

bench-training: $(VENV)/.dev  ## Compare the training flow with its bare steps, and fit 1,600,000 tweets (TWEETS=file, FLOW=options)
	python -m benchmarks.training.flow $(FLOW)
	python -m benchmarks.training.scale $(if $(TWEETS),--tweets $(TWEETS))

bench-estimates: $(VENV)/.dev  ## Check on real tweets that estimates of the accuracy in production keep what they promise (TWEETS=file)
	python -m benchmarks.estimates $(if $(TWEETS),--tweets $(TWEETS))

bench-scoring: $(VENV)/.dev  ## Score five million tweets, and compare with the bare model (MODEL=folder, ROWS=5000000, TWEETS=file)
	python -m benchmarks.scoring $(MODEL) --rows $(or $(ROWS),5000000) $(if $(TWEETS),--tweets $(TWEETS))

soak: $(VENV)/.dev  ## Run the overload, endurance, random-kill and damaged-file tests (several hours)
	POLARITY_FUZZ_FILES=10000 pytest tests/unit/data/test_records.py tests/unit/data/test_formats.py --timeout 3600
	pytest -m soak --timeout 1800

ui: $(VENV)/.runtime  ## Start Prefect with a worker and all deployments, MLflow, and the pages of the runs
	@python -m ops.ui

stop: $(VENV)/.runtime  ## Stop what `make demo`, `make serve` and `make ui` started
	@python -m ops.ui stop

locks: $(VENV)/.uv  ## Regenerate the lock files
	printf 'sentence-transformers\n' >$(VENV)/excludes.txt
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --excludes $(VENV)/excludes.txt --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --excludes $(VENV)/excludes.txt --python-version 3.11 pyproject.toml --extra dask --extra s3 --extra dev -c requirements.lock -o requirements-dev.lock
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --no-annotate --python-version 3.11 -c requirements-dev.lock - -o requirements-uv.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.11 bentos/requirements.in -c requirements.lock -o bentos/requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.11 bentos/requirements-gpu.in -c requirements.lock -o bentos/requirements-gpu.lock

.PHONY: help setup demo test lint server serve doctor rollback prune container-test bench bench-serving bench-training bench-scoring bench-estimates soak ui stop locks
