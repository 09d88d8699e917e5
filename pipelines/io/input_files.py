"""Opening files that a user names: regular ones only, since a pipe would be waited for, and a device never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_input(path: str | Path) -> IO[bytes]:
    """The file, open for reading; raises OSError with a reason for what cannot be read or is no regular file."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.ESPIPE, "it is no regular file", str(path))
    return file


def read_input(path: str | Path) -> bytes:
    """All that it holds; raises as open_input does."""
    with open_input(path) as file:
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
