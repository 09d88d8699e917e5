"""Small detectors and batches for their tests: resnet10t, which two cores run in no time, on images of a few cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdali.trainers.detection.fusion import final_detections
from sdali.trainers.metrics.detections import Detections
from sdali.trainers.models.detection.detector import Regions
from sdali.trainers.models.detection.network import DetectionConfig, create_detector
from sdali.trainers.models.detection.rpn import RPNConfig

SIZES = torch.tensor([[96, 128], [80, 100]])
ALL_PARTS = {"cascade_rpn": True, "constrained": "rpn", "global_context": "random", "ohem": True}


def small(classes: int = 3, **fields: Any) -> Any:
    """A detector of random weights, of which no layer starts at 0."""
    torch.manual_seed(0)
    rpn = RPNConfig(width=32, considered=200, proposals=fields.pop("proposals", 20))
    given = {"backbone": "resnet10t", "roi_size": 4, "regions": 16, "rpn": rpn, **fields}
    return awake(create_detector(DetectionConfig(**given), classes))


def detected(regions: Regions, size: tuple[int, int], score_threshold: float = 0.05) -> Detections:
    """With torchvision's other thresholds."""
    return final_detections(*regions, size, score_threshold=score_threshold, nms_threshold=0.5, limit=100)


def awake(network: nn.Module) -> nn.Module:
    """timm starts the last norm of each residual block at 0, so that half of the network does nothing."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.0)
            nn.init.uniform_(layer.bias, -0.2, 0.2)
    return network


def images(batch: int = 2, height: int = 96, width: int = 128) -> Tensor:
    """[B, 3, H, W], padded to fit SIZES."""
    pixels = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
    pixels[1:, :, 80:] = 0
    pixels[1:, :, :, 100:] = 0
    return pixels


def truth() -> tuple[list[Tensor], list[Tensor]]:
    """Boxes and labels for `images`: two objects, and one."""
    boxes = [torch.tensor([[10.0, 10, 50, 44], [64, 20, 120, 90]]), torch.tensor([[20.0, 8, 90, 78]])]
    return boxes, [torch.tensor([0, 2]), torch.tensor([1])]


def random_boxes(count: int, height: int = 96, width: int = 128, least: float = 8.0) -> Tensor:
    """xyxy px inside an image, [count, 4], from torch's random state."""
    corner = torch.rand(count, 2) * torch.tensor([width - least, height - least])
    sides = least + torch.rand(count, 2) * (torch.tensor([width, height]) - corner - least)
    return torch.cat([corner, corner + sides], 1)
