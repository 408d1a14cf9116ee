# `make demo` and `make test` are all that is needed; both install what they need into .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SOURCES := src tests benchmarks

.PHONY: demo test slow ray browser soak fuzz lock check format clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hermes-stream needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## watch a video, be questioned, see what is remembered
	@$(BIN)/hermes-stream demo

slow: $(INSTALLED)  ## servers that are killed, and what takes minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2

ray: $(INSTALLED)  ## the fleet on Ray Serve; installs ray beside the rest
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray

browser: $(INSTALLED)  ## the page in a headless browser
	@test -x /usr/bin/chromium || { apt-get update -q && apt-get install --yes --no-install-recommends chromium; } \
	  || { echo "these tests need Debian's chromium: apt-get install chromium, as root"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser -m browser -n 2 --dist loadfile

soak: $(INSTALLED)  ## 36,000 frames, disturbed at every turn; about an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

fuzz: $(INSTALLED)  ## changed videos, messages, snapshots and requests; FUZZ_SECONDS for each, 60 by default
	test -x .venv/schemathesis/bin/schemathesis || { $(PYTHON) -m venv .venv/schemathesis && \
	  .venv/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz -m fuzz -s

lock:  ## what the server's image is made of: hashes, licences, SBOM
	deploy/lock.sh

test: $(INSTALLED)  ## format, lint, types, tests
	@$(MAKE) --no-print-directory check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(INSTALLED)  ## format, lint, types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

format: $(INSTALLED)  ## rewrite files in the project's format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:  ## remove the environment and caches
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis
