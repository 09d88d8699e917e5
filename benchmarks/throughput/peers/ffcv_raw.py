"""FFCV's loader on uncompressed records: no decoding, for some five times the space."""

from __future__ import annotations

from ..peer_process import Stream
from ..workload import Workload
from .ffcv import ffcv_stream

LACKS = "heatmap-guided windows, PCA lighting, kernels but area; colours are clamped; 5 times the space"


def stream(work: Workload) -> Stream:
    """Records as pixels."""
    return ffcv_stream(work, "raw")
