# `make demo` gives the first table, `make test` runs the tests; both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test gpu clean build/types

demo: $(VENV)/.installed
	$(BIN)/dnabench run --suite demo --tasks cell_type,splice_junctions --models kmer,cnn,convnova-386k --seeds 3 --out runs/demo
	$(BIN)/dnabench report --out runs/demo
	@printf '\nthe same with figures: '
	@$(BIN)/dnabench report --out runs/demo --format html

test: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory build/types
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# what CUDA does, in under 8 minutes on one GPU; DEVICE=cpu TINY=1 runs the same logic without one
gpu: $(VENV)/.tested
	$(BIN)/python tests/gpu/check.py --device $(or $(DEVICE),cuda) $(if $(TINY),--tiny) --out $(or $(OUT),gpu_out)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnabench needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(INSTALL) -e '.[test]'
	touch $@

# mypy cannot follow the editable install's map of folders to packages; it can follow links
build/types:
	rm -rf $@ && mkdir -p $@/dnabench
	ln -s $(CURDIR)/harness/* $(addprefix $(CURDIR)/,models tasks results reports) $@/dnabench/

clean:
	rm -rf $(VENV) build dist *.egg-info
