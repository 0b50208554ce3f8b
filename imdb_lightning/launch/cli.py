"""The main command, top to bottom: compose, check, launch, and compare what a sweep gave."""

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from imdb_lightning.config.command import exit_on_user_error
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import parse
from imdb_lightning.config.shown import shown
from imdb_lightning.config.streams import open_streams, outlive_readers
from imdb_lightning.launch import clusters, command_line
from imdb_lightning.launch.folders import command_in
from imdb_lightning.launch.overrides import CONFIG_NAME, key_of
from imdb_lightning.launch.ranks import RanksFailedError
from imdb_lightning.launch.run import launch
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.lifecycle import is_first, record_failure
from imdb_lightning.runs.log import JOB
from imdb_lightning.runs.records import INTERRUPTED, REFIT, STATUS, read_status
from imdb_lightning.runs.report import compare
from imdb_lightning.runs.search import print_found
from imdb_lightning.runs.settings import OtherRunError
from imdb_lightning.runs.signals import Interrupted, SignalWatch, leave
from imdb_lightning.runs.summary import print_result

_OF_HYDRA = "multirun.yaml"  # What Hydra leaves in a sweep's folder: all settings.
_stopping = False  # In a process of joblib's: a job was asked to stop, and those that wait are not to start.


def main() -> None:
    """Runs the command line; exit status 2: it cannot be used, 1: something failed on the way."""
    outlive_readers()
    command_line.register_schema()
    parsed = command_line.read_command_line(sys.argv[1:])
    parsed.refuse_mistakes()
    for check in clusters.sweep_checks(parsed.launcher, parsed.configs, parsed.sweep).values():
        check()
    sys.argv[1:] = parsed.arguments
    status, sweep = _run_jobs(parsed), parsed.sweep
    if sweep is not None and (sweep / _OF_HYDRA).exists():
        _hide_secrets(sweep / _OF_HYDRA)
    if sweep is not None and is_first(parsed.configs[0]):
        if status > 128:
            if parsed.launcher.name == "slurm":
                print("Its jobs stay in the queue (see squeue and scancel). Once none is left there:", file=sys.stderr)
            _say_how_to_go_on("hydra.sweep.dir", sweep, str(Path.cwd()))
        # 1: a launcher lost its jobs; what there is can still be compared.
        elif status == 0 or (status == 1 and sweep.exists()):
            status = 0 if compare([sweep], sweep) else 1
            if parsed.searches:
                print_found(sweep)
            if not parsed.configs[0].keep:
                shutil.rmtree(sweep)
    sys.exit(status)


def _run_jobs(parsed: command_line.CommandLine) -> int:
    """Has Hydra run all jobs; gives the exit status, above 128 when they were interrupted."""
    launcher = parsed.launcher.name
    if launcher == "slurm":
        from imdb_lightning.launch import submitit_launcher  # Needs its plug-in.

        submitit_launcher.register()
    elif launcher == "local":
        from imdb_lightning.launch import local_launcher

        local_launcher.register()
    elif launcher == "ray":
        clusters.lock_ray(parsed.launcher)
    elif launcher == "joblib":
        # It would kill its processes at Ctrl-C. They get that, too: their jobs save, and what waits does not start.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Else Hydra shows with a traceback what the system refuses it, as to make a folder.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if parsed.searches:
        from imdb_lightning.launch import optuna_sweeper  # Needs its extra.

        optuna_sweeper.register()
    try:
        hydra.main(str(command_line.CONF), CONFIG_NAME, command_line.VERSION_BASE)(job)()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        return end.code
    except KeyboardInterrupt:  # Between jobs; a job says that itself.
        print("Interrupted by SIGINT.", file=sys.stderr)
        return 128 + signal.SIGINT
    if launcher == "joblib" and parsed.sweep is not None and not parsed.searches:
        states = [status.state for path in parsed.sweep.rglob(STATUS) if (status := read_status(path.parent))]
        if INTERRUPTED in states or len(states) < len(parsed.configs):
            return 128 + signal.SIGINT
    return 0


def _hide_secrets(path: Path) -> None:
    """Takes out of a file what no file is to have; a secret from the command line is in none, one from YAML is."""
    text = path.read_text(encoding="utf-8")
    if (clean := shown(text)) != text:
        write_text(path, clean)


def _say_how_to_go_on(key: str, folder: Path, started_in: str) -> None:
    print(f"This goes on:\n  {command_in(key, os.path.relpath(folder, started_in))}", file=sys.stderr)


def job(settings: DictConfig) -> None:
    """One job, in the folder that Hydra chose. A sweep goes on after a job that failed."""
    global _stopping
    composed = HydraConfig.get()
    open_streams()  # A launcher may have started this process.
    outlive_readers()
    folder, sweeping = Path(composed.runtime.output_dir), composed.mode == RunMode.MULTIRUN
    started_in = composed.runtime.cwd  # Which hydra.job.chdir leaves.
    launcher, number = composed.runtime.choices["hydra/launcher"], ""
    if _stopping:
        return
    if launcher in ("joblib", "local", "ray"):  # Jobs at once, on one terminal.
        os.environ[JOB], number = str(composed.job.num), f"#{composed.job.num} "
    try:
        config = parse(settings)
        # The imports in it take seconds, in which signals may come.
        with SignalWatch():
            result = launch(config, folder, keep_failed=sweeping)
    except Interrupted as interrupted:
        if is_first(config):
            print(f"{number}Interrupted by {interrupted}.", file=sys.stderr)
            if not sweeping:
                _say_how_to_go_on("hydra.run.dir", folder, started_in)
        if launcher != "joblib":
            leave(interrupted)
        _stopping = True
        return
    except RanksFailedError as error:
        # Its status has been written; torchrun has said more.
        print(f"{number}{error}", file=sys.stderr)
        if not sweeping:
            sys.exit(1)
        return
    except Exception as error:
        # A sweep, too, ends where the folder is another run's: no status is to be written there.
        if not sweeping or isinstance(error, OtherRunError):
            with exit_on_user_error():
                raise
        record_failure(folder, error)
        if isinstance(error, UserError):
            print(f"{number}{error}", file=sys.stderr)
        else:
            traceback.print_exc()
        return
    if is_first(config):
        changes = [text for text in composed.overrides.task if key_of(text).startswith("model.")]
        console = Console()
        print_result(config, result, console, changes)
        if config.keep:
            relative = os.path.relpath(folder, started_in)  # As people type it.
            lines = [f"folder       {relative}", f"curves       tensorboard --logdir {relative}"]
            if config.refit:  # The network to predict with.
                lines.insert(1, f"refitted     {relative}/{REFIT}")
            # Unwrapped: paths and commands are there to be copied.
            console.print(shown("\n".join(lines)), highlight=False, markup=False, soft_wrap=True)
        if not (config.keep or sweeping):
            shutil.rmtree(folder)
