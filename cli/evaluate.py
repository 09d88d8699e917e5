"""`sdali evaluate TASK`, `confusion` and `ensemble`: figures of trained networks, as JSON and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_outputs
from ..pipelines.io.terminal import print_table
from ..trainers.classification import config as classification
from ..trainers.detection import config as detection
from ..trainers.localization import config as localization
from ..trainers.parsing import config as parsing
from .train import printed_once

_OF_CLASSIFIERS = ("top1", "top5", "loss", "ece")
_OF_LOCALIZATION = {
    "error": "error",
    "box_wrong": "box wrong",
    "label_wrong": "label wrong",
    "both_wrong": "both wrong",
    "classification_error": "classification",
}


@dataclass(frozen=True, kw_only=True)
class EvaluateClassification(classification.EvaluateConfig):
    """Flags of `sdali evaluate classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import evaluate

        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            columns = [name for name in _OF_CLASSIFIERS if name in result]
            sides = ", ".join(map(str, result["scales"]))
            networks = f"{len(result['checkpoints'])} network(s)"
            title = f"{result['images']:,} images, {result['views']}, {sides} px, {networks}"
            print_table(title, columns, [_figures(result, columns)])
        return result


@dataclass(frozen=True, kw_only=True)
class EvaluateParsing(parsing.EvaluateConfig):
    """Flags of `sdali evaluate parsing`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.parsing import evaluate

        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            rows = [[name, f"{iou:.3f}"] for name, iou in result["per_class"].items()]
            means = {name.replace("_", " "): result[name] for name in ("mean_iou", "pixel_accuracy", "score")}
            rows += [[name, f"{mean:.3f}"] for name, mean in means.items()]
            print_table(f"{result['images']:,} images of {self.store}", ["class", "IoU"], rows)
        return result


@dataclass(frozen=True, kw_only=True)
class EvaluateDetection(detection.EvaluateConfig):
    """Flags of `sdali evaluate detection`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.detection import evaluate

        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            per_class, names = result["per_class"], ("ap50", "ap", "voc_ap", "voc_ap_11_point")
            rows = [
                [name, str(figures["objects"]), *(_share(figures[figure]) for figure in names)]
                for name, figures in per_class.items()
            ]
            objects = sum(figures["objects"] for figures in per_class.values())
            means = (result[name] for name in ("ap50", "ap", "voc_map", "voc_map_11_point"))
            rows.append(["mean", str(objects), *map(_share, means)])
            title = (
                f"{result['images']:,} images of {self.store}; scores above {result['score_threshold']:g}, NMS "
                f"{result['nms']:g}; proposals: recall {_share(result['recall50'])} at IoU 0.5, "
                f"{_share(result['recall70'])} at 0.7, AR {_share(result['ar'])}"
            )
            print_table(title, ["class", "objects", "AP50", "AP", "VOC area", "VOC 2007"], rows)
        return result


@dataclass(frozen=True, kw_only=True)
class EvaluateLocalization(localization.EvaluateConfig):
    """Flags of `sdali evaluate localization`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.localization import evaluate

        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            methods = {"predictions": result, **result.get("baselines", {})}
            rows = [[name.replace("_", " "), *_figures(figures, _OF_LOCALIZATION)] for name, figures in methods.items()]
            title = f"{result['images']:,} images of {self.store}, {result['top']} predictions for each"
            print_table(title, ["", *_OF_LOCALIZATION.values()], rows)
        return result


@dataclass(frozen=True, kw_only=True)
class Confusion(classification.ConfusionConfig):
    """Flags of `sdali confusion`."""

    store: Positional[Path]
    """Image store with the classes that the classifier was trained on, of images that it was not trained on."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification.confusion import confusion

        return printed_once(confusion(self, progress=track))


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Flags of `sdali ensemble`."""

    files: Positional[tuple[Path, ...]]
    """Predictions of the same image store, written by sdali evaluate classification --predictions."""

    weights: tuple[float, ...] | None = None
    """A positive number for each file. None: all files count alike."""

    checkpoints: tuple[int, ...] | None = None
    """Use only these checkpoints of each file, counted from 0; -1 is the last. None: all."""

    scales: tuple[int, ...] = ()
    """Use only these scales of each file, pixels, such as 224,256. None: all."""

    out: Path | None = None
    """Keep the ensemble's mean as a file of predictions, for an ensemble of ensembles."""

    picture: Path | None = None
    """Draw the confusion matrix into this PNG."""

    font: Path | None = None
    """A font file for names in the picture. None: one of this machine's that has their characters."""

    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> dict[str, Any]:
        from ..cams.drawing.fonts import use_font
        from ..trainers.classification.ensemble import ensemble

        check_outputs(self, "out", "picture")
        use_font(self.font)
        result = ensemble(
            self.files,
            self.weights,
            checkpoints=self.checkpoints,
            scales=self.scales or None,
            out=self.out,
            picture=self.picture,
            overwrite=self.overwrite,
        )
        columns = [name for name in _OF_CLASSIFIERS if name in result]
        rows = [[member["file"], f"{member['weight']:.3f}", *_figures(member, columns)] for member in result["members"]]
        rows.append(["ensemble", "1.000", *_figures(result, columns)])
        print_table(f"{result['images']:,} images", ["", "weight", *columns], rows)
        return result


def _figures(result: Mapping[str, Any], names: Any) -> list[str]:
    return [f"{result[name]:.4f}" for name in names]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
