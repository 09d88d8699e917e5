"""What a command prints: its result on stdout, and for people tables and sentences on stderr.

A shell may have closed a stream, sent it to a full disk, or have a reader such as `head` that leaves early. Without its
stdout a command ends with one sentence; without its stderr the work goes on.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError

_STDOUT, _STDERR = 1, 2
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def run_command(command: Callable[[], int]) -> int:
    """The exit status of a command; what a user got wrong becomes one sentence on stderr and status 2."""
    try:
        _open_streams()
        return command()
    except InputError as error:
        return fail(str(error))
    except _ReaderGone:
        return 0
    except SystemExit as exit:  # of tyro, after --help or for wrong usage, and of SIGTERM
        return exit.code if isinstance(exit.code, int) else 0
    except MemoryError:
        return fail("there is not enough memory for it; ask for less at a time")
    except OSError as error:
        return fail(f"{error.filename or 'the system'}: {error.strerror or error}; repair it and run again")
    except KeyboardInterrupt:
        return fail("interrupted", 130)


def print_result(result: Any) -> None:
    """Print one JSON document on stdout, or a text as it is."""
    print(result if isinstance(result, str) else json.dumps(result))


def fail(sentence: str, status: int = 2) -> int:
    """Print on one line of stderr what is wrong; returns the status."""
    print(f"sdali: {escaped(' '.join(sentence.split()))}", file=sys.stderr)
    return status


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stderr; columns of numbers, but for the first, are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column, name in enumerate(columns):
        numeric = all(not row[column].strip("0123456789.,-+%± ") for row in rows)
        # Folded: the default leaves out the middle of a long name.
        table.add_column(name, justify="right" if numeric and column else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(escaped(cell)) for cell in row))
    console = Console(stderr=True)
    console.print(escape(title))  # as the table's own title it would be folded to the width of a narrow table
    console.print(table)


def print_records(title: str, columns: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> None:
    """Print a table with a row for each record, if there are any.

    columns: heading -> format of the cell, such as "{seconds:.2f}" of a record with the key `seconds`.
    """
    rows = [[cell.format(**record) for cell in columns.values()] for record in records]
    if rows:
        print_table(title, list(columns), rows)


def escaped(text: str) -> str:
    r"""The text with control characters and line ends as Python writes them, such as \n and \x1b, which names of files
    may have and terminals obey; all else stays.
    """
    return _CONTROLS.sub(lambda control: control[0].encode("unicode_escape").decode(), text)


class _ReaderGone(Exception):
    """Nobody reads stdout any more, as after `head`; no error of ours."""


class _Stream(io.FileIO):
    """Stdout or stderr without a buffer, so that nothing is left to fail at Python's end."""

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except BrokenPipeError:
            if self.fileno() == _STDOUT:
                raise _ReaderGone from None
        except OSError as error:
            if self.fileno() == _STDOUT:
                raise InputError(f"cannot write to stdout ({error.strerror}); send it elsewhere") from None
        return size


def _open_streams() -> None:
    """Make stdout and stderr such streams, unless a caller has replaced them, as tests do; refuse a closed stdout.

    A closed descriptor is opened on /dev/null: the next file of ours would get its number, and with it all that
    libraries print there.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_STDOUT)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_STDERR)
    if _STDOUT in closed:
        raise InputError("stdout is closed, so the result cannot be printed; open it")


def _text(descriptor: int) -> io.TextIOWrapper:
    raw: Any = _Stream(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
