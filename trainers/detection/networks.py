"""Trained detectors, and what they are tried on: a store's images in all views, opened together, closed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...pipelines.detection import test_loader
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from ..classification.testing import common_statistics
from ..core.classes import check_same_classes
from ..core.distributed import Ranks
from ..models.detection.detector import Detector
from .checkpoint import load_detector


@dataclass(frozen=True, kw_only=True)
class Detectors:
    """What a test of detectors works with."""

    models: Sequence[Detector]
    """In evaluation mode, on the device."""
    loaders: Sequence[Loader]
    """One for each scale, and its mirror images: this rank's share, one image at a time, all in the same order, so
    that none is padded for the sake of another."""
    scales: Sequence[int]
    """Shorter sides, px."""
    longer_sides: Sequence[int]
    """Limits of the longer sides, px; they grow with the scales."""


@contextmanager
def opened_detectors(
    checkpoints: Sequence[Path], store: ImageStore, *, scales: Sequence[int], flip: bool, ranks: Ranks, threads: int
) -> Iterator[Detectors]:
    """Open the checkpoints; scales: () for that of the evaluations in the first one's training.

    Raises InputError for checkpoints that cannot be used, or do not fit together or to the store.
    """
    models, contents = zip(*(load_detector(path, ranks.device) for path in checkpoints), strict=True)
    for path, saved in zip(checkpoints, contents, strict=True):
        check_same_classes(store, saved["classes"], path)
    first = contents[0]
    scales = scales or (first["shorter_side"],)
    longer = [round(first["longer_side"] * max(side / first["shorter_side"], 1)) for side in scales]
    statistics = common_statistics(checkpoints, contents)
    with ExitStack() as opened:
        loaders = [
            opened.enter_context(
                closing(
                    test_loader(
                        store,
                        shorter_side=shorter_side,
                        longer_side=longer_side,
                        flip=mirrored,
                        statistics=statistics,
                        device=str(ranks.device),
                        threads=threads,
                        rank=ranks.rank,
                        world_size=ranks.world_size,
                        pin_memory=ranks.device.type == "cuda",
                    )
                )
            )
            for shorter_side, longer_side in zip(scales, longer, strict=True)
            for mirrored in (False, True)[: 1 + flip]
        ]
        yield Detectors(models=models, loaders=loaders, scales=scales, longer_sides=longer)
