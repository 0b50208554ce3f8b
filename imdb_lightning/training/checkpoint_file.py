"""The checkpoint as a file: written whole, with a digest, and held against that before anything in it is loaded.

Damage and other programs' files end in one message that names the file; the file itself stays as it is.
"""

import hashlib
import io
import os
import struct
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead
from imdb_lightning.runs.files import write_file

# How the functions are named in which Lightning puts what a checkpoint holds in its places.
_RESTORING = ("resume_start", "restore_")
_MARK, _DIGITS = b"sha256 ", 64
# What Lightning restores a run from.
_KEYS = {
    "pytorch-lightning_version", "state_dict", "callbacks", "loops", "optimizer_states", "lr_schedulers", "epoch",
    "global_step",
}  # fmt: skip


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames, with a digest that is looked at before the file is loaded.

    Lightning's own goes through the temporary folder, often on another disk, and torch loads flipped bits without a
    word. The digest is the comment of the zip file that a checkpoint is, so that whatever reads those reads it, too.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes the checkpoint whole or not at all, so that it outlasts a power loss.

        Of the 2 MB of the notebook's first network, waiting for a virtual disk took 7 to 9 ms on a busy machine, where
        an epoch took 90 ms or more.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(exist_ok=True)
        write_file(Path(path), with_digest(buffer.getvalue()), lasting=True)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:  # fmt: skip
        """Reads the checkpoint.

        Raises:
            UserError: the file is damaged, or no checkpoint of a run.
        """
        try:
            if not Path(path).is_file():
                raise ValueError("no plain file")
            content = Path(path).read_bytes()
            check_digest(content)
            checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=weights_only)
            if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _KEYS:
                raise ValueError("what torch.save has written of something else")
        # A file that is damaged, or made to do harm, can end torch in any exception.
        except Exception as error:
            raise unusable(Path(path), error) from error
        return checkpoint


def with_digest(content: bytes) -> bytes:
    """A zip file without a comment, with the SHA-256 of all before the digest as its comment.

    Example:
        >>> check_digest(with_digest(b"PK\\5\\6" + bytes(18)))
    """
    # The last two bytes are the comment's length.
    content = content[:-2] + struct.pack("<H", len(_MARK) + _DIGITS) + _MARK
    return content + hashlib.sha256(content).hexdigest().encode()


def check_digest(content: bytes) -> None:
    """Refuses a file that has changed since it was written; of those from before digests, what torch has saved in it.

    Raises:
        ValueError: it has.
        zipfile.BadZipFile: likewise.
    """
    hashed, digest = content[:-_DIGITS], content[-_DIGITS:]
    if hashed.endswith(_MARK):
        if hashlib.sha256(hashed).hexdigest().encode() != digest:
            raise ValueError("other content than its digest is of")
        return
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):  # torch presses nothing.
            raise ValueError("a compressed file")
        if (damaged := file.testzip()) is not None:
            raise ValueError(f"other content than the checksum of {damaged} is of")


def unusable(path: Path, error: Exception) -> UserError:
    """What to say of a checkpoint that a run cannot go on from."""
    begin_again = f"{path} to begin again: the run then starts from its first epoch."
    if isinstance(error, OSError | MemoryError):  # The file itself may be well.
        found, remedy = f"one that cannot be read ({error or 'out of memory'})", f"Mend that, or remove {begin_again}"
    else:
        # A bare ValueError is of a check above; torch's words are of many lines, and advise to let the file run code.
        checked = type(error) is ValueError
        found = found_instead(error) if checked else "a damaged one, or one of another network or program"
        remedy = f"Remove {begin_again}"
    return UserError(path, "the checkpoint of this run", found, remedy)


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """Around the training that goes on from a checkpoint, if there is one.

    Raises:
        UserError: the checkpoint holds something else than this run's state.
    """
    try:
        yield
    except Exception as error:
        # Anything else, as the end of another rank, says nothing about the checkpoint. Lightning has no name of its own
        # for such an error, so it is known by the functions that it came through; test_checkpoint.py looks whether it
        # still is.
        frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        places = [code.co_name for code in frames if code.co_filename.endswith("checkpoint_connector.py")]
        if path is None or isinstance(error, UserError) or not any(name.startswith(_RESTORING) for name in places):
            raise
        raise unusable(path, error) from error
