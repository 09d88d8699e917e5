"""What an ablation of any task is made of: sets of images, rows that train and test on them, and the figures compared.

A row's training is done once a seed and kept in a folder of its own, so that rows share runs and an interrupted matrix
goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import read_input
from ...pipelines.io.publish import write_atomically, write_errors


def _always(images: Any) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    text: str
    baseline: str | None
    run: Callable[[Any], dict[str, Any]]
    """Of a trial, one seed on one set: a dict with the study's figures, and `cpu_seconds` where it has trained."""
    needs: Callable[[Any], bool] = _always
    """Whether a set has what the row needs."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The ablation of a task."""

    figure: str
    """What differences are taken of, a share in [0, 1]."""

    others: tuple[str, ...] = ()
    """Further figures, of which the record keeps the mean, and the difference where they are one number."""

    rows: tuple[Row, ...]

    sets: dict[str, Callable[[Path | None, Path], Any]]
    """Name -> makes the stores of a set from the folder of the photographs and one to write to; the default first."""

    described: Callable[[Any], dict[str, Any]]
    """What the record says about a set, JSON-able."""

    trial: Callable[..., Any]
    """Of images, seed, folder, threads."""


def once(path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON result of work that may have been done in an earlier run."""
    if not path.exists():
        result = work()
        with write_errors(path):
            write_atomically(path, json.dumps(result).encode())
    try:
        return json.loads(read_input(path))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} of an earlier run ({error}); remove it") from None
