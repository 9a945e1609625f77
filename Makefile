# What a developer does here; `make` alone lists it. Needs Python 3.11 to 3.13, a C compiler and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ADDRESS ?= 127.0.0.1:50051

# Against which `make test` checks that no caller of the wire is broken: the last release, before the first one the
# commit before.
RELEASE ?= $(or $(shell git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null),$(shell git rev-parse --quiet --verify HEAD~1 2>/dev/null))

# durable-rules comes as source and sets no optimisation of its own; from 3.13 Python lacks a name it calls.
ENGINE_CC = gcc -O2$(shell $(PYTHON) -c 'import sys; sys.version_info >= (3, 13) and print(" -DPyEval_CallObject=PyObject_CallObject")')

# Two for each core: many tests wait for a disk to sync or for a server to start. A file stays in one process, since what
# its tests share (the rules, loaded) is costly to make.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

comma := ,
announce = @printf '\n== %s\n' "$(1)"
# Says what is left out and why; with ELIGIBILITY_REQUIRE=all that is a failure.
skip = { echo "skipped: $(1)"; test "$${ELIGIBILITY_REQUIRE:-}" != all; }

.PHONY: help setup test style types imports contract image rules unit demo serve bench format stubs clean

help:                   ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

setup: $(READY)         ## a virtual environment in .venv with everything that is needed here

$(READY): pyproject.toml .ci/tools.txt
	$(call announce,virtual environment in $(VENV))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	$(call announce,libraries (durable-rules is compiled by $(ENGINE_CC)))
	@CC="$(ENGINE_CC)" $(BIN)/python -m pip install --quiet --no-cache-dir --no-binary durable-rules --editable '.[dev]'
	$(call announce,tools)
	@$(BIN)/python -m pip install --quiet --no-cache-dir --require-hashes --requirement .ci/tools.txt
	@touch $@

test: style types imports contract image rules unit  ## everything that must hold before a change lands
	$(call announce,all checks passed)

style: $(READY)         ## ruff: lint and format
	$(call announce,style: ruff)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(READY)         ## mypy, strict
	$(call announce,types: mypy)
	@$(BIN)/mypy

imports: $(READY)       ## who may import whom
	$(call announce,imports: import-linter)
	@$(BIN)/lint-imports --no-logo

contract: $(READY)      ## the protos: lint, compatibility with the last release, stubs up to date
	$(call announce,contract: buf and the committed stubs)
	@if [ -n "$(RELEASE)" ]; then \
	    old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	    git archive '$(RELEASE)' proto | tar -x -C "$$old"; \
	    $(BIN)/python "$$old/proto/generate.py" --image "$$old/release.binpb" >/dev/null; \
	    $(BIN)/python proto/generate.py --check --against "$$old/release.binpb"; \
	    echo "no caller of $(RELEASE) is broken"; \
	else \
	    $(BIN)/python proto/generate.py --check; \
	    echo "compatibility was not checked: there is nothing before this commit"; \
	fi

image: $(READY)         ## hadolint on the Dockerfile
	$(call announce,image: hadolint)
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; else $(call skip,hadolint is not packaged for this machine); fi

rules: $(READY)         ## the rule packs: check them, run the cases beside them, make the pages to read them
	$(call announce,rules: check)
	@$(BIN)/eligibility rules check
	$(call announce,rules: test)
	@$(BIN)/eligibility rules test
	$(call announce,rules: pages to read them)
	@$(BIN)/eligibility rules docs --output build/docs --site build/rules

unit: $(READY)          ## pytest, and coverage of what runs fast; skipped tests are listed with their reason
	$(call announce,tests: pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not long' --cov
	$(call announce,tests: properties$(comma) conformance$(comma) faults$(comma) whole programs)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m long

demo: $(READY)          ## a tour of the answers, on made-up patients
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo/run

serve: $(READY)         ## the server on loopback, without TLS
	@$(BIN)/eligibility-server --rules rules --listen $(ADDRESS) --insecure

bench: $(READY)         ## measured side by side with other engines
	$(call announce,other engines)
	@$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(call announce,measuring)
	@$(BIN)/python -m benchmarks

format: $(READY)        ## lets ruff mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

stubs: $(READY)         ## writes server/pb anew from the protos
	@$(BIN)/python proto/generate.py

clean:                  ## removes the environment, builds, caches and reports
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name node_modules -prune -exec rm -rf {} + -o -name __pycache__ -prune -exec rm -rf {} +
