"""The FPN baseline against torchvision's FasterRCNN as a whole, with the same weights."""

from __future__ import annotations

from typing import Any

import torch
from detectors import SIZES, detected, images, small, truth
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign


class Backbone(nn.Module):
    out_channels = 256

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.backbone, self.pyramid = made.backbone, made.pyramid

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.pyramid(self.backbone(pixels, 4))


def torchvisions(made: Any) -> Any:
    whole: Any = FasterRCNN(
        Backbone(made),
        4,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        _skip_resize=True,
        rpn_anchor_generator=AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=20,
        rpn_post_nms_top_n_test=20,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 4, 2),
        box_head=made.roi_heads.box_head,
        box_batch_size_per_image=16,
    )
    whole.transform.resize = lambda image, target: (image, target)  # _skip_resize skips it in training only
    whole.rpn.load_state_dict(made.rpn.state_dict())
    whole.roi_heads.load_state_dict(made.roi_heads.state_dict())
    return whole


def network() -> Any:
    made = small(neck="fpn")
    nn.init.normal_(made.roi_heads.box_predictor.cls_score.weight, std=0.1)
    return made


def unpadded() -> list[torch.Tensor]:
    return [pixels[:, :height, :width] for pixels, (height, width) in zip(images(), SIZES.tolist(), strict=True)]


def test_losses_are_torchvisions() -> None:
    made = network().train()
    whole = torchvisions(made).train()
    boxes, labels = truth()
    torch.manual_seed(5)
    ours = made(images(), SIZES, boxes, labels)
    torch.manual_seed(5)
    given = [{"boxes": of_image, "labels": names + 1} for of_image, names in zip(boxes, labels, strict=True)]
    theirs = whole(unpadded(), given)
    names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
    for name, expected in zip(("rpn_objectness", "rpn_box", "classification", "box"), names, strict=True):
        torch.testing.assert_close(ours[name], theirs[expected])


def test_detections_are_torchvisions() -> None:
    """Boxes, scores and classes, counted from 0; and the scores of proposals, best first."""
    made = network().eval()
    with torch.no_grad():
        theirs = torchvisions(made).eval()(unpadded())
        ours = made(images(), SIZES)
        proposals = made.proposals(made.features(images()), SIZES)
    for regions, size, expected in zip(ours, SIZES.tolist(), theirs, strict=True):
        boxes, scores, classes = detected(regions, size)
        assert len(expected["labels"])
        assert torch.equal(classes, expected["labels"] - 1)
        torch.testing.assert_close(boxes, expected["boxes"])
        torch.testing.assert_close(scores, expected["scores"])
    assert all((scores.diff() <= 0).all() and len(boxes) == len(scores) == 20 for boxes, scores in proposals)


def test_any_size_is_padded_to_where_the_levels_fit() -> None:
    """With zeros at the right and the bottom."""
    made = network().eval()
    with torch.no_grad():
        features = made.features(images()[:, :, :90, :120])
        padded = nn.functional.pad(images()[:, :, :90, :120], (0, 8, 0, 6))
        torch.testing.assert_close(features["0"], made.features(padded)["0"])
    assert [tuple(level.shape[2:]) for level in features.values()] == [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
