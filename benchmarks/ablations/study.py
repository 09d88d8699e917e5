"""What an ablation of any task is made of: sets of images, rows that train and test on them, and the figures compared.

A row's training is done once a seed and kept in a folder of its own, so that rows share runs and an interrupted matrix
goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import read_input
from ...pipelines.io.publish import write_atomically, write_errors
from ...pipelines.store.reader import ImageStore


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

    class_names: bool = True
    """Whether the record names the classes of a set, or only counts them, as they may be many."""

    trial: Callable[..., Any]
    """Of images, seed, folder, threads."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One seed on one set: trains and tests what the rows ask for, each once."""

    images: Any
    """Of any task: a dataclass with `protocol`, and stores by name, `train` and `test` among them."""
    seed: int
    folder: Path
    threads: int

    def options(self, name: str) -> dict[str, Any]:
        """The options that all trainings share, of the one in the folder of that name."""
        stores = {"store": self.images.train, "val_store": self.images.test}
        return {**stores, "out": self.folder / name, "resume": True, "seed": self.seed, "threads": self.threads}

    def last(self, name: str) -> Path:
        """The last network of a training."""
        return self.folder / name / "last.pt"


def described(images: Any, *, class_names: bool) -> dict[str, Any]:
    """What the record says about a set, JSON-able: number of images of each store, classes, protocol."""
    stores = {name: ImageStore(path) for name, path in vars(images).items() if isinstance(path, Path)}
    classes = stores["train"].classes
    return {
        "images": {name: len(store) for name, store in stores.items()},
        "classes": list(classes) if class_names else len(classes),
        "protocol": asdict(images.protocol),
    }


def costs(*trainings: dict[str, Any]) -> dict[str, float]:
    """The seconds of all these trainings."""
    return {clock: sum(one[clock] for one in trainings) for clock in ("cpu_seconds", "wall_seconds")}


def given(data: Path | None, whose: str, holds: str) -> Path:
    """The folder of a set's photographs; raises InputError where none was given."""
    if data is None:
        raise InputError(f"{whose} --data, the folder that holds {holds}")
    return data


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
