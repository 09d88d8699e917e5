"""What a training step of a detector costs with each of its parts: `python -m sdali.benchmarks.costs.detection`.

One image of 480 x 360 with ten objects, resnet18, regions of 7 x 7 cells, one thread: CPU seconds of forward, backward
and an SGD step. Rows take turns within a round, and each is divided by the base model's of the same round.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from ...pipelines.io.terminal import print_result, print_table, run_command
from ...trainers.models.detection.detector import Detector
from ...trainers.models.detection.network import DetectionConfig, create_detector
from ...trainers.models.detection.rpn import RPNConfig
from ...trainers.models.detection.sampling import OHEMConfig

HEIGHT, WIDTH, OBJECTS, CLASSES, ROUNDS = 360, 480, 10, 20, 3
PARTS: dict[str, Any] = {"cascade_rpn": True, "constrained": "rpn", "global_context": "random"}


def configs() -> dict[str, DetectionConfig]:
    """Of the rows, by name; the base model first. The paper's pool needs more proposals before NMS than the default."""
    every = RPNConfig(considered=20000)
    return {
        "base": DetectionConfig(),
        "cascade RPN": DetectionConfig(cascade_rpn=True),
        "constrained ratio, RPN": DetectionConfig(constrained="rpn"),
        "constrained ratio, all": DetectionConfig(constrained="all"),
        "global context": DetectionConfig(global_context="random"),
        "all parts but OHEM": DetectionConfig(**PARTS),
        "OHEM, pool of 300": DetectionConfig(ohem=True),
        "OHEM, pool of 2000": DetectionConfig(ohem=True, mining=OHEMConfig(pool=2000), rpn=every),
        "all parts": DetectionConfig(**PARTS, ohem=True),
        "FPN": DetectionConfig(neck="fpn"),
    }


def batch() -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """One image of noise, its size, random boxes of 20 to 180 px, their labels."""
    generator = torch.Generator().manual_seed(0)
    sides = 20 + 160 * torch.rand(OBJECTS, 2, generator=generator)
    corner = torch.rand(OBJECTS, 2, generator=generator) * (torch.tensor([WIDTH, HEIGHT]) - sides)
    images = torch.randn(1, 3, HEIGHT, WIDTH, generator=generator)
    labels = torch.randint(0, CLASSES, (OBJECTS,), generator=generator)
    return images, torch.tensor([[HEIGHT, WIDTH]]), [torch.cat([corner, corner + sides], 1)], [labels]


def step_seconds(detector: Detector, optimizer: torch.optim.Optimizer) -> float:
    """CPU seconds of one step of the process."""
    given = batch()
    start = time.process_time()
    losses = detector(*given)
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    return time.process_time() - start


def measure(rows: dict[str, DetectionConfig], rounds: int) -> dict[str, dict[str, float]]:
    """`seconds`, the median of the rounds, and `ratio` to the first row's of the same round; a step each to warm up."""
    seconds: dict[str, list[float]] = {}
    detectors = {name: create_detector(config, CLASSES).train() for name, config in rows.items()}
    optimizers = {name: torch.optim.SGD(detector.parameters(), 1e-3, 0.9) for name, detector in detectors.items()}
    for _ in range(rounds + 1):
        for name, detector in detectors.items():
            seconds.setdefault(name, []).append(step_seconds(detector, optimizers[name]))
    kept = {name: steps[1:] for name, steps in seconds.items()}
    base = next(iter(kept.values()))
    ratios = {name: [step / first for step, first in zip(steps, base, strict=True)] for name, steps in kept.items()}
    return {
        name: {
            "seconds": round(statistics.median(steps), 3),
            "ratio": round(statistics.median(ratios[name]), 3),
        }
        for name, steps in kept.items()
    }


def main() -> int:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    figures = measure(configs(), ROUNDS)
    rows = [[name, *map(str, figure.values())] for name, figure in figures.items()]
    print_table("A training step, one image of 480 x 360", ["detector", "CPU s", "of base"], rows)
    print_result(figures)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
