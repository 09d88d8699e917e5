"""The Message Passing Network's memory against a mean-field CRF's on the same map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdali.benchmarks.costs.parsing_memory import CELLS, CLASSES, SIZE, inputs, kept_bytes, networks


def test_message_passing_keeps_at_most_a_third_of_a_crf() -> None:
    """At 150 classes and 60 x 60 cells. Each of the CRF's ten iterations keeps its beliefs, two filtered maps and their
    sum, or the comparison would be with something else.
    """
    scores, images = inputs(CLASSES, CELLS, SIZE)
    kept = {name: kept_bytes(network, scores, images) for name, network in networks().items()}
    map_bytes = 4 * CLASSES * CELLS**2
    assert 3 * kept["message passing"] <= kept["mean field"]
    assert 40 * map_bytes <= kept["mean field"] <= 50 * map_bytes
    assert kept["message passing"] >= map_bytes * (1 + 64 / CLASSES)  # at least what the two convolutions read


class Products(nn.Module):
    """A parameter times the scores and times their ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        return scores * self.weight + scores.relu() * self.weight


def test_what_is_kept_is_counted() -> None:
    """The scores and their ReLU's result, which two operations keep, once each; not the parameter."""
    assert kept_bytes(Products(), *inputs(5, 10, 20)) == 2 * 4 * 5 * 10 * 10
