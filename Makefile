# What there is to do: make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# What is imported is compiled then; much of it never is.
INSTALL = $(PIP) install --quiet --no-compile --require-hashes
# Versions and hashes only: no registry is named.
COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
# One more than the cores of a small machine: tests wait as well as compute.
WORKERS ?= 3
# So many sets of real servers: what they do is waited for more.
SETS ?= 4
SOURCES := bot handlers models migrations tests bench

.DEFAULT_GOAL := help
.PHONY: help setup demo test check e2e thorough bench chaos servers servers-up lock clean

# Some machines are told to keep no compiled files: each of the many processes here would then compile Sluice anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

# The stamps make a second call free; a changed lock installs again.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sluice needs Python 3.11 or newer; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make $(VENV): is the venv module there (Debian: python3-venv)?" >&2; exit 1; }

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "Installing what Sluice needs into $(VENV) …"
	@$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(BIN)/python
	@echo "Installing what Sluice and its tests need into $(VENV) …"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.dev ## Install everything for working on Sluice

demo: $(VENV)/.runtime ## Play a story in a sandbox: Python and make are enough
	@$(BIN)/python -m bot demo

test: $(VENV)/.dev ## Run the tests (not the long and the thorough ones, nor those that need the real servers)
	@$(BIN)/python -m pytest -q -m "not e2e and not long and not thorough" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev ## Lint, types, import rules
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile

servers: ## Build the real servers into a cache (needs Go)
	@$(PYTHON) -m tests.servers.build

servers-up: servers $(VENV)/.dev ## Start the real servers and print what to export
	@$(BIN)/python -m tests.servers.up

e2e: servers $(VENV)/.dev ## Run the tests on the real servers, and the long ones
	@$(BIN)/python -m pytest -q -m "e2e or long" -n $(SETS) --dist loadfile --no-loadscope-reorder --timeout 400 --deselect tests/e2e/test_timing.py
	@$(BIN)/python -m pytest -q -m e2e -s tests/e2e/test_timing.py

thorough: $(VENV)/.dev ## Run the thorough tests, the long ones in full: every crash point, every story
	@THOROUGH=1 $(BIN)/python -m pytest -q -m "(long or thorough) and not e2e" -n $(WORKERS) --timeout 7200

bench: $(VENV)/.dev ## Measure; one JSON object a line
	@for bench in bench/*.py; do $(BIN)/python -m bench.$$(basename $$bench .py) || exit 1; done

chaos: $(VENV)/.dev ## Kill and count; one JSON object a line (PART=kills|edits|races|model, SEED=N)
	@$(BIN)/python -m tests.chaos $(PART) $(if $(SEED),--seed $(SEED))

lock: | $(BIN)/python ## Resolve the dependencies again
	@$(PIP) install --quiet 'pip-tools~=7.5'
	@$(COMPILE) --output-file requirements.txt pyproject.toml
	@echo 'hatchling' | $(COMPILE) --output-file requirements-build.txt -
	@$(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean: ## Remove what was made here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
