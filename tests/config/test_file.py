"""A run's folder from a stranger: nothing in its settings is resolved, built or written before it is checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import MAX_BYTES, load_config
from imdb_lightning.config.schema import Config
from imdb_lightning.inference.saved_run import load_run
from imdb_lightning.runs.settings import write_settings
from tests.support import Command

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 13)
)
HOSTILE = {
    "interpolation": lambda text: text.replace("- negative", "- ${oc.env:HOME}"),
    "escaped interpolation": lambda text: text.replace("- negative", '- "\\x24{oc.env:HOME}"'),
    "resolver": lambda text: text.replace("seed: 0", "seed: ${oc.decode:'0'}", 1),
    "interpolation in a key": lambda text: text + "? ${name}\n: 1\n",
    "alias": lambda text: text.replace("name: reg", "name: &n reg", 1).replace(
        "  name: regularized_relu_bce", "  name: *n"
    ),
    "alias bomb": lambda text: BOMB + text,
    "deep": lambda text: text + "more: " + "[" * 50_000 + "\n",
    "deep mapping": lambda text: text + "".join(f"{' ' * n}more:\n" for n in range(300)),
    "large": lambda text: text + "#" * MAX_BYTES,
    "tag": lambda text: text + "more: !!python/object/apply:os.system ['true']\n",
    "no mapping": lambda text: "- 1\n",
    "no text": lambda text: "\0\1\2",
    "tabs": lambda text: "\t" + text,
    "no UTF-8": lambda text: text.encode("utf-16").decode("latin-1"),
    "empty": lambda text: "",
    "words": lambda text: text.replace("num_words: 50", "num_words: 100000000"),
    "more words": lambda text: text.replace("num_words: 50", f"num_words: {10**30}"),
    "units": lambda text: text.replace("- 16", "- 2147483647").replace("- 8", "- 2147483647"),
    "layers": lambda text: text.replace("  - 16\n", "  - 1\n" * 20_000),
    "threads": lambda text: text.replace("threads: 1", "threads: 1000000"),
}


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_settings_are_refused_by_name(kind: str, copied: Path) -> None:
    path = copied / "config.yaml"
    before = path.read_text()
    path.write_text(HOSTILE[kind](before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    with pytest.raises(UserError) as refused:
        load_run(copied)
    file = "model.safetensors" if kind in ("words", "units", "layers") else "config.yaml"
    assert str(refused.value).startswith(f"{copied / file}: expected ")
    assert len(str(refused.value)) < 600


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["interpolation", "alias bomb", "words"])
def test_predict_answers_hostile_settings_with_one_message(
    kind: str, copied: Path, command: Command, tmp_path: Path
) -> None:
    path = copied / "config.yaml"
    path.write_text(HOSTILE[kind](path.read_text()))
    answer = command(tmp_path, "run", "--text", "good", module="imdb_lightning.predict", HOME="/home/secret")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert "/home/secret" not in answer.stderr


def test_saved_settings_are_read_back(compose: Callable[..., Config], tmp_path: Path) -> None:
    config = compose("data=synthetic", "model.learning_rate=1e-7", "trainer.flags.profiler=null", "name='a: *b, &c'")
    write_settings(config, tmp_path)
    assert load_config(tmp_path / "config.yaml") == config
    assert load_config(tmp_path / "config.yaml").model.learning_rate == 1e-7


@pytest.mark.slow
def test_damaged_settings_in_a_folder_that_is_used_again(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("- 1\n")
    answer = command(tmp_path, "data=synthetic", "hydra.run.dir=run")
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"{tmp_path}/run/config.yaml: expected the settings of a run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train.log", "train", "validation", "checkpoints", ".lock"])
def test_links_in_a_folder_are_not_written_through(name: str, command: Command, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "run").mkdir()
    if "." in name:
        outside.touch()
    else:
        outside.mkdir()
    (tmp_path / "run" / name).symlink_to(outside)
    settings = ["data=synthetic", "data.reviews=600", "data.validation_size=200", "data.test_size=200"]
    answer = command(tmp_path, *settings, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith(
        f"{tmp_path}/run/{name}: expected a file or folder of the run's own"
    )
    assert not (outside.read_text() if outside.is_file() else list(outside.iterdir()))


def test_settings_from_before_the_mode_followed_from_the_monitor_are_read(copied: Path) -> None:
    path = copied / "config.yaml"
    config = load_config(path)
    path.write_text(path.read_text().replace("monitor: val/loss", "monitor: val/loss\n  mode: min"))
    assert "mode: min" in path.read_text()
    assert load_config(path) == config
