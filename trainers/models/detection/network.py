"""Networks of object detection: the configuration, and the detector made from it.

Each part of the talk is a switch here: a Cascade RPN (`cascade_rpn.py`), constrained sampling and online hard example
mining (`sampling.py`), global context (`faster_rcnn.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from ....pipelines.errors import InputError
from ...core.checks import check_choice, check_count
from ..backbones import detection_backbone
from .cascade_rpn import CascadeConfig, CascadeRPN
from .detector import Detector
from .faster_rcnn import FasterRCNN, GlobalContext
from .fpn import FPN, LEVELS
from .rpn import BATCH, RegionProposalNetwork, RPNConfig
from .sampling import ConstrainedConfig, ConstrainedSampler, OHEMConfig, Sampler

Neck = Literal["c4", "fpn"]
Constrained = Literal["none", "rpn", "all"]
Context = Literal["none", "random", "pretrained"]


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """A network of object detection: Faster R-CNN."""

    backbone: str = "resnet18"
    """A timm ResNet, such as resnet18 or resnet101, or one with identity mappings, such as resnetv2_101. Its weights
    are random to begin with."""

    neck: Neck = "c4"
    """c4 is the talk's network: one feature map at stride 16, and conv5 applied to each region. fpn is torchvision's
    feature pyramid, to compare with."""

    frozen_norm: bool = False
    """Keep the statistics of the backbone's batch norms as they are loaded; needs trained weights to start from."""

    roi_size: int = 7
    """Cells on each side of a pooled region. The paper's number is 14, which makes a step two to four times as long."""

    regions: int = 128
    """Regions of each image that the head learns from in a step; at most a quarter of them lie on objects."""

    cascade_rpn: bool = False
    """Add a second RPN, which takes the boxes of the first as its anchors."""

    constrained: Constrained = "none"
    """Constrain the ratio of negatives to positives: rpn in the RPN only, all also for the head's regions."""

    global_context: Context = "none"
    """Let a feature of the whole image help to classify its regions; the convolutions that compute it start from random
    weights, or pretrained, from the weights of the backbone's conv5."""

    ohem: bool = False
    """Online hard example mining: the head learns from the regions with the highest loss."""

    rpn: RPNConfig = field(default_factory=RPNConfig)
    """Anchors and proposals of the RPN."""

    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    """The second RPN, with cascade_rpn."""

    ratio: ConstrainedConfig = field(default_factory=ConstrainedConfig)
    """The constrained ratio, with constrained."""

    mining: OHEMConfig = field(default_factory=OHEMConfig)
    """The pool of online hard example mining, with ohem."""

    def __post_init__(self) -> None:
        check_choice("neck", self.neck, Neck)
        check_choice("constrained", self.constrained, Constrained)
        check_choice("global_context", self.global_context, Context)
        check_count("roi_size", self.roi_size)
        check_count("regions", self.regions)
        # Batch norm needs more than one value of each channel: conv5 halves the sides, and sees one image or region.
        alone = self.global_context != "none" or self.regions == 1
        if self.neck == "c4" and alone and self.roi_size < 3 and not self.frozen_norm:
            raise InputError(
                f"roi_size {self.roi_size} leaves conv5 a single cell, of which batch norm has no statistics; give 3 "
                "or more, or frozen_norm"
            )
        if self.ohem and self.constrained == "all":
            raise InputError("ohem chooses the head's regions itself; give constrained rpn with it, not all")
        if self.neck == "fpn":
            self._check_fpn()

    def _check_fpn(self) -> None:
        for name in ("cascade_rpn", "constrained", "global_context", "ohem"):
            if getattr(self, name) not in (False, "none"):
                raise InputError(f"the neck fpn is a baseline without {name}; leave that out, or use c4")
        if len(self.rpn.anchor_sizes) != LEVELS:
            raise InputError(f"the neck fpn needs {LEVELS} anchor_sizes, got {len(self.rpn.anchor_sizes)}")


def create_detector(config: DetectionConfig, classes: int) -> Detector:
    """An untrained detector; classes: their number, without the background.

    Raises InputError for a backbone that timm does not know, or that is no ResNet.
    """
    check_count("the number of classes", classes)
    backbone = detection_backbone(config.backbone, config.frozen_norm)
    if config.neck == "fpn":
        return FPN(backbone, config.rpn, classes, roi_size=config.roi_size, regions=config.regions)
    of_anchors: Sampler = BalancedPositiveNegativeSampler(BATCH, 0.5)
    of_regions: Sampler = BalancedPositiveNegativeSampler(config.regions, 0.25)
    if config.constrained != "none":
        of_anchors = ConstrainedSampler(config.ratio)
    if config.constrained == "all":
        of_regions = ConstrainedSampler(config.ratio)
    channels = backbone.channels[2]
    if config.cascade_rpn:
        rpn = CascadeRPN(channels, config.rpn, of_anchors, config.cascade)
    else:
        rpn = RegionProposalNetwork(channels, config.rpn, of_anchors)
    pretrained = config.global_context == "pretrained"
    return FasterRCNN(
        backbone,
        rpn,
        classes,
        roi_size=config.roi_size,
        regions=config.regions,
        sampler=of_regions,
        mining=config.mining if config.ohem else None,
        context=None if config.global_context == "none" else GlobalContext(backbone.conv5, pretrained),
    )
