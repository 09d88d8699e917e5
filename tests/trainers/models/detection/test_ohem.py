"""Online hard example mining against brute force, and that its pass only reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectors import SIZES, images, random_boxes, small, truth
from torchvision.models.detection._utils import BoxCoder

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.sampling import OHEMConfig, hardest


def iou(first: list[float], second: list[float]) -> float:
    """Of two boxes, in plain Python."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def brute_force(regions: list[list[float]], losses: list[float], keep: int, threshold: float) -> list[int]:
    """The worst first; none that lies on one already taken."""
    taken: list[int] = []
    for number in sorted(range(len(regions)), key=lambda i: -losses[i]):
        if len(taken) < keep and all(iou(regions[number], regions[other]) <= threshold for other in taken):
            taken.append(number)
    return taken


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_brute_forces(seed: int) -> None:
    torch.manual_seed(seed)
    centres = random_boxes(12)
    regions = centres.repeat(6, 1) + 6 * torch.rand(72, 1)
    losses = torch.rand(72)
    expected = brute_force(regions.tolist(), losses.tolist(), 20, 0.7)
    assert hardest(regions, losses, 20, 0.7).tolist() == expected
    assert expected != losses.argsort(descending=True)[:20].tolist()  # overlaps do matter here


def test_the_head_learns_from_the_hardest() -> None:
    """Losses of the whole pool from the logits by torch's own functions, one region at a time; then brute force."""
    made = small(ohem=True).train()
    boxes, labels = truth()
    torch.nn.init.normal_(made.regressor.weight, std=0.1)
    torch.nn.init.normal_(made.classifier.weight, std=0.5)
    regions = [torch.cat([random_boxes(30), boxes[0], boxes[0] + 2]), torch.cat([random_boxes(20, 80, 100), boxes[1]])]
    sizes = [(96, 128), (80, 100)]
    with torch.no_grad():
        features = made.features(images())
        targets = [made.targets(*of_image) for of_image in zip(regions, boxes, labels, strict=True)]
        logits, codes = made.head(features, regions, sizes)
        chosen = made.chosen(features, sizes, regions, targets)
    row = 0
    for numbers, pool, truth_boxes, names in zip(chosen, regions, boxes, labels, strict=True):
        losses = []
        for region in pool:
            overlaps = [iou(region.tolist(), box.tolist()) for box in truth_boxes]
            best = max(range(len(overlaps)), key=overlaps.__getitem__)
            name = int(names[best]) if overlaps[best] >= 0.5 else 3
            loss = F.cross_entropy(logits[row], torch.tensor(name))
            if name < 3:
                code = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(truth_boxes[best][None], region[None])[0]
                loss += F.smooth_l1_loss(codes[row, name], code, beta=1 / 9, reduction="sum")
            losses.append(float(loss))
            row += 1
        assert numbers.tolist() == brute_force(pool.tolist(), losses, 16, 0.7)


def test_the_pass_changes_nothing() -> None:
    """Statistics of the norms move as they do in a step without it, on the chosen regions alone."""
    made = small(ohem=True, global_context="random").train()
    boxes, labels = truth()
    features = made.features(images())
    before = {name: value.clone() for name, value in made.state_dict().items()}
    regions = [random_boxes(30), random_boxes(20)]
    targets = [made.targets(*of_image) for of_image in zip(regions, boxes, labels, strict=True)]
    made.chosen(features, [(96, 128), (80, 100)], regions, targets)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())
    made.head(features, regions, [(96, 128), (80, 100)])
    assert not torch.equal(before["context.conv5.0.bn1.running_mean"], made.context.conv5[0].bn1.running_mean)


def test_the_pool_is_the_proposals_and_the_ground_truth() -> None:
    made = small(ohem=True, mining=OHEMConfig(pool=11), proposals=20).train()
    seen: list[list[int]] = []
    whole = made.chosen
    made.chosen = lambda *given: seen.append([len(of_image) for of_image in given[2]]) or whole(*given)
    made(images(), SIZES, *truth())
    assert seen == [[13, 12]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pool": 0}, "pool must be at least 1, got 0"),
        ({"nms_threshold": 0.0}, "nms_threshold must be above 0 and at most 1, got 0.0"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OHEMConfig(**fields)
