"""A sweeper of Hydra's that searches: each job's settings are proposed from what those before it have reached.

A trial's number is its job's, and what it has reached is read from its folder: so any launcher will do, a search that
was interrupted goes on where it was, and the test reviews play no part.
"""

import shlex
import signal
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from optuna.trial import FrozenTrial, TrialState

from imdb_lightning.config.command import exit_on_user_error
from imdb_lightning.config.schema import Config, flatten, parse
from imdb_lightning.launch.local_launcher import places
from imdb_lightning.launch.overrides import key_of, search_path
from imdb_lightning.launch.search_space import as_experiment, read_space, shown
from imdb_lightning.launch.study import Study
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.lifecycle import locked
from imdb_lightning.runs.records import INTERRUPTED, read_status
from imdb_lightning.runs.search import FOUND, Trial, report
from imdb_lightning.runs.settings import settings_of


def register() -> None:
    """Makes the sweeper known under the name in `config.schema.SearchConfig`."""
    # As in `local_launcher.register`.
    Plugins.instance().class_name_to_class["hydra_plugins.imdb_lightning.OptunaSweeper"] = OptunaSweeper


class OptunaSweeper(Sweeper):
    """Proposes and launches trials until there are `n_trials`; see `config.schema.SearchConfig`."""

    def __init__(self, n_trials: int, n_jobs: int | None, seed: int, pruning: bool) -> None:
        self.n_trials, self.n_jobs, self.seed, self.pruning = n_trials, n_jobs, seed, pruning
        self._folders: dict[int, Path] = {}  # Of trials by their numbers.

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra gives its sweepers."""
        self._loader, self._hydra = hydra_context.config_loader, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Searches; ends the process with status 2 where the folder has another search, or one that is under way."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parser = OverridesParser.create(config_loader=self._loader)
        self._space = read_space(parser.parse_overrides(arguments))
        # Settings of any trial: what is the same in all of them can be read there.
        self._config, _ = self._compose(0, self._space.border_jobs()[0])
        settings = flatten(settings_of(self._config))
        settings |= {f"space.{key}": repr(of) for key, of in self._space.dimensions.items()}
        settings |= {"hydra.sweeper.seed": self.seed, "hydra.sweeper.pruning": self.pruning}
        settings.pop("refit", None)  # It is for what the trials have found.
        folder = Path(self._hydra.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        with exit_on_user_error(), locked(folder) as lock:
            monitor = self._config.callbacks.monitor
            self._study = Study(folder, lock, monitor, self._space, settings)
            self._run_trials()
            best = self._study.best()
            if best is None:
                return  # The comparison names what went wrong with each.
            if self._config.refit:  # In the best trial's own folder, which goes on from there.
                self._launcher.launch([[*self._space.fixed, *self._study.overrides(best)]], best.number)
            found = parser.parse_overrides([*self._space.fixed, *self._space.overrides(best.params)])
            self._write_found(
                found, f"The best of {len(self._study.trials())} trials, by {monitor}: number {best.number}."
            )
            trials = [self._trial(trial) for trial in self._study.trials()]
            report(trials, monitor, self._study.importances(), folder)

    def _write_found(self, overrides: Sequence[Override], heading: str) -> None:
        hydra = self._hydra.hydra
        own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        search = search_path(own[0] if own else None, hydra.overrides.hydra)
        command = ["python", "-m", "imdb_lightning", "--config-dir", hydra.sweep.dir, *search, "+experiment=found"]
        path = Path(hydra.sweep.dir, FOUND)
        path.parent.mkdir(exist_ok=True)
        write_text(path, as_experiment(overrides, search, [shlex.join(command), heading]))

    def _run_trials(self) -> None:
        for trial in self._study.trials(TrialState.RUNNING):  # Of an interrupted search; some may have finished.
            self._study.tell(trial, self._folder(trial))
        # A launcher numbers the jobs of a call one after the other.
        left = enumerate(self._study.trials(TrialState.RUNNING))
        for _, neighbours in groupby(left, key=lambda pair: pair[1].number - pair[0]):
            self._launch([trial for _, trial in neighbours])
        while (missing := self.n_trials - len(self._study.trials())) > 0:
            count = min(self._jobs_at_once(), missing)
            self._launch([self._study.propose(self.seed, self.pruning) for _ in range(count)])

    def _jobs_at_once(self) -> int:
        if self.n_jobs is not None or self._launcher_name() == "basic":
            return self.n_jobs or 1
        named = self._hydra.hydra.launcher.get("n_jobs") or 0  # joblib's -1 is for all cores.
        return named if named > 0 else max(1, places(self._config.trainer))

    def _launcher_name(self) -> str:
        return str(self._hydra.hydra.runtime.choices["hydra/launcher"])

    def _launch(self, trials: Sequence[FrozenTrial]) -> None:
        """Runs trials of neighbouring numbers, waits for all of them, and tells the study."""
        for returned in self._launcher.launch([self._overrides(trial) for trial in trials], trials[0].number):
            returned.return_value  # noqa: B018  # Raises what a launcher has caught.
        for trial in trials:
            self._study.tell(trial, self._folder(trial))
        if self._launcher_name() == "joblib":  # The others end this process themselves.
            states = [status.state for trial in trials if (status := read_status(self._folder(trial)))]
            if INTERRUPTED in states:
                sys.exit(128 + signal.SIGINT)

    def _overrides(self, trial: FrozenTrial) -> list[str]:
        refit = ["refit=false"] if self._config.refit else []
        return [*self._space.fixed, *self._study.overrides(trial), *refit]

    def _compose(self, number: int, overrides: Sequence[str]) -> tuple[Config, Path]:
        """A job's settings and its folder."""
        composed = self._loader.load_sweep_config(self._hydra, list(overrides))
        with open_dict(composed):
            composed.hydra.job.num = number  # A part of the folder's name.
            folder = Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir)
            del composed["hydra"]
        return parse(composed), folder

    def _folder(self, trial: FrozenTrial) -> Path:
        if trial.number not in self._folders:
            _, self._folders[trial.number] = self._compose(trial.number, self._overrides(trial))
        return self._folders[trial.number]

    def _trial(self, trial: FrozenTrial) -> Trial:
        settings = {key_of(key): shown(trial.params[key]) for key in self._space.dimensions}
        return Trial(trial.number, trial.state.name.lower(), trial.value, settings, self._folder(trial))
