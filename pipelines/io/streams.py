"""The streams of a command, whatever the shell made of them: closed, full, or with a reader that has gone away.

A closed descriptor is opened on /dev/null, since otherwise the next file of ours would get its number, and whatever
libraries print would land in it. What goes to stderr is for people: where it cannot be written, the work goes on.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import InputError
from .escaped import escaped

STDOUT, STDERR = 1, 2


class ReaderGone(Exception):
    """Nobody reads stdout any more, as after `head`; no error of ours."""


class _Stream(io.RawIOBase):
    """A descriptor, written without a buffer, so that nothing is left to fail at the interpreter's end."""

    def __init__(self, descriptor: int, *, closed_before: bool) -> None:
        self._descriptor, self._closed_before = descriptor, closed_before

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            if self._closed_before and self._descriptor == STDOUT:
                raise InputError("stdout is closed, so the result cannot be printed; open it")
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if self._descriptor == STDOUT and error.errno == errno.EPIPE:
                raise ReaderGone from None
            if self._descriptor == STDOUT:
                raise InputError(f"cannot write to stdout ({error.strerror}); free it") from None
        return size


def open_streams() -> None:
    """Make stdin, stdout and stderr usable; streams that a caller has replaced, as tests do, are left alone."""
    closed = [number for number in range(3) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Stream(STDOUT, closed_before=STDOUT in closed))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Stream(STDERR, closed_before=STDERR in closed))


def run(command: Callable[[], int]) -> int:
    """The exit status of a command; what a user got wrong becomes one sentence on stderr and status 2."""
    open_streams()
    try:
        return command()
    except InputError as error:
        return fail(str(error))
    except ReaderGone:  # of the help
        return 0
    except MemoryError:
        return fail("there is not enough memory for it; ask for less at a time")
    except OSError as error:
        return fail(f"{error.filename or 'the system'}: {error.strerror or error}; free or repair it and run again")
    except KeyboardInterrupt:
        return fail("interrupted", 130)


def print_result(result: Any) -> None:
    """One JSON document on stdout, or what is text as it is; raises InputError where that cannot be written."""
    with suppress(ReaderGone):
        print(result if isinstance(result, str) else json.dumps(result), flush=True)


def fail(sentence: str, status: int = 2) -> int:
    """Say on one line of stderr what is wrong; returns the status."""
    short = re.sub(r"(\d{20})\d{30,}", r"\1...", escaped(" ".join(sentence.split())))
    print(f"sdali: {short}", file=sys.stderr)
    return status


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _text(stream: _Stream) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=True)  # type: ignore[arg-type]
