"""Detectors as a whole: batches of every kind, gradients, memory formats, mixed precision, and that they learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from detectors import ALL_PARTS, SIZES, detected, images, random_boxes, small, truth
from torch import Tensor
from torchvision.ops import box_iou

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.network import DetectionConfig, create_detector
from sdali.trainers.models.detection.rpn import RPNConfig

KINDS: dict[str, dict[str, Any]] = {"base": {}, "all": ALL_PARTS, "fpn": {"neck": "fpn"}}
STEPS = 50
BASE = {"rpn_objectness", "rpn_box", "classification", "box"}
NOTHING = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of such small networks would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def losses(made: Any, boxes: list[Tensor], labels: list[Tensor], seed: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return made.train()(images(), SIZES, boxes, labels)


def total(of_batch: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(of_batch.values())).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_all_parameters(kind: str) -> None:
    """As DDP wants it; a batch without one object too has one for each, be it 0."""
    made = small(**KINDS[kind])
    of_batch = losses(made, *truth())
    assert set(of_batch) == BASE | ({"rpn2_objectness", "rpn2_box"} if kind == "all" else set())
    total(of_batch).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "rpn.second.box" in name, name


@pytest.mark.parametrize("kind", KINDS)
def test_no_object_in_the_batch(kind: str) -> None:
    """Finite losses, those of boxes 0, and gradients for all parameters."""
    made = small(**KINDS[kind])
    of_batch = losses(made, [NOTHING[0]] * 2, [NOTHING[1]] * 2)
    assert all(loss.isfinite() for loss in of_batch.values())
    assert of_batch["box"] == of_batch["rpn_box"] == 0 < of_batch["classification"]
    total(of_batch).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_300_objects_beside_one_of_none(kind: str) -> None:
    torch.manual_seed(0)
    crowd = random_boxes(300, least=3)
    of_batch = losses(small(**KINDS[kind]), [crowd, NOTHING[0]], [torch.arange(300) % 3, NOTHING[1]])
    assert all(loss.isfinite() for loss in of_batch.values()) and of_batch["box"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_boxes_are_left_out(kind: str) -> None:
    """The losses are those without them."""
    boxes, labels = truth()
    bad = torch.tensor([[5.0, 5, 5, 30], [30, 30, 20, 40], [float("nan"), 0, 10, 10], [0, 0, float("inf"), 9]])
    worse = [torch.cat([boxes[0], bad]), torch.cat([bad, boxes[1]])]
    names = [torch.cat([labels[0], torch.zeros(4, dtype=torch.long)]), torch.tensor([0, 0, 0, 0, 1])]
    expected, found = losses(small(**KINDS[kind]), boxes, labels), losses(small(**KINDS[kind]), worse, names)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize("kind", KINDS)
def test_one_class(kind: str) -> None:
    made = small(1, **KINDS[kind])
    boxes, labels = truth()
    assert all(loss.isfinite() for loss in losses(made, boxes, [torch.zeros_like(names) for names in labels]).values())
    with torch.no_grad():
        found = made.eval()(images(), SIZES)
    assert [(of_image.scores.shape[1], of_image.boxes.shape[1]) for of_image in found] == [(2, 1)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_format_and_mixed_precision(kind: str) -> None:
    """channels_last gives the same scores of the same proposals; bfloat16 autocast close ones, and finite losses."""
    made = small(**KINDS[kind]).eval()
    proposals = [random_boxes(6), random_boxes(5, 80, 100)]
    with torch.no_grad():
        expected = made.classify(made.features(images()), proposals, SIZES)
        made = made.to(memory_format=torch.channels_last)
        batch = images().contiguous(memory_format=torch.channels_last)
        found = made.classify(made.features(batch), proposals, SIZES)
        with torch.autocast("cpu", torch.bfloat16):
            rough = made.classify(made.features(batch), proposals, SIZES)
            whole = made(batch, SIZES)
    for one, other, third in zip(expected, found, rough, strict=True):
        torch.testing.assert_close(other.scores, one.scores, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(other.boxes, one.boxes, rtol=1e-3, atol=1e-2)
        assert third.scores.dtype == third.boxes.dtype == torch.float32
        assert (third.scores - one.scores).abs().max() < 0.05 and (third.boxes - one.boxes).abs().max() < 5
    assert all(of_image.boxes.dtype == torch.float32 and of_image.boxes.isfinite().all() for of_image in whole)
    with torch.autocast("cpu", torch.bfloat16):
        of_batch = made.train()(batch, SIZES, *truth())
    total(of_batch).backward()
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in of_batch.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind: str) -> None:
    """In test, in the same padding."""
    made = small(**KINDS[kind]).eval()
    with torch.no_grad():
        both, alone = made(images(), SIZES), made(images()[1:], SIZES[1:])
    torch.testing.assert_close(both[1].scores, alone[0].scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(both[1].boxes, alone[0].boxes, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_lie_inside_the_true_image(kind: str) -> None:
    made = small(**KINDS[kind]).eval()
    with torch.no_grad():
        proposals = made.proposals(made.features(images()), SIZES)
    for (boxes, scores), (height, width) in zip(proposals, SIZES.tolist(), strict=True):
        assert len(boxes) == len(scores) > 0 and boxes.min() >= 0
        assert boxes[:, 2].max() <= width and boxes[:, 3].max() <= height


def test_identity_mappings() -> None:
    """The RPN reads a norm of the third stage's output, regions the output itself."""
    made = small(backbone="resnetv2_18", global_context="random")
    seen: list[Tensor] = []
    made.rpn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    of_batch = losses(made, *truth())
    assert all(loss.isfinite() for loss in of_batch.values())
    assert (seen[0] >= 0).all() and (made.features(images()) < 0).any()


def test_identity_mappings_in_a_pyramid() -> None:
    """No weight of the backbone is left unused."""
    made = small(backbone="resnetv2_18", neck="fpn")
    total(losses(made, *truth())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("parts", [{}, {**ALL_PARTS, "ohem": False}], ids=["base", "parts"])
def test_two_images_are_learnt(parts: dict[str, Any]) -> None:
    """A red and a green rectangle in each, on noise: the loss falls, and both are found with their class."""
    made = small(2, **parts)
    boxes = [torch.tensor([[8.0, 12, 48, 52], [60, 30, 124, 94]]), torch.tensor([[16.0, 8, 96, 40], [50, 44, 98, 78]])]
    labels = [torch.tensor([0, 1]), torch.tensor([1, 0])]
    batch = 0.2 * images()
    for pixels, of_image, names in zip(batch, boxes, labels, strict=True):
        for (x0, y0, x1, y1), name in zip(of_image.int().tolist(), names.tolist(), strict=True):
            pixels[name, y0:y1, x0:x1] += 2
    optimizer, history = torch.optim.AdamW(made.parameters(), 2e-3), []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, 2 * (STEPS - step) / STEPS)
        loss = total(made.train()(batch, SIZES, boxes, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.5 * sum(history[:5])
    with torch.no_grad():
        found = made.eval()(batch, SIZES)
    for regions, size, of_image, names in zip(found, SIZES.tolist(), boxes, labels, strict=True):
        kept, _, classes = detected(regions, size, score_threshold=0.5)
        overlap = box_iou(of_image, kept) * (names[:, None] == classes)
        assert (overlap.max(1).values > 0.5).all() and len(kept) <= 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"neck": "c5"}, "neck must be one of c4, fpn, got 'c5'"),
        ({"roi_size": 0}, "roi_size must be at least 1, got 0"),
        ({"constrained": "both"}, "constrained must be one of none, rpn, all, got 'both'"),
        ({"global_context": "yes"}, "global_context must be one of none, random, pretrained, got 'yes'"),
        ({"ohem": True, "constrained": "all"}, "ohem chooses the head's regions itself; give constrained rpn with it"),
        ({"roi_size": 2, "global_context": "random"}, "roi_size 2 leaves conv5 a single cell"),
        ({"roi_size": 1, "regions": 1}, "roi_size 1 leaves conv5 a single cell"),
        ({"neck": "fpn", "ohem": True}, "the neck fpn is a baseline without ohem; leave that out, or use c4"),
        (
            {"neck": "fpn", "rpn": RPNConfig(anchor_sizes=(32, 64))},
            "the neck fpn needs 5 anchor_sizes, got 2",
        ),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DetectionConfig(**fields)


def test_no_classes() -> None:
    with pytest.raises(InputError, match="the number of classes must be at least 1, got 0"):
        create_detector(DetectionConfig(), 0)
