"""Where DALI is needed and missing, one sentence says how to install it."""

from __future__ import annotations

from .errors import InputError


def require_dali() -> None:
    """Raise InputError unless NVIDIA DALI can be imported."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"NVIDIA DALI is missing ({error}): install it with pip install 'sdali[cuda13]', which also serves "
            "machines without a GPU, or 'sdali[cuda12]'"
        ) from None
