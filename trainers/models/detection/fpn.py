"""The baseline to compare with: torchvision's Faster R-CNN on a feature pyramid (FPN), on the same backbones.

torchvision's transform is left out, because images arrive normalised, resized and padded (its equivalent is mean 0,
std 1 and `_skip_resize=True`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import faster_rcnn, rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from ..backbones import ResNetStages
from .detector import Detector, Regions, as_sizes, regions_of
from .rpn import RPNConfig

LEVELS, CHANNELS = 5, 256
WIDTH = 1024  # channels of the head's two layers, as in torchvision
# torchvision pads images to multiples of this: it derives the strides of a level from the sizes of image and map, and
# without padding the anchors of the upper levels drift.
DIVISOR = 32


class FPN(Detector):
    """A detector with features at strides 4 to 64, anchors of one size on each, and two linear layers as the head."""

    def __init__(self, backbone: ResNetStages, config: RPNConfig, classes: int, *, roi_size: int, regions: int) -> None:
        super().__init__()
        self.backbone, self.classes = backbone, classes
        self.pyramid = Pyramid(backbone)
        sizes, ratios = tuple((size,) for size in config.anchor_sizes), (config.anchor_ratios,) * LEVELS
        parts = faster_rcnn.FasterRCNN(
            self.pyramid,
            rpn_anchor_generator=AnchorGenerator(sizes, ratios),  # type: ignore[arg-type]
            rpn_head=RPNHead(CHANNELS, len(config.anchor_ratios)),
            rpn_pre_nms_top_n_train=config.considered,
            rpn_pre_nms_top_n_test=config.considered,
            rpn_post_nms_top_n_train=config.proposals,
            rpn_post_nms_top_n_test=config.proposals,
            rpn_nms_thresh=config.nms_threshold,
            box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], roi_size, sampling_ratio=2),
            box_head=faster_rcnn.TwoMLPHead(CHANNELS * roi_size**2, WIDTH),
            box_predictor=Predictor(WIDTH, classes + 1),
            box_batch_size_per_image=regions,
        )
        self.rpn: Any = parts.rpn
        self.roi_heads: Any = parts.roi_heads

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Pyramid levels, [B, 256, h, w] each, the first at stride 4."""
        height, width = images.shape[2:]
        padded = F.pad(images, (0, -width % DIVISOR, 0, -height % DIVISOR))
        return {name: level.float() for name, level in self.pyramid(self.backbone(padded, 4)).items()}

    def proposals(self, features: dict[str, Tensor], sizes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The steps of torchvision's RegionProposalNetwork, which does not return the scores."""
        levels, images = list(features.values()), _image_list(features, as_sizes(sizes))
        objectness, deltas = self.rpn.head(levels)
        counts = [of_level[0].numel() for of_level in objectness]
        objectness, deltas = rpn.concat_box_prediction_layers(objectness, deltas)
        boxes = self.rpn.box_coder.decode(deltas.detach(), self.rpn.anchor_generator(images, levels))
        boxes = boxes.view(len(sizes), -1, 4)
        kept = self.rpn.filter_proposals(boxes, objectness, images.image_sizes, counts)
        return list(zip(*kept, strict=True))

    def classify(self, features: dict[str, Tensor], proposals: list[Tensor], sizes: Tensor) -> list[Regions]:
        heads, counts = self.roi_heads, [len(of_image) for of_image in proposals]
        logits, codes = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, as_sizes(sizes))))
        boxes = heads.box_coder.decode(codes, proposals).view(-1, self.classes + 1, 4)
        return regions_of(logits.roll(-1, 1), boxes[:, 1:], counts)  # torchvision's background is the first class

    def losses(
        self, features: dict[str, Tensor], sizes: list[tuple[int, int]], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """The losses of FasterRCNN, under the same names."""
        truth = [{"boxes": b, "labels": of_image + 1} for b, of_image in zip(boxes, labels, strict=True)]
        proposals, of_anchors = self.rpn(_image_list(features, sizes), features, truth)
        _, of_regions = self.roi_heads(features, proposals, sizes, truth)
        return {
            "rpn_objectness": of_anchors["loss_objectness"],
            "rpn_box": of_anchors["loss_rpn_box_reg"],
            "classification": of_regions["loss_classifier"],
            "box": of_regions["loss_box_reg"],
        }


class Pyramid(nn.Module):
    """Outputs of the backbone's four stages -> levels "0" to "3" and "pool"."""

    out_channels = CHANNELS

    def __init__(self, backbone: ResNetStages) -> None:
        super().__init__()
        self.norms = nn.ModuleList([*(backbone.norm(stage) for stage in range(3)), nn.Identity()])
        self.fpn = FeaturePyramidNetwork(backbone.channels, self.out_channels, LastLevelMaxPool())

    def forward(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        normed = {str(i): norm(output) for i, (norm, output) in enumerate(zip(self.norms, outputs, strict=True))}
        return self.fpn(normed)


class RPNHead(rpn.RPNHead):
    """torchvision's head with float32 outputs under autocast: bfloat16 holds whole pixels up to 256 only."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = super().forward(x)
        return [of_level.float() for of_level in logits], [of_level.float() for of_level in deltas]


class Predictor(faster_rcnn.FastRCNNPredictor):
    """torchvision's predictor with float32 outputs under autocast."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, codes = super().forward(x)
        return logits.float(), codes.float()


def _image_list(features: dict[str, Tensor], sizes: list[tuple[int, int]]) -> ImageList:
    """What torchvision asks for the padded size (that of the finest level times its stride) and the true sizes."""
    height, width = features["0"].shape[2:]
    return ImageList(torch.empty(0, 3, 4 * height, 4 * width), sizes)
