"""Networks of object detection: what a user may choose about them, and the detector made from it.

Each of the talk's parts is a switch here and a file of its own: `cascade_rpn.py`, `constrained_sampling.py`,
`global_context.py`, `ohem.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from ....pipelines.errors import InputError
from ...core.checks import check_choice, check_count
from .cascade_rpn import CascadeConfig, CascadeRPN
from .constrained_sampling import ConstrainedConfig, ConstrainedSampler
from .detector import Detector
from .faster_rcnn import FasterRCNN
from .fpn import FPN, LEVELS
from .global_context import GlobalContext
from .ohem import OHEMConfig
from .resnet_stages import ResNetStages
from .rpn import BATCH, RegionProposalNetwork, RPNConfig, Sampler

Neck = Literal["c4", "fpn"]
Constrained = Literal["none", "rpn", "all"]
Context = Literal["none", "random", "pretrained"]


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    """A network of object detection, Faster R-CNN."""

    backbone: str = "resnet18"
    """A timm ResNet, such as resnet18, resnet101, or with identity mappings resnetv2_101. It starts untrained."""

    neck: Neck = "c4"
    """c4: one map at stride 16, conv5 for each region, the talk's; fpn: torchvision's pyramid, to compare with."""

    frozen_norm: bool = False
    """The backbone's batch norms keep the statistics they are loaded with; needs trained weights to start from."""

    roi_size: int = 7
    """Cells that a region is pooled to, a side; 14 is the paper's, and costs two to four times the step."""

    regions: int = 128
    """Of each image, that the head learns from in a step; a quarter of them on objects, at most."""

    cascade_rpn: bool = False
    """A second RPN on the boxes of the first."""

    constrained: Constrained = "none"
    """Constrained ratio of negatives to positives: in the RPN, or in the choice of the head's regions too."""

    global_context: Context = "none"
    """The whole image helps to classify regions; its conv5 starts from random weights or from a classifier's."""

    ohem: bool = False
    """The head learns from the regions of the highest loss."""

    rpn: RPNConfig = field(default_factory=RPNConfig)
    """Anchors and proposals."""

    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    """Of cascade_rpn."""

    ratio: ConstrainedConfig = field(default_factory=ConstrainedConfig)
    """Of constrained."""

    mining: OHEMConfig = field(default_factory=OHEMConfig)
    """Of ohem."""

    def __post_init__(self) -> None:
        check_choice("neck", self.neck, Neck)
        check_choice("constrained", self.constrained, Constrained)
        check_choice("global_context", self.global_context, Context)
        check_count("roi_size", self.roi_size)
        check_count("regions", self.regions)
        alone = self.global_context != "none" or self.regions == 1
        if self.neck == "c4" and alone and self.roi_size < 3 and not self.frozen_norm:
            raise InputError(
                f"roi_size {self.roi_size} leaves conv5 a single cell, of which batch norm has no statistics; give 3 "
                "or more, or frozen_norm"
            )
        if self.ohem and self.constrained == "all":
            raise InputError("ohem chooses the head's regions itself; give constrained rpn with it, not all")
        if self.neck == "fpn":
            parts = (self.cascade_rpn, self.constrained != "none", self.global_context != "none", self.ohem)
            names = ("cascade_rpn", "constrained", "global_context", "ohem")
            for name in (name for name, used in zip(names, parts, strict=True) if used):
                raise InputError(f"the neck fpn is a baseline without {name}; leave that out, or use c4")
            if len(self.rpn.anchor_sizes) != LEVELS:
                raise InputError(f"the neck fpn needs {LEVELS} anchor_sizes, got {len(self.rpn.anchor_sizes)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DetectionConfig:
        """From what dataclasses.asdict makes of one."""
        parts = {"rpn": RPNConfig, "cascade": CascadeConfig, "ratio": ConstrainedConfig, "mining": OHEMConfig}
        return cls(**{name: parts[name](**value) if name in parts else value for name, value in values.items()})


def create_detector(config: DetectionConfig, classes: int) -> Detector:
    """An untrained detector of so many classes, without the background.

    Raises InputError for a backbone that timm does not know, or that is no ResNet.
    """
    check_count("the number of classes", classes)
    backbone = ResNetStages(config.backbone, config.frozen_norm)
    if config.neck == "fpn":
        return FPN(backbone, config.rpn, classes, roi_size=config.roi_size, regions=config.regions)
    constrained = ConstrainedSampler(config.ratio)
    stock: Sampler = BalancedPositiveNegativeSampler(BATCH, 0.5)
    of_regions: Sampler = BalancedPositiveNegativeSampler(config.regions, 0.25)
    return FasterRCNN(
        backbone,
        _rpn(config, backbone.channels[2], stock if config.constrained == "none" else constrained),
        classes,
        roi_size=config.roi_size,
        regions=config.regions,
        sampler=constrained if config.constrained == "all" else of_regions,
        mining=config.mining if config.ohem else None,
        context=_context(config, backbone),
    )


def _rpn(config: DetectionConfig, channels: int, sampler: Sampler) -> RegionProposalNetwork:
    if config.cascade_rpn:
        return CascadeRPN(channels, config.rpn, sampler, config.cascade)
    return RegionProposalNetwork(channels, config.rpn, sampler)


def _context(config: DetectionConfig, backbone: ResNetStages) -> GlobalContext | None:
    if config.global_context == "none":
        return None
    return GlobalContext(backbone.conv5, config.global_context == "pretrained")
