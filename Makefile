# Two commands: `make demo` and `make test`. Both set up .venv first; Python 3.11 is all they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 5

# Programs start by the thousand in tests; without compiled modules each start costs twice as much.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint unit soak shaken bench client pins clean

demo: $(VENV)/run.stamp
	@$(BIN)/python examples/demo.py

test: $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory check

check: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not soak"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The fast inner loop: no servers, no processes.
unit: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(WORKERS) -m "unit or property"

# Full sizes; minutes to hours.
soak: $(VENV)/dev.stamp
	MUSTER_SOAK=1 $(BIN)/python -m pytest -n 2 -m "soak or property or e2e or integration" --timeout 3600

# As the tests, on a machine on which everything is late by chance; to find races, in tests and in what they test.
shaken: $(VENV)/dev.stamp
	PYTHONPATH=$(CURDIR)/tests/shaken $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not soak"

bench: $(VENV)/dev.stamp
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# What of the client library is made from the API's own description.
client: $(VENV)/dev.stamp
	$(BIN)/python -m tools.client_generator

# Hash-pinned and without any index's name, so that any mirror will do.
pins: $(VENV)/dev.stamp
	$(PIP) install pip-tools
	for name in run dev; do (cd requirements && ../$(BIN)/pip-compile --quiet --upgrade --generate-hashes \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --allow-unsafe --strip-extras \
		--no-header --output-file $$name.txt $$name.in) || exit 1; done

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt requirements/docs.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --only-binary :all: -r requirements/run.txt
	$(PIP) install --require-hashes --only-binary :all: --no-deps -r requirements/docs.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	$(PIP) install --require-hashes --only-binary :all: -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
