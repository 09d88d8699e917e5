"""The predictions of LOC = CLS + DET for a store's images, and those of its baselines, on every rank.

localization        the classifiers' classes, the detectors' boxes
whole_image         the classifiers' classes, the whole image
cam_box             the classifiers' classes, the boxes of the first one's activation maps
detector_alone      the classes that the detectors are surest of, and their boxes
perfect_classifier  the true class alone, and the detectors' box for it: what is left is their error
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ...cams.activation import class_activation_maps, grad_cam, has_exact_map
from ...pipelines.io.progress import Track
from ...pipelines.loader.loader import Loader
from ..classification.evaluation import view_loaders as classifier_loaders
from ..classification.evaluation import view_scores
from ..core.evaluation import Evaluation
from ..core.process import Process
from ..detection.config import DetectionRules
from ..detection.evaluation import score
from .config import EvaluateConfig
from .predictions import Predictions, inclusive_pixels
from .rule import detector_classes, localized, top_labels, whole_image


class Table:
    """The predictions of one method for N images, A for each; every image is predicted on one rank."""

    def __init__(self, images: int, top: int, device: torch.device) -> None:
        self.labels = torch.zeros(images, top, dtype=torch.int64, device=device)
        self.boxes = torch.zeros(images, top, 4, dtype=torch.float64, device=device)

    def put(self, image: int, predictions: Predictions) -> None:
        self.labels[image] = torch.from_numpy(predictions.labels)
        self.boxes[image] = torch.from_numpy(predictions.boxes)

    def gathered(self, process: Process) -> list[Predictions]:
        """The predictions for all images, on each rank."""
        labels, boxes = (process.sum(part).cpu().numpy() for part in (self.labels, self.boxes))
        return [Predictions(*pair) for pair in zip(labels, boxes, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Localization:
    """What all methods work with, on the same store."""

    config: EvaluateConfig
    classifiers: Evaluation
    detectors: Evaluation
    detector_loaders: list[Loader]
    top: int

    @property
    def process(self) -> Process:
        return self.classifiers.process

    def methods(self, progress: Track) -> dict[str, list[Predictions]]:
        """The predictions of each method for all images, on each rank."""
        labels = self.classes(progress)
        sizes = self.classifiers.store.sizes.tolist()
        whole = [whole_image(row, (height, width)) for row, (height, width) in
                 zip(labels.cpu().numpy(), sizes, strict=True)]  # fmt: skip
        return {**self.detected(labels, progress), "whole_image": whole, "cam_box": self.mapped_boxes(labels, progress)}

    def classes(self, progress: Track) -> Tensor:
        """int64 [N, top]: the most likely classes of each image, on each rank."""
        evaluation, config = self.classifiers, self.config
        labels = torch.zeros(len(evaluation.store), self.top, dtype=torch.int64, device=self.process.device)
        loaders = classifier_loaders(evaluation, batch_size=config.batch_size, crops=config.classifier_crops)
        batches = evaluation.batches(loaders, progress, "classifying")
        for scores in view_scores(evaluation, batches, mirrored=False):
            labels[scores.indices] = top_labels(scores.softmax.double().mean((1, 2, 3)), self.top)
        return self.process.sum(labels)

    def mapped_boxes(self, labels: Tensor, progress: Track) -> list[Predictions]:
        """The same classes with the boxes of their activation maps."""
        evaluation, table, device = self.classifiers, self._table(self.top), self.process.device
        first = evaluation.networks[0]
        maps_of = class_activation_maps if has_exact_map(first.module, first.contents["size"]) else grad_cam
        loaders = classifier_loaders(evaluation, batch_size=self.config.batch_size, crop="whole")  # what maps cover
        for (batch,) in evaluation.batches(loaders, progress, "mapping"):
            if not len(batch["index"]):
                continue
            images = batch["image"].to(device, non_blocking=True)
            chosen = labels[batch["index"].to(device)]
            maps = torch.stack([maps_of(first.module, images, column) for column in chosen.T], 1).cpu().numpy()
            for image, of_image, row in zip(batch["index"].tolist(), maps, chosen.cpu().numpy(), strict=True):
                height, width = evaluation.store.sizes[image].tolist()
                boxes = np.stack([cam_box(heatmap, height, width) for heatmap in of_image])
                table.put(image, Predictions(row, inclusive_pixels(boxes, height, width)))
        return table.gathered(self.process)

    @torch.inference_mode()
    def detected(self, labels: Tensor, progress: Track) -> dict[str, list[Predictions]]:
        """The predictions of the methods that use the detectors."""
        evaluation, device = self.detectors, self.process.device
        store, rules = evaluation.store, DetectionRules(voting=self.config.voting)
        tops = {"localization": self.top, "detector_alone": self.top, "perfect_classifier": 1}
        tables = {name: self._table(top) for name, top in tops.items()}
        for views in evaluation.batches(self.detector_loaders, progress, "detecting"):
            if not len(views[0]["index"]):
                continue
            with evaluation.process.autocast():
                (scored,) = score(evaluation.modules, views, rules, device)
            (image,), ((height, width),) = views[0]["index"].tolist(), views[0]["original_size"].tolist()
            chosen = {
                "localization": labels[image],
                "detector_alone": top_labels(detector_classes(scored)[None], self.top)[0],
                "perfect_classifier": torch.tensor([int(store.labels[image])]),
            }
            for name, classes in chosen.items():
                tables[name].put(image, localized(classes, scored, (height, width), self.config.voting))
        return {name: table.gathered(self.process) for name, table in tables.items()}

    def _table(self, top: int) -> Table:
        return Table(len(self.classifiers.store), top, self.process.device)


def cam_box(heatmap: np.ndarray, height: int, width: int, share: float = 0.2) -> np.ndarray:
    """float32 [4]: a box xyxy in whole pixels of the oriented original image of height x width.

    As Zhou et al. (CVPR 2016) draw it around the largest connected piece of the map, float or uint8 [h, w] over the
    whole image, enlarged to it and thresholded at 20 % of its maximum.
    A pixel belongs to a piece where the map, interpolated linearly between the centres of its cells, is above `share`
    of the enlarged map's maximum; pixels also connect over corners. Of pieces of equal area the first by top, then
    left, is chosen. The box is the whole image where the map is nowhere positive. NaN counts as 0.
    """
    enlarged = cv2.resize(
        np.nan_to_num(heatmap.astype(np.float32), posinf=0, neginf=0), (width, height), interpolation=cv2.INTER_LINEAR
    )
    if (highest := enlarged.max()) <= 0:
        return np.array([0, 0, width, height], np.float32)
    pieces = cv2.connectedComponentsWithStats((enlarged > share * highest).view(np.uint8), connectivity=8)[2][1:]
    areas, tops, lefts = (pieces[:, column] for column in (cv2.CC_STAT_AREA, cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT))
    left, top, wide, high = pieces[np.lexsort([lefts, tops, -areas])[0], :4]
    return np.array([left, top, left + wide, top + high], np.float32)
