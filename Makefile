# `make demo` gives the first table, `make test` runs the tests; both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/dnabench run --suite demo --models kmer,cnn,convnova-386k --seeds 3 --out runs/demo
	$(BIN)/dnabench report --out runs/demo
	@printf '\nthe same with figures: '
	@$(BIN)/dnabench report --out runs/demo --format html

test: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnabench needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e . --config-settings editable_mode=strict
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(INSTALL) -e '.[test]' --config-settings editable_mode=strict
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
