"""What a trainer can rely on, tried: `scripts/robustness faults stores|images|kills|long ...`, counts as flags.

The last line of stdout is one JSON document; the exit status is 1 where anything happened that must not.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro.extras
from robustness.images import damaged_images
from robustness.kills import kills
from robustness.long_run import long_run
from robustness.stores import damaged_stores
from tyro.conf import Positional

from sdali.pipelines.io.progress import track
from sdali.pipelines.io.terminal import print_result, print_table, run_command


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Damaged stores and a stranger's are refused or read right."""

    count: int = 2000
    """Damaged files."""

    seed: int = 0
    """Of the damage."""

    def run(self) -> dict[str, Any]:
        record = damaged_stores(self.count, seed=self.seed, progress=track)
        outcomes = sorted({outcome for found in record["outcomes"].values() for outcome in found})
        rows = [
            [kind, *(str(found.get(outcome, 0)) for outcome in outcomes)] for kind, found in record["outcomes"].items()
        ]
        print_table(f"{self.count:,} damaged stores", ["damage", *outcomes], rows)
        return record


@dataclass(frozen=True, kw_only=True)
class Images:
    """Damaged JPEG, PNG and WebP files among sound ones: named or replaced, and no sound sample is lost."""

    count: int = 2000
    """Damaged files."""

    seed: int = 0
    """Of the damage."""

    images: Path | None = None
    """A folder of photographs to damage besides the generated pictures."""

    def run(self) -> dict[str, Any]:
        record = damaged_images(self.count, seed=self.seed, images=self.images, progress=track)
        columns = ["files", "replaced", "found", "refused"]
        rows = [[kind, *(str(found[name]) for name in columns)] for kind, found in record["outcomes"].items()]
        print_table(f"{self.count:,} damaged images", ["damage", *columns], rows)
        return record


@dataclass(frozen=True, kw_only=True)
class Kills:
    """Commands killed at random moments and given again lose nothing and publish nothing by halves."""

    what: Positional[Literal["build", "cams", "train"]]
    """sdali build, sdali cams or sdali train."""

    count: int = 20
    """Kills."""

    seed: int = 0
    """Of the moments."""

    def run(self) -> dict[str, Any]:
        return kills(self.what, self.count, seed=self.seed, progress=track)


@dataclass(frozen=True, kw_only=True)
class Long:
    """A loader runs long, and is closed and made again often: memory, descriptors, threads and times stay."""

    batches: int = 20_000
    """Of one loader."""

    reopen: int = 100
    """How often a loader is made and closed."""

    def run(self) -> dict[str, Any]:
        record = long_run(self.batches, self.reopen, progress=track)
        runs = record["batches"], record["reopenings"]
        rows = [[name, *(str(run[name]) for run in runs)] for name in runs[0]]
        print_table("A long run, after the warm-up and at the end", ["", "batches", "reopenings"], rows)
        return record


def main() -> int:
    """The module as a command: exit status 0, 1 where something failed, or 2 with one sentence."""
    logging.basicConfig(format="sdali: %(message)s", level=logging.INFO, stream=sys.stderr)
    commands = {"stores": Stores, "images": Images, "kills": Kills, "long": Long}
    record = tyro.extras.subcommand_cli_from_dict(commands).run()
    print_result(record)
    return 1 if record["failures"] else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
