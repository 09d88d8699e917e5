"""Parsing networks as a whole: sizes, heads, gradients, memory formats, mixed precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from sdali.pipelines.errors import InputError
from sdali.trainers.models.parsing.message_passing import MessagePassingConfig
from sdali.trainers.models.parsing.mixed_context import MixedContextConfig
from sdali.trainers.models.parsing.network import FullyConvolutionalConfig, ParsingConfig, ParsingNetwork, create_parser

HEADS = ["fcn", "mcn", "mcn_mpn"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of such small networks would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(head: str, **fields: Any) -> ParsingNetwork:
    torch.manual_seed(0)
    config = ParsingConfig(
        head=head,  # type: ignore[arg-type]
        fcn=FullyConvolutionalConfig(width=16),
        mcn=MixedContextConfig(channels=16, width=8, dilations=(1, 2)),
        mpn=MessagePassingConfig(channels=4),
        **{"backbone": "resnet10t", **fields},
    )
    return create_parser(config, 5)


def images(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(64, 48), (61, 83), (17, 9)])
def test_scores_have_the_images_size(head: str, size: tuple[int, int]) -> None:
    """Whether 8 divides it or not."""
    with torch.no_grad():
        assert small(head).eval()(images(*size)).shape == (2, 5, *size)


def test_upsampling_is_bilinear_without_aligned_corners() -> None:
    network = small("mcn").eval()
    with torch.no_grad():
        cells = network.head(network.backbone(images(64, 64))[1])
        scores = network(images(64, 64))
    between = (cells[..., 3, 5] * 7.5 / 8 + cells[..., 3, 4] * 0.5 / 8) * 0.9375 + (
        cells[..., 4, 5] * 7.5 / 8 + cells[..., 4, 4] * 0.5 / 8
    ) * 0.0625
    torch.testing.assert_close(scores[..., 28, 43], between)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_reach_all_parameters(head: str) -> None:
    """The auxiliary head's too."""
    network = small(head, auxiliary=True)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)  # timm starts the last of each residual block at 0
    scores, auxiliary = network(images(64, 64))
    assert scores.shape == auxiliary.shape == (2, 5, 64, 64)
    target = torch.randint(0, 5, (2, 64, 64))
    (nn.functional.cross_entropy(scores, target) + nn.functional.cross_entropy(auxiliary, target)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_auxiliary_head_is_for_training_only() -> None:
    """In evaluation the scores are those of the network without it."""
    network, plain = small("mcn", auxiliary=True).eval(), small("mcn").eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("auxiliary.")})
    with torch.no_grad():
        assert torch.equal(network(images(40, 40)), plain(images(40, 40)))


@pytest.mark.parametrize("head", HEADS)
def test_memory_format_and_mixed_precision(head: str) -> None:
    """channels_last gives the same scores; bfloat16 autocast close ones, and finite gradients."""
    network = small(head).eval()
    with torch.no_grad():
        expected = network(images(48, 40))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = images(48, 40).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(network(batch), expected, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(batch)
        loss = nn.functional.cross_entropy(scores.float(), torch.zeros(2, 48, 40, dtype=torch.long))
    loss.backward()
    assert (scores.float() - expected).norm() < 0.05 * expected.norm()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("head", HEADS)
def test_an_image_does_not_depend_on_its_batch(head: str) -> None:
    network = small(head).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images(40, 40))[1:], network(images(40, 40)[1:]), rtol=1e-4, atol=1e-5)


def test_it_learns_what_needs_the_picture() -> None:
    """Fifteen steps on halves of two colours: the full network tells them apart, up to the edge."""
    network = small("mcn_mpn", auxiliary=True)
    batch, target = 0.3 * images(48, 48), torch.zeros(2, 48, 48, dtype=torch.long)
    batch[..., 24:] += 2
    target[..., 24:] = 3
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(15):
        losses = [nn.functional.cross_entropy(scores, target) for scores in network(batch)]
        optimizer.zero_grad()
        sum(losses).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert (network(batch)[0].argmax(1) == target).float().mean() > 0.95


def test_bad_values() -> None:
    with pytest.raises(InputError, match="head must be one of fcn, mcn, mcn_mpn, got 'crf'"):
        ParsingConfig(head="crf")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dropout must be at least 0 and below 1, got 1"):
        FullyConvolutionalConfig(dropout=1)
