"""The command line, `sdali COMMAND`: one file a family of commands. It may import everything; nothing imports it."""

from __future__ import annotations

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")
