"""The checkpoint's digest, what else may stand in its place, and what is never saved in it."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from imdb_lightning.config.errors import UserError
from imdb_lightning.model.module import SentimentClassifier
from imdb_lightning.training import experiment
from imdb_lightning.training.checkpoint_file import AtomicCheckpointIO
from tests.support import Command, equal, outcome

SMALL = [
    "data=synthetic", "data.reviews=600", "data.validation_size=200", "data.test_size=100", "data.num_words=200",
    "data.batch_size=100", "model.hidden_units=[4]", "callbacks=none",
]  # fmt: skip
NAME = "checkpoints/last.ckpt"


class Poison(pl.Callback):
    """Makes the weights NaN at a step, from 0 within an epoch."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            with torch.no_grad():
                pl_module.network.words.bias.fill_(torch.nan)


@pytest.fixture(scope="module")
def once(compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch; tests work on copies."""
    folder = tmp_path_factory.mktemp("once")
    experiment.run(compose(*SMALL, "trainer.max_epochs=1"), folder)
    return folder


@pytest.fixture(scope="module")
def whole(compose, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run of two epochs leaves."""
    folder = tmp_path_factory.mktemp("whole")
    experiment.run(compose(*SMALL, "trainer.max_epochs=2"), folder)
    return outcome(folder)


@pytest.fixture
def copied(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "run"))


def refused(path: Path, compose) -> str:
    """Message with which more epochs in the folder are refused; the checkpoint stays as it is."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError) as raised:
        experiment.run(compose(*SMALL, "trainer.max_epochs=2"), path.parent.parent)
    text = str(raised.value)
    assert text.startswith(f"{path}: expected the checkpoint of this run, but got ")
    assert text.endswith(f"Remove {path} to begin again: the run then starts from its first epoch.")
    assert "weights_only" not in text
    assert before is None or path.read_bytes() == before
    status = json.loads((path.parent.parent / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", text)
    return text


def test_flipped_bit_is_noticed_wherever_it_is(once: Path, tmp_path: Path) -> None:
    content, path = (once / NAME).read_bytes(), tmp_path / "last.ckpt"
    path.write_bytes(content)
    expected = AtomicCheckpointIO().load_checkpoint(path)
    draw, mark = random.Random(0), range(len(content) - 71, len(content) - 64)
    for place in [*draw.sample(range(len(content)), 300), *range(len(content) - 93, len(content))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        if place in mark:  # Then it counts as a checkpoint from before digests, and all in it is well.
            assert equal(AtomicCheckpointIO().load_checkpoint(path), expected)
        else:
            with pytest.raises(UserError, match=r"last\.ckpt: expected the checkpoint of this run"):
                AtomicCheckpointIO().load_checkpoint(path)


def test_checkpoint_from_before_digests_is_loaded_and_checked(once: Path, tmp_path: Path) -> None:
    checkpoint, path = torch.load(once / NAME, weights_only=True), tmp_path / "last.ckpt"
    torch.save(checkpoint, path)
    assert equal(AtomicCheckpointIO().load_checkpoint(path), checkpoint)
    content = bytearray(path.read_bytes())
    weights = checkpoint["state_dict"]["network.words.weight"].numpy().tobytes()
    content[content.index(weights) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="other content than the checksum of"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_programs_that_know_no_digest_read_the_file(once: Path, tmp_path: Path) -> None:
    torch.load(once / NAME, weights_only=True, mmap=True)
    module = SentimentClassifier.load_from_checkpoint(once / NAME, map_location="cpu", weights_only=True)
    assert module.hparams["hidden_units"] == [4]
    loader = torch.utils.data.DataLoader([(torch.zeros(200), 1)] * 8, batch_size=4)
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of loaders that a small program does without.
        trainer.fit(module, loader, ckpt_path=once / NAME, weights_only=True)
    assert trainer.current_epoch == 2


def replaced(checkpoint: dict, kind: str) -> object:
    """Something that torch has saved, and that is no checkpoint of the run."""
    values = {
        "nothing": {},
        "list": [1],
        "no callbacks": {key: value for key, value in checkpoint.items() if key != "callbacks"},
        "other history": checkpoint | {"callbacks": checkpoint["callbacks"] | {"History": {"epochs": [{"epoch": 1}]}}},
        "other shape": checkpoint | {"state_dict": {name: torch.zeros(3) for name in checkpoint["state_dict"]}},
        "other loops": checkpoint | {"loops": {}},
        "other version": checkpoint | {"pytorch-lightning_version": "none"},
        "other epoch": checkpoint | {"loops": None, "optimizer_states": [{}]},
    }
    return values[kind]


@pytest.mark.parametrize(
    "kind",
    ["nothing", "list", "no callbacks", "other history", "other shape", "other loops", "other version", "other epoch"],
)
def test_other_content_is_refused_by_name(kind: str, compose, copied: Path) -> None:
    path = copied / NAME
    torch.save(replaced(torch.load(path, weights_only=True), kind), path)
    refused(path, compose)


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "folder", "pickle"])
def test_damaged_file_is_refused_and_without_it_the_run_begins_again(
    kind: str, compose, copied: Path, whole: dict[str, object]
) -> None:
    path = copied / NAME
    content = path.read_bytes()
    if kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        harm = b"cos\nsystem\n(S'touch harm'\ntR."
        path.write_bytes({"empty": b"", "truncated": content[:-1000], "text": b"no zip", "pickle": harm}[kind])
    refused(path, compose)
    assert not Path("harm").exists()
    path.rmdir() if kind == "folder" else path.unlink()
    experiment.run(compose(*SMALL, "trainer.max_epochs=2"), copied)
    again = outcome(copied)
    assert [key for key in whole if not equal(whole[key], again[key])] == []


def test_error_of_something_else_is_not_laid_on_the_checkpoint(compose, copied: Path) -> None:
    class Broken(pl.Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        experiment.run(compose(*SMALL, "trainer.max_epochs=2"), copied, callbacks=[Broken()])


@pytest.mark.parametrize(
    ("at", "steps", "saved"), [((0, 1), "null", None), ((1, 2), "null", 4), ((1, 3), "1", 7), ((1, 2), "2", 6)]
)
def test_loss_that_is_not_finite_ends_the_run_and_is_not_saved(
    at: tuple[int, int], steps: str, saved: int | None, compose, tmp_path: Path
) -> None:
    config, path = compose(*SMALL, "trainer.max_epochs=3", f"checkpoint.every_n_steps={steps}"), tmp_path / NAME
    with pytest.raises(UserError) as raised:
        experiment.run(config, tmp_path, callbacks=[Poison(*at)])
    epoch, step = at[0] + 1, at[1] + 1
    assert f"got nan in epoch {epoch}. The training diverged at step {step}: lower model" in str(raised.value)
    kept = "There is no checkpoint yet." if saved is None else f"{path} has the last finite state."
    assert str(raised.value).endswith(kept)
    assert path.exists() == (saved is not None)
    if saved is not None:
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["global_step"] == saved
        assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["last_epoch"]) == ("failed", at[0])
    assert not (tmp_path / "results.json").exists()


def test_weights_that_the_last_update_has_spoilt_are_not_saved(compose, tmp_path: Path) -> None:
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            if batch_idx == 1:
                with torch.no_grad():
                    pl_module.network.words.weight[0, 0] = torch.inf

    config = compose(*SMALL, "trainer.max_epochs=1", "checkpoint.every_n_steps=2")
    with pytest.raises(UserError, match=r"weights: expected a finite number.* diverged at step 2"):
        experiment.run(config, tmp_path, callbacks=[Spoil()])
    assert not (tmp_path / NAME).exists()


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_stop_together_where_one_has_no_finite_loss(command: Command, tmp_path: Path) -> None:
    (tmp_path / "poison.py").write_text(
        "import pytorch_lightning as pl, torch\n"
        "class Poison(pl.Callback):\n"
        "    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):\n"
        "        if (trainer.global_rank, trainer.current_epoch, batch_idx) == (1, 1, 2):\n"
        "            with torch.no_grad():\n"
        "                pl_module.network.words.bias.fill_(torch.nan)\n"
    )
    answer = command(
        tmp_path, *SMALL, "trainer=ddp_cpu", "callbacks.extra.poison._target_=poison.Poison", "hydra.run.dir=run",
    )  # fmt: skip
    assert answer.returncode == 2, answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert "loss: expected a finite number, but got nan in epoch 2. The training diverged at step 3" in last
    assert last.endswith("run/checkpoints/last.ckpt has the last finite state.")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
