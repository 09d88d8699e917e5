"""The learning rate as a pure function of the step, so that a resumed run needs nothing but its step."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "poly", "step"]
POWER = 0.9
MILESTONES = (2 / 3, 8 / 9)  # shares of the run


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int, schedule: Schedule = "cosine") -> float:
    """Linear warm-up to `peak` over the first `warmup_steps`, then half a cosine, or a power, towards 0 at `steps`;
    or steps: a tenth of what it was from each of the MILESTONES of the run on.

    `step` counts from 0: step 0 gets peak / warmup_steps, step warmup_steps - 1 and the one after it get `peak`.
    Source: Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine without restarts), Chen et al., DeepLab 2016
    (poly: (1 - share done) ** 0.9), Detectron (steps at 2/3 and 8/9).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "step":
        return peak * 0.1 ** sum(step >= round(share * steps) for share in MILESTONES)
    done = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    if schedule == "poly":
        return peak * (1 - done) ** POWER
    return peak * (1 + math.cos(math.pi * done)) / 2
