"""The trials of a search: one file to which lines are added, and what Optuna's TPE proposes next.

After a kill at any moment the file is whole: a trial is one line when it is proposed, and known to be finished by its
last one. Any program that reads Optuna's journals opens it.
"""

import json
import warnings
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead, why_unreadable
from imdb_lightning.config.schema import MONITORS
from imdb_lightning.launch.search_space import SearchSpace
from imdb_lightning.runs import records
from imdb_lightning.runs.files import write_file
from imdb_lightning.runs.lifecycle import complete_killed
from imdb_lightning.runs.search import STUDY
from imdb_lightning.runs.settings import refuse_other_settings
from imdb_lightning.runs.tables import read_history

# Finished trials before one is stopped for being worse than half of them.
_FINISHED = 5
# Digits of what a trial is held against; they stand in its settings.
_DIGITS = 6
# Finished trials from which it can be told which setting matters.
_IMPORTANT = 10
# User attributes of the study and of a trial.
_SETTINGS, _STOP_BEHIND = "settings", "stop_behind"


class Study:
    """A search's trials, numbered from 0.

    Args:
        folder: of the search.
        lock: the folder's, a `FileLock` that is held: it keeps other processes out of the file, too.
        monitor: what trials are told apart by, as in `callbacks.monitor`.
        settings: what makes the search what it is, as plain values by dotted keys.

    Raises:
        OtherRunError: the folder has a search with other settings.
        UserError: its journal is damaged.
    """

    def __init__(self, folder: Path, lock: Any, monitor: str, space: SearchSpace, settings: dict[str, object]) -> None:
        self._monitor, self._space = monitor, space
        self._dimensions: dict[str, Any] = {**space.dimensions}
        file = folder / STUDY
        try:
            self._open(file, lock)
            saved = self._study.user_attrs.get(_SETTINGS)
        except Exception as error:  # Optuna looks at nothing that it reads, and ends in any exception.
            remedy = f"Remove {file} to begin again: trials that have finished give back their results."
            raise UserError(file, "the journal of a search", found_instead(error), remedy) from error
        settings = json.loads(json.dumps(settings))  # As they are read back.
        if saved is None:
            self._study.set_user_attr(_SETTINGS, settings)
        else:
            refuse_other_settings(folder, saved, settings, "search")

    def _open(self, file: Path, lock: Any) -> None:
        if file.exists():  # A line that a full disk has cut off would spoil the next one.
            if reason := why_unreadable(file):
                raise OSError(reason)
            content = file.read_bytes()
            content = content[: content.rfind(b"\n") + 1]
            # Optuna leaves out a last line that it cannot read, and would write behind it.
            if not all(isinstance(json.loads(line), dict) for line in content.splitlines()):
                raise ValueError("a line that is no JSON object")
            write_file(file, content)
        # Optuna's own lock would outlive a killed process by half a minute.
        self._storage = JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
        direction: Any = {"min": "minimize", "max": "maximize"}[MONITORS[self._monitor]]
        self._study = optuna.create_study(
            storage=self._storage, study_name="imdb_lightning", direction=direction, load_if_exists=True
        )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Those in one of the states, or all."""
        found: list[FrozenTrial] = self._study.get_trials(states=states or None)
        return found

    def best(self) -> FrozenTrial | None:
        """The first of the best ones that have run to their end; None: there is none."""
        return self._study.best_trial if self.trials(TrialState.COMPLETE) else None

    def propose(self, seed: int, pruning: bool) -> FrozenTrial:
        """Adds a trial.

        It is a function of the seed and of the trials before it, so that an interruption changes nothing.
        """
        trials = self.trials()
        drawn = int(np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0])
        # A copy in memory is asked: the study itself would write a line for each setting, and be killed in between.
        copy = optuna.create_study(
            sampler=TPESampler(seed=drawn, multivariate=True, constant_liar=True), direction=self._study.direction
        )
        copy.add_trials(trials)
        values = self._space.rounded(copy.ask(self._dimensions).params)
        attributes = {_STOP_BEHIND: self._medians() if pruning else []}
        self._study.add_trial(
            create_trial(state=TrialState.RUNNING, params=values, distributions=self._dimensions, user_attrs=attributes)
        )
        return self.trials()[-1]

    def _medians(self) -> list[float]:
        """Of finished trials' best values so far, after each epoch from the second on; empty while they are few."""
        curves = [list(t.intermediate_values.values()) for t in self.trials(TrialState.COMPLETE)]
        if len(curves) < _FINISHED:
            return []
        best = [list(accumulate(curve, {"min": min, "max": max}[MONITORS[self._monitor]])) for curve in curves]
        # What a trial had reached when it ended counts for later epochs, too.
        columns = [[curve[min(place, len(curve) - 1)] for curve in best] for place in range(1, max(map(len, best)))]
        return [float(f"{median(column):.{_DIGITS}g}") for column in columns]

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """A trial's settings, made anew from its values, which are checked: a file from elsewhere could hold any."""
        limits = [float(limit) for limit in trial.user_attrs[_STOP_BEHIND]]
        stop = [f"callbacks.stop_behind=[{','.join(map(str, limits))}]"] if limits else []
        return [*self._space.overrides(trial.params), *stop]

    def tell(self, trial: FrozenTrial, folder: Path) -> None:
        """Takes over what a trial has reached on the validation reviews, if its run has completed."""
        complete_killed(folder)
        status = records.read_status(folder)
        if status is None or status.state != records.COMPLETED:
            return
        result = records.read_result(folder)
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        for epoch in read_history(folder):
            value = getattr(epoch, self._monitor.replace("/", "_"))
            self._storage.set_trial_intermediate_value(trial_id, epoch.epoch, value)
        if result.stopped == "pruned":
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, result.validation[self._monitor.rpartition("/")[2]])

    def importances(self) -> dict[str, float]:
        """Each setting's share in what made trials good; empty where that is not known."""
        if len(self._dimensions) < 2 or len(self.trials(TrialState.COMPLETE)) < _IMPORTANT:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of trials that are all equally good.
            shares: dict[str, float] = optuna.importance.get_param_importances(self._study)
        return shares
