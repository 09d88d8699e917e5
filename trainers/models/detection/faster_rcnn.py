"""Faster R-CNN on one feature map of stride 16 (C4): the last stage of the backbone, conv5, is the head of each region.

Matching, losses and box coding are those of torchvision's RoIHeads, with two differences: the background is the last
class, and the loss of boxes is divided by a fixed count of regions (see `sampling.py`).

Global context (Hikvision 2016): the whole image is pooled like a region and goes through a copy of the head's
convolutions; the resulting feature is concatenated to that of each region of the image, for classification only, so it
moves no box. The talk gains 3.8 mAP where the copy starts from a network trained on classification, and little where it
starts from random weights.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import roi_align

from ..backbones import ResNetStages
from .detector import Detector, Regions, as_sizes, regions_of
from .rpn import STRIDE, RegionProposalNetwork
from .sampling import POSITIVE, OHEMConfig, Sampler, hardest, match, read_only

CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


class GlobalContext(nn.Module):
    """Whole images, pooled like regions, [B, channels, s, s] -> features [B, width]."""

    def __init__(self, conv5: nn.Module, pretrained: bool) -> None:
        """conv5: the head's convolutions, to be copied; pretrained: whether `adopt` copies them again later."""
        super().__init__()
        self.conv5 = copy.deepcopy(conv5)
        self.pretrained = pretrained

    def forward(self, pooled: Tensor) -> Tensor:
        return self.conv5(pooled).mean((2, 3))

    def adopt(self, conv5: nn.Module) -> None:
        """Copy the weights of the head's convolutions, once they are loaded, if this context is to be pretrained."""
        if self.pretrained:
            self.conv5.load_state_dict(conv5.state_dict())


class FasterRCNN(Detector):
    """A detector of one feature map; see DetectionConfig for its options.

    classes: their number, without the background; sampler: chooses the regions that the head learns from, where
    `mining`, which takes those with the highest loss, is None.
    """

    def __init__(
        self,
        backbone: ResNetStages,
        rpn: RegionProposalNetwork,
        classes: int,
        *,
        roi_size: int,
        regions: int,
        sampler: Sampler,
        mining: OHEMConfig | None = None,
        context: GlobalContext | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.rpn, self.context = backbone, rpn, context
        self.norm = backbone.norm(2)
        self.classes, self.roi_size, self.regions = classes, roi_size, regions
        self.sampler, self.mining = sampler, mining
        width = backbone.channels[3]
        self.classifier = nn.Linear(width if context is None else 2 * width, classes + 1)
        self.regressor = nn.Linear(width, 4 * classes)
        for layer, std in ((self.classifier, 0.01), (self.regressor, 0.001)):  # as in Fast R-CNN
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def features(self, images: Tensor) -> Tensor:
        """The output of the third stage, [B, channels, H / 16, W / 16]."""
        return self.backbone(images, 3)[2]

    def proposals(self, features: Tensor, sizes: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.rpn.proposals(self.rpn(self.norm(features)), as_sizes(sizes), self.rpn.config.proposals)

    def classify(self, features: Tensor, proposals: list[Tensor], sizes: Tensor) -> list[Regions]:
        logits, codes = self.head(features, proposals, as_sizes(sizes))
        boxes = CODER.decode_single(codes.flatten(1), torch.cat(proposals)).view_as(codes)
        return regions_of(logits, boxes, [len(of_image) for of_image in proposals])

    def head(self, features: Tensor, regions: list[Tensor], sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Regions [R, 4] of each image -> logits [N, C + 1] and box codes [N, C, 4] of the N of all images, float32."""
        seen = self.backbone.conv5(self.pooled(features, regions)).mean((2, 3))
        codes = self.regressor(seen).float().view(-1, self.classes, 4)
        if self.context is not None:
            # The true image, without its padding.
            whole = [features.new_tensor([[0, 0, width, height]], dtype=torch.float32) for height, width in sizes]
            context = self.context(self.pooled(features, whole))
            counts = torch.tensor([len(of_image) for of_image in regions], device=seen.device)
            seen = torch.cat([seen, context.repeat_interleave(counts, 0, output_size=len(seen))], 1)
        return self.classifier(seen).float(), codes

    def pooled(self, features: Tensor, regions: list[Tensor]) -> Tensor:
        """Pooled regions, [N, channels, roi_size, roi_size], in the features' memory format."""
        pooled = roi_align(features.float(), regions, self.roi_size, 1 / STRIDE, sampling_ratio=2, aligned=True)
        last = features.is_contiguous(memory_format=torch.channels_last)
        return pooled.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def losses(
        self, features: Tensor, sizes: list[tuple[int, int]], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """The RPN's losses, and `classification` and `box`."""
        outputs = self.rpn(self.norm(features))
        limit = self.rpn.config.proposals if self.mining is None else self.mining.pool
        proposals = self.rpn.proposals(outputs, sizes, limit)
        regions = [torch.cat([proposed, truth]) for (proposed, _), truth in zip(proposals, boxes, strict=True)]
        targets = [self.targets(*of_image) for of_image in zip(regions, boxes, labels, strict=True)]
        choice = self.chosen(features, sizes, regions, targets)
        regions = [of_image[numbers] for of_image, numbers in zip(regions, choice, strict=True)]
        classes = torch.cat([of_image[numbers] for (of_image, _), numbers in zip(targets, choice, strict=True)])
        wanted = torch.cat([codes[numbers] for (_, codes), numbers in zip(targets, choice, strict=True)])

        classification, box = self.region_losses(*self.head(features, regions, sizes), classes, wanted)
        return self.rpn.losses(outputs, boxes) | {
            "classification": classification.sum() / max(len(classes), 1),
            "box": box.sum() / (self.regions * len(regions)),
        }

    def targets(self, regions: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Classes int64 [R], background for negatives, and codes [R, 4] of the matched boxes, 0 for negatives."""
        kinds, matched = match(regions, boxes, high=0.5, low=0.5)
        classes, codes = torch.full_like(kinds, self.classes), torch.zeros_like(regions)
        positive = kinds == POSITIVE
        classes[positive] = labels[matched[positive]]
        codes[positive] = CODER.encode_single(boxes[matched[positive]], regions[positive])
        return classes, codes

    def chosen(
        self,
        features: Tensor,
        sizes: list[tuple[int, int]],
        regions: list[Tensor],
        targets: list[tuple[Tensor, Tensor]],
    ) -> list[Tensor]:
        """The numbers of those regions of each image that the head learns from."""
        if self.mining is None:
            foreground = [(classes < self.classes).long() for classes, _ in targets]
            masks = zip(*self.sampler(foreground), strict=True)
            return [(positives | negatives).nonzero().flatten() for positives, negatives in masks]
        classes, codes = (torch.cat(parts) for parts in zip(*targets, strict=True))
        with read_only(self.backbone.conv5, *([] if self.context is None else [self.context])):
            classification, box = self.region_losses(*self.head(features, regions, sizes), classes, codes)
        losses = torch.split(classification + box, [len(of_image) for of_image in regions])
        threshold = self.mining.nms_threshold
        return [hardest(*of_image, self.regions, threshold) for of_image in zip(regions, losses, strict=True)]

    def region_losses(self, logits: Tensor, codes: Tensor, classes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the class, and smooth L1 of the box of the true class, 0 for background; [N] each."""
        classification = F.cross_entropy(logits, classes, reduction="none")
        positive = classes < self.classes
        of_class = codes[torch.arange(len(codes), device=codes.device), classes.clamp(max=self.classes - 1)]
        box = F.smooth_l1_loss(of_class, wanted, beta=1 / 9, reduction="none").sum(1)
        return classification, torch.where(positive, box, 0.0)
