"""Region proposal network (RPN) on one feature map of stride 16.

Anchors, box coding, matching and losses are those of torchvision's RegionProposalNetwork, with two differences: the
loss of boxes is divided by a fixed count (see `sampling.py`), and anchors lie at whole strides of the map. The head is
written here because torchvision's does not return its 3 x 3 features, which a Cascade RPN needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from ....pipelines.errors import InputError
from ...core.checks import check_count, check_threshold
from .sampling import Sampler, match

STRIDE = 16  # pixels between the cells of the feature map
BATCH = 256  # anchors that a stock sampler chooses in each image
SMALLEST = 1.0  # pixels: proposals with a shorter side are dropped
CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class RPNConfig:
    """Anchors of a region proposal network, and which of its proposals are kept."""

    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    """Square roots of the anchors' areas, in pixels of the network's input."""

    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Heights of the anchors divided by their widths."""

    width: int = 256
    """Channels of the RPN's 3 x 3 convolution."""

    considered: int = 2000
    """How many proposals of each image, those with the highest scores, go into NMS."""

    nms_threshold: float = 0.7
    """A proposal is dropped if its IoU with a better one is above this."""

    proposals: int = 300
    """How many proposals of each image are kept after NMS, at most, in training and in evaluation."""

    def __post_init__(self) -> None:
        for name in ("width", "considered", "proposals"):
            check_count(name, getattr(self, name))
        for name in ("anchor_sizes", "anchor_ratios"):
            values = getattr(self, name)
            check_count(f"the number of {name}", len(values))
            if not all(0 < value < float("inf") for value in values):
                raise InputError(f"{name} must be above 0 and finite, got {', '.join(map(str, values))}")
        check_threshold("nms_threshold", self.nms_threshold)


class RPNOutput(NamedTuple):
    """The output of one head for N anchors in each of B images, float32 except the hidden features."""

    hidden: Tensor
    """[B, width, h, w], the features behind the 3 x 3 convolution."""
    logits: Tensor
    """[B, N], objectness."""
    deltas: Tensor
    """[B, N, 4], boxes coded relative to the anchors."""
    anchors: Tensor
    """[B, N, 4], xyxy px, without gradients."""
    boxes: Tensor
    """[B, N, 4], the decoded boxes, xyxy px, without gradients; none is clipped or dropped."""


class RPNHead(nn.Module):
    """Features [B, channels, h, w] and anchors [B, h w A, 4], cell by cell -> RPNOutput."""

    def __init__(self, channels: int, width: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.objectness = nn.Conv2d(width, anchors, 1)
        self.box = nn.Conv2d(width, 4 * anchors, 1)
        for layer in (self.conv, self.objectness, self.box):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, anchors: Tensor) -> RPNOutput:
        hidden = F.relu(self.conv(features))
        logits = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1).float()
        deltas = self.box(hidden).permute(0, 2, 3, 1).reshape(len(features), -1, 4).float()
        boxes = CODER.decode_single(deltas.detach().flatten(0, 1), anchors.flatten(0, 1))
        return RPNOutput(hidden, logits, deltas, anchors, boxes.view_as(deltas))


class RegionProposalNetwork(nn.Module):
    """Features [B, channels, h, w] -> the outputs of its heads, which the other methods take; here it has one head."""

    def __init__(self, channels: int, config: RPNConfig, sampler: Sampler) -> None:
        super().__init__()
        self.config, self.sampler = config, sampler
        self.anchors = AnchorGenerator((config.anchor_sizes,), (config.anchor_ratios,))
        self.head = RPNHead(channels, config.width, self.anchors.num_anchors_per_location()[0])

    def forward(self, features: Tensor) -> tuple[RPNOutput, ...]:
        return (self.head(features, self.sliding_anchors(features)),)

    def sliding_anchors(self, features: Tensor) -> Tensor:
        """Anchors at whole strides, [B, h w A, 4]; torchvision derives a rounded stride from the size of the image."""
        self.anchors.set_cell_anchors(torch.float32, features.device)
        stride = torch.tensor(STRIDE, device=features.device)
        grid = [features.shape[2], features.shape[3]]
        return self.anchors.grid_anchors([grid], [[stride, stride]])[0].expand(len(features), -1, -1)

    def losses(self, outputs: tuple[RPNOutput, ...], boxes: list[Tensor]) -> dict[str, Tensor]:
        """The losses `rpn_objectness` and `rpn_box`; boxes: the ground truth of each image, float32 [K, 4]."""
        output = outputs[0]
        pairs = [
            match(anchors, truth, high=0.7, low=0.3, low_quality=True)
            for anchors, truth in zip(output.anchors, boxes, strict=True)
        ]
        objectness, box = self.output_losses(output, [labels for labels, _ in pairs], [m for _, m in pairs], boxes)
        return {"rpn_objectness": objectness, "rpn_box": box}

    def output_losses(
        self, output: RPNOutput, labels: list[Tensor], matched: list[Tensor], boxes: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of objectness, averaged over the sampled anchors; smooth L1 of boxes over BATCH per image."""
        positives, negatives = (torch.stack(masks).bool() for masks in self.sampler(labels))
        sampled = positives | negatives
        targets = torch.stack(labels)[sampled].float()
        objectness = F.binary_cross_entropy_with_logits(output.logits[sampled], targets, reduction="sum")
        wanted = torch.cat([truth[m[p]] for truth, m, p in zip(boxes, matched, positives, strict=True)])
        codes = CODER.encode_single(wanted, output.anchors[positives])
        box = F.smooth_l1_loss(output.deltas[positives], codes, beta=1 / 9, reduction="sum")
        return objectness / max(len(targets), 1), box / (BATCH * len(labels))

    def merged(self, outputs: tuple[RPNOutput, ...]) -> tuple[Tensor, Tensor]:
        """One proposal for each anchor, from the outputs of all heads: boxes [B, N, 4], logits [B, N]."""
        return outputs[0].boxes, outputs[0].logits.detach()

    def proposals(
        self, outputs: tuple[RPNOutput, ...], sizes: list[tuple[int, int]], limit: int
    ) -> list[tuple[Tensor, Tensor]]:
        """For each image of `sizes` (height, width): boxes [R, 4] inside it and scores [R], best first, R <= limit."""
        return [
            self._best(boxes, logits, size, limit)
            for boxes, logits, size in zip(*self.merged(outputs), sizes, strict=True)
        ]

    def _best(self, boxes: Tensor, logits: Tensor, size: tuple[int, int], limit: int) -> tuple[Tensor, Tensor]:
        logits, order = logits.topk(min(self.config.considered, len(logits)))
        boxes = clip_boxes_to_image(boxes[order], size)
        large = remove_small_boxes(boxes, SMALLEST)
        boxes, scores = boxes[large], logits[large].sigmoid()
        keep = nms(boxes, scores, self.config.nms_threshold)[:limit]
        return boxes[keep], scores[keep]
