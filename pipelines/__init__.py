"""Stores, plans, graphs and loaders: encoded images in, batches for a trainer out.

    from sdali.pipelines import classification

    for batch in classification.train_loader("pets.lmdb", batch_size=64):
        batch["image"], batch["label"]

These names are the public ones; everything else is private. Each is imported when it is first used, so that `import
sdali.pipelines` loads no DALI, torch, numba or OpenCV, and a script can look into a store at no cost.
"""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:  # where each name is: for type checkers and editors, and for lazy_names
    from . import classification, detection, parsing, sources
    from .build.build import build as build_store
    from .config import Augmentation, Colour, Crop, DetectionAugmentation, IouCrop, ParsingAugmentation, ParsingCrop
    from .errors import BadSampleError, InputError
    from .loader.as_dataloader import as_dataloader
    from .loader.options import TestLoaderOptions, TrainLoaderOptions
    from .loader.soft_labels import SoftLabels
    from .loader.torchvision_targets import TorchvisionLoader, torchvision_targets
    from .plan.colour import apply_colour
    from .remote.loader import RemoteLoader
    from .store.heatmaps import HeatmapStore
    from .store.join import join as join_stores
    from .store.measure import measure as measure_statistics
    from .store.reader import ImageStore
    from .store.statistics import IMAGENET, Statistics
    from .store.subset import Subset

__all__ = [
    "IMAGENET", "Augmentation", "BadSampleError", "Colour", "Crop", "DetectionAugmentation", "HeatmapStore",
    "ImageStore", "InputError", "IouCrop", "ParsingAugmentation", "ParsingCrop", "RemoteLoader", "SoftLabels",
    "Statistics", "Subset", "TestLoaderOptions", "TorchvisionLoader", "TrainLoaderOptions", "apply_colour",
    "as_dataloader", "build_store", "classification", "detection", "join_stores", "measure_statistics", "parsing",
    "sources", "torchvision_targets",
]  # fmt: skip

__getattr__ = lazy_names(__name__, __file__)
