"""The main command, top to bottom: compose, check, launch, and compare what a sweep gave."""

import os
import shutil
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from imdb_lightning.config.errors import UserError, exit_on_user_error
from imdb_lightning.config.schema import parse
from imdb_lightning.launch import clusters, command_line
from imdb_lightning.launch.overrides import CONFIG_NAME
from imdb_lightning.launch.run import launch
from imdb_lightning.runs.comparison import compare
from imdb_lightning.runs.lifecycle import OtherRunError, is_first, record_failure
from imdb_lightning.runs.records import RunResult
from imdb_lightning.runs.signals import Interrupted, leave


def main() -> None:
    """Runs the command line; exit status 2: it cannot be used, 1: something failed on the way."""
    command_line.register_schema()
    with exit_on_user_error():
        parsed = command_line.read_command_line(sys.argv[1:])
        for check in clusters.sweep_checks(parsed.launcher, parsed.configs, parsed.sweep).values():
            check()
    for overrides, mistake in parsed.errors.items():
        print(f"This job will fail: {overrides}\n  {mistake}", file=sys.stderr)
    if parsed.launcher.name == "slurm":
        from imdb_lightning.launch import submitit_launcher  # Needs its plug-in.

        submitit_launcher.register()
    elif parsed.launcher.name == "ray":
        clusters.lock_ray(parsed.launcher)
    sys.argv[1:] = parsed.arguments
    try:
        hydra.main(str(command_line.CONF), CONFIG_NAME, command_line.VERSION_BASE)(job)()
    except SystemExit as end:
        # 1: a launcher lost its jobs; what there is can still be compared.
        if end.code != 1 or parsed.sweep is None or not parsed.sweep.exists():
            raise
    if parsed.sweep is not None and is_first(parsed.configs[0]):
        succeeded = compare([parsed.sweep], parsed.sweep)
        if not parsed.configs[0].keep:
            shutil.rmtree(parsed.sweep)
        sys.exit(0 if succeeded else 1)


def job(settings: DictConfig) -> None:
    """One job, in the folder that Hydra chose. A sweep goes on after a job that failed."""
    composed = HydraConfig.get()
    folder, sweeping = Path(composed.runtime.output_dir), composed.mode == RunMode.MULTIRUN
    try:
        config = parse(settings)
        result = launch(config, folder, keep_failed=sweeping)
    except Interrupted as interrupted:
        if is_first(config):
            key, place = ("hydra.sweep.dir", composed.sweep.dir) if sweeping else ("hydra.run.dir", folder)
            again = f"The same command with {key}={os.path.relpath(place)} goes on."
            print(f"Interrupted by {interrupted}. {again}", file=sys.stderr)
        leave(interrupted)
    except Exception as error:
        # A sweep, too, ends where the folder is another run's: no status is to be written there.
        if not sweeping or isinstance(error, OtherRunError):
            with exit_on_user_error():
                raise
        record_failure(folder, error)
        if isinstance(error, UserError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        return
    if is_first(config):
        _print_result(result, folder if config.keep else None)
        if not (config.keep or sweeping):
            shutil.rmtree(folder)


def _print_result(result: RunResult, folder: Path | None) -> None:
    """Prints losses and accuracies, best epoch and seconds, and the folder, if it is kept."""
    table = Table("", title=f"{result.name}, seed {result.seed}", title_justify="left")
    for column in ("loss", "accuracy"):
        table.add_column(column, justify="right")
    for split, numbers in (("validation", result.validation), ("test", result.test)):
        table.add_row(split, f"{numbers['loss']:.4f}", f"{numbers['accuracy']:.4f}")
    stopped, seconds = "stopped early" if result.stopped == "early" else "all epochs", result.seconds
    lines = [
        f"best epoch   {result.best_epoch} of {result.epochs} ({stopped})",
        f"seconds      {seconds['total']:.1f} (fit {seconds['fit']:.1f}, test {seconds['test']:.1f})",
    ]
    if folder is not None:
        relative = os.path.relpath(folder)  # As people type it.
        lines += [f"folder       {relative}", f"curves       tensorboard --logdir {relative}"]
    console = Console()
    console.print(table)
    # Unwrapped: paths and commands are there to be copied.
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
