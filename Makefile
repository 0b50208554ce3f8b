# Both commands work in a fresh clone: the first one that is called makes the environment.
#   make train                               the main job
#   make train ARGS="model=deep_tanh_mse"    with other settings
#   make test                                lint, types, and all tests of one process, without a GPU
#   make test-reviews                        those of them that see the real reviews, if IMDB_NPZ names them
#   make test-cluster                        tests of several processes, of searches, with Ray, and with Slurm where it
#                                            answers
#   make test-fast                           tests with SciPy, which the others do without
#   make torture                             damaged files, failing disks, kills, load; half an hour
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
CLUSTERS := .venv/installed-clusters

.PHONY: train test test-reviews test-cluster test-fast torture

train: $(INSTALLED)
	$(BIN)/python -m imdb_lightning $(ARGS)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not (gpu or distributed or slurm or ray or optuna or fast)" -n 2 --dist loadfile

test-reviews: $(INSTALLED)
	$(BIN)/pytest -m "reviews and not (gpu or distributed or slurm or ray or optuna or fast)" -n 2 --dist loadfile

test-cluster: $(CLUSTERS)
	$(BIN)/pytest -m "(distributed or ray or optuna) and not (gpu or slurm)" -n 2 --dist worksteal
	$(BIN)/pytest -m "slurm"

# Beside the environment: in it, SciPy would cost each command of the other tests 0.6 s.
test-fast: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target .venv/fast scipy
	PYTHONPATH=$(CURDIR)/.venv/fast $(BIN)/pytest -m fast

torture: $(INSTALLED)
	$(BIN)/python -m tests.torture $(ARGS)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[offline,test]"
	touch $(INSTALLED)

$(CLUSTERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[offline,test,slurm,ray,joblib,optuna,wandb,mlflow]"
	touch $(CLUSTERS)
