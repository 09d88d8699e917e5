"""Stores, plans, graphs and loaders: encoded images in, batches for a trainer out.

Light to import: NumPy and LMDB, but no DALI, torch, numba or OpenCV, so that a script can look into a store at no cost.
The loaders are modules: `from sdali.pipelines import classification`, or parsing, or detection.
"""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")

from .config import Augmentation, Colour, Crop, DetectionAugmentation, IouCrop, ParsingAugmentation, ParsingCrop
from .errors import BadSampleError, InputError
from .store.reader import ImageStore
from .store.statistics import Statistics
from .store.subset import Subset

__all__ = [
    "Augmentation",
    "BadSampleError",
    "Colour",
    "Crop",
    "DetectionAugmentation",
    "ImageStore",
    "InputError",
    "IouCrop",
    "ParsingAugmentation",
    "ParsingCrop",
    "Statistics",
    "Subset",
]
