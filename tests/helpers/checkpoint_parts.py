"""What every checkpoint of a run holds beside its task's own parts, shared by tests that write some."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sdali.pipelines.store.statistics import IMAGENET
from sdali.trainers.core.progress import RunProgress


def parts_of_a_run() -> dict[str, Any]:
    """But for the classes and the weights."""
    return {
        "statistics": IMAGENET.to_dict(),
        "store": "0" * 64,
        "identity": {},
        "config": {},
        "ema": None,
        "standing": asdict(RunProgress(epoch=1)),
    }
