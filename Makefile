# Every target makes what it needs. Packages are installed again only when pyproject.toml or constraints.txt changed.

PYTHON ?= python3
BENCH_ARGS ?=
SESSIONS ?= 1000000
TEST_PROCESSES ?= 3
GUIDED_ARGS ?=
PAHO_TESTING ?=
VENV := .venv
STAMP := $(VENV)/.installed
PLOTS := .venv-plots
SUPPLY := .venv-supply
ASYNCAPI := .asyncapi
FUZZ := .venv-fuzz
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test asyncapi test-faults fuzz fuzz-guided paho run bench bench-all lint lock sbom audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## show the whole gateway at work on this machine
	$(BIN)/gateway demo

test: lint ## lint, then run every test (TEST_PROCESSES=n: so many side by side)
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal

test-faults: $(STAMP) ## the long doses: 1,000 power cuts of each kind, 200 SIGKILLs, 1,000 damaged logs, 200 refused writes and fsyncs, a day of sensors
	GATEWAY_POWERCUT_IMAGES=1000 GATEWAY_IO_ERRORS_FIRST=200 GATEWAY_SIGKILLS=200 GATEWAY_TEST_DAMAGES=50 GATEWAY_DAY_S=864 \
	  $(BIN)/pytest tests/powercut tests/faults

fuzz: $(STAMP) ## a million spoilt sessions against one gateway (SESSIONS=n: another number)
	GATEWAY_FUZZ_SESSIONS=$(SESSIONS) $(BIN)/pytest tests/fuzz

fuzz-guided: $(FUZZ)/.installed ## framing, CONNECT and configuration by atheris, a minute each (GUIDED_ARGS="--seconds n")
	$(FUZZ)/bin/python -m tests.fuzz.guided $(GUIDED_ARGS)

paho: $(STAMP) ## Eclipse Paho's suite (PAHO_TESTING=a checkout of eclipse-paho/paho.mqtt.testing)
	$(BIN)/python tests/paho/run.py "$(PAHO_TESTING)"

run: $(STAMP) ## run the gateway with config/gateway.toml
	$(BIN)/gateway run --config config/gateway.toml

bench: $(STAMP) $(PLOTS)/.installed ## measure this machine (BENCH_ARGS="..." is handed on)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-all: $(STAMP) $(PLOTS)/.installed ## every figure benchmarks/README.md lists, one after the other, about 20 minutes
	$(BIN)/python -m benchmarks.everything

lint: $(STAMP) ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(SUPPLY)/.installed ## write requirements.lock anew: the versions of constraints.txt with the hashes of their files
	$(SUPPLY)/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --build-deps-for wheel \
	  --constraint constraints.txt --output-file requirements.lock pyproject.toml
	@sed -i '1i # Made by `make lock`. Everything that is installed, and the hashes that its files may have, for any platform:\n# pip install --require-hashes -r requirements.lock && pip install --no-deps --no-build-isolation .' requirements.lock

sbom: $(SUPPLY)/.installed ## install requirements.lock by its hashes and list what it is: build/sbom.cdx.json (CycloneDX 1.6)
	rm -rf build/sbom && mkdir -p build
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install --quiet --require-hashes -r requirements.lock
	$(SUPPLY)/bin/cyclonedx-py environment --pyproject pyproject.toml --spec-version 1.6 --output-reproducible \
	  --output-file build/sbom.cdx.json build/sbom

audit: $(SUPPLY)/.installed ## look for known weaknesses of what requirements.lock names, where the database can be reached
	@mkdir -p build
	@$(SUPPLY)/bin/pip-audit --strict --progress-spinner off --require-hashes --disable-pip -r requirements.lock \
	  >build/audit.txt 2>&1 && cat build/audit.txt || { cat build/audit.txt >&2; \
	  if grep -qE 'could not be audited|ConnectionError|Timeout|Max retries' build/audit.txt; then \
	    echo "audit: the database of weaknesses cannot be reached from here, so nothing was looked for" >&2; fi; exit 1; }

asyncapi: $(ASYNCAPI)/.installed ## install the official validator of AsyncAPI documents for the tests (needs npm)

clean: ## remove the virtual environment, caches and build output, but no data
	rm -rf $(VENV) $(PLOTS) $(SUPPLY) $(FUZZ) build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . \( -path ./.git -o -path ./data \) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not here. On Debian: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Debian 12 and Raspberry Pi OS 12 have it; elsewhere: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# Apart from the rest: with numpy beside it, sqlite-utils loads numpy, and the gateway that is measured is 12 MB larger.
$(PLOTS)/.installed: $(STAMP)
	$(PYTHON) -m venv $(PLOTS)
	$(PLOTS)/bin/pip install --quiet -c constraints.txt matplotlib
	@touch $@

# Tools that look at what is installed are kept apart from it.
$(SUPPLY)/.installed:
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install --quiet pip-tools==7.6.2 cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@

# Atheris has no wheel for every Python and machine, so nothing else needs it: `make test` replays what it found.
$(FUZZ)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/pip install --quiet -c constraints.txt -e . atheris==3.0.0
	@touch $@

# Scripts that packages want to run at their installation are not run.
$(ASYNCAPI)/.installed: tests/site/asyncapi/package.json tests/site/asyncapi/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not here. On Debian: apt install nodejs npm" >&2; exit 1; }
	mkdir -p $(ASYNCAPI) && cp $^ $(ASYNCAPI)
	npm ci --prefix $(ASYNCAPI) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
