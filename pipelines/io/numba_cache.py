"""Whether what numba compiles for this package can be kept on disk for the next process."""

from __future__ import annotations

import numba


def _cache_is_writable() -> bool:
    """Whether numba finds a folder for this package's cache; without one it refuses to cache."""
    try:
        numba.njit(cache=True)(_cache_is_writable)
    except RuntimeError:
        return False
    return True


CACHE = _cache_is_writable()
