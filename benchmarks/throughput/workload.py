"""What every peer is given: the same files, the same recipe, the same batch size and threads."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipelines.build.build import build
from ...pipelines.config import LARGEST_OUTPUT, MOST_IN_A_BATCH, MOST_THREADS
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import MOST, at_most
from ...pipelines.io.progress import silent
from ...pipelines.sources.folder import folder
from ...pipelines.store.reader import ImageStore

logger = logging.getLogger("sdali")

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
JITTER = 0.4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Full-size photographs -> training batches of float32 NCHW, normalised, on `device`.

    The recipe: a window of AREA and ASPECT, resized with a kernel at random, brightness, contrast and saturation
    jittered by JITTER, PCA lighting 0.1, flip, normalisation. Each peer does as much of it
    as it can, and its LACKS names the rest.
    """

    files: tuple[Path, ...]
    """The images, in the order of the store."""
    store: Path
    """The same images as an LMDB store."""
    scratch: Path
    """A folder for what a peer makes of them."""
    batch_size: int
    size: int
    threads: int
    device: str
    """"cpu" or "cuda:0"."""

    @property
    def cuda(self) -> int | None:
        """The GPU's ordinal, None for the CPU."""
        return None if self.device == "cpu" else int(self.device.partition(":")[2] or 0)


@contextmanager
def workload(
    images: Path, *, batch_size: int, size: int = 224, threads: int = 2, device: str = "cpu"
) -> Iterator[Workload]:
    """The images below a folder as a workload, with a store in a temporary folder that goes with the context.

    Images that cannot be used are named and left out. Raises InputError for options below 1 and for a folder without
    an image that can.
    """
    at_least_one("batch_size", batch_size, MOST_IN_A_BATCH)
    at_least_one("size", size, LARGEST_OUTPUT)
    at_least_one("threads", threads, MOST_THREADS)
    with tempfile.TemporaryDirectory(prefix="sdali-bench-") as scratch:
        store = Path(scratch, "images.lmdb")
        skipped = build(folder(images), store, transcode=True, skip_bad=True, progress=silent)["skipped"]
        for each in skipped:
            logger.warning("left out: %s %s", each["name"], each["reason"])
        names = ImageStore(store).names
        files = tuple(Path(images, names[index]).absolute() for index in range(len(names)))
        yield Workload(
            files=files,
            store=store,
            scratch=Path(scratch),
            batch_size=min(batch_size, len(files)),
            size=size,
            threads=threads,
            device=device,
        )


def at_least_one(name: str, value: int, most: int = MOST) -> None:
    """Raise InputError for a smaller number, and for one above `most`."""
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    at_most(name, value, most)


def described(work: Workload) -> dict[str, Any]:
    """The workload, JSON-able."""
    size = sum(file.stat().st_size for file in work.files)
    return {
        "images": len(work.files),
        "mean_kilobytes": round(size / len(work.files) / 1e3, 1),
        "batch_size": work.batch_size,
        "size": work.size,
        "threads": work.threads,
        "device": work.device,
    }
