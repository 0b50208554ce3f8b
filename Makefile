# Both commands work in a fresh clone: the first one that is called makes the environment.
#   make train                               the main job
#   make train ARGS="model=deep_tanh_mse"    with other settings
#   make test                                lint, types, and all tests of one process, without a GPU
#   make test-cluster                        tests of several processes
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test test-cluster

train: $(INSTALLED)
	$(BIN)/python -m imdb_lightning $(ARGS)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not (gpu or distributed or slurm or ray)" -n 2 --dist loadfile

test-cluster: $(INSTALLED)
	$(BIN)/pytest -m "distributed and not gpu" -n 2 --dist loadfile

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[offline,test]"
	touch $(INSTALLED)
