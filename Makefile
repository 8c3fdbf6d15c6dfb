# Everything a developer types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install install-train demo test ci check sim policy-fuzz sim-mutants chaos rivals bridges bench bench-routing oracle docs fmt lock clean

# The first interpreter that really runs and that the platform supports.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done; true)
VENV := .venv/bin

help:  ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

install:  ## Make .venv from the locked packages (needs Python 3.11 to 3.13, nothing else)
	@test -n "$(PYTHON)" || { echo "install: no Python 3.11, 3.12 or 3.13 found" >&2; exit 1; }
	@$(PYTHON) -m tools.install

install-train:  ## The same, with what training the models needs
	@test -n "$(PYTHON)" || { echo "install: no Python 3.11, 3.12 or 3.13 found" >&2; exit 1; }
	@$(PYTHON) -m tools.install --train

demo: install  ## Install, bring everything up, run real intents, show what happened
	@$(VENV)/sep demo all

test: install  ## Run the suites; `make test SUITES="unit ray"` runs some
	@$(VENV)/python -m tools.run_tests $(SUITES)

check: install  ## Format, lint, types, import contracts, sizes, floats, leaks
	@$(VENV)/python -m tools.check

ci: install  ## What .ci/run runs: the checks, all suites, the wheel in a clean environment
	@$(VENV)/python -m tools.run_tests check all wheel

sim: install  ## Simulate 20,000 days on which everything goes wrong; SEEDS=A..B for others
	@$(VENV)/sep sim --seeds $(or $(SEEDS),0..20000)

bridges: install  ## Every fault of every bridge on real contracts, and random ones
	@$(VENV)/python -m tools.run_tests bridges

policy-fuzz: install  ## Race 100,000 random intents against changing limits and halts; SEED=n
	@$(VENV)/python -m tools.policy_fuzz --seed $(or $(SEED),1) --intents $(or $(INTENTS),100000)

sim-mutants: install  ## Plant every known bug and see the simulation find it
	@$(VENV)/sep sim --bugs

chaos: install  ## Kill everything on a platform of its own while intents flow; SEED=1 FAULTS=500
	@$(VENV)/sep chaos --seed $(or $(SEED),1) --faults $(or $(FAULTS),500) --json .sep/chaos.json

rivals: install  ## Two whole platforms on one database and the same chains; FOR=600
	@$(VENV)/sep chaos --rivals --seconds $(or $(FOR),600) --json .sep/rivals.json

bench: install  ## Run the benchmarks; results go to bench/results
	@$(VENV)/python -m bench

oracle: install  ## 100,000 swaps and 1,000 plans against the real contracts, to the unit (minutes)
	@$(VENV)/python -m bench.oracle $(ORACLE)

bench-routing: install  ## Time routing and its gaps; its peer cvxpy comes with install-train
	@OPENBLAS_NUM_THREADS=1 $(VENV)/python -m bench routing

docs: install  ## Draw the state machines anew from their tables
	@$(VENV)/python -m tools.diagrams

fmt: install  ## Format the code and fix what can be fixed
	@$(VENV)/ruff check --fix-only --quiet .
	@$(VENV)/ruff format .

lock: install  ## Resolve requirements*.lock anew; `make lock UPGRADE=1` takes the newest
	@$(VENV)/python -m tools.lock $(if $(UPGRADE),--upgrade)

clean:  ## Remove what builds and checks left behind; .venv and .sep stay
	@rm -rf build dist *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
