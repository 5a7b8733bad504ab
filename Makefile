# Everything that is done often. `make` alone prints this list, from this file.

.DEFAULT_GOAL := help
.PHONY: help run test check crash soak bench bench-peer install proto format lint typecheck lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: install ## Set up if needed, then run everything: database, APIs, workers, sandbox (Ctrl-C stops it)
	@exec .venv/bin/kassa dev

test: install ## Set up if needed, then run all tests (ARGS="tests/unit -k money" for some of them)
	@exec .venv/bin/python -m pytest -n 4 --dist loadfile $(ARGS)

check: install ## Format, lint, types, import contracts, house rules, known vulnerabilities
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	KASSA_TEST_DATABASE=none .venv/bin/python -m pytest -q tests/test_house.py
	.venv/bin/python scripts/audit.py

crash: install ## Play every fault and write docs/faults.md (ARGS="--only F02 --runs 50", HOURS=1 for chance, MUTANTS=1 for broken guards)
	@exec .venv/bin/python -m tests.crash $(if $(HOURS),--hours $(HOURS)) $(if $(MUTANTS),--mutants) $(ARGS)

soak: install ## Buy for eight hours and watch memory and tables grow, or not (HOURS=1 for less)
	@exec .venv/bin/python -m tests.crash --soak --hours $(or $(HOURS),8) $(ARGS)

bench: install ## Print the speed table of this machine (ROWS=1,7 for some; ORDERS=10000000 in row 4; RECORD=1 writes docs/bench.md)
	@exec .venv/bin/python -m bench $(if $(ROWS),--rows $(ROWS)) $(if $(RECORD),--record) $(ARGS)

bench-peer: install ## Install a commerce engine on Node into a scratch folder and drive row 3's journey there (needs node and npm)
	@exec .venv/bin/python -m bench.engine $(if $(RECORD),--record) $(ARGS)

install: ## Make .venv with the locked packages; does nothing when nothing changed
	@scripts/setup

proto: install ## Make the gRPC modules anew from proto/*.proto
	@scripts/proto

format: install ## Format the code, and mend what can be mended without thinking
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lint: install ## Lint only
	.venv/bin/ruff check .

typecheck: install ## Types only
	.venv/bin/mypy

lock: ## Write requirements.lock anew from pyproject.toml (ARGS=--upgrade takes the newest versions)
	@scripts/lock $(ARGS)

clean: ## Remove what tools left behind; keeps .venv and your data in .kassa
	rm -rf .coverage htmlcov build dist .hypothesis .import_linter_cache .grimp_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
