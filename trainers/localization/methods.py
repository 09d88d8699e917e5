"""The answers of LOC = CLS + DET to a store's images, and those of its baselines, on every rank.

localization        the classifiers' classes, the detectors' boxes
whole_image         the classifiers' classes, the whole image
cam_box             the classifiers' classes, the boxes of the first one's activation maps
detector_alone      the classes that the detectors are surest of, and their boxes
perfect_classifier  the true class alone, and the detectors' box for it: what is left is their error
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...cams.activation import class_activation_maps, grad_cam, has_exact_map
from ...pipelines.io.progress import Track
from ..classification.testing import Test
from ..classification.view_scores import view_scores
from ..core.distributed import Ranks
from ..core.machine import autocast
from ..detection.config import DetectionRules
from ..detection.evaluation import score
from ..detection.networks import Detectors
from .answers import Answers, inclusive_pixels
from .cam_box import cam_box
from .rule import answers, detector_classes, top_labels, whole_image


class Table:
    """The answers of one method to N images, A to each; an image is answered on one rank."""

    def __init__(self, images: int, top: int, device: torch.device) -> None:
        self.labels = torch.zeros(images, top, dtype=torch.int64, device=device)
        self.boxes = torch.zeros(images, top, 4, dtype=torch.float64, device=device)

    def put(self, image: int, own: Answers) -> None:
        self.labels[image] = torch.from_numpy(own.labels)
        self.boxes[image] = torch.from_numpy(own.boxes)

    def gathered(self, ranks: Ranks) -> list[Answers]:
        """Of all images, on each rank."""
        labels, boxes = (ranks.sum(part).cpu().numpy() for part in (self.labels, self.boxes))
        return [Answers(*pair) for pair in zip(labels, boxes, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Localization:
    """What all methods work with, on the same store."""

    classifiers: Test
    mapped: Test
    """The first classifier, and whole images, which its activation maps cover."""
    detectors: Detectors
    top: int
    voting: float | None

    @property
    def ranks(self) -> Ranks:
        return self.classifiers.ranks

    def methods(self, progress: Track) -> dict[str, list[Answers]]:
        """The answers of each method to all images, on each rank."""
        labels = self.classes(progress)
        sizes = self.classifiers.store.sizes.tolist()
        whole = [whole_image(own, (height, width)) for own, (height, width) in
                 zip(labels.cpu().numpy(), sizes, strict=True)]  # fmt: skip
        return {**self.detected(labels, progress), "whole_image": whole, "cam_box": self.mapped_boxes(labels, progress)}

    def classes(self, progress: Track) -> Tensor:
        """int64 [N, top]: the most likely classes of each image, on each rank."""
        test = self.classifiers
        labels = torch.zeros(len(test.store), self.top, dtype=torch.int64, device=self.ranks.device)
        batches = progress(zip(*test.loaders, strict=True), len(test.loaders[0]), "classifying")
        for scores in view_scores(test, batches, mirrored=False):
            labels[scores.indices] = top_labels(scores.softmax.double().mean((1, 2, 3)), self.top)
        return self.ranks.sum(labels)

    def mapped_boxes(self, labels: Tensor, progress: Track) -> list[Answers]:
        """The same classes with the boxes of their activation maps."""
        test, table = self.mapped, self._table(self.top)
        model, (loader,), (side,) = test.models[0], test.loaders, test.scales
        maps_of = class_activation_maps if has_exact_map(model, side) else grad_cam
        for batch in progress(loader, len(loader), "mapping"):
            if not len(batch["index"]):
                continue
            images = batch["image"].to(self.ranks.device, non_blocking=True)
            own = labels[batch["index"].to(self.ranks.device)]
            maps = torch.stack([maps_of(model, images, of_place) for of_place in own.T], 1).cpu().numpy()
            for image, of_image, places in zip(batch["index"].tolist(), maps, own.cpu().numpy(), strict=True):
                height, width = test.store.sizes[image].tolist()
                for place, heatmap in enumerate(of_image):
                    box = cam_box(heatmap, height, width)[None]
                    table.boxes[image, place] = torch.from_numpy(inclusive_pixels(box, height, width)[0])
                table.labels[image] = torch.from_numpy(places)
        return table.gathered(self.ranks)

    @torch.inference_mode()
    def detected(self, labels: Tensor, progress: Track) -> dict[str, list[Answers]]:
        """What the detectors have a part in."""
        store, device, rules = self.classifiers.store, self.ranks.device, DetectionRules(voting=self.voting)
        tops = {"localization": self.top, "detector_alone": self.top, "perfect_classifier": 1}
        tables = {name: self._table(top) for name, top in tops.items()}
        loaders = self.detectors.loaders
        for views in progress(zip(*loaders, strict=True), len(loaders[0]), "detecting"):
            if not len(views[0]["index"]):
                continue
            with autocast(device, self.classifiers.precision):
                (scored,) = score(self.detectors.models, views, rules, device)
            (image,), ((height, width),) = views[0]["index"].tolist(), views[0]["original_size"].tolist()
            chosen = {
                "localization": labels[image],
                "detector_alone": top_labels(detector_classes(scored)[None], self.top)[0],
                "perfect_classifier": torch.tensor([int(store.labels[image])]),
            }
            for name, own in chosen.items():
                tables[name].put(image, answers(own, scored, (height, width), self.voting))
        return {name: table.gathered(self.ranks) for name, table in tables.items()}

    def _table(self, top: int) -> Table:
        return Table(len(self.classifiers.store), top, self.ranks.device)
