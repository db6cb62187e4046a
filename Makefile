# Everything lives in .venv, which the first `make serve` or `make test` makes. Needed: Python 3.11 or newer with
# venv and pip, and this folder. Versions come from the lock files; a second run installs nothing.
#
#   make serve              the HTTP service; `make serve HOST=0.0.0.0 PORT=9000`, or any CWIC_* variable
#   make serve TORCH=cuda   the same with PyTorch's CUDA build (2.7 GB to download)
#   make test               formatting, lint, types, tests
#   make release-check      all that has to hold before a release, from a fresh clone (needs what docker/check names, and Chromium);
#                           `PICTURES=FOLDER` to evaluate on, `BUILD_OPTIONS='...'` for buildah
#   make lint, make format  the first three of these; formatting put right
#   make venv               only the environment for development

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
TORCH := cpu
comma := ,
SOURCES := pyproject.toml requirements.lock requirements-$(TORCH).lock

# Only from make's own command line: some shells have a HOST of their own.
ifeq ($(origin HOST),command line)
export CWIC_HOST := $(HOST)
endif
ifeq ($(origin PORT),command line)
export CWIC_PORT := $(PORT)
endif

.PHONY: serve test lint format venv release-check

serve: $(VENV)/.serve-$(TORCH)
	@exec $(BIN)/cwic-serve

test: lint
	@$(BIN)/python -m pytest

lint: venv
	@$(BIN)/ruff format --check --quiet . || { echo 'formatting differs: run `make format`' >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

release-check: venv
	@$(BIN)/python -m tests.release_check $(if $(PICTURES),--pictures '$(PICTURES)') --build-options='$(BUILD_OPTIONS)'

format: venv
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

venv: $(VENV)/.dev-$(TORCH)

$(VENV)/.made:
	@for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        "$$python" -m venv $(VENV) && touch $@; exit; \
	    fi; \
	done; \
	echo "cwic needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$($(or $(PYTHON),python3) --version 2>&1)." >&2; \
	echo "Where another one is installed: make PYTHON=/path/to/python" >&2; \
	exit 1

# PyTorch first and alone, so that no other package brings another build of it. The build backend is installed like
# everything else, so that the lock file covers it too.
define install
	@echo 'installing into $(VENV) (once; some minutes on a slow line)'
	@$(PIP) --no-deps --requirement requirements-$(TORCH).lock
	@$(PIP) --constraint requirements.lock 'setuptools>=77'
	@$(PIP) --constraint requirements.lock --no-build-isolation --editable '$(1)'
	@rm -f $(VENV)/.serve-* $(VENV)/.dev-*
	@touch $(VENV)/.serve-$(TORCH)
endef

$(VENV)/.serve-$(TORCH): $(VENV)/.made $(SOURCES)
	$(call install,.)

$(VENV)/.dev-$(TORCH): $(VENV)/.made $(SOURCES)
	$(call install,.[otel$(comma)heif$(comma)client$(comma)train$(comma)measure$(comma)dev])
	@touch $@
