"""The whole run, top to bottom: the only place that joins data, model, trainer and results.

It knows settings and a folder; neither a command line nor how its process came to be.
"""

import copy
import dataclasses
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger

from imdb_lightning.config.data import LABELS, TextDataConfig
from imdb_lightning.config.schema import MONITORS, Config
from imdb_lightning.data.datamodule import ReviewDataModule
from imdb_lightning.inference.saved_run import write_model
from imdb_lightning.inference.scoring import draw_test
from imdb_lightning.model.metrics import classification_metrics
from imdb_lightning.model.module import build_module
from imdb_lightning.runs import plots
from imdb_lightning.runs.lifecycle import finished_result, is_first, open_run, refuse_links
from imdb_lightning.runs.records import CHECKPOINT, REFIT, RESULTS, TRAIN, VALIDATION, RunResult, write_json
from imdb_lightning.runs.settings import write_settings
from imdb_lightning.runs.signals import SignalWatch
from imdb_lightning.runs.summary import result_text
from imdb_lightning.runs.tables import write_history, write_predictions
from imdb_lightning.training.callbacks import BestWeights, History, ResumableEarlyStopping, StepSeeds, StopBehind
from imdb_lightning.training.checkpoint import LastCheckpoint
from imdb_lightning.training.checkpoint_file import restoring
from imdb_lightning.training.result import best_epoch_of, build_result, hparams_of, tested_epoch_of
from imdb_lightning.training.tensorboard import TensorBoardCurves, write_test
from imdb_lightning.training.trainer import build_targets, build_trainer

log = logging.getLogger(__name__)


def run(
    config: Config, folder: Path, callbacks: Sequence[pl.Callback] = (), started: float | None = None, gpu: int = 0
) -> RunResult:
    """Trains, restores the best weights, tests and reports, all in the folder; returns what its `results.json` holds.

    Where the run in the folder has had fewer epochs, those that are missing are trained; where it was not refitted, and
    is to be, that is done.

    `callbacks` are any of Lightning's or your own, besides those of the settings; their states go into the checkpoint.
    The run began at `started`, by `time.perf_counter`, or with this call. A single process on GPUs uses the one of
    number `gpu`.

    Raises:
        UserError: the data is not to be had, a trainer flag is wrong, training diverged, or the folder is in use or
            another run's.
        Interrupted: a signal asked the run to stop; the same call goes on.
    """
    started = time.perf_counter() if started is None else started
    finished = finished_result(config, folder)
    if finished is not None:
        return finished
    history = History(folder)
    with (
        SignalWatch() as signals,
        open_run(config, folder, epochs=lambda: len(history.epochs)),
        # Else a GPU's backward pass is handed to another thread and back at each step: a fifth of an epoch.
        torch.autograd.set_multithreading_enabled(False),
    ):
        # Bits may differ between numbers of threads: never left to what the machine has.
        torch.set_num_threads(config.trainer.threads)
        again = copy.deepcopy(list(callbacks)) if config.refit else []  # As they are before training.
        result = _train_and_test(config, history, signals, callbacks, started, gpu)
        if config.refit:
            result = _refit(config, result, folder, signals, again, gpu)
        if is_first(config):
            write_json(folder / RESULTS, result)
            # For the file alone: the command that launched the run prints it.
            log.debug("result\n%s", result_text(config, result))
    return result


def _refit(
    config: Config, chosen: RunResult, folder: Path, signals: SignalWatch, callbacks: Sequence[pl.Callback], gpu: int
) -> RunResult:
    """Trains anew on training and validation reviews for as many epochs as were chosen, in a folder of its own.

    What it leaves there is what a run leaves; it was interrupted and goes on together with the run.
    """
    started = time.perf_counter()
    epochs = tested_epoch_of(config, chosen.best_epoch, chosen.epochs)
    log.info("Training anew on training and validation reviews together, for %d epochs", epochs)
    config = dataclasses.replace(
        config,
        refit=False,
        data=dataclasses.replace(config.data, with_validation=True),
        callbacks=dataclasses.replace(config.callbacks, patience=None, restore_best=False, stop_behind=None),
        trainer=dataclasses.replace(config.trainer, max_epochs=epochs),
    )
    if is_first(config):
        refuse_links(folder, REFIT, *(f"{REFIT}/{name}" for name in (TRAIN, VALIDATION, "checkpoints")))
        write_settings(config, folder / REFIT)
    result = _train_and_test(config, History(folder / REFIT), signals, callbacks, started, gpu)
    if is_first(config):
        write_json(folder / REFIT / RESULTS, result)
    seconds = chosen.seconds | {"refit": result.seconds["total"]}
    seconds["total"] = round(seconds["total"] + seconds["refit"], 6)
    return dataclasses.replace(chosen, refit={"test": result.test, "epochs": result.epochs}, seconds=seconds)


def _train_and_test(
    config: Config, history: History, signals: SignalWatch, callbacks: Sequence[pl.Callback], started: float, gpu: int
) -> RunResult:
    """Does all that a run does in its folder, which is the history's, but for log, status and results."""
    folder, ends = history.folder, {"start": time.perf_counter()}
    pl.seed_everything(config.seed, verbose=False)
    datamodule = ReviewDataModule(config.data, config.seed, whole=config.trainer.shards is not None)
    # Lightning would do this within fit, whose seconds then held it.
    datamodule.prepare_data()
    datamodule.setup()
    ends["data"] = time.perf_counter()

    module = build_module(config.model, datamodule.width, config.trainer.shards)
    all_callbacks = _callbacks(config, folder, history, signals, callbacks)
    trainer = build_trainer(config.trainer, folder, all_callbacks, _loggers(config, folder, module), gpu)
    checkpoint = folder / CHECKPOINT if (folder / CHECKPOINT).exists() else None
    # The folder may be from elsewhere: weights_only, so that no code runs from the checkpoint.
    with restoring(checkpoint):
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    ends["fit"] = time.perf_counter()

    (metrics,) = trainer.test(module, datamodule=datamodule, verbose=False)
    probabilities = module.test_probabilities
    # Fewer than all where trainer.flags.limit_test_batches is set.
    labels = torch.from_numpy(datamodule.splits.test.labels[: len(probabilities)]).long()
    test: dict[str, float | None] = {name.removeprefix("test/"): value for name, value in metrics.items()}
    test |= classification_metrics(probabilities, labels)
    ends["test"] = time.perf_counter()
    if trainer.is_global_zero:
        _warn_of_one_class(test, datamodule.splits.test.larger_class())

    best_epoch = best_epoch_of(history.epochs, config)
    # Every rank has all numbers by now, so the others need not wait for the files.
    if trainer.is_global_zero:
        write_history(folder, history.epochs)  # Once more: somebody may have removed it since the last epoch.
        write_model(folder, module.network, datamodule.splits.word_index, datamodule.splits.ngrams)
        write_predictions(folder, labels.numpy(), probabilities.numpy())
        classes = datamodule.splits.labels
        if isinstance(config.data, TextDataConfig):
            # Those that were found, so that the folder alone says which label is the positive one.
            data = dataclasses.replace(config.data, labels=classes)
            write_settings(dataclasses.replace(config, data=data), folder)
        name = f"{config.name}, trained on validation, too" if config.data.with_validation else config.name
        figures = draw_test(labels, probabilities, f"{name}: test reviews", classes or LABELS)
        curves = {
            quantity: plots.plot_curves(history.epochs, quantity, f"{name}: {quantity}", best_epoch)
            for quantity in plots.QUANTITIES
        }
        for picture, figure in (figures | curves).items():
            plots.save(figure, folder / f"{picture}.png")
        tested_epoch = tested_epoch_of(config, best_epoch, len(history.epochs))
        write_test(folder, hparams_of(config), test, figures, tested_epoch)
    ends["report"] = time.perf_counter()

    begins = [started, *ends.values()]
    seconds = {phase: round(end - begin, 6) for begin, (phase, end) in zip(begins, ends.items(), strict=False)}
    seconds["total"] = round(ends["report"] - started, 6)
    return build_result(config, trainer, datamodule, history.epochs, best_epoch, test, seconds)


def _warn_of_one_class(test: dict[str, float | None], larger_class: float) -> None:
    """Says what an accuracy hides: a network, or a test, that knows one class alone."""
    if (accuracy := test["accuracy"]) is not None and accuracy <= larger_class:
        log.warning(
            "With %.4f of the test reviews right, the network is no better than one that always answers the larger "
            "class (%.4f). Where classes differ much in size, try data.class_weights=balanced.", accuracy, larger_class,
        )  # fmt: skip
    if undefined := [name for name, value in test.items() if value is None]:
        log.warning("Undefined, as the test reviews or the predictions are of one class: %s.", ", ".join(undefined))


def _callbacks(
    config: Config, folder: Path, history: History, signals: SignalWatch, extra: Sequence[pl.Callback]
) -> list[pl.Callback]:
    callbacks: list[pl.Callback] = [
        history,
        TensorBoardCurves(folder, history),
        *build_targets("callbacks.extra", config.callbacks.extra, pl.Callback),
        *extra,
        StepSeeds(config.seed),  # After any callback that draws numbers itself, so that dropout's do not change.
        LastCheckpoint(folder / CHECKPOINT, config.checkpoint, signals),
    ]
    monitor, patience = config.callbacks.monitor, config.callbacks.patience
    if config.callbacks.restore_best:
        callbacks.append(BestWeights(monitor))
    if patience is not None:
        callbacks.append(ResumableEarlyStopping(monitor, mode=MONITORS[monitor], patience=patience, min_delta=0.0))
    if config.callbacks.stop_behind is not None:
        callbacks.append(StopBehind(config.callbacks, history))
    return callbacks


def _loggers(config: Config, folder: Path, module: pl.LightningModule) -> list[Logger]:
    """The loggers of the settings, on rank 0: two ranks that set up one store at once, as MLflow's, spoil it."""
    if not is_first(config):
        return [DummyLogger() for _ in config.logger]
    # By default in the run's folder; MLflow's own default is the working directory.
    store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute()}/mlflow.db"
    loggers = build_targets("logger", config.logger, Logger, save_dir=str(folder), tracking_uri=store)
    for logger in loggers:  # Lightning logs the module's own hyperparameters.
        logger.log_hyperparams({key: value for key, value in hparams_of(config).items() if key not in module.hparams})
    return loggers
