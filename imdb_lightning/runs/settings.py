"""A run's settings in its folder, and which others a later command in the same folder may have."""

import dataclasses
import reprlib
from pathlib import Path

from omegaconf import OmegaConf

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import Config, flatten
from imdb_lightning.config.shown import hidden
from imdb_lightning.runs import records
from imdb_lightning.runs.files import write_text

# What may differ when a run with shards goes on: its bits are the same for any number of processes.
_PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.max_restarts")
# Differing settings whose values a refusal shows.
_SHOWN = 3
_REMEDY = "Name another hydra.run.dir or hydra.sweep.dir."


class OtherRunError(UserError):
    """A folder belongs to a run with other settings, or is in use: nothing in it may be changed."""


def settings_of(config: Config) -> dict[str, object]:
    """What makes a run what it is: all but which of several machines this one is, and what its secrets are."""
    settings = dataclasses.asdict(config)
    settings["trainer"] |= {"node_rank": None, "rendezvous": None, "flags": hidden(config.trainer.flags)}
    settings["callbacks"]["extra"] = hidden(config.callbacks.extra)
    settings["logger"] = hidden(config.logger)
    return settings


def write_settings(config: Config, folder: Path) -> None:
    """Writes `config.yaml`, without which a checkpoint is none: it outlasts a power loss."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / records.CONFIG, OmegaConf.to_yaml(OmegaConf.create(settings_of(config))), lasting=True)


def saved_settings(config: Config, folder: Path) -> Config | None:
    """The settings of the run in a folder; None: there is no run.

    They are the given ones but for fewer epochs, no refit, or with shards another number of processes.

    Raises:
        OtherRunError: they differ in anything else.
        UserError: the file is damaged, or it is missing beside a checkpoint, which may be of any settings.
    """
    path, begin_again = folder / records.CONFIG, f"Remove {folder} to begin again, or name another folder."
    if not path.exists():
        if (folder / records.CHECKPOINT).exists():
            raise UserError(path, "the settings of the run whose checkpoint is there", "no such file", begin_again)
        return None
    try:  # Through the schema, so that a run from before a setting was there has its default.
        run = load_config(path)
    except UserError as error:
        name, accepted, got, _ = error.args
        raise UserError(name, accepted, got, begin_again) from error
    saved, current = flatten(settings_of(run)), flatten(settings_of(config))
    if current.get("data.labels", "") is None:  # The run has found them, and written them down.
        current["data.labels"] = saved.get("data.labels")
    if config.refit:  # It can be done later, too.
        saved["refit"] = True
    if run.trainer.shards is not None:
        saved |= {key: current[key] for key in _PROCESSES}
    old, new, model = run.trainer.max_epochs, config.trainer.max_epochs, config.model
    if old < new and saved | {"trainer.max_epochs": new} == current:
        if model.schedule == "constant" and not model.warmup_epochs:
            return run
        schedule = f"model.schedule={model.schedule} and model.warmup_epochs={model.warmup_epochs}"
        accepted = f"trainer.max_epochs={old}, since the learning rate of each step follows from it, {schedule}"
        raise OtherRunError(folder, accepted, new, _REMEDY)
    refuse_other_settings(folder, saved, current, "run")
    return run


def refuse_other_settings(folder: Path, saved: dict[str, object], current: dict[str, object], kind: str) -> None:
    """Refuses a folder with a run, or what else `kind` says, whose saved settings are not the current ones.

    Raises:
        OtherRunError: it names the differing settings, up to a number.
    """
    absent = object()
    keys = sorted(saved.keys() | current.keys())
    differing = [key for key in keys if saved.get(key, absent) != current.get(key, absent)]
    if differing:
        values = [f"{key} ({_brief(saved, key)} there, now {_brief(current, key)})" for key in differing[:_SHOWN]]
        more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        accepted = f"a new folder, or the settings of the {kind} in it"
        raise OtherRunError(folder, accepted, f"other values of {', '.join(values)}{more}", _REMEDY)


def _brief(settings: dict[str, object], key: str) -> str:
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 60
    return shortener.repr(settings[key]) if key in settings else "absent"
