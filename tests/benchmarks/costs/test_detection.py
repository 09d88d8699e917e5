"""The cost of detectors: that what is timed is a step, and that rows are compared with the first."""

from __future__ import annotations

import pytest
import torch
from detectors import small

from sdali.benchmarks.costs import detection as detection_cost
from sdali.benchmarks.costs.detection import batch, configs, measure, step_seconds
from sdali.trainers.models.detection.network import DetectionConfig


def test_a_step_learns() -> None:
    """All parameters move; it took time."""
    made = small(20).train()
    before = [parameter.clone() for parameter in made.parameters()]
    assert step_seconds(made, torch.optim.SGD(made.parameters(), 0.1)) > 0
    assert not any(torch.equal(old, new) for old, new in zip(before, made.parameters(), strict=True))


def test_ratios_are_medians_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up is left out, each row is divided by the first one's step in the same round."""
    steps = iter([99.0, 99.0, 2.0, 3.0, 4.0, 10.0, 1.0, 2.0])
    monkeypatch.setattr(detection_cost, "step_seconds", lambda *_: next(steps))
    config = DetectionConfig(backbone="resnet10t")
    found = measure({"base": config, "other": config}, 3)
    assert found == {"base": {"seconds": 2.0, "ratio": 1.0}, "other": {"seconds": 3.0, "ratio": 2.0}}


def test_rows_differ_from_base_in_their_part() -> None:
    assert next(iter(configs())) == "base"
    assert len(set(configs().values())) == len(configs())
    images, sizes, (boxes,), (labels,) = batch()
    assert images.shape == (1, 3, 360, 480) and sizes.tolist() == [[360, 480]] and len(boxes) == len(labels) == 10
    assert (boxes >= 0).all() and (boxes <= torch.tensor([480, 360, 480, 360])).all()
