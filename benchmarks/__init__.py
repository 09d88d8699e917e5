"""Measurements: this project and its peers on the same files, in one run."""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")
