"""`sdali train detection`, `evaluate detection`: the trainers' own options are the flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..pipelines.io.outputs import DETECTIONS, PNG, check_outputs
from ..pipelines.io.tables import show
from ..trainers.detection.config import EvaluateConfig, TrainConfig
from ..trainers.detection.recipes import recipe
from .classification import of_recipe, printed_once


@dataclass(frozen=True, kw_only=True)
class TrainDetection(TrainConfig):
    """Flags of `sdali train detection`."""

    recipe: str | None = None
    """Defaults of all the other flags, which --help then shows: bccd_cpu or voc_resnet101."""

    @classmethod
    def defaults(cls, flags: Sequence[str]) -> TrainDetection | None:
        """What stands for flags that are not given, where they name a recipe; raises InputError for an unknown one."""
        return of_recipe(cls, flags, recipe)

    def run(self) -> dict[str, Any] | None:
        from ..trainers.detection import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class EvaluateDetection(EvaluateConfig):
    """Flags of `sdali evaluate detection`."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.io.progress import track
        from ..trainers.detection import evaluate

        check_outputs(self, {"predictions": DETECTIONS, "picture": PNG})
        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            figures = ("ap50", "ap", "voc_ap", "voc_ap_11_point")
            rows = [[name, str(one["objects"]), *map(_share, (one[figure] for figure in figures))]
                    for name, one in result["per_class"].items()]  # fmt: skip
            objects = sum(one["objects"] for one in result["per_class"].values())
            means = (result[figure] for figure in ("ap50", "ap", "voc_map", "voc_map_11_point"))
            rows.append(["mean", str(objects), *map(_share, means)])
            title = (
                f"{result['images']:,} images of {self.store}; scores above {result['score_threshold']:g}, NMS "
                f"{result['nms']:g}; proposals: recall {_share(result['recall50'])} at IoU 0.5, "
                f"{_share(result['recall70'])} at 0.7, AR {_share(result['ar'])}"
            )
            show(title, ["class", "objects", "AP50", "AP", "VOC area", "VOC 2007"], rows)
        return result


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
