"""A trained classifier, the images to try it on, and what both need: opened together, closed together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from torch import nn

from ..pipelines.classification import test_loader
from ..pipelines.loader import Loader
from ..pipelines.statistics import Statistics
from ..pipelines.store_read import ImageStore
from .classes import check_labelled, check_same_classes
from .classification_config import EvaluateConfig, TestCrop
from .classifier_checkpoint import check_input, load_classifier
from .distributed import Ranks, process_group
from .machine import resolve_precision, threads_per_rank, torch_settings


@dataclass(frozen=True, kw_only=True)
class Test:
    """What an evaluation works with."""

    __test__ = False  # pytest would collect it where it is imported

    ranks: Ranks
    model: nn.Module
    """In evaluation mode, on the device."""
    store: ImageStore
    loader: Loader
    """This rank's share, each image once."""
    precision: str
    size: int
    crop: TestCrop


@contextmanager
def opened_test(config: EvaluateConfig) -> Iterator[Test]:
    """Open the checkpoint and the store; raises InputError for what cannot be used or does not fit together."""
    with process_group(config.device) as ranks:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads):
            model, saved = load_classifier(config.checkpoint, ranks.device)
            size, crop = config.size or saved["size"], config.crop or saved["test_crop"]
            store = ImageStore(config.store)
            check_same_classes(store, saved["classes"], config.checkpoint)
            check_labelled(store)
            check_input(model, saved["model"]["name"], size, ranks.device)
            data = test_loader(
                store, batch_size=config.batch_size, size=size, crop=crop,
                statistics=Statistics.from_dict(saved["statistics"]), device=str(ranks.device), threads=threads,
                rank=ranks.rank, world_size=ranks.world_size, pin_memory=ranks.device.type == "cuda",
            )  # fmt: skip
            with closing(data) as loader:
                yield Test(
                    ranks=ranks,
                    model=model,
                    store=store,
                    loader=loader,
                    precision=resolve_precision(config.precision, ranks.device),
                    size=size,
                    crop=crop,
                )
