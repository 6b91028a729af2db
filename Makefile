# Needs Python 3.11 or newer, git and make. Everything is installed into .venv by pip, by hash, from requirements/,
# which `make lock` writes from pyproject.toml with Poetry. Nothing else needs Poetry.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?=
POETRY ?= poetry
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes
# What a start of the server imports, compiled at its installation; pip would compile all of SciPy with it.
STARTING := fastapi, joblib, loguru, onnxruntime, prometheus_client, pydantic_settings, sklearn.pipeline, tokenizers, \
	uvicorn, wandb

.PHONY: help install install-monitoring install-dev install-ml install-tensorflow run wandb test test-fast \
	test-without-tensorflow test-tensorflow test-cloud e2e audit coverage mutation soak lint format lock train \
	benchmarks dashboard deploy deploy-local easter clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  \033[1m%-24s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Install. One .venv, extended by what a target needs; a stamp a set, so that nothing is installed twice.

$(VENV)/.created:
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		python="$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh)" || exit 1; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) || exit 1; \
	fi
	@touch $@

$(VENV)/.%: requirements/%.txt | $(VENV)/.created
	@echo "Installing $<"
	@$(PIP_INSTALL) -r $<
	@touch $@

$(VENV)/.serving: requirements/serving.txt | $(VENV)/.created
	@echo "Installing $<"
	@$(PIP_INSTALL) --no-compile -r $<
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import $(STARTING)"
	@touch $@

install: $(VENV)/.serving ## Install what serving needs

install-dev: $(VENV)/.test ## Install serving, ml without TensorFlow, test tools and linters

install-ml: $(VENV)/.ml ## Install what ml/ and the notebooks need beside TensorFlow

install-monitoring: $(VENV)/.monitoring ## Install what `python -m app.monitoring` needs

install-tensorflow: $(VENV)/.tensorflow ## Install the tensorflow extra

run: $(VENV)/.serving ## Serve the configured model; the embedded one where nothing is configured
	@exec $(BIN)/python -m app

wandb: $(VENV)/.test ## Start a loopback W&B for the laptop
	@exec $(BIN)/python -m tests.wandb_server

dashboard: $(VENV)/.monitoring ## Make a W&B workspace with the panels that matter, and print its address
	@exec $(BIN)/python -m app.monitoring dashboard $(ARGS)

train: $(VENV)/.ml $(VENV)/.tensorflow ## Train the sentiment model; ARGS="..." go to `python -m ml train`
	@exec $(BIN)/python -m ml train $(ARGS)

test: test-without-tensorflow test-tensorflow ## Run every test, in two stages

test-fast: $(VENV)/.test ## Run the tests that need no TensorFlow and no patience
	$(BIN)/python -m pytest -m "not tensorflow and not e2e and not slow and not cloud" $(ARGS)

test-without-tensorflow: $(VENV)/.test ## Run the first stage of `make test`
	@echo "== Stage 1 of 2: tests without TensorFlow"
	$(BIN)/python -m pytest -m "not tensorflow and not cloud" $(ARGS)

test-tensorflow: $(VENV)/.test $(VENV)/.tensorflow ## Run the second stage of `make test`
	@echo "== Stage 2 of 2: tests with TensorFlow"
	@$(BIN)/python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("tensorflow"))' || { \
		echo "TensorFlow has no wheels for $$($(BIN)/python --version): use Python 3.11 to 3.13, or make test-fast." >&2; \
		exit 1; }
	$(BIN)/python -m pytest -m tensorflow $(ARGS)

test-cloud: $(VENV)/.test $(VENV)/.cloud ## Build and deploy with Docker and gcloud against stand-ins on this machine
	$(BIN)/python -m pytest -m cloud $(ARGS)

e2e: $(VENV)/.test ## Run the end-to-end tests that need no TensorFlow
	$(BIN)/python -m pytest -m "e2e and not tensorflow" $(ARGS)

audit: $(VENV)/.audit ## Look up what is pinned among the published advisories
	@$(BIN)/python scripts/audit.py

coverage: $(VENV)/.test $(VENV)/.tensorflow ## Run every test, and report the branches of app/ and ml/ that none takes
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest -m "not tensorflow" $(ARGS)
	$(BIN)/python -m coverage run -m pytest -m tensorflow $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --fail-under=92

mutation: $(VENV)/.test $(VENV)/.mutation ## Change the core of app/services line by line, and see whether a test notices
	$(BIN)/python -m mutmut run $(ARGS)
	@$(BIN)/python -m mutmut results

soak: $(VENV)/.test ## Load a real server for ten minutes with faults switched on and off; ARGS="--seconds 60"
	@exec $(BIN)/python -m tests.soak $(ARGS)

lint: $(VENV)/.test ## Check style, types and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.test ## Mend what the linter can mend, and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: ## Write poetry.lock and requirements/ after a change of pyproject.toml
	@POETRY='$(POETRY)' sh scripts/lock.sh

benchmarks: $(VENV)/.test ## Run the benchmarks
	@exec $(BIN)/python -m benchmarks $(ARGS)

deploy: ## Build with Cloud Build and deploy to Cloud Run; needs gcloud, PROJECT and REGION
	@exec sh deploy/deploy.sh

deploy-local: ## Build the image and run it with Docker as Cloud Run would; EXTRAS=tensorflow for every loader
	@exec sh deploy/local.sh

easter: ## Something to look at
	@python="$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh)" && exec "$$python" scripts/easter.py

clean: ## Remove .venv and what tools leave behind; models and logs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.* htmlcov mutants
	find app ml tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
