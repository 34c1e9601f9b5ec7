# Everything a newcomer needs is `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# Where a missing peer is a failure, so is a missing torch: then it is installed as well.
TEST_ENVIRONMENT := $(if $(filter 1,$(KOPRU_REQUIRE_PEERS)),torch,dev)
# Tests that run at once. Two suit the two cores that the time budget is made for.
WORKERS ?= 2

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: runtime
runtime:
	@requirements/install runtime

.PHONY: environment
environment:
	@requirements/install dev

.PHONY: demo
demo: runtime ## install, then send a sample study through the daemon and show what comes out
	@$(BIN)/kopru demo

.PHONY: peers
peers:
	@requirements/install $(TEST_ENVIRONMENT)
	@$(BIN)/python -m tests.peers.node install
	@$(BIN)/python -m tests.peers.mlserver install

.PHONY: test
test: peers ## install, then run all checks and tests
	@$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --durations=10

.PHONY: soak
soak: peers ## the long forms of the proofs: kills, faults, volumes (an hour or more)
	@KOPRU_SOAK=1 $(BIN)/python -m pytest -m soak --timeout=0 --durations=0

.PHONY: lint
lint: environment ## style, types, import layers and the project's own rules
	@$(BIN)/python -m tests.lint

.PHONY: format
format: environment ## bring all files into the project's style
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

.PHONY: bench
bench: ## the benchmarks, one after the other, beside their peers
	@requirements/install peers
	@set -e; for file in benchmarks/[a-z]*.py; do echo "== $$file"; PYTHONPATH=. $(BIN)/python -P $$file; done

.PHONY: docs
docs: environment ## check that every link and path that the documents name leads somewhere
	@$(BIN)/python -m tests.lint documents_lead_somewhere

.PHONY: remote
remote: ## add what speaks to models on other servers (Triton, KServe, OpenVINO Model Server)
	@requirements/install remote

.PHONY: torch
torch: ## add PyTorch, to train models
	@requirements/install torch

.PHONY: lock
lock: environment ## make requirements/*.lock anew from pyproject.toml
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python requirements/lock.py

.PHONY: migration
migration: environment ## write a migration for what changed in the tables: make migration WHY="…"
	@test -n "$(WHY)" || { echo 'say what changes: make migration WHY="Add the …"' >&2; exit 2; }
	@set -e; folder=$$(mktemp -d); trap 'rm -r "$$folder"' EXIT; url="sqlite+pysqlite:///$$folder/kopru.sqlite"; \
	$(BIN)/alembic -x url="$$url" upgrade head; \
	$(BIN)/alembic -x url="$$url" revision --autogenerate -m "$(WHY)" \
	    --rev-id "$$(printf '%04d' $$(( $$(ls daemon/database/migrations/versions | grep -c '^r' || true) + 1 )))"; \
	sed -i '/# ###/d' daemon/database/migrations/versions/r*.py; $(BIN)/ruff format --quiet daemon/database/migrations

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist tests/peers/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
