"""The starved script: what it waits for is what its source takes, and both sources serve all images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pictures import jpeg, photo

from sdali.benchmarks.costs.starved import starved, trained


def test_waiting_is_what_the_source_takes() -> None:
    """Four batches that take 0.1 s each; the network's time is not counted, and sleeping is no CPU time."""

    def slow() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _ in range(4):
            time.sleep(0.1)
            yield torch.zeros(5, 3, 8, 8), torch.zeros(5, dtype=torch.int64)

    class Slow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.2)
            return self.head(images.mean((2, 3)))

    found = trained(slow(), Slow())
    assert found.images == 20 and 0.4 <= found.waited <= found.wall - 0.8
    assert found.cpu < 0.4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision 0.29, of decode_image
def test_both_sources_are_measured(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for index in range(12):
        (tmp_path / "a" / f"{index}.jpg").write_bytes(jpeg(photo(index, 60, 80)))
    threads = torch.get_num_threads()
    try:
        found = starved(tmp_path, rounds=2, images_a_round=32, batch_size=4, size=32)
    finally:
        torch.set_num_threads(threads)
    for name in ("before", "after"):
        assert found[name]["images_per_second"] > 0 and found[name]["cpu_ms_per_image"] > 0
        assert 0 < found[name]["waited_share"] < 1
    before, after = (found[name]["images_per_second_range"] for name in ("before", "after"))
    assert after[0] / before[1] <= found["after"]["speedup"] * (1 + 1e-9) <= after[1] / before[0] * (1 + 1e-6)
    assert found["workload"]["images"] == 12


def test_no_rounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        starved(tmp_path, rounds=0)
