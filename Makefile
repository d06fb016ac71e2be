# `make` lists the targets. Nothing is needed but Python 3.11 or later with venv and pip; nothing is installed outside .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH := torch==2.13.0
TORTURED := $(addprefix tests/sources/test_, http_faults.py image_corpus.py caption_corpus.py remote_killed.py remote_order.py politeness.py)
TORTURED += tests/test_hostile_files.py tests/training/test_checkpoint_crashes.py
TORTURED += $(addprefix tests/stages/test_, train_not_finite.py train_hostile_disk.py train_signalled.py verify.py)
TORTURED += tests/test_flipped_bits.py tests/test_hostile_disk.py $(addprefix tests/tracking/test_, trouble.py registry.py real_server.py)
TORTURED += $(addprefix tests/durability/test_, one_at_a_time.py pipeline_killed.py state_machine.py) tests/benchmarks/test_serving_load.py
# The longest (kills of a training, 1,000 cases of an interval), and flows on servers: `make torture` alone runs them, as
# all of torture-ci has to end within 20 minutes on two cores.
LONG := tests/stages/test_train_killed.py $(addprefix tests/evaluation/test_, kernel_distance.py frechet_distance.py)
LONG += $(addprefix tests/flows/test_, orchestrate_killed.py orchestrate_cancelled.py orchestrate_pipeline.py orchestrate_data.py)
LONG += $(addprefix tests/flows/test_, scrape_interrupted.py api_gone.py)

# DVC starts each stage as `minimagen ...`: the command of this environment has to be the one on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: help setup demo orchestrate test check format torture-ci test-browser torture probes bench ui docs lock sbom clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## the environment in .venv, once

demo: $(READY) ## the whole pipeline on drawn pictures, from nothing to a report
	@git rev-parse --git-dir > /dev/null 2>&1 || git init  # an unpacked archive: DVC works inside Git
	@$(BIN)/minimagen repair  # of DVC's own files, should a power cut have torn one
	$(BIN)/dvc repro
	@echo
	@echo "Report    data/eval/report.html"
	@echo "Metrics   data/eval/metrics.json    (dvc metrics show)"
	@echo "Curves    make ui"
	@echo "Draw      $(BIN)/minimagen sample 'a large red apple on a blue background'"

orchestrate: $(READY) ## Prefect's server, a worker and the deployments, until Ctrl-C; PORT=4200
	@$(BIN)/python -m flows.orchestrate $(if $(PORT),--port $(PORT))

demo-sources: $(READY) ## scrape simulated TMDB, Kitsu, Conceptual Captions and a table of addresses, and train on them
	$(BIN)/python -m scripts.demo_sources

test: $(READY) ## the tests, without the long and the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not long and not browser"

test-browser: $(READY) ## the pages in headless Chromium, which has to be on PATH (apt-get install chromium)
	@command -v chromium > /dev/null || { echo "chromium is not on PATH: apt-get install chromium"; exit 2; }
	$(BIN)/python -m pytest -m browser

check: $(READY) ## style, formatting, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(READY) ## rewrite what `make check` would only complain about
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python scripts/dvc_deps.py --write

torture-ci: $(READY) ## the long tests, then kills, full disks, bad numbers and answers: what `make test` takes a slice of
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "long and not slow"
	MINIMAGEN_TORTURE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(TORTURED)

torture: $(READY) ## the slow tests: kills, crashes, full sizes; ten times as many as torture-ci
	$(BIN)/python -m pytest -m "slow or long"
	MINIMAGEN_TORTURE=10 $(BIN)/python -m pytest -q -n 2 --dist loadfile $(TORTURED) $(LONG)

probes: $(READY) ## both servers started and probed by strangers: a line for each probe
	$(BIN)/python -m tests.probe_servers

bench: $(READY) ## training speed beside the peers, in an environment of their own (benchmarks/README.md has the others)
	$(BIN)/python -m benchmarks.setup_peers
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.peers --own-loop

ui: $(READY) ## runs, curves and pictures in a browser
	$(BIN)/minimagen ui

docs: $(READY) ## API pages from the docstrings: dist/api/index.html
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r scripts/api_docs.txt
	$(BIN)/python scripts/api_docs.py

lock: $(READY) ## requirements.lock anew from pyproject.toml; torch and what only torch brings stay out
	$(BIN)/python -m pip install --quiet uv
	echo torch | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --extra pipeline --extra dev --excludes - pyproject.toml -o requirements.lock

sbom: ## a bill of materials of what is installed, in CycloneDX: dist/minimagen.cdx.json
	@mkdir -p dist
	@$(PYTHON) scripts/sbom.py $(TORCH) > dist/minimagen.cdx.json && echo dist/minimagen.cdx.json

clean: ## what tools leave behind; no data, no runs, no environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find minimagen flows tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Compiling what is never imported takes longer than installing: one import of what the stages import compiles that.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; make PYTHON=python3.12 chooses another")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-compile $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	$(BIN)/python -c "import dvc.repo, mlflow.store.tracking.sqlalchemy_store, prefect, torch, transformers"
	@touch $@
