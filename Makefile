# Common commands; `make help` lists them. Everything runs in .venv, which `make setup` builds from the lock files.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The newest supported Python that runs here; PYTHON=... names another.
PYTHON ?= $(shell for version in 3.12 3.11; do python$$version -c '' 2>/dev/null && echo python$$version && break; done)
VENV := .venv
BIN := $(VENV)/bin
PAGE := page/.venv
PEERS := benchmarks/.venv
SERVERS := benchmarks/serving/.venv

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
# As pip does: the certificate of a company's proxy is in the system's store.
export UV_SYSTEM_CERTS ?= true

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.runtime  ## Build .venv from requirements.lock (hash-checked)

$(VENV)/bin/python:
	@python=$(PYTHON); "$${python:-python3.12}" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null || \
	  { echo "$${python:-python3.11 and python3.12} cannot be run as Python 3.11 or 3.12, one of which is needed; set its path: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.uv: requirements-uv.lock | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-uv.lock
	@touch $@

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/.uv
	@echo "Installing requirements.lock (about 4 GB on disk) ..."
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

$(PAGE)/.installed: page/requirements.lock | $(VENV)/.uv
	@test -x $(PAGE)/bin/python || $(PYTHON) -m venv --without-pip $(PAGE)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(PAGE)/bin/python --require-hashes --no-deps -r page/requirements.lock
	@touch $@

$(PEERS)/.installed: benchmarks/requirements-peers.lock | $(VENV)/.uv
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv --without-pip $(PEERS)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(PEERS)/bin/python --require-hashes --no-deps -r benchmarks/requirements-peers.lock
	@touch $@

$(SERVERS)/.installed: benchmarks/requirements-servers.lock | $(VENV)/.uv
	@test -x $(SERVERS)/bin/python || $(PYTHON) -m venv --without-pip $(SERVERS)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(SERVERS)/bin/python --require-hashes --no-deps -r benchmarks/requirements-servers.lock
	@touch $@

demo: $(VENV)/.runtime server  ## Run the whole system on a generated corpus: train, select, package, serve, query
	@python -m flows.train --profile demo
	@python -m bentos.demo

loop: $(VENV)/.dev  ## Show drift, training, a canary and a takeover on live traffic, in 15 minutes (ARGS="--generated --keep")
	@python -m ops.loop $(ARGS)

# In folder order: the slow files run first, and the many fast ones fill the gaps at the end.
test: $(VENV)/.dev $(PAGE)/.installed  ## Run all tests, two files at a time (COVERAGE=1 writes coverage.xml)
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-report term --cov-report xml)

test-failed: $(VENV)/.dev $(PAGE)/.installed  ## Run the tests that failed last time, one after the other
	pytest --last-failed --last-failed-no-failures none

lint: $(VENV)/.dev $(PAGE)/.installed  ## Run the formatter, linter, type checker, import contracts, and the check of the migrations
	ruff format --check .
	ruff check .
	mypy
	mypy --python-executable $(PAGE)/bin/python --ignore-missing-imports page
	lint-imports --no-cache
	python -m polarity.record.migration

# Its package fetches the program from GitHub when it is installed, so it is in no lock of ours.
$(BIN)/actionlint: .github/requirements.lock $(VENV)/.dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r .github/requirements.lock
	@touch $@

lint-workflows: $(VENV)/.dev $(BIN)/actionlint  ## Check the workflows of GitHub Actions
	actionlint
	zizmor --offline .github/workflows

docs: $(VENV)/.dev  ## Build the documentation into site/; warnings and broken links are errors
	zensical build --clean --strict --config-file mkdocs.yml

hooks: $(VENV)/.dev  ## Check each commit with the tools of `make lint`
	pre-commit install

release: $(VENV)/.dev  ## Check everything, then write the version, the changelog and the tag (VERSION=1.2.3; PUSH=1 also pushes them)
	@python -m ops.release $(VERSION) --check
	@$(MAKE) lint test docs
	@python -m ops.release $(VERSION) $(if $(PUSH),--push)

server: $(VENV)/.runtime  ## Start a local Prefect server, unless one is running
	@python -m ops.server

serve: $(VENV)/.runtime  ## Serve the champion's Bento on port 3000
	bentoml serve sentiment:latest

audit: $(VENV)/.dev  ## Look up known vulnerabilities of all locked packages (accepted-findings.toml lists exceptions)
	@python -m ops.audit

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

bench-servers: $(VENV)/.dev $(SERVERS)/.installed  ## Compare serving with mosec, FastAPI, LitServe and MLServer by wrk (MODEL=folder, TWEETS=file, ARGS="--rounds 5")
	python -m benchmarks.serving.beside $(MODEL) --peers $(SERVERS)/bin/python $(if $(TWEETS),--tweets $(TWEETS)) $(ARGS)

bench-estimates: $(VENV)/.dev  ## Check on real tweets that estimates of the accuracy in production keep what they promise (TWEETS=file)
	python -m benchmarks.estimates $(if $(TWEETS),--tweets $(TWEETS))

bench-drift: $(VENV)/.dev  ## Count false alarms and injected drifts that are found, on real tweets (TWEETS=file)
	python -m benchmarks.drift $(if $(TWEETS),--tweets $(TWEETS))

bench-drift-peers: $(VENV)/.dev $(PEERS)/.installed  ## Compare drift detection with Evidently and NannyML (ARGS="--windows 400 --trials 40")
	python -m benchmarks.drift --peers $(PEERS)/bin/python $(or $(ARGS),--windows 400 --trials 40)

bench-takeovers: $(VENV)/.dev  ## Move the served champion ten times under load, and measure what mirroring costs it
	python -m benchmarks.takeovers

bench-scoring: $(VENV)/.dev  ## Score five million tweets, and compare with the bare model (MODEL=folder, ROWS=5000000, TWEETS=file)
	python -m benchmarks.scoring $(MODEL) --rows $(or $(ROWS),5000000) $(if $(TWEETS),--tweets $(TWEETS))

soak: $(VENV)/.dev  ## Run the overload, endurance, random-kill and damaged-file tests (several hours)
	POLARITY_FUZZ_FILES=10000 pytest tests/unit/data/test_records.py tests/unit/data/test_formats.py --timeout 3600
	pytest -m soak --timeout 1800

page: $(PAGE)/.installed  ## Start the page for people (POLARITY_URL=service, POLARITY_API_KEY=key), in an environment of its own
	@$(PAGE)/bin/python -m page

ui: $(VENV)/.runtime  ## Start Prefect with a worker and all deployments, MLflow, and the pages of the runs
	@python -m ops.ui

stop: $(VENV)/.runtime  ## Stop what `make demo` and `make ui` keep running; asks if runs are in progress (FORCE=1 does not)
	@python -m ops.ui stop $(if $(FORCE),--force)

# A package is taken a week after its upload at the earliest: time for a malicious one to be found.
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --exclude-newer "1 week" --no-header --generate-hashes
WHOLE := --excludes $(VENV)/excludes.txt pyproject.toml --extra train
DEV := $(WHOLE) --extra dask --extra s3 --extra dev
OTHER := $(VENV)/locks-3.12
PINS := grep -oE '^[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^ ]+'

# The packages of 3.11 are those of 3.12 and a few more, so one lock serves both; the last lines check that.
locks: $(VENV)/.uv  ## Regenerate the lock files
	printf 'sentence-transformers\n' >$(VENV)/excludes.txt
	$(COMPILE) --python-version 3.11 $(WHOLE) -o requirements.lock
	$(COMPILE) --python-version 3.11 $(DEV) -c requirements.lock -o requirements-dev.lock
	echo uv | $(COMPILE) --python-version 3.11 --no-annotate -c requirements-dev.lock - -o requirements-uv.lock
	$(COMPILE) --python-version 3.11 bentos/requirements.in -c requirements.lock -o bentos/requirements.lock
	$(COMPILE) --python-version 3.11 bentos/requirements-gpu.in -c requirements.lock -o bentos/requirements-gpu.lock
	$(COMPILE) --python-version 3.11 page/requirements.in -c requirements.lock -o page/requirements.lock
	$(COMPILE) --python-version 3.11 benchmarks/requirements-peers.in -o benchmarks/requirements-peers.lock
	$(COMPILE) --python-version 3.11 pyproject.toml benchmarks/requirements-servers.in -o benchmarks/requirements-servers.lock
	mkdir -p $(OTHER)/page
	$(COMPILE) --python-version 3.12 $(DEV) -c requirements-dev.lock -o $(OTHER)/requirements-dev.lock
	$(COMPILE) --python-version 3.12 page/requirements.in -c page/requirements.lock -o $(OTHER)/page/requirements.lock
	@for lock in requirements-dev.lock page/requirements.lock; do \
	  missing=$$($(PINS) $(OTHER)/$$lock | grep -vxFf <($(PINS) $$lock) || true); \
	  [ -z "$$missing" ] || { echo "Python 3.12 needs what $$lock lacks: $$missing" >&2; exit 1; }; \
	done

.PHONY: help setup demo loop test test-failed lint lint-workflows docs audit server serve doctor rollback prune container-test bench bench-serving bench-servers bench-training bench-takeovers bench-scoring bench-estimates bench-drift bench-drift-peers soak page ui stop locks
