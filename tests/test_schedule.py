"""The learning rate against torch's own schedulers, and at the ends."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from sdali.trainers.schedule import learning_rate


def test_equals_torch_schedulers() -> None:
    """Warm-up then cosine is SequentialLR(LinearLR, CosineAnnealingLR), step for step."""
    steps, warmup, peak = 50, 8, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    rise = LinearLR(optimizer, start_factor=1 / warmup, end_factor=1, total_iters=warmup - 1)
    fall = CosineAnnealingLR(optimizer, T_max=steps - warmup)
    scheduler = SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, peak=peak, steps=steps, warmup_steps=warmup) == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (10, 10), (1, 0), (1, 1), (7, 3)])
def test_is_within_bounds(steps: int, warmup: int) -> None:
    """Above 0 and at most the peak at every step of a run, however short; the peak is reached."""
    rates = [learning_rate(step, peak=2.0, steps=steps, warmup_steps=warmup) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) == 2.0
