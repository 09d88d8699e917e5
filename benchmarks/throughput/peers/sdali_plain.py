"""sdali without heatmaps: plain random windows."""

from __future__ import annotations

from ..peer_process import Stream
from ..workload import Workload
from .sdali import sdali_stream

LACKS = "heatmap-guided windows"


def stream(work: Workload) -> Stream:
    """Plain windows."""
    return sdali_stream(work, None)
