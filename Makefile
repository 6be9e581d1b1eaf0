# `make demo` gives the first table, `make test` and `make slow` run the tests; all make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SELECT ?= not slow
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test slow mypy pyright docs dev gpu engines clean build/types

demo: $(VENV)/.installed
	$(BIN)/dnabench run --suite demo --tasks splice_junctions --models kmer,cnn,convnova-386k --seeds 5 --out runs/demo
	@$(BIN)/dnabench report --out runs/demo --format html > /dev/null
	$(BIN)/dnabench report --out runs/demo

test: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j2 pyright mypy docs
	$(PYTEST) -m "$(SELECT)"

# the tests that take over five seconds each; CI runs them in one go with the others
slow: $(VENV)/.tested
	$(PYTEST) -m slow

mypy: $(VENV)/.tested build/types
	$(BIN)/mypy

# that an editor resolves every import; types are mypy's
pyright: $(VENV)/.tested build/types
	$(BIN)/python tests/imports.py build/imports.py
	PYRIGHT_PYTHON_GLOBAL_NODE=off $(BIN)/pyright --pythonpath $(BIN)/python build/imports.py

# the site in build/docs; a notebook or docstring that does not work is an error
docs: $(VENV)/.tested build/types
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo 'open build/docs/index.html'

# all that an editor needs: .venv with every extra, an editable install, links that it can follow
dev: $(VENV)/.tested build/types
	@echo 'point your editor at $(BIN)/python; make test, make docs'

# what CUDA does, in under 8 minutes on one GPU; DEVICE=cpu TINY=1 runs the same logic without one
gpu: $(VENV)/.tested
	$(BIN)/python tests/gpu/check.py --device $(or $(DEVICE),cuda) $(if $(TINY),--tiny) --out $(or $(OUT),gpu_out)

# Slurm and Ray with real daemons on this machine, in minutes; Slurm needs root, and slurm-wlm and munge of Debian
engines: $(VENV)/.tested
	DNABENCH_ENGINES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v tests/engines

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dnabench needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(INSTALL) -e '.[test,docs]'
	touch $@

# mypy cannot follow the editable install's map of folders to packages; it can follow links
build/types:
	rm -rf $@ && mkdir -p $@/dnabench
	ln -s $(CURDIR)/harness/* $(addprefix $(CURDIR)/,models tasks results reports probes) $@/dnabench/

clean:
	rm -rf $(VENV) build dist *.egg-info
