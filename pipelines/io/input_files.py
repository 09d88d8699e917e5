"""Reading files that a user names: regular files only, because a pipe is waited for and a device never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from ..errors import InputError


def open_input(path: str | Path) -> IO[bytes]:
    """The file, open for reading; raises OSError, with a reason, for what cannot be read or is not a regular file."""
    return open(path, "rb", opener=lambda path, _: _opened(path)[0])


def read_input(path: str | Path) -> bytes:
    """The whole content of a file; raises OSError as open_input does.

    Only four system calls: each releases Python's lock, and the threads of a build then queue for it again.
    """
    descriptor, size = _opened(path)
    try:
        data = os.read(descriptor, size + 1)
        while len(data) != size and (more := os.read(descriptor, 1 << 30)):  # the file changes, or is above 2 GB
            data += more
        return data
    finally:
        os.close(descriptor)


def read_lines(path: str | Path, what: str, *, may_be_empty: bool = False) -> list[str]:
    """The lines of a UTF-8 text file, stripped, without the empty ones.

    `what` names the file in messages ("class names"). Raises InputError for a file that cannot be read, is not UTF-8,
    or has no lines, unless it may be empty.
    """
    try:
        text = read_input(path).decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}; correct the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; write the {what} one a line, in UTF-8") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines and not may_be_empty:
        raise InputError(f"{path} has no {what}; write one a line")
    return lines


def _opened(path: str | Path) -> tuple[int, int]:
    """The descriptor and the size of a regular file. Without O_NONBLOCK, opening a pipe would wait for its writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a directory", str(path))
    raise OSError(errno.ESPIPE, "it is not a regular file", str(path))
