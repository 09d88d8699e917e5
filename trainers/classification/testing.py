"""Trained classifiers, the images to try them on, and what both need: opened together, closed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...pipelines.classification import test_loader
from ...pipelines.config import Crop
from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import Statistics
from ..core.checkpoint import weights_digest
from ..core.classes import check_labelled, check_same_classes
from ..core.distributed import Ranks, process_group
from ..core.machine import resolve_precision, threads_per_rank, torch_settings
from .checkpoint import check_input, load_classifier
from .evaluation_config import TestConfig


@dataclass(frozen=True, kw_only=True)
class Test:
    """What an evaluation works with."""

    __test__ = False  # pytest would collect it where it is imported

    ranks: Ranks
    models: Sequence[nn.Module]
    """In evaluation mode, on the device."""
    origins: Sequence[dict[str, Any]]
    """Of each model: name (its file), weights_digest, epoch, trained_on (digest of its store)."""
    store: ImageStore
    loaders: Sequence[Loader]
    """One for each scale: this rank's share, each image once, all in the same order and batches."""
    precision: str
    scales: Sequence[int]
    crop: str


@contextmanager
def opened_test(
    config: TestConfig,
    *,
    checkpoints: Sequence[Path] = (),
    scales: Sequence[int] = (),
    crops: int = 1,
    random_flip: bool = True,
) -> Iterator[Test]:
    """Open the checkpoints (config's own by default) and the store.

    scales: sides of the input, `config.size` by default, or as trained. crops: see test_loader; random windows are
    drawn as the first network's training drew them. Raises InputError for what cannot be used or does not fit together.
    """
    paths = list(checkpoints) or [config.checkpoint]
    with process_group(config.device) as ranks:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads), ExitStack() as opened:
            models, contents = zip(*(load_classifier(path, ranks.device) for path in paths), strict=True)
            store, first = ImageStore(config.store), contents[0]
            sides = list(scales) or [config.size or first["size"]]
            for path, model, saved in zip(paths, models, contents, strict=True):
                check_same_classes(store, saved["classes"], path)
                for side in sides:
                    check_input(model, saved["model"]["name"], side, ranks.device)
            check_labelled(store)
            crop = config.crop or first["test_crop"]
            loading: dict[str, Any] = {
                "batch_size": -(-config.batch_size // crops),
                "crop": crop,
                "crops": crops,
                "random_crop": trained_crop(first["config"]),
                "random_flip": random_flip,
                "statistics": common_statistics(paths, contents),
                "device": str(ranks.device),
                "threads": threads,
                "rank": ranks.rank,
                "world_size": ranks.world_size,
                "pin_memory": ranks.device.type == "cuda",
            }
            yield Test(
                ranks=ranks,
                models=models,
                origins=[_origin(*pair) for pair in zip(paths, contents, strict=True)],
                store=store,
                loaders=[opened.enter_context(closing(test_loader(store, size=side, **loading))) for side in sides],
                precision=resolve_precision(config.precision, ranks.device),
                scales=sides,
                crop=crop,
            )


def kept_checkpoints(checkpoint: Path, count: int) -> list[Path]:
    """The last `count` networks that a run kept beside its checkpoint, oldest first; raises InputError where it has
    fewer.
    """
    kept = sorted(checkpoint.parent.glob("epoch-*.pt"))
    if len(kept) < count:
        raise InputError(
            f"{checkpoint.parent} holds {len(kept)} networks of past epochs (epoch-0010.pt, ...) and {count} are asked "
            "for; train with --keep-every, or ask for fewer"
        )
    return kept[-count:]


def trained_crop(config: dict[str, Any]) -> Crop:
    """How a run drew its windows, from its checkpoint's flat configuration."""
    prefix = "augmentation.crop."
    return Crop(**{name[len(prefix) :]: value for name, value in config.items() if name.startswith(prefix)})


def common_statistics(paths: Sequence[Path], contents: Sequence[dict[str, Any]]) -> Statistics:
    """All networks see the same tensors, so they must have been trained on the same normalisation."""
    first = contents[0]["statistics"]
    for path, saved in zip(paths, contents, strict=True):
        if saved["statistics"] != first:
            raise InputError(f"{path} was trained with another normalisation than {paths[0]}; evaluate them apart")
    return Statistics.from_dict(first)


def _origin(path: Path, contents: dict[str, Any]) -> dict[str, Any]:
    weights = contents["ema"] or contents["state_dict"]
    return {
        "name": path.name,
        "weights_digest": weights_digest(weights),
        "epoch": contents["standing"]["epoch"],
        "trained_on": contents["store"],
    }
