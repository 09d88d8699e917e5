"""The region proposal network against torchvision's, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectors import SIZES, truth
from torchvision.models.detection import rpn as reference
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.rpn import SMALLEST, RegionProposalNetwork, RPNConfig
from sdali.trainers.models.detection.sampling import ConstrainedConfig, ConstrainedSampler

CONFIG = RPNConfig(width=8, considered=150, proposals=40)


def network(**fields: Any) -> RegionProposalNetwork:
    torch.manual_seed(0)
    made = RegionProposalNetwork(8, CONFIG, fields.get("sampler", BalancedPositiveNegativeSampler(256, 0.5)))
    for layer in (made.head.objectness, made.head.box):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return made


def torchvisions(ours: RegionProposalNetwork) -> reference.RegionProposalNetwork:
    anchors = reference.AnchorGenerator((CONFIG.anchor_sizes,), (CONFIG.anchor_ratios,))
    head = reference.RPNHead(8, len(CONFIG.anchor_sizes) * len(CONFIG.anchor_ratios))
    layers = (head.conv[0][0], head.cls_logits, head.bbox_pred)  # type: ignore[index]
    for theirs, own in zip(layers, (ours.head.conv, ours.head.objectness, ours.head.box), strict=True):
        theirs.load_state_dict(own.state_dict())
    top: dict[str, int] = {"training": CONFIG.considered, "testing": CONFIG.considered}
    kept: dict[str, int] = {"training": CONFIG.proposals, "testing": CONFIG.proposals}
    made = reference.RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, top, kept, 0.7)
    made.min_size = SMALLEST
    return made


def features() -> torch.Tensor:
    return torch.randn(2, 8, 6, 8, generator=torch.Generator().manual_seed(1))


def sizes() -> list[tuple[int, int]]:
    return [(height, width) for height, width in SIZES.tolist()]


def test_proposals_and_losses_are_torchvisions() -> None:
    """On images whose sides 16 divides, where torchvision's stride is 16; the sampler draws the same anchors."""
    ours = network()
    theirs = torchvisions(ours)
    boxes, _ = truth()
    outputs = ours(features())
    torch.manual_seed(7)
    losses = ours.losses(outputs, boxes)
    torch.manual_seed(7)
    found, expected = theirs(
        ImageList(torch.zeros(2, 3, 96, 128), sizes()), {"0": features()}, [{"boxes": of_image} for of_image in boxes]
    )
    assert losses["rpn_box"] > 0
    torch.testing.assert_close(losses["rpn_objectness"], expected["loss_objectness"])
    torch.testing.assert_close(losses["rpn_box"], expected["loss_rpn_box_reg"])
    for (kept, scores), reference_boxes in zip(ours.proposals(outputs, sizes(), 40), found, strict=True):
        torch.testing.assert_close(kept, reference_boxes)
        assert (scores.diff() <= 0).all() and len(kept) == 40
    assert [len(kept) for kept, _ in ours.proposals(outputs, sizes(), 5)] == [5, 5]


def test_anchors_lie_at_strides_of_16() -> None:
    """Whatever the image's size: at 90 x 120 px torchvision's would drift, to 15 px a cell."""
    anchors = network().sliding_anchors(features())
    assert anchors.shape == (2, 6 * 8 * 15, 4)
    centres = (anchors[0, :, :2] + anchors[0, :, 2:]).view(6, 8, 15, 2) / 2
    assert torch.equal(centres[5, 7], torch.tensor([7 * 16.0, 5 * 16.0]).expand(15, 2))
    sides = (anchors[0, :15, 2:] - anchors[0, :15, :2]).prod(1).sqrt()
    expected = torch.tensor([32.0, 64, 128, 256, 512]).expand(3, 5)
    torch.testing.assert_close(sides.view(3, 5), expected, rtol=0.02, atol=0)


def test_fewer_samples_give_no_box_more_weight() -> None:
    """All positives are taken by both samplers here, so the loss of boxes is the same, with 32 anchors or 256."""
    boxes, _ = truth()
    outputs = network()(features())
    stock = network().losses(outputs, boxes)
    constrained = network(sampler=ConstrainedSampler(ConstrainedConfig())).losses(outputs, boxes)
    assert stock["rpn_box"] > 0
    torch.testing.assert_close(stock["rpn_box"], constrained["rpn_box"])


def test_hidden_features_are_those_of_the_convolution() -> None:
    made = network()
    (output,) = made(features())
    expected = torch.nn.functional.conv2d(features(), made.head.conv.weight, made.head.conv.bias, padding=1).relu()
    torch.testing.assert_close(output.hidden, expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"anchor_sizes": ()}, "the number of anchor_sizes must be at least 1, got 0"),
        ({"anchor_ratios": (1.0, 0.0)}, "anchor_ratios must be above 0 and finite, got 1.0, 0.0"),
        ({"proposals": 0}, "proposals must be at least 1, got 0"),
        ({"nms_threshold": 1.5}, "nms_threshold must be above 0 and at most 1, got 1.5"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RPNConfig(**fields)
