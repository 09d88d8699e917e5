"""Object localization, LOC = CLS + DET: training the detector, and evaluating it together with a classifier.

    train(TrainConfig(store=Path("train.lmdb"), val_store=Path("val.lmdb"), out=Path("det"), start_from=...))
    result = evaluate(EvaluateConfig(store=Path("val.lmdb"), classifier=(Path("cls/best.pt"),),
                                     detector=(Path("det/best.pt"),)))
    result["error"], result["box_wrong"], result["baselines"]["cam_box"]["error"]

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ...pipelines.store.reader import ImageStore
from .. import detection
from .config import EvaluateConfig, TrainConfig
from .evaluation import check_boxed, evaluate

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a detector as detection.train does, on stores in which every image has a class and a box of it.

    Its score is COCO's AP50: boxes and classes, without a classifier. Raises InputError as detection.train does, and
    for an image without such a box.
    """
    for path in (config.store, config.val_store):
        check_boxed(ImageStore(path))
    return detection.train(config)
