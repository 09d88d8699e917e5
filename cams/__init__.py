"""Heatmaps of where the object is: class activation maps, and maps from masks, in a store bound to its images."""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")
