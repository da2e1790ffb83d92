# The commands for developers and first visitors. `make` alone lists them.
#
# A fresh Debian or Ubuntu machine with Python >= 3.11 is enough: everything else is installed, as
# root or with sudo, without a terminal. macOS is untested.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# Empty: longer in a terminal, to leave time for the page.
DURATION_S ?=
OUTPUT_DIR ?= demo-output
PYTEST_ARGS ?=
NODE_EXAMPLE := deploy/examples/node

# pip's progress belongs in a terminal, not in a log.
QUIETLY = $$([ -t 1 ] || echo --quiet)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.installed ## track a rendered match live: make demo DURATION_S=20
	@$(BIN)/masklet demo $(if $(DURATION_S),--duration-s $(DURATION_S)) --output-dir $(OUTPUT_DIR)

.PHONY: install
install: $(VENV)/.installed ## install the environment and the masklet command into .venv/bin

.PHONY: test
test: $(VENV)/.installed-dev $(VENV)/.system-packages $(VENV)/.node-packages ## run all tests, with a real RTSP server and a real browser
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.installed-dev ## run ruff, mypy and the layer contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/.installed-dev $(VENV)/.system-packages ## measure speed, latency and memory here; docs/benchmarks.md has our figures
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks

.PHONY: wheel
wheel: $(VENV)/.installed-dev ## build dist/masklet-*.whl
	@$(BIN)/python -m build --wheel

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate
.PHONY: lock
lock: $(VENV)/.installed-dev ## pin the packages of pyproject.toml anew, with hashes: deploy/*.lock
	@# setuptools builds Masklet itself, which the lists do not say.
	@echo 'setuptools>=77' | $(LOCK) --upgrade pyproject.toml - --output-file deploy/requirements.lock
	@echo 'setuptools>=77' | $(LOCK) --constraint deploy/requirements.lock pyproject.toml - --extra dev \
	    --output-file deploy/requirements-dev.lock
	@echo 'trackeval==1.3.0' | $(LOCK) --no-deps - --output-file deploy/requirements-apart.lock

.PHONY: audit
audit: $(VENV)/.installed-dev ## ask the registry for known holes in the pinned packages
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement deploy/requirements-dev.lock

.PHONY: clean
clean: ## remove everything that was built, including the environment
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache $(OUTPUT_DIR) artefacts
	@rm -rf $(NODE_EXAMPLE)/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a second call does nothing unless a prerequisite has changed.

$(VENV)/bin/python:
	@python=$$(deploy/find-python); \
	if ! $$python -c 'import ensurepip' 2>/dev/null; then \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    deploy/install-system-packages <(echo "python$$version-venv"); \
	fi; \
	$$python -m venv $(VENV)

# Exactly the packages of the lists, by their hashes, then Masklet itself without asking for more.
INSTALL = $(BIN)/python -m pip install $(QUIETLY)
INSTALL_MASKLET = $(INSTALL) --no-deps --no-build-isolation --editable .

$(VENV)/.installed: deploy/requirements.lock setup.py | $(VENV)/bin/python
	@echo "installing Masklet and its dependencies into $(VENV) (torch is large; the first time takes minutes)"
	@$(INSTALL) --require-hashes --requirement $<
	@$(INSTALL_MASKLET)
	@touch $@

$(VENV)/.installed-dev: deploy/requirements-dev.lock deploy/requirements-apart.lock setup.py | $(VENV)/bin/python
	@echo "installing Masklet with its development tools into $(VENV)"
	@$(INSTALL) --require-hashes --requirement $<
	@# Without its dependencies: its OpenCV with a display would replace the headless one.
	@$(INSTALL) --no-deps --require-hashes --requirement deploy/requirements-apart.lock
	@$(INSTALL_MASKLET)
	@touch $@ $(VENV)/.installed

$(VENV)/.system-packages: deploy/test-packages.txt | $(VENV)/bin/python
	@deploy/install-system-packages $<
	@touch $@

$(VENV)/.node-packages: $(NODE_EXAMPLE)/package-lock.json $(VENV)/.system-packages
	@cd $(NODE_EXAMPLE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
