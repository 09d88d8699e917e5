"""Heatmaps of where the object is: from a classifier's activation maps, or from masks, boxes or a file; and previews.

A heatmap store is bound to the image store whose images it describes. The names below are loaded at their first use, so
that importing `sdali.cams` loads neither torch nor DALI.
"""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activation import class_activation_maps, grad_cam, has_exact_map
    from .heatmaps import from_boxes, from_hdf5, from_masks, from_rare_classes, generate
    from .previews.preview import preview

_MODULES = {
    ".activation": ("class_activation_maps", "grad_cam", "has_exact_map"),
    ".heatmaps": ("from_boxes", "from_hdf5", "from_masks", "from_rare_classes", "generate"),
    ".previews.preview": ("preview",),
}

__all__ = [
    "class_activation_maps",
    "from_boxes",
    "from_hdf5",
    "from_masks",
    "from_rare_classes",
    "generate",
    "grad_cam",
    "has_exact_map",
    "preview",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
