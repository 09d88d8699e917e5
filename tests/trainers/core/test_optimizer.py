"""The learning rate against torch's own schedulers, and at the ends."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, PolynomialLR, SequentialLR

from sdali.trainers.core.config import Schedule
from sdali.trainers.core.optimizer import learning_rate


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_equals_torch_schedulers(schedule: Schedule) -> None:
    """Warm-up and then each schedule is SequentialLR of LinearLR and torch's own, step for step."""
    steps, warmup, peak = 50, 8, 0.3
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    rise = LinearLR(optimizer, start_factor=1 / warmup, end_factor=1, total_iters=warmup - 1)
    if schedule == "cosine":
        fall = CosineAnnealingLR(optimizer, T_max=steps - warmup)
    else:
        fall = PolynomialLR(optimizer, total_iters=steps - warmup, power=0.9)
    scheduler = SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        found = learning_rate(step, peak=peak, steps=steps, warmup_steps=warmup, schedule=schedule)
        assert found == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("steps", "milestones"), [(9, [6, 8]), (90, [60, 80]), (50, [33, 44])])
def test_steps_are_torchs(steps: int, milestones: list[int]) -> None:
    """The rate after warm-up is MultiStepLR's, with the steps at 2/3 and 8/9 of the whole run, warm-up counted."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = MultiStepLR(optimizer, milestones, gamma=0.1)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"] * min((step + 1) / 4, 1)
        found = learning_rate(step, peak=0.3, steps=steps, warmup_steps=4, schedule="step")
        assert found == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step"])
@pytest.mark.parametrize(("steps", "warmup"), [(10, 0), (10, 10), (1, 0), (1, 1), (7, 3)])
def test_is_within_bounds(steps: int, warmup: int, schedule: Schedule) -> None:
    """Above 0 and at most the peak at every step of a run, however short; the peak is reached."""
    rule = {"peak": 2.0, "steps": steps, "warmup_steps": warmup}
    rates = [learning_rate(step, **rule, schedule=schedule) for step in range(steps)]  # type: ignore[arg-type]
    assert min(rates) > 0
    assert max(rates) == 2.0
