"""Finished runs found and grouped: which belong together, what tells the groups apart, and their numbers.

Runs with equal settings but for the seed make a group; a group's numbers are means with the sample's standard
deviation over its runs. Groups on different reviews are not to be compared: each knows its data set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import flatten
from imdb_lightning.runs import records
from imdb_lightning.runs.averaging import ensemble_accuracy
from imdb_lightning.runs.tables import read_history

# Numbers of a group, and how many decimals of each are shown.
COLUMNS = {
    "parameters": 0, "best epoch": 1, "validation loss": 4, "validation accuracy": 4, "test loss": 4,
    "test accuracy": 4, "seconds": 1,
}  # fmt: skip
# Settings, or their sections, that change no result, or only whether a run ends before it: runs that differ in nothing
# else are one group.
_WITHOUT_EFFECT = (
    "seed", "keep", "refit", "logger", "checkpoint", "data.cache_dir", "data.path", "data.word_index", "data.offline",
    "trainer.max_restarts", "trainer.node_rank", "trainer.rendezvous", "callbacks.stop_behind",
)  # fmt: skip
# Of a label: settings, and characters of a value.
_SETTINGS_SHOWN, _VALUE_SHOWN = 3, 24
# The notebook's protocol: the test accuracy that it prints, its settings, and the reviews as results describe them.
_NOTEBOOK_SETTINGS = (
    "model.hidden_units", "model.activation", "model.loss", "model.l2", "model.dropout", "trainer.max_epochs",
    "callbacks.patience", "callbacks.restore_best", "model.optimizer", "model.learning_rate", "data.batch_size",
    "trainer.precision", "trainer.flags", "callbacks.monitor",
)  # fmt: skip
_SHARED: tuple[Any, ...] = ("adam", 0.001, 512, "32-true", {}, "val/loss")
_NOTEBOOK: dict[str, tuple[Any, ...]] = {
    "shallow_relu_bce": (0.88032, [16], "relu", "bce", 0.0, 0.0, 20, 2, True, *_SHARED),
    "deep_tanh_mse": (0.84740, [32, 32, 32], "tanh", "mse", 0.0, 0.0, 20, None, False, *_SHARED),
    "regularized_relu_bce": (0.87740, [64, 64], "relu", "bce", 0.001, 0.5, 5, None, False, *_SHARED),
}
_NOTEBOOK_REVIEWS = {"source": "imdb.npz", "num_words": 10_000, "train": 15_000, "validation": 10_000, "test": 25_000}


@dataclass(frozen=True)
class Run:
    """A run's folder and what is known of it; `result` is None and `history` empty unless it is completed."""

    folder: Path
    status: records.Status
    result: records.RunResult | None
    history: Sequence[records.Epoch]

    def __str__(self) -> str:
        # A run that was killed could not write that into its status.
        return f"{self.status.state}. {self.status.reason or 'It is still under way, or it was killed.'}"


@dataclass(frozen=True)
class Group:
    """Completed runs, at least one, with equal settings but for the seed."""

    label: str  # The runs' name, and the settings that tell the group from others of this name on the same data.
    runs: list[Run]
    loss: str  # What kind it is; losses of different kinds are not to be compared.
    data: str  # Source and sizes of the reviews.
    notebook: float | None  # The notebook's test accuracy; None for settings or reviews that are not its own.
    ensemble: float | None  # Test accuracy of the mean of the runs' probabilities; see `ensemble_accuracy`.

    def refitted(self) -> float | None:
        """The mean test accuracy of the runs' refitted networks; None unless all have one."""
        refits = [run.result.refit for run in self.runs if run.result is not None and run.result.refit is not None]
        return mean(refit["test"]["accuracy"] for refit in refits) if len(refits) == len(self.runs) else None

    def statistics(self) -> list[tuple[float, float | None]]:
        """Of each of `COLUMNS` the mean and the sample's standard deviation, which a single run does not have."""
        rows = [
            (
                result.parameters, result.best_epoch, result.validation["loss"], result.validation["accuracy"],
                # A process's first run pays for the imports, which would tell it from the others.
                result.test["loss"], result.test["accuracy"], result.seconds["total"] - result.seconds["start"],
            )
            for result in (run.result for run in self.runs)
            if result is not None
        ]  # fmt: skip
        columns = [[float(value) for value in column] for column in zip(*rows, strict=True)]
        return [(mean(values), stdev(values) if len(values) > 1 else None) for values in columns]


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """All runs in or below the folders, in the order of their names, numbers by their value.

    Raises:
        UserError: a folder holds no run, or a file of a run is damaged.
    """
    runs = []
    for folder in folders:
        found = sorted((path.parent for path in folder.rglob(records.STATUS)), key=_natural)
        if not found:
            raise UserError(folder, "a folder with runs", "one without any status.json", "Name a folder under logs.")
        for run in found:
            status = records.read_status(run)
            assert status is not None
            completed = status.state == records.COMPLETED
            result = records.read_result(run) if completed else None
            runs.append(Run(run, status, result, read_history(run) if completed else ()))
    return runs


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups completed runs, those on the same data side by side, else in the order in which they first appear.

    Raises:
        UserError: a file of a run is damaged.
    """
    members: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], list[Run]]] = {}
    for run in runs:
        if run.result is not None:
            config = flatten(asdict(load_config(run.folder / records.CONFIG)))
            if config["trainer.shards"] is not None:  # The bits are the same for any number of processes.
                config |= {"trainer.devices": 1, "trainer.num_nodes": 1}
            key = tuple((name, str(value)) for name, value in config.items() if not _is_without_effect(name))
            # In one line each: the files may be a stranger's.
            place = (" ".join(_data_set(run.result.data).split()), " ".join(run.result.name.split()))
            members.setdefault(place, {}).setdefault(key, []).append(run)
    order = list(dict.fromkeys(data for data, _ in members))
    groups = []
    for (data, name), found in sorted(members.items(), key=lambda item: order.index(item[0][0])):
        settings = [dict(key) for key in found]
        for own, label, group in zip(settings, _labels(name, settings), found.values(), strict=True):
            ensemble = ensemble_accuracy([run.folder for run in group])
            groups.append(Group(label, group, _loss_kind(own), data, _notebook_accuracy(own, group), ensemble))
    return groups


def _is_without_effect(key: str) -> bool:
    return any(f"{key}.".startswith(f"{name}.") for name in _WITHOUT_EFFECT)


def _labels(name: str, groups: Sequence[dict[str, str]]) -> list[str]:
    """The name with what differs between groups; where much does, with what is unusual in each."""
    keys = dict.fromkeys(key for settings in groups for key in settings if key != "name")
    counts = {key: Counter(settings.get(key) for settings in groups) for key in keys}
    differing = [key for key in keys if len(counts[key]) > 1]
    usual = {key: counts[key].most_common(1)[0][0] for key in differing if len(differing) > _SETTINGS_SHOWN}
    labels: list[str] = []
    for settings in groups:
        changed = [key for key in differing if settings.get(key, usual.get(key)) != usual.get(key)]
        words = [name, *(f"{key.rpartition('.')[2]}={_short(settings[key])}" for key in changed[:_SETTINGS_SHOWN])]
        words += [f"+{len(changed) - _SETTINGS_SHOWN} more"] if len(changed) > _SETTINGS_SHOWN else []
        same = sum(label.partition(" #")[0] == " ".join(words) for label in labels)
        labels.append(" ".join([*words, f"#{same + 1}"] if same else words))
    return labels


def _short(value: str) -> str:
    value = "".join(value.split())
    return value if len(value) <= _VALUE_SHOWN else f"{value[:_VALUE_SHOWN]}..."


def _data_set(data: dict[str, Any]) -> str:
    """Source, checksum and size of the reviews that runs are held against; how many they learn from is a setting."""
    checksum = f" ({data['sha256'][:8]})" if data.get("sha256") else ""
    sizes = " and ".join(f"{data[split]:,} {split}" for split in ("validation", "test") if split in data)
    return f"{data.get('source')}{checksum}: {sizes} reviews"


def _loss_kind(settings: dict[str, str]) -> str:
    return settings["model.loss"] + ("+L2" if float(settings["model.l2"]) > 0 else "")


def _notebook_accuracy(settings: dict[str, str], runs: Sequence[Run]) -> float | None:
    """The notebook's test accuracy for runs of its own settings on its own reviews; None for others."""
    accuracy, *values = _NOTEBOOK.get(settings["model.name"], (None,))
    own_settings = [settings.get(name) for name in _NOTEBOOK_SETTINGS] == [str(value) for value in values]
    own_reviews = all(run.result and _NOTEBOOK_REVIEWS.items() <= run.result.data.items() for run in runs)
    return accuracy if own_settings and own_reviews else None


def _natural(path: Path) -> tuple[str, int, str]:
    """Sorts 2_name before 10_name."""
    number = path.name.split("_")[0]
    return str(path.parent), int(number) if number.isdigit() else -1, path.name
