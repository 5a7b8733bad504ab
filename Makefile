# Everything that is done often. `make` alone prints this list, from this file.

.DEFAULT_GOAL := help
.PHONY: help run test check docs crash soak bench bench-peer dist sbom install proto format lint typecheck lock clean docker-build docker-run docker-run-bg docker-stop

DOCKER ?= docker
DEMO = --rm --name payment-service --init --stop-timeout 45 --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
	--publish 127.0.0.1:$(or $(HTTP_PORT),8000):8000 --publish 127.0.0.1:$(or $(PORT),7000):7000 \
	--env PUBLIC_URL=http://localhost:$(or $(HTTP_PORT),8000) --volume kassa-demo:/var/lib/kassa kassa:demo

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: install ## Set up if needed, then run everything: database, APIs, workers, sandbox (Ctrl-C stops it)
	@exec .venv/bin/kassa dev

test: install ## Set up if needed, then run all tests (ARGS="tests/unit -k money" for some of them)
	@exec .venv/bin/python -m pytest -n 4 --dist loadfile $(ARGS)

check: install ## Format, lint, types, import contracts, house rules, deployment files, the documentation site, known vulnerabilities
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	[ ! -x .venv/bin/hadolint ] || .venv/bin/hadolint Dockerfile
	KASSA_TEST_DATABASE=none .venv/bin/python -m pytest -q tests/test_house.py
	.venv/bin/python scripts/check_deploy.py
	.venv/bin/python scripts/site.py
	.venv/bin/python scripts/audit.py

docs: install ## Build the documentation site in build/site (SERVE=8001 shows it at that port)
	@exec .venv/bin/python scripts/site.py $(if $(SERVE),--serve $(SERVE))

crash: install ## Play every fault and write docs/faults.md (ARGS="--only F02 --runs 50", HOURS=1 for chance, MUTANTS=1 for broken guards)
	@exec .venv/bin/python -m tests.crash $(if $(HOURS),--hours $(HOURS)) $(if $(MUTANTS),--mutants) $(ARGS)

soak: install ## Buy for eight hours and watch memory and tables grow, or not (HOURS=1 for less)
	@exec .venv/bin/python -m tests.crash --soak --hours $(or $(HOURS),8) $(ARGS)

bench: install ## Print the speed table of this machine (ROWS=1,7 for some; ORDERS=10000000 in row 4; RECORD=1 writes docs/bench.md)
	@exec .venv/bin/python -m bench $(if $(ROWS),--rows $(ROWS)) $(if $(RECORD),--record) $(ARGS)

bench-peer: install ## Install a commerce engine on Node into a scratch folder and drive row 3's journey there (needs node and npm)
	@exec .venv/bin/python -m bench.engine $(if $(RECORD),--record) $(ARGS)

dist: install ## Write a release into dist: source, wheel, list of parts, lock, checksums
	@exec .venv/bin/python scripts/release.py dist

sbom: install ## Write the list of parts alone (CycloneDX: every package that runs beside Kassa, with its licence)
	@exec .venv/bin/python scripts/release.py sbom

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

docker-build: ## Build the images kassa:latest, kassa:demo and payments-service:latest (DOCKER=podman for another engine)
	$(DOCKER) build --target kassa --tag kassa:latest .
	$(DOCKER) build --target demo --tag kassa:demo .
	$(DOCKER) build --target payments-service --tag payments-service:latest .

docker-run: docker-build ## Run everything in one container, until Ctrl-C (HTTP_PORT=8001 PORT=7001 for other ports)
	@exec $(DOCKER) run $(DEMO)

docker-run-bg: docker-build ## The same in the background, as the container payment-service
	@$(DOCKER) run --detach $(DEMO)

docker-stop: ## Stop that container; its data stay in the volume kassa-demo
	@$(DOCKER) stop payment-service

lock: ## Write requirements.lock anew from pyproject.toml (ARGS=--upgrade takes the newest versions)
	@scripts/lock $(ARGS)

clean: ## Remove what tools left behind; keeps .venv and your data in .kassa
	rm -rf .cache .coverage htmlcov build dist .hypothesis .import_linter_cache .grimp_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
