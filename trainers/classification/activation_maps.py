"""Heatmaps from a trained classifier's checkpoint: what `sdali cams --checkpoint` runs, alone or under torchrun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cams.heatmaps import Method, generate
from ...pipelines.io.progress import Track, silent
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import Statistics
from ..core.checkpoint import weights_digest
from ..core.classes import check_labelled, check_same_classes
from ..core.distributed import process_group
from ..core.machine import threads_per_rank, torch_settings
from .checkpoint import load_classifier


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
    """Activation maps of each image's own class, at the size and with the statistics that the classifier trained with.

    Returns generate's report, on ranks other than the first None. Raises InputError for a checkpoint of other classes
    or of a model that the method does not take, and for what `generate` refuses.
    """
    check_labelled(store)
    with process_group(device) as ranks:
        own_threads = threads_per_rank(threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=own_threads):
            model, contents = load_classifier(checkpoint, ranks.device)
            check_same_classes(store, contents["classes"], checkpoint)
            report = generate(
                store,
                path,
                model=model,
                model_digest=weights_digest(model.state_dict()),
                method=method,
                statistics=Statistics.from_dict(contents["statistics"]),
                size=contents["size"],
                batch_size=batch_size,
                device=str(ranks.device),
                threads=own_threads,
                overwrite=overwrite,
                rank=ranks.rank,
                world_size=ranks.world_size,
                progress=progress if ranks.is_first else silent,
            )
    return report if ranks.is_first else None
