"""The errors that a user can cause: each message is one sentence that names the file or value and says what to do.

The command line prints the message and exits with 2; in Python they are `ValueError`s. An `assert` is for bugs of ours.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """What the user gave (a file, a value, a combination of options) cannot be used."""


class BadSampleError(InputError):
    """One sample of a store cannot be read or decoded.

    Attributes: `reason`, `index` (of the sample in the store), `name` (of the source file, as recorded at build) and
    `store` (its path).
    """

    def __init__(self, reason: str, *, index: int, name: str, store: Path | str) -> None:
        super().__init__(f"sample {index} ({name}) of {store} {reason}")
        self.reason, self.index, self.name, self.store = reason, index, name, str(store)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(BadSampleError, index=self.index, name=self.name, store=self.store), (self.reason,)
