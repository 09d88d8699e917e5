"""What an evaluation of scene parsing holds in memory: few copies of its scores, and batches that fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdali.trainers.parsing.evaluation import mean_softmax, whole_image_batch


class Largest(TorchDispatchMode):
    """Counts the operations that make a tensor of `count` numbers of their own."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.storages = count, set[int]()
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.numel() == self.count:
            self.kept.append(result)  # so that no address comes twice
            self.storages.add(result.untyped_storage().data_ptr())
        return result


@pytest.mark.parametrize(("scales", "most"), [(1, 2), (2, 4)])
def test_softmax_is_added_up_in_place(scales: int, most: int) -> None:
    """A view makes its scores and its softmax, no more: nothing is resized to its own size, no sum is a new tensor."""
    images = [torch.randn(1, 3, 8, 9) for _ in range(scales)]
    model: Any = lambda batch: batch.repeat(1, 5, 1, 1)  # noqa: E731
    with torch.inference_mode(), Largest(15 * 8 * 9) as counter:
        found = mean_softmax(model, images, (8, 9), flip=False)
    assert len(counter.storages) <= most
    expected = torch.stack([model(batch).softmax(1) for batch in images]).mean(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("sizes", "classes", "expected"),
    [([(48, 64)] * 3, 5, 8), ([(48, 64), (64, 48)], 5, 1), ([(1024, 2048)] * 2, 19, 3), ([(4000, 6000)], 150, 1)],
)
def test_a_batch_has_images_of_one_size_and_half_a_gigabyte_of_scores(
    sizes: list[tuple[int, int]], classes: int, expected: int
) -> None:
    """Cityscapes' images are tested three at a time, photographs of 24 megapixels one by one."""
    store: Any = SimpleNamespace(sizes=np.array(sizes), classes=["class"] * classes)
    assert whole_image_batch(store, 8) == expected
    assert expected == 1 or expected * classes * np.prod(sizes[0]) * 4 <= 2**29
