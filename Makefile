# demo · test · check · bench · fuzz · docs: each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench fuzz docs clean

demo: $(VENV)/.demo
	$(BIN)/midhaul demo

# Each core has its process: threads of libraries would only wait for a core, and burn
# another one meanwhile. Hundreds of commands are started, so bytecode is kept.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

# Changes are drawn where there is no atheris for this Python or machine.
fuzz: $(VENV)/.dev
	$(BIN)/pip install --quiet --group fuzz || true
	$(BIN)/python tools/fuzz.py

docs: $(VENV)/.dev
	$(BIN)/python tools/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python tools/check_site.py site

clean:
	rm -rf $(VENV) site

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/.demo: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[testbed]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[testbed,federation,deploy,network,memory,tflite,wordnet,aws,azure,google]' --group dev
	touch $@ $(VENV)/.demo
