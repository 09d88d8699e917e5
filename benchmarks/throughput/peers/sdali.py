"""sdali with heatmaps: the full SDA recipe.

The heatmaps are 14 x 14 random maps in memory: what a window costs does not depend on who made its map.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ....pipelines import classification
from ....pipelines.config import Augmentation
from ....pipelines.plan.classification import TrainPlanner
from ....pipelines.store.reader import ImageStore
from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..workload import Workload

LACKS = ""


def stream(work: Workload) -> Stream:
    """Heatmap-guided windows."""
    return sdali_stream(work, heatmaps(work))


def heatmaps(work: Workload) -> list[np.ndarray]:
    """uint8 [14, 14] for each image."""
    return list(np.random.default_rng(0).integers(0, 256, (len(work.files), 14, 14), np.uint8))


def planner(store: ImageStore, work: Workload) -> TrainPlanner:
    """What plans this peer's windows, for the parts of the pipeline that are measured alone."""
    return TrainPlanner(
        store=store,
        heatmaps=heatmaps(work),
        augmentation=Augmentation(),
        statistics=IMAGENET,
        sizes=(work.size,),
        seed=0,
    )


def sdali_stream(work: Workload, heatmaps: list[np.ndarray] | None) -> Stream:
    """One epoch a pass."""
    loader = classification.train_loader(
        work.store,
        heatmaps=heatmaps,
        batch_size=work.batch_size,
        size=work.size,
        device=work.device,
        threads=work.threads,
    )

    def one_pass() -> Iterator[int]:
        for batch in loader:
            yield len(batch["image"])

    return one_pass
