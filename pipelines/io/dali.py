"""Where DALI is needed and missing, one sentence says how to install it."""

from __future__ import annotations

import os
from typing import Any

from ..errors import InputError

# DALI's own copy of OpenCV, which decodes JPEG 2000 and PNM, logs lines that name no file; errors say what they said.
# It reads this when it is loaded. A level that is set already stays.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

Node = Any
"""An edge of a DALI graph. DALI types what its functions return as one node, a list of nodes or None."""


def require_dali() -> Any:
    """The module `nvidia.dali`, with `fn` and `types` imported; raises InputError where it is not installed.

    Typed as Any: DALI makes most of its names at import, unseen by type checkers.
    """
    try:
        import nvidia.dali.fn
        import nvidia.dali.types

        return nvidia.dali
    except ImportError as error:
        raise InputError(
            f"NVIDIA DALI is missing ({error}): install it with pip install 'sdali[cuda13]', which also serves "
            "machines without a GPU, or 'sdali[cuda12]'"
        ) from None
