# Percept: every command that a person needs. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# Two processes on two cores: one thread each, or their threads wait for one another.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help repro muse test test-all nightly check ui lock clean wiring bench docs audit

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	touch $(STAMP)

repro: $(STAMP) ## reproduce everything that is stale, then say where the report is
	$(BIN)/dvc repro
	@$(BIN)/percept summary
	@$(BIN)/percept agreement

muse: $(STAMP) ## real EEG and photographs through the whole pipeline; MUSE=FOLDER holds subject1 and images
	@test -d "$(MUSE)/subject1" || { echo "MUSE must name the folder of subject1 and images"; exit 1; }
	$(BIN)/percept preset muse_cats_dogs
	mkdir -p data/raw/muse_cats_dogs
	cp -r "$(MUSE)/subject1" "$(MUSE)/images" presets/muse_cats_dogs/captions.json data/raw/muse_cats_dogs
	$(BIN)/percept doctor
	$(BIN)/dvc repro
	@$(BIN)/percept summary

test: $(STAMP) ## run the quick tests, which cover every module
	$(PYTEST) -m "not slow and not nightly"

test-all: test ## run the long tests, too: kills, whole studies, the server
	$(PYTEST) -m slow

nightly: $(STAMP) ## run, by hand, what takes minutes and gigabytes a test: published sizes, splits, twenty kills
	$(PYTEST) -m nightly
	PERCEPT_KILLS=20 $(PYTEST) tests/flows/test_kills.py

check: $(STAMP) ## format, lint, types, docstrings, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/numpydoc lint $$(git ls-files 'tasks/*.py' 'flows/*.py')
	$(BIN)/codespell $$(git ls-files '*.md' 'tasks/*.py' 'flows/*.py' 'percept/*.py' 'tests/*.py' 'presets/*.yaml' '*.j2')

ui: $(STAMP) ## start the Prefect server and the deployments, print the URL
	$(BIN)/python -m flows.serve

bench: $(STAMP) ## run every benchmark: a line of JSON each, tables of false_alarms (needs 25 GB of disk)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: $(STAMP) ## build the documentation into docs/_build/html, without a network
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "The documentation: docs/_build/html/index.html"

audit: $(STAMP) ## look the locked dependencies up among known vulnerabilities (asks the network)
	$(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict --progress-spinner off

wiring: $(STAMP) ## write dvc.yaml anew from the stage signatures
	$(BIN)/percept wiring

lock: $(STAMP) ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml

clean: ## remove what can be made again; caches and models stay
	rm -rf data/interim data/processed data/raw/simulated reports/plots reports/index.html
