"""Counting hits over batches against one pass over all images."""

from __future__ import annotations

import torch
from torch import nn

from sdali.trainers.classification.evaluation import count_hits
from sdali.trainers.core.process import Process
from sdali.trainers.metrics.classification import Accuracy

ALONE = Process(device=torch.device("cpu"))


def data(sizes: list[int]) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        {"image": torch.randn(n, 3, 4, 4), "label": torch.randint(0, 6, (n,)), "index": torch.arange(n)} for n in sizes
    ]


class Net(nn.Sequential):
    """Dropout tells whether it is in evaluation mode; it refuses an empty batch, as many networks do."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.9), nn.Linear(48, 6))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        assert len(input)
        return super().forward(input)


def test_every_image_is_counted_once() -> None:
    """Short and empty batches included, in evaluation mode, whatever mode the model was in."""
    batches, model = data([5, 5, 3, 0]), Net().train()
    found = count_hits(model, batches, classes=6, process=ALONE)
    images, labels = (torch.cat([batch[name] for batch in batches]) for name in ("image", "label"))
    whole = Accuracy.of(model.eval()(images).detach(), labels)
    assert torch.equal(found.totals[:, :3], whole.totals[:, :3])
    assert found.compute()["images"] == 13
