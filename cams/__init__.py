"""Heatmaps of where the object is: from a classifier's activation maps, or from masks, boxes or a file; and previews.

A heatmap store is bound to the image store whose images it describes. The names below are loaded at their first use, so
that importing `sdali.cams` loads neither torch nor DALI.
"""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")

from typing import TYPE_CHECKING

from ..pipelines.lazy_names import lazy_names

if TYPE_CHECKING:  # where each name is: for type checkers and editors, and for lazy_names
    from .activation import class_activation_maps, grad_cam, has_exact_map
    from .heatmaps import from_boxes, from_hdf5, from_masks, from_rare_classes, generate
    from .previews.preview import preview

__all__ = [
    "class_activation_maps", "from_boxes", "from_hdf5", "from_masks", "from_rare_classes", "generate", "grad_cam",
    "has_exact_map", "preview",
]  # fmt: skip

__getattr__ = lazy_names(__name__, __file__)
