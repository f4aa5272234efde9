# Only relative paths: the checkout may lie in a folder with a space in its name.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
CRASH_TESTS := tests/component/rotation tests/process/panic tests/process/rotation tests/process/story/test_replays.py tests/process/story/test_robot_survival.py
CLIENTS := sdk ccxt python_binance
# The newest interpreter from 3.11 on that can make a virtual environment.
PYTHON := $(shell for p in $(FORTCTL_PYTHON) python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help venv demo test soak compat compat-freqtrade compat-table lint generated bench sim planted mutants crash nightly fuzz fuzz-guided audit sbom lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /	/' | expand -t 18

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "fortctl needs Python 3.11 or later, with venv"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

venv: $(STAMP) ## make the virtual environment from the lock file

demo: $(STAMP) ## the main job: the whole story on the paper exchange, under a minute
	$(BIN)/python -m fortctl demo --fast

# Work is stolen: handed out beforehand, one processor would end with all the long tests.
test: $(STAMP) ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

compat: $(STAMP) ## foreign clients, unchanged, against the paper exchange; each in a virtual environment of its own
	$(BIN)/python tests/compat/run.py

compat-freqtrade: $(STAMP) ## freqtrade, unchanged and live, against the paper exchange; some minutes
	$(BIN)/python tests/compat/run.py --only freqtrade

compat-table: $(STAMP) ## the same, and write the table in docs/paper-exchange.md
	$(BIN)/python tests/compat/run.py --write

lint: $(STAMP) ## style, types, and who may know whom
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-cache

generated: $(STAMP) ## renew the parts of docs/ that are generated from tables and imports
	for tool in import_diagram panic_diagram robot_diagrams rotation_diagram settings_table; do $(BIN)/python -m tools.$$tool || exit 1; done

sim: $(STAMP) ## ten thousand simulated worlds, in pieces; an interrupted run continues (WORLDS=10000); then 1,000 markets with and without kills
	PYTHONPATH=tests:. $(BIN)/python -m simulation.many $(or $(WORLDS),10000)
	PYTHONPATH=tests:. $(BIN)/python -m simulation.undisturbed 0 999

soak: $(STAMP) ## a simulated month of one robot: its memory must not grow; writes docs/performance.md; some minutes
	PYTHONPATH=tests:. $(BIN)/python -m simulation.soak

planted: $(STAMP) ## plant each known bug in a copy of the source: the test that is named for it must fail
	PYTHONPATH=tests:. $(BIN)/python -m planted.run

mutants: $(STAMP) ## change one thing in a copy of the source, and see that a test fails; resumable (SAMPLE=40 a module, SEED=1, ONLY=book)
	PYTHONPATH=tests:. $(BIN)/python -m mutants.run --sample $(or $(SAMPLE),40) --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY))

crash: $(STAMP) ## every row of the matrices with real processes, kills and broken disks; an hour and more
	FORTCTL_CRASH=1 FORTCTL_REAL_STARTS=1 $(BIN)/python -m pytest -n 2 $(CRASH_TESTS)

nightly: $(STAMP) ## the long campaigns: fuzzing, any sequence of commands (resumable), every bit of a slot, a kill at every write
	PYTHONPATH=tests:. $(BIN)/python -m support.nightly
	FORTCTL_KILLS=1000000 FORTCTL_CRASHES=all $(BIN)/pytest -q -o timeout=7200 tests/process/security/test_kills.py tests/component/vault/test_crashes.py
	FORTCTL_FLIPS=1000000 $(BIN)/pytest -q -o timeout=7200 tests/unit/vault/test_file.py -k flips_of_a_passphrase_slot

fuzz: $(STAMP) ## the long campaign of hostile clients, with new requests each time (EXAMPLES=500 of each kind)
	FORTCTL_FUZZ_EXAMPLES=$(or $(EXAMPLES),500) $(BIN)/pytest -n 2 -q tests/process/hostile

fuzz-guided: $(STAMP) ## coverage-guided fuzzing (atheris) of the paper exchange's request handling (TIME=300 seconds)
	@mkdir -p build
	PYTHONPATH=src $(BIN)/uv --no-config run --no-project --isolated --quiet --python $(BIN)/python --with atheris==3.0.0 \
		--with-requirements requirements/lock.txt python tests/support/atheris_paper.py -artifact_prefix=build/ -max_total_time=$(or $(TIME),300)

bench: $(STAMP) ## measure next to the peers; writes docs/performance.md
	@set -e; for b in benchmarks/[a-z]*.py; do echo "$$b"; $(BIN)/python "$$b"; done

audit: $(STAMP) ## check the locked dependencies for known vulnerabilities; fails if the list cannot be reached
	$(BIN)/uv --no-config tool run --quiet pip-audit --strict --require-hashes --disable-pip -r requirements/lock.txt

sbom: $(STAMP) ## write the bill of materials (CycloneDX): build/sbom.json
	@mkdir -p build
	$(BIN)/uv --no-config tool run --quiet --from cyclonedx-bom cyclonedx-py requirements requirements/lock.txt \
		--pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json
	@echo build/sbom.json

lock: $(STAMP) ## renew the lock files
	$(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml -o requirements/lock.txt
	$(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --no-annotate pyproject.toml --group dev -c requirements/lock.txt \
		-o requirements/dev.txt
	for client in $(CLIENTS) freqtrade; do $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate \
		tests/compat/with_$$client/requirements.in -o tests/compat/with_$$client/requirements.txt || exit 1; done
	$(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --no-annotate benchmarks/peers/nautilus/requirements.in \
		-o benchmarks/peers/nautilus/requirements.txt

clean: ## remove what the targets created
	rm -rf $(VENV) .compat .nightly .sim .mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
