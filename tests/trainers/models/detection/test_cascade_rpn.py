"""Cascade RPN: which boxes RPN2 stands on, which proposals and which losses are whose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.ops import box_iou

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.cascade_rpn import CascadeConfig, CascadeRPN
from sdali.trainers.models.detection.rpn import RPNConfig, RPNOutput


def network(**fields: Any) -> CascadeRPN:
    """One square anchor of 64 px a cell."""
    torch.manual_seed(0)
    config = RPNConfig(anchor_sizes=(64,), anchor_ratios=(1.0,), width=4)
    return CascadeRPN(4, config, BalancedPositiveNegativeSampler(256, 0.5), CascadeConfig(**fields))


def features() -> torch.Tensor:
    return torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(1))


def shifting(made: CascadeRPN, first: list[float], second: list[float]) -> CascadeRPN:
    """Make every box of RPN1, and of RPN2, the same shift of its anchor."""
    for head, code in ((made.head, first), (made.second, second)):
        torch.nn.init.zeros_(head.box.weight)
        assert head.box.bias is not None
        head.box.bias.data = torch.tensor(code)
    return made


def test_rpn2_stands_on_rpn1s_boxes() -> None:
    """By hand: the anchor of cell (0, 0) is -32, -32, 32, 32; RPN1 moves it by half a width and doubles its height;
    RPN2 moves that by a quarter of its new height. Nothing is clipped, though most of it lies outside of the image.
    """
    made = shifting(network(), [0.5, 0.0, 0.0, float(torch.tensor(2.0).log())], [0.0, -0.25, 0.0, 0.0])
    first, second = made(features())
    assert torch.equal(first.anchors[0, 0], torch.tensor([-32.0, -32, 32, 32]))
    expected = torch.tensor([0.0, -64, 64, 64])
    torch.testing.assert_close(second.anchors[0, 0], expected)
    torch.testing.assert_close(second.anchors[0, 8], expected + torch.tensor([32.0, 16, 32, 16]))  # row 1, column 2
    torch.testing.assert_close(second.boxes[0, 0], torch.tensor([0.0, -96, 64, 32]))


def test_rpn2_reads_rpn1s_hidden_features() -> None:
    made = network()
    first, second = made(features())
    conv = made.second.conv
    hidden = F.conv2d(first.hidden, conv.weight, conv.bias, padding=1).relu()
    torch.testing.assert_close(second.hidden, hidden)


def test_no_gradient_flows_through_the_anchors() -> None:
    """RPN2's loss reaches RPN1's convolution through the features, but neither its boxes nor its scores."""
    made = network()
    outputs = made(features())
    anchor = outputs[1].anchors[0, 8]
    losses = made.losses(outputs, [(anchor + torch.tensor([4.0, 0, 4, 0]))[None]])
    assert losses["rpn2_box"] > 0
    (losses["rpn2_box"] + losses["rpn2_objectness"]).backward()
    assert made.head.conv.weight.grad is not None and made.head.conv.weight.grad.abs().sum() > 0
    assert made.second.box.weight.grad is not None and made.second.box.weight.grad.abs().sum() > 0
    for layer in (made.head.box, made.head.objectness):
        assert layer.weight.grad is None
    assert not outputs[1].anchors.requires_grad


def outputs_of(anchors: torch.Tensor, boxes: torch.Tensor, logits: list[float]) -> RPNOutput:
    deltas = torch.zeros(1, len(anchors), 4, requires_grad=True)
    logit = torch.tensor([logits], requires_grad=True)
    return RPNOutput(torch.zeros(1, 4, 1, 1), logit, deltas, anchors[None], boxes[None])


# By RPN1: 40 x 40, 64 x 64, 128 x 32 (of the same area) and 127 x 32 (a little less).
FIRST = torch.tensor([[0.0, 0, 40, 40], [100, 0, 164, 64], [200, 0, 328, 32], [200, 100, 327, 132]])
# RPN2 makes the small ones large and the large ones small, which changes nothing about whose they are.
SECOND = FIRST + torch.tensor([[0.0, 0, 99, 99], [2, 2, -9, -9], [2, 2, -9, -9], [0, 0, 9, 9]])


def test_small_proposals_are_rpn1s_and_the_others_rpn2s() -> None:
    """By the area of RPN1's box, boxes and scores; the best come first, whichever RPN they are of."""
    pair = outputs_of(FIRST, FIRST, [0.0, 1.0, 2.0, 3.0]), outputs_of(FIRST, SECOND, [9.0, -1.0, 4.0, 9.0])
    boxes, logits = network().merged(pair)
    assert torch.equal(boxes[0], torch.stack([FIRST[0], SECOND[1], SECOND[2], FIRST[3]]))
    assert logits.tolist() == [[0.0, -1.0, 4.0, 3.0]]
    ((kept, scores),) = network().proposals(pair, [(400, 400)], 3)
    assert torch.equal(kept, torch.stack([SECOND[2], FIRST[3], FIRST[0]]))
    torch.testing.assert_close(scores, torch.tensor([4.0, 3.0, 0.0]).sigmoid())


def test_the_loss_of_rpn2_by_hand() -> None:
    """Small and degenerate anchors and those between 0.3 and 0.7 are out; a best match below 0.7 is no positive."""
    anchors = torch.tensor(
        [
            [0.0, 0, 100, 100],  # IoU 0.8 with the first box: positive
            [0, 200, 100, 300],  # 0.5 with the second one, and its best: ignored
            [300, 300, 400, 400],  # negative
            [0, 0, 40, 40],  # small: ignored
            [50, 0, 50, 100],  # no width: ignored
            [0, 0, float("inf"), 100],  # too far off to be a number: ignored
        ]
    )
    truth = torch.tensor([[0.0, 0, 100, 80], [0, 200, 100, 250]])
    assert box_iou(truth, anchors[:2]).diagonal().tolist() == pytest.approx([0.8, 0.5])
    second = outputs_of(anchors, anchors, [0.3, 5.0, -0.7, 5.0, 5.0, 5.0])
    losses = network(weight=2.0).losses((second, second), [truth])
    logits = torch.tensor([0.3, -0.7])
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(losses["rpn2_objectness"], 2 * expected)
    code = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(truth[:1], anchors[:1])
    box = F.smooth_l1_loss(torch.zeros(1, 4), code, beta=1 / 9, reduction="sum") / 256
    torch.testing.assert_close(losses["rpn2_box"], 2 * box)


def test_nothing_large_makes_a_loss_of_zero() -> None:
    """Finite, and with gradients, so that ranks agree on which weights have some."""
    made = shifting(network(), [0.0, 0.0, -3.0, -3.0], [0.0] * 4)
    losses = made.losses(made(features()), [torch.tensor([[10.0, 10, 60, 60]])])
    assert losses["rpn2_objectness"] == 0 and losses["rpn2_box"] == 0
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"smallest": -1.0}, "smallest must be at least 0 and finite, got -1.0"),
        ({"high": 0.2}, "low must be at most high, got 0.3 and 0.2"),
        ({"weight": float("nan")}, "weight must be at least 0 and finite, got nan"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CascadeConfig(**fields)
