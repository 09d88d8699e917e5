"""Message Passing Network: its parts against their definitions, and which pixels hear from which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sdali.pipelines.errors import InputError
from sdali.trainers.models.parsing.message_passing import MessagePassing, MessagePassingConfig

STD = (0.25, 0.2, 0.3)


def network(classes: int = 4, **fields: Any) -> MessagePassing:
    torch.manual_seed(0)
    return MessagePassing(classes, MessagePassingConfig(**fields), STD).eval()


def test_features_are_centres_and_mean_colours_in_bandwidths() -> None:
    """At stride 8 the steps are 8 px, at odd sizes H / h; colours are levels, but for the mean that cancels."""
    model = network(position_bandwidth=40, colour_bandwidth=5)
    levels = torch.randint(0, 256, (2, 3, 32, 48)).double()
    std = torch.tensor(STD).double()[:, None, None]
    features = model.features(((levels / 255 - 0.5) / std).float(), 4, 6).double()
    assert features.shape == (2, 5, 4, 6)
    torch.testing.assert_close(features[1, 0, :, 2], torch.tensor([4.0, 12, 20, 28]).double() / 40)
    torch.testing.assert_close(features[1, 1, 3], torch.tensor([4.0, 12, 20, 28, 36, 44]).double() / 40)
    means = (levels - 127.5).unflatten(2, (4, 8)).unflatten(4, (6, 8)).mean((3, 5)) / 5
    torch.testing.assert_close(features[:, 2:], means, rtol=1e-4, atol=1e-4)
    odd = model.features(torch.zeros(1, 3, 33, 50), 5, 7)
    torch.testing.assert_close(odd[0, 0, :, 0].diff() * 40, torch.full((4,), 33 / 5))


def test_scores_are_a_convolution_of_reduced_and_filtered() -> None:
    """Against the brute-force Gaussian on an image of three flat areas, which the lattice filters nearly exactly."""
    model = network(channels=3)
    images = torch.zeros(1, 3, 64, 64)
    images[:, 0, :, 24:], images[:, 1, 40:] = 3.0, -3.0
    scores = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        reduced = F.conv2d(scores, model.get_parameter("reduce.0.weight")).relu() / (1 + 1e-5) ** 0.5
        points = model.features(images, 8, 8)[0].flatten(1).T.double()
        kernel = (-(torch.cdist(points, points) ** 2) / 2).exp()
        filtered = reduced.flatten(2).double() @ (kernel / kernel.sum(1, keepdim=True)).T
        both = torch.cat([reduced, filtered.float().view_as(reduced)], 1)
        expected = F.conv2d(both, model.classifier.weight, model.classifier.bias, padding=1)
        found = model(scores, images)
    assert found.shape == scores.shape
    assert (found - expected).norm() < 0.03 * expected.norm()


def test_messages_stay_within_a_colour() -> None:
    """A change of scores on one side of an edge reaches its far end, and the other side only through 3 x 3."""
    model = network().double()
    images = torch.zeros(1, 3, 64, 64)
    images[..., 32:] = 4.0
    scores = torch.zeros(1, 4, 8, 8, dtype=torch.float64)
    other = scores.clone()
    other[0, :, 0, 0] = 10.0
    change = (model(other, images) - model(scores, images)).abs().amax((0, 1))
    assert change[7, 3] > 1e-3 and change[:, 5:].max() < 1e-9


def test_std_is_kept_with_the_weights() -> None:
    assert torch.equal(network().state_dict()["std"].flatten(), torch.tensor(STD))


def test_gradients_reach_scores_and_parameters() -> None:
    model, scores = network().train(), torch.randn(2, 4, 6, 5, requires_grad=True)
    model(scores, torch.randn(2, 3, 48, 40)).square().sum().backward()
    for tensor in (scores, *model.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_scale_of_the_scores_does_not_matter_in_training() -> None:
    """Scores are free to grow; the step that the 3 x 3 convolution bears must not shrink with them."""
    model, scores, images = network().train(), torch.randn(2, 4, 6, 5), torch.randn(2, 3, 48, 40)
    torch.testing.assert_close(model(1000 * scores, images), model(scores, images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"position_bandwidth": 0.0}, "position_bandwidth must be above 0 and finite, got 0.0"),
        ({"colour_bandwidth": float("nan")}, "colour_bandwidth must be above 0 and finite, got nan"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MessagePassingConfig(**fields)
