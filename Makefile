# Everything sets itself up: `make run` and `make test` work on a fresh machine with Python 3.11+, make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FOR ?=
ARGS ?=
UV ?= uv
NODES ?=
PORT ?=
DATA ?=
# Whatever starts a broker.
KAFKA_TESTS := tests/kafka tests/e2e tests/agents tests/ops tests/produce tests/notify \
	tests/faults/test_broker_away.py tests/oracle/test_producer.py tests/embedded/test_kafka_topics.py \
	tests/embedded/test_doctor.py tests/docs/test_examples.py

.DEFAULT_GOAL := help
.PHONY: dbt-docs help setup setup-dev run test test-kafka test-slow check bench chaos kafka lock accept-warehouse accept-main accept-exact fuzz simulate clean

help: ## show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.run: requirements/run.lock pyproject.toml
	@echo "==> Setting up the virtual environment (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements/run.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml
	@echo "==> Setting up the virtual environment for tests (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

setup: $(VENV)/.run ## install what `make run` needs
setup-dev: $(VENV)/.dev ## install what tests and checks need

run: $(VENV)/.run ## the whole stack with demo traffic until Ctrl-C (FOR=60s ends it by itself, ARGS="..." goes to streamproc up)
	$(BIN)/streamproc up --demo $(if $(FOR),--for $(FOR)) $(ARGS)

test: $(VENV)/.dev ## every test that needs only PyPI
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup

test-kafka: $(VENV)/.dev ## the same promises on Apache Kafka (needs Java 17 and Maven)
	$(BIN)/python -m pytest --broker kafka -m "not slow" -n 2 --dist loadgroup $(KAFKA_TESTS)

test-slow: $(VENV)/.dev ## the slow and load tests
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev ## format, lint, types, import direction, schemas against the released ones
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/streamproc schema check

bench: $(VENV)/.dev ## benchmarks; the last line is one JSON object
	$(BIN)/python -m tests.bench

accept-exact: $(VENV)/.dev ## measure the list "What must hold" of "exact through every fault" (about three hours)
	$(BIN)/python -m tests.accept.exact

accept-warehouse: $(VENV)/.dev ## measure the list "What must hold" of the warehouse (about 15 minutes)
	$(BIN)/python -m tests.accept.warehouse

accept-main: $(VENV)/.dev ## measure the list "What must hold" of the main job
	$(BIN)/python -m tests.accept.main

chaos: $(VENV)/.dev ## the fault run: MINUTES=2 SEED=1 [BROKER=kafka|embedded NODES=3 WORKERS=3 RATE=200 REPORT=file.md ARGS="..."]
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),2) --seed $(or $(SEED),1) $(if $(BROKER),--broker $(BROKER)) $(if $(NODES),--nodes $(NODES)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(RATE),--rate $(RATE)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(REPORT),--report $(REPORT)) $(ARGS)

fuzz: $(VENV)/.dev ## fuzz what reads the inputs of others: RUNS=100000 TARGET=all SEED=1 (TARGET=name, or how names begin)
	$(BIN)/python -m tests.fuzz --target $(or $(TARGET),all) --runs $(or $(RUNS),100000) --seed $(or $(SEED),1)

kafka: $(VENV)/.run ## Apache Kafka on this machine until Ctrl-C (NODES=3, PORT=9092, DATA=dir; needs Java 17 and Maven)
	$(BIN)/streamproc kafka $(if $(NODES),--nodes $(NODES)) $(if $(PORT),--port $(PORT)) $(if $(DATA),--data $(DATA))

dbt-docs: $(VENV)/.dev ## warehouse.html: every model and column of the warehouse, and where it comes from (needs a running ClickHouse)
	$(BIN)/streamproc warehouse docs

lock: ## write the lock files anew (needs uv)
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --extra embedded -o requirements/run.lock pyproject.toml requirements/build.in
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --all-extras -o requirements/dev.lock pyproject.toml requirements/build.in

simulate: $(VENV)/.dev ## seeded histories of the windows role over modelled servers: N=50000 SEED=1 [JOBS=2]
	$(BIN)/python -m tests.simulation --count $(or $(N),50000) --seed $(or $(SEED),1) $(if $(JOBS),--jobs $(JOBS))

clean: ## remove the virtual environment and caches (data/ stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
