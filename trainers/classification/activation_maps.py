"""Heatmaps from a trained classifier's checkpoint: what `sdali cams --checkpoint` runs, alone or under torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cams.heatmaps import Method, generate
from ...pipelines.io.progress import Track, silent
from ...pipelines.store.reader import ImageStore
from ..core.checkpoint import weights_digest
from ..core.checks import check_labelled, check_same_classes
from ..core.networks import load_network
from ..core.process import joined_process


def activation_maps(
    store: ImageStore,
    path: str | Path,
    *,
    checkpoint: str | Path,
    method: Method = "auto",
    batch_size: int = 64,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Track = silent,
) -> dict[str, Any] | None:
    """Write activation maps of each image's true class, at the size and with the statistics of the training run.

    Returns generate's report, on ranks other than the first None. Raises InputError for a checkpoint of other classes
    or of a model that the method does not take, and for what `generate` refuses.
    """
    check_labelled(store)
    with joined_process(device, threads) as process:
        classifier = load_network(checkpoint, process.device, task="classification")
        check_same_classes(store, classifier.classes, checkpoint)
        report = generate(
            store,
            path,
            model=classifier.module,
            model_digest=weights_digest(classifier.module.state_dict()),
            method=method,
            statistics=classifier.statistics,
            size=classifier.contents["size"],
            batch_size=batch_size,
            device=str(process.device),
            threads=process.threads,
            overwrite=overwrite,
            rank=process.rank,
            world_size=process.world_size,
            progress=progress if process.is_first else silent,
        )
    return report if process.is_first else None
