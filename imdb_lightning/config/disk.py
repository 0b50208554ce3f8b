"""Files that survive a power loss."""

import errno
import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk, so that no power loss takes them back.

    Where a file that has been written beside its place is renamed, the file comes first and its folder after: else the
    new name may be there, and hold nothing. The costs are said where it is called often.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Some network file systems know no such thing for folders.
            raise
    finally:
        os.close(handle)
