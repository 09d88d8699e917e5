"""Global context: what it reads, what it changes and what it never does, and which weights it starts from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from detectors import SIZES, awake, images, random_boxes, small
from timm import create_model
from torchvision.ops import roi_align

from sdali.trainers.models.detection.detector import start_from


@pytest.mark.parametrize("source", ["convolutions", "picture"])
def test_it_changes_scores_and_never_boxes(source: str) -> None:
    """Other weights of its convolutions, or other features far from every region."""
    made = small(global_context="random").eval()
    proposals = [random_boxes(6, 40, 40), random_boxes(3, 40, 40)]
    with torch.no_grad():
        features = made.features(images())
        before = made.classify(features, proposals, SIZES)
        if source == "convolutions":
            for parameter in made.context.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
        else:
            features[:, :, 4:, 5:] += 1
        after = made.classify(features, proposals, SIZES)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old.boxes, new.boxes)
        assert (old.scores - new.scores).abs().max() > 1e-5


def test_the_head_by_hand() -> None:
    """The feature of the whole true image, without its padding, stands behind that of each region of it."""
    made = small(global_context="random").eval()
    regions = [random_boxes(2), random_boxes(3, 80, 100)]
    with torch.no_grad():
        features = made.features(images())
        logits, _ = made.head(features, regions, [(96, 128), (80, 100)])
        whole = [torch.tensor([[0.0, 0, 128, 96]]), torch.tensor([[0.0, 0, 100, 80]])]
        own, all_of_it = (
            roi_align(features, boxes, 4, 1 / 16, sampling_ratio=2, aligned=True) for boxes in (regions, whole)
        )
        context = made.context.conv5(all_of_it).mean((2, 3))[[0, 0, 1, 1, 1]]
        expected = made.classifier(torch.cat([made.backbone.conv5(own).mean((2, 3)), context], 1))
    torch.testing.assert_close(logits, expected)


def test_it_is_computed_once_an_image() -> None:
    made, pooled = small(global_context="random").eval(), []
    made.context.register_forward_hook(lambda _, inputs, __: pooled.append(inputs[0].shape))
    with torch.no_grad():
        made.classify(made.features(images()), [random_boxes(9), random_boxes(4)], SIZES)
    assert pooled == [(2, 256, 4, 4)]


@pytest.mark.parametrize("start", ["random", "pretrained"])
def test_which_weights_it_starts_from(start: str) -> None:
    """A classifier's fill conv5 either way, its copy only where that is to be pretrained; afterwards they part."""
    made = small(global_context=start)
    random = {name: value.clone() for name, value in made.context.conv5.state_dict().items()}
    classifier: Any = awake(create_model("resnet10t", num_classes=7))
    start_from(made, classifier.state_dict(), classifier=True)
    trained = classifier.layer4.state_dict()
    for name, value in made.context.conv5.state_dict().items():
        assert torch.equal(value, (trained if start == "pretrained" else random)[name]), name
        assert torch.equal(made.backbone.network.layer4.state_dict()[name], trained[name]), name
    assert not {id(p) for p in made.context.parameters()} & {id(p) for p in made.backbone.parameters()}


def test_a_detectors_own_context_is_kept() -> None:
    """Where the detector to start from has none, the copy is of its conv5."""
    with_context, without = small(global_context="random"), small()
    torch.nn.init.normal_(with_context.context.conv5[0].conv1.weight)
    made = small(global_context="pretrained")
    start_from(made, with_context.state_dict(), classifier=False)
    assert torch.equal(made.context.conv5[0].conv1.weight, with_context.context.conv5[0].conv1.weight)
    torch.nn.init.normal_(without.backbone.conv5[0].conv1.weight)
    start_from(made, without.state_dict(), classifier=False)
    assert torch.equal(made.context.conv5[0].conv1.weight, without.backbone.conv5[0].conv1.weight)
