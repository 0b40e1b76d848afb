# `make` alone says what there is. Everything lands in .venv and in folders that git ignores.
#   FAISS=cpu|gpu   which of the two conflicting FAISS wheels to install
#   SETUP=no        install nothing; use $(PYTHON) as it is
#   PYTHON=...      the interpreter to build .venv from, 3.11 or newer
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs format clean
SHELL := /bin/sh

FAISS ?= cpu
SETUP ?= yes
MODERN := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(MODERN)' 2>/dev/null && echo $$p && break; done)

ifeq ($(filter $(FAISS),cpu gpu),)
$(error FAISS is '$(FAISS)'; it can be cpu or gpu)
endif

ifeq ($(SETUP),no)
RUN := $(PYTHON)
READY := python-found
export PYTHONPATH := $(CURDIR)/pretrain:$(CURDIR)/evaluate:$(PYTHONPATH)
else
RUN := .venv/bin/python
READY := .venv/ready-$(FAISS)
endif

# CPU seconds that the fast tests may take, on any processor and beside other work; see CONTRIBUTING.md.
BUDGET ?= 900
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

help:
	@echo "make demo       set up, pretrain with INTL on digits, judge it beside a random network, print the table"
	@echo "make test       set up, run the fast tests"
	@echo "make test-all   set up, run every test; a skip prints what is missing"
	@echo "make check      set up, then format, lint, types and import contracts, changing nothing"
	@echo "make docs       set up, then build the pages of docs/ in build/docs; a warning is an error"
	@echo "make format     set up, then rewrite the sources in the one format"
	@echo "make setup      only build .venv, pinned by constraints.txt"
	@echo "make clean      remove .venv and everything that was made; results/demo and runs/demo too"
	@echo
	@echo "FAISS=gpu installs the GPU wheel of FAISS instead of the CPU one. SETUP=no installs nothing and uses python3."

setup: $(READY)

demo: $(READY)
	$(RUN) -m decorssl intl --data digits --out runs/demo --resume
	$(RUN) -m transferbench all runs/demo/backbone.safetensors --data digits --out results/demo
	$(RUN) -m transferbench table results/demo

test: $(READY)
	$(RUN) -m pytest $(PARALLEL) -m "not slow" --cpu-budget $(BUDGET)

test-all: $(READY)
	$(RUN) -m pytest $(PARALLEL)

check: $(READY)
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m basedpyright --pythonpath "$$($(RUN) -c 'import sys; print(sys.executable)')"
	$(RUN) -c 'from importlinter.cli import lint_imports_command as main; main()'

docs: $(READY)
	$(RUN) -m mkdocs build --strict --clean
	@echo "build/docs/index.html"

format: $(READY)
	$(RUN) -m ruff check --fix
	$(RUN) -m ruff format

clean:
	rm -rf .venv runs/demo results/demo build dist .hypothesis .pytest_cache .ruff_cache .import_linter_cache
	find pretrain evaluate tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: python-found
python-found:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. Install one, or: make PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c '$(MODERN)' || { echo "$(PYTHON) is older than Python 3.11. Try: make PYTHON=/path/to/python" >&2; exit 2; }

# The two FAISS wheels hold the same files: whichever is installed last wins and removing one breaks the other, so the
# unwanted one goes first. uv is only for speed; pip does the same where uv cannot (for example behind pip's own settings).
.venv/ready-$(FAISS): pyproject.toml constraints.txt | python-found
	@echo "== setting up .venv with $$($(PYTHON) --version), FAISS for $(FAISS)"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@rm -f .venv/ready-*
	.venv/bin/python -m pip uninstall -qq --yes faiss-cpu faiss-gpu
	@set -f; PATH="$$PATH:$(CURDIR)/.venv/bin"; \
	what='-e .[$(if $(filter gpu,$(FAISS)),faiss-gpu,faiss),dev,docs] -c constraints.txt'; \
	command -v uv >/dev/null || .venv/bin/python -m pip install --quiet uv || true; \
	if command -v uv >/dev/null && echo "uv pip install $$what" && uv pip install --compile-bytecode --python .venv/bin/python $$what; then :; \
	else echo "pip install $$what" && .venv/bin/python -m pip install $$what; fi
	@touch $@
	@echo "== .venv is ready"
