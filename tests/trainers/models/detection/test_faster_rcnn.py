"""The head of Faster R-CNN against torchvision's RoIHeads, with the same weights and the same choice of regions."""

from __future__ import annotations

from typing import Any

import torch
from detectors import SIZES, images, random_boxes, small, truth
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import RoIAlign


class Predictor(nn.Module):
    """Our last layers in torchvision's order of classes, which has the background first, with boxes of its own."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes = self.made.regressor(seen)
        return self.made.classifier(seen).roll(1, 1), torch.cat([codes.new_full((len(seen), 4), 9.0), codes], 1)


class Head(nn.Module):
    def __init__(self, made: Any) -> None:
        super().__init__()
        self.conv5 = made.backbone.conv5

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.conv5(pooled).flatten(2).mean(2)


class Pool(nn.Module):
    def forward(self, features: Any, regions: Any, _sizes: Any) -> torch.Tensor:
        return RoIAlign(4, 1 / 16, sampling_ratio=2, aligned=True)(features["0"], regions)


def torchvisions(made: Any) -> RoIHeads:
    return RoIHeads(Pool(), Head(made), Predictor(made), 0.5, 0.5, 16, 0.25, None, 0.05, 0.5, 100)


def lively() -> Any:
    made = small()
    nn.init.normal_(made.classifier.weight, std=0.3)
    nn.init.normal_(made.regressor.weight, std=0.1)
    return made


def test_losses_are_torchvisions() -> None:
    """Where each image has as many regions as are wanted; the RPN's own are compared in test_rpn."""
    made = lively().train()
    boxes, labels = truth()
    features = made.features(images()).detach()
    sizes = [(96, 128), (80, 100)]
    proposals = [found for found, _ in made.rpn.proposals(made.rpn(features), sizes, 20)]
    assert all(len(found) >= 16 for found in proposals)
    torch.manual_seed(3)
    ours = made.losses(features, sizes, boxes, labels)
    torch.manual_seed(3)
    given = [{"boxes": of_image, "labels": names + 1} for of_image, names in zip(boxes, labels, strict=True)]
    _, theirs = torchvisions(made).train()({"0": features}, list(proposals), sizes, given)
    assert ours["box"] > 0
    torch.testing.assert_close(ours["classification"], theirs["loss_classifier"])
    torch.testing.assert_close(ours["box"], theirs["loss_box_reg"])


def test_scores_and_boxes_are_torchvisions() -> None:
    made = lively().eval()
    proposals = [random_boxes(5), random_boxes(3, 80, 100)]
    with torch.no_grad():
        features = made.features(images())
        found = made.classify(features, proposals, SIZES)
        theirs = torchvisions(made).eval()
        logits, codes = theirs.box_predictor(theirs.box_head(Pool()({"0": features}, proposals, None)))
        boxes = theirs.box_coder.decode(codes, proposals)[:, 1:]
    torch.testing.assert_close(torch.cat([of_image.scores for of_image in found]), logits.softmax(1).roll(-1, 1))
    torch.testing.assert_close(torch.cat([of_image.boxes for of_image in found]), boxes)
    assert [tuple(of_image.boxes.shape) for of_image in found] == [(5, 3, 4), (3, 3, 4)]


def test_any_proposals_can_be_scored() -> None:
    """None too, and each for itself: a proposal's scores do not depend on the others."""
    made = lively().eval()
    some = random_boxes(4)
    with torch.no_grad():
        features = made.features(images())
        both = made.classify(features, [some, torch.zeros(0, 4)], SIZES)
        one = made.classify(features, [some[2:3], some[:1]], SIZES)
        none = made.classify(features, [torch.zeros(0, 4)] * 2, SIZES)
    torch.testing.assert_close(both[0].scores[2:3], one[0].scores)
    torch.testing.assert_close(both[0].boxes[2:3], one[0].boxes)
    assert [tuple(of_image.scores.shape) for of_image in (both[1], *none)] == [(0, 4)] * 3
    torch.testing.assert_close(both[0].scores.sum(1), torch.ones(4))


def test_targets_by_hand() -> None:
    """An IoU of one half is an object; the background is the class after the last; codes are in tenths and fifths."""
    boxes, labels = torch.tensor([[0.0, 0, 20, 20], [40, 0, 60, 20]]), torch.tensor([2, 0])
    regions = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 40], [0, 0, 20, 41], [45, 0, 65, 20]])
    classes, codes = small().targets(regions, boxes, labels)
    assert classes.tolist() == [2, 2, 3, 0]
    half = 5 * float(torch.tensor(0.5).log())
    torch.testing.assert_close(codes, torch.tensor([[0, 0, 0, 0], [0, -2.5, 0, half], [0, 0, 0, 0], [-2.5, 0, 0, 0]]))


def test_the_constrained_ratio_of_regions() -> None:
    """With `all`, as many negatives as the ratio gives, and the loss of boxes still over the fixed count."""
    made = small(constrained="all", proposals=200).train()
    boxes, labels = truth()
    features = made.features(images()).detach()
    regions = [torch.cat([boxes[0].repeat(20, 1), random_boxes(100, least=4) * 0.1]), random_boxes(60) * 0.1]
    targets = [made.targets(*of_image) for of_image in zip(regions, boxes, labels, strict=True)]
    chosen = made.chosen(features, [(96, 128), (80, 100)], regions, targets)
    assert [len(numbers) for numbers in chosen] == [40 + 60, 32]
