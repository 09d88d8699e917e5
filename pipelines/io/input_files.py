"""Reading files that a user names: regular files only, because a pipe is waited for and a device never ends.

Text is UTF-8, with or without a byte-order mark, or UTF-16 or UTF-32 with one; lines may end as on Windows.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import IO, Any

from ..errors import InputError

# The mark of UTF-32 begins with that of UTF-16, so it comes first.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_COMMENT = re.compile(r"#+(\s|$)")
_LINE_END = re.compile(r"\r\n|\n|\r")  # splitlines would also split within names, at U+2028 and its like


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
    """The lines of a text file, stripped, without the empty ones and comments: "#" alone, or before a space.

    "#1" is no comment but a name, as of an image. `what` names the file in messages ("class names"). Raises InputError
    for a file that cannot be read, is not UTF-8, or has no lines, unless it may be empty.
    """
    try:
        data = read_input(path)
        text = data.decode(next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), "utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}; correct the path") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a mark is UTF-8 full of zero bytes
        raise InputError(f"{path} is not UTF-8 text; write the {what} one a line, in UTF-8")
    lines = [line for line in map(str.strip, _LINE_END.split(text)) if line and not _COMMENT.match(line)]
    if not lines and not may_be_empty:
        raise InputError(f"{path} has no {what}; write one a line")
    return lines


def read_json(path: str | Path, what: str) -> Any:
    """The document of a JSON file; `what` names it in messages ("COCO annotations").

    Raises InputError for a file that cannot be read, is not JSON, or gives a key of an object twice: Python's reader
    would take the last one alone, as of two lists "images".
    """
    try:
        return json.loads(read_input(path), object_pairs_hook=_object)
    except OSError as error:
        raise InputError(f"cannot read the {what} {path}: {error.strerror}; correct the path") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deep to be {what}; give another file") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); give {what}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r} comes twice in one object")
    return found


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
